//! Functions whose state is one value of the type that they give: a value is put together with the
//! one that is there, and so is a state with another.
//!
//! A kernel knows only the native type: a timestamp and an integer of the same width share its
//! code, and differ in how columns are read and written.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, BooleanArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::common::{Result, internal_err};

use super::super::table::{Packed, Table};
use super::super::{Pair, Row};
use super::{Column, End};

/// The kernel of `sum`, of this type.
pub(super) fn sum(output: &DataType) -> Option<Box<dyn Packed>> {
    use DataType::{Decimal32, Decimal64, Decimal128, Duration, Float64, Int64, UInt64};
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    Some(match output {
        Int64 => folded::<Int64Type, Sum>(output),
        UInt64 => folded::<UInt64Type, Sum>(output),
        Float64 => folded::<Float64Type, Sum>(output),
        Decimal32(..) => folded::<Decimal32Type, Sum>(output),
        Decimal64(..) => folded::<Decimal64Type, Sum>(output),
        Decimal128(..) => folded::<Decimal128Type, Sum>(output),
        Duration(Second) => folded::<DurationSecondType, Sum>(output),
        Duration(Millisecond) => folded::<DurationMillisecondType, Sum>(output),
        Duration(Microsecond) => folded::<DurationMicrosecondType, Sum>(output),
        Duration(Nanosecond) => folded::<DurationNanosecondType, Sum>(output),
        _ => return None,
    })
}

/// The kernel of `min` or `max`, of this type.
pub(super) fn extreme(end: End, output: &DataType) -> Option<Box<dyn Packed>> {
    use DataType::{
        Date32, Date64, Decimal32, Decimal64, Decimal128, Duration, Float32, Float64, Int8, Int16, Int32,
        Int64, Time32, Time64, Timestamp, UInt8, UInt16, UInt32, UInt64,
    };
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    Some(match output {
        Int8 => of::<Int8Type>(end, output),
        Int16 => of::<Int16Type>(end, output),
        Int32 => of::<Int32Type>(end, output),
        Int64 => of::<Int64Type>(end, output),
        UInt8 => of::<UInt8Type>(end, output),
        UInt16 => of::<UInt16Type>(end, output),
        UInt32 => of::<UInt32Type>(end, output),
        UInt64 => of::<UInt64Type>(end, output),
        Float32 => of::<Float32Type>(end, output),
        Float64 => of::<Float64Type>(end, output),
        Decimal32(..) => of::<Decimal32Type>(end, output),
        Decimal64(..) => of::<Decimal64Type>(end, output),
        Decimal128(..) => of::<Decimal128Type>(end, output),
        Date32 => of::<Date32Type>(end, output),
        Date64 => of::<Date64Type>(end, output),
        Time32(Second) => of::<Time32SecondType>(end, output),
        Time32(Millisecond) => of::<Time32MillisecondType>(end, output),
        Time64(Microsecond) => of::<Time64MicrosecondType>(end, output),
        Time64(Nanosecond) => of::<Time64NanosecondType>(end, output),
        Timestamp(Second, _) => of::<TimestampSecondType>(end, output),
        Timestamp(Millisecond, _) => of::<TimestampMillisecondType>(end, output),
        Timestamp(Microsecond, _) => of::<TimestampMicrosecondType>(end, output),
        Timestamp(Nanosecond, _) => of::<TimestampNanosecondType>(end, output),
        Duration(Second) => of::<DurationSecondType>(end, output),
        Duration(Millisecond) => of::<DurationMillisecondType>(end, output),
        Duration(Microsecond) => of::<DurationMicrosecondType>(end, output),
        Duration(Nanosecond) => of::<DurationNanosecondType>(end, output),
        _ => return None,
    })
}

fn of<T>(end: End, output: &DataType) -> Box<dyn Packed>
where
    T: ArrowPrimitiveType,
    T::Native: Words,
{
    match end {
        End::Least => folded::<T, Least>(output),
        End::Greatest => folded::<T, Greatest>(output),
    }
}

fn folded<T, F>(output: &DataType) -> Box<dyn Packed>
where
    T: ArrowPrimitiveType,
    T::Native: Words,
    F: Fold<T::Native>,
{
    let layout = Layout::<T::Native> { output: output.clone(), read: super::column::<T>, write: write::<T> };
    Box::new(Folded::<T::Native, F> { layout, fold: PhantomData })
}

/// How a value is put together with the one that is there.
pub(super) trait Fold<N>: fmt::Debug + Send + 'static {
    /// What is there at first.
    const START: N;

    fn fold(current: N, new: N) -> N;
}

/// A number as words: one, or two where it is a wide one.
trait Words: ArrowNativeTypeOp {
    const IS_WIDE: bool = size_of::<Self>() > size_of::<u64>();

    fn words(self) -> [u64; 2];

    fn of_words(words: [u64; 2]) -> Self;
}

macro_rules! numbers {
    ($($native:ty),*) => {
        $(impl Words for $native {
            fn words(self) -> [u64; 2] {
                let mut bytes = [[0; 8]; 2];
                bytes.as_flattened_mut()[..size_of::<Self>()].copy_from_slice(&self.to_le_bytes());
                bytes.map(u64::from_le_bytes)
            }

            fn of_words(words: [u64; 2]) -> Self {
                let bytes = words.map(u64::to_le_bytes);
                let mut own = [0; size_of::<Self>()];
                own.copy_from_slice(&bytes.as_flattened()[..size_of::<Self>()]);
                Self::from_le_bytes(own)
            }
        })*
    };
}

