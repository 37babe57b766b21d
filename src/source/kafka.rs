//! Kafka as a member of a consumer group, through rdkafka's `BaseConsumer`:
//! polled on the loop's own thread, payloads copied once into the inbox.
//!
//! Callbacks only leave messages here. In particular a rebalance is carried out
//! by the loop, after it has published and committed what it had read.

mod mailbox;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub(super) use self::mailbox::Mailbox;
use self::mailbox::Rebalance;
use super::position::{self, Facts, Start};
use super::{Assignment, Commit, Error, Inbox, Notice, Source};
use crate::frame::{Frame, PartitionId, StreamId};
use crate::state::retained::LeadIn;
use crate::time::EventTime;

/// How long the broker may take to answer a question about offsets.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long one wait for events is at most, so that notices are not left lying.
const POLL_SLICE: Duration = Duration::from_millis(100);

/// Where a consumer begins in partitions that are new to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// The oldest event.
    Earliest,
    /// After the newest event.
    Latest,
    /// Where the group left off.
    Committed,
    /// The first event whose Kafka timestamp is not before this.
    Timestamp(EventTime),
}

/// How to consume.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bootstrap servers, separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group_id: String,
    /// Properties passed through to librdkafka.
    pub properties: BTreeMap<String, String>,
    /// Topics by stream.
    pub topics: Vec<(StreamId, String)>,
    /// Where to begin.
    pub start_from: StartFrom,
    /// Topics whose partitions must all be this process', each with the view that needs it.
    pub whole_topics: Vec<(String, String)>,
    /// Whether the same partition number of several topics must go to one process.
    pub copartitioned: bool,
    /// Whether the run ends once it has caught up.
    pub until_caught_up: bool,
    /// Events in the inbox beyond which polling stops.
    pub max_batch_events: usize,
    /// Bytes in the inbox beyond which polling stops.
    pub max_batch_bytes: usize,
}

/// The client configuration that every part of Windrow begins with.
pub fn client_config(brokers: &str, properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "windrow")
        .set("allow.auto.create.topics", "false")
        .set("log.connection.close", "false");
    for (name, value) in properties {
        config.set(name, value);
    }
    config
}

pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(KafkaError) -> Error {
    move |source| Error::Kafka { what: what.into(), source }
}

/// A member of a consumer group.
pub struct KafkaSource {
    options: Options,
    consumer: BaseConsumer<Mailbox>,

    /// Whether partitions have been given before: those given later begin where the group left off.
    begun: bool,
    assigned: Vec<PartitionId>,
    paused: bool,
    asked_ends: Instant,
}

