//! Events and the features that follow from them, worked out by hand.
//!
//! The clock shows [`NOW`], half a second before two minutes past midnight, in
//! the night to Saturday, the first of March 2025. Rounded up to the second and
//! to the minute that is 00:02:00, so the windows are
//!
//! | | events after |
//! |---|---|
//! | 5 minutes (W) | 23:57:00.000 |
//! | 30 minutes | 23:32:00.000 |
//! | 24 hours (D) | Friday, 00:02:00.000 |
//!
//! The events of a stream are meant for one partition, in this order, with
//! default lateness: all of them are accepted, and the last one sets the clock.

mod visits;

pub use visits::{clicks, devices, expected_clickstream, expected_device};

use crate::oracle::Value::{Bool, Float, Int, Null, TimestampMs};
use crate::oracle::transaction::Transaction;
use crate::oracle::{DAY, HOUR, MINUTE, Rows, SECOND, Value};

/// Saturday, 2025-03-01T00:00:00Z.
pub const MIDNIGHT: i64 = 1_740_787_200_000;

/// The clock: 2025-03-01T00:01:59.500Z.
pub const NOW: i64 = MIDNIGHT + 119_500;

/// Time after midnight, card, amount, category code, device, address, country
/// and city.
type Paid = (i64, &'static str, f64, &'static str, &'static str, &'static str, Place);
type Place = (Option<&'static str>, Option<&'static str>);

const BOSTON: Place = (Some("US"), Some("Boston"));
const BERLIN: Place = (Some("DE"), Some("Berlin"));
const UNKNOWN: Place = (None, None);

const PAID: [Paid; 18] = [
    // Exactly on the edge of D: outside, and the card's only one.
    (-DAY + 2 * MINUTE, "card-z", 75.0, "5812", "z1", "10.0.0.9", BOSTON),
    // A millisecond later: inside.
    (-DAY + 2 * MINUTE + 1, "card-c", 20.0, "5812", "c1", "10.0.0.3", BOSTON),
    // Friday, 09:30:15.250, twice: the second is the last.
    (-DAY + 34_215_250, "card-c", 30.0, "5812", "c2", "10.0.0.3", BOSTON),
    (-DAY + 34_215_250, "card-c", 40.0, "5812", "c3", "vpn_10.0.0.4", (Some("BR"), Some("Recife"))),
    (-50 * MINUTE, "card-a", 500.0, "5812", "a3", "10.0.0.1", BOSTON),
    (-20 * MINUTE, "card-a", 80.0, "5812", "a1", "10.0.0.1", BOSTON),
    // Exactly on the edge of W: outside.
    (-3 * MINUTE, "card-a", 16.0, "7011", "a1", "10.0.0.1", BOSTON),
    (-2 * MINUTE, "card-a", 2.0, "5812", "a1", "10.0.0.1", BOSTON),
    (-MINUTE, "card-a", 100.0, "6011", "a1", "10.0.0.1", (Some("RU"), Some("Moscow"))),
    (MINUTE, "card-a", 44.0, "5999", "a1", "tor_exit_7", (Some("CN"), None)),
    // Late by 30 seconds: not the last, although its offset is higher.
    (30 * SECOND, "card-a", 58.0, "5311", "a2", "10.0.0.1", UNKNOWN),
    (60 * SECOND, "card-d", 10.0, "7995", "d1", "10.0.0.6", BERLIN),
    (70 * SECOND, "card-d", 10.0, "7995", "d2", "10.0.0.6", BERLIN),
    (80 * SECOND, "card-d", 10.0, "7995", "d3", "10.0.0.6", BERLIN),
    (90 * SECOND, "card-d", 10.0, "5812", "d1", "10.0.0.6", BERLIN),
    (100 * SECOND, "card-d", 10.0, "5812", "d2", "10.0.0.6", BERLIN),
    (110 * SECOND, "card-d", 70.0, "5812", "d3", "10.0.0.6", BERLIN),
    (119_500, "card-b", 100.0, "5999", "b1", "10.0.0.2", UNKNOWN),
];

/// The transactions, in the order of their offsets.
pub fn transactions() -> Vec<Transaction> {
    (0..)
        .zip(PAID)
        .map(|(offset, (after, card, amount, mcc, device, address, (country, city)))| Transaction {
            offset,
            event_time_ms: MIDNIGHT + after,
            card_id: card.to_owned(),
            amount,
            mcc: mcc.to_owned(),
            device_id: device.to_owned(),
            ip_address: address.to_owned(),
            geo_country: country.map(str::to_owned),
            geo_city: city.map(str::to_owned),
        })
        .collect()
}

