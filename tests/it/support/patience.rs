//! How long is waited for what takes a moment, and what to say where something is missing.

use std::thread;
use std::time::{Duration, Instant};

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
