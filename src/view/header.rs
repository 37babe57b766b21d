//! The header of a feature view: the comment lines before its SELECT.
//!
//! ```text
//! -- view: transaction     -- optional; the file's stem otherwise
//! -- entity: card
//! -- key: card_id          -- several: a, b
//! -- ttl: 24h
//! -- resolution: 10s
//! ```
//! Other comment lines are the author's own. A line that misspells one of the
//! names is not taken for a comment.

use std::time::Duration;

use crate::error::{Place, Problem, nearest};
use crate::time::parse_duration;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The view's name.
    pub view: String,
    /// The kind of entity.
    pub entity: String,
    /// The output columns that identify an entity.
    pub key: Vec<String>,
    /// How long a hash lives after its last write; the longest window when not said.
    pub ttl: Option<Duration>,
    /// The step of the windows' edges, when not the default.
    pub resolution: Option<Duration>,
    /// The line of each entry, for messages about it.
    pub lines: Lines,
}

/// On which lines the header's entries stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines {
    /// `view`
    pub view: Option<u64>,
    /// `entity`
    pub entity: Option<u64>,
    /// `key`
    pub key: Option<u64>,
    /// `ttl`
    pub ttl: Option<u64>,
    /// `resolution`
    pub resolution: Option<u64>,
}

const NAMES: [&str; 5] = ["view", "entity", "key", "ttl", "resolution"];

/// Reads the header of a view's file. `stem` names the view unless the header does.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, stem: &str, text: &str) -> Result<Header, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found: [Option<(u64, String)>; NAMES.len()] = Default::default();
    for (number, line) in (1_u64..).zip(text.lines()) {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() {
            continue;
        }
        let Some(comment) = line.strip_prefix("--") else { break };
        let Some((name, value)) = comment.split_once(':') else { continue };
        let (name, value) = (name.trim().to_lowercase(), value.split("--").next().unwrap_or_default().trim());
        let place = || Place { file: file.to_owned(), line: Some(number), column: None };
        let Some(index) = NAMES.iter().position(|known| *known == name) else {
            if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && nearest(&name, &NAMES.map(ToOwned::to_owned)).is_some()
            {
                problems.push(
                    Problem::new(format!("the header has an entry that is not known: `{name}`"))
                        .at(place())
                        .valid("valid entries", &name, NAMES),
                );
            }
            continue;
        };
        if value.is_empty() {
            problems.push(Problem::new(format!("the header's `{name}` is empty")).at(place()));
        } else if found[index].is_some() {
            problems.push(Problem::new(format!("the header says `{name}` twice")).at(place()));
        } else {
            found[index] = Some((number, value.to_owned()));
        }
    }
    let lines = Lines {
        view: found[0].as_ref().map(|entry| entry.0),
        entity: found[1].as_ref().map(|entry| entry.0),
        key: found[2].as_ref().map(|entry| entry.0),
        ttl: found[3].as_ref().map(|entry| entry.0),
        resolution: found[4].as_ref().map(|entry| entry.0),
    };
    let [view, entity, key, ttl, resolution] = found;
    let missing = |name: &str, example: &str| {
        Problem::new(format!("the header does not say `{name}`"))
            .at(Place { file: file.to_owned(), line: Some(1), column: None })
            .hint(format!("begin the file with a line such as `-- {name}: {example}`"))
    };
    let name = |problems: &mut Vec<Problem>,
                what: &str,
                entry: Option<(u64, String)>,
                default: Option<&str>,
                example: &str| match entry {
        Some((line, value)) if !is_name(&value) => {
            problems.push(
                Problem::new(format!("`{value}` cannot name {what}"))
                    .at(Place { file: file.to_owned(), line: Some(line), column: None })
                    .hint("use letters, digits, `_`, `-` and `.`"),
            );
            String::new()
        }
        Some((_, value)) => value,
        None => default.map_or_else(
            || {
                problems.push(missing(what, example));
                String::new()
            },
            ToOwned::to_owned,
        ),
    };
    let view = name(&mut problems, "view", view, Some(stem), "transaction");
    let entity = name(&mut problems, "entity", entity, None, "card");
    let key: Vec<String> = if let Some((_, value)) = key {
        value
            .split(',')
            .map(|column| column.trim().trim_matches('"').to_owned())
            .filter(|c| !c.is_empty())
            .collect()
    } else {
        problems.push(missing("key", "card_id"));
        Vec::new()
    };
    let mut duration = |entry: Option<(u64, String)>, what: &str| {
        let (line, value) = entry?;
        let place = Place { file: file.to_owned(), line: Some(line), column: None };
        match parse_duration(&value) {
            Ok(duration) if duration.is_zero() => {
                problems.push(Problem::new(format!("the header's `{what}` is zero")).at(place));
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                problems.push(Problem::new(format!("the header's `{what}`: {error}")).at(place));
                None
            }
        }
    };
    let ttl = duration(ttl, "ttl");
    let resolution = duration(resolution, "resolution");
    if problems.is_empty() { Ok(Header { view, entity, key, ttl, resolution, lines }) } else { Err(problems) }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_after_an_entry_are_no_part_of_it() {
        let header = parse(
            "a.sql",
            "a",
            "-- entity: card   -- whom\n\n-- key: a, b\n-- a free: remark\nSELECT 1 -- view: b",
        )
        .unwrap();
        assert_eq!((header.view.as_str(), header.entity.as_str()), ("a", "card"));
        assert_eq!(header.key, ["a", "b"]);
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let problems = parse("a.sql", "a", text).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        check("SELECT 1", &["the header does not say `entity`", "the header does not say `key`"]);
        check(
            "-- entity: e\n-- key: k\n-- ttl: soon",
            &[
                "the header's `ttl`: `soon` is not a duration: write a number with a unit of us, ms, s, m, h or d, such as `250ms` or `24h`",
            ],
        );
        check(
            "-- entitty: e\n-- key: k\n-- key: l",
            &[
                "the header has an entry that is not known: `entitty`",
                "the header says `key` twice",
                "the header does not say `entity`",
            ],
        );
    }
}
