//! An event as people write it, or as a file has it, into the value that a
//! topic would hold: the Avro body under the stream's own schema.
//!
//! | in JSON | becomes |
//! |---|---|
//! | a member that is missing | the field's default; null, where it may be null |
//! | a number, or RFC 3339 text, for a timestamp | the timestamp |
//! | a value, or `{"string": "x"}` as Avro's own JSON has it, for a union | the branch that it fits |
//! | a member that the schema does not have | nothing |

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::EnumSchema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::Value as Json;

use crate::config::StreamConfig;
use crate::decode::reader::TimestampUnit;
use crate::time::EventTime;

#[cfg(test)]
mod tests;

/// An event as a topic would hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The value, without framing.
    pub(super) body: Vec<u8>,
    /// The column by which the topic is partitioned, as text.
    pub(super) key: Option<String>,
    /// When it happened.
    pub(super) time: Option<EventTime>,
}

/// Converts the events of one stream.
pub(super) struct Converter<'s> {
    stream: &'s StreamConfig,
    schema: &'s Schema,
    /// The types that the schema names, by their names without namespace.
    named: BTreeMap<&'s str, &'s Schema>,
    writer: GenericDatumWriter<'s>,
}

impl<'s> Converter<'s> {
    /// A converter for a stream and its schema.
    ///
    /// # Errors
    /// When the schema refers to a type that it does not have.
    pub(super) fn try_new(stream: &'s StreamConfig, schema: &'s Schema) -> Result<Self, apache_avro::Error> {
        let mut named = BTreeMap::new();
        collect_named(schema, &mut named);
        let writer = GenericDatumWriter::builder(schema).build()?;
        Ok(Self { stream, schema, named, writer })
    }

