//! `windrow demo`, and the events that `windrow generate` makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::kafka::KafkaBroker;
use crate::support::ports::free_port;
use crate::support::process::{Output, Running, Windrow};
use crate::support::redis::RedisServer;
use crate::support::registry::Registry;
use crate::support::{PATIENCE, eventually, unique};
use crate::worked::{
    expected_clickstream, expected_device, expected_transaction, expected_transaction_pattern,
};

/// The demo's own time, and that of a slow machine.
const DEMO: Duration = Duration::from_secs(120);

/// A demo whose temporary files, and those of its children, lie here.
fn demo(temporary: &Path, arguments: &[&str]) -> Running {
    let arguments = std::iter::once("demo").chain(arguments.iter().copied());
    Windrow::command(arguments)
        .env("TMPDIR", temporary)
        .env("WINDROW_METRICS_ADDR", format!("127.0.0.1:{}", free_port()))
        .spawn()
}

/// The processes that inherited this `TMPDIR`, the demo's and its children's;
/// redis-server writes its title over its environment, and works in there.
fn processes(temporary: &Path) -> Vec<String> {
    let inherited = format!("TMPDIR={}", temporary.display());
    let inherits = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == inherited.as_bytes())
            || fs::read_link(process.join("cwd")).is_ok_and(|directory| directory.starts_with(temporary))
    };
    let listed = fs::read_dir("/proc").expect("there is a /proc").flatten().map(|entry| entry.path());
    let name = |process: &Path| fs::read_to_string(process.join("comm")).unwrap_or_default();
    listed.filter(|process| inherits(process)).map(|process| name(&process).trim().to_owned()).collect()
}

