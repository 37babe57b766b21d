//! The same bytes through another decoder: random records of the shipped
//! schemas, encoded by apache-avro, must come out as apache-avro reads them,
//! whichever version wrote them and whichever reads them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};

use super::{confluent, frames};
use crate::decode::framing::Framing;
use crate::decode::{Decoded, Options, StreamDecoder, StreamSchema};
use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1, TRANSACTIONS_V2};

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).unwrap()
    }

    /// Small and large numbers, and those at the ends.
    fn long(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => self.number().cast_signed(),
            _ => (self.number() % 4_000_000_000_000).cast_signed() - 2_000_000_000_000,
        }
    }

    fn double(&mut self) -> f64 {
        const RARE: [f64; 5] = [0.0, -0.0, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY];
        match self.below(8) {
            0 => RARE[self.below(RARE.len())],
            _ => f64::from(u32::try_from(self.number() >> 32).unwrap()) / 1000.0 - 1_000_000.0,
        }
    }

    /// Texts short enough to stand inline in a view, and longer ones.
    fn text(&mut self) -> String {
        const TEXTS: [&str; 6] =
            ["", "a", "Zürich", "日本 — 東京", "\u{0}\"\\\n", "exactly twelve and more than that"];
        let text = TEXTS[self.below(TEXTS.len())];
        if self.below(2) == 0 { text.to_owned() } else { format!("{text}{}", self.number()) }
    }

    fn value(&mut self, schema: &Schema) -> Value {
        match schema {
            Schema::Boolean => Value::Boolean(self.below(2) == 1),
            Schema::Long => Value::Long(self.long()),
            Schema::Double => Value::Double(self.double()),
            Schema::String => Value::String(self.text()),
            Schema::TimestampMillis => Value::TimestampMillis(self.long()),
            Schema::Null => Value::Null,
            Schema::Enum(kind) => {
                let symbol = self.below(kind.symbols.len());
                Value::Enum(u32::try_from(symbol).unwrap(), kind.symbols[symbol].clone())
            }
            Schema::Union(union) => {
                let branch = self.below(union.variants().len());
                let value = self.value(&union.variants()[branch]);
                Value::Union(u32::try_from(branch).unwrap(), Box::new(value))
            }
            Schema::Array(array) => {
                Value::Array((0..self.below(4)).map(|_| self.value(&array.items)).collect())
            }
            Schema::Map(map) => {
                let entries: HashMap<String, Value> =
                    (0..self.below(4)).map(|_| (self.text(), self.value(&map.types))).collect();
                Value::Map(entries)
            }
            Schema::Record(record) => Value::Record(
                record.fields.iter().map(|field| (field.name.clone(), self.value(&field.schema))).collect(),
            ),
            other => panic!("no shipped schema has a {other:?}"),
        }
    }
}

/// A value as apache-avro has it, as text.
fn shown_by_avro(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Long(value) | Value::TimestampMillis(value) => value.to_string(),
        Value::Double(value) => format!("{value:?}"),
        Value::String(text) | Value::Enum(_, text) => format!("{text:?}"),
        Value::Union(_, value) => shown_by_avro(value),
        Value::Array(items) => format!("{:?}", items.iter().map(shown_by_avro).collect::<Vec<_>>()),
        Value::Map(entries) => {
            let sorted: BTreeMap<String, String> =
                entries.iter().map(|(key, value)| (format!("{key:?}"), shown_by_avro(value))).collect();
            format!("{sorted:?}")
        }
        other => panic!("no shipped schema has a {other:?}"),
    }
}

/// A value as we have it, as the same text.
fn shown_by_us(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).to_string()
        }
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8View => format!("{:?}", array.as_string_view().value(row)),
        DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            format!(
                "{:?}",
                (0..items.len()).map(|item| shown_by_us(items.as_ref(), item)).collect::<Vec<_>>()
            )
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let shown = |column: usize, entry: usize| shown_by_us(entries.column(column).as_ref(), entry);
            let sorted: BTreeMap<String, String> =
                (0..entries.len()).map(|entry| (shown(0, entry), shown(1, entry))).collect();
            format!("{sorted:?}")
        }
        other => panic!("no shipped schema has a {other}"),
    }
}

