//! Events that cannot be used: they cost nobody else anything and are kept
//! whole.

use serde_json::Value as Json;

use super::job::{Job, source};
use super::{SEEN, events_seen, framed, seen};
use crate::oracle::Value::{Float, Int, Text};
use crate::oracle::{MINUTE, SECOND, assert_hash};
use crate::support::client::{Event, Record};
use crate::worked::MIDNIGHT;

/// How many events the batch with the poison has.
const BATCH: usize = 31;
/// What each place of the poison holds, and why it cannot be used.
const POISON: [(usize, &str); 3] = [(0, "framing"), (15, "malformed"), (30, "malformed")];

/// A header that breaks off, a body that breaks off, and one that goes on.
fn poison(place: usize) -> Vec<u8> {
    let whole = framed("card", 1.0, MIDNIGHT);
    match place {
        0 => vec![0, 0, 0],
        15 => whole[..whole.len() / 2].to_vec(),
        _ => [whole.as_slice(), b"x".as_slice()].concat(),
    }
}

/// Topic, partition, offset, timestamp, reason: what the headers must say.
fn source_of(letter: &Record) -> [Option<String>; 5] {
    ["source_topic", "source_partition", "source_offset", "source_timestamp", "reason"]
        .map(|name| letter.header(name))
}

#[test]
fn poison_at_the_first_a_middle_and_the_last_place_of_a_batch() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("seen", SEEN);
    let events: Vec<Event> = (0..BATCH)
        .map(|place| {
            let is_poison = POISON.iter().any(|(poisoned, _)| *poisoned == place);
            let value = if is_poison { poison(place) } else { framed("card", 1.0, MIDNIGHT) };
            Event::new(0, format!("key-{place}"), value).at(MIDNIGHT + 7)
        })
        .collect();
    job.client.produce(&topic, &events);
    // A turn is taken as soon as there are so many events, and otherwise seldom.
    job.run_to_end(&["--max-batch-events", &BATCH.to_string(), "--batch-interval", "2s"]);

    assert_eq!(events_seen(&job, "card").as_deref(), Some("28"));
    let letters = job.dead_letters(&topic);
    assert_eq!(letters.len(), POISON.len(), "{letters:?}");
    for (letter, (place, reason)) in letters.iter().zip(POISON) {
        assert_eq!((&letter.key, &letter.value), (&events[place].key, &events[place].value));
        let expected =
            [topic.clone(), "0".to_owned(), place.to_string(), (MIDNIGHT + 7).to_string(), reason.to_owned()];
        assert_eq!(source_of(letter), expected.map(Some));
        assert!(letter.header("error").is_some_and(|error| !error.is_empty()), "{letter:?}");
    }
    assert_eq!(job.client.committed(&job.group, &topic), job.client.end_offsets(&topic));
}

/// The watermark is 5 s behind the clock, and 60 s more are allowed; an event
/// may be 5 minutes ahead of Kafka's timestamp.
#[test]
fn too_late_and_from_the_future_by_the_millisecond() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("seen", SEEN);
    let clock = MIDNIGHT + 10 * MINUTE;
    // Card, amount, event time, Kafka's timestamp.
    let log = [
        ("a", 1.0, MIDNIGHT, MIDNIGHT),
        ("a", 2.0, clock, clock),
        // Exactly as late as is allowed, and a millisecond later.
        ("a", 4.0, clock - 65 * SECOND, clock),
        ("a", 8.0, clock - 65 * SECOND - 1, clock),
        // A millisecond too far ahead: it must not move the clock, or the next one were too late.
        ("b", 16.0, clock + 10 * MINUTE, clock + 5 * MINUTE - 1),
        ("a", 32.0, clock - 65 * SECOND, clock),
        // Exactly as far ahead as is allowed: now the clock moves, within the same batch.
        ("b", 64.0, clock + 10 * MINUTE, clock + 5 * MINUTE),
        ("a", 128.0, clock - 65 * SECOND, clock),
    ];
    let event = |(card, amount, time, timestamp): (&str, f64, i64, i64)| {
        Event::new(0, card, framed(card, amount, time)).at(timestamp)
    };
    job.client.produce(&topic, &log.map(event));
    job.run_to_end(&[]);

    let currency = || Text("EUR".to_owned());
    let a = [("events", Int(4)), ("amount", Float(39.0)), ("currency", currency())];
    assert_hash(&seen(&job, "a"), &a.into());
    let b = [("events", Int(1)), ("amount", Float(64.0)), ("currency", currency())];
    assert_hash(&seen(&job, "b"), &b.into());

    let letters = job.dead_letters(&topic);
    let found: Vec<_> = letters
        .iter()
        .map(|letter| (source(letter).1, letter.header("reason").unwrap_or_default()))
        .collect();
    let expected = [(3_i64, "too_late"), (4, "future"), (7, "too_late")];
    assert_eq!(found, expected.map(|(offset, reason)| (offset, reason.to_owned())));
    for letter in &letters {
        let (_, offset) = source(letter);
        let place = usize::try_from(offset).expect("an offset is not negative");
        let (card, amount, time, timestamp) = log[place];
        assert_eq!(letter.value, Some(framed(card, amount, time)));
        assert_eq!(letter.header("source_timestamp"), Some(timestamp.to_string()));
    }
}

