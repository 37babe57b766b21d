//! Every option that is not a stream's: name, kind of value, default, unit and
//! meaning, once. Flags, environment names, help, the names known in the file
//! and the defaults all come from this table; what a value may be stands in
//! [`super::values`]. A stream's options stand in [`super::streams`].

use std::sync::LazyLock;

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// Its name in the file, with its table: `redis.url`.
    pub path: &'static str,
    /// Its flag, without the dashes: `redis-url`.
    pub flag: String,
    /// Its environment name: `WINDROW_REDIS_URL`.
    pub environment: String,
    /// What its value is, as help shows it.
    pub value: &'static str,
    /// Its value when nobody says otherwise.
    pub default: Option<&'static str>,
    /// The heading under which help shows it.
    pub group: &'static str,
    /// What it means, for help.
    pub doc: &'static str,
}

impl Opt {
    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.path.ends_with("password") || self.path.ends_with("url")
    }
}

/// The option at `path`.
///
/// # Panics
/// When there is none: paths are written in this program only.
pub fn option(path: &str) -> &'static Opt {
    OPTIONS.iter().find(|option| option.path == path).expect("the program names options that exist")
}

/// Every option, in the order of the help.
pub static OPTIONS: LazyLock<Vec<Opt>> = LazyLock::new(|| ROWS.iter().map(Row::build).collect());

struct Row {
    group: &'static str,
    path: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    doc: &'static str,
}

impl Row {
    fn build(&self) -> Opt {
        // These are a matter of features rather than of Redis, and their flags are named so.
        let flag = match self.path {
            "redis.key_template" => "key-template".to_owned(),
            "redis.fencing" => "fencing".to_owned(),
            path => path.replace(['.', '_'], "-"),
        };
        Opt {
            path: self.path,
            environment: format!("WINDROW_{}", flag.replace('-', "_").to_uppercase()),
            flag,
            value: self.value,
            default: self.default,
            group: self.group,
            doc: self.doc,
        }
    }
}

const fn row(
    group: &'static str,
    path: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    doc: &'static str,
) -> Row {
    Row { group, path, value, default, doc }
}

/// The heading of `--brokers` and its like; also of flags that are not in the table.
pub const INPUT: &str = "Input";
const TIME: &str = "Time";
const VIEWS: &str = "Views and schemas";
const RUNNING: &str = "Running";
const REDIS: &str = "Redis";
const OBSERVING: &str = "Observing";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(INPUT, "brokers", "HOST:PORT,…", Some("localhost:9092"), "Kafka's bootstrap servers"),
    row(INPUT, "group_id", "NAME", Some("windrow"), "Kafka consumer group"),
    row(INPUT, "start_from", "WHERE", Some("committed"),
        "Where to begin: earliest, latest, committed (earliest where there is none), RFC 3339, epoch milliseconds"),

    row(TIME, "max_out_of_order", "DURATION", Some("5s"),
        "How far behind the clock an event still is on time"),
    row(TIME, "allowed_lateness", "DURATION", Some("60s"), "How much later than that an event still counts"),
    row(TIME, "max_future", "DURATION", Some("5m"),
        "How far an event's time may lie after its Kafka timestamp"),
    row(TIME, "idle_after", "DURATION", Some("10s"),
        "Silence after which a shard's clock runs on with wall time"),

    row(VIEWS, "sql_dir", "DIR", Some("sql"), "Directory of the feature views, *.sql"),
    row(VIEWS, "schema_dir", "DIR", Some("schemas"),
        "Directory of the Avro schemas, *.avsc; shipped ones need no file"),
    row(VIEWS, "schema_registry.url", "URL", None,
        "Confluent-compatible schema registry, http:// or https://"),
    row(VIEWS, "schema_registry.username", "NAME", None, "User at the registry (basic authentication)"),
    row(VIEWS, "schema_registry.password", "SECRET", None,
        "Password at the registry; better given as a file"),
    row(VIEWS, "schema_registry.password_file", "FILE", None, "File with the password at the registry"),
    row(VIEWS, "schema_registry.ca_cert", "FILE", None,
        "Certificates (PEM) that sign the registry's; the system's otherwise"),
    row(VIEWS, "schema_registry.timeout", "DURATION", Some("5s"),
        "Longest wait for one answer of the registry"),

    row(RUNNING, "batch_interval", "DURATION", Some("250ms"),
        "How often the events at hand are taken as a batch"),
    row(RUNNING, "max_batch_events", "N", Some("100000"), "Most events in a batch"),
    row(RUNNING, "parallelism", "N", Some("1"), "Worker threads that share this process' shards"),
    row(RUNNING, "memory_limit", "BYTES", None,
        "Most memory of this process, such as 2GiB: near it reading waits; unlimited otherwise"),
    row(RUNNING, "checkpoint_dir", "DIR|URL", None,
        "Where state is kept across restarts: a directory, or s3://, gs:// or az://BUCKET/PREFIX; rebuilt from Kafka otherwise"),
    row(RUNNING, "checkpoint_interval", "DURATION", Some("30s"),
        "How often state is kept"),
    row(RUNNING, "shutdown_timeout", "DURATION", Some("30s"), "Longest time that ending may take"),

    row(REDIS, "redis.url", "URL,…", Some("redis://127.0.0.1:6379"),
        "Redis, redis:// or rediss:// (TLS); several for Sentinel and Cluster"),
    row(REDIS, "redis.mode", "MODE", Some("single"),
        "What stands behind the addresses: single, sentinel or cluster"),
    row(REDIS, "redis.sentinel_master", "NAME", None, "The master's name at the Sentinels"),
    row(REDIS, "redis.username", "NAME", None, "ACL user"),
    row(REDIS, "redis.password", "SECRET", None, "Password; better given as a file"),
    row(REDIS, "redis.password_file", "FILE", None, "File with the password"),
    row(REDIS, "redis.ca_cert", "FILE", None, "Certificates (PEM) that sign Redis'; the system's otherwise"),
    row(REDIS, "redis.client_cert", "FILE", None, "Own certificate (PEM), where Redis asks for one"),
    row(REDIS, "redis.client_key", "FILE", None, "Key (PEM) of the own certificate"),
    row(REDIS, "redis.insecure", "BOOL", Some("false"), "Accept any certificate of Redis: for trials only"),
    row(REDIS, "redis.connect_timeout", "DURATION", Some("5s"), "Longest wait for a connection"),
    row(REDIS, "redis.response_timeout", "DURATION", Some("10s"),
        "Longest wait for the answer to one pipeline"),
    row(REDIS, "redis.key_template", "TEMPLATE", Some("features:{entity}:{key}:{view}"),
        "The name of an entity's hash"),
    row(REDIS, "redis.null", "HOW", Some("remove"),
        "A NULL feature: remove its field, or write it as text (null)"),
    row(REDIS, "redis.set_by", "COMMAND", Some("hset"),
        "How a hash is set: hset, what changed of it, or restore (less work for Redis 7, replaces the whole key)"),
    row(REDIS, "redis.fencing", "on|off", Some("on"),
        "Whether a process that was paused is kept from overwriting newer features of another"),

    row(OBSERVING, "metrics_addr", "IP:PORT", Some("127.0.0.1:8088"),
        "Where /metrics, /healthz and /readyz answer"),
    row(OBSERVING, "log_format", "FORMAT", Some("text"), "Logs on standard error: text or json"),
];
