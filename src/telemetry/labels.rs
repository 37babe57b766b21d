//! The closed sets that metric labels come from, and the histograms' buckets.

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStatus {
    /// It counts, and was on time.
    Processed,
    /// It counts, and was late.
    Late,
    /// It had no value.
    Skipped,
    /// It became a dead letter.
    Rejected,
    /// It was read to fill windows before a replay's beginning.
    LeadIn,
}

impl EventStatus {
    pub(super) const LABELS: [&'static str; 5] = ["processed", "late", "skipped", "rejected", "lead_in"];
}

/// What became of a late event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateAction {
    /// It still counts.
    Accepted,
    /// It was too late.
    DeadLetter,
}

impl LateAction {
    pub(super) const LABELS: [&'static str; 2] = ["accepted", "dead_letter"];
}

/// What a topic did not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// Events that were never read.
    Unread,
    /// Events that count already, from which windows were to be rebuilt.
    LeadIn,
}

impl LossKind {
    pub(super) const LABELS: [&'static str; 2] = ["unread", "lead_in"];
}

/// What reading waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// The batch is full, and the store is not done with the last.
    Store,
    /// The process takes as much memory as it may.
    Memory,
}

impl PauseReason {
    pub(super) const LABELS: [&'static str; 2] = ["store", "memory"];
}

/// Why a row of features is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// Its key is NULL.
    NoKey,
    /// Another row of the same evaluation has its key.
    RepeatedKey,
}

impl SkipReason {
    pub(super) const LABELS: [&'static str; 2] = ["no_key", "repeated_key"];
}

/// What became of a write to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisStatus {
    /// Redis has it.
    Acknowledged,
    /// Redis will not have it.
    Refused,
    /// It is written again.
    Retried,
    /// Another process has taken its shard over, or Redis has a newer row.
    Fenced,
}

impl RedisStatus {
    pub(super) const LABELS: [&'static str; 4] = ["acknowledged", "refused", "retried", "fenced"];
}

/// A part of a turn of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Decoding, clock, state.
    Ingest,
    /// Rows of touched entities.
    Evaluate,
    /// Redis and dead letters.
    Publish,
}

impl Stage {
    pub(super) const LABELS: [&'static str; 3] = ["ingest", "evaluate", "publish"];
}

/// From a millisecond to what a batch may take when Redis is away.
pub(super) const LATENCY_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Freshness has a batch interval in it, and an outage of minutes.
pub(super) const FRESHNESS_BUCKETS: [f64; 23] = [
    0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0,
    10.0, 30.0, 60.0, 300.0,
];

/// Up to more than a batch has by default.
pub(super) const BATCH_EVENTS_BUCKETS: [f64; 11] =
    [1.0, 10.0, 100.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5];
