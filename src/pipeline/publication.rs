//! What a turn hands over to be published, and what there is to say of it.

use std::time::{Duration, Instant};

use crate::frame::{FrameBatch, PartitionId, Rejected, StreamId};
use crate::sink::Writes;
use crate::sink::fence::Shard;
use crate::source::Commit;
use crate::time::{EventTime, Span};

/// Events of one partition that could not be used.
#[derive(Debug)]
pub struct Letters {
    /// The frames among which they are.
    pub frames: FrameBatch,
    /// Which, and why.
    pub rejected: Vec<Rejected>,
}

/// What a turn did with one stream's events.
#[derive(Debug, Clone, Default)]
pub struct StreamCounts {
    /// On time.
    pub processed: u64,
    /// Late, and counted.
    pub late: u64,
    /// Too late.
    pub too_late: u64,
    /// Without a value.
    pub tombstones: u64,
    /// Read only to fill windows.
    pub lead_in: u64,
    /// Sampled events whose message key is not their key column.
    pub key_mismatches: u64,
    /// Events kept after the turn.
    pub kept: usize,
    /// Kafka's timestamps of the events that count, for freshness: wave by wave.
    pub timestamps_ms: Vec<Vec<i64>>,
}

impl StreamCounts {
    /// The timestamps of a wave's events.
    pub fn timestamps_of(&mut self, wave: usize) -> &mut Vec<i64> {
        if self.timestamps_ms.len() <= wave {
            self.timestamps_ms.resize_with(wave + 1, Vec::new);
        }
        &mut self.timestamps_ms[wave]
    }

    /// All but the timestamps, of which there are as many as events.
    const fn without_timestamps(&self) -> Self {
        let Self { processed, late, too_late, tombstones, lead_in, key_mismatches, kept, timestamps_ms: _ } =
            *self;
        let timestamps_ms = Vec::new();
        Self { processed, late, too_late, tombstones, lead_in, key_mismatches, kept, timestamps_ms }
    }
}

/// What a turn did with one view.
#[derive(Debug, Clone, Default)]
pub struct ViewReport {
    /// Feature values computed anew.
    pub features: u64,
    /// Rows without a key.
    pub keyless: u64,
    /// Rows with a key that another row had.
    pub repeated: u64,
    /// Events on which its SQL fails, so that they do not count in it.
    pub unusable: u64,
    /// Bytes of what is kept for it.
    pub state_bytes: usize,
    /// Entities that have a hash.
    pub entities: usize,
    /// Its shards.
    pub shards: usize,
    /// How long its clock has to go on until the windows of every shard are complete.
    pub warms_for: Span,
    /// The streams it reads.
    pub streams: Vec<StreamId>,
}

/// Everything that a turn came to, or what was ready of it before the rest was computed.
#[derive(Debug)]
pub struct Publication {
    /// Wall time of the turn.
    pub wall: EventTime,
    /// When the turn began.
    pub begun: Instant,
    /// How often the process had been given partitions when the turn was ordered.
    pub giving: u64,
    /// How long taking all of its events in took, before the turn and in it.
    pub ingested_in: Duration,
    /// How long the rest of the turn took.
    pub evaluated_in: Duration,
    /// Shards that belong to others since the publication before.
    pub given_up: Vec<Shard>,
    /// Shards to be taken over before anything is written.
    pub taken: Vec<Shard>,
    /// When they were given.
    pub given_at: Instant,
    /// How many waves of events came before the turn's own.
    pub early_waves: usize,
    /// Whether the turn ends with it; what comes before has writes and nothing to commit.
    pub ends_turn: bool,
    /// The commands for the store.
    pub writes: Writes,
    /// What becomes dead letters.
    pub letters: Vec<Letters>,
    /// What may be committed once all of it is safe.
    pub commits: Vec<Commit>,
    /// Rows that wait to be written again in the turns that follow.
    pub waiting: usize,
    /// The clocks of the worker's partitions.
    pub clocks: Vec<(PartitionId, Option<EventTime>)>,
    /// By stream.
    pub streams: Vec<(StreamId, StreamCounts)>,
    /// By view.
    pub views: Vec<ViewReport>,
}

impl Publication {
    /// Of a turn that begins now.
    pub fn new(wall: EventTime, views: usize) -> Self {
        Self {
            wall,
            begun: Instant::now(),
            giving: 0,
            given_at: Instant::now(),
            ingested_in: Duration::ZERO,
            evaluated_in: Duration::ZERO,
            given_up: Vec::new(),
            taken: Vec::new(),
            early_waves: 0,
            ends_turn: true,
            writes: Writes::default(),
            letters: Vec::new(),
            commits: Vec::new(),
            waiting: 0,
            clocks: Vec::new(),
            streams: Vec::new(),
            views: (0..views).map(|_| ViewReport::default()).collect(),
        }
    }

