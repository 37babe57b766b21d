//! How many events are due, and at which event time each arrives. Pure: what
//! time it is comes as a parameter.

use crate::time::{EventTime, Span};

/// The two rates of a run.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Events per second of wall time; `None` is as many as possible.
    pub rate: Option<f64>,
    /// Events per second of event time; `None` lets event time run with wall time.
    pub event_rate: Option<f64>,
    /// The event time of the first event.
    pub start: EventTime,
}

impl Pace {
    /// How many events are due now, `made` of them being made. After a delay
    /// the missing ones are due at once.
    pub fn due(&self, elapsed: Span, made: u64) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let seconds = std::time::Duration::from(elapsed).as_secs_f64();
        // The first event is due at once.
        whole(seconds * rate).saturating_add(1).saturating_sub(made)
    }

    /// When the event with this number arrives, in milliseconds of event time.
    pub fn arrival_ms(&self, number: u64, elapsed: Span) -> i64 {
        let since_ms = match self.event_rate {
            Some(rate) => i64::try_from(whole(number_as_f64(number) * 1000.0 / rate)).unwrap_or(i64::MAX),
            None => elapsed.millis(),
        };
        self.start.millis().saturating_add(since_ms)
    }

    /// The same as an event time.
    pub fn arrival(&self, number: u64, elapsed: Span) -> EventTime {
        EventTime::from_millis(self.arrival_ms(number, elapsed))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates at both ends, which is what is wanted"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
const fn number_as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace =
        Pace { rate: Some(200.0), event_rate: Some(400.0), start: EventTime::from_millis(1_000_000) };

    #[test]
    fn events_are_due_at_the_rate() {
        assert_eq!(PACE.due(Span::ZERO, 0), 1);
        assert_eq!(PACE.due(Span::ZERO, 1), 0);
        assert_eq!(PACE.due(Span::from_millis(100), 1), 20);
        assert_eq!(PACE.due(Span::from_secs(1), 500), 0);
        assert_eq!(Pace { rate: None, ..PACE }.due(Span::ZERO, 7), u64::MAX);
    }

    #[test]
    fn event_time_advances_at_its_own_rate_or_with_the_wall() {
        assert_eq!(PACE.arrival_ms(0, Span::from_secs(9)), 1_000_000);
        assert_eq!(PACE.arrival_ms(400, Span::from_secs(9)), 1_001_000);
        assert_eq!(Pace { event_rate: None, ..PACE }.arrival_ms(400, Span::from_secs(9)), 1_009_000);
    }
}
