//! What the parts of a run get of `memory_limit`. The rest, most of it, is for
//! what the windows hold.
//!
//! | part | share | at most |
//! |---|---|---|
//! | events that wait for the next batch | a 32nd | 64 MiB |
//! | events that the Kafka client has fetched ahead | a 16th | 64 MiB, as without a limit |
//! | what queries gather, over all workers | a quarter | |
//!
//! Of a worker's batches one waits, and up to three are on their way.

use std::collections::BTreeMap;

use datafusion::execution::SessionState;

use super::Job;
use crate::pipeline::memory;
use crate::view::session::{session, session_within};

/// Bytes of events that wait for the next batch, at most: with a batch being
/// computed, one that waits for its publisher and one being published, four times this.
const MOST_WAITING: u64 = 64 << 20;

/// librdkafka's own default.
const MOST_FETCHED: u64 = 64 << 20;

/// Less than this would be a few events.
const LEAST: u64 = 1 << 20;

impl Job {
    /// DataFusion for one worker.
    pub(super) fn session(&self) -> anyhow::Result<SessionState> {
        let Some(limit) = self.config.memory_limit else { return Ok(session()) };
        Ok(session_within(query_bytes(limit, self.parallelism()))?)
    }

    /// How much memory the process may take, if that is limited.
    pub fn memory_limit(&self) -> Option<memory::Limit> {
        let views = self.views.iter().map(|view| view.name.clone()).collect();
        self.config.memory_limit.map(|bytes| memory::Limit { bytes, views })
    }

    /// Bytes of events that wait for the next batch, at most.
    pub fn waiting_bytes(&self) -> usize {
        waiting_bytes(self.config.memory_limit)
    }

    /// librdkafka's properties for a consumer: those that the user gave, and how much it fetches ahead.
    pub fn consumer_properties(&self) -> BTreeMap<String, String> {
        let mut properties = self.config.kafka.0.clone();
        if let Some(limit) = self.config.memory_limit {
            let fetched = || fetched_kib(limit).to_string();
            properties.entry("queued.max.messages.kbytes".to_owned()).or_insert_with(fetched);
        }
        properties
    }
}

/// Bytes of events that wait for the next batch.
fn waiting_bytes(limit: Option<u64>) -> usize {
    let bytes = limit.map_or(MOST_WAITING, |limit| (limit / 32).clamp(LEAST, MOST_WAITING));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What the Kafka client may fetch ahead, as its property says it: in KiB.
fn fetched_kib(limit: u64) -> u64 {
    (limit / 16).clamp(LEAST, MOST_FETCHED) >> 10
}

/// Bytes that the queries of one of so many workers may gather.
fn query_bytes(limit: u64, workers: usize) -> usize {
    usize::try_from(limit / 4).unwrap_or(usize::MAX) / workers.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_with_the_limit_up_to_what_they_are_without_one() {
        let found = |limit: u64| (waiting_bytes(Some(limit)) >> 10, fetched_kib(limit));
        assert_eq!(waiting_bytes(None), 64 << 20);
        assert_eq!(found(1), (1024, 1024));
        assert_eq!(found(256 << 20), (8 << 10, 16 << 10));
        assert_eq!(found(64 << 30), (64 << 10, 64 << 10));
        assert_eq!((query_bytes(1 << 30, 4), query_bytes(1 << 30, 0)), (64 << 20, 256 << 20));
    }
}
