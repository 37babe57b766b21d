//! The processes of the group, and what a supervisor does for them: one that
//! ends without being asked to is started again, and that is held against it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PARTITIONS;
use super::schedule::{PROCESSES, SESSION_MS};
use crate::support::PATIENCE;
use crate::support::ports::free_port;
use crate::support::process::{Running, Windrow, http_get};

/// The shipped views of the stream.
const VIEWS: [(&str, &str); 2] = [
    ("sql/transaction.sql", include_str!("../../../sql/transaction.sql")),
    ("sql/transaction_pattern.sql", include_str!("../../../sql/transaction_pattern.sql")),
];

/// How long a supervisor waits before it starts again what ended by itself.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Its number on Linux.
const SIGTERM: i32 = 15;

/// Lines of a process' standard error that are shown when it did wrong.
const LINES_SHOWN: usize = 30;

/// Three processes in one consumer group.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    /// After the members, so that it is removed when they are dead.
    #[expect(dead_code, reason = "is removed when the processes have ended")]
    checkpoints: TempDir,
}

/// What a process was told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Run,
    End,
}

/// A place for a process.
#[derive(Debug)]
struct Member {
    number: usize,
    metrics: String,
    configuration: String,

    // Before the directory, so that it is removed when the process is dead.
    running: Option<Running>,
    directory: TempDir,
    told: Told,
    /// When it is to be started, if it does not run by then.
    due: Option<Instant>,
    wrongs: Vec<String>,
}

impl Fleet {
    /// Places for the processes, none of which runs yet.
    pub fn new(brokers: &str, redis_url: &str, topic: &str, group: &str) -> Self {
        let checkpoints = TempDir::with_prefix("windrow-checkpoints-").expect("makes a temporary directory");
        let member = |number| {
            let metrics = format!("127.0.0.1:{}", free_port());
            let heartbeat_ms = SESSION_MS / 6;
            let configuration = format!(
                r#"brokers = "{brokers}"
group_id = "{group}"
metrics_addr = "{metrics}"
batch_interval = "200ms"
idle_after = "24h"
checkpoint_dir = "{}"
checkpoint_interval = "3s"

[redis]
url = "{redis_url}"

[kafka]
"session.timeout.ms" = "{SESSION_MS}"
"heartbeat.interval.ms" = "{heartbeat_ms}"

[streams.transactions]
topic = "{topic}"
"#,
                checkpoints.path().display()
            );
            let directory = TempDir::with_prefix("windrow-chaos-").expect("makes a temporary directory");
            Member {
                number,
                metrics,
                configuration,
                running: None,
                directory,
                told: Told::Run,
                due: None,
                wrongs: Vec::new(),
            }
        };
        let members = (0..PROCESSES).map(member).collect();
        Self { members, checkpoints }
    }

    /// Starts all, and waits until they have partitions.
    #[track_caller]
    pub fn start_all(&mut self) {
        for member in &mut self.members {
            member.start();
        }
        for member in &mut self.members {
            member.running.as_mut().expect("it was started").wait_ready(&member.metrics);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, process: usize) {
        let member = &mut self.members[process];
        member.due = None;
        if let Some(running) = member.running.take() {
            let output = running.kill();
            member.look_for_panics(&output.stderr);
        }
    }

    /// Stops it where it stands.
    pub fn pause(&mut self, process: usize) {
        self.signal(process, "STOP");
    }

    /// Lets it go on.
    pub fn resume(&mut self, process: usize) {
        self.signal(process, "CONT");
    }

    /// Asks it to end.
    pub fn terminate(&mut self, process: usize) {
        let member = &mut self.members[process];
        member.due = None;
        member.told = Told::End;
        self.signal(process, "TERM");
    }

    /// Starts it again, as soon as it has ended if it is still about to.
    pub fn start(&mut self, process: usize) {
        self.members[process].due = Some(Instant::now());
        self.supervise();
    }

    fn signal(&mut self, process: usize, signal: &str) {
        if let Some(running) = &mut self.members[process].running {
            running.signal(signal);
        }
    }

    /// Notices who has ended, and starts who is due.
    pub fn supervise(&mut self) {
        for member in &mut self.members {
            member.supervise();
        }
    }

    /// Whether all run, are ready, and have nothing left to read, each partition
    /// being read by one of them.
    ///
    /// # Errors
    /// What is not so.
    pub fn caught_up(&mut self) -> Result<(), String> {
        self.supervise();
        let mut partitions = 0;
        for member in &self.members {
            let (number, address) = (member.number, &member.metrics);
            let ready = http_get(address, "/readyz")
                .map_err(|reason| format!("process {number}: {reason}\n{}", member.wrongs.join("\n")))?;
            if ready.0 != 200 {
                return Err(format!("process {number}: /readyz answers {ready:?}"));
            }
            let (_, metrics) = http_get(address, "/metrics")?;
            for lag in metrics.lines().filter(|line| line.starts_with("kafka_consumer_lag{")) {
                if !lag.ends_with(" 0") {
                    return Err(format!("process {number}: {lag}"));
                }
                partitions += 1;
            }
        }
        if partitions == PARTITIONS { Ok(()) } else { Err(format!("{partitions} partitions are read")) }
    }

    /// What the processes did wrong so far.
    pub fn wrongs(&self) -> impl Iterator<Item = &str> {
        self.members.iter().flat_map(|member| &member.wrongs).map(String::as_str)
    }

    /// Asks all to end, and waits. What they did wrong since they were first
    /// started: none may end by itself, panic, or end otherwise than it was asked to.
    pub fn end(mut self) -> Vec<String> {
        for process in 0..PROCESSES {
            self.terminate(process);
        }
        for member in &mut self.members {
            if let Some(running) = member.running.take() {
                let output = running.wait(PATIENCE);
                member.judge(output.status, &output.stderr);
            }
        }
        self.members.into_iter().flat_map(|member| member.wrongs).collect()
    }
}

impl Member {
    fn start(&mut self) {
        let windrow = Windrow::command(["run"])
            .in_directory(self.directory.path())
            .file("windrow.toml", &self.configuration);
        let windrow = VIEWS.iter().fold(windrow, |windrow, (name, sql)| windrow.file(name, sql));
        self.running = Some(windrow.spawn());
        self.told = Told::Run;
        self.due = None;
    }

    fn supervise(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.has_ended()) {
            let output = running.wait(PATIENCE);
            self.judge(output.status, &output.stderr);
            if self.told == Told::Run {
                self.due = Some(Instant::now() + RESTART_AFTER);
            }
        }
        if self.running.is_none() && self.due.is_some_and(|due| due <= Instant::now()) {
            self.start();
        }
    }

    /// Looks at how it ended, unless it was killed.
    fn judge(&mut self, status: ExitStatus, stderr: &str) {
        self.look_for_panics(stderr);
        // The signal itself ends a process that has hardly begun.
        let well = status.success() || status.signal() == Some(SIGTERM);
        let what = match self.told {
            Told::End if well => return,
            Told::End => "on SIGTERM",
            Told::Run => "by itself",
        };
        self.wrongs.push(format!("process {} ended {what}, {status}:\n{}", self.number, tail(stderr)));
    }

    fn look_for_panics(&mut self, stderr: &str) {
        if let Some(line) = stderr.lines().find(|line| line.contains("panicked at")) {
            self.wrongs.push(format!("process {}: {line}", self.number));
        }
    }
}

/// The last lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
