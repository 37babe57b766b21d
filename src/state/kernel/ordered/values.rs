//! The values of entries, by the entry's number.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

use super::{Row, foreign};

/// One entry of each of some rows.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The rows.
    pub rows: &'a [Row],
    /// How many entries a row has.
    pub depth: usize,
    /// Which of them.
    pub slot: usize,
}

impl<'a> Places<'a> {
    /// The numbers of the entries.
    pub fn indices(self) -> impl ExactSizeIterator<Item = usize> + use<'a> {
        self.rows.iter().map(move |row| *row as usize * self.depth + self.slot)
    }
}

/// A value for each entry, that of no entry included. What is NULL, the entry knows.
pub trait Values: fmt::Debug + Send + 'static {
    /// A column that values are taken from.
    type Column;

    /// Looks into a column.
    ///
    /// # Errors
    /// When it is of another type.
    fn open(&self, column: &ArrayRef) -> Result<Self::Column>;

    /// Makes room for this many entries.
    fn resize(&mut self, entries: usize);

    /// Sets one to a value of a column.
    fn set(&mut self, at: usize, column: &Self::Column, index: usize);

    /// Sets one to another.
    fn copy(&mut self, at: usize, from: usize);

    /// Exchanges two.
    fn swap(&mut self, one: usize, other: usize);

    /// The value at `at` is not needed any more.
    fn forget(&mut self, at: usize);

    /// Keeps `count` entries, each once.
    fn keep(&mut self, count: usize, entries: impl Iterator<Item = usize>);

    /// Values as a column.
    ///
    /// # Errors
    /// When they do not fit one.
    fn array(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef>;

    /// Capacity.
    fn bytes(&self) -> usize;
}

/// Values of a primitive type: nothing is computed with them, so that only their width matters.
#[derive(Debug)]
pub struct Bits<T> {
    data_type: DataType,
    values: Vec<T>,
}

impl<T> Bits<T> {
    /// None yet. The type's values are as wide as `T`.
    pub fn new(data_type: &DataType) -> Self {
        Self { data_type: data_type.clone(), values: Vec::new() }
    }
}

impl<T: ArrowNativeType> Values for Bits<T> {
    type Column = ScalarBuffer<T>;

    fn open(&self, column: &ArrayRef) -> Result<ScalarBuffer<T>> {
        if column.data_type() != &self.data_type {
            return Err(foreign("values"));
        }
        let data = column.to_data();
        Ok(ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len()))
    }

    fn resize(&mut self, entries: usize) {
        self.values.resize(entries, T::default());
    }

    #[inline]
    fn set(&mut self, at: usize, column: &ScalarBuffer<T>, index: usize) {
        self.values[at] = column[index];
    }

    #[inline]
    fn copy(&mut self, at: usize, from: usize) {
        self.values[at] = self.values[from];
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.values.swap(one, other);
    }

    fn forget(&mut self, _at: usize) {}

    fn keep(&mut self, count: usize, entries: impl Iterator<Item = usize>) {
        let mut values = Vec::with_capacity(count);
        values.extend(entries.map(|at| self.values[at]));
        self.values = values;
    }

    fn array(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let values: Vec<T> = places.indices().map(|at| self.values[at]).collect();
        let data = ArrayData::builder(self.data_type.clone())
            .len(values.len())
            .add_buffer(Buffer::from_vec(values))
            .nulls(nulls)
            .build()?;
        Ok(make_array(data))
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }
}

/// Booleans, a byte each.
#[derive(Debug, Default)]
pub struct Booleans {
    values: Vec<bool>,
}

impl Values for Booleans {
    type Column = BooleanBuffer;

    fn open(&self, column: &ArrayRef) -> Result<BooleanBuffer> {
        let column = column.as_boolean_opt().ok_or_else(|| foreign("values"))?;
        Ok(column.values().clone())
    }

    fn resize(&mut self, entries: usize) {
        self.values.resize(entries, false);
    }

    fn set(&mut self, at: usize, column: &BooleanBuffer, index: usize) {
        self.values[at] = column.value(index);
    }

    fn copy(&mut self, at: usize, from: usize) {
        self.values[at] = self.values[from];
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.values.swap(one, other);
    }

    fn forget(&mut self, _at: usize) {}

    fn keep(&mut self, count: usize, entries: impl Iterator<Item = usize>) {
        let mut values = Vec::with_capacity(count);
        values.extend(entries.map(|at| self.values[at]));
        self.values = values;
    }

    fn array(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let values: BooleanBuffer = places.indices().map(|at| self.values[at]).collect();
        Ok(Arc::new(BooleanArray::new(values, nulls)))
    }

    fn bytes(&self) -> usize {
        self.values.capacity()
    }
}
