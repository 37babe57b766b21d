//! What DataFusion says of a view, as a problem a user can act on: the place in
//! the file, the names that would be valid, and the one probably meant.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::error::DataFusionError as E;

use super::Streams;
use crate::error::{Place, Problem, nearest};

/// Outside of tiles, DataFusion sorts the events of a SELECT once.
pub const ONE_ORDER: &str = "plain SQL needs one ORDER BY for every nth_value and string_agg of a SELECT; \
    compute them in several SELECTs and join these on the key";

/// Turns an error of planning `view` in `file` into a problem.
///
/// `functions` are the names of those that there are.
pub fn of_error(
    view: &str,
    file: &str,
    sql: &str,
    streams: &Streams,
    functions: &[String],
    error: &DataFusionError,
) -> Problem {
    let root = error.find_root();
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span
        .filter(|span| span.start.line > 0)
        .map(|span| (span.start.line, span.start.column))
        .or_else(|| place_in(&error.to_string()));
    let at = |name: Option<&str>| {
        let (line, column) = place.or_else(|| name.and_then(|name| find_word(sql, name))).unzip();
        Place { file: file.to_owned(), line, column }
    };
    if let E::SchemaError(schema_error, _) = root {
        return match schema_error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let names: Vec<String> = valid_fields.iter().map(|field| field.name.clone()).collect();
                let stream = only_stream(valid_fields, streams);
                let what = stream.map_or_else(
                    || format!("view `{view}` names a column that is not there: `{}`", field.name),
                    |stream| {
                        format!(
                            "view `{view}` names a column that stream `{stream}` does not have: `{}`",
                            field.name
                        )
                    },
                );
                let place = at(Some(&field.name));
                let upper =
                    names.iter().find(|name| name.to_lowercase() == field.name && **name != field.name);
                let problem = Problem::new(what).at(place);
                match upper {
                    Some(name) => problem
                        .hint(format!("a name with capitals is written in double quotes: `\"{name}\"`"))
                        .valid("valid columns", &field.name, names),
                    None => problem.valid("valid columns", &field.name, names),
                }
            }
            SchemaError::AmbiguousReference { field } => Problem::new(format!(
                "view `{view}` names a column that several tables have: `{}`",
                field.name
            ))
            .at(at(Some(&field.name)))
            .hint("write the table's name before it"),
            SchemaError::DuplicateUnqualifiedField { name }
            | SchemaError::DuplicateQualifiedField { name, .. } => {
                Problem::new(format!("view `{view}` has two expressions with one name: `{name}`"))
                    .at(at(None))
                    .hint(
                        "a CAST is no part of a name: write CAST(min(x) AS DOUBLE) for min(CAST(x AS DOUBLE)) beside min(x)",
                    )
            }
        };
    }
    let message = plain(&root.to_string());
    if let Some(table) = between(&message, "table '", "' not found") {
        let table = table.rsplit('.').next().unwrap_or(table).to_owned();
        return Problem::new(format!("view `{view}` reads a stream that is not configured: `{table}`"))
            .at(at(Some(&table)))
            .valid("valid streams", &table, streams.names());
    }
    if let Some(function) = between(&message, "Invalid function '", "'") {
        let problem = Problem::new(format!("view `{view}` calls a function that is not known: `{function}`"))
            .at(at(Some(function)));
        return match nearest(function, functions) {
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => problem,
        };
    }
    let kind = if matches!(root, E::SQL(..)) { "is not valid SQL" } else { "cannot be planned" };
    let message = message.split(" at Line: ").next().unwrap_or(&message).to_owned();
    let problem = Problem::new(format!("view `{view}` {kind}: {message}"));
    if message.starts_with("Conflicting ordering requirements") {
        let first = ["nth_value", "string_agg"].into_iter().find(|name| find_word(sql, name).is_some());
        return problem.at(at(first)).hint(ONE_ORDER);
    }
    problem.at(at(None))
}

/// The stream, when all valid columns are of one.
fn only_stream<'a>(fields: &[datafusion::common::Column], streams: &'a Streams) -> Option<&'a str> {
    let first = fields.first()?.relation.as_ref()?.table();
    fields
        .iter()
        .all(|field| field.relation.as_ref().is_some_and(|relation| relation.table() == first))
        .then(|| streams.iter().map(|stream| stream.name.as_str()).find(|name| *name == first))
        .flatten()
}

/// Without the words in front that say which part of DataFusion speaks.
fn plain(message: &str) -> String {
    let mut rest = message;
    for prefix in [
        "SQL error: ",
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Invalid or Unsupported Configuration: ",
        "type_coercion",
        "Execution error: ",
    ] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let rest =
        rest.strip_prefix("ParserError(\"").and_then(|inner| inner.strip_suffix("\")")).unwrap_or(rest);
    let rest =
        rest.strip_prefix("TokenizerError(\"").and_then(|inner| inner.strip_suffix("\")")).unwrap_or(rest);
    let first = rest.split("\n\nbacktrace:").next().unwrap_or(rest);
    first.trim().trim_end_matches('.').to_owned()
}

/// ` at Line: 3, Column: 5` in a message of the parser.
fn place_in(message: &str) -> Option<(u64, u64)> {
    let (_, after) = message.split_once("Line: ")?;
    let (line, after) = after.split_once(", Column: ")?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    Some((line.parse().ok()?, after[..digits].parse().ok()?))
}

/// Where a word first stands in SQL text, outside comment lines.
pub fn find_word(sql: &str, word: &str) -> Option<(u64, u64)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (number, line) in (1_u64..).zip(sql.lines()) {
        let code = line.split("--").next().unwrap_or_default();
        for (start, found) in code.match_indices(word) {
            let before = code[..start].chars().next_back().is_none_or(|c| !is_word(c));
            let after = code[start + found.len()..].chars().next().is_none_or(|c| !is_word(c));
            if before && after {
                return Some((number, code[..start].chars().count() as u64 + 1));
            }
        }
    }
    None
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
