//! What callbacks of the Kafka client leave for the loop.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::POLL_SLICE;

/// A rebalance that waits to be carried out.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(Vec<(String, i32)>),
    Revoke { partitions: Vec<(String, i32)>, lost: bool },
}

/// What callbacks leave for the loop.
#[derive(Default)]
pub(in crate::source) struct Mailbox {
    pub(super) rebalances: Mutex<VecDeque<Rebalance>>,
    /// By topic and partition: the log's end, and the end up to which all was fetched.
    pub(super) ends: Mutex<HashMap<(String, i32), (i64, i64)>>,
    pub(super) closing: AtomicBool,
    /// Whether the loop carries rebalances out.
    defer: bool,
    /// Errors said already, so that one that stays is not said at every attempt.
    said: Mutex<HashMap<String, Instant>>,
}

impl Mailbox {
    /// One whose rebalances wait for the loop to carry them out.
    pub(super) fn deferring() -> Self {
        Self { defer: true, ..Self::default() }
    }

    /// Says an error once a minute; all that come here pass by themselves.
    pub(super) fn say(&self, error: &KafkaError) {
        /// Said again after this long.
        const AGAIN: Duration = Duration::from_secs(60);
        /// Different errors remembered; more are not worth telling apart.
        const MOST: usize = 1000;
        let text = error.to_string();
        let now = Instant::now();
        let mut said = self.said.lock().expect("no holder panics");
        if said.get(&text).is_some_and(|last| now.duration_since(*last) < AGAIN) {
            return;
        }
        let hint = match error.rdkafka_error_code() {
            // Said when the run began, with the topic's name.
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::debug!("Kafka: {text}");
                return;
            }
            Some(RDKafkaErrorCode::Authentication) => "; check the credentials among the Kafka properties",
            Some(RDKafkaErrorCode::AllBrokersDown) => "; tried again until one answers",
            _ => "",
        };
        tracing::warn!("Kafka: {text}{hint}");
        if said.len() >= MOST {
            said.clear();
        }
        said.insert(text, now);
    }
}

impl ClientContext for Mailbox {
    fn stats(&self, statistics: Statistics) {
        let mut ends = self.ends.lock().expect("no holder panics");
        for (name, topic) in statistics.topics {
            for (number, partition) in topic.partitions {
                if number >= 0 {
                    // The last stable offset is the end for who reads committed events only.
                    let high =
                        if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                    ends.insert((name.clone(), number), (high, partition.eof_offset));
                }
            }
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "kafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no error; it is asked for so that the statistics have it.
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        tracing::debug!(target: "kafka", "{error}: {reason}");
        self.say(&error);
    }
}

impl ConsumerContext for Mailbox {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let named = || {
            partitions
                .elements()
                .iter()
                .map(|one| (one.topic().to_owned(), one.partition()))
                .collect::<Vec<_>>()
        };
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if !self.defer || self.closing.load(Ordering::Relaxed) {
            let done = match (assigned, cooperative) {
                (true, true) => consumer.incremental_assign(partitions),
                (true, false) => consumer.assign(partitions),
                (false, true) => consumer.incremental_unassign(partitions),
                (false, false) => consumer.unassign(),
            };
            if let Err(error) = done {
                tracing::debug!(target: "kafka", "at the end: {error}");
            }
            return;
        }
        let rebalance = if assigned {
            Rebalance::Assign(named())
        } else {
            Rebalance::Revoke { partitions: named(), lost: consumer.assignment_lost() }
        };
        self.rebalances.lock().expect("no holder panics").push_back(rebalance);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _offsets: &TopicPartitionList) {
        if let Err(error) = result
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            tracing::warn!(target: "kafka", "could not commit offsets; the next commit includes them: {error}");
        }
    }

    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(POLL_SLICE)
    }
}
