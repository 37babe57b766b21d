//! `windrow explain`: a view told to a person.

use std::fmt::Write;

use super::tiling::{Tiling, strata};
use super::{FeatureView, Sharding};
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

/// What a tiled view keeps: tiles, by aggregate and reach.
fn tiles(tiling: &Tiling, line: &mut impl FnMut(&str, &str)) {
    let mut name = "state";
    for leaf in &tiling.leaves {
        for stratum in strata(leaf) {
            let size = stratum.numbering.size();
            let lower = stratum.edges.iter().filter(|edge| edge.comparison.is_lower());
            let reach = lower.map(|edge| edge.window.span()).max().unwrap_or_default();
            let what = format!(
                "tiles of {size} over `{}` for {reach}, {} partial aggregates each",
                leaf.stream,
                stratum.bases.len()
            );
            line(name, &what);
            name = "";
        }
    }
}

/// What any other view keeps: events.
fn events(view: &FeatureView, line: &mut impl FnMut(&str, &str)) {
    for (index, scan) in view.scans.iter().enumerate() {
        let name = if index == 0 { "state" } else { "" };
        let columns: Vec<&str> = scan.columns.iter().map(String::as_str).collect();
        line(
            name,
            &format!(
                "events of `{}` for {}, {} columns: {}",
                scan.stream,
                scan.bound.span(),
                columns.len(),
                columns.join(", ")
            ),
        );
    }
}
