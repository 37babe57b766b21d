//! The threads: a worker computes, its publisher publishes, and both tell the
//! loop. What they say to each other is here and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::publication::Publication;
use super::publisher::{Publisher, TakenOver};
use super::worker::{self, Ahead, Restored, Worker};
use super::{Error, Shared};
use crate::clock::Silence;
use crate::frame::{FrameBatch, PartitionId};
use crate::sink::dead_letter::DeadLetters;
use crate::sink::{Sink, Writes};
use crate::source::{Assignment, Commit};
use crate::state::saved::SavedPartition;
use crate::time::EventTime;

/// Publications between a worker and its publisher: one is written while the
/// next is computed.
const IN_FLIGHT: usize = 1;

/// A worker with what publishes for it.
pub struct Crew {
    /// Owns shards.
    pub worker: Worker,
    /// The store.
    pub sink: Box<dyn Sink>,
    /// The place for dead letters; `None` when they are only counted.
    pub dead_letters: Option<Box<dyn DeadLetters>>,
}

/// What threads tell the loop.
pub enum Event {
    /// A turn was computed; its publication is on its way.
    Computed {
        /// By which worker.
        worker: usize,
        /// What there is to say of it, its commands and frames taken out.
        report: Box<Publication>,
        /// Whether something is to be published.
        publishes: bool,
    },
    /// Events were taken in that the next turn evaluates.
    TakenIn {
        /// By which worker.
        worker: usize,
    },
    /// A publication is safe.
    Acknowledged {
        /// Whose.
        worker: usize,
        /// How often partitions had been given when its turn was ordered.
        giving: u64,
        /// What may be committed.
        commits: Vec<Commit>,
        /// The store is another than before.
        store_changed: bool,
    },
    /// The store is another than before, with nothing on its way to it.
    StoreChanged,
    /// A publisher was told to give up.
    GaveUp {
        /// Whose.
        worker: usize,
    },
    /// A worker failed.
    Failed(worker::Error),
}

/// What a worker has of a partition.
pub(super) struct Snapshot {
    pub partition: PartitionId,
    /// `None` when it cannot be saved now.
    pub saved: Result<Option<SavedPartition>, worker::Error>,
    /// Whether it is all that there is.
    pub all: bool,
    /// For how long it kept the worker from its turns.
    pub taken: Duration,
}

/// What the loop tells a worker.
pub(super) enum Order {
    Assign(Vec<Assignment>),
    /// Takes a partition with what was saved of it, if it can.
    Restore {
        without: Assignment,
        saved: Box<SavedPartition>,
        to: Sender<Restored>,
    },
    Revoke(Vec<PartitionId>),
    Distrust,
    /// Events of a partition before this offset are missing.
    Gap {
        partition: PartitionId,
        offset: i64,
    },
    /// Says what there is of a partition.
    Snapshot {
        partition: PartitionId,
        all: bool,
        to: Sender<Snapshot>,
    },
    /// Takes events in that the next turn evaluates.
    TakeIn {
        frames: Vec<FrameBatch>,
        wall: EventTime,
    },
    Turn {
        /// How often partitions had been given.
        giving: u64,
        frames: Vec<FrameBatch>,
        silences: Vec<(PartitionId, Silence)>,
        wall: EventTime,
    },
}

/// Events that a worker took in early.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TakenIn {
    pub events: usize,
    pub bytes: usize,
}

/// One worker's thread and its publisher's, as the loop sees them.
pub(super) struct Pair {
    pub orders: Sender<Order>,
    pub computing: bool,
    /// What was taken in since the last turn was ordered.
    pub taken_in: TakenIn,
    /// Whether what is or was computed last has events in it.
    pub has_events: bool,
    /// Rows that the next turns write again.
    pub waiting: usize,
    /// The worker was told since its last turn that everything is to be written again.
    pub is_told: bool,
    /// Publications on their way. That one is safe may be heard before that it was computed.
    pub publishing: isize,
    pub threads: Vec<JoinHandle<()>>,
}

impl Pair {
    /// Whether turns without events have something to publish.
    pub const fn writes_again(&self) -> bool {
        self.waiting > 0 || self.is_told
    }
}

