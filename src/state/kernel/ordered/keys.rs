//! Order keys as plain integers, so that comparing two entries looks at no type and no option.
//!
//! A key is a word and a flag below it, 65 bits in all: the word is the value, turned over where
//! the order is descending; NULL has the outermost word of its side, and the flag tells it from the
//! value that has that word as well.
//!
//! | NULLs | NULL | a value |
//! |---|---|---|
//! | first | 0, flag 0 | its word, flag 1 |
//! | last | all ones, flag 1 | its word, flag 0 |

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::Result;

use super::foreign;

const SIGN: u64 = 1 << 63;

/// Whether values of a type can be order keys here.
pub fn is_key(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Float32
                | DataType::Float64
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(_, _)
        )
}

/// How one key is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// The greatest first.
    pub descending: bool,
    /// NULL before all of them.
    pub nulls_first: bool,
}

/// How entries are ordered.
#[derive(Debug)]
pub struct Order<const N: usize> {
    directions: [Direction; N],
}

/// The flags of the keys of some events: a bit each.
#[derive(Debug)]
pub enum Flags {
    /// No key is NULL.
    Same(u8),
    /// By event.
    Each(Vec<u8>),
}

impl Flags {
    /// Those of one event.
    #[inline]
    pub fn of(&self, index: usize) -> u8 {
        match self {
            Self::Same(flags) => *flags,
            Self::Each(flags) => flags[index],
        }
    }
}

impl<const N: usize> Order<N> {
    /// An order by keys that each have a direction.
    pub fn new(directions: [Direction; N]) -> Self {
        Self { directions }
    }

    /// Writes the words of some events over `words`, and gives their flags.
    ///
    /// # Errors
    /// When the columns are not `N` columns of order keys.
    pub fn read(&self, columns: &[ArrayRef], words: &mut Vec<[u64; N]>) -> Result<Flags> {
        if columns.len() != N {
            return Err(foreign("order keys"));
        }
        let events = columns.first().map_or(0, |column| column.len());
        words.clear();
        words.resize(events, [0; N]);
        let mut flags = 0;
        for (key, (column, direction)) in columns.iter().zip(&self.directions).enumerate() {
            let turned = if direction.descending { u64::MAX } else { 0 };
            write(column, key, turned, words)?;
            if direction.nulls_first {
                flags |= 1 << key;
            }
        }
        if columns.iter().all(|column| column.null_count() == 0) {
            return Ok(Flags::Same(flags));
        }
        let mut flags = vec![flags; events];
        for (key, (column, direction)) in columns.iter().zip(&self.directions).enumerate() {
            let Some(nulls) = column.nulls() else { continue };
            let outermost = if direction.nulls_first { 0 } else { u64::MAX };
            for index in (!nulls.inner()).set_indices() {
                words[index][key] = outermost;
                flags[index] ^= 1 << key;
            }
        }
        Ok(Flags::Each(flags))
    }
}

fn write<const N: usize>(column: &ArrayRef, key: usize, turned: u64, words: &mut [[u64; N]]) -> Result<()> {
    match column.data_type() {
        DataType::Int8 => integers::<Int8Type, N>(column, key, turned, words),
        DataType::Int16 => integers::<Int16Type, N>(column, key, turned, words),
        DataType::Int32 => integers::<Int32Type, N>(column, key, turned, words),
        DataType::Int64 => integers::<Int64Type, N>(column, key, turned, words),
        DataType::UInt8 => integers::<UInt8Type, N>(column, key, turned, words),
        DataType::UInt16 => integers::<UInt16Type, N>(column, key, turned, words),
        DataType::UInt32 => integers::<UInt32Type, N>(column, key, turned, words),
        DataType::UInt64 => fold::<UInt64Type, N>(column, key, words, |value| value ^ turned),
        DataType::Date32 => integers::<Date32Type, N>(column, key, turned, words),
        DataType::Date64 => integers::<Date64Type, N>(column, key, turned, words),
        DataType::Timestamp(TimeUnit::Second, _) => {
            integers::<TimestampSecondType, N>(column, key, turned, words);
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            integers::<TimestampMillisecondType, N>(column, key, turned, words);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            integers::<TimestampMicrosecondType, N>(column, key, turned, words);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            integers::<TimestampNanosecondType, N>(column, key, turned, words);
        }
        // As `total_cmp` does: below zero the other bits count the other way round.
        DataType::Float32 => fold::<Float32Type, N>(column, key, words, |value| {
            let bits = value.to_bits().cast_signed();
            let bits = bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed();
            signed(i64::from(bits)) ^ turned
        }),
        DataType::Float64 => fold::<Float64Type, N>(column, key, words, |value| {
            let bits = value.to_bits().cast_signed();
            let bits = bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed();
            signed(bits) ^ turned
        }),
        _ => return Err(foreign("order keys")),
    }
    Ok(())
}

fn integers<T, const N: usize>(column: &ArrayRef, key: usize, turned: u64, words: &mut [[u64; N]])
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    fold::<T, N>(column, key, words, |value| signed(value.into()) ^ turned);
}

fn fold<T: ArrowPrimitiveType, const N: usize>(
    column: &ArrayRef,
    key: usize,
    words: &mut [[u64; N]],
    word: impl Fn(T::Native) -> u64,
) {
    for (words, value) in words.iter_mut().zip(column.as_primitive::<T>().values().iter()) {
        words[key] = word(*value);
    }
}

/// The smallest becomes 0.
fn signed(value: i64) -> u64 {
    value.cast_unsigned() ^ SIGN
}
