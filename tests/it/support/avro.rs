//! Test events in Avro, encoded by `apache-avro`: not the decoder of the
//! binary under test, so neither can hide a mistake of the other. Below, the
//! bytes of single values, for bodies that no encoder would write.

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

/// A writer's schema.
#[derive(Debug, Clone)]
pub struct WriterSchema {
    schema: Schema,
}

impl WriterSchema {
    /// Reads a schema's JSON text.
    ///
    /// # Panics
    /// When it is no schema.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        Self { schema: Schema::parse_str(text).unwrap_or_else(|error| panic!("no schema: {error}\n{text}")) }
    }

    /// The bare body of an event. Fields that are left out take the schema's
    /// defaults; branches of unions are found by the value.
    ///
    /// # Panics
    /// When the event does not fit the schema.
    #[track_caller]
    pub fn body(&self, event: &serde_json::Value) -> Vec<u8> {
        let encoded = Value::try_from(event.clone())
            .and_then(|value| value.resolve(&self.schema))
            .and_then(|value| GenericDatumWriter::builder(&self.schema).build()?.write_value_to_vec(value));
        encoded.unwrap_or_else(|error| panic!("could not encode {event}: {error}"))
    }

    /// A body in Avro's single-object encoding: `C3 01` and the schema's
    /// CRC-64-AVRO fingerprint, little-endian, before it.
    pub fn single_object(&self, body: &[u8]) -> Vec<u8> {
        let fingerprint = self.schema.fingerprint::<Rabin>();
        [[0xC3, 0x01].as_slice(), fingerprint.bytes.as_slice(), body].concat()
    }
}

/// A body in Confluent's framing: `0` and the schema's id, big-endian, before it.
pub fn confluent(id: u32, body: &[u8]) -> Vec<u8> {
    [[0].as_slice(), id.to_be_bytes().as_slice(), body].concat()
}

/// The bytes of a long: zigzag, seven bits a byte, the lowest first.
pub fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
    bytes
}

/// The bytes of a string.
///
/// # Panics
/// When it is longer than Avro's can be.
pub fn string(text: &str) -> Vec<u8> {
    [long(i64::try_from(text.len()).expect("a short text")), text.as_bytes().to_vec()].concat()
}

/// The bytes of a double.
pub fn double(value: f64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}
