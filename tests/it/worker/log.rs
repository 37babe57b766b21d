//! Generated logs: what stands in them, the bytes of it, and a model, event by
//! event, of which events count.

use std::collections::BTreeMap;

use proptest::prelude::*;
use windrow::frame::Reason;

use crate::support::avro::{confluent, double, long, string};

/// Saturday, 2025-03-01T00:00:00Z.
pub const BEGIN_MS: i64 = 1_740_787_200_000;

/// The log's partitions. A card's events are all in one of them.
pub const PARTITIONS: i32 = 2;

pub const MAX_OUT_OF_ORDER_MS: i64 = 5_000;
pub const ALLOWED_LATENESS_MS: i64 = 60_000;
pub const MAX_FUTURE_MS: i64 = 300_000;

/// The schema of the writer with the id 1.
pub const V1: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "card", "type": "string"},
    {"name": "amount", "type": "double"},
    {"name": "device", "type": ["null", "string"], "default": null},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}]}"#;

/// The schema of the writer with the id 2, and the stream's own.
pub const V2: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "card", "type": "string"},
    {"name": "place", "type": "string", "default": "unknown"},
    {"name": "amount", "type": "double"},
    {"name": "device", "type": ["null", "string"], "default": null},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}]}"#;

/// An event as its producer knows it.
#[derive(Debug, Clone)]
pub struct Event {
    pub partition: i32,
    pub offset: i64,
    pub card: String,
    pub place: String,
    pub amount: f64,
    pub device: Option<String>,
    pub time_ms: i64,
}

/// What a log holds at one offset.
#[derive(Debug, Clone)]
pub struct Entry {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: String,
    pub value: Option<Vec<u8>>,
    pub content: Content,
}

/// What that is.
#[derive(Debug, Clone)]
pub enum Content {
    Event(Event),
    Tombstone,
    /// Of no use, for a reason that does not depend on what came before.
    Unusable(Reason),
}

/// One step of a generated log.
#[derive(Debug, Clone)]
pub struct Step {
    /// Time that passes in its partition before it.
    pub after_ms: i64,
    /// Offsets that are left out before it.
    pub gap: i64,
    pub card: u8,
    /// Amounts are quarters, so that their sums are the same in any order.
    pub quarters: i32,
    pub device: Option<u8>,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// An event whose time lies behind Kafka's timestamp by so much, or ahead of it.
    V1 {
        behind_ms: i64,
    },
    V2 {
        behind_ms: i64,
        place: u8,
    },
    NoTime,
    /// The partition's last event once more.
    Again,
    Tombstone,
    /// One of so many ways of being of no use.
    Poison(u8),
}

pub const POISONS: u8 = 6;

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..90)
}

fn step() -> impl Strategy<Value = Step> {
    // Quarters of a second, so that events often stand on the very edge of a window.
    let after_ms = prop_oneof![
        20 => (0..16_i64).prop_map(|quarters| quarters * 250),
        3 => (1..31_i64).prop_map(|minutes| minutes * 60_000),
        10 => 0..4_000_i64,
        8 => 4_000..90_000_i64,
        3 => 90_000..1_800_000_i64,
        1 => 1_800_000..300_000_000_i64,
    ];
    let gap = prop_oneof![20 => Just(0_i64), 1 => 1..50_i64];
    (0..6_u8, after_ms, gap, 400..4_000_i32, proptest::option::of(0..3_u8), kind()).prop_map(
        |(card, after_ms, gap, quarters, device, kind)| Step { after_ms, gap, card, quarters, device, kind },
    )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        20 => behind_ms().prop_map(|behind_ms| Kind::V1 { behind_ms }),
        20 => (behind_ms(), 0..3_u8).prop_map(|(behind_ms, place)| Kind::V2 { behind_ms, place }),
        1 => Just(Kind::NoTime),
        3 => Just(Kind::Again),
        1 => Just(Kind::Tombstone),
        3 => (0..POISONS).prop_map(Kind::Poison),
    ]
}

/// In order, on time, late, around the last moment, too late, ahead and too far ahead.
fn behind_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => Just(0_i64),
        8 => 0..5_000_i64,
        6 => 5_000..65_000_i64,
        2 => 64_998..65_003_i64,
        2 => 65_000..400_000_i64,
        1 => -300_002..-299_998_i64,
        1 => -310_000..0_i64,
    ]
}

/// How far a partition's log is.
#[derive(Debug, Clone, Default)]
struct Writing {
    next_offset: i64,
    passed_ms: i64,
    last: Option<(Event, Vec<u8>)>,
}

/// The log that these steps write.
pub fn written(steps: &[Step]) -> Vec<Entry> {
    written_over(steps, PARTITIONS)
}

