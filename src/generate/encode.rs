//! Records to values: the header of the framing, then the Avro body, straight
//! from the record into the buffer. And values made unusable on purpose.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::NamesRef;
use rand::RngExt;
use serde::Serialize;

use super::population::{Random, pick};
use super::record::{Click, Device, Transaction, TransactionV1};
use super::{Error, Framing, SchemaIds};
use crate::decode::fingerprint::fingerprints;
use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1, TRANSACTIONS_V2};

/// Writes the values of one schema.
struct Writer {
    header: Vec<u8>,
    schema: Schema,
    /// Nobody: the shipped schemas refer to no type by its name.
    names: NamesRef<'static>,
}

impl Writer {
    fn try_new(text: &str, framing: &Framing, id: impl FnOnce(&SchemaIds) -> u32) -> Result<Self, Error> {
        let schema = Schema::parse_str(text)?;
        let header = match framing {
            Framing::Confluent { ids } => {
                let mut header = vec![0];
                header.extend_from_slice(&id(ids).to_be_bytes());
                header
            }
            Framing::SingleObject => {
                let [fingerprint, _] = fingerprints(text)?;
                [vec![0xC3, 0x01], fingerprint.to_le_bytes().to_vec()].concat()
            }
            Framing::Bare => Vec::new(),
        };
        Ok(Self { header, schema, names: HashMap::new() })
    }

    fn write<T: Serialize>(&self, record: &T, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&self.header);
        apache_avro::write_avro_datum_ref(&self.schema, &self.names, record, value)
            .expect("records have the fields of the shipped schemas and a Vec takes every byte");
    }
}

/// Writes the values of every stream.
pub struct Encoder {
    transactions_v1: Writer,
    transactions_v2: Writer,
    clicks: Writer,
    devices: Writer,
}

impl Encoder {
    /// Writers of the shipped schemas in one framing.
    ///
    /// # Errors
    /// When a shipped schema is no schema: our own fault.
    pub fn try_new(framing: &Framing) -> Result<Self, Error> {
        Ok(Self {
            transactions_v1: Writer::try_new(TRANSACTIONS_V1, framing, |ids| ids.transactions_v1)?,
            transactions_v2: Writer::try_new(TRANSACTIONS_V2, framing, |ids| ids.transactions_v2)?,
            clicks: Writer::try_new(CLICKS_V1, framing, |ids| ids.clicks)?,
            devices: Writer::try_new(DEVICES_V1, framing, |ids| ids.devices)?,
        })
    }

    /// How many bytes precede every body: the same for each stream.
    pub const fn header_len(&self) -> usize {
        self.devices.header.len()
    }

    /// Replaces `value` by a transaction in version 1.
    pub fn transaction_v1(&self, record: &Transaction, value: &mut Vec<u8>) {
        self.transactions_v1.write(&TransactionV1::from(record), value);
    }

    /// Replaces `value` by a transaction in version 2.
    pub fn transaction_v2(&self, record: &Transaction, value: &mut Vec<u8>) {
        self.transactions_v2.write(record, value);
    }

    /// Replaces `value` by a click.
    pub fn click(&self, record: &Click, value: &mut Vec<u8>) {
        self.clicks.write(record, value);
    }

    /// Replaces `value` by a device.
    pub fn device(&self, record: &Device, value: &mut Vec<u8>) {
        self.devices.write(record, value);
    }
}

/// What may be wrong with a value. Each is certain to be noticed.
#[derive(Debug, Clone, Copy)]
enum Defect {
    /// Bytes are missing at the end: no body of a schema is the beginning of another.
    Truncated,
    /// Bytes follow the body.
    Trailing,
    /// The length of the first field, a string in every shipped schema, is negative.
    Flipped,
    /// JSON where Avro should be. Its first byte opens no framing, and as a body it begins
    /// with a negative length.
    Text,
}

const DEFECTS: [Defect; 4] = [Defect::Truncated, Defect::Trailing, Defect::Flipped, Defect::Text];

/// Spoils a value so that nobody can decode it. It never becomes empty: an
/// empty value is a tombstone, which is no fault.
pub fn spoil(value: &mut Vec<u8>, header_len: usize, random: &mut Random) {
    match pick(&DEFECTS, random.random()) {
        Defect::Truncated => value.truncate(random.random_range(header_len.max(1)..value.len())),
        Defect::Trailing => {
            for _ in 0..random.random_range(1..=16) {
                value.push(random.random());
            }
        }
        Defect::Flipped => value[header_len] ^= 1,
        Defect::Text => {
            value.clear();
            value.extend_from_slice(br#"{"error":"this should have been Avro"}"#);
        }
    }
}
