//! Generated logs of the engines' tests: when events come, and whose they are.

use proptest::prelude::*;

/// 2024-03-01, a little after midnight; on the edge of no window.
pub const START: i64 = 1_709_251_200_000_000 + 90_123_000;
/// How much earlier than the clock an event may be and still count.
const LATEST: i64 = 65_000_000;

/// One step of a log.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub stream: usize,
    /// Time since the event before.
    pub after: i64,
    /// How far its event time lies behind the clock.
    pub behind: i64,
    pub card: u8,
    pub salt: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![
        6 => 0..900_000_i64,
        3 => (0..20_i64).prop_map(|seconds| seconds * 1_000_000),
        1 => 0..90_000_000_i64,
        // A gap that empties every window but the longest.
        1 => 3_600_000_000..10_800_000_000_i64,
    ];
    let behind = prop_oneof![4 => Just(0), 2 => 0..5_000_000_i64, 1 => 0..LATEST];
    (0..3_usize, after, behind, 0..6_u8, any::<u64>()).prop_map(|(stream, after, behind, card, salt)| Step {
        stream,
        after,
        behind,
        card,
        salt,
    })
}

/// How many events a turn has, and how long a silence follows it.
pub fn turns() -> impl Strategy<Value = Vec<(usize, i64)>> {
    let silence = prop_oneof![5 => Just(0), 2 => 0..40_000_000_i64, 1 => 0..7_200_000_000_i64];
    proptest::collection::vec((1..25_usize, silence), 1..8)
}

/// A log.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..120)
}

/// A log from a seed, for tests that need one and not many.
pub fn steps_of(seed: u64, count: usize) -> Vec<Step> {
    let mut state = seed;
    let mut next = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let micros = |number: u64| i64::try_from(number).unwrap();
    let mut step = |_| Step {
        stream: usize::try_from(next(2)).unwrap(),
        after: micros(if next(40) == 0 { next(4_000_000_000) } else { next(3_000_000) }),
        behind: micros(if next(3) == 0 { next(65_000_000) } else { 0 }),
        card: u8::try_from(next(6)).unwrap(),
        salt: next(1 << 30),
    };
    (0..count).map(&mut step).collect()
}
