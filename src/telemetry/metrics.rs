//! Every metric, once: name, help, labels. A batch calls each method once.
//!
//! Labels are closed sets: streams and views are given at the start and named
//! by index afterwards, the rest are enums. Only the partitions that a process
//! holds come and go, and [`Metrics::forget_partition`] takes them out.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, Histogram, IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder};

use super::families::{
    about_the_process, counters, counters_by_two, gauge, gauges, histogram, histograms, lags, registered,
};
use super::labels::{
    BATCH_EVENTS_BUCKETS, EventStatus, FRESHNESS_BUCKETS, LATENCY_BUCKETS, LateAction, LossKind, PauseReason,
    RedisStatus, SkipReason, Stage,
};
use crate::frame::{PartitionId, Reason, StreamId};
use crate::time::Span;

/// All metrics of a process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    /// Name and topic of each stream.
    streams: Vec<(String, String)>,

    events: Vec<Vec<IntCounter>>,
    late: Vec<Vec<IntCounter>>,
    dead_letters: Vec<Vec<IntCounter>>,
    lost: Vec<Vec<IntCounter>>,
    made_anew: Vec<IntCounter>,
    window_events: Vec<IntGauge>,
    features: Vec<IntCounter>,
    freshness: Vec<Histogram>,
    state_bytes: Vec<IntGauge>,
    view_failures: Vec<IntCounter>,
    rows_skipped: Vec<Vec<IntCounter>>,
    warming: Vec<IntGauge>,
    redis_writes: Vec<IntCounter>,
    batch_seconds: Vec<Histogram>,
    key_mismatches: Vec<IntCounter>,
    processing_latency: Histogram,
    batch_events: Histogram,
    clock_lag: GaugeVec,
    consumer_lag: IntGaugeVec,
    checkpoint_age: Gauge,
    checkpoint_duration: Gauge,
    shards: IntGauge,
    reading_paused: Vec<IntGauge>,
}