/// Waits until neither a process nor a file of the demo is left.
#[track_caller]
fn nothing_is_left(temporary: &Path) {
    eventually(PATIENCE, "no process is left", || {
        let left = processes(temporary);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let files: Vec<_> = fs::read_dir(temporary).expect("the directory is there").flatten().collect();
    assert!(files.is_empty(), "left behind: {files:?}");
}

/// The names of all shipped features.
fn features() -> BTreeSet<&'static str> {
    let views =
        [expected_transaction(), expected_transaction_pattern(), expected_clickstream(), expected_device()];
    views.iter().flat_map(|rows| rows.values()).flat_map(|row| row.keys().copied()).collect()
}

/// Whether a text has the name of a feature in it.
fn shows_features(text: &str) -> bool {
    let word = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    let known = features();
    text.split(word).any(|word| known.contains(word))
}

#[test]
fn the_demo_shows_features_and_leaves_nothing_behind() {
    let temporary = TempDir::with_prefix("windrow-demo-test-").expect("makes a temporary directory");
    let output = demo(temporary.path(), &["--for", "8s"]).wait(DEMO);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", output.stdout, output.stderr);
    assert!(shows_features(&output.stdout), "no features in\n{}\n{}", output.stdout, output.stderr);
    assert!(!output.stdout.contains('\u{1b}'), "there is no terminal:\n{}", output.stdout);
    nothing_is_left(temporary.path());
}

#[test]
fn ctrl_c_ends_the_demo_and_leaves_nothing_behind() {
    let temporary = TempDir::with_prefix("windrow-demo-test-").expect("makes a temporary directory");
    let mut running = demo(temporary.path(), &[]);
    eventually(DEMO, "its redis-server runs", || {
        let found = processes(temporary.path());
        if found.iter().any(|name| name.starts_with("redis")) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    running.signal("INT");
    let output = running.wait(DEMO);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", output.stdout, output.stderr);
    nothing_is_left(temporary.path());
}

#[track_caller]
fn generate(arguments: &str) -> Output {
    let arguments = std::iter::once("generate").chain(arguments.split_whitespace());
    let output = Windrow::command(arguments).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    output
}

#[test]
fn a_seed_gives_the_same_events() {
    let with_seed = |seed: u32| {
        let rest = "--output - --count 1000 --rate 0 --event-rate 100 --start-time 2025-03-01T12:00:00Z";
        generate(&format!("--seed {seed} {rest}")).stdout
    };
    let first = with_seed(7);
    assert_eq!(first, with_seed(7));
    assert_ne!(first, with_seed(8));
    assert_eq!(first.lines().count(), 1000);
    let mut streams = BTreeSet::new();
    for line in first.lines() {
        let event: Json = serde_json::from_str(line).expect("a line is JSON");
        let stream = event["stream"].as_str().expect("it names its stream").to_owned();
        let key = match stream.as_str() {
            "transactions" => "card_id",
            "clicks" => "user_id",
            _ => "device_id",
        };
        assert_eq!(event["key"], event["event"][key], "{line}");
        // From ten seconds before the start, for those that are disordered, to an hour after it.
        let time = event["event"]["timestamp"].as_i64().expect("it has a time");
        assert!((1_740_830_390_000..1_740_834_000_000).contains(&time), "{line}");
        streams.insert(stream);
    }
    assert_eq!(streams.into_iter().collect::<Vec<_>>(), ["clicks", "devices", "transactions"]);
}

#[test]
fn shares_that_are_none_are_refused() {
    let arguments = ["generate", "--output", "-", "--late-share", "2"];
    let output = Windrow::command(arguments).run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert!(output.stderr.contains("is not a share"), "{}", output.stderr);
    let misspelt = Windrow::command(["generate"]).file("windrow.toml", "brokerz = \"a:1\"\n");
    let misspelt = misspelt.run_to_end(PATIENCE);
    assert_eq!(misspelt.status.code(), Some(2), "{}", misspelt.stderr);
    assert!(misspelt.stderr.contains("did you mean `brokers`?"), "{}", misspelt.stderr);
}

/// Brokers, a topic, and a registry that wants TLS and a password.
#[test]
fn generate_reads_the_file_of_the_main_job() {
    let (broker, registry) = (KafkaBroker::shared(), Registry::start_with_tls("windrow", "5ecret"));
    let (topic, other) = (unique("payments"), unique("payments"));
    let configuration = format!(
        "brokers = \"{}\"\ngroup_id = \"of the main job\"\nparallelism = 0\n\
         [kafka]\n\"client.id\" = \"generator\"\n\
         [streams.transactions]\ntopic = \"{topic}\"\n\
         [schema_registry]\nurl = \"{}\"\nusername = \"windrow\"\npassword = \"5ecret\"\nca_cert = {:?}\n",
        broker.brokers(),
        registry.url(),
        registry.ca_file(),
    );
    let generate = |more: &[&str]| {
        let arguments = ["generate", "--streams", "transactions", "--count", "50", "--rate", "0"];
        let windrow = Windrow::command([&arguments[..], more].concat()).file("windrow.toml", &configuration);
        let output = windrow.run_to_end(PATIENCE);
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    };
    generate(&[]);
    let events = broker.client().consume_all(&topic);
    assert_eq!(events.len(), 50);
    // Confluent's framing, with the id that the registry gave.
    for event in &events {
        let value = event.value.as_deref().unwrap_or_default();
        assert!(value.starts_with(&[0, 0, 0, 0, 2]), "{event:?}");
    }
    assert_eq!(registry.requests()[&format!("/subjects/{topic}-value/versions")], 2);

    // A flag wins.
    generate(&["--stream", &format!("transactions.topic={other}")]);
    assert_eq!(broker.client().end_offsets(&other).values().sum::<i64>(), 50);
    assert_eq!(broker.client().end_offsets(&topic).values().sum::<i64>(), 50);
}

/// The number before a word in the generator's last line.
#[track_caller]
fn number(summary: &str, what: &str) -> usize {
    let line = summary.lines().find(|line| line.contains(" events in ")).unwrap_or_default();
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let place = words.iter().position(|word| *word == what);
    let number = place.and_then(|place| words.get(place.checked_sub(1)?)?.parse().ok());
    number.unwrap_or_else(|| panic!("no number of `{what}` in\n{summary}"))
}

/// The topics' names are given, so the broker is the test's own.
#[test]
fn generated_events_count_but_for_the_malformed() {
    const EVENTS: usize = 4000;
    let (broker, redis) = (KafkaBroker::start(), RedisServer::start());
    let brokers = broker.brokers();
    let output = generate(&format!(
        "--brokers {brokers} --streams transactions --count {EVENTS} --rate 0 --event-rate 1000 --seed 11 \
         --start-time 2025-03-01T12:00:00Z --entities 50 --malformed-share 0.02 --v1-share 0.3 --partitions 3"
    ));
    let malformed = number(&output.stderr, "malformed");
    assert!((20..200).contains(&malformed), "{}", output.stderr);
    assert_eq!(number(&output.stderr, "events"), EVENTS);
    assert_eq!(broker.client().end_offsets("txn.events").values().sum::<i64>(), 4000);

    let configuration = format!(
        "brokers = \"{brokers}\"\nmetrics_addr = \"127.0.0.1:{}\"\n[redis]\nurl = \"{}\"\n",
        free_port(),
        redis.url()
    );
    let run = Windrow::command(["run", "--until-caught-up"])
        .file("windrow.toml", &configuration)
        .file("sql/transaction.sql", include_str!("../../sql/transaction.sql"));
    let output = run.run_to_end(PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert_eq!(broker.client().consume_all("txn.events.dlq").len(), malformed);
    let hashes = redis.keys("features:card:*:transaction");
    let counts =
        hashes.iter().map(|name| redis.hgetall(name)["txn_count_24h"].parse::<usize>().expect("a count"));
    assert_eq!(counts.sum::<usize>(), EVENTS - malformed);
}
