//! Which entities have a tile: for each level a map from tile to entities.
//! Entries may outlive what they speak of, never the tile itself.

use std::collections::BTreeMap;

use super::Slot;
use crate::view::tiling::Level;

/// Entities of one tile; some may be there twice.
#[derive(Debug, Default)]
struct Bucket {
    slots: Vec<Slot>,
    /// How many there were when duplicates were last removed.
    distinct: usize,
}

impl Bucket {
    fn extend(&mut self, slots: &[Slot]) {
        self.slots.extend_from_slice(slots);
        if self.slots.len() > 2 * self.distinct + 64 {
            self.slots.sort_unstable();
            self.slots.dedup();
            self.distinct = self.slots.len();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Index {
    /// A map a level.
    tiles: Vec<BTreeMap<i64, Bucket>>,
    /// For each level but the finest: tiles before this one belong to it.
    coarser: Vec<i64>,
    /// Room for entries, over all tiles.
    room: usize,
}

impl Index {
    pub fn new(levels: usize) -> Self {
        let tiles = (0..levels).map(|_| BTreeMap::new()).collect();
        Self { tiles, coarser: vec![i64::MIN; levels.saturating_sub(1)], room: 0 }
    }

    /// The coarsest level to which a tile belongs.
    pub fn level_of(&self, tile: i64) -> usize {
        self.coarser.iter().rposition(|boundary| tile < *boundary).map_or(0, |position| position + 1)
    }

    pub fn insert(&mut self, levels: &[Level], tile: i64, slot: Slot) {
        let level = self.level_of(tile);
        let bucket = self.tiles[level].entry(levels[level].coarse(tile)).or_default();
        let before = bucket.slots.capacity();
        if bucket.slots.last() != Some(&slot) {
            bucket.extend(&[slot]);
        }
        self.room = self.room + bucket.slots.capacity() - before;
    }

    /// Forgets tiles before a number and returns who had one.
    pub fn drop_before(&mut self, floor: i64) -> Vec<Slot> {
        let mut dropped = Vec::new();
        for tiles in &mut self.tiles {
            while let Some(first) = tiles.first_entry().filter(|first| *first.key() < floor) {
                let bucket = first.remove();
                self.room -= bucket.slots.capacity();
                dropped.extend(bucket.slots);
            }
        }
        dropped
    }

    /// Moves what is before the boundaries to coarser levels.
    pub fn coarsen(&mut self, levels: &[Level], boundaries: &[i64]) {
        for (position, boundary) in boundaries.iter().enumerate() {
            // A clock does not go back; a boundary that did would leave tiles at two levels.
            self.coarser[position] = self.coarser[position].max(*boundary);
            let boundary = self.coarser[position];
            let (finer, coarser) = self.tiles.split_at_mut(position + 1);
            let (finer, coarser) = (&mut finer[position], &mut coarser[0]);
            while let Some(first) = finer.first_entry().filter(|first| *first.key() < boundary) {
                let (tile, moved) = first.remove_entry();
                let bucket = coarser.entry(levels[position + 1].coarse(tile)).or_default();
                let before = bucket.slots.capacity();
                bucket.extend(&moved.slots);
                self.room = self.room + bucket.slots.capacity() - before - moved.slots.capacity();
            }
        }
    }

    /// Adds who has a tile from one number to another, both included.
    pub fn between(&self, from: i64, to: i64, found: &mut Vec<Slot>) {
        for bucket in self.tiles.iter().flat_map(|tiles| tiles.range(from..=to).map(|(_, bucket)| bucket)) {
            found.extend_from_slice(&bucket.slots);
        }
    }

    pub fn bytes(&self) -> usize {
        let buckets: usize = self.tiles.iter().map(BTreeMap::len).sum();
        self.room * size_of::<Slot>() + buckets * size_of::<(i64, Bucket)>()
    }
}
