//! The views that logs are run through. In their text `@1s`, `@1m` and so on
//! stand for `now()`, and say by what it is rounded up in that window.

use std::sync::{Arc, LazyLock};

use windrow::decode::framing::Framing;
use windrow::decode::{Options, StreamSchema};
use windrow::view::plan::{Planner, ViewFile};
use windrow::view::{FeatureView, Sharding, Stream, Streams};

use super::log::V2;

/// A view, and what it is told here because the reference must not ask.
pub struct Template {
    pub name: &'static str,
    /// The key, an output column.
    pub key: &'static str,
    /// Further lines of the header.
    pub header: &'static str,
    pub sql: &'static str,
    /// Whether all partitions are one shard.
    pub single: bool,
}

/// What a mark is rounded up by, in milliseconds.
pub const MARKS: [(&str, i64); 4] = [("@10s", 10_000), ("@1s", 1_000), ("@1m", 60_000), ("@1h", 3_600_000)];

const fn by_card(name: &'static str, sql: &'static str) -> Template {
    Template { name, key: "card", header: "", sql, single: false }
}

pub static TEMPLATES: [Template; 12] = [
    by_card(
        "aggregates",
        "SELECT card,
           count(*) FILTER (WHERE event_time > @1s - INTERVAL '5 minutes') AS n_5m,
           sum(amount) FILTER (WHERE event_time > @1s - INTERVAL '5 minutes') AS sum_5m,
           avg(amount) FILTER (WHERE event_time >= @1s - INTERVAL '30 minutes') AS avg_30m,
           count(*) AS n_1h, min(amount) AS min_1h, max(amount) AS max_1h
         FROM payments WHERE event_time > @1s - INTERVAL '1 hour' GROUP BY card",
    ),
    by_card(
        "latest",
        "SELECT card,
           last_value(amount ORDER BY event_time, _offset) AS last_amount,
           last_value(device ORDER BY event_time, _offset) AS last_device,
           first_value(place ORDER BY event_time, _offset) AS first_place,
           array_agg(_offset ORDER BY event_time, _offset) AS offsets,
           count(DISTINCT device) AS devices,
           max(event_time) AS last_seen
         FROM payments WHERE event_time > @1s - INTERVAL '10 minutes' GROUP BY card",
    ),
    by_card(
        "having",
        "SELECT card, count(*) AS n, sum(amount) AS total
         FROM payments WHERE @1s - INTERVAL '15 minutes' < event_time GROUP BY card
         HAVING count(*) > 2 AND sum(amount) > 1500",
    ),
    by_card(
        "two_aggregates",
        "WITH recent AS (SELECT card, count(*) AS n, sum(amount) AS total FROM payments
                         WHERE event_time > @1s - INTERVAL '1 minute' GROUP BY card),
              earlier AS (SELECT card, count(*) AS n FROM payments
                          WHERE event_time > @1m - INTERVAL '6 hours' GROUP BY card)
         SELECT earlier.card AS card, earlier.n AS n_6h, coalesce(recent.n, 0) AS n_1m, recent.total AS total_1m
         FROM earlier LEFT JOIN recent ON recent.card = earlier.card",
    ),
    by_card(
        "three_resolutions",
        "SELECT card,
           count(*) FILTER (WHERE event_time > @1s - INTERVAL '1 minute') AS n_1m,
           sum(amount) FILTER (WHERE amount > 500 AND event_time > @1m - INTERVAL '2 hours') AS large_2h,
           count(*) AS n_3d
         FROM payments WHERE event_time > @1h - INTERVAL '3 days' GROUP BY card",
    ),
    Template {
        name: "resolution",
        key: "card",
        header: "-- resolution: 10s\n",
        sql: "SELECT card,
           count(*) FILTER (WHERE event_time > @10s - INTERVAL '30 seconds') AS n_30s,
           max(amount) FILTER (WHERE device IS NULL) AS max_without_device,
           count(*) AS n_3h
         FROM payments WHERE event_time > @10s - INTERVAL '3 hours' GROUP BY card",
        single: false,
    },
    by_card(
        "two_levels",
        "SELECT card, count(*) AS devices, max(n) AS most, sum(total) AS total
         FROM (SELECT card, device, count(*) AS n, sum(amount) AS total FROM payments
               WHERE event_time > @1s - INTERVAL '10 minutes' GROUP BY card, device) AS by_device
         GROUP BY card",
    ),
    by_card(
        "standing",
        "SELECT card, total, rank() OVER (ORDER BY total DESC, card) AS standing,
           total / sum(total) OVER () AS share
         FROM (SELECT card, sum(amount) AS total FROM payments
               WHERE event_time > @1s - INTERVAL '20 minutes' GROUP BY card) AS totals",
    ),
    by_card(
        "steps",
        "SELECT card, count(*) AS n, sum(amount - earlier) AS drift,
           max(amount) FILTER (WHERE place = 1) AS last,
           count(*) FILTER (WHERE moment > @1s - INTERVAL '1 minute') AS n_1m
         FROM (SELECT card, amount, event_time AS moment,
                 lag(amount) OVER (PARTITION BY card ORDER BY event_time, _offset) AS earlier,
                 row_number() OVER (PARTITION BY card ORDER BY event_time DESC, _offset DESC) AS place
               FROM payments WHERE event_time > @1s - INTERVAL '10 minutes') AS steps
         GROUP BY card",
    ),
    Template {
        name: "last_by_place",
        key: "place",
        header: "",
        sql: "SELECT place, card, amount
         FROM (SELECT place, card, amount,
                 row_number() OVER (PARTITION BY place ORDER BY event_time, _partition, _offset) AS standing
               FROM payments WHERE event_time > @1m - INTERVAL '2 hours') AS ranked
         WHERE standing = 1",
        single: true,
    },
    by_card(
        "delayed",
        "SELECT card, count(*) AS n, sum(amount) AS total
         FROM payments
         WHERE event_time BETWEEN @1s - INTERVAL '10 minutes' AND @1s - INTERVAL '1 minute' GROUP BY card",
    ),
    Template {
        name: "by_place",
        key: "place",
        header: "",
        sql: "SELECT place, count(*) AS n, sum(amount) AS total, count(DISTINCT card) AS cards,
           last_value(card ORDER BY event_time, _partition, _offset) AS last_card
         FROM payments WHERE event_time > @1s - INTERVAL '10 minutes' GROUP BY place",
        single: true,
    },
];

