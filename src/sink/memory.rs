//! A sink that keeps the hashes in memory: what tests look at, and where
//! features go when there is no Redis. It knows the commands that
//! [`super::encode`] writes and no others, and expires nothing: it has no clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fence::{Epoch, Fences, Shard, Standing};
use super::{Entry, Error, Sink, Writes, Written, resp};

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

/// Everything that a store had at some time.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    hashes: BTreeMap<String, StoredHash>,
    fences: BTreeMap<Shard, Epoch>,
}

#[derive(Debug, Default)]
struct Model {
    data: Snapshot,
    writes: u64,
    away: bool,
    /// How often it was started: sinks notice that it is another process.
    starts: u64,
    /// How many sinks there were that take shards over.
    holders: u64,
    /// What its clock shows.
    time: Option<Duration>,
}

/// The hashes. Clones look at the same ones.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Model>>);

impl MemoryStore {
    /// A hash by its Redis key.
    pub fn hash(&self, key: &str) -> Option<StoredHash> {
        self.model().data.hashes.get(key).cloned()
    }

    /// Every Redis key, in order.
    pub fn keys(&self) -> Vec<String> {
        self.model().data.hashes.keys().cloned().collect()
    }

    /// A copy of everything.
    pub fn hashes(&self) -> BTreeMap<String, StoredHash> {
        self.model().data.hashes.clone()
    }

    /// How many entries were written so far.
    pub fn written(&self) -> u64 {
        self.model().writes
    }

    /// Plays the loss of a single hash: it was evicted, or somebody deleted it.
    pub fn evict(&self, key: &str) {
        self.model().data.hashes.remove(key);
    }

    /// Plays an outage: while the store is away, nothing can be written.
    pub fn set_away(&self, away: bool) {
        self.model().away = away;
    }

    /// Gives the store a clock, which shows this.
    pub fn set_time(&self, time: Duration) {
        self.model().time = Some(time);
    }

    /// Plays a restart that lost everything: each sink's next write is told so.
    pub fn lose_everything(&self) {
        self.go_back_to(Snapshot::default());
    }

    /// Plays FLUSHALL at a store that goes on: only its fences tell.
    pub fn flush(&self) {
        self.model().data = Snapshot::default();
    }

    /// What [`Self::go_back_to`] can bring back.
    pub fn snapshot(&self) -> Snapshot {
        self.model().data.clone()
    }

    /// Plays a restart with the data of an earlier time.
    pub fn go_back_to(&self, snapshot: Snapshot) {
        let mut model = self.model();
        model.data = snapshot;
        model.starts += 1;
    }

    /// A panic elsewhere leaves the model as it was between two entries.
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink over a [`MemoryStore`]. Several over one store compete for shards as
/// processes do.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    store: MemoryStore,

    fences: Fences,
    /// Which start of the store the last call found.
    found: Option<u64>,
    /// The store has lost what a fence said.
    lost: bool,
}

impl MemorySink {
    /// Writes into `store`.
    pub fn new(store: MemoryStore) -> Self {
        let mut model = store.model();
        model.holders += 1;
        let fences = Fences::new(model.holders);
        drop(model);
        Self { store, fences, found: None, lost: false }
    }

    /// One of several that write into `store`.
    pub fn of(store: &MemoryStore) -> Self {
        Self::new(store.clone())
    }

    /// What was written, for a reader.
    pub fn store(&self) -> MemoryStore {
        self.store.clone()
    }

    /// Looks at the fences of all shards that are held; what was lost is taken over anew.
    fn check(&mut self, model: &mut Model) {
        let held: Vec<Shard> = self.fences.held().collect();
        for shard in held {
            let found = model.data.fences.get(&shard).copied();
            if self.fences.judge(shard, found) == Standing::Lost {
                self.lost = true;
                self.hold(model, shard, self.fences.restored(shard, found));
            }
        }
    }

