//! The reader's schema of a stream: what its table looks like, and the part of
//! the Avro schema that has to be decoded for the columns in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::Value;

use super::Error;
use super::avro::BodyDecoder;
use super::framing::Writer;
use crate::time::TIMESTAMP_ZONE;

/// The column that every stream's table has beside its own.
pub const EVENT_TIME: &str = "event_time";
/// The partition's number.
pub const PARTITION: &str = "_partition";
/// The event's offset.
pub const OFFSET: &str = "_offset";
/// Kafka's own timestamp.
pub const TIMESTAMP: &str = "_timestamp";

/// The unit of an event time that is a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// The type of `event_time` and `_timestamp`.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(TIMESTAMP_ZONE.into()))
}

/// The type that a column has in SQL: text, and an enum's symbols, as views.
fn table_type(decoded: &DataType) -> DataType {
    match decoded {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Dictionary(_, values) if values.is_string() => DataType::Utf8View,
        other => other.clone(),
    }
}

/// What a stream's table looks like, for planning: every column of the schema,
/// then `event_time`, `_partition`, `_offset`, `_timestamp`.
///
/// # Errors
/// When the schema cannot be read into columns.
pub fn table_schema(avro: &str) -> Result<SchemaRef, Error> {
    let decoder = BodyDecoder::try_new(Writer::Stream, avro, avro).map_err(Error::Schema)?;
    let mut fields: Vec<Field> = decoder
        .schema()
        .fields()
        .iter()
        .filter(|field| field.name() != EVENT_TIME)
        .map(|field| Field::new(field.name(), table_type(field.data_type()), field.is_nullable()))
        .collect();
    for reserved in [PARTITION, OFFSET, TIMESTAMP] {
        if fields.iter().any(|field| field.name() == reserved) {
            return Err(Error::Reserved { column: reserved.to_owned() });
        }
    }
    fields.push(Field::new(EVENT_TIME, timestamp_type(), false));
    fields.push(Field::new(PARTITION, DataType::Int32, false));
    fields.push(Field::new(OFFSET, DataType::Int64, false));
    fields.push(Field::new(TIMESTAMP, timestamp_type(), true));
    Ok(Arc::new(Schema::new(fields)))
}

/// The table's schema with the columns in `used` and the four of ours.
pub fn projected_schema(table: &Schema, used: &BTreeSet<String>) -> SchemaRef {
    let ours = [EVENT_TIME, PARTITION, OFFSET, TIMESTAMP];
    let fields: Vec<_> = table
        .fields()
        .iter()
        .filter(|field| ours.contains(&field.name().as_str()) || used.contains(field.name()))
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

/// The part of an Avro record schema that has the fields in `used`: decoding
/// skips the bytes of the others.
///
/// # Errors
/// When the schema is no record.
pub fn projected_avro(avro: &str, used: &BTreeSet<String>) -> Result<String, Error> {
    let mut schema: Value = serde_json::from_str(avro).map_err(|error| Error::Schema(error.to_string()))?;
    let mut named = BTreeMap::new();
    collect_named(&schema, &mut named);
    let fields = schema
        .get_mut("fields")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| Error::Schema("the schema is not a record".to_owned()))?;
    fields.retain(|field| field.get("name").and_then(Value::as_str).is_some_and(|name| used.contains(name)));
    // A type that was defined in a dropped field is defined where it is first used instead.
    let mut defined = BTreeSet::new();
    for field in fields.iter_mut() {
        if let Some(kind) = field.get_mut("type") {
            define_named(kind, &named, &mut defined);
        }
    }
    Ok(schema.to_string())
}

fn collect_named(schema: &Value, named: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Array(branches) => branches.iter().for_each(|branch| collect_named(branch, named)),
        Value::Object(object) => {
            if let Some(name) = object.get("name").and_then(Value::as_str)
                && matches!(object.get("type").and_then(Value::as_str), Some("record" | "enum" | "fixed"))
            {
                named.insert(name.to_owned(), schema.clone());
            }
            for key in ["type", "items", "values", "fields"] {
                if let Some(inner) = object.get(key) {
                    collect_named(inner, named);
                }
            }
        }
        _ => {}
    }
}

fn define_named(schema: &mut Value, named: &BTreeMap<String, Value>, defined: &mut BTreeSet<String>) {
    match schema {
        Value::String(name) => {
            let short = name.rsplit('.').next().unwrap_or(name).to_owned();
            if let Some(definition) = named.get(name.as_str()).or_else(|| named.get(&short))
                && defined.insert(short)
            {
                let mut definition = definition.clone();
                define_inner(&mut definition, named, defined);
                *schema = definition;
            }
        }
        Value::Array(branches) => {
            branches.iter_mut().for_each(|branch| define_named(branch, named, defined));
        }
        Value::Object(_) => {
            let name = schema.get("name").and_then(Value::as_str).map(ToOwned::to_owned);
            if let Some(name) = name
                && matches!(schema.get("type").and_then(Value::as_str), Some("record" | "enum" | "fixed"))
            {
                defined.insert(name);
            }
            define_inner(schema, named, defined);
        }
        _ => {}
    }
}

fn define_inner(schema: &mut Value, named: &BTreeMap<String, Value>, defined: &mut BTreeSet<String>) {
    let is_wrapper = schema.get("type").is_some_and(|kind| !kind.is_string());
    for key in ["items", "values"] {
        if let Some(inner) = schema.get_mut(key) {
            define_named(inner, named, defined);
        }
    }
    if is_wrapper && let Some(inner) = schema.get_mut("type") {
        define_named(inner, named, defined);
    }
    if let Some(fields) = schema.get_mut("fields").and_then(Value::as_array_mut) {
        for field in fields {
            if let Some(kind) = field.get_mut("type") {
                define_named(kind, named, defined);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_defined_in_a_dropped_field_moves_to_its_first_use() {
        let avro = r#"{"type":"record","name":"R","fields":[
            {"name":"a","type":{"type":"enum","name":"E","symbols":["X","Y"]}},
            {"name":"b","type":["null","E"]},
            {"name":"c","type":"long"}]}"#;
        let projected = projected_avro(avro, &BTreeSet::from(["b".to_owned()])).unwrap();
        let schema: Value = serde_json::from_str(&projected).unwrap();
        assert_eq!(schema["fields"].as_array().unwrap().len(), 1);
        assert_eq!(schema["fields"][0]["type"][1]["symbols"][1], "Y");
    }

    #[test]
    fn enums_are_text_and_our_columns_come_last() {
        let avro = r#"{"type":"record","name":"R","fields":[
            {"name":"a","type":{"type":"enum","name":"E","symbols":["X","Y"]}}]}"#;
        let schema = table_schema(avro).unwrap();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(columns, ["a", EVENT_TIME, PARTITION, OFFSET, TIMESTAMP]);
        assert_eq!(schema.field(0).data_type(), &DataType::Utf8View);
    }
}
