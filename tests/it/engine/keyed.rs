//! Views that are not tiled and that the keyed engine must evaluate as plain SQL
//! does; views of every class, and a part of the reason.

use windrow::view::classify::Class;

use super::views::{Template, view};

const LAST_EVENT: &str = "SELECT card_id, amount, mcc, n FROM (
    SELECT card_id, amount, mcc, n,
      row_number() OVER (PARTITION BY card_id ORDER BY event_time DESC, _offset DESC) AS r
    FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
  ) WHERE r = 1";

/// Views that are keyed.
pub static KEYED: [Template; 14] = [
    view("the last event", "", LAST_EVENT),
    view(
        "without repetitions",
        "",
        "WITH fresh AS (
           SELECT card_id, n, amount, event_time,
             row_number() OVER (PARTITION BY card_id, mcc, n ORDER BY event_time, _offset) AS r
           FROM transactions WHERE event_time > now() - INTERVAL '2 minutes'
         )
         SELECT card_id, count(*) AS n, sum(amount) AS total,
           count(*) FILTER (WHERE event_time > now() - INTERVAL '10 seconds') AS recent
         FROM fresh WHERE r = 1 GROUP BY card_id",
    ),
    view(
        "gaps",
        "",
        "SELECT card_id, count(*) AS n, max(seconds - earlier) AS longest, sum(n - n_before) AS drift,
           count(*) FILTER (WHERE mcc <> mcc_before) AS changes
         FROM (
           SELECT card_id, n, mcc, date_part('epoch', event_time) AS seconds,
             lag(date_part('epoch', event_time))
               OVER (PARTITION BY card_id ORDER BY event_time, _offset) AS earlier,
             lag(n) OVER (PARTITION BY card_id ORDER BY event_time, _offset) AS n_before,
             lag(mcc, 2) OVER (PARTITION BY card_id ORDER BY event_time, _offset) AS mcc_before
           FROM transactions WHERE event_time > now() - INTERVAL '2 minutes'
         ) GROUP BY card_id",
    ),
    view(
        "frames",
        "",
        "SELECT card_id, max(s) AS most, min(lo) AS least FROM (
           SELECT card_id,
             sum(n) OVER (PARTITION BY card_id ORDER BY event_time, _offset
               ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s,
             min(amount) OVER (PARTITION BY card_id ORDER BY event_time, _offset
               ROWS BETWEEN CURRENT ROW AND 3 FOLLOWING) AS lo
           FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
         ) GROUP BY card_id",
    ),
    view(
        "another name of the event time",
        "",
        "SELECT card_id, count(*) AS n,
           count(*) FILTER (WHERE moment > now() - INTERVAL '9 seconds' AND r <= 2) AS recent,
           count(*) FILTER (WHERE moment <= now() - INTERVAL '20 seconds') AS earlier
         FROM (
           SELECT card_id, event_time AS moment,
             row_number() OVER (PARTITION BY card_id ORDER BY event_time DESC, _offset DESC) AS r
           FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
         ) GROUP BY card_id",
    ),
    view(
        "a stream with itself",
        "",
        "SELECT a.card_id AS card_id, count(*) AS pairs, sum(b.n) AS total
         FROM transactions AS a JOIN transactions AS b ON a.card_id = b.card_id
           AND b.event_time >= a.event_time - INTERVAL '5 seconds' AND b._offset < a._offset
         WHERE a.event_time > now() - INTERVAL '1 minute' AND b.event_time > now() - INTERVAL '90 seconds'
         GROUP BY a.card_id",
    ),
    view(
        "events of one stream before those of another",
        "",
        "SELECT t.card_id AS card_id, count(c.page) AS clicks, max(c.page) AS page,
           count(DISTINCT t._offset) AS n
         FROM transactions AS t LEFT JOIN clicks AS c ON t.card_id = c.card_id
           AND c.event_time <= t.event_time AND c.event_time > now() - INTERVAL '45 seconds'
         WHERE t.event_time > now() - INTERVAL '30 seconds' GROUP BY t.card_id",
    ),
    view(
        "who clicked",
        "",
        "SELECT card_id, count(*) AS n, sum(n) AS total FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute'
           AND card_id IN (SELECT card_id FROM clicks WHERE event_time > now() - INTERVAL '20 seconds')
         GROUP BY card_id",
    ),
    view(
        "who did not click",
        "",
        "SELECT t.card_id AS card_id, count(*) AS n FROM transactions AS t
         WHERE t.event_time > now() - INTERVAL '1 minute' AND NOT EXISTS (
           SELECT 1 FROM clicks AS c
           WHERE c.card_id = t.card_id AND c.event_time > now() - INTERVAL '20 seconds')
         GROUP BY t.card_id",
    ),
    view(
        "events of both streams",
        "",
        "SELECT card_id, count(*) AS n, sum(value) AS total FROM (
           SELECT card_id, n AS value FROM transactions WHERE event_time > now() - INTERVAL '15 seconds'
           UNION ALL
           SELECT card_id, page AS value FROM clicks WHERE event_time > now() - INTERVAL '25 seconds'
         ) GROUP BY card_id",
    ),
    view(
        "approximate",
        "",
        "SELECT card_id, approx_median(n) AS half,
           approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY amount) AS most
         FROM transactions WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
    ),
    view(
        "windows in expressions",
        "-- resolution: 3s\n",
        "SELECT card_id, sum(CASE WHEN event_time > now() - INTERVAL '5 seconds' THEN n ELSE 1 END) AS s,
           count(*) FILTER (WHERE n > 1 OR event_time >= now() - INTERVAL '12 seconds') AS c
         FROM transactions WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
    ),
    Template {
        name: "the last event by two key columns",
        key: "card_id, device",
        header: "",
        sql: "SELECT card_id, device, amount FROM (
           SELECT card_id, device, amount,
             row_number() OVER (PARTITION BY card_id, device ORDER BY event_time DESC, _offset DESC) AS r
           FROM transactions WHERE event_time > now() - INTERVAL '20 seconds'
         ) WHERE r = 1",
    },
    view(
        "the last event over another stream's partitions",
        "",
        "SELECT device AS card_id, amount, place FROM (
           SELECT device, amount, _partition AS place,
             row_number() OVER (PARTITION BY device ORDER BY event_time DESC, _partition, _offset DESC) AS r
           FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
         ) WHERE r = 1",
    ),
];

