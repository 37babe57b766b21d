//! The built binary as a process of its own: a clean environment, an own
//! working directory, its output, its metrics, its end.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;

use super::child::{Guarded, guarded};
use super::{PATIENCE, eventually};

/// Variables that the binary inherits from the tests; it gets no others.
const INHERITED: [&str; 4] = ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];

/// A run of the binary, not yet begun.
#[derive(Debug)]
pub struct Windrow {
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    directory: Directory,
}

/// The working directory: our own, or one that several runs share.
#[derive(Debug)]
enum Directory {
    Own(TempDir),
    Shared(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Shared(directory) => directory,
        }
    }
}

/// How a run ended and what it printed.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Windrow {
    /// The binary with these arguments, in an empty directory of its own.
    pub fn command<I, S>(arguments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        let directory = TempDir::with_prefix("windrow-run-").expect("makes a temporary directory");
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            directory: Directory::Own(directory),
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs in this directory, which outlives the run. To be called before
    /// [`Self::file`].
    #[must_use]
    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.directory = Directory::Shared(directory.to_owned());
        self
    }

    /// Writes a file into the working directory.
    #[must_use]
    pub fn file(self, name: &str, contents: &str) -> Self {
        let path = self.directory.path().join(name);
        let parent = path.parent().expect("a file has a directory");
        fs::create_dir_all(parent).expect("makes the file's directory");
        fs::write(&path, contents).expect("writes the file");
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// With what it printed, when it still runs after `timeout`.
    #[track_caller]
    pub fn run_to_end(self, timeout: Duration) -> Output {
        self.spawn().wait(timeout)
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let mut command = guarded(env!("CARGO_BIN_EXE_windrow"), &self.arguments, None);
        command.current_dir(self.directory.path()).env_clear();
        for name in INHERITED {
            #[expect(clippy::disallowed_methods, reason = "what a process needs of its surroundings")]
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.directory.path()).env("RUST_BACKTRACE", "0");
        command.envs(self.environment);
        Running { child: Guarded::spawn("windrow", command), directory: self.directory }
    }
}

/// A run of the binary; killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Guarded,
    // After the child, so that it is removed when the child is dead.
    #[expect(dead_code, reason = "is removed when the process has ended")]
    directory: Directory,
}

impl Running {
    /// Waits for a whole line, on either output, that contains `part`.
    ///
    /// # Panics
    /// With what it printed instead, when it ends first or [`PATIENCE`] does.
    #[track_caller]
    pub fn wait_for_line(&mut self, part: &str) -> String {
        eventually(PATIENCE, &format!("a line with `{part}`"), || {
            // Asked before the output is read: what an ended process printed is all there.
            let ended = self.child.try_wait();
            let outputs = [self.child.stderr(), self.child.stdout()];
            let lines = outputs.iter().flat_map(|output| output.split_inclusive('\n'));
            if let Some(line) = lines.filter(|line| line.ends_with('\n')).find(|line| line.contains(part)) {
                return Ok(line.trim_end().to_owned());
            }
            assert!(ended.is_none(), "no line with `{part}`, and windrow ended:\n{}", self.printed());
            Err(self.printed())
        })
    }

    /// Waits until `/readyz` says that it is ready.
    ///
    /// # Panics
    /// With what it printed, when it ends first or [`PATIENCE`] does.
    #[track_caller]
    pub fn wait_ready(&mut self, metrics_address: &str) {
        eventually(PATIENCE, "windrow is ready", || {
            let ended = self.child.try_wait();
            assert!(ended.is_none(), "windrow ended before it was ready:\n{}", self.printed());
            match http_get(metrics_address, "/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("/readyz answers {status} {body}\n{}", self.printed())),
                Err(reason) => Err(format!("{reason}\n{}", self.printed())),
            }
        });
    }

    /// The body of `/metrics`.
    ///
    /// # Panics
    /// With what it printed, when it does not answer.
    #[track_caller]
    pub fn metrics(&self, metrics_address: &str) -> String {
        match http_get(metrics_address, "/metrics") {
            Ok((200, body)) => body,
            other => panic!("/metrics: {other:?}\n{}", self.printed()),
        }
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_some()
    }

    /// Sends a signal by name: `STOP`, `CONT`, `INT`.
    pub fn signal(&mut self, signal: &str) {
        self.child.signal(signal);
    }

    /// Asks it to end and waits.
    ///
    /// # Panics
    /// With what it printed, when it still runs after [`PATIENCE`].
    #[track_caller]
    pub fn terminate(mut self) -> Output {
        self.child.signal("TERM");
        self.wait(PATIENCE)
    }

    /// `kill -9`.
    #[track_caller]
    pub fn kill(mut self) -> Output {
        self.child.kill();
        self.wait(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With what it printed, when it still runs after `timeout`.
    #[track_caller]
    pub fn wait(mut self, timeout: Duration) -> Output {
        let status = self.child.wait(timeout);
        Output { status, stdout: self.child.stdout(), stderr: self.child.stderr() }
    }

    fn printed(&self) -> String {
        format!("standard output:\n{}\nstandard error:\n{}", self.child.stdout(), self.child.stderr())
    }
}

/// The value of a sample such as `kafka_consumer_lag{partition="0",topic="t"}`
/// in what [`Running::metrics`] returned; labels in the order of the text.
pub fn sample(metrics: &str, name_and_labels: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' ')?.parse().ok())
}

/// Asks a server on this machine: its status and body.
///
/// # Errors
/// Why there is no answer.
pub fn http_get(address: &str, path: &str) -> Result<(u16, String), String> {
    let told = |error: io::Error| format!("GET {path} at {address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(told)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    // HTTP/1.0: the answer comes in one piece, and then the connection ends.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no HTTP: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("no status: {head}"))?, body.to_owned()))
}
