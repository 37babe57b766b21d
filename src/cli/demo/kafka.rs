//! The demo's own Kafka, which librdkafka plays within this process, and the
//! events that are produced to it. It keeps 5 MiB a partition, which is more
//! than is ever waiting here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::cast::Cast;
use crate::cli::generate::topics;
use crate::config::{DeadLetters, StreamConfig};
use crate::generate::{Generated, Generator, Kind, Options};
use crate::source::kafka::client_config;
use crate::telemetry::Health;
use crate::time::{Clock, Span};

/// Enough to see shards, few enough for one worker.
const PARTITIONS: i32 = 2;

/// How long partitions may take to be assigned: events that wait for that would
/// spoil the freshness shown.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Events made between two looks at the clock, at most.
const BURST: u64 = 1000;

/// How long to wait when no event is due.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the last events may take.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// What the generator is to make: enough of everything that happens in life to see it.
fn options(seed: u64) -> Options {
    Options {
        seed,
        fraud_share: 0.02,
        late_share: 0.002,
        late_by: Span::from_secs(30),
        malformed_share: 0.0005,
        v1_share: 0.2,
        ..Options::default()
    }
}

/// A Kafka broker within this process; other processes may connect to it too.
pub(super) struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen on loopback.
    pub(super) fn start() -> anyhow::Result<Self> {
        MockCluster::new(1).map(Self).context("could not start the demo's Kafka")
    }

    /// Its address.
    pub(super) fn address(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// Makes the streams' topics and those of their dead letters: requests to
    /// create topics are nothing that it answers.
    ///
    /// # Errors
    /// When a topic cannot be made.
    pub(super) fn make_topics(&self, streams: &[StreamConfig]) -> anyhow::Result<()> {
        let mut topics: Vec<&str> = streams.iter().map(|stream| stream.topic.as_str()).collect();
        topics.extend(streams.iter().filter_map(|stream| match &stream.dead_letters {
            DeadLetters::Topic(topic) => Some(topic.as_str()),
            DeadLetters::File(_) => None,
        }));
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            self.0
                .create_topic(topic, PARTITIONS, 1)
                .with_context(|| format!("could not make the demo's topic {topic}"))?;
        }
        Ok(())
    }
}

/// Produces generated events, as they would arrive.
pub(super) struct Feed<'a> {
    producer: BaseProducer,
    topics: BTreeMap<Kind, String>,
    generator: Generator,
    rate: f64,
    clock: Arc<dyn Clock>,
    cast: &'a Mutex<Cast>,
}

impl<'a> Feed<'a> {
    /// A feed of so many events a second, of the shipped streams.
    ///
    /// # Errors
    /// Bugs only.
    pub(super) fn try_new(
        brokers: &str,
        streams: &[StreamConfig],
        (rate, seed): (f64, u64),
        clock: Arc<dyn Clock>,
        cast: &'a Mutex<Cast>,
    ) -> anyhow::Result<Self> {
        let producer: BaseProducer = client_config(brokers, &BTreeMap::new())
            .set("client.id", "windrow-demo")
            .set("linger.ms", "5")
            .set("partitioner", "murmur2_random")
            .create()
            .context("could not set up the demo's producer")?;
        let topics = topics(streams);
        Ok(Self { producer, topics, generator: Generator::try_new(options(seed))?, rate, clock, cast })
    }

    /// Produces until `ending` is set. Begins once somebody reads.
    ///
    /// # Errors
    /// When the broker does not take events.
    pub(super) fn run(mut self, health: &Health, ending: &AtomicBool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while health.ready().is_err() && begun.elapsed() < READY_WITHIN && !ending.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
        }
        let begun = Instant::now();
        let mut made = 0;
        while !ending.load(Ordering::Relaxed) {
            let due = due(self.rate, begun.elapsed(), made).min(BURST);
            let now_ms = self.clock.now().millis();
            for _ in 0..due {
                let event = self.generator.next(now_ms);
                self.cast.lock().unwrap_or_else(PoisonError::into_inner).note(
                    event.kind,
                    event.entity,
                    event.fraud,
                );
                if let Some(topic) = self.topics.get(&event.kind) {
                    send(&self.producer, topic, &event, ending)?;
                }
            }
            made += due;
            self.producer.poll(if due < BURST { PAUSE } else { Duration::ZERO });
        }
        // What is still on its way when the demo ends does not matter.
        let _ = self.producer.flush(FLUSH_WITHIN);
        Ok(())
    }
}

/// Hands an event over; waits while the queue is full.
fn send(
    producer: &BaseProducer,
    topic: &str,
    event: &Generated<'_>,
    ending: &AtomicBool,
) -> anyhow::Result<()> {
    let mut record =
        BaseRecord::<[u8], [u8]>::to(topic).key(event.key).payload(event.value).timestamp(event.arrival_ms);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                if ending.load(Ordering::Relaxed) {
                    return Ok(());
                }
                producer.poll(PAUSE);
                record = returned;
            }
            Err((error, _)) => return Err(error).context("the demo's Kafka did not take an event"),
        }
    }
}

/// How many events are due after so much time, `made` of them being made.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted"
)]
fn due(rate: f64, elapsed: Duration, made: u64) -> u64 {
    ((elapsed.as_secs_f64() * rate) as u64).saturating_sub(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_the_rate() {
        assert_eq!(due(2000.0, Duration::from_millis(100), 0), 200);
        assert_eq!(due(2000.0, Duration::from_millis(100), 150), 50);
        assert_eq!(due(2000.0, Duration::from_millis(100), 300), 0);
    }

    #[test]
    fn what_is_generated_is_allowed() {
        options(1).validate().unwrap();
    }
}
