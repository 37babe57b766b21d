//! When a turn is taken, and when reading has to wait: pure.

use std::time::Duration;

/// How large a batch may become, and how often one is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// A turn is taken this long after the one before began.
    pub interval: Duration,
    /// Or as soon as this many events wait.
    pub max_events: usize,
    /// Or this many bytes.
    pub max_bytes: usize,
}

/// What waits, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Events, those taken in since the last turn among them.
    pub events: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Since the last turn began.
    pub since_turn: Duration,
    /// Whether a worker that has to take them is busy.
    pub busy: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on reading, for so long at most.
    Read(Duration),
    /// Take a turn.
    Turn,
    /// The batch is full and nobody can take it: stop fetching and wait.
    Wait,
}

impl Cadence {
    /// Decides.
    pub fn step(&self, waiting: Waiting) -> Step {
        let full = waiting.events >= self.max_events || waiting.bytes >= self.max_bytes;
        let due = waiting.since_turn >= self.interval;
        match (full, due, waiting.busy) {
            (true, _, true) => Step::Wait,
            (true, _, false) | (false, true, false) => Step::Turn,
            // Reading goes on while a worker is busy; whether it still is, is looked at often.
            (false, true, true) => Step::Read(BUSY_SLICE),
            (false, false, _) => Step::Read(self.interval.saturating_sub(waiting.since_turn)),
        }
    }

    /// How long reading goes on before it is looked whether there are [`EARLY_EVENTS`].
    pub fn slice(&self) -> Duration {
        (self.interval / SLICES).max(LEAST_SLICE)
    }
}

/// Parts of an interval after each of which it is looked whether events can be taken in.
const SLICES: u32 = 8;

/// And no sooner than after this.
const LEAST_SLICE: Duration = Duration::from_millis(10);

/// So many events that a worker without work takes them in before the turn is due: enough to be
/// worth while.
pub const EARLY_EVENTS: usize = 4096;

/// How long reading goes on before it is looked whether a worker is free again.
const BUSY_SLICE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: usize, since_ms: u64, busy: bool, expected: Step) {
        let cadence = Cadence { interval: Duration::from_millis(250), max_events: 100, max_bytes: 1000 };
        let waiting = Waiting { events, bytes: 0, since_turn: Duration::from_millis(since_ms), busy };
        assert_eq!(cadence.step(waiting), expected);
    }

    #[test]
    fn a_turn_is_taken_when_it_is_due_or_the_batch_is_full() {
        check(0, 0, false, Step::Read(Duration::from_millis(250)));
        check(99, 200, false, Step::Read(Duration::from_millis(50)));
        check(100, 0, false, Step::Turn);
        check(0, 250, false, Step::Turn);
        check(99, 300, true, Step::Read(BUSY_SLICE));
        check(100, 0, true, Step::Wait);
    }
}