    /// The stream's schema.
    pub(super) const fn schema(&self) -> &'s Schema {
        self.schema
    }

    /// An event that is a JSON object.
    ///
    /// # Errors
    /// One sentence: which field is what it should not be.
    pub(super) fn json(&self, event: &Json) -> Result<Event, String> {
        self.avro(self.value(event, self.schema, "")?)
    }

    /// An event that is a record of the schema.
    ///
    /// # Errors
    /// One sentence, when it is not.
    pub(super) fn avro(&self, record: Value) -> Result<Event, String> {
        let (time, key) = (self.time_of(&record), self.key_of(&record));
        let body = self.writer.write_value_to_vec(record).map_err(|error| error.to_string())?;
        Ok(Event { body, key, time })
    }

    fn value(&self, json: &Json, schema: &Schema, path: &str) -> Result<Value, String> {
        let wrong = |wanted: &str| format!("{}: {wanted} is wanted, not {}", place(path), shown(json));
        match schema {
            Schema::Null => json.is_null().then_some(Value::Null).ok_or_else(|| wrong("null")),
            Schema::Boolean => json.as_bool().map(Value::Boolean).ok_or_else(|| wrong("true or false")),
            Schema::Int => {
                let number = json.as_i64().and_then(|number| i32::try_from(number).ok());
                number.map(Value::Int).ok_or_else(|| wrong("a whole number of 32 bits"))
            }
            Schema::Long => json.as_i64().map(Value::Long).ok_or_else(|| wrong("a whole number")),
            Schema::Double => float(json).map(Value::Double).ok_or_else(|| wrong("a number")),
            #[expect(clippy::cast_possible_truncation, reason = "the schema has no more than that")]
            Schema::Float => {
                float(json).map(|number| Value::Float(number as f32)).ok_or_else(|| wrong("a number"))
            }
            Schema::String => {
                json.as_str().map(|text| Value::String(text.to_owned())).ok_or_else(|| wrong("text"))
            }
            Schema::Bytes => bytes(json).map(Value::Bytes).ok_or_else(|| wrong("text of bytes")),
            Schema::TimestampMillis => {
                instant(json, TimestampUnit::Millis).map(Value::TimestampMillis).ok_or_else(|| wrong(TIME))
            }
            Schema::TimestampMicros => {
                instant(json, TimestampUnit::Micros).map(Value::TimestampMicros).ok_or_else(|| wrong(TIME))
            }
            Schema::TimestampNanos => {
                instant(json, TimestampUnit::Nanos).map(Value::TimestampNanos).ok_or_else(|| wrong(TIME))
            }
            Schema::Enum(symbols) => {
                let text = json.as_str().ok_or_else(|| wrong("the name of a symbol"))?;
                symbol(text, symbols).ok_or_else(|| wrong(&format!("one of {}", symbols.symbols.join(", "))))
            }
            Schema::Array(array) => {
                let items = json.as_array().ok_or_else(|| wrong("a list"))?;
                let item = |(index, item): (usize, &Json)| {
                    self.value(item, &array.items, &format!("{path}[{index}]"))
                };
                items.iter().enumerate().map(item).collect::<Result<_, _>>().map(Value::Array)
            }
            Schema::Map(map) => {
                let members = json.as_object().ok_or_else(|| wrong("an object"))?;
                let member = |(name, member): (&String, &Json)| {
                    Ok((name.clone(), self.value(member, &map.types, &inner(path, name))?))
                };
                members.iter().map(member).collect::<Result<_, String>>().map(Value::Map)
            }
            Schema::Record(record) => {
                let members = json.as_object().ok_or_else(|| wrong("an object"))?;
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    let path = inner(path, &field.name);
                    let given = members.get(&field.name).or(field.default.as_ref());
                    let value = match given {
                        Some(given) => self.field(given, &field.schema, &path)?,
                        None if may_be_null(&field.schema) => {
                            self.value(&Json::Null, &field.schema, &path)?
                        }
                        None => return Err(format!("{} is missing and has no default", place(&path))),
                    };
                    fields.push((field.name.clone(), value));
                }
                Ok(Value::Record(fields))
            }
            Schema::Union(union) => self.branch(json, union.variants(), path),
            Schema::Ref { name } => match self.named.get(name.name()) {
                Some(schema) => self.value(json, schema, path),
                None => Err(format!("{}: its type `{}` is not in the schema", place(path), name.name())),
            },
            // Decimals, dates, UUIDs and their like: as Avro's own library takes them from JSON.
            other => Value::try_from(json.clone())
                .and_then(|value| value.resolve(other))
                .map_err(|error| format!("{}: {error}", place(path))),
        }
    }

    /// A member of a record. The stream's event time may be written as text even
    /// where it is a plain number.
    fn field(&self, given: &Json, schema: &Schema, path: &str) -> Result<Value, String> {
        if path == self.stream.event_time
            && let (Some(unit), Json::String(_)) = (self.stream.event_time_unit, given)
            && is_plain_number(schema)
            && let Some(number) = instant(given, unit)
        {
            return self.value(&Json::from(number), schema, path);
        }
        self.value(given, schema, path)
    }

    /// The first branch of a union that the value fits.
    fn branch(&self, json: &Json, variants: &[Schema], path: &str) -> Result<Value, String> {
        if let Some(members) = json.as_object()
            && let (Some((name, inside)), 1) = (members.iter().next(), members.len())
            && let Some(short) = name.rsplit('.').next()
            && let Some(index) = variants.iter().position(|variant| branch_name(variant) == Some(short))
            && let Ok(value) = self.value(inside, &variants[index], path)
        {
            return union(index, value);
        }
        let mut errors = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            match self.value(json, variant, path) {
                Ok(value) => return union(index, value),
                Err(_) if matches!(variant, Schema::Null) => {}
                Err(error) => errors.push(error),
            }
        }
        match <[String; 1]>::try_from(errors) {
            Ok([error]) => Err(error),
            Err(_) => Err(format!("{}: {} fits no branch of its union", place(path), shown(json))),
        }
    }

    fn time_of(&self, record: &Value) -> Option<EventTime> {
        match column(record, &self.stream.event_time)? {
            Value::TimestampMillis(time) | Value::LocalTimestampMillis(time) => {
                Some(EventTime::from_millis(*time))
            }
            Value::TimestampMicros(time) | Value::LocalTimestampMicros(time) => Some(EventTime(*time)),
            Value::TimestampNanos(time) | Value::LocalTimestampNanos(time) => {
                Some(EventTime(time.div_euclid(1000)))
            }
            Value::Long(number) => self.stream.event_time_unit.map(|unit| in_unit(*number, unit)),
            Value::Int(number) => self.stream.event_time_unit.map(|unit| in_unit(i64::from(*number), unit)),
            _ => None,
        }
    }

    fn key_of(&self, record: &Value) -> Option<String> {
        match column(record, &self.stream.key)? {
            Value::String(text) | Value::Enum(_, text) => Some(text.clone()),
            Value::Long(number) => Some(number.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Uuid(uuid) => Some(uuid.to_string()),
            _ => None,
        }
    }
}

/// What a timestamp may be, for messages.
const TIME: &str = "a whole number or RFC 3339 text (2026-01-31T12:00:00Z)";

/// A field as messages call it.
fn place(path: &str) -> String {
    if path.is_empty() { "the event".to_owned() } else { format!("field `{path}`") }
}

