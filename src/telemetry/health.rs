//! Whether this process lives and whether it does its work, as two questions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::time::{Clock, EventTime, Span};

/// A loop that has not turned for so long is stuck. Longer than every wait
/// within a turn: Redis' time-out, the registry's tries.
const TURNS_WITHIN: Span = Span::from_secs(60);

/// What is known of the process' health. Clones share it.
#[derive(Clone)]
pub struct Health(Arc<State>);

struct State {
    clock: Arc<dyn Clock>,

    assigned: AtomicU64,
    sink_answers: AtomicBool,
    source_silent: AtomicBool,
    turned_micros: AtomicI64,
}

impl Health {
    /// A process that begins now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let turned_micros = AtomicI64::new(clock.now().micros());
        Self(Arc::new(State {
            clock,
            assigned: AtomicU64::new(0),
            sink_answers: AtomicBool::new(false),
            source_silent: AtomicBool::new(false),
            turned_micros,
        }))
    }

    /// How many partitions this process has.
    pub fn assigned(&self, partitions: usize) {
        self.0.assigned.store(partitions as u64, Ordering::Relaxed);
    }

    /// Whether Redis answered when it was last asked.
    pub fn sink_answers(&self, answers: bool) {
        self.0.sink_answers.store(answers, Ordering::Relaxed);
    }

    /// Whether a Kafka broker answers.
    pub fn source_answers(&self, answers: bool) {
        self.0.source_silent.store(!answers, Ordering::Relaxed);
    }

    /// The loop has turned, or waits for something that it knows of.
    pub fn turned(&self) {
        self.0.turned_micros.store(self.0.clock.now().micros(), Ordering::Relaxed);
    }

    /// Whether this process does its work: Kafka answers, it has partitions, and Redis answers.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.0.source_silent.load(Ordering::Relaxed) {
            return Err("no Kafka broker answers".to_owned());
        }
        if self.0.assigned.load(Ordering::Relaxed) == 0 {
            return Err("no partitions are assigned".to_owned());
        }
        if !self.0.sink_answers.load(Ordering::Relaxed) {
            return Err("Redis does not answer".to_owned());
        }
        Ok(())
    }

    /// Whether this process lives: its loop turns.
    ///
    /// # Errors
    /// Why not.
    pub fn healthy(&self) -> Result<(), String> {
        let turned = EventTime(self.0.turned_micros.load(Ordering::Relaxed));
        if self.0.clock.now() > turned.plus(TURNS_WITHIN) {
            return Err(format!("the loop has not turned since {turned}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Hands(AtomicI64);

    impl Clock for Hands {
        fn now(&self) -> EventTime {
            EventTime::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn ready_takes_kafka_partitions_and_redis() {
        let health = Health::new(Arc::new(Hands::default()));
        assert_eq!(health.ready().unwrap_err(), "no partitions are assigned");
        health.assigned(2);
        assert_eq!(health.ready().unwrap_err(), "Redis does not answer");
        health.sink_answers(true);
        assert_eq!(health.ready(), Ok(()));
        health.source_answers(false);
        assert_eq!(health.ready().unwrap_err(), "no Kafka broker answers");
        health.source_answers(true);
        health.assigned(0);
        assert!(health.ready().is_err());
    }

    #[test]
    fn a_loop_that_does_not_turn_is_not_healthy() {
        let clock = Arc::new(Hands::default());
        let health = Health::new(clock.clone());
        clock.0.store(60_000, Ordering::Relaxed);
        assert_eq!(health.healthy(), Ok(()));
        clock.0.store(60_001, Ordering::Relaxed);
        assert!(health.healthy().unwrap_err().contains("1970-01-01T00:00:00"));
        health.turned();
        assert_eq!(health.healthy(), Ok(()));
    }
}
