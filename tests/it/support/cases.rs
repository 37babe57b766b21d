//! Generated cases, each from a seed of its own: the one that fails can be made again by itself.

use std::thread;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestCaseResult, TestRunner};

use super::number;

/// How often a case that fails is made smaller.
const MOST_TRIES: u32 = 1000;

/// Checks a property over so many cases or as many as `PROPTEST_CASES` says, from the seed
/// `PROPTEST_RNG_SEED` on.
///
/// # Panics
/// When it does not hold, with the smallest case that was found and the command that makes it again.
#[track_caller]
pub fn check<S: Strategy>(cases: u64, strategy: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let first = number("PROPTEST_RNG_SEED", 1);
    for seed in first..first + number("PROPTEST_CASES", cases) {
        if let Err(error) = case(seed).run(strategy, &property) {
            panic!("{error}\nonce more: make oracle CASES=1 SEED={seed}{}", test());
        }
    }
}

/// Which test this is: its thread has its name, unless all run in one.
fn test() -> String {
    let thread = thread::current();
    let name = thread.name().filter(|name| name.contains("::"));
    name.map(|name| format!(" TEST={name}")).unwrap_or_default()
}

/// What runs the one case of a seed.
fn case(seed: u64) -> TestRunner {
    let rng_seed = RngSeed::Fixed(seed);
    TestRunner::new(ProptestConfig {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: MOST_TRIES,
        rng_seed,
        ..Default::default()
    })
}

#[test]
fn a_case_comes_from_its_seed_alone() {
    let drawn = |seed: u64| any::<u64>().new_tree(&mut case(seed)).unwrap().current();
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
#[should_panic(expected = "make oracle CASES=1 SEED=")]
fn what_fails_says_how_to_see_it_again() {
    check(50, &(0..10_u8), |number| {
        prop_assert!(number < 7);
        Ok(())
    });
}
