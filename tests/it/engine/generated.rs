//! Views made up: aggregates, filters, windows, resolutions, groups and joins are drawn and put
//! together as SQL. What plain SQL says of such a view depends on no order that it does not give.

use std::fmt::Write;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::aggregates::{Aggregate, CLICKS, Source, TRANSACTIONS, aggregate, condition, sorting};

/// A view made up.
#[derive(Clone)]
pub struct Query {
    pub key: &'static str,
    /// Further lines of its header.
    pub header: String,
    pub sql: String,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "-- key: {}\n{}{}", self.key, self.header, self.sql)
    }
}

impl Query {
    /// The text of its file.
    pub fn text(&self) -> String {
        format!("-- entity: card\n{self:?}")
    }
}

/// A view that can be tiled.
pub fn tiled() -> impl Strategy<Value = Query> {
    let by_card = prop_oneof![
        4 => plain(),
        2 => derived(),
        2 => computed(),
        3 => two_levels(),
        1 => ranked(),
        4 => joined(),
        1 => union(),
    ];
    let by_card = by_card.prop_map(|sql| ("card_id", sql));
    let of_others = prop_oneof![
        aggregated("card_id, device").prop_map(|sql| ("card_id, device", sql)),
        aggregated("device AS card_id").prop_map(|sql| ("card_id", sql)),
    ];
    with_header(prop_oneof![8 => by_card, 2 => of_others])
}

/// A view that can be keyed and not tiled: it uses events one by one.
pub fn keyed() -> impl Strategy<Value = Query> {
    with_header(
        prop_oneof![3 => compared(), 1 => of_those_who(), 1 => approximate()]
            .prop_map(|sql| ("card_id", sql)),
    )
}

/// Over events that were compared with others of their card.
fn compared() -> impl Strategy<Value = String> {
    let order = select(TRANSACTIONS.orders);
    let within = select(&["card_id", "card_id, mcc", "card_id, n, flag"][..]);
    let function = prop_oneof![
        3 => Just("row_number() OVER (PARTITION BY @)"),
        1 => Just("lag(n) OVER (PARTITION BY @)"),
        1 => Just("lead(level, 2, 1) OVER (PARTITION BY @)"),
        1 => Just("sum(n) OVER (PARTITION BY @ ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)"),
        1 => Just("count(mcc) OVER (PARTITION BY @)"),
    ];
    let parts =
        (order, within, function, lower_edge(), aggregates(TRANSACTIONS), 1..5_u8, weighted(0.3, window()));
    parts.prop_map(|(order, within, function, edge, aggregates, most, window)| {
        let window = window.map(|window| format!(" AND {window}")).unwrap_or_default();
        let function = function.replace('@', &format!("{within} ORDER BY {order}"));
        format!(
            "SELECT card_id, {}\nFROM (SELECT *, {function} AS r\n  FROM transactions WHERE {edge})\n\
             WHERE r <= {most}{window} GROUP BY card_id",
            columns("a", &aggregates)
        )
    })
}

/// With an aggregate whose value depends on how partial results meet.
fn approximate() -> impl Strategy<Value = String> {
    let function =
        select(&["approx_median(n)", "approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY amount)"][..]);
    (function, aggregates(TRANSACTIONS), events(TRANSACTIONS)).prop_map(|(function, aggregates, events)| {
        let columns = columns("a", &aggregates);
        format!("SELECT card_id, {function} AS about, {columns}\nFROM transactions WHERE {events} GROUP BY card_id")
    })
}

/// Over events of cards that have others as well, or have none.
fn of_those_who() -> impl Strategy<Value = String> {
    let parts = (aggregates(TRANSACTIONS), events(TRANSACTIONS), events(CLICKS), any::<bool>());
    parts.prop_map(|(aggregates, transactions, clicks, clicked)| {
        let columns = columns("a", &aggregates);
        let condition = if clicked {
            format!("card_id IN (SELECT card_id FROM clicks WHERE {clicks})")
        } else {
            format!("NOT EXISTS (SELECT 1 FROM (SELECT card_id FROM clicks WHERE {clicks}) AS c\n  WHERE c.card_id = transactions.card_id)")
        };
        format!("SELECT card_id, {columns}\nFROM transactions WHERE {transactions} AND {condition} GROUP BY card_id")
    })
}

