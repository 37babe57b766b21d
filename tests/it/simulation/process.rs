//! One simulated process: a worker, what publishes for it, and the loop's own
//! decisions. What threads tell each other in the program waits in queues here,
//! and the world says when it is heard.

mod saving;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use windrow::checkpoint::Identity;
use windrow::checkpoint::store::{Found, Store};
use windrow::clock::Silence;
use windrow::frame::{FrameBatch, PartitionId};
use windrow::pipeline::courses::Courses;
use windrow::pipeline::positions::Positions;
use windrow::pipeline::publication::Publication;
use windrow::pipeline::worker::{Ahead, Worker};
use windrow::sink::fence::Shard;
use windrow::sink::memory::{MemorySink, MemoryStore};
use windrow::sink::{Sink, Writes};
use windrow::source::{Assignment, Commit};
use windrow::time::EventTime;
use windrow::view::FeatureView;

use super::group::Group;
use super::objects::Objects;
use super::watch::Watch;
use crate::worker::log::BEGIN_MS;
use crate::worker::run;
use saving::Job;
pub use saving::Saving;

/// Publications between a worker and its publisher, the one being written among them.
const IN_FLIGHT: usize = 2;

/// How often a partition is saved, and all commits are made again.
const SAVE_EVERY: Duration = Duration::from_secs(3);
const COMMIT_AGAIN_MS: u64 = 10_000;

/// What processes share.
pub struct Outside {
    pub group: Group,
    pub store: MemoryStore,
    pub objects: Objects,
    pub identity: Option<Identity>,
    pub watch: Watch,
    /// Partitions and offsets.
    pub letters: BTreeSet<(i32, i64)>,
    /// Deleted hashes of which processes were told by checkpoints.
    pub told: usize,
    /// When the simulation began: only what passed since counts.
    pub begun: Instant,
    /// What the clocks on the wall have shown since.
    pub passed_ms: u64,
}

impl Outside {
    pub fn wall(&self) -> EventTime {
        EventTime::from_millis(BEGIN_MS + i64::try_from(self.passed_ms).unwrap())
    }

    pub fn now(&self) -> Instant {
        self.begun + Duration::from_millis(self.passed_ms)
    }
}

/// How an attempt to publish goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As far as the store lets it.
    Whole,
    /// So many thousandths of the entries are written; then the connection breaks.
    Broken(u64),
    /// Everything is written, and nobody hears of it.
    Unheard,
    /// The place for dead letters takes half of them.
    LettersFail,
}

/// How far the oldest publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    TakenOver,
    LettersSent,
}

/// What the loop has not heard of yet.
struct Acknowledged {
    giving: u64,
    commits: Vec<Commit>,
    store_changed: bool,
}

/// A process.
pub struct Process {
    pub name: usize,
    worker: Worker,
    sink: MemorySink,
    checkpoints: Store,

    /// The generation that it knows of, while it is a member.
    pub generation: Option<u64>,
    /// It sleeps, and the group does without it, until this step.
    pub sleeps_until: Option<usize>,
    /// The next commit never arrives.
    pub loses_commit: bool,
    /// By partition that it has, the next offset to read.
    reading: BTreeMap<PartitionId, i64>,
    positions: Positions,
    commit_again_ms: u64,
    queue: VecDeque<Publication>,
    /// When it was given partitions last.
    given_at: Instant,
    stage: Stage,
    last_commits: Vec<Commit>,
    taken_over: BTreeSet<Shard>,
    /// A write that was not heard of had noticed it.
    store_changed: bool,
    heard: VecDeque<Acknowledged>,
    /// Rows that the worker still has to write.
    waiting: usize,
    courses: Courses,
    job: Option<Job>,
}

impl Process {
    /// Without partitions.
    pub fn new(name: usize, view: &Arc<FeatureView>, outside: &Outside) -> Self {
        Self {
            name,
            worker: run::worker(view, false),
            sink: MemorySink::of(&outside.store),
            checkpoints: outside.objects.open(),
            generation: None,
            sleeps_until: None,
            loses_commit: false,
            reading: BTreeMap::new(),
            positions: Positions::default(),
            commit_again_ms: outside.passed_ms + COMMIT_AGAIN_MS,
            queue: VecDeque::new(),
            given_at: outside.now(),
            stage: Stage::New,
            last_commits: Vec::new(),
            taken_over: BTreeSet::new(),
            store_changed: false,
            heard: VecDeque::new(),
            waiting: 0,
            courses: Courses::new(SAVE_EVERY),
            job: None,
        }
    }

    pub fn partitions(&self) -> Vec<PartitionId> {
        self.reading.keys().copied().collect()
    }

    /// Whether its worker can take a turn.
    pub fn is_free(&self) -> bool {
        self.queue.len() < IN_FLIGHT
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.heard.is_empty() && self.waiting == 0
    }

    /// What is published next.
    pub fn next_publication(&self) -> Option<&Publication> {
        self.queue.front()
    }

