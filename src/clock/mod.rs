//! Which events count, and what time it is.
//!
//! Every partition has a clock: the highest event time among the events that it
//! has accepted. It decides, event by event in offset order, whether the next
//! one is on time, late or too late; so that decision is a pure function of the
//! partition's log. The clock of a shard is the highest of its partitions'.
//!
//! ```text
//!            too late          │        late         │      on time
//!  ────────────────────────────┼─────────────────────┼────────────────────┬──▶ event time
//!        watermark - allowed_lateness            watermark              clock
//!                                           = clock - max_out_of_order
//! ```

use arrow::array::{Array, BooleanArray, TimestampMicrosecondArray};

use crate::frame::Reason;
use crate::time::{EventTime, Span};

/// How much disorder is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How far behind the clock an event is still on time.
    pub max_out_of_order: Span,
    /// How much further behind it still counts.
    pub allowed_lateness: Span,
    /// How far an event may be ahead of its own Kafka timestamp.
    pub max_future: Span,
    /// How long a caught-up partition is silent before its clock runs on.
    pub idle_after: Span,
}

/// The clock of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionClock {
    time: Option<EventTime>,
}

/// What became of a batch of events.
#[derive(Debug)]
pub struct Accepted {
    /// Per row: whether it counts.
    pub mask: BooleanArray,
    /// Rows that do not, and why.
    pub rejected: Vec<(usize, Reason, String)>,
    /// How many were late and count.
    pub late: u64,
}

impl PartitionClock {
    /// A clock that has seen `time` already.
    pub const fn at(time: Option<EventTime>) -> Self {
        Self { time }
    }

    /// The highest event time seen.
    pub const fn time(self) -> Option<EventTime> {
        self.time
    }

    /// Takes events in offset order: `event_times` has no nulls, `timestamps`
    /// (Kafka's own) is null where the broker has none.
    pub fn accept(
        &mut self,
        options: &Options,
        event_times: &TimestampMicrosecondArray,
        timestamps: &TimestampMicrosecondArray,
    ) -> Accepted {
        let mut rejected = Vec::new();
        let mut late = 0;
        let mut clock = self.time.map_or(i64::MIN, EventTime::micros);
        let behind = options.max_out_of_order.0;
        let accept = |row: usize| {
            let time = event_times.value(row);
            if timestamps.is_valid(row) && time > timestamps.value(row).saturating_add(options.max_future.0) {
                let error = format!(
                    "its event time {} is more than {} after its Kafka timestamp {}",
                    EventTime(time),
                    options.max_future,
                    EventTime(timestamps.value(row)),
                );
                rejected.push((row, Reason::Future, error));
                return Some(false);
            }
            if clock != i64::MIN {
                let watermark = clock.saturating_sub(behind);
                if time < watermark.saturating_sub(options.allowed_lateness.0) {
                    let error = format!(
                        "its event time {} is older than the watermark {} by more than {}",
                        EventTime(time),
                        EventTime(watermark),
                        options.allowed_lateness,
                    );
                    rejected.push((row, Reason::TooLate, error));
                    return Some(false);
                }
                late += u64::from(time < watermark);
            }
            clock = clock.max(time);
            Some(true)
        };
        let mask: BooleanArray = (0..event_times.len()).map(accept).collect();
        if clock != i64::MIN {
            self.time = Some(EventTime(clock));
        }
        Accepted { mask, rejected, late }
    }
}

/// The silence of a partition, as its source reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Silence {
    /// Whether everything in the log has been read, and the clock may run on.
    pub caught_up: bool,
    /// Whether everything in the log has been read.
    pub drained: bool,
    /// How long ago the last event came (or the partition was assigned).
    pub since: Span,
}

/// What time it is for a shard: the highest of its partitions' clocks, run on
/// by the length of the silence when every partition is caught up and has been
/// silent for `idle_after`. `None` before the first event.
pub fn shard_now(
    options: &Options,
    partitions: impl IntoIterator<Item = (PartitionClock, Silence)>,
) -> Option<EventTime> {
    let mut highest: Option<EventTime> = None;
    let mut shortest = Span(i64::MAX);
    let mut idle = true;
    for (clock, silence) in partitions {
        highest = highest.max(clock.time());
        shortest = shortest.min(silence.since);
        idle &= silence.caught_up && silence.since >= options.idle_after;
    }
    highest.map(|time| if idle { time.plus(shortest) } else { time })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        max_out_of_order: Span::from_secs(5),
        allowed_lateness: Span::from_secs(60),
        max_future: Span::from_secs(300),
        idle_after: Span::from_secs(10),
    };

    fn seconds(times: &[i64]) -> TimestampMicrosecondArray {
        times.iter().map(|time| Some(time * 1_000_000)).collect()
    }

    #[track_caller]
    fn check(start: Option<i64>, times: &[i64], kafka: &[i64], accepted: &[bool], late: u64, clock: i64) {
        let start = PartitionClock::at(start.map(|time| EventTime(time * 1_000_000)));
        let mut whole = start;
        let got = whole.accept(&OPTIONS, &seconds(times), &seconds(kafka));
        assert_eq!(got.mask.iter().flatten().collect::<Vec<_>>(), accepted);
        assert_eq!((got.late, whole.time()), (late, Some(EventTime(clock * 1_000_000))));
        // The same events one at a time.
        let mut single = start;
        for row in 0..times.len() {
            let one = single.accept(&OPTIONS, &seconds(&times[row..=row]), &seconds(&kafka[row..=row]));
            assert_eq!(one.mask.value(0), accepted[row], "row {row}");
        }
        assert_eq!(single, whole);
    }

    #[test]
    fn on_time_late_and_too_late_by_the_second() {
        let kafka = [1000; 5];
        check(None, &[1000, 995, 994, 935, 934], &kafka, &[true, true, true, true, false], 2, 1000);
    }

    #[test]
    fn the_clock_is_decided_event_by_event() {
        check(Some(100), &[100, 300, 100], &[300; 3], &[true, true, false], 0, 300);
    }

    #[test]
    fn the_future_never_moves_the_clock() {
        check(Some(100), &[401, 400, 100], &[100, 100, 100], &[false, true, false], 0, 400);
    }

    #[test]
    fn a_silent_shard_runs_on_and_a_busy_or_lagging_one_does_not() {
        let clock = |time| PartitionClock::at(Some(EventTime(time)));
        let silence =
            |caught_up, seconds| Silence { caught_up, drained: caught_up, since: Span::from_secs(seconds) };
        let now = |partitions: Vec<(PartitionClock, Silence)>| {
            shard_now(&OPTIONS, partitions).map(EventTime::micros)
        };
        assert_eq!(now(vec![(clock(7), silence(true, 9))]), Some(7));
        assert_eq!(now(vec![(clock(7), silence(true, 10))]), Some(10_000_007));
        assert_eq!(now(vec![(clock(7), silence(false, 99))]), Some(7));
        assert_eq!(now(vec![(clock(7), silence(true, 99)), (clock(8), silence(true, 11))]), Some(11_000_008));
        assert_eq!(now(vec![(clock(7), silence(true, 99)), (clock(8), silence(true, 1))]), Some(8));
        assert_eq!(now(vec![(PartitionClock::default(), silence(true, 99))]), None);
    }
}
