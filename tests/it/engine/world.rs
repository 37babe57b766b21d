//! Streams in memory: what of them is accepted, views over them, and their rows
//! by plain SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use windrow::decode::reader::{
    EVENT_TIME, OFFSET, PARTITION, TIMESTAMP, projected_schema, table_schema, timestamp_type,
};
use windrow::evaluate::reference::Rows;
use windrow::time::TIMESTAMP_ZONE;
use windrow::view::plan::{Planner, ViewFile};
use windrow::view::{FeatureView, Stream, Streams};

/// Texts of columns without their own.
const TEXTS: [&str; 5] = ["A", "B", "6011", "5311", "a text that is too long to be kept in a view"];

/// Numbers at the ends of what there is.
const HUGE: [i64; 6] = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];
const WILD: [f64; 9] = [f64::NEG_INFINITY, -1e300, -1e-300, -0.0, 0.0, 0.1, 1e300, f64::INFINITY, f64::NAN];

/// An event, before it has columns.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub partition: i32,
    pub time_us: i64,
    pub card: u8,
    /// Decides all other columns.
    pub salt: u64,
}

/// Small streams for templates.
pub fn small() -> Streams {
    let table = |own: &[(&str, DataType)]| {
        let mut fields: Vec<Field> =
            own.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        fields.push(Field::new(EVENT_TIME, timestamp_type(), false));
        fields.push(Field::new(PARTITION, DataType::Int32, false));
        fields.push(Field::new(OFFSET, DataType::Int64, false));
        fields.push(Field::new(TIMESTAMP, timestamp_type(), true));
        Arc::new(Schema::new(fields))
    };
    let (text, int, float) = (DataType::Utf8View, DataType::Int64, DataType::Float64);
    let transactions = [
        ("card_id", text.clone()),
        ("device", text.clone()),
        ("mcc", text.clone()),
        ("n", int.clone()),
        ("amount", float.clone()),
        ("level", DataType::Int32),
        ("flag", DataType::Boolean),
        ("huge", int.clone()),
        ("wild", float),
        ("price", DataType::Decimal128(9, 2)),
        ("seen", timestamp_type()),
    ];
    let clicks = [("card_id", text.clone()), ("page", int), ("place", text)];
    Streams::new(vec![
        stream("transactions", "card_id", table(&transactions)),
        stream("clicks", "card_id", table(&clicks)),
    ])
}

/// The shipped streams.
pub fn shipped() -> Streams {
    let schema = |name: &str| {
        let path = format!("schemas/{name}.avsc");
        table_schema(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    Streams::new(vec![
        stream("transactions", "card_id", schema("transactions.v2")),
        stream("clicks", "user_id", schema("clicks.v1")),
        stream("devices", "device_id", schema("devices.v1")),
    ])
}

fn stream(name: &str, key: &str, table: SchemaRef) -> Stream {
    Stream { name: name.to_owned(), topic: name.to_owned(), key: key.to_owned(), table }
}

/// Plans a view.
///
/// # Panics
/// When it is refused.
#[track_caller]
pub fn plan(streams: &Streams, stem: &str, text: String) -> Arc<FeatureView> {
    let file = ViewFile { path: format!("{stem}.sql"), stem: stem.to_owned(), text };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(Planner::new(streams).plan(&file)) {
        Ok(view) => Arc::new(view),
        Err(problems) => {
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}\nis refused:\n{}", file.text, said.join("\n"))
        }
    }
}

/// The columns of a stream that a view has decoded.
pub fn decoded(streams: &Streams, view: &FeatureView, stream: &str) -> SchemaRef {
    let table = &streams.get(streams.id(stream).unwrap()).table;
    let scans = view.scans.iter().filter(|scan| scan.stream == stream);
    projected_schema(table, &scans.flat_map(|scan| scan.columns.iter().cloned()).collect())
}

/// Events as rows of their stream; offsets count from `first`.
pub fn rows(schema: &SchemaRef, key: &str, events: &[Event], first: i64) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| column(field, key, events, first)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn column(field: &Field, key: &str, events: &[Event], first: i64) -> ArrayRef {
    let times = |micros: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(micros).with_timezone(TIMESTAMP_ZONE))
    };
    let name = field.name().as_str();
    match name {
        EVENT_TIME | TIMESTAMP => return times(events.iter().map(|event| event.time_us).collect()),
        PARTITION => {
            return Arc::new(Int32Array::from_iter_values(events.iter().map(|event| event.partition)));
        }
        OFFSET => return Arc::new(Int64Array::from_iter_values((first..).take(events.len()))),
        _ => {}
    }
    // Another number for every column of an event.
    let salts = events.iter().map(|event| {
        let mixed = name.bytes().fold(event.salt, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
        });
        let is_null = field.is_nullable() && mixed.is_multiple_of(7);
        (!is_null).then_some(mixed >> 8)
    });
    let small = |salt: u64| i64::try_from(salt % 9).unwrap_or_default() - 3;
    match field.data_type() {
        DataType::Utf8View if name == key => {
            // Few events have no entity.
            let has_card = |event: &Event| event.card > 0 || !field.is_nullable();
            let card = |event: &Event| has_card(event).then(|| format!("c{}", event.card));
            Arc::new(events.iter().map(card).collect::<StringViewArray>())
        }
        DataType::Utf8View if name == "action_type" => {
            let actions = ["VIEW", "CLICK", "ADD_TO_CART", "REMOVE_FROM_CART", "PURCHASE"];
            Arc::new(salts.map(|salt| salt.map(|salt| pick(&actions, salt))).collect::<StringViewArray>())
        }
        DataType::Utf8View => {
            Arc::new(salts.map(|salt| salt.map(|salt| pick(&TEXTS, salt))).collect::<StringViewArray>())
        }
        DataType::Float64 if name == "wild" => {
            Arc::new(salts.map(|salt| salt.map(|salt| pick(&WILD, salt))).collect::<Float64Array>())
        }
        DataType::Float64 => {
            let quarter = |salt: u64| f64::from(i32::try_from(small(salt)).unwrap_or_default()) / 4.0;
            Arc::new(salts.map(|salt| salt.map(quarter)).collect::<Float64Array>())
        }
        DataType::Int64 if name == "huge" => {
            Arc::new(salts.map(|salt| salt.map(|salt| pick(&HUGE, salt))).collect::<Int64Array>())
        }
        DataType::Decimal128(precision, scale) => {
            let cents = salts.map(|salt| salt.map(|salt| i128::from(small(salt)) * 50));
            let decimals = cents.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale);
            Arc::new(decimals.unwrap())
        }
        DataType::Int64 => Arc::new(salts.map(|salt| salt.map(small)).collect::<Int64Array>()),
        DataType::Int32 => {
            let narrow = |salt: u64| i32::try_from(small(salt)).unwrap_or_default();
            Arc::new(salts.map(|salt| salt.map(narrow)).collect::<Int32Array>())
        }
        DataType::Boolean => {
            Arc::new(salts.map(|salt| salt.map(|salt| salt.is_multiple_of(2))).collect::<BooleanArray>())
        }
        DataType::Timestamp(..) => {
            let times = times(events.iter().map(|event| event.time_us).collect());
            arrow::compute::cast(&times, field.data_type()).unwrap()
        }
        other => new_null_array(other, events.len()),
    }
}

