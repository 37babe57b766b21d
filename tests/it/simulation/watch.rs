//! What must hold at every step, whatever happens: a breach is noted and the
//! simulation goes on, so that a run shows all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use windrow::frame::PartitionId;
use windrow::pipeline::publication::Publication;
use windrow::sink::Writes;
use windrow::sink::encode::AS_OF;
use windrow::sink::fence::Shard;
use windrow::sink::memory::MemoryStore;
use windrow::source::Commit;

/// Something that must not be.
#[derive(Debug, Clone)]
pub struct Breach {
    /// Which rule, for counting.
    pub rule: &'static str,
    /// What it was.
    pub detail: String,
}

/// One giving of a partition.
#[derive(Debug, Clone, Copy)]
struct Given {
    process: usize,
    at: Instant,
    /// The log's end then: up to there the process publishes nothing.
    high: i64,
    committed: i64,
}

/// How far partitions had been read.
type Read = Vec<(PartitionId, i64)>;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    pub breaches: Vec<Breach>,
    /// By partition, up to where the store has everything.
    acknowledged: BTreeMap<PartitionId, i64>,
    /// The process that took a shard over last, since the store lost its fences.
    owners: BTreeMap<Shard, usize>,
    /// When the group had given a shard to a process that took it over, whatever the store lost since.
    held: BTreeMap<(Shard, usize), Instant>,
    /// By hash, its as-of time when it was seen last.
    as_of_ms: BTreeMap<String, i64>,
    /// By partition, who was given it, one after the other.
    given: BTreeMap<PartitionId, Vec<Given>>,
    /// Hashes with their as-of times that a process wrote which the group had cut off, from
    /// events after the end of the log when another was given the partition.
    ahead: BTreeMap<(String, i64), usize>,
    /// By hash, the events that it was written from.
    rows: BTreeMap<String, Read>,
    /// Hashes that were written from events not committed when the next process was given the partition.
    left: BTreeSet<String>,
    /// By hash that was deleted, who knows of it.
    deleted: BTreeMap<String, Deleted>,
    /// By object of a checkpoint, the hashes that whoever goes on from there knows to be deleted.
    saved: BTreeMap<String, BTreeSet<String>>,
}

/// Who knows that a hash was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deleted {
    process: usize,
    shard: Shard,
    /// How often the shard's partitions had been given then.
    givings: usize,
}

impl Watch {
    pub fn breach(&mut self, rule: &'static str, detail: String) {
        self.breaches.push(Breach { rule, detail });
    }

    /// A process is given a partition.
    pub fn given(&mut self, process: usize, at: Instant, id: PartitionId, high: i64, committed: Option<i64>) {
        let committed = committed.unwrap_or(0);
        self.given.entry(id).or_default().push(Given { process, at, high, committed });
        let is_left = |read: &Read| read.iter().any(|(of, offset)| *of == id && *offset > committed);
        let left = self.rows.iter().filter(|(_, read)| is_left(read)).map(|(key, _)| key.clone());
        self.left.extend(left);
    }

    /// How often a shard's partitions were given.
    fn givings(&self, shard: Shard) -> usize {
        let of_shard = self.given.iter().filter(|(id, _)| is_of(shard, **id));
        of_shard.map(|(_, given)| given.len()).sum()
    }

    /// Whether the process that deleted a hash, or was told so by a checkpoint, has its shard still.
    pub fn remembers(&self, key: &str) -> bool {
        self.deleted.get(key).is_some_and(|deleted| self.has_its_shard(deleted))
    }

    fn has_its_shard(&self, deleted: &Deleted) -> bool {
        self.givings(deleted.shard) == deleted.givings
    }

    /// What a process that saves a partition now has to tell its successor.
    pub fn remembered(&self, process: usize, id: PartitionId) -> BTreeSet<String> {
        let is_its = |deleted: &Deleted| deleted.process == process && is_of(deleted.shard, id);
        let known = self.deleted.iter().filter(|(_, deleted)| is_its(deleted) && self.has_its_shard(deleted));
        known.map(|(key, _)| key.clone()).collect()
    }

    /// That was saved, up to an object.
    pub fn saved(&mut self, object: &str, deleted: BTreeSet<String>) {
        self.saved.insert(object.to_owned(), deleted);
    }

    /// A process goes on from there; how many hashes it knows to be deleted that it did not delete.
    pub fn restored(&mut self, process: usize, object: &str) -> usize {
        let mut told = 0;
        for key in self.saved.get(object).into_iter().flatten() {
            let Some(Deleted { shard, .. }) = self.deleted.get(key).copied() else { continue };
            let givings = self.givings(shard);
            self.deleted.insert(key.clone(), Deleted { process, shard, givings });
            told += 1;
        }
        told
    }

