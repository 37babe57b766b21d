//! Partial aggregates, by entity and stretch of event time.
//!
//! The rows themselves stand in [`runs`]; each entity has a short list of
//! [`Cell`]s that say which rows are its own; an index says which entities have
//! a tile at a number, so that what leaves a window is found without looking at
//! anything else.
//!
//! ```text
//!  entity (slot)      cells: (tile, run, row)            runs: columns
//!      7 ───────────▶ (41,0,3) (43,2,0) (43,2,5)         ┌ 0 ┐ ┌ 2 ┐
//!      8 ───────────▶ (43,2,1)                           │ … │ │ … │
//!  index: tile 41 ─▶ 7      tile 43 ─▶ 7, 8              └───┘ └───┘
//! ```
//! A row is a group of an entity within a tile; an entity may have several rows
//! of one tile, which are merged when it has many. What merging is, only the
//! engine knows: the store says who is [`Store::crowded`] and takes the result.
//! The meaning of tile numbers is `view::tiling`'s.

pub mod entities;
mod index;
mod runs;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::view::tiling::{Boundaries, Level};
use index::Index;
use runs::Runs;

/// An entity whose rows are more than twice as many as after the last merge,
/// and this many more, is merged: the cost is shared by the rows that came.
const CROWD: usize = 8;

/// The number of an entity, free to be used again once it has nothing.
pub type Slot = u32;

/// One row of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    tile: i64,
    run: u32,
    row: u32,
}

#[derive(Debug, Default)]
struct Owned {
    cells: Vec<Cell>,
    /// How many cells the last merge left.
    merged: u32,
}

/// Partial rows of entities; see the module.
#[derive(Debug)]
pub struct Store {
    levels: Vec<Level>,

    runs: Runs,
    slots: Vec<Owned>,
    index: Index,
    crowded: Vec<Slot>,
    /// Room for cells, over all entities.
    room: usize,
}

impl Store {
    /// Nothing kept yet, of rows with this layout, in tiles of these sizes.
    pub fn new(schema: SchemaRef, levels: Vec<Level>) -> Self {
        let index = Index::new(levels.len());
        Self { levels, runs: Runs::new(schema), slots: Vec::new(), index, crowded: Vec::new(), room: 0 }
    }

    /// The layout of the rows.
    pub const fn schema(&self) -> &SchemaRef {
        self.runs.schema()
    }

