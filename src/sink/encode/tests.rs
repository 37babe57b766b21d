//! What rows become, byte by byte where it matters and as model elsewhere.

mod digests;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    DurationMillisecondArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, NullArray,
    RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};

use super::{AS_OF, COMPUTED_AT, Encoder, Error, KeyTemplate, Known, Mark, Options, WARMING};
use crate::sink::memory::{MemorySink, MemoryStore};
use crate::sink::{Sink, Writes};

fn options(key_columns: &[usize]) -> Options {
    Options {
        template: KeyTemplate::default(),
        entity: "card".to_owned(),
        view: "txn".to_owned(),
        key_columns: key_columns.to_vec(),
        ttl: Duration::from_secs(60),
        null_text: None,
        changed_only: false,
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn cards() -> RecordBatch {
    batch(vec![
        ("card_id", Arc::new(StringArray::from(vec![Some("c1"), Some("c2"), None]))),
        ("n", Arc::new(Int64Array::from(vec![Some(3), None, Some(1)]))),
        ("sum", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(1.0)]))),
    ])
}

fn text(writes: &Writes) -> String {
    String::from_utf8(writes.bytes.clone()).unwrap().replace("\r\n", " ")
}

/// One value, written as the feature `f` of an entity.
#[track_caller]
fn check(values: impl arrow::array::Array + 'static, expected: &str) {
    let rows = values.len();
    let keys = Arc::new(Int32Array::from_iter_values(0..i32::try_from(rows).unwrap())) as ArrayRef;
    let rows = batch(vec![("id", keys), ("f", Arc::new(values))]);
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let mut writes = Writes::default();
    encoder.bind(&rows).unwrap().set(0, Known::Absent, 1, 2, &mut writes).unwrap();
    assert_eq!(stored(&writes).hash("features:card:0:txn").unwrap().fields["f"], expected);
}

fn stored(writes: &Writes) -> MemoryStore {
    let mut sink = MemorySink::default();
    sink.write(writes).unwrap();
    sink.store()
}

#[test]
fn a_row_is_one_command_and_its_ttl() {
    let rows = cards();
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let mut writes = Writes::default();
    encoder.bind(&rows).unwrap().set(0, Known::Nothing, 1000, 1001, &mut writes).unwrap();
    assert_eq!(
        text(&writes),
        "*10 $4 HSET $20 features:card:c1:txn $1 n $1 3 $3 sum $3 0.5 $6 _as_of $4 1000 $12 _computed_at $4 1001 \
         *3 $7 PEXPIRE $20 features:card:c1:txn $5 60000 "
    );
    let entry = writes.entries[0];
    assert_eq!((writes.entries.len(), entry.start, entry.end, entry.replies), (1, 0, writes.bytes.len(), 2));
    assert_eq!(writes.key(entry), b"features:card:c1:txn");
}

#[test]
fn nulls_that_may_exist_are_removed() {
    let rows = cards();
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let mut bound = encoder.bind(&rows).unwrap();

    let mut writes = Writes::default();
    bound.set(1, Known::Fields(&|feature| feature == 1), 1, 2, &mut writes).unwrap();
    let commands = text(&writes);
    assert!(commands.starts_with("*6 $4 HSET $20 features:card:c2:txn $6 _as_of"), "{commands}");
    assert!(commands.contains("*3 $4 HDEL $20 features:card:c2:txn $3 sum *3 $7 PEXPIRE"), "{commands}");
    assert!(commands.ends_with("$5 60000 "), "{commands}");
    assert!(writes.entries[0].replies == 3 && writes.entries[0].is_torn());

    let mut writes = Writes::default();
    bound.set(1, Known::Nothing, 1, 2, &mut writes).unwrap();
    assert!(text(&writes).contains("*4 $4 HDEL $20 features:card:c2:txn $1 n $3 sum "));

    let mut writes = Writes::default();
    bound.set(1, Known::Absent, 1, 2, &mut writes).unwrap();
    assert!(!text(&writes).contains("HDEL"));
    assert_eq!(writes.entries[0].replies, 2);
}

