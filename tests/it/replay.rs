//! `windrow replay`: a stretch of a topic evaluated again, beside the running
//! job and without it.

mod history;

use std::collections::BTreeMap;

use crate::oracle::Rows;
use crate::payments::{NOON, Payment, STEP, Setting, assert_spending, compare, payments, spending};
use crate::support::PATIENCE;
use crate::support::process::Output;
use crate::support::redis::RedisServer;

/// A second view of the stream.
const NOTES: &str = "\
-- entity: note
-- key: card_id
SELECT card_id, count(note) AS notes
FROM payments
WHERE event_time > now() - INTERVAL '1 hour'
GROUP BY card_id
";

/// The whole topic: number and offset are the same in a single partition.
const EVENTS: i32 = 90;

/// A topic with [`EVENTS`] payments, and a Redis with nothing.
fn filled(name: &str) -> (RedisServer, Setting, Vec<Payment>) {
    let redis = RedisServer::start();
    let setting = Setting::new(name, 1, &redis);
    let all = payments(0..EVENTS, 1);
    setting.produce(&all);
    (redis, setting, all)
}

#[track_caller]
fn start(setting: &Setting, arguments: &[&str]) -> Output {
    let arguments: Vec<&str> = std::iter::once("replay").chain(arguments.iter().copied()).collect();
    setting.windrow(&arguments).run_to_end(PATIENCE)
}

#[track_caller]
fn replay(setting: &Setting, arguments: &[&str]) -> Output {
    let output = start(setting, arguments);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", output.stdout, output.stderr);
    output
}

/// A replay that is refused, and all that it has to say.
#[track_caller]
fn refused(setting: &Setting, arguments: &[&str], parts: &[&str]) {
    let output = start(setting, arguments);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{}: {}", output.status, output.stderr);
    for part in parts {
        assert!(output.stderr.contains(part), "no `{part}` in\n{}", output.stderr);
    }
}

/// RFC 3339 of the payment with this number.
fn time_of(number: i64) -> String {
    let seconds = number * STEP / 1000;
    assert!(seconds < 3600, "within the hour after noon");
    format!("2025-03-01T12:{:02}:{:02}Z", seconds / 60, seconds % 60)
}

/// Offset 50 is more than the ten-minute window behind the beginning, so both
/// windows have to be read from before `--from`.
#[test]
fn a_stretch_of_offsets_gives_what_a_run_had_at_its_end() {
    for (from, to) in [(50, 70), (50, 51), (0, 40), (89, 90)] {
        let (redis, setting, all) = filled("stretch");
        let output = replay(&setting, &["--from", &format!("0:{from}"), "--to", &format!("0:{to}")]);
        assert!(output.stdout.contains(&format!("replayed {} events", to - from)), "{}", output.stdout);
        assert_spending(&redis, &all[..to]);
    }
}

#[test]
fn from_the_beginning_to_the_end() {
    let (redis, setting, all) = filled("everything");
    replay(&setting, &["--from", "beginning", "--to", "end"]);
    assert_spending(&redis, &all);
    // Again: absolute values.
    replay(&setting, &["--from", "beginning"]);
    assert_spending(&redis, &all);
}

#[test]
fn times_are_those_of_kafka() {
    let (redis, setting, all) = filled("times");
    replay(&setting, &["--from", &time_of(50), "--to", &time_of(70)]);
    assert_spending(&redis, &all[..70]);

    // Between two events, and as milliseconds.
    let (from, to) = ((NOON + 70 * STEP - 1).to_string(), (NOON + 80 * STEP + 1).to_string());
    let output = replay(&setting, &["--from", &from, "--to", &to]);
    assert!(output.stderr.contains("offsets 70 to 81"), "{}", output.stderr);
    assert_spending(&redis, &all[..81]);
}

#[test]
fn several_partitions_each_with_its_own_stretch() {
    let redis = RedisServer::start();
    let setting = Setting::new("partitions", 2, &redis);
    let all = payments(0..120, 2);
    setting.produce(&all);
    replay(&setting, &["--from", "0:40,1:30", "--to", "0:50,1:45"]);
    // Offsets are counted by partition.
    let part = |partition: i32, end: usize| {
        all.iter().filter(move |payment| payment.partition == partition).take(end).cloned()
    };
    let seen: Vec<Payment> = part(0, 50).chain(part(1, 45)).collect();
    assert_spending(&redis, &seen);
}

