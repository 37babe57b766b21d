//! State kept across restarts: what is read again is what came since, and
//! whatever a checkpoint cannot be used for, the features are exact.

mod buckets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::payments::{SPENDING, Setting, assert_spending, payments};
use crate::support::process::sample;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually};

const LEAD_IN: &str = r#"stream_events_processed_total{status="lead_in",stream="payments"}"#;
const GOES_ON: &str = "the partition goes on from its checkpoint";
const READ_AGAIN: &str = "the windows are read again from the log";
const PARTITIONS: i32 = 2;

struct Checkpointed {
    redis: RedisServer,
    directory: TempDir,
    /// Without checkpoints.
    bare: Setting,
    setting: Setting,
}

fn checkpointed(name: &str) -> Checkpointed {
    let redis = RedisServer::start();
    let directory = TempDir::with_prefix("windrow-checkpoints-").expect("makes a temporary directory");
    let bare = Setting::new(name, PARTITIONS, &redis);
    let place = format!("checkpoint_dir = '{}'", directory.path().display());
    let setting = bare.clone().option(&place).option("checkpoint_interval = \"200ms\"");
    Checkpointed { redis, directory, bare, setting }
}

impl Checkpointed {
    fn place(&self, partition: i32) -> PathBuf {
        place(self.directory.path(), &self.setting, partition)
    }

    fn positions(&self) -> BTreeMap<i32, i64> {
        positions(self.directory.path(), &self.setting)
    }

    #[track_caller]
    fn eventually_saved(&self, expected: &BTreeMap<i32, i64>) {
        eventually_saved(self.directory.path(), &self.setting, expected);
    }
}

/// Where the objects of a partition are.
fn place(root: &Path, setting: &Setting, partition: i32) -> PathBuf {
    root.join(&setting.group).join(&setting.topic).join(partition.to_string())
}

/// The position of each partition's newest checkpoint.
fn positions(root: &Path, setting: &Setting) -> BTreeMap<i32, i64> {
    let position = |partition: i32| {
        let manifest = fs::read_to_string(place(root, setting, partition).join("manifest")).ok()?;
        let manifest: serde_json::Value = serde_json::from_str(manifest.lines().nth(1)?).ok()?;
        Some((partition, manifest["chain"].as_array()?.last()?["position"].as_i64()?))
    };
    (0..PARTITIONS).filter_map(position).collect()
}

/// The names of a partition's objects.
fn objects(root: &Path, setting: &Setting, partition: i32) -> BTreeSet<String> {
    let names = files(&place(root, setting, partition)).into_iter();
    let names = names.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()));
    names.filter(|name| name != "manifest").collect()
}

#[track_caller]
fn eventually_saved(root: &Path, setting: &Setting, expected: &BTreeMap<i32, i64>) {
    eventually(PATIENCE, "everything is in a checkpoint", || match positions(root, setting) {
        positions if positions == *expected => Ok(()),
        positions => Err(format!("{positions:?}")),
    });
}

/// Everything to the end, once; what it said.
#[track_caller]
fn once(setting: &Setting) -> String {
    let output = setting.windrow(&["run", "--until-caught-up"]).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    output.stderr
}

/// The number after a name in a line of the log.
fn number(line: &str, name: &str) -> i64 {
    let behind = line.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("no {name} in {line}"));
    let end = behind.find(|character: char| !character.is_ascii_digit()).unwrap_or(behind.len());
    behind[..end].parse().unwrap_or_else(|_| panic!("no number {name} in {line}"))
}

#[test]
fn after_kill_9_what_came_since_is_read_again() {
    let world = checkpointed("saved");
    let Checkpointed { redis, setting, .. } = &world;
    let all = payments(0..150, PARTITIONS);
    let mut killed = setting.windrow(&["run"]).spawn();
    killed.wait_ready(&setting.metrics);
    setting.produce(&all[..60]);
    setting.eventually_exact(redis, &all[..60]);
    world.eventually_saved(&BTreeMap::from([(0, 30), (1, 30)]));
    setting.eventually_committed();
    // In the middle of whatever it does with these.
    setting.produce(&all[60..100]);
    killed.kill();
    setting.produce(&all[100..140]);

    let again = setting.another_process();
    let mut running = again.windrow(&["run"]).spawn();
    let line = running.wait_for_line(GOES_ON);
    assert!(number(&line, "offset") >= 30, "{line}");
    assert!(number(&line, "events_again") <= 20, "{line}");
    running.wait_ready(&again.metrics);
    setting.eventually_exact(redis, &all[..140]);
    setting.produce(&all[140..]);
    setting.eventually_exact(redis, &all);
    let lead_in = sample(&running.metrics(&again.metrics), LEAD_IN).unwrap_or(0.0);
    assert!(lead_in <= 40.0, "{lead_in} events were read again");
    assert_eq!(running.terminate().status.code(), Some(0));
    world.eventually_saved(&BTreeMap::from([(0, 75), (1, 75)]));
}

