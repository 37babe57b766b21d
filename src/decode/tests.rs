//! Frames that can be decoded, frames that cannot, and that neither suffers
//! from the other. The bodies are put together by hand.

mod columns;
mod differential;

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};

use super::framing::{Framing, Writer};
use super::{Decoded, Options, StreamDecoder, StreamSchema};
use crate::frame::{Frame, FrameBatch, PartitionId, Reason, StreamId};

/// The stream's own schema, and that of the writer with the id 1.
const V1: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "card", "type": "string"},
    {"name": "place", "type": ["null", "string"], "default": null},
    {"name": "amount", "type": "double"},
    {"name": "method", "type": {"type": "enum", "name": "Method", "symbols": ["CASH", "CARD"]}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;

/// That of the writer with the id 2: a field more, in the middle.
const V2: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "card", "type": "string"},
    {"name": "tip", "type": "double"},
    {"name": "place", "type": ["null", "string"], "default": null},
    {"name": "amount", "type": "double"},
    {"name": "method", "type": {"type": "enum", "name": "Method", "symbols": ["CASH", "CARD"]}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;

/// That of the writer with the id 3: it lacks the amount, which has no default.
const INCOMPATIBLE: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "card", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;

const PARTITION: PartitionId = PartitionId { stream: StreamId(0), partition: 3 };

/// Offset and Kafka's timestamp of the first frame.
const FIRST_OFFSET: i64 = 100;
const FIRST_TIMESTAMP_MS: i64 = 5000;

fn options() -> Options {
    Options {
        framing: Framing::Auto,
        event_time: "at".to_owned(),
        event_time_unit: None,
        key: "card".to_owned(),
    }
}

fn decoder(avro: &str, options: &Options, used: &[&str]) -> StreamDecoder {
    let stream = StreamSchema::try_new(avro, options).unwrap();
    let used: BTreeSet<String> = used.iter().map(|column| (*column).to_owned()).collect();
    StreamDecoder::try_new(&stream, options.clone(), &used).unwrap()
}

/// Frames at offsets 100, 101, …
fn frames(values: &[Option<Vec<u8>>]) -> FrameBatch {
    let mut batch = FrameBatch::new(PARTITION);
    for (index, value) in (0..).zip(values) {
        batch.push(Frame {
            offset: FIRST_OFFSET + index,
            timestamp_ms: FIRST_TIMESTAMP_MS + index,
            key: None,
            value: value.as_deref(),
        });
    }
    batch
}

/// Decodes with the writers 1, 2 and 3; any other is unknown.
fn decode(decoder: &mut StreamDecoder, frames: &FrameBatch) -> Decoded {
    let find = |writer| match writer {
        Writer::Id(1) => Ok(V1),
        Writer::Id(2) => Ok(V2),
        Writer::Id(3) => Ok(INCOMPATIBLE),
        _ => Err("nobody has it".to_owned()),
    };
    decoder.decode(frames, find).unwrap()
}

fn texts(decoded: &Decoded, column: &str) -> Vec<Option<String>> {
    let column = decoded.rows.column_by_name(column).unwrap().as_string_view();
    column.iter().map(|text| text.map(ToOwned::to_owned)).collect()
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [long(i64::try_from(text.len()).unwrap()), text.as_bytes().to_vec()].concat()
}

fn double(value: f64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn confluent(id: u32, body: &[u8]) -> Vec<u8> {
    [[0].as_slice(), id.to_be_bytes().as_slice(), body].concat()
}

/// The frame at `index`, written with the schema 1.
fn v1(index: usize) -> Vec<u8> {
    let place = [long(1), string("Basel")].concat();
    let body = [string(&format!("c{index}")), place, double(1.5), long(1), long(1000)].concat();
    confluent(1, &body)
}

/// The frame at `index`, written with the schema 2.
fn v2(index: usize) -> Vec<u8> {
    let body =
        [string(&format!("c{index}")), double(0.25), long(0), double(2.5), long(0), long(2000)].concat();
    confluent(2, &body)
}

/// Decodes and checks that exactly the frames in `rejected` are, each for its
/// reason, that those without a value or with an empty one are tombstones, and
/// that every other gives its own row, in offset order.
#[track_caller]
fn check_with(
    decoder: &mut StreamDecoder,
    values: &[Option<Vec<u8>>],
    rejected: &[(usize, Reason)],
) -> Decoded {
    let decoded = decode(decoder, &frames(values));
    let found: Vec<(usize, Reason)> = decoded.rejected.iter().map(|one| (one.index, one.reason)).collect();
    assert_eq!(found, rejected, "{:?}", decoded.rejected);
    let is_tombstone = |index: &usize| values[*index].as_ref().is_none_or(Vec::is_empty);
    let good: Vec<usize> = (0..values.len())
        .filter(|index| !is_tombstone(index) && rejected.iter().all(|(other, _)| other != index))
        .collect();
    assert_eq!(decoded.frames, good);
    assert_eq!(decoded.tombstones, (0..values.len()).filter(is_tombstone).count() as u64);
    let cards: Vec<Option<String>> = good.iter().map(|index| Some(format!("c{index}"))).collect();
    assert_eq!(texts(&decoded, "card"), cards);
    let offsets = decoded.rows.column_by_name("_offset").unwrap().as_primitive::<Int64Type>();
    let expected: Vec<i64> = good.iter().map(|index| FIRST_OFFSET + i64::try_from(*index).unwrap()).collect();
    assert_eq!(offsets.values(), &expected[..]);
    assert_eq!(decoded.rows.schema_ref(), decoder.schema());
    decoded
}

#[track_caller]
fn check(values: &[Vec<u8>], rejected: &[(usize, Reason)]) {
    let values: Vec<Option<Vec<u8>>> = values.iter().cloned().map(Some).collect();
    let mut decoder = decoder(V1, &options(), &["place", "amount", "method"]);
    check_with(&mut decoder, &values, rejected);
    // Whatever it met, the decoder is as good as new.
    check_with(&mut decoder, &[Some(v1(0)), Some(v2(1)), Some(v1(2))], &[]);
}

/// The first trap: a body that is wrong after its first column leaves columns of unequal length.
#[test]
fn a_malformed_record_leaves_its_neighbours() {
    let negative_length = confluent(1, &[string("c1"), long(1), long(-5)].concat());
    check(&[v1(0), negative_length, v1(2)], &[(1, Reason::Malformed)]);
}

/// The second trap: after a body that ends early, the next frame is read as its rest.
#[test]
fn a_truncated_record_leaves_its_neighbours() {
    let whole = v1(1);
    for length in 5..whole.len() {
        check(&[v1(0), whole[..length].to_vec(), v1(2), v1(3)], &[(1, Reason::Malformed)]);
    }
    for length in 1..5 {
        check(&[v1(0), whole[..length].to_vec(), v1(2), v1(3)], &[(1, Reason::Framing)]);
    }
}

/// The third trap: where the schema changes, the decoder stops.
#[test]
fn the_schema_changes_in_mid_batch() {
    check(&[v1(0), v1(1), v2(2), v2(3)], &[]);
    check(&[v2(0), v1(1), v2(2), v1(3), v1(4), v2(5)], &[]);
    check(&[v1(0), v2(1)[..9].to_vec(), v1(2), v2(3)], &[(1, Reason::Malformed)]);
}

#[test]
fn a_value_of_another_schema_has_its_own_values() {
    let mut decoder = decoder(V1, &options(), &["place", "amount", "method"]);
    let decoded = check_with(&mut decoder, &[Some(v2(0)), Some(v1(1))], &[]);
    assert_eq!(texts(&decoded, "place"), [None, Some("Basel".to_owned())]);
    assert_eq!(texts(&decoded, "method"), [Some("CASH".to_owned()), Some("CARD".to_owned())]);
    let amounts = decoded.rows.column_by_name("amount").unwrap();
    assert_eq!(amounts.as_primitive::<Float64Type>().values(), &[2.5_f64, 1.5]);
}

/// Every way in which a frame can be poison. None of them is at the index of a good one.
fn poisons() -> Vec<(&'static str, Vec<u8>)> {
    let good = v1(0);
    let with = |rest: &[u8]| [good.as_slice(), rest].concat();
    let body = |card: Vec<u8>, method: i64| {
        confluent(1, &[card, long(0), double(1.5), long(method), long(1000)].concat())
    };
    vec![
        ("a negative length", confluent(1, &[1, 2, 3])),
        ("a length beyond the end", confluent(1, &[0x7e, b'c'])),
        ("an endless number", confluent(1, &[0xff; 12])),
        ("no UTF-8", body([long(2), vec![0xff, 0xfe]].concat(), 1)),
        ("no such symbol", body(string("c0"), 7)),
        ("no body", confluent(1, &[])),
        ("half a body", good[..12].to_vec()),
        ("text", br#"{"card": "c0"}"#.to_vec()),
        ("a byte too much", with(&[7])),
        ("a zero too much", with(&[0])),
        ("half a header too much", with(&[0, 0, 0])),
        ("a header too much", with(&confluent(1, &[]))),
        ("another writer's header too much", with(&confluent(2, &[]))),
        ("two whole messages", with(&good)),
        ("two messages of two writers", with(&v2(0))),
        ("a message and a half", with(&good[..12])),
    ]
}

#[test]
fn poison_costs_one_event_wherever_it_stands() {
    for (what, poison) in poisons() {
        for place in [0, 2, 4] {
            let mut values: Vec<Vec<u8>> =
                (0..5).map(|index| if index % 2 == 0 { v1(index) } else { v2(index) }).collect();
            values[place] = poison.clone();
            println!("{what} at {place}");
            check(&values, &[(place, Reason::Malformed)]);
        }
    }
}

#[test]
fn a_batch_of_nothing_but_poison_gives_no_row() {
    let values: Vec<Vec<u8>> = poisons().into_iter().map(|(_, poison)| poison).collect();
    let rejected: Vec<(usize, Reason)> = (0..values.len()).map(|index| (index, Reason::Malformed)).collect();
    check(&values, &rejected);
}

#[test]
fn much_poison_costs_exactly_itself() {
    let poisons = poisons();
    let mut rejected = Vec::new();
    let values: Vec<Vec<u8>> = (0..1000)
        .map(|index| match index % 5 {
            3 => {
                rejected.push((index, Reason::Malformed));
                poisons[index / 5 % poisons.len()].1.clone()
            }
            4 => v2(index),
            _ => v1(index),
        })
        .collect();
    assert_eq!(rejected.len(), 200);
    check(&values, &rejected);
}

/// More than a decoder gathers, with poison around the place where it is emptied.
#[test]
fn poison_at_the_edge_of_a_full_decoder() {
    let poison: Vec<usize> = vec![16_382, 16_383, 16_385, 32_769];
    let values: Vec<Vec<u8>> = (0..33_000)
        .map(|index| if poison.contains(&index) { confluent(1, &[1]) } else { v1(index) })
        .collect();
    let rejected: Vec<(usize, Reason)> = poison.into_iter().map(|index| (index, Reason::Malformed)).collect();
    check(&values, &rejected);
}

#[test]
fn tombstones_are_skipped_and_counted() {
    let mut decoder = decoder(V1, &options(), &["amount"]);
    check_with(&mut decoder, &[None, Some(v1(1)), None, Some(Vec::new()), Some(v2(4))], &[]);
    check_with(&mut decoder, &[None, Some(Vec::new())], &[]);
    check_with(&mut decoder, &[], &[]);
}

#[test]
fn only_events_of_an_unknown_writer_are_rejected() {
    let unknown = || confluent(9, &v1(1)[5..]);
    check(&[v1(0), unknown(), v1(2), unknown()], &[(1, Reason::UnknownSchema), (3, Reason::UnknownSchema)]);
    let fingerprint = [[0xc3, 0x01].as_slice(), [5; 8].as_slice(), &v1(1)[5..]].concat();
    check(&[v1(0), fingerprint, v1(2)], &[(1, Reason::UnknownSchema)]);
}

#[test]
fn an_unknown_writer_is_asked_for_once_and_then_known() {
    let values: Vec<Option<Vec<u8>>> = vec![Some(v1(0)), Some(v2(1)), Some(v1(2)), None, Some(v2(4))];
    let batch = frames(&values);
    let mut decoder = decoder(V1, &options(), &["amount"]);
    let mut asked = Vec::new();
    let find = |writer| {
        asked.push(writer);
        if writer == Writer::Id(1) { Ok(V1) } else { Err("the registry is gone".to_owned()) }
    };
    let decoded = decoder.decode(&batch, find).unwrap();
    assert_eq!(asked, [Writer::Id(1), Writer::Id(2)]);
    assert_eq!(decoded.frames, [0, 2]);
    for rejected in &decoded.rejected {
        assert_eq!(rejected.error, "schema id 2 is not known: the registry is gone");
    }
    // The registry is back.
    check_with(&mut decoder, &values, &[]);
    let decoded = decoder.decode(&batch, |writer| -> Result<&str, String> { panic!("{writer} is known") });
    assert_eq!(decoded.unwrap().frames, [0, 1, 2, 4]);
}

#[test]
fn only_events_of_an_incompatible_writer_are_rejected() {
    let incompatible = || confluent(3, &[string("c1"), long(1000)].concat());
    check(
        &[v1(0), incompatible(), v2(2), incompatible()],
        &[(1, Reason::Incompatible), (3, Reason::Incompatible)],
    );
}

/// A writer that lacks a column which nobody uses is no obstacle.
#[test]
fn a_writer_without_an_unused_column_is_compatible() {
    let mut decoder = decoder(V1, &options(), &["place"]);
    let narrow = confluent(3, &[string("c1"), long(1000)].concat());
    let decoded = check_with(&mut decoder, &[Some(v1(0)), Some(narrow)], &[]);
    assert_eq!(texts(&decoded, "place"), [Some("Basel".to_owned()), None]);
}

#[test]
fn every_reject_has_the_reason_of_its_own_frame() {
    let values = [
        v1(0),
        confluent(9, &[0]),
        vec![0, 0],
        v2(3),
        confluent(1, &[1]),
        confluent(3, &[0, 0]),
        b"text".to_vec(),
    ];
    check(
        &values,
        &[
            (1, Reason::UnknownSchema),
            (2, Reason::Framing),
            (4, Reason::Malformed),
            (5, Reason::Incompatible),
            (6, Reason::Malformed),
        ],
    );
}
