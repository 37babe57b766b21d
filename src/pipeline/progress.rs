//! How far a run is, for people.

use std::collections::BTreeMap;

use super::publication::Publication;
use crate::frame::{PartitionId, StreamId};
use crate::source::Assignment;
use crate::time::{EventTime, Span};

/// How far one partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    from: i64,
    publish_from: i64,
    delivered: i64,
    reached: i64,
    end: i64,
}

/// How far a run is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Events that counted.
    pub processed: u64,
    /// Events that could not be used.
    pub rejected: u64,
    /// Events read only to fill windows.
    pub lead_in: u64,
    /// Feature values computed.
    pub features: u64,
    /// The highest event time seen.
    pub event_time: Option<EventTime>,

    partitions: BTreeMap<PartitionId, Reach>,
    kept: BTreeMap<(StreamId, usize), usize>,
    views: BTreeMap<usize, Vec<(usize, usize)>>,
    entities: BTreeMap<usize, usize>,
    warming: BTreeMap<usize, Vec<Span>>,
}

impl Progress {
    pub(super) fn begin(&mut self, assignment: &Assignment) {
        let reach = Reach {
            from: assignment.read_from,
            publish_from: assignment.publish_from,
            delivered: assignment.read_from,
            reached: assignment.read_from,
            end: assignment.end,
        };
        self.partitions.insert(assignment.partition, reach);
    }

    pub(super) fn deliver(&mut self, partition: PartitionId, offset: i64) {
        if let Some(reach) = self.partitions.get_mut(&partition) {
            reach.delivered = reach.delivered.max(offset);
        }
    }

    pub(super) fn advance(&mut self, partition: PartitionId, offset: i64) {
        if let Some(reach) = self.partitions.get_mut(&partition) {
            reach.reached = reach.reached.max(offset);
        }
    }

    pub(super) fn forget(&mut self, partition: PartitionId) {
        self.partitions.remove(&partition);
    }

    pub(super) fn note(&mut self, worker: usize, report: &Publication) {
        self.kept.retain(|(_, known), _| *known != worker);
        for (stream, counts) in &report.streams {
            self.processed += counts.processed + counts.late;
            self.lead_in += counts.lead_in;
            self.kept.insert((*stream, worker), counts.kept);
        }
        self.rejected += report.letters.iter().map(|letters| letters.rejected.len() as u64).sum::<u64>();
        self.features += report.views.iter().map(|view| view.features).sum::<u64>();
        let newest = report.clocks.iter().filter_map(|(_, time)| *time).max();
        self.event_time = self.event_time.max(newest);
        self.views.insert(worker, report.views.iter().map(|view| (view.state_bytes, view.shards)).collect());
        self.warming.insert(worker, report.views.iter().map(|view| view.warms_for).collect());
        self.entities.insert(worker, report.views.iter().map(|view| view.entities).sum());
    }

    pub(super) fn kept(&self) -> Vec<(StreamId, usize)> {
        let mut sums: BTreeMap<StreamId, usize> = BTreeMap::new();
        for ((stream, _), kept) in &self.kept {
            *sums.entry(*stream).or_default() += kept;
        }
        sums.into_iter().collect()
    }

    pub(super) fn state_bytes(&self) -> Vec<usize> {
        let mut sums = Vec::new();
        for views in self.views.values() {
            sums.resize(sums.len().max(views.len()), 0);
            for (index, (bytes, _)) in views.iter().enumerate() {
                sums[index] += bytes;
            }
        }
        sums
    }

    /// By view, how long the clock of a shard has to go on until its windows are complete.
    pub(super) fn warming(&self) -> Vec<Span> {
        let mut longest = Vec::new();
        for views in self.warming.values() {
            longest.resize(longest.len().max(views.len()), Span::ZERO);
            for (known, span) in longest.iter_mut().zip(views) {
                *known = (*known).max(*span);
            }
        }
        longest
    }

    pub(super) fn shards(&self) -> usize {
        self.views.values().flatten().map(|(_, shards)| shards).sum()
    }

    /// Hashes that are kept up.
    pub fn entities(&self) -> usize {
        self.entities.values().sum()
    }

    /// Events kept for windows.
    pub fn events_kept(&self) -> usize {
        self.kept.values().sum()
    }

    /// Offsets done and to be done, over all partitions.
    pub fn offsets(&self) -> (i64, i64) {
        self.partitions.values().fold((0, 0), |(done, all), reach| {
            (done + (reach.reached.min(reach.end) - reach.from).max(0), all + (reach.end - reach.from).max(0))
        })
    }

    /// Offsets that are read only to fill windows.
    pub fn lead_in_offsets(&self) -> i64 {
        self.lead_in_read().1
    }

    /// Offsets read and to be read only to fill windows, over all partitions.
    pub fn lead_in_read(&self) -> (i64, i64) {
        self.partitions.values().fold((0, 0), |(done, all), reach| {
            let length = (reach.publish_from - reach.from).max(0);
            (done + (reach.delivered - reach.from).clamp(0, length), all + length)
        })
    }
}
