//! What a checkpoint costs and what it saves: how long the worker stands still
//! for it, how large it is, and a start with it against one that reads
//! everything again. In a process of its own, whose memory nothing else has
//! touched.
//!
//! Reading from the broker is left out, and the directory is in the system's
//! page cache: what is measured is Windrow's own part.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use windrow::checkpoint::Identity;
use windrow::checkpoint::manifest::Entry;
use windrow::checkpoint::store::Store;
use windrow::frame::FrameBatch;
use windrow::pipeline::publication::Publication;
use windrow::pipeline::worker::Worker;
use windrow::source::{Assignment, Commit};

use crate::memory::status;
use crate::shipped::{Recorder, Shipped, WALL, assignment, partition};
use crate::table::{BATCH, Turns, grouped, heading, mebibytes, millis, number, per_second, rate, row};

/// Tells this program to be that process; numbers of cards and of partitions follow.
pub const CHILD: &str = "--recovery-child";

/// Cards with a hash where `BENCH_LIVE_ENTITIES` says nothing else.
pub const LIVE: [usize; 2] = [1_000_000, 5_000_000];

/// Partitions are saved one at a time: with more of them the worker stands still for less.
const PARTITIONS: [usize; 2] = [1, 4];

/// Events of each card: few, so that five million cards fit into 20 GiB.
const EACH: i64 = 2;

/// In which they come: all of them lie inside 24 hours at the end.
const SPAN_MS: i64 = 47 * 30 * 60_000;

/// Event time of a batch afterwards.
const ADVANCE_MS: i64 = 250;

/// Measures each number of cards in children.
pub fn in_children(live: &[usize]) {
    let program = std::env::current_exe().expect("the system knows what it runs");
    for cards in live {
        for partitions in PARTITIONS {
            let mut child = Command::new(&program);
            child.arg(CHILD).arg(cards.to_string()).arg(partitions.to_string());
            let status = child.status().expect("what runs can be run again");
            assert!(status.success(), "recovery could not be measured: {status}");
        }
    }
}

/// Measures in this process, with the numbers that follow [`CHILD`].
pub fn measure(arguments: &[String]) {
    let [cards, partitions] = arguments else { panic!("{CHILD} goes before two numbers: {arguments:?}") };
    let cards: u32 = cards.parse().expect("the number of cards is one");
    let partitions: usize = partitions.parse().expect("the number of partitions is one");
    heading(&format!(
        "Recovery, view `transaction`, partitions {partitions}; {} cards with {EACH} events each inside 24 h",
        grouped(number(cards))
    ));
    let shipped = Shipped::new();
    let mut recorder = Recorder::of(cards, partitions);
    let (mut worker, read) = read_again(&shipped, &mut recorder);
    row(
        "read again from the log, until up to date",
        &seconds(read.taken),
        &format!(
            "{} events, {}; then the first evaluation, {}",
            grouped(number(read.events)),
            rate(per_second(read.events, read.taken.saturating_sub(read.evaluated)), "events"),
            seconds(read.evaluated)
        ),
    );

    let mut saved = Saved::new(shipped.identity(), partitions);
    row_of("whole", &saved.save(&mut worker, true), cards);
    let mut turns = Turns::default();
    let frames = recorder.over(BATCH, ADVANCE_MS);
    let paid = cards_of(&frames);
    let publication = turns.take(&mut worker, frames, true);
    row_of("change", &saved.save(&mut worker, false), paid);
    let (commits, entities) = (publication.commits.clone(), publication.views[0].entities);
    drop((worker, publication));

    let mut worker = shipped.idle_worker(&[Arc::clone(&shipped.view)], false);
    let restored = saved.restore(&mut worker, &commits);
    let begun = Instant::now();
    let publication = turns.take(&mut worker, Vec::new(), false);
    let evaluated = begun.elapsed();
    assert_eq!(publication.views[0].entities, entities, "every card is there again");
    let rewritten = turns.last_commands();
    drop(publication);
    let recovered = restored.read + restored.taken_in + evaluated;
    row(
        "from the checkpoint, until up to date",
        &seconds(recovered),
        &format!(
            "read and decoded in {}, taken in in {}, first evaluation {} with {rewritten} commands",
            seconds(restored.read),
            seconds(restored.taken_in),
            seconds(evaluated)
        ),
    );
    let factor = read.taken.as_secs_f64() / recovered.as_secs_f64();
    row("the log takes", &format!("{factor:.1} times"), "the checkpoint's time, at so few events a card");
    let mut next = Turns::default();
    next.take(&mut worker, recorder.over(BATCH, ADVANCE_MS), true);
    let remark = format!("{:.0} ms after the log was read again", turns.mean_ms());
    row("the next batch", &format!("{:.0} ms", next.mean_ms()), &remark);
    row("resident memory at most", &mebibytes(status("VmHWM:")), "two workers, one after the other");
}

/// A start without a checkpoint.
struct Read {
    events: usize,
    taken: Duration,
    /// How much of it evaluating took.
    evaluated: Duration,
}

