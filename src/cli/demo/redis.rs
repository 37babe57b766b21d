//! A Redis of the demo's own, where a server is installed: on a free loopback
//! port, without persistence, gone with its files when the demo ends.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Programs that speak Redis' protocol and take its options, the first installed wins.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];

/// How to get one.
pub(super) const HOW_TO_GET: &str = "apt-get install redis-server";

/// Ports that are tried: between finding a free one and listening on it another may take it.
const ATTEMPTS: usize = 3;

/// How long a server may take to listen, and to end.
const WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the server, and ends it when standard input is closed: by us, or by the
/// system however this process ends. `$0` is the directory of its files.
const KEEPER: &str = r#"
"$@" &
server=$!
read -r line
kill -9 "$server"
wait "$server"
rm -rf "$0"
"#;

/// A running server. Dropping it ends it and removes its files.
pub(super) struct RedisServer {
    port: u16,
    directory: TempDir,
    keeper: Child,
}

impl RedisServer {
    /// Starts a server; `None` where none is installed.
    ///
    /// # Errors
    /// When one is installed and does not start.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        let Some(program) = SERVERS.into_iter().find(|program| is_installed(program)) else {
            return Ok(None);
        };
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::try_start(program) {
                Ok(server) => return Ok(Some(server)),
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.unwrap_or_else(|| anyhow::anyhow!("it was not tried"));
        Err(failure.context(format!("{program} did not start")))
    }

    fn try_start(program: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("windrow-demo-").tempdir()?;
        let port = free_port()?;
        let keeper = keeper(program, port, directory.path()).spawn()?;
        let server = Self { port, directory, keeper };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Its port on loopback.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn wait_until_it_listens(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let log = std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it wrote no log").to_owned();
        anyhow::bail!("it does not listen on port {}: {last}", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let begun = Instant::now();
        while matches!(self.keeper.try_wait(), Ok(None)) {
            if begun.elapsed() >= WITHIN {
                // Nothing more can be done for a keeper that does not end.
                let _ = self.keeper.kill();
                let _ = self.keeper.wait();
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn is_installed(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn keeper(program: &str, port: u16, directory: &Path) -> Command {
    let mut keeper = Command::new("sh");
    keeper
        .args(["-c", KEEPER])
        .arg(directory)
        .arg(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--protected-mode", "yes"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(directory)
        .args(["--logfile", "redis.log"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is for us: the last features still have to be written.
        .process_group(0);
    keeper
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_leaves_nothing_behind() {
        let Some(server) = RedisServer::start().unwrap() else { return };
        let (port, directory) = (server.port(), server.directory.path().to_owned());
        assert!(directory.is_dir());
        drop(server);
        assert!(!directory.exists());
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
