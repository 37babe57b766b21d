//! The streams: those shipped, overridden field by field, and the user's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::tree::{Entry, Table, Value, overlay};
use super::values::{Read, Scope, choice, path, text};
use crate::decode::framing::Framing;
use crate::decode::reader::TimestampUnit;
use crate::error::{Place, Problem};

/// A stream's options, in the order of the documentation: name and meaning.
pub(super) const STREAM_OPTIONS: &[(&str, &str)] = &[
    ("topic", "the Kafka topic"),
    ("key", "the column by which the topic is partitioned"),
    ("event_time", "the column with the event's time"),
    ("event_time_unit", "s, ms, us or ns, where that column is a plain number"),
    ("schema", "a file of schema_dir, a path, registry:SUBJECT or registry:SUBJECT:VERSION"),
    ("framing", "auto, confluent, single-object or bare"),
    ("schema_ids", "a table of schema ids and the files that hold those schemas"),
    ("dead_letter_topic", "where unusable events go; <topic>.dlq otherwise"),
    ("dead_letter_file", "a file for them instead of a topic"),
];

/// The streams that exist without being configured: name, topic, key, schema.
const SHIPPED: &[(&str, &str, &str, &str)] = &[
    ("transactions", "txn.events", "card_id", "transactions.v2.avsc"),
    ("clicks", "click.events", "user_id", "clicks.v1.avsc"),
    ("devices", "device.events", "device_id", "devices.v1.avsc"),
];

/// The column with the event's time, unless another is named.
const EVENT_TIME: &str = "timestamp";

const UNITS: &[(&str, TimestampUnit)] = &[
    ("s", TimestampUnit::Seconds),
    ("ms", TimestampUnit::Millis),
    ("us", TimestampUnit::Micros),
    ("ns", TimestampUnit::Nanos),
];

const FRAMINGS: &[(&str, Framing)] = &[
    ("auto", Framing::Auto),
    ("confluent", Framing::Confluent),
    ("single-object", Framing::SingleObject),
    ("bare", Framing::Bare),
];

/// One stream, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// Its table's name in SQL.
    pub name: String,
    /// The Kafka topic.
    pub topic: String,
    /// The column by which the topic is partitioned.
    pub key: String,
    /// The column of the event time.
    pub event_time: String,
    /// Its unit, where it is a plain number.
    pub event_time_unit: Option<TimestampUnit>,
    /// Where its schema is.
    pub schema: SchemaSource,
    /// The framings it accepts.
    pub framing: Framing,
    /// Schema ids whose schemas are files: no registry is asked for them.
    pub schema_ids: BTreeMap<u32, String>,
    /// Where its unusable events go.
    pub dead_letters: DeadLetters,
    /// Where it is configured, for messages; none for a shipped stream as it is.
    pub place: Option<Place>,
}

impl StreamConfig {
    /// The options of its decoder.
    pub fn decode(&self) -> crate::decode::Options {
        crate::decode::Options {
            framing: self.framing,
            event_time: self.event_time.clone(),
            event_time_unit: self.event_time_unit,
            key: self.key.clone(),
        }
    }
}

/// Where a stream's schema is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSource {
    /// The name of a file in the schema directory, or a path.
    File(String),
    /// A registry's subject; the latest version where none is named.
    Registry {
        /// The subject.
        subject: String,
        /// The version.
        version: Option<u32>,
    },
}

/// Where a stream's dead letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetters {
    /// A topic.
    Topic(String),
    /// A file.
    File(PathBuf),
}

/// Writes the shipped streams under what is configured.
pub(super) fn with_shipped(configured: Table) -> Table {
    let mut streams = Table::new();
    let place = Place::file("the shipped streams");
    for (name, topic, key, schema) in SHIPPED {
        for (field, value) in
            [("topic", topic), ("key", key), ("event_time", &EVENT_TIME), ("schema", schema)]
        {
            overlay(&mut streams, &[*name, field], Value::Text((*value).to_owned()), &place);
        }
    }
    for (name, entry) in configured {
        if let Value::Table(given) = &entry.value
            && let Some(Entry { value: Value::Table(fields), place }) = streams.get_mut(&name)
        {
            *place = entry.place.clone();
            fields.extend(given.clone());
        } else {
            streams.insert(name, entry);
        }
    }
    streams
}

