//! What an operator sees: metrics, health, logs. Injected into those who count;
//! nothing here decides.

mod families;
mod health;
pub mod http;
mod labels;
pub mod log;
mod memory;
mod metrics;

pub use health::Health;
pub use labels::{EventStatus, LateAction, LossKind, PauseReason, RedisStatus, SkipReason, Stage};
pub use memory::resident_bytes;
pub use metrics::Metrics;
