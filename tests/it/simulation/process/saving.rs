//! Checkpoints of a simulated process: what is due, and how it is written.

use std::collections::BTreeSet;

use windrow::checkpoint::Identity;
use windrow::checkpoint::manifest::Entry;
use windrow::frame::PartitionId;
use windrow::state::saved::SavedPartition;

use super::{Outside, Process};

/// How a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saving {
    Whole,
    Fails,
    /// After the object and before the manifest.
    BreaksOff,
}

/// A checkpoint on its way.
pub(super) struct Job {
    partition: PartitionId,
    chain: Vec<Entry>,
    saved: SavedPartition,
    is_whole: bool,
    /// What it tells a successor to be deleted.
    deleted: BTreeSet<String>,
}

impl Process {
    /// Whether a checkpoint is on its way.
    pub fn has_job(&self) -> bool {
        self.job.is_some()
    }

    /// What is due of a checkpoint: a snapshot, or else the one on its way is written.
    pub fn save(&mut self, outside: &mut Outside, only: Option<&[PartitionId]>, saving: Saving) {
        let Some(identity) = outside.identity.clone() else { return };
        if let Some(job) = self.job.take() {
            self.write(outside, &identity, job, saving);
            return;
        }
        let wanted = |id: PartitionId| only.is_none_or(|only| only.contains(&id));
        let Some((id, all)) = self.courses.next(outside.now(), wanted, self.positions.committed()) else {
            return;
        };
        self.courses.order(id);
        let saved = self.worker.snapshot(id, all).unwrap();
        match (self.courses.chain(id, all), saved) {
            (Some(chain), Some(saved)) => {
                let deleted = outside.watch.remembered(self.name, id);
                self.job = Some(Job { partition: id, chain, saved, is_whole: all, deleted });
            }
            _ => self.courses.put_off(outside.now(), id),
        }
    }

    fn write(&mut self, outside: &mut Outside, identity: &Identity, job: Job, saving: Saving) {
        let Job { partition: id, chain, saved, is_whole, deleted } = job;
        let before = outside.objects.manifest(id.partition);
        let written = match saving {
            Saving::Fails => None,
            Saving::Whole | Saving::BreaksOff => {
                let wall = outside.wall();
                self.checkpoints.write(identity, id.partition, &chain, &saved, is_whole, wall).ok()
            }
        };
        // Only where nothing was removed after the manifest was in place.
        let grew = written.as_ref().is_some_and(|needed| !chain.is_empty() && needed.len() > chain.len());
        match written {
            Some(needed) if saving == Saving::Whole || !grew => {
                outside.objects.note_manifest(id.partition);
                outside.watch.saved(&needed.last().expect("it was written").object, deleted);
                self.courses.done(outside.now(), id, saved.position, needed);
            }
            Some(_) => {
                outside.objects.undo(id.partition, before);
                self.courses.put_off(outside.now(), id);
            }
            None => self.courses.put_off(outside.now(), id),
        }
    }

    /// Whether the checkpoint on its way is a change, whose write can break off.
    pub fn can_break_off(&self) -> bool {
        self.job.as_ref().is_some_and(|job| !job.is_whole && !job.chain.is_empty())
    }
}
