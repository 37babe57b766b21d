//! What an operator sees: metrics, health, logs. Injected into those who count;
//! nothing here decides.

mod families;
mod health;
pub mod http;
mod labels;
pub mod log;
mod metrics;

pub use health::Health;
pub use labels::{EventStatus, LateAction, LossKind, RedisStatus, Stage};
pub use metrics::Metrics;
