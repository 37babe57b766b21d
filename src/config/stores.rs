//! The services beside Kafka: Redis, and the schema registry.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::{Secret, Url};
use super::tree::Value;
use super::values::{Read, Scope, boolean, choice, existing_file, interval, text, url, urls};
use crate::error::Problem;
use crate::sink::redis::{Guard, Mode, Options, SetBy};

/// How to reach Redis, and how features are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Addresses: one, or several Sentinels or members of a cluster.
    pub urls: Vec<Url>,
    /// What stands behind them.
    pub mode: RedisMode,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Certificates that sign the server's.
    pub ca_cert: Option<PathBuf>,
    /// Own certificate.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// Whether any certificate is accepted.
    pub insecure: bool,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to one pipeline.
    pub response_timeout: Duration,
    /// The name of an entity's hash.
    pub key_template: String,
    /// What becomes of a NULL feature.
    pub null: NullAs,
    /// Whether a hash is set at once, by its dump.
    pub restores: bool,
    /// Whether writes are tied to the shards' fences.
    pub fencing: bool,
}

impl RedisConfig {
    /// As the sink takes it.
    pub fn options(&self) -> Options {
        Options {
            urls: self.urls.iter().map(|url| url.reveal().to_owned()).collect(),
            mode: match &self.mode {
                RedisMode::Single => Mode::Single,
                RedisMode::Sentinel { master } => Mode::Sentinel { master_name: master.clone() },
                RedisMode::Cluster => Mode::Cluster,
            },
            username: self.username.clone(),
            password: self.password.as_ref().map(|password| password.reveal().to_owned()),
            db: None,
            ca_cert: self.ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            insecure: self.insecure,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            guard: Guard::None,
            set_by: if self.restores { SetBy::Restore } else { SetBy::Hset },
        }
    }
}

/// What stands behind Redis' addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Sentinels that know the master.
    Sentinel {
        /// Its name there.
        master: String,
    },
    /// A cluster.
    Cluster,
}

/// What becomes of a NULL feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullAs {
    /// Its field is removed.
    Removed,
    /// Its field holds `null`.
    Text,
}

/// How to reach the schema registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Its address.
    pub url: Url,
    /// User, for basic authentication.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Certificates that sign the server's.
    pub ca_cert: Option<PathBuf>,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

impl RegistryConfig {
    /// The options of the registry's client.
    pub fn options(&self) -> crate::schema::Options {
        crate::schema::Options {
            url: self.url.reveal().to_owned(),
            username: self.username.clone(),
            password: self.password.as_ref().map(|password| password.reveal().to_owned()),
            ca_cert: self.ca_cert.clone(),
            timeout: self.timeout,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ModeName {
    Single,
    Sentinel,
    Cluster,
}

const MODES: &[(&str, ModeName)] =
    &[("single", ModeName::Single), ("sentinel", ModeName::Sentinel), ("cluster", ModeName::Cluster)];

const SWITCH: &[(&str, bool)] = &[("on", true), ("off", false)];

/// Whether by dumps.
const SET_BY: &[(&str, bool)] = &[("hset", false), ("restore", true)];

const NULLS: &[(&str, NullAs)] = &[("remove", NullAs::Removed), ("text", NullAs::Text)];

/// Reads the `[redis]` table.
pub(super) fn redis(scope: &Scope<'_>) -> RedisConfig {
    let urls = scope.required("url", urls(&["redis", "rediss", "unix", "redis+unix"]));
    let mode = mode(scope, &urls);
    let client_cert = scope.optional("client_cert", existing_file);
    let client_key = scope.optional("client_key", existing_file);
    for (name, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if scope.entry(name).is_some() && scope.entry(other).is_none() {
            scope.wrong(
                name,
                Problem::new(format!("`redis.{other}` is not given")).hint("a certificate needs its key"),
            );
        }
    }
    RedisConfig {
        urls,
        mode,
        username: scope.optional("username", text),
        password: scope.secret("password"),
        ca_cert: scope.optional("ca_cert", existing_file),
        client_cert,
        client_key,
        insecure: scope.required("insecure", boolean),
        connect_timeout: scope.required("connect_timeout", interval),
        response_timeout: scope.required("response_timeout", interval),
        key_template: scope.required("key_template", key_template),
        null: scope.required("null", choice(NULLS)),
        restores: scope.required("set_by", choice(SET_BY)),
        fencing: scope.required("fencing", choice(SWITCH)),
    }
}

/// Reads the `[schema_registry]` table.
pub(super) fn registry(scope: &Scope<'_>) -> Option<RegistryConfig> {
    let address = scope.optional("url", url(&["http", "https"]));
    let password = scope.secret("password");
    let username = scope.optional("username", text);
    if password.is_some() && scope.entry("username").is_none() {
        scope.report(Problem::new("`schema_registry.username` is not given, and a password is"));
    }
    let (ca_cert, timeout) = (scope.optional("ca_cert", existing_file), scope.required("timeout", interval));
    if address.is_none() && scope.entry("url").is_none() && !scope.table.is_empty() {
        scope.report(Problem::new(
            "`schema_registry.url` is not given, and other options of the registry are",
        ));
    }
    let mut url = address?;
    if url.reveal().contains('@') {
        let hint = "give `username` and `password_file`";
        scope.wrong("url", Problem::new("user and password do not belong into the address").hint(hint));
        // Schemas are looked for all the same, and messages about that name the address.
        url = url.without_user();
    }
    Some(RegistryConfig { url, username, password, ca_cert, timeout })
}

fn mode(scope: &Scope<'_>, urls: &[Url]) -> RedisMode {
    let name = scope.required("mode", choice(MODES));
    let master = scope.optional("sentinel_master", text);
    if name == ModeName::Single && urls.len() > 1 {
        scope.wrong(
            "url",
            Problem::new("several addresses need a mode").hint("set `redis.mode` to sentinel or cluster"),
        );
    }
    if name != ModeName::Sentinel && master.is_some() {
        let problem =
            Problem::new("only mode sentinel has a master by name").hint("set `redis.mode` to sentinel");
        scope.wrong("sentinel_master", problem);
    }
    match name {
        ModeName::Single => RedisMode::Single,
        ModeName::Cluster => RedisMode::Cluster,
        ModeName::Sentinel => {
            if master.is_none() && scope.entry("sentinel_master").is_none() {
                scope.wrong("mode", Problem::new("sentinel needs `redis.sentinel_master`"));
            }
            RedisMode::Sentinel { master: master.unwrap_or_default() }
        }
    }
}

/// Without the view and the key two hashes would have one name.
fn key_template(value: &Value) -> Read<String> {
    let template = text(value)?;
    for needed in ["{key}", "{view}"] {
        if !template.contains(needed) {
            let names = ["{entity}", "{key}", "{view}"];
            return Err(Problem::new(format!("`{template}` lacks {needed}"))
                .valid("placeholders", needed, names)
                .hint("two entities or views would share a hash"));
        }
    }
    Ok(template)
}
