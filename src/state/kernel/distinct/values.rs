//! How values are kept by id: numbers in a vector, texts and bytes each on its own.

use std::cmp::Ordering;
use std::fmt;
use std::mem;
use std::sync::Arc;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeTypeOp, DataType, ToByteSlice};
use datafusion::common::{Result, internal_err};

use super::dictionary::{Id, NULL, too_many};
use crate::state::kernel::plain;

/// The values of a dictionary, each at its id. At [`NULL`] is one that is never looked at.
pub trait Values: fmt::Debug + Default + Send + 'static {
    /// One of them.
    type Value: ?Sized;

    /// Shows those at some positions of an array, which is of a type that is kept this way.
    ///
    /// # Errors
    /// What `show` says.
    fn each(
        array: &ArrayRef,
        positions: impl Iterator<Item = usize>,
        show: impl FnMut(usize, &Self::Value) -> Result<()>,
    ) -> Result<()>;

    /// What makes a value the one it is.
    fn bits(value: &Self::Value) -> &[u8];

    /// Which comes first.
    fn compare(left: &Self::Value, right: &Self::Value) -> Ordering;

    /// The value of an id.
    fn get(&self, id: Id) -> &Self::Value;

    /// Gives a value to an id: one that is free, or the next.
    fn put(&mut self, id: Id, value: &Self::Value);

    /// Frees what the value of an id takes.
    fn remove(&mut self, id: Id);

    /// Keeps the values of these ids alone: the first of them becomes id 0, and so on.
    fn keep(&mut self, ids: &[Id]);

    /// The values of ids, as an array of a type.
    ///
    /// # Errors
    /// When they are too many for one.
    fn gather(&self, ids: &[Id], wanted: &DataType) -> Result<ArrayRef>;

    /// Bytes that they take.
    fn bytes(&self) -> usize;
}

/// Numbers, times and, as 0 and 1, truths.
#[derive(Debug)]
pub struct Numbers<N>(Vec<N>);

impl<N: ArrowNativeTypeOp> Default for Numbers<N> {
    fn default() -> Self {
        Self(vec![N::default()])
    }
}

impl<N: ArrowNativeTypeOp> Values for Numbers<N> {
    type Value = N;

    fn each(
        array: &ArrayRef,
        positions: impl Iterator<Item = usize>,
        mut show: impl FnMut(usize, &N) -> Result<()>,
    ) -> Result<()> {
        let numbers = plain::numbers::<N>(array)?;
        for position in positions {
            show(position, &numbers[position])?;
        }
        Ok(())
    }

    fn bits(value: &N) -> &[u8] {
        value.to_byte_slice()
    }

    fn compare(left: &N, right: &N) -> Ordering {
        ArrowNativeTypeOp::compare(*left, *right)
    }

    fn get(&self, id: Id) -> &N {
        &self.0[id as usize]
    }

    fn put(&mut self, id: Id, value: &N) {
        match self.0.get_mut(id as usize) {
            Some(place) => *place = *value,
            None => self.0.push(*value),
        }
    }

    fn remove(&mut self, _: Id) {}

    fn keep(&mut self, ids: &[Id]) {
        self.0 = ids.iter().map(|id| self.0[*id as usize]).collect();
    }

    fn gather(&self, ids: &[Id], wanted: &DataType) -> Result<ArrayRef> {
        plain::column(ids.iter().map(|id| self.0[*id as usize]).collect(), nulls(ids), wanted)
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<N>()
    }
}

/// Texts and bytes of any layout.
#[derive(Debug)]
pub struct Texts {
    texts: Vec<Box<[u8]>>,
    /// Bytes that the texts take.
    heap: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self { texts: vec![Box::default()], heap: 0 }
    }
}

impl Values for Texts {
    type Value = [u8];

    fn each(
        array: &ArrayRef,
        positions: impl Iterator<Item = usize>,
        show: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        match array.data_type() {
            DataType::Utf8 => each_text(array.as_string::<i32>(), positions, show),
            DataType::LargeUtf8 => each_text(array.as_string::<i64>(), positions, show),
            DataType::Utf8View => each_text(array.as_string_view(), positions, show),
            DataType::Binary => each_text(array.as_binary::<i32>(), positions, show),
            DataType::LargeBinary => each_text(array.as_binary::<i64>(), positions, show),
            DataType::BinaryView => each_text(array.as_binary_view(), positions, show),
            other => internal_err!("{other} is not kept as text"),
        }
    }

    fn bits(value: &[u8]) -> &[u8] {
        value
    }

    fn compare(left: &[u8], right: &[u8]) -> Ordering {
        left.cmp(right)
    }

    fn get(&self, id: Id) -> &[u8] {
        &self.texts[id as usize]
    }

    fn put(&mut self, id: Id, value: &[u8]) {
        let text: Box<[u8]> = value.into();
        self.heap += allocated(&text);
        match self.texts.get_mut(id as usize) {
            Some(place) => *place = text,
            None => self.texts.push(text),
        }
    }

    fn remove(&mut self, id: Id) {
        self.heap -= allocated(&mem::take(&mut self.texts[id as usize]));
    }

    fn keep(&mut self, ids: &[Id]) {
        self.texts = ids.iter().map(|id| mem::take(&mut self.texts[*id as usize])).collect();
        self.heap = self.texts.iter().map(|text| allocated(text)).sum();
    }

    fn gather(&self, ids: &[Id], wanted: &DataType) -> Result<ArrayRef> {
        let mut offsets = Vec::with_capacity(ids.len() + 1);
        offsets.push(0);
        let mut bytes = Vec::new();
        for id in ids {
            bytes.extend_from_slice(self.get(*id));
            offsets.push(i32::try_from(bytes.len()).map_err(|_| too_many(bytes.len(), "bytes of values"))?);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let bytes = Buffer::from_vec(bytes);
        let array: ArrayRef = match wanted {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls(ids))?)
            }
            _ => Arc::new(StringArray::try_new(offsets, bytes, nulls(ids))?),
        };
        if array.data_type() == wanted { Ok(array) } else { Ok(cast(&array, wanted)?) }
    }

    fn bytes(&self) -> usize {
        self.texts.capacity() * size_of::<Box<[u8]>>() + self.heap
    }
}

fn each_text<Given: ArrayAccessor>(
    texts: Given,
    positions: impl Iterator<Item = usize>,
    mut show: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()>
where
    Given::Item: AsRef<[u8]>,
{
    for position in positions {
        show(position, texts.value(position).as_ref())?;
    }
    Ok(())
}

/// Allocators round up.
fn allocated(text: &[u8]) -> usize {
    text.len().next_multiple_of(16)
}

fn nulls(ids: &[Id]) -> Option<NullBuffer> {
    ids.contains(&NULL).then(|| ids.iter().map(|id| *id != NULL).collect())
}
