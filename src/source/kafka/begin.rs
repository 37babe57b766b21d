//! Where partitions begin when they are given, and anew when they turn out not
//! to hold what is wanted of them: what was lost is said and counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::Offset;

use super::mailbox::Rebalance;
use super::{ANSWER_WITHIN, ASK_AGAIN, KafkaSource, StartFrom, failed};
use crate::frame::{PartitionId, StreamId};
use crate::source::position::{self, Facts, Start};
use crate::source::reach::Committed;
use crate::source::{Assignment, Error, Inbox, Loss, Notice, Past};
use crate::time::{Clock, EventTime, Span, SystemClock};

impl KafkaSource {
    /// The next rebalance that waits to be carried out.
    pub(super) fn next_notice(&mut self, inbox: &mut Inbox) -> Result<Option<Notice>, Error> {
        if self.begin_again.is_some_and(|at| Instant::now() < at) {
            return Ok(None);
        }
        let rebalance = self.consumer.context().rebalances.lock().expect("no holder panics").pop_front();
        match rebalance {
            None => Ok(None),
            Some(Rebalance::Revoke { partitions, lost }) => {
                Ok(Some(Notice::Revoked { partitions: self.known(&partitions), lost }))
            }
            Some(Rebalance::Assign(named)) => {
                let partitions = self.known(&named);
                match self.begin(&partitions, inbox) {
                    Ok(assignments) => {
                        self.begin_again = None;
                        self.begun = true;
                        Ok(Some(Notice::Assigned(assignments)))
                    }
                    Err(error) if is_for_good(&error) => Err(error),
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!("{error}, which is tried again: {}", cause.unwrap_or_default());
                        let mut rebalances =
                            self.consumer.context().rebalances.lock().expect("no holder panics");
                        rebalances.push_front(Rebalance::Assign(named));
                        drop(rebalances);
                        self.begin_again = Some(Instant::now() + ASK_AGAIN);
                        Ok(None)
                    }
                }
            }
        }
    }

    /// Where each of these partitions begins.
    fn begin(&self, partitions: &[PartitionId], inbox: &mut Inbox) -> Result<Vec<Assignment>, Error> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let ask = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        let committed = self
            .consumer
            .committed_offsets(ask, ANSWER_WITHIN)
            .map_err(failed("read the committed offsets"))?;
        // A partition that comes later is a new one, and read from its beginning.
        let start_from = if self.begun { StartFrom::Committed } else { self.options.start_from };
        let metadata = |id: PartitionId| {
            let found = committed.find_partition(self.topic_of(id.stream), id.partition);
            found.and_then(|one| position::parse_metadata(one.metadata()))
        };
        let known: Committed = partitions.iter().filter_map(|id| Some((*id, metadata(*id)?))).collect();
        let by_time = match start_from {
            StartFrom::Timestamp(time) => self.at_times(partitions.iter().map(|id| (*id, time)))?,
            StartFrom::Committed => {
                let wanted = |id: &PartitionId| Some((*id, self.options.reach.wanted(*id, &known)?));
                self.at_times(partitions.iter().filter_map(wanted))?
            }
            _ => BTreeMap::new(),
        };
        let mut decisions = Vec::with_capacity(partitions.len());
        for partition in partitions {
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
            let metadata = known.get(partition);
            let found = by_time.get(partition).copied();
            let facts = Facts {
                partition: *partition,
                low,
                high,
                committed: offset,
                lead_in: metadata.map(|metadata| metadata.lead_in),
                past: metadata
                    .and_then(|metadata| metadata.coverage)
                    .map_or(Past::Whole, |coverage| coverage.past),
                wanted: found,
            };
            let start = match start_from {
                StartFrom::Earliest => Start::Earliest,
                StartFrom::Latest => Start::Latest,
                StartFrom::Committed => Start::Committed,
                StartFrom::Timestamp(_) => Start::At(found),
            };
            decisions.push(position::decide(start, &facts));
        }
        // Nothing is said before all of it is known: otherwise it would be said again.
        let mut assignments = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let partition = decision.assignment.partition;
            if let Some(warning) = decision.warning {
                let topic = self.topic_of(partition.stream);
                let until = self.complete_at(partition.stream, &decision.losses);
                tracing::warn!(topic, partition = partition.partition, "{warning}{until}");
            }
            let read_from = decision.assignment.read_from;
            let is_before = known.get(&partition).is_some_and(|known| read_from < known.lead_in.offset);
            if is_before && start_from == StartFrom::Committed {
                tracing::info!(
                    topic = self.topic_of(partition.stream),
                    partition = partition.partition,
                    read_from,
                    "windows reach further back than what was committed for them"
                );
            }
            for loss in decision.losses {
                inbox.note_loss(partition, loss);
            }
            assignments.push(decision.assignment);
        }
        Ok(assignments)
    }

    /// Each partition's first offset whose Kafka timestamp is not before a time,
    /// where there is one.
    fn at_times(
        &self,
        times: impl Iterator<Item = (PartitionId, EventTime)>,
    ) -> Result<BTreeMap<PartitionId, i64>, Error> {
        let times: Vec<(PartitionId, EventTime)> = times.collect();
        if times.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ask = self.list(times.iter().map(|(id, time)| (*id, Offset::Offset(time.millis().max(0)))))?;
        let found =
            self.consumer.offsets_for_times(ask, ANSWER_WITHIN).map_err(failed("look up offsets by time"))?;
        let offset_of =
            |id: PartitionId| match found.find_partition(self.topic_of(id.stream), id.partition)?.offset() {
                Offset::Offset(offset) => Some((id, offset)),
                _ => None,
            };
        Ok(times.iter().filter_map(|(id, _)| offset_of(*id)).collect())
    }

    /// Until when features may be too low: what was lost is not newer than now.
    fn complete_at(&self, stream: StreamId, losses: &[Loss]) -> String {
        if !losses.iter().any(|loss| matches!(loss, Loss::Unread(_) | Loss::LeadIn(_))) {
            return String::new();
        }
        let window = self.options.windows.iter().find(|(known, _)| *known == stream);
        let window = window.map_or(Span::ZERO, |(_, window)| *window);
        format!("; windows are complete again at {}, or before", SystemClock.now().plus(window))
    }

    /// Looks which partitions are not fetched any more because they do not hold
    /// what is wanted, and what became of them. The client tells of an error
    /// without saying of which partition it is.
    pub(super) fn look_astray(&mut self, since: Instant, inbox: &mut Inbox) -> Result<Option<Notice>, Error> {
        /// The loop waits meanwhile.
        const ANSWER_SOON: Duration = Duration::from_secs(1);
        /// A partition that was given up meanwhile is not found any more.
        const FOUND_WITHIN: Duration = Duration::from_secs(10);
        let context = self.consumer.context();
        let rebalancing = !context.rebalances.lock().expect("no holder panics").is_empty();
        if rebalancing || self.looked_astray.elapsed() < ASK_AGAIN {
            return Ok(None);
        }
        self.looked_astray = Instant::now();
        let mut halted = self.known(&self.consumer.context().halted());
        halted.retain(|partition| self.wanted.contains_key(partition));
        if halted.is_empty() && since.elapsed() > FOUND_WITHIN {
            self.astray = None;
        }
        if halted.is_empty() {
            return Ok(None);
        }
        let mut found = Vec::with_capacity(halted.len());
        for partition in halted {
            let topic = self.topic_of(partition.stream);
            // A topic that is not there has none; asked again later.
            let Ok(marks) = self.consumer.fetch_watermarks(topic, partition.partition, ANSWER_SOON) else {
                return Ok(None);
            };
            found.push((partition, marks));
        }
        self.astray = None;
        self.consumer.context().forget_halted();
        let (mut behind, mut anew) = (Vec::new(), Vec::new());
        for (id, (low, high)) in found {
            let (topic, wanted) = (self.topic_of(id.stream), self.wanted[&id]);
            let loss = position::went_astray(wanted, low);
            inbox.note_loss(id, loss);
            if let Loss::Unread(events) = loss {
                inbox.note_gap(id, low);
                let until = self.complete_at(id.stream, &[loss]);
                tracing::warn!(
                    topic,
                    partition = id.partition,
                    "the topic no longer holds offsets {wanted} to {low}: {events} events were removed before they were read{until}"
                );
                behind.push((id, low));
            } else {
                tracing::warn!(
                    topic,
                    partition = id.partition,
                    "offset {wanted} is wanted, but the topic ends at {high}: it was made anew, so it is read from its beginning, {low}"
                );
                let past = if low > 0 { Past::Unknown } else { Past::Whole };
                anew.push(Assignment {
                    partition: id,
                    read_from: low,
                    clock: None,
                    publish_from: low,
                    hold_until: low,
                    end: high,
                    past,
                    committed_past: past,
                });
            }
        }
        if !behind.is_empty() {
            self.restart(&behind)?;
        }
        Ok((!anew.is_empty()).then_some(Notice::MadeAnew(anew)))
    }

    /// Has partitions that are assigned fetched from these offsets. A seek does
    /// not do: the client does not fetch them at all at the moment.
    pub(super) fn restart(&mut self, places: &[(PartitionId, i64)]) -> Result<(), Error> {
        self.wanted.extend(places.iter().copied());
        self.forget_ends(places.iter().map(|(partition, _)| *partition));
        let (list, restarted) = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                let places = places.iter();
                let list = self.list(places.map(|(id, offset)| (*id, Offset::Offset(*offset))))?;
                let given_up = self.consumer.incremental_unassign(&list);
                let restarted = given_up.and_then(|()| self.consumer.incremental_assign(&list));
                (list, restarted)
            }
            _ => {
                let wanted = self.wanted.iter();
                let list = self.list(wanted.map(|(id, offset)| (*id, Offset::Offset(*offset))))?;
                let restarted = self.consumer.assign(&list);
                (list, restarted)
            }
        };
        restarted.map_err(failed("read partitions anew"))?;
        if self.paused {
            self.consumer.pause(&list).map_err(failed("pause"))?;
        }
        Ok(())
    }
}

/// Whether asking again is of no use.
fn is_for_good(error: &Error) -> bool {
    let Error::Kafka { source, .. } = error else { return true };
    matches!(
        source.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}
