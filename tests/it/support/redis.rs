//! A redis-server of one's own, alone or beside others, and what its hashes hold.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use redis::{Cmd, Connection, FromRedisValue};
use tempfile::TempDir;

use super::certificates;
use super::child::{Guarded, guarded};
use super::ports::free_port;
use super::{INSTALL, PATIENCE, eventually};

/// Another process may take a port between its choice and its use.
const START_ATTEMPTS: u32 = 3;

/// How long one command may take.
const REQUEST: Duration = Duration::from_secs(10);

/// Commands that go out before their answers are read.
const PIPELINED: usize = 500;

/// The user as whom the tests themselves look, where there are users.
const OBSERVER: &str = "observer";

/// What the server is to be like; by default open, without TLS, forgetful.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Writes survive a stop (append-only file, synchronised at every write).
    pub persistent: bool,
    /// The only way in.
    pub user: Option<User>,
    /// TLS on a port of its own; [`RedisServer::url`] then begins with `rediss`.
    pub tls: bool,
    /// What it is to the other servers.
    pub role: Role,
}

/// What a server is to others on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub enum Role {
    /// Nothing.
    #[default]
    Alone,
    /// A node of a cluster, without slots at first.
    ClusterNode,
    /// A copy of the server at this port. Others may write to it all the same.
    ReplicaOf(u16),
    /// A redis-sentinel that watches the master at this port, under the name [`MASTER`].
    SentinelOf(u16),
}

/// The name of a sentinel's master.
pub const MASTER: &str = "windrow-tests";

/// An ACL user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// Its rights as ACL rules, such as `~features:* +@all`.
    pub rights: String,
}

/// A redis-server, stopped on drop.
#[derive(Debug)]
pub struct RedisServer {
    options: Options,
    port: u16,
    tls_port: u16,

    // Before the directory, so that it is removed when the process is dead.
    process: Option<Guarded>,
    directory: TempDir,
}

impl RedisServer {
    /// An open server that forgets everything when it stops.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// An open server whose data survive [`Self::stop`].
    pub fn start_persistent() -> Self {
        Self::start_with(Options { persistent: true, ..Options::default() })
    }

