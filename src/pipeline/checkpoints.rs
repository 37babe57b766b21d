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

use super::courses::Courses;
use super::crew::{Order, Snapshot};
use super::{Error, Pipeline, worker_of};
use crate::checkpoint::Identity;
use crate::checkpoint::store::{self, Found, Store, Trouble};
use crate::checkpoint::writer::{Job, Writer};
use crate::frame::{PartitionId, StreamId};
use crate::source::{Assignment, Source};
use crate::telemetry::Metrics;
use crate::time::EventTime;
use crate::view::Streams;

/// A store that failed the last time is waited for no longer than this when
/// partitions are given up.
const TROUBLED: Duration = Duration::from_secs(2);

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

/// Checkpoints, as the loop sees them.
pub struct Checkpoints {
    resumes: bool,
    identities: BTreeMap<StreamId, Arc<Identity>>,
    store: Arc<Store>,
    writer: Writer,
    snapshots: (Sender<Snapshot>, Receiver<Snapshot>),

    courses: Courses,
    newest: Option<Instant>,
    /// What is wrong with the store, and has been said.
    trouble: Option<Trouble>,
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
            resumes: options.resumes,
            identities,
            writer: Writer::start(Arc::clone(&store))?,
            store,
            snapshots: channel(),
            courses: Courses::new(options.interval),
            newest: None,
            trouble: None,
        })
    }

    /// What a partition can go on from; why it cannot is said. A store that fails
    /// is asked once: the next partition would wait as long for the same answer.
    fn find(&mut self, without: &Assignment, topic: &str, asked_in_vain: &mut bool) -> Option<Found> {
        let id = without.partition;
        let identity = self.identities.get(&id.stream)?;
        if *asked_in_vain {
            refused(without, topic, "the checkpoint store was not asked again");
            return None;
        }
        match self.store.read(identity, id.partition, without.read_from, without.publish_from) {
            Ok(found) => found,
            Err(error) => {
                refused(without, topic, &told(&error));
                if let Some(trouble) = error.trouble() {
                    *asked_in_vain = true;
                    self.trouble = Some(trouble);
                }
                None
            }
        }
    }

    /// Nobody is to go on from what was saved of a partition until it is saved again.
    fn disown(&self, partition: PartitionId, wall: EventTime) {
        if let Some(identity) = self.identities.get(&partition.stream) {
            self.writer.disown(partition, Arc::clone(identity), wall);
        }
    }

    /// Passes on what workers have said of their partitions.
    fn take_snapshots(&mut self, wall: EventTime) {
        while let Ok(Snapshot { partition, saved, all, taken }) = self.snapshots.1.try_recv() {
            let saved = match saved {
                Ok(saved) => saved,
                Err(error) => {
                    tracing::warn!("a partition could not be saved: {error}");
                    None
                }
            };
            tracing::debug!(partition = partition.partition, all, ?taken, "a worker saved a partition");
            let (Some(chain), Some(saved)) = (self.courses.chain(partition, all), saved) else {
                self.courses.put_off(Instant::now(), partition);
                continue;
            };
            let identity = Arc::clone(&self.identities[&partition.stream]);
            let job = Job { partition, identity, chain, saved, is_whole: all, wall };
            if !self.writer.write(job) {
                self.courses.put_off(Instant::now(), partition);
            }
        }
    }

    /// Takes note of what was written.
    fn take_done(&mut self, metrics: &Metrics) {
        while let Some(done) = self.writer.done() {
            match done.chain {
                Ok(chain) => {
                    self.newest = Some(Instant::now());
                    metrics.checkpoint_duration(done.taken);
                    if self.trouble.take().is_some() {
                        tracing::info!("checkpoints are written again");
                    }
                    self.courses.done(Instant::now(), done.partition, done.position, chain);
                }
                Err(error) => {
                    // What is wrong with the store is said once, not every interval.
                    if error.trouble().is_some() && error.trouble() == self.trouble {
                        tracing::debug!("no checkpoint was written: {}", told(&error));
                    } else {
                        tracing::warn!("no checkpoint was written, which is tried again: {}", told(&error));
                    }
                    self.trouble = error.trouble();
                    self.courses.put_off(Instant::now(), done.partition);
                }
            }
        }
        if let Some(newest) = self.newest {
            metrics.checkpoint_age(newest.elapsed());
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
        let mut asked_in_vain = false;
        for (place, without) in assignments.iter().enumerate() {
            let id = without.partition;
            checkpoints.courses.begin(Instant::now(), id, place, assignments.len());
            if !reads_again(without) {
                // A group's offsets vanish with a topic: what was saved may be of one that is no more.
                if without.read_from >= without.publish_from {
                    checkpoints.disown(id, self.shared.clock.now());
                }
                continue;
            }
            let topic = self.shared.streams.get(id.stream).topic.clone();
            if !answers {
                refused(without, &topic, "the store does not take what is on its way to it");
                continue;
            }
            // It may take its time, and the loop is well.
            self.shared.health.turned();
            let found = checkpoints.find(without, &topic, &mut asked_in_vain);
            let Some(Found { saved, chain }) = found else { continue };
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
                    checkpoints.courses.resume(id, position, chain);
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
        let identities = &checkpoints.identities;
        let wanted = |id: PartitionId| {
            identities.contains_key(&id.stream) && only.is_none_or(|only| only.contains(&id))
        };
        let next = checkpoints.courses.next(Instant::now(), wanted, self.positions.committed());
        let Some((partition, all)) = next else { return };
        let to = checkpoints.snapshots.0.clone();
        let worker = worker_of(partition, self.pairs.len());
        checkpoints.courses.order(partition);
        if self.pairs[worker].orders.send(Order::Snapshot { partition, all, to }).is_err() {
            checkpoints.courses.put_off(Instant::now(), partition);
        }
    }

    /// Has partitions saved before they are given up, as far as time allows.
    pub(super) fn checkpoint_last(&mut self, partitions: &[PartitionId], until: Instant) {
        let begun = Instant::now();
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.courses.hurry(begun, partitions);
        }
        loop {
            self.shared.health.turned();
            self.checkpoint(Some(partitions));
            let Some(checkpoints) = &self.checkpoints else { return };
            if !checkpoints.courses.is_busy() {
                return;
            }
            let until = if checkpoints.trouble.is_some() { until.min(begun + TROUBLED) } else { until };
            if Instant::now() >= until {
                tracing::warn!(
                    "the last checkpoints were not written in time: what came since is read again"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A partition was made anew: nobody is to go on from what was saved of it.
    pub(super) fn disown_checkpoint(&self, partition: PartitionId) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.disown(partition, self.shared.clock.now());
        }
    }

    /// Forgets partitions that were given up.
    pub(super) fn forget_checkpoints(&mut self, partitions: &[PartitionId]) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.courses.forget(partitions);
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

/// What went wrong, with its cause.
fn told(error: &store::Error) -> String {
    match super::cause(error) {
        cause if cause.is_empty() => error.to_string(),
        cause => format!("{error}: {cause}"),
    }
}