#[test]
fn the_bounds_are_options() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "");
    job.view("seen", SEEN);
    let log = [
        (MIDNIGHT, MIDNIGHT),
        (MIDNIGHT - 3 * SECOND, MIDNIGHT),
        (MIDNIGHT - 3 * SECOND - 1, MIDNIGHT),
        (MIDNIGHT + 2 * SECOND, MIDNIGHT),
        (MIDNIGHT + 2 * SECOND + 1, MIDNIGHT),
    ];
    let event = |(time, timestamp)| Event::new(0, "card", framed("card", 1.0, time)).at(timestamp);
    job.client.produce(&topic, &log.map(event));
    job.run_to_end(&["--max-out-of-order", "1s", "--allowed-lateness", "2s", "--max-future", "2s"]);

    assert_eq!(events_seen(&job, "card").as_deref(), Some("3"));
    let offsets: Vec<_> = job.dead_letters(&topic).iter().map(|letter| source(letter).1).collect();
    assert_eq!(offsets, [2, 4]);
}

#[test]
fn a_topic_of_ones_own() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 2, "");
    let letters_topic = format!("{topic}-unusable");
    job.client.create_topic(&letters_topic, 1);
    job.configure(&format!("dead_letter_topic = \"{letters_topic}\""));
    job.view("seen", SEEN);
    let used = Event::new(0, "card", framed("card", 1.0, MIDNIGHT)).at(MIDNIGHT);
    let events = [Event::new(1, "card", poison(0)).at(5), used];
    job.client.produce(&topic, &events);
    job.run_to_end(&[]);

    assert_eq!(events_seen(&job, "card").as_deref(), Some("1"));
    let letters = job.client.consume_all(&letters_topic);
    assert_eq!(letters.iter().map(source).collect::<Vec<_>>(), [(1, 0)]);
    assert_eq!(letters[0].header("source_timestamp").as_deref(), Some("5"));
    assert_eq!(job.dead_letters(&topic), []);
}

#[test]
fn a_file_instead_of_a_topic() {
    let mut job = Job::new();
    let topic = job.stream("transactions", 1, "dead_letter_file = \"unusable.jsonl\"");
    job.view("seen", SEEN);
    let events = [
        Event::new(0, "card-1", framed("card-1", 1.0, MIDNIGHT)).at(MIDNIGHT),
        Event::new(0, "card-1", b"\0bad").at(MIDNIGHT + 1),
        Event { key: None, ..Event::new(0, "", [0_u8]).at(MIDNIGHT + 2) },
    ];
    job.client.produce(&topic, &events);
    job.run_to_end(&[]);

    assert_eq!(events_seen(&job, "card-1").as_deref(), Some("1"));
    let lines: Vec<Json> = job
        .read("unusable.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    // Keys and values in base64.
    let (first, second) = (&lines[0], &lines[1]);
    assert_eq!((first["key"].as_str(), first["value"].as_str()), (Some("Y2FyZC0x"), Some("AGJhZA==")));
    assert_eq!((second["key"].as_str(), second["value"].as_str()), (None, Some("AA==")));
    for (line, offset) in lines.iter().zip([1, 2]) {
        assert_eq!(line["source_topic"], topic.as_str());
        assert_eq!(line["source_partition"], 0);
        assert_eq!(line["source_offset"], offset);
        assert_eq!(line["source_timestamp"], MIDNIGHT + offset);
        assert_eq!(line["reason"], "framing");
        assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    }
    assert_eq!(job.dead_letters(&topic), []);
    assert_eq!(job.client.committed(&job.group, &topic), job.client.end_offsets(&topic));
}
