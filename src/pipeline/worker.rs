//! A worker owns shards and everything in them: what is decided between a
//! batch of frames and the commands for the store happens here, on one thread,
//! without locks and without a wall clock of its own.
//!
//! ```text
//!  frames ─▶ decode ─▶ accept ─▶ keep ─▶ evaluate ─▶ what changed ─▶ Publication
//!  └──────── take_in, as events come ───┘└─────────── turn, once a batch ────────┘
//! ```

mod evaluate;
mod holding;
mod ingest;
mod rows;
mod saved;
mod sweep;
mod turn;
mod warming;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SessionState;
use tokio::runtime::Runtime;

use super::publication::{Publication, StreamCounts};
use crate::clock::{self, PartitionClock};
use crate::decode::{self, StreamDecoder};
use crate::evaluate::Engine;
use crate::evaluate::by_entity::ByEntity;
use crate::evaluate::changes::Published;
use crate::evaluate::reference::Rows;
use crate::evaluate::sweep::Sweep;
use crate::frame::{PartitionId, StreamId};
use crate::schema::writers::Writers;
use crate::sink::Writes;
use crate::sink::encode::{Encoder, Mark};
use crate::sink::fence::Shard as Fence;
use crate::source::{Assignment, Commit, Past};
use crate::state::lead_in::LeadIn;
use crate::state::retained::Retained;
use crate::time::{EventTime, Span};
use crate::view::{FeatureView, Sharding, Streams};
pub use saved::Restored;
pub use turn::Ahead;

/// A shard of a view: a partition number, or all of them.
type ShardId = Option<i32>;

