//! Dead letters in topics, one beside each stream's. The producer is a
//! transport only: key and value pass through untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use tracing::{error, info};

use super::{DeadLetter, DeadLetters, header};
use crate::sink::Error;

/// How long a flush waits for the brokers. Offsets are not committed meanwhile,
/// and the caller tries again.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the brokers may take to tell of a topic or to make one.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a full queue is looked at again.
const QUEUE_POLL: Duration = Duration::from_millis(50);

/// The largest message that librdkafka can be told to send: what the brokers
/// accept is theirs to say, and they accepted the event once.
const MESSAGE_MAX_BYTES: &str = "1000000000";

/// Where dead letters are produced to.
#[derive(Clone, Default)]
pub struct Options {
    /// Properties of librdkafka: brokers and security at least.
    pub properties: Vec<(String, String)>,
    /// The dead-letter topic of each source topic; `<topic>.dlq` for others.
    pub topics: BTreeMap<String, String>,
}

impl fmt::Debug for Options {
    /// Without the properties' values: passwords are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("Options").field("properties", &names).field("topics", &self.topics).finish()
    }
}

/// A producer of dead letters. It is made at the first letter; after a failure
/// it is thrown away with all that it still holds, since the caller repeats it.
pub struct KafkaDeadLetters {
    config: ClientConfig,
    topics: BTreeMap<String, String>,

    producer: Option<BaseProducer<Deliveries>>,
    /// Dead-letter topics that are known to exist.
    existing: BTreeSet<String>,
}

/// Where a letter comes from, for what is said of its delivery.
struct Position {
    topic: String,
    partition: i32,
    offset: i64,
}

/// Collects what became of the letters.
#[derive(Default)]
struct Deliveries {
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Position>;

    fn delivery(&self, result: &DeliveryResult<'_>, position: Self::DeliveryOpaque) {
        let Err((failure, _)) = result else { return };
        if failure.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            // No repetition makes it smaller, and the others must not wait for it.
            error!(
                topic = position.topic,
                partition = position.partition,
                offset = position.offset,
                hint = "raise max.message.bytes of the dead-letter topic; the event itself is still in its own topic",
                "a dead letter is too large for its topic and was not kept"
            );
            return;
        }
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| failure.clone());
    }
}

impl KafkaDeadLetters {
    /// Checks the properties; connects later.
    ///
    /// # Errors
    /// When librdkafka does not accept a property.
    pub fn try_new(options: Options) -> Result<Self, Error> {
        let mut config = ClientConfig::new();
        config.set("message.max.bytes", MESSAGE_MAX_BYTES);
        for (name, value) in options.properties {
            config.set(name, value);
        }
        // Not for users to choose: offsets are committed on the strength of these.
        config.set("acks", "all").set("enable.idempotence", "true");
        let mut letters = Self { config, topics: options.topics, producer: None, existing: BTreeSet::new() };
        letters.connect()?;
        Ok(letters)
    }

    fn connect(&mut self) -> Result<(), Error> {
        if self.producer.is_none() {
            let producer =
                self.config.create_with_context(Deliveries::default()).map_err(|failure| failed(&failure))?;
            self.producer = Some(producer);
        }
        Ok(())
    }

    /// The topic for the letters of a source topic.
    fn topic(&self, source: &str) -> String {
        self.topics.get(source).cloned().unwrap_or_else(|| format!("{source}.dlq"))
    }

    /// Makes a dead-letter topic if it is missing, with as many partitions as
    /// the source has.
    fn ensure_topic(&mut self, topic: &str, source: &str) -> Result<(), Error> {
        if self.existing.contains(topic) {
            return Ok(());
        }
        let Some(producer) = &self.producer else { return Ok(()) };
        if partitions(producer, topic)? == 0 {
            let count = i32::try_from(partitions(producer, source)?).unwrap_or(1).max(1);
            self.create_topic(topic, count)?;
            info!(topic, partitions = count, "made the dead-letter topic");
        }
        self.existing.insert(topic.to_owned());
        Ok(())
    }

    fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Error> {
        let admin: AdminClient<DefaultClientContext> =
            self.config.create().map_err(|failure| failed(&failure))?;
        let options =
            AdminOptions::new().request_timeout(Some(TOPIC_TIMEOUT)).operation_timeout(Some(TOPIC_TIMEOUT));
        // -1 is the broker's own default.
        let topics = [NewTopic::new(topic, partitions, TopicReplication::Fixed(-1))];
        let results = wait(admin.create_topics(&topics, &options)).map_err(|failure| failed(&failure))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(failed_with(code, format!("topic `{name}` was not made: {code}")));
                }
            }
        }
        Ok(())
    }

    fn produce(&mut self, letter: &DeadLetter<'_>) -> Result<(), Error> {
        self.connect()?;
        let topic = self.topic(letter.source_topic);
        self.ensure_topic(&topic, letter.source_topic)?;
        let Some(producer) = &self.producer else { return Ok(()) };
        let position = Position {
            topic: letter.source_topic.to_owned(),
            partition: letter.partition,
            offset: letter.frame.offset,
        };
        let mut record: BaseRecord<'_, [u8], [u8], Box<Position>> =
            BaseRecord::with_opaque_to(&topic, Box::new(position)).headers(headers(letter));
        record.key = letter.frame.key;
        record.payload = letter.frame.value;
        let mut waited = Duration::ZERO;
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if waited < FLUSH_TIMEOUT =>
                {
                    record = back;
                    producer.poll(QUEUE_POLL);
                    waited += QUEUE_POLL;
                }
                Err((failure, _)) => return Err(failed(&failure)),
            }
        }
        producer.poll(Duration::ZERO);
        Ok(())
    }

    fn wait_for_deliveries(&self) -> Result<(), Error> {
        let Some(producer) = &self.producer else { return Ok(()) };
        producer.flush(FLUSH_TIMEOUT).map_err(|failure| failed(&failure))?;
        match producer.context().failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failed(&failure)),
            None => Ok(()),
        }
    }
}

