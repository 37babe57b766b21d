//! What comes in: framings, schemas and their versions, event times, and events
//! that cannot be used; each through a real broker, seen by a small view.

mod counted;
mod dead_letters;
mod event_time;
mod framing;
pub mod job;
mod registry;

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use crate::support::avro::WriterSchema;
use job::Job;

const V1: &str = include_str!("../../schemas/transactions.v1.avsc");
const V2: &str = include_str!("../../schemas/transactions.v2.avsc");

/// What is seen of a card's transactions; every column is of both versions.
const SEEN: &str = "-- entity: card
-- key: card_id
SELECT
  card_id,
  count(*) AS events,
  sum(amount) AS amount,
  max(currency) AS currency
FROM transactions
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY card_id
";

/// A writer of transactions of the first version.
fn v1() -> WriterSchema {
    WriterSchema::parse(V1)
}

/// A writer of transactions of the second version.
fn v2() -> WriterSchema {
    WriterSchema::parse(V2)
}

/// A transaction that both versions can write.
fn transaction(card: &str, amount: f64, time_ms: i64) -> Json {
    json!({
        "txn_id": "t1",
        "card_id": card,
        "user_id": "user",
        "amount": amount,
        "currency": "EUR",
        "mcc": "5812",
        "device_id": "device",
        "ip_address": "10.0.0.1",
        "timestamp": time_ms,
    })
}

/// A transaction in single-object encoding, second version.
fn framed(card: &str, amount: f64, time_ms: i64) -> Vec<u8> {
    let schema = v2();
    schema.single_object(&schema.body(&transaction(card, amount, time_ms)))
}

/// What the view `seen` says of a card.
#[track_caller]
fn seen(job: &Job, card: &str) -> HashMap<String, String> {
    job.redis.hgetall(&format!("features:card:{card}:seen"))
}

/// How many events of a card the view `seen` counts.
#[track_caller]
fn events_seen(job: &Job, card: &str) -> Option<String> {
    seen(job, card).remove("events")
}
