//! What publishing costs: hashes of the shipped view written through the sink
//! into a real redis-server and a real cluster. Every sink writes the same
//! hashes, in turn, so that whatever else the machine does meets all of them.

use std::time::{Duration, Instant};

use windrow::frame::StreamId;
use windrow::sink::encode::Known;
use windrow::sink::fence::Shard;
use windrow::sink::redis::{Guard, Mode, Options, RedisSink};
use windrow::sink::{Origin, Sink, Writes};

use crate::servers::cluster::Cluster;
use crate::servers::redis::RedisServer;
use crate::shipped::Shipped;
use crate::singles::features;
use crate::table::{grouped, heading, millis, number, per_second, rate, row};

/// Hashes of a write; a batch of 25 000 events touches some more.
const HASHES: usize = 5_000;

/// Shards that they belong to: each has a fence.
const SHARDS: usize = 4;

/// Writes of each sink.
const ROUNDS: usize = 40;

/// Measures one server, then a cluster.
pub fn store() {
    let writes = writes();
    heading(&format!(
        "Publishing through the sink: writes of {} hashes, {} bytes each, of {SHARDS} shards",
        grouped(number(HASHES)),
        writes.bytes.len() / HASHES
    ));
    let server = RedisServer::start();
    compare("one server", &[server.url()], &Mode::Single, &writes);
    drop(server);
    let cluster = Cluster::start();
    let urls: Vec<String> = cluster.masters().iter().map(RedisServer::url).collect();
    compare("cluster of three", &urls, &Mode::Cluster, &writes);
}

/// Hashes of the shipped view, packed as a turn packs them.
fn writes() -> Writes {
    let shipped = Shipped::new();
    let (features, now_ms) = features(&shipped, HASHES);
    let encoder = shipped.encoder();
    let mut bound = encoder.bind(&features).expect("the rows are the view's");
    let mut writes = Writes::default();
    for (number, shard) in shards().into_iter().enumerate() {
        writes.begin(Origin { shard, as_of_ms: now_ms });
        for index in HASHES * number / SHARDS..HASHES * (number + 1) / SHARDS {
            bound.set(index, Known::Absent, now_ms, now_ms, &mut writes);
        }
    }
    assert_eq!(writes.entries.len(), HASHES, "every row has a key");
    writes
}

fn shards() -> Vec<Shard> {
    (0_i32..).take(SHARDS).map(|number| Shard { stream: StreamId(0), partition: Some(number) }).collect()
}

/// Compares sinks that write to the same store, each under another guard.
fn compare(store: &str, urls: &[String], mode: &Mode, writes: &Writes) {
    let fences = Guard::Fences { group: "bench".to_owned(), topics: vec!["txn.events".to_owned()] };
    let guards = [("fencing off", Guard::None), ("fencing on", fences), ("replay, by `_as_of`", Guard::AsOf)];
    let mut sinks = guards.map(|(name, guard)| {
        let options = Options { urls: urls.to_vec(), mode: mode.clone(), guard, ..Options::default() };
        let mut sink = RedisSink::connect(&options).expect("the options are right");
        sink.take_over(&shards(), Duration::ZERO).expect("the store answers");
        (name, sink, Vec::with_capacity(ROUNDS))
    });
    for round in 0..=ROUNDS {
        for (name, sink, times) in &mut sinks {
            let begun = Instant::now();
            let written = sink.write(writes).expect("the store answers");
            let taken = begun.elapsed();
            assert_eq!(written.acknowledged, HASHES as u64, "{store}, {name}: {written:?}");
            // The first makes the hashes, and is not measured.
            if round > 0 {
                times.push(taken);
            }
        }
    }
    let mut unguarded = None;
    for (name, _, mut times) in sinks {
        times.sort_unstable();
        let total: Duration = times.iter().sum();
        let hashes_per_second = per_second(HASHES * times.len(), total);
        let share = hashes_per_second / *unguarded.get_or_insert(hashes_per_second);
        let remark = format!(
            "{} writes, median {:.1} ms, worst {:.1} ms; {share:.2} of fencing off",
            times.len(),
            millis(times[times.len() / 2]),
            millis(times[times.len() - 1])
        );
        row(&format!("{store}, {name}"), &rate(hashes_per_second, "hashes"), &remark);
    }
}
