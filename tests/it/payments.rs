//! A small stream, a small view of it, and a set-up with topic, group and
//! configuration of its own, for tests that are not about the shipped views.
//!
//! Payments are numbered. Their partition, card, amount, note and time follow
//! from the number, so a test names a stretch of them and [`spending`] works out
//! what the view must hold. Clocks do not run on by themselves here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::json;

use crate::oracle::{DAY, MINUTE, Row, Rows, SECOND, Value, compare_hashes};
use crate::support::avro::WriterSchema;
use crate::support::client::{Client, Event};
use crate::support::kafka::KafkaBroker;
use crate::support::ports::free_port;
use crate::support::process::{Windrow, http_get, sample};
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually, unique};

/// Saturday, 2025-03-01T12:00:00Z: the time of payment 0.
pub const NOON: i64 = 1_740_830_400_000;

/// Between two payments: some thirty of them fill the ten-minute window.
pub const STEP: i64 = 20 * SECOND;

/// The stream's schema.
pub const SCHEMA: &str = r#"{
  "type": "record",
  "name": "Payment",
  "fields": [
    {"name": "card_id", "type": "string"},
    {"name": "merchant", "type": "string"},
    {"name": "amount", "type": "long"},
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}}
  ]
}
"#;

/// The view `spending`.
pub const SPENDING: &str = "\
-- entity: card
-- key: card_id
SELECT
  card_id,
  count(*) FILTER (WHERE event_time > now() - INTERVAL '10 minutes') AS payments_10m,
  count(*) AS payments_24h,
  sum(amount) AS amount_sum_24h,
  last_value(amount ORDER BY event_time, _offset) AS last_amount,
  last_value(note ORDER BY event_time, _offset) AS last_note
FROM payments
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY card_id
";

/// A payment; the offsets of a partition's payments are in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Kafka's partition number.
    pub partition: i32,
    /// Who pays; always in the same partition.
    pub card: String,
    /// Who is paid: `shop-0` or `shop-1`, from any partition.
    pub merchant: String,
    /// How much.
    pub amount: i64,
    /// What for, perhaps.
    pub note: Option<&'static str>,
    /// When, by the event and by Kafka.
    pub time_ms: i64,
}

impl Payment {
    /// A payment with a note, by a card of partition 0.
    pub fn new(card: &str, amount: i64, note: Option<&'static str>, time_ms: i64) -> Self {
        Self { partition: 0, card: card.to_owned(), merchant: "shop-0".to_owned(), amount, note, time_ms }
    }

    /// The event as JSON.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "card_id": self.card,
            "merchant": self.merchant,
            "amount": self.amount,
            "note": self.note,
            "timestamp": self.time_ms,
        })
    }

    /// The event as its producer sends it, a bare Avro body.
    pub fn event(&self) -> Event {
        Event::new(self.partition, self.card.as_str(), body(self)).at(self.time_ms)
    }
}

/// The bare Avro body of a payment.
pub fn body(payment: &Payment) -> Vec<u8> {
    static WRITER: OnceLock<WriterSchema> = OnceLock::new();
    WRITER.get_or_init(|| WriterSchema::parse(SCHEMA)).body(&payment.json())
}

/// The payments with these numbers, [`STEP`] apart, in turn over the partitions
/// and over three cards of each.
pub fn payments(numbers: Range<i32>, partitions: i32) -> Vec<Payment> {
    numbers
        .map(|number| {
            let partition = number % partitions;
            Payment {
                partition,
                card: format!("card-{partition}-{}", number / partitions % 3),
                merchant: format!("shop-{}", number % 2),
                amount: i64::from(number) + 1,
                note: match number % 7 {
                    0 | 3 => None,
                    1 => Some("rent"),
                    _ => Some("bread"),
                },
                time_ms: NOON + i64::from(number) * STEP,
            }
        })
        .collect()
}

/// What `spending` holds when these payments, all accepted, have been seen.
pub fn spending(payments: &[Payment]) -> Rows {
    let mut rows = Rows::new();
    let partitions: BTreeSet<i32> = payments.iter().map(|payment| payment.partition).collect();
    for partition in partitions {
        let log: Vec<&Payment> = payments.iter().filter(|payment| payment.partition == partition).collect();
        let clock = log.iter().map(|payment| payment.time_ms).max().expect("the partition has a payment");
        let day = after(&log, ceil(clock, MINUTE) - DAY);
        let recent = after(&log, ceil(clock, SECOND) - 10 * MINUTE);
        let cards: BTreeSet<&str> = day.iter().map(|payment| payment.card.as_str()).collect();
        for card in cards {
            let of_card = |log: &[&Payment]| log.iter().filter(|payment| payment.card == card).count();
            // Of several with the same time the one with the highest offset.
            let own = day.iter().filter(|payment| payment.card == card);
            let last = own.clone().max_by_key(|payment| payment.time_ms).expect("the card has a payment");
            let row = Row::from([
                ("payments_10m", count(of_card(&recent))),
                ("payments_24h", count(of_card(&day))),
                ("amount_sum_24h", Value::Int(own.map(|payment| payment.amount).sum())),
                ("last_amount", Value::Int(last.amount)),
                ("last_note", last.note.map_or(Value::Null, |note| Value::Text(note.to_owned()))),
            ]);
            rows.insert(card.to_owned(), row);
        }
    }
    rows
}

