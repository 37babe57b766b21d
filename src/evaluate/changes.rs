//! What differs from what was written before: of a view's rows only those that
//! changed are written, those that are gone are deleted, and the rest are kept
//! from expiring.

mod deleted;
#[cfg(test)]
mod tests;
mod touched;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use deleted::Deleted;

use crate::sink::Writes;
use crate::sink::encode::{Bound, Digest, Encoder, Error, Known, Mark};
use crate::state::map::Map;
use crate::time::EventTime;

/// What is known of one hash. There is one of these an entity: no field without need.
#[derive(Debug)]
struct Hash {
    /// What was written last.
    last: Row,
    /// Wall time of the last write.
    written_at: EventTime,
    /// The comparison that saw it last.
    seen: u32,
    /// Whether the store still has what `last` says.
    is_trusted: bool,
}

/// The features of a row.
#[derive(Debug)]
enum Row {
    /// In short: enough to tell it from another.
    Digest(Digest),
    /// Each of them, where those that did not change are left out.
    Image(Box<[u8]>),
}

/// The hashes that one view's shard has written.
#[derive(Debug, Default)]
pub struct Published {
    hashes: Map<Box<[u8]>, Hash>,
    comparison: u32,
    key_bytes: usize,
    /// Bytes of each row's image; 0 where there are none.
    image_bytes: usize,
    deleted: Deleted,
    /// When hashes were last looked through for those to be renewed.
    swept_at: Option<EventTime>,
    /// Rows that the last comparison left for the next ones to write again.
    put_off: usize,
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
    /// Rows without a key.
    pub keyless: u64,
    /// Rows with a key that another row had already.
    pub repeated: u64,
    /// The first of those.
    pub repeated_row: Option<usize>,
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
    /// Whether hashes say that events are missing.
    pub mark: Mark,
}