/// The view `transaction`. `card-z` has no row.
///
/// `card-a` has four events in W, in the order of their times
///
/// | time | amount | code | country | city | |
/// |---|---|---|---|---|---|
/// | 23:58:00 | 2 | 5812 | US | Boston | small |
/// | 23:59:00 | 100 | 6011 | RU | Moscow | round, high risk |
/// | 00:00:30 | 58 | 5311 | | | medium risk |
/// | 00:01:00 | 44 | 5999 | CN | | |
///
/// with sum 204, average 204 / 4 = 51, squared deviations 49² + 49² + 7² + 7² =
/// 4900, so a standard deviation of √(4900 / 4) = 35 and a score of
/// |44 - 51| / 35 = 0.2. They span 3 minutes: 3 / 3 = 1 minute between two,
/// 4 / (3 / 60) = 80 an hour, of which a tenth is above 1; 4 / 3 and 204 / 3 = 68
/// a minute. In 30 minutes there are 80 and 16 as well, together 300, on average
/// 50; and in 24 hours 500, the seventh.
///
/// `card-b` has a single event: it deviates by nothing, spans nothing, and is
/// divided by one minute.
///
/// `card-c` has events in D only, the last of them from Brazil through a VPN on
/// Friday at 9.
///
/// `card-d` has five times 10 and then 70, every 10 seconds: sum 120, average 20,
/// squared deviations 5 · 10² + 50² = 3000, standard deviation √(3000 / 6) =
/// √500, score 50 / √500 = √5 = 2.236…, more than 2. They span 50 seconds, which
/// is 50 / 60 / 5 = 1/6 of a minute between two, and less than a minute.
pub fn expected_transaction() -> Rows {
    let third = || Float(1.0 / 3.0);
    let sixth = || Float(1.0 / 6.0);
    let table = [
        ("txn_count_5m", [Int(4), Int(1), Int(0), Int(6)]),
        ("txn_count_30m", [Int(6), Int(1), Int(0), Int(6)]),
        ("txn_count_24h", [Int(7), Int(1), Int(3), Int(6)]),
        ("amount_sum_5m", [Float(204.0), Float(100.0), Float(0.0), Float(120.0)]),
        ("amount_avg_5m", [Float(51.0), Float(100.0), Null, Float(20.0)]),
        ("amount_max_5m", [Float(100.0), Float(100.0), Null, Float(70.0)]),
        ("amount_min_5m", [Float(2.0), Float(100.0), Null, Float(10.0)]),
        ("amount_std_5m", [Float(35.0), Float(0.0), Null, Float(22.360_679_775)]),
        ("amount_sum_30m", [Float(300.0), Float(100.0), Float(0.0), Float(120.0)]),
        ("amount_avg_30m", [Float(50.0), Float(100.0), Null, Float(20.0)]),
        // US, RU, CN. None. No events. DE.
        ("unique_countries_5m", [Int(3), Int(0), Int(0), Int(1)]),
        ("unique_cities_5m", [Int(2), Int(0), Int(0), Int(1)]),
        ("geo_diversity_score", [Float(1.0), Float(0.0), Null, third()]),
        ("is_geo_diverse", [Bool(true), Bool(false), Bool(false), Bool(false)]),
        // 00:01:00 - 00:00:30. 00:01:50 - 00:01:40.
        ("time_since_last_txn_min", [Float(0.5), Null, Null, sixth()]),
        ("avg_time_between_txns_min", [Float(1.0), Null, Null, sixth()]),
        ("velocity_score", [Float(1.0), Float(0.0), Float(0.0), Float(1.0)]),
        ("is_high_velocity", [Bool(true), Bool(false), Bool(false), Bool(true)]),
        ("txn_velocity_per_min", [Float(4.0 / 3.0), Float(1.0), Float(0.0), Float(6.0)]),
        ("amount_velocity_per_min", [Float(68.0), Float(100.0), Float(0.0), Float(120.0)]),
        // 6011, one of four. Three times 7995, of six.
        ("high_risk_txn_ratio", [Float(0.25), Float(0.0), Null, Float(0.5)]),
        // 5311, one of four.
        ("medium_risk_txn_ratio", [Float(0.25), Float(0.0), Null, Float(0.0)]),
        ("has_high_risk_mcc", [Bool(true), Bool(false), Bool(false), Bool(true)]),
        // 2, one of four, which is more than 0.2.
        ("small_amount_ratio", [Float(0.25), Float(0.0), Null, Float(0.0)]),
        ("has_small_amounts", [Bool(true), Bool(false), Bool(false), Bool(false)]),
        // 100, one of four, which is not more than 0.3; and 100, all there is.
        ("round_amount_ratio", [Float(0.25), Float(1.0), Null, Float(0.0)]),
        ("has_round_amounts", [Bool(false), Bool(true), Bool(false), Bool(false)]),
        ("amount_zscore", [Float(0.2), Float(0.0), Null, Float(2.236_067_977_5)]),
        ("is_amount_outlier", [Bool(false), Bool(false), Bool(false), Bool(true)]),
        // CN. Unknown. BR. DE.
        ("is_high_risk_country", [Bool(true), Bool(false), Bool(true), Bool(false)]),
        ("is_suspicious_ip", [Bool(true), Bool(false), Bool(true), Bool(false)]),
        ("hour_of_day", [Int(0), Int(0), Int(9), Int(0)]),
        ("is_weekend", [Bool(true), Bool(true), Bool(false), Bool(true)]),
        ("window_event_count", [Int(4), Int(1), Int(0), Int(6)]),
        // Milliseconds after midnight.
        ("feature_timestamp", [time(60_000), time(119_500), time(-52_184_750), time(110_000)]),
    ];
    by_column(["card-a", "card-b", "card-c", "card-d"], table)
}

