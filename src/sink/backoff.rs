//! How long to wait before a store is tried again. Pure: whoever waits brings
//! the sleep.

use std::time::Duration;

/// The first delay: a server that restarts is often back by then.
const FIRST: Duration = Duration::from_millis(100);

/// The longest delay: what a recovered store waits for us at most.
const LONGEST: Duration = Duration::from_secs(5);

/// Delays that double from 100 ms to 5 s, each shortened by up to a quarter so
/// that processes which lost the same store do not return in step. The seed
/// alone decides by how much.
#[derive(Debug, Clone)]
pub struct Backoff {
    state: u64,
    ceiling: Duration,
}

impl Backoff {
    /// Begins at the shortest delay.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, ceiling: FIRST }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(LONGEST);
        let quarter = ceiling / 4;
        // 256 steps are finer than any timer of use here.
        let step = u32::from(self.random().to_le_bytes()[7]);
        ceiling.saturating_sub(quarter * step / 256)
    }

    /// After a success: the next delay is the shortest again.
    pub const fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// One step of splitmix64.
    const fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(seed: u64) -> Vec<Duration> {
        let mut backoff = Backoff::new(seed);
        (0..9).map(|_| backoff.next_delay()).collect()
    }

    #[test]
    fn delays_double_to_a_limit_and_keep_their_jitter_small() {
        let ceilings = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
        for seed in 0..50 {
            for (delay, ceiling) in delays(seed).into_iter().zip(ceilings.map(Duration::from_millis)) {
                assert!(delay <= ceiling && delay > ceiling * 3 / 4, "{delay:?} of {ceiling:?}");
            }
        }
    }

    #[test]
    fn the_seed_decides_and_reset_begins_again() {
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
        let mut backoff = Backoff::new(1);
        for _ in 0..5 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }
}