    /// Takes out what can be written before the turn ends: all commands so far,
    /// and what the store has to know of shards before these. The hashes of the
    /// events of waves up to this one are among them.
    pub fn split(&mut self, wave: usize) -> Self {
        let mut early = Self::new(self.wall, 0);
        early.views.extend(
            self.views
                .iter()
                .map(|view| ViewReport { streams: view.streams.clone(), ..ViewReport::default() }),
        );
        for (stream, counts) in &mut self.streams {
            let waves = counts.timestamps_ms.iter_mut().take(wave + 1).map(std::mem::take).collect();
            early.counts(*stream).timestamps_ms = waves;
        }
        (early.ends_turn, early.begun, early.given_at) = (false, self.begun, self.given_at);
        early.given_up.append(&mut self.given_up);
        early.taken.append(&mut self.taken);
        early.writes = std::mem::take(&mut self.writes);
        early
    }

    /// Whether something is to be made safe or told; `last` is what the one before may commit.
    pub fn publishes(&self, last: &[Commit]) -> bool {
        !self.writes.is_empty()
            || !self.taken.is_empty()
            || !self.given_up.is_empty()
            || !self.letters.is_empty()
            || self.commits != last
    }

    /// What may be committed where others have taken these shards over.
    pub fn commits_without<'a>(&self, taken_over: impl Iterator<Item = &'a Shard> + Clone) -> Vec<Commit> {
        let is_ours = |partition: PartitionId| {
            !self.views.iter().any(|view| {
                let is_of = |shard: &Shard| {
                    view.streams.first() == Some(&shard.stream)
                        && shard.partition.is_none_or(|number| number == partition.partition)
                };
                view.streams.contains(&partition.stream) && taken_over.clone().any(is_of)
            })
        };
        self.commits.iter().filter(|commit| is_ours(commit.partition)).copied().collect()
    }

    /// What there is to say of it, without what is to be published.
    pub fn report(&self) -> Self {
        let letters = self
            .letters
            .iter()
            .map(|letters| Letters {
                frames: FrameBatch::new(letters.frames.partition),
                rejected: letters.rejected.clone(),
            })
            .collect();
        let streams = self.streams.iter().map(|(id, counts)| (*id, counts.without_timestamps())).collect();
        Self {
            wall: self.wall,
            begun: self.begun,
            giving: self.giving,
            given_at: self.given_at,
            ingested_in: self.ingested_in,
            evaluated_in: self.evaluated_in,
            given_up: Vec::new(),
            taken: Vec::new(),
            early_waves: self.early_waves,
            ends_turn: self.ends_turn,
            writes: Writes::default(),
            letters,
            commits: self.commits.clone(),
            waiting: self.waiting,
            clocks: self.clocks.clone(),
            streams,
            views: self.views.clone(),
        }
    }

    /// A stream's counts.
    pub fn counts(&mut self, stream: StreamId) -> &mut StreamCounts {
        let index = self.streams.iter().position(|(known, _)| *known == stream).unwrap_or_else(|| {
            self.streams.push((stream, StreamCounts::default()));
            self.streams.len() - 1
        });
        &mut self.streams[index].1
    }

    /// Events that were taken in.
    pub fn events(&self) -> u64 {
        let letters: usize = self.letters.iter().map(|letters| letters.rejected.len()).sum();
        self.streams
            .iter()
            .map(|(_, counts)| counts.processed + counts.late + counts.tombstones + counts.lead_in)
            .sum::<u64>()
            + letters as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_off_has_the_events_of_its_waves() {
        let (clicks, orders) = (StreamId(0), StreamId(1));
        let mut publication = Publication::new(EventTime::from_millis(0), 0);
        publication.counts(clicks).timestamps_of(0).extend([1, 2]);
        publication.counts(orders).timestamps_of(1).push(3);
        publication.counts(clicks).timestamps_of(2).push(4);
        let taken = Shard { stream: clicks, partition: Some(0) };
        publication.taken.push(taken);
        let timestamps = |mut publication: Publication| {
            [clicks, orders].map(|stream| publication.counts(stream).timestamps_ms.concat())
        };
        let first = publication.split(0);
        assert_eq!((first.ends_turn, &first.taken), (false, &vec![taken]));
        assert_eq!(timestamps(first), [vec![1, 2], vec![]]);
        assert_eq!(timestamps(publication.split(1)), [vec![], vec![3]]);
        assert_eq!((publication.ends_turn, publication.taken.len()), (true, 0));
        assert_eq!(timestamps(publication), [vec![4], vec![]]);
    }
}
