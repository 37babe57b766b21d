//! `clickstream`, by user. W are the user's events of the last 5 minutes, D
//! those of the last 24 hours; the session is the one with the latest event.
//!
//! A page view is an event whose action is `VIEW`, in every feature that counts
//! page views; the click rate is clicks by page views.

use std::collections::BTreeMap;

use super::{DAY, Event, MINUTE, Row, Rows, Value};
use super::{average, by_key, count, distinct, minutes, real, window};

/// What the features see of an event of `clicks`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Click {
    /// Its place in the log.
    pub offset: i64,
    /// When it happened, in milliseconds since the epoch.
    pub event_time_ms: i64,
    /// Who clicked.
    pub user_id: String,
    /// The visit that it belongs to.
    pub session_id: String,
    /// Kind of page: a symbol of the schema's enum.
    pub page_type: String,
    /// The category, where there is one.
    pub category_id: Option<String>,
    /// `VIEW`, `CLICK`, `ADD_TO_CART`, `REMOVE_FROM_CART`, `PURCHASE` or `SEARCH`.
    pub action_type: String,
    /// Time on the page.
    pub dwell_time_ms: Option<i64>,
    /// Share of the page seen.
    pub scroll_depth: Option<f64>,
}

impl Event for Click {
    fn event_time_ms(&self) -> i64 {
        self.event_time_ms
    }

    fn offset(&self) -> i64 {
        self.offset
    }
}

/// The view `clickstream` when the clock shows `now`, in milliseconds.
pub fn clickstream(events: &[Click], now: i64) -> Rows {
    by_key(events, |event| event.user_id.as_str())
        .into_iter()
        .filter_map(|(user, events)| Some((user, row(&events, now)?)))
        .collect()
}

fn row(events: &[&Click], now: i64) -> Option<Row> {
    let day = window(events, now, DAY);
    let recent = window(events, now, 5 * MINUTE);

    let mut sessions: BTreeMap<&str, Vec<&Click>> = BTreeMap::new();
    for event in &day {
        sessions.entry(&event.session_id).or_default().push(event);
    }
    let latest = |session: &[&Click]| session.iter().map(|event| event.event_time_ms).max();
    let (id, session) = sessions.iter().max_by_key(|(id, session)| (latest(session.as_slice()), **id))?;

    let purchases = actions(session, "PURCHASE");
    let adds = actions(session, "ADD_TO_CART");
    let removes = actions(session, "REMOVE_FROM_CART");
    let pages = actions(session, "VIEW");
    let conversion = real(purchases) / real(adds.max(1));

    let views = actions(&recent, "VIEW");
    let click_rate = if views == 0 { 0.0 } else { real(actions(&recent, "CLICK")) / real(views) };
    let dwells: Vec<f64> =
        recent.iter().filter_map(|event| event.dwell_time_ms).filter(|dwell| *dwell != 0).map(real).collect();
    let depths: Vec<f64> =
        recent.iter().filter_map(|event| event.scroll_depth).filter(|depth| *depth != 0.0).collect();
    let dwell = average(&dwells).unwrap_or(0.0) / 1000.0;
    let depth = average(&depths).unwrap_or(0.0);

    let engagement =
        0.3 * (dwell / 30.0).min(1.0) + 0.2 * depth + 0.3 * (real(pages) / 10.0).min(1.0) + 0.2 * conversion;

    let first = session.first()?.event_time_ms;
    Some(Row::from([
        ("session_id", Value::Text((*id).to_owned())),
        ("session_duration_min", Value::Float(minutes(first, session.last()?.event_time_ms))),
        ("pages_per_session", Value::Int(pages)),
        ("unique_categories_session", Value::Int(categories(session))),
        ("cart_adds_session", Value::Int(adds)),
        ("cart_removes_session", Value::Int(removes)),
        ("purchases_session", Value::Int(purchases)),
        ("conversion_rate_session", Value::Float(conversion)),
        ("cart_abandonment_rate", Value::Float(real(removes) / real(adds.max(1)))),
        ("page_views_5m", Value::Int(views)),
        ("unique_pages_5m", Value::Int(distinct(recent.iter().map(|event| event.page_type.as_str())))),
        ("click_rate_5m", Value::Float(click_rate)),
        ("avg_dwell_time_sec", Value::Float(dwell)),
        ("avg_scroll_depth", Value::Float(depth)),
        ("sessions_24h", Value::Int(count(sessions.len()))),
        ("total_page_views_24h", Value::Int(actions(&day, "VIEW"))),
        ("engagement_score", Value::Float(engagement)),
        // Exactly 0.7 is not high, though rounding may make it a little more.
        ("is_high_engagement", Value::Bool(engagement > 0.7 + 1e-9)),
        ("is_likely_purchaser", Value::Bool(conversion > 0.1)),
        ("feature_timestamp", Value::TimestampMs(day.last()?.event_time_ms)),
    ]))
}

fn actions(events: &[&Click], action: &str) -> i64 {
    count(events.iter().filter(|event| event.action_type == action).count())
}

fn categories(events: &[&Click]) -> i64 {
    distinct(events.iter().filter_map(|event| event.category_id.as_deref()))
}
