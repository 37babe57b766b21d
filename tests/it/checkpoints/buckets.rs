//! Checkpoints in an S3-compatible object store: as in a directory, and a store
//! that is away, hangs or refuses costs nothing but what is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{GOES_ON, LEAD_IN, PARTITIONS, READ_AGAIN, eventually_saved, number, objects, positions};
use crate::payments::{Setting, payments};
use crate::support::bucket::{BUCKET, BucketServer};
use crate::support::process::{Running, Windrow, sample};
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, shipped};

const PREFIX: &str = "windrow/tests";
const NOT_WRITTEN: &str = "no checkpoint was written, which is tried again";

struct World {
    redis: RedisServer,
    server: BucketServer,
    setting: Setting,
}

fn world(name: &str) -> World {
    let (redis, server) = (RedisServer::start(), BucketServer::start());
    let setting = Setting::new(name, PARTITIONS, &redis)
        .option(&format!("checkpoint_dir = 's3://{BUCKET}/{PREFIX}'"))
        .option("checkpoint_interval = \"200ms\"");
    World { redis, server, setting }
}

impl World {
    /// Where the objects lie.
    fn root(&self) -> PathBuf {
        self.server.files().join(PREFIX)
    }

    fn run(&self, setting: &Setting) -> Running {
        self.server.known_to(setting.windrow(&["run"])).spawn()
    }

    #[track_caller]
    fn eventually_saved(&self, each: i64) {
        eventually_saved(&self.root(), &self.setting, &BTreeMap::from([(0, each), (1, each)]));
    }
}

/// Ends within much less than the store may take.
#[track_caller]
fn terminate(running: Running) -> String {
    let begun = Instant::now();
    let output = running.terminate();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}\n{}", begun.elapsed(), output.stderr);
    output.stderr
}

