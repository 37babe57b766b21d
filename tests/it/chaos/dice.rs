//! A sequence of numbers that its seed decides (SplitMix64), so that a run can
//! be repeated.

use std::ops::Range;

/// The sequence of one seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 on, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// A number of this range, which is not empty.
    pub fn between(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// A stretch of time in milliseconds, from `least` on, below `most`.
    pub fn stretch(&mut self, least: i64, most: i64) -> i64 {
        let choices = u64::try_from(most - least).expect("a stretch is not negative");
        least + i64::try_from(self.below(choices)).expect("a test's times fit")
    }

    /// One of several, each as likely.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// All of them, in any order.
    pub fn shuffled<T, const N: usize>(&mut self, mut items: [T; N]) -> [T; N] {
        for last in (1..N).rev() {
            items.swap(last, self.index(last + 1));
        }
        items
    }

    fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).expect("a length fits 64 bits");
        usize::try_from(self.below(length)).expect("an index is below its length")
    }
}
