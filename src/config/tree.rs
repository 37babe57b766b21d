//! The file as a tree of values that know where they stand, whether it was
//! TOML or JSON. Flags and environment are written over it. What a name or a
//! value means is not known here.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::error::{Place, Problem};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Value>),
    Table(Table),
}

/// A named value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub value: Value,
    pub place: Place,
}

pub(super) type Table = BTreeMap<String, Entry>;

impl Value {
    /// What it is, for a message.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// A single value as text.
    pub fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Float(number) => Some(number.to_string()),
            Self::Bool(flag) => Some(flag.to_string()),
            Self::List(_) | Self::Table(_) => None,
        }
    }
}

/// Reads a file's text: JSON by its suffix, TOML otherwise.
pub(super) fn parse(file: &str, text: &str) -> Result<Table, Vec<Problem>> {
    let is_json =
        std::path::Path::new(file).extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"));
    if is_json { parse_json(file, text).map_err(|problem| vec![problem]) } else { parse_toml(file, text) }
}

/// Writes `value` at `path` over what stands there. A secret and the file that
/// holds it are one option: whichever is written last replaces the other.
pub(super) fn overlay(table: &mut Table, path: &[&str], value: Value, place: &Place) {
    match path {
        [] => {}
        [name] => {
            match name.strip_suffix("_file") {
                Some(secret) => table.remove(secret),
                None => table.remove(&format!("{name}_file")),
            };
            table.insert((*name).to_owned(), Entry { value, place: place.clone() });
        }
        [name, rest @ ..] => {
            let entry = table
                .entry((*name).to_owned())
                .or_insert_with(|| Entry { value: Value::Table(Table::new()), place: place.clone() });
            if let Value::Table(inner) = &mut entry.value {
                overlay(inner, rest, value, place);
            }
        }
    }
}

/// Tables within a table as dotted names: an unquoted `sasl.password` in a
/// `[kafka]` table is a table to TOML and a name to librdkafka.
pub(super) fn flatten(table: Table) -> Table {
    let mut flat = Table::new();
    for (name, entry) in table {
        match entry.value {
            Value::Table(inner) => {
                flat.extend(
                    flatten(inner).into_iter().map(|(rest, entry)| (format!("{name}.{rest}"), entry)),
                );
            }
            value => {
                flat.insert(name, Entry { value, place: entry.place });
            }
        }
    }
    flat
}

/// Where the bytes of a text stand. Each name has its place looked up, so the
/// text must not be walked through for each.
struct Places<'a> {
    file: &'a str,
    text: &'a str,
    /// Where lines begin.
    lines: Vec<usize>,
    /// The characters before each stretch of [`STRETCH`] bytes.
    characters: Vec<usize>,
}

/// Characters are counted within so many bytes at most.
const STRETCH: usize = 512;

impl<'a> Places<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1);
        let counts = text.as_bytes().chunks(STRETCH).scan(0, |before, stretch| {
            let here = *before;
            *before += characters(stretch);
            Some(here)
        });
        Self { file, text, lines: std::iter::once(0).chain(lines).collect(), characters: counts.collect() }
    }

    /// Line and column, from 1, of a byte.
    fn at(&self, byte: usize) -> Place {
        let byte = if self.text.is_char_boundary(byte) { byte } else { self.text.len() };
        let line = self.lines.partition_point(|begin| *begin <= byte);
        let column = self.characters_before(byte) - self.characters_before(self.lines[line - 1]) + 1;
        Place { file: self.file.to_owned(), line: Some(line as u64), column: Some(column as u64) }
    }

    fn characters_before(&self, byte: usize) -> usize {
        let stretch = byte / STRETCH;
        match self.characters.get(stretch) {
            Some(before) => before + characters(&self.text.as_bytes()[stretch * STRETCH..byte]),
            // The end of a text of whole stretches, or of none.
            None => self.text.chars().count(),
        }
    }
}

/// How many characters begin in these bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

fn parse_toml(file: &str, text: &str) -> Result<Table, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let places = Places::new(file, text);
    if errors.is_empty() {
        return Ok(toml_table(&places, table.get_ref()));
    }
    let problem = |error: toml::de::Error| {
        let place = error.span().map_or_else(|| Place::file(file), |span| places.at(span.start));
        Problem::new(format!("this is not TOML: {}", error.message())).at(place)
    };
    Err(errors.into_iter().map(problem).collect())
}

fn toml_table(places: &Places<'_>, table: &DeTable<'_>) -> Table {
    table
        .iter()
        .map(|(name, value)| {
            let place = places.at(name.span().start);
            (name.get_ref().to_string(), Entry { value: toml_value(places, value.get_ref()), place })
        })
        .collect()
}

