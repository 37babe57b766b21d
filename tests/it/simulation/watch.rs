//! What must hold at every step, whatever happens: a breach is noted and the
//! simulation goes on, so that a run shows all of them.

use std::collections::BTreeMap;

use windrow::frame::PartitionId;
use windrow::sink::Writes;
use windrow::sink::encode::AS_OF;
use windrow::sink::fence::Shard;
use windrow::sink::memory::MemoryStore;

/// Something that must not be.
#[derive(Debug, Clone)]
pub struct Breach {
    /// Which rule, for counting.
    pub rule: &'static str,
    /// What it was.
    pub detail: String,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    pub breaches: Vec<Breach>,
    /// By partition, up to where the store has everything.
    acknowledged: BTreeMap<PartitionId, i64>,
    /// The process that took a shard over last, since the store lost its fences.
    owners: BTreeMap<Shard, usize>,
    /// By hash, its as-of time when it was seen last.
    as_of_ms: BTreeMap<String, i64>,
}

impl Watch {
    pub fn breach(&mut self, rule: &'static str, detail: String) {
        self.breaches.push(Breach { rule, detail });
    }

    /// A process took shards over.
    pub fn taken(&mut self, process: usize, shards: &[Shard]) {
        self.owners.extend(shards.iter().map(|shard| (*shard, process)));
    }

    /// So many entries at least must not be written: another process has their shards.
    pub fn foreign(&self, process: usize, writes: &Writes) -> u64 {
        let is_foreign = |shard: &Shard| self.owners.get(shard).is_some_and(|owner| *owner != process);
        let origins = writes.entries.iter().filter_map(|entry| writes.origin(*entry));
        origins.filter(|origin| is_foreign(&origin.shard)).count() as u64
    }

    /// A store said that everything before an offset is in it; `high` is the log's end.
    pub fn acknowledged(&mut self, id: PartitionId, offset: i64, high: i64) {
        if offset > high {
            self.breach("acknowledged <= ingested", format!("{id}: {offset} of {high}"));
        }
        let known = self.acknowledged.entry(id).or_insert(offset);
        *known = (*known).max(offset);
    }

    /// The group took a commit.
    pub fn committed(&mut self, id: PartitionId, before: Option<i64>, offset: i64) {
        let acknowledged = self.acknowledged.get(&id).copied();
        if acknowledged.is_none_or(|acknowledged| offset > acknowledged) {
            self.breach("committed <= acknowledged", format!("{id}: {offset} of {acknowledged:?}"));
        }
        if before.is_some_and(|before| offset < before) {
            self.breach("committed offsets never go back", format!("{id}: {before:?}, then {offset}"));
        }
    }

    /// Something was written.
    pub fn written(&mut self, process: usize, store: &MemoryStore) {
        let now = as_of_ms(store);
        for (key, as_of_ms) in &now {
            if let Some(before) = self.as_of_ms.get(key).filter(|before| *before > as_of_ms) {
                let detail = format!("{key}: as of {before}, then {as_of_ms}, by process {process}");
                self.breaches.push(Breach { rule: "nothing older overwrites what is newer", detail });
            }
        }
        self.as_of_ms = now;
    }

    /// The store itself is another than before.
    pub fn store_changed(&mut self, store: &MemoryStore) {
        self.owners.clear();
        self.as_of_ms = as_of_ms(store);
    }
}

fn as_of_ms(store: &MemoryStore) -> BTreeMap<String, i64> {
    let as_of_ms = |fields: &BTreeMap<String, String>| fields.get(AS_OF)?.parse::<i64>().ok();
    store.hashes().into_iter().filter_map(|(key, hash)| Some((key, as_of_ms(&hash.fields)?))).collect()
}
