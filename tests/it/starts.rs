//! Where a run begins, and how one that is to catch up ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::input::job::Job;
use crate::payments::{NOON, STEP, Setting, assert_spending, payments};
use crate::support::PATIENCE;
use crate::support::redis::RedisServer;

/// Runs until it has caught up; from `start_from`, where that is said.
#[track_caller]
fn catch_up(setting: &Setting, start_from: Option<&str>) {
    let mut arguments = vec!["run", "--until-caught-up"];
    arguments.extend(start_from.iter().flat_map(|start| ["--start-from", *start]));
    let output = setting.windrow(&arguments).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

#[test]
fn an_empty_topic_is_caught_up_with() {
    let redis = RedisServer::start();
    let setting = Setting::new("empty", 3, &redis);
    catch_up(&setting, None);
    assert_eq!(redis.keys("*"), Vec::<String>::new());
}

#[test]
fn a_topic_with_an_empty_partition_is_caught_up_with() {
    let redis = RedisServer::start();
    let setting = Setting::new("half-empty", 3, &redis);
    let all = payments(0..20, 2);
    setting.produce(&all);
    catch_up(&setting, None);
    assert_spending(&redis, &all);
}

#[test]
fn earliest_begins_at_the_oldest_event_whatever_is_committed() {
    let redis = RedisServer::start();
    let setting = Setting::new("earliest", 2, &redis);
    let all = payments(0..80, 2);
    setting.produce(&all[..40]);
    catch_up(&setting, Some("earliest"));
    assert_spending(&redis, &all[..40]);
    setting.produce(&all[40..]);
    catch_up(&setting, Some("earliest"));
    assert_spending(&redis, &all);
}

#[test]
fn latest_begins_after_the_newest_event() {
    let redis = RedisServer::start();
    let setting = Setting::new("latest", 1, &redis);
    let all = payments(0..30, 1);
    setting.produce(&all[..20]);
    catch_up(&setting, Some("latest"));
    assert_eq!(redis.keys("*"), Vec::<String>::new());

    let setting = setting.another_group();
    let mut running = setting.windrow(&["run", "--start-from", "latest"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[20..]);
    setting.eventually_exact(&redis, &all[20..]);
    assert_eq!(running.terminate().status.code(), Some(0));
}

/// The default. The windows are rebuilt from before the committed offset.
#[test]
fn committed_goes_on_where_the_group_left_off() {
    let redis = RedisServer::start();
    let setting = Setting::new("committed", 1, &redis);
    let all = payments(0..60, 1);
    setting.produce(&all[..40]);
    // Nothing is committed yet: from the oldest event.
    catch_up(&setting, None);
    assert_spending(&redis, &all[..40]);
    assert_eq!(setting.committed(), BTreeMap::from([(0, 40)]));

    // Redis lost everything meanwhile: whoever pays again is written whole.
    redis.flush();
    setting.produce(&all[40..]);
    catch_up(&setting, Some("committed"));
    assert_eq!(setting.committed(), BTreeMap::from([(0, 60)]));
    assert_spending(&redis, &all);
}

/// Kafka's timestamps count; here they are those of the events.
#[test]
fn a_time_begins_at_the_first_event_that_is_not_before_it() {
    let redis = RedisServer::start();
    let setting = Setting::new("time", 1, &redis);
    let all = payments(0..30, 1);
    setting.produce(&all);
    let tenth = (NOON + 10 * STEP).to_string();
    let after_tenth = (NOON + 10 * STEP + 1).to_string();
    for (start, first) in [
        ("2025-03-01T12:03:20Z", 10),
        ("2025-03-01T13:03:20+01:00", 10),
        (tenth.as_str(), 10),
        (after_tenth.as_str(), 11),
        ("2025-02-28T00:00:00Z", 0),
    ] {
        redis.flush();
        catch_up(&setting.another_group(), Some(start));
        assert_spending(&redis, &all[first..]);
    }
    // After everything: as the latest.
    redis.flush();
    catch_up(&setting.another_group(), Some("2025-03-02T00:00:00Z"));
    assert_eq!(redis.keys("*"), Vec::<String>::new());
}

#[test]
fn anything_else_is_refused_with_what_there_is() {
    let redis = RedisServer::start();
    let setting = Setting::new("nowhere", 1, &redis);
    let output = setting.windrow(&["run", "--start-from", "yesterday"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    for part in ["`yesterday`", "earliest, latest, committed", "--> --start-from"] {
        assert!(output.stderr.contains(part), "no `{part}` in\n{}", output.stderr);
    }
}

/// What comes while it catches up need not be waited for, and a run that has
/// caught up can be repeated.
#[test]
fn catching_up_twice_ends_twice() {
    let redis = RedisServer::start();
    let setting = Setting::new("twice", 1, &redis);
    let all = payments(0..10, 1);
    setting.produce(&all);
    catch_up(&setting, None);
    catch_up(&setting, None);
    assert_spending(&redis, &all);
}

/// Either is an end in order: what was read is published and committed.
#[test]
fn sigterm_and_ctrl_c_end_a_run_in_order() {
    let redis = RedisServer::start();
    let setting = Setting::new("signals", 1, &redis);
    for signal in ["TERM", "INT"] {
        let mut running = setting.windrow(&["run"]).spawn();
        running.wait_ready(&setting.metrics);
        running.signal(signal);
        let output = running.wait(PATIENCE);
        assert_eq!(output.status.code(), Some(0), "{signal}: {}", output.stderr);
    }
}

/// What Redis could not take is read again by the next start.
#[test]
fn sigterm_while_redis_is_away_ends_in_time_and_loses_nothing() {
    let mut redis = RedisServer::start_persistent();
    let setting = Setting::new("ends-without", 1, &redis).option(r#"shutdown_timeout = "5s""#);
    let all = payments(0..60, 1);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&all[..30]);
    setting.eventually_exact(&redis, &all[..30]);
    setting.eventually_committed();

    redis.stop();
    setting.produce(&all[30..]);
    running.wait_for_line("reading waits meanwhile");
    running.signal("TERM");
    let output = running.wait(Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(output.stderr.contains("it is read again at the next start"), "{}", output.stderr);
    assert_eq!(setting.committed(), BTreeMap::from([(0, 30)]));

    redis.start_again();
    catch_up(&setting, None);
    assert_spending(&redis, &all);
}

/// The first waits for Redis, the second for nothing.
#[test]
fn a_second_signal_ends_a_run_at_once() {
    let mut redis = RedisServer::start_persistent();
    let setting = Setting::new("at-once", 1, &redis).option(r#"shutdown_timeout = "10m""#);
    let all = payments(0..40, 1);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    redis.stop();
    setting.produce(&all);
    running.wait_for_line("reading waits meanwhile");
    for signal in ["TERM", "INT"] {
        running.signal(signal);
    }
    let output = running.wait(PATIENCE);
    assert_eq!(output.status.code(), Some(130), "{}", output.stderr);

    redis.start_again();
    catch_up(&setting, None);
    assert_spending(&redis, &all);
}

/// Status 0 would say that everything is in Redis.
#[test]
fn a_run_that_is_interrupted_before_it_has_caught_up_has_failed() {
    let mut redis = RedisServer::start_persistent();
    let setting = Setting::new("interrupted", 1, &redis).option(r#"shutdown_timeout = "5s""#);
    setting.produce(&payments(0..40, 1));
    redis.stop();
    let mut running = setting.windrow(&["run", "--until-caught-up"]).spawn();
    running.wait_for_line("reading waits meanwhile");
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("interrupted before it had caught up"), "{}", output.stderr);
}

#[test]
fn a_start_tells_that_windows_are_rebuilt() {
    let redis = RedisServer::start();
    let setting = Setting::new("told", 1, &redis);
    let all = payments(0..50, 1);
    setting.produce(&all[..40]);
    catch_up(&setting, None);
    setting.produce(&all[40..]);
    let mut running = setting.windrow(&["run"]).spawn();
    setting.eventually_exact(&redis, &all);
    running.wait_for_line("windows are rebuilt");
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn without_any_topic_there_is_nothing_to_catch_up_with() {
    let redis = RedisServer::start();
    let setting = Setting::new("topicless", 1, &redis);
    let absent = ["run", "--until-caught-up", "--stream", "payments.topic=not-there"];
    let output = setting.windrow(&absent).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("none of the topics is there: not-there"), "{}", output.stderr);
}

/// A join over topics with 2 and 3 partitions runs, and says that it cannot be right.
#[test]
fn streams_that_meet_need_as_many_partitions_each() {
    const STREAM: &str = "key = \"card_id\"\nevent_time = \"timestamp\"\nschema = \"transactions.v2.avsc\"\n";
    let mut job = Job::new();
    let (one, two) = (job.stream("one", 2, STREAM), job.stream("two", 3, STREAM));
    job.view(
        "pairs",
        "-- entity: card\n-- key: card_id\nSELECT one.card_id, count(*) AS pairs\n\
         FROM one JOIN two ON one.card_id = two.card_id\n\
         WHERE one.event_time > now() - INTERVAL '1 hour' AND two.event_time > now() - INTERVAL '1 hour'\n\
         GROUP BY one.card_id\n",
    );
    let output = job.run(&["--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let warning = format!("different numbers of partitions ({one} has 2, {two} has 3)");
    assert!(output.stderr.contains(&warning), "{}", output.stderr);
}
