//! The job of one test: topics, a group, a Redis and a directory with its
//! configuration and its views, none of them shared with another test.

use std::collections::{BTreeMap, HashMap};

use tempfile::TempDir;

use crate::support::client::{Client, Record};
use crate::support::kafka::KafkaBroker;
use crate::support::ports::free_port;
use crate::support::process::Windrow;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, unique};

/// What `windrow run` is to do, and where.
#[derive(Debug)]
pub struct Job {
    /// A client of the broker.
    pub client: Client,
    /// Where the features go.
    pub redis: RedisServer,
    /// The consumer group.
    pub group: String,
    /// Where a running job answers for its metrics.
    pub metrics_address: String,
    directory: TempDir,

    configuration: String,
}

impl Job {
    /// A job without streams of its own and without views. Its clocks do not
    /// run on by themselves, however slow the machine is.
    pub fn new() -> Self {
        let client = KafkaBroker::shared().client();
        let redis = RedisServer::start();
        let group = unique("group");
        let metrics_address = format!("127.0.0.1:{}", free_port());
        let configuration = format!(
            "brokers = \"{}\"\ngroup_id = \"{group}\"\nmetrics_addr = \"{metrics_address}\"\n\
             idle_after = \"1h\"\n\n[redis]\nurl = \"{}\"\n",
            KafkaBroker::shared().brokers(),
            redis.url(),
        );
        let directory = TempDir::with_prefix("windrow-job-").expect("makes a temporary directory");
        Self { client, redis, group, metrics_address, directory, configuration }
    }

    /// Makes a topic for a stream. `more` are lines of the stream's table.
    #[track_caller]
    pub fn stream(&mut self, name: &str, partitions: i32, more: &str) -> String {
        let topic = unique(name);
        self.client.create_topic(&topic, partitions);
        self.configure(&format!("[streams.{name}]\ntopic = \"{topic}\"\n{more}"));
        topic
    }

    /// Adds lines to the configuration, which ends with the stream made last.
    pub fn configure(&mut self, lines: &str) {
        self.configuration.push('\n');
        self.configuration.push_str(lines);
        self.configuration.push('\n');
    }

    /// Writes a file into the job's directory.
    pub fn file(&self, name: &str, contents: &str) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("makes a directory");
        std::fs::write(path, contents).expect("writes a file");
    }

    /// Writes a view.
    pub fn view(&self, name: &str, sql: &str) {
        self.file(&format!("sql/{name}.sql"), sql);
    }

    /// Reads a file of the job's directory.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `windrow run` with these flags, not yet begun.
    pub fn run(&self, flags: &[&str]) -> Windrow {
        Windrow::command([&["run"][..], flags].concat())
            .in_directory(self.directory.path())
            .file("windrow.toml", &self.configuration)
    }

    /// Runs over everything that the topics hold.
    ///
    /// # Panics
    /// With what it printed, when it does not end well.
    #[track_caller]
    pub fn run_to_end(&self, flags: &[&str]) {
        let flags = [&["--until-caught-up", "--start-from", "earliest"][..], flags].concat();
        let output = self.run(&flags).run_to_end(PATIENCE * 2);
        assert!(output.status.success(), "windrow run: {}\n{}", output.status, output.stderr);
    }

    /// The hashes of a view, by key.
    #[track_caller]
    pub fn hashes(&self, entity: &str, view: &str) -> BTreeMap<String, HashMap<String, String>> {
        let (before, after) = (format!("features:{entity}:"), format!(":{view}"));
        let key = |name: &str| name.strip_prefix(&before)?.strip_suffix(&after).map(str::to_owned);
        let names = self.redis.keys(&format!("{before}*{after}"));
        names.iter().filter_map(|name| Some((key(name)?, self.redis.hgetall(name)))).collect()
    }

    /// A feature as text; `None` when it or its hash is not there.
    #[track_caller]
    pub fn feature(&self, name: &str, field: &str) -> Option<String> {
        self.redis.hgetall(name).remove(field)
    }

    /// The dead letters of a topic, in the order of their sources.
    #[track_caller]
    pub fn dead_letters(&self, topic: &str) -> Vec<Record> {
        let mut letters = self.client.consume_all(&format!("{topic}.dlq"));
        letters.sort_by_key(source);
        letters
    }
}

/// The partition and the offset that a dead letter comes from.
#[track_caller]
pub fn source(letter: &Record) -> (i32, i64) {
    let number = |name: &str| letter.header(name).unwrap_or_else(|| panic!("no header {name}: {letter:?}"));
    let partition = number("source_partition").parse().expect("a partition is a number");
    (partition, number("source_offset").parse().expect("an offset is a number"))
}
