//! What the integration tests run against: a real Apache Kafka, a real
//! redis-server, a schema registry, and the built binary as a process.
//!
//! Everything listens on free loopback ports, keeps its files in temporary
//! directories and ends with the test process, however that ends. Tests run in
//! parallel on slow machines: time-outs are generous, results are exact, and
//! [`eventually`] is the only waiting there is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::ProptestConfig;

pub mod avro;
pub mod certificates;
pub mod child;
pub mod client;
pub mod cluster;
pub mod kafka;
pub mod ports;
pub mod process;
pub mod redis;
pub mod registry;
pub mod secure;
pub mod sentinel;

/// How long a test waits for what takes a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Named by the panics of whatever lacks a component.
pub const INSTALL: &str = "run tools/install-test-components.sh";

/// How often [`eventually`] looks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Tries until `attempt` succeeds and returns what it found.
///
/// # Panics
/// With the reason of the last attempt, after `timeout`.
#[track_caller]
pub fn eventually<T>(timeout: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(reason) => {
                assert!(begun.elapsed() < timeout, "{what}: not within {timeout:?}: {reason}");
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// A name that no other test uses, for topics and groups on the shared broker.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A number of the environment, for tests that run longer where that is wanted.
///
/// # Panics
/// When it is no number.
#[expect(clippy::disallowed_methods, reason = "how long a test may take is no option of the program")]
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name} is `{text}`: {error}")),
        Err(_) => default,
    }
}

/// So many generated cases, or as many as `PROPTEST_CASES` says.
#[expect(clippy::disallowed_methods, reason = "how long a test may take is no option of the program")]
pub fn cases(default: u32) -> ProptestConfig {
    let given = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(given.unwrap_or(default)) }
}