    /// Who was given a partition after this process, which writes as of a giving of its own.
    fn successor(&self, process: usize, given_at: Instant, id: PartitionId) -> Option<Given> {
        let given = self.given.get(&id)?;
        let last = given.iter().rposition(|given| given.process == process && given.at <= given_at)?;
        given.get(last + 1).copied()
    }

    /// Whether nobody who came later can know of a hash: it was written from events not committed.
    pub fn is_left(&self, key: &str) -> bool {
        self.left.contains(key)
    }

    /// A process took shards over that the group had given to it then.
    pub fn taken(&mut self, process: usize, shards: &[Shard], given_at: Instant) {
        self.owners.extend(shards.iter().map(|shard| (*shard, process)));
        self.held.extend(shards.iter().map(|shard| ((*shard, process), given_at)));
    }

    /// Whether a process holds a shard that the group gave to it later than to another. Where the
    /// store has lost its fence, the other may take the shard over late: ADR 0011.
    fn is_later(&self, shard: Shard, process: usize, other: usize) -> bool {
        self.held.get(&(shard, process)) > self.held.get(&(shard, other))
    }

    /// So many entries at least must not be written: another process has their shards.
    pub fn foreign(&self, process: usize, writes: &Writes) -> u64 {
        let is_foreign = |shard: &Shard| {
            let owner = self.owners.get(shard).copied().filter(|owner| *owner != process);
            owner.is_some_and(|owner| !self.is_later(*shard, process, owner))
        };
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

    /// A publication was written, or a part of it, but for the shards that are fenced.
    pub fn written(
        &mut self,
        process: usize,
        publication: &Publication,
        writes: &Writes,
        fenced: &[Shard],
        store: &MemoryStore,
    ) {
        let now = as_of_ms(store);
        for (key, as_of_ms) in &now {
            let Some(before) = self.as_of_ms.get(key).copied().filter(|before| before > as_of_ms) else {
                continue;
            };
            // What ADR 0014 says remains: a process that is cut off from its group alone goes on
            // reading, and its successor has yet to read as far.
            if self.ahead.get(&(key.clone(), before)).is_some_and(|ahead| *ahead != process) {
                continue;
            }
            let detail = format!("{key}: as of {before}, then {as_of_ms}, by process {process}");
            self.breaches.push(Breach { rule: "nothing older overwrites what is newer", detail });
        }
        for entry in &writes.entries {
            let Some(shard) = writes.origin(*entry).map(|origin| origin.shard) else { continue };
            if fenced.contains(&shard) {
                continue;
            }
            if self.owners.get(&shard).is_some_and(|owner| self.is_later(shard, process, *owner)) {
                self.owners.insert(shard, process);
            }
            let key = String::from_utf8_lossy(writes.key(*entry)).into_owned();
            if now.contains_key(&key) {
                self.deleted.remove(&key);
            } else {
                let givings = self.givings(shard);
                self.deleted.insert(key.clone(), Deleted { process, shard, givings });
            }
            self.note(process, publication.given_at, key, read(&publication.commits, shard), &now);
        }
        self.as_of_ms = now;
    }

    /// Takes note of who wrote a hash, and from which events.
    fn note(
        &mut self,
        process: usize,
        given_at: Instant,
        key: String,
        read: Read,
        now: &BTreeMap<String, i64>,
    ) {
        self.left.remove(&key);
        let Some(as_of_ms) = now.get(&key) else {
            self.rows.remove(&key);
            return;
        };
        let next =
            |(id, offset): &(PartitionId, i64)| Some((*offset, self.successor(process, given_at, *id)?));
        let successors: Vec<(i64, Given)> = read.iter().filter_map(next).collect();
        let is_ahead = successors.iter().any(|(offset, next)| *offset > next.high);
        let is_left = successors.iter().any(|(offset, next)| *offset > next.committed);
        if is_ahead {
            self.ahead.insert((key.clone(), *as_of_ms), process);
        }
        if is_left {
            self.left.insert(key.clone());
        }
        self.rows.insert(key, read);
    }

    /// The store itself is another than before.
    pub fn store_changed(&mut self, store: &MemoryStore) {
        self.owners.clear();
        self.as_of_ms = as_of_ms(store);
    }
}

/// How far a shard's partitions had been read.
fn read(commits: &[Commit], shard: Shard) -> Read {
    let of_shard = commits.iter().filter(|commit| is_of(shard, commit.partition));
    of_shard.map(|commit| (commit.partition, commit.offset)).collect()
}

fn is_of(shard: Shard, id: PartitionId) -> bool {
    shard.partition.is_none_or(|number| number == id.partition)
}

fn as_of_ms(store: &MemoryStore) -> BTreeMap<String, i64> {
    let as_of_ms = |fields: &BTreeMap<String, String>| fields.get(AS_OF)?.parse::<i64>().ok();
    store.hashes().into_iter().filter_map(|(key, hash)| Some((key, as_of_ms(&hash.fields)?))).collect()
}
