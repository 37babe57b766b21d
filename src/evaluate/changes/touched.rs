//! The comparison when only some entities were looked at: rows of the others
//! are as they were, and stay. Their time to live is renewed in a sweep over
//! all hashes, made seldom.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{Changes, Moment, Published};
use crate::sink::Writes;
use crate::sink::encode::{Encoder, Error};
use crate::time::Span;

/// The part of the time to live after which all hashes are looked at again.
/// Together with the half after which one is renewed, none expires.
const SWEEPS_PER_TTL: u32 = 4;

impl Published {
    /// Compares the rows of some entities with what was written, and appends
    /// what has to be written now. `touched` has the keys of all of them, those
    /// without a row among them, in columns like those of `rows`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn compare_touched(
        &mut self,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        touched: &RecordBatch,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<Changes, Error> {
        let mut changes = self.write_changed(encoder, rows, moment, writes, None)?;
        let have_rows = rows.num_rows() as u64 - changes.keyless - changes.repeated;
        // When there are as many touched entities as hashes with a row, none is without one.
        if have_rows < touched.num_rows() as u64 {
            changes.deleted += self.delete_gone(encoder, touched, moment, writes)?;
        }
        if changes.deleted > 0 {
            self.hashes.shrink();
        }
        changes.touched += self.renew(encoder, moment, writes);
        Ok(changes)
    }

    /// Deletes the hashes of touched entities that this comparison has not seen.
    fn delete_gone(
        &mut self,
        encoder: &Arc<Encoder>,
        touched: &RecordBatch,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<u64, Error> {
        let mut deleted = 0;
        let mut key = Vec::new();
        let mut bound = encoder.bind(touched)?;
        for row in 0..touched.num_rows() {
            if bound.key(row, &mut key).is_none() {
                continue;
            }
            let is_gone = self.hashes.get(key.as_slice()).is_some_and(|hash| hash.seen != self.comparison);
            if is_gone && let Some((key, _)) = self.hashes.remove_entry(key.as_slice()) {
                self.key_bytes -= key.len();
                encoder.delete(&key, writes);
                self.deleted.note(key, moment.wall);
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Deletes what is still in doubt when every entity was looked at: nobody has a row of that key.
    pub fn delete_doubtful(&mut self, encoder: &Encoder, moment: Moment, writes: &mut Writes) -> u64 {
        self.delete_unless(encoder, moment, writes, |hash| hash.is_trusted)
    }

    /// Lets hashes live on that were not written for half of their time to live.
    /// To be called as well when nothing was evaluated.
    pub fn renew(&mut self, encoder: &Encoder, moment: Moment, writes: &mut Writes) -> u64 {
        let Some(swept_at) = self.swept_at else {
            self.swept_at = Some(moment.wall);
            return 0;
        };
        if moment.wall < swept_at.plus(Span::from(moment.ttl / SWEEPS_PER_TTL)) {
            return 0;
        }
        self.swept_at = Some(moment.wall);
        let renew_after = Span::from(moment.ttl / 2);
        let mut renewed = 0;
        for (key, hash) in self.hashes.iter_mut() {
            if moment.wall >= hash.written_at.plus(renew_after) {
                hash.written_at = moment.wall;
                encoder.touch(key, writes);
                renewed += 1;
            }
        }
        renewed
    }
}
