//! Frames into record batches, and rejects.
//!
//! ```text
//!  frames of a partition ─▶ framing ─▶ grouped by writer ─▶ avro ─▶ offset order again ─▶ + event_time, _offset, …
//!                             │                               │                              │
//!                             └──────────── rejected ◀────────┴──────────────────────────────┘
//! ```
//! One poison frame costs exactly one event. Schemas are fetched elsewhere:
//! [`StreamDecoder::decode`] asks for those that it does not know yet.

mod avro;
mod extent;
pub mod fingerprint;
pub mod framing;
pub mod reader;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch, is_not_null, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::frame::{FrameBatch, Reason, Rejected};
use crate::time::TIMESTAMP_ZONE;
use avro::BodyDecoder;
use framing::{Framing, Writer};
use reader::TimestampUnit;

/// What is wrong with a stream's schema, or what went wrong with a batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream's schema cannot be used.
    #[error("the schema cannot be read: {0}")]
    Schema(String),
    /// A column that the options name is not there.
    #[error("the schema has no column `{column}`")]
    NoColumn {
        /// The name.
        column: String,
        /// The columns there are.
        valid: Vec<String>,
    },
    /// The event time is of a type that is no time.
    #[error("column `{column}` is a {found}, which gives no event time")]
    EventTimeType {
        /// The column.
        column: String,
        /// Its type.
        found: DataType,
    },
    /// A plain number whose unit is not said.
    #[error("column `{column}` is a plain {found}: its unit is not known")]
    NoUnit {
        /// The column.
        column: String,
        /// Its type.
        found: DataType,
    },
    /// The schema has a column with a name of ours.
    #[error("the schema has a column `{column}`, a name that every stream's table has already")]
    Reserved {
        /// The name.
        column: String,
    },
    /// Arrow could not do what it always can: a bug.
    #[error("decoded rows could not be put together")]
    Arrow(#[from] ArrowError),
}

/// How a stream is decoded.
#[derive(Debug, Clone)]
pub struct Options {
    /// The accepted framings.
    pub framing: Framing,
    /// The column of the event time.
    pub event_time: String,
    /// Its unit, where it is a plain number.
    pub event_time_unit: Option<TimestampUnit>,
    /// The column by which the topic is partitioned.
    pub key: String,
}

/// A stream's schema, checked against its options.
#[derive(Debug, Clone)]
pub struct StreamSchema {
    /// The reader's schema.
    pub avro: Arc<str>,
    /// The stream's table.
    pub table: SchemaRef,
}

impl StreamSchema {
    /// Checks that the options' columns are there and give a time.
    ///
    /// # Errors
    /// What does not fit.
    pub fn try_new(avro: &str, options: &Options) -> Result<Self, Error> {
        let own = BodyDecoder::try_new(Writer::Stream, avro, avro).map_err(Error::Schema)?.schema();
        let valid = || own.fields().iter().map(|field| field.name().clone()).collect();
        if own.column_with_name(&options.key).is_none() {
            return Err(Error::NoColumn { column: options.key.clone(), valid: valid() });
        }
        let Some((_, field)) = own.column_with_name(&options.event_time) else {
            return Err(Error::NoColumn { column: options.event_time.clone(), valid: valid() });
        };
        if options.event_time != reader::EVENT_TIME && own.column_with_name(reader::EVENT_TIME).is_some() {
            return Err(Error::Reserved { column: reader::EVENT_TIME.to_owned() });
        }
        match field.data_type() {
            DataType::Timestamp(..) => {}
            DataType::Int64 | DataType::Int32 if options.event_time_unit.is_some() => {}
            found @ (DataType::Int64 | DataType::Int32) => {
                return Err(Error::NoUnit { column: options.event_time.clone(), found: found.clone() });
            }
            found => {
                return Err(Error::EventTimeType {
                    column: options.event_time.clone(),
                    found: found.clone(),
                });
            }
        }
        Ok(Self { avro: avro.into(), table: reader::table_schema(avro)? })
    }
}

