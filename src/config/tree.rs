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

/// Line and column, from 1, of a byte of a text.
fn place_at(file: &str, text: &str, byte: usize) -> Place {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        file: file.to_owned(),
        line: Some(before.matches('\n').count() as u64 + 1),
        column: Some(before[line_start..].chars().count() as u64 + 1),
    }
}

fn parse_toml(file: &str, text: &str) -> Result<Table, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(toml_table(file, text, table.get_ref()));
    }
    let problem = |error: toml::de::Error| {
        let place = error.span().map_or_else(|| Place::file(file), |span| place_at(file, text, span.start));
        Problem::new(format!("this is not TOML: {}", error.message())).at(place)
    };
    Err(errors.into_iter().map(problem).collect())
}

fn toml_table(file: &str, text: &str, table: &DeTable<'_>) -> Table {
    table
        .iter()
        .map(|(name, value)| {
            let place = place_at(file, text, name.span().start);
            (name.get_ref().to_string(), Entry { value: toml_value(file, text, value.get_ref()), place })
        })
        .collect()
}

fn toml_value(file: &str, text: &str, value: &DeValue<'_>) -> Value {
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
            Value::List(items.iter().map(|item| toml_value(file, text, item.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Table(toml_table(file, text, table)),
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
