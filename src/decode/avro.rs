//! Bodies of one writer schema into Arrow, through arrow-avro: the only module
//! that knows it.
//!
//! Five things about its decoder shape what is here.
//!
//! * A malformed body leaves columns of unequal length, so that the whole batch
//!   fails to flush: after any failure the decoder is thrown away, and the good
//!   stretch before the poison is decoded again with a new one. Every body is
//!   decoded at most twice.
//! * A body that ends early is "needs more" and no error, and a following one
//!   would be read as its rest: each value is fed alone, and must have been
//!   consumed whole and have given one row.
//! * A change of schema stops it in mid-batch: a decoder here has one writer.
//! * Its string views lose their nulls, so that strings are decoded plainly; the
//!   table's views are made of them afterwards, without copying text.
//! * Of a text that is a UUID it makes 16 bytes, which equal no literal in SQL and
//!   no message key, and it fails on a text that is none: schemas are handed to it
//!   with such texts as plain ones.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use serde_json::Value;

use super::extent;
use super::framing::{CONFLUENT_HEADER, Writer};

/// Rows that a decoder gathers before it is flushed: a batch of a partition is
/// rarely larger, and what was flushed at once need not be put together again.
const ROWS_PER_FLUSH: usize = 65_536;

/// The id under which values without one of their own are fed.
const OWN_ID: u32 = u32::MAX;

/// Decodes the bodies of one writer schema under the reader's schema.
#[derive(Debug)]
pub struct BodyDecoder {
    writer: AvroSchema,
    reader: AvroSchema,
    id: u32,
    /// Whether a value can be fed as it is, its header being Confluent's.
    framed: bool,
    /// The bytes before the body.
    header: usize,

    decoder: Decoder,
    scratch: Vec<u8>,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Bodies {
    /// Rows, in the order fed.
    pub batches: Vec<RecordBatch>,
    /// For each row, the index of its frame.
    pub rows: Vec<usize>,
    /// Frames that could not be decoded, and why.
    pub malformed: Vec<(usize, String)>,
}

impl BodyDecoder {
    /// A decoder for what `writer` wrote, as `reader` wants it.
    ///
    /// # Errors
    /// What stands between the two schemas.
    pub fn try_new(writer_ref: Writer, writer: &str, reader: &str) -> Result<Self, String> {
        extent::check(writer)?;
        let (id, framed) = match writer_ref {
            Writer::Id(id) => (id, true),
            Writer::Fingerprint(_) | Writer::Stream => (OWN_ID, false),
        };
        let header = writer_ref.header();
        let writer = AvroSchema::new(with_plain_uuids(writer)?);
        let reader = AvroSchema::new(with_plain_uuids(reader)?);
        let decoder = build(&writer, &reader, id)?;
        Ok(Self { writer, reader, id, framed, header, decoder, scratch: Vec::new() })
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.decoder.schema()
    }

    /// Decodes the values of the frames in `indices`, which all have the writer's header; `value`
    /// gives a frame's value.
    pub fn decode<'a>(&mut self, indices: &[usize], value: impl Fn(usize) -> &'a [u8]) -> Bodies {
        let mut bodies = Bodies::default();
        let mut pending = 0;
        for at in 0..indices.len() {
            if let Err(error) = self.feed(value(indices[at])) {
                self.restart();
                self.repeat(indices, pending..at, &value, &mut bodies);
                bodies.malformed.push((indices[at], error));
                pending = at + 1;
            } else if self.decoder.batch_is_full() {
                self.flush(indices, pending..at + 1, &value, &mut bodies);
                pending = at + 1;
            }
        }
        self.flush(indices, pending..indices.len(), &value, &mut bodies);
        bodies
    }