/// Lateness is decided as the run decided it, the clock being wound up by the lead-in.
#[test]
fn what_was_too_late_in_the_run_is_too_late_in_a_replay() {
    let redis = RedisServer::start();
    let setting = Setting::new("late", 1, &redis);
    let mut all = payments(0..60, 1);
    // Two minutes behind the one before: too late by far.
    let time_ms = all[39].time_ms - 6 * STEP;
    all.insert(40, Payment::new("card-0-0", 1_000_000, None, time_ms));
    setting.produce(&all);
    let counted = |end: usize| -> Vec<Payment> {
        all[..end].iter().filter(|payment| payment.amount < 1_000_000).cloned().collect()
    };
    for (from, to) in [(40, 50), (41, 45)] {
        redis.flush();
        replay(&setting, &["--from", &format!("0:{from}"), "--to", &format!("0:{to}")]);
        assert_spending(&redis, &counted(to));
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let (redis, setting, _) = filled("dry");
    let output = replay(&setting, &["--from", "beginning", "--to", "end", "--dry-run"]);
    assert_eq!(redis.keys("*"), Vec::<String>::new());
    assert!(output.stdout.contains("replayed 90 events"), "{}", output.stdout);
    assert!(output.stdout.contains("nothing written"), "{}", output.stdout);
}

/// One that is not replayed keeps what it has.
#[test]
fn only_the_views_that_are_named() {
    let (redis, setting, all) = filled("views");
    let setting = setting.view("notes", NOTES);
    replay(&setting, &["--from", "beginning", "--to", "0:30", "--views", "spending"]);
    assert_spending(&redis, &all[..30]);
    assert_eq!(redis.keys("*:notes"), Vec::<String>::new());

    replay(&setting, &["--from", "beginning", "--to", "0:60", "--views", "notes"]);
    assert_spending(&redis, &all[..30]);
    assert_eq!(redis.keys("*:notes").len(), 3);
    replay(&setting, &["--from", "beginning", "--to", "0:60", "--views", "notes,spending"]);
    assert_spending(&redis, &all[..60]);

    refused(
        &setting,
        &["--from", "beginning", "--views", "spendings"],
        &["there is no view `spendings`", "hint: did you mean `spending`?"],
    );
}

#[test]
fn committed_offsets_are_not_touched() {
    let (redis, setting, all) = filled("commits");
    let fresh = setting.another_group();
    replay(&fresh, &["--from", "0:20", "--to", "0:30"]);
    assert_eq!(fresh.committed(), BTreeMap::new());

    let run = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);
    assert_spending(&redis, &all);
    let committed = setting.committed();
    assert_eq!(committed, BTreeMap::from([(0, i64::from(EVENTS))]));
    redis.flush();
    replay(&setting, &["--from", "0:20", "--to", "0:30"]);
    assert_eq!(setting.committed(), committed);
    assert_spending(&redis, &all[..30]);
}

/// A running job and a replay of its own group get on with each other.
#[test]
fn beside_a_running_job() {
    let (redis, setting, all) = filled("beside");
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.eventually_exact(&redis, &all);
    replay(&setting.another_process(), &["--from", "beginning", "--to", "end"]);
    let more = payments(0..EVENTS + 10, 1);
    setting.produce(&more[all.len()..]);
    setting.eventually_exact(&redis, &more);
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn what_the_topic_does_not_hold_is_refused_with_what_it_holds() {
    let (redis, setting, _) = filled("range");
    let held = [setting.topic.as_str(), "which holds 0 to 90"];
    refused(&setting, &["--from", "0:100", "--to", "0:120"], &held);
    refused(&setting, &["--from", "0:10", "--to", "0:91"], &held);
    refused(&setting, &["--from", "3:10", "--to", "3:20"], &["has no partition 3: it has 0 to 0"]);
    refused(&setting, &["--from", "0:20", "--to", "0:10"], &["ends at offset 10, before it begins at 20"]);
    refused(&setting, &["--from", "soon"], &["soon"]);
    refused(&setting, &["--from", "orders/0:1"], &["`orders`"]);
    assert_eq!(compare(&redis, "card", "spending", &Rows::new()), Ok(()));
}

/// Nothing to read is no error: the stretch is there, and empty.
#[test]
fn an_empty_stretch_gives_what_was_there_before_it() {
    let (redis, setting, all) = filled("empty");
    replay(&setting, &["--from", "0:30", "--to", "0:30"]);
    let nothing_or_exact = compare(&redis, "card", "spending", &Rows::new())
        .or_else(|_| compare(&redis, "card", "spending", &spending(&all[..30])));
    assert_eq!(nothing_or_exact, Ok(()));
}

#[test]
fn windows_that_the_topic_does_not_fill_any_more_are_told() {
    let (_redis, setting, _) = filled("torn");
    let torn = "begins at offset 50: of what the windows hold at offset ";
    let whole = replay(&setting, &["--from", "0:55", "--dry-run"]);
    assert!(!whole.stderr.contains("begins at offset"), "{}", whole.stderr);
    setting.client().delete_records(&setting.topic, 0, 50);
    for (from, at) in [("0:55", 55), ("beginning", 50), (&*time_of(10), 50)] {
        let output = replay(&setting, &["--from", from, "--dry-run"]);
        assert!(output.stderr.contains(&format!("{torn}{at}")), "{from}: {}", output.stderr);
    }
}
