//! The schema directory, over the shipped schemas.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use apache_avro::Schema;
use serde_json::Value;

use super::shipped::SHIPPED;
use crate::error::{Place, Problem, Problems};

/// The schemas of a directory by file name, and the shipped ones that it lacks.
#[derive(Debug, Clone)]
pub struct Directory {
    schemas: BTreeMap<String, Arc<str>>,
    notes: Vec<Problem>,
}

impl Directory {
    /// Reads and checks every `*.avsc` of `directory`. Where there is no such
    /// directory, there are the shipped schemas.
    ///
    /// # Errors
    /// What cannot be read, and what is no schema.
    pub fn load(directory: &Path) -> Result<Self, Problems> {
        let (loaded, problems) = Self::inspect(directory);
        problems.into_result(loaded)
    }

    /// The same, going on without what is wrong.
    pub fn inspect(directory: &Path) -> (Self, Problems) {
        let mut loaded = Self {
            schemas: SHIPPED.iter().map(|(name, text)| ((*name).to_owned(), Arc::from(*text))).collect(),
            notes: Vec::new(),
        };
        let mut problems = Problems::default();
        match avsc_files(directory) {
            Ok(names) => {
                for name in names {
                    match loaded.read(&directory.join(&name)) {
                        Ok(text) => {
                            loaded.schemas.insert(name, text);
                        }
                        Err(problem) => problems.0.push(problem),
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let problem = Problem::new(format!("the schema directory could not be read: {error}"));
                problems.0.push(problem.at(Place::file(directory.display().to_string())));
            }
        }
        (loaded, problems)
    }

    /// The schema of a stream: the file of that name in the directory, a
    /// shipped one, or the file at that path.
    ///
    /// # Errors
    /// When there is none, or it is no schema.
    pub fn find(&mut self, reference: &str) -> Result<Arc<str>, Problem> {
        if let Some(schema) = self.schemas.get(reference) {
            return Ok(schema.clone());
        }
        let path = Path::new(reference);
        if path.is_file() {
            return self.read(path);
        }
        let problem = Problem::new(format!("there is no schema `{reference}`"));
        Err(problem.valid("schemas", reference, self.schemas.keys().map(String::as_str)))
    }

    /// The schemas by file name.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.schemas.iter().map(|(name, text)| (name.as_str(), text))
    }

    /// What is right and yet hardly meant so.
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }

    fn read(&mut self, path: &Path) -> Result<Arc<str>, Problem> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::new(format!("the schema could not be read: {error}")).at(Place::file(file.clone()))
        })?;
        self.notes.extend(check(&file, &text)?);
        Ok(text.into())
    }
}

fn avsc_files(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|suffix| suffix == "avsc") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a text is a schema. Gives back what is right and hardly meant so.
fn check(file: &str, text: &str) -> Result<Vec<Problem>, Problem> {
    let json: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (u64::try_from(error.line()).ok(), u64::try_from(error.column()).ok());
        Problem::new(format!("this is not JSON: {error}")).at(Place { file: file.to_owned(), line, column })
    })?;
    Schema::parse_str(text)
        .map_err(|error| Problem::new(format!("this is no Avro schema: {error}")).at(Place::file(file)))?;
    let mut notes = Vec::new();
    note_misplaced(file, text, &json, &mut notes);
    Ok(notes)
}

/// Finds fields with `logicalType` beside their type instead of in it, where Avro ignores it.
fn note_misplaced(file: &str, text: &str, schema: &Value, notes: &mut Vec<Problem>) {
    match schema {
        Value::Array(branches) => {
            for branch in branches {
                note_misplaced(file, text, branch, notes);
            }
        }
        Value::Object(object) => {
            for name in ["type", "items", "values"] {
                if let Some(inner) = object.get(name) {
                    note_misplaced(file, text, inner, notes);
                }
            }
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                if let (Some(Value::String(name)), Some(Value::String(logical))) =
                    (field.get("name"), field.get("logicalType"))
                {
                    let kind = field.get("type").map(Value::to_string).unwrap_or_default();
                    let message = format!(
                        "`logicalType` stands beside the type of field `{name}`, where Avro ignores it: it is {kind}"
                    );
                    let hint = format!(
                        "write \"type\": {{\"type\": {kind}, \"logicalType\": \"{logical}\"}}, \
                         or give the stream an `event_time_unit` if this is its event time"
                    );
                    notes.push(Problem::new(message).at(place_of(file, text, name)).hint(hint));
                }
                note_misplaced(file, text, field, notes);
            }
        }
        _ => {}
    }
}

/// Where a name first stands between quotes: near enough to find a field.
fn place_of(file: &str, text: &str, name: &str) -> Place {
    let Some(byte) = text.find(&format!("\"{name}\"")) else { return Place::file(file) };
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        file: file.to_owned(),
        line: Some(before.matches('\n').count() as u64 + 1),
        column: Some(before[line_start..].chars().count() as u64 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_schemas_need_no_directory() {
        let mut directory = Directory::load(Path::new("/nonexistent")).unwrap();
        assert!(directory.find("transactions.v2.avsc").is_ok());
        let problem = directory.find("transaction.v2.avsc").unwrap_err();
        assert_eq!(problem.hint.as_deref(), Some("did you mean `transactions.v2.avsc`?"));
    }

    #[test]
    fn files_win_over_shipped_schemas_and_every_problem_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let record = r#"{"type": "record", "name": "C", "fields": []}"#;
        std::fs::write(directory.path().join("clicks.v1.avsc"), record).unwrap();
        std::fs::write(directory.path().join("notes.txt"), "x").unwrap();
        let mut loaded = Directory::load(directory.path()).unwrap();
        assert_eq!(&*loaded.find("clicks.v1.avsc").unwrap(), record);
        assert!(loaded.find(&directory.path().join("clicks.v1.avsc").display().to_string()).is_ok());

        std::fs::write(directory.path().join("a.avsc"), "{\n \"type\": }").unwrap();
        std::fs::write(directory.path().join("b.avsc"), r#"{"type": "recrod", "name": "B"}"#).unwrap();
        let problems = Directory::load(directory.path()).unwrap_err();
        assert_eq!(problems.0.len(), 2, "{problems}");
        assert!(problems.0[0].place.as_ref().is_some_and(|place| place.line == Some(2)), "{problems}");
    }

    #[test]
    fn a_misplaced_logical_type_is_noted_with_its_place() {
        let text = "{\"type\": \"record\", \"name\": \"E\", \"fields\": [\n  {\"name\": \"ts\", \"type\": \"long\", \
                    \"logicalType\": \"timestamp-millis\"},\n  {\"name\": \"ok\", \"type\": {\"type\": \"long\", \
                    \"logicalType\": \"timestamp-millis\"}}]}";
        let notes = check("e.avsc", text).unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert_eq!(notes[0].place.as_ref().map(ToString::to_string).as_deref(), Some("e.avsc:2:12"));
    }
}
