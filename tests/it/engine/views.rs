//! Views that the tiled engine must evaluate as plain SQL does, and some that it
//! must leave to others.

/// A view: its name for messages, more lines for its header, its SQL.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    pub name: &'static str,
    pub key: &'static str,
    pub header: &'static str,
    pub sql: &'static str,
}

pub const fn view(name: &'static str, header: &'static str, sql: &'static str) -> Template {
    Template { name, key: "card_id", header, sql }
}

/// Views that are tiled.
pub static TILED: [Template; 23] = [
    view(
        "windows",
        "",
        "SELECT card_id,
           count(*) FILTER (WHERE event_time > now() - INTERVAL '10 seconds') AS c10,
           count(*) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS c300,
           sum(amount) FILTER (WHERE amount > 2 AND event_time > now() - INTERVAL '1 minute') AS s60,
           avg(amount) AS a, min(amount) AS lo, max(n) AS hi, count(mcc) AS m
         FROM transactions WHERE event_time > now() - INTERVAL '3 hours' GROUP BY card_id",
    ),
    view(
        "long behind short",
        "",
        "SELECT card_id, count(*) AS n,
           sum(n) FILTER (WHERE event_time > now() - INTERVAL '20 seconds') AS s
         FROM transactions WHERE event_time > now() - INTERVAL '50 hours' GROUP BY card_id",
    ),
    view(
        "every comparison",
        "",
        "SELECT card_id,
           count(*) FILTER (WHERE event_time >= now() - INTERVAL '30 seconds') AS from_30,
           count(*) FILTER (WHERE event_time < now() - INTERVAL '30 seconds') AS before_30,
           count(*) FILTER (WHERE now() - INTERVAL '20 seconds' >= event_time) AS until_20,
           count(*) FILTER (WHERE event_time BETWEEN now() - INTERVAL '40 seconds' AND now() - INTERVAL '5 seconds') AS b,
           count(*) FILTER (WHERE event_time + INTERVAL '7 seconds' > now()) AS shifted
         FROM transactions WHERE event_time > now() - INTERVAL '2 minutes' GROUP BY card_id",
    ),
    view(
        "odd lengths",
        "-- resolution: 7s\n",
        "SELECT card_id, count(*) AS n,
           count(*) FILTER (WHERE event_time > now() - INTERVAL '2500 milliseconds') AS short
         FROM transactions WHERE event_time > now() - INTERVAL '33 seconds' GROUP BY card_id",
    ),
    view(
        "order",
        "",
        "SELECT card_id,
           last_value(amount ORDER BY event_time, _offset) AS last,
           last_value(device ORDER BY event_time, _offset) AS last_device,
           last_value(mcc ORDER BY event_time, _offset) AS last_mcc,
           last_value(n ORDER BY event_time, _offset) FILTER (WHERE amount > 20) AS last_large,
           last_value(mcc ORDER BY event_time, _offset) FILTER (WHERE amount > 20) AS last_large_mcc,
           first_value(mcc ORDER BY event_time, _offset) AS first,
           last_value(mcc ORDER BY n, _offset)
             FILTER (WHERE event_time > now() - INTERVAL '30 seconds') AS by_n,
           nth_value(n, 2 ORDER BY event_time DESC, _offset DESC) AS second_last,
           nth_value(mcc, 3 ORDER BY event_time DESC, _offset DESC)
             FILTER (WHERE event_time > now() - INTERVAL '40 seconds') AS third_last
         FROM transactions WHERE event_time > now() - INTERVAL '3 minutes' GROUP BY card_id",
    ),
    view(
        "order from the end",
        "",
        "SELECT card_id, nth_value(n, -2 ORDER BY event_time, _offset) AS second_last,
           array_agg(n ORDER BY event_time, _offset) AS ns,
           string_agg(mcc, '-' ORDER BY event_time, _offset)
             FILTER (WHERE event_time > now() - INTERVAL '20 seconds') AS mccs
         FROM transactions WHERE event_time > now() - INTERVAL '2 minutes' GROUP BY card_id",
    ),
    view(
        "order of the log",
        "",
        "SELECT card_id, last_value(amount) AS last, first_value(n) AS first, array_agg(n) AS ns,
           string_agg(mcc, ',') AS mccs
         FROM transactions WHERE event_time > now() - INTERVAL '90 seconds' GROUP BY card_id",
    ),
    view(
        "distinct",
        "",
        "SELECT card_id, count(DISTINCT mcc) AS mccs, count(DISTINCT n) AS ns, sum(DISTINCT n) AS total,
           count(DISTINCT device) FILTER (WHERE event_time > now() - INTERVAL '15 seconds') AS devices,
           cardinality(array_agg(DISTINCT mcc)) AS listed
         FROM transactions WHERE event_time > now() - INTERVAL '2 minutes' GROUP BY card_id",
    ),
    view(
        "lists that are counted",
        "",
        "SELECT card_id, cardinality(make_array(card_id, card_id)) AS two,
           cardinality(array_agg(DISTINCT mcc)) > 1 AS many, cardinality(array_agg(mcc)) + 1 AS next,
           cardinality(array_agg(DISTINCT device) FILTER (WHERE event_time > now() - INTERVAL '15 seconds')) AS devices
         FROM transactions WHERE event_time > now() - INTERVAL '2 minutes'
         GROUP BY card_id, make_array(card_id, card_id)",
    ),
    view(
        "statistics",
        "",
        "SELECT card_id, median(n) AS med, stddev(amount) AS sd, var_pop(amount) AS v, corr(amount, n) AS c,
           covar_samp(amount, n) AS cov, bit_xor(n) AS x, bit_or(n) AS o, bool_and(n > 0) AS every,
           bool_or(n > 0) AS any, approx_distinct(mcc) AS d, regr_slope(amount, n) AS slope
         FROM transactions WHERE event_time > now() - INTERVAL '2 minutes' GROUP BY card_id",
    ),
    view(
        "more groups",
        "",
        "WITH devices AS (
           SELECT card_id, device, count(*) AS n, max(event_time) AS last
           FROM transactions WHERE event_time > now() - INTERVAL '2 minutes' GROUP BY card_id, device
         )
         SELECT card_id, count(*) AS devices, sum(n) AS n, max(n) AS most, min(last) AS oldest
         FROM devices GROUP BY card_id",
    ),
    view(
        "expressions as groups",
        "",
        "SELECT card_id, count(*) AS minutes, max(n) AS most FROM (
           SELECT card_id, date_trunc('minute', event_time) AS minute, abs(n) AS size, count(*) AS n
           FROM transactions WHERE event_time > now() - INTERVAL '5 minutes'
           GROUP BY card_id, date_trunc('minute', event_time), abs(n)
         ) GROUP BY card_id",
    ),
    view(
        "window functions over groups",
        "",
        "WITH parts AS (
           SELECT card_id, mcc, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id, mcc
         ), ranked AS (
           SELECT card_id, mcc, n, row_number() OVER (PARTITION BY card_id ORDER BY n DESC, mcc) AS r,
             sum(n) OVER (PARTITION BY card_id) AS total
           FROM parts
         )
         SELECT card_id, mcc, CAST(n AS DOUBLE) / total AS share FROM ranked WHERE r = 1",
    ),
    view(
        "having",
        "",
        "SELECT card_id, count(*) AS n, sum(amount) / count(*) AS mean,
           CASE WHEN max(n) > 3 THEN 'high' ELSE 'low' END AS level
         FROM transactions WHERE event_time > now() - INTERVAL '30 seconds' AND amount IS NOT NULL
         GROUP BY card_id HAVING count(*) > 1",
    ),
    view(
        "inner join of streams",
        "",
        "WITH t AS (
           SELECT card_id, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '30 seconds' GROUP BY card_id
         ), c AS (
           SELECT card_id, count(*) AS n, max(page) AS page FROM clicks
           WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id
         )
         SELECT t.card_id, t.n AS transactions, c.n AS clicks, page FROM t JOIN c ON t.card_id = c.card_id",
    ),
    view(
        "left join of streams",
        "",
        "WITH t AS (
           SELECT card_id, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '30 seconds' GROUP BY card_id
         ), c AS (
           SELECT card_id, count(*) AS n FROM clicks
           WHERE event_time > now() - INTERVAL '10 seconds' GROUP BY card_id
         )
         SELECT t.card_id, t.n AS transactions, coalesce(c.n, 0) AS clicks FROM t LEFT JOIN c USING (card_id)",
    ),
    view(
        "full join of streams",
        "",
        "WITH t AS (
           SELECT card_id, sum(n) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '20 seconds' GROUP BY card_id
         ), c AS (
           SELECT card_id, count(*) AS n FROM clicks
           WHERE event_time > now() - INTERVAL '30 seconds' GROUP BY card_id
         )
         SELECT coalesce(t.card_id, c.card_id) AS card_id, t.n AS transactions, c.n AS clicks
         FROM t FULL JOIN c ON t.card_id = c.card_id",
    ),
    view(
        "one stream twice",
        "",
        "WITH short AS (
           SELECT card_id, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '10 seconds' GROUP BY card_id
         ), long AS (
           SELECT card_id, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '3 minutes' GROUP BY card_id
         )
         SELECT long.card_id, long.n AS n, short.n AS recent
         FROM long LEFT JOIN short ON long.card_id = short.card_id
         WHERE NOT EXISTS (SELECT 1 FROM short AS s WHERE s.card_id = long.card_id AND s.n > 4)",
    ),
    view(
        "union of streams",
        "",
        "SELECT card_id, sum(n) AS n, count(*) AS kinds FROM (
           SELECT card_id, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '15 seconds' GROUP BY card_id
           UNION ALL
           SELECT card_id, count(*) AS n FROM clicks
           WHERE event_time > now() - INTERVAL '25 seconds' GROUP BY card_id
         ) GROUP BY card_id",
    ),
    view(
        "select distinct",
        "",
        "SELECT DISTINCT card_id FROM transactions WHERE event_time > now() - INTERVAL '15 seconds'",
    ),
    Template {
        name: "two key columns",
        key: "card_id, device",
        header: "",
        sql: "SELECT card_id, device, count(*) AS n FROM transactions
         WHERE event_time > now() - INTERVAL '20 seconds' GROUP BY card_id, device",
    },
    view(
        "another stream's partitions",
        "",
        "SELECT device AS card_id, count(*) AS n, last_value(n) AS last FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute' GROUP BY device",
    ),
    view(
        "projections between",
        "",
        "WITH wide AS (
           SELECT card_id, n * 2 AS doubled, upper(mcc) AS code, event_time FROM transactions
           WHERE n IS NOT NULL AND event_time > now() - INTERVAL '45 seconds'
         )
         SELECT card_id, sum(doubled) AS s, min(code) AS code,
           sum(doubled) FILTER (WHERE code <> 'A' AND event_time > now() - INTERVAL '9 seconds') AS recent
         FROM wide WHERE doubled > -6 GROUP BY card_id",
    ),
];

