//! What is skipped, late or under a strange key is counted and said.

use super::job::Job;
use super::{SEEN, events_seen, framed};
use crate::oracle::SECOND;
use crate::support::client::Event;
use crate::support::process::sample;
use crate::support::{PATIENCE, eventually};
use crate::worked::MIDNIGHT;

/// An event under its card as key.
fn event(card: &str, time_ms: i64) -> Event {
    Event::new(0, card, framed(card, 1.0, time_ms)).at(time_ms)
}

/// Waits until a metric has a value.
#[track_caller]
fn wait_for(metrics: impl Fn() -> String, name: &str, value: impl Fn(f64) -> bool) {
    eventually(PATIENCE, name, || match sample(&metrics(), name) {
        Some(found) if value(found) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn tombstones_late_events_and_dead_letters_are_counted() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("seen", SEEN);
    let tombstone = || Event { value: None, ..event("card", MIDNIGHT) };
    let events = [
        tombstone(),
        event("card", MIDNIGHT),
        tombstone(),
        event("card", MIDNIGHT + 30 * SECOND),
        // Late by 25 seconds, and too late.
        event("card", MIDNIGHT),
        event("card", MIDNIGHT - 36 * SECOND),
        Event { value: Some(vec![0]), ..event("card", MIDNIGHT) },
        tombstone(),
    ];
    job.client.produce(&topic, &events);
    let mut running = job.run(&["--batch-interval", "50ms"]).spawn();
    running.wait_ready(&job.metrics_address);

    let metrics = || running.metrics(&job.metrics_address);
    for (name, expected) in [
        (r#"stream_events_processed_total{status="processed",stream="transactions"}"#, 2.0),
        (r#"stream_events_processed_total{status="late",stream="transactions"}"#, 1.0),
        (r#"stream_events_processed_total{status="skipped",stream="transactions"}"#, 3.0),
        (r#"stream_events_processed_total{status="rejected",stream="transactions"}"#, 2.0),
        (r#"stream_late_events_total{action="accepted",stream="transactions"}"#, 1.0),
        (r#"stream_late_events_total{action="dead_letter",stream="transactions"}"#, 1.0),
        (r#"stream_dead_letters_total{reason="too_late",stream="transactions"}"#, 1.0),
        (r#"stream_dead_letters_total{reason="framing",stream="transactions"}"#, 1.0),
        (r#"stream_key_mismatches_total{stream="transactions"}"#, 0.0),
        (r#"stream_window_events{stream="transactions"}"#, 3.0),
    ] {
        wait_for(metrics, name, |found| found.total_cmp(&expected).is_eq());
    }
    eventually(PATIENCE, "three events are counted", || match events_seen(&job, "card") {
        Some(events) if events == "3" => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let output = running.terminate();
    assert!(output.status.success(), "{}\n{}", output.status, output.stderr);
    assert_eq!(job.dead_letters(&topic).len(), 2, "a tombstone is no dead letter");
    assert_eq!(job.client.committed(&job.group, &topic), job.client.end_offsets(&topic));
}

/// A view without GROUP BY: each event is a row.
#[test]
fn a_key_with_several_rows_is_counted_and_said() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    let raw = "-- entity: card\n-- key: card_id\nSELECT card_id, amount FROM transactions\n\
               WHERE event_time > now() - INTERVAL '24 hours'\n";
    job.view("raw", raw);
    job.client.produce(&topic, &[event("card", MIDNIGHT), event("card", MIDNIGHT + SECOND)]);
    let mut running = job.run(&["--batch-interval", "50ms"]).spawn();
    running.wait_ready(&job.metrics_address);

    let metrics = || running.metrics(&job.metrics_address);
    let skipped = r#"stream_rows_skipped_total{reason="repeated_key",view="raw"}"#;
    wait_for(metrics, skipped, |found| found > 0.0);
    let line = running.wait_for_line("a key has several rows, such as `card`: the first one is written");
    assert!(line.contains("raw"), "{line}");

    let output = running.terminate();
    assert!(output.status.success(), "{}\n{}", output.status, output.stderr);
    assert!(job.feature("features:card:card:raw", "amount").is_some());
}

#[test]
fn keys_that_are_not_the_stream_s_are_noticed() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("seen", SEEN);
    // Partitioned by user rather than by card.
    let events: Vec<Event> = (0..40)
        .map(|turn| Event { key: Some(b"user-1".to_vec()), ..event("card", MIDNIGHT + turn * SECOND) })
        .collect();
    job.client.produce(&topic, &events);
    let mut running = job.run(&["--batch-interval", "50ms"]).spawn();
    running.wait_ready(&job.metrics_address);

    let metrics = || running.metrics(&job.metrics_address);
    wait_for(metrics, r#"stream_key_mismatches_total{stream="transactions"}"#, |found| found > 0.0);
    running.wait_for_line("have a message key that is not their `card_id`");

    let output = running.terminate();
    assert!(output.status.success(), "{}\n{}", output.status, output.stderr);
    // They count all the same.
    assert_eq!(events_seen(&job, "card").as_deref(), Some("40"));
    assert_eq!(job.dead_letters(&topic), []);
}
