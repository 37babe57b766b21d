//! The simulated brokers: how far the log is, what is committed, by whom it may
//! be, and who is to have which partition.

use std::collections::BTreeMap;

use windrow::frame::PartitionId;
use windrow::source::position::{self, Facts, Start};
use windrow::source::reach::{Committed, Reach};
use windrow::source::{Assignment, Commit, Past};
use windrow::time::EventTime;

use super::watch::Watch;
use crate::worker::log::Entry;
use crate::worker::run::partition;

/// The log, and a group of processes that read it, known by their slots.
pub struct Group {
    log: Vec<Entry>,
    partitions: i32,
    reach: Reach,

    /// The offset after the newest event of each partition.
    highs: BTreeMap<PartitionId, i64>,
    generation: u64,
    committed: BTreeMap<PartitionId, (i64, String)>,
}

/// The group has another generation than the one who commits.
#[derive(Debug)]
pub struct Refused;

impl Group {
    pub fn new(log: Vec<Entry>, partitions: i32, reach: Reach) -> Self {
        let (highs, committed) = (BTreeMap::new(), BTreeMap::new());
        Self { log, partitions, reach, highs, generation: 0, committed }
    }

    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions).map(partition)
    }

    /// The offset after the newest event of a partition.
    pub fn high(&self, id: PartitionId) -> i64 {
        self.highs.get(&id).copied().unwrap_or(0)
    }

    fn entries(&self, id: PartitionId) -> impl Iterator<Item = &Entry> {
        self.log.iter().filter(move |entry| entry.partition == id.partition)
    }

    /// A partition's next events arrive, at most so many.
    pub fn produce(&mut self, id: PartitionId, at_most: usize) {
        let high = self.high(id);
        let last = self.entries(id).filter(|entry| entry.offset >= high).take(at_most).last();
        if let Some(next) = last.map(|entry| entry.offset + 1) {
            self.highs.insert(id, next);
        }
    }

    /// How many events there are from an offset on.
    pub fn waiting(&self, id: PartitionId, from: i64) -> usize {
        let high = self.high(id);
        self.entries(id).filter(|entry| (from..high).contains(&entry.offset)).count()
    }

    /// Whether all that there will ever be is committed.
    pub fn is_done(&self) -> bool {
        let end = |id: PartitionId| self.entries(id).last().map_or(0, |entry| entry.offset + 1);
        self.partitions().all(|id| self.offset(id).unwrap_or(0) == end(id))
    }

    /// Every partition with the slot of its next owner.
    pub fn spread(&self, members: &[usize], shift: usize) -> BTreeMap<PartitionId, usize> {
        let owner = |id: PartitionId| {
            members.get((usize::try_from(id.partition).unwrap() + shift) % members.len().max(1)).copied()
        };
        self.partitions().filter_map(|id| Some((id, owner(id)?))).collect()
    }

    /// A rebalance is done: commits of all before it are refused from now on.
    pub const fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Commits, all or nothing.
    pub fn commit(
        &mut self,
        generation: Option<u64>,
        commits: &[Commit],
        watch: &mut Watch,
    ) -> Result<(), Refused> {
        if generation != Some(self.generation) {
            return Err(Refused);
        }
        for commit in commits {
            watch.committed(commit.partition, self.offset(commit.partition), commit.offset);
            self.committed.insert(commit.partition, (commit.offset, position::metadata(commit)));
        }
        Ok(())
    }

    /// The committed offset.
    pub fn offset(&self, id: PartitionId) -> Option<i64> {
        self.committed.get(&id).map(|(offset, _)| *offset)
    }

    /// Where partitions begin for whoever gets them.
    pub fn begin(&self, ids: &[PartitionId]) -> Vec<Assignment> {
        let metadata = |id: &PartitionId| {
            self.committed.get(id).and_then(|(_, metadata)| position::parse_metadata(metadata))
        };
        let known: Committed = ids.iter().filter_map(|id| Some((*id, metadata(id)?))).collect();
        let begin = |id: &PartitionId| {
            let own = known.get(id);
            let coverage = own.and_then(|metadata| metadata.coverage);
            let facts = Facts {
                partition: *id,
                low: 0,
                high: self.high(*id),
                committed: self.offset(*id),
                lead_in: own.map(|metadata| metadata.lead_in),
                past: coverage.map_or(Past::Whole, |coverage| coverage.past),
                wanted: self.reach.wanted(*id, &known).and_then(|time| self.at_time(*id, time)),
            };
            position::decide(Start::Committed, &facts).assignment
        };
        ids.iter().map(begin).collect()
    }

    /// The first offset whose timestamp is not before a time.
    fn at_time(&self, id: PartitionId, time: EventTime) -> Option<i64> {
        let high = self.high(id);
        let mut there = self.entries(id).filter(|entry| entry.offset < high);
        there.find(|entry| entry.timestamp_ms >= time.millis()).map(|entry| entry.offset)
    }
}
