//! The engines that look at touched entities only, tiled and keyed, against plain
//! SQL over all that was ever accepted: after every batch, over generated logs
//! and views, however the log is cut. What an engine says changed is laid over
//! what it said before, as a store would.

mod keyed;
mod views;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use windrow::evaluate::by_entity::ByEntity;
use windrow::evaluate::{Engine, reference};
use windrow::time::EventTime;
use windrow::view::plan::session;
use windrow::view::{FeatureView, Sharding, Streams};

use keyed::{CLASSES, DIVISION, KEYED};
use views::{OTHERS, TILED, Template};
use world::{Event, Kept, Table, decoded, difference, keys, plan, rows, small, table};

/// 2024-03-01, a little after midnight; on the edge of no window.
const START: i64 = 1_709_251_200_000_000 + 90_123_000;
/// How much earlier than the clock an event may be and still count.
const LATEST: i64 = 65_000_000;
/// Partitions of a view that has to see all of them.
const PARTITIONS: u64 = 3;

/// One step of a log.
#[derive(Debug, Clone, Copy)]
struct Step {
    stream: usize,
    /// Time since the event before.
    after: i64,
    /// How far its event time lies behind the clock.
    behind: i64,
    card: u8,
    salt: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![
        6 => 0..900_000_i64,
        3 => (0..20_i64).prop_map(|seconds| seconds * 1_000_000),
        1 => 0..90_000_000_i64,
        // A gap that empties every window but the longest.
        1 => 3_600_000_000..10_800_000_000_i64,
    ];
    let behind = prop_oneof![4 => Just(0), 2 => 0..5_000_000_i64, 1 => 0..LATEST];
    (0..3_usize, after, behind, 0..6_u8, any::<u64>()).prop_map(|(stream, after, behind, card, salt)| Step {
        stream,
        after,
        behind,
        card,
        salt,
    })
}

/// What is taken in one turn: how many steps, and how long it is silent after.
fn turns() -> impl Strategy<Value = Vec<(usize, i64)>> {
    let silence = prop_oneof![5 => Just(0), 2 => 0..40_000_000_i64, 1 => 0..7_200_000_000_i64];
    proptest::collection::vec((1..25_usize, silence), 1..8)
}

/// A view's shard under test.
struct Shard {
    streams: Streams,
    view: Arc<FeatureView>,
    engine: ByEntity,
    kept: Kept,
    offsets: BTreeMap<(usize, i32), i64>,
    /// What a store would have.
    published: Table,
    clock: i64,
}

impl Shard {
    #[track_caller]
    fn new(streams: Streams, view: Arc<FeatureView>, engine: Engine) -> Self {
        let mut kept = Kept::default();
        for stream in view.streams() {
            kept.0.insert(stream.to_owned(), (Some(decoded(&streams, &view, stream)), Vec::new()));
        }
        let columns = |stream: &str| decoded(&streams, &view, stream);
        let Some(engine) = block_on(ByEntity::try_new(engine, &view, &session(), columns)).unwrap() else {
            panic!("{} is not {engine:?}: {:?}, {:?}", view.name, view.tiling.as_ref().err(), view.keying)
        };
        let (offsets, published) = (BTreeMap::new(), Table::new());
        Self { streams, view, engine, kept, offsets, published, clock: START }
    }

