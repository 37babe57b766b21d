//! Test events in Avro, encoded by `apache-avro`: not the decoder of the
//! binary under test, so neither can hide a mistake of the other.

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