impl Metrics {
    /// The metrics of these streams (name and topic, in the order of their
    /// [`StreamId`]s) and these views.
    #[expect(clippy::too_many_lines, reason = "a list: every metric, once")]
    pub fn new(streams: &[(&str, &str)], views: &[&str]) -> Self {
        let registry = Registry::new();
        let stream_names: Vec<&str> = streams.iter().map(|(name, _)| *name).collect();
        let (names, reasons) = (stream_names.as_slice(), Reason::ALL.map(Reason::label));
        let (clock_lag, consumer_lag) = lags(&registry);
        about_the_process(&registry);
        Self(Arc::new(Families {
            events: counters_by_two(
                &registry,
                "stream_events_processed_total",
                "Events taken from Kafka, by what became of them.",
                ["stream", "status"],
                names,
                &EventStatus::LABELS,
            ),
            late: counters_by_two(
                &registry,
                "stream_late_events_total",
                "Events older than the watermark.",
                ["stream", "action"],
                names,
                &LateAction::LABELS,
            ),
            dead_letters: counters_by_two(
                &registry,
                "stream_dead_letters_total",
                "Events that could not be used, by reason.",
                ["stream", "reason"],
                names,
                &reasons,
            ),
            lost: counters_by_two(
                &registry,
                "stream_events_lost_total",
                "Offsets that were wanted and that the topic does not hold any more.",
                ["stream", "kind"],
                names,
                &LossKind::LABELS,
            ),
            made_anew: counters(
                &registry,
                "stream_partitions_made_anew_total",
                "Partitions found to hold another log than the one read before.",
                "stream",
                names,
            ),
            window_events: gauges(
                &registry,
                "stream_window_events",
                "Events kept for windows.",
                "stream",
                names,
            ),
            key_mismatches: counters(
                &registry,
                "stream_key_mismatches_total",
                "Sampled events whose message key is not their key column.",
                "stream",
                names,
            ),
            features: counters(
                &registry,
                "stream_features_computed_total",
                "Feature values computed.",
                "view",
                views,
            ),
            freshness: histograms(
                &registry,
                "stream_freshness_seconds",
                "From the broker's acceptance of an event to Redis' acknowledgement of its features.",
                "view",
                views,
                &FRESHNESS_BUCKETS,
            ),
            state_bytes: gauges(
                &registry,
                "stream_state_bytes",
                "Memory held by a view's state.",
                "view",
                views,
            ),
            view_failures: counters(
                &registry,
                "stream_view_failures_total",
                "Events on which a view's SQL fails, so that they do not count in it.",
                "view",
                views,
            ),
            rows_skipped: counters_by_two(
                &registry,
                "stream_rows_skipped_total",
                "Rows of features that are not written, at each evaluation, by reason.",
                ["view", "reason"],
                views,
                &SkipReason::LABELS,
            ),
            warming: gauges(
                &registry,
                "stream_warming_seconds",
                "Event time until all windows of a view are complete; 0 when they are.",
                "view",
                views,
            ),
            redis_writes: counters(
                &registry,
                "redis_writes_total",
                "Entities written to Redis, by what became of the write.",
                "status",
                &RedisStatus::LABELS,
            ),
            batch_seconds: histograms(
                &registry,
                "stream_batch_seconds",
                "Time that a part of a batch took.",
                "stage",
                &Stage::LABELS,
                &LATENCY_BUCKETS,
            ),
            processing_latency: histogram(
                &registry,
                "stream_processing_latency_seconds",
                "From a worker's beginning with a batch to Redis' acknowledgement.",
                &LATENCY_BUCKETS,
            ),
            batch_events: histogram(
                &registry,
                "stream_batch_events",
                "Events in a batch.",
                &BATCH_EVENTS_BUCKETS,
            ),
            clock_lag,
            consumer_lag,
            checkpoint_age: gauge(
                &registry,
                "checkpoint_age_seconds",
                "Age of the newest checkpoint; 0 without checkpoints.",
            ),
            checkpoint_duration: gauge(
                &registry,
                "checkpoint_duration_seconds",
                "Time that the newest checkpoint took.",
            ),
            reading_paused: gauges(
                &registry,
                "stream_reading_paused",
                "Whether reading waits, by what for.",
                "reason",
                &PauseReason::LABELS,
            ),
            shards: registered(&registry, IntGauge::new("windrow_shards", "Shards that this process holds.")),
            streams: streams.iter().map(|(name, topic)| ((*name).to_owned(), (*topic).to_owned())).collect(),
            registry,
        }))
    }

    /// Counts events.
    pub fn events(&self, stream: StreamId, status: EventStatus, count: u64) {
        self.0.events[stream.index()][status as usize].inc_by(count);
    }

    /// Counts late events.
    pub fn late(&self, stream: StreamId, action: LateAction, count: u64) {
        self.0.late[stream.index()][action as usize].inc_by(count);
    }

    /// Counts dead letters.
    pub fn dead_letters(&self, stream: StreamId, reason: Reason, count: u64) {
        let index =
            Reason::ALL.iter().position(|known| *known == reason).expect("every reason is in Reason::ALL");
        self.0.dead_letters[stream.index()][index].inc_by(count);
    }

    /// Counts events that a topic does not hold any more.
    pub fn events_lost(&self, stream: StreamId, kind: LossKind, count: u64) {
        self.0.lost[stream.index()][kind as usize].inc_by(count);
    }

    /// Counts a partition whose log is another than before.
    pub fn made_anew(&self, stream: StreamId) {
        self.0.made_anew[stream.index()].inc();
    }

    /// Counts sampled events whose message key is not their key column.
    pub fn key_mismatches(&self, stream: StreamId, count: u64) {
        self.0.key_mismatches[stream.index()].inc_by(count);
    }

    /// Says how many events a stream's windows hold.
    pub fn window_events(&self, stream: StreamId, count: usize) {
        self.0.window_events[stream.index()].set(gauge_value(count));
    }

    /// Counts the feature values that were computed for the view with this index.
    pub fn features(&self, view: usize, count: u64) {
        self.0.features[view].inc_by(count);
    }

    /// Counts events on which a view's SQL fails.
    pub fn view_failures(&self, view: usize, count: u64) {
        self.0.view_failures[view].inc_by(count);
    }