    /// Takes events in: those of a stream's partition together.
    fn ingest(&mut self, steps: &[Step]) {
        let names: Vec<String> = self.view.streams().into_iter().map(ToOwned::to_owned).collect();
        let is_single = matches!(self.view.sharding, Sharding::Single { .. });
        let mut batches: BTreeMap<(usize, i32), Vec<Event>> = BTreeMap::new();
        for step in steps {
            let stream = step.stream % names.len();
            // By another key than the view's.
            let partition = if is_single { i32::try_from(step.salt % PARTITIONS).unwrap() } else { 0 };
            self.clock += step.after;
            let time_us = self.clock - step.behind;
            let event = Event { partition, time_us, card: step.card, salt: step.salt };
            batches.entry((stream, partition)).or_default().push(event);
        }
        for ((stream, partition), events) in batches {
            let name = &names[stream];
            let key = &self.streams.get(self.streams.id(name).unwrap()).key;
            let first = self.offsets.entry((stream, partition)).or_default();
            let (schema, batches) = self.kept.0.get_mut(name).unwrap();
            let batch = rows(schema.as_ref().unwrap(), key, &events, *first);
            *first += i64::try_from(events.len()).unwrap();
            let unusable = self.engine.update(name, partition, &batch).unwrap();
            assert!(unusable.error.is_none(), "{unusable:?}");
            batches.push(batch);
        }
        // Plain SQL sees events in the order of partition and offset.
        for (_, batches) in self.kept.0.values_mut() {
            batches.sort_by_key(partition_of);
        }
    }

    /// Compares what a store would have with plain SQL.
    fn evaluate(&mut self, now: i64) -> Result<(), String> {
        let now = EventTime(now);
        let outcome = block_on(self.engine.evaluate(&session(), now)).map_err(|error| error.to_string())?;
        let touched = keys(&self.view, &outcome.touched);
        let rows = table(&self.view, &outcome.rows);
        if let Some(stranger) = rows.keys().find(|key| !touched.contains(&Some((*key).clone()))) {
            return Err(format!("{stranger} has a row and was not touched"));
        }
        for key in touched.into_iter().flatten() {
            self.published.remove(&key);
        }
        self.published.extend(rows);
        let all = block_on(reference::evaluate(&session(), &self.view, now, &self.kept))
            .map_err(|error| error.to_string())?;
        difference(&self.view, &self.published, &table(&self.view, &all)).map_or(Ok(()), Err)
    }

    fn run(&mut self, steps: &[Step], turns: &[(usize, i64)]) -> Result<(), String> {
        let mut rest = steps;
        for (turn, (count, silence)) in turns.iter().cycle().enumerate() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*count));
            rest = later;
            self.ingest(now);
            let clock = self.clock;
            self.evaluate(clock).map_err(|error| format!("turn {turn}: {error}"))?;
            // In silence, time runs on without events, and back when they come again.
            if *silence > 0 {
                self.evaluate(clock + silence).map_err(|error| format!("turn {turn}, silent: {error}"))?;
            }
            self.engine.advance(EventTime(clock)).unwrap();
        }
        Ok(())
    }
}