/// A resolution, if there is one.
fn with_header(query: impl Strategy<Value = (&'static str, String)>) -> impl Strategy<Value = Query> {
    let resolution = weighted(0.3, select(&["1s", "2s", "5s", "7s", "20s", "1m"][..]));
    (query, resolution).prop_map(|((key, sql), resolution)| {
        let header = resolution.map(|step| format!("-- resolution: {step}\n")).unwrap_or_default();
        Query { key, header, sql }
    })
}

/// How far back a window reaches.
fn length() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1..100_u16).prop_map(|seconds| format!("{seconds} seconds")),
        1 => (1..40_u16).prop_map(|steps| format!("{} milliseconds", u32::from(steps) * 250)),
        3 => (1..10_u16).prop_map(|minutes| format!("{minutes} minutes")),
        1 => (1..5_u16).prop_map(|hours| format!("{hours} hours")),
    ]
}

/// What bounds a window towards the past.
fn lower_edge() -> impl Strategy<Value = String> {
    let form = select(&["event_time > @", "event_time >= @", "@ < event_time", "@ <= event_time"][..]);
    edge(form)
}

fn edge(form: impl Strategy<Value = &'static str>) -> impl Strategy<Value = String> {
    (form, length()).prop_map(|(form, length)| form.replace('@', &format!("now() - INTERVAL '{length}'")))
}

/// A window in a filter: from an edge on, up to one, or between two.
fn window() -> impl Strategy<Value = String> {
    let upper = select(&["event_time < @", "event_time <= @", "@ > event_time"][..]);
    prop_oneof![
        6 => lower_edge(),
        1 => edge(upper),
        1 => (1..60_u16, 1..60_u16).prop_map(|(late, long)| format!(
            "event_time BETWEEN now() - INTERVAL '{} seconds' AND now() - INTERVAL '{late} seconds'",
            late + long
        )),
    ]
}

/// Some aggregates over a stream, each with a filter or none.
fn aggregates(source: Source) -> impl Strategy<Value = Vec<Aggregate>> {
    sorting(source).prop_flat_map(move |sorting| {
        let filtered =
            (aggregate(source, sorting), weighted(0.6, window()), weighted(0.3, condition(source)));
        let filtered = filtered.prop_map(|(aggregate, window, condition)| {
            let conditions: Vec<String> = condition.map(str::to_owned).into_iter().chain(window).collect();
            aggregate.filtered(&conditions.join(" AND "))
        });
        vec(filtered, 1..6)
    })
}

/// As columns `a0`, `a1` and so on.
fn columns(prefix: &str, aggregates: &[Aggregate]) -> String {
    let mut text = String::new();
    for (number, aggregate) in aggregates.iter().enumerate() {
        let separator = if number == 0 { "" } else { ",\n  " };
        write!(text, "{separator}{} AS {prefix}{number}", aggregate.sql()).unwrap();
    }
    text
}

/// The columns of exact numbers, of which more can be made.
fn exact(prefix: &str, aggregates: &[Aggregate]) -> Vec<String> {
    let exact = aggregates.iter().enumerate().filter(|(_, aggregate)| aggregate.is_exact);
    exact.map(|(number, _)| format!("{prefix}{number}")).collect()
}

/// The events that count: those of a window, perhaps on a condition.
fn events(source: Source) -> impl Strategy<Value = String> {
    (lower_edge(), weighted(0.3, condition(source))).prop_map(|(edge, condition)| {
        condition.map(|condition| format!("{edge} AND {condition}")).unwrap_or(edge)
    })
}

