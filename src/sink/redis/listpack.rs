//! A hash as Redis itself keeps a small one, a listpack, dumped as `RESTORE`
//! takes it. Redis 7 and newer read it (version 10 of the dump format).
//!
//! ```text
//! 16  length  ┌ bytes  elements  element …  0xff ┐  version  CRC-64
//! hash        └────────── the listpack ──────────┘
//! element:    encoding  data  length of both, read backwards
//! ```
//! Source: `listpack.c`, `rdb.c` and `cluster.c` of Redis 7.0.

use crc::{CRC_64_REDIS, Crc, Table};

/// The type of a hash that is a listpack.
const HASH_LISTPACK: u8 = 16;

/// The version of the dump format that has that type first.
const DUMP_VERSION: u16 = 10;

/// Bytes before the first element: the listpack's length and its elements.
const HEADER_BYTES: usize = 6;

/// What stands behind the last element.
const END: u8 = 0xff;

/// Elements beyond which a listpack does not say how many it has.
const MOST_COUNTED: usize = u16::MAX as usize;

/// A longer text is no integer.
const LONGEST_INTEGER: usize = 20;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Writes dumps, with room that is used again.
#[derive(Debug, Default)]
pub(super) struct Listpack {
    bytes: Vec<u8>,
    elements: usize,
}

impl Listpack {
    /// Begins a new one.
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.elements = 0;
    }

    /// Appends a field's name or its value, as Redis would encode it.
    pub(super) fn push(&mut self, text: &[u8]) {
        let start = self.bytes.len();
        match integer(text) {
            Some(value) => push_integer(&mut self.bytes, value),
            None => push_text(&mut self.bytes, text),
        }
        let len = self.bytes.len() - start;
        push_backward(&mut self.bytes, len);
        self.elements += 1;
    }

    /// Ends it and appends its dump; `false`, and nothing appended, when it is
    /// larger than a listpack can be.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        self.bytes.push(END);
        // Redis itself makes none above 1 GiB.
        let Some(len) = u32::try_from(self.bytes.len()).ok().filter(|len| *len < 1 << 30) else {
            return false;
        };
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        let elements = u16::try_from(self.elements.min(MOST_COUNTED)).unwrap_or(u16::MAX);
        self.bytes[4..HEADER_BYTES].copy_from_slice(&elements.to_le_bytes());
        let start = out.len();
        out.push(HASH_LISTPACK);
        push_length(out, len);
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(&DUMP_VERSION.to_le_bytes());
        let crc = CRC.checksum(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
        true
    }
}

/// The integer that a text is, if it is exactly what Redis would print of it.
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let is_plain = match digits {
        [b'0'] => !negative,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_plain || text.len() > LONGEST_INTEGER {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        let value = value.checked_mul(10)?;
        if negative { value.checked_sub(digit) } else { value.checked_add(digit) }
    })
}

fn push_integer(out: &mut Vec<u8>, value: i64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=127 => out.push(bytes[0]),
        -4096..=4095 => out.extend_from_slice(&[0b1100_0000 | (bytes[1] & 0b1_1111), bytes[0]]),
        -0x8000..=0x7fff => {
            out.push(0xf1);
            out.extend_from_slice(&bytes[..2]);
        }
        -0x80_0000..=0x7f_ffff => {
            out.push(0xf2);
            out.extend_from_slice(&bytes[..3]);
        }
        -0x8000_0000..=0x7fff_ffff => {
            out.push(0xf3);
            out.extend_from_slice(&bytes[..4]);
        }
        _ => {
            out.push(0xf4);
            out.extend_from_slice(&bytes);
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let len = text.len().to_le_bytes();
    match text.len() {
        0..64 => out.push(0b1000_0000 | len[0]),
        64..4096 => out.extend_from_slice(&[0b1110_0000 | len[1], len[0]]),
        _ => {
            out.push(0xf0);
            out.extend_from_slice(&len[..4]);
        }
    }
    out.extend_from_slice(text);
}

/// An element's length in groups of seven bits, the highest first; but for the
/// first they have the eighth bit, so that it can be read from its end.
fn push_backward(out: &mut Vec<u8>, len: usize) {
    let groups = match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    for group in (0..groups).rev() {
        let [seven, ..] = ((len >> (7 * group)) & 0x7f).to_le_bytes();
        out.push(if group + 1 == groups { seven } else { seven | 0x80 });
    }
}

/// A string's length as dumps have it.
fn push_length(out: &mut Vec<u8>, len: u32) {
    let bytes = len.to_be_bytes();
    match len {
        0..64 => out.push(bytes[3]),
        64..16_384 => out.extend_from_slice(&[0b0100_0000 | bytes[2], bytes[3]]),
        _ => {
            out.push(0b1000_0000);
            out.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(elements: &[&[u8]]) -> Vec<u8> {
        let (mut listpack, mut out) = (Listpack::default(), Vec::new());
        listpack.begin();
        elements.iter().for_each(|element| listpack.push(element));
        assert!(listpack.finish(&mut out));
        out
    }

    #[test]
    fn a_dump_is_what_redis_dumps() {
        // HSET h f v n 1; DUMP h, of Redis 7.0.
        let expected = b"\x10\x12\x12\x00\x00\x00\x04\x00\x81f\x02\x81v\x02\x81n\x02\x01\x01\xff\x0a\x00\
            \xfc\xe4\x08\xf1y\"\xe0\x16";
        assert_eq!(dump(&[b"f", b"v", b"n", b"1"]), expected);
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn only_what_reads_back_the_same_is_an_integer() {
        for text in ["0", "-1", "127", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(integer(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "-", "-0", "00", "01", "+1", "1.0", "1e3", " 1", "9223372036854775808", "1_0"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lengths_change_their_form_where_redis_does() {
        let backward = |len| {
            let mut out = Vec::new();
            push_backward(&mut out, len);
            out
        };
        assert_eq!(backward(127), [127]);
        assert_eq!(backward(128), [1, 128]);
        assert_eq!(backward(16_382), [127, 254]);
        assert_eq!(backward(16_383), [0, 255, 255]);
        let length = |len| {
            let mut out = Vec::new();
            push_length(&mut out, len);
            out
        };
        assert_eq!(length(63), [63]);
        assert_eq!(length(64), [0x40, 64]);
        assert_eq!(length(16_383), [0x7f, 0xff]);
        assert_eq!(length(16_384), [0x80, 0, 0, 0x40, 0]);
    }
}
