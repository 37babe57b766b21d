//! Partitions saved, and taken with what was saved of them.

use super::{Error, Partition, Shard, Worker};
use crate::evaluate::Engine;
use crate::frame::{PartitionId, StreamId};
use crate::source::Assignment;
use crate::state::retained::Retained;
use crate::state::saved::{Deletion, SavedPartition, SavedView};

/// How taking a saved partition went.
#[derive(Debug)]
pub struct Restored {
    /// Where it goes on.
    pub assignment: Assignment,
    /// Why it is read again from where it would be without what was saved.
    pub refused: Option<String>,
}

impl Shard {
    /// Hashes deleted since one of its partitions was saved last, or all that are remembered.
    fn new_deletions(&mut self, id: PartitionId, all: bool) -> Vec<Deletion> {
        let told = self.deletions_told.entry(id).or_default();
        let (deletions, next) = self.published.deletions_since(if all { 0 } else { *told });
        *told = next;
        deletions
    }
}

impl Worker {
    /// What there is of a partition after a turn: all of it, or what changed
    /// since this was asked last. `None` while what it had before is read again,
    /// and where not all of its stream is kept in tiles.
    ///
    /// # Errors
    /// What DataFusion says. All of it is to be asked for the next time.
    pub fn snapshot(&mut self, id: PartitionId, all: bool) -> Result<Option<SavedPartition>, Error> {
        let is_tiled = self.is_tiled(id.stream);
        let Some(partition) = self.partitions.get(&id).filter(|partition| partition.is_warm() && is_tiled)
        else {
            return Ok(None);
        };
        let mut saved = SavedPartition {
            position: partition.position,
            clock: partition.clock.time(),
            chunks: partition.retained.save(),
            views: Vec::with_capacity(self.views.len()),
        };
        let stream = &self.streams.get(id.stream).name;
        for view in self.views.iter_mut().filter(|view| view.streams.contains(&id.stream)) {
            let shard_id = view.shard_of(id);
            let Some(shard) = view.shards.get_mut(&shard_id) else { return Ok(None) };
            let tiled = shard.by_entity.as_mut().and_then(|by_entity| by_entity.tiled());
            let Some(tiled) = tiled else { return Ok(None) };
            let panes = tiled.save(stream, id.partition, all)?;
            let deletions = shard.new_deletions(id, all);
            saved.views.push(SavedView { view: view.view.name.clone(), panes, deletions });
        }
        Ok(Some(saved))
    }

    /// Takes a partition with what was saved of it, which must not be after
    /// `without.publish_from`. `without` is where it begins when that cannot be used.
    ///
    /// # Errors
    /// Bugs only.
    pub fn restore(&mut self, without: &Assignment, saved: &SavedPartition) -> Result<Restored, Error> {
        // What is missing before `without.read_from` need not be missing in what was saved.
        let past = without.committed_past;
        let with = Assignment { read_from: saved.position, clock: saved.clock, past, ..*without };
        self.assign(&[with])?;
        match self.load(&with, saved) {
            Ok(()) => Ok(Restored { assignment: with, refused: None }),
            Err(error) => {
                // Taken anew, what was loaded until then is forgotten.
                self.assign(&[*without])?;
                Ok(Restored { assignment: *without, refused: Some(error) })
            }
        }
    }

    fn load(&mut self, with: &Assignment, saved: &SavedPartition) -> Result<(), String> {
        let id = with.partition;
        let decoder = self.decoders.get(&id.stream).filter(|_| self.is_tiled(id.stream));
        let Some(decoder) = decoder else { return Err("not all of the stream is kept in tiles".to_owned()) };
        let retained = Retained::load(decoder.schema().clone(), &saved.chunks);
        let stream = &self.streams.get(id.stream).name;
        for view in self.views.iter_mut().filter(|view| view.streams.contains(&id.stream)) {
            let name = &view.view.name;
            let shard_id = view.shard_of(id);
            let known = saved.views.iter().find(|saved| saved.view == *name);
            let shard = view.shards.get_mut(&shard_id);
            let (Some(saved), Some(shard)) = (known, shard) else {
                return Err(format!("it has nothing of view `{name}`"));
            };
            let tiled = shard.by_entity.as_mut().and_then(|by_entity| by_entity.tiled());
            let Some(tiled) = tiled else { return Err(format!("view `{name}` is not kept in tiles")) };
            tiled
                .load(stream, id.partition, &saved.panes)
                .map_err(|error| format!("what it has of view `{name}` does not fit: {error}"))?;
            shard.published.merge_deletions(saved.deletions.clone());
            // The store has the rows of then, whatever is read before the next.
            shard.adopts = true;
            shard.due = true;
        }
        self.partitions.insert(id, Partition::new(with, retained));
        Ok(())
    }

    fn is_tiled(&self, stream: StreamId) -> bool {
        let mut views = self.views.iter().filter(|view| view.streams.contains(&stream));
        views.all(|view| view.engine == Engine::Tiled)
    }
}