fn after<'a>(log: &[&'a Payment], edge: i64) -> Vec<&'a Payment> {
    log.iter().copied().filter(|payment| payment.time_ms > edge).collect()
}

fn ceil(time_ms: i64, step: i64) -> i64 {
    (time_ms + step - 1).div_euclid(step) * step
}

fn count(payments: usize) -> Value {
    Value::Int(i64::try_from(payments).expect("a test has few payments"))
}

/// The hashes of a view, by key.
#[track_caller]
pub fn hashes(redis: &RedisServer, entity: &str, view: &str) -> BTreeMap<String, HashMap<String, String>> {
    let (before, behind) = (format!("features:{entity}:"), format!(":{view}"));
    let key = |name: &str| name.strip_prefix(&before)?.strip_suffix(&behind).map(str::to_owned);
    let names = redis.keys(&format!("{before}*{behind}"));
    names.iter().filter_map(|name| Some((key(name)?, redis.hgetall(name)))).collect()
}

/// Whether the hashes of a view are exactly what they should be.
///
/// # Errors
/// Every difference.
pub fn compare(redis: &RedisServer, entity: &str, view: &str, expected: &Rows) -> Result<(), String> {
    compare_hashes(&hashes(redis, entity, view), expected)
}

/// A topic, a consumer group, and how the binary is configured for them.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its topic.
    pub topic: String,
    /// Its consumer group.
    pub group: String,
    /// Where the binary answers for metrics and health.
    pub metrics: String,

    brokers: String,
    redis_url: String,
    views: Vec<(String, String)>,
    top: String,
    redis: String,
    kafka: String,
}

impl Setting {
    /// With a new topic on the shared broker, and the view `spending`.
    #[track_caller]
    pub fn new(name: &str, partitions: i32, redis: &RedisServer) -> Self {
        Self::on(KafkaBroker::shared(), name, partitions, redis)
    }

    /// The same on a broker of its own.
    #[track_caller]
    pub fn on(broker: &KafkaBroker, name: &str, partitions: i32, redis: &RedisServer) -> Self {
        let setting = Self {
            brokers: broker.brokers(),
            topic: unique(&format!("{name}-payments")),
            group: unique(name),
            metrics: format!("127.0.0.1:{}", free_port()),
            redis_url: redis.url(),
            views: vec![("spending".to_owned(), SPENDING.to_owned())],
            top: String::new(),
            redis: String::new(),
            kafka: String::new(),
        };
        setting.client().create_topic(&setting.topic, partitions);
        setting
    }

    /// Has this view, instead of `spending` if it is called so, else beside it.
    #[must_use]
    pub fn view(mut self, name: &str, sql: &str) -> Self {
        self.views.retain(|(known, _)| known != name);
        self.views.push((name.to_owned(), sql.to_owned()));
        self
    }

    /// Without `spending`.
    #[must_use]
    pub fn without_spending(mut self) -> Self {
        self.views.retain(|(known, _)| known != "spending");
        self
    }

