//! Kafka as a member of a consumer group, through rdkafka's `BaseConsumer`:
//! polled on the loop's own thread, payloads copied once into the inbox.
//!
//! Callbacks only leave messages here. In particular a rebalance is carried out
//! by the loop, after it has published and committed what it had read.

mod begin;
mod mailbox;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub(super) use self::mailbox::Mailbox;
use self::mailbox::Rebalance;
use super::position;
use super::reach::Reach;
use super::{Assignment, Commit, Error, Inbox, Notice, Source};
use crate::frame::{Frame, PartitionId, StreamId};
use crate::time::{EventTime, Span};

/// How long the brokers may take to answer a question while the loop waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What they did not answer is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);
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
    /// The longest window by stream: how long features miss what was lost.
    pub windows: Vec<(StreamId, Span)>,
    /// How far back the views' windows reach.
    pub reach: Reach,
    /// Where to begin.
    pub start_from: StartFrom,
    /// Topics whose partitions must all be this process', each with the view that needs it.
    pub whole_topics: Vec<(String, String)>,
    /// Whether the same partition number of several topics must go to one process.
    pub copartitioned: bool,
    /// Views that read several streams partition by partition, each with its topics.
    pub joined: Vec<(String, Vec<String>)>,
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
        .set("allow.auto.create.topics", "false");
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
    /// The offset wanted next of each of them.
    wanted: BTreeMap<PartitionId, i64>,
    paused: bool,
    asked_ends: Instant,
    /// When the brokers are asked again where partitions begin, which they did not say.
    begin_again: Option<Instant>,
    /// When they are asked again whether a view has all its partitions here.
    count_again: Option<Instant>,
    /// Since when a partition does not hold the offset that is wanted.
    astray: Option<Instant>,
    looked_astray: Instant,
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
            // Every partition begins where it is told. Should it not hold that, it is looked into.
            .set("auto.offset.reset", "error")
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
            wanted: BTreeMap::new(),
            paused: false,
            asked_ends: Instant::now(),
            begin_again: None,
            count_again: None,
            astray: None,
            looked_astray: Instant::now(),
        };
        source.refuse_company()?;
        source.look_for_topics()?;
        let topics: Vec<&str> = source.options.topics.iter().map(|(_, topic)| topic.as_str()).collect();
        source.consumer.subscribe(&topics).map_err(failed("subscribe"))?;
        Ok(source)
    }

    /// Leaves the group. Where no broker is there to hear it, the group notices
    /// by itself, and waiting for one would take as long.
    pub fn leave(self) {
        if self.consumer.context().is_silent() {
            std::mem::forget(self);
        }
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

    fn forget_ends(&self, partitions: impl IntoIterator<Item = PartitionId>) {
        let mut ends = self.consumer.context().ends.lock().expect("no holder panics");
        for partition in partitions {
            ends.remove(&(self.topic_of(partition.stream).to_owned(), partition.partition));
        }
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

    /// Fetches until there is a notice, the inbox is full or the time is over.
    fn fetch(&mut self, inbox: &mut Inbox, timeout: Duration) -> Result<Option<Notice>, Error> {
        let deadline = Instant::now() + timeout;
        let mut last: Option<(String, StreamId)> = None;
        let mut since_check = 0_u32;
        loop {
            if since_check == 0
                && let Some(notice) = self.next_notice(inbox)?
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
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::LogTruncation,
                ))) => {
                    self.astray.get_or_insert_with(Instant::now);
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(failed("stay in the consumer group")(error));
                }
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
                return self.next_notice(inbox);
            }
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
        let notice = self.fetch(inbox, timeout)?;
        for (partition, next) in inbox.positions() {
            if let Some(wanted) = self.wanted.get_mut(&partition) {
                *wanted = next.max(*wanted);
            }
        }
        inbox.set_silent(self.consumer.context().is_silent());
        if notice.is_some() {
            return Ok(notice);
        }
        if self.count_again.is_some_and(|at| Instant::now() >= at) {
            self.refuse_parts()?;
        }
        match self.astray {
            Some(since) => self.look_astray(since, inbox),
            None => Ok(None),
        }
    }

    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        // What was heard of it when it was here before holds no longer.
        self.forget_ends(assignments.iter().map(|one| one.partition));
        let known = |one: &Assignment| self.assigned.contains(&one.partition);
        if !assignments.is_empty() && assignments.iter().all(known) {
            let places: Vec<_> = assignments.iter().map(|one| (one.partition, one.read_from)).collect();
            return self.restart(&places);
        }
        let list = self.list(assignments.iter().map(|one| (one.partition, Offset::Offset(one.read_from))))?;
        let given = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            _ => {
                self.assigned.clear();
                self.wanted.clear();
                self.consumer.assign(&list)
            }
        };
        given.map_err(failed("take the partitions given"))?;
        self.assigned.extend(assignments.iter().map(|one| one.partition));
        self.wanted.extend(assignments.iter().map(|one| (one.partition, one.read_from)));
        if self.paused {
            self.consumer.pause(&list).map_err(failed("pause"))?;
        }
        self.refuse_parts()
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), Error> {
        self.assigned.retain(|partition| !partitions.contains(partition));
        self.wanted.retain(|partition, _| !partitions.contains(partition));
        let given_up = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                let list = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
                self.consumer.incremental_unassign(&list)
            }
            _ => self.consumer.unassign(),
        };
        self.forget_ends(partitions.iter().copied());
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
        if wait && self.consumer.context().is_silent() {
            // The client would wait for as long as a session takes to end.
            return Err(Error::Unreachable {
                what: "commit offsets".to_owned(),
                reason: "no broker answers".to_owned(),
            });
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
        let cooperative = matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        for rebalance in pending {
            // Nothing is begun any more, and what is to be given up is. Otherwise closing would wait.
            let answered = match rebalance {
                _ if !cooperative => self.consumer.unassign(),
                Rebalance::Assign(_) => self.consumer.incremental_assign(&TopicPartitionList::new()),
                Rebalance::Revoke { partitions, .. } => {
                    let mut list = TopicPartitionList::new();
                    for (topic, partition) in &partitions {
                        list.add_partition(topic, *partition);
                    }
                    self.consumer.incremental_unassign(&list)
                }
            };
            if let Err(error) = answered {
                tracing::debug!(target: "kafka", "at the end: {error}");
            }
        }
    }
}