    /// Sets a shard's fence, or else it is another's.
    fn hold(&mut self, model: &mut Model, shard: Shard, epoch: Option<Epoch>) {
        if let Some(epoch) = epoch {
            model.data.fences.insert(shard, epoch);
            self.fences.hold(shard, epoch);
        } else {
            self.fences.yield_to_another(shard);
        }
    }

    /// What to report, beside what became of entries.
    fn report(&mut self, model: &Model) -> Written {
        let restarted = self.found.replace(model.starts).is_some_and(|found| found != model.starts);
        Written {
            taken_over: self.fences.taken_over(),
            store_changed: std::mem::take(&mut self.lost) || restarted,
            ..Written::default()
        }
    }
}

impl Sink for MemorySink {
    fn take_over(&mut self, shards: &[Shard], ago: Duration) -> Result<Vec<Shard>, Error> {
        let store = self.store();
        let mut model = store.model();
        if model.away {
            return Err(unavailable());
        }
        self.check(&mut model);
        let given_at = model.time.map(|time| time.saturating_sub(ago).as_micros());
        let given_at = given_at.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX));
        for shard in shards {
            let found = model.data.fences.get(shard).copied();
            let epoch = self.fences.claim(*shard, found, given_at);
            self.hold(&mut model, *shard, epoch);
        }
        Ok(shards.iter().copied().filter(|shard| self.fences.is_taken_over(*shard)).collect())
    }

    fn give_up(&mut self, shards: &[Shard]) {
        self.fences.give_up(shards);
    }

    fn write(&mut self, writes: &Writes) -> Result<Written, Error> {
        let store = self.store();
        let mut model = store.model();
        if model.away {
            return Err(unavailable());
        }
        self.check(&mut model);
        let mut written = self.report(&model);
        let mut lost = Vec::new();
        for entry in &writes.entries {
            if writes.origin(*entry).is_some_and(|origin| self.fences.is_taken_over(origin.shard)) {
                written.fenced += 1;
                continue;
            }
            if apply_entry(&mut model.data.hashes, writes, *entry)? {
                lost.push(*entry);
            }
            written.acknowledged += 1;
        }
        let whole = writes.whole(&lost).map_err(|error| refused(error.to_string()))?;
        for entry in &whole.entries {
            apply_entry(&mut model.data.hashes, &whole, *entry)?;
        }
        model.writes += written.acknowledged;
        Ok(written)
    }

    fn ping(&mut self) -> Result<Written, Error> {
        let store = self.store();
        let mut model = store.model();
        if model.away {
            return Err(unavailable());
        }
        self.check(&mut model);
        Ok(self.report(&model))
    }
}

/// Carries an entry out; whether it left fields out that its hash had lost.
fn apply_entry(
    hashes: &mut BTreeMap<String, StoredHash>,
    writes: &Writes,
    entry: Entry,
) -> Result<bool, Error> {
    let mut was_lost = false;
    for command in resp::commands(&writes.bytes[entry.start..entry.end]) {
        let command = command.map_err(|malformed| refused(malformed.to_string()))?;
        let added = apply(hashes, &command)?;
        was_lost |= entry.part.is_some_and(|part| part.was_lost(added));
    }
    Ok(was_lost)
}

