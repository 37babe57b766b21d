//! A stretch of topics, for replays: outside any consumer group, with the
//! lead-in that the windows at its beginning need.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::kafka::{Mailbox, client_config, deliver, failed};
use super::{Assignment, Commit, Error, Inbox, Notice, Past, Source};
use crate::frame::{PartitionId, StreamId};
use crate::time::{EventTime, Span};

/// How long the broker may take to answer, or to send one event.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One end of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The oldest event.
    Beginning,
    /// After the newest event.
    End,
    /// The first event whose Kafka timestamp is not before this.
    Time(EventTime),
    /// Offsets by partition, each perhaps with its stream's name.
    Offsets(Vec<(Option<String>, i32, i64)>),
}

/// What is no [`Bound`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of beginning, end, a time (2026-01-31T12:00:00Z, or milliseconds since the epoch), offsets (0:1200,1:900, or transactions/0:1200)"
)]
pub struct NoBound(String);

impl FromStr for Bound {
    type Err = NoBound;

    fn from_str(text: &str) -> Result<Self, NoBound> {
        let text = text.trim();
        match text {
            "beginning" | "earliest" => return Ok(Self::Beginning),
            "end" | "latest" => return Ok(Self::End),
            _ => {}
        }
        if let Ok(millis) = text.parse::<i64>() {
            return Ok(Self::Time(EventTime::from_millis(millis)));
        }
        if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
            return Ok(Self::Time(EventTime(time.timestamp_micros())));
        }
        text.split(',')
            .map(|part| {
                let (place, offset) = part.trim().rsplit_once(':')?;
                let (stream, partition) = match place.rsplit_once('/') {
                    Some((stream, partition)) => (Some(stream.to_owned()), partition),
                    None => (None, place),
                };
                Some((stream, partition.parse().ok()?, offset.parse().ok().filter(|offset| *offset >= 0)?))
            })
            .collect::<Option<Vec<_>>>()
            .map(Self::Offsets)
            .ok_or_else(|| NoBound(text.to_owned()))
    }
}

/// A stream of a replay.
#[derive(Debug, Clone)]
pub struct RangeStream {
    /// Its number.
    pub stream: StreamId,
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// How far before the beginning events can still matter.
    pub lead_in: Span,
}

/// How to read a stretch.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bootstrap servers, separated by commas.
    pub brokers: String,
    /// Properties passed through to librdkafka.
    pub properties: BTreeMap<String, String>,
    /// The streams.
    pub streams: Vec<RangeStream>,
    /// Where the stretch begins.
    pub from: Bound,
    /// Where it ends.
    pub to: Bound,
    /// Events in the inbox beyond which polling stops.
    pub max_batch_events: usize,
}

/// A stretch of topics.
pub struct RangeSource {
    options: Options,
    consumer: BaseConsumer<Mailbox>,

    pending: Option<Vec<Assignment>>,
    /// What is still to be read, by topic, partition and end.
    open: Vec<(String, PartitionId, i64)>,
}

impl RangeSource {
    /// Works out the offsets, which must be there.
    ///
    /// # Errors
    /// When the broker does not answer, or the topic does not hold the stretch.
    pub fn open(options: Options) -> Result<Self, Error> {
        let mut config = client_config(&options.brokers, &options.properties);
        config
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("group.id", "windrow-replay");
        let consumer: BaseConsumer<Mailbox> =
            config.create_with_context(Mailbox::default()).map_err(failed("set up the Kafka consumer"))?;
        let mut source = Self { options, consumer, pending: None, open: Vec::new() };
        let mut assignments = Vec::new();
        for stream in source.options.streams.clone() {
            assignments.extend(source.stretches(&stream)?);
        }
        if assignments.is_empty() {
            return Err(Error::OutOfRange("no partition of the streams read is in the stretch".to_owned()));
        }
        source.pending = Some(assignments);
        Ok(source)
    }

    /// The partitions of the stretch.
    pub fn assignments(&self) -> &[Assignment] {
        self.pending.as_deref().unwrap_or_default()
    }