/// Views that are not tiled, and a part of the reason.
pub static OTHERS: [(&str, &str); 10] = [
    ("SELECT card_id, amount FROM transactions WHERE event_time > now() - INTERVAL '1 minute'", "one by one"),
    (
        "SELECT card_id, count(*) OVER (PARTITION BY mcc) AS n FROM (
           SELECT card_id, mcc FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
           GROUP BY card_id, mcc)",
        "window function",
    ),
    (
        "SELECT card_id, count(*) AS n FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
         GROUP BY card_id ORDER BY n LIMIT 3",
        "several entities",
    ),
    (
        "SELECT card_id, n FROM (SELECT card_id, count(*) AS n FROM transactions
           WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id)
         WHERE n > (SELECT avg(page) FROM clicks WHERE event_time > now() - INTERVAL '1 minute')",
        "",
    ),
    (
        "SELECT card_id, sum(CASE WHEN event_time > now() - INTERVAL '5 seconds' THEN n END) AS s
         FROM transactions WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
        "condition of its own",
    ),
    (
        "SELECT card_id, count(*) FILTER (WHERE n > 1 OR event_time > now() - INTERVAL '5 seconds') AS s
         FROM transactions WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
        "condition of its own",
    ),
    (
        "SELECT card_id, approx_median(n) AS s
         FROM transactions WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
        "`median` does not",
    ),
    (
        "SELECT card_id, count(*) AS s FROM transactions
         WHERE event_time > now() - INTERVAL '1 month' GROUP BY card_id",
        "condition of its own",
    ),
    (
        "SELECT card_id, mcc, count(*) AS s FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute' GROUP BY CUBE (card_id, mcc)",
        "",
    ),
    (
        "SELECT t.card_id, count(*) AS n FROM transactions t JOIN clicks c ON t.card_id = c.card_id
         WHERE t.event_time > now() - INTERVAL '1 minute' AND c.event_time > now() - INTERVAL '1 minute'
         GROUP BY t.card_id",
        "one by one",
    ),
];