/// Reads the `[streams]` table. Only tables reach it: shapes are checked before.
pub(super) fn read(scope: &Scope<'_>) -> Vec<StreamConfig> {
    let mut streams = Vec::new();
    for (name, entry) in scope.table {
        let Value::Table(fields) = &entry.value else { continue };
        if !is_identifier(name) {
            let message = format!("`{name}` cannot be a table's name in SQL");
            let hint = "write lowercase letters, digits and underscores";
            scope.report(Problem::new(message).at(entry.place.clone()).hint(hint));
            continue;
        }
        let prefix = format!("streams.{name}.");
        let fields = Scope { table: fields, prefix: &prefix, problems: scope.problems };
        streams.extend(read_one(name, &fields, &entry.place));
    }
    report_shared_topics(scope, &streams);
    streams
}

fn read_one(name: &str, fields: &Scope<'_>, place: &Place) -> Option<StreamConfig> {
    let missing: Vec<String> = ["topic", "key", "event_time", "schema"]
        .into_iter()
        .filter(|field| fields.entry(field).is_none())
        .map(|field| format!("`{field}`"))
        .collect();
    if !missing.is_empty() {
        let message = format!("stream `{name}` lacks {}", missing.join(", "));
        fields.report(Problem::new(message).at(place.clone()));
    }
    let topic = fields.optional("topic", text);
    let key = fields.optional("key", text);
    let event_time = fields.optional("event_time", text);
    let schema = fields.optional("schema", schema_source);
    let event_time_unit = fields.optional("event_time_unit", choice(UNITS));
    let framing = fields.optional("framing", choice(FRAMINGS)).unwrap_or_default();
    let schema_ids = schema_ids(fields);
    let dead_letter_topic = fields.optional("dead_letter_topic", text);
    let dead_letter_file = fields.optional("dead_letter_file", path);
    if dead_letter_topic.is_some() && dead_letter_file.is_some() {
        let problem = Problem::new("`dead_letter_file` is given too").hint("keep one of them");
        fields.wrong("dead_letter_topic", problem);
    }
    let topic = topic?;
    let dead_letters = match (dead_letter_file, dead_letter_topic) {
        (Some(file), _) => DeadLetters::File(file),
        (None, Some(topic)) => DeadLetters::Topic(topic),
        (None, None) => DeadLetters::Topic(format!("{topic}.dlq")),
    };
    Some(StreamConfig {
        name: name.to_owned(),
        topic,
        key: key?,
        event_time: event_time?,
        event_time_unit,
        schema: schema?,
        framing,
        schema_ids,
        dead_letters,
        place: Some(place.clone()).filter(|place| place.line.is_some()),
    })
}

fn schema_source(value: &Value) -> Read<SchemaSource> {
    let text = text(value)?;
    let Some(subject) = text.strip_prefix("registry:") else { return Ok(SchemaSource::File(text)) };
    // A subject may itself hold colons; only a number or `latest` at the end is a version.
    let (subject, version) = match subject.rsplit_once(':') {
        Some((subject, "latest")) => (subject, None),
        Some((before, version)) => version.parse().map_or((subject, None), |version| (before, Some(version))),
        None => (subject, None),
    };
    if subject.is_empty() {
        return Err(Problem::new("a subject must follow `registry:`"));
    }
    Ok(SchemaSource::Registry { subject: subject.to_owned(), version })
}

fn schema_ids(fields: &Scope<'_>) -> BTreeMap<u32, String> {
    let mut ids = BTreeMap::new();
    let Some(entry) = fields.entry("schema_ids") else { return ids };
    let Value::Table(table) = &entry.value else {
        let hint = "for instance `schema_ids = { \"7\" = \"clicks.v1.avsc\" }`";
        fields.wrong("schema_ids", Problem::new("must be a table of ids and files").hint(hint));
        return ids;
    };
    for (id, file) in table {
        match (id.parse(), text(&file.value)) {
            (Ok(id), Ok(file)) => {
                ids.insert(id, file);
            }
            (Err(_), _) => {
                let problem = Problem::new(format!("`{id}` is not a schema id")).at(file.place.clone());
                fields.wrong("schema_ids", problem);
            }
            (_, Err(problem)) => fields.wrong("schema_ids", problem.at(file.place.clone())),
        }
    }
    ids
}