/// Frames a body in the way that a stream's framing asks for.
fn framed(framing: Framing, schema: &Schema, body: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Confluent | Framing::Auto => confluent(7, body),
        Framing::SingleObject => {
            let fingerprint = schema.fingerprint::<Rabin>();
            [[0xc3, 0x01].as_slice(), fingerprint.bytes.as_slice(), body].concat()
        }
        Framing::Bare => body.to_vec(),
    }
}

struct Stream {
    key: &'static str,
    writer: &'static str,
    reader: &'static str,
}

impl Stream {
    /// Decodes with the columns in `used`, or with all.
    fn decode(&self, framing: Framing, values: &[Option<Vec<u8>>], used: Option<&[&str]>) -> Decoded {
        let options = Options {
            framing,
            event_time: "timestamp".to_owned(),
            event_time_unit: None,
            key: self.key.to_owned(),
        };
        let schema = StreamSchema::try_new(self.reader, &options).unwrap();
        let used: BTreeSet<String> = match used {
            Some(used) => used.iter().map(|column| (*column).to_owned()).collect(),
            None => schema.table.fields().iter().map(|field| field.name().clone()).collect(),
        };
        let mut decoder = StreamDecoder::try_new(&schema, options, &used).unwrap();
        let frames = frames(values);
        decoder.decode(&frames, |_| Ok(self.writer)).unwrap()
    }
}

/// Compares every column that was decoded, row for row.
#[track_caller]
fn compare(decoded: &Decoded, expected: &[Value], seed: u64) {
    assert!(decoded.rejected.is_empty(), "{:?}, seed {seed}", decoded.rejected);
    assert_eq!(decoded.rows.num_rows(), expected.len(), "seed {seed}");
    let times = decoded.rows.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>();
    for (row, record) in expected.iter().enumerate() {
        let Value::Record(fields) = record else { panic!("{record:?}") };
        for (name, value) in fields {
            if let Some(column) = decoded.rows.column_by_name(name) {
                assert_eq!(
                    shown_by_us(column.as_ref(), row),
                    shown_by_avro(value),
                    "{name} in row {row}, seed {seed}"
                );
            }
            if let ("timestamp", Value::TimestampMillis(millis)) = (name.as_str(), value) {
                assert_eq!(times.value(row), millis.saturating_mul(1000), "row {row}, seed {seed}");
            }
        }
    }
}

#[track_caller]
fn check(stream: &Stream, framing: Framing, some: &[&str]) {
    let writer = Schema::parse_str(stream.writer).unwrap();
    let reader = Schema::parse_str(stream.reader).unwrap();
    for seed in 0..4 {
        let mut random = Random(seed);
        let encoder = GenericDatumWriter::builder(&writer).build().unwrap();
        let bodies: Vec<Vec<u8>> =
            (0..100).map(|_| encoder.write_value_to_vec(random.value(&writer)).unwrap()).collect();
        let other = GenericDatumReader::builder(&writer).reader_schema(&reader).build().unwrap();
        let expected: Vec<Value> =
            bodies.iter().map(|body| other.read_value(&mut body.as_slice()).unwrap()).collect();
        let values: Vec<Option<Vec<u8>>> =
            bodies.iter().map(|body| Some(framed(framing, &writer, body))).collect();
        let decoded = stream.decode(framing, &values, None);
        assert_eq!(decoded.rows.num_columns(), reader_fields(&reader) + 4);
        compare(&decoded, &expected, seed);
        let decoded = stream.decode(framing, &values, Some(some));
        for column in some {
            assert!(decoded.rows.column_by_name(column).is_some(), "{column}");
        }
        compare(&decoded, &expected, seed);
    }
}

