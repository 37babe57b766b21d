//! Everything that can go wrong, played in one thread: a log in memory, a store
//! in memory with the rules of the real one, a manual clock, and processes made
//! of the program's own parts. A seed decides the log, the view, who does what
//! when, and what breaks. Afterwards the store has what plain SQL says of the
//! whole log, and at every step what must hold was held.
//!
//! The short form is a test like any other; `make simulate` plays many more
//! seeds. What a real broker, a real Redis and real processes do is in `chaos`.

mod breaking;
mod events;
mod faults;
mod group;
mod objects;
mod process;
mod watch;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::support::number;
use faults::Fault;
use watch::Breach;
use world::{Story, World};

/// How many seeds the short form plays: enough for every fault, many times.
const SEEDS: u64 = 1000;

/// The short form's first seed.
const SEED: u64 = 1;

/// Breaches of one rule that are shown.
const SHOWN: usize = 3;

/// What became of a seed.
#[derive(Debug)]
struct Outcome {
    seed: u64,
    breaches: Vec<Breach>,
    played: BTreeMap<Fault, usize>,
    /// Deleted hashes of which checkpoints told processes.
    told: usize,
    /// Its steps.
    story: Vec<String>,
}

fn play(seed: u64) -> Outcome {
    let story = Story::default();
    let told = story.clone();
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, told);
        let breaches = world.run();
        (breaches, world.outside.told, world.played)
    }));
    let (breaches, told, played) = played.unwrap_or_else(|panic| {
        let breach = Breach { rule: "nothing panics", detail: text(&*panic) };
        (vec![breach], 0, BTreeMap::new())
    });
    Outcome { seed, breaches, played, told, story: story.told() }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Each seed in one thread, and several seeds at a time. Of those that went well, only counts are kept.
fn play_all(first: u64, count: u64) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return outcomes;
            }
            let mut outcome = play(first + index);
            if outcome.breaches.is_empty() {
                outcome.story = Vec::new();
            }
            outcomes.push(outcome);
            if (index + 1).is_multiple_of(1000) {
                println!("{} seeds", index + 1);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("what a seed does is caught")).collect()
    });
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

#[test]
fn whatever_breaks_the_store_has_what_the_log_says() {
    let count = number("WINDROW_SIMULATION_SEEDS", SEEDS);
    let first = number("WINDROW_SIMULATION_SEED", SEED);
    let begun = Instant::now();
    let outcomes = play_all(first, count);

    let mut played: BTreeMap<Fault, usize> = Fault::ALL.iter().map(|fault| (*fault, 0)).collect();
    for (fault, times) in outcomes.iter().flat_map(|outcome| &outcome.played) {
        *played.entry(*fault).or_default() += times;
    }
    println!("{count} seeds from {first} on, {:.1} s", begun.elapsed().as_secs_f64());
    for (fault, times) in &played {
        println!("{times:>8} {}", fault.label());
    }
    let told: usize = outcomes.iter().map(|outcome| outcome.told).sum();
    println!("{told:>8} deleted hashes of which checkpoints told");
    let report = report(&outcomes);
    assert!(report.is_empty(), "{report}");
    if count >= SEEDS {
        let unplayed = played.iter().filter(|(_, times)| **times == 0).map(|(fault, _)| fault);
        let unplayed: Vec<_> = unplayed.collect();
        assert!(unplayed.is_empty(), "never played: {unplayed:?}");
        assert!(told > 0, "no checkpoint told of a deleted hash");
    }
}

/// What was wrong, by rule, with the steps of the first seed in which something was.
fn report(outcomes: &[Outcome]) -> String {
    let mut by_rule: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for outcome in outcomes {
        for breach in &outcome.breaches {
            by_rule.entry(breach.rule).or_default().push((outcome.seed, breach.detail.as_str()));
        }
    }
    let mut lines = Vec::new();
    if let Some(first) = outcomes.iter().find(|outcome| !outcome.breaches.is_empty()) {
        lines.push(format!("the steps of seed {}:", first.seed));
        lines.extend(first.story.iter().cloned());
    }
    for (rule, breaches) in by_rule {
        let mut seeds: Vec<u64> = breaches.iter().map(|(seed, _)| *seed).collect();
        seeds.dedup();
        lines.push(format!("broken by {} seeds: {rule}", seeds.len()));
        for (seed, detail) in breaches.iter().take(SHOWN) {
            lines.push(format!("  seed {seed}: {detail}"));
        }
        lines.push(format!("  again: make simulate SEED={} SEEDS=1", seeds[0]));
    }
    lines.join("\n")
}

#[test]
fn a_seed_always_plays_the_same() {
    for seed in 1..4 {
        let (once, again) = (play(seed), play(seed));
        assert!(!once.story.is_empty());
        assert_eq!(once.story, again.story);
        assert_eq!(once.played, again.played);
    }
}