/// The end of a run is a checkpoint, and so the next reads nothing again. A view
/// that is written otherwise and says the same may use it.
#[test]
fn a_restart_reads_nothing_again() {
    let world = checkpointed("again");
    let all = payments(0..80, PARTITIONS);
    world.setting.produce(&all[..60]);
    once(&world.setting);
    world.setting.produce(&all[60..]);
    let renamed = SPENDING.replace("'10 minutes'", "'600 seconds'");
    let said = once(&world.setting.clone().view("spending", &renamed));
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(GOES_ON)).collect();
    assert_eq!(lines.len(), 2, "{said}");
    for line in lines {
        assert_eq!((number(line, "offset"), number(line, "events_again")), (30, 0));
    }
    assert_spending(&world.redis, &all);
    assert_eq!(world.positions(), BTreeMap::from([(0, 40), (1, 40)]));
}

fn files(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).expect("there is a checkpoint");
    entries.map(|entry| entry.expect("it can be listed").path()).collect()
}

/// Partition 0 has a checkpoint to which something happened; the features are exact.
#[track_caller]
fn check_refused(name: &str, happens: impl Fn(&Path), changed: impl Fn(Setting) -> Setting, said: &str) {
    let world = checkpointed(name);
    let all = payments(0..80, PARTITIONS);
    world.setting.produce(&all[..60]);
    once(&world.setting);
    happens(&world.place(0));
    world.setting.produce(&all[60..]);
    let setting = changed(world.setting.clone());
    let output = once(&setting);
    let line = output.lines().find(|line| line.contains(READ_AGAIN) && line.contains("partition=0"));
    assert!(line.is_some_and(|line| line.contains(said)), "no `{said}` in\n{output}");
    assert_spending(&world.redis, &all);
    // What was refused is replaced.
    let output = once(&setting);
    assert_eq!(output.lines().filter(|line| line.contains(GOES_ON)).count(), 2, "{output}");
    assert_spending(&world.redis, &all);
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let cut = |place: &Path| {
        for file in files(place).iter().filter(|file| !file.ends_with("manifest")) {
            let bytes = fs::read(file).expect("it can be read");
            fs::write(file, &bytes[..bytes.len() - 1]).expect("it can be written");
        }
    };
    check_refused("damaged", cut, |setting| setting, "is not what was written");
    let torn = |place: &Path| {
        let manifest = place.join("manifest");
        let bytes = fs::read(&manifest).expect("it can be read");
        fs::write(&manifest, &bytes[..bytes.len() / 2]).expect("it can be written");
    };
    check_refused("torn", torn, |setting| setting, "its manifest");
    let gone = |place: &Path| {
        for file in files(place).iter().filter(|file| !file.ends_with("manifest")) {
            fs::remove_file(file).expect("it can be removed");
        }
    };
    check_refused("gone", gone, |setting| setting, "is missing");
}

#[test]
fn a_checkpoint_of_another_view_is_refused() {
    let longer = SPENDING.replace("'24 hours'", "'25 hours'");
    let changed = |setting: Setting| setting.view("spending", &longer);
    check_refused("changed", |_| {}, changed, "`spending` keeps something else now");
}

/// The new log grows as long as the old one was: what was saved of that is not for it.
#[test]
fn a_topic_made_anew_does_not_take_the_checkpoint_of_the_old_one() {
    let world = checkpointed("disowned");
    let Checkpointed { redis, .. } = &world;
    let setting = &world.setting;
    let old = payments(0..60, PARTITIONS);
    setting.produce(&old);
    once(setting);
    assert_eq!(world.positions(), BTreeMap::from([(0, 30), (1, 30)]));

    let client = setting.client();
    client.delete_topic(&setting.topic);
    client.create_topic(&setting.topic, PARTITIONS);
    let new = payments(100..200, PARTITIONS);
    setting.produce(&new[..20]);
    // No checkpoint of the new log takes the old one's place before that is looked at.
    let seldom = world.bare.another_process();
    let seldom = seldom.option(&format!("checkpoint_dir = '{}'", world.directory.path().display()));
    let seldom = seldom.option("checkpoint_interval = \"1h\"");
    let mut killed = seldom.windrow(&["run"]).spawn();
    killed.wait_for_line("the checkpoint of the log that was before is not used any more");
    eventually(PATIENCE, "both checkpoints are disowned", || match world.positions() {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    });
    setting.produce(&new[20..]);
    setting.eventually_exact(redis, &new);
    setting.eventually_committed();
    killed.kill();

    let said = once(setting);
    assert!(!said.contains(GOES_ON), "{said}");
    assert_spending(redis, &new);
}
