//! Columns of a fixed width as plain numbers, and back. Truths are 0 and 1, a byte each.

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

/// The values of a column as wide as `N`; those that are NULL mean nothing.
///
/// # Errors
/// Only of our own making.
pub(super) fn numbers<N: ArrowNativeType>(column: &ArrayRef) -> Result<ScalarBuffer<N>> {
    let data = match column.data_type() {
        DataType::Boolean => cast(column, &DataType::UInt8)?.to_data(),
        _ => column.to_data(),
    };
    Ok(ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len()))
}

/// A column of a type as wide as `N`.
///
/// # Errors
/// Only of our own making.
pub(super) fn column<N: ArrowNativeType>(
    numbers: Vec<N>,
    nulls: Option<NullBuffer>,
    wanted: &DataType,
) -> Result<ArrayRef> {
    let kept = if *wanted == DataType::Boolean { &DataType::UInt8 } else { wanted };
    let data = ArrayData::builder(kept.clone())
        .len(numbers.len())
        .add_buffer(Buffer::from_vec(numbers))
        .nulls(nulls)
        .build()?;
    let array = make_array(data);
    if kept == wanted { Ok(array) } else { Ok(cast(&array, wanted)?) }
}
