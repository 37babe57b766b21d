//! How Redis is reached, and how that may be printed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::parse_redis_url;

/// What kind of Redis the URLs lead to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// One server.
    #[default]
    Single,
    /// The URLs are sentinels, which know the master.
    Sentinel {
        /// The master's name among the sentinels.
        master_name: String,
    },
    /// The URLs are some nodes of a cluster.
    Cluster,
}

/// What keeps older features from taking the place of newer ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Guard {
    /// Nothing: every write is made.
    #[default]
    None,
    /// Fences: a shard that another process of the group has taken over is not
    /// written. See [`crate::sink::fence`].
    Fences {
        /// The consumer group.
        group: String,
        /// The topics of the streams, by the streams' numbers.
        topics: Vec<String>,
    },
    /// The rows' own as-of times: a hash that has a later one stays. For a
    /// backfill, which has no shards.
    AsOf,
}

/// How a hash is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetBy {
    /// The fields that changed: what others put into the hash stays.
    #[default]
    Hset,
    /// By its dump, at once, which is a fraction of the work for Redis 7 or
    /// newer. What others put into the hash, or under its name, is replaced.
    Restore,
}

/// How Redis is reached.
#[derive(Clone)]
pub struct Options {
    /// `redis://`, `rediss://` (TLS) or `unix://`; several are nodes of a
    /// cluster or sentinels. User and password in a sentinel's URL are for the sentinel.
    pub urls: Vec<String>,
    /// What the URLs lead to.
    pub mode: Mode,
    /// The ACL user; before the one in the URL.
    pub username: Option<String>,
    /// The password; before the one in the URL.
    pub password: Option<String>,
    /// The database; before the one in the URL.
    pub db: Option<i64>,
    /// The authorities to trust, in PEM; the system's otherwise.
    pub ca_cert: Option<PathBuf>,
    /// Our certificate, in PEM.
    pub client_cert: Option<PathBuf>,
    /// Its key, in PEM.
    pub client_key: Option<PathBuf>,
    /// Accept any certificate. Whoever sits between can then read and write.
    pub insecure: bool,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long one reply may take.
    pub response_timeout: Duration,
    /// What keeps older features from taking the place of newer ones.
    pub guard: Guard,
    /// How a hash is set.
    pub set_by: SetBy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            mode: Mode::Single,
            username: None,
            password: None,
            db: None,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            insecure: false,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            guard: Guard::None,
            set_by: SetBy::Hset,
        }
    }
}

impl fmt::Debug for Options {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_secrets(url)).collect();
        f.debug_struct("Options")
            .field("urls", &urls)
            .field("mode", &self.mode)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("db", &self.db)
            .field("ca_cert", &self.ca_cert)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("insecure", &self.insecure)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("guard", &self.guard)
            .field("set_by", &self.set_by)
            .finish()
    }
}

/// A URL as it may be printed: without user, password and query. Of one that
/// cannot be read nobody knows where its password stands.
pub(super) fn without_secrets(url: &str) -> String {
    let Some(parsed) = parse_redis_url(url) else {
        return url.split_once("://").map_or_else(|| "…".to_owned(), |(scheme, _)| format!("{scheme}://…"));
    };
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", parsed.scheme(), parsed.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_printed_without_secrets() {
        for (url, expected) in [
            ("redis://user:p@ss@host:6379/2", "redis://host:6379/2"),
            ("rediss://host?password=x", "rediss://host"),
            ("unix:///run/redis.sock?user=a&pass=b", "unix:///run/redis.sock"),
            ("redis://:p#ss@host", "redis://…"),
            ("http://user:pass@host", "http://…"),
            ("user:pass@host", "…"),
        ] {
            assert_eq!(without_secrets(url), expected);
        }
    }
}
