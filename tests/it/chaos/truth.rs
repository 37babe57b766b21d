//! What Redis and the dead letters must hold, worked out from the topic alone:
//! decoded by `apache-avro`, judged event by event, evaluated by the oracle when
//! every shard's clock shows its last time.

use std::collections::{BTreeMap, BTreeSet};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

use super::{PARTITIONS, SCHEMA};
use crate::input::job::source;
use crate::oracle::transaction::{Transaction, transaction};
use crate::oracle::transaction_pattern::transaction_pattern;
use crate::oracle::{MINUTE, Row, SECOND, differences};
use crate::support::avro::WriterSchema;
use crate::support::client::Record;
use crate::support::redis::RedisServer;

/// The defaults of the options of the same names.
const MAX_OUT_OF_ORDER: i64 = 5 * SECOND;
const ALLOWED_LATENESS: i64 = 60 * SECOND;
const MAX_FUTURE: i64 = 5 * MINUTE;

/// Partition and offset of an event that cannot be used, and the reason.
pub type Rejected = (i32, i64, String);

/// What a topic's content leads to.
#[derive(Debug, Default)]
pub struct Truth {
    /// How many events became what.
    pub counts: BTreeMap<&'static str, usize>,
    hashes: BTreeMap<String, Expected>,
    rejected: BTreeSet<Rejected>,
}

/// A hash, and the clock of its shard.
#[derive(Debug)]
struct Expected {
    row: Row,
    clock: i64,
}

impl Truth {
    /// Reads the whole topic.
    pub fn read(records: &[Record]) -> Self {
        let header = WriterSchema::parse(SCHEMA).single_object(&[]);
        let schema = Schema::parse_str(SCHEMA).expect("it is a schema");
        let reader = GenericDatumReader::builder(&schema).build().expect("the schema is complete");
        let mut truth = Self::default();
        for partition in 0..PARTITIONS {
            let own = records.iter().filter(|record| record.partition == partition);
            let (accepted, clock) = truth.judge(own, |value, offset| decode(&reader, &header, value, offset));
            for (view, rows) in [
                ("transaction", transaction(&accepted, clock)),
                ("transaction_pattern", transaction_pattern(&accepted, clock)),
            ] {
                let hash = |(card, row)| (format!("features:card:{card}:{view}"), Expected { row, clock });
                truth.hashes.extend(rows.into_iter().map(hash));
            }
        }
        truth
    }

    /// Decides in the order of the log; the events of a partition that count, and its clock.
    fn judge<'a>(
        &mut self,
        log: impl Iterator<Item = &'a Record>,
        decode: impl Fn(&[u8], i64) -> Result<Transaction, &'static str>,
    ) -> (Vec<Transaction>, i64) {
        let mut accepted = Vec::new();
        let mut clock = i64::MIN;
        for record in log {
            let Some(value) = &record.value else {
                *self.counts.entry("tombstones").or_default() += 1;
                continue;
            };
            let timestamp = record.timestamp_ms.expect("the producer gives every event a timestamp");
            let watermark = clock.saturating_sub(MAX_OUT_OF_ORDER);
            let outcome = decode(value, record.offset).and_then(|event| {
                if event.event_time_ms > timestamp + MAX_FUTURE {
                    Err("future")
                } else if event.event_time_ms < watermark.saturating_sub(ALLOWED_LATENESS) {
                    Err("too_late")
                } else {
                    Ok(event)
                }
            });
            let became = match outcome {
                Ok(event) => {
                    let late = event.event_time_ms < watermark;
                    clock = clock.max(event.event_time_ms);
                    accepted.push(event);
                    if late { "late" } else { "on_time" }
                }
                Err(reason) => {
                    self.rejected.insert((record.partition, record.offset, reason.to_owned()));
                    reason
                }
            };
            *self.counts.entry(became).or_default() += 1;
        }
        (accepted, clock)
    }

    /// How many hashes there must be.
    pub fn hashes(&self) -> usize {
        self.hashes.len()
    }

    /// Every way in which Redis differs, a paragraph a hash.
    pub fn differences(&self, redis: &RedisServer) -> Vec<String> {
        let mut told: Vec<String> = redis
            .keys("*")
            .into_iter()
            .filter(|name| is_hash_of_features(name) && !self.hashes.contains_key(name))
            .map(|name| format!("{name}: is there and should not be"))
            .collect();
        let names: Vec<&str> = self.hashes.keys().map(String::as_str).collect();
        for ((name, expected), hash) in self.hashes.iter().zip(redis.hashes(&names)) {
            if hash.is_empty() {
                told.push(format!("{name}: has no hash"));
                continue;
            }
            let mut differing = differences(&hash, &expected.row);
            let as_of: Option<i64> = hash.get("_as_of").and_then(|text| text.parse().ok());
            if as_of.is_none_or(|as_of| as_of > expected.clock) {
                differing += &format!("  _as_of: {as_of:?}, the clock shows {}\n", expected.clock);
            }
            if !differing.is_empty() {
                told.push(format!("{name}, as of {as_of:?} of {}:\n{differing}", expected.clock));
            }
        }
        told
    }

    /// Every event that cannot be used has dead letters, one or more, and no
    /// other event has any.
    ///
    /// # Panics
    /// With those of which that is not true.
    #[track_caller]
    pub fn assert_dead_letters(&self, letters: &[Record]) {
        let found = letters.iter().map(|letter| {
            let (partition, offset) = source(letter);
            (partition, offset, letter.header("reason").unwrap_or_default())
        });
        let found: BTreeSet<Rejected> = found.collect();
        let missing: Vec<_> = self.rejected.difference(&found).collect();
        let unexpected: Vec<_> = found.difference(&self.rejected).collect();
        assert!(
            missing.is_empty() && unexpected.is_empty(),
            "events without a dead letter: {missing:?}\ndead letters of usable events: {unexpected:?}"
        );
    }
}

/// Bookkeeping of our own has another prefix, or begins with `_`.
fn is_hash_of_features(name: &str) -> bool {
    name.strip_prefix("features:").is_some_and(|rest| !rest.starts_with('_'))
}

/// The event, or why it is poison.
fn decode(
    reader: &GenericDatumReader<'_>,
    header: &[u8],
    value: &[u8],
    offset: i64,
) -> Result<Transaction, &'static str> {
    let mut body = value.strip_prefix(header).ok_or("framing")?;
    let fields = match reader.read_value(&mut body) {
        Ok(Value::Record(fields)) if body.is_empty() => fields,
        _ => return Err("malformed"),
    };
    let mut event = Transaction { offset, ..Transaction::default() };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("card_id", Value::String(text)) => event.card_id = text,
            ("amount", Value::Double(amount)) => event.amount = amount,
            ("mcc", Value::String(text)) => event.mcc = text,
            ("device_id", Value::String(text)) => event.device_id = text,
            ("ip_address", Value::String(text)) => event.ip_address = text,
            ("geo_country", Value::Union(_, text)) => event.geo_country = optional(*text),
            ("geo_city", Value::Union(_, text)) => event.geo_city = optional(*text),
            ("timestamp", Value::TimestampMillis(time)) => event.event_time_ms = time,
            _ => {}
        }
    }
    Ok(event)
}

fn optional(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}
