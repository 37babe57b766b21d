//! What is made of a view's text: its windows, what bounds its streams, how it
//! is sharded, where its columns come from. What is refused stands apart.

mod keyed;
mod refused;

use datafusion::common::Column;

use super::plan::{Planner, ViewFile};
use super::{FeatureView, Sharding, Stream, Streams, lineage};
use crate::decode::reader::table_schema;
use crate::error::Problem;
use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1};
use crate::time::EventTime;

/// The header of views that say none: the SQL begins on line 3.
const HEADER: &str = "-- entity: card\n-- key: card_id\n";

fn streams() -> Streams {
    let stream = |name: &str, topic: &str, key: &str, avro: &str| Stream {
        name: name.to_owned(),
        topic: topic.to_owned(),
        key: key.to_owned(),
        table: table_schema(avro).unwrap(),
    };
    Streams::new(vec![
        stream("transactions", "txn.events", "card_id", TRANSACTIONS_V1),
        stream("clicks", "click.events", "user_id", CLICKS_V1),
        stream("devices", "device.events", "device_id", DEVICES_V1),
    ])
}

fn file(stem: &str, text: &str) -> ViewFile {
    let text = if text.starts_with("--") { text.to_owned() } else { format!("{HEADER}{text}") };
    ViewFile { path: format!("sql/{stem}.sql"), stem: stem.to_owned(), text }
}

fn plan_all(files: &[ViewFile]) -> Result<Vec<FeatureView>, Vec<Problem>> {
    let streams = streams();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Planner::new(&streams).plan_all(files))
}

fn try_plan(text: &str) -> Result<FeatureView, Vec<Problem>> {
    plan_all(&[file("v", text)]).map(|mut views| views.remove(0))
}

#[track_caller]
pub(crate) fn plan(text: &str) -> FeatureView {
    match try_plan(text) {
        Ok(view) => view,
        Err(problems) => {
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{text}\nis refused:\n{}", said.join("\n"))
        }
    }
}

/// A view that counts the transactions for which `condition` holds.
fn counting(condition: &str) -> String {
    format!("SELECT card_id, count(*) AS n FROM transactions WHERE {condition} GROUP BY card_id")
}

/// Windows as (length, resolution) in seconds, the shortest first.
fn windows_of(view: &FeatureView) -> Vec<(i64, i64)> {
    view.windows.iter().map(|window| (window.length / 1_000_000, window.resolution.0 / 1_000_000)).collect()
}

/// The windows of a view, and the one that bounds each of its scans.
#[track_caller]
fn check_windows(text: &str, windows: &[(i64, i64)], bounds: &[i64]) {
    let view = plan(text);
    assert_eq!(windows_of(&view), windows, "windows of {text}");
    let mut found: Vec<i64> = view.scans.iter().map(|scan| scan.bound.length / 1_000_000).collect();
    found.sort_unstable();
    assert_eq!(found, bounds, "bounds of {text}");
}

#[test]
fn a_window_in_many_spellings() {
    for condition in [
        "event_time > now() - INTERVAL '5 minutes'",
        "event_time >= now() - INTERVAL '5 minutes'",
        "now() - INTERVAL '5 minutes' < event_time",
        "now() - INTERVAL '5 minutes' <= event_time",
        "event_time > now() - INTERVAL '300 seconds'",
        "event_time > now() - INTERVAL '5' MINUTE",
        "event_time > current_timestamp - INTERVAL '5 minutes'",
        "event_time + INTERVAL '5 minutes' > now()",
        "now() < event_time + INTERVAL '5 minutes'",
        "event_time + INTERVAL '2 minutes' > now() - INTERVAL '3 minutes'",
        "transactions.event_time > now() - INTERVAL '5 minutes'",
        "amount > 5 AND (event_time > now() - INTERVAL '5 minutes' AND mcc = '6011')",
    ] {
        check_windows(&counting(condition), &[(300, 1)], &[300]);
    }
}

