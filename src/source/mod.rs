//! Where events come from. A [`Source`] is an edge: it reads and commits, and
//! decides nothing but where a partition begins.

pub mod kafka;
pub mod position;
pub mod range;
pub mod reach;

use std::time::Duration;

use crate::error::Fault;
use crate::frame::{Frame, FrameBatch, PartitionId};
use crate::state::lead_in::LeadIn;
use crate::time::{EventTime, Span};

/// How much is known of the events before those that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Past {
    /// Everything that windows need.
    #[default]
    Whole,
    /// Every event from this event time on.
    Since(EventTime),
    /// Some are missing. The first event read will tell since when all are known.
    Unknown,
}

/// A partition given to this process, and where to begin.
///
/// ```text
///   read_from         publish_from             hold_until               end
///  ────┼── published before ┼── perhaps published ───┼── not published ────┼──▶ offset
///      clock before it      │                        first published here
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset to read.
    pub read_from: i64,
    /// The partition's clock before it.
    pub clock: Option<EventTime>,
    /// Events before this offset were published before: they only fill the windows.
    pub publish_from: i64,
    /// Events before this offset may have been published by a process that did not
    /// come to commit them. Until they have been read nothing is published: what
    /// the store has is newer.
    pub hold_until: i64,
    /// The log's end when the partition was given, or where a replay ends.
    pub end: i64,
    /// What is known of the events before `read_from`.
    pub past: Past,
    /// The same as the group committed it, which holds for what was saved at or before the commit.
    pub committed_past: Past,
}

/// What a source has to say beside events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Partitions were given. Reading begins with [`Source::assign`].
    Assigned(Vec<Assignment>),
    /// Partitions are to be given up, by [`Source::unassign`] once what was read
    /// of them is published and committed. With `lost` they are gone already,
    /// and committing is not possible any more.
    Revoked {
        /// Which.
        partitions: Vec<PartitionId>,
        /// Whether another may have them already.
        lost: bool,
    },
    /// Partitions that this process has hold another log than before. What was
    /// read of them is void; reading begins with [`Source::assign`].
    MadeAnew(Vec<Assignment>),
}

/// What a source could not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// So many offsets were removed from the topic before they were read.
    Unread(u64),
    /// So many offsets that windows are to be rebuilt from were removed.
    LeadIn(u64),
    /// The log is another than the one read before.
    MadeAnew,
}

/// How far a log reaches, as far as the source knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogEnd {
    /// The offset after the newest event.
    pub high: Option<i64>,
    /// Everything before this offset has been handed over, though its last
    /// offsets may hold no events (markers of transactions, compaction).
    pub drained_to: Option<i64>,
}

impl LogEnd {
    /// Whether all of a log has been handed over that ended at `least` when it
    /// was given, and of which events up to `delivered` came. What was heard of an
    /// end before that one was heard before the partition was given.
    pub fn is_reached(self, least: i64, delivered: i64) -> bool {
        let high = self.high.unwrap_or(least).max(least);
        self.drained_to.is_some_and(|offset| offset >= high) || (self.high.is_some() && delivered >= high)
    }
}

/// Events on their way from a source to the next batch.
#[derive(Debug, Default)]
pub struct Inbox {
    batches: Vec<FrameBatch>,
    last: usize,
    events: usize,
    ends: Vec<(PartitionId, LogEnd)>,
    losses: Vec<(PartitionId, Loss)>,
    gaps: Vec<(PartitionId, i64)>,
    silent: bool,
}

impl Inbox {
    /// Appends an event.
    pub fn push(&mut self, partition: PartitionId, frame: Frame<'_>) {
        if self.batches.get(self.last).is_none_or(|batch| batch.partition != partition) {
            self.last =
                self.batches.iter().position(|batch| batch.partition == partition).unwrap_or_else(|| {
                    self.batches.push(FrameBatch::new(partition));
                    self.batches.len() - 1
                });
        }
        self.batches[self.last].push(frame);
        self.events += 1;
    }

