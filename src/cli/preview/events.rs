//! Files of events, read into frames as a topic would hand them over. A line
//! or record that cannot be used is kept with its place and never stops the others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use apache_avro::Reader;
use serde_json::Value as Json;

use super::convert::{Converter, Event};
use crate::error::{Place, Problem, Problems};
use crate::frame::{Frame, FrameBatch, PartitionId, StreamId};
use crate::time::EventTime;

/// Events between two looks at whether to stop.
const STOP_EVERY: u64 = 1000;

/// A file, as `--events` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventFile {
    /// The stream of events that do not say theirs.
    pub(super) stream: Option<String>,
    /// Where it is; `-` is standard input.
    pub(super) path: PathBuf,
}

impl EventFile {
    /// Reads `STREAM=FILE` or `FILE`.
    pub(super) fn parse(text: &str) -> Self {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        match text.split_once('=') {
            Some((stream, path)) if is_name(stream) => {
                Self { stream: Some(stream.to_owned()), path: path.into() }
            }
            _ => Self { stream: None, path: text.into() },
        }
    }
}

/// Where an event stands: a file's number, and its line there (or its number, in Avro).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) file: usize,
    pub(super) line: u64,
}

/// A stream that the view reads.
pub(super) struct Input<'s> {
    /// Its number.
    pub(super) id: StreamId,
    /// How its events are converted.
    pub(super) converter: Converter<'s>,
}

/// What a view reads, and what else there is.
pub(super) struct Inputs<'s> {
    /// The view's name, for messages.
    pub(super) view: &'s str,
    /// The streams that it reads, by name.
    pub(super) read: BTreeMap<String, Input<'s>>,
    /// Every configured stream.
    pub(super) known: Vec<String>,
    /// Events after this time are left out.
    pub(super) until: Option<EventTime>,
}

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The events of each stream.
    pub(super) frames: BTreeMap<StreamId, FrameBatch>,
    /// Where each of them stands, by offset.
    pub(super) origins: BTreeMap<StreamId, Vec<Origin>>,
    /// What is no event of its stream, and why.
    pub(super) rejected: Vec<(Origin, String)>,
    /// Lines and records read.
    pub(super) read: u64,
    /// Events of streams that the view does not read.
    pub(super) elsewhere: u64,
    /// Events after the time that was asked for.
    pub(super) after: u64,
}

