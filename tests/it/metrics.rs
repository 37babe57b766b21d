//! What an operator sees: metrics, health, alerts and the dashboard.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::payments::{NOON, Payment, STEP, Setting, body, payments};
use crate::support::avro::confluent;
use crate::support::client::Event;
use crate::support::process::{http_get, sample};
use crate::support::redis::RedisServer;
use crate::support::{INSTALL, PATIENCE, eventually};

const DEPLOY: &str = "deploy";

/// Of the contract: name and type, as far as it gives one.
const NAMES: &str = "stream_events_processed_total counter
stream_features_computed_total counter
stream_processing_latency_seconds histogram
stream_freshness_seconds histogram
stream_late_events_total counter
stream_window_events gauge
stream_state_bytes gauge
stream_dead_letters_total counter
stream_clock_lag_seconds gauge
kafka_consumer_lag gauge
redis_writes_total counter
checkpoint_age_seconds gauge
checkpoint_duration_seconds";

/// An event that counts, five of them on time and one late, and one of each
/// kind that does not.
///
/// | | event | |
/// |---|---|---|
/// | 0–4 | on time, 20 s apart | the clock shows 12:01:20, the watermark 12:01:15 |
/// | 5 | 12:01:00 | late |
/// | 6 | 12:00:00 | too late, by more than 60 s |
/// | 7 | 12:06:40, of 12:01:20 by Kafka | from the future, by more than 5 min |
/// | 8 | without its last bytes | malformed |
/// | 9 | within Confluent's header | framing |
/// | 10 | of schema 999 | unknown |
/// | 11 | without a value | skipped |
fn produce_one_of_each(setting: &Setting) {
    let on_time = payments(0..5, 1);
    let clock = on_time[4].time_ms;
    let at = |time_ms: i64| Payment::new("card-0-0", 1, None, time_ms);
    let with_value = |value: Option<Vec<u8>>| Event { value, ..at(clock).event() };
    let whole = body(&at(clock));
    let mut events: Vec<Event> = on_time.iter().map(Payment::event).collect();
    events.extend([
        at(NOON + 3 * STEP).event(),
        at(NOON).event(),
        at(clock + 16 * STEP).event().at(clock),
        with_value(Some(whole[..whole.len() - 3].to_vec())),
        with_value(Some(vec![0, 0, 1])),
        with_value(Some(confluent(999, &whole))),
        with_value(None),
    ]);
    setting.client().produce(&setting.topic, &events);
}

/// Samples that are exactly known, without the topic's.
const COUNTED: &str = r#"stream_events_processed_total{status="processed",stream="payments"} 5
stream_events_processed_total{status="late",stream="payments"} 1
stream_events_processed_total{status="skipped",stream="payments"} 1
stream_events_processed_total{status="rejected",stream="payments"} 5
stream_events_processed_total{status="lead_in",stream="payments"} 0
stream_late_events_total{action="accepted",stream="payments"} 1
stream_late_events_total{action="dead_letter",stream="payments"} 1
stream_dead_letters_total{reason="too_late",stream="payments"} 1
stream_dead_letters_total{reason="future",stream="payments"} 1
stream_dead_letters_total{reason="malformed",stream="payments"} 1
stream_dead_letters_total{reason="framing",stream="payments"} 1
stream_dead_letters_total{reason="unknown_schema",stream="payments"} 1
stream_dead_letters_total{reason="incompatible_schema",stream="payments"} 0
stream_dead_letters_total{reason="no_event_time",stream="payments"} 0
stream_window_events{stream="payments"} 6
stream_freshness_seconds_count{view="spending"} 6
redis_writes_total{status="refused"} 0
redis_writes_total{status="retried"} 0
windrow_shards 1"#;

/// Runs a program of Debian's prometheus over a text or in a directory.
#[track_caller]
fn promtool(arguments: &[&str], directory: &str, input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!("promtool is missing: {INSTALL}"),
        Err(error) => panic!("could not start promtool: {error}"),
    };
    // A program that needs no input may be gone already.
    child.stdin.take().expect("standard input is piped").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().expect("waits for a child of ours");
    let printed =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {}\n{printed}\n{input}", output.status);
}

