//! A worker over a log, with a store in memory and what it would commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use windrow::checkpoint::object;
use windrow::clock::{self, Silence};
use windrow::decode::StreamDecoder;
use windrow::frame::{Frame, FrameBatch, PartitionId, Reason, StreamId};
use windrow::pipeline::publication::Publication;
use windrow::pipeline::worker::{Parts, Worker};
use windrow::schema::writers::Writers;
use windrow::sink::Sink;
use windrow::sink::encode::{self, AS_OF, Encoder, KeyTemplate, WARMING};
use windrow::sink::memory::{MemorySink, MemoryStore, Snapshot};
use windrow::sink::rows::Changed;
use windrow::source::{Assignment, Commit, Coverage, Past};
use windrow::state::lead_in::LeadIn;
use windrow::time::{EventTime, Span};
use windrow::view::FeatureView;
use windrow::view::plan::session;

use super::log::{
    ALLOWED_LATENESS_MS, BEGIN_MS, Entry, MAX_FUTURE_MS, MAX_OUT_OF_ORDER_MS, PARTITIONS, V1, V2,
};
use super::reference::Hashes;
use super::views::{self, Template};

pub const STREAM: StreamId = StreamId(0);

/// Wall time stands still: no value depends on it.
const WALL: EventTime = EventTime::from_millis(BEGIN_MS);

pub const fn partition(partition: i32) -> PartitionId {
    PartitionId { stream: STREAM, partition }
}

/// What a partition would go on from.
pub type Commits = BTreeMap<PartitionId, Commit>;

/// By partition, the objects of its checkpoint.
pub type Checkpoints = BTreeMap<PartitionId, Vec<Vec<u8>>>;

/// A worker, its store, and how far it has read.
pub struct Run {
    view: Arc<FeatureView>,
    reference_only: bool,
    worker: Worker,
    sink: MemorySink,

    positions: BTreeMap<PartitionId, i64>,
    /// By partition, the end of what another process may have published.
    ends: BTreeMap<PartitionId, i64>,
    pub commits: Commits,
    pub rejected: BTreeMap<Reason, usize>,
    /// What it gave out as rows, if it does.
    pub changed: Vec<Changed>,
    /// Of every third some events are taken in before.
    turns: usize,
}

impl Run {
    /// Begins at the beginning of both partitions, with an empty store.
    pub fn new(template: &Template) -> Self {
        Self::begin(template, false)
    }

    /// The same, evaluated by the reference whatever the view's class.
    pub fn by_reference(template: &Template) -> Self {
        Self::begin(template, true)
    }

    fn begin(template: &Template, reference_only: bool) -> Self {
        let begin = (0..PARTITIONS)
            .map(|number| {
                let lead_in = LeadIn { offset: 0, clock: None };
                let coverage = Coverage::default();
                (partition(number), Commit { partition: partition(number), offset: 0, lead_in, coverage })
            })
            .collect();
        Self::resume(views::view(template), MemoryStore::default(), begin, reference_only)
    }

    /// Begins at these offsets; what stands before them is missing.
    pub fn torn(template: &Template, offsets: &[i64], reference_only: bool) -> Self {
        let begin = (0..).zip(offsets).map(|(number, offset)| {
            let past = if *offset > 0 { Past::Unknown } else { Past::Whole };
            let commit = Commit {
                partition: partition(number),
                offset: *offset,
                lead_in: LeadIn { offset: *offset, clock: None },
                coverage: Coverage { past, ..Coverage::default() },
            };
            (commit.partition, commit)
        });
        Self::resume(views::view(template), MemoryStore::default(), begin.collect(), reference_only)
    }

    /// A partition goes on at this offset: what it has not read before it is missing.
    pub fn gap(&mut self, number: i32, offset: i64) {
        self.worker.note_gap(partition(number), offset);
        self.positions.insert(partition(number), offset);
    }

    /// Has a turn look again at so many entities.
    pub fn with_stretch(mut self, entities: usize) -> Self {
        self.worker = self.worker.with_stretch(entities);
        self
    }

    /// Gives out rows, and nothing to its store.
    pub fn with_rows(mut self) -> Self {
        self.worker = self.worker.with_rows();
        self
    }

    /// Another process over the same store, which knows no more than what was committed.
    pub fn restarted(&self, commits: Commits) -> Self {
        Self::resume(Arc::clone(&self.view), self.sink.store(), commits, self.reference_only)
    }

