//! The layers written over one another: file, then the plain environment
//! names, then the `WINDROW_…` names, then flags. And the names that nothing
//! knows.

use std::path::Path;

use super::flags::Flags;
use super::options::{OPTIONS, option};
use super::streams::STREAM_OPTIONS;
use super::tree::{Entry, Table, Value, flatten, overlay, parse};
use crate::error::{Place, Problem};

/// How the environment is read; injected so that tests have their own.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that is configured, as one tree.
pub(super) fn read(
    flags: &Flags,
    environment: Environment<'_>,
    file: &Path,
    problems: &mut Vec<Problem>,
) -> Table {
    let mut tree = read_file(flags.file(), file, problems);
    if let Some(Entry { value: Value::Table(kafka), .. }) = tree.get_mut("kafka") {
        *kafka = flatten(std::mem::take(kafka));
    }
    report_unknown(&mut tree, problems);
    plain_environment(&mut tree, environment);
    problems.extend_from_slice(flags.problems());
    let mut given = Table::new();
    flags.overlay(&mut given);
    // Of flags only a stream's options can be unknown; clap knows the others.
    report_unknown(&mut given, problems);
    flags.overlay(&mut tree);
    if let Some(Entry { value: Value::Table(streams), .. }) = tree.get_mut("streams") {
        forget_unknown(streams);
    }
    tree
}

fn read_file(named: Option<&Path>, default: &Path, problems: &mut Vec<Problem>) -> Table {
    let file = named.unwrap_or(default);
    let shown = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Table::new(),
        Err(error) => {
            problems.push(
                Problem::new(format!("the configuration could not be read: {error}")).at(Place::file(shown)),
            );
            return Table::new();
        }
    };
    parse(&shown, &text).unwrap_or_else(|wrong| {
        problems.extend(wrong);
        Table::new()
    })
}

/// The names that other programs use for the same things.
fn plain_environment(tree: &mut Table, environment: Environment<'_>) {
    // Kubernetes sets REDIS_PORT=tcp://… for a Service called redis: that is not meant for us.
    let get = |name: &str| environment(name).filter(|text| !text.is_empty() && !text.starts_with("tcp://"));
    let mut set = |path: &[&str], name: &str, text: String| {
        overlay(tree, path, Value::Text(text), &Place::file(format!("environment variable {name}")));
    };
    if let Some(text) = get("KAFKA_BOOTSTRAP_SERVERS") {
        set(&["brokers"], "KAFKA_BOOTSTRAP_SERVERS", text);
    }
    if let Some(text) = get("PARALLELISM") {
        set(&["parallelism"], "PARALLELISM", text);
    }
    if let Some(text) = get("SCHEMA_REGISTRY_URL") {
        set(&["schema_registry", "url"], "SCHEMA_REGISTRY_URL", text);
    }
    if let Some(port) = get("METRICS_PORT") {
        let default = option("metrics_addr").default.unwrap_or_default();
        let host = default.rsplit_once(':').map_or(default, |(host, _)| host);
        set(&["metrics_addr"], "METRICS_PORT", format!("{host}:{port}"));
    }
    let (host, port) = (get("REDIS_HOST"), get("REDIS_PORT"));
    if host.is_some() || port.is_some() {
        let name = if host.is_some() { "REDIS_HOST" } else { "REDIS_PORT" };
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        let port = port.unwrap_or_else(|| "6379".to_owned());
        set(&["redis", "url"], name, format!("redis://{host}:{port}"));
    }
}

/// Reports every name that no option has and every value that should be a
/// table and is none (or the reverse), and takes them out.
fn report_unknown(tree: &mut Table, problems: &mut Vec<Problem>) {
    let tables = ["schema_registry", "redis", "kafka", "streams"];
    tree.retain(|name, entry| {
        if tables.contains(&name.as_str()) {
            return expect_table(name, entry, problems);
        }
        let known = names("").chain(tables);
        is_known(name, name, entry, known, problems)
    });
    for table in ["schema_registry", "redis"] {
        if let Some(Entry { value: Value::Table(inner), .. }) = tree.get_mut(table) {
            let prefix = format!("{table}.");
            inner.retain(|name, entry| {
                is_known(name, &format!("{prefix}{name}"), entry, names(&prefix), problems)
            });
        }
    }
    if let Some(Entry { value: Value::Table(streams), .. }) = tree.get_mut("streams") {
        streams.retain(|name, entry| expect_table(&format!("streams.{name}"), entry, problems));
        for (stream, entry) in streams.iter_mut() {
            if let Value::Table(fields) = &mut entry.value {
                let known = || STREAM_OPTIONS.iter().map(|(name, _)| *name);
                fields.retain(|name, entry| {
                    is_known(name, &format!("streams.{stream}.{name}"), entry, known(), problems)
                });
            }
        }
    }
}

/// Takes out what [`report_unknown`] reported of flags.
fn forget_unknown(streams: &mut Table) {
    for entry in streams.values_mut() {
        if let Value::Table(fields) = &mut entry.value {
            fields.retain(|name, _| STREAM_OPTIONS.iter().any(|(known, _)| known == name));
        }
    }
}

/// The options of a table, without its name.
fn names(prefix: &str) -> impl Iterator<Item = &'static str> {
    OPTIONS
        .iter()
        .filter_map(move |option| option.path.strip_prefix(prefix).filter(|name| !name.contains('.')))
}

fn is_known<'a>(
    name: &str,
    shown: &str,
    entry: &Entry,
    known: impl Iterator<Item = &'a str>,
    problems: &mut Vec<Problem>,
) -> bool {
    let known: Vec<&str> = known.collect();
    let is_known = known.contains(&name);
    if !is_known {
        let problem = Problem::new(format!("unknown option `{shown}`")).at(entry.place.clone());
        problems.push(problem.valid("valid options", name, known));
    }
    is_known
}

fn expect_table(name: &str, entry: &Entry, problems: &mut Vec<Problem>) -> bool {
    let is_table = matches!(entry.value, Value::Table(_));
    if !is_table {
        let message = format!("`{name}` must be a table, not {}", entry.value.kind());
        problems.push(Problem::new(message).at(entry.place.clone()).hint(format!("write it as [{name}]")));
    }
    is_table
}
