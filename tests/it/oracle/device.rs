//! `device`, by device: the last 24 hours.

use super::{DAY, Event, Row, Rows, Value, by_key, count, distinct, window};

/// What the features see of an event of `devices`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Its place in the log.
    pub offset: i64,
    /// When it happened, in milliseconds since the epoch.
    pub event_time_ms: i64,
    /// The device.
    pub device_id: String,
    /// Its address.
    pub ip_address: String,
    /// Its time zone.
    pub timezone: String,
}

impl Event for Device {
    fn event_time_ms(&self) -> i64 {
        self.event_time_ms
    }

    fn offset(&self) -> i64 {
        self.offset
    }
}

/// The view `device` when the clock shows `now`, in milliseconds.
pub fn device(events: &[Device], now: i64) -> Rows {
    by_key(events, |event| event.device_id.as_str())
        .into_iter()
        .filter_map(|(device, events)| Some((device, row(&events, now)?)))
        .collect()
}

fn row(events: &[&Device], now: i64) -> Option<Row> {
    let day = window(events, now, DAY);
    let last = *day.last()?;
    Some(Row::from([
        ("events_24h", Value::Int(count(day.len()))),
        ("unique_ips_24h", Value::Int(distinct(day.iter().map(|event| event.ip_address.as_str())))),
        ("unique_timezones_24h", Value::Int(distinct(day.iter().map(|event| event.timezone.as_str())))),
        ("last_seen", Value::TimestampMs(last.event_time_ms)),
    ]))
}
