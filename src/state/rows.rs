//! The accepted events of one stream by entity, for as long as a window holds them.
//!
//! Events stand in [`chunk`]s, in the order of offsets. Each entity has a list of
//! its events; an index says which entities have events in a stretch of event
//! time. An event is found by its offset, so that chunks can be merged, and
//! emptied of events that are gone, without the lists being touched.
//!
//! ```text
//!  entity ─▶ offsets ─▶ chunk, row        [`Rows::gather`]
//!  stretch ─▶ entities                    [`Rows::find`], [`Rows::drop_before`]
//! ```
//! A partition's events stand apart, so that it can be given up. The meaning of
//! the stretches' numbers is `view::tiling`'s.

mod chunk;

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::error::ArrowError;

use super::keys::Slot;
use super::sparse::Sparse;
use chunk::Chunk;

/// Chunks are not merged beyond this many rows: a larger one is copied at more
/// cost when most of it is gone.
const ROWS_PER_CHUNK: usize = 65_536;

/// Where an event of an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    stretch: i64,
    offset: i64,
}

/// Events of one partition.
#[derive(Debug, Default)]
struct Part {
    /// In the order of offsets.
    chunks: Vec<Chunk>,
    /// The events of each entity, in the order of offsets.
    lists: Sparse<Vec<Place>>,
    /// Entities with events in a stretch, some of them more than once.
    index: BTreeMap<i64, Vec<Slot>>,
    /// Room in the lists and in the index, in entries.
    room: usize,
    index_room: usize,
    events: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rows {
    parts: BTreeMap<i32, Part>,
}

impl Rows {
    /// Keeps events of a partition, which follow all those kept of it before.
    /// `owners` has the entity of each, `stretches` where its event time falls.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn append(
        &mut self,
        partition: i32,
        rows: &RecordBatch,
        owners: &[Slot],
        stretches: &[i64],
    ) -> Result<(), ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let part = self.parts.entry(partition).or_default();
        let chunk = Chunk::try_new(rows)?;
        for ((owner, stretch), offset) in owners.iter().zip(stretches).zip(chunk.offsets()) {
            part.note(*owner, Place { stretch: *stretch, offset: *offset });
        }
        part.events += rows.num_rows();
        part.push(chunk)
    }

    /// The events of entities, a batch a partition, in the order of partition and offset.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn gather(&self, slots: &[Slot]) -> Result<Vec<RecordBatch>, ArrowError> {
        let gathered = self.parts.values().filter_map(|part| part.gather(slots).transpose());
        gathered.collect()
    }

    /// Adds the entities that have events in a range of stretches.
    pub fn find(&self, stretches: &Range<i64>, found: &mut Vec<Slot>) {
        if stretches.start < stretches.end {
            for part in self.parts.values() {
                let entries = part.index.range(stretches.clone());
                entries.for_each(|(_, slots)| found.extend_from_slice(slots));
            }
        }
    }

    /// Drops the events of stretches before a number. Entities that may have
    /// nothing left are added to `emptied`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn drop_before(&mut self, floor: i64, emptied: &mut Vec<Slot>) -> Result<(), ArrowError> {
        self.parts.values_mut().try_for_each(|part| part.drop_before(floor, emptied))
    }

    /// Gives a partition's events up; its entities are added to `lost`.
    pub fn forget(&mut self, partition: i32, lost: &mut Vec<Slot>) {
        let Some(part) = self.parts.remove(&partition) else { return };
        lost.extend(part.lists.iter().filter(|(_, list)| !list.is_empty()).map(|(slot, _)| slot));
    }

    /// The stretch of the event of an entity that came last, of any partition.
    pub fn newest(&self, slot: Slot) -> Option<i64> {
        let lists = self.parts.values().filter_map(|part| part.lists.get(slot));
        lists.filter_map(|list| list.last()).map(|place| place.stretch).max()
    }

    /// Whether an entity has nothing here.
    pub fn is_free(&self, slot: Slot) -> bool {
        self.parts.values().all(|part| part.lists.get(slot).is_none_or(Vec::is_empty))
    }

    /// Events kept.
    pub fn len(&self) -> usize {
        self.parts.values().map(|part| part.events).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        self.parts.values().map(Part::bytes).sum()
    }
}

