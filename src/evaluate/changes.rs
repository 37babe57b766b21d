//! What differs from what was written before: of a view's rows only those that
//! changed are written, those that are gone are deleted, and the rest are kept
//! from expiring.

#[cfg(test)]
mod tests;
mod touched;

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::RecordBatch;

use crate::sink::Writes;
use crate::sink::encode::{Digest, Encoder, Error, Nulls};
use crate::state::keys::Seed;
use crate::time::EventTime;

/// What is known of one hash. There is one of these an entity: no field without need.
#[derive(Debug, Clone, Copy)]
struct Hash {
    /// What was written last.
    digest: Digest,
    /// Wall time of the last write.
    written_at: EventTime,
    /// The comparison that saw it last.
    seen: u32,
    /// Whether `digest` is known, and the store still has what it says.
    is_trusted: bool,
}

/// The hashes that one view's shard has written.
#[derive(Debug, Default)]
pub struct Published {
    hashes: HashMap<Box<[u8]>, Hash, Seed>,
    comparison: u32,
    key_bytes: usize,
    /// When hashes were last looked through for those to be renewed.
    swept_at: Option<EventTime>,
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Rows written.
    pub written: u64,
    /// Hashes deleted.
    pub deleted: u64,
    /// Hashes whose time to live was renewed.
    pub touched: u64,
    /// Rows without a key, or with one that another row had already.
    pub skipped: u64,
}

/// When a comparison is made, and for how long its hashes live.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The clock for which the rows were computed.
    pub as_of: EventTime,
    /// Wall time.
    pub wall: EventTime,
    /// How long a hash lives after its last write.
    pub ttl: Duration,
}

impl Published {
    /// Takes the rows as those that the store has, as far as their keys go.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn adopt(&mut self, encoder: &Encoder, rows: &RecordBatch, wall: EventTime) -> Result<(), Error> {
        let mut bound = encoder.bind(rows)?;
        let mut key = Vec::new();
        for row in 0..rows.num_rows() {
            if bound.key(row, &mut key).is_some() {
                let (digest, seen) = (Digest::default(), self.comparison);
                let hash = Hash { digest, written_at: wall, seen, is_trusted: false };
                if self.hashes.insert(key.as_slice().into(), hash).is_none() {
                    self.key_bytes += key.len();
                }
            }
        }
        Ok(())
    }

    /// Compares all rows of the view with what was written, and appends what
    /// has to be written now.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn compare(
        &mut self,
        encoder: &Encoder,
        rows: &RecordBatch,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<Changes, Error> {
        let mut changes = self.write_changed(encoder, rows, moment, writes)?;
        let comparison = self.comparison;
        let mut freed = 0;
        self.hashes.retain(|key, hash| {
            let stays = hash.seen == comparison;
            if !stays {
                encoder.delete(key, writes);
                changes.deleted += 1;
                freed += key.len();
            }
            stays
        });
        self.key_bytes -= freed;
        changes.touched += self.renew(encoder, moment, writes);
        Ok(changes)
    }

    /// Appends the rows that differ from what was written, and marks all of
    /// them as seen by this comparison.
    fn write_changed(
        &mut self,
        encoder: &Encoder,
        rows: &RecordBatch,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<Changes, Error> {
        self.comparison = self.comparison.wrapping_add(1);
        let mut changes = Changes::default();
        let mut bound = encoder.bind(rows)?;
        let mut key = Vec::new();
        for row in 0..rows.num_rows() {
            if bound.key(row, &mut key).is_none() {
                changes.skipped += 1;
                continue;
            }
            let digest = bound.digest(row);
            let hash = Hash { digest, written_at: moment.wall, seen: self.comparison, is_trusted: true };
            let before = match self.hashes.get_mut(key.as_slice()) {
                Some(known) if known.seen == hash.seen => {
                    changes.skipped += 1;
                    continue;
                }
                Some(known) if known.is_trusted && known.digest == digest => {
                    known.seen = hash.seen;
                    continue;
                }
                Some(known) => {
                    let before = std::mem::replace(known, hash);
                    before.is_trusted.then_some(before.digest)
                }
                None => {
                    self.key_bytes += key.len();
                    self.hashes.insert(key.as_slice().into(), hash);
                    None
                }
            };
            let was_written = |column: usize| before.is_none_or(|before| before.may_have_value(column));
            let nulls = if before.is_some() { Nulls::Written(&was_written) } else { Nulls::Unknown };
            bound.set(row, nulls, moment.as_of.millis(), moment.wall.millis(), writes);
            changes.written += 1;
        }
        Ok(changes)
    }

    /// The store lost what was written: everything is written again at the
    /// next comparison.
    pub fn distrust(&mut self) {
        self.hashes.values_mut().for_each(|hash| hash.is_trusted = false);
    }

    /// Hashes written.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Bytes that this takes.
    pub fn bytes(&self) -> usize {
        self.hashes.capacity() * (size_of::<(Box<[u8]>, Hash)>() + 1) + self.key_bytes
    }
}