    /// Decodes a stretch that is known to be good once more, and flushes it.
    fn repeat<'a>(
        &mut self,
        indices: &[usize],
        stretch: Range<usize>,
        value: &impl Fn(usize) -> &'a [u8],
        bodies: &mut Bodies,
    ) {
        let mut pending = stretch.start;
        for at in stretch.clone() {
            if let Err(error) = self.feed(value(indices[at])) {
                // What decoded once decodes again; should it not, only it is given up.
                self.restart();
                if at > pending {
                    self.repeat(indices, pending..at, value, bodies);
                }
                bodies.malformed.push((indices[at], error));
                pending = at + 1;
            }
        }
        self.flush(indices, pending..stretch.end, value, bodies);
    }

    /// Takes the rows of a stretch. Where they cannot be had together, the
    /// stretch is halved until the frame that is to blame stands alone.
    fn flush<'a>(
        &mut self,
        indices: &[usize],
        stretch: Range<usize>,
        value: &impl Fn(usize) -> &'a [u8],
        bodies: &mut Bodies,
    ) {
        if stretch.is_empty() {
            return;
        }
        match self.decoder.flush() {
            Ok(Some(batch)) if batch.num_rows() == stretch.len() => {
                bodies.rows.extend_from_slice(&indices[stretch]);
                bodies.batches.push(batch);
            }
            failed => {
                self.restart();
                if stretch.len() == 1 {
                    let error = match failed {
                        Err(error) => error.to_string(),
                        Ok(_) => "the body gives no row".to_owned(),
                    };
                    bodies.malformed.push((indices[stretch.start], error));
                } else {
                    let middle = stretch.start + stretch.len() / 2;
                    self.repeat(indices, stretch.start..middle, value, bodies);
                    self.repeat(indices, middle..stretch.end, value, bodies);
                }
            }
        }
    }

    /// Feeds one value, which must give exactly one row.
    fn feed(&mut self, value: &[u8]) -> Result<(), String> {
        let data = if self.framed {
            value
        } else {
            self.scratch.clear();
            self.scratch.push(0);
            self.scratch.extend_from_slice(&self.id.to_be_bytes());
            self.scratch.extend_from_slice(&value[self.header..]);
            &self.scratch
        };
        let capacity = self.decoder.capacity();
        let consumed = self.decoder.decode(data).map_err(|error| error.to_string())?;
        let rows = capacity - self.decoder.capacity();
        if rows == 0 {
            Err(format!("the body ends too early, after {} bytes", data.len() - CONFLUENT_HEADER))
        } else if rows > 1 || consumed < data.len() {
            Err(format!("the body is followed by {} bytes that do not belong to it", data.len() - consumed))
        } else if may_end_in_a_header(data) && self.is_whole_without_header(data) {
            Err(format!("the body is followed by {CONFLUENT_HEADER} bytes that do not belong to it"))
        } else {
            Ok(())
        }
    }

    /// Whether the value is whole without its last five bytes: rare enough to
    /// be asked of a decoder of its own.
    fn is_whole_without_header(&self, data: &[u8]) -> bool {
        let mut decoder = self.build();
        let capacity = decoder.capacity();
        let shorter = &data[..data.len() - CONFLUENT_HEADER];
        decoder.decode(shorter).is_ok_and(|consumed| consumed == shorter.len())
            && decoder.capacity() + 1 == capacity
    }

    fn build(&self) -> Decoder {
        build(&self.writer, &self.reader, self.id).expect("the same schemas have built a decoder before")
    }

    fn restart(&mut self) {
        self.decoder = self.build();
    }
}

/// The schema with texts that are UUIDs as plain texts.
fn with_plain_uuids(avro: &str) -> Result<String, String> {
    if !avro.contains("uuid") {
        return Ok(avro.to_owned());
    }
    let mut schema: Value = serde_json::from_str(avro).map_err(|error| error.to_string())?;
    make_uuids_plain(&mut schema);
    Ok(schema.to_string())
}

fn make_uuids_plain(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(make_uuids_plain),
        Value::Object(object) => {
            let is = |name: &str, wanted: &str| object.get(name).and_then(Value::as_str) == Some(wanted);
            if is("type", "string") && is("logicalType", "uuid") {
                object.remove("logicalType");
            }
            for inner in ["type", "items", "values", "fields"] {
                if let Some(inner) = object.get_mut(inner) {
                    make_uuids_plain(inner);
                }
            }
        }
        _ => {}
    }
}

/// A header after the body would be consumed as that of a next value.
fn may_end_in_a_header(data: &[u8]) -> bool {
    data.len() >= 2 * CONFLUENT_HEADER && data.ends_with(&data[..CONFLUENT_HEADER]) && data[0] == 0
}

fn build(writer: &AvroSchema, reader: &AvroSchema, id: u32) -> Result<Decoder, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(id), writer.clone()).map_err(|error| error.to_string())?;
    ReaderBuilder::new()
        .with_batch_size(ROWS_PER_FLUSH)
        .with_reader_schema(reader.clone())
        .with_writer_schema_store(store)
        .build_decoder()
        .map_err(|error| error.to_string())
}