/// One SELECT over `transactions` by these columns, the first of which is `card_id`.
fn aggregated(groups: &'static str) -> impl Strategy<Value = String> {
    (aggregates(TRANSACTIONS), events(TRANSACTIONS)).prop_map(move |(aggregates, events)| {
        let by = groups.replace(" AS card_id", "");
        format!(
            "SELECT {groups}, {}\nFROM transactions WHERE {events} GROUP BY {by}",
            columns("a", &aggregates)
        )
    })
}

fn plain() -> impl Strategy<Value = String> {
    let having = select(&["count(*) > 1", "sum(n) > 0", "max(event_time) IS NOT NULL AND min(n) < 4"][..]);
    (aggregated("card_id"), weighted(0.2, having))
        .prop_map(|(sql, having)| having.map(|having| format!("{sql} HAVING {having}")).unwrap_or(sql))
}

/// Over columns that were computed before.
fn derived() -> impl Strategy<Value = String> {
    let parts = (aggregates(TRANSACTIONS), events(TRANSACTIONS), condition(TRANSACTIONS));
    parts.prop_map(|(aggregates, events, condition)| {
        format!(
            "SELECT card_id, {}\nFROM (SELECT card_id, upper(mcc) AS mcc, coalesce(device, 'none') AS device, n + 1 AS n,\n  \
             level, amount * 2 AS amount, NOT flag AS flag, huge, wild, price, seen, event_time, _partition, _offset\n  \
             FROM transactions WHERE {events})\nWHERE {condition} GROUP BY card_id",
            columns("a", &aggregates)
        )
    })
}

/// More columns above the aggregates.
fn computed() -> impl Strategy<Value = String> {
    let parts = (aggregates(TRANSACTIONS), events(TRANSACTIONS), any::<Index>(), weighted(0.4, -2..5_i8));
    parts.prop_map(|(aggregates, events, index, least)| {
        let exact = exact("a", &aggregates);
        let number = if exact.is_empty() { "c".to_owned() } else { index.get(&exact).clone() };
        let least = least.map(|least| format!(" WHERE {number} > {least}")).unwrap_or_default();
        format!(
            "WITH all_of_it AS (SELECT card_id, count(*) AS c, {}\n  FROM transactions WHERE {events} GROUP BY card_id)\n\
             SELECT *, coalesce({number}, 0) * 2 AS twice, {number} / nullif(c, 0) AS share,\n  \
             CASE WHEN {number} > 2 THEN 'many' WHEN {number} IS NULL THEN 'none' ELSE 'few' END AS size\n\
             FROM all_of_it{least}",
            columns("a", &aggregates)
        )
    })
}

/// By what events of a card are told apart further.
fn further() -> impl Strategy<Value = &'static str> {
    let time = "date_trunc('minute', event_time)";
    select(vec!["mcc", "device", "n % 3", "flag", time, "abs(n) > 1", "huge", "price", "seen"])
}

/// Aggregates over aggregates.
fn two_levels() -> impl Strategy<Value = String> {
    let parts = (aggregates(TRANSACTIONS), events(TRANSACTIONS), further());
    parts.prop_map(|(aggregates, events, further)| {
        let mut outer = String::new();
        for column in exact("a", &aggregates) {
            write!(outer, ", sum({column}) AS s{column}, max({column}) AS m{column}").unwrap();
        }
        format!(
            "SELECT card_id, count(*) AS parts, sum(c) AS c, count(part) AS named{outer}\n\
             FROM (SELECT card_id, {further} AS part, count(*) AS c, {}\n  \
             FROM transactions WHERE {events} GROUP BY card_id, {further}) GROUP BY card_id",
            columns("a", &aggregates)
        )
    })
}

/// The largest of several groups.
fn ranked() -> impl Strategy<Value = String> {
    let parts = (aggregates(TRANSACTIONS), events(TRANSACTIONS), further());
    parts.prop_map(|(aggregates, events, further)| {
        format!(
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY card_id ORDER BY c DESC, part) AS r,\n  \
             sum(c) OVER (PARTITION BY card_id) AS total\n\
             FROM (SELECT card_id, {further} AS part, count(*) AS c, {}\n  \
             FROM transactions WHERE {events} GROUP BY card_id, {further})) WHERE r = 1",
            columns("a", &aggregates)
        )
    })
}