impl Inputs<'_> {
    /// Reads every file.
    ///
    /// # Errors
    /// [`Problems`] when it is not clear of which stream the events are; anything
    /// else when a file cannot be read, or `stop` was set.
    pub(super) fn gather(&self, files: &[EventFile], stop: &AtomicBool) -> anyhow::Result<Gathered> {
        let mut gathered = Gathered::default();
        let problems: Vec<Problem> = files.iter().filter_map(|file| self.problem_of(file)).collect();
        Problems(problems).into_result(())?;
        for (number, file) in files.iter().enumerate() {
            let is_avro = file.path.extension().is_some_and(|suffix| suffix == "avro");
            if is_avro {
                self.read_avro(number, file, &mut gathered, stop)?;
            } else {
                self.read_lines(number, file, &mut gathered, stop)?;
            }
        }
        Ok(gathered)
    }

    /// What is wrong with the stream that a file is said to be of.
    fn problem_of(&self, file: &EventFile) -> Option<Problem> {
        let stream = file.stream.as_ref().filter(|stream| !self.read.contains_key(*stream))?;
        let place = Place::file(file.path.display().to_string());
        let problem = if self.known.contains(stream) {
            Problem::new(format!("view `{}` does not read stream `{stream}`", self.view))
        } else {
            Problem::new(format!("there is no stream `{stream}`"))
        };
        Some(problem.at(place).valid("streams that it reads", stream, self.read.keys().cloned()))
    }

    /// The stream of events that do not say theirs.
    fn stream_of<'a>(&'a self, file: &'a EventFile) -> Result<&'a str, Problems> {
        let mut names = self.read.keys();
        match (&file.stream, names.next(), names.next()) {
            (Some(stream), ..) | (None, Some(stream), None) => Ok(stream),
            _ => {
                let problem = Problem::new(format!(
                    "view `{}` reads several streams, and events here do not say which theirs is",
                    self.view
                ));
                let shown = file.path.display().to_string();
                let hint =
                    format!("write `--events STREAM={shown}`, or {{\"stream\": …, \"event\": …}} lines");
                Err(problem
                    .at(Place::file(shown))
                    .hint(hint)
                    .valid("streams", "", self.read.keys().cloned())
                    .into())
            }
        }
    }

    fn read_lines(
        &self,
        number: usize,
        file: &EventFile,
        gathered: &mut Gathered,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let reader: Box<dyn BufRead> = if file.path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(open(&file.path)?))
        };
        for (line, text) in (1_u64..).zip(reader.lines()) {
            if line.is_multiple_of(STOP_EVERY) && stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let origin = Origin { file: number, line };
            let text = match text {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    gathered.read += 1;
                    gathered.rejected.push((origin, "this is not UTF-8 text".to_owned()));
                    continue;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("could not read {}", file.path.display()));
                }
            };
            if !text.trim().is_empty() {
                gathered.read += 1;
                if let Err(reason) = self.take_line(&text, file, origin, gathered)? {
                    gathered.rejected.push((origin, reason));
                }
            }
        }
        Ok(())
    }

    /// Takes a line. The inner error is the line's own.
    fn take_line(
        &self,
        text: &str,
        file: &EventFile,
        origin: Origin,
        gathered: &mut Gathered,
    ) -> Result<Result<(), String>, Problems> {
        let json: Json = match serde_json::from_str(text) {
            Ok(json) => json,
            Err(error) => return Ok(Err(format!("this is not JSON: {error}"))),
        };
        let line = Line::of(&json);
        let stream = match line.stream {
            Some(stream) => stream,
            None => self.stream_of(file)?,
        };
        let Some(input) = self.read.get(stream) else {
            if self.known.iter().any(|known| known == stream) {
                gathered.elsewhere += 1;
                return Ok(Ok(()));
            }
            return Ok(Err(format!("there is no stream `{stream}`; there are {}", self.known.join(", "))));
        };
        Ok(input.converter.json(line.event).map(|event| {
            let key = line.key.map(ToOwned::to_owned).or_else(|| event.key.clone());
            self.push(input.id, Event { key, ..event }, origin, gathered);
        }))
    }

    fn read_avro(
        &self,
        number: usize,
        file: &EventFile,
        gathered: &mut Gathered,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let stream = self.stream_of(file)?;
        let input = &self.read[stream];
        let failed = || format!("could not read {} as events of stream `{stream}`", file.path.display());
        let reader = Reader::builder(BufReader::new(open(&file.path)?))
            .reader_schema(input.converter.schema())
            .build()
            .with_context(failed)?;
        for (line, record) in (1_u64..).zip(reader) {
            if line.is_multiple_of(STOP_EVERY) && stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            // After an error the reader does not go on: where the next record begins is not known.
            let record = record.with_context(failed)?;
            gathered.read += 1;
            let origin = Origin { file: number, line };
            match input.converter.avro(record) {
                Ok(event) => self.push(input.id, event, origin, gathered),
                Err(reason) => gathered.rejected.push((origin, reason)),
            }
        }
        Ok(())
    }

    /// Appends an event to its stream's one partition, accepted when it happened.
    fn push(&self, stream: StreamId, event: Event, origin: Origin, gathered: &mut Gathered) {
        if self.until.is_some_and(|until| event.time.is_some_and(|time| time > until)) {
            gathered.after += 1;
            return;
        }
        let origins = gathered.origins.entry(stream).or_default();
        let partition = PartitionId { stream, partition: 0 };
        gathered.frames.entry(stream).or_insert_with(|| FrameBatch::new(partition)).push(Frame {
            offset: i64::try_from(origins.len()).unwrap_or(i64::MAX),
            timestamp_ms: event.time.map_or(-1, EventTime::millis),
            key: event.key.as_deref().map(str::as_bytes),
            value: Some(&event.body),
        });
        origins.push(origin);
    }
}

