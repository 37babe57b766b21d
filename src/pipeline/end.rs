//! The end of a run, within `--shutdown-timeout`: what is on its way is
//! published and committed, and the threads end.
//!
//! ```text
//!  stop ──── the store is waited for ────┬─ commit ─┬─ threads end ─┬─ leave the group ─┐
//!                                        └───────── the reserve ────────────────────────┘ timeout
//! ```

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Error, Pipeline};
use crate::frame::PartitionId;
use crate::source::Source;

/// What is kept of the time for committing and leaving: a fifth, at most this.
const RESERVE: Duration = Duration::from_secs(2);

/// How often a thread is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Until when what is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    store: Instant,
    threads: Instant,
}

impl Deadlines {
    /// Of an end that begins now and may take so long.
    pub(super) fn within(timeout: Duration) -> Self {
        let reserve = RESERVE.min(timeout / 5);
        let store = Instant::now() + timeout.saturating_sub(reserve);
        Self { store, threads: store + reserve / 2 }
    }
}

impl Pipeline {
    /// What is on its way is published and committed.
    pub(super) fn drain(&mut self, source: &mut dyn Source, deadlines: Deadlines) -> Result<(), Error> {
        let safe = self.finish_turn(source, deadlines.store)?;
        if !safe {
            tracing::warn!(
                "the store did not take the last batch within {:.0} s; it is read again at the next start",
                self.options.shutdown_timeout.as_secs_f64()
            );
        }
        self.commit(source, true);
        if safe {
            let partitions: Vec<PartitionId> = self.partitions.keys().copied().collect();
            self.checkpoint_last(&partitions, deadlines.store);
        }
        Ok(())
    }

    /// Ends the threads. One that hangs in an attempt to write is left behind:
    /// what it writes was computed rightly, and nobody waits for it.
    pub(super) fn end_threads(&mut self, deadlines: Deadlines) {
        self.give_up.store(true, Ordering::Relaxed);
        let mut threads = Vec::new();
        for pair in std::mem::take(&mut self.pairs) {
            drop(pair.orders);
            threads.extend(pair.threads);
        }
        for thread in threads {
            while !thread.is_finished() && Instant::now() < deadlines.threads {
                std::thread::sleep(LOOK_EVERY);
            }
            if thread.is_finished() {
                // A thread that panicked has said so itself.
                let _ = thread.join();
            } else {
                tracing::debug!("a thread still waits for the store");
            }
        }
    }
}