/// Aggregates over one stream beside those over the same or another one.
fn joined() -> impl Strategy<Value = String> {
    let side = |source: Source, prefix: &'static str| {
        (aggregates(source), events(source)).prop_map(move |(aggregates, events)| {
            let names: Vec<String> =
                (0..aggregates.len()).map(|number| format!("{prefix}{number}")).collect();
            let columns = columns(prefix, &aggregates);
            let name = source.name;
            (
                format!("(SELECT card_id, {columns}\n  FROM {name} WHERE {events} GROUP BY card_id)"),
                names.join(", "),
            )
        })
    };
    let other = prop_oneof![2 => side(CLICKS, "r"), 1 => side(TRANSACTIONS, "r")];
    let both = "coalesce(l.card_id, r.card_id) AS card_id, {ours}, {theirs} FROM l";
    let join = select(vec![
        format!("{both} JOIN r ON l.card_id = r.card_id"),
        format!("{both} LEFT JOIN r USING (card_id)"),
        format!("{both} FULL JOIN r ON r.card_id = l.card_id"),
        "card_id, {ours} FROM l WHERE card_id IN (SELECT card_id FROM r)".to_owned(),
        "card_id, {ours} FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE r.card_id = l.card_id)".to_owned(),
    ]);
    (side(TRANSACTIONS, "l"), other, join).prop_map(|((left, ours), (right, theirs), join)| {
        let select = join.replace("{ours}", &ours).replace("{theirs}", &theirs);
        format!("WITH l AS {left},\nr AS {right}\nSELECT {select}")
    })
}

/// Aggregates over two streams together.
fn union() -> impl Strategy<Value = String> {
    let parts = (events(TRANSACTIONS), events(CLICKS), window());
    parts.prop_map(|(transactions, clicks, window)| {
        format!(
            "SELECT card_id, count(*) AS streams, sum(c) AS c, max(most) AS most, sum(recent) AS recent FROM (\n  \
             SELECT card_id, count(*) AS c, max(n) AS most, count(*) FILTER (WHERE {window}) AS recent\n  \
             FROM transactions WHERE {transactions} GROUP BY card_id\n  UNION ALL\n  \
             SELECT card_id, count(*), max(page), count(*) FILTER (WHERE {window})\n  \
             FROM clicks WHERE {clicks} GROUP BY card_id) GROUP BY card_id"
        )
    })
}

#[test]
fn everything_is_made_up_sooner_or_later() {
    let mut runner = TestRunner::deterministic();
    let mut texts = String::new();
    for _ in 0..600 {
        texts += &tiled().new_tree(&mut runner).unwrap().current().text();
        texts += &keyed().new_tree(&mut runner).unwrap().current().text();
    }
    let functions = "array_agg avg bit_and bit_or bit_xor bool_and bool_or count covar_pop first_value last_value max \
        median min nth_value regr_sxy stddev string_agg sum var_pop approx_distinct row_number";
    let calls = functions.split_whitespace().map(|function| format!("{function}("));
    let parts = "(DISTINCT|IGNORE NULLS|percentile_cont(0.25)|approx_median(|NOT EXISTS|IN (SELECT|lag(|ROWS BETWEEN|FILTER (WHERE n > 0 AND event_time|-- resolution: 7s|milliseconds'|4 hours'|\
        event_time <= now()|BETWEEN now()|HAVING|date_trunc|LEFT JOIN|FULL JOIN|UNION ALL|CASE WHEN|\
        GROUP BY card_id, device|GROUP BY device|FROM clicks|huge|wild|price|seen|r <= 4 AND";
    for part in calls.chain(parts.split('|').map(str::to_owned)) {
        assert!(texts.contains(&part), "there is no `{part}` in 1 200 views");
    }
}
