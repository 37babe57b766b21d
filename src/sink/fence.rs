//! Who may write a shard's features: pure. Whoever gets a shard takes it over
//! in the store, under an epoch higher than any before; a process that was
//! paused finds a higher epoch than its own and writes nothing any more.
//!
//! | the store has | so |
//! |---|---|
//! | our epoch | we hold the shard |
//! | a higher one | another process took the shard over after us |
//! | none, a lower one, or another holder's of the same number | the store lost data: no process takes over with less than what it found |
//!
//! The number of an epoch is when the group gave the shard to its holder, by the
//! store's clock. So it still says who came later where the store has forgotten
//! who came before, and a taking over that was put off comes too late.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::frame::StreamId;

/// What one process at a time may write: the features of the views that read a
/// stream (that of several whose name comes first) in one partition number.
/// Partitions of different streams may belong to different processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    /// The stream.
    pub stream: StreamId,
    /// The partition number; `None` for a view that is one shard over all.
    pub partition: Option<i32>,
}

/// One taking over of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Higher than that of any taking over before.
    pub number: u64,
    /// Who took over. Two that both found a store without data have the same number.
    pub holder: u64,
}

impl Epoch {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (number, holder) = std::str::from_utf8(text).ok()?.split_once(':')?;
        Some(Self { number: number.parse().ok()?, holder: u64::from_str_radix(holder, 16).ok()? })
    }

    /// What it means that the store has this.
    pub fn standing(self, found: Option<Self>) -> Standing {
        match found {
            Some(found) if found == self => Standing::Held,
            Some(found) if found.number > self.number => Standing::TakenOver,
            _ => Standing::Lost,
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}", self.number, self.holder)
    }
}

/// Where a process stands that took a shard over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may write.
    Held,
    /// The store lost data.
    Lost,
    /// Another process may, and this one may not.
    TakenOver,
}

/// The shards of one sink.
#[derive(Debug, Clone, Default)]
pub struct Fences {
    holder: u64,

    held: BTreeMap<Shard, Epoch>,
    taken_over: BTreeSet<Shard>,
}

impl Fences {
    /// Holds nothing yet. No two sinks have the same `holder`.
    pub const fn new(holder: u64) -> Self {
        Self { holder, held: BTreeMap::new(), taken_over: BTreeSet::new() }
    }

    /// The epoch under which to take a shard over that the store says is held so.
    pub fn next(&self, shard: Shard, found: Option<Epoch>) -> Epoch {
        let ours = self.held.get(&shard).copied();
        let highest = ours.into_iter().chain(found).map(|epoch| epoch.number).max().unwrap_or(0);
        Epoch { number: highest.saturating_add(1), holder: self.holder }
    }

    /// The epoch under which to take a shard over that the store says is held so.
    /// The group gave it to us at `given_at`, in microseconds by the store's clock,
    /// where that is known. `None` when it gave it to another process later.
    pub fn claim(&self, shard: Shard, found: Option<Epoch>, given_at: Option<u64>) -> Option<Epoch> {
        let is_later =
            |found: Epoch| found.holder != self.holder && given_at.is_some_and(|given| found.number > given);
        if found.is_some_and(is_later) {
            return None;
        }
        let next = self.next(shard, found);
        Some(Epoch { number: next.number.max(given_at.unwrap_or(0)), ..next })
    }

    /// The epoch under which to go on with a shard of which the store has lost
    /// something: our own, so that whoever took it over after us still did.
    /// `None` when another process has it.
    pub fn restored(&self, shard: Shard, found: Option<Epoch>) -> Option<Epoch> {
        let ours = self.epoch(shard)?;
        match ours.standing(found) {
            Standing::TakenOver => None,
            Standing::Lost if found.is_some_and(|found| found.number == ours.number) => {
                Some(self.next(shard, found))
            }
            Standing::Held | Standing::Lost => Some(ours),
        }
    }

    /// A shard was taken over.
    pub fn hold(&mut self, shard: Shard, epoch: Epoch) {
        self.held.insert(shard, epoch);
        self.taken_over.remove(&shard);
    }

    /// A shard belongs to another process.
    pub fn yield_to_another(&mut self, shard: Shard) {
        self.held.remove(&shard);
        self.taken_over.insert(shard);
    }

    /// Shards are not ours any more, which we know.
    pub fn give_up(&mut self, shards: &[Shard]) {
        for shard in shards {
            self.held.remove(shard);
            self.taken_over.remove(shard);
        }
    }

    /// The epoch of a shard that is held.
    pub fn epoch(&self, shard: Shard) -> Option<Epoch> {
        self.held.get(&shard).copied()
    }