/// A keyed view that fails on an event whose `n` is zero.
pub static DIVISION: Template = view(
    "a division",
    "",
    "SELECT card_id, max(100 / n) AS most FROM (
       SELECT card_id, n, row_number() OVER (PARTITION BY card_id ORDER BY event_time, _offset) AS r
       FROM transactions WHERE event_time > now() - INTERVAL '30 seconds'
     ) WHERE r < 100 GROUP BY card_id",
);

/// Views, their class and a part of the reason.
pub static CLASSES: [(&str, Class, &str); 12] = [
    (
        "SELECT card_id, count(*) AS n FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
        Class::Tiled,
        "its aggregates over `transactions` are kept in tiles",
    ),
    (LAST_EVENT, Class::Keyed, "not tiled: events of stream `transactions` are used one by one"),
    (
        "SELECT card_id, any_value(mcc) AS mcc FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute' GROUP BY card_id",
        Class::Keyed,
        "(`first_value` does not); no row needs events of several entities",
    ),
    (
        "SELECT card_id, date_part('epoch', now()) - date_part('epoch', event_time) AS age FROM (
           SELECT card_id, event_time,
             row_number() OVER (PARTITION BY card_id ORDER BY event_time DESC, _offset DESC) AS r
           FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
         ) WHERE r = 1",
        Class::Keyed,
        "one by one",
    ),
    (
        "SELECT card_id, amount, row_number() OVER (ORDER BY amount) AS place FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute'",
        Class::Full,
        "not keyed: a window function over several entities",
    ),
    (
        "SELECT card_id, count(*) AS n FROM transactions WHERE event_time > now() - INTERVAL '1 minute'
         GROUP BY card_id ORDER BY n LIMIT 3",
        Class::Full,
        "not keyed: rows of several entities meet",
    ),
    (
        "SELECT card_id, count(*) AS s FROM transactions
         WHERE event_time > now() - INTERVAL '1 month' GROUP BY card_id",
        Class::Full,
        "not keyed: `now()` stands elsewhere than in a comparison",
    ),
    (
        "SELECT card_id, count(*) AS s FROM transactions
         WHERE event_time > now() - INTERVAL '1 hour' AND now() - event_time < INTERVAL '5 minutes'
         GROUP BY card_id",
        Class::Full,
        "not keyed: `now()` stands elsewhere than in a comparison",
    ),
    (
        "SELECT a.card_id AS card_id, count(*) AS n FROM transactions AS a JOIN transactions AS b
           ON a.card_id = b.device
         WHERE a.event_time > now() - INTERVAL '1 minute' AND b.event_time > now() - INTERVAL '1 minute'
         GROUP BY a.card_id",
        Class::Full,
        "not keyed: stream `transactions` is read by `card_id` and by `device`",
    ),
    (
        "SELECT upper(card_id) AS card_id, amount FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute'",
        Class::Full,
        "not keyed: the key is computed",
    ),
    (
        "SELECT card_id, mcc, count(*) AS s FROM transactions
         WHERE event_time > now() - INTERVAL '1 minute' GROUP BY CUBE (card_id, mcc)",
        Class::Full,
        "not keyed: grouping sets",
    ),
    (
        "SELECT t.card_id AS card_id, count(*) AS n FROM transactions AS t JOIN clicks AS c ON t.n = c.page
         WHERE t.event_time > now() - INTERVAL '1 minute' AND c.event_time > now() - INTERVAL '1 minute'
         GROUP BY t.card_id",
        Class::Full,
        "not keyed: a join that does not compare the key",
    ),
];
