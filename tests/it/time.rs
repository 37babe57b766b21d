//! Time through the built binary: a topic that falls silent decays, and where a
//! batch is cut changes nothing.

use crate::input::job::{Job, source};
use crate::oracle::Value::{Float, Int};
use crate::oracle::{MINUTE, Row, Rows, SECOND, assert_hashes};
use crate::support::avro::WriterSchema;
use crate::support::client::Event;
use crate::support::{PATIENCE, eventually, unique};
use crate::worked::MIDNIGHT;

const V2: &str = include_str!("../../schemas/transactions.v2.avsc");

/// A payment, `after_ms` after midnight.
fn payment(card: &str, amount: f64, after_ms: i64) -> Event {
    let time = MIDNIGHT + after_ms;
    let schema = WriterSchema::parse(V2);
    let body = schema.body(&serde_json::json!({
        "txn_id": "t1",
        "card_id": card,
        "user_id": "user",
        "amount": amount,
        "currency": "EUR",
        "mcc": "5812",
        "device_id": "device",
        "ip_address": "10.0.0.1",
        "timestamp": time,
    }));
    Event::new(0, card, schema.single_object(&body)).at(time)
}

/// Two windows, so that there is much to see before the hash is deleted.
const FADING: &str = "-- entity: card
-- key: card_id
-- ttl: 1h
SELECT
  card_id,
  count(*) FILTER (WHERE event_time > now() - INTERVAL '3 seconds') AS payments_3s,
  count(*) AS payments_8s
FROM transactions
WHERE event_time > now() - INTERVAL '8 seconds'
GROUP BY card_id
";

/// The counts of 3 and of 8 seconds; `None` when there is no hash.
#[track_caller]
fn counts(job: &Job) -> Option<(i64, i64)> {
    let hash = job.redis.hgetall("features:card:card:fading");
    let count = |name: &str| -> Option<i64> { hash.get(name)?.parse().ok() };
    Some((count("payments_3s")?, count("payments_8s")?))
}