/// The same over so many partitions.
pub fn written_over(steps: &[Step], count: i32) -> Vec<Entry> {
    let mut partitions: BTreeMap<i32, Writing> = BTreeMap::new();
    steps
        .iter()
        .map(|step| {
            let partition = i32::from(step.card) % count;
            let writing = partitions.entry(partition).or_default();
            writing.passed_ms += step.after_ms;
            let offset = writing.next_offset + step.gap;
            writing.next_offset = offset + 1;
            entry(step, partition, offset, writing)
        })
        .collect()
}

fn entry(step: &Step, partition: i32, offset: i64, writing: &mut Writing) -> Entry {
    let timestamp_ms = BEGIN_MS + writing.passed_ms;
    let mut event = Event {
        partition,
        offset,
        card: format!("card-{}", step.card),
        place: "unknown".to_owned(),
        amount: f64::from(step.quarters) / 4.0,
        device: step.device.map(|device| format!("device-{device}")),
        time_ms: timestamp_ms,
    };
    let (value, content) = match step.kind {
        Kind::V1 { behind_ms } => {
            event.time_ms -= behind_ms;
            (Some(v1(&event)), Content::Event(event.clone()))
        }
        Kind::V2 { behind_ms, place } => {
            event.time_ms -= behind_ms;
            event.place = format!("place-{place}");
            (Some(v2(&event, Some(event.time_ms))), Content::Event(event.clone()))
        }
        Kind::Again => match &writing.last {
            Some((last, value)) => (Some(value.clone()), Content::Event(Event { offset, ..last.clone() })),
            None => (None, Content::Tombstone),
        },
        Kind::NoTime => (Some(v2(&event, None)), Content::Unusable(Reason::NoEventTime)),
        Kind::Tombstone => (None, Content::Tombstone),
        Kind::Poison(which) => {
            let (value, reason) = poison(which, &event);
            (Some(value), Content::Unusable(reason))
        }
    };
    if let (Some(value), Content::Event(event)) = (&value, &content) {
        writing.last = Some((event.clone(), value.clone()));
    }
    let key = match &content {
        Content::Event(event) => event.card.clone(),
        _ => event.card,
    };
    Entry { partition, offset, timestamp_ms, key, value, content }
}

fn poison(which: u8, event: &Event) -> (Vec<u8>, Reason) {
    let mut value = v2(event, Some(event.time_ms));
    match which % POISONS {
        0 => {
            value.truncate(value.len() - 3);
            (value, Reason::Malformed)
        }
        1 => {
            value.extend([7, 7]);
            (value, Reason::Malformed)
        }
        2 => (b"{\"card\": \"card-0\"}".to_vec(), Reason::Malformed),
        3 => (confluent(1, &[string(&event.card), vec![1]].concat()), Reason::Malformed),
        4 => (confluent(9, &string(&event.card)), Reason::UnknownSchema),
        _ => (vec![0, 0, 0], Reason::Framing),
    }
}

fn v1(event: &Event) -> Vec<u8> {
    let parts = [string(&event.card), double(event.amount), device(event), time(Some(event.time_ms))];
    confluent(1, &parts.concat())
}

fn v2(event: &Event, time_ms: Option<i64>) -> Vec<u8> {
    let parts =
        [string(&event.card), string(&event.place), double(event.amount), device(event), time(time_ms)];
    confluent(2, &parts.concat())
}

fn device(event: &Event) -> Vec<u8> {
    event.device.as_ref().map_or_else(|| long(0), |device| [long(1), string(device)].concat())
}

fn time(time_ms: Option<i64>) -> Vec<u8> {
    time_ms.map_or_else(|| long(0), |time_ms| [long(1), long(time_ms)].concat())
}

/// What is accepted of a partition's log.
#[derive(Debug, Default)]
pub struct Accepted {
    pub events: Vec<Event>,
    pub clock_ms: Option<i64>,
    pub rejected: BTreeMap<Reason, usize>,
    /// The offsets of those.
    pub letters: Vec<i64>,
}

/// The rules, one event after the other.
pub fn accepted(log: &[Entry], partition: i32) -> Accepted {
    let mut accepted = Accepted::default();
    for entry in log.iter().filter(|entry| entry.partition == partition) {
        let reason = match &entry.content {
            Content::Tombstone => continue,
            Content::Unusable(reason) => Some(*reason),
            Content::Event(event) if event.time_ms - entry.timestamp_ms > MAX_FUTURE_MS => {
                Some(Reason::Future)
            }
            Content::Event(event) => {
                let behind_ms = accepted.clock_ms.unwrap_or(event.time_ms) - event.time_ms;
                (behind_ms > MAX_OUT_OF_ORDER_MS + ALLOWED_LATENESS_MS).then_some(Reason::TooLate)
            }
        };
        match (reason, &entry.content) {
            (None, Content::Event(event)) => {
                accepted.clock_ms = accepted.clock_ms.max(Some(event.time_ms));
                accepted.events.push(event.clone());
            }
            (Some(reason), _) => {
                *accepted.rejected.entry(reason).or_default() += 1;
                accepted.letters.push(entry.offset);
            }
            (None, _) => {}
        }
    }
    accepted
}