impl DeadLetters for KafkaDeadLetters {
    fn append(&mut self, letter: &DeadLetter<'_>) -> Result<(), Error> {
        self.produce(letter).inspect_err(|_| self.producer = None)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.wait_for_deliveries().inspect_err(|_| {
            self.producer = None;
            // The topic itself may be what is missing now.
            self.existing.clear();
        })
    }
}

/// How many partitions a topic has; none when there is no such topic.
fn partitions(producer: &BaseProducer<Deliveries>, topic: &str) -> Result<usize, Error> {
    let metadata =
        producer.client().fetch_metadata(Some(topic), TOPIC_TIMEOUT).map_err(|failure| failed(&failure))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(0) };
    match found.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(found.partitions().len().max(1)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(0),
        Some(code) => Err(failed_with(code, format!("topic `{topic}`: {code}"))),
    }
}

fn headers(letter: &DeadLetter<'_>) -> OwnedHeaders {
    let texts = [
        (header::SOURCE_TOPIC, letter.source_topic.to_owned()),
        (header::SOURCE_PARTITION, letter.partition.to_string()),
        (header::SOURCE_OFFSET, letter.frame.offset.to_string()),
        (header::SOURCE_TIMESTAMP, letter.frame.timestamp_ms.to_string()),
        (header::REASON, letter.reason.label().to_owned()),
        (header::ERROR, letter.error.to_owned()),
    ];
    texts.iter().fold(OwnedHeaders::new_with_capacity(texts.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

fn failed(failure: &KafkaError) -> Error {
    let reason = failure.to_string();
    match failure {
        // librdkafka's words about a property end in its value, which may be a secret.
        KafkaError::ClientConfig(_, description, name, _) => {
            Error::Refused { store: store(), reason: format!("property `{name}`: {description}") }
        }
        KafkaError::ClientCreation(_) => Error::Refused { store: store(), reason },
        _ => match failure.rdkafka_error_code() {
            Some(code) => failed_with(code, reason),
            None => Error::Unavailable { store: store(), reason },
        },
    }
}

fn failed_with(code: RDKafkaErrorCode, reason: String) -> Error {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::SaslAuthenticationFailed
        | RDKafkaErrorCode::Authentication
        | RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::PolicyViolation => Error::Refused { store: store(), reason },
        _ => Error::Unavailable { store: store(), reason },
    }
}

fn store() -> String {
    "the dead-letter topics".to_owned()
}

/// Waits for the admin client, whose own thread wakes this one. It needs no
/// runtime, and must not: callers may be inside one.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;
    use crate::frame::{Frame, Reason};

    #[test]
    fn headers_name_source_and_reason() {
        let letter = DeadLetter {
            source_topic: "txn.events",
            partition: 3,
            frame: Frame { offset: 7, timestamp_ms: 1_700_000_000_000, key: None, value: Some(b"x") },
            reason: Reason::UnknownSchema,
            error: "schema 9",
        };
        let headers = headers(&letter);
        let read: Vec<_> = headers
            .iter()
            .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap()))
            .collect();
        let expected = [
            ("source_topic", "txn.events"),
            ("source_partition", "3"),
            ("source_offset", "7"),
            ("source_timestamp", "1700000000000"),
            ("reason", "unknown_schema"),
            ("error", "schema 9"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn topics_have_a_default_name_and_properties_are_checked() {
        let topics = BTreeMap::from([("a".to_owned(), "dead.a".to_owned())]);
        let letters = KafkaDeadLetters::try_new(Options { topics, ..Options::default() }).unwrap();
        assert_eq!((letters.topic("a").as_str(), letters.topic("b").as_str()), ("dead.a", "b.dlq"));

        let properties = vec![("no.such.property".to_owned(), "secret".to_owned())];
        let options = Options { properties, ..Options::default() };
        assert!(!format!("{options:?}").contains("secret"));
        let Err(error) = KafkaDeadLetters::try_new(options) else {
            panic!("an unknown property was accepted")
        };
        let message = error.to_string();
        assert!(message.contains("no.such.property") && !message.contains("secret"), "{message}");
    }
}