#[test]
fn both_edges_of_a_window_are_found() {
    let between = "event_time BETWEEN now() - INTERVAL '5 minutes' AND now()";
    check_windows(&counting(between), &[(0, 1), (300, 1)], &[300]);
    let delayed = "event_time > now() - INTERVAL '10 minutes' AND event_time <= now() - INTERVAL '1 minute'";
    check_windows(&counting(delayed), &[(60, 1), (600, 1)], &[600]);
    let reversed = "now() - INTERVAL '1 minute' >= event_time AND now() - INTERVAL '10 minutes' < event_time";
    check_windows(&counting(reversed), &[(60, 1), (600, 1)], &[600]);
}

#[test]
fn the_tightest_window_bounds_the_stream() {
    let condition = "event_time > now() - INTERVAL '1 hour' AND event_time > now() - INTERVAL '5 minutes'";
    check_windows(&counting(condition), &[(300, 1), (3600, 1)], &[300]);
}

#[test]
fn a_window_is_found_through_other_names_of_the_event_time() {
    check_windows(
        "SELECT card_id, count(*) AS n FROM (SELECT card_id, event_time AS t FROM transactions) AS renamed
         WHERE t > now() - INTERVAL '5 minutes' GROUP BY card_id",
        &[(300, 1)],
        &[300],
    );
    check_windows(
        "WITH recent AS (SELECT card_id, event_time AS t FROM transactions
                         WHERE event_time > now() - INTERVAL '1 hour')
         SELECT card_id, count(*) AS n_1h, count(*) FILTER (WHERE t > now() - INTERVAL '5 minutes') AS n_5m
         FROM recent GROUP BY card_id",
        &[(300, 1), (3600, 1)],
        &[3600],
    );
    check_windows(
        "SELECT x.card_id AS card_id, count(*) AS n FROM transactions AS x
         WHERE x.event_time > now() - INTERVAL '5 minutes' GROUP BY x.card_id",
        &[(300, 1)],
        &[300],
    );
}

#[test]
fn windows_of_filters_and_expressions_are_found() {
    check_windows(
        "SELECT card_id,
           count(*) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS n_5m,
           sum(amount) FILTER (WHERE mcc = '6011' AND event_time > now() - INTERVAL '30 minutes') AS cash_30m,
           sum(CASE WHEN event_time > now() - INTERVAL '1 minute' THEN 1 ELSE 0 END) AS n_1m
         FROM transactions WHERE event_time > now() - INTERVAL '24 hours' GROUP BY card_id",
        &[(60, 1), (300, 1), (1800, 1), (86_400, 60)],
        &[86_400],
    );
}

#[test]
fn every_reading_of_a_stream_has_its_own_bound() {
    check_windows(
        "WITH recent AS (SELECT card_id, count(*) AS n FROM transactions
                         WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id),
              earlier AS (SELECT card_id, count(*) AS n FROM transactions
                          WHERE event_time > now() - INTERVAL '1 hour' GROUP BY card_id)
         SELECT earlier.card_id AS card_id, earlier.n AS n_1h, recent.n AS n_5m
         FROM earlier LEFT JOIN recent ON recent.card_id = earlier.card_id",
        &[(300, 1), (3600, 1)],
        &[300, 3600],
    );
    check_windows(
        "SELECT card_id, count(*) AS n FROM transactions
         WHERE event_time > now() - INTERVAL '5 minutes'
           AND card_id IN (SELECT card_id FROM transactions
                           WHERE event_time > now() - INTERVAL '1 hour' AND amount > 1000)
         GROUP BY card_id",
        &[(300, 1), (3600, 1)],
        &[300, 3600],
    );
}

