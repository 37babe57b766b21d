//! The rows of one batch with their columns told apart, written one by one.

use super::column::Column;
use super::{Digest, Encoder, Nulls};
use crate::sink::{Entry, Writes, resp};

/// What stands between the columns of a key.
const KEY_SEPARATOR: u8 = b':';

/// The rows of one batch, ready to be written.
pub struct Bound<'a> {
    encoder: &'a Encoder,
    keys: Vec<Column<'a>>,
    features: Vec<Column<'a>>,

    /// Features whose fields have to go, of the row being written.
    removed: Vec<usize>,
    key: Vec<u8>,
    text: Vec<u8>,
}

impl<'a> Bound<'a> {
    pub(super) const fn new(encoder: &'a Encoder, keys: Vec<Column<'a>>, features: Vec<Column<'a>>) -> Self {
        Self { encoder, keys, features, removed: Vec::new(), key: Vec::new(), text: Vec::new() }
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
    /// digests, and different ones differ but for a chance of 2^-128 (XXH3).
    pub fn digest(&mut self, row: usize) -> Digest {
        self.text.clear();
        let mut nulls = 0_u128;
        for (index, feature) in self.features.iter_mut().enumerate() {
            let start = self.text.len();
            self.text.extend_from_slice(&[0; 4]);
            if feature.is_null(row) {
                // No feature that is there has a length of 1: each has at least the four bytes of it.
                self.text[start] = 1;
                let column = self.encoder.features[index].column;
                if let Some(bit) = 1_u128.checked_shl(u32::try_from(column).unwrap_or(u32::MAX)) {
                    nulls |= bit;
                }
                continue;
            }
            match feature.as_bytes(row) {
                Some(bytes) => self.text.extend_from_slice(bytes),
                None => feature.write(row, &mut self.text),
            }
            // Lengths keep neighbours apart.
            let length = u32::try_from(self.text.len() - start).unwrap_or(u32::MAX);
            self.text[start..start + 4].copy_from_slice(&length.to_le_bytes());
        }
        Digest { value: xxhash_rust::xxh3::xxh3_128(&self.text), nulls }
    }

    /// Writes a row over its entity's hash, and the TTL. `None`, and nothing
    /// written, when the key is NULL.
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
            let redis_key = self.encoder.redis_key(&key);
            self.push_row(row, &redis_key, nulls, [as_of_ms, computed_at_ms], writes);
        }
        self.key = key;
        has_key
    }

    fn push_row(
        &mut self,
        row: usize,
        redis_key: &[u8],
        nulls: Nulls<'_>,
        [as_of_ms, computed_at_ms]: [i64; 2],
        writes: &mut Writes,
    ) {
        let encoder = self.encoder;
        let out = &mut writes.bytes;
        let start = out.len();
        let present = self.note_removed(row, nulls);
        if !self.removed.is_empty() {
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        resp::push_array(out, 2 + 2 * (present + 2));
        resp::push_bulk(out, b"HSET");
        let name = resp::push_bulk(out, redis_key);
        for (feature, column) in encoder.features.iter().zip(&mut self.features) {
            if column.is_null(row) {
                if let Some(null_text) = &encoder.null_text {
                    out.extend_from_slice(&feature.name);
                    resp::push_bulk(out, null_text.as_bytes());
                }
            } else {
                out.extend_from_slice(&feature.name);
                push_value(column, row, &mut self.text, out);
            }
        }
        for (field, value) in [(&encoder.as_of, as_of_ms), (&encoder.computed_at, computed_at_ms)] {
            out.extend_from_slice(field);
            resp::push_bulk(out, itoa::Buffer::new().format(value).as_bytes());
        }
        if !self.removed.is_empty() {
            resp::push_array(out, 2 + self.removed.len());
            resp::push_bulk(out, b"HDEL");
            resp::push_bulk(out, redis_key);
            for feature in &self.removed {
                out.extend_from_slice(&encoder.features[*feature].name);
            }
        }
        encoder.push_expire(out, redis_key);
        let mut replies = 2;
        if !self.removed.is_empty() {
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
            // MULTI, three that are queued, EXEC.
            replies = 5;
        }
        writes.entries.push(Entry { start, end: writes.bytes.len(), replies, key: (name.start, name.end) });
    }

    /// Finds the features whose fields have to go, and counts those that get a value.
    fn note_removed(&mut self, row: usize, nulls: Nulls<'_>) -> usize {
        self.removed.clear();
        if self.encoder.null_text.is_some() {
            return self.features.len();
        }
        let mut present = 0;
        for (index, column) in self.features.iter().enumerate() {
            if !column.is_null(row) {
                present += 1;
            } else if nulls.may_exist(self.encoder.features[index].column) {
                self.removed.push(index);
            }
        }
        present
    }
}

fn push_value(column: &mut Column<'_>, row: usize, text: &mut Vec<u8>, out: &mut Vec<u8>) {
    if let Some(bytes) = column.as_bytes(row) {
        resp::push_bulk(out, bytes);
    } else {
        text.clear();
        column.write(row, text);
        resp::push_bulk(out, text);
    }
}