/// The view `transaction_pattern`.
///
/// `card-a` paid in W with a1, a1, a2 and a1, before that with a3: three of four
/// like the last. Two events are of Friday at 23, two of Saturday at 0, the
/// lower hour. `card-d` paid with d1, d2, d3, d1, d2, d3: two of six like the last.
pub fn expected_transaction_pattern() -> Rows {
    let table = [
        ("unique_devices_5m", [Int(2), Int(1), Int(0), Int(3)]),
        ("unique_devices_24h", [Int(3), Int(1), Int(3), Int(3)]),
        ("device_reuse_ratio", [Float(0.75), Float(0.0), Float(0.0), Float(1.0 / 3.0)]),
        ("weekend_ratio_5m", [Float(0.5), Float(1.0), Null, Float(1.0)]),
        ("most_active_hour_5m", [Int(0), Int(0), Null, Int(0)]),
    ];
    by_column(["card-a", "card-b", "card-c", "card-d"], table)
}

/// A time, in milliseconds after midnight.
fn time(after_midnight_ms: i64) -> Value {
    TimestampMs(MIDNIGHT + after_midnight_ms)
}

/// A table with a line a feature and a column an entity.
fn by_column<const ENTITIES: usize, const FEATURES: usize>(
    keys: [&str; ENTITIES],
    table: [(&'static str, [Value; ENTITIES]); FEATURES],
) -> Rows {
    let mut rows = Rows::new();
    for (name, values) in table {
        for (key, value) in keys.into_iter().zip(values) {
            rows.entry(key.to_owned()).or_default().insert(name, value);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::assert_rows;
    use crate::oracle::clickstream::clickstream;
    use crate::oracle::device::device;
    use crate::oracle::transaction::transaction;
    use crate::oracle::transaction_pattern::transaction_pattern;

    #[test]
    fn transaction_as_worked_out() {
        assert_rows(&transaction(&transactions(), NOW), &expected_transaction());
    }

    #[test]
    fn transaction_pattern_as_worked_out() {
        assert_rows(&transaction_pattern(&transactions(), NOW), &expected_transaction_pattern());
    }

    #[test]
    fn clickstream_as_worked_out() {
        assert_rows(&clickstream(&clicks(), NOW), &expected_clickstream());
    }

    #[test]
    fn device_as_worked_out() {
        assert_rows(&device(&devices(), NOW), &expected_device());
    }

    /// At 00:02:00 the windows are those of [`NOW`]; a millisecond later their
    /// edges move on.
    #[test]
    fn edges_move_by_whole_seconds_and_minutes() {
        let count = |now: i64, card: &str, name: &str| transaction(&transactions(), now)[card][name].clone();
        assert_eq!(count(MIDNIGHT + 2 * MINUTE, "card-c", "txn_count_24h"), Int(3));
        assert_eq!(count(MIDNIGHT + 2 * MINUTE + 1, "card-c", "txn_count_24h"), Int(2));
        // 23:58:00 leaves W when the clock has passed 00:02:59.
        let minute_later = MIDNIGHT + 3 * MINUTE - SECOND;
        assert_eq!(count(minute_later, "card-a", "txn_count_5m"), Int(4));
        assert_eq!(count(minute_later + 1, "card-a", "txn_count_5m"), Int(3));
        // A card without events in D has no row.
        assert!(transaction(&transactions(), MIDNIGHT + DAY + HOUR).is_empty());
    }
}
