//! Where a partition is read again from after a restart.

use crate::time::EventTime;

/// Where to read again from so as to rebuild what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeadIn {
    /// The first offset to read.
    pub offset: i64,
    /// The partition's clock before it.
    pub clock: Option<EventTime>,
}
