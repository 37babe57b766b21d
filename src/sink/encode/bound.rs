//! The rows of one batch with their columns told apart, written one by one.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::column::Column;
use super::digest::{Block, WORD_BITS, bits};
use super::{Digest, Encoder, Known, Mark, PEXPIRE, number};
use crate::sink::parts::{Behind, Part};
use crate::sink::{Writes, resp};

/// What stands between the columns of a key.
const KEY_SEPARATOR: u8 = b':';

/// Bytes of a value that a row is thought to have, and of what it has beside its fields.
const VALUE_BYTES: usize = 16;
const OTHER_BYTES: usize = 256;

/// The most bytes to make room for before they are needed: what the rows of a
/// large batch take.
const RESERVED_BYTES: usize = 16 * 1024 * 1024;

/// The rows of one batch, ready to be written.
pub struct Bound<'a> {
    encoder: &'a Arc<Encoder>,
    batch: &'a RecordBatch,
    rows: usize,
    keys: Vec<Column<'a>>,
    features: Vec<Column<'a>>,
    mark: Mark,

    block: Block,
    fields: Fields,
    key: Vec<u8>,
    text: Vec<u8>,
    /// The times written last, and the bookkeeping fields that have them.
    times: Option<[i64; 2]>,
    bookkeeping: Vec<u8>,
    /// Where the rows of these times stand in [`Writes::behind`], once they do.
    behind: Option<u32>,
    /// Bytes of a row, those of the longest so far.
    row_bytes: usize,
}

/// Which fields of a row are set and which have to go: a bit a feature.
#[derive(Default)]
struct Fields {
    set: Vec<u64>,
    removed: Vec<u64>,
    /// Those set that the hash does not have yet; `None` when all that have a value are set.
    added: Option<u32>,
    changed: Vec<u64>,
}

impl<'a> Bound<'a> {
    pub(super) fn new(
        encoder: &'a Arc<Encoder>,
        batch: &'a RecordBatch,
        keys: Vec<Column<'a>>,
        features: Vec<Column<'a>>,
    ) -> Self {
        let fields: usize = encoder.features.iter().map(|feature| feature.name.len() + VALUE_BYTES).sum();
        Self {
            encoder,
            batch,
            rows: batch.num_rows(),
            keys,
            features,
            mark: Mark::Never,
            block: Block::default(),
            fields: Fields::default(),
            key: Vec::new(),
            text: Vec::new(),
            times: None,
            bookkeeping: Vec::new(),
            behind: None,
            row_bytes: fields + OTHER_BYTES,
        }
    }

    /// Has the hashes say whether events are missing in their windows.
    pub fn marked(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self.times = None;
        self
    }

    /// The key of a row as text, into `key`; `None` when a part of it is NULL.
    pub fn key(&mut self, row: usize, key: &mut Vec<u8>) -> Option<()> {
        key.clear();
        for (index, column) in self.keys.iter_mut().enumerate() {
            if column.is_null(row) {
                return None;
            }
            if index > 0 {
                key.push(KEY_SEPARATOR);
            }
            column.write(row, key);
        }
        Some(())
    }

    /// What tells a row's features from another row's: equal features have equal
    /// digests, and different ones differ but for a chance of about 2^-128.
    pub fn digest(&mut self, row: usize) -> Digest {
        self.block.digest(row, self.rows, self.encoder, &mut self.features)
    }

    /// What a row's features are, for [`Known::Row`] when the next one is written.
    pub fn image(&mut self, row: usize) -> &[u8] {
        self.block.image(row, self.rows, self.encoder, &mut self.features)
    }

    /// Writes a row over its entity's hash, and the TTL; or notes it, where rows
    /// are wanted. `None`, and nothing written, when the key is NULL.
    pub fn set(
        &mut self,
        row: usize,
        known: Known<'_>,
        as_of_ms: i64,
        computed_at_ms: i64,
        writes: &mut Writes,
    ) -> Option<()> {
        let mut key = std::mem::take(&mut self.key);
        let has_key = self.key(row, &mut key);
        if has_key.is_some() {
            if let Some(rows) = &mut writes.rows {
                rows.set(row);
            } else {
                self.note_times([as_of_ms, computed_at_ms]);
                self.make_room(row, &mut writes.bytes);
                self.push_row(row, &key, known, writes);
            }
        }
        self.key = key;
        has_key
    }

