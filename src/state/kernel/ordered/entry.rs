//! Where an entry stands in the order, and which of its values are not NULL.
//!
//! ```text
//! marks   0…6  flags of the keys    7  there is an entry    8…31  value 0, 1, … is not NULL
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::common::Result;

use super::foreign;

/// There is an entry.
pub const PRESENT: u32 = 1 << 7;

/// Before it stand the flags of the keys, after it what is not NULL.
const FLAGS: u32 = PRESENT - 1;

/// The bit of the first value.
const FIRST_VALUE: usize = 8;

/// The most values that an entry can have: the bits that are left.
pub const MOST_VALUES: usize = 24;

/// Says that a value is not NULL.
pub fn valid(value: usize) -> u32 {
    1 << (FIRST_VALUE + value)
}

/// Order keys and marks: beside each other, so that a comparison waits for one cache line.
#[derive(Debug, Clone, Copy)]
pub struct Entry<const N: usize> {
    /// The words of its keys.
    pub words: [u64; N],
    /// See the module.
    pub marks: u32,
}

impl<const N: usize> Entry<N> {
    /// No entry: as late as one can be.
    pub const NONE: Self = Self { words: [u64::MAX; N], marks: FLAGS };

    /// Whether there is one.
    #[inline]
    pub fn is_present(&self) -> bool {
        self.marks & PRESENT != 0
    }

    /// Whether it comes before one that is kept. Words decide unless they are equal.
    #[inline]
    pub fn precedes(&self, held: &Self) -> bool {
        for (key, (new, known)) in self.words.iter().zip(&held.words).enumerate() {
            if new != known {
                return new < known;
            }
            let bit: u32 = 1 << key;
            let (new, known) = (self.marks & bit, held.marks & bit);
            if new != known {
                return new < known;
            }
        }
        !held.is_present()
    }
}

/// Which of the entries' values are NULL, if any is.
pub fn nulls<const N: usize>(entries: impl Iterator<Item = Entry<N>>, value: usize) -> Option<NullBuffer> {
    let bit = valid(value);
    let valid: BooleanBuffer = entries.map(|entry| entry.marks & bit != 0).collect();
    Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
}

/// Entries as columns: one a key, then the marks.
pub fn save<const N: usize>(entries: impl Iterator<Item = Entry<N>> + Clone) -> Vec<ArrayRef> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(N + 2);
    for key in 0..N {
        let words: Vec<u64> = entries.clone().map(|entry| entry.words[key]).collect();
        columns.push(Arc::new(UInt64Array::from(words)));
    }
    let marks: Vec<u32> = entries.map(|entry| entry.marks).collect();
    columns.push(Arc::new(UInt32Array::from(marks)));
    columns
}

/// The entries that [`save`] made into columns.
///
/// # Errors
/// When the columns are others.
pub fn load<const N: usize>(columns: &[ArrayRef]) -> Result<Vec<Entry<N>>> {
    let Some((marks, keys)) = columns.split_last() else { return Err(foreign("states")) };
    let keys = keys
        .iter()
        .map(|column| column.as_primitive_opt::<UInt64Type>().ok_or_else(|| foreign("keys in a state")));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let Some(marks) = marks.as_primitive_opt::<UInt32Type>() else {
        return Err(foreign("marks in a state"));
    };
    if keys.len() != N {
        return Err(foreign("keys in a state"));
    }
    let entry = |(index, marks): (usize, &u32)| Entry {
        words: std::array::from_fn(|key| keys[key].value(index)),
        marks: *marks,
    };
    Ok(marks.values().iter().enumerate().map(entry).collect())
}