/// Carries a command out; how many fields it added.
fn apply(hashes: &mut BTreeMap<String, StoredHash>, command: &[&[u8]]) -> Result<i64, Error> {
    let mut added = 0;
    match command {
        [b"HSET", key, pairs @ ..] => {
            let hash = hashes.entry(text(key)).or_default();
            for pair in pairs.chunks_exact(2) {
                added += i64::from(hash.fields.insert(text(pair[0]), text(pair[1])).is_none());
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
        _ => return Err(refused(format!("unknown command {:?}", command.first().map(|name| text(name))))),
    }
    Ok(added)
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
    use crate::frame::StreamId;
    use crate::sink::Origin;

    const SHARD: Shard = Shard { stream: StreamId(0), partition: Some(1) };

    fn writes(entries: &[&[&[&[u8]]]]) -> Writes {
        let mut writes = Writes::default();
        for commands in entries {
            let start = writes.bytes.len();
            commands.iter().for_each(|parts| writes.bytes.extend(resp::command(parts)));
            let replies = u32::try_from(commands.len()).unwrap();
            writes.end_entry(start, replies, (start, start));
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
        let second = writes(&[&[&[b"HSET", b"a", b"x", b"3"], &[b"HDEL", b"a", b"y"]], &[&[b"DEL", b"b"]]]);
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

    /// A write of one hash by whoever has [`SHARD`].
    fn of_shard(value: &[u8]) -> Writes {
        let mut writes = writes(&[&[&[b"HSET", b"a", b"x", value]]]);
        writes.begin(Origin { shard: SHARD, as_of_ms: 0 });
        writes
    }

    #[test]
    fn a_shard_has_one_writer() {
        let store = MemoryStore::default();
        let (mut first, mut second) = (MemorySink::of(&store), MemorySink::of(&store));
        first.take_over(&[SHARD], Duration::ZERO).unwrap();
        assert_eq!(first.write(&of_shard(b"1")).unwrap().acknowledged, 1);
        second.take_over(&[SHARD], Duration::ZERO).unwrap();
        assert_eq!(second.write(&of_shard(b"2")).unwrap().acknowledged, 1);
        let written = first.write(&of_shard(b"3")).unwrap();
        assert_eq!((written.acknowledged, written.fenced, written.taken_over), (0, 1, vec![SHARD]));
        assert!(!written.store_changed);
        assert_eq!(store.hash("a").unwrap().fields["x"], "2");
        first.take_over(&[SHARD], Duration::ZERO).unwrap();
        assert_eq!(first.write(&of_shard(b"4")).unwrap().acknowledged, 1);
        assert_eq!(second.write(&of_shard(b"5")).unwrap().fenced, 1);
    }

    #[test]
    fn a_shard_belongs_to_whoever_was_given_it_last() {
        let store = MemoryStore::default();
        let (mut first, mut second) = (MemorySink::of(&store), MemorySink::of(&store));
        let seconds = Duration::from_secs;
        store.set_time(seconds(9));
        assert!(second.take_over(&[SHARD], seconds(2)).unwrap().is_empty());
        // It was given it before, and only comes to it now.
        assert_eq!(first.take_over(&[SHARD], seconds(5)).unwrap(), [SHARD]);
        assert_eq!(first.write(&of_shard(b"1")).unwrap().fenced, 1);
        assert_eq!(second.write(&of_shard(b"2")).unwrap().acknowledged, 1);
        // A loss does not change that.
        store.flush();
        store.set_time(seconds(20));
        first.give_up(&[SHARD]);
        assert!(first.take_over(&[SHARD], seconds(1)).unwrap().is_empty());
        assert_eq!(second.write(&of_shard(b"3")).unwrap().fenced, 1);
    }

    #[test]
    fn fences_tell_of_a_loss_at_a_store_that_goes_on() {
        let store = MemoryStore::default();
        let (mut old, mut sink) = (MemorySink::of(&store), MemorySink::of(&store));
        old.take_over(&[SHARD], Duration::ZERO).unwrap();
        let before = store.snapshot();
        sink.take_over(&[SHARD], Duration::ZERO).unwrap();
        assert!(!sink.write(&of_shard(b"1")).unwrap().store_changed);
        store.flush();
        // The one that was fenced may come first; the other has the higher epoch all the same.
        assert!(old.ping().unwrap().store_changed);
        assert!(sink.ping().unwrap().store_changed);
        assert!(!sink.ping().unwrap().store_changed);
        assert_eq!(old.write(&of_shard(b"0")).unwrap().fenced, 1);
        assert_eq!(sink.write(&of_shard(b"1")).unwrap().acknowledged, 1);
        store.go_back_to(before);
        assert!(sink.write(&of_shard(b"1")).unwrap().store_changed);
    }

    #[test]
    fn an_unknown_command_is_refused() {
        let error = MemorySink::default().write(&writes(&[&[&[b"FLUSHALL"]]])).unwrap_err();
        assert!(error.to_string().contains("FLUSHALL"), "{error}");
    }
}