/// Starts a crew's two threads.
pub(super) fn start_pair(
    index: usize,
    crew: Crew,
    shared: &Shared,
    give_up: &Arc<AtomicBool>,
    events: &Sender<Event>,
) -> Result<Pair, Error> {
    let (orders, received) = channel();
    let (publications, to_publish) = sync_channel(IN_FLIGHT);
    let in_flight = Arc::new(AtomicUsize::new(0));
    let publisher = Publisher {
        worker: index,
        sink: crew.sink,
        dead_letters: crew.dead_letters,
        streams: Arc::clone(&shared.streams),
        metrics: shared.metrics.clone(),
        health: shared.health.clone(),
        clock: Arc::clone(&shared.clock),
        give_up: Arc::clone(give_up),
        taken_over: TakenOver::new(),
        store_changed: false,
        published_in: Duration::ZERO,
        in_flight: Arc::clone(&in_flight),
    };
    let outlet = Outlet { publications, in_flight, giving: 0, went_ahead: false };
    let (computed, acknowledged) = (events.clone(), events.clone());
    let (written, reusable) = channel();
    let threads = vec![
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || work(index, crew.worker, &received, outlet, &computed, &reusable))?,
        std::thread::Builder::new()
            .name(format!("publisher-{index}"))
            .spawn(move || publisher.run(&to_publish, &acknowledged, &written))?,
    ];
    Ok(Pair {
        orders,
        computing: false,
        taken_in: TakenIn::default(),
        has_events: false,
        waiting: 0,
        is_told: false,
        publishing: 0,
        threads,
    })
}

/// What a worker says to its publisher.
struct Outlet {
    publications: SyncSender<Publication>,
    /// How many of these are not done with.
    in_flight: Arc<AtomicUsize>,
    /// How often partitions had been given when the turn was ordered.
    giving: u64,
    /// Something of the turn was sent before its end.
    went_ahead: bool,
}

impl Outlet {
    /// Waits until it can be sent; `false` when nobody is there to publish it.
    fn publish(&self, mut publication: Publication) -> bool {
        publication.giving = self.giving;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.publications.send(publication).is_ok()
    }
}

impl Ahead for Outlet {
    fn has_room(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) <= IN_FLIGHT
    }

    fn send(&mut self, early: Publication) {
        // Whether somebody is there is found out at the end of the turn.
        self.went_ahead |= self.publish(early);
    }
}

/// A worker's thread: carries out orders until there are none.
fn work(
    index: usize,
    mut worker: Worker,
    orders: &Receiver<Order>,
    mut outlet: Outlet,
    events: &Sender<Event>,
    reusable: &Receiver<Writes>,
) {
    let mut last_commits = Vec::new();
    for order in orders {
        match order {
            Order::Assign(assignments) => {
                if let Err(error) = worker.assign(&assignments) {
                    let _ = events.send(Event::Failed(error));
                    return;
                }
            }
            Order::Restore { without, saved, to } => match worker.restore(&without, &saved) {
                // Who does not wait any more has ended.
                Ok(restored) => drop(to.send(restored)),
                Err(error) => {
                    let _ = events.send(Event::Failed(error));
                    return;
                }
            },
            Order::Snapshot { partition, all, to } => {
                let begun = Instant::now();
                let saved = worker.snapshot(partition, all);
                let _ = to.send(Snapshot { partition, saved, all, taken: begun.elapsed() });
            }
            Order::Revoke(partitions) => worker.revoke(&partitions),
            Order::Distrust => worker.distrust_store(),
            Order::Gap { partition, offset } => worker.note_gap(partition, offset),
            Order::TakeIn { frames, wall } => {
                let told = match worker.take_in(frames, wall) {
                    Ok(()) => Event::TakenIn { worker: index },
                    Err(error) => Event::Failed(error),
                };
                if events.send(told).is_err() {
                    return;
                }
            }
            Order::Turn { giving, frames, silences, wall } => {
                reusable.try_iter().for_each(|writes| worker.reuse(writes));
                // What was acknowledged before partitions were given again does not count for them.
                if std::mem::replace(&mut outlet.giving, giving) != giving {
                    last_commits.clear();
                }
                let publication = match worker.turn_ahead(frames, &silences, wall, &mut outlet) {
                    Ok(publication) => publication,
                    Err(error) => {
                        // Nobody listens only when the run is over.
                        let _ = events.send(Event::Failed(error));
                        return;
                    }
                };
                // What went ahead is waited for, and its answers are told, at the turn's end.
                let went_ahead = std::mem::take(&mut outlet.went_ahead);
                let publishes = went_ahead || publication.publishes(&last_commits);
                last_commits.clone_from(&publication.commits);
                let report = Box::new(publication.report());
                if !publishes {
                    worker.reuse(publication.writes);
                } else if !outlet.publish(publication) {
                    return;
                }
                if events.send(Event::Computed { worker: index, report, publishes }).is_err() {
                    return;
                }
            }
        }
    }
}