    /// Keeps rows; each has a tile and an owner.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn append(&mut self, rows: RecordBatch, tiles: &[i64], owners: Vec<Slot>) -> Result<(), ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let highest = owners.iter().max().map_or(0, |slot| *slot as usize + 1);
        if self.slots.len() < highest {
            self.slots.resize_with(highest, Owned::default);
        }
        let run = self.runs.next();
        for (row, (tile, slot)) in (0_u32..).zip(tiles.iter().zip(&owners)) {
            let owned = &mut self.slots[*slot as usize];
            let before = owned.cells.capacity();
            owned.cells.push(Cell { tile: *tile, run, row });
            self.room += owned.cells.capacity() - before;
            // Said once, when the limit is passed.
            if owned.cells.len() == 2 * owned.merged as usize + CROWD {
                self.crowded.push(*slot);
            }
            self.index.insert(&self.levels, *tile, *slot);
        }
        self.runs.push(rows, owners);
        self.tidy()
    }

    /// Entities that have come to have many rows since this was last asked.
    pub fn crowded(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.crowded)
    }

    /// The rows of entities whose tile is wanted: the rows, their tiles, and
    /// their owners' positions in `slots`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn gather(
        &self,
        slots: &[Slot],
        wanted: impl Fn(i64) -> bool,
    ) -> Result<(RecordBatch, Vec<i64>, Vec<u32>), ArrowError> {
        let (mut places, mut tiles, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (position, slot) in (0_u32..).zip(slots) {
            let Some(owned) = self.slots.get(*slot as usize) else { continue };
            for cell in owned.cells.iter().filter(|cell| wanted(cell.tile)) {
                places.push((cell.run, cell.row));
                tiles.push(cell.tile);
                owners.push(position);
            }
        }
        Ok((self.runs.take(&places)?, tiles, owners))
    }

    /// The number that a tile has at the level at which it now belongs.
    pub fn coarse(&self, tile: i64) -> i64 {
        self.levels[self.index.level_of(tile)].coarse(tile)
    }

    /// Puts merged rows in the place of all that these entities have.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn replace(
        &mut self,
        slots: &[Slot],
        rows: RecordBatch,
        tiles: &[i64],
        owners: Vec<Slot>,
    ) -> Result<(), ArrowError> {
        for slot in slots {
            let owned = &mut self.slots[*slot as usize];
            for cell in owned.cells.drain(..) {
                self.runs.free(cell.run, cell.row);
            }
            // No entity is found crowded by what comes now.
            owned.merged = u32::MAX / 4;
        }
        self.append(rows, tiles, owners)?;
        for slot in slots {
            let owned = &mut self.slots[*slot as usize];
            let before = owned.cells.capacity();
            owned.cells.shrink_to(owned.cells.len());
            self.room -= before - owned.cells.capacity();
            owned.merged = u32::try_from(owned.cells.len()).unwrap_or(u32::MAX / 4);
        }
        Ok(())
    }

    /// Drops tiles that are not needed any more and lets older ones belong to
    /// coarser levels. Entities that have nothing left are added to `emptied`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn advance(&mut self, to: &Boundaries, emptied: &mut Vec<Slot>) -> Result<(), ArrowError> {
        for slot in self.index.drop_before(to.floor) {
            let Some(owned) = self.slots.get_mut(slot as usize) else { continue };
            if owned.cells.is_empty() {
                continue;
            }
            let runs = &mut self.runs;
            owned.cells.retain(|cell| {
                let stays = cell.tile >= to.floor;
                if !stays {
                    runs.free(cell.run, cell.row);
                }
                stays
            });
            if owned.cells.is_empty() {
                self.room -= owned.cells.capacity();
                *owned = Owned::default();
                emptied.push(slot);
            }
        }
        self.index.coarsen(&self.levels, &to.coarser);
        self.tidy()
    }

    /// Adds the entities that own a tile from one number to another, in either
    /// order. There may be some that do not any more.
    pub fn crossed(&self, one: i64, other: i64, found: &mut Vec<Slot>) {
        self.index.between(one.min(other), one.max(other), found);
    }

    /// Whether an entity has nothing here.
    pub fn is_free(&self, slot: Slot) -> bool {
        self.slots.get(slot as usize).is_none_or(|owned| owned.cells.is_empty())
    }

    /// Rows kept.
    pub const fn rows(&self) -> usize {
        self.runs.rows()
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        self.runs.bytes()
            + self.index.bytes()
            + self.slots.capacity() * size_of::<Owned>()
            + self.room * size_of::<Cell>()
    }

    /// Rewrites runs that are small or mostly dead.
    fn tidy(&mut self) -> Result<(), ArrowError> {
        while let Some(runs) = self.runs.untidy() {
            let moved = self.runs.rewrite(&runs)?;
            let places: BTreeMap<u32, &[u32]> =
                moved.rows.iter().map(|(run, rows)| (*run, rows.as_slice())).collect();
            for slot in &moved.owners {
                for cell in &mut self.slots[*slot as usize].cells {
                    if let Some(rows) = places.get(&cell.run) {
                        *cell = Cell { tile: cell.tile, run: moved.to, row: rows[cell.row as usize] };
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn store(ratios: &[i64]) -> Store {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let level = |ratio: &i64| Level { ratio: *ratio, passed: Vec::new() };
        Store::new(schema, ratios.iter().map(level).collect())
    }

    fn append(store: &mut Store, rows: &[(i64, Slot, i64)]) {
        let values: Int64Array = rows.iter().map(|(_, _, value)| Some(*value)).collect();
        let batch = RecordBatch::try_new(Arc::clone(store.schema()), vec![Arc::new(values)]).unwrap();
        let tiles: Vec<i64> = rows.iter().map(|(tile, _, _)| *tile).collect();
        store.append(batch, &tiles, rows.iter().map(|(_, slot, _)| *slot).collect()).unwrap();
    }

    fn values(store: &Store, slot: Slot, from: i64) -> Vec<i64> {
        let (rows, _, _) = store.gather(&[slot], |tile| tile >= from).unwrap();
        let mut values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        values.sort_unstable();
        values
    }

    #[test]
    fn rows_follow_their_entities_through_every_rewriting() {
        let mut store = store(&[1]);
        for tile in 0..500_i64 {
            let rows: Vec<_> = (0..3).map(|slot| (2 * tile + 1, slot, 10 * tile + i64::from(slot))).collect();
            append(&mut store, &rows);
            let floor = 2 * (tile - 20);
            store.advance(&Boundaries { floor, coarser: Vec::new() }, &mut Vec::new()).unwrap();
            for slot in 0..3 {
                let expected: Vec<i64> =
                    ((tile - 20).max(0)..=tile).map(|tile| 10 * tile + i64::from(slot)).collect();
                assert_eq!(values(&store, slot, i64::MIN), expected);
            }
        }
        assert_eq!(store.rows(), 63);
        let mut emptied = Vec::new();
        store.advance(&Boundaries { floor: i64::MAX, coarser: Vec::new() }, &mut emptied).unwrap();
        emptied.sort_unstable();
        assert_eq!(emptied, [0, 1, 2]);
        assert_eq!(store.rows(), 0);
    }

    #[test]
    fn who_has_a_tile_is_found_at_every_level() {
        let mut store = store(&[1, 10]);
        append(&mut store, &[(1, 0, 1), (15, 1, 2), (25, 2, 3)]);
        let found = |store: &Store, one, other| {
            let mut found = Vec::new();
            store.crossed(one, other, &mut found);
            found.sort_unstable();
            found
        };
        assert_eq!(found(&store, 14, 16), [1]);
        store.advance(&Boundaries { floor: i64::MIN, coarser: vec![20] }, &mut Vec::new()).unwrap();
        assert_eq!(found(&store, 0, 20), [0, 1]);
        assert_eq!(found(&store, 26, 20), [2]);
        assert_eq!(store.coarse(15), 1);
        assert_eq!(store.coarse(25), 25);
    }

    #[test]
    fn a_crowd_is_said_once_and_replaced() {
        let mut store = store(&[1]);
        for round in 0..20 {
            append(&mut store, &[(1, 0, round)]);
        }
        assert_eq!(store.crowded(), [0]);
        let one = RecordBatch::try_new(Arc::clone(store.schema()), vec![Arc::new(Int64Array::from(vec![7]))]);
        store.replace(&[0], one.unwrap(), &[1], vec![0]).unwrap();
        assert_eq!(values(&store, 0, 0), [7]);
        assert_eq!((store.rows(), store.crowded()), (1, vec![]));
    }
}
