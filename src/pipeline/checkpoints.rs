//! When the loop has a partition saved, and how it goes on from what was saved.
//!
//! ```text
//!  due ──▶ order to the worker ──▶ snapshot ──▶ writer ──▶ done: due again after the interval
//! ```
//! One partition at a time, the next only when the one before is written: what
//! is on its way never takes more memory than one partition does. Nothing is
//! ordered before the last position saved is committed, so that at most the
//! newest of a partition's objects is ahead of the group's offset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::crew::{Order, Snapshot};
use super::{Error, Pipeline, worker_of};
use crate::checkpoint::Identity;
use crate::checkpoint::manifest::{Entry, wants_whole};
use crate::checkpoint::store::{Found, Store};
use crate::checkpoint::writer::{Job, Writer};
use crate::frame::{PartitionId, StreamId};
use crate::source::{Assignment, Commit, Source};
use crate::telemetry::Metrics;
use crate::time::EventTime;
use crate::view::Streams;

/// How checkpoints are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often a partition is saved.
    pub interval: Duration,
    /// Whether the partitions given first go on from where the group left off;
    /// those given later always do.
    pub resumes: bool,
    /// What can be kept of each stream, or else why nothing can be.
    pub identities: BTreeMap<StreamId, Result<Identity, String>>,
}

/// A partition that is saved now and then.
#[derive(Debug)]
struct Course {
    due: Instant,
    /// The last position saved.
    position: Option<i64>,
    /// The objects that there are.
    chain: Vec<Entry>,
    /// What changed since the last of them is not known.
    whole: bool,
}

/// Checkpoints, as the loop sees them.
pub struct Checkpoints {
    interval: Duration,
    resumes: bool,
    identities: BTreeMap<StreamId, Arc<Identity>>,
    store: Arc<Store>,
    writer: Writer,
    snapshots: (Sender<Snapshot>, Receiver<Snapshot>),

    courses: BTreeMap<PartitionId, Course>,
    /// What is on its way.
    busy: Option<PartitionId>,
    /// The partition was taken anew since: nothing is to be added to what is on its way.
    void: bool,
    newest: Option<Instant>,
}

impl Checkpoints {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(store: Store, options: Options, streams: &Streams) -> std::io::Result<Self> {
        let mut identities = BTreeMap::new();
        for (stream, identity) in options.identities {
            match identity {
                Ok(identity) => {
                    identities.insert(stream, Arc::new(identity));
                }
                Err(why) => tracing::warn!(
                    "the windows of stream `{}` are not in checkpoints and are read again at every start: {why}",
                    streams.get(stream).name
                ),
            }
        }
        let store = Arc::new(store);
        Ok(Self {
            interval: options.interval,
            resumes: options.resumes,
            identities,
            writer: Writer::start(Arc::clone(&store))?,
            store,
            snapshots: channel(),
            courses: BTreeMap::new(),
            busy: None,
            void: false,
            newest: None,
        })
    }

    /// A partition was given; `place` of so many, which are not all saved at once.
    fn begin(&mut self, partition: PartitionId, place: usize, of: usize) {
        self.void |= self.busy == Some(partition);
        let share = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let due = Instant::now() + self.interval * share(place + 1) / share(of.max(1));
        self.courses.insert(partition, Course { due, position: None, chain: Vec::new(), whole: true });
    }

    /// What a partition can go on from; why it cannot is said.
    fn find(&self, without: &Assignment, topic: &str) -> Option<Found> {
        let id = without.partition;
        let identity = self.identities.get(&id.stream)?;
        match self.store.read(identity, id.partition, without.read_from, without.publish_from) {
            Ok(found) => found,
            Err(error) => {
                refused(without, topic, &error.to_string());
                None
            }
        }
    }

    /// The partition to be saved next, if one is due, and whether all of it.
    fn next(
        &self,
        now: Instant,
        only: Option<&[PartitionId]>,
        committed: &BTreeMap<PartitionId, Commit>,
    ) -> Option<(PartitionId, bool)> {
        if self.busy.is_some() {
            return None;
        }
        let wanted = |id: &PartitionId| {
            self.identities.contains_key(&id.stream) && only.is_none_or(|only| only.contains(id))
        };
        let moved = |id: &PartitionId, course: &Course| {
            committed.get(id).is_some_and(|commit| course.position.is_none_or(|at| commit.offset > at))
        };
        let due = |one: &(&PartitionId, &Course)| {
            let (id, course) = *one;
            course.due <= now && wanted(id) && moved(id, course)
        };
        let (id, course) = self.courses.iter().filter(due).min_by_key(|(_, course)| course.due)?;
        Some((*id, course.whole || wants_whole(&course.chain)))
    }

    /// Passes on what workers have said of their partitions.
    fn take_snapshots(&mut self, wall: EventTime) {
        while let Ok(Snapshot { partition, saved, all, taken }) = self.snapshots.1.try_recv() {
            let void = self.void;
            let usable = |course: &&mut Course| !void && (all || !course.whole);
            let course = self.courses.get_mut(&partition).filter(usable);
            let saved = match saved {
                Ok(saved) => saved,
                Err(error) => {
                    tracing::warn!("a partition could not be saved: {error}");
                    None
                }
            };
            tracing::debug!(partition = partition.partition, all, ?taken, "a worker saved a partition");
            let (Some(course), Some(saved)) = (course, saved) else {
                self.put_off(partition);
                continue;
            };
            let job = Job {
                partition,
                identity: Arc::clone(&self.identities[&partition.stream]),
                chain: course.chain.clone(),
                saved,
                is_whole: all,
                wall,
            };
            if !self.writer.write(job) {
                self.put_off(partition);
            }
        }
    }