    fn stretches(&self, stream: &RangeStream) -> Result<Vec<Assignment>, Error> {
        let topic = &stream.topic;
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_WITHIN)
            .map_err(failed(format!("read the partitions of topic `{topic}`")))?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        if partitions.is_empty() {
            return Err(Error::OutOfRange(format!(
                "topic `{topic}` of stream `{}` is not there",
                stream.name
            )));
        }
        if let Bound::Offsets(offsets) = &self.options.from {
            for (name, partition, _) in offsets {
                if name.as_ref().is_none_or(|name| *name == stream.name) && !partitions.contains(partition) {
                    return Err(Error::OutOfRange(format!(
                        "topic `{topic}` has no partition {partition}: it has 0 to {}",
                        partitions.len() - 1
                    )));
                }
            }
        }
        let mut found = Vec::new();
        for partition in partitions {
            let (low, high) = self
                .consumer
                .fetch_watermarks(topic, partition, ANSWER_WITHIN)
                .map_err(failed(format!("read the offsets of topic `{topic}`")))?;
            let Some(from) = self.resolve(&self.options.from, stream, partition, low, high)? else {
                continue;
            };
            let to = self.resolve(&self.options.to, stream, partition, low, high)?.unwrap_or(high);
            if from < low || from > high || to > high {
                return Err(Error::OutOfRange(format!(
                    "offsets {from} to {to} were asked of topic `{topic}` partition {partition}, which holds {low} to {high}"
                )));
            }
            if to < from {
                return Err(Error::OutOfRange(format!(
                    "the stretch of topic `{topic}` partition {partition} ends at {to}, before it begins at {from}"
                )));
            }
            let partition_id = PartitionId { stream: stream.stream, partition };
            let (read_from, lacks) = self.lead_in(topic, partition, (from, low, high), stream.lead_in)?;
            if lacks {
                tracing::warn!(
                    "topic `{topic}` partition {partition} begins at offset {low}: of what the windows hold at \
                     offset {from} it may have had more, so features may be too low for a window's length"
                );
            }
            found.push(Assignment {
                partition: partition_id,
                read_from,
                clock: None,
                publish_from: from,
                hold_until: from,
                end: to,
                // Nobody would take the marks of a replay off again.
                past: Past::Whole,
                committed_past: Past::Whole,
            });
        }
        Ok(found)
    }

    fn resolve(
        &self,
        bound: &Bound,
        stream: &RangeStream,
        partition: i32,
        low: i64,
        high: i64,
    ) -> Result<Option<i64>, Error> {
        Ok(match bound {
            Bound::Beginning => Some(low),
            Bound::End => Some(high),
            Bound::Time(time) => Some(self.offset_at(&stream.topic, partition, *time)?.unwrap_or(high)),
            Bound::Offsets(offsets) => offsets
                .iter()
                .find(|(name, number, _)| {
                    *number == partition && name.as_ref().is_none_or(|name| *name == stream.name)
                })
                .map(|(_, _, offset)| *offset),
        })
    }

    /// Where to begin so that every window is full at `from`, of a log that goes from `low` to `high`;
    /// and whether events before that may be missing, since the oldest are gone.
    fn lead_in(
        &self,
        topic: &str,
        partition: i32,
        (from, low, high): (i64, i64, i64),
        length: Span,
    ) -> Result<(i64, bool), Error> {
        if from <= low {
            return Ok((from, low > 0));
        }
        let Some(time) = self.time_of(topic, partition, from.min(high - 1))? else {
            return Ok((low, low > 0));
        };
        let begin = time.minus(length);
        let offset = self.offset_at(topic, partition, begin)?.unwrap_or(from).clamp(low, from);
        if offset > low || low == 0 {
            return Ok((offset, false));
        }
        let oldest = self.time_of(topic, partition, low)?;
        Ok((offset, oldest.is_none_or(|oldest| oldest > begin)))
    }

    fn offset_at(&self, topic: &str, partition: i32, time: EventTime) -> Result<Option<i64>, Error> {
        let ask = one(topic, partition, Offset::Offset(time.millis().max(0)))?;
        let found =
            self.consumer.offsets_for_times(ask, ANSWER_WITHIN).map_err(failed("look up offsets by time"))?;
        Ok(found.find_partition(topic, partition).and_then(|one| match one.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// The Kafka timestamp of the first event at or after an offset.
    fn time_of(&self, topic: &str, partition: i32, offset: i64) -> Result<Option<EventTime>, Error> {
        self.consumer
            .assign(&one(topic, partition, Offset::Offset(offset))?)
            .map_err(failed("read an event"))?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut time = None;
        while Instant::now() < deadline {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    time = message.timestamp().to_millis().map(EventTime::from_millis);
                    break;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => tracing::debug!("{error}"),
                None => {}
            }
        }
        self.consumer.unassign().map_err(failed("read an event"))?;
        Ok(time)
    }
}

fn one(topic: &str, partition: i32, offset: Offset) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset).map_err(failed("name an offset"))?;
    Ok(list)
}

