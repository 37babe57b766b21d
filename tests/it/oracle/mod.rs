//! The shipped features once more: the definitions as plain Rust over structs,
//! without SQL, `DataFusion` or Arrow. What the binary wrote to Redis is
//! compared with this, field by field.
//!
//! Here are the values, the windows and the comparison; the formulas are in one
//! file a stream. An oracle is given the events that were accepted, in any
//! order: which ones those are is not its business.

pub mod clickstream;
pub mod device;
pub mod transaction;
pub mod transaction_pattern;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

/// One second in milliseconds.
pub const SECOND: i64 = 1000;
/// One minute in milliseconds.
pub const MINUTE: i64 = 60 * SECOND;
/// One hour in milliseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// One day in milliseconds.
pub const DAY: i64 = 24 * HOUR;
const TWO_DAYS: i64 = 2 * DAY;

/// The features of one entity. The key itself is not among them.
pub type Row = BTreeMap<&'static str, Value>;

/// The features of every entity that has any, by key.
pub type Rows = BTreeMap<String, Row>;

/// A feature's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count or an hour.
    Int(i64),
    /// A sum, an average, a ratio or a score.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// A string.
    Text(String),
    /// A time, in milliseconds since the epoch.
    TimestampMs(i64),
    /// Nothing: the hash has no such field.
    Null,
}

impl Value {
    /// How it stands in a Redis hash; `None` where the hash has no such field.
    pub fn redis(&self) -> Option<String> {
        match self {
            Self::Int(value) | Self::TimestampMs(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Text(value) => Some(value.clone()),
            Self::Null => None,
        }
    }
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Null, Self::Float)
    }
}

/// What an oracle has to know of an event.
pub trait Event {
    /// When it happened, in milliseconds since the epoch.
    fn event_time_ms(&self) -> i64;
    /// Its place in the log.
    fn offset(&self) -> i64;
}

/// A row as the hash that Redis should hold, without bookkeeping fields.
pub fn hash(row: &Row) -> HashMap<String, String> {
    row.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.redis()?))).collect()
}

/// Compares a hash read from Redis with what it should be, and panics with
/// every difference. A missing field is NULL; fields that begin with `_` are
/// bookkeeping and ignored; floats may differ by 1e-9 of their size, since the
/// order in which they are added is free.
#[track_caller]
pub fn assert_hash(actual: &HashMap<String, String>, expected: &BTreeMap<&str, Value>) {
    let differences = differences(actual, expected);
    assert!(differences.is_empty(), "the hash differs from the oracle:\n{differences}");
}

/// Compares whole views, as [`assert_hash`] does each row.
#[track_caller]
pub fn assert_rows(actual: &Rows, expected: &Rows) {
    let actual: BTreeMap<_, _> = actual.iter().map(|(key, row)| (key.clone(), hash(row))).collect();
    assert_hashes(&actual, expected);
}

/// Compares the hashes of a view, by key, with what they should be, and panics
/// with every difference.
#[track_caller]
pub fn assert_hashes(actual: &BTreeMap<String, HashMap<String, String>>, expected: &Rows) {
    if let Err(message) = compare_hashes(actual, expected) {
        panic!("the hashes differ from the oracle:\n{message}");
    }
}

/// Whether the hashes of a view, by key, are what they should be. An entity
/// without rows has no hash.
///
/// # Errors
/// Every difference.
pub fn compare_hashes(
    actual: &BTreeMap<String, HashMap<String, String>>,
    expected: &Rows,
) -> Result<(), String> {
    let mut message = String::new();
    for key in actual.keys().filter(|key| !expected.contains_key(*key)) {
        let _ = writeln!(message, "{key}: has a hash and should have none");
    }
    for (key, row) in expected {
        let Some(hash) = actual.get(key) else {
            let _ = writeln!(message, "{key}: has no hash");
            continue;
        };
        let differences = differences(hash, row);
        if !differences.is_empty() {
            let _ = write!(message, "{key}:\n{differences}");
        }
    }
    if message.is_empty() { Ok(()) } else { Err(message) }
}

/// One line for each field that differs; empty if none does.
pub fn differences(actual: &HashMap<String, String>, expected: &BTreeMap<&str, Value>) -> String {
    let mut message = String::new();
    for (name, value) in expected {
        let found = actual.get(*name);
        if !agrees(found.map(String::as_str), value) {
            let (found, value) = (shown(found), shown(value.redis().as_ref()));
            let _ = writeln!(message, "  {name}: {found}, expected {value}");
        }
    }
    let found: BTreeMap<_, _> = actual.iter().filter(|(name, _)| !name.starts_with('_')).collect();
    for (name, value) in found {
        if !expected.contains_key(name.as_str()) {
            let _ = writeln!(message, "  {name}: `{value}`, expected no such feature");
        }
    }
    message
}

fn shown(text: Option<&String>) -> String {
    text.map_or_else(|| "no field".to_owned(), |text| format!("`{text}`"))
}

fn agrees(actual: Option<&str>, expected: &Value) -> bool {
    match (actual, expected) {
        (Some(text), Value::Float(expected)) => {
            text.parse::<f64>().is_ok_and(|actual| close(actual, *expected))
        }
        (actual, expected) => actual == expected.redis().as_deref(),
    }
}

