//! A registry that stops, and one that lacks a schema.

use std::collections::BTreeMap;

use super::job::{Job, source};
use super::{SEEN, V1, V2, events_seen, transaction, v1};
use crate::support::avro::confluent;
use crate::support::client::{Event, Record};
use crate::support::registry::Registry;
use crate::support::{PATIENCE, eventually};
use crate::worked::MIDNIGHT;

/// So many events of `card`, written with this schema id.
fn events(id: u32, count: usize) -> Vec<Event> {
    let value = confluent(id, &v1().body(&transaction("card", 1.0, MIDNIGHT)));
    vec![Event::new(0, "card", value).at(MIDNIGHT); count]
}

fn offsets(letters: &[Record]) -> Vec<i64> {
    letters.iter().map(|letter| source(letter).1).collect()
}

#[track_caller]
fn assert_unknown_schema(letters: &[Record]) {
    for letter in letters {
        assert_eq!(letter.header("reason").as_deref(), Some("unknown_schema"), "{letter:?}");
        assert!(letter.header("error").is_some_and(|error| error.contains("schema id")), "{letter:?}");
    }
}

#[test]
fn known_ids_go_on_without_the_registry() {
    let mut registry = Registry::start();
    let known = registry.register("a-value", V1);
    let unknown = registry.register("a-value", V2);
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.configure(&format!("[schema_registry]\nurl = \"{}\"", registry.url()));
    job.view("seen", SEEN);

    job.client.produce(&topic, &events(known, 10));
    let running = job.run(&["--batch-interval", "50ms"]).spawn();
    let wait_for = |count: &str| {
        eventually(PATIENCE, &format!("{count} events are counted"), || match events_seen(&job, "card") {
            Some(events) if events == count => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    wait_for("10");

    registry.stop();
    let mixed = [events(known, 5), events(unknown, 3), events(known, 5)].concat();
    let mixed_at = job.client.produce(&topic, &mixed);
    wait_for("20");
    // Later batches are not held up either.
    job.client.produce(&topic, &events(known, 2));
    wait_for("22");

    let output = running.terminate();
    assert!(output.status.success(), "{}\n{}", output.status, output.stderr);
    let letters = job.dead_letters(&topic);
    assert_eq!(offsets(&letters), mixed_at[5..8]);
    assert_unknown_schema(&letters);
    assert_eq!(job.client.committed(&job.group, &topic), job.client.end_offsets(&topic));
    assert_eq!(registry.requests(), BTreeMap::from([(format!("/schemas/ids/{known}"), 1)]));
}

#[test]
fn an_id_that_the_registry_lacks() {
    let registry = Registry::start();
    let known = registry.register("a-value", V1);
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.configure(&format!("[schema_registry]\nurl = \"{}\"", registry.url()));
    job.view("seen", SEEN);

    let lacking = known + 1;
    let mut log = Vec::new();
    for _ in 0..10 {
        log.extend(events(lacking, 1));
        log.extend(events(known, 2));
    }
    job.client.produce(&topic, &log);
    job.run_to_end(&["--max-batch-events", "5"]);

    assert_eq!(events_seen(&job, "card").as_deref(), Some("20"));
    let letters = job.dead_letters(&topic);
    assert_eq!(offsets(&letters), (0..30).step_by(3).collect::<Vec<_>>());
    assert_unknown_schema(&letters);
    let requests = registry.requests();
    assert_eq!(requests[&format!("/schemas/ids/{known}")], 1);
    // Asked for again after a minute at most: not once an event, nor once a batch.
    let asked = requests[&format!("/schemas/ids/{lacking}")];
    assert!(asked <= 2, "{asked} requests for 10 events in 6 batches");
}

/// A registry that answers 500 is tried a few times; the run ends well.
#[test]
fn a_registry_that_fails() {
    let registry = Registry::start();
    let id = registry.register("a-value", V1);
    registry.fail(true);
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.configure(&format!("[schema_registry]\nurl = \"{}\"", registry.url()));
    job.view("seen", SEEN);

    job.client.produce(&topic, &events(id, 20));
    job.run_to_end(&[]);

    let letters = job.dead_letters(&topic);
    assert_eq!(offsets(&letters), (0..20).collect::<Vec<_>>());
    assert_unknown_schema(&letters);
    let asked = registry.requests()[&format!("/schemas/ids/{id}")];
    assert!((2..20).contains(&asked), "{asked} requests for 20 events");
    assert_eq!(job.redis.keys("*"), Vec::<String>::new());
}

#[test]
fn a_registry_that_wants_a_password_gets_it() {
    let registry = Registry::start_with_credentials("windrow", "secret-of-the-registry");
    let id = registry.register("a-value", V1);
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.file("password", "secret-of-the-registry\n");
    let with = |user: &str| {
        format!(
            "[schema_registry]\nurl = \"{}\"\nusername = \"{user}\"\npassword_file = \"password\"",
            registry.url()
        )
    };
    job.configure(&with("windrow"));
    job.view("seen", SEEN);
    job.client.produce(&topic, &events(id, 4));
    job.run_to_end(&[]);
    assert_eq!(events_seen(&job, "card").as_deref(), Some("4"));
}
