//! Which groups have a tile, by tile: what an edge passes is found without
//! looking at anything else.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Group;

/// See the module. Entries may outlive the groups that they speak of, never the tile.
#[derive(Debug, Default)]
pub struct Index {
    tiles: BTreeMap<i64, Vec<Group>>,
    /// Room for entries, over all tiles.
    room: usize,
}

impl Index {
    /// Notes that groups have tiles, each to be said once.
    pub fn insert(&mut self, mut new: Vec<(i64, Group)>) {
        new.sort_unstable();
        for of_tile in new.chunk_by(|one, other| one.0 == other.0) {
            let groups = self.tiles.entry(of_tile[0].0).or_default();
            let before = groups.capacity();
            groups.extend(of_tile.iter().map(|(_, group)| *group));
            self.room += groups.capacity() - before;
        }
    }

    /// Forgets tiles before a number, and gives their groups to `dropped`.
    pub fn drop_before(&mut self, floor: i64, dropped: &mut Vec<Group>) {
        while let Some(first) = self.tiles.first_entry().filter(|first| *first.key() < floor) {
            let groups = first.remove();
            self.room -= groups.capacity();
            dropped.extend(groups);
        }
    }

    /// Adds the groups that have a tile in a range.
    pub fn find(&self, tiles: Range<i64>, found: &mut Vec<Group>) {
        if tiles.start < tiles.end {
            self.tiles.range(tiles).for_each(|(_, groups)| found.extend_from_slice(groups));
        }
    }

    pub fn bytes(&self) -> usize {
        self.room * size_of::<Group>() + self.tiles.len() * size_of::<(i64, Vec<Group>)>()
    }
}