/// With s the seconds of silence, the clock is at 2 + s and rounded up; the
/// first two seconds may be seen or not, since they are short.
///
/// | s | 3 seconds | 8 seconds |
/// |---|---|---|
/// | less than 1 (not idle yet) | 2 | 2 |
/// | from 1 to 2 | 1 | 2 |
/// | to 5 | 0 | 2 |
/// | to 7 | 0 | 1 |
/// | more | no row | |
#[test]
fn a_topic_that_falls_silent_decays() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("fading", FADING);
    job.client.produce(&topic, &[payment("card", 1.0, 0), payment("card", 1.0, 2 * SECOND)]);
    let running = job.run(&["--idle-after", "1s", "--batch-interval", "100ms"]).spawn();

    let mut seen = Vec::new();
    eventually(PATIENCE * 2, "the hash is deleted", || match counts(&job) {
        Some(counts) => {
            if seen.last() != Some(&counts) {
                seen.push(counts);
            }
            Err(format!("{seen:?}"))
        }
        None if seen.is_empty() => Err("there was none yet".to_owned()),
        None => Ok(()),
    });
    // Before that, a batch may have had the first event alone.
    let decay: Vec<_> = seen.into_iter().skip_while(|counts| counts.1 < 2).collect();
    let table = [(2, 2), (1, 2), (0, 2), (0, 1)];
    assert!(decay.contains(&(0, 2)) && decay.iter().all(|counts| table.contains(counts)), "{decay:?}");
    assert!(decay.is_sorted_by(|before, after| before.0 >= after.0 && before.1 >= after.1), "{decay:?}");
    assert_eq!(job.redis.keys("*"), Vec::<String>::new());

    // Time had run on; now it is what the events say: all three are within 8 seconds.
    job.client.produce(&topic, &[payment("card", 1.0, 3 * SECOND)]);
    eventually(PATIENCE, "the hash is back", || match counts(&job) {
        Some((_, 3)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // It was deleted because no event was left, not because it expired.
    let left = job.redis.ttl_ms("features:card:card:fading");
    assert!(left.is_some_and(|left| (59 * MINUTE..=60 * MINUTE).contains(&left)), "{left:?}");
    eventually(PATIENCE, "the hash is deleted again", || match counts(&job) {
        None => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let output = running.terminate();
    assert!(output.status.success(), "{}\n{}", output.status, output.stderr);
    assert_eq!(job.dead_letters(&topic), []);
}

/// A topic that falls silent before the end of a run over it keeps its time.
#[test]
fn catching_up_does_not_wait_for_windows_to_pass() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("fading", FADING);
    job.client.produce(&topic, &[payment("card", 1.0, 0), payment("card", 1.0, 2 * SECOND)]);
    job.run_to_end(&["--idle-after", "1ms", "--batch-interval", "100ms"]);
    assert_eq!(counts(&job), Some((2, 2)));
}

const CUT: &str = "-- entity: card
-- key: card_id
SELECT
  card_id,
  count(*) FILTER (WHERE event_time > now() - INTERVAL '5 seconds') AS payments_5s,
  count(*) AS payments_70s,
  sum(amount) AS amount,
  last_value(amount ORDER BY event_time, _offset) AS last_amount
FROM transactions
WHERE event_time > now() - INTERVAL '70 seconds'
GROUP BY card_id
";

/// The clock ends at 100 s, so 5 seconds begin after 95 s and 70 after 30 s.
fn cut_log() -> Vec<Event> {
    let mut log: Vec<Event> = (0..15)
        .zip(["card-a", "card-b", "card-c"].into_iter().cycle())
        .map(|(turn, card)| payment(card, 1.0, turn * SECOND))
        .collect();
    log.extend([
        // Has a hash after this event and none in the end.
        payment("card-d", 1.0, 14 * SECOND),
        payment("card-a", 50.0, 100 * SECOND),
        // 65.001 s behind: too late, whichever batch moved the clock.
        payment("card-b", 1000.0, 34_999),
        // 65 s behind: late, and it counts.
        payment("card-b", 60.0, 35 * SECOND),
        payment("card-c", 70.0, 97 * SECOND),
        payment("card-a", 80.0, 99 * SECOND),
    ]);
    log
}

fn row(recent: i64, all: i64, amount: f64, last_amount: f64) -> Row {
    Row::from([
        ("payments_5s", Int(recent)),
        ("payments_70s", Int(all)),
        ("amount", Float(amount)),
        ("last_amount", Float(last_amount)),
    ])
}

#[test]
fn where_batches_are_cut_changes_nothing() {
    let expected = Rows::from([
        ("card-a".to_owned(), row(2, 2, 130.0, 50.0)),
        ("card-b".to_owned(), row(0, 1, 60.0, 60.0)),
        ("card-c".to_owned(), row(1, 1, 70.0, 70.0)),
    ]);
    let topic = unique("transactions");
    let sizes = ["1", "7", "100000"];
    for (index, size) in sizes.into_iter().enumerate() {
        let mut job = Job::new();
        if index == 0 {
            job.client.create_topic(&topic, 1);
            job.client.produce(&topic, &cut_log());
        }
        job.configure(&format!("[streams.transactions]\ntopic = \"{topic}\""));
        job.view("cut", CUT);
        job.run_to_end(&["--max-batch-events", size]);

        assert_hashes(&job.hashes("card", "cut"), &expected);
        assert_eq!(job.redis.keys("*").len(), expected.len());
        // Each run adds the one event that is too late.
        let letters = job.dead_letters(&topic);
        assert_eq!(letters.iter().map(source).collect::<Vec<_>>(), vec![(0, 17); index + 1]);
        assert!(letters.iter().all(|letter| letter.header("reason").as_deref() == Some("too_late")));
    }
}