    fn resume(view: Arc<FeatureView>, store: MemoryStore, commits: Commits, reference_only: bool) -> Self {
        let worker = worker(&view, reference_only);
        let mut run = Self {
            view,
            reference_only,
            worker,
            sink: MemorySink::new(store),
            positions: BTreeMap::new(),
            ends: BTreeMap::new(),
            commits,
            rejected: BTreeMap::new(),
            changed: Vec::new(),
            turns: 0,
        };
        run.assign(0..PARTITIONS);
        run
    }

    /// The same, where any event of the log may have been published and not committed.
    pub fn followed(&self, commits: Commits, log: &[Entry]) -> Self {
        let mut run = self.restarted(commits);
        for entry in log {
            run.ends.insert(partition(entry.partition), entry.offset + 1);
        }
        run.assign(0..PARTITIONS);
        run
    }

    /// Another process that has a checkpoint as well, unless there is none of a partition.
    pub fn restored(&self, checkpoints: &Checkpoints) -> Self {
        let mut run = self.restarted(self.commits.clone());
        for (id, objects) in checkpoints.iter().filter(|(_, objects)| !objects.is_empty()) {
            let parts = objects.iter().map(|bytes| object::decode(bytes).unwrap()).collect();
            let saved = object::together(parts).unwrap();
            let without = run.assignment(*id);
            let restored = run.worker.restore(&without, &saved).unwrap();
            assert_eq!(restored.refused, None);
            assert_eq!(restored.assignment.read_from, saved.position);
            run.positions.insert(*id, saved.position);
        }
        run
    }

    /// Saves what changed since the last checkpoint, or all of it.
    pub fn checkpoint(&mut self, checkpoints: &mut Checkpoints) {
        for number in 0..PARTITIONS {
            let objects = checkpoints.entry(partition(number)).or_default();
            let saved = self.worker.snapshot(partition(number), objects.is_empty()).unwrap();
            objects.extend(saved.map(|saved| object::encode(&saved).unwrap()));
        }
    }

    fn assignment(&self, partition: PartitionId) -> Assignment {
        let commit = self.commits[&partition];
        Assignment {
            partition,
            read_from: commit.lead_in.offset,
            clock: commit.lead_in.clock,
            publish_from: commit.offset,
            hold_until: self.ends.get(&partition).map_or(commit.offset, |end| commit.offset.max(*end)),
            end: i64::MAX,
            past: commit.coverage.past,
            committed_past: commit.coverage.past,
        }
    }

    /// Gives the worker these partitions, from where they were committed.
    pub fn assign(&mut self, numbers: impl IntoIterator<Item = i32>) {
        let assignments: Vec<Assignment> =
            numbers.into_iter().map(|number| self.assignment(partition(number))).collect();
        for assignment in &assignments {
            self.positions.insert(assignment.partition, assignment.read_from);
        }
        self.worker.assign(&assignments).unwrap();
    }

    pub fn revoke(&mut self, numbers: impl IntoIterator<Item = i32>) {
        let partitions: Vec<PartitionId> = numbers.into_iter().map(partition).collect();
        self.worker.revoke(&partitions);
        for partition in partitions {
            self.positions.remove(&partition);
        }
    }

    /// Reads on to the end of `log`, in turns of at most so many events a partition.
    pub fn read(&mut self, log: &[Entry], at_most: usize) {
        loop {
            let frames: Vec<FrameBatch> =
                self.positions.iter().map(|(id, position)| frames(log, *id, *position, at_most)).collect();
            if frames.iter().all(FrameBatch::is_empty) {
                return;
            }
            for batch in &frames {
                if let Some(next) = batch.next_offset() {
                    self.positions.insert(batch.partition, next);
                }
            }
            let frames = frames.into_iter().filter(|batch| !batch.is_empty()).collect();
            self.turn(frames, Silence::default());
        }
    }

    /// A turn without events, after a silence of both partitions.
    pub fn silence(&mut self, caught_up: bool, seconds: i64) -> Publication {
        self.turn(Vec::new(), Silence { caught_up, drained: caught_up, since: Span::from_secs(seconds) })
    }

    /// A turn, published and committed.
    pub fn turn(&mut self, mut frames: Vec<FrameBatch>, silence: Silence) -> Publication {
        self.turns += 1;
        let mut early = Vec::new();
        if self.turns.is_multiple_of(3) && !frames.is_empty() {
            let rest = frames.split_off(1);
            early = std::mem::replace(&mut frames, rest);
        }
        self.turn_after(early, frames, silence)
    }