fn pick<T: Copy>(values: &[T], salt: u64) -> T {
    let count = u64::try_from(values.len()).expect("a test has few values");
    values[usize::try_from(salt % count).expect("it is below the count")]
}

/// Everything that was accepted, by stream.
#[derive(Debug, Default)]
pub struct Kept(pub BTreeMap<String, (Option<SchemaRef>, Vec<RecordBatch>)>);

impl Rows for Kept {
    fn rows(&self, stream: &str, _: windrow::time::EventTime) -> (SchemaRef, Vec<RecordBatch>) {
        let (schema, batches) = &self.0[stream];
        (schema.clone().expect("it is set"), batches.clone())
    }
}

/// Rows by the text of their key.
pub type Table = BTreeMap<String, Vec<ScalarValue>>;

/// The keys of rows, `None` for those that have none.
pub fn keys(view: &FeatureView, rows: &RecordBatch) -> Vec<Option<String>> {
    let part = |row: usize, column: usize| {
        let value = ScalarValue::try_from_array(rows.column(column), row).unwrap();
        (!value.is_null()).then(|| value.to_string())
    };
    (0..rows.num_rows())
        .map(|row| {
            let parts: Option<Vec<String>> = view.key.iter().map(|column| part(row, *column)).collect();
            parts.map(|parts| parts.join(":"))
        })
        .collect()
}

/// Rows as they are published.
#[track_caller]
pub fn table(view: &FeatureView, rows: &RecordBatch) -> Table {
    let mut table = Table::new();
    for (row, key) in keys(view, rows).into_iter().enumerate() {
        let Some(key) = key else { continue };
        let values =
            rows.columns().iter().map(|column| ScalarValue::try_from_array(column, row).unwrap()).collect();
        assert!(table.insert(key.clone(), values).is_none(), "{key} has two rows");
    }
    table
}

/// What differs, in words.
pub fn difference(view: &FeatureView, found: &Table, expected: &Table) -> Option<String> {
    for (key, row) in expected {
        let Some(own) = found.get(key) else {
            return Some(format!("{key} has no row, and should have {row:?}"));
        };
        for ((field, own), value) in view.output.fields().iter().zip(own).zip(row) {
            if !same(own, value) {
                return Some(format!("{key} {}: {own:?}, and should be {value:?}", field.name()));
            }
        }
    }
    let more = found.keys().find(|key| !expected.contains_key(*key))?;
    Some(format!("{more} has a row, and should have none"))
}

/// Sums of floats may differ by the order in which they were added.
#[expect(clippy::float_cmp, reason = "infinities are equal only so")]
fn same(found: &ScalarValue, expected: &ScalarValue) -> bool {
    match (found, expected) {
        (ScalarValue::Float64(Some(found)), ScalarValue::Float64(Some(expected))) => {
            found == expected
                || (found.is_nan() && expected.is_nan())
                || (found - expected).abs() <= 1e-9 * found.abs().max(expected.abs()).max(1e-3)
        }
        _ => found == expected,
    }
}