fn toml_value(places: &Places<'_>, value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            // Too large for any option: the option's own check says so.
            Err(_) => Value::Text(number.to_string()),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::Text(number.to_string()),
        },
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| toml_value(places, item.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Table(toml_table(places, table)),
    }
}

fn parse_json(file: &str, text: &str) -> Result<Table, Problem> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        let place = Place {
            file: file.to_owned(),
            line: u64::try_from(error.line()).ok(),
            column: u64::try_from(error.column()).ok(),
        };
        Problem::new(format!("this is not JSON: {error}")).at(place)
    })?;
    match json_value(&Place::file(file), value) {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(Problem::new("the configuration must be a JSON object").at(Place::file(file))),
    }
}

/// `null` is as good as absent.
fn json_value(place: &Place, value: serde_json::Value) -> Option<Value> {
    Some(match value {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(number)) => Value::Float(number),
            (None, None) => Value::Text(number.to_string()),
        },
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(items) => {
            Value::List(items.into_iter().filter_map(|item| json_value(place, item)).collect())
        }
        serde_json::Value::Object(members) => Value::Table(
            members
                .into_iter()
                .filter_map(|(name, value)| {
                    json_value(place, value).map(|value| (name, Entry { value, place: place.clone() }))
                })
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_at<'a>(table: &'a Table, path: &[&str]) -> &'a Entry {
        match path {
            [name] => &table[*name],
            [name, rest @ ..] => match &table[*name].value {
                Value::Table(inner) => value_at(inner, rest),
                other => panic!("{name} is {other:?}"),
            },
            [] => panic!("no path"),
        }
    }

    #[test]
    fn toml_values_know_their_line_and_column() {
        let table =
            parse("w.toml", "brokers = \"a:1\"\n[redis]\n  null = \"text\"\n[kafka]\na.b = 0x10\n").unwrap();
        let null = value_at(&table, &["redis", "null"]);
        assert_eq!(null.value, Value::Text("text".into()));
        assert_eq!(null.place.to_string(), "w.toml:3:3");
        let Value::Table(kafka) = table["kafka"].value.clone() else { panic!("no table") };
        assert_eq!(flatten(kafka)["a.b"].value, Value::Integer(16));
    }

    /// Whatever is in the text and however long it is: as if it was walked through.
    #[test]
    fn every_byte_has_its_place() {
        let line = "é = \"€\"\n\n# 𝄞 a line that is longer than most others are\r\n";
        for text in [String::new(), "x".repeat(STRETCH), "é".repeat(STRETCH), line.repeat(40)] {
            let places = Places::new("w.toml", &text);
            let (mut line, mut column) = (1, 1);
            for (byte, character) in text.char_indices().chain([(text.len(), ' ')]) {
                let expected = Place { file: "w.toml".to_owned(), line: Some(line), column: Some(column) };
                assert_eq!(places.at(byte), expected, "byte {byte} of {}", text.len());
                (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            assert_eq!(places.at(text.len() + 1), places.at(text.len()));
        }
    }

    #[test]
    fn every_syntax_error_is_reported_with_its_place() {
        let problems = parse("w.toml", "a = 1\nb = ]\nc = }\n").unwrap_err();
        assert!(problems.len() > 1, "{problems:?}");
        assert!(problems[0].place.as_ref().is_some_and(|place| place.line == Some(2)), "{problems:?}");
        let problems = parse("w.json", "{\n \"a\": }").unwrap_err();
        assert!(problems[0].place.as_ref().is_some_and(|place| place.line == Some(2)), "{problems:?}");
    }

    #[test]
    fn json_is_read_by_its_suffix() {
        let table =
            parse("w.json", r#"{"parallelism": 2, "group_id": null, "redis": {"insecure": true}}"#).unwrap();
        assert_eq!(table["parallelism"].value, Value::Integer(2));
        assert!(!table.contains_key("group_id"));
        assert_eq!(value_at(&table, &["redis", "insecure"]).value, Value::Bool(true));
    }

    #[test]
    fn what_is_written_last_replaces_a_secret_or_its_file() {
        let mut table = parse("w.toml", "[redis]\npassword_file = \"x\"\n").unwrap();
        overlay(
            &mut table,
            &["redis", "password"],
            Value::Text("y".into()),
            &Place::file("--redis-password"),
        );
        let Value::Table(redis) = &table["redis"].value else { panic!("no table") };
        assert_eq!(redis.keys().collect::<Vec<_>>(), ["password"]);
    }
}
