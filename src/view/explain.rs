//! `windrow explain`: a view told to a person.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::tiling::{Tiling, panes};
use super::{FeatureView, Sharding};
use crate::error::Problem;
use crate::time::duration_text;

/// The class of a view, its windows, what it keeps, what a batch costs, and why.
pub fn explain(view: &FeatureView) -> String {
    let mut text = String::new();
    let classification = &view.classification;
    let key: Vec<&str> = view.key.iter().map(|index| view.output.field(*index).name().as_str()).collect();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("view", &format!("{}  ({})", view.name, view.file));
    line("entity", &format!("{}, by {}", view.header.entity, key.join(", ")));
    line("features", &(view.output.fields().len() - view.key.len()).to_string());
    line("class", &classification.class.to_string());
    line("why", &classification.reason);
    line("cost", &format!("a batch costs what grows with: {}", classification.cost));
    match &view.sharding {
        Sharding::ByPartition => {
            line("shards", "one a partition; the consumer group spreads them over processes");
        }
        Sharding::Single { reason } => {
            line("shards", &format!("one over all partitions, so the view needs one process: {reason}"));
            line("", "hint: repartition the topic by the view's key, or run this view alone");
        }
    }
    line("ttl", &duration_text(view.ttl));
    for (index, window) in view.windows.iter().enumerate() {
        let name = if index == 0 { "windows" } else { "" };
        let span = if window.length < 0 {
            format!("-{}", crate::time::Span(-window.length))
        } else {
            window.span().to_string()
        };
        line(name, &format!("{span}, its edge moving in steps of {}", window.resolution));
    }
    match &view.tiling {
        Ok(tiling) => tiles(tiling, &mut line),
        Err(_) => events(view, &mut line),
    }
    text
}

/// The views that are refused, by name: their class, why, and what to do.
pub fn refused(problems: &[Problem]) -> Vec<(String, String)> {
    let mut told: Vec<(String, String)> = Vec::new();
    for problem in problems {
        let Some(refused) = &problem.refused else { continue };
        let index = told.iter().position(|(view, _)| *view == refused.view).unwrap_or_else(|| {
            let file = problem.place.as_ref().map_or("", |place| place.file.as_str());
            let head = format!("{:<10} {}  ({file})\n{:<10} refused\n", "view", refused.view, "class");
            told.push((refused.view.clone(), head));
            told.len() - 1
        });
        let text = &mut told[index].1;
        let _ = writeln!(text, "{:<10} {}", "why", refused.reason);
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "{:<10} hint: {hint}", "");
        }
    }
    told
}

/// What a tiled view keeps: for each stream its windows, in tiles.
fn tiles(tiling: &Tiling, line: &mut impl FnMut(&str, &str)) {
    let mut name = "state";
    for leaf in &tiling.leaves {
        let (panes, places) = panes(leaf);
        for (position, pane) in panes.iter().enumerate() {
            let here = leaf.aggregates.iter().zip(&places).filter(|(_, place)| **place == position);
            let what = match here.map(|(seen, _)| seen.base).collect::<BTreeSet<usize>>().len() {
                0 => "only whether there is any event".to_owned(),
                1 => "1 partial aggregate each".to_owned(),
                count => format!("{count} partial aggregates each"),
            };
            let (size, reach) = (pane.numbering.size(), pane.reach());
            line(name, &format!("tiles of {size} by entity over `{}` for {reach}, {what}", leaf.stream));
            name = "";
        }
    }
}

/// What any other view keeps: events.
fn events(view: &FeatureView, line: &mut impl FnMut(&str, &str)) {
    // It is not tiled: if it can be keyed, it is.
    let keying = view.keying.as_ref().ok();
    for (index, scan) in view.scans.iter().enumerate() {
        let name = if index == 0 { "state" } else { "" };
        let columns: Vec<&str> = scan.columns.iter().map(String::as_str).collect();
        let what = match keying.and_then(|keying| keying.columns.get(&scan.stream)) {
            Some(column) => format!("the events of each entity (`{column}`)"),
            None => "events".to_owned(),
        };
        line(
            name,
            &format!(
                "{what} of `{}` for {}, {} columns: {}",
                scan.stream,
                scan.bound.span(),
                columns.len(),
                columns.join(", ")
            ),
        );
    }
}