impl KafkaSource {
    /// Joins the group.
    ///
    /// # Errors
    /// When a property is not accepted, or the group has members beside which
    /// this process cannot work.
    pub fn join(options: Options) -> Result<Self, Error> {
        let mut config = client_config(&options.brokers, &BTreeMap::new());
        config
            .set("group.id", &options.group_id)
            .set("auto.offset.reset", "earliest")
            .set("fetch.queue.backoff.ms", "10")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set(
                "partition.assignment.strategy",
                if options.copartitioned { "range" } else { "cooperative-sticky" },
            );
        for (name, value) in &options.properties {
            config.set(name, value);
        }
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "500")
            .set_log_level(RDKafkaLogLevel::Info);
        let mailbox = Mailbox::deferring();
        let consumer: BaseConsumer<Mailbox> =
            config.create_with_context(mailbox).map_err(failed("set up the Kafka consumer"))?;
        let source = Self {
            options,
            consumer,
            begun: false,
            assigned: Vec::new(),
            paused: false,
            asked_ends: Instant::now(),
        };
        source.refuse_company()?;
        source.look_for_topics()?;
        let topics: Vec<&str> = source.options.topics.iter().map(|(_, topic)| topic.as_str()).collect();
        source.consumer.subscribe(&topics).map_err(failed("subscribe"))?;
        Ok(source)
    }

    /// Of a view that needs all partitions, there can be one process.
    fn refuse_company(&self) -> Result<(), Error> {
        let Some((topic, view)) = self.options.whole_topics.first() else { return Ok(()) };
        let Ok(groups) = self.consumer.fetch_group_list(Some(&self.options.group_id), ANSWER_WITHIN) else {
            return Ok(()); // Noticed when partitions are given.
        };
        let members: usize = groups.groups().iter().map(|group| group.members().len()).sum();
        if members == 0 {
            return Ok(());
        }
        let partitions = self.partitions_of(topic)?;
        Err(Error::NotAlone { view: view.clone(), topic: topic.clone(), partitions, assigned: 0 })
    }

    /// Says which topics are not there yet. One that ends when it has caught up
    /// would wait for them for ever.
    fn look_for_topics(&self) -> Result<(), Error> {
        /// Brokers that do not answer so soon are waited for in the loop.
        const ANSWER_SOON: Duration = Duration::from_secs(5);
        let within = if self.options.until_caught_up { ANSWER_WITHIN } else { ANSWER_SOON };
        let mut missing = Vec::new();
        for (_, topic) in &self.options.topics {
            match self.consumer.fetch_metadata(Some(topic), within) {
                Ok(metadata) if metadata.topics().iter().all(|topic| topic.partitions().is_empty()) => {
                    missing.push(topic.as_str());
                }
                Ok(_) => {}
                Err(source) if self.options.until_caught_up => {
                    return Err(failed(format!("look for topic `{topic}`"))(source));
                }
                Err(error) => {
                    tracing::warn!("Kafka: {error}; tried again until a broker answers");
                    return Ok(());
                }
            }
        }
        for topic in &missing {
            tracing::warn!(topic, "the topic is not there; it is read soon after it is made");
        }
        if self.options.until_caught_up && missing.len() == self.options.topics.len() {
            return Err(Error::OutOfRange(format!("none of the topics is there: {}", missing.join(", "))));
        }
        Ok(())
    }

    fn partitions_of(&self, topic: &str) -> Result<usize, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_WITHIN)
            .map_err(failed(format!("read the partitions of topic `{topic}`")))?;
        Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))
    }

    fn stream_of(&self, topic: &str) -> Option<StreamId> {
        self.options.topics.iter().find(|(_, name)| name == topic).map(|(stream, _)| *stream)
    }

    fn topic_of(&self, stream: StreamId) -> &str {
        self.options.topics.iter().find(|(id, _)| *id == stream).map_or("", |(_, topic)| topic.as_str())
    }

    fn list(
        &self,
        partitions: impl IntoIterator<Item = (PartitionId, Offset)>,
    ) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            list.add_partition_offset(self.topic_of(partition.stream), partition.partition, offset)
                .map_err(failed("name an offset"))?;
        }
        Ok(list)
    }

    fn known(&self, named: &[(String, i32)]) -> Vec<PartitionId> {
        named
            .iter()
            .filter_map(|(topic, partition)| {
                self.stream_of(topic).map(|stream| PartitionId { stream, partition: *partition })
            })
            .collect()
    }

    fn next_notice(&mut self) -> Result<Option<Notice>, Error> {
        let rebalance = self.consumer.context().rebalances.lock().expect("no holder panics").pop_front();
        match rebalance {
            None => Ok(None),
            Some(Rebalance::Revoke { partitions, lost }) => {
                Ok(Some(Notice::Revoked { partitions: self.known(&partitions), lost }))
            }
            Some(Rebalance::Assign(partitions)) => {
                let partitions = self.known(&partitions);
                let assignments = self.begin(&partitions)?;
                self.begun = true;
                Ok(Some(Notice::Assigned(assignments)))
            }
        }
    }

    /// Where each of these partitions begins.
    fn begin(&self, partitions: &[PartitionId]) -> Result<Vec<Assignment>, Error> {
        let ask = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        let committed = self
            .consumer
            .committed_offsets(ask, ANSWER_WITHIN)
            .map_err(failed("read the committed offsets"))?;
        let start_from = if self.begun { StartFrom::Committed } else { self.options.start_from };
        let by_time = match start_from {
            StartFrom::Timestamp(time) => Some(self.at_time(partitions, time)?),
            _ => None,
        };
        let mut assignments = Vec::with_capacity(partitions.len());
        for (index, partition) in partitions.iter().enumerate() {
            let topic = self.topic_of(partition.stream);
            let (low, high) = self
                .consumer
                .fetch_watermarks(topic, partition.partition, ANSWER_WITHIN)
                .map_err(failed(format!("read the offsets of topic `{topic}`")))?;
            let found = committed.find_partition(topic, partition.partition);
            let offset = found.as_ref().and_then(|one| match one.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            });
            let lead_in: Option<LeadIn> = found.and_then(|one| position::parse_metadata(one.metadata()));
            let facts = Facts { partition: *partition, low, high, committed: offset, lead_in };
            let start = match start_from {
                StartFrom::Earliest => Start::Earliest,
                StartFrom::Latest => Start::Latest,
                StartFrom::Committed => Start::Committed,
                StartFrom::Timestamp(_) => Start::At(by_time.as_ref().and_then(|offsets| offsets[index])),
            };
            let decision = position::decide(start, &facts);
            if let Some(warning) = decision.warning {
                tracing::warn!(topic, partition = partition.partition, "{warning}");
            }
            assignments.push(decision.assignment);
        }
        Ok(assignments)
    }

    fn at_time(&self, partitions: &[PartitionId], time: EventTime) -> Result<Vec<Option<i64>>, Error> {
        let ask =
            self.list(partitions.iter().map(|partition| (*partition, Offset::Offset(time.millis().max(0)))))?;
        let found =
            self.consumer.offsets_for_times(ask, ANSWER_WITHIN).map_err(failed("look up offsets by time"))?;
        Ok(partitions
            .iter()
            .map(|partition| {
                match found.find_partition(self.topic_of(partition.stream), partition.partition)?.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                }
            })
            .collect())
    }

    /// What a view needs whole must be wholly here.
    fn refuse_parts(&self) -> Result<(), Error> {
        for (topic, view) in &self.options.whole_topics {
            let partitions = self.partitions_of(topic)?;
            let assigned = self
                .assigned
                .iter()
                .filter(|partition| self.topic_of(partition.stream) == topic.as_str())
                .count();
            if assigned < partitions {
                return Err(Error::NotAlone {
                    view: view.clone(),
                    topic: topic.clone(),
                    partitions,
                    assigned,
                });
            }
        }
        Ok(())
    }

    /// What is paused is not fetched, and so nothing is heard of its end: it is asked for.
    fn ask_ends(&mut self, inbox: &mut Inbox) {
        /// Often enough for a lag that an operator watches.
        const EVERY: Duration = Duration::from_secs(2);
        /// The loop waits meanwhile.
        const ANSWER_SOON: Duration = Duration::from_secs(1);
        if self.asked_ends.elapsed() < EVERY {
            return;
        }
        for partition in &self.assigned {
            let topic = self.topic_of(partition.stream);
            let Ok((_, high)) = self.consumer.fetch_watermarks(topic, partition.partition, ANSWER_SOON)
            else {
                break;
            };
            inbox.set_end(*partition, |end| end.high = Some(high));
        }
        self.asked_ends = Instant::now();
    }

    fn note_ends(&self, inbox: &mut Inbox, drained: bool) {
        let ends = self.consumer.context().ends.lock().expect("no holder panics");
        for partition in &self.assigned {
            let Some((high, eof)) =
                ends.get(&(self.topic_of(partition.stream).to_owned(), partition.partition))
            else {
                continue;
            };
            inbox.set_end(*partition, |end| {
                // What was asked for while paused is newer than the statistics.
                end.high = end.high.max(Some(*high).filter(|high| *high >= 0));
                if drained && *eof >= 0 {
                    end.drained_to = Some(*eof);
                }
            });
        }
    }
}