numbers!(i8, i16, i32, i64, i128, u8, u16, u32, u64, f32, f64);

#[derive(Debug)]
struct Sum;

impl<N: ArrowNativeTypeOp> Fold<N> for Sum {
    const START: N = N::ZERO;

    fn fold(current: N, new: N) -> N {
        current.add_wrapping(new)
    }
}

#[derive(Debug)]
pub(super) struct Least;

impl<N: ArrowNativeTypeOp> Fold<N> for Least {
    const START: N = N::MAX_TOTAL_ORDER;

    fn fold(current: N, new: N) -> N {
        if new.is_lt(current) { new } else { current }
    }
}

#[derive(Debug)]
pub(super) struct Greatest;

impl<N: ArrowNativeTypeOp> Fold<N> for Greatest {
    const START: N = N::MIN_TOTAL_ORDER;

    fn fold(current: N, new: N) -> N {
        if new.is_gt(current) { new } else { current }
    }
}

/// How columns are read and written.
#[derive(Debug)]
struct Layout<N: ArrowNativeTypeOp> {
    output: DataType,
    read: fn(&[ArrayRef]) -> Result<Column<'_, N>>,
    write: fn(Vec<N>, Option<NullBuffer>, &DataType) -> ArrayRef,
}

fn write<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    output: &DataType,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(output.clone()))
}

/// A value a row, with a word that says whether anything went into it.
#[derive(Debug)]
struct Folded<N: ArrowNativeTypeOp, F> {
    layout: Layout<N>,
    fold: PhantomData<F>,
}

/// A row's value.
#[derive(Debug, Clone, Copy)]
struct State<N> {
    value: N,
    seen: bool,
}

impl<N: Words> State<N> {
    #[inline]
    fn of(table: &Table, row: Row, at: usize) -> Self {
        let (words, seen) = if N::IS_WIDE {
            let [seen, low, high] = table.get(row, at);
            ([low, high], seen)
        } else {
            let [seen, low] = table.get(row, at);
            ([low, 0], seen)
        };
        Self { value: N::of_words(words), seen: seen != 0 }
    }

    /// Puts another value together with that of a row.
    #[inline]
    fn take<F: Fold<N>>(table: &mut Table, row: Row, at: usize, other: N) {
        if N::IS_WIDE {
            let [seen, low, high] = table.get_mut(row, at);
            [*low, *high] = F::fold(N::of_words([*low, *high]), other).words();
            *seen = 1;
        } else {
            let [seen, low] = table.get_mut(row, at);
            [*low, _] = F::fold(N::of_words([*low, 0]), other).words();
            *seen = 1;
        }
    }

    #[inline]
    fn put(self, table: &mut Table, row: Row, at: usize) {
        let (seen, [low, high]) = (u64::from(self.seen), self.value.words());
        if N::IS_WIDE {
            table.set(row, at, [seen, low, high]);
        } else {
            table.set(row, at, [seen, low]);
        }
    }
}

impl<N: Words, F: Fold<N>> Packed for Folded<N, F> {
    fn nothing(&self) -> Vec<u64> {
        let [low, high] = F::START.words();
        if N::IS_WIDE { vec![0, low, high] } else { vec![0, low] }
    }

    fn update(
        &self,
        table: &mut Table,
        at: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        super::each((self.layout.read)(arguments)?, filter, rows, |row, new| {
            State::take::<F>(table, row, at, new);
        });
        Ok(())
    }

    fn merge(&self, table: &mut Table, at: usize, pairs: &[Pair]) {
        for pair in pairs {
            let from = State::<N>::of(table, pair.from, at);
            if from.seen {
                State::take::<F>(table, pair.into, at, from.value);
            }
        }
    }

    fn evaluate(&self, table: &Table, at: usize, rows: &[Row]) -> Result<ArrayRef> {
        let state = |row: &Row| State::<N>::of(table, *row, at);
        let values = rows.iter().map(|row| state(row).value).collect();
        let seen = BooleanBuffer::collect_bool(rows.len(), |index| state(&rows[index]).seen);
        let nulls = Some(NullBuffer::new(seen)).filter(|nulls| nulls.null_count() > 0);
        Ok((self.layout.write)(values, nulls, &self.layout.output))
    }

    fn save(&self, table: &Table, at: usize, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(table, at, rows)?])
    }

    fn load(&self, table: &mut Table, at: usize, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let (values, nulls) = (self.layout.read)(states)?;
        let found = states.first().map(|column| column.data_type());
        if values.len() != rows.len() || found != Some(&self.layout.output) {
            return internal_err!(
                "expected {} states of {}, got {} of {found:?}",
                rows.len(),
                self.layout.output,
                values.len()
            );
        }
        for (index, (row, value)) in rows.iter().zip(values).enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(index)) {
                State { value: *value, seen: true }.put(table, *row, at);
            }
        }
        Ok(())
    }
}
