//! Where reading begins.

use std::fmt;
use std::str::FromStr;

use crate::time::EventTime;

/// Where a partition is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// The oldest event that the topic holds.
    Earliest,
    /// The next event to be written.
    Latest,
    /// The group's committed offset; the oldest event where there is none.
    Committed,
    /// The first event whose Kafka timestamp is not before this.
    Timestamp(EventTime),
}

/// What is none of the forms of [`StartFrom`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of earliest, latest, committed, RFC 3339 (2026-01-31T12:00:00Z), epoch milliseconds")]
pub struct NotAStart(String);

impl FromStr for StartFrom {
    type Err = NotAStart;

    fn from_str(text: &str) -> Result<Self, NotAStart> {
        let trimmed = text.trim();
        match trimmed {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            "committed" => return Ok(Self::Committed),
            _ => {}
        }
        let time = trimmed
            .strip_prefix("timestamp:")
            .or_else(|| trimmed.strip_prefix("timestamp="))
            .unwrap_or(trimmed);
        if let Ok(millis) = time.parse::<i64>() {
            return Ok(Self::Timestamp(EventTime::from_millis(millis)));
        }
        match chrono::DateTime::parse_from_rfc3339(time) {
            Ok(time) => Ok(Self::Timestamp(EventTime(time.timestamp_micros()))),
            Err(_) => Err(NotAStart(text.to_owned())),
        }
    }
}

impl fmt::Display for StartFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Committed => f.write_str("committed"),
            Self::Timestamp(time) => write!(f, "{time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<StartFrom>) {
        assert_eq!(text.parse().ok(), expected, "{text}");
    }

    #[test]
    fn names_and_times() {
        let noon = StartFrom::Timestamp(EventTime::from_millis(1_769_860_800_000));
        check("earliest", Some(StartFrom::Earliest));
        check("latest", Some(StartFrom::Latest));
        check("committed", Some(StartFrom::Committed));
        check("2026-01-31T12:00:00Z", Some(noon));
        check("timestamp:2026-01-31T13:00:00+01:00", Some(noon));
        check("timestamp=1769860800000", Some(noon));
        check("1769860800000", Some(noon));
        check("noon", None);
        check("", None);
    }
}
