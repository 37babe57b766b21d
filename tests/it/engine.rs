//! The engines that look at touched entities only, tiled and keyed, against plain
//! SQL over all that was ever accepted: after every batch, over generated logs
//! and views, however the log is cut. What an engine says changed is laid over
//! what it said before, as a store would.

mod aggregates;
mod generated;
mod keyed;
mod log;
mod shard;
mod views;
mod world;

use proptest::prelude::*;
use windrow::evaluate::Engine;
use windrow::view::classify::Class;

use crate::support::cases::check;
use generated::Query;
use keyed::{CLASSES, DIVISION, KEYED};
use log::{START, Step, steps, steps_of, turns};
use shard::Shard;
use views::{OTHERS, TILED, Template};
use world::{Event, decoded, plan, rows, small};

/// What can be tiled can be keyed, too.
const BOTH: [Engine; 2] = [Engine::Tiled, Engine::Keyed];

#[track_caller]
fn shard(template: &Template, engines: &[Engine]) -> Shard {
    let header = format!("-- entity: card\n-- key: {}\n{}", template.key, template.header);
    let streams = small();
    let view = plan(&streams, "template", format!("{header}{}", template.sql));
    Shard::new(streams, view, engines)
}

/// Views, each with the engines that must evaluate it.
fn templates() -> Vec<(&'static Template, &'static [Engine])> {
    let tiled = TILED.iter().map(|template| (template, BOTH.as_slice()));
    tiled.chain(KEYED.iter().map(|template| (template, [Engine::Keyed].as_slice()))).collect()
}

#[test]
fn chosen_views_are_plain_sql() {
    let templates = templates();
    let case = (0..templates.len(), steps(), turns());
    check(96, &case, |(index, steps, turns)| {
        let (template, engines) = templates[index];
        prop_assert_eq!(shard(template, engines).run(&steps, &turns), Ok(()), "{}", template.name);
        Ok(())
    });
}

/// Made-up views of a class, in every engine that can evaluate it.
#[track_caller]
fn check_generated(class: Class, queries: impl Strategy<Value = Query>) {
    let engines = if class == Class::Tiled { BOTH.as_slice() } else { &[Engine::Keyed] };
    check(96, &(queries, steps(), turns()), |(query, steps, turns)| {
        let streams = small();
        let view = plan(&streams, "generated", query.text());
        prop_assert_eq!(view.classification.class, class, "{}\n{}", view.classification.reason, query.text());
        let mut shard = Shard::new(streams, view, engines);
        prop_assert_eq!(shard.run(&steps, &turns), Ok(()), "\n{}", query.text());
        Ok(())
    });
}

#[test]
fn generated_views_are_tiled_and_plain_sql() {
    check_generated(Class::Tiled, generated::tiled());
}

#[test]
fn generated_views_are_keyed_and_plain_sql() {
    check_generated(Class::Keyed, generated::keyed());
}

#[test]
fn every_template_is_plain_sql_over_a_longer_log() {
    for (template, engines) in templates() {
        let mut shard = shard(template, engines);
        let found = shard.run(&steps_of(7, 400), &[(40, 0), (3, 30_000_000), (25, 0)]);
        assert_eq!(found, Ok(()), "{}", template.name);
    }
}

#[test]
fn shipped_views_are_tiled_and_plain_sql() {
    for name in ["clickstream", "device", "transaction", "transaction_pattern"] {
        let path = format!("sql/{name}.sql");
        let streams = world::shipped();
        let view = plan(&streams, name, std::fs::read_to_string(path).unwrap());
        let mut shard = Shard::new(streams, view, &BOTH);
        let found = shard.run(&steps_of(11, 500), &[(30, 0), (4, 200_000_000), (60, 0)]);
        assert_eq!(found, Ok(()), "{name}");
    }
}

#[test]
fn entities_that_go_quiet_leave_nothing() {
    let mut shard = shard(&TILED[0], &BOTH);
    shard.run(&steps_of(3, 300), &[(50, 0)]).unwrap();
    assert!(shard.kept().iter().all(|(entities, rows)| *entities > 3 && *rows > 0));
    let later = shard.clock + 4 * 3_600_000_000;
    shard.evaluate(later).unwrap();
    assert!(shard.engines.iter().all(|running| running.published.is_empty()));
    shard.advance(later);
    shard.evaluate(later).unwrap();
    assert_eq!(shard.kept(), [(0, 0), (0, 0)]);
}

#[test]
fn a_partition_given_up_leaves_nothing() {
    let mut shard = shard(&TILED[0], &BOTH);
    shard.run(&steps_of(5, 60), &[(60, 0)]).unwrap();
    shard.engines.iter_mut().for_each(|running| running.state.forget("transactions", 0));
    for (_, batches) in shard.kept.0.values_mut() {
        batches.clear();
    }
    shard.evaluate(shard.clock).unwrap();
    assert_eq!(shard.kept(), [(0, 0), (0, 0)]);
}

#[test]
fn what_is_not_tiled_says_why() {
    for (sql, reason) in &OTHERS {
        let view = plan(&small(), "other", format!("-- entity: card\n-- key: card_id\n{sql}"));
        match &view.tiling {
            Ok(_) => panic!("{sql}\nis tiled"),
            Err(said) => assert!(said.contains(reason), "{sql}\n{said}"),
        }
    }
}

#[test]
fn every_class_says_why() {
    for (sql, class, reason) in &CLASSES {
        let view = plan(&small(), "other", format!("-- entity: card\n-- key: card_id\n{sql}"));
        let found = &view.classification;
        assert_eq!(found.class, *class, "{sql}\n{}", found.reason);
        assert!(found.reason.contains(reason), "{sql}\n{}", found.reason);
    }
}

/// The column `n` of a transaction with a salt.
fn n_of(shard: &Shard, salt: u64) -> Option<i64> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    let columns = decoded(&shard.streams, &shard.view, "transactions");
    let event = Event { partition: 0, time_us: START, card: 1, salt };
    let batch = rows(&columns, "card_id", &[event], 0);
    let column = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    column.is_valid(0).then(|| column.value(0))
}

/// Features stay as they are until an event on which the view's SQL fails is gone.
#[test]
fn an_event_that_fails_the_sql_is_waited_out() {
    let mut shard = shard(&DIVISION, &[Engine::Keyed]);
    let zero = (0..1000).find(|salt| n_of(&shard, *salt) == Some(0)).unwrap();
    let two = (0..1000).find(|salt| n_of(&shard, *salt) == Some(2)).unwrap();
    let step = |after: i64, card: u8, salt: u64| Step { stream: 0, after, behind: 0, card, salt };
    shard.ingest(&[step(0, 1, two), step(1000, 2, two)]);
    shard.evaluate(shard.clock).unwrap();
    let before = shard.engines[0].published.clone();
    assert_eq!(before.len(), 2);
    shard.ingest(&[step(1000, 1, zero)]);
    for _ in 0..2 {
        let error = shard.evaluate(shard.clock).unwrap_err();
        assert!(error.contains("Divide by zero"), "{error}");
        assert_eq!(shard.engines[0].published, before);
    }
    shard.ingest(&[step(40_000_000, 2, two)]);
    shard.evaluate(shard.clock).unwrap();
    assert_eq!(shard.engines[0].published.len(), 1);
}
