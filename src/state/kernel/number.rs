//! `count`, `sum`, `avg`, `min` and `max` of numbers, times and truth values.
//!
//! | kernel | functions |
//! |---|---|
//! | [`count`] | `count` of anything |
//! | [`fold`] | `sum`, and `min` and `max` of what has a fixed width |
//! | [`flag`] | `min` and `max` of truth values |
//! | [`average`] | `avg` of floats |
//!
//! What is left to DataFusion: DISTINCT where it matters, an order where it matters, `avg` of
//! decimals and durations, `min` and `max` of text and of structs.

mod average;
mod count;
mod extreme;
mod flag;
mod fold;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType};
use datafusion::common::{Result, internal_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::Row;
use super::table::Packed;
use average::Averages;
use count::Counts;
use extreme::Extreme;
pub use extreme::extremes;

/// The values of a column, and which of them are there.
pub(super) type Column<'a, N> = (&'a [N], Option<&'a NullBuffer>);

/// Which end of the order a function looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Least,
    Greatest,
}

/// The kernel of an aggregate that this module knows.
pub(super) fn kernel(aggregate: &Arc<AggregateFunctionExpr>) -> Option<Box<dyn Packed>> {
    if !aggregate.order_bys().is_empty() {
        return None;
    }
    let function = aggregate.fun().inner();
    let distinct = aggregate.is_distinct();
    if function.is::<Count>() && !distinct {
        return Some(Box::new(Counts));
    }
    if aggregate.expressions().len() != 1 {
        return None;
    }
    let output = aggregate.field();
    let output = output.data_type();
    // A value that comes twice is no other least or greatest one.
    if let Some(function) = function.downcast_ref::<Extreme>() {
        extreme(function.end, output)
    } else if distinct {
        None
    } else if function.is::<Sum>() {
        fold::sum(output)
    } else if function.is::<Avg>() && *output == DataType::Float64 {
        Some(Box::new(Averages))
    } else {
        None
    }
}

fn extreme(end: End, output: &DataType) -> Option<Box<dyn Packed>> {
    match output {
        DataType::Boolean => Some(Box::new(flag::Flags { end })),
        _ => fold::extreme(end, output),
    }
}

/// The one column that a function or a state has.
///
/// # Errors
/// When there are more, or it is of another type.
pub(super) fn column<T: ArrowPrimitiveType>(columns: &[ArrayRef]) -> Result<Column<'_, T::Native>> {
    let [column] = columns else {
        return internal_err!("expected one column, got {}", columns.len());
    };
    let Some(values) = column.as_primitive_opt::<T>() else {
        return internal_err!("expected a column of {}, got {}", T::DATA_TYPE, column.data_type());
    };
    Ok((&values.values()[..], values.nulls()))
}

/// A column of states for so many rows, none of them NULL.
///
/// # Errors
/// When it is not that.
pub(super) fn states<T: ArrowPrimitiveType>(column: &ArrayRef, rows: usize) -> Result<&[T::Native]> {
    match column.as_primitive_opt::<T>() {
        Some(states) if states.len() == rows && states.null_count() == 0 => Ok(&states.values()[..]),
        _ => internal_err!(
            "expected {rows} states of {}, got {} of {} with {} NULLs",
            T::DATA_TYPE,
            column.len(),
            column.data_type(),
            column.null_count()
        ),
    }
}

/// Goes through the events that count, each with its row.
#[inline]
pub(super) fn each<N: Copy>(
    (values, nulls): Column<'_, N>,
    filter: Option<&BooleanArray>,
    rows: &[Row],
    mut add: impl FnMut(Row, N),
) {
    match selected(nulls, filter) {
        None => values.iter().zip(rows).for_each(|(value, row)| add(*row, *value)),
        Some(mask) => mask.set_indices().for_each(|index| add(rows[index], values[index])),
    }
}

/// Which events count; no mask when all do.
fn selected(nulls: Option<&NullBuffer>, filter: Option<&BooleanArray>) -> Option<BooleanBuffer> {
    let valid = nulls.filter(|nulls| nulls.null_count() > 0).map(NullBuffer::inner);
    match (valid, filter.map(BooleanArray::values)) {
        (None, None) => None,
        (Some(mask), None) | (None, Some(mask)) => Some(mask.clone()),
        (Some(valid), Some(holds)) => Some(valid & holds),
    }
}

#[cfg(test)]
pub(super) mod tests;
