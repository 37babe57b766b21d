//! Nothing is published before what may be published already. A process that
//! ended between publishing and committing leaves rows of events that its
//! successor reads again, cut into other batches: what the store has is newer
//! than what the successor would write, until it has read as far. So long it
//! takes events in, and no more.
//!
//! ```text
//!  publish_from ──── perhaps published ──── hold_until ──▶ offset
//!                    taken in, no row       everybody touched since is evaluated:
//!                                           who has no row may have a hash, and is deleted
//! ```
//! A shard waits for all of its partitions, and so do their commits: what one of
//! them has read meanwhile is in no row yet.

use super::{Partition, ShardId, Worker};
use crate::clock::Silence;
use crate::frame::{PartitionId, StreamId};
use crate::time::EventTime;

impl Partition {
    /// Whether everything has been read that was published before.
    pub(super) const fn is_warm(&self) -> bool {
        self.position >= self.publish_from
    }

    /// Whether everything has been read that may have been published before.
    const fn publishes(&self) -> bool {
        self.is_warm() && self.position >= self.hold_until
    }

    /// Whether events have been read that were not published before, as far as is known.
    const fn is_ahead(&self) -> bool {
        self.position > self.publish_from
    }
}

impl Worker {
    /// Whether all partitions of a shard have been read up to what was published before.
    pub(super) fn is_warm(&self, streams: &[StreamId], shard: ShardId) -> bool {
        self.partitions_of(streams, shard).all(|(_, partition)| partition.is_warm())
    }

    /// Whether a shard's rows may be published.
    pub(super) fn publishes(&self, streams: &[StreamId], shard: ShardId) -> bool {
        self.partitions_of(streams, shard).all(|(_, partition)| partition.publishes())
    }

    /// Whether one of a shard's partitions has been read beyond what was published before.
    pub(super) fn is_ahead(&self, streams: &[StreamId], shard: ShardId) -> bool {
        self.partitions_of(streams, shard).any(|(_, partition)| partition.is_ahead())
    }

    /// Whether what was read of a partition is in every shard's rows that it belongs to.
    pub(super) fn is_published(&self, id: PartitionId) -> bool {
        let mut views = self.views.iter().filter(|view| view.streams.contains(&id.stream));
        self.partitions.get(&id).is_some_and(Partition::publishes)
            && views.all(|view| self.publishes(&view.streams, view.shard_of(id)))
    }

    /// The clock of a shard when it was last published, as far as its
    /// partitions have been read up to there: some may be further than others.
    pub(super) fn published_clock(&self, streams: &[StreamId], shard: ShardId) -> Option<EventTime> {
        let clock = |partition: &Partition| {
            if partition.is_warm() { partition.clock_then } else { partition.clock.time() }
        };
        self.partitions_of(streams, shard).filter_map(|(_, partition)| clock(partition)).max()
    }

    /// At the end of its log a partition has nothing left that was or could have
    /// been published before, though the last offsets may hold no events.
    pub(super) fn end_holding(&mut self, silences: &[(PartitionId, Silence)]) {
        for (id, _) in silences.iter().filter(|(_, silence)| silence.drained) {
            let Some(partition) = self.partitions.get_mut(id) else { continue };
            if !partition.is_warm() {
                partition.position = partition.publish_from;
                partition.clock_then = partition.clock.time();
            }
            partition.hold_until = partition.hold_until.min(partition.position);
        }
    }
}
