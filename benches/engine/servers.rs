//! A real redis-server and a real cluster, as the tests start and stop them.

#![allow(dead_code, reason = "the tests use the rest")]

#[path = "../../tests/it/support/certificates.rs"]
mod certificates;
#[path = "../../tests/it/support/child.rs"]
mod child;
#[path = "../../tests/it/support/cluster.rs"]
pub mod cluster;
#[path = "../../tests/it/support/patience.rs"]
mod patience;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
#[path = "../../tests/it/support/redis.rs"]
pub mod redis;

use patience::{INSTALL, PATIENCE, eventually};