impl Published {
    /// Takes the rows as those that the store has, or may have, as far as their keys go.
    /// How many of the keys were not known.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn adopt(
        &mut self,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        wall: EventTime,
    ) -> Result<usize, Error> {
        let before = self.hashes.len();
        self.image_bytes = encoder.image_bytes();
        let mut bound = encoder.bind(rows)?;
        let mut key = Vec::new();
        for row in 0..rows.num_rows() {
            if bound.key(row, &mut key).is_some() {
                let last = Row::of(encoder, &mut bound, row);
                let hash = Hash { last, written_at: wall, seen: self.comparison, is_trusted: false };
                if self.hashes.insert(key.as_slice().into(), hash).is_none() {
                    self.key_bytes += key.len();
                }
            }
        }
        Ok(self.hashes.len() - before)
    }

    /// Compares all rows of the view with what was written, and appends what
    /// has to be written now.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn compare(
        &mut self,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<Changes, Error> {
        self.compare_some(encoder, rows, usize::MAX, moment, writes)
    }

    /// The same, but of the rows that did not change and are only to be written
    /// again at most so many, those first that were written last. The others wait
    /// for the next comparisons: [`Published::waiting`].
    ///
    /// # Errors
    /// Only of our own making.
    pub fn compare_some(
        &mut self,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        most_again: usize,
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<Changes, Error> {
        let mut again = (most_again < usize::MAX).then(Vec::new);
        let mut changes = self.write_changed(encoder, rows, moment, writes, again.as_mut())?;
        let again = again.unwrap_or_default();
        changes.written += self.write_again(encoder, rows, (again, most_again), moment, writes)?;
        let comparison = self.comparison;
        changes.deleted += self.delete_unless(encoder, moment, writes, |hash| hash.seen == comparison);
        changes.touched += self.renew(encoder, moment, writes);
        Ok(changes)
    }

    /// Appends the rows that differ from what was written, and marks all of
    /// them as seen by this comparison. Those that are only to be written again
    /// go to `again` where that is given, with the time of their last write.
    fn write_changed(
        &mut self,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        moment: Moment,
        writes: &mut Writes,
        mut again: Option<&mut Vec<(EventTime, usize)>>,
    ) -> Result<Changes, Error> {
        self.comparison = self.comparison.wrapping_add(1);
        self.image_bytes = encoder.image_bytes();
        let mut changes = Changes::default();
        let mut bound = encoder.bind(rows)?.marked(moment.mark);
        let (as_of_ms, wall_ms) = (moment.as_of.millis(), moment.wall.millis());
        let mut key = Vec::new();
        for row in 0..rows.num_rows() {
            if bound.key(row, &mut key).is_none() {
                changes.keyless += 1;
                continue;
            }
            match self.hashes.get_mut(key.as_slice()) {
                Some(known) if known.seen == self.comparison => {
                    changes.repeated += 1;
                    changes.repeated_row.get_or_insert(row);
                    continue;
                }
                Some(known)
                    if (known.is_trusted || again.is_some()) && known.last.is_same(&mut bound, row) =>
                {
                    known.seen = self.comparison;
                    if let Some(again) = again.as_mut().filter(|_| !known.is_trusted) {
                        again.push((known.written_at, row));
                    }
                    continue;
                }
                Some(known) => {
                    if known.is_trusted {
                        known.last.set(&mut bound, row, as_of_ms, wall_ms, writes);
                    } else {
                        bound.set(row, Known::Nothing, as_of_ms, wall_ms, writes);
                    }
                    known.last.note(&mut bound, row);
                    known.written_at = moment.wall;
                    known.seen = self.comparison;
                    known.is_trusted = true;
                }
                None => {
                    bound.set(row, Known::Nothing, as_of_ms, wall_ms, writes);
                    let last = Row::of(encoder, &mut bound, row);
                    let (written_at, seen) = (moment.wall, self.comparison);
                    let hash = Hash { last, written_at, seen, is_trusted: true };
                    self.key_bytes += key.len();
                    self.hashes.insert(key.as_slice().into(), hash);
                }
            }
            changes.written += 1;
        }
        Ok(changes)
    }

    /// Appends rows that did not change and yet are to be written again: at most
    /// so many, those first that were written last.
    fn write_again(
        &mut self,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        (mut again, most): (Vec<(EventTime, usize)>, usize),
        moment: Moment,
        writes: &mut Writes,
    ) -> Result<u64, Error> {
        self.put_off = again.len().saturating_sub(most);
        if again.is_empty() {
            return Ok(0);
        }
        again.sort_unstable_by_key(|(written_at, row)| (Reverse(*written_at), *row));
        again.truncate(most);
        let mut bound = encoder.bind(rows)?.marked(moment.mark);
        let mut key = Vec::new();
        for (_, row) in &again {
            if bound.key(*row, &mut key).is_none() {
                continue;
            }
            if let Some(known) = self.hashes.get_mut(key.as_slice()) {
                known.is_trusted = true;
                known.written_at = moment.wall;
                bound.set(*row, Known::Nothing, moment.as_of.millis(), moment.wall.millis(), writes);
            }
        }
        Ok(again.len() as u64)
    }

    /// Deletes hashes but for those that stay; how many.
    fn delete_unless(
        &mut self,
        encoder: &Encoder,
        moment: Moment,
        writes: &mut Writes,
        stays: impl Fn(&Hash) -> bool,
    ) -> u64 {
        let mut count = 0;
        for (key, _) in self.hashes.extract_if(|_, hash| !stays(hash)) {
            encoder.delete(&key, writes);
            self.key_bytes -= key.len();
            self.deleted.note(key, moment.wall);
            count += 1;
        }
        count
    }

    /// Rows that are to be written again by the next comparisons.
    pub const fn waiting(&self) -> usize {
        self.put_off
    }

    /// Everything is written again when it is next compared.
    pub fn distrust(&mut self) {
        self.hashes.values_mut().for_each(|hash| hash.is_trusted = false);
    }

    /// The store lost what was written, or has what was deleted: everything is written again when
    /// it is next compared, and what was deleted lately is deleted again.
    pub fn distrust_store(&mut self) {
        self.distrust();
        self.deleted.doubt();
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
        let images = self.hashes.len() * self.image_bytes;
        self.hashes.bytes() + self.key_bytes + images + self.deleted.bytes()
    }
}

impl Row {
    fn of(encoder: &Encoder, bound: &mut Bound<'_>, row: usize) -> Self {
        if encoder.image_bytes() > 0 {
            Self::Image(bound.image(row).into())
        } else {
            Self::Digest(bound.digest(row))
        }
    }

    fn is_same(&self, bound: &mut Bound<'_>, row: usize) -> bool {
        match self {
            Self::Digest(digest) => *digest == bound.digest(row),
            Self::Image(image) => **image == *bound.image(row),
        }
    }

    /// Writes a row over this one, which the store has.
    fn set(&self, bound: &mut Bound<'_>, row: usize, as_of_ms: i64, wall_ms: i64, writes: &mut Writes) {
        let may_exist;
        let known = match self {
            Self::Digest(digest) => {
                may_exist = |feature| digest.may_have_value(feature);
                Known::Fields(&may_exist)
            }
            Self::Image(image) => Known::Row(image),
        };
        bound.set(row, known, as_of_ms, wall_ms, writes);
    }

    /// Is another row from now on.
    fn note(&mut self, bound: &mut Bound<'_>, row: usize) {
        match self {
            Self::Digest(digest) => *digest = bound.digest(row),
            Self::Image(image) => image.copy_from_slice(bound.image(row)),
        }
    }
}