/// Two streams over one topic would be one log with two clocks; a dead letter
/// in a topic that is read would come back for ever.
fn report_shared_topics(scope: &Scope<'_>, streams: &[StreamConfig]) {
    let mut seen = BTreeSet::new();
    for stream in streams {
        let problem = if !seen.insert(stream.topic.as_str()) {
            Problem::new(format!(
                "stream `{}` reads topic `{}`, and so does another",
                stream.name, stream.topic
            ))
        } else if let DeadLetters::Topic(topic) = &stream.dead_letters
            && streams.iter().any(|other| other.topic == *topic)
        {
            Problem::new(format!(
                "dead letters of stream `{}` would go to `{topic}`, which is read",
                stream.name
            ))
        } else {
            continue;
        };
        scope.report(match &stream.place {
            Some(place) => problem.at(place.clone()),
            None => problem,
        });
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::tree::parse;
    use super::*;

    fn read_text(text: &str) -> (Vec<StreamConfig>, Vec<Problem>) {
        let mut tree = parse("w.toml", text).unwrap();
        let configured = match tree.remove("streams").map(|entry| entry.value) {
            Some(Value::Table(table)) => table,
            _ => Table::new(),
        };
        let (table, problems) = (with_shipped(configured), RefCell::new(Vec::new()));
        let streams = read(&Scope { table: &table, prefix: "streams.", problems: &problems });
        (streams, problems.into_inner())
    }

    #[test]
    fn shipped_streams_are_overridden_field_by_field() {
        let (streams, problems) = read_text(
            "[streams.clicks]\ntopic = \"web\"\nframing = \"bare\"\nschema_ids = { \"7\" = \"x.avsc\" }\n",
        );
        assert_eq!(problems, []);
        let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
        assert_eq!(names, ["clicks", "devices", "transactions"]);
        let clicks = &streams[0];
        assert_eq!((clicks.topic.as_str(), clicks.key.as_str()), ("web", "user_id"));
        assert_eq!(clicks.dead_letters, DeadLetters::Topic("web.dlq".into()));
        assert_eq!((clicks.framing, clicks.schema_ids[&7].as_str()), (Framing::Bare, "x.avsc"));
        assert_eq!(streams[2].schema, SchemaSource::File("transactions.v2.avsc".into()));
        assert_eq!(streams[2].place, None);
    }

    #[test]
    fn what_a_new_stream_lacks_is_said_once_with_its_place() {
        let (_, problems) = read_text("\n[streams.orders]\ntopic = \"o\"\nkey = \"id\"\n");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].message, "stream `orders` lacks `event_time`, `schema`");
        assert!(problems[0].place.as_ref().is_some_and(|place| place.line == Some(2)), "{problems:?}");
    }

    #[test]
    fn a_topic_is_read_once_and_never_as_dead_letters() {
        let (_, problems) = read_text(
            "[streams.clicks]\ntopic = \"device.events\"\n[streams.transactions]\ndead_letter_topic = \"txn.events\"\n",
        );
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[track_caller]
    fn check(text: &str, subject: &str, version: Option<u32>) {
        let expected = SchemaSource::Registry { subject: subject.into(), version };
        assert_eq!(schema_source(&Value::Text(text.into())).unwrap(), expected);
    }

    #[test]
    fn a_registry_subject_may_have_a_version() {
        check("registry:a-value", "a-value", None);
        check("registry:a-value:3", "a-value", Some(3));
        check("registry:a-value:latest", "a-value", None);
        check("registry::.context:a-value", ":.context:a-value", None);
        assert!(schema_source(&Value::Text("registry:".into())).is_err());
    }
}
