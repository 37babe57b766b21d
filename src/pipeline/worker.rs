//! A worker owns shards and everything in them: what is decided between a
//! batch of frames and the commands for the store happens here, on one thread,
//! without locks and without a wall clock of its own.
//!
//! ```text
//!  frames ─▶ decode ─▶ accept ─▶ keep ─▶ evaluate ─▶ what changed ─▶ Publication
//! ```

mod ingest;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SessionState;
use tokio::runtime::Runtime;

use super::publication::{Publication, StreamCounts};
use crate::clock::{self, PartitionClock, Silence, shard_now};
use crate::decode::{self, StreamDecoder};
use crate::evaluate::changes::{Changes, Moment, Published};
use crate::evaluate::reference::Rows;
use crate::evaluate::{self, Engine};
use crate::frame::{FrameBatch, PartitionId, StreamId};
use crate::schema::writers::Writers;
use crate::sink::encode::Encoder;
use crate::source::{Assignment, Commit};
use crate::state::retained::{LeadIn, Retained};
use crate::time::EventTime;
use crate::view::{FeatureView, Sharding, Streams};

/// A shard of a view: a partition number, or all of them.
type ShardId = Option<i32>;

/// A view that cannot be evaluated says so at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What a worker is made of.
pub struct Parts {
    /// The configured streams.
    pub streams: Arc<Streams>,
    /// A decoder for each stream that is read.
    pub decoders: BTreeMap<StreamId, StreamDecoder>,
    /// The views, each with its encoder.
    pub views: Vec<(Arc<FeatureView>, Encoder)>,
    /// Where writers' schemas are found.
    pub writers: Writers,
    /// How much disorder is borne.
    pub clock: clock::Options,
    /// DataFusion.
    pub session: SessionState,
}

/// What went wrong in a worker: bugs only; the run ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Decoding failed as a whole.
    #[error("could not decode a batch")]
    Decode(#[from] decode::Error),
    /// Rows could not be kept.
    #[error("could not keep a batch")]
    Keep(#[from] arrow::error::ArrowError),
    /// Rows could not be encoded.
    #[error("could not encode features")]
    Encode(#[from] crate::sink::encode::Error),
}

struct Partition {
    clock: PartitionClock,
    retained: Retained,
    position: i64,
    publish_from: i64,
    /// What the clock was when `publish_from` was reached.
    clock_then: Option<EventTime>,
}

impl Partition {
    const fn is_warm(&self) -> bool {
        self.position >= self.publish_from
    }
}

#[derive(Default)]
struct Shard {
    published: Published,
    /// Something happened that time alone does not tell.
    due: bool,
    /// What the store has is still to be worked out, from what was read before `publish_from`.
    adopts: bool,
    /// What `now()` was in each window at the last evaluation.
    edges: Vec<EventTime>,
}

struct View {
    view: Arc<FeatureView>,
    encoder: Encoder,
    engine: Engine,
    streams: Vec<StreamId>,
    shards: BTreeMap<ShardId, Shard>,
    complained_at: Option<EventTime>,
}

/// Owns shards.
pub struct Worker {
    streams: Arc<Streams>,
    writers: Writers,
    options: clock::Options,
    session: SessionState,
    runtime: Runtime,

    decoders: BTreeMap<StreamId, StreamDecoder>,
    views: Vec<View>,
    partitions: BTreeMap<PartitionId, Partition>,
    mismatched: HashSet<StreamId>,
}

/// The retained rows of a shard.
struct ShardRows<'a> {
    worker: &'a Worker,
    shard: ShardId,
}

impl Rows for ShardRows<'_> {
    fn rows(&self, stream: &str, after: EventTime) -> (SchemaRef, Vec<RecordBatch>) {
        let id = self.worker.streams.id(stream).expect("views read configured streams");
        let schema = Arc::clone(self.worker.decoders[&id].schema());
        let batches = self
            .worker
            .partitions_of(&[id], self.shard)
            .flat_map(|(_, partition)| partition.retained.after(after).cloned())
            .collect();
        (schema, batches)
    }
}