    /// A server with these options.
    ///
    /// # Panics
    /// When it does not start, with how to install it.
    pub fn start_with(options: Options) -> Self {
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let directory = TempDir::with_prefix("windrow-redis-").expect("makes a temporary directory");
            let (port, tls_port) = (free_port(), free_port());
            if options.tls {
                certificates::make(directory.path());
            }
            let configuration = configuration(&options, directory.path(), port, tls_port);
            fs::write(directory.path().join("redis.conf"), configuration).expect("writes redis.conf");
            let mut server = Self { options: options.clone(), port, tls_port, process: None, directory };
            match server.run() {
                Ok(()) => return server,
                Err(status) => last = Some((status, server.printed())),
            }
        }
        panic!("redis-server ended at its start {START_ATTEMPTS} times ({INSTALL}): {last:?}")
    }

    /// Where it is, for `--redis-url`.
    pub fn url(&self) -> String {
        let (scheme, port) = if self.options.tls { ("rediss", self.tls_port) } else { ("redis", self.port) };
        match &self.options.user {
            Some(User { name, password, .. }) => format!("{scheme}://{name}:{password}@127.0.0.1:{port}"),
            None => format!("{scheme}://127.0.0.1:{port}"),
        }
    }

    /// Its port without TLS.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority that signed the server's, with TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Stops it as a crash would; connections are refused from now on.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it in order, after it has saved its data.
    pub fn stop_saved(&mut self) {
        // It hangs up instead of answering.
        self.try_query::<()>(redis::cmd("SHUTDOWN").arg("SAVE")).ok();
        if let Some(mut process) = self.process.take() {
            process.wait(PATIENCE);
        }
    }

    /// Starts it again on the same port, without what it has saved.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again_empty(&mut self) {
        fs::remove_file(self.directory.path().join("dump.rdb")).ok();
        self.start_again();
    }

    /// Starts it again on the same port, with its data if it is persistent or has saved them.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "redis-server runs");
        self.run().unwrap_or_else(|status| panic!("redis-server ended: {status}\n{}", self.printed()));
    }

    /// The fields of a hash; none if there is no such key.
    #[track_caller]
    pub fn hgetall(&self, key: &str) -> HashMap<String, String> {
        self.query(redis::cmd("HGETALL").arg(key))
    }

    /// The fields of several hashes, in the order of their keys.
    ///
    /// # Panics
    /// When the server does not answer or refuses.
    #[track_caller]
    pub fn hashes(&self, keys: &[&str]) -> Vec<HashMap<String, String>> {
        let answer = |keys: &[&str]| -> Result<Vec<HashMap<String, String>>, String> {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.cmd("HGETALL").arg(*key);
            }
            pipeline.query(&mut self.connect()?).map_err(|error| error.to_string())
        };
        let answers = keys.chunks(PIPELINED).map(answer);
        answers.flat_map(|hashes| hashes.unwrap_or_else(|reason| panic!("redis-server: {reason}"))).collect()
    }

    /// The keys that match a pattern, sorted, without the fences.
    #[track_caller]
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.query(redis::cmd("KEYS").arg(pattern));
        keys.retain(|key| !key.starts_with("windrow:{"));
        keys.sort();
        keys
    }

    /// How long a key has to live; `None` if it lives for ever or is not there.
    #[track_caller]
    pub fn ttl_ms(&self, key: &str) -> Option<i64> {
        let left: i64 = self.query(redis::cmd("PTTL").arg(key));
        (left >= 0).then_some(left)
    }

    /// Deletes everything.
    #[track_caller]
    pub fn flush(&self) {
        self.query::<()>(&redis::cmd("FLUSHALL"));
    }

    /// Any command.
    ///
    /// # Panics
    /// When the server does not answer or refuses.
    #[track_caller]
    pub fn query<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_query(command).unwrap_or_else(|reason| panic!("redis-server: {reason}"))
    }

    /// Any command, on the plain port, which a server with TLS has as well.
    ///
    /// # Errors
    /// Why there is no answer, or what the server refuses.
    pub fn try_query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, String> {
        command.query(&mut self.connect()?).map_err(|error| error.to_string())
    }

    fn connect(&self) -> Result<Connection, String> {
        let told = |error: redis::RedisError| error.to_string();
        let user = self.options.user.as_ref().map_or_else(String::new, |_| format!("{OBSERVER}:{OBSERVER}@"));
        let client = redis::Client::open(format!("redis://{user}127.0.0.1:{}", self.port)).map_err(told)?;
        let connection = client.get_connection_with_timeout(REQUEST).map_err(told)?;
        connection.set_read_timeout(Some(REQUEST)).map_err(told)?;
        Ok(connection)
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    /// How the process ended.
    fn run(&mut self) -> Result<(), ExitStatus> {
        let program = match self.options.role {
            Role::SentinelOf(_) => "redis-sentinel",
            Role::Alone | Role::ClusterNode | Role::ReplicaOf(_) => "redis-server",
        };
        let mut command = guarded(program, ["redis.conf"], Some(self.directory.path()));
        command.current_dir(self.directory.path());
        let mut process = Guarded::spawn(program, command);
        let outcome = eventually(PATIENCE, &format!("{program} answers"), || {
            // Asked before the ping: another server may answer on a port that ours did not get.
            let answer: Result<String, String> = self.try_query(&redis::cmd("PING"));
            match process.try_wait() {
                Some(status) => Ok(Err(status)),
                None => answer.map(|_| Ok(())),
            }
        });
        self.process = Some(process);
        outcome
    }

    fn printed(&self) -> String {
        self.process.as_ref().map(|process| process.stdout() + &process.stderr()).unwrap_or_default()
    }
}

fn configuration(options: &Options, directory: &Path, port: u16, tls_port: u16) -> String {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        format!("dir \"{}\"", directory.display()),
        "loglevel warning".to_owned(),
    ];
    match options.role {
        Role::Alone => lines.push("save \"\"".to_owned()),
        Role::ClusterNode => {
            // The bus would be 10000 ports further on, among those of outgoing connections.
            lines.extend(["save \"\"", "cluster-enabled yes"].map(str::to_owned));
            lines.push(format!("cluster-port {}", free_port()));
        }
        Role::ReplicaOf(master) => {
            lines.extend(["save \"\"", "replica-read-only no"].map(str::to_owned));
            lines.push(format!("replicaof 127.0.0.1 {master}"));
        }
        Role::SentinelOf(master) => {
            lines.push(format!("sentinel monitor {MASTER} 127.0.0.1 {master} 1"));
            lines.push(format!("sentinel down-after-milliseconds {MASTER} 1000"));
            lines.push(format!("sentinel failover-timeout {MASTER} 3000"));
        }
    }
    if options.persistent {
        lines.extend(["appendonly yes", "appendfsync always"].map(str::to_owned));
    }
    if let Some(User { name, password, rights }) = &options.user {
        lines.push("user default off".to_owned());
        lines.push(format!("user {name} on >{password} {rights}"));
        lines.push(format!("user {OBSERVER} on >{OBSERVER} ~* &* +@all"));
    }
    if options.tls {
        lines.push(format!("tls-port {tls_port}"));
        let rest = ["tls-cert-file server.crt", "tls-key-file server.key", "tls-ca-cert-file ca.crt"];
        lines.extend(rest.map(str::to_owned));
        lines.push("tls-auth-clients no".to_owned());
    }
    lines.join("\n") + "\n"
}
