//! Rows written again although nothing happened to them: after a start, since
//! what the store has of them is not known, and when the store lost what it had.
//! A shard has a [`Sweep`](crate::evaluate::sweep::Sweep) for that, of which each
//! turn takes a stretch. Whoever wants every hash of a shard written once more
//! has [`Published::distrust`](crate::evaluate::changes::Published::distrust)
//! and [`Shard::begin_sweep`], and the turns that follow do the rest.
//!
//! A view in the class *full* has all its rows at hand in every turn. There the
//! comparison itself puts off what is only to be written again.

use arrow::array::RecordBatch;

use super::{Shard, Worker};
use crate::evaluate::by_entity::ByEntity;

/// Entities that a worker looks at again in a turn, over all its shards. They are some 10 MB of
/// commands, which a store takes in about the time of a batch interval: so long new events wait.
pub(super) const ENTITIES_A_TURN: usize = 8192;

/// However many shards there are, each comes forward.
const LEAST_A_SHARD: usize = 64;

impl Shard {
    /// Has every row looked at again, those of the entities last active first.
    pub(super) fn begin_sweep(&mut self) {
        if let Some(by_entity) = &self.by_entity {
            self.sweep = by_entity.sweep();
            self.sweeps = true;
        }
        self.due = true;
    }

    /// Has the next evaluation look at a stretch of the sweep, if there is one.
    pub(super) fn touch_stretch(&mut self, most: usize) {
        let stretch = self.sweep.stretch(most);
        if let Some(by_entity) = self.by_entity.as_mut().filter(|_| !stretch.is_empty()) {
            by_entity.touch(stretch);
            self.due = true;
        }
    }

    /// An evaluation was made, and what it found is to be published. Whether a
    /// sweep came to its end with it.
    pub(super) fn swept(&mut self) -> bool {
        self.sweep.passed();
        self.due = self.is_sweeping();
        self.sweep.is_empty() && std::mem::take(&mut self.sweeps)
    }

    /// Whether rows wait to be written again.
    pub(super) fn is_sweeping(&self) -> bool {
        self.waiting() > 0
    }

    /// Rows that wait to be written again.
    pub(super) fn waiting(&self) -> usize {
        self.sweep.len() + self.published.waiting()
    }

    /// Bytes of what is kept for the shard.
    pub(super) fn bytes(&self) -> usize {
        let by_entity = self.by_entity.as_ref().map_or(0, ByEntity::bytes);
        let compared = self.compared.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        self.published.bytes() + by_entity + self.sweep.bytes() + compared
    }
}

impl Worker {
    /// The store lost what was written: everything is written again.
    pub fn distrust_store(&mut self) {
        for shard in self.views.iter_mut().flat_map(|view| view.shards.values_mut()) {
            shard.published.distrust_store();
            shard.begin_sweep();
        }
    }

    /// Has a turn look again at so many entities, for tests of few.
    #[must_use]
    pub fn with_stretch(mut self, entities: usize) -> Self {
        self.stretch = entities;
        self
    }

    /// How many entities each shard that sweeps looks at again in this turn.
    pub(super) fn share(&self) -> usize {
        let shards = self.views.iter().flat_map(|view| view.shards.values());
        let sweeping = shards.filter(|shard| shard.is_sweeping()).count();
        (self.stretch / sweeping.max(1)).max(LEAST_A_SHARD.min(self.stretch))
    }
}