/// What came of a batch of frames.
#[derive(Debug)]
pub struct Decoded {
    /// Rows in offset order, in the layout of [`StreamDecoder::schema`].
    pub rows: RecordBatch,
    /// For each row, the index of its frame.
    pub frames: Vec<usize>,
    /// Frames that could not be used, in offset order.
    pub rejected: Vec<Rejected>,
    /// Frames without a value, or with an empty one.
    pub tombstones: u64,
    /// Of the sampled rows, those whose message key is not their key column.
    pub key_mismatches: u64,
}

/// Decodes the frames of one stream.
#[derive(Debug)]
pub struct StreamDecoder {
    options: Options,
    avro: String,
    schema: SchemaRef,

    decoders: HashMap<Writer, BodyDecoder>,
    incompatible: HashMap<Writer, String>,
}

/// How many rows of a batch have their message key compared with their key column.
const KEYS_SAMPLED: usize = 8;

impl StreamDecoder {
    /// A decoder that gives the columns in `used`, beside those that every
    /// stream's table has.
    ///
    /// # Errors
    /// When the schema cannot be narrowed to those columns.
    pub fn try_new(stream: &StreamSchema, options: Options, used: &BTreeSet<String>) -> Result<Self, Error> {
        let mut wanted = used.clone();
        wanted.insert(options.key.clone());
        let schema = reader::projected_schema(&stream.table, &wanted);
        wanted.insert(options.event_time.clone());
        let avro = reader::projected_avro(&stream.avro, &wanted)?;
        let own = BodyDecoder::try_new(Writer::Stream, &stream.avro, &avro).map_err(Error::Schema)?;
        Ok(Self {
            options,
            avro,
            schema,
            decoders: HashMap::from([(Writer::Stream, own)]),
            incompatible: HashMap::new(),
        })
    }

    /// The layout of decoded rows.
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes a writer's schema. One that cannot be resolved with the stream's
    /// is remembered as such: its events are rejected.
    pub fn learn(&mut self, writer: Writer, avro: &str) {
        match BodyDecoder::try_new(writer, avro, &self.avro) {
            Ok(decoder) => {
                self.decoders.insert(writer, decoder);
            }
            Err(error) => {
                self.incompatible.insert(writer, error);
            }
        }
    }

