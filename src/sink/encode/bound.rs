//! The rows of one batch with their columns told apart, written one by one.

use super::column::Column;
use super::digest::{Block, is_null};
use super::{Digest, Encoder, Mark, Nulls, PEXPIRE, number};
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
    encoder: &'a Encoder,
    rows: usize,
    keys: Vec<Column<'a>>,
    features: Vec<Column<'a>>,
    mark: Mark,

    block: Block,
    /// Features whose fields have to go, of the row being written.
    removed: Vec<usize>,
    key: Vec<u8>,
    text: Vec<u8>,
    /// The times written last, and the bookkeeping fields that have them.
    times: Option<[i64; 2]>,
    bookkeeping: Vec<u8>,
    /// Bytes of a row, those of the longest so far.
    row_bytes: usize,
}

impl<'a> Bound<'a> {
    pub(super) fn new(
        encoder: &'a Encoder,
        rows: usize,
        keys: Vec<Column<'a>>,
        features: Vec<Column<'a>>,
    ) -> Self {
        let fields: usize = encoder.features.iter().map(|feature| feature.name.len() + VALUE_BYTES).sum();
        Self {
            encoder,
            rows,
            block: Block::new(encoder, &features),
            keys,
            features,
            mark: Mark::Never,
            removed: Vec::new(),
            key: Vec::new(),
            text: Vec::new(),
            times: None,
            bookkeeping: Vec::new(),
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

    /// Writes a row over its entity's hash, and the TTL; or notes it, where rows
    /// are wanted. `None`, and nothing written, when the key is NULL.
    pub fn set(
        &mut self,
        row: usize,
        nulls: Nulls<'_>,
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
                self.push_row(row, &key, nulls, writes);
            }
        }
        self.key = key;
        has_key
    }

    fn push_row(&mut self, row: usize, key: &[u8], nulls: Nulls<'_>, writes: &mut Writes) {
        let present = self.note_removed(row, nulls);
        let encoder = self.encoder;
        let null = self.block.nulls(row, self.rows, encoder, &self.features);
        let out = &mut writes.bytes;
        let start = out.len();
        let bookkeeping = if self.mark == Mark::Warming { 3 } else { 2 };
        resp::push_array(out, 2 + 2 * (present + bookkeeping));
        out.extend_from_slice(b"$4\r\nHSET\r\n");
        let name_start = out.len();
        let text = encoder.push_redis_key(out, key);
        let name = name_start..out.len();
        for (feature, column) in encoder.features.iter().zip(&mut self.features) {
            if !is_null(null, feature.column) {
                feature.push_name(out);
                column.push(row, &mut self.text, out);
            } else if let Some(null_text) = &encoder.null_text {
                feature.push_name(out);
                out.extend_from_slice(null_text);
            }
        }
        out.extend_from_slice(&self.bookkeeping);
        let unmarks = self.mark == Mark::Ended && matches!(nulls, Nulls::Unknown);
        let removed = self.removed.len() + usize::from(unmarks);
        if removed > 0 {
            resp::push_array(out, 2 + removed);
            out.extend_from_slice(b"$4\r\nHDEL\r\n");
            out.extend_from_within(name.clone());
            for feature in &self.removed {
                encoder.features[*feature].push_name(out);
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
    }

    /// Finds the features whose fields have to go, and counts those that get a value.
    fn note_removed(&mut self, row: usize, nulls: Nulls<'_>) -> usize {
        self.removed.clear();
        let features = &self.encoder.features;
        if self.encoder.null_text.is_some() {
            return features.len();
        }
        let null = self.block.nulls(row, self.rows, self.encoder, &self.features);
        let count: u32 = null.iter().map(|word| word.count_ones()).sum();
        if count > 0 {
            let goes = |column: usize| is_null(null, column) && nulls.may_exist(column);
            let removed = features.iter().enumerate().filter(|(_, feature)| goes(feature.column));
            self.removed.extend(removed.map(|(index, _)| index));
        }
        features.len() - count as usize
    }

    /// Has the bookkeeping fields at hand: those of a batch's rows are alike.
    fn note_times(&mut self, times: [i64; 2]) {
        if self.times == Some(times) {
            return;
        }
        self.times = Some(times);
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
