//! Logs of the shipped streams: the oracle's structs as events of Kafka, and
//! which of them count.

use serde_json::{Value as Json, json};

use crate::oracle::clickstream::Click;
use crate::oracle::device::Device;
use crate::oracle::transaction::Transaction;
use crate::oracle::{Event, MINUTE, Rows, SECOND};
use crate::support::avro::WriterSchema;
use crate::support::client::{Client, Event as Message};

/// The defaults of the options of the same names.
const MAX_OUT_OF_ORDER: i64 = 5 * SECOND;
const ALLOWED_LATENESS: i64 = 60 * SECOND;
const MAX_FUTURE: i64 = 5 * MINUTE;

/// An event of a shipped stream.
pub trait Shipped: Event + Clone {
    /// The schema of the stream.
    const SCHEMA: &'static str;

    /// The message key.
    fn key(&self) -> &str;

    /// The event with all its fields.
    fn json(&self) -> Json;
}

/// An event in a topic.
#[derive(Debug, Clone)]
pub struct Logged<E> {
    /// Kafka's partition number.
    pub partition: i32,
    /// Kafka's timestamp.
    pub timestamp_ms: i64,
    /// What happened.
    pub event: E,
}

/// Events in partition 0, each accepted by the broker at its event time.
pub fn in_one_partition<E: Event>(events: Vec<E>) -> Vec<Logged<E>> {
    let logged = |event: E| Logged { partition: 0, timestamp_ms: event.event_time_ms(), event };
    events.into_iter().map(logged).collect()
}

/// Puts a log into a topic, in single-object encoding.
#[track_caller]
pub fn produce<E: Shipped>(client: &Client, topic: &str, log: &[Logged<E>]) {
    let schema = WriterSchema::parse(E::SCHEMA);
    let message = |logged: &Logged<E>| {
        let value = schema.single_object(&schema.body(&logged.event.json()));
        Message::new(logged.partition, logged.event.key(), value).at(logged.timestamp_ms)
    };
    client.produce(topic, &log.iter().map(message).collect::<Vec<_>>());
}

/// What becomes of a partition's events.
#[derive(Debug, Clone)]
pub struct Judged<E> {
    /// Those that count, in the order of the log.
    pub accepted: Vec<E>,
    /// Offsets and reasons of the others.
    pub rejected: Vec<(i64, &'static str)>,
    /// The highest event time that counts.
    pub clock: i64,
}

/// Decides event by event, in the order of the log.
pub fn judge<E: Event + Clone>(log: &[Logged<E>], partition: i32) -> Judged<E> {
    let mut judged = Judged { accepted: Vec::new(), rejected: Vec::new(), clock: i64::MIN };
    let own = log.iter().filter(|logged| logged.partition == partition);
    for (offset, logged) in (0..).zip(own) {
        let time = logged.event.event_time_ms();
        if time > logged.timestamp_ms + MAX_FUTURE {
            judged.rejected.push((offset, "future"));
        } else if time < judged.clock.saturating_sub(MAX_OUT_OF_ORDER).saturating_sub(ALLOWED_LATENESS) {
            judged.rejected.push((offset, "too_late"));
        } else {
            judged.clock = judged.clock.max(time);
            judged.accepted.push(logged.event.clone());
        }
    }
    judged
}

/// The rows of a view over all partitions, each with a clock of its own.
pub fn expected<E: Event + Clone>(
    log: &[Logged<E>],
    partitions: i32,
    view: impl Fn(&[E], i64) -> Rows,
) -> Rows {
    let rows = |partition| {
        let judged = judge(log, partition);
        view(&judged.accepted, judged.clock)
    };
    (0..partitions).flat_map(rows).collect()
}

/// Partition, offset and reason of every event that does not count.
pub fn rejected<E: Event + Clone>(log: &[Logged<E>], partitions: i32) -> Vec<(i32, i64, String)> {
    let of = |partition| {
        let judged = judge(log, partition);
        judged.rejected.into_iter().map(move |(offset, reason)| (partition, offset, reason.to_owned()))
    };
    (0..partitions).flat_map(of).collect()
}

impl Shipped for Transaction {
    const SCHEMA: &'static str = include_str!("../../../schemas/transactions.v2.avsc");

    fn key(&self) -> &str {
        &self.card_id
    }

    fn json(&self) -> Json {
        json!({
            "txn_id": format!("t{}", self.offset),
            "card_id": self.card_id,
            "user_id": "user",
            "amount": self.amount,
            "currency": "CHF",
            "mcc": self.mcc,
            "device_id": self.device_id,
            "ip_address": self.ip_address,
            "geo_country": self.geo_country,
            "geo_city": self.geo_city,
            "geo_lat": 52.5,
            "timestamp": self.event_time_ms,
            "metadata": {"channel": "web"},
            "merchant_name": "Corner shop",
            "risk_score": 0.25,
            "payment_method": "WALLET",
            "is_fraud": true,
        })
    }
}

impl Shipped for Click {
    const SCHEMA: &'static str = include_str!("../../../schemas/clicks.v1.avsc");

    fn key(&self) -> &str {
        &self.user_id
    }

    fn json(&self) -> Json {
        json!({
            "event_id": format!("c{}", self.offset),
            "user_id": self.user_id,
            "session_id": self.session_id,
            "page_url": "/somewhere",
            "page_type": self.page_type,
            "category_id": self.category_id,
            "action_type": self.action_type,
            "device_id": "device",
            "ip_address": "10.0.0.1",
            "dwell_time_ms": self.dwell_time_ms,
            "scroll_depth": self.scroll_depth,
            "timestamp": self.event_time_ms,
            "experiment_ids": ["new-cart", "blue"],
        })
    }
}

impl Shipped for Device {
    const SCHEMA: &'static str = include_str!("../../../schemas/devices.v1.avsc");

    fn key(&self) -> &str {
        &self.device_id
    }

    fn json(&self) -> Json {
        json!({
            "device_id": self.device_id,
            "user_agent": "Mozilla/5.0",
            "screen_resolution": "1920x1080",
            "timezone": self.timezone,
            "language": "de-CH",
            "ip_address": self.ip_address,
            "timestamp": self.event_time_ms,
        })
    }
}
