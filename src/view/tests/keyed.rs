//! Which views leave entities apart down to the events, by which columns, and
//! what their event times are compared with.

use super::*;
use crate::view::classify::Class;
use crate::view::explain::explain;
use crate::view::tiling::Comparison::{self, After, Before, From, Until};

/// The columns that are the entity, and the edges as (comparison, length in seconds).
#[track_caller]
fn check(text: &str, columns: &[(&str, &str)], edges: &[(Comparison, i64)]) {
    let view = plan(text);
    let keying = view.keying.unwrap_or_else(|reason| panic!("{text}\nis not keyed: {reason}"));
    let found: Vec<(&str, &str)> =
        keying.columns.iter().map(|(stream, column)| (stream.as_str(), column.as_str())).collect();
    assert_eq!(found, columns, "{text}");
    let found: Vec<(Comparison, i64)> =
        keying.edges.iter().map(|edge| (edge.comparison, edge.window.length / 1_000_000)).collect();
    assert_eq!(found, edges, "{text}");
}

/// A part of the reason why a view is not keyed.
#[track_caller]
fn check_refused(text: &str, part: &str) {
    match plan(text).keying {
        Ok(keying) => panic!("{text}\nis keyed: {keying:?}"),
        Err(reason) => assert!(reason.contains(part), "{text}\n{reason}"),
    }
}

#[test]
fn events_are_kept_by_the_column_that_is_the_key() {
    let card = [("transactions", "card_id")];
    check(&counting("event_time > now() - INTERVAL '5 minutes'"), &card, &[(After, 300)]);
    check(
        "SELECT card_id, amount FROM (
           SELECT card_id, amount, row_number() OVER (PARTITION BY card_id ORDER BY event_time DESC) AS r
           FROM transactions WHERE event_time >= now() - INTERVAL '1 hour') AS ranked
         WHERE r = 1",
        &card,
        &[(From, 3600)],
    );
    check(
        &joined("LEFT JOIN", "c.user_id = t.card_id"),
        &[("clicks", "user_id"), ("transactions", "card_id")],
        &[(After, 300)],
    );
    check(
        "-- entity: device\n-- key: device_id\nSELECT d.device_id AS device_id, count(*) AS n
         FROM devices AS d JOIN clicks AS c ON c.device_id = d.device_id
         WHERE d.event_time > now() - INTERVAL '1 hour' AND c.event_time > now() - INTERVAL '1 minute'
         GROUP BY d.device_id",
        &[("clicks", "device_id"), ("devices", "device_id")],
        &[(After, 60), (After, 3600)],
    );
}

#[test]
fn every_comparison_with_a_windows_edge_is_found() {
    let card = [("transactions", "card_id")];
    check(
        "SELECT card_id, sum(CASE WHEN event_time > now() - INTERVAL '1 minute' THEN 1 ELSE 0 END) AS n_1m,
           count(*) FILTER (WHERE amount > 5 OR event_time <= now() - INTERVAL '2 minutes') AS early
         FROM transactions WHERE event_time + INTERVAL '1 hour' >= now() GROUP BY card_id",
        &card,
        &[(After, 60), (From, 3600), (Until, 120)],
    );
    check(
        "SELECT card_id, count(*) FILTER (WHERE moment < now() - INTERVAL '1 minute' AND r = 1) AS n FROM (
           SELECT card_id, event_time AS moment,
             row_number() OVER (PARTITION BY card_id, mcc ORDER BY event_time) AS r
           FROM transactions WHERE event_time > now() - INTERVAL '1 hour') AS ranked
         GROUP BY card_id",
        &card,
        &[(After, 3600), (Before, 60)],
    );
}

#[test]
fn now_elsewhere_may_tell_of_events_and_not_choose_them() {
    let bounded =
        |condition: &str| counting(&format!("event_time > now() - INTERVAL '1 hour' AND {condition}"));
    check_refused(&bounded("now() - event_time < INTERVAL '5 minutes'"), "`now()` stands elsewhere");
    check_refused(&bounded("date_part('hour', now()) < 6"), "`now()` stands elsewhere");
    check_refused(&counting("event_time > now() - INTERVAL '1 month'"), "`now()` stands elsewhere");
    check(
        "SELECT card_id, date_part('hour', now()) AS hour, amount FROM transactions
         WHERE event_time > now() - INTERVAL '5 minutes'",
        &[("transactions", "card_id")],
        &[(After, 300)],
    );
}

#[test]
fn entities_that_meet_are_told() {
    let recent = "event_time > now() - INTERVAL '5 minutes'";
    check_refused(
        &format!("SELECT card_id, rank() OVER (ORDER BY amount) AS r FROM transactions WHERE {recent}"),
        "a window function over several entities",
    );
    check_refused(
        &format!("SELECT card_id, amount FROM transactions WHERE {recent} ORDER BY amount LIMIT 3"),
        "rows of several entities meet",
    );
    check_refused(&joined("JOIN", "c.user_id = t.user_id"), "a join that does not compare the key");
    check_refused(
        &format!("SELECT lower(card_id) AS card_id, amount FROM transactions WHERE {recent}"),
        "the key is computed",
    );
}

#[test]
fn explain_says_what_a_keyed_view_keeps() {
    let view = plan(
        "SELECT card_id, amount, lag(amount) OVER (PARTITION BY card_id ORDER BY event_time) AS earlier
         FROM transactions WHERE event_time > now() - INTERVAL '5 minutes'",
    );
    assert_eq!(view.classification.class, Class::Keyed);
    let text = explain(&view);
    for part in [
        "class      keyed\n",
        "grows with: events of the entities touched\n",
        "events of each entity (`card_id`) of `transactions` for 5m, 3 columns: amount, card_id, ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn explain_says_what_tiles_a_view_keeps() {
    let text = explain(&plan(
        "SELECT card_id, count(*) AS n_1h, sum(amount) AS total_1h,
           count(*) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS n_5m
         FROM transactions WHERE event_time > now() - INTERVAL '1 hour' GROUP BY card_id",
    ));
    for part in [
        "class      tiled\n",
        "state      tiles of 1s by entity over `transactions` for 1h, 2 partial aggregates each\n",
        "           tiles of 1s by entity over `transactions` for 5m, 1 partial aggregate each\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}