impl Part {
    fn note(&mut self, owner: Slot, place: Place) {
        let list = self.lists.make(owner);
        let (before, is_first) = (list.capacity(), list.is_empty());
        let is_known = list.last().is_some_and(|last| last.stretch == place.stretch);
        list.push(place);
        self.room += list.capacity() - before;
        if is_first {
            self.lists.occupy(owner);
        }
        if !is_known {
            let slots = self.index.entry(place.stretch).or_default();
            let before = slots.capacity();
            slots.push(owner);
            self.index_room += slots.capacity() - before;
        }
    }

    /// Adds a chunk. Small neighbours are merged, so that their number grows
    /// with the logarithm of the events.
    fn push(&mut self, chunk: Chunk) -> Result<(), ArrowError> {
        self.chunks.push(chunk);
        while let [.., before, last] = self.chunks.as_slice() {
            if before.live() + last.live() > ROWS_PER_CHUNK || before.live() > 2 * last.live() {
                break;
            }
            let merged = before.merged(last)?;
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(merged);
        }
        Ok(())
    }

    fn gather(&self, slots: &[Slot]) -> Result<Option<RecordBatch>, ArrowError> {
        let lists = slots.iter().filter_map(|slot| self.lists.get(*slot));
        let mut offsets: Vec<i64> = lists.flatten().map(|place| place.offset).collect();
        offsets.sort_unstable();
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(offsets.len());
        let mut rest = offsets.as_slice();
        for (position, chunk) in self.chunks.iter().enumerate() {
            let next = self.chunks.get(position + 1).map_or(i64::MAX, Chunk::first);
            let (here, later) = rest.split_at(rest.partition_point(|offset| *offset < next));
            rest = later;
            if here.is_empty() {
                continue;
            }
            rows.extend(here.iter().filter_map(|offset| chunk.row(*offset)).map(|row| (batches.len(), row)));
            batches.push(chunk.rows());
        }
        if batches.is_empty() {
            return Ok(None);
        }
        interleave_record_batch(&batches, &rows).map(Some)
    }

    fn drop_before(&mut self, floor: i64, emptied: &mut Vec<Slot>) -> Result<(), ArrowError> {
        let mut gone: Vec<i64> = Vec::new();
        while let Some(first) = self.index.first_entry().filter(|first| *first.key() < floor) {
            let slots = first.remove();
            self.index_room -= slots.capacity();
            for slot in slots {
                let Some(list) = self.lists.get_mut(slot).filter(|list| !list.is_empty()) else { continue };
                let before = list.capacity();
                gone.extend(list.iter().filter(|place| place.stretch < floor).map(|place| place.offset));
                list.retain(|place| place.stretch >= floor);
                if list.len() * 4 < list.capacity() {
                    list.shrink_to_fit();
                }
                self.room = self.room + list.capacity() - before;
                if list.is_empty() {
                    self.lists.vacate(slot);
                    emptied.push(slot);
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.events -= gone.len();
        for offset in gone {
            let after = self.chunks.partition_point(|chunk| chunk.first() <= offset);
            if let Some(chunk) = after.checked_sub(1).and_then(|at| self.chunks.get_mut(at)) {
                chunk.give_up(offset);
            }
        }
        self.chunks.retain(|chunk| chunk.live() > 0);
        // Copied when most of it is gone, an event is copied about once more in its life.
        self.chunks.iter_mut().filter(|chunk| chunk.is_sparse()).try_for_each(Chunk::compact)
    }

    fn bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::bytes).sum::<usize>()
            + self.lists.bytes()
            + self.room * size_of::<Place>()
            + self.index.len() * size_of::<(i64, Vec<Slot>)>()
            + self.index_room * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests;
