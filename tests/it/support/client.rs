//! A client of Kafka for tests: it makes topics, produces with
//! acknowledgements, and reads back everything that a topic holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

use super::{PATIENCE, eventually, unique};

/// How long one request may take before it is tried again.
const REQUEST: Duration = Duration::from_secs(5);

/// An event to be produced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Kafka's partition number.
    pub partition: i32,
    /// The message key.
    pub key: Option<Vec<u8>>,
    /// The message value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Kafka's timestamp; the time of producing, if `None`.
    pub timestamp_ms: Option<i64>,
    /// The headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Event {
    /// An event with key and value, of now, without headers.
    pub fn new(partition: i32, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { partition, key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// Sets Kafka's timestamp.
    #[must_use]
    pub fn at(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }
}

/// An event as the topic holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Kafka's partition number.
    pub partition: i32,
    /// Its own offset.
    pub offset: i64,
    /// Kafka's timestamp.
    pub timestamp_ms: Option<i64>,
    /// The message key.
    pub key: Option<Vec<u8>>,
    /// The message value.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The text of the first header of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// A client of one cluster. Every call makes its own connection, so none of
/// them remembers a broker that was stopped.
#[derive(Debug, Clone)]
pub struct Client {
    brokers: String,
}

impl Client {
    /// A client of the cluster at `bootstrap.servers`.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into() }
    }

    /// Whether the cluster answers and knows its groups: the first question
    /// after a group makes Kafka create the topic that holds them.
    ///
    /// # Errors
    /// What it said instead.
    pub fn ready(&self) -> Result<(), String> {
        let consumer = self.consumer("ready");
        let metadata = consumer.fetch_metadata(None, REQUEST).map_err(|error| error.to_string())?;
        if metadata.brokers().is_empty() {
            return Err("no brokers yet".to_owned());
        }
        let mut any = TopicPartitionList::new();
        any.add_partition("ready", 0);
        consumer.committed_offsets(any, REQUEST).map(drop).map_err(|error| error.to_string())
    }

    /// Makes a topic and waits until it can be used.
    ///
    /// # Panics
    /// When the broker refuses it.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        done(&wait(self.admin().create_topics([&new], &admin_options())));
        self.wait_for_leaders(topic, partitions);
    }

    /// Gives a topic more partitions, so many in all, and waits until they can be used.
    ///
    /// # Panics
    /// When the broker refuses it.
    #[track_caller]
    pub fn create_partitions(&self, topic: &str, partitions: i32) {
        let count = usize::try_from(partitions).expect("a count is not negative");
        let new = NewPartitions::new(topic, count);
        done(&wait(self.admin().create_partitions([&new], &admin_options())));
        self.wait_for_leaders(topic, partitions);
    }

    /// Deletes a topic and waits until nobody knows it any more.
    ///
    /// # Panics
    /// When the broker refuses it.
    #[track_caller]
    pub fn delete_topic(&self, topic: &str) {
        done(&wait(self.admin().delete_topics(&[topic], &admin_options())));
        let consumer = self.consumer("topics");
        eventually(PATIENCE, &format!("topic {topic} is gone"), || match partitions(&consumer, topic) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("partitions {left:?}")),
        });
    }

    /// Removes what a partition holds before an offset, as retention does.
    ///
    /// # Panics
    /// When the broker does not.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(topic, partition, Offset::Offset(before))
            .expect("the offset is a valid one");
        wait(self.admin().delete_records(&offsets, &admin_options()));
        let consumer = self.consumer("begins");
        eventually(PATIENCE, &format!("{topic} {partition} begins at {before}"), || {
            match consumer.fetch_watermarks(topic, partition, REQUEST) {
                Ok((low, _)) if low == before => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Commits an offset for a group that has no members.
    ///
    /// # Panics
    /// When the broker refuses it.
    #[track_caller]
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("the offset is a valid one");
        self.consumer(group).commit(&offsets, CommitMode::Sync).expect("the broker takes the commit");
    }

    #[track_caller]
    fn wait_for_leaders(&self, topic: &str, partitions: i32) {
        let consumer = self.consumer("topics");
        eventually(PATIENCE, &format!("topic {topic} has leaders"), || {
            let metadata =
                consumer.fetch_metadata(Some(topic), REQUEST).map_err(|error| error.to_string())?;
            let topic = metadata.topics().first().ok_or("no metadata")?;
            if let Some(error) = topic.error() {
                return Err(format!("{error:?}"));
            }
            let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0).count();
            if i32::try_from(led) == Ok(partitions) { Ok(()) } else { Err(format!("{led} of {partitions}")) }
        });
    }

    /// Produces the events in order and returns their offsets, in order, when
    /// the broker has acknowledged all of them. Nothing is produced twice.
    ///
    /// # Panics
    /// When the broker does not accept one.
    #[track_caller]
    pub fn produce(&self, topic: &str, events: &[Event]) -> Vec<i64> {
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).expect("the options are valid");
        for (index, event) in events.iter().enumerate() {
            let mut record = record(topic, index, event);
            while let Err((error, refused)) = producer.send(record) {
                let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                assert!(full, "could not produce to {topic}: {error}");
                producer.poll(Duration::from_millis(20));
                record = refused;
            }
        }
        producer.flush(PATIENCE).expect("the broker acknowledges everything");
        let delivered =
            std::mem::take(&mut *producer.context().delivered.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(delivered.len(), events.len(), "every event of {topic} has an outcome");
        delivered
            .into_values()
            .map(|outcome| outcome.unwrap_or_else(|error| panic!("could not produce to {topic}: {error}")))
            .collect()
    }

    /// Everything that a topic holds now, by partition and offset; nothing if
    /// there is no such topic.
    ///
    /// # Panics
    /// When it cannot be read within [`PATIENCE`].
    #[track_caller]
    pub fn consume_all(&self, topic: &str) -> Vec<Record> {
        let consumer = self.consumer(&unique("reader"));
        let mut unread: BTreeSet<i32> = partitions(&consumer, topic).into_iter().collect();
        let mut assignment = TopicPartitionList::new();
        for partition in &unread {
            assignment
                .add_partition_offset(topic, *partition, Offset::Beginning)
                .expect("the beginning is a valid offset");
        }
        consumer.assign(&assignment).expect("the assignment is valid");

        let begun = Instant::now();
        let mut records = Vec::new();
        let mut last_error = None;
        while !unread.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(Record::from(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                }
                Some(Err(error)) => last_error = Some(error),
                None => {}
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "partitions {unread:?} of {topic} not read to their end; last error: {last_error:?}"
            );
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Where each partition of a topic ends: offsets of the next event.
    #[track_caller]
    pub fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let consumer = self.consumer("ends");
        let end = |partition| {
            eventually(PATIENCE, &format!("the end of {topic} {partition}"), || {
                let marks = consumer.fetch_watermarks(topic, partition, REQUEST);
                marks.map(|(_, high)| high).map_err(|error| error.to_string())
            })
        };
        partitions(&consumer, topic).into_iter().map(|partition| (partition, end(partition))).collect()
    }

    /// What a group has committed for a topic: offsets of the next event.
    /// Partitions without a commit are left out.
    #[track_caller]
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer = self.consumer(group);
        let partitions = partitions(&consumer, topic);
        let committed = eventually(PATIENCE, &format!("the commits of {group}"), || {
            let mut asked = TopicPartitionList::new();
            for partition in &partitions {
                asked.add_partition(topic, *partition);
            }
            consumer.committed_offsets(asked, REQUEST).map_err(|error| error.to_string())
        });
        let offsets = committed.elements_for_topic(topic);
        offsets
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("the options are valid")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("reconnect.backoff.max.ms", "200")
            .set("retry.backoff.max.ms", "200");
        config
    }

    /// A consumer that never joins its group and commits nothing.
    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "20");
        config.create().expect("the options are valid")
    }
}

