//! A column's values as bytes of a fixed width, for the digests of rows.

use std::ops::Range;

use super::{Column, Values, epoch_ms};
use crate::sink::encode::digest::{Secret, bits, hash};

/// Bytes of a value that is hashed first, since its own bytes are as many as they like.
const HASHED: usize = 16;

/// Where a column has its place in each image of a block, of which each begins
/// `stride` bytes after the last one.
pub(in crate::sink::encode) struct Places<'a> {
    pub images: &'a mut [u8],
    pub stride: usize,
    pub offset: usize,
}

impl Places<'_> {
    fn fill<const N: usize>(&mut self, values: impl Iterator<Item = [u8; N]>) {
        for (image, value) in self.images.chunks_exact_mut(self.stride).zip(values) {
            image[self.offset..self.offset + N].copy_from_slice(&value);
        }
    }

    fn place(&mut self, index: usize, width: usize) -> &mut [u8] {
        let start = index * self.stride + self.offset;
        &mut self.images[start..start + width]
    }
}

impl Column<'_> {
    /// Bytes that a value takes in an image.
    pub(in crate::sink::encode) fn width(&self) -> usize {
        match &self.values {
            Values::Null => 0,
            Values::Boolean(_) | Values::Int8(_) | Values::UInt8(_) => 1,
            Values::Int16(_) | Values::UInt16(_) => 2,
            Values::Int32(_)
            | Values::UInt32(_)
            | Values::Float16(_)
            | Values::Float32(_)
            | Values::Decimal32(_) => 4,
            Values::Int64(_)
            | Values::UInt64(_)
            | Values::Float64(_)
            | Values::Decimal64(_)
            | Values::Timestamp { .. } => 8,
            Values::Decimal128(_) => 16,
            Values::Decimal256(_) => 32,
            _ => HASHED,
        }
    }

    /// Puts the values of a block's rows into its images. `text` is room for
    /// values that have to be written as text first.
    pub(in crate::sink::encode) fn put(
        &mut self,
        rows: Range<usize>,
        mut places: Places<'_>,
        secret: &Secret,
        text: &mut Vec<u8>,
    ) {
        let (width, nulls) = (self.width(), self.nulls_in(rows.clone()));
        self.values.put(rows, nulls, &mut places, secret, text);
        // What stands in the array for NULL is anything.
        bits(nulls).for_each(|index| places.place(index, width).fill(0));
    }
}

impl Values<'_> {
    /// Values of equal texts have equal bytes, but for types that are hashed.
    fn put(
        &mut self,
        rows: Range<usize>,
        nulls: u64,
        places: &mut Places<'_>,
        secret: &Secret,
        text: &mut Vec<u8>,
    ) {
        match self {
            Self::Null => {}
            Self::Boolean(array) => places.fill(rows.map(|row| [u8::from(array.value(row))])),
            Self::Int8(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::Int16(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::Int32(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::Int64(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::UInt8(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::UInt16(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::UInt32(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::UInt64(values) => places.fill(values[rows].iter().map(|value| value.to_le_bytes())),
            Self::Float16(array) => places.fill(rows.map(|row| float_bytes(array.value(row).to_f32()))),
            Self::Float32(values) => places.fill(values[rows].iter().map(|value| float_bytes(*value))),
            Self::Float64(values) => places.fill(values[rows].iter().map(|value| double_bytes(*value))),
            Self::Decimal32(array) => places.fill(rows.map(|row| array.value(row).to_le_bytes())),
            Self::Decimal64(array) => places.fill(rows.map(|row| array.value(row).to_le_bytes())),
            Self::Decimal128(array) => places.fill(rows.map(|row| array.value(row).to_le_bytes())),
            Self::Decimal256(array) => places.fill(rows.map(|row| array.value(row).to_le_bytes())),
            Self::Timestamp { values, unit } => {
                places.fill(values[rows].iter().map(|value| epoch_ms(*value, *unit).to_le_bytes()));
            }
            _ => {
                for (index, row) in rows.enumerate().filter(|(index, _)| nulls & (1_u64 << *index) == 0) {
                    let hash = match self.as_bytes(row) {
                        Some(bytes) => hash(bytes, secret),
                        None => {
                            text.clear();
                            self.write(row, text);
                            hash(text, secret)
                        }
                    };
                    places.place(index, HASHED).copy_from_slice(&hash);
                }
            }
        }
    }
}

/// All that are no number have one text.
fn float_bytes(value: f32) -> [u8; 4] {
    if value.is_nan() { f32::NAN.to_le_bytes() } else { value.to_le_bytes() }
}

fn double_bytes(value: f64) -> [u8; 8] {
    if value.is_nan() { f64::NAN.to_le_bytes() } else { value.to_le_bytes() }
}