impl Worker {
    /// A worker without shards.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn try_new(parts: Parts) -> std::io::Result<Self> {
        let views = parts
            .views
            .into_iter()
            .map(|(view, encoder)| View {
                engine: Engine::for_class(view.classification.class),
                streams: view.streams().into_iter().filter_map(|name| parts.streams.id(name)).collect(),
                view,
                encoder,
                shards: BTreeMap::new(),
                complained_at: None,
            })
            .collect();
        Ok(Self {
            streams: parts.streams,
            writers: parts.writers,
            options: parts.clock,
            session: parts.session,
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            decoders: parts.decoders,
            views,
            partitions: BTreeMap::new(),
            mismatched: HashSet::new(),
        })
    }

    /// Takes partitions. One that it had before begins anew.
    pub fn assign(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            let id = assignment.partition;
            let Some(decoder) = self.decoders.get(&id.stream) else { continue };
            let retained = Retained::new(Arc::clone(decoder.schema()));
            let partition = Partition {
                clock: PartitionClock::at(assignment.clock),
                retained,
                position: assignment.read_from,
                publish_from: assignment.publish_from,
                clock_then: assignment.clock,
            };
            let warm = partition.is_warm();
            self.partitions.insert(id, partition);
            for view in self.views.iter_mut().filter(|view| view.streams.contains(&id.stream)) {
                let shard = view.shards.entry(view.shard_of(id)).or_default();
                shard.adopts |= !warm;
                shard.due = true;
            }
        }
    }

    /// Gives partitions up, and the shards that have none left.
    pub fn revoke(&mut self, partitions: &[PartitionId]) {
        for id in partitions {
            self.partitions.remove(id);
        }
        let left: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for view in &mut self.views {
            let (streams, sharding) = (&view.streams, &view.view.sharding);
            view.shards.retain(|shard, _| {
                left.iter().any(|id| streams.contains(&id.stream) && shard_of(sharding, *id) == *shard)
            });
        }
    }

    /// The store lost what was written: everything is written again.
    pub fn distrust_store(&mut self) {
        for shard in self.views.iter_mut().flat_map(|view| view.shards.values_mut()) {
            shard.published.distrust();
            shard.due = true;
        }
    }

    /// One turn: takes frames in, evaluates what is due, says what to publish.
    ///
    /// # Errors
    /// Bugs only: no event can cause one.
    pub fn turn(
        &mut self,
        frames: Vec<FrameBatch>,
        silences: &[(PartitionId, Silence)],
        wall: EventTime,
    ) -> Result<Publication, Error> {
        let mut publication = Publication::new(wall, self.views.len());
        for batch in frames {
            self.ingest(batch, &mut publication)?;
        }
        self.adopt_warm(wall)?;
        self.evaluate(silences, wall, &mut publication)?;
        self.expire()?;
        self.report(&mut publication);
        publication.computed_in = publication.begun.elapsed();
        Ok(publication)
    }

    /// The rows of a view, shard by shard, as they are at `at` or else at the
    /// shard's clock: for looking at them without publishing.
    ///
    /// # Errors
    /// When the view's SQL fails on these events.
    pub fn rows(&self, view: usize, at: Option<EventTime>) -> Result<Vec<RecordBatch>, evaluate::Error> {
        let view = &self.views[view];
        let mut batches = Vec::new();
        for shard in view.shards.keys() {
            let Some(clock) = self.event_clock(&view.streams, *shard) else { continue };
            let rows = ShardRows { worker: self, shard: *shard };
            let now = at.unwrap_or(clock);
            batches.push(self.runtime.block_on(view.engine.evaluate(
                &self.session,
                &view.view,
                now,
                &rows,
            ))?);
        }
        Ok(batches)
    }

    /// Shards that have reached what was published before: the rows that they
    /// have there are those that the store has.
    fn adopt_warm(&mut self, wall: EventTime) -> Result<(), Error> {
        for index in 0..self.views.len() {
            let adopting: Vec<ShardId> = self.views[index]
                .shards
                .iter()
                .filter(|(id, shard)| shard.adopts && self.is_warm(&self.views[index].streams, **id))
                .map(|(id, _)| *id)
                .collect();
            for id in adopting {
                let rows = match self.published_clock(&self.views[index].streams, id) {
                    Some(clock) => self.rows_of(index, id, clock, wall),
                    None => None,
                };
                let view = &mut self.views[index];
                let shard = view.shards.get_mut(&id).expect("the shard was just there");
                shard.adopts = false;
                shard.due = true;
                if let Some(rows) = rows {
                    shard.published.adopt(&view.encoder, &rows, wall)?;
                }
            }
        }
        Ok(())
    }

    /// Evaluates every shard in which something happened or a window's edge moved.
    fn evaluate(
        &mut self,
        silences: &[(PartitionId, Silence)],
        wall: EventTime,
        publication: &mut Publication,
    ) -> Result<(), Error> {
        for index in 0..self.views.len() {
            let ids: Vec<ShardId> = self.views[index].shards.keys().copied().collect();
            for id in ids {
                let streams = &self.views[index].streams;
                if !self.is_warm(streams, id) {
                    continue;
                }
                let clocks = self.partitions_of(streams, id).map(|(id, partition)| {
                    let silence =
                        silences.iter().find(|(known, _)| *known == id).map(|(_, silence)| *silence);
                    (partition.clock, silence.unwrap_or_default())
                });
                let Some(now) = shard_now(&self.options, clocks) else { continue };
                let edges = self.views[index].view.edges(now);
                let shard = &self.views[index].shards[&id];
                if !shard.due && shard.edges == edges {
                    continue;
                }
                let Some(rows) = self.rows_of(index, id, now, wall) else { continue };
                let view = &mut self.views[index];
                let shard = view.shards.get_mut(&id).expect("the shard was just there");
                let moment = Moment { as_of: now, wall, ttl: view.view.ttl };
                let changes: Changes =
                    shard.published.compare(&view.encoder, &rows, moment, &mut publication.writes)?;
                shard.due = false;
                shard.edges = edges;
                publication.views[index].features +=
                    changes.written * (rows.num_columns() - view.view.key.len()) as u64;
                publication.views[index].skipped += changes.skipped;
            }
        }
        Ok(())
    }

    /// The rows of a view's shard; `None` when its SQL fails on these events,
    /// which is said and tried again at the next turn.
    fn rows_of(&mut self, index: usize, id: ShardId, now: EventTime, wall: EventTime) -> Option<RecordBatch> {
        let view = &self.views[index];
        let rows = ShardRows { worker: self, shard: id };
        let evaluated = self.runtime.block_on(view.engine.evaluate(&self.session, &view.view, now, &rows));
        match evaluated {
            Ok(rows) => Some(rows),
            Err(error) => {
                let view = &mut self.views[index];
                let again = view.complained_at.is_none_or(|last| wall >= last.plus(COMPLAIN_EVERY.into()));
                if again {
                    view.complained_at = Some(wall);
                    let evaluate::Error::Query { source, .. } = &error;
                    tracing::error!(
                        view = view.view.name,
                        "{error}, its features stay as they are: {source}"
                    );
                }
                None
            }
        }
    }

    /// Drops events that no window of any view holds any more. The clock's own
    /// time counts, not the time that runs on when it is silent: an event that
    /// comes later turns it back.
    fn expire(&mut self) -> Result<(), Error> {
        let mut keep_after: BTreeMap<PartitionId, EventTime> = BTreeMap::new();
        for view in &self.views {
            for (shard, state) in &view.shards {
                // What the store has is yet to be worked out: that needs the events of then.
                let clock = if state.adopts {
                    self.published_clock(&view.streams, *shard)
                } else {
                    self.event_clock(&view.streams, *shard)
                };
                let Some(clock) = clock else { continue };
                for (id, _) in self.partitions_of(&view.streams, *shard) {
                    let stream = &self.streams.get(id.stream).name;
                    if let Some(after) = view.view.keep_after(stream, clock) {
                        let known = keep_after.entry(id).or_insert(after);
                        *known = (*known).min(after);
                    }
                }
            }
        }
        for (id, after) in keep_after {
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.retained.drop_until(after)?;
            }
        }
        Ok(())
    }

    fn report(&self, publication: &mut Publication) {
        for (id, partition) in &self.partitions {
            let here = LeadIn { offset: partition.position, clock: partition.clock.time() };
            let lead_in = partition.retained.lead_in().unwrap_or(here);
            if partition.is_warm() {
                publication.commits.push(Commit { partition: *id, offset: partition.position, lead_in });
            }
            publication.clocks.push((*id, partition.clock.time()));
            let counts: &mut StreamCounts = publication.counts(id.stream);
            counts.kept += partition.retained.rows();
        }
        for (index, view) in self.views.iter().enumerate() {
            let streams: BTreeSet<StreamId> = view.streams.iter().copied().collect();
            let retained: usize = self
                .partitions
                .iter()
                .filter(|(id, _)| streams.contains(&id.stream))
                .map(|(_, partition)| partition.retained.bytes())
                .sum();
            let published: usize = view.shards.values().map(|shard| shard.published.bytes()).sum();
            let report = &mut publication.views[index];
            report.state_bytes = retained + published;
            report.entities = view.shards.values().map(|shard| shard.published.len()).sum();
            report.shards = view.shards.len();
            report.streams.clone_from(&view.streams);
        }
    }

    /// The event-time clock of a shard.
    fn event_clock(&self, streams: &[StreamId], shard: ShardId) -> Option<EventTime> {
        self.partitions_of(streams, shard).filter_map(|(_, partition)| partition.clock.time()).max()
    }

    /// The clock of a shard when it was last published, as far as its
    /// partitions have been read up to there: some may be further than others.
    fn published_clock(&self, streams: &[StreamId], shard: ShardId) -> Option<EventTime> {
        self.partitions_of(streams, shard)
            .filter_map(
                |(_, partition)| {
                    if partition.is_warm() { partition.clock_then } else { partition.clock.time() }
                },
            )
            .max()
    }

    fn is_warm(&self, streams: &[StreamId], shard: ShardId) -> bool {
        self.partitions_of(streams, shard).all(|(_, partition)| partition.is_warm())
    }

    /// The partitions of a shard, in order.
    fn partitions_of(
        &self,
        streams: &[StreamId],
        shard: ShardId,
    ) -> impl Iterator<Item = (PartitionId, &Partition)> {
        self.partitions
            .iter()
            .filter(move |(id, _)| {
                streams.contains(&id.stream) && shard.is_none_or(|number| number == id.partition)
            })
            .map(|(id, partition)| (*id, partition))
    }
}

impl View {
    fn shard_of(&self, partition: PartitionId) -> ShardId {
        shard_of(&self.view.sharding, partition)
    }
}

const fn shard_of(sharding: &Sharding, partition: PartitionId) -> ShardId {
    match sharding {
        Sharding::ByPartition => Some(partition.partition),
        Sharding::Single { .. } => None,
    }
}