    /// Adds a line to the configuration, before its tables.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        let _ = writeln!(self.top, "{line}");
        self
    }

    /// Adds a line to the table `[redis]`.
    #[must_use]
    pub fn redis_option(mut self, line: &str) -> Self {
        let _ = writeln!(self.redis, "{line}");
        self
    }

    /// Adds a line to the table `[kafka]`.
    #[must_use]
    pub fn kafka_option(mut self, line: &str) -> Self {
        let _ = writeln!(self.kafka, "{line}");
        self
    }

    /// Writes to another Redis.
    #[must_use]
    pub fn redis_url(mut self, url: impl Into<String>) -> Self {
        self.redis_url = url.into();
        self
    }

    /// As another process of the same group.
    #[must_use]
    pub fn another_process(&self) -> Self {
        Self { metrics: format!("127.0.0.1:{}", free_port()), ..self.clone() }
    }

    /// As another group, which has committed nothing.
    #[must_use]
    pub fn another_group(&self) -> Self {
        Self { group: unique("other"), ..self.another_process() }
    }

    /// The binary with these arguments, configured by files in its directory.
    pub fn windrow(&self, arguments: &[&str]) -> Windrow {
        let windrow = Windrow::command(arguments.iter().copied())
            .file("windrow.toml", &self.configuration())
            .file("schemas/payments.avsc", SCHEMA);
        self.views.iter().fold(windrow, |windrow, (name, sql)| windrow.file(&format!("sql/{name}.sql"), sql))
    }

    fn configuration(&self) -> String {
        let Self { topic, group, metrics, brokers, redis_url, top, redis, kafka, .. } = self;
        format!(
            r#"brokers = "{brokers}"
group_id = "{group}"
metrics_addr = "{metrics}"
batch_interval = "50ms"
idle_after = "1h"
{top}
[redis]
url = "{redis_url}"
{redis}
[kafka]
"session.timeout.ms" = "6000"
"heartbeat.interval.ms" = "1000"
{kafka}
[streams.payments]
topic = "{topic}"
key = "card_id"
event_time = "timestamp"
schema = "payments.avsc"
"#
        )
    }

    /// A client of the broker.
    pub fn client(&self) -> Client {
        Client::new(&self.brokers)
    }

    /// Produces payments.
    #[track_caller]
    pub fn produce(&self, payments: &[Payment]) {
        let events: Vec<Event> = payments.iter().map(Payment::event).collect();
        self.client().produce(&self.topic, &events);
    }

    /// What the group has committed.
    #[track_caller]
    pub fn committed(&self) -> BTreeMap<i32, i64> {
        self.client().committed(&self.group, &self.topic)
    }

    /// Waits until everything in the topic is committed.
    #[track_caller]
    pub fn eventually_committed(&self) {
        let mut ends = self.client().end_offsets(&self.topic);
        ends.retain(|_, end| *end > 0);
        eventually(PATIENCE, "everything is committed", || {
            let mut committed = self.committed();
            committed.retain(|_, offset| *offset > 0);
            if committed == ends { Ok(()) } else { Err(format!("{committed:?} of {ends:?}")) }
        });
    }

    /// Waits until the hashes of `spending` are exact.
    #[track_caller]
    #[expect(clippy::unused_self, reason = "reads as what a test waits for")]
    pub fn eventually_exact(&self, redis: &RedisServer, payments: &[Payment]) {
        let expected = spending(payments);
        eventually(PATIENCE, "the hashes are exact", || compare(redis, "card", "spending", &expected));
    }

    /// The value of a metric; 0 if there is none, or nobody answers.
    pub fn sample(&self, name_and_labels: &str) -> f64 {
        match http_get(&self.metrics, "/metrics") {
            Ok((200, text)) => sample(&text, name_and_labels).unwrap_or(0.0),
            _ => 0.0,
        }
    }

    /// Waits until a metric has reached a value, and returns it.
    #[track_caller]
    pub fn eventually_at_least(&self, name_and_labels: &str, least: f64) -> f64 {
        eventually(PATIENCE, &format!("{name_and_labels} is {least} or more"), || {
            let found = self.sample(name_and_labels);
            if found >= least { Ok(found) } else { Err(found.to_string()) }
        })
    }

    /// Waits until a metric is there and has come down to a value.
    #[track_caller]
    pub fn eventually_at_most(&self, name_and_labels: &str, most: f64) {
        eventually(PATIENCE, &format!("{name_and_labels} is {most} or less"), || {
            let (_, text) = http_get(&self.metrics, "/metrics")?;
            let found = sample(&text, name_and_labels).ok_or("it is not there")?;
            if found <= most { Ok(()) } else { Err(found.to_string()) }
        });
    }

    /// Waits until `/readyz` answers with this status.
    #[track_caller]
    pub fn eventually_readyz(&self, status: u16) {
        eventually(PATIENCE, &format!("/readyz answers {status}"), || {
            match http_get(&self.metrics, "/readyz")? {
                (found, _) if found == status => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

/// Compares, at once, as a run that has ended left it.
#[track_caller]
pub fn assert_spending(redis: &RedisServer, payments: &[Payment]) {
    if let Err(message) = compare(redis, "card", "spending", &spending(payments)) {
        panic!("the hashes are not exact:\n{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand: partition 0 has the numbers 0, 2, …, 62, so its clock
    /// is 62 steps of 20 s after noon, which is 12:20:40. The ten minutes begin
    /// after 12:10:40, which is number 32: numbers 34 to 62 are in them, fifteen.
    /// `card-0-0` has every third: 0, 6, …, 60 of the day, 36, 42, 48, 54 and 60
    /// of the ten minutes. 60 % 7 is 4.
    #[test]
    fn spending_as_worked_out() {
        let rows = spending(&payments(0..64, 2));
        let expected = Row::from([
            ("payments_10m", Value::Int(5)),
            ("payments_24h", Value::Int(11)),
            // Eleven ones, and 6 · (0 + 1 + … + 10).
            ("amount_sum_24h", Value::Int(11 + 6 * 55)),
            ("last_amount", Value::Int(61)),
            ("last_note", Value::Text("bread".to_owned())),
        ]);
        assert_eq!(rows["card-0-0"], expected);
        assert_eq!(rows.len(), 6);
    }
}
