//! Entries that set the changed fields of a hash and leave the others out: most
//! of a row stays as it is when an event comes, and fields are what Redis pays for.
//!
//! That takes for granted that the hash is there. A store that lost what it had
//! as a whole is noticed ([`Written::store_changed`](super::Written::store_changed)),
//! but a single hash may have been evicted, deleted by hand, or expired in a long
//! outage. `HSET` answers how many fields are new: when they are more than they
//! should be, the hash was not there, and the same call of the sink writes the
//! whole row. After a failure it is not known what was answered, so that what is
//! repeated is written whole as well.
//!
//! ```text
//!  HSET changed fields ─▶ as many new ones as expected ─▶ acknowledged
//!                      └▶ more ─▶ Writes::whole ─▶ HSET all fields ─▶ acknowledged
//! ```
//! The row itself stays in memory until then, as Arrow has it; its text is made
//! only when it is needed.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::encode::{Encoder, Error, Known, Mark};
use super::{Entry, Writes};

/// An entry that sets some fields of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which rows it is of: an index into [`Writes::behind`].
    pub behind: u32,
    /// Which of them it is.
    pub row: u32,
    /// How many of the fields that it sets the hash does not have yet.
    pub added: u32,
}

impl Part {
    /// Whether the hash had lost fields, when so many are new in it.
    pub fn was_lost(self, added: i64) -> bool {
        added > i64::from(self.added)
    }
}

/// Rows of which entries set some fields.
#[derive(Debug, Clone)]
pub struct Behind {
    /// What writes them.
    pub encoder: Arc<Encoder>,
    /// The rows.
    pub rows: RecordBatch,
    /// Whether their hashes say that events are missing.
    pub mark: Mark,
    /// The clock for which they were computed, in milliseconds.
    pub as_of_ms: i64,
    /// Wall time of that, in milliseconds.
    pub computed_at_ms: i64,
}

impl Writes {
    /// Some of the entries, in their order and with every field of their rows:
    /// those of which nothing is left out are as they were.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn whole(&self, entries: &[Entry]) -> Result<Self, Error> {
        let mut whole = Self { origins: self.origins.clone(), ..Self::default() };
        for together in entries.chunk_by(|one, other| behind(one) == behind(other)) {
            let Some(behind) = behind(&together[0]).and_then(|index| self.behind.get(index as usize)) else {
                together.iter().for_each(|entry| whole.copy(self, *entry));
                continue;
            };
            let mut bound = behind.encoder.bind(&behind.rows)?.marked(behind.mark);
            for (entry, part) in together.iter().filter_map(|entry| Some((entry, entry.part?))) {
                let before = whole.entries.len();
                // What has no key was not written in the first place.
                let _ = bound.set(
                    part.row as usize,
                    Known::Nothing,
                    behind.as_of_ms,
                    behind.computed_at_ms,
                    &mut whole,
                );
                whole.entries[before..].iter_mut().for_each(|written| written.origin = entry.origin);
            }
        }
        Ok(whole)
    }

    /// All of it with every field.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn all_whole(&self) -> Result<Cow<'_, Self>, Error> {
        if self.behind.is_empty() {
            Ok(Cow::Borrowed(self))
        } else {
            self.whole(&self.entries).map(Cow::Owned)
        }
    }

    /// Takes an entry over from others.
    fn copy(&mut self, others: &Self, entry: Entry) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&others.bytes[entry.start..entry.end]);
        let moved = |at: usize| at - entry.start + start;
        let key = (moved(entry.key.0), moved(entry.key.1));
        self.entries.push(Entry { start, end: self.bytes.len(), key, ..entry });
    }
}

fn behind(entry: &Entry) -> Option<u32> {
    entry.part.map(|part| part.behind)
}
