//! A sink that keeps the hashes in memory: what tests look at, and where
//! features go when there is no Redis. It knows the commands that
//! [`super::encode`] writes and no others, and expires nothing: it has no clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Error, Sink, Writes, Written, resp};

/// What errors call this store.
const STORE: &str = "the store in memory";

/// One hash as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredHash {
    /// Its fields.
    pub fields: BTreeMap<String, String>,
    /// The time to live that it was given last, in milliseconds.
    pub ttl_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Model {
    hashes: BTreeMap<String, StoredHash>,
    writes: u64,
    away: bool,
    changed: bool,
}

/// The hashes. Clones look at the same ones.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Model>>);

impl MemoryStore {
    /// A hash by its Redis key.
    pub fn hash(&self, key: &str) -> Option<StoredHash> {
        self.model().hashes.get(key).cloned()
    }

    /// Every Redis key, in order.
    pub fn keys(&self) -> Vec<String> {
        self.model().hashes.keys().cloned().collect()
    }

    /// A copy of everything.
    pub fn hashes(&self) -> BTreeMap<String, StoredHash> {
        self.model().hashes.clone()
    }

    /// How many entries were written so far.
    pub fn written(&self) -> u64 {
        self.model().writes
    }

    /// Plays an outage: while the store is away, nothing can be written.
    pub fn set_away(&self, away: bool) {
        self.model().away = away;
    }

    /// Plays a restart that lost everything: the next write is told so.
    pub fn lose_everything(&self) {
        let mut model = self.model();
        model.hashes.clear();
        model.changed = true;
    }

    /// A panic elsewhere leaves the model as it was between two entries.
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink over a [`MemoryStore`].
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    store: MemoryStore,
}

impl MemorySink {
    /// Writes into `store`.
    pub const fn new(store: MemoryStore) -> Self {
        Self { store }
    }

    /// What was written, for a reader.
    pub fn store(&self) -> MemoryStore {
        self.store.clone()
    }
}

impl Sink for MemorySink {
    fn write(&mut self, writes: &Writes) -> Result<Written, Error> {
        let mut model = self.store.model();
        if model.away {
            return Err(unavailable());
        }
        let mut written = Written::default();
        for entry in &writes.entries {
            for command in resp::commands(&writes.bytes[entry.start..entry.end]) {
                let command = command.map_err(|malformed| refused(malformed.to_string()))?;
                apply(&mut model.hashes, &command)?;
            }
            written.acknowledged += 1;
        }
        model.writes += written.acknowledged;
        written.store_changed = std::mem::take(&mut model.changed);
        Ok(written)
    }

    fn ping(&mut self) -> Result<Written, Error> {
        let mut model = self.store.model();
        if model.away {
            return Err(unavailable());
        }
        Ok(Written { store_changed: std::mem::take(&mut model.changed), ..Written::default() })
    }
}

fn apply(hashes: &mut BTreeMap<String, StoredHash>, command: &[&[u8]]) -> Result<(), Error> {
    match command {
        [b"HSET", key, pairs @ ..] => {
            let hash = hashes.entry(text(key)).or_default();
            for pair in pairs.chunks_exact(2) {
                hash.fields.insert(text(pair[0]), text(pair[1]));
            }
        }
        [b"HDEL", key, fields @ ..] => {
            let key = text(key);
            if let Some(hash) = hashes.get_mut(&key) {
                for field in fields {
                    hash.fields.remove(&text(field));
                }
                if hash.fields.is_empty() {
                    hashes.remove(&key);
                }
            }
        }
        [b"DEL", key] => drop(hashes.remove(&text(key))),
        [b"PEXPIRE", key, ttl_ms] => {
            if let Some(hash) = hashes.get_mut(&text(key)) {
                let ttl_ms =
                    text(ttl_ms).parse().map_err(|_| refused("PEXPIRE without a number".to_owned()))?;
                hash.ttl_ms = Some(ttl_ms);
            }
        }
        // One writer and one lock: every command is a transaction already.
        [b"MULTI" | b"EXEC"] => {}
        _ => return Err(refused(format!("unknown command {:?}", command.first().map(|name| text(name))))),
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unavailable() -> Error {
    Error::Unavailable { store: STORE.to_owned(), reason: "it is away".to_owned() }
}

fn refused(reason: String) -> Error {
    Error::Refused { store: STORE.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Entry;

    fn writes(entries: &[&[&[&[u8]]]]) -> Writes {
        let mut writes = Writes::default();
        for commands in entries {
            let start = writes.bytes.len();
            commands.iter().for_each(|parts| writes.bytes.extend(resp::command(parts)));
            let replies = u32::try_from(commands.len()).unwrap();
            writes.entries.push(Entry { start, end: writes.bytes.len(), replies, key: (start, start) });
        }
        writes
    }

    #[test]
    fn commands_change_the_model() {
        let mut sink = MemorySink::default();
        let store = sink.store();
        let first = writes(&[
            &[&[b"HSET", b"a", b"x", b"1", b"y", b"2"], &[b"PEXPIRE", b"a", b"500"]],
            &[&[b"HSET", b"b", b"x", b"1"]],
        ]);
        assert_eq!(sink.write(&first).unwrap().acknowledged, 2);
        let second = writes(&[
            &[&[b"MULTI"], &[b"HSET", b"a", b"x", b"3"], &[b"HDEL", b"a", b"y"], &[b"EXEC"]],
            &[&[b"DEL", b"b"]],
        ]);
        sink.write(&second).unwrap();
        let fields = BTreeMap::from([("x".to_owned(), "3".to_owned())]);
        assert_eq!(store.hash("a"), Some(StoredHash { fields, ttl_ms: Some(500) }));
        assert_eq!((store.keys(), store.written()), (vec!["a".to_owned()], 4));
    }

    #[test]
    fn an_outage_and_a_loss_are_told() {
        let mut sink = MemorySink::default();
        let one = writes(&[&[&[b"HSET", b"a", b"x", b"1"]]]);
        sink.store().set_away(true);
        assert!(matches!(sink.write(&one), Err(Error::Unavailable { .. })));
        assert!(sink.ping().is_err());
        sink.store().set_away(false);
        assert!(!sink.write(&one).unwrap().store_changed);
        sink.store().lose_everything();
        assert!(sink.write(&one).unwrap().store_changed);
        assert!(!sink.write(&one).unwrap().store_changed);
    }

    #[test]
    fn an_unknown_command_is_refused() {
        let error = MemorySink::default().write(&writes(&[&[&[b"FLUSHALL"]]])).unwrap_err();
        assert!(error.to_string().contains("FLUSHALL"), "{error}");
    }
}