/// How the stream is decoded.
pub fn decoding() -> Options {
    Options {
        framing: Framing::Auto,
        event_time: "at".to_owned(),
        event_time_unit: None,
        key: "card".to_owned(),
    }
}

/// The stream's schema.
pub fn schema() -> StreamSchema {
    StreamSchema::try_new(V2, &decoding()).unwrap()
}

/// The stream `payments`.
pub fn streams() -> Streams {
    Streams::new(vec![Stream {
        name: "payments".to_owned(),
        topic: "pay.events".to_owned(),
        key: "card".to_owned(),
        table: schema().table,
    }])
}

/// The view of a template, planned.
pub fn view(template: &Template) -> Arc<FeatureView> {
    static VIEWS: LazyLock<Vec<Arc<FeatureView>>> = LazyLock::new(|| {
        let streams = streams();
        let planner = Planner::new(&streams);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        TEMPLATES.iter().map(|template| Arc::new(runtime.block_on(planned(&planner, template)))).collect()
    });
    let index = TEMPLATES.iter().position(|other| other.name == template.name).unwrap();
    Arc::clone(&VIEWS[index])
}

async fn planned(planner: &Planner<'_>, template: &Template) -> FeatureView {
    let sql = MARKS.iter().fold(template.sql.to_owned(), |sql, (mark, _)| sql.replace(mark, "now()"));
    let file = ViewFile {
        path: format!("sql/{}.sql", template.name),
        stem: template.name.to_owned(),
        text: format!("-- entity: e\n-- key: {}\n{}{sql}\n", template.key, template.header),
    };
    let view = planner.plan(&file).await.unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(matches!(view.sharding, Sharding::Single { .. }), template.single, "{}", template.name);
    view
}

/// The template with a name.
pub fn template(name: &str) -> &'static Template {
    TEMPLATES.iter().find(|template| template.name == name).unwrap()
}
