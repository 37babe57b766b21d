//! Events as JSON, and the values that they become.

use serde_json::json;

use super::*;
use crate::config::{DeadLetters, SchemaSource};
use crate::decode::framing::Framing;

const SCHEMA: &str = r#"{"type": "record", "name": "R", "namespace": "n", "fields": [
    {"name": "id", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "amount", "type": "double"},
    {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A", "B"], "default": "B"}},
    {"name": "other", "type": ["null", "K"]},
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}}]}"#;

fn stream(event_time: &str, event_time_unit: Option<TimestampUnit>) -> StreamConfig {
    StreamConfig {
        name: "s".into(),
        topic: "t".into(),
        key: "id".into(),
        event_time: event_time.into(),
        event_time_unit,
        schema: SchemaSource::File("s.avsc".into()),
        framing: Framing::Bare,
        schema_ids: BTreeMap::new(),
        dead_letters: DeadLetters::Topic("t.dlq".into()),
        place: None,
    }
}

fn read(event: &Json) -> Result<(Event, Value), String> {
    let (stream, schema) = (stream("at", None), Schema::parse_str(SCHEMA).unwrap());
    let converter = Converter::try_new(&stream, &schema).unwrap();
    let record = converter.value(event, &schema, "")?;
    Ok((converter.json(event)?, record))
}

fn event(changed: &Json) -> Json {
    let mut event = json!({"id": "c1", "at": 1500, "amount": 3, "kind": "A"});
    let members = event.as_object_mut().unwrap();
    members.extend(changed.as_object().unwrap().clone());
    members.retain(|_, member| *member != json!("missing"));
    event
}

#[test]
fn missing_members_take_defaults_and_the_rest_its_type() {
    let (converted, record) = read(&event(&json!({"unknown": 1}))).unwrap();
    assert_eq!((converted.key.as_deref(), converted.time), (Some("c1"), Some(EventTime::from_millis(1500))));
    let at = |name: &str| column(&record, name).cloned().unwrap();
    assert_eq!((at("amount"), at("kind")), (Value::Double(3.0), Value::Enum(0, "A".into())));
    assert_eq!((at("note"), at("other")), (Value::Null, Value::Null));
    // id, at (1500 is 3000 in zigzag), amount, kind, other, note, tags
    let mut body = vec![4, b'c', b'1', 0xB8, 0x17];
    body.extend(3.0_f64.to_le_bytes());
    body.extend([0, 0, 0, 0]);
    assert_eq!(converted.body, body);
}

#[test]
fn times_may_be_text_and_unions_as_avro_writes_them() {
    let changed = json!({
        "at": "1970-01-01T01:00:01.5+01:00", "kind": "Z", "note": {"string": "x"}, "other": {"n.K": "B"}
    });
    let (converted, record) = read(&event(&changed)).unwrap();
    assert_eq!(converted.time, Some(EventTime::from_millis(1500)));
    let at = |name: &str| column(&record, name).cloned().unwrap();
    assert_eq!((at("note"), at("kind")), (Value::String("x".into()), Value::Enum(1, "B".into())));
    assert_eq!(at("other"), Value::Enum(1, "B".into()));
}

#[track_caller]
fn check(changed: &Json, error: &str) {
    assert_eq!(read(&event(changed)).unwrap_err(), error);
}

#[test]
fn a_wrong_event_says_which_field_and_why() {
    check(&json!({"amount": "3"}), "field `amount`: a number is wanted, not \"3\"");
    check(&json!({"id": "missing"}), "field `id` is missing and has no default");
    check(&json!({"tags": {"a": 1}}), "field `tags.a`: text is wanted, not 1");
    check(&json!({"note": []}), "field `note`: text is wanted, not a list");
    check(&json!({"at": "noon"}), &format!("field `at`: {TIME} is wanted, not \"noon\""));
    assert_eq!(read(&json!([])).unwrap_err(), "the event: an object is wanted, not a list");
}

#[test]
fn a_plain_number_may_be_written_as_text_where_it_is_the_event_time() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": "long"}, {"name": "at", "type": "long"}]}"#;
    let (stream, schema) = (stream("at", Some(TimestampUnit::Seconds)), Schema::parse_str(schema).unwrap());
    let converter = Converter::try_new(&stream, &schema).unwrap();
    let event = converter.json(&json!({"id": 7, "at": "1970-01-01T00:01:00Z"})).unwrap();
    assert_eq!((event.body, event.key.as_deref()), (vec![14, 120], Some("7")));
    assert_eq!(event.time, Some(EventTime::from_millis(60_000)));
    assert!(converter.json(&json!({"id": "1970-01-01T00:01:00Z", "at": 1})).is_err());
}
