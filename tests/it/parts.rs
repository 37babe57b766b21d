//! Fields that did not change are not written, and a hash that was lost in the
//! meantime is whole again all the same.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use windrow::frame::StreamId;
use windrow::sink::encode::{self, Encoder, KeyTemplate, Known};
use windrow::sink::fence::Shard;
use windrow::sink::redis::{Guard, Mode, Options, RedisSink};
use windrow::sink::{Origin, Sink, Writes};

use crate::oracle::SECOND;
use crate::payments::{NOON, Payment, Setting, assert_spending};
use crate::stores::{eventually_exact, on_cluster};
use crate::support::cluster::Cluster;
use crate::support::redis::RedisServer;

const CARDS: i32 = 30;

/// Payments by each card in turn, always of the same amount for the same thing:
/// of a hash some fields change and some do not.
fn rounds(rounds: Range<i32>) -> Vec<Payment> {
    (rounds.start * CARDS..rounds.end * CARDS)
        .map(|number| {
            let time_ms = NOON + i64::from(number) * SECOND;
            Payment::new(&format!("card-{}", number % CARDS), 7, Some("rent"), time_ms)
        })
        .collect()
}

#[test]
fn fields_that_did_not_change_are_left_alone() {
    let redis = RedisServer::start();
    let setting = Setting::new("parts", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&rounds(0..1));
    setting.eventually_exact(&redis, &rounds(0..1));

    // What stands there by hand shows what is written: one hash keeps it, of another all is gone.
    redis.query::<()>(redis::cmd("HSET").arg("features:card:card-1:spending").arg(&["last_note", "by hand"]));
    redis.query::<()>(redis::cmd("DEL").arg("features:card:card-2:spending"));
    setting.produce(&rounds(1..2));
    setting.eventually_committed();
    let hash = redis.hgetall("features:card:card-1:spending");
    assert_eq!((hash["payments_24h"].as_str(), hash["last_note"].as_str()), ("2", "by hand"));
    redis.query::<()>(redis::cmd("HSET").arg("features:card:card-1:spending").arg(&["last_note", "rent"]));
    // The commit comes after the acknowledgement, and that after the whole row.
    assert_spending(&redis, &rounds(0..2));
    assert_eq!(running.terminate().status.code(), Some(0));
}

#[test]
fn a_cluster_makes_lost_hashes_whole_as_well() {
    let cluster = Cluster::start();
    let setting = on_cluster("parts-cluster", &cluster);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&rounds(0..1));
    eventually_exact(&cluster, &rounds(0..1));
    for master in cluster.masters() {
        let keys = master.keys("features:*");
        assert!(keys.len() > 1, "each master has some");
        for key in &keys[1..] {
            master.query::<()>(redis::cmd("DEL").arg(key));
        }
    }
    setting.produce(&rounds(1..2));
    eventually_exact(&cluster, &rounds(0..2));
    assert_eq!(running.terminate().status.code(), Some(0));
}

fn row(n: i64) -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(StringArray::from(vec!["a"]))),
        ("n", Arc::new(Int64Array::from(vec![n]))),
        ("stays", Arc::new(Int64Array::from(vec![7]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Writes of one row, over another that is known to have been written.
fn writes(encoder: &Arc<Encoder>, n: i64, before: Option<i64>) -> Writes {
    let mut writes = Writes::default();
    let shard = Shard { stream: StreamId(0), partition: Some(0) };
    writes.begin(Origin { shard, as_of_ms: 1 });
    let before = before.map(row);
    let image = before.map(|before| encoder.bind(&before).unwrap().image(0).to_vec());
    let known = image.as_deref().map_or(Known::Nothing, Known::Row);
    encoder.bind(&row(n)).unwrap().set(0, known, 1, 2, &mut writes).unwrap();
    writes
}

/// The first attempt may have found the hash gone, set some of its fields, and
/// its answer was lost: nothing is new then for the second.
#[test]
fn what_is_repeated_is_written_whole() {
    let redis = RedisServer::start();
    let options = encode::Options {
        template: KeyTemplate::default(),
        entity: "card".to_owned(),
        view: "txn".to_owned(),
        key_columns: vec![0],
        ttl: Duration::from_secs(600),
        null_text: None,
        changed_only: true,
    };
    let encoder = Encoder::try_new(&options, &row(1).schema()).unwrap();
    let groups = [Guard::None, Guard::Fences { group: "job".to_owned(), topics: vec!["t".to_owned()] }];
    for guard in groups {
        let urls = vec![redis.url()];
        let options = Options { urls, mode: Mode::Single, guard, ..Options::default() };
        let mut sink = RedisSink::connect(&options).unwrap();
        let shard = Shard { stream: StreamId(0), partition: Some(0) };
        sink.take_over(&[shard], Duration::ZERO).unwrap();
        let key = "features:card:a:txn";
        let stays = || redis.hgetall(key).get("stays").cloned();
        sink.write(&writes(&encoder, 1, None)).unwrap();
        let changed = writes(&encoder, 2, Some(1));
        assert!(!String::from_utf8_lossy(&changed.bytes).contains("stays"));
        assert_eq!(sink.write(&changed).unwrap().acknowledged, 1);
        assert_eq!((redis.hgetall(key)["n"].as_str(), stays().as_deref()), ("2", Some("7")));

        redis.query::<()>(redis::cmd("DEL").arg(key));
        assert_eq!(sink.write(&writes(&encoder, 3, Some(2))).unwrap().acknowledged, 1);
        assert_eq!((redis.hgetall(key)["n"].as_str(), stays().as_deref()), ("3", Some("7")));

        redis.query::<()>(redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]));
        let changed = writes(&encoder, 4, Some(3));
        sink.write(&changed).expect_err("the connection is closed");
        redis.query::<()>(redis::cmd("HDEL").arg(&[key, "stays"]));
        redis.query::<()>(redis::cmd("HSET").arg(&[key, "n", "4"]));
        assert_eq!(sink.write(&changed).unwrap().acknowledged, 1);
        assert_eq!((redis.hgetall(key)["n"].as_str(), stays().as_deref()), ("4", Some("7")));
    }
}