    /// Decodes a batch. `find` gives the schema of a writer that is not known yet, and is asked
    /// once for each; what it says where it has none becomes the error of that writer's events.
    ///
    /// # Errors
    /// Only of our own making: no frame can cause one.
    pub fn decode<Schema: AsRef<str>>(
        &mut self,
        frames: &FrameBatch,
        mut find: impl FnMut(Writer) -> Result<Schema, String>,
    ) -> Result<Decoded, Error> {
        let mut rejected = Vec::new();
        let mut tombstones = 0;
        let mut groups: Vec<(Writer, Vec<usize>)> = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            // Null and no bytes at all alike: there is no event in it.
            let Some(value) = frame.value.filter(|value| !value.is_empty()) else {
                tombstones += 1;
                continue;
            };
            match framing::split(self.options.framing, value) {
                Err(error) => rejected.push(Rejected { index, reason: Reason::Framing, error }),
                Ok((writer, _)) => match groups.iter_mut().find(|(known, _)| *known == writer) {
                    Some((_, indices)) => indices.push(index),
                    None => groups.push((writer, vec![index])),
                },
            }
        }
        let mut batches = Vec::new();
        let mut rows = Vec::with_capacity(frames.len());
        for (writer, indices) in groups {
            let decoder = match self.decoder(writer, &mut find) {
                Ok(decoder) => decoder,
                Err((reason, error)) => {
                    rejected.extend(indices.into_iter().map(|index| Rejected {
                        index,
                        reason,
                        error: error.clone(),
                    }));
                    continue;
                }
            };
            let bodies = decoder.decode(&indices, |index| frames.get(index).value.unwrap_or_default());
            rejected.extend(bodies.malformed.into_iter().map(|(index, error)| Rejected {
                index,
                reason: Reason::Malformed,
                error,
            }));
            for batch in bodies.batches {
                batches.push(self.columns_of(&batch)?);
            }
            rows.extend(bodies.rows);
        }
        let (own, rows) = in_offset_order(&batches, rows)?;
        let decoded = self.with_our_columns(own, rows, frames, rejected, tombstones)?;
        Ok(decoded)
    }

    /// The decoder of a writer, whose schema is asked for where it is not known yet; or why there is none.
    fn decoder<Schema: AsRef<str>>(
        &mut self,
        writer: Writer,
        find: &mut impl FnMut(Writer) -> Result<Schema, String>,
    ) -> Result<&mut BodyDecoder, (Reason, String)> {
        if !self.decoders.contains_key(&writer) && !self.incompatible.contains_key(&writer) {
            let schema = find(writer)
                .map_err(|error| (Reason::UnknownSchema, format!("{writer} is not known: {error}")))?;
            self.learn(writer, schema.as_ref());
        }
        self.decoders.get_mut(&writer).ok_or_else(|| {
            let error = &self.incompatible[&writer];
            let error = format!("{writer} does not resolve with the stream's schema: {error}");
            (Reason::Incompatible, error)
        })
    }

    /// The schema's own columns as the table has them, and the event time last.
    fn columns_of(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        let mut fields = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let Some(column) =
                batch.column_by_name(field.name()).filter(|_| field.name() != reader::EVENT_TIME)
            else {
                continue;
            };
            let column = if column.data_type() == field.data_type() {
                Arc::clone(column)
            } else {
                cast(column, field.data_type())?
            };
            columns.push(column);
            fields.push(Arc::clone(field));
        }
        let source =
            batch.column_by_name(&self.options.event_time).expect("the reader's schema has the event time");
        let event_time = event_time(source, self.options.event_time_unit)?;
        fields.push(Arc::new(arrow::datatypes::Field::new(
            reader::EVENT_TIME,
            event_time.data_type().clone(),
            true,
        )));
        columns.push(event_time);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    fn with_our_columns(
        &self,
        own: Option<RecordBatch>,
        mut frame_of_row: Vec<usize>,
        frames: &FrameBatch,
        mut rejected: Vec<Rejected>,
        tombstones: u64,
    ) -> Result<Decoded, Error> {
        let Some(mut own) = own else {
            rejected.sort_by_key(|rejected| rejected.index);
            let rows = RecordBatch::new_empty(Arc::clone(&self.schema));
            return Ok(Decoded { rows, frames: frame_of_row, rejected, tombstones, key_mismatches: 0 });
        };
        let event_time = own.column(own.num_columns() - 1);
        if event_time.null_count() > 0 {
            let present = is_not_null(event_time)?;
            for (row, index) in frame_of_row.iter().enumerate() {
                if !present.value(row) {
                    let error = format!("column `{}` is null", self.options.event_time);
                    rejected.push(Rejected { index: *index, reason: Reason::NoEventTime, error });
                }
            }
            own = filter_record_batch(&own, &present)?;
            frame_of_row = frame_of_row
                .into_iter()
                .enumerate()
                .filter_map(|(row, index)| present.value(row).then_some(index))
                .collect();
        }
        rejected.sort_by_key(|rejected| rejected.index);
        let count = own.num_rows();
        let mut columns = own.columns().to_vec();
        columns.push(Arc::new(Int32Array::from_value(frames.partition.partition, count)));
        columns.push(Arc::new(
            frame_of_row.iter().map(|index| frames.get(*index).offset).collect::<Int64Array>(),
        ));
        let timestamps: TimestampMicrosecondArray = frame_of_row
            .iter()
            .map(|index| {
                let millis = frames.get(*index).timestamp_ms;
                (millis >= 0).then(|| millis.saturating_mul(1000))
            })
            .collect();
        columns.push(Arc::new(timestamps.with_timezone(TIMESTAMP_ZONE)));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let key_mismatches = self.sample_keys(&rows, &frame_of_row, frames)?;
        Ok(Decoded { rows, frames: frame_of_row, rejected, tombstones, key_mismatches })
    }

    /// Compares the message keys of a few rows with their key columns.
    fn sample_keys(
        &self,
        rows: &RecordBatch,
        frame_of_row: &[usize],
        frames: &FrameBatch,
    ) -> Result<u64, Error> {
        let step = (rows.num_rows() / KEYS_SAMPLED).max(1);
        let sampled: Vec<usize> = (0..rows.num_rows()).step_by(step).take(KEYS_SAMPLED).collect();
        let Some(column) = rows.column_by_name(&self.options.key) else { return Ok(0) };
        let picked: UInt32Array = sampled.iter().map(|row| u32::try_from(*row).unwrap_or(0)).collect();
        // A key that has no text, such as one of fixed bytes, is not compared.
        let Ok(text) = cast(&arrow::compute::take(column, &picked, None)?, &DataType::Utf8) else {
            return Ok(0);
        };
        let text = text.as_string::<i32>();
        let mismatches = sampled.iter().enumerate().filter(|(at, row)| {
            let Some(key) = frames.get(frame_of_row[**row]).key else { return false };
            // A serialised key (Confluent's framing, a length before the text) ends with the text.
            text.is_valid(*at)
                && !key.ends_with(text.value(*at).as_bytes())
                && std::str::from_utf8(key).is_ok()
        });
        Ok(mismatches.count() as u64)
    }
}

