//! Redis Cluster and Sentinel: the same features as on one server, also while
//! slots or masters change under a run.

use std::ops::Range;

use crate::oracle::{Rows, SECOND, compare_hashes};
use crate::payments::{NOON, Payment, STEP, Setting, spending};
use crate::support::cluster::Cluster;
use crate::support::redis::{MASTER, RedisServer};
use crate::support::sentinel::Watched;
use crate::support::{PATIENCE, eventually};

/// How many cards pay: enough for every master of a cluster to have some, and
/// for some to lie in the lowest [`MOVED_SLOTS`].
const CARDS: i32 = 60;

/// Moved in the middle of a run; that takes about a second.
const MOVED_SLOTS: u16 = 1000;

/// Payments by each card in turn; from one turn to the next the note comes and goes.
fn rounds(numbers: Range<i32>) -> Vec<Payment> {
    numbers
        .map(|number| {
            let note = if number / CARDS % 2 == 0 { Some("rent") } else { None };
            let (card, time_ms) = (format!("card-{}", number % CARDS), NOON + i64::from(number) * SECOND);
            Payment::new(&card, i64::from(number) + 1, note, time_ms)
        })
        .collect()
}

/// A new topic, and the cluster to write to.
pub fn on_cluster(name: &str, cluster: &Cluster) -> Setting {
    Setting::new(name, 1, &cluster.masters()[0]).redis_url(cluster.url()).redis_option(r#"mode = "cluster""#)
}

/// Whether the cluster holds exactly these hashes.
fn compare(cluster: &Cluster, expected: &Rows) -> Result<(), String> {
    compare_hashes(&cluster.hashes("card", "spending")?, expected)
}

#[track_caller]
pub fn eventually_exact(cluster: &Cluster, payments: &[Payment]) {
    let expected = spending(payments);
    eventually(PATIENCE, "the cluster's hashes are exact", || compare(cluster, &expected));
}

#[test]
fn a_cluster_has_every_feature_and_no_null() {
    let cluster = Cluster::start();
    let setting = on_cluster("cluster", &cluster);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    // The second round takes every card's note away, the third brings it back.
    for round in 1..=3 {
        setting.produce(&rounds((round - 1) * CARDS..round * CARDS));
        eventually_exact(&cluster, &rounds(0..round * CARDS));
    }
    for master in cluster.masters() {
        assert_ne!(master.keys("*"), Vec::<String>::new(), "each master has a share");
    }
    setting.eventually_committed();
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// Redis itself dumps what was set by `RESTORE` as what was set by `HSET`.
#[test]
fn a_hash_set_by_its_dump_is_what_its_fields_make() {
    let redis = RedisServer::start();
    let setting = Setting::new("dumped", 1, &redis).redis_option(r#"set_by = "restore""#);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    // The second round takes every card's note away, the third brings it back.
    for round in 1..=3 {
        setting.produce(&rounds((round - 1) * CARDS..round * CARDS));
        setting.eventually_exact(&redis, &rounds(0..round * CARDS));
    }
    setting.eventually_committed();
    assert_eq!(running.terminate().status.code(), Some(0));
    let dump = |key: &str| redis.query::<Vec<u8>>(redis::cmd("DUMP").arg(key));
    let keys = redis.keys("features:*");
    assert_eq!(keys.len(), usize::try_from(CARDS).unwrap());
    for key in keys {
        assert!(redis.ttl_ms(&key).is_some_and(|ttl| ttl > 0), "{key}");
        let all: Vec<Vec<u8>> = redis.query(redis::cmd("HGETALL").arg(&key));
        let mut set = redis::cmd("HSET");
        set.arg("again").arg(all);
        redis.query::<()>(redis::cmd("DEL").arg("again"));
        redis.query::<()>(&set);
        assert_eq!(dump(&key), dump("again"), "{key}");
    }
}

#[test]
fn a_cluster_takes_dumps_as_well() {
    let cluster = Cluster::start();
    let setting = on_cluster("dumped-cluster", &cluster).redis_option(r#"set_by = "restore""#);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    for round in 1..=2 {
        setting.produce(&rounds((round - 1) * CARDS..round * CARDS));
        eventually_exact(&cluster, &rounds(0..round * CARDS));
    }
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn slots_move_in_the_middle_of_a_run() {
    let cluster = Cluster::start();
    let setting = on_cluster("resharded", &cluster);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let mut end = CARDS;
    setting.produce(&rounds(0..end));
    eventually_exact(&cluster, &rounds(0..end));
    let before = cluster.masters()[0].keys("*").len();

    let mut reshard = cluster.reshard(0, 1, MOVED_SLOTS);
    let status = eventually(PATIENCE, "the slots have moved", || {
        setting.produce(&rounds(end..end + CARDS));
        end += CARDS;
        // Redis has acknowledged them, at whichever master.
        setting.eventually_committed();
        reshard.try_wait().ok_or_else(|| reshard.stdout())
    });
    assert!(status.success(), "redis-cli --cluster reshard: {status}\n{}", reshard.stdout());
    let after = cluster.masters()[0].keys("*").len();
    assert!(after < before, "{before} hashes were at the first master, {after} are");
    eventually_exact(&cluster, &rounds(0..end));

    setting.produce(&rounds(end..end + CARDS));
    eventually_exact(&cluster, &rounds(0..end + CARDS));
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// One master's FLUSHALL: the others' hashes stay, and its own come back.
#[test]
fn a_master_that_lost_its_data_is_filled_again() {
    let cluster = Cluster::start();
    let setting = on_cluster("flushed-master", &cluster);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&rounds(0..CARDS));
    for master in cluster.masters() {
        eventually_exact(&cluster, &rounds(0..CARDS));
        master.flush();
    }
    eventually_exact(&cluster, &rounds(0..CARDS));
    setting.produce(&rounds(CARDS..2 * CARDS));
    eventually_exact(&cluster, &rounds(0..2 * CARDS));
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// The old master answers ASK then, in the transaction that takes a NULL's field away too.
#[test]
fn a_hash_is_written_while_its_slot_is_on_its_way() {
    let cluster = Cluster::start();
    let setting = on_cluster("on-its-way", &cluster);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let notes = [Some("rent"), None, Some("bread")];
    let all: Vec<Payment> = (0..)
        .zip(notes)
        .map(|(number, note)| Payment::new("card-a", number, note, NOON + number * STEP))
        .collect();
    setting.produce(&all[..1]);
    eventually_exact(&cluster, &all[..1]);

    let on_its_way = cluster.begin_move("features:card:card-a:spending");
    setting.produce(&all[1..2]);
    setting.eventually_committed();
    cluster.end_move(on_its_way);
    // The first reply of the old master after that is MOVED.
    eventually_exact(&cluster, &all[..2]);
    setting.produce(&all[2..]);
    eventually_exact(&cluster, &all);
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}

/// A replica lacks what its master acknowledged last. Here it lacks everything,
/// and the run has it all written again, without a new event.
#[test]
fn a_replica_takes_the_masters_place() {
    let mut watched = Watched::start();
    let setting = Setting::new("sentinel", 1, &watched.master)
        .redis_url(watched.url())
        .redis_option(r#"mode = "sentinel""#)
        .redis_option(&format!("sentinel_master = \"{MASTER}\""));
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let all = rounds(0..2 * CARDS);
    let (first, second) = (&all[..70], &all[70..]);
    setting.produce(first);
    setting.eventually_exact(&watched.master, first);
    setting.eventually_exact(&watched.replica, first);
    setting.eventually_committed();
    watched.replica.flush();

    watched.fail_over();
    setting.eventually_exact(&watched.replica, first);
    setting.produce(second);
    setting.eventually_exact(&watched.replica, &all);
    setting.eventually_committed();
    setting.eventually_readyz(200);
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
}
