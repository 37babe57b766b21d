//! What the integration tests run against: a real Apache Kafka, a real
//! redis-server, a schema registry, and the built binary as a process.
//!
//! Everything listens on free loopback ports, keeps its files in temporary
//! directories and ends with the test process, however that ends. Tests run in
//! parallel on slow machines: time-outs are generous, results are exact, and
//! [`eventually`] is the only waiting there is.

use std::sync::atomic::{AtomicU32, Ordering};

pub mod avro;
pub mod bucket;
pub mod cases;
pub mod certificates;
pub mod child;
pub mod client;
pub mod cluster;
pub mod kafka;
pub mod patience;
pub mod ports;
pub mod process;
pub mod redis;
pub mod registry;
pub mod secure;
pub mod sentinel;

pub use patience::{INSTALL, PATIENCE, eventually};

/// A name that no other test uses, for topics and groups on the shared broker.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The absolute path of a file of the repository. Tests are run in its root, which is not written into
/// them: a directory of builds may serve several checkouts.
pub fn shipped(file: &str) -> String {
    let path = std::path::absolute(file).expect("there is a current directory");
    path.into_os_string().into_string().expect("it is in UTF-8")
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
