//! Events to Kafka: topics that are missing are made, and what the brokers
//! refuse is told at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};

use crate::config::Input;
use crate::generate::{Generated, Kind};

/// How long a broker may take to answer about topics.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long the last events may take, and how long after Ctrl-C.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);
const FLUSH_WITHIN_STOPPED: Duration = Duration::from_secs(10);

/// How long Ctrl-C may go unnoticed meanwhile.
const FLUSH_STEP: Duration = Duration::from_millis(200);

/// How long to wait for room in the producer's queue before asking again.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// Deliveries are looked at after this many events: seldom enough to cost
/// nothing, often enough that reports do not pile up.
const POLL_EVERY: u64 = 1000;

/// What librdkafka is told unless `--kafka-property` says otherwise.
const PROPERTIES: [(&str, &str); 9] = [
    ("client.id", "windrow-generate"),
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    // A second's worth and more at full speed; a slow broker then slows the generator.
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("compression.type", "none"),
    // A retry neither repeats an event nor changes the order.
    ("enable.idempotence", "true"),
    // As Java's producers do it, so that streams of one key fall into one shard.
    ("partitioner", "murmur2_random"),
    ("delivery.report.only.error", "true"),
];

/// What the brokers refused.
#[derive(Debug, Default)]
struct Deliveries {
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Deliveries {
    fn note(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn last_error(&self) -> String {
        let error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        error.unwrap_or_else(|| "no error was reported".to_owned())
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        self.note(format!("{error}: {reason}"));
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.note(error.to_string());
        }
    }
}

/// A producer of events.
pub struct Kafka {
    producer: BaseProducer<Deliveries>,
    brokers: String,
    topics: BTreeMap<Kind, String>,
    sent: u64,
}

impl Kafka {
    /// Connects, and makes the topics that are missing.
    ///
    /// # Errors
    /// When a property is none, no broker answers, or a topic cannot be made.
    pub fn connect(input: &Input, topics: BTreeMap<Kind, String>, partitions: i32) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        for (name, value) in PROPERTIES {
            config.set(name, value);
        }
        for (name, value) in &input.kafka.0 {
            config.set(name, value);
        }
        let brokers = input.bootstrap_servers();
        config.set("bootstrap.servers", &brokers);
        let producer: BaseProducer<Deliveries> = config
            .create_with_context(Deliveries::default())
            .context("librdkafka refused the properties of the producer")?;
        let kafka = Self { producer, brokers, topics, sent: 0 };
        make_topics(&config, &kafka.missing()?, partitions)?;
        Ok(kafka)
    }

    /// Topics that the cluster does not have. All are listed: asking for one by
    /// name would have some brokers make it, with their own number of partitions.
    fn missing(&self) -> anyhow::Result<Vec<&str>> {
        let metadata = self.producer.client().fetch_metadata(None, ANSWER_WITHIN).map_err(|error| {
            self.producer.poll(Duration::ZERO);
            anyhow::Error::new(error).context(format!(
                "no answer from {}: {}",
                self.brokers,
                self.producer.context().last_error()
            ))
        })?;
        let there: Vec<&str> = metadata.topics().iter().map(MetadataTopic::name).collect();
        Ok(self.topics.values().map(String::as_str).filter(|topic| !there.contains(topic)).collect())
    }

    /// Hands an event over; waits while the queue is full. `false` when it was
    /// told to stop before there was room.
    ///
    /// # Errors
    /// When librdkafka refuses the event for good.
    pub fn send(&mut self, event: &Generated<'_>, wall_ms: i64, stop: &AtomicBool) -> anyhow::Result<bool> {
        self.sent += 1;
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.producer.poll(Duration::ZERO);
        }
        let topic = self.topics.get(&event.kind).context("an event of a stream that was not asked for")?;
        // Kafka's timestamp is when the event arrives, and never in the future.
        let mut record = BaseRecord::<[u8], [u8]>::to(topic)
            .key(event.key)
            .payload(event.value)
            .timestamp(event.arrival_ms.min(wall_ms));
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(false);
                    }
                    self.producer.poll(QUEUE_FULL_WAIT);
                    record = returned;
                }
                Err((error, _)) => {
                    let context = format!("could not send to {}", self.brokers);
                    return Err(anyhow::Error::new(error).context(context));
                }
            }
        }
    }

    /// Lets time pass and looks at deliveries.
    pub fn wait(&self, time: Duration) {
        self.producer.poll(time);
    }

    /// Waits until everything is delivered.
    ///
    /// # Errors
    /// When the brokers refused events, or did not take all of them in time.
    pub fn finish(&self, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut waited = Duration::ZERO;
        let flushed = loop {
            let flushed = self.producer.flush(FLUSH_STEP);
            waited += FLUSH_STEP;
            let within = if stop.load(Ordering::Relaxed) { FLUSH_WITHIN_STOPPED } else { FLUSH_WITHIN };
            if flushed.is_ok() || waited >= within {
                break flushed;
            }
        };
        let deliveries = self.producer.context();
        let failed = deliveries.failed.load(Ordering::Relaxed);
        if failed > 0 {
            anyhow::bail!("{failed} events were refused by {}: {}", self.brokers, deliveries.last_error());
        }
        flushed.with_context(|| {
            let (waiting, error) = (self.producer.in_flight_count(), deliveries.last_error());
            format!("{waiting} events were not taken by {} in time: {error}", self.brokers)
        })
    }
}

fn make_topics(config: &ClientConfig, topics: &[&str], partitions: i32) -> anyhow::Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> =
        config.create().context("librdkafka refused the properties of the admin client")?;
    // -1: as many replicas as the broker makes by default.
    let new: Vec<NewTopic<'_>> =
        topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(-1))).collect();
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN));
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().context("could not start a runtime")?;
    let results = runtime
        .block_on(admin.create_topics(&new, &options))
        .with_context(|| format!("could not make the topics {}", topics.join(", ")))?;
    for result in results {
        match result {
            // Another process was quicker.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("could not make the topic {topic}: {code}"),
        }
    }
    Ok(())
}