#[test]
fn after_kill_9_the_checkpoint_in_a_bucket_is_used() {
    let world = world("bucket");
    let World { redis, setting, .. } = &world;
    let all = payments(0..140, PARTITIONS);
    let mut killed = world.run(setting);
    killed.wait_ready(&setting.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(redis, &all[..60]);
    world.eventually_saved(30);
    setting.eventually_committed();
    killed.kill();
    setting.produce(&all[60..100]);

    let again = setting.another_process();
    let mut running = world.run(&again);
    let line = running.wait_for_line(GOES_ON);
    assert_eq!((number(&line, "offset"), number(&line, "events_again")), (30, 0), "{line}");
    running.wait_ready(&again.metrics);
    setting.eventually_exact(redis, &all[..100]);
    setting.produce(&all[100..]);
    setting.eventually_exact(redis, &all);
    let lead_in = sample(&running.metrics(&again.metrics), LEAD_IN).unwrap_or(0.0);
    assert!(lead_in < 1.0, "{lead_in} events were read again");
    terminate(running);
    world.eventually_saved(70);
}

#[test]
fn old_objects_of_a_bucket_are_removed() {
    let world = world("bucket-old");
    let World { redis, setting, .. } = &world;
    let all = payments(0..400, PARTITIONS);
    let mut running = world.run(setting);
    running.wait_ready(&setting.metrics);
    let mut seen = BTreeSet::new();
    let mut last = BTreeSet::new();
    // A change after a whole one is what lets go of those before it.
    for rounds in 1..=20 {
        let until = 20 * rounds;
        setting.produce(&all[until - 20..until]);
        setting.eventually_exact(redis, &all[..until]);
        world.eventually_saved(i64::try_from(until / 2).expect("a small number"));
        last = objects(&world.root(), setting, 0);
        seen.extend(last.iter().cloned());
        if seen.len() > last.len() + 1 {
            break;
        }
    }
    assert!(seen.len() > last.len(), "none was removed: {last:?}");
    terminate(running);
}

#[test]
fn a_bucket_that_is_away_delays_nothing() {
    let mut world = world("bucket-away");
    let all = payments(0..120, PARTITIONS);
    let mut running = world.run(&world.setting);
    running.wait_ready(&world.setting.metrics);
    world.setting.produce(&all[..40]);
    world.eventually_saved(20);
    world.server.stop();
    world.setting.produce(&all[40..60]);
    world.setting.eventually_exact(&world.redis, &all[..60]);
    running.wait_for_line(NOT_WRITTEN);
    world.setting.eventually_committed();
    terminate(running);

    let again = world.setting.another_process();
    let mut running = world.run(&again);
    running.wait_ready(&again.metrics);
    let line = running.wait_for_line(READ_AGAIN);
    assert!(line.contains("the checkpoint store failed"), "{line}");
    running.wait_for_line("the checkpoint store was not asked again");
    world.setting.produce(&all[60..80]);
    world.setting.eventually_exact(&world.redis, &all[..80]);

    world.server.start_again();
    world.setting.produce(&all[80..]);
    world.setting.eventually_exact(&world.redis, &all);
    world.eventually_saved(60);
    running.wait_for_line("checkpoints are written again");
    terminate(running);
}

/// Connections are made, and nobody answers: that is waited for once at a start.
#[test]
fn a_bucket_that_hangs_is_not_waited_for() {
    let mut world = world("bucket-hangs");
    let all = payments(0..80, PARTITIONS);
    let mut running = world.run(&world.setting);
    running.wait_ready(&world.setting.metrics);
    world.setting.produce(&all[..40]);
    world.eventually_saved(20);
    world.setting.eventually_committed();
    running.kill();
    world.server.hang();

    let again = world.setting.another_process();
    let mut running = world.run(&again);
    running.wait_ready(&again.metrics);
    let line = running.wait_for_line(READ_AGAIN);
    assert!(line.contains("the checkpoint store did not answer within 15 s"), "{line}");
    world.setting.produce(&all[40..]);
    world.setting.eventually_exact(&world.redis, &all);
    terminate(running);
}

#[test]
fn wrong_credentials_are_said_once_and_not_shown() {
    const WRONG: &str = "hunter2-is-not-the-secret";
    let world = world("bucket-denied");
    let World { redis, server, setting } = &world;
    let all = payments(0..60, PARTITIONS);
    let mut running = server.known_with(setting.windrow(&["run"]), WRONG).spawn();
    running.wait_ready(&setting.metrics);
    for until in [20, 40, 60] {
        setting.produce(&all[until - 20..until]);
        setting.eventually_exact(redis, &all[..until]);
        running.wait_for_line(NOT_WRITTEN);
        setting.eventually_committed();
    }
    let said = terminate(running);
    let refused =
        "the checkpoint store refuses access, its credentials or rights are wrong: SignatureDoesNotMatch";
    assert_eq!(said.matches(refused).count(), 1, "{said}");
    assert!(!said.contains(WRONG), "{said}");
    assert_eq!(positions(&world.root(), setting), BTreeMap::new());
}

#[test]
fn check_knows_places_without_asking_them() {
    let check = |place: &str| {
        let sql = shipped("sql");
        Windrow::command(["check", "--sql-dir", &sql, "--checkpoint-dir", place]).run_to_end(PATIENCE)
    };
    for right in ["s3://bucket/windrow", "gs://bucket", "az://container/windrow", "file:///nowhere/yet"] {
        let output = check(right);
        assert_eq!(output.status.code(), Some(0), "{right}: {}", output.stderr);
    }
    for (wrong, said) in [
        ("s3a://bucket", "hint: did you mean `s3`?"),
        ("s3://host:9000/bucket", "no name of a bucket follows `s3://`"),
        ("s3://key:hunter2@bucket", "holds a user, a password or a query"),
    ] {
        let output = check(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", output.stderr);
        assert!(output.stderr.contains(said), "no `{said}` in\n{}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}
