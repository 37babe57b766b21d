//! A view's shard in every engine that can evaluate it, beside plain SQL over all that it accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use windrow::evaluate::by_entity::ByEntity;
use windrow::evaluate::{Engine, reference};
use windrow::time::EventTime;
use windrow::view::plan::session;
use windrow::view::{FeatureView, Sharding, Streams};

use super::log::{START, Step};
use super::world::{Event, Kept, Table, decoded, difference, keys, rows, table};

/// Partitions of a view that has to see all of them.
const PARTITIONS: u64 = 3;

/// An engine at work.
pub struct Running {
    engine: Engine,
    pub state: ByEntity,
    /// What a store would have.
    pub published: Table,
}

/// See the module.
pub struct Shard {
    pub streams: Streams,
    pub view: Arc<FeatureView>,
    pub engines: Vec<Running>,
    pub kept: Kept,
    offsets: BTreeMap<(usize, i32), i64>,
    pub clock: i64,
}

impl Shard {
    /// Nothing accepted yet.
    ///
    /// # Panics
    /// When one of the engines cannot evaluate the view.
    #[track_caller]
    pub fn new(streams: Streams, view: Arc<FeatureView>, engines: &[Engine]) -> Self {
        let mut kept = Kept::default();
        for stream in view.streams() {
            kept.0.insert(stream.to_owned(), (Some(decoded(&streams, &view, stream)), Vec::new()));
        }
        let columns = |stream: &str| decoded(&streams, &view, stream);
        let engines = engines.iter().map(|engine| {
            let Some(state) = block_on(ByEntity::try_new(*engine, &view, &session(), columns)).unwrap()
            else {
                panic!("{} is not {engine:?}: {:?}, {:?}", view.name, view.tiling.as_ref().err(), view.keying)
            };
            Running { engine: *engine, state, published: Table::new() }
        });
        let engines = engines.collect();
        Self { streams, view, engines, kept, offsets: BTreeMap::new(), clock: START }
    }

    /// Takes events in: those of a stream's partition together.
    pub fn ingest(&mut self, steps: &[Step]) {
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
            for running in &mut self.engines {
                let unusable = running.state.update(name, partition, &batch).unwrap();
                assert!(unusable.error.is_none(), "{unusable:?}");
            }
            batches.push(batch);
        }
        // Plain SQL sees events in the order of partition and offset.
        for (_, batches) in self.kept.0.values_mut() {
            batches.sort_by_key(partition_of);
        }
    }

    /// Compares what stores would have with plain SQL.
    ///
    /// # Errors
    /// What differs, in words, or what an engine says.
    pub fn evaluate(&mut self, now: i64) -> Result<(), String> {
        let now = EventTime(now);
        for running in &mut self.engines {
            running.evaluate(&self.view, now).map_err(|error| format!("{:?}: {error}", running.engine))?;
        }
        let all = block_on(reference::evaluate(&session(), &self.view, now, &self.kept))
            .map_err(|error| error.to_string())?;
        let expected = table(&self.view, &all);
        self.engines
            .iter()
            .find_map(|running| {
                let difference = difference(&self.view, &running.published, &expected)?;
                Some(format!("{:?}: {difference}", running.engine))
            })
            .map_or(Ok(()), Err)
    }

    /// Runs a log in turns of so many events, after each of which time runs on in silence.
    ///
    /// # Errors
    /// The turn after which something differs.
    pub fn run(&mut self, steps: &[Step], turns: &[(usize, i64)]) -> Result<(), String> {
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
            self.advance(clock);
        }
        Ok(())
    }

    /// Lets go of what no window holds any more.
    pub fn advance(&mut self, now: i64) {
        self.engines.iter_mut().for_each(|running| running.state.advance(EventTime(now)).unwrap());
    }

    /// How many entities each engine has, and of how many rows.
    pub fn kept(&self) -> Vec<(usize, usize)> {
        self.engines.iter().map(|running| (running.state.len(), running.state.rows())).collect()
    }
}

impl Running {
    /// Lays what changed over what the store has.
    fn evaluate(&mut self, view: &FeatureView, now: EventTime) -> Result<(), String> {
        let outcome = block_on(self.state.evaluate(&session(), now)).map_err(|error| error.to_string())?;
        let touched = keys(view, &outcome.touched);
        let rows = table(view, &outcome.rows);
        if let Some(stranger) = rows.keys().find(|key| !touched.contains(&Some((*key).clone()))) {
            return Err(format!("{stranger} has a row and was not touched"));
        }
        for key in touched.into_iter().flatten() {
            self.published.remove(&key);
        }
        self.published.extend(rows);
        Ok(())
    }
}

fn partition_of(batch: &RecordBatch) -> i32 {
    batch.column_by_name("_partition").unwrap().as_primitive::<Int32Type>().value(0)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