impl Source for RangeSource {
    fn poll(&mut self, inbox: &mut Inbox, timeout: Duration) -> Result<Option<Notice>, Error> {
        if let Some(assignments) = self.pending.take() {
            return Ok(Some(Notice::Assigned(assignments)));
        }
        let deadline = Instant::now() + timeout;
        loop {
            if inbox.len() >= self.options.max_batch_events {
                return Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let at = self.open.iter().position(|(topic, id, _)| {
                        topic == message.topic() && id.partition == message.partition()
                    });
                    let Some(at) = at else { continue };
                    let (topic, partition, end) = &self.open[at];
                    if message.offset() < *end {
                        deliver(inbox, *partition, &message);
                    }
                    if message.offset() + 1 >= *end {
                        let (partition, end) = (*partition, *end);
                        let done = one(topic, partition.partition, Offset::Invalid)?;
                        self.consumer.pause(&done).map_err(failed("pause"))?;
                        inbox.set_end(partition, |known| known.drained_to = Some(end));
                        self.open.remove(at);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    // Only markers are left before the end. With several topics it is not said which one.
                    let mut candidates = self.open.iter().filter(|(_, id, _)| id.partition == number);
                    if let (Some((_, partition, end)), None) = (candidates.next(), candidates.next()) {
                        let (partition, end) = (*partition, *end);
                        inbox.set_end(partition, |known| known.drained_to = Some(end));
                    }
                }
                Some(Err(error)) => tracing::warn!("Kafka: {error}"),
                None => {}
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for assignment in assignments {
            let stream = self
                .options
                .streams
                .iter()
                .find(|stream| stream.stream == assignment.partition.stream)
                .expect("assignments are of the options' streams");
            if assignment.read_from >= assignment.end {
                continue;
            }
            list.add_partition_offset(
                &stream.topic,
                assignment.partition.partition,
                Offset::Offset(assignment.read_from),
            )
            .map_err(failed("name an offset"))?;
            self.open.push((stream.topic.clone(), assignment.partition, assignment.end));
        }
        self.consumer.assign(&list).map_err(failed("take the partitions"))
    }

    fn unassign(&mut self, _partitions: &[PartitionId]) -> Result<(), Error> {
        Ok(())
    }

    /// A replay commits nothing: the running job's group is not touched.
    fn commit(&mut self, _commits: &[Commit], _wait: bool) -> Result<(), Error> {
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for (topic, partition, _) in &self.open {
            list.add_partition(topic, partition.partition);
        }
        if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
            .map_err(failed("pause or resume"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        assert_eq!("beginning".parse(), Ok(Bound::Beginning));
        assert_eq!("1000".parse(), Ok(Bound::Time(EventTime(1_000_000))));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Bound::Time(EventTime(1_000_000))));
        assert_eq!(
            "0:1200, clicks/1:900".parse(),
            Ok(Bound::Offsets(vec![(None, 0, 1200), (Some("clicks".to_owned()), 1, 900)]))
        );
        for text in ["", "soon", "0:-1", "x:1", "0:"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }
}
