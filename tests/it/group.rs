//! Several processes in one consumer group, and one that is killed: windows
//! reach over every hand-over, and nothing is counted twice or lost.

use std::collections::BTreeMap;

use crate::oracle::{Row, Rows, Value};
use crate::payments::{Payment, Setting, assert_spending, compare, payments};
use crate::support::process::sample;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually};

const LEAD_IN: &str = r#"stream_events_processed_total{status="lead_in",stream="payments"}"#;

#[test]
fn two_processes_share_a_topic_and_hand_it_over() {
    let redis = RedisServer::start();
    let setting = Setting::new("group", 4, &redis);
    let all = payments(0..160, 4);

    let mut first = setting.windrow(&["run"]).spawn();
    first.wait_ready(&setting.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(&redis, &all[..60]);

    let beside = setting.another_process();
    let mut second = beside.windrow(&["run"]).spawn();
    // Ready means that it was given partitions.
    second.wait_ready(&beside.metrics);
    setting.produce(&all[60..100]);
    setting.eventually_exact(&redis, &all[..100]);
    for process in [&setting, &beside] {
        eventually(PATIENCE, "each process has its half", || match process.sample("windrow_shards") {
            shards if (1.5..2.5).contains(&shards) => Ok(()),
            shards => Err(format!("{shards} shards")),
        });
    }

    // The second takes over what the first had from the beginning.
    let ended = first.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    setting.produce(&all[100..]);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    let ended = second.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_spending(&redis, &all);
}

#[test]
fn a_killed_process_is_replaced_by_another_of_its_group() {
    let redis = RedisServer::start();
    let setting = Setting::new("replaced", 2, &redis);
    let beside = setting.another_process();
    let all = payments(0..120, 2);
    let mut first = setting.windrow(&["run"]).spawn();
    first.wait_ready(&setting.metrics);
    let mut second = beside.windrow(&["run"]).spawn();
    second.wait_ready(&beside.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(&redis, &all[..60]);

    first.kill();
    setting.produce(&all[60..]);
    setting.eventually_exact(&redis, &all);
    assert_eq!(second.terminate().status.code(), Some(0));
}

#[test]
fn after_kill_9_windows_are_rebuilt_and_nothing_is_doubled() {
    let redis = RedisServer::start();
    let setting = Setting::new("killed", 2, &redis);
    let all = payments(0..150, 2);
    let mut killed = setting.windrow(&["run"]).spawn();
    killed.wait_ready(&setting.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(&redis, &all[..60]);
    setting.eventually_committed();
    // In the middle of whatever it does with these.
    setting.produce(&all[60..100]);
    killed.kill();
    setting.produce(&all[100..140]);

    let again = setting.another_process();
    let mut running = again.windrow(&["run"]).spawn();
    running.wait_ready(&again.metrics);
    setting.eventually_exact(&redis, &all[..140]);
    setting.produce(&all[140..]);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    let metrics = running.metrics(&again.metrics);
    let lead_in = sample(&metrics, LEAD_IN).expect("lead-ins are counted");
    assert!(lead_in >= 60.0, "the windows were rebuilt from {lead_in} events");
    assert_eq!(running.terminate().status.code(), Some(0));
}

/// A start rebuilds the windows from before the commit without one new event,
/// and writes nothing that is there already otherwise than it is there.
#[test]
fn a_restart_changes_nothing() {
    let redis = RedisServer::start();
    let setting = Setting::new("restarted", 2, &redis);
    let all = payments(0..80, 2);
    setting.produce(&all);
    for _ in 0..3 {
        let output = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
        assert_spending(&redis, &all);
    }
    let committed = setting.committed();
    assert_eq!(committed, BTreeMap::from([(0, 40), (1, 40)]));
}

/// A hash whose entity lost its rows while nobody was there is deleted by the
/// start that follows.
#[test]
fn what_left_the_windows_meanwhile_is_deleted() {
    let redis = RedisServer::start();
    let setting = Setting::new("meanwhile", 1, &redis);
    let once = || setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    let mut all = payments(0..9, 1);
    setting.produce(&all);
    assert_eq!(once().status.code(), Some(0));
    assert_eq!(redis.keys("*").len(), 3);

    let days_later = all[8].time_ms + 3 * crate::oracle::DAY;
    let late = Payment::new("card-0-9", 1, None, days_later);
    setting.produce(std::slice::from_ref(&late));
    all.push(late);
    assert_eq!(once().status.code(), Some(0));
    assert_eq!(redis.keys("*"), ["features:card:card-0-9:spending"]);
    assert_spending(&redis, &all);
}

const BY_MERCHANT: &str = "\
-- entity: merchant
-- key: merchant
SELECT
  merchant,
  count(*) AS payments_24h,
  sum(amount) AS amount_sum_24h
FROM payments
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY merchant
";

/// The merchants' rows: each sees both partitions.
fn takings(payments: &[Payment]) -> Rows {
    let mut sums: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for payment in payments {
        let (count, sum) = sums.entry(payment.merchant.as_str()).or_default();
        *count += 1;
        *sum += payment.amount;
    }
    let row =
        |(count, sum)| Row::from([("payments_24h", Value::Int(count)), ("amount_sum_24h", Value::Int(sum))]);
    sums.into_iter().map(|(merchant, sums)| (merchant.to_owned(), row(sums))).collect()
}

#[test]
fn a_view_over_all_partitions_has_one_process() {
    let redis = RedisServer::start();
    let setting = Setting::new("whole", 3, &redis).without_spending().view("takings", BY_MERCHANT);
    let all = payments(0..60, 3);
    let exact = |payments: &[Payment]| {
        let expected = takings(payments);
        eventually(PATIENCE, "the merchants' hashes are exact", || {
            compare(&redis, "merchant", "takings", &expected)
        });
    };
    let mut first = setting.windrow(&["run"]).spawn();
    first.wait_ready(&setting.metrics);
    setting.produce(&all[..30]);
    exact(&all[..30]);

    let second = setting.another_process().windrow(&["run"]).run_to_end(PATIENCE);
    assert_eq!(second.status.code(), Some(1), "{}", second.stderr);
    let said = "error: view `takings` is one shard over all 3 partitions";
    for part in [said, setting.topic.as_str(), "hint: repartition"] {
        assert!(second.stderr.contains(part), "no `{part}` in\n{}", second.stderr);
    }

    setting.produce(&all[30..]);
    exact(&all);
    assert_eq!(first.terminate().status.code(), Some(0));
}

/// A static member keeps its partitions while it is started again, and the
/// other one's shards do not stop. Assignment is cooperative by default.
#[test]
fn a_static_member_is_started_again_without_a_rebalance() {
    let redis = RedisServer::start();
    let setting = Setting::new("static", 4, &redis);
    let beside = setting.another_process();
    let member = |setting: &Setting, name: &str| {
        let properties = format!("group.instance.id={name}; session.timeout.ms=45000");
        setting.windrow(&["run"]).env("WINDROW_KAFKA_PROPERTY", properties).spawn()
    };
    let halves = || {
        for process in [&setting, &beside] {
            eventually(PATIENCE, "each process has its half", || match process.sample("windrow_shards") {
                shards if (1.5..2.5).contains(&shards) => Ok(()),
                shards => Err(format!("{shards} shards")),
            });
        }
    };
    let all = payments(0..160, 4);
    let mut first = member(&setting, "first");
    first.wait_ready(&setting.metrics);
    let mut second = member(&beside, "second");
    second.wait_ready(&beside.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(&redis, &all[..60]);
    halves();

    assert_eq!(first.terminate().status.code(), Some(0));
    setting.produce(&all[60..100]);
    let mut first = member(&setting, "first");
    first.wait_ready(&setting.metrics);
    halves();
    setting.eventually_exact(&redis, &all[..100]);

    // Whoever has its name takes its place: one of the two must end.
    let successor = setting.another_process();
    let mut takes_over = member(&successor, "first");
    let output = first.wait(PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("could not stay in the consumer group"), "{}", output.stderr);
    takes_over.wait_ready(&successor.metrics);
    setting.produce(&all[100..]);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();

    assert_eq!(takes_over.terminate().status.code(), Some(0));
    let output = second.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(!output.stderr.contains("partition given up"), "{}", output.stderr);
}

/// Workers of one process share its shards as processes share the topic.
#[test]
fn several_workers_give_the_same_features() {
    let redis = RedisServer::start();
    let setting = Setting::new("workers", 5, &redis).option("parallelism = 3");
    let all = payments(0..200, 5);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[..120]);
    setting.eventually_exact(&redis, &all[..120]);
    setting.produce(&all[120..]);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    assert_eq!(running.terminate().status.code(), Some(0));
}
