//! Event time, spans of it, and the only wall clock.
//!
//! Event times are microseconds since the epoch, UTC: fine enough for both of
//! Avro's timestamps. Nothing here decides what is late; see [`crate::clock`].

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The Arrow type of `event_time`, `_timestamp` and `now()`.
pub const TIMESTAMP_ZONE: &str = "+00:00";

/// When something happened, in microseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// From milliseconds; saturates at the ends of time.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Milliseconds since the epoch, rounded towards the past.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This much later; saturates.
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// This much earlier; saturates.
    #[must_use]
    pub fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// Rounded up to a multiple of `resolution`: how `now()` is bound in a
    /// window's comparison.
    #[must_use]
    pub fn ceil(self, resolution: Span) -> Self {
        let step = resolution.0.max(1);
        let floor = self.0.div_euclid(step).saturating_mul(step);
        Self(if floor == self.0 { floor } else { floor.saturating_add(step) })
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            None => write!(f, "{} µs since the epoch", self.0),
        }
    }
}

/// A length of time in microseconds, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub i64);

impl Span {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// From seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Milliseconds, rounded down.
    pub const fn millis(self) -> i64 {
        self.0 / 1000
    }

    /// Both together; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0.unsigned_abs())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration_text((*self).into()))
    }
}

/// A duration as people write it: `24h`, `5m`, `1m30s`, `250ms`.
pub fn duration_text(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [
        ("d", 86_400_000_000_u128),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1000),
        ("us", 1),
    ] {
        // One day reads better as 24h: windows are written so.
        if unit == "d" && (micros < 2 * size || !micros.is_multiple_of(size)) {
            continue;
        }
        let count = micros / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            micros -= count * size;
        }
    }
    text
}

/// Reads `250ms`, `10s`, `1m30s`, `24h`, `7d`, or a plain number of seconds.
///
/// # Errors
/// What is not understood, as one sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is not a duration: write a number with a unit of us, ms, s, m, h or d, such as `250ms` or `24h`"
        )
    };
    let text_trimmed = text.trim();
    if let Ok(seconds) = text_trimmed.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut rest = text_trimmed;
    let mut micros: u128 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u128 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let size: u128 = match &rest[..letters] {
            "us" | "µs" => 1,
            "ms" => 1000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
            "h" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            _ => return Err(wrong()),
        };
        micros = count.checked_mul(size).and_then(|m| micros.checked_add(m)).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    u64::try_from(micros).map(Duration::from_micros).map_err(|_| wrong())
}

/// The wall clock, injected wherever one is needed so that tests can turn it.
pub trait Clock: Send + Sync {
    /// Wall time now.
    fn now(&self) -> EventTime;
}

/// The machine's own clock; the only place that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> EventTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_rounded_up_to_the_resolution() {
        let second = Span::from_secs(1);
        assert_eq!(EventTime(1).ceil(second), EventTime(1_000_000));
        assert_eq!(EventTime(1_000_000).ceil(second), EventTime(1_000_000));
        assert_eq!(EventTime(-1).ceil(second), EventTime(0));
        assert_eq!(EventTime(i64::MAX).ceil(second), EventTime(i64::MAX));
    }

    #[test]
    fn durations_read_back() {
        for text in ["250ms", "10s", "1m30s", "24h", "7d", "36h", "5m", "0s"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("90").unwrap(), Duration::from_secs(90));
        for text in ["", "5 parsecs", "h", "-1s", "1.5h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
