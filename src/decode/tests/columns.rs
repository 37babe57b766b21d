//! What the columns hold: event times of every kind, enums, the columns of
//! ours, only those in use; and streams whose schema does not fit its options.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

use super::*;
use crate::decode::Error;
use crate::decode::reader::TimestampUnit;

/// A schema with a card and an event time of this type.
fn timed(kind: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "R", "fields": [
            {{"name": "card", "type": "string"}}, {{"name": "at", "type": {kind}}}]}}"#
    )
}

/// What bare bodies with these event times, encoded, come out as.
#[track_caller]
fn event_times(
    kind: &str,
    unit: Option<TimestampUnit>,
    times: &[Vec<u8>],
) -> (Vec<i64>, Vec<(usize, Reason)>) {
    let options = Options { event_time_unit: unit, framing: Framing::Bare, ..options() };
    let mut decoder = decoder(&timed(kind), &options, &[]);
    let values: Vec<Option<Vec<u8>>> =
        times.iter().map(|time| Some([string("c"), time.clone()].concat())).collect();
    let decoded = decode(&mut decoder, &frames(&values));
    let column =
        decoded.rows.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(column.null_count(), 0);
    let rejected = decoded.rejected.iter().map(|one| (one.index, one.reason)).collect();
    (column.values().to_vec(), rejected)
}

#[track_caller]
fn check_time(kind: &str, unit: Option<TimestampUnit>, number: i64, expected_micros: i64) {
    assert_eq!(event_times(kind, unit, &[long(number)]), (vec![expected_micros], vec![]), "{kind} {number}");
}

const MILLIS: &str = r#"{"type": "long", "logicalType": "timestamp-millis"}"#;
const MICROS: &str = r#"{"type": "long", "logicalType": "timestamp-micros"}"#;

#[test]
fn event_times_are_microseconds() {
    check_time(MILLIS, None, 1_700_000_000_123, 1_700_000_000_123_000);
    check_time(MICROS, None, 1_700_000_000_123_456, 1_700_000_000_123_456);
    // What the schema says of its unit counts more than the option.
    check_time(MILLIS, Some(TimestampUnit::Seconds), 7, 7000);
}