    /// The same after these events were taken in, if there are any.
    pub fn turn_after(
        &mut self,
        early: Vec<FrameBatch>,
        frames: Vec<FrameBatch>,
        silence: Silence,
    ) -> Publication {
        if !early.is_empty() {
            self.worker.take_in(early, WALL).unwrap();
        }
        let silences: Vec<(PartitionId, Silence)> =
            (0..PARTITIONS).map(|number| (partition(number), silence)).collect();
        let publication = self.worker.turn(frames, &silences, WALL).unwrap();
        let written = self.sink.write(&publication.writes).unwrap();
        assert_eq!(written.refused, 0);
        let changed = publication.writes.rows.iter().flat_map(|rows| rows.changed());
        self.changed.extend(changed.cloned());
        if written.store_changed {
            self.worker.distrust_store();
        }
        for commit in &publication.commits {
            self.commits.insert(commit.partition, *commit);
        }
        for rejected in publication.letters.iter().flat_map(|letters| &letters.rejected) {
            *self.rejected.entry(rejected.reason).or_default() += 1;
        }
        publication
    }

    /// Everything that the store has.
    pub fn snapshot(&self) -> Snapshot {
        self.sink.store().snapshot()
    }

    /// The store has what it had before, and the worker is told so.
    pub fn go_back_to(&mut self, snapshot: Snapshot) {
        self.sink.store().go_back_to(snapshot);
        self.worker.distrust_store();
    }

    /// The store loses everything, and the worker is told so.
    pub fn lose_store(&mut self) {
        self.sink.store().lose_everything();
        self.worker.distrust_store();
    }

    /// The cards whose hashes say that events are missing.
    pub fn marked(&self) -> Vec<String> {
        let hashes = self.sink.store().hashes().into_iter();
        let marked = hashes.filter(|(_, hash)| hash.fields.get(WARMING).is_some_and(|mark| mark == "true"));
        marked.filter_map(|(key, _)| key.split(':').nth(2).map(str::to_owned)).collect()
    }

    /// By hash, the time for which it was computed.
    pub fn as_of(&self) -> BTreeMap<String, i64> {
        let hashes = self.sink.store().hashes().into_iter();
        hashes.map(|(key, hash)| (key, hash.fields[AS_OF].parse().unwrap())).collect()
    }

    /// Everything in the store but the fields that begin with `_`.
    pub fn hashes(&self) -> Hashes {
        features(&self.sink.store())
    }
}

/// Every hash of a store, but for its bookkeeping fields.
pub fn features(store: &MemoryStore) -> Hashes {
    let features = |fields: BTreeMap<String, String>| -> BTreeMap<String, String> {
        fields.into_iter().filter(|(name, _)| !name.starts_with('_')).collect()
    };
    store.hashes().into_iter().map(|(key, hash)| (key, features(hash.fields))).collect()
}

/// Up to `at_most` events of a partition, from an offset on.
pub fn frames(log: &[Entry], id: PartitionId, from: i64, at_most: usize) -> FrameBatch {
    let mut batch = FrameBatch::new(id);
    let wanted = log.iter().filter(|entry| entry.partition == id.partition && entry.offset >= from);
    for entry in wanted.take(at_most) {
        batch.push(Frame {
            offset: entry.offset,
            timestamp_ms: entry.timestamp_ms,
            key: Some(entry.key.as_bytes()),
            value: entry.value.as_deref(),
        });
    }
    batch
}

/// A worker of one view that has no partition yet.
pub fn worker(view: &Arc<FeatureView>, reference_only: bool) -> Worker {
    let used: BTreeSet<String> = view.scans.iter().flat_map(|scan| scan.columns.iter().cloned()).collect();
    let decoder = StreamDecoder::try_new(&views::schema(), views::decoding(), &used).unwrap();
    let options = encode::Options {
        template: KeyTemplate::parse("features:{entity}:{key}:{view}").unwrap(),
        entity: view.header.entity.clone(),
        view: view.name.clone(),
        key_columns: view.key.clone(),
        ttl: view.ttl,
        null_text: None,
        changed_only: true,
    };
    let encoder = Encoder::try_new(&options, &view.output).unwrap();
    let ids: HashMap<(StreamId, u32), Arc<str>> =
        HashMap::from([((STREAM, 1), Arc::from(V1)), ((STREAM, 2), Arc::from(V2))]);
    Worker::try_new(Parts {
        streams: Arc::new(views::streams()),
        decoders: BTreeMap::from([(STREAM, decoder)]),
        views: vec![(Arc::clone(view), encoder)],
        writers: Writers::try_new(std::iter::empty(), ids, None).unwrap(),
        clock: clock::Options {
            max_out_of_order: Span::from_millis(MAX_OUT_OF_ORDER_MS),
            allowed_lateness: Span::from_millis(ALLOWED_LATENESS_MS),
            max_future: Span::from_millis(MAX_FUTURE_MS),
            idle_after: Span::from_secs(10),
        },
        session: session(),
        reference_only,
    })
    .unwrap()
}