    /// The shards that are held.
    pub fn held(&self) -> impl Iterator<Item = Shard> + '_ {
        self.held.keys().copied()
    }

    /// Whether another process took a shard over.
    pub fn is_taken_over(&self, shard: Shard) -> bool {
        self.taken_over.contains(&shard)
    }

    /// The shards that others took over.
    pub fn taken_over(&self) -> Vec<Shard> {
        self.taken_over.iter().copied().collect()
    }

    /// Takes in what the store has for a shard. One that is not held is left as it is.
    pub fn judge(&mut self, shard: Shard, found: Option<Epoch>) -> Standing {
        let Some(ours) = self.epoch(shard) else { return Standing::Held };
        let standing = ours.standing(found);
        if standing == Standing::TakenOver {
            self.yield_to_another(shard);
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Shard = Shard { stream: StreamId(0), partition: Some(3) };

    const fn epoch(number: u64, holder: u64) -> Epoch {
        Epoch { number, holder }
    }

    #[track_caller]
    fn check(found: Option<Epoch>, expected: Standing) {
        assert_eq!(epoch(7, 1).standing(found), expected);
    }

    #[test]
    fn what_the_store_has_says_where_we_stand() {
        check(Some(epoch(7, 1)), Standing::Held);
        check(Some(epoch(8, 2)), Standing::TakenOver);
        check(None, Standing::Lost);
        check(Some(epoch(6, 2)), Standing::Lost);
        check(Some(epoch(6, 1)), Standing::Lost);
        check(Some(epoch(7, 2)), Standing::Lost);
    }

    #[test]
    fn epochs_read_back() {
        for known in [epoch(0, 0), epoch(12, 0xabc), epoch(u64::MAX, u64::MAX)] {
            assert_eq!(Epoch::parse(known.to_string().as_bytes()), Some(known));
        }
        for wrong in ["", "7", "7:", ":7", "seven:1", "7:xyz", "7:1:2"] {
            assert_eq!(Epoch::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    /// An old process finds a store without data before the one that took over from it does.
    #[test]
    fn the_later_owner_wins_after_a_loss() {
        let (mut first, mut second) = (Fences::new(1), Fences::new(2));
        first.hold(SHARD, first.next(SHARD, None));
        second.hold(SHARD, second.next(SHARD, first.epoch(SHARD)));
        assert_eq!(first.judge(SHARD, None), Standing::Lost);
        first.hold(SHARD, first.restored(SHARD, None).unwrap());
        assert_eq!(second.judge(SHARD, first.epoch(SHARD)), Standing::Lost);
        second.hold(SHARD, second.restored(SHARD, first.epoch(SHARD)).unwrap());
        assert_eq!(first.restored(SHARD, second.epoch(SHARD)), None);
        assert_eq!(first.judge(SHARD, second.epoch(SHARD)), Standing::TakenOver);
        assert!(first.is_taken_over(SHARD) && first.held().next().is_none());
    }

    /// The store went back to before any taking over; then a third process came.
    #[test]
    fn a_loss_does_not_make_an_old_owner_the_later_one() {
        let (mut old, mut new) = (Fences::new(1), Fences::new(2));
        let before = Some(epoch(90, 7));
        old.hold(SHARD, old.claim(SHARD, before, Some(100)).unwrap());
        assert_eq!(old.epoch(SHARD), Some(epoch(100, 1)));
        new.hold(SHARD, new.claim(SHARD, None, Some(200)).unwrap());
        assert_eq!(old.judge(SHARD, new.epoch(SHARD)), Standing::TakenOver);
    }

    #[test]
    fn what_was_given_to_another_later_is_not_taken_over() {
        let (late, mut new) = (Fences::new(1), Fences::new(2));
        new.hold(SHARD, new.claim(SHARD, None, Some(200)).unwrap());
        assert_eq!(late.claim(SHARD, new.epoch(SHARD), Some(100)), None);
        // Given again, it is ours; so it is where nobody can say when that was.
        assert_eq!(late.claim(SHARD, new.epoch(SHARD), Some(300)), Some(epoch(300, 1)));
        assert_eq!(late.claim(SHARD, new.epoch(SHARD), None), Some(epoch(201, 1)));
        // One of two at the same moment, and our own of before.
        assert_eq!(late.claim(SHARD, new.epoch(SHARD), Some(200)), Some(epoch(201, 1)));
        assert_eq!(new.claim(SHARD, new.epoch(SHARD), Some(150)), Some(epoch(201, 2)));
    }

    #[test]
    fn of_two_with_the_same_number_one_goes_on() {
        let mut fences = Fences::new(1);
        fences.hold(SHARD, epoch(5, 1));
        assert_eq!(fences.restored(SHARD, Some(epoch(5, 1))), Some(epoch(5, 1)));
        assert_eq!(fences.restored(SHARD, Some(epoch(4, 2))), Some(epoch(5, 1)));
        assert_eq!(fences.restored(SHARD, Some(epoch(5, 2))), Some(epoch(6, 1)));
    }

    #[test]
    fn what_is_given_up_is_neither_held_nor_taken_over() {
        let mut fences = Fences::new(1);
        fences.hold(SHARD, epoch(1, 1));
        fences.yield_to_another(SHARD);
        assert_eq!(fences.taken_over(), [SHARD]);
        fences.give_up(&[SHARD]);
        assert_eq!((fences.taken_over(), fences.epoch(SHARD)), (Vec::new(), None));
        assert_eq!(fences.judge(SHARD, Some(epoch(9, 9))), Standing::Held);
    }
}