/// `now()` is found, and it is no window: it is the clock there.
#[test]
fn other_uses_of_now_are_no_windows() {
    let bounded =
        |condition: &str| counting(&format!("event_time > now() - INTERVAL '1 hour' AND {condition}"));
    check_windows(&bounded("now() - event_time < INTERVAL '5 minutes'"), &[(3600, 1)], &[3600]);
    check_windows(&bounded("processing_time > now() - INTERVAL '5 minutes'"), &[(3600, 1)], &[3600]);
    check_windows(&bounded("date_part('hour', now()) < 6"), &[(3600, 1)], &[3600]);
    check_windows(&bounded("CAST(event_time AS DATE) = current_date"), &[(3600, 1)], &[3600]);
}

#[test]
fn edges_move_by_a_second_a_minute_or_an_hour() {
    for (length, resolution) in
        [(1, 1), (3600, 1), (3601, 60), (86_400, 60), (172_800, 60), (172_801, 3600), (31 * 86_400, 3600)]
    {
        let condition = format!("event_time > now() - INTERVAL '{length} seconds'");
        check_windows(&counting(&condition), &[(length, resolution)], &[length]);
    }
    // A calendar interval counts with its longest.
    let month = counting("event_time > now() - INTERVAL '1 month'");
    check_windows(&month, &[(31 * 86_400, 3600)], &[31 * 86_400]);
}

#[test]
fn the_header_says_another_resolution() {
    let text =
        format!("{HEADER}-- resolution: 10s\n{}", counting("event_time > now() - INTERVAL '24 hours'"));
    check_windows(&text, &[(86_400, 10)], &[86_400]);
}

#[test]
fn what_is_kept_follows_the_rounded_clock() {
    let at = |seconds: i64, micros: i64| EventTime(seconds * 1_000_000 + micros);
    let kept = |condition: &str, clock: EventTime, time: EventTime| {
        plan(&counting(condition)).keep_after("transactions", clock).unwrap() < time
    };
    let open = "event_time > now() - INTERVAL '5 minutes'";
    let closed = "event_time >= now() - INTERVAL '5 minutes'";
    for condition in [open, closed] {
        assert!(kept(condition, at(1000, 0), at(700, 1)) && kept(condition, at(1000, 1), at(701, 1)));
        assert!(!kept(condition, at(1000, 0), at(699, 0)) && !kept(condition, at(1000, 1), at(700, 0)));
    }
    // An event on a closed edge still counts.
    assert!(kept(closed, at(1000, 0), at(700, 0)) && kept(closed, at(1000, 1), at(701, 0)));
    let view = plan(&counting(open));
    assert_eq!(view.keep_after("clicks", at(1000, 0)), None);
    assert_eq!(view.edges(at(1000, 1)), [at(1001, 0)]);
    assert_eq!(view.edges(at(1000, 1)), view.edges(at(1000, 999_999)));
}

#[test]
fn only_columns_in_use_are_read() {
    let view = plan(
        "SELECT card_id, sum(amount) AS total FROM transactions
         WHERE event_time > now() - INTERVAL '5 minutes' AND mcc <> '6011' GROUP BY card_id",
    );
    let columns: Vec<&str> = view.scans[0].columns.iter().map(String::as_str).collect();
    assert_eq!(columns, ["amount", "card_id", "event_time", "mcc"]);
}

/// A view's sharding: `None` for one shard a partition, otherwise a part of the reason.
#[track_caller]
fn check_sharding(key: &str, sql: &str, single: Option<&str>) {
    let view = plan(&format!("-- entity: e\n-- key: {key}\n{sql}"));
    match (&view.sharding, single) {
        (Sharding::ByPartition, None) => {}
        (Sharding::Single { reason }, Some(part)) => assert!(reason.contains(part), "{reason}"),
        (found, _) => panic!("{sql}\nis {found:?}"),
    }
}