#[test]
fn hashes_say_that_events_are_missing_and_say_so_no_more() {
    let rows = cards();
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let written = |mark: Mark, nulls: Known<'_>| {
        let mut writes = Writes::default();
        encoder.bind(&rows).unwrap().marked(mark).set(0, nulls, 1, 2, &mut writes).unwrap();
        writes
    };
    let marked = written(Mark::Warming, Known::Nothing);
    assert!(text(&marked).starts_with("*12 $4 HSET $20 features:card:c1:txn $1 n "), "{}", text(&marked));
    let mut sink = MemorySink::default();
    sink.write(&marked).unwrap();
    let fields = || sink.store().hash("features:card:c1:txn").unwrap().fields;
    assert_eq!((fields().get(WARMING).map(String::as_str), fields().len()), (Some("true"), 5));

    // What is known to have been written without it is left alone.
    let known = written(Mark::Ended, Known::Absent);
    assert_eq!((text(&known), known.entries[0].replies), (text(&written(Mark::Never, Known::Absent)), 2));
    let ended = written(Mark::Ended, Known::Nothing);
    assert_eq!(ended.entries[0].replies, 3);
    sink.write(&ended).unwrap();
    let fields = sink.store().hash("features:card:c1:txn").unwrap().fields;
    assert_eq!((fields.get(WARMING), fields.len()), (None, 4));
}

#[test]
fn many_rows_fields_and_long_names_and_values() {
    let long = "l".repeat(150);
    let names: Vec<String> = (0..70).map(|field| format!("{}_{field}", "n".repeat(field))).collect();
    let rows = 0..200_i32;
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(Int32Array::from_iter_values(rows.clone())))];
    for (name, field) in names.iter().zip(0..) {
        let value = |row: i32| (row % (field + 2) != 0).then_some(row * field);
        columns.push((name, Arc::new(rows.clone().map(value).collect::<Int32Array>())));
    }
    columns.push(("text", Arc::new(StringArray::from_iter_values(rows.clone().map(|_| &long)))));
    let batch = batch(columns);
    let encoder = Encoder::try_new(&options(&[0]), &batch.schema()).unwrap();
    for nulls in [Known::Absent, Known::Nothing] {
        let mut writes = Writes::default();
        let mut bound = encoder.bind(&batch).unwrap();
        // In an order in which blocks of rows are left and come back.
        for row in rows.clone().map(|row| row * 77 % 200) {
            bound.set(usize::try_from(row).unwrap(), nulls, 1, i64::from(row), &mut writes).unwrap();
        }
        let store = stored(&writes);
        for row in rows.clone() {
            let hash = store.hash(&format!("features:card:{row}:txn")).unwrap();
            for (name, field) in names.iter().zip(0..) {
                let expected = (row % (field + 2) != 0).then(|| (row * field).to_string());
                assert_eq!(hash.fields.get(name), expected.as_ref(), "{row} {name}");
            }
            assert_eq!(hash.fields["text"], long);
            assert_eq!(hash.fields[COMPUTED_AT], row.to_string());
        }
    }
}

#[test]
fn null_can_be_a_text() {
    let rows = cards();
    let options = Options { null_text: Some("null".to_owned()), ..options(&[0]) };
    let encoder = Encoder::try_new(&options, &rows.schema()).unwrap();
    let mut writes = Writes::default();
    encoder.bind(&rows).unwrap().set(1, Known::Nothing, 1, 2, &mut writes).unwrap();
    let hash = stored(&writes).hash("features:card:c2:txn").unwrap();
    assert_eq!((hash.fields["n"].as_str(), hash.fields["sum"].as_str()), ("null", "null"));
    assert_eq!((hash.fields[AS_OF].as_str(), hash.fields[COMPUTED_AT].as_str()), ("1", "2"));
    assert_eq!((hash.fields.len(), hash.ttl_ms), (4, Some(60_000)));
}

#[test]
fn keys_of_several_columns_are_joined_and_null_is_none() {
    let rows = cards();
    let encoder = Encoder::try_new(&options(&[1, 0]), &rows.schema()).unwrap();
    let mut bound = encoder.bind(&rows).unwrap();
    let mut key = Vec::new();
    assert_eq!(bound.key(0, &mut key), Some(()));
    assert_eq!(key, b"3:c1");
    assert_eq!(bound.key(1, &mut key), None);
    let mut writes = Writes::default();
    assert_eq!(bound.set(2, Known::Nothing, 1, 2, &mut writes), None);
    assert!(writes.is_empty() && writes.bytes.is_empty());
}