/// Puts a message into the inbox.
pub(super) fn deliver(inbox: &mut Inbox, partition: PartitionId, message: &impl Message) {
    inbox.push(
        partition,
        Frame {
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key(),
            value: message.payload(),
        },
    );
}

impl Source for KafkaSource {
    fn poll(&mut self, inbox: &mut Inbox, timeout: Duration) -> Result<Option<Notice>, Error> {
        let deadline = Instant::now() + timeout;
        let mut last: Option<(String, StreamId)> = None;
        let mut since_check = 0_u32;
        loop {
            if since_check == 0
                && let Some(notice) = self.next_notice()?
            {
                return Ok(Some(notice));
            }
            // The clock and the inbox's size are looked at once in a while, not at every event.
            since_check = (since_check + 1) % 64;
            let left = deadline.saturating_duration_since(Instant::now());
            let full = inbox.len() >= self.options.max_batch_events
                || (since_check == 1 && inbox.byte_len() >= self.options.max_batch_bytes);
            // While fetching is paused the group wants to be polled all the same, and nothing comes.
            if full && !self.paused {
                return Ok(None);
            }
            match self.consumer.poll(left.min(POLL_SLICE)) {
                Some(Ok(message)) => {
                    let topic = message.topic();
                    let stream = match &last {
                        Some((name, stream)) if name == topic => Some(*stream),
                        _ => {
                            let stream = self.stream_of(topic);
                            last = stream.map(|stream| (topic.to_owned(), stream));
                            stream
                        }
                    };
                    if let Some(stream) = stream {
                        deliver(inbox, PartitionId { stream, partition: message.partition() }, &message);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => self.consumer.context().say(&error),
                None if self.paused => self.ask_ends(inbox),
                None => {
                    // Nothing waits: all that the statistics say was fetched has been handed over.
                    self.note_ends(inbox, true);
                    since_check = 0;
                }
            }
            if left.is_zero() {
                self.note_ends(inbox, false);
                return self.next_notice();
            }
        }
    }

    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        let list = self.list(assignments.iter().map(|one| (one.partition, Offset::Offset(one.read_from))))?;
        let given = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            _ => {
                self.assigned.clear();
                self.consumer.assign(&list)
            }
        };
        given.map_err(failed("take the partitions given"))?;
        self.assigned.extend(assignments.iter().map(|one| one.partition));
        if self.paused {
            self.consumer.pause(&list).map_err(failed("pause"))?;
        }
        self.refuse_parts()
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), Error> {
        self.assigned.retain(|partition| !partitions.contains(partition));
        let given_up = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                let list = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
                self.consumer.incremental_unassign(&list)
            }
            _ => self.consumer.unassign(),
        };
        let mut ends = self.consumer.context().ends.lock().expect("no holder panics");
        for partition in partitions {
            ends.remove(&(self.topic_of(partition.stream).to_owned(), partition.partition));
        }
        drop(ends);
        given_up.map_err(failed("give up partitions"))
    }

    fn commit(&mut self, commits: &[Commit], wait: bool) -> Result<(), Error> {
        if commits.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for commit in commits {
            let mut one =
                list.add_partition(self.topic_of(commit.partition.stream), commit.partition.partition);
            one.set_offset(Offset::Offset(commit.offset)).map_err(failed("name an offset"))?;
            one.set_metadata(position::metadata(commit));
        }
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        self.consumer.commit(&list, mode).map_err(failed("commit offsets"))
    }

    fn pause(&mut self, paused: bool) -> Result<(), Error> {
        if self.paused == paused {
            return Ok(());
        }
        self.paused = paused;
        let list = self.list(self.assigned.iter().map(|partition| (*partition, Offset::Invalid)))?;
        if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
            .map_err(failed("pause or resume"))
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // From here on a rebalance has nobody to wait for.
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        let pending =
            std::mem::take(&mut *self.consumer.context().rebalances.lock().expect("no holder panics"));
        if !pending.is_empty() {
            let _ = self.consumer.unassign();
        }
    }
}