/// Has a new worker read every event as one that was published before.
fn read_again(shipped: &Shipped, recorder: &mut Recorder) -> (Worker, Read) {
    let mut worker = shipped.idle_worker(&[Arc::clone(&shipped.view)], false);
    let counts = recorder.cards_by_partition();
    let assignments: Vec<Assignment> =
        counts.iter().enumerate().map(|(number, count)| assignment(number, count * EACH)).collect();
    worker.assign(&assignments).expect("new partitions are taken");
    let cards = recorder.cards();
    let step = u32::try_from(BATCH).expect("a batch is small");
    let mut read = Read { events: 0, taken: Duration::ZERO, evaluated: Duration::ZERO };
    let mut turns = Turns::default();
    let mut last: Option<Publication> = None;
    for _ in 0..EACH {
        for first in (0..cards).step_by(BATCH) {
            let behind = cards.min(first.saturating_add(step));
            let span_ms = SPAN_MS / EACH * i64::from(behind - first) / i64::from(cards);
            let frames = recorder.each(first..behind, span_ms);
            read.events += frames.iter().map(FrameBatch::len).sum::<usize>();
            drop(last.take());
            let begun = Instant::now();
            let publication = turns.take(&mut worker, frames, false);
            read.taken += begun.elapsed();
            // Nothing is evaluated before the last turn.
            read.evaluated = publication.evaluated_in;
            last = Some(publication);
        }
    }
    let entities = last.map_or(0, |publication| publication.views[0].entities);
    assert_eq!(u32::try_from(entities), Ok(cards), "every card has a hash");
    (worker, read)
}

/// Where partitions are saved.
struct Saved {
    store: Store,
    identity: Identity,
    /// By partition, the objects that there are.
    chains: Vec<Vec<Entry>>,
    // Removed when all that is in it is done with.
    _directory: TempDir,
}

/// What it took to save every partition, one after the other.
#[derive(Default)]
struct Cost {
    /// The longest time for which the worker stood still.
    stood: Duration,
    /// Encoding and writing, all of them.
    written: Duration,
    bytes: u64,
}

/// What it took to have every partition again.
#[derive(Default)]
struct Restored {
    read: Duration,
    taken_in: Duration,
}

impl Saved {
    fn new(identity: Identity, partitions: usize) -> Self {
        let directory = TempDir::with_prefix("windrow-bench-").expect("makes a temporary directory");
        let store = Store::open(directory.path()).expect("a directory can be opened");
        Self { store, identity, chains: vec![Vec::new(); partitions], _directory: directory }
    }

    /// Saves all of the partitions, or what changed, as the loop and the writer do.
    fn save(&mut self, worker: &mut Worker, all: bool) -> Cost {
        let mut cost = Cost::default();
        for (number, chain) in self.chains.iter_mut().enumerate() {
            let id = partition(number);
            let begun = Instant::now();
            let saved = worker.snapshot(id, all).expect("what is kept can be copied");
            cost.stood = cost.stood.max(begun.elapsed());
            let saved = saved.expect("the view is tiled, and the partition up to date");
            let begun = Instant::now();
            let written = self.store.write(&self.identity, id.partition, chain, &saved, all, WALL);
            *chain = written.expect("a directory can be written to");
            cost.written += begun.elapsed();
            cost.bytes += chain.last().map_or(0, |entry| entry.bytes);
        }
        cost
    }

    /// Gives the partitions to a worker with what was saved of them.
    fn restore(&self, worker: &mut Worker, commits: &[Commit]) -> Restored {
        assert_eq!(commits.len(), self.chains.len(), "every partition can be committed");
        let mut cost = Restored::default();
        for (number, Commit { partition: id, offset, lead_in, .. }) in commits.iter().copied().enumerate() {
            assert_eq!(id, partition(number), "commits are in the order of partitions");
            let begun = Instant::now();
            let found = self.store.read(&self.identity, id.partition, lead_in.offset, offset);
            let found = found.expect("it is whole").expect("it was written");
            cost.read += begun.elapsed();
            let begins = assignment(number, offset);
            let without = Assignment { read_from: lead_in.offset, clock: lead_in.clock, ..begins };
            let begun = Instant::now();
            let restored = worker.restore(&without, &found.saved).expect("a worker takes a partition");
            cost.taken_in += begun.elapsed();
            assert_eq!(restored.refused, None);
            assert_eq!(restored.assignment.read_from, offset, "nothing came since");
        }
        cost
    }
}

/// How many cards there are events of.
fn cards_of(frames: &[FrameBatch]) -> u32 {
    let keys = frames.iter().flat_map(FrameBatch::iter).filter_map(|frame| frame.key);
    u32::try_from(keys.collect::<HashSet<_>>().len()).expect("a batch is small")
}

fn row_of(what: &str, cost: &Cost, cards: u32) {
    row(
        &format!("{what} checkpoint: the worker stands still"),
        &format!("{:.1} ms", millis(cost.stood)),
        "the longest of the partitions",
    );
    row(
        &format!("{what} checkpoint: encoded and written"),
        &seconds(cost.written),
        &format!(
            "{}, {:.0} bytes a card of {}",
            mebibytes(number(cost.bytes)),
            number(cost.bytes) / number(cards),
            grouped(number(cards))
        ),
    );
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