fn partition_of(batch: &arrow::array::RecordBatch) -> i32 {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;
    batch.column_by_name("_partition").unwrap().as_primitive::<Int32Type>().value(0)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[track_caller]
fn shard(template: &Template, engine: Engine) -> Shard {
    let header = format!("-- entity: card\n-- key: {}\n{}", template.key, template.header);
    let streams = small();
    let view = plan(&streams, "generated", format!("{header}{}", template.sql));
    Shard::new(streams, view, engine)
}

/// Views, each with an engine that must evaluate it: what can be tiled can be keyed, too.
fn templates() -> Vec<(&'static Template, Engine)> {
    let tiled = TILED.iter().map(|template| (template, Engine::Tiled));
    let keyed = TILED.iter().chain(&KEYED).map(|template| (template, Engine::Keyed));
    tiled.chain(keyed).collect()
}

proptest! {
    #![proptest_config(crate::support::cases(96))]

    #[test]
    fn tiled_is_plain_sql(
        index in 0..TILED.len(),
        steps in proptest::collection::vec(step(), 1..120),
        turns in turns(),
    ) {
        let template = &TILED[index];
        let mut shard = shard(template, Engine::Tiled);
        prop_assert_eq!(shard.run(&steps, &turns), Ok(()), "{}", template.name);
    }

    #[test]
    fn keyed_is_plain_sql(
        index in 0..TILED.len() + KEYED.len(),
        steps in proptest::collection::vec(step(), 1..120),
        turns in turns(),
    ) {
        let template = TILED.iter().chain(&KEYED).nth(index).unwrap();
        let mut shard = shard(template, Engine::Keyed);
        prop_assert_eq!(shard.run(&steps, &turns), Ok(()), "{}", template.name);
    }
}

/// A log from a seed, for tests that need one and not many.
fn steps_of(seed: u64, count: usize) -> Vec<Step> {
    let mut state = seed;
    let mut next = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let micros = |number: u64| i64::try_from(number).unwrap();
    let mut step = |_| Step {
        stream: usize::try_from(next(2)).unwrap(),
        after: micros(if next(40) == 0 { next(4_000_000_000) } else { next(3_000_000) }),
        behind: micros(if next(3) == 0 { next(65_000_000) } else { 0 }),
        card: u8::try_from(next(6)).unwrap(),
        salt: next(1 << 30),
    };
    (0..count).map(&mut step).collect()
}

#[test]
fn every_template_is_plain_sql_over_a_longer_log() {
    for (template, engine) in templates() {
        let mut shard = shard(template, engine);
        let found = shard.run(&steps_of(7, 400), &[(40, 0), (3, 30_000_000), (25, 0)]);
        assert_eq!(found, Ok(()), "{}, {engine:?}", template.name);
    }
}

#[test]
fn shipped_views_are_tiled_and_plain_sql() {
    for name in ["clickstream", "device", "transaction", "transaction_pattern"] {
        let path = format!("sql/{name}.sql");
        let streams = world::shipped();
        let view = plan(&streams, name, std::fs::read_to_string(path).unwrap());
        for engine in [Engine::Tiled, Engine::Keyed] {
            let mut shard = Shard::new(streams.clone(), Arc::clone(&view), engine);
            let found = shard.run(&steps_of(11, 500), &[(30, 0), (4, 200_000_000), (60, 0)]);
            assert_eq!(found, Ok(()), "{name}, {engine:?}");
        }
    }
}

#[test]
fn entities_that_go_quiet_leave_nothing() {
    for engine in [Engine::Tiled, Engine::Keyed] {
        let mut shard = shard(&TILED[0], engine);
        shard.run(&steps_of(3, 300), &[(50, 0)]).unwrap();
        assert!(shard.engine.len() > 3 && shard.engine.rows() > 0);
        let later = shard.clock + 4 * 3_600_000_000;
        shard.evaluate(later).unwrap();
        assert!(shard.published.is_empty());
        shard.engine.advance(EventTime(later)).unwrap();
        shard.evaluate(later).unwrap();
        assert_eq!((shard.engine.len(), shard.engine.rows()), (0, 0), "{engine:?}");
    }
}

#[test]
fn a_partition_given_up_leaves_nothing() {
    for engine in [Engine::Tiled, Engine::Keyed] {
        let mut shard = shard(&TILED[0], engine);
        shard.run(&steps_of(5, 60), &[(60, 0)]).unwrap();
        shard.engine.forget("transactions", 0);
        for (_, batches) in shard.kept.0.values_mut() {
            batches.clear();
        }
        shard.evaluate(shard.clock).unwrap();
        assert_eq!((shard.engine.len(), shard.engine.rows()), (0, 0), "{engine:?}");
    }
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
    let mut shard = shard(&DIVISION, Engine::Keyed);
    let zero = (0..1000).find(|salt| n_of(&shard, *salt) == Some(0)).unwrap();
    let two = (0..1000).find(|salt| n_of(&shard, *salt) == Some(2)).unwrap();
    let step = |after: i64, card: u8, salt: u64| Step { stream: 0, after, behind: 0, card, salt };
    shard.ingest(&[step(0, 1, two), step(1000, 2, two)]);
    shard.evaluate(shard.clock).unwrap();
    let before = shard.published.clone();
    assert_eq!(before.len(), 2);
    shard.ingest(&[step(1000, 1, zero)]);
    for _ in 0..2 {
        let error = shard.evaluate(shard.clock).unwrap_err();
        assert!(error.contains("Divide by zero"), "{error}");
        assert_eq!(shard.published, before);
    }
    shard.ingest(&[step(40_000_000, 2, two)]);
    shard.evaluate(shard.clock).unwrap();
    assert_eq!(shard.published.len(), 1);
}