    pub fn has_acknowledged(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Takes the next events of its partitions, of each as many as `count` says.
    pub fn take(&mut self, outside: &Outside, mut count: impl FnMut() -> usize) -> Vec<FrameBatch> {
        let mut batches = Vec::new();
        for (id, position) in &mut self.reading {
            let at_most = count().min(outside.group.waiting(*id, *position));
            let batch = run::frames(outside.group.log(), *id, *position, at_most);
            if let Some(next) = batch.next_offset() {
                *position = next;
                batches.push(batch);
            }
        }
        batches
    }

    /// A turn over these events.
    pub fn turn(&mut self, outside: &Outside, mut frames: Vec<FrameBatch>) {
        // Some are taken in before, of one partition at least all of them.
        if frames.len() > 1 {
            let rest = frames.split_off(1);
            self.worker.take_in(std::mem::replace(&mut frames, rest), outside.wall()).unwrap();
        }
        let silences: Vec<(PartitionId, Silence)> =
            self.reading.keys().map(|id| (*id, Silence::default())).collect();
        let mut early = Early { room: IN_FLIGHT.saturating_sub(self.queue.len()), publications: Vec::new() };
        let last = self.worker.turn_ahead(frames, &silences, outside.wall(), &mut early).unwrap();
        self.waiting = last.waiting;
        let publishes = !early.publications.is_empty() || last.publishes(&self.last_commits);
        self.last_commits.clone_from(&last.commits);
        for mut publication in early.publications.into_iter().chain(publishes.then_some(last)) {
            // What is early is not committed; the watch asks it how far its turn has read.
            publication.commits.clone_from(&self.last_commits);
            publication.given_at = self.given_at;
            publication.giving = self.positions.giving();
            self.queue.push_back(publication);
        }
    }

    /// One attempt to publish what is next; whether it is heard to be safe.
    pub fn publish(&mut self, outside: &mut Outside, how: How) -> bool {
        let Some(publication) = self.queue.front() else { return false };
        if self.stage == Stage::New {
            self.sink.give_up(&publication.given_up);
            for shard in publication.given_up.iter().chain(&publication.taken) {
                self.taken_over.remove(shard);
            }
            if !publication.taken.is_empty() {
                outside.store.set_time(Duration::from_millis(outside.passed_ms));
                let ago = outside.now().saturating_duration_since(publication.given_at);
                let Ok(others) = self.sink.take_over(&publication.taken, ago) else { return false };
                let mut taken = publication.taken.clone();
                taken.retain(|shard| !others.contains(shard));
                outside.watch.taken(self.name, &taken, publication.given_at);
                self.taken_over.extend(others);
            }
            self.stage = Stage::TakenOver;
        }
        if self.stage == Stage::TakenOver {
            let offsets = publication.letters.iter().flat_map(|letters| {
                let number = letters.frames.partition.partition;
                letters.rejected.iter().map(move |one| (number, letters.frames.get(one.index).offset))
            });
            let offsets: Vec<(i32, i64)> = offsets.collect();
            if how == How::LettersFail {
                outside.letters.extend(&offsets[..offsets.len() / 2]);
                return false;
            }
            outside.letters.extend(offsets);
            self.stage = Stage::LettersSent;
        }
        if !publication.writes.is_empty() {
            let part = match how {
                How::Broken(thousandths) => Some(part(&publication.writes, thousandths)),
                _ => None,
            };
            let writes = part.as_ref().unwrap_or(&publication.writes);
            let foreign = outside.watch.foreign(self.name, writes);
            let Ok(written) = self.sink.write(writes) else { return false };
            outside.watch.written(self.name, publication, writes, &written.taken_over, &outside.store);
            if written.fenced < foreign {
                let detail = format!("process {}: {foreign} entries, {} fenced", self.name, written.fenced);
                outside.watch.breach("another process' shard is not written", detail);
            }
            self.store_changed |= written.store_changed;
            if how == How::Unheard || part.is_some() {
                return false;
            }
            self.taken_over.extend(written.taken_over);
        }
        if !publication.ends_turn {
            self.queue.pop_front();
            self.stage = Stage::New;
            return true;
        }
        let commits = publication.commits_without(self.taken_over.iter());
        for commit in &commits {
            outside.watch.acknowledged(commit.partition, commit.offset, outside.group.high(commit.partition));
        }
        let store_changed = std::mem::take(&mut self.store_changed);
        self.heard.push_back(Acknowledged { giving: publication.giving, commits, store_changed });
        self.queue.pop_front();
        self.stage = Stage::New;
        true
    }

    /// Looks at the store while there is nothing to publish.
    pub fn ping(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        let Ok(written) = self.sink.ping() else { return };
        self.taken_over.extend(written.taken_over);
        if written.store_changed {
            self.worker.distrust_store();
            self.waiting = self.waiting.max(1);
        }
    }

    /// The loop hears what was acknowledged, and commits it.
    pub fn hear(&mut self, outside: &mut Outside) {
        let mut acknowledged = false;
        while let Some(Acknowledged { giving, commits, store_changed }) = self.heard.pop_front() {
            acknowledged = true;
            for commit in commits {
                self.positions.acknowledge(commit, giving);
            }
            if store_changed {
                self.worker.distrust_store();
                self.waiting = self.waiting.max(1);
            }
        }
        if outside.passed_ms >= self.commit_again_ms {
            self.commit_again_ms = outside.passed_ms + COMMIT_AGAIN_MS;
            self.positions.distrust();
            acknowledged = true;
        }
        if acknowledged {
            self.commit(outside, false);
        }
    }

    /// Without `wait`, what became of it is not told.
    fn commit(&mut self, outside: &mut Outside, wait: bool) {
        let due = self.positions.due(wait);
        if due.is_empty() {
            return;
        }
        let lost = !wait && std::mem::take(&mut self.loses_commit);
        let took = !lost && outside.group.commit(self.generation, &due, &mut outside.watch).is_ok();
        if took || !wait {
            self.positions.note_committed(&due);
        }
    }

    /// Waits for the store, unless it is too slow; whether everything is safe.
    fn drain(&mut self, outside: &mut Outside, slow: bool) -> bool {
        while !slow && self.publish(outside, How::Whole) {
            self.hear(outside);
        }
        if !slow {
            self.hear(outside);
        }
        self.queue.is_empty()
    }

    /// Partitions are given to it.
    pub fn assign(&mut self, outside: &mut Outside, ids: &[PartitionId]) {
        self.given_at = outside.now();
        self.positions.give();
        // What the last turn may commit does not count for what is given now.
        self.last_commits.clear();
        let assignments = outside.group.begin(ids);
        for id in ids {
            let (high, committed) = (outside.group.high(*id), outside.group.offset(*id));
            outside.watch.given(self.name, self.given_at, *id, high, committed);
        }
        let reads_again = |without: &Assignment| without.read_from < without.publish_from;
        let answers = !assignments.iter().any(reads_again) || self.drain(outside, false);
        for (place, without) in assignments.iter().enumerate() {
            let id = without.partition;
            self.courses.begin(outside.now(), id, place, assignments.len());
            let found = if reads_again(without) && answers { self.find(outside, without) } else { None };
            let begun = match found {
                Some(Found { saved, chain }) => {
                    let restored = self.worker.restore(without, &saved).unwrap();
                    if restored.refused.is_none() {
                        let newest = chain.last().expect("there is an object").object.as_str();
                        outside.told += outside.watch.restored(self.name, newest);
                        self.courses.resume(id, restored.assignment.read_from, chain);
                    }
                    restored.assignment
                }
                None => {
                    self.worker.assign(&[*without]).unwrap();
                    *without
                }
            };
            self.reading.insert(id, begun.read_from);
            self.positions.begin(id, begun.publish_from);
        }
    }

    fn find(&self, outside: &Outside, without: &Assignment) -> Option<Found> {
        let (id, identity) = (without.partition, outside.identity.as_ref()?);
        // Whatever is wrong with it, the log has everything.
        self.checkpoints.read(identity, id.partition, without.read_from, without.publish_from).ok()?
    }

    /// Partitions are taken from it.
    pub fn revoke(&mut self, outside: &mut Outside, ids: &[PartitionId], lost: bool, slow: bool) {
        let safe = self.drain(outside, slow);
        if !lost && safe {
            self.commit(outside, true);
            self.courses.hurry(outside.now(), ids);
            // One after the other, until none is due any more.
            for _ in 0..=ids.len() {
                self.save(outside, Some(ids), Saving::Whole);
                if self.job.is_some() {
                    self.save(outside, Some(ids), Saving::Whole);
                }
            }
        }
        self.courses.forget(ids);
        self.worker.revoke(ids);
        for id in ids {
            self.reading.remove(id);
            self.positions.forget(*id);
        }
        // The next turn tells the store.
        self.waiting = self.waiting.max(1);
    }
}

/// What a turn has published before its end.
struct Early {
    room: usize,
    publications: Vec<Publication>,
}

impl Ahead for Early {
    fn has_room(&self) -> bool {
        self.publications.len() < self.room
    }

    fn send(&mut self, early: Publication) {
        self.publications.push(early);
    }
}

/// A part of the writes. Hashes have no order between them that must be kept, and the
/// one that they come in is another at every run: here it is that of their keys.
fn part(writes: &Writes, thousandths: u64) -> Writes {
    let mut entries = writes.entries.clone();
    entries.sort_by_key(|entry| writes.key(*entry));
    let count = u64::try_from(entries.len()).unwrap() * thousandths / 1000;
    entries.truncate(usize::try_from(count).unwrap());
    Writes { entries, ..writes.clone() }
}