    /// Counts rows of a view that are not written.
    pub fn rows_skipped(&self, view: usize, reason: SkipReason, count: u64) {
        self.0.rows_skipped[view][reason as usize].inc_by(count);
    }

    /// Records how fresh a view's features are: seconds, and of how many events.
    pub fn freshness(&self, view: usize, seconds: impl IntoIterator<Item = (f64, u64)>) {
        // Gathered aside and added at once, when it is dropped.
        let local = self.0.freshness[view].local();
        for (value, count) in seconds {
            for _ in 0..count {
                local.observe(value);
            }
        }
    }

    /// Says how much memory a view's state holds.
    pub fn state_bytes(&self, view: usize, bytes: usize) {
        self.0.state_bytes[view].set(gauge_value(bytes));
    }

    /// Says how long a view's clock has to go on until all of its windows are complete.
    pub fn warming(&self, view: usize, left: Span) {
        // A started second counts: it is 0 only when they are.
        self.0.warming[view].set(left.0.saturating_add(999_999) / 1_000_000);
    }

    /// Records the time from a batch's start to Redis' acknowledgement.
    pub fn processing_latency(&self, latency: Duration) {
        self.0.processing_latency.observe(latency.as_secs_f64());
    }

    /// Records how many events a batch had.
    pub fn batch_events(&self, count: u64) {
        // Exact below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^53 events")]
        self.0.batch_events.observe(count as f64);
    }

    /// Records how long a part of a batch took.
    pub fn batch_seconds(&self, stage: Stage, taken: Duration) {
        self.0.batch_seconds[stage as usize].observe(taken.as_secs_f64());
    }

    /// Counts writes to Redis.
    pub fn redis_writes(&self, status: RedisStatus, count: u64) {
        self.0.redis_writes[status as usize].inc_by(count);
    }

    /// Says how far a shard's clock is behind wall time.
    pub fn clock_lag(&self, partition: PartitionId, seconds: f64) {
        let (stream, _) = &self.0.streams[partition.stream.index()];
        self.0.clock_lag.with_label_values(&[stream.as_str(), &partition.partition.to_string()]).set(seconds);
    }

    /// Says how many events of a partition are not published yet.
    pub fn consumer_lag(&self, partition: PartitionId, events: i64) {
        let (_, topic) = &self.0.streams[partition.stream.index()];
        self.0
            .consumer_lag
            .with_label_values(&[topic.as_str(), &partition.partition.to_string()])
            .set(events);
    }

    /// Takes out what was said of a partition that this process gave up.
    pub fn forget_partition(&self, partition: PartitionId) {
        let (stream, topic) = &self.0.streams[partition.stream.index()];
        let number = partition.partition.to_string();
        // That nothing was said of it yet is no error.
        let _ = self.0.clock_lag.remove_label_values(&[stream.as_str(), &number]);
        let _ = self.0.consumer_lag.remove_label_values(&[topic.as_str(), &number]);
    }

    /// Says how many shards this process holds.
    pub fn shards(&self, count: usize) {
        self.0.shards.set(gauge_value(count));
    }

    /// Says what reading waits for.
    pub fn reading_paused(&self, reason: Option<PauseReason>) {
        for (index, gauge) in self.0.reading_paused.iter().enumerate() {
            gauge.set(i64::from(reason.is_some_and(|reason| reason as usize == index)));
        }
    }

    /// Says how old the newest checkpoint is.
    pub fn checkpoint_age(&self, age: Duration) {
        self.0.checkpoint_age.set(age.as_secs_f64());
    }

    /// Says how long the newest checkpoint took.
    pub fn checkpoint_duration(&self, taken: Duration) {
        self.0.checkpoint_duration.set(taken.as_secs_f64());
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written: a bug.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.registry.gather())
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(0);
    const PARTITION: PartitionId = PartitionId { stream: STREAM, partition: 3 };

    fn metrics() -> Metrics {
        Metrics::new(&[("clicks", "click.events")], &["clickstream"])
    }