/// What is wrong with a view is said at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What a worker is made of.
pub struct Parts {
    /// The configured streams.
    pub streams: Arc<Streams>,
    /// A decoder for each stream that is read.
    pub decoders: BTreeMap<StreamId, StreamDecoder>,
    /// The views, each with its encoder.
    pub views: Vec<(Arc<FeatureView>, Arc<Encoder>)>,
    /// Where writers' schemas are found.
    pub writers: Writers,
    /// How much disorder is borne.
    pub clock: clock::Options,
    /// DataFusion.
    pub session: SessionState,
    /// Whether every view is evaluated by the reference, whatever its class.
    pub reference_only: bool,
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
    /// The system gives no runtime.
    #[error("could not set up a worker")]
    Start(#[from] std::io::Error),
    /// What is kept by entity could not be kept or merged.
    #[error("could not keep events by entity")]
    ByEntity(#[from] datafusion::error::DataFusionError),
    /// Rows could not be encoded.
    #[error("could not encode features")]
    Encode(#[from] crate::sink::encode::Error),
}

struct Partition {
    clock: PartitionClock,
    retained: Retained,
    position: i64,
    publish_from: i64,
    /// Nothing is published before this offset has been reached, or the end of the log.
    hold_until: i64,
    /// What the clock was when `publish_from` was reached.
    clock_then: Option<EventTime>,
    /// What is known of the events before those that were read.
    past: Past,
    /// The offset after events that are missing, until the first accepted event from there on has come.
    resumes_at: Option<i64>,
    /// Up to this time events mattered to no view any more and may have been dropped.
    dropped_until: Option<EventTime>,
}

impl Partition {
    fn new(assignment: &Assignment, retained: Retained) -> Self {
        Self {
            clock: PartitionClock::at(assignment.clock),
            retained,
            position: assignment.read_from,
            publish_from: assignment.publish_from,
            hold_until: assignment.hold_until,
            clock_then: assignment.clock,
            past: assignment.past,
            resumes_at: (assignment.past == Past::Unknown).then_some(assignment.read_from),
            dropped_until: None,
        }
    }
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is yet to be done in a shard does not exclude each other"
)]
struct Shard {
    published: Published,
    /// What is kept of the events by entity, where the view is evaluated from that.
    by_entity: Option<ByEntity>,
    /// Something happened that time alone does not tell.
    due: bool,
    /// What the store has is still to be worked out, from what was read before `publish_from`.
    adopts: bool,
    /// The store may have hashes of which nothing is known: rows that another
    /// process published and did not come to commit.
    has_strangers: bool,
    /// What `now()` was in each window at the last evaluation.
    edges: Vec<EventTime>,
    /// Entities to be looked at again.
    sweep: Sweep,
    /// A sweep is on. Hashes that are still in doubt at its end have no row.
    sweeps: bool,
    /// Whether its hashes say that events are missing.
    mark: Mark,
    /// How long its clock has to go on until none is.
    warms_for: Span,
    /// By partition, the number of the first deletion that was not saved with it.
    deletions_told: BTreeMap<PartitionId, u64>,
    /// All of its rows at the last comparison, where rows are given out and the view is full.
    compared: Option<RecordBatch>,
}

impl Shard {
    /// What came from a partition is gone: it is given up, or read anew.
    fn forget(&mut self, stream: &str, partition: PartitionId) {
        if let Some(by_entity) = &mut self.by_entity {
            by_entity.forget(stream, partition.partition);
        }
        self.deletions_told.remove(&partition);
        self.due = true;
    }
}

struct View {
    view: Arc<FeatureView>,
    encoder: Arc<Encoder>,
    engine: Engine,
    /// An empty shard, where the view is evaluated by entity.
    prototype: Option<ByEntity>,
    streams: Vec<StreamId>,
    shards: BTreeMap<ShardId, Shard>,
    complaints: evaluate::Complaints,
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
    /// What the store is to be told of shards, at the next turn.
    taken: BTreeSet<Fence>,
    given_up: BTreeSet<Fence>,
    /// When the last of those taken was given.
    given_at: Option<Instant>,
    mismatched: HashSet<StreamId>,
    /// Entities that a turn looks at again.
    stretch: usize,
    /// Whether publications carry rows and no commands.
    gives_rows: bool,
    /// What was taken in since the last turn came to so far.
    begun: Option<Publication>,
    /// Room of commands that are written: to have the system give it anew costs a tenth of a turn.
    spare: Vec<Writes>,
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
    /// When the system gives no runtime, or a view cannot be bound to what is decoded: a bug.
    pub fn try_new(parts: Parts) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let decoded = |name: &str| {
            let id = parts.streams.id(name).expect("views read configured streams");
            Arc::clone(parts.decoders[&id].schema())
        };
        let mut views = Vec::with_capacity(parts.views.len());
        for (view, encoder) in parts.views {
            let engine = if parts.reference_only {
                Engine::Reference
            } else {
                Engine::for_class(view.classification.class)
            };
            let prototype = runtime.block_on(ByEntity::try_new(engine, &view, &parts.session, decoded))?;
            views.push(View {
                engine,
                prototype,
                streams: view.streams().into_iter().filter_map(|name| parts.streams.id(name)).collect(),
                view,
                encoder,
                shards: BTreeMap::new(),
                complaints: evaluate::Complaints::default(),
            });
        }
        Ok(Self {
            streams: parts.streams,
            writers: parts.writers,
            options: parts.clock,
            session: parts.session,
            runtime,
            decoders: parts.decoders,
            views,
            partitions: BTreeMap::new(),
            taken: BTreeSet::new(),
            given_up: BTreeSet::new(),
            given_at: None,
            mismatched: HashSet::new(),
            stretch: sweep::ENTITIES_A_TURN,
            gives_rows: false,
            begun: None,
            spare: Vec::new(),
        })
    }

    /// Takes partitions. One that it had before begins anew.
    ///
    /// # Errors
    /// Bugs only.
    pub fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        for assignment in assignments {
            let id = assignment.partition;
            let Some(decoder) = self.decoders.get(&id.stream) else { continue };
            let reruns = |view: &View| view.engine == Engine::Reference && view.streams.contains(&id.stream);
            let keeps_rows = self.views.iter().any(reruns);
            let retained = Retained::new(Arc::clone(decoder.schema()), keeps_rows);
            let partition = Partition::new(assignment, retained);
            let warm = partition.is_warm();
            self.partitions.insert(id, partition);
            for view in self.views.iter_mut().filter(|view| view.streams.contains(&id.stream)) {
                let shard_id = view.shard_of(id);
                if !view.shards.contains_key(&shard_id) {
                    let by_entity = view.prototype.as_ref().map(ByEntity::another).transpose()?;
                    view.shards.insert(shard_id, Shard { by_entity, ..Shard::default() });
                }
                let shard = view.shards.get_mut(&shard_id).expect("the shard was just put there");
                shard.forget(&self.streams.get(id.stream).name, id);
                shard.adopts |= !warm;
                shard.has_strangers |= assignment.hold_until > assignment.publish_from;
                let fence = view.fence(shard_id);
                self.given_up.remove(&fence);
                self.taken.insert(fence);
                self.given_at = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Gives partitions up, and the shards that have none left.
    pub fn revoke(&mut self, partitions: &[PartitionId]) {
        let before: BTreeSet<Fence> = self.fences().collect();
        for id in partitions {
            self.partitions.remove(id);
        }
        let left: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for view in &mut self.views {
            let (streams, sharding) = (&view.streams, &view.view.sharding);
            for id in partitions.iter().filter(|id| streams.contains(&id.stream)) {
                if let Some(shard) = view.shards.get_mut(&shard_of(sharding, *id)) {
                    shard.forget(&self.streams.get(id.stream).name, *id);
                }
            }
            view.shards.retain(|shard, _| {
                left.iter().any(|id| streams.contains(&id.stream) && shard_of(sharding, *id) == *shard)
            });
        }
        // A fence can be that of several views.
        let left: BTreeSet<Fence> = self.fences().collect();
        let gone: Vec<Fence> = before.difference(&left).copied().collect();
        for fence in gone {
            self.taken.remove(&fence);
            self.given_up.insert(fence);
        }
    }

    /// Whose every shard is, for the store.
    fn fences(&self) -> impl Iterator<Item = Fence> {
        self.views.iter().flat_map(|view| view.shards.keys().map(move |shard| view.fence(*shard)))
    }

    /// Takes the room of commands back that are written.
    pub fn reuse(&mut self, writes: Writes) {
        self.spare.push(writes.emptied());
    }

    /// Drops events that no window of any view holds any more. The clock's own
    /// time counts, not the time that runs on when it is silent: an event that
    /// comes later turns it back.
    fn expire(&mut self) -> Result<(), Error> {
        let mut keep_after: BTreeMap<PartitionId, EventTime> = BTreeMap::new();
        let mut clocks: Vec<(usize, ShardId, EventTime)> = Vec::new();
        for (index, view) in self.views.iter().enumerate() {
            for (shard, state) in &view.shards {
                // What the store has is yet to be worked out: that needs the events of then.
                let clock = if state.adopts {
                    self.published_clock(&view.streams, *shard)
                } else {
                    self.event_clock(&view.streams, *shard)
                };
                let Some(clock) = clock else { continue };
                clocks.push((index, *shard, clock));
                for (id, _) in self.partitions_of(&view.streams, *shard) {
                    let stream = &self.streams.get(id.stream).name;
                    if let Some(after) = view.view.keep_after(stream, clock) {
                        let known = keep_after.entry(id).or_insert(after);
                        *known = (*known).min(after);
                    }
                }
            }
        }
        for (index, shard, clock) in clocks {
            let shard = self.views[index].shards.get_mut(&shard);
            if let Some(by_entity) = shard.and_then(|shard| shard.by_entity.as_mut()) {
                by_entity.advance(clock)?;
            }
        }
        for (id, after) in keep_after {
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.retained.drop_until(after)?;
                partition.dropped_until = partition.dropped_until.max(Some(after));
            }
        }
        Ok(())
    }

    fn report(&self, publication: &mut Publication) {
        for (id, partition) in &self.partitions {
            let here = LeadIn { offset: partition.position, clock: partition.clock.time() };
            let lead_in = partition.retained.lead_in().unwrap_or(here);
            if self.is_published(*id) {
                let (offset, coverage) = (partition.position, partition.coverage());
                publication.commits.push(Commit { partition: *id, offset, lead_in, coverage });
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
            let own: usize = view.shards.values().map(Shard::bytes).sum();
            // What is held back does not wait for the next turns, but for events.
            let next = view.shards.iter().filter(|(id, _)| self.publishes(&view.streams, **id));
            publication.waiting += next.map(|(_, shard)| shard.waiting()).sum::<usize>();
            let report = &mut publication.views[index];
            report.state_bytes = own + if view.engine == Engine::Reference { retained } else { 0 };
            report.entities = view.shards.values().map(|shard| shard.published.len()).sum();
            report.shards = view.shards.len();
            report.warms_for = view.shards.values().map(|shard| shard.warms_for).max().unwrap_or_default();
        }
    }

    /// The event-time clock of a shard.
    fn event_clock(&self, streams: &[StreamId], shard: ShardId) -> Option<EventTime> {
        self.partitions_of(streams, shard).filter_map(|(_, partition)| partition.clock.time()).max()
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

    /// What a shard is to the store: processes hand it over together with the
    /// partition of the view's first stream, which has its others with it.
    fn fence(&self, shard: ShardId) -> Fence {
        let stream = *self.streams.first().expect("a view with shards reads a stream");
        Fence { stream, partition: shard }
    }
}

const fn shard_of(sharding: &Sharding, partition: PartitionId) -> ShardId {
    match sharding {
        Sharding::ByPartition => Some(partition.partition),
        Sharding::Single { .. } => None,
    }
}
