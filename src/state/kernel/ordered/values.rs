//! The values of entries.

use std::fmt;
use std::marker::PhantomData;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

use super::foreign;
use crate::state::column::Column;
use crate::state::kernel::{Row, plain};

/// Values of one type. What is NULL, the entry knows.
pub trait Values: fmt::Debug + Send + Sized + 'static {
    /// A column that values are taken from.
    type Column;

    /// What stands for a value: where it does not fit, what it is known by. The default is that of
    /// no entry.
    type Kept: fmt::Debug + Copy + Default + Send;

    /// Looks into a column.
    ///
    /// # Errors
    /// When it is of another type.
    fn open(&self, column: &ArrayRef) -> Result<Self::Column>;

    /// Sets one to a value of a column.
    fn set(&mut self, kept: &mut Self::Kept, column: &Self::Column, index: usize);

    /// Sets one to another.
    fn copy(&mut self, kept: &mut Self::Kept, from: Self::Kept);

    /// The value is not needed any more.
    fn forget(&mut self, kept: &mut Self::Kept);

    /// Keeps these alone, each once; what they are known by changes.
    fn keep<'a>(&mut self, all: impl Iterator<Item = &'a mut Self::Kept>);

    /// Values as a column.
    ///
    /// # Errors
    /// When they do not fit one.
    fn array(
        &self,
        kept: impl ExactSizeIterator<Item = Self::Kept>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef>;

    /// Bytes beside what is kept with the entries.
    fn bytes(&self) -> usize;
}

/// [`Values`] of which each row has one, of whatever type: told of lists of rows, so that the type is
/// asked for once a list.
pub trait OneEach: fmt::Debug + Send {
    /// Makes room for this many rows.
    fn resize(&mut self, rows: usize);

    /// Keeps these rows alone, in this order, each once.
    fn keep(&mut self, rows: &[Row]);

    /// The values of these rows are not needed any more.
    fn forget(&mut self, rows: &[Row]);

    /// Sets rows, one after the other, to the value at an index of a column.
    ///
    /// # Errors
    /// When it is of another type.
    fn set(&mut self, column: &ArrayRef, rows: &[(Row, usize)]) -> Result<()>;

    /// Sets rows, one after the other, to the value of another row.
    fn copy(&mut self, rows: &[(Row, usize)]);

    /// Values as a column.
    ///
    /// # Errors
    /// When they do not fit one.
    fn column(&self, rows: &[Row], nulls: Option<NullBuffer>) -> Result<ArrayRef>;

    /// In bytes.
    fn bytes(&self) -> usize;
}

/// A value a row.
#[derive(Debug)]
pub struct Each<V: Values> {
    values: V,
    kept: Column<V::Kept>,
}

impl<V: Values> Each<V> {
    /// No rows yet.
    pub fn new(values: V) -> Self {
        Self { values, kept: Column::default() }
    }
}

impl<V: Values> OneEach for Each<V> {
    fn resize(&mut self, rows: usize) {
        self.kept.resize_with(rows, V::Kept::default);
    }

    fn keep(&mut self, rows: &[Row]) {
        self.kept = rows.iter().map(|row| self.kept[*row as usize]).collect();
        self.values.keep(self.kept.iter_mut());
    }

    fn forget(&mut self, rows: &[Row]) {
        for row in rows {
            self.values.forget(&mut self.kept[*row as usize]);
        }
    }

    fn set(&mut self, column: &ArrayRef, rows: &[(Row, usize)]) -> Result<()> {
        let values = self.values.open(column)?;
        match column.nulls() {
            None => {
                for (row, index) in rows {
                    self.values.set(&mut self.kept[*row as usize], &values, *index);
                }
            }
            Some(nulls) => {
                for (row, index) in rows {
                    let kept = &mut self.kept[*row as usize];
                    if nulls.is_valid(*index) {
                        self.values.set(kept, &values, *index);
                    } else {
                        self.values.forget(kept);
                    }
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, rows: &[(Row, usize)]) {
        for (row, from) in rows {
            let from = self.kept[*from];
            self.values.copy(&mut self.kept[*row as usize], from);
        }
    }

    fn column(&self, rows: &[Row], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        self.values.array(rows.iter().map(|row| self.kept[*row as usize]), nulls)
    }

    fn bytes(&self) -> usize {
        self.kept.bytes() + self.values.bytes()
    }
}

/// Values of a primitive type, or truths, a byte each: nothing is computed with them, so that only
/// their width matters.
#[derive(Debug)]
pub struct Bits<T> {
    data_type: DataType,
    width: PhantomData<T>,
}

impl<T> Bits<T> {
    /// The type's values are as wide as `T`.
    pub fn new(data_type: &DataType) -> Self {
        Self { data_type: data_type.clone(), width: PhantomData }
    }
}

impl<T: ArrowNativeType> Values for Bits<T> {
    type Column = ScalarBuffer<T>;
    type Kept = T;

    fn open(&self, column: &ArrayRef) -> Result<ScalarBuffer<T>> {
        if column.data_type() != &self.data_type {
            return Err(foreign("values"));
        }
        plain::numbers(column)
    }

    #[inline]
    fn set(&mut self, kept: &mut T, column: &ScalarBuffer<T>, index: usize) {
        *kept = column[index];
    }

    #[inline]
    fn copy(&mut self, kept: &mut T, from: T) {
        *kept = from;
    }

    fn forget(&mut self, _kept: &mut T) {}

    fn keep<'a>(&mut self, _all: impl Iterator<Item = &'a mut T>) {}

    fn array(&self, kept: impl ExactSizeIterator<Item = T>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        plain::column(kept.collect(), nulls, &self.data_type)
    }

    fn bytes(&self) -> usize {
        0
    }
}
