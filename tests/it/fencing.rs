//! Writes are fenced: whoever was paused, or has old values, changes nothing
//! that is newer; and a Redis that lost its data is noticed by its fences.

use std::thread;
use std::time::Duration;

use windrow::frame::StreamId;
use windrow::sink::fence::Shard;
use windrow::sink::redis::{Guard, Mode, Options, RedisSink};
use windrow::sink::{Origin, Sink, Writes, resp};

use crate::payments::{NOON, Payment, Setting, assert_spending, payments};
use crate::support::cluster::Cluster;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually};

const FENCED: &str = r#"redis_writes_total{status="fenced"}"#;

/// More entries than one stretch has.
const MANY: usize = 2000;

const fn shard(partition: i32) -> Shard {
    Shard { stream: StreamId(0), partition: Some(partition) }
}

fn options(url: &str, guard: Guard) -> Options {
    Options { urls: url.split(',').map(str::to_owned).collect(), guard, ..Options::default() }
}

fn fences() -> Guard {
    Guard::Fences { group: "job".to_owned(), topics: vec!["payments".to_owned()] }
}

/// One process of the group.
fn member(redis: &RedisServer) -> RedisSink {
    RedisSink::connect(&options(&redis.url(), fences())).expect("the options are right")
}

/// A hash for each key, with this value, of a partition at a time.
fn writes(keys: impl IntoIterator<Item = String>, value: &str, partition: i32, as_of_ms: i64) -> Writes {
    let mut writes = Writes::default();
    writes.begin(Origin { shard: shard(partition), as_of_ms });
    append(&mut writes, keys, value, as_of_ms);
    writes
}

fn append(writes: &mut Writes, keys: impl IntoIterator<Item = String>, value: &str, as_of_ms: i64) {
    for key in keys {
        let start = writes.bytes.len();
        let (key, as_of) = (key.as_bytes(), as_of_ms.to_string());
        let set: [&[u8]; 6] = [b"HSET", key, b"value", value.as_bytes(), b"_as_of", as_of.as_bytes()];
        writes.bytes.extend(resp::command(&set));
        writes.bytes.extend(resp::command(&[b"HDEL", key, b"gone"]));
        writes.bytes.extend(resp::command(&[b"PEXPIRE", key, b"600000"]));
        let head = writes.bytes[start..].windows(key.len()).position(|part| part == key);
        let at = start + head.expect("the key is in its command");
        writes.end_entry(start, 3, (at, at + key.len()));
    }
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("features:card:{number}:spending"))
}

#[track_caller]
fn assert_all(redis: &RedisServer, count: usize, value: &str) {
    for name in names(count) {
        assert_eq!(redis.hgetall(&name)["value"], value, "{name}");
    }
}

#[test]
fn who_was_taken_over_from_writes_nothing() {
    let redis = RedisServer::start();
    let (mut first, mut second) = (member(&redis), member(&redis));
    first.take_over(&[shard(0), shard(1)], Duration::ZERO).unwrap();
    assert_eq!(first.write(&writes(names(10), "old", 0, 1)).unwrap().acknowledged, 10);
    second.take_over(&[shard(0)], Duration::ZERO).unwrap();
    assert_eq!(second.write(&writes(names(10), "new", 0, 2)).unwrap().acknowledged, 10);

    // Half of a publication is another's now; the other half is written.
    let mut both = writes(names(10), "zombie", 0, 1);
    both.begin(Origin { shard: shard(1), as_of_ms: 1 });
    append(&mut both, ["features:card:other:spending".to_owned()], "mine", 1);
    let written = first.write(&both).unwrap();
    assert_eq!((written.acknowledged, written.fenced, written.taken_over), (1, 10, vec![shard(0)]));
    assert!(!written.store_changed);
    assert_all(&redis, 10, "new");
    assert_eq!(redis.hgetall("features:card:other:spending")["value"], "mine");

    // It stays so, and a ping tells it as well.
    assert_eq!(first.ping().unwrap().taken_over, [shard(0)]);
    assert_eq!(first.write(&writes(names(10), "zombie", 0, 1)).unwrap().fenced, 10);
    // Until it is given the partition again.
    first.give_up(&[shard(0)]);
    assert!(first.ping().unwrap().taken_over.is_empty());
    first.take_over(&[shard(0)], Duration::ZERO).unwrap();
    assert_eq!(first.write(&writes(names(10), "newest", 0, 3)).unwrap().acknowledged, 10);
    assert_eq!(second.write(&writes(names(10), "zombie", 0, 2)).unwrap().fenced, 10);
    assert_all(&redis, 10, "newest");
}

