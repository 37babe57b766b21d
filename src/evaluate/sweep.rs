//! Entities whose rows are to be written again although nothing happened to
//! them: a stretch a turn, those first whose newest event is newest. So memory
//! stays bounded, and what is computed meanwhile for new events waits for one
//! stretch and not for all of them.
//!
//! ```text
//!  over(all) ─▶ stretch(n) ─▶ touched, evaluated, compared ─▶ passed() ─▶ stretch(n) ─▶ …
//! ```
//! A sweep says whom to look at, and [`Published::distrust`](super::changes::Published::distrust)
//! that what is found is written even if it did not change: who wants every hash
//! of a shard written once more asks for both. Entities with new events, or
//! passed by an edge, do not wait for their place: they are touched as always,
//! and are found unchanged when the sweep comes to them.
//!
//! What is committed while a sweep lasts need not wait for its end. A process
//! that ends in the middle of one leaves hashes that were not written again; its
//! successor begins with a sweep over every row that it has, as every start
//! does. Deletions never wait: an entity that has no row any more was passed by
//! an edge, and is looked at before the clock that says so is committed.

use crate::state::keys::Slot;

/// See the module.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Those still to come, the next one last.
    rest: Vec<Slot>,
    /// How many of them were given and have not passed.
    given: usize,
}

impl Sweep {
    /// Over entities, each with the time of its newest event. Until it is sorted
    /// this takes 16 bytes an entity, from then on four.
    pub fn over(entities: impl Iterator<Item = (i64, Slot)>) -> Self {
        let mut entities: Vec<(i64, Slot)> = entities.collect();
        entities.sort_unstable();
        Self { rest: entities.into_iter().map(|(_, slot)| slot).collect(), given: 0 }
    }

    /// The next entities, at most so many; the same again until they have passed.
    /// Some may have been forgotten since the sweep began.
    pub fn stretch(&mut self, most: usize) -> &[Slot] {
        if self.given == 0 {
            self.given = most.min(self.rest.len());
        }
        &self.rest[self.rest.len() - self.given..]
    }

    /// What was given was evaluated.
    pub fn passed(&mut self) {
        self.rest.truncate(self.rest.len() - self.given);
        self.given = 0;
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
    }

    /// Entities still to come.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether it is through.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that this takes.
    pub const fn bytes(&self) -> usize {
        self.rest.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_last_active_come_first_a_stretch_at_a_time() {
        let mut sweep = Sweep::over([(30, 0), (10, 1), (50, 2), (i64::MIN, 3), (40, 4)].into_iter());
        assert_eq!(sweep.stretch(2), [4, 2]);
        // What failed is given again, however many are wanted.
        assert_eq!(sweep.stretch(3), [4, 2]);
        sweep.passed();
        assert_eq!(sweep.stretch(2), [1, 0]);
        sweep.passed();
        assert_eq!((sweep.len(), sweep.stretch(2)), (1, &[3][..]));
        sweep.passed();
        assert!(sweep.is_empty() && sweep.stretch(2).is_empty());
        sweep.passed();
        assert_eq!(sweep.bytes(), 0);
    }
}
