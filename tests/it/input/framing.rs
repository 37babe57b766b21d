//! Framings, and both versions of a schema under both of them as reader.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::job::Job;
use super::{SEEN, V1, V2, seen, transaction, v1, v2};
use crate::oracle::Value::{self, Bool, Float, Int, Null, Text};
use crate::oracle::{SECOND, assert_hash};
use crate::support::avro::confluent;
use crate::support::client::Event;
use crate::support::registry::Registry;
use crate::worked::MIDNIGHT;

/// What a card's transactions of the second version say of their merchant.
const MERCHANTS: &str = "-- entity: card
-- key: card_id
SELECT
  card_id,
  count(*) AS events,
  sum(amount) AS amount,
  max(merchant_name) AS merchant,
  max(payment_method) AS payment_method,
  bool_or(is_fraud) AS is_fraud
FROM transactions
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY card_id
";

/// A transaction that only the second version can write.
fn with_merchant(card: &str, amount: f64, time_ms: i64, merchant: &str) -> Json {
    let mut event = transaction(card, amount, time_ms);
    event["currency"] = json!("CHF");
    event["merchant_name"] = json!(merchant);
    event["payment_method"] = json!("WALLET");
    event["is_fraud"] = json!(true);
    event
}

/// A writer's events have a card of their own, which has its name.
fn event(writer: &str, value: Vec<u8>, time_ms: i64) -> Event {
    Event::new(0, writer, value).at(time_ms)
}

fn text(text: &str) -> Value {
    Text(text.to_owned())
}

#[test]
fn writers_alternate_within_a_batch() {
    let registry = Registry::start();
    let (id_1, id_2) = (registry.register("a-value", V1), registry.register("a-value", V2));
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.configure(&format!("[schema_registry]\nurl = \"{}\"", registry.url()));
    job.view("merchants", MERCHANTS);

    let (one, two) = (v1(), v2());
    let mut events = Vec::new();
    for (turn, amount) in [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0)] {
        let at = MIDNIGHT + turn * SECOND;
        let old = |card: &str| one.body(&transaction(card, amount, at));
        let new = |card: &str| two.body(&with_merchant(card, amount, at, &format!("Shop {turn}")));
        events.extend([
            event("confluent-1", confluent(id_1, &old("confluent-1")), at),
            event("confluent-2", confluent(id_2, &new("confluent-2")), at),
            event("single-object-1", one.single_object(&old("single-object-1")), at),
            event("single-object-2", two.single_object(&new("single-object-2")), at),
            event("bare-2", new("bare-2"), at),
        ]);
    }
    job.client.produce(&topic, &events);
    job.run_to_end(&["--max-batch-events", "7"]);

    let hashes = job.hashes("card", "merchants");
    for writer in ["confluent-2", "single-object-2", "bare-2"] {
        let expected = [
            ("events", Int(4)),
            ("amount", Float(15.0)),
            ("merchant", text("Shop 3")),
            ("payment_method", text("WALLET")),
            ("is_fraud", Bool(true)),
        ];
        assert_hash(&hashes[writer], &expected.into());
    }
    for writer in ["confluent-1", "single-object-1"] {
        let expected = [
            ("events", Int(4)),
            ("amount", Float(15.0)),
            ("merchant", Null),
            ("payment_method", text("UNKNOWN")),
            ("is_fraud", Bool(false)),
        ];
        assert_hash(&hashes[writer], &expected.into());
    }
    assert_eq!(hashes.len(), 5, "{hashes:?}");
    assert_eq!(job.dead_letters(&topic), []);
    // Once a schema, although each came in every batch.
    let asked = [id_1, id_2].map(|id| (format!("/schemas/ids/{id}"), 1));
    assert_eq!(registry.requests(), BTreeMap::from(asked));
}

#[test]
fn both_versions_under_the_first_one() {
    let registry = Registry::start();
    let id = registry.register("a-value", V2);
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "schema = \"transactions.v1.avsc\"");
    job.configure(&format!("[schema_registry]\nurl = \"{}\"", registry.url()));
    job.view("seen", SEEN);

    let (one, two) = (v1(), v2());
    let old = one.body(&transaction("old", 1.5, MIDNIGHT));
    let new = two.body(&with_merchant("new", 2.5, MIDNIGHT, "Shop"));
    let events = [
        event("old", one.single_object(&old), MIDNIGHT),
        event("new", two.single_object(&new), MIDNIGHT),
        // Without framing it is the stream's own schema: the first version.
        event("old", old, MIDNIGHT),
        event("new", confluent(id, &new), MIDNIGHT),
    ];
    job.client.produce(&topic, &events);
    job.run_to_end(&[]);

    let old = [("events", Int(2)), ("amount", Float(3.0)), ("currency", text("EUR"))];
    assert_hash(&seen(&job, "old"), &old.into());
    // A currency that the reader does not know is its default.
    let new = [("events", Int(2)), ("amount", Float(5.0)), ("currency", text("USD"))];
    assert_hash(&seen(&job, "new"), &new.into());
    assert_eq!(job.dead_letters(&topic), []);
}

/// Without a registry, ids are the versions of the schema's files.
#[test]
fn ids_without_a_registry() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "schema_ids = { \"7\" = \"transactions.v1.avsc\" }");
    job.view("seen", SEEN);

    let (one, two) = (v1(), v2());
    let events = [
        event("card", confluent(7, &one.body(&transaction("card", 1.0, MIDNIGHT))), MIDNIGHT),
        event("card", confluent(1, &one.body(&transaction("card", 2.0, MIDNIGHT))), MIDNIGHT),
        event("card", confluent(2, &two.body(&transaction("card", 4.0, MIDNIGHT))), MIDNIGHT),
    ];
    job.client.produce(&topic, &events);
    job.run_to_end(&[]);

    let expected = [("events", Int(3)), ("amount", Float(7.0)), ("currency", text("EUR"))];
    assert_hash(&seen(&job, "card"), &expected.into());
}