#[test]
fn deleting_and_touching() {
    let rows = cards();
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let mut writes = Writes::default();
    encoder.delete(b"c9", &mut writes);
    encoder.touch(b"c1", &mut writes);
    assert_eq!(
        text(&writes),
        "*2 $3 DEL $20 features:card:c9:txn *3 $7 PEXPIRE $20 features:card:c1:txn $5 60000 "
    );
    let keys: Vec<_> = writes.entries.iter().map(|entry| (writes.key(*entry), entry.replies)).collect();
    assert_eq!(keys, [(b"features:card:c9:txn".as_slice(), 1), (b"features:card:c1:txn".as_slice(), 1)]);
}

#[test]
fn numbers_are_their_shortest_text() {
    check(Int32Array::from(vec![-7]), "-7");
    check(UInt64Array::from(vec![u64::MAX]), "18446744073709551615");
    for (value, expected) in [
        (5.0, "5"),
        (0.1, "0.1"),
        (-0.0, "-0"),
        (1.0 / 3.0, "0.3333333333333333"),
        (1e300, "1e300"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        check(Float64Array::from(vec![value]), expected);
    }
    for value in [123_456_789.123_456_79, f64::MIN_POSITIVE, 1e21, 2.5e-8] {
        let mut buffer = ryu::Buffer::new();
        assert_eq!(buffer.format(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        check(Float64Array::from(vec![value]), buffer.format(value));
    }
    check(Float32Array::from(vec![0.1]), "0.1");
    check(Decimal128Array::from(vec![-12_345]).with_precision_and_scale(10, 2).unwrap(), "-123.45");
    check(BooleanArray::from(vec![true]), "true");
    check(BooleanArray::from(vec![false]), "false");
}

#[test]
fn times_are_epoch_milliseconds() {
    check(TimestampSecondArray::from(vec![5]), "5000");
    check(
        TimestampMicrosecondArray::from(vec![1_700_000_000_123_456]).with_timezone("+00:00"),
        "1700000000123",
    );
    check(TimestampNanosecondArray::from(vec![-1]), "-1");
    check(Date32Array::from(vec![19_723]), "2024-01-01");
    check(DurationMillisecondArray::from(vec![1500]), "PT1.5S");
}

#[test]
fn texts_bytes_and_nested_values() {
    check(StringArray::from(vec!["a b\r\nc"]), "a b\r\nc");
    check(StringArray::from(vec![""]), "");
    check(
        StringViewArray::from(vec!["long enough to stand outside of the view"]),
        "long enough to stand outside of the view",
    );
    check(BinaryArray::from(vec![b"\xff\x00\x01".as_slice()]), "/wAB");
    check(["GBP", "EUR"].into_iter().collect::<DictionaryArray<Int32Type>>(), "GBP");
    check(
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)])]),
        "[1,null,3]",
    );
    let fields = vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1])) as ArrayRef),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef,
        ),
    ];
    check(StructArray::from(fields), r#"{"a":1,"b":null}"#);
}

#[test]
fn a_column_of_nothing_but_nulls_is_removed() {
    let rows = batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1]))),
        ("f", Arc::new(NullArray::new(1))),
        ("g", Arc::new([None::<&str>].into_iter().collect::<DictionaryArray<Int32Type>>())),
    ]);
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let mut writes = Writes::default();
    encoder.bind(&rows).unwrap().set(0, Known::Nothing, 1, 2, &mut writes).unwrap();
    assert!(text(&writes).contains("HDEL $19 features:card:1:txn $1 f $1 g "), "{}", text(&writes));
}

#[test]
fn wrong_schemas_are_refused_at_the_start() {
    let ends = Arc::new(Field::new("run_ends", DataType::Int32, false));
    let values = Arc::new(Field::new("values", DataType::Int32, true));
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("runs", DataType::RunEndEncoded(ends, values), true),
    ]);
    let error = Encoder::try_new(&options(&[0]), &schema).unwrap_err();
    assert!(error.to_string().contains("view `txn` has a column that cannot be written: `runs`"), "{error}");

    let schema = Schema::new(vec![Field::new("_as_of", DataType::Int64, true)]);
    assert!(matches!(Encoder::try_new(&options(&[0]), &schema), Err(Error::ReservedName { .. })));
    assert!(matches!(Encoder::try_new(&options(&[4]), &schema), Err(Error::KeyColumn { .. })));

    let encoder = Encoder::try_new(&options(&[0]), &cards().schema()).unwrap();
    let other = batch(vec![("id", Arc::new(Int32Array::from(vec![1])))]);
    assert!(matches!(encoder.bind(&other), Err(Error::Rows { expected: 3, found: 1, .. })));
}
