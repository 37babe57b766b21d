//! Windows that are not complete: events before those that were read are
//! missing. While a shard's windows reach back to them its hashes have the field
//! `_warming`; when its clock has gone far enough, every one is written again
//! without.
//!
//! ```text
//!   missing   │ all events known                      complete
//!  ───────────┼───────────────────────────────────────────┼──▶ the shard's clock
//!           since ──────────── longest window ────────────┘
//! ```
//! Since when all are known goes with the partition's commits, until no hash
//! has the field any more: so a restart, or another process, goes on with it.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::{Partition, Shard, ShardId, Worker};
use crate::decode::reader::{EVENT_TIME, OFFSET};
use crate::frame::PartitionId;
use crate::sink::encode::Mark;
use crate::source::{Coverage, Past};
use crate::time::{EventTime, Span};

impl Partition {
    /// How far back its lead-in reaches.
    pub(super) fn coverage(&self) -> Coverage {
        let clock = self.clock.time();
        let span = match (clock, self.dropped_until) {
            (Some(clock), Some(until)) => Span(clock.micros().saturating_sub(until.micros()).max(0)),
            _ => Span::ZERO,
        };
        Coverage { clock, span, past: self.past }
    }

    /// Takes note of the first accepted event after events that are missing: by
    /// what the clock shows after it, and the disorder that is borne, all events
    /// from then on are known. `before` is the clock before these rows.
    pub(super) fn note_resumed(&mut self, before: Option<EventTime>, rows: &RecordBatch, disorder: Span) {
        let Some(resumes_at) = self.resumes_at else { return };
        let offsets = rows.column_by_name(OFFSET).expect("every stream's rows have their offset");
        let offsets = offsets.as_primitive::<Int64Type>().values();
        let Some(first) = offsets.iter().position(|offset| *offset >= resumes_at) else { return };
        let times = rows.column_by_name(EVENT_TIME).expect("every stream's rows have an event time");
        let times = &times.as_primitive::<TimestampMicrosecondType>().values()[..=first];
        let clock = before.max(times.iter().max().map(|time| EventTime(*time)));
        if let Some(clock) = clock {
            self.presume(clock, disorder);
            self.resumes_at = None;
        }
    }

    /// Events from this time on are all known, as far as is known.
    fn presume(&mut self, clock: EventTime, disorder: Span) {
        let since = clock.plus(disorder);
        self.past = match self.past {
            Past::Since(known) => Past::Since(known.max(since)),
            Past::Whole | Past::Unknown => Past::Since(since),
        };
    }
}

impl Shard {
    /// Whether its hashes are as the mark says, all of them.
    fn is_marked(&self) -> bool {
        !self.due && !self.is_sweeping() && !self.adopts
    }
}

impl Worker {
    /// Events of a partition before this offset are missing.
    pub fn note_gap(&mut self, id: PartitionId, offset: i64) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.resumes_at = partition.resumes_at.max(Some(offset));
        }
    }

    /// Looks whether a shard's windows are complete at `now`. When that changes,
    /// every hash is written again.
    pub(super) fn note_warming(&mut self, index: usize, id: ShardId, now: EventTime) {
        self.presume_silent(index, id);
        let until = self.complete_from(index, id);
        let shard = self.views[index].shards.get_mut(&id).expect("shards of the view are asked about");
        let mark = match until {
            Some(until) if now < until => Mark::Warming,
            None if shard.mark == Mark::Never => Mark::Never,
            _ => Mark::Ended,
        };
        let left = |until: EventTime| Span(until.micros().saturating_sub(now.micros()).max(0));
        shard.warms_for = until.map_or(Span::ZERO, left);
        if shard.mark == mark {
            return;
        }
        let was = std::mem::replace(&mut shard.mark, mark);
        shard.published.distrust();
        shard.begin_sweep();
        if mark == Mark::Warming {
            self.say_warming(index, id, now);
        } else if was == Mark::Warming {
            tracing::info!(
                view = self.views[index].view.name,
                shard = id,
                "windows are complete: hashes are written again, without `_warming`"
            );
        }
    }

    /// Partitions of which nothing has come: the clock of the others is taken.
    fn presume_silent(&mut self, index: usize, id: ShardId) {
        let streams = &self.views[index].streams;
        let is_unknown = |partition: &Partition| partition.past == Past::Unknown;
        let unknown: Vec<PartitionId> = self
            .partitions_of(streams, id)
            .filter(|(_, partition)| is_unknown(partition))
            .map(|(id, _)| id)
            .collect();
        if unknown.is_empty() {
            return;
        }
        let Some(clock) = self.event_clock(streams, id) else { return };
        for id in unknown {
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.presume(clock, self.options.max_out_of_order);
            }
        }
    }

    /// What a shard's clock has to show for all windows to be complete; `None`
    /// where nothing is missing.
    fn complete_from(&self, index: usize, id: ShardId) -> Option<EventTime> {
        let view = &self.views[index];
        // Without a window there is nothing that time could complete.
        if view.view.windows.is_empty() {
            return None;
        }
        let longest = view.view.longest_window();
        let known = self.partitions_of(&view.streams, id).filter_map(|(_, partition)| match partition.past {
            Past::Since(since) => Some(since.plus(longest)),
            Past::Whole | Past::Unknown => None,
        });
        known.max()
    }

    /// Says of each partition which windows of a view are not complete, and until when.
    fn say_warming(&self, index: usize, id: ShardId, now: EventTime) {
        let view = &self.views[index];
        let lengths: BTreeSet<Span> = view.view.windows.iter().map(|window| window.span()).collect();
        for (id, partition) in self.partitions_of(&view.streams, id) {
            let Past::Since(since) = partition.past else { continue };
            let open = lengths.iter().filter(|length| now < since.plus(**length));
            let open: Vec<String> =
                open.map(|length| format!("of {length} at {}", since.plus(*length))).collect();
            if !open.is_empty() {
                tracing::warn!(
                    "view `{}` over {}/{}: events are missing; windows complete: {}",
                    view.view.name,
                    self.streams.get(id.stream).topic,
                    id.partition,
                    open.join(", ")
                );
            }
        }
    }

    /// Forgets what was missing where no window reaches back to it and no hash
    /// says so any more. The partition's own clock counts, which never runs on
    /// by itself: what has passed by it has passed for good.
    pub(super) fn forget_gaps(&mut self) {
        for (id, partition) in &mut self.partitions {
            let (Past::Since(since), None, Some(clock)) =
                (partition.past, partition.resumes_at, partition.clock.time())
            else {
                continue;
            };
            let has_passed = self.views.iter().filter(|view| view.streams.contains(&id.stream)).all(|view| {
                let shard = view.shards.get(&view.shard_of(*id));
                let is_unmarked = |shard: &Shard| shard.mark == Mark::Ended && shard.is_marked();
                view.view.windows.is_empty()
                    || (clock >= since.plus(view.view.longest_window()) && shard.is_some_and(is_unmarked))
            });
            if has_passed {
                partition.past = Past::Whole;
            }
        }
    }
}
