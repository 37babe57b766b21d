//! Kafka goes away and comes back, topics grow, vanish and are made anew, and
//! retention removes what was wanted: each has an outcome, and is said and counted.

use std::collections::BTreeMap;

use crate::payments::{Payment, Setting, hashes, payments};
use crate::support::kafka::KafkaBroker;
use crate::support::process::http_get;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually};

const UNREAD: &str = r#"stream_events_lost_total{kind="unread",stream="payments"}"#;
const LEAD_IN: &str = r#"stream_events_lost_total{kind="lead_in",stream="payments"}"#;
const MADE_ANEW: &str = r#"stream_partitions_made_anew_total{stream="payments"}"#;

/// Topics are looked at often, so that a change is noticed soon.
const LOOK_OFTEN: &str = r#""topic.metadata.refresh.interval.ms" = 500"#;

/// A broker that is back is found soon.
const RECONNECT_SOON: &str = r#""reconnect.backoff.max.ms" = 1000"#;

/// Runs until it has caught up.
#[track_caller]
fn catch_up(setting: &Setting) {
    let output = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

#[track_caller]
fn assert_sample(setting: &Setting, name: &str, expected: f64) {
    let found = setting.eventually_at_least(name, expected);
    assert!(found.total_cmp(&expected).is_eq(), "{name} is {found}, not {expected}");
}

#[test]
fn a_broker_that_was_away_is_read_on() {
    let mut broker = KafkaBroker::start();
    let redis = RedisServer::start();
    let setting = Setting::on(&broker, "away", 2, &redis).kafka_option(RECONNECT_SOON);
    let all = payments(0..120, 2);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(&redis, &all[..60]);

    // Longer than the second outage; the group's session may end in the first.
    for (numbers, end) in [(60..90, 90), (90..120, 120)] {
        broker.stop();
        running.wait_for_line("no Kafka broker answers");
        eventually(PATIENCE, "/readyz says why", || match http_get(&setting.metrics, "/readyz")? {
            (503, reason) if reason.contains("no Kafka broker answers") => Ok(()),
            other => Err(format!("{other:?}")),
        });
        broker.start_again();
        setting.produce(&all[numbers]);
        setting.eventually_exact(&redis, &all[..end]);
        setting.eventually_readyz(200);
    }
    setting.eventually_committed();
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(output.stderr.contains("Kafka answers again"), "{}", output.stderr);
}

/// Nobody is there to hear that the process leaves, nor to take a commit.
#[test]
fn a_run_ends_while_kafka_is_away() {
    let mut broker = KafkaBroker::start();
    let redis = RedisServer::start();
    let setting = Setting::on(&broker, "ends-away", 1, &redis)
        .kafka_option(RECONNECT_SOON)
        .option(r#"shutdown_timeout = "10s""#);
    let all = payments(0..30, 1);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[..20]);
    setting.eventually_exact(&redis, &all[..20]);
    setting.eventually_committed();
    broker.stop();
    running.wait_for_line("no Kafka broker answers");
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);

    broker.start_again();
    setting.produce(&all[20..]);
    catch_up(&setting);
    setting.eventually_exact(&redis, &all);
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let redis = RedisServer::start();
    let setting = Setting::new("grown", 2, &redis).kafka_option(LOOK_OFTEN);
    let mut all = payments(0..40, 2);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all);
    setting.eventually_exact(&redis, &all);

    setting.client().create_partitions(&setting.topic, 4);
    let third: Vec<Payment> = payments(0..80, 4).into_iter().filter(|one| one.partition >= 2).collect();
    // Before anybody has noticed.
    setting.produce(&third);
    all.extend(third);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// The new log's offsets begin at 0, far below what was read of the old one.
#[test]
fn a_topic_that_is_made_anew_in_the_middle_of_a_run_is_read_from_its_beginning() {
    let redis = RedisServer::start();
    let setting = Setting::new("anew", 2, &redis).kafka_option(LOOK_OFTEN);
    let old = payments(0..60, 2);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&old);
    setting.eventually_exact(&redis, &old);
    setting.eventually_committed();

    let client = setting.client();
    client.delete_topic(&setting.topic);
    client.create_topic(&setting.topic, 2);
    let new = payments(100..120, 2);
    setting.produce(&new);
    setting.eventually_exact(&redis, &new);
    setting.eventually_committed();
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// As after a group's offsets were kept, or brought back, and its topic was not.
#[test]
fn a_commit_beyond_the_end_means_a_topic_made_anew() {
    let redis = RedisServer::start();
    let setting = Setting::new("beyond", 2, &redis);
    let new = payments(0..20, 2);
    setting.produce(&new);
    for partition in 0..2 {
        setting.client().commit(&setting.group, &setting.topic, partition, 500);
    }
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.eventually_exact(&redis, &new);
    running.wait_for_line("offset 500 was committed, but the topic ends at 10: it was made anew");
    assert_sample(&setting, MADE_ANEW, 2.0);
    setting.eventually_committed();
    assert_eq!(setting.committed(), BTreeMap::from([(0, 10), (1, 10)]));
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn events_removed_before_they_were_read_are_counted() {
    let redis = RedisServer::start();
    let setting = Setting::new("unread", 1, &redis);
    let all = payments(0..60, 1);
    setting.produce(&all[..40]);
    catch_up(&setting);
    setting.produce(&all[40..]);
    setting.client().delete_records(&setting.topic, 0, 50);

    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.eventually_exact(&redis, &all[50..]);
    let line = running.wait_for_line("no longer holds offsets 0 to 50: 10 of them were removed");
    assert!(line.contains("windows are complete again at 20"), "{line}");
    assert_sample(&setting, UNREAD, 10.0);
    assert_sample(&setting, LEAD_IN, 40.0);
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn windows_that_cannot_be_rebuilt_wholly_are_told() {
    let redis = RedisServer::start();
    let setting = Setting::new("lead-in", 1, &redis);
    let all = payments(0..50, 1);
    setting.produce(&all[..40]);
    catch_up(&setting);
    setting.client().delete_records(&setting.topic, 0, 10);
    setting.produce(&all[40..]);

    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    // Each card has paid again.
    setting.eventually_exact(&redis, &all[10..]);
    running.wait_for_line("no longer holds offsets 0 to 10, which windows still need: 10 events");
    assert_sample(&setting, LEAD_IN, 10.0);
    assert_sample(&setting, UNREAD, 0.0);
    assert_eq!(running.terminate().status.code(), Some(0));
}

/// A run that waits for Redis may wait for longer than the topic is retained.
/// What is kept stays: it goes on after the gap.
#[test]
fn events_removed_in_the_middle_of_a_run_are_counted() {
    let mut redis = RedisServer::start_persistent();
    let setting = Setting::new("overtaken", 1, &redis).option("max_batch_events = 10");
    let all = payments(0..120, 1);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[..20]);
    setting.eventually_exact(&redis, &all[..20]);

    redis.stop();
    setting.produce(&all[20..]);
    running.wait_for_line("reading is paused");
    setting.client().delete_records(&setting.topic, 0, 110);
    redis.start_again();
    running.wait_for_line("events were removed before they were read");
    let lost = setting.eventually_at_least(UNREAD, 1.0);
    setting.eventually_committed();
    let counted = || -> f64 {
        let hashes = hashes(&redis, "card", "spending");
        hashes.values().filter_map(|hash| hash.get("payments_24h")?.parse::<f64>().ok()).sum()
    };
    eventually(PATIENCE, "every event is counted or lost", || match counted() + lost {
        all if (119.5..120.5).contains(&all) => Ok(()),
        other => Err(format!("{other}, {lost} of them lost")),
    });
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}
