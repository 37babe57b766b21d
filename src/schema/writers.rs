//! Which schema wrote an event: the schemas at hand by fingerprint and by the
//! ids that configuration gives them, then the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Schemas;
use crate::decode::framing::Writer;
use crate::frame::StreamId;

/// Looks up writers' schemas. Clones share the registry and what it answered.
#[derive(Clone)]
pub struct Writers {
    fingerprints: Arc<HashMap<u64, Arc<str>>>,
    ids: Arc<HashMap<(StreamId, u32), Arc<str>>>,
    registry: Option<Arc<Mutex<dyn Schemas>>>,
}

impl Writers {
    /// Knows `schemas` by their fingerprints and `ids` by stream and id; asks
    /// the registry for ids that are in neither.
    ///
    /// # Errors
    /// When one of the schemas cannot be parsed.
    pub fn try_new<'a>(
        schemas: impl IntoIterator<Item = &'a Arc<str>>,
        ids: HashMap<(StreamId, u32), Arc<str>>,
        registry: Option<Arc<Mutex<dyn Schemas>>>,
    ) -> Result<Self, apache_avro::Error> {
        let mut fingerprints = HashMap::new();
        for schema in schemas {
            fingerprints.insert(fingerprint(schema)?, Arc::clone(schema));
        }
        Ok(Self { fingerprints: Arc::new(fingerprints), ids: Arc::new(ids), registry })
    }

    /// The schema of a writer of that stream.
    ///
    /// # Errors
    /// Why it is not to be had, as one sentence.
    pub fn find(&self, stream: StreamId, writer: Writer) -> Result<Arc<str>, String> {
        match writer {
            Writer::Stream => Err("the stream's own schema is always known".to_owned()),
            Writer::Fingerprint(fingerprint) => self
                .fingerprints
                .get(&fingerprint)
                .cloned()
                .ok_or_else(|| "no schema in the schema directory has it".to_owned()),
            Writer::Id(id) => {
                if let Some(schema) = self.ids.get(&(stream, id)) {
                    return Ok(Arc::clone(schema));
                }
                let Some(registry) = &self.registry else {
                    return Err(
                        "no registry is configured, and the stream's `schema_ids` do not have it".to_owned()
                    );
                };
                match registry.lock().unwrap_or_else(PoisonError::into_inner).by_id(id) {
                    Ok(Some(schema)) => Ok(schema),
                    Ok(None) => Err("the registry has no such schema".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }
}

/// CRC-64-AVRO of a schema's parsing canonical form, as single-object encoding has it.
///
/// # Errors
/// When the schema cannot be parsed.
pub fn fingerprint(schema: &str) -> Result<u64, apache_avro::Error> {
    let schema = apache_avro::Schema::parse_str(schema)?;
    let bytes = schema.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    // The Rabin hash comes out in the byte order in which it is framed.
    let bytes: [u8; 8] = bytes.as_slice().try_into().unwrap_or_default();
    Ok(u64::from_le_bytes(bytes))
}
