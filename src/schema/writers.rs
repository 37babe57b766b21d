//! Which schema wrote an event: the schemas at hand by fingerprint and by the
//! ids that configuration gives them, then the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Schemas;
use crate::decode::fingerprint;
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
        let (mut fingerprints, mut apart) = (HashMap::new(), HashMap::new());
        for schema in schemas {
            let [own, other] = fingerprint::fingerprints(schema)?;
            fingerprints.insert(own, Arc::clone(schema));
            apart.insert(other, Arc::clone(schema));
        }
        // Schemas that differ in logical types alone share the first; the second tells more.
        fingerprints.extend(apart);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shipped::TRANSACTIONS_V2;

    #[test]
    fn a_schema_is_known_by_the_fingerprints_of_every_writer() {
        let schema: Arc<str> = TRANSACTIONS_V2.into();
        let writers = Writers::try_new([&schema], HashMap::new(), None).unwrap();
        let find = |fingerprint| writers.find(StreamId(0), Writer::Fingerprint(fingerprint));
        // Of a writer in Java, then of one in Python.
        assert_eq!(find(0x1a97_234a_6c91_b825), Ok(Arc::clone(&schema)));
        assert_eq!(find(0xb64c_5a0a_5c50_af01), Ok(schema));
        assert!(find(1).is_err());
    }
}
