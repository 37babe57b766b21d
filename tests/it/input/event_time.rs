//! An event time that is a plain number, and bodies that look like a framing.

use serde_json::json;

use super::job::Job;
use crate::oracle::Value::{Int, TimestampMs};
use crate::oracle::{SECOND, assert_hash};
use crate::support::avro::WriterSchema;
use crate::support::client::Event;
use crate::worked::MIDNIGHT;

/// The logical type stands beside the type, as it often does, and so is none.
const VISITS: &str = r#"{
  "type": "record",
  "name": "Visit",
  "fields": [
    {"name": "note", "type": "string"},
    {"name": "visitor", "type": "string"},
    {"name": "at", "type": "long", "logicalType": "timestamp-millis"}
  ]
}"#;

const RECENT: &str = "-- entity: visitor
-- key: visitor
SELECT
  visitor,
  count(*) FILTER (WHERE event_time > now() - INTERVAL '10 seconds') AS visits_10s,
  count(*) AS visits_1m,
  max(event_time) AS last_visit
FROM visits
WHERE event_time > now() - INTERVAL '1 minute'
GROUP BY visitor
";

/// Three visits, 9, 10 and 11 seconds before a fourth, in units of which so
/// many make a second.
#[track_caller]
fn check(unit: &str, per_second: i64) {
    let mut job = Job::new();
    job.file("schemas/visits.avsc", VISITS);
    job.view("recent", RECENT);
    let stream = format!(
        "key = \"visitor\"\nevent_time = \"at\"\nevent_time_unit = \"{unit}\"\n\
         schema = \"visits.avsc\"\nframing = \"bare\""
    );
    let topic = job.stream("visits", 1, &stream);

    let schema = WriterSchema::parse(VISITS);
    let events = [11, 10, 9, 0].map(|ago| {
        // With an empty note the body begins with 00, like Confluent's framing.
        let at = (MIDNIGHT / SECOND - ago) * per_second;
        let body = schema.body(&json!({"note": "", "visitor": "ann", "at": at}));
        assert_eq!(body[0], 0);
        Event::new(0, "ann", body).at(MIDNIGHT - ago * SECOND)
    });
    job.client.produce(&topic, &events);
    job.run_to_end(&[]);

    let expected = [("visits_10s", Int(2)), ("visits_1m", Int(4)), ("last_visit", TimestampMs(MIDNIGHT))];
    assert_hash(&job.redis.hgetall("features:visitor:ann:recent"), &expected.into());
    assert_eq!(job.dead_letters(&topic), []);
}

#[test]
fn plain_seconds() {
    check("s", 1);
}

#[test]
fn plain_milliseconds() {
    check("ms", 1000);
}

#[test]
fn plain_microseconds() {
    check("us", 1_000_000);
}
