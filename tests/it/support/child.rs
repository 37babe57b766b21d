//! A child process that never outlives the tests, and what it prints.
//!
//! ```text
//! test process ──standard input──▶ watcher (sh): end of input means kill -9
//!              ◀─stdout, stderr── the program itself, which took the place of
//!                                 the first sh, so the child's id is its id
//! ```
//! The kernel closes the pipe whichever way the test process ends, and statics
//! that are never dropped end with it. A parent-death signal would not do: it
//! fires when the *thread* that started the child ends, which is one test.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::eventually;

/// Starts the watcher, then becomes the program. A line on standard input means
/// that the child was ended in order; end of input, that the test process is gone.
const GUARD: &str = r#"
remove=$1
shift
exec 3<&0
{
  read -r word || {
    kill -9 $$
    for turn in 1 2 3 4 5 6 7 8 9 10; do
      kill -0 $$ || break
      sleep 0.1
    done
    [ -z "$remove" ] || rm -rf -- "$remove"
  }
} <&3 >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"#;

/// How long the last output of an ended process may take to arrive; a
/// grandchild may hold the pipe open for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// A program to be run under guard. Environment and working directory are the
/// caller's to set; `remove` is a directory that goes with the test process
/// where no destructor runs.
pub fn guarded<I, S>(program: impl AsRef<OsStr>, arguments: I, remove: Option<&Path>) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new("sh");
    command.arg("-c").arg(GUARD).arg("guard");
    command.arg(remove.map_or(OsStr::new(""), Path::as_os_str));
    command.arg(program).args(arguments);
    command
}

/// A running or ended child; killed on drop.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    stdout: Printed,
    stderr: Printed,

    child: Child,
    lifeline: Option<ChildStdin>,
    status: Option<ExitStatus>,
}

impl Guarded {
    /// Starts what [`guarded`] made.
    ///
    /// # Panics
    /// When there is no `sh`.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: could not start sh: {error}"));
        let lifeline = child.stdin.take();
        let stdout = Printed::collect(child.stdout.take().expect("standard output is piped"));
        let stderr = Printed::collect(child.stderr.take().expect("standard error is piped"));
        Self { name: name.to_owned(), stdout, stderr, child, lifeline, status: None }
    }

    /// What it has printed to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has printed to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system refuses to say.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.status.is_none()
            && let Some(status) = self.child.try_wait().expect("waits for a child of ours")
        {
            self.status = Some(status);
            self.release();
            self.stdout.finish();
            self.stderr.finish();
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With its standard error, when it still runs after `timeout`.
    #[track_caller]
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(timeout, &what, || {
            self.try_wait().ok_or_else(|| format!("it still runs; standard error:\n{}", self.stderr()))
        })
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: &str) {
        if self.try_wait().is_some() {
            return;
        }
        let kill = format!("kill -s {signal} {}", self.child.id());
        let sent = Command::new("sh").arg("-c").arg(&kill).status().expect("there is a sh");
        assert!(sent.success(), "{}: `{kill}` failed", self.name);
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().ok();
        self.wait(super::PATIENCE)
    }

    /// Tells the watcher that its work is done.
    fn release(&mut self) {
        if let Some(mut lifeline) = self.lifeline.take() {
            lifeline.write_all(b"done\n").ok();
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.child.kill().ok();
            self.release();
            self.child.wait().ok();
        }
    }
}

/// One output of a child, collected by a thread.
#[derive(Debug)]
struct Printed {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Printed {
    fn collect(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits for the rest of an ended child's output.
    fn finish(&self) {
        let begun = Instant::now();
        while !self.reader.is_finished() && begun.elapsed() < LAST_OUTPUT {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