fn reader_fields(schema: &Schema) -> usize {
    let Schema::Record(record) = schema else { panic!("{schema:?}") };
    record.fields.len()
}

const fn transactions(writer: &'static str, reader: &'static str) -> Stream {
    Stream { key: "card_id", writer, reader }
}

#[test]
fn transactions_of_both_versions_under_both_versions() {
    for writer in [TRANSACTIONS_V1, TRANSACTIONS_V2] {
        for reader in [TRANSACTIONS_V1, TRANSACTIONS_V2] {
            let stream = transactions(writer, reader);
            check(&stream, Framing::Auto, &["amount", "currency", "geo_country"]);
            check(&stream, Framing::SingleObject, &["metadata", "processing_time"]);
        }
    }
    check(&transactions(TRANSACTIONS_V2, TRANSACTIONS_V2), Framing::Bare, &["is_fraud", "payment_method"]);
}

#[test]
fn clicks_with_their_arrays_and_maps() {
    let stream = Stream { key: "user_id", writer: CLICKS_V1, reader: CLICKS_V1 };
    for framing in [Framing::Confluent, Framing::SingleObject, Framing::Bare] {
        check(&stream, framing, &["experiment_ids", "metadata", "page_type"]);
        check(&stream, framing, &["dwell_time_ms", "action_type"]);
    }
}

#[test]
fn devices_with_their_maps() {
    let stream = Stream { key: "device_id", writer: DEVICES_V1, reader: DEVICES_V1 };
    for framing in [Framing::Confluent, Framing::SingleObject, Framing::Bare] {
        check(&stream, framing, &["ip_address", "metadata"]);
    }
}

/// One transaction of `writer` with some of its fields set, as `reader` has it.
fn read(writer: &'static str, reader: &'static str, set: &[(&str, Value)]) -> HashMap<String, String> {
    let schema = Schema::parse_str(writer).unwrap();
    let Value::Record(mut fields) = Random(1).value(&schema) else { panic!("{schema:?}") };
    for (name, value) in set {
        fields.iter_mut().find(|(field, _)| field == name).unwrap().1 = value.clone();
    }
    let encoder = GenericDatumWriter::builder(&schema).build().unwrap();
    let body = encoder.write_value_to_vec(Value::Record(fields)).unwrap();
    let decoded = transactions(writer, reader).decode(Framing::Auto, &[Some(confluent(7, &body))], None);
    let schema = decoded.rows.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    names
        .zip(decoded.rows.columns())
        .filter(|(name, _)| name != "event_time" && !name.starts_with('_'))
        .map(|(name, column)| (name, shown_by_us(column.as_ref(), 0)))
        .collect()
}

#[test]
fn version_one_gives_version_two_its_defaults() {
    let row = read(TRANSACTIONS_V1, TRANSACTIONS_V2, &[("amount", Value::Double(12.5))]);
    let expected = [
        ("amount", "12.5"),
        ("merchant_id", "null"),
        ("merchant_name", "null"),
        ("merchant_category", "null"),
        ("risk_score", "null"),
        ("payment_method", "\"UNKNOWN\""),
        ("is_fraud", "false"),
    ];
    for (name, value) in expected {
        assert_eq!(row[name], value, "{name}");
    }
}

#[test]
fn a_currency_that_version_one_does_not_know_reads_as_its_default() {
    let currency = |index: u32, symbol: &str| [("currency", Value::Enum(index, symbol.to_owned()))];
    let row = read(TRANSACTIONS_V2, TRANSACTIONS_V1, &currency(9, "CHF"));
    assert_eq!((row["currency"].as_str(), row.contains_key("is_fraud")), ("\"USD\"", false));
    let row = read(TRANSACTIONS_V2, TRANSACTIONS_V1, &currency(2, "GBP"));
    assert_eq!(row["currency"], "\"GBP\"");
}