impl From<&BorrowedMessage<'_>> for Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let owned = |header: Header<'_, &[u8]>| {
                (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
            };
            headers.iter().map(owned).collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// Waits for the answer to an administrator's request.
#[track_caller]
fn wait<T>(request: impl Future<Output = KafkaResult<T>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("builds a runtime");
    runtime.block_on(request).expect("the broker answers")
}

#[track_caller]
fn done(results: &[TopicResult]) {
    for result in results {
        if let Err((name, code)) = result {
            panic!("topic {name}: {code}");
        }
    }
}

/// The outcome of each event of a batch, by its index in the batch.
#[derive(Debug, Default)]
struct Deliveries {
    delivered: Mutex<BTreeMap<usize, Result<i64, String>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.to_string()),
        };
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).insert(index, outcome);
    }
}

fn record<'a>(topic: &'a str, index: usize, event: &'a Event) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(topic, index).partition(event.partition);
    record.key = event.key.as_deref();
    record.payload = event.value.as_deref();
    record.timestamp = event.timestamp_ms;
    if !event.headers.is_empty() {
        let headers = event.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        record.headers = Some(headers);
    }
    record
}

/// The partitions of a topic; none if there is no such topic.
#[track_caller]
fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    eventually(PATIENCE, &format!("metadata of {topic}"), || {
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST).map_err(|error| error.to_string())?;
        match metadata.topics().first() {
            Some(topic) if topic.error().is_none() => {
                Ok(topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
            }
            _ => Ok(Vec::new()),
        }
    })
}
