//! One column of rows as text: the array is told apart once a batch, each
//! value is then written without looking at its type again.

mod image;

use std::io::Write;
use std::ops::Range;

use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Decimal32Array, Decimal64Array,
    Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float16Array, LargeBinaryArray, LargeStringArray,
    StringArray, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, FieldRef, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::json::EncoderOptions;
use arrow::json::writer::{NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

pub(super) use image::Places;

use super::number;
use crate::sink::{base64, resp};

/// A column, ready to be written row by row.
pub(super) struct Column<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

impl<'a> Column<'a> {
    /// Tells the array apart; an error says that its type cannot be written.
    pub(super) fn try_new(
        field: &'a FieldRef,
        array: &'a dyn Array,
        json: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        Ok(Self { nulls, values: Values::try_new(field, array, json)? })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Which of at least one and at most 64 rows are NULL, a bit each.
    pub(super) fn nulls_in(&self, rows: Range<usize>) -> u64 {
        let Some(nulls) = &self.nulls else { return 0 };
        let valid = nulls.inner().slice(rows.start, rows.len());
        let valid = valid.bit_chunks().iter_padded().next().unwrap_or_default();
        !valid & (u64::MAX >> (64 - rows.len()))
    }

    /// Appends the text of a value that is not NULL.
    pub(super) fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        self.values.write(row, out);
    }

    /// Appends a value that is not NULL as a part of a command. `text` is room
    /// for texts whose length is not known before.
    #[inline]
    pub(super) fn push(&mut self, row: usize, text: &mut Vec<u8>, out: &mut Vec<u8>) {
        self.values.push(row, text, out);
    }
}

enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float16(&'a Float16Array),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal32(&'a Decimal32Array),
    Decimal64(&'a Decimal64Array),
    Decimal128(&'a Decimal128Array),
    Decimal256(&'a Decimal256Array),
    Timestamp {
        values: &'a [i64],
        unit: TimeUnit,
    },
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedSizeBinary(&'a FixedSizeBinaryArray),
    /// Dates, times, durations, intervals: rare, so formatted by Arrow.
    Text(ArrayFormatter<'a>),
    /// Lists, structs, maps.
    Json(NullableEncoder<'a>),
    Dictionary {
        indexes: Vec<usize>,
        values: Box<Self>,
    },
}

impl<'a> Values<'a> {
    fn try_new(
        field: &'a FieldRef,
        array: &'a dyn Array,
        json: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::Int8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Self::Int16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Self::UInt8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Self::UInt16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Self::UInt32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Self::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float16 => Self::Float16(array.as_primitive::<Float16Type>()),
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal32(..) => Self::Decimal32(array.as_primitive::<Decimal32Type>()),
            DataType::Decimal64(..) => Self::Decimal64(array.as_primitive::<Decimal64Type>()),
            DataType::Decimal128(..) => Self::Decimal128(array.as_primitive::<Decimal128Type>()),
            DataType::Decimal256(..) => Self::Decimal256(array.as_primitive::<Decimal256Type>()),
            DataType::Timestamp(unit, _) => Self::Timestamp { values: timestamps(array, *unit), unit: *unit },
            DataType::Utf8 => Self::Utf8(array.as_string::<i32>()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string::<i64>()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view()),
            DataType::Binary => Self::Binary(array.as_binary::<i32>()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary::<i64>()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Self::FixedSizeBinary(array.as_fixed_size_binary()),
            DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
            | DataType::Interval(_) => {
                let options = FormatOptions::new().with_datetime_format(Some("%Y-%m-%d"));
                Self::Text(ArrayFormatter::try_new(array, &options)?)
            }
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Self::Json(make_encoder(field, array, json)?),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let values = dictionary.values();
                Self::Dictionary {
                    // Without values every row is NULL and no index is ever asked for.
                    indexes: if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() },
                    values: Box::new(Self::try_new(field, values.as_ref(), json)?),
                }
            }
            DataType::Union(..) | DataType::RunEndEncoded(..) => {
                return Err(ArrowError::NotYetImplemented(format!("{} as text", array.data_type())));
            }
        })
    }

    fn push(&mut self, row: usize, text: &mut Vec<u8>, out: &mut Vec<u8>) {
        match self {
            Self::Boolean(array) => {
                let text: &[u8] = if array.value(row) { b"$4\r\ntrue\r\n" } else { b"$5\r\nfalse\r\n" };
                out.extend_from_slice(text);
            }
            Self::Int8(values) => number::push_integer(out, values[row].into()),
            Self::Int16(values) => number::push_integer(out, values[row].into()),
            Self::Int32(values) => number::push_integer(out, values[row].into()),
            Self::Int64(values) => number::push_integer(out, values[row]),
            Self::UInt8(values) => number::push_integer(out, values[row].into()),
            Self::UInt16(values) => number::push_integer(out, values[row].into()),
            Self::UInt32(values) => number::push_integer(out, values[row].into()),
            Self::UInt64(values) => number::push_unsigned(out, values[row]),
            Self::Float16(array) => number::push_shortest(out, array.value(row).to_f32()),
            Self::Float32(values) => number::push_shortest(out, values[row]),
            Self::Float64(values) => number::push_float(out, values[row]),
            Self::Timestamp { values, unit } => number::push_integer(out, epoch_ms(values[row], *unit)),
            Self::Dictionary { indexes, values } => values.push(indexes[row], text, out),
            _ => {
                if let Some(bytes) = self.as_bytes(row) {
                    resp::push_bulk(out, bytes);
                } else {
                    text.clear();
                    self.write(row, text);
                    resp::push_bulk(out, text);
                }
            }
        }
    }

    /// The bytes of a string; other types have to be written as text first.
    fn as_bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Utf8(array) => Some(array.value(row).as_bytes()),
            Self::LargeUtf8(array) => Some(array.value(row).as_bytes()),
            Self::Utf8View(array) => Some(array.value(row).as_bytes()),
            Self::Dictionary { indexes, values } => values.as_bytes(indexes[row]),
            _ => None,
        }
    }

    /// As [`Self::push`], without the length.
    fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Boolean(array) => {
                let text = if array.value(row) { "true" } else { "false" };
                out.extend_from_slice(text.as_bytes());
            }
            Self::Int8(values) => integer(values[row], out),
            Self::Int16(values) => integer(values[row], out),
            Self::Int32(values) => integer(values[row], out),
            Self::Int64(values) => integer(values[row], out),
            Self::UInt8(values) => integer(values[row], out),
            Self::UInt16(values) => integer(values[row], out),
            Self::UInt32(values) => integer(values[row], out),
            Self::UInt64(values) => integer(values[row], out),
            Self::Float16(array) => float(array.value(row).to_f32(), out),
            Self::Float32(values) => float(values[row], out),
            Self::Float64(values) => float(values[row], out),
            Self::Decimal32(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::Decimal64(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::Decimal128(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::Decimal256(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::Timestamp { values, unit } => integer(epoch_ms(values[row], *unit), out),
            Self::Utf8(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::LargeUtf8(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Utf8View(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Binary(array) => base64::push(out, array.value(row)),
            Self::LargeBinary(array) => base64::push(out, array.value(row)),
            Self::BinaryView(array) => base64::push(out, array.value(row)),
            Self::FixedSizeBinary(array) => base64::push(out, array.value(row)),
            Self::Text(formatter) => {
                write!(out, "{}", formatter.value(row)).expect("the formatter writes its errors out as text");
            }
            Self::Json(encoder) => encoder.encode(row, out),
            Self::Dictionary { indexes, values } => values.write(indexes[row], out),
        }
    }
}

fn timestamps(array: &dyn Array, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
    }
}

/// Rounded towards the past, so that milliseconds never claim what came later.
const fn epoch_ms(value: i64, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1000),
        TimeUnit::Millisecond => value,
        TimeUnit::Microsecond => value.div_euclid(1000),
        TimeUnit::Nanosecond => value.div_euclid(1_000_000),
    }
}

fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn float(value: impl zmij::Float, out: &mut Vec<u8>) {
    number::shortest(value, |text| out.extend_from_slice(text));
}
