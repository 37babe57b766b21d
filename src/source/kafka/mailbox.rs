//! What callbacks of the Kafka client leave for the loop.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    /// In how many statistics in a row each of these partitions was not being fetched.
    halted: Mutex<HashMap<(String, i32), u32>>,
    /// In how many statistics in a row there was no connection to any broker.
    silent: AtomicU32,
    /// What the client said last about a broker that it could not use, and
    /// whether that will not pass by itself.
    refusal: Mutex<Option<(bool, String)>>,
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

    /// Whether there is no connection to any broker, for longer than one takes to be made.
    pub(super) fn is_silent(&self) -> bool {
        /// Statistics come twice a second.
        const IN_A_ROW: u32 = 6;
        self.silent.load(Ordering::Relaxed) >= IN_A_ROW
    }

    /// Partitions that are not fetched though they may be assigned.
    pub(super) fn halted(&self) -> Vec<(String, i32)> {
        /// One that is about to be fetched is seen once, perhaps.
        const IN_A_ROW: u32 = 2;
        let halted = self.halted.lock().expect("no holder panics");
        halted.iter().filter(|(_, times)| **times >= IN_A_ROW).map(|(name, _)| name.clone()).collect()
    }

    /// Has partitions be found halted anew.
    pub(super) fn forget_halted(&self) {
        self.halted.lock().expect("no holder panics").clear();
    }

    /// Why brokers could not be used, as far as the client has said, and
    /// whether that will not pass by itself.
    pub(super) fn refusal(&self) -> Option<(bool, String)> {
        self.refusal.lock().expect("no holder panics").clone()
    }

    fn note_refusal(&self, for_good: bool, reason: &str) {
        let mut refusal = self.refusal.lock().expect("no holder panics");
        if for_good || refusal.as_ref().is_none_or(|(stands, _)| !stands) {
            *refusal = Some((for_good, reason.to_owned()));
        }
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
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.silent.store(0, Ordering::Relaxed);
        } else {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
        let mut ends = self.ends.lock().expect("no holder panics");
        let mut halted = self.halted.lock().expect("no holder panics");
        for (name, topic) in statistics.topics {
            for (number, partition) in topic.partitions {
                if number >= 0 {
                    if partition.fetch_state == "none" {
                        *halted.entry((name.clone(), number)).or_default() += 1;
                    } else {
                        halted.remove(&(name.clone(), number));
                    }
                    // The last stable offset is the end for who reads committed events only.
                    let high =
                        if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                    // Of what is not fetched the client still tells where it ended when it was.
                    let eof = if partition.fetch_state == "active" { partition.eof_offset } else { -1 };
                    ends.insert((name.clone(), number), (high, eof));
                }
            }
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.note_refusal(false, message);
        }
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
        // An offset that is not there is seen to by the source.
        let code = error.rdkafka_error_code();
        if matches!(
            code,
            Some(
                RDKafkaErrorCode::PartitionEOF
                    | RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::LogTruncation
            )
        ) {
            return;
        }
        match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => self.note_refusal(true, reason),
            Some(RDKafkaErrorCode::BrokerTransportFailure) if self.refusal().is_none() => {
                self.note_refusal(false, reason);
            }
            _ => {}
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

    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(POLL_SLICE)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Partition, Topic};

    use super::*;

    /// In which state a partition is said to be, and which end of it is remembered.
    #[track_caller]
    fn check(fetch_state: &str, expected: (i64, i64)) {
        let told = Partition {
            fetch_state: fetch_state.to_owned(),
            hi_offset: 9,
            ls_offset: -1001,
            eof_offset: 7,
            ..Partition::default()
        };
        let topic = Topic { partitions: HashMap::from([(3, told)]), ..Topic::default() };
        let topics = HashMap::from([("t".to_owned(), topic)]);
        let mailbox = Mailbox::default();
        mailbox.stats(Statistics { topics, ..Statistics::default() });
        assert_eq!(mailbox.ends.lock().unwrap()[&("t".to_owned(), 3)], expected, "{fetch_state}");
    }

    #[test]
    fn what_is_not_fetched_has_no_end() {
        check("active", (9, 7));
        check("stopped", (9, -1));
        check("none", (9, -1));
    }
}
