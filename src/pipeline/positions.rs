//! How far partitions are published, and what of that is committed: pure.

use std::collections::BTreeMap;

use crate::frame::PartitionId;
use crate::source::Commit;

/// The positions of the partitions that this process has.
#[derive(Debug, Default)]
pub struct Positions {
    /// How often partitions were given.
    giving: u64,
    /// At which giving, and where publishing began.
    begun: BTreeMap<PartitionId, (u64, i64)>,
    published: BTreeMap<PartitionId, Commit>,
    committed: BTreeMap<PartitionId, Commit>,
}

impl Positions {
    /// Partitions are given; those that [`Self::begin`] from here on.
    pub const fn give(&mut self) {
        self.giving += 1;
    }

    /// How often partitions were given: turns are ordered with it, and what becomes of them tells it.
    pub const fn giving(&self) -> u64 {
        self.giving
    }

    /// A partition was given, or begins anew: what is known of it is forgotten.
    pub fn begin(&mut self, partition: PartitionId, publish_from: i64) {
        self.forget(partition);
        self.begun.insert(partition, (self.giving, publish_from));
    }

    /// A partition was given up.
    pub fn forget(&mut self, partition: PartitionId) {
        self.begun.remove(&partition);
        self.published.remove(&partition);
        self.committed.remove(&partition);
    }

    /// Everything before a position is safe; whether that counts. What was ordered before the
    /// partition was given says nothing: what it wrote is read again, or of a log that is no more.
    pub fn acknowledge(&mut self, commit: Commit, giving: u64) -> bool {
        let published = self.published.get(&commit.partition).map(|known| known.offset);
        let counts = self.begun.get(&commit.partition).is_some_and(|(given, publish_from)| {
            giving >= *given && commit.offset >= published.unwrap_or(*publish_from)
        });
        if counts {
            self.published.insert(commit.partition, commit);
        }
        counts
    }

    /// What is to be committed: what is not, or else `all`.
    pub fn due(&self, all: bool) -> Vec<Commit> {
        let is_due = |commit: &&Commit| all || self.committed.get(&commit.partition) != Some(*commit);
        self.published.values().filter(is_due).copied().collect()
    }

    /// The group has these.
    pub fn note_committed(&mut self, commits: &[Commit]) {
        self.committed.extend(commits.iter().map(|commit| (commit.partition, *commit)));
    }

    /// What the group has of each partition, as far as is known.
    pub const fn committed(&self) -> &BTreeMap<PartitionId, Commit> {
        &self.committed
    }

    /// Commits may have been refused: all of them are due again.
    pub fn distrust(&mut self) {
        self.committed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::StreamId;
    use crate::source::Coverage;
    use crate::state::lead_in::LeadIn;

    const PARTITION: PartitionId = PartitionId { stream: StreamId(0), partition: 2 };

    fn commit(offset: i64) -> Commit {
        let lead_in = LeadIn { offset, clock: None };
        Commit { partition: PARTITION, offset, lead_in, coverage: Coverage::default() }
    }

    #[track_caller]
    fn check(positions: &Positions, all: bool, expected: &[i64]) {
        let due: Vec<i64> = positions.due(all).iter().map(|commit| commit.offset).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn what_is_published_is_committed_once_and_again_when_in_doubt() {
        let mut positions = Positions::default();
        assert!(!positions.acknowledge(commit(9), 0));
        check(&positions, true, &[]);
        positions.begin(PARTITION, 5);
        assert!(positions.acknowledge(commit(7), 0));
        check(&positions, false, &[7]);
        positions.note_committed(&positions.due(false));
        check(&positions, false, &[]);
        check(&positions, true, &[7]);
        positions.distrust();
        check(&positions, false, &[7]);
    }

    /// A store that did not answer answers after the partition was elsewhere, or made anew.
    #[test]
    fn what_is_late_does_not_count() {
        let mut positions = Positions::default();
        positions.give();
        positions.begin(PARTITION, 5);
        assert!(positions.acknowledge(commit(7), positions.giving()));
        let before = positions.giving();
        positions.give();
        positions.begin(PARTITION, 20);
        assert!(!positions.acknowledge(commit(9), before));
        assert!(!positions.acknowledge(commit(25), before));
        check(&positions, true, &[]);
        assert!(positions.acknowledge(commit(20), positions.giving()));
        assert!(!positions.acknowledge(commit(12), positions.giving()));
        check(&positions, true, &[20]);
        // Another partition is given: this one goes on.
        positions.give();
        assert!(positions.acknowledge(commit(22), positions.giving() - 1));
        positions.forget(PARTITION);
        assert!(!positions.acknowledge(commit(30), positions.giving()));
        check(&positions, true, &[]);
    }
}
