//! How far back the windows of the views reach, and from which of Kafka's
//! timestamps on their events stand in a partition: pure.
//!
//! ```text
//!  wanted          needed after                              clock at the commit
//!  ───┼── slack ────────┼──────────── longest window ───────────────┼──▶ time
//! ```
//! The slack is `max_future`, by which an event's time may be after its Kafka
//! timestamp, and what disorder is borne. With it, every event of the windows is
//! read again, and every event that raised the clock so far that one inside the
//! windows was too late: each is judged as it was the first time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::position::Metadata;
use crate::clock;
use crate::frame::PartitionId;
use crate::time::EventTime;
use crate::view::{FeatureView, Sharding, Streams};

/// What was committed of partitions.
pub type Committed = BTreeMap<PartitionId, Metadata>;

/// What the views need of the past.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The configured streams.
    pub streams: Arc<Streams>,
    /// The views.
    pub views: Vec<Arc<FeatureView>>,
    /// How much disorder is borne.
    pub clock: clock::Options,
}

impl Reach {
    /// The Kafka timestamp of the first event that may be needed to rebuild a
    /// partition's windows; `None` where its lead-in reaches back far enough.
    pub fn wanted(&self, id: PartitionId, committed: &Committed) -> Option<EventTime> {
        let own = committed.get(&id)?;
        // Without a clock nothing was accepted before the lead-in.
        let clock = own.clock()?;
        let needed_after = self.needed_after(id, committed)?;
        let covered = |span| clock.minus(span) <= needed_after;
        if own.coverage.is_some_and(|coverage| covered(coverage.span)) {
            return None;
        }
        let clock::Options { max_out_of_order, allowed_lateness, max_future, .. } = self.clock;
        let slack = max_future.plus(max_out_of_order).plus(allowed_lateness);
        Some(needed_after.min(clock).minus(slack))
    }

    /// Events of a partition up to this time mattered to no view when it was committed.
    fn needed_after(&self, id: PartitionId, committed: &Committed) -> Option<EventTime> {
        let stream = &self.streams.get(id.stream).name;
        let needed = self.views.iter().filter_map(|view| {
            let streams = view.streams();
            let is_single = matches!(view.sharding, Sharding::Single { .. });
            let is_of_shard = |other: &PartitionId| {
                let is_read = streams.contains(self.streams.get(other.stream).name.as_str());
                is_read && (is_single || other.partition == id.partition)
            };
            let shard = committed.iter().filter(|(other, _)| is_of_shard(other));
            let clock = shard.filter_map(|(_, metadata)| metadata.clock()).max()?;
            view.keep_after(stream, clock)
        });
        needed.min()
    }
}
