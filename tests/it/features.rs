//! The shipped views through the built binary: events into Kafka, hashes out of
//! Redis, compared field by field with numbers worked out by hand and with the
//! formulas in plain Rust.

mod generated;
mod log;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use windrow::time::{Clock, SystemClock};

use crate::input::job::{Job, source};
use crate::oracle::clickstream::clickstream;
use crate::oracle::device::device;
use crate::oracle::transaction::transaction;
use crate::oracle::transaction_pattern::transaction_pattern;
use crate::oracle::{DAY, MINUTE, Rows, assert_hashes};
use crate::support::shipped;
use crate::worked;
use generated::Dice;
use log::{expected, in_one_partition, produce, rejected};

/// The shipped views.
static SQL: LazyLock<String> = LazyLock::new(|| shipped("sql"));

/// Decides the generated logs.
const SEED: u64 = 20_250_301;

/// A view's rows as Redis should hold them.
struct Expected {
    entity: &'static str,
    view: &'static str,
    rows: Rows,
}

/// Compares the rows of every view, and looks for hashes that should not be.
#[track_caller]
fn check(job: &Job, views: &[Expected]) {
    let mut names = BTreeSet::new();
    for Expected { entity, view, rows } in views {
        assert_hashes(&job.hashes(entity, view), rows);
        names.extend(rows.keys().map(|key| format!("features:{entity}:{key}:{view}")));
    }
    assert_eq!(job.redis.keys("*").into_iter().collect::<BTreeSet<_>>(), names);
}

/// The fields beside the features, and the time to live.
#[track_caller]
fn check_bookkeeping(job: &Job, begun: i64, clock: i64) {
    let ended = SystemClock.now().millis();
    for name in job.redis.keys("*") {
        let number = |field: &str| -> i64 {
            let text = job.feature(&name, field).unwrap_or_else(|| panic!("{name} has no {field}"));
            text.parse().unwrap_or_else(|error| panic!("{name} {field} `{text}`: {error}"))
        };
        let (as_of, computed_at) = (number("_as_of"), number("_computed_at"));
        assert!((clock - 2 * DAY..=clock).contains(&as_of), "{name} is as of {as_of}, the clock is {clock}");
        assert!((begun..=ended).contains(&computed_at), "{name} was computed at {computed_at}");
        let left = job.redis.ttl_ms(&name);
        let about_a_day = DAY - 10 * MINUTE..=DAY;
        assert!(left.is_some_and(|left| about_a_day.contains(&left)), "{name} lives for {left:?} ms");
    }
}

#[test]
fn every_shipped_view_gives_the_worked_numbers() {
    let mut job = Job::new();
    let (transactions, clicks, devices) =
        (job.stream("transactions", 1, ""), job.stream("clicks", 1, ""), job.stream("devices", 1, ""));
    produce(&job.client, &transactions, &in_one_partition(worked::transactions()));
    produce(&job.client, &clicks, &in_one_partition(worked::clicks()));
    produce(&job.client, &devices, &in_one_partition(worked::devices()));

    let begun = SystemClock.now().millis();
    job.run_to_end(&["--sql-dir", SQL.as_str()]);

    check(
        &job,
        &[
            Expected { entity: "card", view: "transaction", rows: worked::expected_transaction() },
            Expected {
                entity: "card",
                view: "transaction_pattern",
                rows: worked::expected_transaction_pattern(),
            },
            Expected { entity: "user", view: "clickstream", rows: worked::expected_clickstream() },
            Expected { entity: "device", view: "device", rows: worked::expected_device() },
        ],
    );
    check_bookkeeping(&job, begun, worked::NOW);
    // The last event of all belongs to these, so they were computed when the clock showed its time.
    for name in [
        "features:card:card-b:transaction",
        "features:card:card-b:transaction_pattern",
        "features:user:user-b:clickstream",
        "features:device:device-b:device",
    ] {
        assert_eq!(job.feature(name, "_as_of"), Some(worked::NOW.to_string()), "{name}");
    }
    for topic in [transactions, clicks, devices] {
        assert_eq!(job.dead_letters(&topic), [], "all events of {topic} count");
        assert_eq!(job.client.committed(&job.group, &topic), job.client.end_offsets(&topic));
    }
}

#[test]
fn generated_logs_give_what_the_formulas_say() {
    let mut job = Job::new();
    let mut dice = Dice::new(SEED);
    let transactions = generated::transactions(&mut dice, 3);
    let clicks = generated::clicks(&mut dice, 2);
    let devices = generated::devices(&mut dice, 4);
    let topics =
        [job.stream("transactions", 3, ""), job.stream("clicks", 2, ""), job.stream("devices", 4, "")];
    produce(&job.client, &topics[0], &transactions);
    produce(&job.client, &topics[1], &clicks);
    produce(&job.client, &topics[2], &devices);

    job.run_to_end(&["--sql-dir", SQL.as_str(), "--max-batch-events", "150"]);

    check(
        &job,
        &[
            Expected { entity: "card", view: "transaction", rows: expected(&transactions, 3, transaction) },
            Expected {
                entity: "card",
                view: "transaction_pattern",
                rows: expected(&transactions, 3, transaction_pattern),
            },
            Expected { entity: "user", view: "clickstream", rows: expected(&clicks, 2, clickstream) },
            Expected { entity: "device", view: "device", rows: expected(&devices, 4, device) },
        ],
    );
    for (topic, rejected) in
        topics.iter().zip([rejected(&transactions, 3), rejected(&clicks, 2), rejected(&devices, 4)])
    {
        for reason in ["too_late", "future"] {
            assert!(rejected.iter().any(|(_, _, known)| known == reason), "{topic} has no event {reason}");
        }
        let letters = job.dead_letters(topic);
        let found: Vec<_> = letters
            .iter()
            .map(|letter| {
                let (partition, offset) = source(letter);
                (partition, offset, letter.header("reason").unwrap_or_default())
            })
            .collect();
        assert_eq!(found, rejected, "the dead letters of {topic}");
    }
}
