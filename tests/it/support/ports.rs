//! Free loopback ports.
//!
//! They lie below the range from which the system picks ports of outgoing
//! connections, so a server that is stopped finds its port free when it is
//! started again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first port of the range.
const FIRST: u32 = 20_000;
/// How many ports the range has; it ends below Linux' outgoing ports (32768).
const COUNT: u32 = 12_000;
/// How far apart two test processes begin, so that they seldom meet.
const STRIDE: u32 = 120;

/// A port on which nothing listens, given out once in this process.
///
/// # Panics
/// When no port of the range is free.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(STRIDE) % COUNT;
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < COUNT, "no free port from {FIRST} on");
        let port = u16::try_from(FIRST + (begin + given) % COUNT).expect("the range lies below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
