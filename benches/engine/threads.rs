//! Two workers on two threads against one: the same events, half the
//! partitions each.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use windrow::frame::{FrameBatch, PartitionId};

use crate::fill::{DRAWS, fill};
use crate::shipped::{CARDS, Recorder, Shipped, Start, WALL, partition};
use crate::table::{BATCH, heading, number, per_second, rate, row};

/// Rounds, and batches in each: generated together, then taken without a pause.
const ROUNDS: usize = 10;
const BATCHES: usize = 8;

/// Event time of a batch.
const ADVANCE_MS: i64 = 250;

/// Batches of every partition, to be taken one after the other.
type Round = Vec<Vec<FrameBatch>>;

/// A worker on a thread of its own.
struct Hand {
    rounds: Sender<Round>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Hand {
    /// A worker with some of the partitions.
    fn start(shipped: &Shipped, partitions: Range<usize>) -> Self {
        let own: Vec<PartitionId> = partitions.clone().map(partition).collect();
        let mut worker = shipped.worker(&[Arc::clone(&shipped.view)], partitions, Start::default());
        let (rounds, received) = channel::<Round>();
        let (finished, done) = channel();
        let thread = std::thread::spawn(move || {
            for round in received {
                for batches in round {
                    let frames = batches.into_iter().filter(|batch| own.contains(&batch.partition)).collect();
                    let publication = worker.turn(frames, &[], WALL).expect("no event can fail a turn");
                    worker.reuse(publication.writes);
                }
                if finished.send(()).is_err() {
                    return;
                }
            }
        });
        Self { rounds, done, thread }
    }

    fn stop(self) {
        drop(self.rounds);
        self.thread.join().expect("a worker does not panic");
    }
}

/// How long hands take for a round, together.
fn take(hands: &[Hand], round: &Round) -> Duration {
    let rounds: Vec<Round> = hands.iter().map(|_| round.clone()).collect();
    let begun = Instant::now();
    for (hand, round) in hands.iter().zip(rounds) {
        hand.rounds.send(round).expect("the thread waits for it");
    }
    for hand in hands {
        hand.done.recv().expect("the thread says when it is done");
    }
    begun.elapsed()
}

/// Measures both.
pub fn workers() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    heading(&format!("Two workers on two threads, of {cores} that the machine has"));
    let shipped = Shipped::new();
    let mut recorder = Recorder::of(CARDS, 2);
    let alone = [Hand::start(&shipped, 0..2)];
    let both = [Hand::start(&shipped, 0..1), Hand::start(&shipped, 1..2)];
    let (mut events, mut first) = (0_usize, 0_usize);
    fill(&mut recorder, DRAWS, |batches| {
        let round = vec![batches];
        take(&alone, &round);
        take(&both, &round);
    });
    recorder.skip_to_second(50);
    let (mut one, mut two) = (Duration::ZERO, Duration::ZERO);
    // The first round brings the time that was skipped, and is not measured.
    for index in 0..=ROUNDS {
        let round: Round = (0..BATCHES).map(|_| recorder.over(BATCH, ADVANCE_MS)).collect();
        let (by_one, by_two) = (take(&alone, &round), take(&both, &round));
        if index > 0 {
            one += by_one;
            two += by_two;
            for batches in &round {
                events += batches.iter().map(FrameBatch::len).sum::<usize>();
                first += batches.first().map_or(0, FrameBatch::len);
            }
        }
    }
    alone.into_iter().chain(both).for_each(Hand::stop);
    let share = number(first.max(events - first)) / number(events);
    row("one worker, two partitions", &rate(per_second(events, one), "events"), "");
    let most = 1.0 / share;
    let remark = format!("the busier one has {:.0} % of them: {most:.2} times at most", share * 100.0);
    row("two workers, a partition each", &rate(per_second(events, two), "events"), &remark);
    row("two against one", &format!("{:.2} times", one.as_secs_f64() / two.as_secs_f64()), "");
}
