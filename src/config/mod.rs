//! Configuration, checked. Flags, environment and file become one [`Config`];
//! every problem of a start is shown together. Nothing is built here.
//!
//! | layer, the first wins | for instance |
//! |---|---|
//! | flag | `--redis-url` |
//! | environment | `WINDROW_REDIS_URL` |
//! | environment, plain names | `REDIS_HOST`, `REDIS_PORT` |
//! | file | `[redis]` `url` |
//! | default | in [`options`] |
//!
//! Paths are relative to the current directory, wherever they are written.

mod environment;
mod flags;
mod input;
mod kafka;
mod layers;
pub mod options;
mod secret;
mod start;
mod stores;
mod streams;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::OF_COMMANDS;
pub use flags::{Flags, InputFlags};
pub use input::Input;
pub use kafka::KafkaProperties;
pub use secret::{Secret, Url};
pub use start::{NotAStart, StartFrom};
pub use stores::{NullAs, RedisConfig, RedisMode, RegistryConfig};
pub use streams::{DeadLetters, SchemaSource, StreamConfig};

use crate::checkpoint::location::Location;
use crate::error::{Problem, Problems};
pub use crate::telemetry::log::Format as LogFormat;
use crate::telemetry::resident_bytes;
use tree::{Table, Value};
use values::{Read, Scope, address, bytes, choice, count, duration, interval, path, store_location, text};

/// Read when no other file is named, if it is there.
pub const DEFAULT_FILE: &str = "windrow.toml";

/// More workers than this are a slip of the keyboard: a worker owns a core.
const MOST_WORKERS: usize = 1024;

/// More events than this in a batch would not fit 32-bit row numbers with room to spare.
const MOST_BATCH_EVENTS: usize = 100_000_000;

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Everything that can be said about a run, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Kafka's bootstrap servers.
    pub brokers: Vec<String>,
    /// librdkafka properties passed through.
    pub kafka: KafkaProperties,
    /// Kafka consumer group.
    pub group_id: String,
    /// Where to begin.
    pub start_from: StartFrom,
    /// The streams, by name.
    pub streams: Vec<StreamConfig>,
    /// Directory of the feature views.
    pub sql_dir: PathBuf,
    /// Directory of the schemas.
    pub schema_dir: PathBuf,
    /// The schema registry, if there is one.
    pub registry: Option<RegistryConfig>,
    /// How far behind the clock an event still is on time.
    pub max_out_of_order: Duration,
    /// How much later than that an event still counts.
    pub allowed_lateness: Duration,
    /// How far an event's time may lie after its Kafka timestamp.
    pub max_future: Duration,
    /// Silence after which a shard's clock runs on with wall time.
    pub idle_after: Duration,
    /// How often a batch is taken.
    pub batch_interval: Duration,
    /// Most events in a batch.
    pub max_batch_events: usize,
    /// Worker threads.
    pub parallelism: usize,
    /// Bytes of resident memory at which reading pauses.
    pub memory_limit: Option<u64>,
    /// Where state is kept across restarts.
    pub checkpoint_dir: Option<Location>,
    /// How often state is kept.
    pub checkpoint_interval: Duration,
    /// Longest time that ending may take.
    pub shutdown_timeout: Duration,
    /// The feature store.
    pub redis: RedisConfig,
    /// Where metrics and health answer.
    pub metrics_addr: SocketAddr,
    /// How logs are written.
    pub log_format: LogFormat,
}

