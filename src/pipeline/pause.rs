//! When fetching stops and goes on again: for the store, when the batch is full
//! and nobody can take it, and for memory, when there is no more to be had. The
//! source is polled all the same, and what is on its way is published.

use std::time::{Duration, Instant};

use super::memory::{Facts, LOOK_EVERY, Limit, Pressure, TooMuch, Verdict};
use super::{Error, Pipeline};
use crate::source::Source;
use crate::telemetry::{PauseReason, resident_bytes};

/// A worker that is busy for less is not worth giving up what was fetched ahead.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one poll is while nothing is fetched: whether that ends is looked at in between.
const POLL: Duration = Duration::from_millis(20);

/// Memory, as the loop sees it.
pub(super) struct Memory {
    limit: Limit,

    pressure: Pressure,
    /// When it was looked at last, and whether there was room.
    looked: Option<(Instant, bool)>,
}

impl Pipeline {
    /// Has reading wait when the process takes as much memory as this. What it takes now
    /// counts as what it takes without any events.
    pub fn with_memory_limit(mut self, limit: Limit) -> Self {
        let pressure = Pressure::new(limit.bytes, resident_bytes().unwrap_or_default());
        self.memory = Some(Memory { limit, pressure, looked: None });
        self
    }

    /// Whether there is memory for what is read next.
    pub(super) fn has_room(&mut self) -> Result<bool, Error> {
        let drained = self.is_drained();
        let Some(memory) = &mut self.memory else { return Ok(true) };
        let now = Instant::now();
        if let Some((looked, room)) = memory.looked
            && now.duration_since(looked) < LOOK_EVERY
        {
            return Ok(room);
        }
        let held: Vec<u64> = self.progress.state_bytes().into_iter().map(|bytes| bytes as u64).collect();
        let resident = resident_bytes().unwrap_or_default();
        let verdict = memory.pressure.look(Facts { resident, state: held.iter().sum(), drained, now });
        if verdict == Verdict::TooMuch {
            return Err(TooMuch::new(&memory.limit, resident, memory.pressure.base(), &held).into());
        }
        memory.looked = Some((now, verdict == Verdict::Read));
        Ok(verdict == Verdict::Read)
    }

    /// Whether waiting will not make room any more. Turns without events go on.
    fn is_drained(&self) -> bool {
        self.inbox.is_empty()
            && self.pairs.iter().all(|pair| {
                let computes = pair.computing && pair.has_events;
                !computes && pair.taken_in.events == 0 && pair.publishing <= 0 && !pair.writes_again()
            })
    }

    /// The group wants to be polled even while nothing is fetched.
    pub(super) fn poll_paused(&mut self, source: &mut dyn Source) -> Result<(), Error> {
        self.poll(source, POLL)?;
        self.report_lag();
        Ok(())
    }

    /// Stops fetching for a reason, or goes on.
    pub(super) fn set_paused(
        &mut self,
        source: &mut dyn Source,
        reason: Option<PauseReason>,
    ) -> Result<(), Error> {
        let patience = PATIENCE.max(self.options.cadence.interval * 2);
        if reason == Some(PauseReason::Store) && self.turned_at.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(());
        }
        if self.paused == reason {
            return Ok(());
        }
        if self.paused.is_some() != reason.is_some() {
            source.pause(reason.is_some())?;
        }
        self.paused = reason;
        self.shared.metrics.reading_paused(reason);
        let events = self.inbox.len();
        match reason {
            Some(PauseReason::Store) => tracing::warn!(
                events,
                "reading is paused: the batch is full, and the store is not done with the last"
            ),
            Some(PauseReason::Memory) => tracing::warn!(
                events,
                "reading is paused: the process takes as much memory as `memory_limit` lets it"
            ),
            None => tracing::info!("reading goes on"),
        }
        Ok(())
    }
}
