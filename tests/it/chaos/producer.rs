//! What is put into the topic: payments out of order, late, too late, from the
//! future, poison and tombstones; as its seed says, but for the times, which
//! follow the wall clock so that windows move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use windrow::time::{Clock, SystemClock};

use super::dice::Dice;
use super::{PARTITIONS, SCHEMA};
use crate::oracle::{DAY, HOUR, MINUTE, SECOND};
use crate::support::PATIENCE;
use crate::support::avro::WriterSchema;
use crate::support::client::Event;

/// Cards that pay at a time. After so many events the one that has paid longest
/// pays no more, and another begins.
const CARDS: u64 = 500;
const EVENTS_A_CARD: u64 = 200;
/// Cards that paid a day ago: their hashes go as the run goes on.
const OLD_CARDS: u64 = 60;
/// Payments of the last day and of the last minutes, before the run.
const SPARSE: u64 = 1500;
const DENSE: u64 = 3000;
/// How far back the dense ones begin: some leave the shortest window in the run.
const DENSE_FOR: i64 = 6 * MINUTE;

/// Where it is paid, if that is known.
const PLACES: [(&str, &str); 5] =
    [("US", "Boston"), ("DE", "Berlin"), ("DE", "Hamburg"), ("CN", "Wuhan"), ("BR", "Recife")];

/// How often events are sent.
const TICK: Duration = Duration::from_millis(20);

/// Makes the events.
#[derive(Debug)]
pub struct Writer {
    schema: WriterSchema,
    header: Vec<u8>,

    dice: Dice,
    written: u64,
}

impl Writer {
    /// Makes those of this seed.
    pub fn new(seed: u64) -> Self {
        let schema = WriterSchema::parse(SCHEMA);
        let header = schema.single_object(&[]);
        Self { schema, header, dice: Dice::new(!seed), written: 0 }
    }

    /// The day before `now`, in order, every event at its time.
    pub fn history(&mut self, now: i64) -> Vec<Event> {
        let mut moments: Vec<(i64, String, u64)> = Vec::new();
        for card in 0..OLD_CARDS {
            let time = now - DAY + self.dice.stretch(-MINUTE, 90 * SECOND);
            moments.push((time, format!("old-{card}"), card));
        }
        for count in 0..SPARSE + DENSE {
            let time = if count < SPARSE {
                now - self.dice.stretch(DENSE_FOR, DAY - 2 * MINUTE)
            } else {
                now - self.dice.stretch(0, DENSE_FOR)
            };
            let card = self.dice.below(CARDS);
            moments.push((time, format!("card-{card}"), card));
        }
        moments.sort();
        moments.into_iter().map(|(time, name, card)| self.event(&name, card, time).at(time)).collect()
    }

    /// An event that is produced at `now`.
    pub fn live(&mut self, now: i64) -> Event {
        let first = self.written / EVENTS_A_CARD;
        let card = first + self.dice.below(CARDS).min(self.dice.below(CARDS));
        let name = format!("card-{card}");
        let kind = self.dice.below(1000);
        let time = match kind {
            // A little out of order, and late.
            0..250 => now - self.dice.stretch(0, 5 * SECOND),
            250..320 => now - self.dice.stretch(5 * SECOND, MINUTE),
            // Too late, wherever the clock is.
            320..330 => now - self.dice.stretch(70 * SECOND, 5 * MINUTE),
            // From a future that must not move the clock.
            330..335 => now + HOUR,
            _ => now,
        };
        let event = self.event(&name, card, time).at(now);
        match kind {
            335..345 => Event { value: event.value.map(|value| self.poison(value)), ..event },
            345..348 => Event { value: None, ..event },
            _ => event,
        }
    }

    /// A header that breaks off, a body that breaks off, and one that goes on.
    fn poison(&mut self, value: Vec<u8>) -> Vec<u8> {
        match self.dice.below(3) {
            0 => vec![0, 0, 0],
            1 => value[..value.len() / 2].to_vec(),
            _ => [value.as_slice(), b"x".as_slice()].concat(),
        }
    }

    fn event(&mut self, name: &str, card: u64, time: i64) -> Event {
        let dice = &mut self.dice;
        let place = if dice.below(6) == 0 { None } else { Some(dice.pick(&PLACES)) };
        let prefix = dice.pick(&["", "", "", "vpn_", "proxy_", "tor_exit_"]);
        let payment = json!({
            "txn_id": format!("t{}", self.written),
            "card_id": name,
            "user_id": "user",
            "amount": dice.pick(&[2.0, 4.75, 10.0, 20.25, 50.0, 75.5, 100.0, 249.75, 500.0]),
            "currency": "CHF",
            "mcc": dice.pick(&["5812", "5999", "6011", "5967", "5311", "4511"]),
            "device_id": format!("device-{}", dice.below(5)),
            "ip_address": format!("{prefix}10.0.0.{}", dice.below(9)),
            "geo_country": place.map(|(country, _)| country),
            "geo_city": place.filter(|_| dice.below(4) > 0).map(|(_, city)| city),
            "timestamp": time,
        });
        self.written += 1;
        let value = [self.header.as_slice(), self.schema.body(&payment).as_slice()].concat();
        let partitions = u64::try_from(PARTITIONS).expect("there are partitions");
        let partition = i32::try_from(card % partitions).expect("there are few partitions");
        Event::new(partition, name, value)
    }
}

/// Writes to the topic at a steady rate, in a thread, until it is told to stop.
#[derive(Debug)]
pub struct Producer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Producer {
    /// Begins with so many events a second.
    pub fn start(brokers: &str, topic: &str, rate: u64, mut writer: Writer) -> Self {
        let mut config = ClientConfig::new();
        // Not idempotent: events may come twice and in another order, as the log then says.
        config
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("reconnect.backoff.max.ms", "200")
            .set("retry.backoff.max.ms", "200");
        let producer: BaseProducer = config.create().expect("the options are valid");
        let stop = Arc::new(AtomicBool::new(false));
        let (topic, stopped) = (topic.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || produce(&producer, &topic, rate, &mut writer, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// Ends, and says how many events it produced, when the broker has all of them.
    ///
    /// # Panics
    /// When the broker did not take one.
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it was started and is finished once");
        thread.join().expect("the broker takes every event")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn produce(producer: &BaseProducer, topic: &str, rate: u64, writer: &mut Writer, stop: &AtomicBool) -> u64 {
    let begun = Instant::now();
    let mut produced = 0;
    while !stop.load(Ordering::Acquire) {
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).expect("a run ends some day");
        while produced < elapsed_ms * rate / 1000 {
            send(producer, topic, &writer.live(SystemClock.now().millis()));
            produced += 1;
        }
        producer.poll(TICK);
    }
    producer.flush(PATIENCE).expect("the broker takes every event");
    produced
}

fn send(producer: &BaseProducer, topic: &str, event: &Event) {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(event.partition);
    record.key = event.key.as_deref();
    record.payload = event.value.as_deref();
    record.timestamp = event.timestamp_ms;
    while let Err((error, refused)) = producer.send(record) {
        let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        assert!(full, "could not produce to {topic}: {error}");
        producer.poll(TICK);
        record = refused;
    }
}
