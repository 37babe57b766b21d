//! The loop: ingest, evaluate, publish, commit.
//!
//! ```text
//!            ┌────────────── this thread ──────────────┐
//!  source ──▶│ inbox ─▶ a turn every batch interval     │──▶ worker (its shards) ──▶ publisher ──▶ store
//!            │ commits ◀─ acknowledged positions        │◀──────── computed ◀──────── acknowledged
//!            └─────────────────────────────────────────┘
//! ```
//! A worker computes one batch while its publisher writes the one before, with
//! at most one between them; a fourth waits in the inbox. When that is full,
//! fetching stops: memory stays
//! bounded however long a store is away.

pub mod cadence;
pub mod checkpoints;
pub mod courses;
mod crew;
mod end;
pub mod memory;
mod news;
mod pause;
pub mod positions;
mod progress;
pub mod publication;
pub mod publisher;
mod report;
mod turns;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::frame::PartitionId;
use crate::source::{self, Assignment, Inbox, Notice, Source};
use crate::telemetry::{Health, Metrics, PauseReason};
use crate::time::Clock;
use crate::view::Streams;
use cadence::{Cadence, Step, Waiting};
use checkpoints::Checkpoints;
pub use crew::{Crew, Event};
use crew::{Order, Pair, start_pair};
use end::Deadlines;
use positions::Positions;
pub use progress::Progress;

/// How the loop runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a turn is taken.
    pub cadence: Cadence,
    /// End once every partition is published to the end it had when it was given.
    pub until_caught_up: bool,
    /// Whether clocks run on with wall time when streams are silent.
    pub idle_clocks: bool,
    /// How long ending, or giving a partition up, may wait for the store.
    pub shutdown_timeout: Duration,
}