/// Wherever the taking over falls, between a look and a transaction or between
/// two of them: what comes after it is not overwritten.
#[test]
fn a_shard_is_taken_over_in_the_middle_of_a_write() {
    let redis = RedisServer::start();
    for round in 0..10 {
        let (mut first, mut second) = (member(&redis), member(&redis));
        first.take_over(&[shard(0)], Duration::ZERO).unwrap();
        let (old, new) = (format!("old-{round}"), format!("new-{round}"));
        let paused = thread::spawn(move || {
            let old = writes(names(MANY), &old, 0, 1);
            (0..20).map(|_| first.write(&old).expect("Redis answers").fenced).sum::<u64>()
        });
        second.take_over(&[shard(0)], Duration::ZERO).unwrap();
        let written = second.write(&writes(names(MANY), &new, 0, 2)).unwrap();
        assert_eq!(written.acknowledged, MANY as u64);
        assert!(paused.join().unwrap() > 0, "round {round}: it was over before the other began");
        assert_all(&redis, MANY, &new);
    }
}

#[test]
fn a_store_that_lost_its_data_is_noticed_on_a_living_server() {
    let redis = RedisServer::start();
    let mut sink = member(&redis);
    sink.take_over(&[shard(0)], Duration::ZERO).unwrap();
    assert!(!sink.write(&writes(names(3), "1", 0, 1)).unwrap().store_changed);
    redis.flush();
    assert!(sink.ping().unwrap().store_changed);
    assert!(!sink.ping().unwrap().store_changed);
    redis.flush();
    let written = sink.write(&writes(names(3), "2", 0, 1)).unwrap();
    assert_eq!((written.acknowledged, written.store_changed), (3, true));
    assert_all(&redis, 3, "2");
}

/// It was given the shard before the other, and Redis did not answer it until now.
#[test]
fn who_takes_over_too_late_writes_nothing() {
    let redis = RedisServer::start();
    let (mut first, mut second) = (member(&redis), member(&redis));
    assert!(second.take_over(&[shard(0)], Duration::ZERO).unwrap().is_empty());
    assert_eq!(first.take_over(&[shard(0)], Duration::from_secs(60)).unwrap(), [shard(0)]);
    assert_eq!(first.write(&writes(names(3), "late", 0, 1)).unwrap().fenced, 3);
    assert_eq!(second.write(&writes(names(3), "new", 0, 2)).unwrap().acknowledged, 3);
    // After a loss, who comes later has it still.
    redis.flush();
    let mut third = member(&redis);
    third.take_over(&[shard(0)], Duration::ZERO).unwrap();
    assert_eq!(second.write(&writes(names(3), "old", 0, 2)).unwrap().fenced, 3);
    assert_eq!(third.write(&writes(names(3), "newest", 0, 3)).unwrap().acknowledged, 3);
    assert_all(&redis, 3, "newest");
}

#[test]
fn one_key_of_another_type_does_not_undo_its_transaction() {
    let redis = RedisServer::start();
    redis.query::<()>(redis::cmd("SET").arg("features:card:1:spending").arg("mine"));
    let mut sink = member(&redis);
    sink.take_over(&[shard(0)], Duration::ZERO).unwrap();
    let written = sink.write(&writes(names(3), "1", 0, 1)).unwrap();
    assert_eq!((written.acknowledged, written.refused, written.fenced), (2, 1, 0));
    assert_eq!(redis.hgetall("features:card:2:spending")["value"], "1");
}

#[test]
fn a_backfill_leaves_newer_hashes_alone() {
    let redis = RedisServer::start();
    let mut live = member(&redis);
    live.write(&writes(names(2), "live", 0, 100)).unwrap();
    let mut backfill = RedisSink::connect(&options(&redis.url(), Guard::AsOf)).unwrap();
    let written = backfill.write(&writes(names(3), "old", 0, 99)).unwrap();
    assert_eq!((written.acknowledged, written.fenced), (1, 2));
    assert_all(&redis, 2, "live");
    assert_eq!(redis.hgetall("features:card:2:spending")["value"], "old");
    assert_eq!(backfill.write(&writes(names(3), "same", 0, 100)).unwrap().acknowledged, 3);
    assert_all(&redis, 3, "same");
}

#[test]
fn a_cluster_has_the_same_fences() {
    let cluster = Cluster::start();
    let member = |guard| {
        let options = Options { mode: Mode::Cluster, ..options(&cluster.url(), guard) };
        RedisSink::connect(&options).expect("the options are right")
    };
    let (mut first, mut second) = (member(fences()), member(fences()));
    first.take_over(&[shard(0)], Duration::ZERO).unwrap();
    assert_eq!(first.write(&writes(names(100), "old", 0, 1)).unwrap().acknowledged, 100);
    second.take_over(&[shard(0)], Duration::ZERO).unwrap();
    assert_eq!(second.write(&writes(names(100), "new", 0, 2)).unwrap().acknowledged, 100);
    let written = first.write(&writes(names(100), "zombie", 0, 1)).unwrap();
    assert_eq!((written.acknowledged, written.fenced, written.store_changed), (0, 100, false));
    for hash in cluster.hashes("card", "spending").unwrap().values() {
        assert_eq!(hash["value"], "new");
    }

    // Each master's loss is noticed, that of the one with the fence itself too.
    for master in cluster.masters() {
        master.flush();
        assert!(second.ping().unwrap().store_changed);
        assert!(!second.write(&writes(names(100), "again", 0, 3)).unwrap().store_changed);
        assert_eq!(first.write(&writes(names(100), "zombie", 0, 1)).unwrap().fenced, 100);
    }
    assert_eq!(cluster.hashes("card", "spending").unwrap().len(), 100);

    let mut backfill = member(Guard::AsOf);
    assert_eq!(backfill.write(&writes(names(100), "backfill", 0, 2)).unwrap().fenced, 100);
}