fn inner(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value as messages show it.
fn shown(json: &Json) -> String {
    /// Longer ones are cut: a message is a line.
    const MOST: usize = 40;
    match json {
        Json::Object(_) => "an object".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() <= MOST {
                text
            } else {
                text.chars().take(MOST).chain(std::iter::once('…')).collect()
            }
        }
    }
}

/// A column's value, without the union around it.
fn column<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Record(fields) = record else { return None };
    match &fields.iter().find(|(field, _)| field == name)?.1 {
        Value::Union(_, value) => Some(value),
        value => Some(value),
    }
}

fn union(index: usize, value: Value) -> Result<Value, String> {
    let index = u32::try_from(index).map_err(|error| error.to_string())?;
    Ok(Value::Union(index, Box::new(value)))
}

fn may_be_null(schema: &Schema) -> bool {
    match schema {
        Schema::Null => true,
        Schema::Union(union) => union.variants().iter().any(|variant| matches!(variant, Schema::Null)),
        _ => false,
    }
}

fn is_plain_number(schema: &Schema) -> bool {
    match schema {
        Schema::Int | Schema::Long => true,
        Schema::Union(union) => union.variants().iter().any(is_plain_number),
        _ => false,
    }
}

/// JSON has no NaN and no infinities; they are written as text.
fn float(json: &Json) -> Option<f64> {
    match json.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity" | "INF") => Some(f64::INFINITY),
        Some("-Infinity" | "-INF") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => json.as_f64(),
    }
}

/// Avro's JSON has bytes as text, a character a byte.
fn bytes(json: &Json) -> Option<Vec<u8>> {
    json.as_str()?.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

/// A symbol; one that the schema does not know becomes its default, as a newer writer's would.
fn symbol(text: &str, schema: &EnumSchema) -> Option<Value> {
    let find = |wanted: &str| schema.symbols.iter().position(|symbol| symbol == wanted);
    let index = find(text).or_else(|| schema.default.as_deref().and_then(find))?;
    Some(Value::Enum(u32::try_from(index).ok()?, schema.symbols[index].clone()))
}

/// A point in time as a number of units since the epoch.
fn instant(json: &Json, unit: TimestampUnit) -> Option<i64> {
    if let Some(number) = json.as_i64() {
        return Some(number);
    }
    let time = chrono::DateTime::parse_from_rfc3339(json.as_str()?.trim()).ok()?;
    match unit {
        TimestampUnit::Seconds => Some(time.timestamp()),
        TimestampUnit::Millis => Some(time.timestamp_millis()),
        TimestampUnit::Micros => Some(time.timestamp_micros()),
        TimestampUnit::Nanos => time.timestamp_nanos_opt(),
    }
}

const fn in_unit(number: i64, unit: TimestampUnit) -> EventTime {
    match unit {
        TimestampUnit::Seconds => EventTime(number.saturating_mul(1_000_000)),
        TimestampUnit::Millis => EventTime::from_millis(number),
        TimestampUnit::Micros => EventTime(number),
        TimestampUnit::Nanos => EventTime(number.div_euclid(1000)),
    }
}

/// What Avro's own JSON calls a branch of a union.
fn branch_name(schema: &Schema) -> Option<&str> {
    match schema {
        Schema::Boolean => Some("boolean"),
        Schema::Int | Schema::Date | Schema::TimeMillis => Some("int"),
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos => Some("long"),
        Schema::Float => Some("float"),
        Schema::Double => Some("double"),
        Schema::Bytes => Some("bytes"),
        Schema::String => Some("string"),
        Schema::Array(_) => Some("array"),
        Schema::Map(_) => Some("map"),
        Schema::Record(record) => Some(record.name.name()),
        Schema::Enum(symbols) => Some(symbols.name.name()),
        Schema::Ref { name } => Some(name.name()),
        _ => None,
    }
}

fn collect_named<'s>(schema: &'s Schema, named: &mut BTreeMap<&'s str, &'s Schema>) {
    match schema {
        Schema::Record(record) => {
            named.insert(record.name.name(), schema);
            record.fields.iter().for_each(|field| collect_named(&field.schema, named));
        }
        Schema::Enum(symbols) => {
            named.insert(symbols.name.name(), schema);
        }
        Schema::Fixed(fixed) => {
            named.insert(fixed.name.name(), schema);
        }
        Schema::Array(array) => collect_named(&array.items, named),
        Schema::Map(map) => collect_named(&map.types, named),
        Schema::Union(union) => union.variants().iter().for_each(|variant| collect_named(variant, named)),
        _ => {}
    }
}