    #[track_caller]
    fn check(metrics: &Metrics, line: &str) {
        let text = metrics.text().unwrap();
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }

    #[test]
    fn the_names_of_the_contract_are_there_before_anything_happens() {
        let metrics = metrics();
        metrics.clock_lag(PARTITION, 0.0);
        metrics.consumer_lag(PARTITION, 0);
        let text = metrics.text().unwrap();
        for name in "stream_events_processed_total stream_features_computed_total stream_processing_latency_seconds \
                     stream_freshness_seconds stream_late_events_total stream_window_events stream_state_bytes \
                     stream_dead_letters_total stream_clock_lag_seconds kafka_consumer_lag redis_writes_total \
                     checkpoint_age_seconds checkpoint_duration_seconds windrow_build_info windrow_shards \
                     process_resident_memory_bytes stream_batch_events stream_batch_seconds"
            .split_whitespace()
        {
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }

    #[test]
    fn what_is_counted_is_shown_under_its_labels() {
        let metrics = metrics();
        metrics.events(STREAM, EventStatus::LeadIn, 2);
        metrics.late(STREAM, LateAction::DeadLetter, 3);
        metrics.dead_letters(STREAM, Reason::TooLate, 3);
        metrics.events_lost(STREAM, LossKind::Unread, 4);
        metrics.made_anew(STREAM);
        metrics.features(0, 5);
        metrics.rows_skipped(0, SkipReason::RepeatedKey, 6);
        metrics.warming(0, Span::from_millis(1001));
        metrics.redis_writes(RedisStatus::Retried, 7);
        metrics.freshness(0, [(0.15, 2), (4.0, 1)]);
        metrics.batch_seconds(Stage::Publish, Duration::from_millis(2));
        check(&metrics, r#"stream_events_processed_total{status="lead_in",stream="clicks"} 2"#);
        check(&metrics, r#"stream_events_processed_total{status="processed",stream="clicks"} 0"#);
        check(&metrics, r#"stream_late_events_total{action="dead_letter",stream="clicks"} 3"#);
        check(&metrics, r#"stream_dead_letters_total{reason="too_late",stream="clicks"} 3"#);
        check(&metrics, r#"stream_events_lost_total{kind="unread",stream="clicks"} 4"#);
        check(&metrics, r#"stream_events_lost_total{kind="lead_in",stream="clicks"} 0"#);
        check(&metrics, r#"stream_partitions_made_anew_total{stream="clicks"} 1"#);
        check(&metrics, r#"stream_features_computed_total{view="clickstream"} 5"#);
        check(&metrics, r#"stream_rows_skipped_total{reason="repeated_key",view="clickstream"} 6"#);
        check(&metrics, r#"stream_warming_seconds{view="clickstream"} 2"#);
        check(&metrics, r#"redis_writes_total{status="retried"} 7"#);
        check(&metrics, r#"stream_freshness_seconds_bucket{view="clickstream",le="0.2"} 2"#);
        check(&metrics, r#"stream_freshness_seconds_count{view="clickstream"} 3"#);
        check(&metrics, r#"stream_batch_seconds_count{stage="publish"} 1"#);
        metrics.reading_paused(Some(PauseReason::Memory));
        check(&metrics, r#"stream_reading_paused{reason="memory"} 1"#);
        check(&metrics, r#"stream_reading_paused{reason="store"} 0"#);
        metrics.reading_paused(None);
        check(&metrics, r#"stream_reading_paused{reason="memory"} 0"#);
    }

    #[test]
    fn a_partition_that_was_given_up_is_forgotten() {
        let metrics = metrics();
        metrics.clock_lag(PARTITION, 1.5);
        metrics.consumer_lag(PARTITION, 4);
        check(&metrics, r#"stream_clock_lag_seconds{partition="3",stream="clicks"} 1.5"#);
        check(&metrics, r#"kafka_consumer_lag{partition="3",topic="click.events"} 4"#);
        metrics.forget_partition(PARTITION);
        metrics.forget_partition(PARTITION);
        assert!(!metrics.text().unwrap().contains("kafka_consumer_lag{"));
    }
}