/// What a line says: `windrow generate --output` writes `{"stream", "key",
/// "event"}`; anything else is the event itself.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    stream: Option<&'a str>,
    key: Option<&'a str>,
    event: &'a Json,
}

impl<'a> Line<'a> {
    fn of(json: &'a Json) -> Self {
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        match json.get("event").filter(|event| event.is_object()) {
            Some(event) if text("stream").is_some() => {
                Self { stream: text("stream"), key: text("key"), event }
            }
            _ => Self { stream: None, key: None, event: json },
        }
    }
}

fn open(path: &Path) -> Result<File, Problems> {
    File::open(path).map_err(|error| {
        let problem = Problem::new(format!("the events could not be read: {error}"));
        problem
            .at(Place::file(path.display().to_string()))
            .hint("`windrow generate --output FILE` writes some")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value;
    use apache_avro::{Codec, Schema, Writer, ZstandardSettings};
    use serde_json::json;

    use super::*;
    use crate::config::{DeadLetters, SchemaSource, StreamConfig};
    use crate::decode::framing::Framing;
    use crate::decode::reader::TimestampUnit;

    const SCHEMA: &str = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "long"}]}"#;

    /// How many events of a container are read.
    fn read(name: &str, codec: Codec) -> u64 {
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let mut writer = Writer::with_codec(&schema, Vec::new(), codec).unwrap();
        for at in [1, 2, 3] {
            let id = ("id".to_owned(), Value::String("a".to_owned()));
            writer.append_value(Value::Record(vec![id, ("at".to_owned(), Value::Long(at))])).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format!("{name}.avro"));
        std::fs::write(&path, writer.into_inner().unwrap()).unwrap();

        let stream = StreamConfig {
            name: "s".into(),
            topic: "t".into(),
            key: "id".into(),
            event_time: "at".into(),
            event_time_unit: Some(TimestampUnit::Millis),
            schema: SchemaSource::File("s.avsc".into()),
            framing: Framing::Bare,
            schema_ids: BTreeMap::new(),
            dead_letters: DeadLetters::Topic("t.dlq".into()),
            place: None,
        };
        let input = Input { id: StreamId(0), converter: Converter::try_new(&stream, &schema).unwrap() };
        let read = BTreeMap::from([("s".to_owned(), input)]);
        let inputs = Inputs { view: "v", read, known: vec!["s".to_owned()], until: None };
        let files = [EventFile { stream: None, path }];
        inputs.gather(&files, &AtomicBool::new(false)).unwrap().read
    }

    /// Other programs write such files compressed, each in its own way.
    #[test]
    fn containers_are_read_in_every_usual_codec() {
        assert_eq!(read("null", Codec::Null), 3);
        assert_eq!(read("snappy", Codec::Snappy), 3);
        assert_eq!(read("zstandard", Codec::Zstandard(ZstandardSettings::default())), 3);
    }

    #[test]
    fn a_file_may_name_its_stream() {
        let parse = |text: &str| {
            let file = EventFile::parse(text);
            (file.stream, file.path.display().to_string())
        };
        assert_eq!(parse("clicks=a/b.jsonl"), (Some("clicks".into()), "a/b.jsonl".into()));
        assert_eq!(parse("a/b.jsonl"), (None, "a/b.jsonl".into()));
        assert_eq!(parse("./x=y.jsonl"), (None, "./x=y.jsonl".into()));
        assert_eq!(parse("-"), (None, "-".into()));
    }

    #[test]
    fn a_line_is_an_event_with_or_without_its_stream() {
        let event = json!({"user_id": "u"});
        let wrapped = json!({"stream": "clicks", "key": "u", "event": event});
        assert_eq!(Line::of(&wrapped), Line { stream: Some("clicks"), key: Some("u"), event: &event });
        assert_eq!(Line::of(&event), Line { stream: None, key: None, event: &event });
        // An event that has a column of that name.
        let own = json!({"event": "signup", "stream": "x"});
        assert_eq!(Line::of(&own), Line { stream: None, key: None, event: &own });
    }
}