    fn push_row(&mut self, row: usize, key: &[u8], known: Known<'_>, writes: &mut Writes) {
        self.note_fields(row);
        self.leave_out(row, known);
        let part = self.fields.added.and_then(|added| self.part(row, added, writes));
        if self.fields.added.is_some() && part.is_none() {
            self.note_fields(row);
        }
        let encoder = self.encoder;
        let out = &mut writes.bytes;
        let start = out.len();
        let bookkeeping = if self.mark == Mark::Warming { 3 } else { 2 };
        resp::push_array(out, 2 + 2 * (count(&self.fields.set) + bookkeeping));
        out.extend_from_slice(b"$4\r\nHSET\r\n");
        let name_start = out.len();
        let text = encoder.push_redis_key(out, key);
        let name = name_start..out.len();
        // All that is NULL and set has the text for that.
        let null = self.block.nulls(row, self.rows, encoder, &self.features);
        for (word, (set, null)) in self.fields.set.iter().zip(null).enumerate() {
            for bit in bits(*set) {
                let feature = word * WORD_BITS + bit;
                encoder.features[feature].push_name(out);
                match &encoder.null_text {
                    Some(null_text) if null & (1_u64 << bit) != 0 => out.extend_from_slice(null_text),
                    _ => self.features[feature].push(row, &mut self.text, out),
                }
            }
        }
        out.extend_from_slice(&self.bookkeeping);
        let unmarks = self.mark == Mark::Ended && matches!(known, Known::Nothing);
        let removed = count(&self.fields.removed) + usize::from(unmarks);
        if removed > 0 {
            resp::push_array(out, 2 + removed);
            out.extend_from_slice(b"$4\r\nHDEL\r\n");
            out.extend_from_within(name.clone());
            for (word, removed) in self.fields.removed.iter().enumerate() {
                bits(*removed).for_each(|bit| encoder.features[word * WORD_BITS + bit].push_name(out));
            }
            if unmarks {
                out.extend_from_slice(&encoder.warming);
            }
        }
        out.extend_from_slice(PEXPIRE);
        out.extend_from_within(name);
        out.extend_from_slice(&encoder.ttl);
        self.row_bytes = self.row_bytes.max(out.len() - start);
        let replies = if removed > 0 { 3 } else { 2 };
        writes.end_entry(start, replies, (text.start, text.end));
        if let Some(entry) = writes.entries.last_mut() {
            entry.part = part;
        }
    }

    /// Finds the features that have a value, whose fields are set, and those without, whose fields
    /// have to go.
    fn note_fields(&mut self, row: usize) {
        let encoder = self.encoder;
        let Fields { set, removed, added, .. } = &mut self.fields;
        *added = None;
        set.clear();
        removed.clear();
        let nulls = self.block.nulls(row, self.rows, encoder, &self.features);
        if encoder.null_text.is_some() {
            set.extend(encoder.layout.features());
            removed.resize(set.len(), 0);
        } else {
            for (features, nulls) in encoder.layout.features().iter().zip(nulls) {
                set.push(features & !nulls);
                removed.push(features & nulls);
            }
        }
    }

    /// Leaves out the fields that the hash is known to have, or not to have, already.
    fn leave_out(&mut self, row: usize, known: Known<'_>) {
        let encoder = self.encoder;
        let Fields { set, removed, added, changed } = &mut self.fields;
        match known {
            Known::Nothing => {}
            Known::Absent => removed.fill(0),
            Known::Fields(may_exist) => {
                for (word, removed) in removed.iter_mut().enumerate() {
                    for bit in bits(*removed).filter(|bit| !may_exist(word * WORD_BITS + bit)) {
                        *removed &= !(1_u64 << bit);
                    }
                }
            }
            Known::Row(before) => {
                let were_null = encoder.layout.nulls_of(before);
                removed.iter_mut().zip(were_null).for_each(|(removed, were_null)| *removed &= !were_null);
                if !encoder.changed_only {
                    return;
                }
                self.block.changed(row, self.rows, encoder, &mut self.features, before, changed);
                let has_null_text = encoder.null_text.is_some();
                let mut are_new = 0;
                for ((set, changed), were_null) in
                    set.iter_mut().zip(changed.iter()).zip(encoder.layout.nulls_of(before))
                {
                    *set &= changed;
                    are_new += if has_null_text { 0 } else { (*set & were_null).count_ones() };
                }
                *added = Some(are_new);
            }
        }
    }

    /// What a row is of which only some fields are written: the sink can have the others.
    fn part(&mut self, row: usize, added: u32, writes: &mut Writes) -> Option<Part> {
        let row = u32::try_from(row).ok()?;
        if self.behind.is_none() {
            let [as_of_ms, computed_at_ms] = self.times?;
            let (encoder, rows) = (Arc::clone(self.encoder), self.batch.clone());
            writes.behind.push(Behind { encoder, rows, mark: self.mark, as_of_ms, computed_at_ms });
            self.behind = u32::try_from(writes.behind.len() - 1).ok();
        }
        Some(Part { behind: self.behind?, row, added })
    }

    /// Has the bookkeeping fields at hand: those of a batch's rows are alike.
    fn note_times(&mut self, times: [i64; 2]) {
        if self.times == Some(times) {
            return;
        }
        self.times = Some(times);
        self.behind = None;
        self.bookkeeping.clear();
        for (field, time) in [&self.encoder.as_of, &self.encoder.computed_at].into_iter().zip(times) {
            self.bookkeeping.extend_from_slice(field);
            number::push_integer(&mut self.bookkeeping, time);
        }
        if self.mark == Mark::Warming {
            self.bookkeeping.extend_from_slice(&self.encoder.warming);
            resp::push_bulk(&mut self.bookkeeping, b"true");
        }
    }

    /// Makes room for this row and those that follow it, about as long as it:
    /// to double the room again and again would copy as much as is written.
    fn make_room(&self, row: usize, out: &mut Vec<u8>) {
        if out.capacity() - out.len() < self.row_bytes {
            let rows = self.row_bytes.saturating_mul(self.rows - row);
            out.reserve(rows.min(RESERVED_BYTES).max(self.row_bytes));
        }
    }
}

fn count(bits: &[u64]) -> usize {
    bits.iter().map(|word| word.count_ones() as usize).sum()
}
