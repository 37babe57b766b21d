//! The hashes deleted last. A store that goes back to what it had a while ago (a failover that
//! lost a suffix, a restart from an older snapshot) has them again. Nobody has a row of them,
//! so nobody would write them: they are deleted once more.

use std::collections::VecDeque;
use std::time::Duration;

use super::Moment;
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
    /// Wall time of each, and its key.
    keys: VecDeque<(EventTime, Box<[u8]>)>,
    key_bytes: usize,
    /// Whether the store may have them again.
    is_doubtful: bool,
}

impl Deleted {
    /// A hash is deleted.
    pub(super) fn note(&mut self, key: Box<[u8]>, wall: EventTime) {
        if self.keys.len() >= MOST {
            self.forget_first();
        }
        self.key_bytes += key.len();
        self.keys.push_back((wall, key));
    }

    /// Forgets those of long ago.
    pub(super) fn forget_old(&mut self, moment: Moment) {
        let for_long = Span::from(moment.ttl.min(REMEMBERED_FOR));
        while self.keys.front().is_some_and(|(wall, _)| moment.wall > wall.plus(for_long)) {
            self.forget_first();
        }
        if self.keys.capacity() > 4 * self.keys.len() + ROOM {
            self.keys.shrink_to(2 * self.keys.len());
        }
    }

    /// The store went back, or may have.
    pub(super) const fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// The keys of those that have to be deleted once more: all that are remembered, or none.
    pub(super) fn once_more(&mut self) -> impl Iterator<Item = &[u8]> {
        let is_doubtful = std::mem::take(&mut self.is_doubtful);
        self.keys.iter().filter(move |_| is_doubtful).map(|(_, key)| &**key)
    }

    /// Bytes that this takes.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<(EventTime, Box<[u8]>)>() + self.key_bytes
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.keys.pop_front() {
            self.key_bytes -= key.len();
        }
    }
}
