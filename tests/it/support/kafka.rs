//! Apache Kafka itself: one node in `KRaft` mode.
//!
//! It takes about three seconds to start, so tests share one broker and keep
//! apart by the names of their topics and groups ([`super::unique`]). Those
//! that stop the broker start one of their own.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::child::{Guarded, guarded};
use super::client::Client;
use super::ports::free_port;
use super::secure::Security;
use super::{INSTALL, PATIENCE, eventually};

/// Names the cluster; any will do.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// What makes the JVM start fast and stay small. Kafka logs nothing, since the
/// jars hold no binding of its logging interface.
pub(super) const JVM: [&str; 6] = [
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
];

/// Another process may take a port between its choice and its use.
const START_ATTEMPTS: u32 = 3;

/// A broker, stopped on drop.
#[derive(Debug)]
pub struct KafkaBroker {
    java: OsString,
    classpath: OsString,
    port: u16,

    // Before the directory, so that it is removed when the process is dead.
    process: Option<Guarded>,
    directory: TempDir,
}

impl KafkaBroker {
    /// The broker that the tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<KafkaBroker> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A broker of one's own.
    ///
    /// # Panics
    /// When Kafka or Java are missing, with how to install them, and when the
    /// broker does not start.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A broker that has, beside its open listener, those of `security`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_secure(security: &Security) -> Self {
        Self::start_with(Some(security))
    }

    fn start_with(security: Option<&Security>) -> Self {
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let mut broker = Self::format(security);
            match broker.run() {
                Ok(()) => return broker,
                Err(status) => last = Some((status, broker.printed())),
            }
        }
        panic!("Kafka ended at its start {START_ATTEMPTS} times: {last:?}")
    }

    /// `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client of this broker.
    pub fn client(&self) -> Client {
        Client::new(self.brokers())
    }

    /// Stops the broker; connections are refused from now on. In order, since
    /// a broker that was killed must wait for its old session to expire (9 s)
    /// before it serves again.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM");
            process.wait(PATIENCE);
        }
    }

    /// Starts it again with its data, on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the broker runs");
        self.run().unwrap_or_else(|status| panic!("Kafka ended at its start: {status}\n{}", self.printed()));
    }

    /// Chooses ports and makes the data directory.
    fn format(security: Option<&Security>) -> Self {
        let directory = TempDir::with_prefix("windrow-kafka-").expect("makes a temporary directory");
        let (port, controller_port) = (free_port(), free_port());
        let properties = properties(directory.path(), port, controller_port, security);
        fs::write(directory.path().join("server.properties"), properties).expect("writes server.properties");

        let broker = Self { java: java(), classpath: classpath(), port, process: None, directory };
        let formatted = Command::new(&broker.java)
            .args(broker.arguments("kafka.tools.StorageTool"))
            .args(["format", "-t", CLUSTER_ID, "-c", "server.properties"])
            .args(security.into_iter().flat_map(Security::format_arguments))
            .current_dir(broker.directory.path())
            .output()
            .unwrap_or_else(|error| panic!("could not start {}: {error}: {INSTALL}", broker.java.display()));
        assert!(
            formatted.status.success(),
            "could not format Kafka's storage (Java 17 or newer is needed: {INSTALL}):\n{}",
            String::from_utf8_lossy(&formatted.stderr)
        );
        broker
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    /// How the process ended.
    fn run(&mut self) -> Result<(), ExitStatus> {
        let arguments =
            self.arguments("kafka.Kafka").into_iter().chain([OsString::from("server.properties")]);
        let mut command = guarded(&self.java, arguments, Some(self.directory.path()));
        command.current_dir(self.directory.path());
        let process = self.process.insert(Guarded::spawn("Kafka", command));

        let address = format!("127.0.0.1:{}", self.port);
        let client = Client::new(&address);
        eventually(PATIENCE, "Kafka answers", || {
            if let Some(status) = process.try_wait() {
                return Ok(Err(status));
            }
            TcpStream::connect(&address).map_err(|error| error.to_string())?;
            client.ready().map(Ok)
        })
    }

    fn arguments(&self, class: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = JVM.iter().map(OsString::from).collect();
        arguments.extend([OsString::from("-cp"), self.classpath.clone(), OsString::from(class)]);
        arguments
    }

    fn printed(&self) -> String {
        self.process.as_ref().map(|process| process.stdout() + &process.stderr()).unwrap_or_default()
    }
}

/// One node for tests: every replication factor 1, nothing is ever deleted,
/// event times far from today are accepted, and members that were killed are
/// noticed within seconds.
fn properties(directory: &Path, port: u16, controller_port: u16, security: Option<&Security>) -> String {
    let (listeners, protocols, more) = security.map(Security::properties).unwrap_or_default();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port}{listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
inter.broker.listener.name=PLAINTEXT
log.dirs={}/data
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=false
log.cleaner.enable=false
log.retention.ms=-1
log.message.timestamp.after.max.ms=9223372036854775807
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
{more}",
        directory.display()
    )
}

/// `$JAVA_HOME/bin/java` where there is one, else `java` of the path.
#[expect(clippy::disallowed_methods, reason = "where a machine keeps its Java")]
pub(super) fn java() -> OsString {
    env::var_os("JAVA_HOME")
        .map(|home| PathBuf::from(home).join("bin/java"))
        .filter(|java| java.is_file())
        .map_or_else(|| "java".into(), OsString::from)
}

fn classpath() -> OsString {
    jars("WINDROW_KAFKA_DIR", ".cache/windrow-kafka", "kafka_2.13-")
}

/// Every jar in a cache that tools/install-test-components.sh fills, which the
/// environment names or lies at home; `main` is what the most important begins with.
#[expect(clippy::disallowed_methods, reason = "where a machine keeps its jars")]
pub(super) fn jars(variable: &str, at_home: &str, main: &str) -> OsString {
    let cache = env::var_os(variable).map_or_else(
        || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(at_home),
        PathBuf::from,
    );
    let libraries = cache.join("libs");
    let is_there = fs::read_dir(&libraries)
        .is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with(main)));
    assert!(is_there, "no {main}*.jar in {}: {INSTALL}", libraries.display());
    libraries.join("*").into_os_string()
}