    /// Events waiting.
    pub const fn len(&self) -> usize {
        self.events
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Bytes waiting.
    pub fn byte_len(&self) -> usize {
        self.batches.iter().map(FrameBatch::byte_len).sum()
    }

    /// The position after the last event of each partition.
    pub fn positions(&self) -> impl Iterator<Item = (PartitionId, i64)> {
        self.batches.iter().filter_map(|batch| batch.next_offset().map(|next| (batch.partition, next)))
    }

    /// Takes the events of the partitions for which `wanted` holds.
    pub fn take(&mut self, wanted: impl Fn(PartitionId) -> bool) -> Vec<FrameBatch> {
        let (taken, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.batches).into_iter().partition(|batch| wanted(batch.partition));
        self.batches = kept;
        self.last = 0;
        self.events = self.batches.iter().map(FrameBatch::len).sum();
        taken
    }

    /// Notes how far a log reaches.
    pub fn set_end(&mut self, partition: PartitionId, update: impl FnOnce(&mut LogEnd)) {
        let index = self.ends.iter().position(|(known, _)| *known == partition).unwrap_or_else(|| {
            self.ends.push((partition, LogEnd::default()));
            self.ends.len() - 1
        });
        update(&mut self.ends[index].1);
    }

    /// How far a log reaches.
    pub fn end(&self, partition: PartitionId) -> LogEnd {
        self.ends.iter().find(|(known, _)| *known == partition).map(|(_, end)| *end).unwrap_or_default()
    }

    /// Notes what could not be given of a partition.
    pub fn note_loss(&mut self, partition: PartitionId, loss: Loss) {
        self.losses.push((partition, loss));
    }

    /// Takes what was noted of losses.
    pub fn take_losses(&mut self) -> Vec<(PartitionId, Loss)> {
        std::mem::take(&mut self.losses)
    }

    /// Notes that a partition goes on at this offset, and that events before it are missing.
    pub fn note_gap(&mut self, partition: PartitionId, offset: i64) {
        self.gaps.push((partition, offset));
    }

    /// Takes what was noted of gaps.
    pub fn take_gaps(&mut self) -> Vec<(PartitionId, i64)> {
        std::mem::take(&mut self.gaps)
    }

    /// Notes whether nobody answers where the events come from.
    pub const fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Whether nobody answers where the events come from.
    pub const fn is_silent(&self) -> bool {
        self.silent
    }

    /// Forgets a partition.
    pub fn forget(&mut self, partition: PartitionId) {
        self.take(|taken| taken == partition);
        self.ends.retain(|(known, _)| *known != partition);
        self.gaps.retain(|(known, _)| *known != partition);
    }
}

/// How far a partition has been published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to publish.
    pub offset: i64,
    /// Where to read from so as to have the windows that hold at `offset`.
    pub lead_in: LeadIn,
    /// How far back that reaches.
    pub coverage: Coverage,
}

/// How far back a commit's lead-in reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// The partition's clock at the commit.
    pub clock: Option<EventTime>,
    /// Events that are not newer than so long before the clock may be missing.
    pub span: Span,
    /// What was known of the events before the lead-in.
    pub past: Past,
}

/// What went wrong at a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker could not be reached or did not answer.
    #[error("could not {what}")]
    Kafka {
        /// What was tried.
        what: String,
        /// What the client says.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The brokers refuse this process, or cannot be understood.
    #[error("could not {what}: {reason}")]
    Unreachable {
        /// What was tried.
        what: String,
        /// What the client says of the brokers.
        reason: String,
    },
    /// A view needs all partitions, and this process has only some.
    #[error(
        "view `{view}` is one shard over all {partitions} partitions of `{topic}`, and this process was given {assigned}: another member of the consumer group has the rest"
    )]
    NotAlone {
        /// The view.
        view: String,
        /// The topic.
        topic: String,
        /// Its partitions.
        partitions: usize,
        /// Those of this process.
        assigned: usize,
    },
    /// The topic does not hold what was asked for.
    #[error("{0}")]
    OutOfRange(String),
}

impl Error {
    /// Who has to act.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Kafka { .. } => Fault::Outside,
            Self::Unreachable { .. } | Self::NotAlone { .. } | Self::OutOfRange(_) => Fault::User,
        }
    }
}

/// A log of events by partitions.
///
/// Events of a partition come in offset order, each at least once; between
/// partitions there is no order. Errors that pass by themselves are not
/// reported but logged: an error ends the run.
pub trait Source {
    /// Waits up to `timeout` for events or news. Returns early with a notice,
    /// or when the inbox has reached the source's limits.
    ///
    /// # Errors
    /// What cannot pass by itself.
    fn poll(&mut self, inbox: &mut Inbox, timeout: Duration) -> Result<Option<Notice>, Error>;

    /// Begins reading partitions of a [`Notice::Assigned`] or [`Notice::MadeAnew`].
    ///
    /// # Errors
    /// When the client refuses.
    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), Error>;

    /// Gives up partitions of a [`Notice::Revoked`].
    ///
    /// # Errors
    /// When the client refuses.
    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), Error>;

    /// Commits what is published; with `wait`, before it returns.
    ///
    /// # Errors
    /// With `wait`, when it could not be committed.
    fn commit(&mut self, commits: &[Commit], wait: bool) -> Result<(), Error>;

    /// Stops fetching, or goes on; what is assigned stays assigned.
    ///
    /// # Errors
    /// When the client refuses.
    fn pause(&mut self, paused: bool) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of a log's end, and whether all of a log has been handed over
    /// that ended at 20 when it was given.
    #[track_caller]
    fn check(high: Option<i64>, drained_to: Option<i64>, delivered: i64, expected: bool) {
        let end = LogEnd { high, drained_to };
        assert_eq!(end.is_reached(20, delivered), expected, "{end:?}, {delivered}");
    }

    #[test]
    fn an_end_is_reached_when_it_is_not_before_that_of_the_beginning() {
        check(Some(20), None, 19, false);
        check(Some(20), None, 20, true);
        check(Some(25), None, 24, false);
        check(Some(25), Some(24), 19, false);
        check(Some(25), Some(25), 19, true);
        check(None, Some(20), 0, true);
        // Heard when the partition was here before.
        check(Some(15), None, 17, false);
        check(Some(15), Some(15), 0, false);
        check(None, Some(15), 0, false);
        // Nothing is heard yet.
        check(None, None, 20, false);
    }
}