#[test]
fn a_view_by_the_partitioning_key_has_a_shard_a_partition() {
    let recent = "event_time > now() - INTERVAL '5 minutes'";
    check_sharding("card_id", &counting(recent), None);
    check_sharding(
        "card_id, mcc",
        &format!("SELECT card_id, mcc, count(*) AS n FROM transactions WHERE {recent} GROUP BY card_id, mcc"),
        None,
    );
    check_sharding(
        "card",
        &format!("SELECT card_id AS card, count(*) AS n FROM transactions WHERE {recent} GROUP BY card_id"),
        None,
    );
}

#[test]
fn a_view_by_another_column_is_one_shard() {
    let recent = "event_time > now() - INTERVAL '5 minutes'";
    let reason = Some("stream `transactions` is partitioned by `card_id`, which is not the view's key");
    check_sharding(
        "user_id",
        &format!("SELECT user_id, count(*) AS n FROM transactions WHERE {recent} GROUP BY user_id"),
        reason,
    );
    check_sharding(
        "card_id",
        &format!(
            "SELECT upper(card_id) AS card_id, count(*) AS n FROM transactions WHERE {recent} GROUP BY 1"
        ),
        reason,
    );
    check_sharding(
        "card_id",
        &format!(
            "SELECT user_id AS card_id, count(*) AS n FROM transactions WHERE {recent} GROUP BY user_id"
        ),
        reason,
    );
}

/// Cards joined with clicks.
fn joined(join: &str, on: &str) -> String {
    format!(
        "SELECT t.card_id AS card_id, count(*) AS n FROM transactions AS t {join} clicks AS c ON {on}
           AND c.event_time > now() - INTERVAL '5 minutes'
         WHERE t.event_time > now() - INTERVAL '5 minutes' GROUP BY t.card_id"
    )
}

#[test]
fn a_join_on_both_keys_has_a_shard_a_partition() {
    check_sharding("card_id", &joined("JOIN", "c.user_id = t.card_id"), None);
    check_sharding("card_id", &joined("LEFT JOIN", "c.user_id = t.card_id"), None);
    let strange = Some("stream `clicks` is partitioned by `user_id`");
    check_sharding("card_id", &joined("JOIN", "c.device_id = t.device_id"), strange);
    check_sharding("card_id", &joined("JOIN", "c.user_id = t.user_id"), strange);
}

/// The stream columns whose value an output column has.
#[track_caller]
fn check_lineage(sql: &str, column: &str, expected: &[(&str, &str)]) {
    let view = plan(sql);
    let found = lineage::of(&view.plan, &Column::new_unqualified(column));
    let found: Vec<(&str, &str)> =
        found.iter().map(|source| (source.stream.as_str(), source.column.as_str())).collect();
    assert_eq!(found, expected, "{column} of {sql}");
}

#[test]
fn columns_are_followed_to_their_streams() {
    let sql = "WITH named AS (SELECT card_id AS c, mcc AS m, amount, event_time FROM transactions)
        SELECT c AS card_id, m AS code, lower(m) AS spelled, count(*) AS n, max(amount) AS most
        FROM named WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY c, m";
    check_lineage(sql, "card_id", &[("transactions", "card_id")]);
    check_lineage(sql, "code", &[("transactions", "mcc")]);
    for computed in ["spelled", "n", "most", "nowhere"] {
        check_lineage(sql, computed, &[]);
    }
    let both = [("clicks", "user_id"), ("transactions", "card_id")];
    check_lineage(&joined("JOIN", "c.user_id = t.card_id"), "card_id", &both);
}

#[test]
fn a_union_has_what_all_its_inputs_share() {
    let union = |second: &str| {
        format!(
            "SELECT card_id, count(*) AS n FROM (
               SELECT card_id, amount FROM transactions WHERE event_time > now() - INTERVAL '5 minutes'
               UNION ALL
               SELECT {second}, amount FROM transactions WHERE event_time > now() - INTERVAL '1 hour'
             ) AS both_of_them GROUP BY card_id"
        )
    };
    check_lineage(&union("card_id"), "card_id", &[("transactions", "card_id")]);
    check_lineage(&union("user_id"), "card_id", &[]);
}
