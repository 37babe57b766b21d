//! The hashes deleted last. A store that goes back to what it had a while ago (a failover that
//! lost a suffix, a restart from an older snapshot) has them again. Nobody has a row of them,
//! so nobody would write them: they are deleted once more. Checkpoints tell a successor of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::{Moment, Published};
use crate::sink::Writes;
use crate::sink::encode::{Encoder, Error};
use crate::state::saved::Deletion;
use crate::time::{EventTime, Span};

/// So many are remembered of a shard.
pub(super) const MOST: usize = 32_768;

/// For so long, and never longer than a hash lives: by then a store has been saved or replicated.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// Room for so many is kept, whatever came.
const ROOM: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Those that are remembered, the oldest first.
    deletions: VecDeque<Deletion>,
    key_bytes: usize,
    /// How many have been forgotten: the number of the oldest that is remembered.
    forgotten: u64,
    /// Whether the store may have them again.
    is_doubtful: bool,
}

impl Deleted {
    /// A hash is deleted.
    pub(super) fn note(&mut self, key: Box<[u8]>, wall: EventTime) {
        if self.deletions.len() >= MOST {
            self.forget_first();
        }
        self.key_bytes += key.len();
        self.deletions.push_back(Deletion { at: wall, key });
    }

    /// Forgets those of long ago.
    pub(super) fn forget_old(&mut self, moment: Moment) {
        let for_long = Span::from(moment.ttl.min(REMEMBERED_FOR));
        while self.deletions.front().is_some_and(|deletion| moment.wall > deletion.at.plus(for_long)) {
            self.forget_first();
        }
        if self.deletions.capacity() > 4 * self.deletions.len() + ROOM {
            self.deletions.shrink_to(2 * self.deletions.len());
        }
    }

    /// The store went back, or may have.
    pub(super) const fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// The keys of those that have to be deleted once more: all that are remembered, or none.
    pub(super) fn once_more(&mut self) -> impl Iterator<Item = &[u8]> {
        let is_doubtful = std::mem::take(&mut self.is_doubtful);
        self.deletions.iter().filter(move |_| is_doubtful).map(|deletion| &*deletion.key)
    }

    /// Those from a number on that are still remembered, and the number of the next one.
    fn since(&self, number: u64) -> (Vec<Deletion>, u64) {
        let known = usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let deletions = self.deletions.iter().skip(known).cloned().collect();
        (deletions, self.forgotten + self.deletions.len() as u64)
    }

    /// Others that were deleted before, by another process; the store may have them again since.
    /// All that are known get new numbers.
    fn merge(&mut self, others: Vec<Deletion>) {
        if others.is_empty() {
            return;
        }
        self.doubt();
        self.forgotten += self.deletions.len() as u64;
        let mut all = Vec::from(std::mem::take(&mut self.deletions));
        all.extend(others);
        all.sort_unstable();
        all.dedup();
        all.drain(..all.len().saturating_sub(MOST));
        self.key_bytes = all.iter().map(|deletion| deletion.key.len()).sum();
        self.deletions = all.into();
    }

    /// Bytes that this takes.
    pub(super) fn bytes(&self) -> usize {
        self.deletions.capacity() * size_of::<Deletion>() + self.key_bytes
    }

    fn forget_first(&mut self) {
        if let Some(deletion) = self.deletions.pop_front() {
            self.key_bytes -= deletion.key.len();
            self.forgotten += 1;
        }
    }
}

impl Published {
    /// Deletes once more what was deleted before, where the store may have it again. To be called
    /// when everybody was compared for whom there are new events: nobody is deleted who has a row.
    pub fn delete_again(&mut self, encoder: &Encoder, moment: Moment, writes: &mut Writes) {
        self.deleted.forget_old(moment);
        for key in self.deleted.once_more() {
            if !self.hashes.contains_key(key) {
                encoder.delete(key, writes);
            }
        }
    }

    /// The hashes deleted last, from a number on, for a successor to know; and
    /// the number from which on there are none yet.
    pub fn deletions_since(&self, number: u64) -> (Vec<Deletion>, u64) {
        self.deleted.since(number)
    }

    /// Takes what another process deleted, as it told by [`Self::deletions_since`].
    pub fn merge_deletions(&mut self, deletions: Vec<Deletion>) {
        self.deleted.merge(deletions);
    }

    /// Whoever is in `touched` and has no row may have had one, and the process
    /// that ended may have deleted it: it is remembered as if it had been now.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn note_gone(
        &mut self,
        encoder: &Arc<Encoder>,
        touched: &RecordBatch,
        wall: EventTime,
    ) -> Result<(), Error> {
        let mut bound = encoder.bind(touched)?;
        let mut key = Vec::new();
        for row in 0..touched.num_rows() {
            if bound.key(row, &mut key).is_some() && !self.hashes.contains_key(key.as_slice()) {
                self.deleted.note(key.as_slice().into(), wall);
                self.deleted.doubt();
            }
        }
        Ok(())
    }
}