/// What every part shares.
#[derive(Clone)]
pub struct Shared {
    /// The configured streams.
    pub streams: Arc<Streams>,
    /// Where to count.
    pub metrics: Metrics,
    /// Where to say how things are.
    pub health: Health,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// Why a run ended otherwise than by being done or told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// A worker.
    #[error(transparent)]
    Worker(#[from] worker::Error),
    /// What is kept does not fit.
    #[error(transparent)]
    Memory(#[from] memory::TooMuch),
    /// A thread ended by itself: a bug.
    #[error("worker {0} ended unexpectedly")]
    Gone(usize),
    /// The system gives no thread.
    #[error("could not start a worker")]
    Start(#[from] std::io::Error),
}

struct PartitionState {
    end: i64,
    acknowledged: i64,
    delivered: i64,
    last_event: Instant,
}

/// The loop.
pub struct Pipeline {
    options: Options,
    shared: Shared,
    pairs: Vec<Pair>,
    events: Receiver<Event>,
    give_up: Arc<AtomicBool>,

    inbox: Inbox,
    partitions: BTreeMap<PartitionId, PartitionState>,
    positions: Positions,
    assigned_once: bool,
    turned_at: Instant,
    /// Why fetching waits, if it does.
    paused: Option<PauseReason>,
    memory: Option<pause::Memory>,
    /// Whether nobody answers where the events come from.
    source_silent: bool,
    /// When commits that failed are made again.
    commit_again: Instant,
    checkpoints: Option<Checkpoints>,
    progress: Progress,
}

impl Pipeline {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(options: Options, shared: Shared, crews: Vec<Crew>) -> Result<Self, Error> {
        let (sender, events) = channel();
        let give_up = Arc::new(AtomicBool::new(false));
        let mut pairs = Vec::with_capacity(crews.len());
        for (index, crew) in crews.into_iter().enumerate() {
            pairs.push(start_pair(index, crew, &shared, &give_up, &sender)?);
        }
        Ok(Self {
            options,
            shared,
            pairs,
            events,
            give_up,
            inbox: Inbox::default(),
            partitions: BTreeMap::new(),
            positions: Positions::default(),
            assigned_once: false,
            turned_at: Instant::now(),
            paused: None,
            memory: None,
            source_silent: false,
            commit_again: Instant::now(),
            checkpoints: None,
            progress: Progress::default(),
        })
    }

    /// Runs until `stop` is set, or everything is done where that ends a run.
    /// `watch` is told how far it is, after each turn.
    ///
    /// # Errors
    /// What cannot pass by itself.
    pub fn run(
        mut self,
        source: &mut dyn Source,
        stop: &AtomicBool,
        mut watch: impl FnMut(&Progress),
    ) -> Result<Progress, Error> {
        let ended = self.turn_until(source, stop, &mut watch);
        let deadlines = Deadlines::within(self.options.shutdown_timeout);
        let drained = match &ended {
            Ok(()) => self.drain(source, deadlines),
            Err(_) => Ok(()),
        };
        self.end_threads(deadlines);
        watch(&self.progress);
        ended.and(drained).map(|()| self.progress)
    }

    fn turn_until(
        &mut self,
        source: &mut dyn Source,
        stop: &AtomicBool,
        watch: &mut impl FnMut(&Progress),
    ) -> Result<(), Error> {
        while !stop.load(Ordering::Relaxed) {
            self.shared.health.turned();
            self.take_events(source)?;
            self.commit_again(source);
            self.checkpoint(None);
            if self.options.until_caught_up && self.is_done() {
                return Ok(());
            }
            let taken_in = |of: fn(&Pair) -> usize| self.pairs.iter().map(of).sum::<usize>();
            let waiting = Waiting {
                events: self.inbox.len() + taken_in(|pair| pair.taken_in.events),
                bytes: self.inbox.byte_len() + taken_in(|pair| pair.taken_in.bytes),
                since_turn: self.turned_at.elapsed(),
                busy: self.pairs.iter().any(|pair| pair.computing),
            };
            let has_room = self.has_room()?;
            match self.options.cadence.step(waiting) {
                Step::Turn => {
                    self.take_turn();
                    watch(&self.progress);
                }
                Step::Wait => {
                    self.set_paused(source, Some(PauseReason::Store))?;
                    self.poll_paused(source)?;
                }
                Step::Read(_) if !has_room => {
                    self.set_paused(source, Some(PauseReason::Memory))?;
                    self.poll_paused(source)?;
                }
                Step::Read(time) => {
                    self.set_paused(source, None)?;
                    self.poll(source, time.min(self.options.cadence.slice()))?;
                    self.take_in_early();
                }
            }
        }
        Ok(())
    }

    fn poll(&mut self, source: &mut dyn Source, time: Duration) -> Result<(), Error> {
        let before = self.inbox.len();
        let notice = source.poll(&mut self.inbox, time)?;
        if self.inbox.len() > before {
            self.note_delivered();
        }
        self.hear();
        match notice {
            Some(Notice::Assigned(assignments)) => self.assign(source, &assignments),
            Some(Notice::Revoked { partitions, lost }) => self.revoke(source, &partitions, lost),
            Some(Notice::MadeAnew(assignments)) => self.begin_anew(source, &assignments),
            None => Ok(()),
        }
    }

    fn note_delivered(&mut self) {
        let now = Instant::now();
        for (partition, next) in self.inbox.positions() {
            if let Some(state) = self.partitions.get_mut(&partition)
                && next > state.delivered
            {
                state.delivered = next;
                state.last_event = now;
                self.progress.deliver(partition, next);
            }
        }
    }

    fn assign(&mut self, source: &mut dyn Source, assignments: &[Assignment]) -> Result<(), Error> {
        let (assignments, given) = self.restore(source, assignments)?;
        self.assigned_once = true;
        self.positions.give();
        for assignment in &assignments {
            tracing::info!(
                topic = self.shared.streams.get(assignment.partition.stream).topic,
                partition = assignment.partition.partition,
                read_from = assignment.read_from,
                publish_from = assignment.publish_from,
                end = assignment.end,
                "partition assigned"
            );
            self.partitions.insert(
                assignment.partition,
                PartitionState {
                    end: assignment.end,
                    acknowledged: assignment.read_from,
                    delivered: assignment.read_from,
                    last_event: Instant::now(),
                },
            );
            self.positions.begin(assignment.partition, assignment.publish_from);
            self.progress.begin(assignment);
        }
        let workers = self.pairs.len();
        for (index, pair) in self.pairs.iter().enumerate() {
            let own: Vec<Assignment> = assignments
                .iter()
                .filter(|assignment| worker_of(assignment.partition, workers) == index)
                .filter(|assignment| !given.contains(&assignment.partition))
                .copied()
                .collect();
            if !own.is_empty() {
                pair.orders.send(Order::Assign(own)).map_err(|_| Error::Gone(index))?;
            }
        }
        self.shared.health.assigned(self.partitions.len());
        source.assign(&assignments)?;
        self.distrust_commits();
        Ok(())
    }

    /// What was read is published and committed before it is given up.
    fn revoke(
        &mut self,
        source: &mut dyn Source,
        partitions: &[PartitionId],
        lost: bool,
    ) -> Result<(), Error> {
        for partition in partitions {
            self.inbox.forget(*partition);
        }
        let deadline = Instant::now() + self.options.shutdown_timeout;
        let safe = self.finish_turn(source, deadline)?;
        if !lost && safe {
            self.commit(source, true);
            self.checkpoint_last(partitions, deadline);
        }
        self.forget_checkpoints(partitions);
        for (index, pair) in self.pairs.iter().enumerate() {
            pair.orders.send(Order::Revoke(partitions.to_vec())).map_err(|_| Error::Gone(index))?;
        }
        for partition in partitions {
            tracing::info!(
                topic = self.shared.streams.get(partition.stream).topic,
                partition = partition.partition,
                lost,
                "partition given up"
            );
            self.partitions.remove(partition);
            self.positions.forget(*partition);
            self.progress.forget(*partition);
            self.shared.metrics.forget_partition(*partition);
        }
        self.shared.health.assigned(self.partitions.len());
        source.unassign(partitions)?;
        self.distrust_commits();
        Ok(())
    }

    fn take_events(&mut self, source: &mut dyn Source) -> Result<(), Error> {
        let mut acknowledged = false;
        while let Ok(event) = self.events.try_recv() {
            acknowledged |= self.take_event(event)?;
        }
        if acknowledged {
            self.commit(source, false);
        }
        Ok(())
    }

    /// Whether something was acknowledged.
    fn take_event(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Computed { worker, report, publishes } => {
                self.pairs[worker].computing = false;
                self.pairs[worker].publishing += isize::from(publishes);
                self.pairs[worker].waiting = report.waiting;
                self.report(worker, &report);
                Ok(false)
            }
            Event::TakenIn { worker } => {
                self.pairs[worker].computing = false;
                Ok(false)
            }
            Event::Acknowledged { worker, giving, commits, store_changed } => {
                self.pairs[worker].publishing -= 1;
                for commit in commits {
                    if let Some(state) = self.partitions.get_mut(&commit.partition)
                        && self.positions.acknowledge(commit, giving)
                    {
                        state.acknowledged = state.acknowledged.max(commit.offset);
                        self.progress.advance(commit.partition, commit.offset);
                    }
                }
                if store_changed {
                    self.distrust_store();
                }
                Ok(true)
            }
            Event::StoreChanged => {
                self.distrust_store();
                Ok(false)
            }
            Event::GaveUp { worker } => {
                self.pairs[worker].publishing -= 1;
                Ok(false)
            }
            Event::Failed(error) => Err(error.into()),
        }
    }

    /// Each worker has a connection of its own, and each notices: the order is
    /// harmless when it is repeated.
    fn distrust_store(&mut self) {
        tracing::warn!(
            "the store is not the one written to before: everything is written again, last active entities first"
        );
        for pair in &mut self.pairs {
            pair.is_told = true;
            // A worker that is gone is noticed at its next turn.
            let _ = pair.orders.send(Order::Distrust);
        }
    }

    fn commit(&mut self, source: &mut dyn Source, wait: bool) {
        let due = self.positions.due(wait);
        match source.commit(&due, wait) {
            Ok(()) => self.positions.note_committed(&due),
            // Nothing is lost: the next commit has it, or the log is read again.
            Err(error) => tracing::warn!("{error}, which is tried again: {}", cause(&error)),
        }
    }

    /// Waits for what is on its way and what was taken in; whether all of it is safe.
    fn finish_turn(&mut self, source: &mut dyn Source, deadline: Instant) -> Result<bool, Error> {
        if !self.wait_until_idle(source, deadline)? {
            return Ok(false);
        }
        if self.pairs.iter().all(|pair| pair.taken_in.events == 0) {
            return Ok(true);
        }
        self.take_turn();
        self.wait_until_idle(source, deadline)
    }

    /// Waits for what is on its way; whether all of it is safe.
    fn wait_until_idle(&mut self, source: &mut dyn Source, deadline: Instant) -> Result<bool, Error> {
        while self.pairs.iter().any(|pair| pair.computing || pair.publishing != 0) {
            self.shared.health.turned();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if let Ok(event) = self.events.recv_timeout(left.min(Duration::from_millis(200)))
                && self.take_event(event)?
            {
                self.commit(source, false);
            }
        }
        Ok(true)
    }

    /// Whether every partition is published to the end that it had.
    fn is_done(&self) -> bool {
        self.assigned_once
            && self.inbox.is_empty()
            && self.pairs.iter().all(|pair| !pair.computing && pair.publishing == 0 && !pair.writes_again())
            && self.partitions.iter().all(|(id, state)| {
                let drained = self.inbox.end(*id).drained_to.is_some_and(|offset| offset >= state.end);
                state.acknowledged >= state.end || (drained && state.acknowledged >= state.delivered)
            })
    }
}

/// Partition numbers go to workers in turn, so that what is joined by partition meets.
fn worker_of(partition: PartitionId, workers: usize) -> usize {
    usize::try_from(partition.partition).unwrap_or(0) % workers
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}