impl Config {
    /// Reads and checks everything: flags, this process' environment, the file.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(flags: &Flags) -> Result<Self, Problems> {
        let (config, problems) = Self::inspect(flags);
        problems.into_result(config)
    }

    /// The same, going on where something is wrong, with that option's default:
    /// so that what is wrong with schemas and views can be told at once.
    pub fn inspect(flags: &Flags) -> (Self, Problems) {
        Self::inspect_layers(flags, &process_environment, Path::new(DEFAULT_FILE))
    }

    /// The stream with that name.
    pub fn stream(&self, name: &str) -> Option<&StreamConfig> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    fn inspect_layers(flags: &Flags, environment: layers::Environment<'_>, file: &Path) -> (Self, Problems) {
        let mut problems = Vec::new();
        let tree = layers::read(flags, environment, file, &mut problems);
        let problems = RefCell::new(problems);
        let config = Self::check(&tree, &problems);
        (config, Problems(problems.into_inner()))
    }

    /// A value that is wrong is reported, and its default taken so that the others are checked too.
    fn check(tree: &Table, problems: &RefCell<Vec<Problem>>) -> Self {
        let Input { brokers, kafka, streams, registry } = Input::check(tree, problems);
        let top = Scope { table: tree, prefix: "", problems };
        let config = Self {
            brokers,
            kafka,
            group_id: top.required("group_id", text),
            start_from: top.required("start_from", start_from),
            streams,
            sql_dir: directory(&top, "sql_dir"),
            schema_dir: directory(&top, "schema_dir"),
            registry,
            max_out_of_order: top.required("max_out_of_order", duration),
            allowed_lateness: top.required("allowed_lateness", duration),
            max_future: top.required("max_future", duration),
            idle_after: top.required("idle_after", interval),
            batch_interval: top.required("batch_interval", interval),
            max_batch_events: top.required("max_batch_events", count(MOST_BATCH_EVENTS)),
            parallelism: top.required("parallelism", count(MOST_WORKERS)),
            memory_limit: top.optional("memory_limit", bytes),
            checkpoint_dir: top.optional("checkpoint_dir", store_location),
            checkpoint_interval: top.required("checkpoint_interval", interval),
            shutdown_timeout: top.required("shutdown_timeout", duration),
            redis: stores::redis(&Scope { table: table(tree, "redis"), prefix: "redis.", problems }),
            metrics_addr: top.required("metrics_addr", address),
            log_format: top.required("log_format", choice(LOG_FORMATS)),
        };
        report_registry_needed(&config, problems);
        if config.memory_limit.is_some() && resident_bytes().is_none() {
            let problem = Problem::new("this system does not tell how much memory a process takes");
            top.wrong("memory_limit", problem.hint("leave it out; it is read from /proc, as Linux has it"));
        }
        config
    }
}

/// This process' environment.
#[expect(clippy::disallowed_methods, reason = "this is where options come from")]
fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn start_from(value: &Value) -> Read<StartFrom> {
    text(value)?.parse().map_err(|error: NotAStart| Problem::new(error.to_string()))
}

/// A directory that is named must be there; the default one may be missing.
fn directory(top: &Scope<'_>, name: &str) -> PathBuf {
    let directory: PathBuf = top.required(name, path);
    if top.entry(name).is_some() && !directory.is_dir() {
        top.wrong(name, Problem::new(format!("there is no directory {}", directory.display())));
    }
    directory
}

/// A subject cannot be looked up without a registry.
fn report_registry_needed(config: &Config, problems: &RefCell<Vec<Problem>>) {
    if config.registry.is_some() {
        return;
    }
    for stream in &config.streams {
        if let SchemaSource::Registry { subject, .. } = &stream.schema {
            let name = &stream.name;
            let message = format!(
                "stream `{name}` takes its schema from subject `{subject}`, and there is no registry"
            );
            let problem =
                Problem::new(message).hint("set `url` in [schema_registry], or --schema-registry-url");
            problems.borrow_mut().push(match &stream.place {
                Some(place) => problem.at(place.clone()),
                None => problem,
            });
        }
    }
}

/// The table of that name, empty where there is none.
fn table<'a>(tree: &'a Table, name: &str) -> &'a Table {
    static EMPTY: Table = Table::new();
    match tree.get(name).map(|entry| &entry.value) {
        Some(Value::Table(table)) => table,
        _ => &EMPTY,
    }
}