/// Within 1e-9, relative. The floor is for differences of equal sums, which
/// are 0 in one order of adding and 1e-14 in another.
fn close(actual: f64, expected: f64) -> bool {
    let allowed = (1e-9 * expected.abs().max(actual.abs())).max(1e-12);
    actual.total_cmp(&expected).is_eq() || (actual - expected).abs() <= allowed
}

/// The events of a window of this length, in the order of their times. Its edge
/// moves in steps of 1 s up to 1 h, of 1 min up to 2 days.
fn window<'a, E: Event>(events: &[&'a E], now: i64, length: i64) -> Vec<&'a E> {
    let resolution = match length {
        short if short <= HOUR => SECOND,
        longer if longer <= TWO_DAYS => MINUTE,
        _ => HOUR,
    };
    let steps = now.div_euclid(resolution) + i64::from(now.rem_euclid(resolution) > 0);
    let edge = steps * resolution - length;
    let mut inside: Vec<_> = events.iter().copied().filter(|event| event.event_time_ms() > edge).collect();
    inside.sort_by_key(|event| (event.event_time_ms(), event.offset()));
    inside
}

/// The events of each entity.
fn by_key<E>(events: &[E], key: impl Fn(&E) -> &str) -> BTreeMap<String, Vec<&E>> {
    let mut entities: BTreeMap<String, Vec<&E>> = BTreeMap::new();
    for event in events {
        entities.entry(key(event).to_owned()).or_default().push(event);
    }
    entities
}

/// How many different values there are.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> i64 {
    count(values.collect::<BTreeSet<_>>().len())
}

/// The sum; a positive zero of nothing, where Rust's own is negative.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    0.0 + values.sum::<f64>()
}

/// The average; none of nothing.
fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| sum(values.iter().copied()) / real(count(values.len())))
}

/// The share of events that are so; none of no events.
fn share<E>(events: &[&E], is_so: impl Fn(&E) -> bool) -> Option<f64> {
    let hits = events.iter().filter(|event| is_so(event)).count();
    (!events.is_empty()).then(|| real(count(hits)) / real(count(events.len())))
}

fn count(events: usize) -> i64 {
    i64::try_from(events).expect("a test has fewer events")
}

/// A whole number as a float. Counts, and spans of a day in milliseconds, fit.
fn real(value: i64) -> f64 {
    f64::from(i32::try_from(value).expect("counts and spans of a day fit 32 bits"))
}

/// The time between two events, in minutes.
fn minutes(from: i64, to: i64) -> f64 {
    real(to - from) / 60_000.0
}

/// Hour of the day, UTC.
fn hour_of_day(time_ms: i64) -> i64 {
    time_ms.rem_euclid(DAY) / HOUR
}

/// Whether it was Saturday or Sunday, UTC. The epoch was a Thursday.
fn is_weekend(time_ms: i64) -> bool {
    let days_since_monday = (time_ms.div_euclid(DAY) + 3).rem_euclid(7);
    days_since_monday >= 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("count", Value::Int(3)),
            ("flag", Value::Bool(false)),
            ("ratio", Value::Float(0.25)),
            ("missing", Value::Null),
        ])
    }

    #[track_caller]
    fn check(actual: &[(&str, &str)], differing: &[&str]) {
        let actual = actual.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let message = differences(&actual, &expected());
        let names: Vec<_> = message.lines().filter_map(|line| line.trim().split(':').next()).collect();
        assert_eq!(names, differing, "{message}");
    }

    #[test]
    fn equal_hashes() {
        check(&[("count", "3"), ("flag", "false"), ("ratio", "0.25"), ("_as_of", "1")], &[]);
        check(&[("count", "3"), ("flag", "false"), ("ratio", "2.5000000001e-1")], &[]);
    }

    #[test]
    fn every_difference_is_told() {
        let wrong = [("count", "3.0"), ("flag", "0"), ("ratio", "0.2500001"), ("missing", "")];
        check(&wrong, &["count", "flag", "missing", "ratio"]);
        check(&[], &["count", "flag", "ratio"]);
        check(&[("count", "3"), ("flag", "false"), ("ratio", "0.25"), ("other", "1")], &["other"]);
    }

    #[test]
    #[should_panic(expected = "count: `4`, expected `3`")]
    fn a_difference_panics() {
        let actual = [("count", "4"), ("flag", "false"), ("ratio", "0.25")];
        assert_hash(&actual.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), &expected());
    }

    #[test]
    fn edges_of_windows_move_in_steps() {
        let event = device::Device { event_time_ms: 1000, ..device::Device::default() };
        let has_event = |now, length| !window(&[&event], now, length).is_empty();
        // Up to an hour: 1 s. The event leaves when `now`, rounded up, is its time + the length.
        assert!(has_event(HOUR, HOUR));
        assert!(!has_event(HOUR + 1, HOUR));
        // Up to two days: 1 min.
        assert!(has_event(DAY, DAY));
        assert!(!has_event(DAY + 1, DAY));
        assert!(has_event(2 * DAY, 2 * DAY));
        assert!(!has_event(2 * DAY + 1, 2 * DAY));
    }

    #[test]
    fn days_and_hours() {
        // 1970-01-01 was a Thursday, 1970-01-03 a Saturday, 1970-01-05 a Monday.
        assert!(!is_weekend(2 * DAY - 1));
        assert!(is_weekend(2 * DAY));
        assert!(is_weekend(4 * DAY - 1));
        assert!(!is_weekend(4 * DAY));
        assert_eq!(hour_of_day(DAY - 1), 23);
    }
}