#[test]
fn a_plain_number_has_the_unit_of_the_options() {
    let long = r#""long""#;
    check_time(long, Some(TimestampUnit::Seconds), 1_700_000_000, 1_700_000_000_000_000);
    check_time(long, Some(TimestampUnit::Millis), 1_700_000_000_123, 1_700_000_000_123_000);
    check_time(long, Some(TimestampUnit::Micros), 1_700_000_000_123_456, 1_700_000_000_123_456);
    check_time(long, Some(TimestampUnit::Nanos), 1_999, 1);
    check_time(long, Some(TimestampUnit::Nanos), -1, -1);
    check_time(r#""int""#, Some(TimestampUnit::Seconds), 1_700_000_000, 1_700_000_000_000_000);
}

/// `logicalType` beside the type instead of in it says nothing, by Avro's rules.
#[test]
fn a_logical_type_beside_the_type_makes_a_plain_number() {
    let kind = r#""long", "logicalType": "timestamp-millis""#;
    check_time(kind, Some(TimestampUnit::Seconds), 5, 5_000_000);
    assert!(matches!(StreamSchema::try_new(&timed(kind), &options()), Err(Error::NoUnit { .. })));
}

#[test]
fn extreme_times_stay_at_the_ends_of_time() {
    check_time(MILLIS, None, i64::MAX, i64::MAX);
    check_time(MILLIS, None, i64::MIN, i64::MIN);
    check_time(MICROS, None, i64::MAX, i64::MAX);
    check_time(MICROS, None, i64::MIN, i64::MIN);
    check_time(MILLIS, None, -1, -1000);
    check_time(r#""long""#, Some(TimestampUnit::Seconds), i64::MAX, i64::MAX);
    check_time(r#""long""#, Some(TimestampUnit::Nanos), i64::MIN, i64::MIN.div_euclid(1000));
}

#[test]
fn an_event_without_a_time_is_rejected_alone() {
    let null = long(0);
    let at = |millis: i64| [long(1), long(millis)].concat();
    let found = event_times(&format!(r#"["null", {MILLIS}]"#), None, &[at(1), null.clone(), at(3), null]);
    assert_eq!(found, (vec![1000, 3000], vec![(1, Reason::NoEventTime), (3, Reason::NoEventTime)]));
    let found = event_times(r#"["null", "long"]"#, Some(TimestampUnit::Seconds), &[long(0), at(2)]);
    assert_eq!(found, (vec![2_000_000], vec![(0, Reason::NoEventTime)]));
}

#[test]
fn the_event_time_may_already_be_called_so() {
    let avro = timed(MICROS).replace("\"at\"", "\"event_time\"");
    let options = Options { event_time: "event_time".to_owned(), framing: Framing::Bare, ..options() };
    let mut decoder = decoder(&avro, &options, &["event_time"]);
    let columns: Vec<&str> = decoder.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(columns, ["card", "event_time", "_partition", "_offset", "_timestamp"]);
    let decoded = decode(&mut decoder, &frames(&[Some([string("c"), long(77)].concat())]));
    let times = decoded.rows.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values(), &[77_i64]);
}

#[test]
fn every_row_says_where_it_stood_and_when_it_came() {
    let mut batch = frames(&[Some(v1(0)), Some(v2(1))]);
    let value = v1(2);
    batch.push(Frame { offset: 900, timestamp_ms: -1, key: None, value: Some(&value) });
    let mut decoder = decoder(V1, &options(), &[]);
    let decoded = decode(&mut decoder, &batch);
    let column = |name: &str| decoded.rows.column_by_name(name).unwrap();
    assert_eq!(column("_partition").as_primitive::<Int32Type>().values(), &[3_i32, 3, 3]);
    assert_eq!(column("_offset").as_primitive::<Int64Type>().values(), &[100_i64, 101, 900]);
    let timestamps: Vec<Option<i64>> =
        column("_timestamp").as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(timestamps, [Some(5_000_000), Some(5_001_000), None]);
}

#[test]
fn only_columns_in_use_are_decoded() {
    let mut decoder = decoder(V1, &options(), &["method"]);
    let decoded = check_with(&mut decoder, &[Some(v1(0)), Some(v2(1))], &[]);
    let schema = decoded.rows.schema();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    // The key always is in use: keys are sampled.
    assert_eq!(columns, ["card", "method", "event_time", "_partition", "_offset", "_timestamp"]);
    assert_eq!(texts(&decoded, "method"), [Some("CARD".to_owned()), Some("CASH".to_owned())]);
}

/// Poison in a column that nobody uses is poison: which views there are does
/// not decide which events count. Of text, though, only the length is looked at.
#[test]
fn poison_in_an_unused_column_is_poison() {
    let mut decoder = decoder(V1, &options(), &[]);
    let poison = confluent(1, &[string("c1"), long(1), long(-5)].concat());
    let short = v1(2)[..9].to_vec();
    check_with(
        &mut decoder,
        &[Some(v1(0)), Some(poison), Some(short), Some(v2(3))],
        &[(1, Reason::Malformed), (2, Reason::Malformed)],
    );
}

/// What a stream's schema and its options do not agree on.
#[track_caller]
fn check_unfit(avro: &str, options: &Options, expected: &str) {
    assert_eq!(StreamSchema::try_new(avro, options).unwrap_err().to_string(), expected);
}

#[test]
fn a_schema_that_does_not_fit_its_options_is_refused() {
    check_unfit(&timed(r#""long""#), &options(), "column `at` is a plain Int64: its unit is not known");
    check_unfit(&timed(r#""string""#), &options(), "column `at` is a Utf8, which gives no event time");
    let other = Options { key: "user".to_owned(), ..options() };
    check_unfit(&timed(MILLIS), &other, "the schema has no column `user`");
    let other = Options { event_time: "when".to_owned(), ..options() };
    check_unfit(&timed(MILLIS), &other, "the schema has no column `when`");
    let reserved = |name: &str| {
        let extra = format!(r#"{{"name": "{name}", "type": "long"}}, {{"name": "at""#);
        timed(MILLIS).replace(r#"{"name": "at""#, &extra)
    };
    for name in ["event_time", "_partition", "_offset", "_timestamp"] {
        let expected =
            format!("the schema has a column `{name}`, a name that every stream's table has already");
        check_unfit(&reserved(name), &options(), &expected);
    }
    let no_record = StreamSchema::try_new(r#""string""#, &options());
    assert!(no_record.is_err(), "{no_record:?}");
}

/// How many of the sampled rows have another message key than their card, when
/// each frame has the key that `key` gives for its card.
fn mismatches(frames: usize, key: impl Fn(&str) -> Option<Vec<u8>>) -> u64 {
    let mut batch = FrameBatch::new(PARTITION);
    for (offset, index) in (0..).zip(0..frames) {
        let (key, value) = (key(&format!("c{index}")), v1(index));
        batch.push(Frame { offset, timestamp_ms: 0, key: key.as_deref(), value: Some(&value) });
    }
    decode(&mut decoder(V1, &options(), &[]), &batch).key_mismatches
}

#[test]
fn message_keys_are_compared_by_sample() {
    assert_eq!(mismatches(20, |card| Some(card.as_bytes().to_vec())), 0);
    assert_eq!(mismatches(20, |_| Some(b"user-7".to_vec())), 8);
    assert_eq!(mismatches(3, |_| Some(b"user-7".to_vec())), 3);
    assert_eq!(mismatches(0, |_| Some(b"user-7".to_vec())), 0);
    // No key, a key in Avro with its framing, and one that is no text at all, say nothing.
    assert_eq!(mismatches(20, |_| None), 0);
    assert_eq!(mismatches(20, |card| Some(confluent(4, &string(card)))), 0);
    assert_eq!(mismatches(20, |_| Some(vec![0xff, 0, 7])), 0);
}

/// A UUID is the text that was sent, whatever writers say of it: as a key, in a
/// union, and where it is none.
#[test]
fn a_uuid_is_text() {
    let uuid = r#"{"type": "string", "logicalType": "uuid"}"#;
    let avro = timed(&format!(r#"{MILLIS}}}, {{"name": "other", "type": ["null", {uuid}]"#)).replacen(
        r#""string""#,
        uuid,
        1,
    );
    let options = Options { framing: Framing::Bare, ..options() };
    let mut decoder = decoder(&avro, &options, &["other"]);
    let body = |card: &str, other: &str| Some([string(card), long(7), long(1), string(other)].concat());
    let id = "12345678-1234-1234-1234-123456789abc";
    let decoded = decode(&mut decoder, &frames(&[body(id, id), body("none", "neither")]));
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    assert_eq!(texts(&decoded, "card"), [Some(id.to_owned()), Some("none".to_owned())]);
    assert_eq!(texts(&decoded, "other"), [Some(id.to_owned()), Some("neither".to_owned())]);
}

/// No text can be made of such a key, so it is not compared with the message's.
#[test]
fn a_key_of_fixed_bytes_is_decoded() {
    let fixed = r#"{"type": "fixed", "name": "F", "size": 4}"#;
    let avro = timed(MILLIS).replacen(r#""string""#, fixed, 1);
    let mut decoder = decoder(&avro, &Options { framing: Framing::Bare, ..options() }, &[]);
    let decoded = decode(&mut decoder, &frames(&[Some([b"\x01\xff\xfe\x00".to_vec(), long(7)].concat())]));
    assert_eq!((decoded.rows.num_rows(), decoded.key_mismatches), (1, 0));
}
