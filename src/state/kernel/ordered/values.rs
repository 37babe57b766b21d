//! The values of entries, by the entry's number.

use std::fmt;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

use super::foreign;
use crate::state::column::Column;
use crate::state::kernel::{Row, plain};

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

    /// Moves one before those that stand before it.
    fn rise(&mut self, at: usize, passed: usize) {
        (at - passed..at).rev().for_each(|before| self.swap(before, before + 1));
    }

    /// The value at `at` is not needed any more.
    fn forget(&mut self, at: usize);

    /// Keeps these entries alone, in this order, each once.
    fn keep(&mut self, entries: impl Iterator<Item = usize>);

    /// Values as a column.
    ///
    /// # Errors
    /// When they do not fit one.
    fn array(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef>;

    /// Capacity.
    fn bytes(&self) -> usize;
}

/// [`Values`] of which each row has one, of whatever type: told of lists of rows, so that the type is
/// asked for once a list.
pub trait OneEach: fmt::Debug + Send {
    /// Makes room for this many rows.
    fn make_room(&mut self, rows: usize);

    /// Keeps these rows alone, in this order, each once.
    fn keep_rows(&mut self, rows: &[Row]);

    /// The values of these rows are not needed any more.
    fn forget_rows(&mut self, rows: &[Row]);

    /// Sets rows, one after the other, to the value at an index of a column.
    ///
    /// # Errors
    /// When it is of another type.
    fn set_rows(&mut self, column: &ArrayRef, rows: &[(Row, usize)]) -> Result<()>;

    /// Sets rows, one after the other, to the value of another row.
    fn copy_rows(&mut self, rows: &[(Row, usize)]);

    /// Values as a column.
    ///
    /// # Errors
    /// When they do not fit one.
    fn column(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef>;

    /// In bytes.
    fn capacity(&self) -> usize;
}

impl<V: Values> OneEach for V {
    fn make_room(&mut self, rows: usize) {
        self.resize(rows);
    }

    fn keep_rows(&mut self, rows: &[Row]) {
        self.keep(rows.iter().map(|row| *row as usize));
    }

    fn forget_rows(&mut self, rows: &[Row]) {
        for row in rows {
            self.forget(*row as usize);
        }
    }

    fn set_rows(&mut self, column: &ArrayRef, rows: &[(Row, usize)]) -> Result<()> {
        let values = self.open(column)?;
        match column.nulls() {
            None => {
                for (row, index) in rows {
                    self.set(*row as usize, &values, *index);
                }
            }
            Some(nulls) => {
                for (row, index) in rows {
                    if nulls.is_valid(*index) {
                        self.set(*row as usize, &values, *index);
                    } else {
                        self.forget(*row as usize);
                    }
                }
            }
        }
        Ok(())
    }

    fn copy_rows(&mut self, rows: &[(Row, usize)]) {
        for (row, from) in rows {
            self.copy(*row as usize, *from);
        }
    }

    fn column(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        self.array(places, nulls)
    }

    fn capacity(&self) -> usize {
        self.bytes()
    }
}

/// Values of a primitive type, or truths, a byte each: nothing is computed with them, so that only
/// their width matters.
#[derive(Debug)]
pub struct Bits<T> {
    data_type: DataType,
    values: Column<T>,
}

impl<T> Bits<T> {
    /// None yet. The type's values are as wide as `T`.
    pub fn new(data_type: &DataType) -> Self {
        Self { data_type: data_type.clone(), values: Column::default() }
    }
}

impl<T: ArrowNativeType> Values for Bits<T> {
    type Column = ScalarBuffer<T>;

    fn open(&self, column: &ArrayRef) -> Result<ScalarBuffer<T>> {
        if column.data_type() != &self.data_type {
            return Err(foreign("values"));
        }
        plain::numbers(column)
    }

    fn resize(&mut self, entries: usize) {
        self.values.resize_with(entries, T::default);
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

    fn keep(&mut self, entries: impl Iterator<Item = usize>) {
        self.values = entries.map(|at| self.values[at]).collect();
    }

    fn array(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        plain::column(places.indices().map(|at| self.values[at]).collect(), nulls, &self.data_type)
    }

    fn bytes(&self) -> usize {
        self.values.bytes()
    }
}
