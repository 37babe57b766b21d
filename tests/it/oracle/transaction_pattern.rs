//! `transaction_pattern`, by card. W are the events of the last 5 minutes, D
//! those of the last 24 hours.

use std::collections::BTreeMap;

use super::transaction::Transaction;
use super::{DAY, MINUTE, Row, Rows, Value};
use super::{by_key, count, distinct, hour_of_day, is_weekend, share, window};

/// The view `transaction_pattern` when the clock shows `now`, in milliseconds.
pub fn transaction_pattern(events: &[Transaction], now: i64) -> Rows {
    by_key(events, |event| event.card_id.as_str())
        .into_iter()
        .filter_map(|(card, events)| Some((card, row(&events, now)?)))
        .collect()
}

fn row(events: &[&Transaction], now: i64) -> Option<Row> {
    let day = window(events, now, DAY);
    let recent = window(events, now, 5 * MINUTE);
    let last = *day.last()?;

    let reuse =
        if recent.len() < 2 { None } else { share(&recent, |event| event.device_id == last.device_id) };
    let weekend = share(&recent, |event| is_weekend(event.event_time_ms));
    Some(Row::from([
        ("unique_devices_5m", Value::Int(distinct(recent.iter().map(|event| event.device_id.as_str())))),
        ("unique_devices_24h", Value::Int(distinct(day.iter().map(|event| event.device_id.as_str())))),
        ("device_reuse_ratio", Value::Float(reuse.unwrap_or(0.0))),
        ("weekend_ratio_5m", weekend.into()),
        ("most_active_hour_5m", most_active_hour(&recent).map_or(Value::Null, Value::Int)),
    ]))
}

/// The hour with most events; the lowest of several.
fn most_active_hour(recent: &[&Transaction]) -> Option<i64> {
    let mut hours: BTreeMap<i64, usize> = BTreeMap::new();
    for event in recent {
        *hours.entry(hour_of_day(event.event_time_ms)).or_default() += 1;
    }
    hours.into_iter().max_by_key(|(hour, events)| (count(*events), -hour)).map(|(hour, _)| hour)
}
