//! Users and devices, worked out by hand.

use super::{MIDNIGHT, by_column, time};
use crate::oracle::Value::{Bool, Float, Int, Text};
use crate::oracle::clickstream::Click;
use crate::oracle::device::Device;
use crate::oracle::{DAY, HOUR, MINUTE, Rows, SECOND};

/// Time after midnight, user, session, page, action, category, dwell time and
/// scroll depth.
type Clicked = (i64, &'static str, &'static str, &'static str, &'static str, Option<&'static str>, Attention);
type Attention = (Option<i64>, Option<f64>);

const BOOKS: Option<&str> = Some("books");
const GAMES: Option<&str> = Some("games");
const UNKNOWN: Attention = (None, None);

const CLICKED: [Clicked; 16] = [
    // Outside D, so its session is not counted.
    (-DAY, "user-a", "s0", "HOME", "VIEW", None, (Some(9_000), Some(0.9))),
    (-HOUR, "user-c", "c1", "SEARCH", "SEARCH", Some("toys"), UNKNOWN),
    (-40 * MINUTE, "user-a", "s1", "HOME", "VIEW", None, (Some(12_000), Some(0.5))),
    (-39 * MINUTE, "user-a", "s1", "PRODUCT", "ADD_TO_CART", Some("shoes"), UNKNOWN),
    (-38 * MINUTE, "user-a", "s1", "CHECKOUT", "PURCHASE", None, UNKNOWN),
    // 23:55:30: in the session, not in W.
    (-4 * MINUTE - 30 * SECOND, "user-a", "s2", "HOME", "VIEW", None, (Some(10_000), Some(0.2))),
    (-2 * MINUTE, "user-a", "s2", "CATEGORY", "VIEW", BOOKS, (Some(20_000), Some(0.4))),
    // In W, not in the session; nothing was read.
    (-MINUTE, "user-a", "s1", "CART", "VIEW", None, (Some(0), Some(0.0))),
    (10 * SECOND, "user-a", "s2", "PRODUCT", "CLICK", BOOKS, UNKNOWN),
    (20 * SECOND, "user-a", "s2", "PRODUCT", "ADD_TO_CART", GAMES, (Some(40_000), Some(0.8))),
    (30 * SECOND, "user-a", "s2", "PRODUCT", "ADD_TO_CART", GAMES, UNKNOWN),
    (40 * SECOND, "user-a", "s2", "CART", "REMOVE_FROM_CART", GAMES, UNKNOWN),
    (60 * SECOND, "user-b", "b1", "HOME", "VIEW", None, (Some(45_000), Some(1.0))),
    // Both sessions end at 00:01:30: the higher name wins, not the higher offset.
    (90 * SECOND, "user-a", "s2", "CHECKOUT", "PURCHASE", None, UNKNOWN),
    (90 * SECOND, "user-a", "s1", "SEARCH", "SEARCH", None, UNKNOWN),
    (119_500, "user-b", "b1", "CONFIRMATION", "PURCHASE", None, UNKNOWN),
];

/// The clicks, in the order of their offsets.
pub fn clicks() -> Vec<Click> {
    (0..)
        .zip(CLICKED)
        .map(|(offset, (after, user, session, page, action, category, (dwell, depth)))| Click {
            offset,
            event_time_ms: MIDNIGHT + after,
            user_id: user.to_owned(),
            session_id: session.to_owned(),
            page_type: page.to_owned(),
            category_id: category.map(str::to_owned),
            action_type: action.to_owned(),
            dwell_time_ms: dwell,
            scroll_depth: depth,
        })
        .collect()
}

/// The view `clickstream`.
///
/// `user-a` is in session s2, from 23:55:30 to 00:01:30, 6 minutes: views of HOME
/// and CATEGORY, categories books and games, two added to the cart, one
/// removed, one purchase, so conversion 1 / 2 and abandonment 1 / 2. W has
/// eight events: views of CATEGORY and, in s1, of CART; one click, half as many;
/// five kinds of page: CATEGORY, CART, PRODUCT, CHECKOUT, SEARCH; dwell times 20 s
/// and 40 s, depths 0.4 and 0.8, the zeros left out. D has views in s1 at 23:20
/// and 23:59 and in s2 at 23:55:30 and 23:58. Engagement is 0.3 · 30 / 30 + 0.2 · 0.6 +
/// 0.3 · 2 / 10 + 0.2 · 0.5 = 0.3 + 0.12 + 0.06 + 0.1.
///
/// `user-b` views one page and buys after 59.5 seconds, with nothing in the cart:
/// conversion 1 / 1. Engagement is 0.3 + 0.2 · 1 + 0.3 / 10 + 0.2 · 1: dwelling for
/// more than 30 s counts as 30.
///
/// `user-c` has a search an hour ago and nothing in W.
pub fn expected_clickstream() -> Rows {
    let text = |id: &str| Text(id.to_owned());
    let table = [
        ("session_id", [text("s2"), text("b1"), text("c1")]),
        ("session_duration_min", [Float(6.0), Float(59.5 / 60.0), Float(0.0)]),
        ("pages_per_session", [Int(2), Int(1), Int(0)]),
        ("unique_categories_session", [Int(2), Int(0), Int(1)]),
        ("cart_adds_session", [Int(2), Int(0), Int(0)]),
        ("cart_removes_session", [Int(1), Int(0), Int(0)]),
        ("purchases_session", [Int(1), Int(1), Int(0)]),
        ("conversion_rate_session", [Float(0.5), Float(1.0), Float(0.0)]),
        ("cart_abandonment_rate", [Float(0.5), Float(0.0), Float(0.0)]),
        ("page_views_5m", [Int(2), Int(1), Int(0)]),
        ("unique_pages_5m", [Int(5), Int(2), Int(0)]),
        ("click_rate_5m", [Float(0.5), Float(0.0), Float(0.0)]),
        ("avg_dwell_time_sec", [Float(30.0), Float(45.0), Float(0.0)]),
        ("avg_scroll_depth", [Float(0.6), Float(1.0), Float(0.0)]),
        ("sessions_24h", [Int(2), Int(1), Int(1)]),
        ("total_page_views_24h", [Int(4), Int(1), Int(0)]),
        ("engagement_score", [Float(0.58), Float(0.73), Float(0.0)]),
        ("is_high_engagement", [Bool(false), Bool(true), Bool(false)]),
        ("is_likely_purchaser", [Bool(true), Bool(true), Bool(false)]),
        ("feature_timestamp", [time(90_000), time(119_500), time(-3_600_000)]),
    ];
    by_column(["user-a", "user-b", "user-c"], table)
}

/// Time after midnight, device, address and time zone.
type Seen = (i64, &'static str, &'static str, &'static str);

const SEEN: [Seen; 5] = [
    // Exactly on the edge of D: outside.
    (-DAY + 2 * MINUTE, "device-a", "10.0.1.9", "America/New_York"),
    (-20 * HOUR, "device-a", "10.0.1.1", "Europe/Paris"),
    (-HOUR, "device-a", "10.0.1.2", "Europe/Paris"),
    (MINUTE, "device-a", "10.0.1.1", "Asia/Tokyo"),
    (119_500, "device-b", "10.0.1.3", "Europe/Paris"),
];

/// The events of devices, in the order of their offsets.
pub fn devices() -> Vec<Device> {
    (0..)
        .zip(SEEN)
        .map(|(offset, (after, device, address, timezone))| Device {
            offset,
            event_time_ms: MIDNIGHT + after,
            device_id: device.to_owned(),
            ip_address: address.to_owned(),
            timezone: timezone.to_owned(),
        })
        .collect()
}

/// The view `device`: three events of device-a, from 10.0.1.1, .2 and .1 again,
/// in Paris, Paris and Tokyo.
pub fn expected_device() -> Rows {
    let table = [
        ("events_24h", [Int(3), Int(1)]),
        ("unique_ips_24h", [Int(2), Int(1)]),
        ("unique_timezones_24h", [Int(2), Int(1)]),
        ("last_seen", [time(60_000), time(119_500)]),
    ];
    by_column(["device-a", "device-b"], table)
}
