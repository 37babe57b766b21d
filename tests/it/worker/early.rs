//! Events taken in while a batch gathers belong to the batch: whoever ends it
//! publishes and commits them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windrow::clock::Silence;
use windrow::frame::PartitionId;
use windrow::pipeline::cadence::{Cadence, EARLY_EVENTS};
use windrow::pipeline::{Crew, Options, Pipeline, Shared};
use windrow::sink;
use windrow::sink::memory::{MemorySink, MemoryStore};
use windrow::source::{Assignment, Commit, Error, Inbox, Notice, Past, Source};
use windrow::telemetry::{Health, Metrics};
use windrow::time::SystemClock;

use super::log::{self, Entry, Kind, PARTITIONS, Step};
use super::run::{self, Run, partition};
use super::views::{self, TEMPLATES};

/// Polls after which a batch would have been taken in.
const PATIENCE: usize = 100_000;

/// A log in memory that is handed over little by little, and then ends the run
/// or gives its partitions up.
struct Slow {
    log: Vec<Entry>,
    delivered: usize,
    assigned: bool,
    polls: usize,
    revokes: bool,
    stop: Arc<AtomicBool>,
    committed: BTreeMap<PartitionId, i64>,
}

impl Source for Slow {
    fn poll(&mut self, inbox: &mut Inbox, _: Duration) -> Result<Option<Notice>, Error> {
        self.polls += 1;
        assert!(self.polls < PATIENCE, "{} events wait and are not taken in", inbox.len());
        if !self.assigned {
            self.assigned = true;
            let begin = |number: i32| Assignment {
                partition: partition(number),
                read_from: 0,
                clock: None,
                publish_from: 0,
                hold_until: 0,
                end: i64::MAX,
                past: Past::Whole,
                committed_past: Past::Whole,
            };
            return Ok(Some(Notice::Assigned((0..PARTITIONS).map(begin).collect())));
        }
        let next = &self.log[self.delivered..self.log.len().min(self.delivered + EARLY_EVENTS / 4)];
        self.delivered += next.len();
        for entry in next {
            let id = partition(entry.partition);
            for frame in run::frames(std::slice::from_ref(entry), id, 0, 1).iter() {
                inbox.push(id, frame);
            }
        }
        if next.is_empty() && inbox.is_empty() {
            if std::mem::take(&mut self.revokes) {
                let partitions = (0..PARTITIONS).map(partition).collect();
                return Ok(Some(Notice::Revoked { partitions, lost: false }));
            }
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(None)
    }

    fn assign(&mut self, _: &[Assignment]) -> Result<(), Error> {
        Ok(())
    }

    fn unassign(&mut self, _: &[PartitionId]) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, commits: &[Commit], _: bool) -> Result<(), Error> {
        self.committed.extend(commits.iter().map(|commit| (commit.partition, commit.offset)));
        Ok(())
    }

    fn pause(&mut self, _: bool) -> Result<(), Error> {
        Ok(())
    }
}

/// An event a quarter of a second after the one before.
fn step(card: u8, quarters: i32) -> Step {
    Step { after_ms: 250, gap: 0, card, quarters, device: None, kind: Kind::V1 { behind_ms: 0 } }
}

#[track_caller]
fn check(revokes: bool) {
    let template = &TEMPLATES[0];
    let numbered =
        |number: usize| step(u8::try_from(number % 5).unwrap(), i32::try_from(number % 40).unwrap());
    // All of them can be taken in before the end of the batch, which never comes.
    let steps: Vec<Step> = (0..2 * EARLY_EVENTS).map(numbered).collect();
    let log = log::written(&steps);
    let mut whole = Run::by_reference(template);
    whole.read(&log, usize::MAX);

    let view = views::view(template);
    let store = MemoryStore::default();
    let clock = Arc::new(SystemClock);
    let shared = Shared {
        streams: Arc::new(views::streams()),
        metrics: Metrics::new(&[("events", "events")], &[&view.name]),
        health: Health::new(clock.clone()),
        clock,
    };
    let worker = run::worker(&view, false);
    let crew = Crew { worker, sink: Box::new(MemorySink::of(&store)), dead_letters: None };
    let hour = Duration::from_secs(3600);
    let options = Options {
        cadence: Cadence { interval: hour, max_events: usize::MAX, max_bytes: usize::MAX },
        until_caught_up: false,
        idle_clocks: false,
        shutdown_timeout: Duration::from_secs(30),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut source = Slow {
        log,
        delivered: 0,
        assigned: false,
        polls: 0,
        revokes,
        stop: Arc::clone(&stop),
        committed: BTreeMap::new(),
    };
    let pipeline = Pipeline::start(options, shared, vec![crew]).unwrap();
    pipeline.run(&mut source, &stop, |_| {}).unwrap();

    let expected: BTreeMap<PartitionId, i64> =
        whole.commits.iter().map(|(id, commit)| (*id, commit.offset)).collect();
    assert_eq!(source.committed, expected);
    assert_eq!(run::features(&store), whole.hashes());
}

#[test]
fn the_end_of_a_run_ends_its_batch() {
    check(false);
}

#[test]
fn partitions_are_given_up_at_the_end_of_their_batch() {
    check(true);
}

/// The cards that a turn writes, in order, and the events of each wave: two cards
/// are known, and come in the other order, the first so many of them early.
fn written_after(early: usize) -> (Vec<String>, Vec<usize>) {
    let log = log::written(&[0, 2, 2, 0].map(|card| step(card, 4)));
    let frames = |events: Range<usize>| {
        let batch = run::frames(&log[events], partition(0), 0, usize::MAX);
        if batch.is_empty() { vec![] } else { vec![batch] }
    };
    let mut run = Run::new(&TEMPLATES[0]);
    run.turn_after(vec![], frames(0..2), Silence::default());
    let publication = run.turn_after(frames(2..2 + early), frames(2 + early..4), Silence::default());
    let writes = &publication.writes;
    let key = |entry: &sink::Entry| String::from_utf8(writes.key(*entry).to_vec()).unwrap();
    let events = publication.streams[0].1.timestamps_ms.iter().map(Vec::len).collect();
    (writes.entries.iter().map(key).collect(), events)
}

#[test]
fn who_came_first_is_written_first() {
    let (at_once, events) = written_after(0);
    assert_eq!((at_once.len(), events), (2, vec![2]));
    let (in_waves, events) = written_after(1);
    assert_eq!((in_waves, events), (at_once.into_iter().rev().collect(), vec![1, 1]));
}