/// Stopped for longer than its session, and then gone on, with a second process
/// in its place that wrote newer features.
#[test]
fn a_process_that_was_paused_overwrites_nothing() {
    let redis = RedisServer::start();
    let setting = Setting::new("paused", 2, &redis);
    let beside = setting.another_process();
    let all = payments(0..120, 2);
    let mut first = setting.windrow(&["run"]).spawn();
    first.wait_ready(&setting.metrics);
    setting.produce(&all[..40]);
    setting.eventually_exact(&redis, &all[..40]);
    setting.eventually_committed();

    first.signal("STOP");
    let mut second = beside.windrow(&["run"]).spawn();
    second.wait_ready(&beside.metrics);
    setting.produce(&all[40..80]);
    setting.eventually_exact(&redis, &all[..80]);

    first.signal("CONT");
    setting.produce(&all[80..]);
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    assert_eq!(second.terminate().status.code(), Some(0));
    assert_eq!(first.terminate().status.code(), Some(0));
    assert_spending(&redis, &all);
}

#[test]
fn a_process_whose_shard_was_taken_says_so_and_commits_nothing_of_it() {
    let redis = RedisServer::start();
    let setting = Setting::new("taken", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = payments(0..20, 1);
    setting.produce(&all[..10]);
    setting.eventually_exact(&redis, &all[..10]);
    setting.eventually_committed();
    let committed = setting.committed();

    let guard = Guard::Fences { group: setting.group.clone(), topics: vec![setting.topic.clone()] };
    let mut other = RedisSink::connect(&options(&redis.url(), guard)).unwrap();
    other.take_over(&[shard(0)], Duration::ZERO).unwrap();
    setting.produce(&all[10..]);
    setting.eventually_at_least(FENCED, 1.0);
    running.wait_for_line("another process of the group has taken the partition over");
    assert_spending(&redis, &all[..10]);
    assert_eq!(setting.committed(), committed);
    assert_eq!(running.terminate().status.code(), Some(0));
    assert_eq!(setting.committed(), committed);
}

/// FLUSHALL while nothing is written, and in the middle of writing.
#[test]
fn an_emptied_redis_that_lives_on_is_filled_again() {
    let redis = RedisServer::start();
    let setting = Setting::new("flushed", 2, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = payments(0..160, 2);
    setting.produce(&all[..40]);
    setting.eventually_exact(&redis, &all[..40]);
    setting.eventually_committed();
    redis.flush();
    setting.eventually_exact(&redis, &all[..40]);

    for end in (60..=160).step_by(20) {
        setting.produce(&all[end - 20..end]);
        redis.flush();
    }
    setting.eventually_exact(&redis, &all);
    setting.eventually_committed();
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn a_replay_of_the_past_leaves_the_present_alone() {
    let redis = RedisServer::start();
    let setting = Setting::new("past", 1, &redis);
    let all = payments(0..60, 1);
    setting.produce(&all);
    let run = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);
    assert_spending(&redis, &all);
    let past = ["replay", "--from", "beginning", "--to", "0:30"];
    let replay = setting.windrow(&past).run_to_end(PATIENCE);
    assert_eq!(replay.status.code(), Some(0), "{}", replay.stderr);
    assert_spending(&redis, &all);
}

#[test]
fn without_fencing_there_are_no_fences() {
    let redis = RedisServer::start();
    let setting = Setting::new("unfenced", 1, &redis);
    let payment = Payment::new("card-a", 1, None, NOON);
    setting.produce(std::slice::from_ref(&payment));
    for (switch, fences) in [("off", 0), ("on", 1)] {
        let arguments = ["run", "--until-caught-up", "--fencing", switch];
        let run = setting.windrow(&arguments).run_to_end(PATIENCE);
        assert_eq!(run.status.code(), Some(0), "{}", run.stderr);
        eventually(PATIENCE, "the fences are as expected", || {
            let found: Vec<String> = redis.try_query(redis::cmd("KEYS").arg("windrow:*"))?;
            if found.len() == fences { Ok(()) } else { Err(format!("{found:?}")) }
        });
        assert_spending(&redis, std::slice::from_ref(&payment));
    }
}