/// The families of a text: name and type.
fn families(metrics: &str) -> BTreeSet<(&str, &str)> {
    metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn metrics_and_health_of_a_running_job() {
    let redis = RedisServer::start();
    let setting = Setting::new("metrics", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    let ready = http_get(&setting.metrics, "/readyz").expect("it answers");
    let healthy = http_get(&setting.metrics, "/healthz").expect("it answers");
    assert_eq!((ready, healthy), ((200, "ok\n".to_owned()), (200, "ok\n".to_owned())));
    assert_eq!(http_get(&setting.metrics, "/nothing").expect("it answers").0, 404);

    produce_one_of_each(&setting);
    setting.eventually_committed();
    let lag = format!(r#"kafka_consumer_lag{{partition="0",topic="{}"}}"#, setting.topic);
    let metrics = eventually(PATIENCE, "everything is counted", || {
        let metrics = running.metrics(&setting.metrics);
        let missing: Vec<&str> =
            COUNTED.lines().filter(|line| !metrics.lines().any(|known| known == *line)).collect();
        let caught_up = sample(&metrics, &lag).is_some_and(|lag| lag.abs() < 0.5);
        if missing.is_empty() && caught_up {
            Ok(metrics)
        } else {
            Err(format!("no {missing:#?} in\n{metrics}"))
        }
    });

    let found = families(&metrics);
    for line in NAMES.lines() {
        let (name, kind) = line.split_once(' ').unwrap_or((line, ""));
        let is_there = found.iter().any(|(known, its)| *known == name && (kind.is_empty() || *its == kind));
        assert!(is_there, "no {kind} {name} in\n{metrics}");
    }
    for name in [
        r#"stream_features_computed_total{view="spending"}"#,
        r#"stream_state_bytes{view="spending"}"#,
        r#"stream_clock_lag_seconds{partition="0",stream="payments"}"#,
        "stream_processing_latency_seconds_count",
        r#"redis_writes_total{status="acknowledged"}"#,
        "process_resident_memory_bytes",
    ] {
        let value = sample(&metrics, name);
        assert!(value.is_some_and(|value| value > 0.0), "{name} is {value:?} in\n{metrics}");
    }
    promtool(&["check", "metrics"], DEPLOY, &metrics);

    // What was counted as a dead letter is one.
    let letters = setting.client().consume_all(&format!("{}.dlq", setting.topic));
    let mut reasons: Vec<String> = letters.iter().filter_map(|letter| letter.header("reason")).collect();
    reasons.sort();
    assert_eq!(reasons, ["framing", "future", "malformed", "too_late", "unknown_schema"]);
    assert_eq!(running.terminate().status.code(), Some(0));
}

/// The container's health check, which has no curl.
#[test]
fn health_asks_a_running_job() {
    let redis = RedisServer::start();
    let setting = Setting::new("health", 1, &redis);
    let ask = |arguments: &[&str]| setting.windrow(arguments).run_to_end(PATIENCE).status.code();
    assert_eq!(ask(&["health"]), Some(1), "nobody answers");
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    assert_eq!(ask(&["health"]), Some(0));
    assert_eq!(ask(&["health", "--ready"]), Some(0));
    running.terminate();
    assert_eq!(ask(&["health"]), Some(1));
}

#[test]
fn the_alert_rules_are_right() {
    let directory = format!("{DEPLOY}/prometheus");
    promtool(&["check", "rules", "alerts.yml"], &directory, "");
    promtool(&["test", "rules", "alerts.test.yml"], &directory, "");
}

/// Every expression in a dashboard or a file of rules.
fn expressions(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Json::Object(members) => {
            for (name, member) in members {
                match member {
                    Json::String(text) if ["expr", "query", "definition"].contains(&name.as_str()) => {
                        found.push(text.clone());
                    }
                    member => expressions(member, found),
                }
            }
        }
        _ => {}
    }
}

/// The names of our metrics in an expression.
fn names(expression: &str) -> BTreeSet<&str> {
    const OURS: [&str; 6] = ["stream_", "kafka_", "redis_", "checkpoint_", "windrow_", "process_"];
    expression
        .split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| OURS.iter().any(|ours| word.starts_with(ours)))
        .collect()
}

#[test]
fn dashboard_and_alerts_use_metrics_that_are_there() {
    let redis = RedisServer::start();
    let setting = Setting::new("dashboard", 1, &redis);
    let mut running = setting.windrow(&["run"]).spawn();
    running.wait_ready(&setting.metrics);
    setting.produce(&payments(0..5, 1));
    setting.eventually_committed();
    setting.eventually_at_least(r#"stream_clock_lag_seconds{partition="0",stream="payments"}"#, 1.0);
    let lag = format!(r#"kafka_consumer_lag{{partition="0",topic="{}"}}"#, setting.topic);
    eventually(PATIENCE, "the consumer lag is known", || {
        sample(&running.metrics(&setting.metrics), &lag).ok_or_else(|| "not yet".to_owned())
    });
    let metrics = running.metrics(&setting.metrics);
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();

    let read = |file: &str| std::fs::read_to_string(format!("{DEPLOY}/{file}")).expect("the file is there");
    let dashboard = serde_json::from_str(&read("grafana/dashboards/windrow.json")).expect("JSON");
    let mut used = Vec::new();
    expressions(&dashboard, &mut used);
    assert!(used.len() > 10, "{used:?}");
    // Comments and texts of alerts name no metric that is not one.
    used.extend(read("prometheus/alerts.yml").lines().map(str::to_owned));
    let missing: BTreeSet<&str> =
        used.iter().flat_map(|expression| names(expression)).filter(|name| !there.contains(name)).collect();
    assert_eq!(missing, BTreeSet::new(), "of\n{metrics}");
}