    /// Takes note of what was written.
    fn take_done(&mut self, metrics: &Metrics) {
        while let Some(done) = self.writer.done() {
            match done.chain {
                Ok(chain) => {
                    self.busy = None;
                    self.newest = Some(Instant::now());
                    metrics.checkpoint_duration(done.taken);
                    let void = std::mem::take(&mut self.void);
                    if let Some(course) = self.courses.get_mut(&done.partition).filter(|_| !void) {
                        let position = Some(done.position);
                        *course =
                            Course { due: Instant::now() + self.interval, position, chain, whole: false };
                    }
                }
                Err(error) => {
                    tracing::warn!("{error}, which is tried again: {}", super::cause(&error));
                    self.put_off(done.partition);
                }
            }
        }
        if let Some(newest) = self.newest {
            metrics.checkpoint_age(newest.elapsed());
        }
    }

    /// Nothing came of it. What changed until then is known no more.
    fn put_off(&mut self, partition: PartitionId) {
        self.busy = None;
        self.void = false;
        if let Some(course) = self.courses.get_mut(&partition) {
            course.due = Instant::now() + self.interval;
            course.whole = true;
        }
    }
}

impl Pipeline {
    /// Has partitions saved from here on, and go on from what was saved.
    pub fn with_checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Gives workers those partitions of which there is a checkpoint. Says where
    /// each partition begins, and which are given already.
    pub(super) fn restore(
        &mut self,
        source: &mut dyn Source,
        assignments: &[Assignment],
    ) -> Result<(Vec<Assignment>, BTreeSet<PartitionId>), Error> {
        let mut begun = assignments.to_vec();
        let mut given = BTreeSet::new();
        let Some(mut checkpoints) = self.checkpoints.take() else { return Ok((begun, given)) };
        let resumes = checkpoints.resumes || self.assigned_once;
        // Where nothing is read again, there is nothing to be saved by a checkpoint.
        let reads_again = |without: &Assignment| resumes && without.read_from < without.publish_from;
        // A worker that waits for the store would not answer.
        let deadline = Instant::now() + self.options.shutdown_timeout;
        let answers = !assignments.iter().any(reads_again) || self.wait_until_idle(source, deadline)?;
        for (place, without) in assignments.iter().enumerate() {
            let id = without.partition;
            checkpoints.begin(id, place, assignments.len());
            if !reads_again(without) {
                continue;
            }
            let topic = self.shared.streams.get(id.stream).topic.clone();
            if !answers {
                refused(without, &topic, "the store does not take what is on its way to it");
                continue;
            }
            let Some(Found { saved, chain }) = checkpoints.find(without, &topic) else { continue };
            let worker = worker_of(id, self.pairs.len());
            let (to, answer) = channel();
            let order = Order::Restore { without: *without, saved: Box::new(saved), to };
            self.pairs[worker].orders.send(order).map_err(|_| Error::Gone(worker))?;
            let restored = answer.recv().map_err(|_| Error::Gone(worker))?;
            given.insert(id);
            begun[place] = restored.assignment;
            match restored.refused {
                Some(why) => refused(without, &topic, &why),
                None => {
                    let Assignment { read_from: position, publish_from, .. } = restored.assignment;
                    tracing::info!(
                        topic,
                        partition = id.partition,
                        offset = position,
                        events_again = publish_from - position,
                        "the partition goes on from its checkpoint"
                    );
                    if let Some(course) = checkpoints.courses.get_mut(&id) {
                        *course = Course { position: Some(position), chain, whole: false, due: course.due };
                    }
                }
            }
        }
        self.checkpoints = Some(checkpoints);
        Ok((begun, given))
    }

    /// Takes what is done note of, and has the next partition saved that is due.
    pub(super) fn checkpoint(&mut self, only: Option<&[PartitionId]>) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.take_done(&self.shared.metrics);
        checkpoints.take_snapshots(self.shared.clock.now());
        let Some((partition, all)) = checkpoints.next(Instant::now(), only, &self.committed) else { return };
        let to = checkpoints.snapshots.0.clone();
        let worker = worker_of(partition, self.pairs.len());
        checkpoints.busy = Some(partition);
        if self.pairs[worker].orders.send(Order::Snapshot { partition, all, to }).is_err() {
            checkpoints.put_off(partition);
        }
    }

    /// Has partitions saved before they are given up, as far as time allows.
    pub(super) fn checkpoint_last(&mut self, partitions: &[PartitionId], until: Instant) {
        let now = Instant::now();
        if let Some(checkpoints) = &mut self.checkpoints {
            for partition in partitions {
                if let Some(course) = checkpoints.courses.get_mut(partition) {
                    course.due = now;
                }
            }
        }
        loop {
            self.shared.health.turned();
            self.checkpoint(Some(partitions));
            let Some(checkpoints) = &self.checkpoints else { return };
            if checkpoints.busy.is_none() {
                return;
            }
            if Instant::now() >= until {
                tracing::warn!(
                    "the last checkpoints were not written in time: what came since is read again"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Forgets partitions that were given up.
    pub(super) fn forget_checkpoints(&mut self, partitions: &[PartitionId]) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.courses.retain(|partition, _| !partitions.contains(partition));
        }
    }
}

/// Says why a partition begins where it would without a checkpoint.
fn refused(without: &Assignment, topic: &str, why: &str) {
    tracing::warn!(
        topic,
        partition = without.partition.partition,
        events_again = without.publish_from - without.read_from,
        "the windows are read again from the log: {why}"
    );
}
