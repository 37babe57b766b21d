//! `transaction`, by card. W are the events of the last 5 minutes, D those of
//! the last 24 hours.

use super::{DAY, Event, MINUTE, Row, Rows, Value};
use super::{average, by_key, count, distinct, hour_of_day, is_weekend, minutes, real, share, sum, window};

/// What the features see of an event of `transactions`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// Its place in the log.
    pub offset: i64,
    /// When it happened, in milliseconds since the epoch.
    pub event_time_ms: i64,
    /// The card that paid.
    pub card_id: String,
    /// In units of the currency.
    pub amount: f64,
    /// Merchant category code.
    pub mcc: String,
    /// The device that paid.
    pub device_id: String,
    /// Its address, perhaps with a prefix such as `vpn_`.
    pub ip_address: String,
    /// Two letters, where known.
    pub geo_country: Option<String>,
    /// A name, where known.
    pub geo_city: Option<String>,
}

impl Event for Transaction {
    fn event_time_ms(&self) -> i64 {
        self.event_time_ms
    }

    fn offset(&self) -> i64 {
        self.offset
    }
}

/// The view `transaction` when the clock shows `now`, in milliseconds.
pub fn transaction(events: &[Transaction], now: i64) -> Rows {
    by_key(events, |event| event.card_id.as_str())
        .into_iter()
        .filter_map(|(card, events)| Some((card, row(&events, now)?)))
        .collect()
}

fn row(events: &[&Transaction], now: i64) -> Option<Row> {
    let day = window(events, now, DAY);
    let half_hour = window(events, now, 30 * MINUTE);
    let recent = window(events, now, 5 * MINUTE);
    let last = *day.last()?;

    let half_hour_amounts: Vec<f64> = half_hour.iter().map(|event| event.amount).collect();
    let mut row = Row::from([
        ("txn_count_5m", Value::Int(count(recent.len()))),
        ("txn_count_30m", Value::Int(count(half_hour.len()))),
        ("txn_count_24h", Value::Int(count(day.len()))),
        ("window_event_count", Value::Int(count(recent.len()))),
        ("amount_sum_30m", Value::Float(sum(half_hour_amounts.iter().copied()))),
        ("amount_avg_30m", average(&half_hour_amounts).into()),
    ]);
    row.extend(amounts(&recent, last));
    row.extend(places(&recent));
    row.extend(times(&recent));
    row.extend(ratios(&recent));
    row.extend(of_last(last));
    Some(row)
}

/// Amounts of W, and how far the last one stands out.
fn amounts(recent: &[&Transaction], last: &Transaction) -> [(&'static str, Value); 7] {
    let amounts: Vec<f64> = recent.iter().map(|event| event.amount).collect();
    let mean = average(&amounts);
    let max = amounts.iter().copied().reduce(f64::max);
    let min = amounts.iter().copied().reduce(f64::min);
    let deviation = mean.map(|mean| {
        // The same amounts deviate by nothing, whatever their average is rounded to.
        if min == max { 0.0 } else { deviation(&amounts, mean) }
    });
    let zscore = mean
        .zip(deviation)
        .map(|(mean, deviation)| if deviation == 0.0 { 0.0 } else { (last.amount - mean).abs() / deviation });
    [
        ("amount_sum_5m", Value::Float(sum(amounts.iter().copied()))),
        ("amount_avg_5m", mean.into()),
        ("amount_max_5m", max.into()),
        ("amount_min_5m", min.into()),
        ("amount_std_5m", deviation.into()),
        ("amount_zscore", zscore.into()),
        // Exactly 2 is no outlier, though rounding may make it a little more.
        ("is_amount_outlier", Value::Bool(zscore.is_some_and(|zscore| zscore > 2.0 + 1e-9))),
    ]
}

/// Standard deviation of a population.
fn deviation(values: &[f64], mean: f64) -> f64 {
    let squares = sum(values.iter().map(|value| (value - mean).powi(2)));
    (squares / real(count(values.len()))).sqrt()
}

/// Countries and cities of W, those that are known.
fn places(recent: &[&Transaction]) -> [(&'static str, Value); 4] {
    let countries = distinct(recent.iter().filter_map(|event| event.geo_country.as_deref()));
    let cities = distinct(recent.iter().filter_map(|event| event.geo_city.as_deref()));
    let diversity = (!recent.is_empty()).then(|| (real(countries) / 3.0).min(1.0));
    [
        ("unique_countries_5m", Value::Int(countries)),
        ("unique_cities_5m", Value::Int(cities)),
        ("geo_diversity_score", diversity.into()),
        ("is_geo_diverse", Value::Bool(countries > 2)),
    ]
}

/// How fast the events of W follow one another.
fn times(recent: &[&Transaction]) -> [(&'static str, Value); 6] {
    let n = real(count(recent.len()));
    let span = match recent {
        [first, .., last] => minutes(first.event_time_ms, last.event_time_ms),
        _ => 0.0,
    };
    let since_last = match recent {
        [.., before, last] => Some(minutes(before.event_time_ms, last.event_time_ms)),
        _ => None,
    };
    let between = (recent.len() > 1).then(|| span / (n - 1.0));
    // Needs two events, since one spans nothing.
    let velocity = if span > 0.0 { (n / (span / 60.0) / 10.0).min(1.0) } else { 0.0 };
    let spent = sum(recent.iter().map(|event| event.amount));
    [
        ("time_since_last_txn_min", since_last.into()),
        ("avg_time_between_txns_min", between.into()),
        ("velocity_score", Value::Float(velocity)),
        ("is_high_velocity", Value::Bool(velocity > 0.7)),
        ("txn_velocity_per_min", Value::Float(n / span.max(1.0))),
        ("amount_velocity_per_min", Value::Float(spent / span.max(1.0))),
    ]
}

/// Shares of W.
fn ratios(recent: &[&Transaction]) -> [(&'static str, Value); 7] {
    let high = share(recent, |event| ["6011", "5967", "7011", "7995"].contains(&event.mcc.as_str()));
    let medium = share(recent, |event| ["5311", "4511"].contains(&event.mcc.as_str()));
    let small = share(recent, |event| event.amount < 5.0);
    let round = share(recent, |event| event.amount >= 50.0 && event.amount % 50.0 == 0.0);
    let above = |ratio: Option<f64>, limit: f64| Value::Bool(ratio.is_some_and(|ratio| ratio > limit));
    [
        ("high_risk_txn_ratio", high.into()),
        ("medium_risk_txn_ratio", medium.into()),
        ("has_high_risk_mcc", above(high, 0.0)),
        ("small_amount_ratio", small.into()),
        ("has_small_amounts", above(small, 0.2)),
        ("round_amount_ratio", round.into()),
        ("has_round_amounts", above(round, 0.3)),
    ]
}

/// What the last event of D says by itself.
fn of_last(last: &Transaction) -> [(&'static str, Value); 5] {
    let risky = ["CN", "RU", "NG", "BR", "MX", "IN", "ID", "VN"];
    let country = last.geo_country.as_deref();
    let suspicious = ["tor_exit_", "proxy_", "vpn_"];
    [
        ("is_high_risk_country", Value::Bool(country.is_some_and(|country| risky.contains(&country)))),
        ("is_suspicious_ip", Value::Bool(suspicious.iter().any(|part| last.ip_address.contains(part)))),
        ("hour_of_day", Value::Int(hour_of_day(last.event_time_ms))),
        ("is_weekend", Value::Bool(is_weekend(last.event_time_ms))),
        ("feature_timestamp", Value::TimestampMs(last.event_time_ms)),
    ]
}