/// The rows of several writers' batches, in the order of their frames.
fn in_offset_order(
    batches: &[RecordBatch],
    frame_of_row: Vec<usize>,
) -> Result<(Option<RecordBatch>, Vec<usize>), Error> {
    let Some(first) = batches.first() else { return Ok((None, frame_of_row)) };
    let all = if batches.len() == 1 { first.clone() } else { concat_batches(&first.schema(), batches)? };
    if frame_of_row.is_sorted() {
        return Ok((Some(all), frame_of_row));
    }
    let mut order: Vec<u32> = (0..u32::try_from(frame_of_row.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by_key(|row| frame_of_row[*row as usize]);
    let sorted = order.iter().map(|row| frame_of_row[*row as usize]).collect();
    Ok((Some(take_record_batch(&all, &UInt32Array::from(order))?), sorted))
}

/// The event time in microseconds; what lies beyond them stays at their end.
fn event_time(source: &ArrayRef, unit: Option<TimestampUnit>) -> Result<ArrayRef, Error> {
    let unit = match source.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => TimestampUnit::Seconds,
        DataType::Timestamp(TimeUnit::Millisecond, _) => TimestampUnit::Millis,
        DataType::Timestamp(TimeUnit::Microsecond, _) => TimestampUnit::Micros,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => TimestampUnit::Nanos,
        _ => unit.unwrap_or(TimestampUnit::Millis),
    };
    let numbers = cast(source, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let micros: TimestampMicrosecondArray = match unit {
        TimestampUnit::Seconds => numbers.unary(|seconds| seconds.saturating_mul(1_000_000)),
        TimestampUnit::Millis => numbers.unary(|millis| millis.saturating_mul(1000)),
        TimestampUnit::Micros => numbers.unary(|micros| micros),
        TimestampUnit::Nanos => numbers.unary(|nanos| nanos.div_euclid(1000)),
    };
    Ok(Arc::new(micros.with_timezone(TIMESTAMP_ZONE)))
}

#[cfg(test)]
mod tests;
