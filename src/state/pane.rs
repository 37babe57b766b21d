//! What is kept for one window of a view: partial aggregates by group and tile.
//!
//! The states stand in [`kernel`](super::kernel)s, a row a tile, and are changed in place. Each group
//! has its [`cells`]: which tiles it has, in which rows. An [`index`] says which groups have a tile.
//!
//! ```text
//!  events of a batch ─▶ fresh rows ─▶ rows of tiles        [`Pane::fresh`], [`Pane::place`]
//!  groups looked at  ─▶ rows of the window ─▶ values       [`Pane::look`], [`Look::values`]
//! ```
//! A partition's tiles stand apart, so that it can be given up. The meaning of
//! the tiles' numbers is `view::tiling`'s.

mod cells;
mod index;
mod rows;
mod saved;
mod tiles;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{HashMap, Result};

use super::kernel::{AnyKernel, Kernels, Mode, NOTHING, Pair, Row};
use super::sparse::Sparse;
use cells::{Cells, Work};
use index::Index;
use rows::Rows;

/// The number of a group, free to be used again once it has nothing.
pub type Group = u32;

/// A row of new events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// The group's position among those of the batch.
    pub position: u32,
    tile: i64,
    row: Row,
}

/// Tiles of one partition.
#[derive(Debug, Default)]
struct Part {
    cells: Sparse<Cells>,
    index: Index,
    /// Room for tiles, over all groups, in bytes.
    room: usize,
}

impl Part {
    /// Brings the cells of groups near the processor. Reading them is all that is done: so simple a
    /// loop waits for many of them at a time, which what is done with them then does not.
    fn warm(&self, groups: impl Iterator<Item = Group>) {
        let newest = groups.filter_map(|group| self.cells.get(group)).map(Cells::newest);
        std::hint::black_box(newest.fold(0, |all, one| all ^ one));
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pane {
    kernels: Kernels,
    /// Whether tiles leave only at the one end and come only at the other.
    open: bool,

    rows: Rows,
    parts: BTreeMap<i32, Part>,
    work: Work,
}

/// Groups looked at.
#[derive(Debug)]
pub struct Look {
    /// Whether a group has anything inside the window.
    pub present: Vec<bool>,
    /// For each mode of the pane the row of each group.
    rows: Vec<Vec<Row>>,
    /// Rows that were put together for this.
    scratch: Vec<Row>,
}

impl Pane {
    /// Nothing kept yet. `open` says that events never enter the window but by being new.
    pub fn new(kernels: Vec<AnyKernel>, open: bool) -> Self {
        let mut pane = Self {
            kernels: Kernels::new(kernels),
            open,
            rows: Rows::new(),
            parts: BTreeMap::new(),
            work: Work::default(),
        };
        pane.make_room();
        pane
    }

    /// Rows for new events: the row of each, given its group's position and its
    /// tile's number; and which rows these are.
    pub fn fresh(
        &mut self,
        groups: &[usize],
        count: usize,
        tiles: impl Iterator<Item = i64>,
    ) -> (Vec<Row>, Vec<Fresh>) {
        let mut fresh: Vec<Fresh> = Vec::with_capacity(count);
        // The last row of each group, since events mostly come in order; the others by number.
        let mut last: Vec<u32> = vec![u32::MAX; count];
        let mut others: HashMap<(u32, i64), u32> = HashMap::default();
        let mut rows = Vec::with_capacity(groups.len());
        for (group, tile) in groups.iter().zip(tiles) {
            let known = last[*group];
            if let Some(known) = fresh.get(known as usize).filter(|known| known.tile == tile) {
                rows.push(known.row);
                continue;
            }
            let position = u32::try_from(*group).unwrap_or(u32::MAX);
            if let Some(before) = fresh.get(known as usize) {
                others.insert((position, before.tile), known);
                if let Some(other) = others.get(&(position, tile)) {
                    last[*group] = *other;
                    rows.push(fresh[*other as usize].row);
                    continue;
                }
            }
            let row = self.rows.take();
            last[*group] = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
            fresh.push(Fresh { position, tile, row });
            rows.push(row);
        }
        self.make_room();
        (rows, fresh)
    }

    /// Adds events to rows that [`Pane::fresh`] gave, in one kernel.
    ///
    /// # Errors
    /// What DataFusion says of the events: the rows are to be discarded.
    pub fn update(
        &mut self,
        kernel: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        self.kernels.update(kernel, arguments, filter, rows)
    }

    /// Forgets fresh rows.
    pub fn discard(&mut self, fresh: &[Fresh]) {
        self.work.free.extend(fresh.iter().map(|fresh| fresh.row));
        self.give_back();
    }

    /// Keeps fresh rows. `groups` has the number of each group of the batch.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn place(&mut self, part: i32, fresh: &[Fresh], groups: &[Group]) -> Result<()> {
        let part = self.parts.entry(part).or_default();
        part.warm(fresh.iter().map(|fresh| groups[fresh.position as usize]));
        let mut new = Vec::with_capacity(fresh.len());
        for Fresh { position, tile, row } in fresh {
            let group = groups[*position as usize];
            let cells = part.cells.make(group);
            let was_empty = cells.is_empty();
            part.room -= cells.bytes();
            if cells.place(*tile, *row, self.open, &mut self.rows, &mut self.work) {
                new.push((*tile, group));
            }
            part.room += cells.bytes();
            if was_empty {
                part.cells.occupy(group);
            }
        }
        part.index.insert(new);
        self.do_work()
    }

    /// Looks at what groups have inside the window. What was looked at is to be
    /// given back by [`Pane::close`].
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn look(&mut self, groups: &[Group], inside: &Range<i64>) -> Result<Look> {
        self.parts.values().for_each(|part| part.warm(groups.iter().copied()));
        if self.open {
            for part in self.parts.values_mut() {
                for group in groups {
                    if let Some(cells) = part.cells.get_mut(*group) {
                        cells.prepare(inside.start, &mut self.work);
                    }
                }
            }
            self.do_work()?;
        }
        let mut look = Look {
            present: Vec::with_capacity(groups.len()),
            rows: self.kernels.modes().iter().map(|_| Vec::with_capacity(groups.len())).collect(),
            scratch: Vec::new(),
        };
        for group in groups {
            let mut present = false;
            let mut rows = [NOTHING; 3];
            let mut together = NOTHING;
            for part in self.parts.values() {
                let Some(cells) = part.cells.get(*group) else { continue };
                let tiles = cells.inside(inside, self.open);
                if tiles.is_empty() {
                    continue;
                }
                present = true;
                for (mode, known) in self.kernels.modes().iter().zip(&mut rows) {
                    let pairs = match mode {
                        Mode::Stack => &mut self.work.stack,
                        Mode::Counted => &mut self.work.counted,
                        Mode::Plain => &mut self.work.plain,
                    };
                    cells.rows(tiles.clone(), *mode, |row| {
                        if *known == NOTHING {
                            *known = row;
                            return;
                        }
                        if together == NOTHING {
                            together = self.rows.take();
                            look.scratch.push(together);
                        }
                        if *known != together {
                            pairs.push(Pair { into: together, from: *known });
                            *known = together;
                        }
                        pairs.push(Pair { into: together, from: row });
                    });
                }
            }
            look.present.push(present);
            for (all, row) in look.rows.iter_mut().zip(rows) {
                all.push(row);
            }
        }
        self.do_work()?;
        Ok(look)
    }

    /// The values of one function of a kernel, for those groups of a look that are chosen.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn values(&self, look: &Look, kernel: usize, output: usize, chosen: &[usize]) -> Result<ArrayRef> {
        self.kernels.evaluate(kernel, output, &self.rows_of(look, kernel, chosen))
    }

    /// The same of a function that gives lists, but their lengths.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn lengths(&self, look: &Look, kernel: usize, output: usize, chosen: &[usize]) -> Result<ArrayRef> {
        self.kernels.lengths(kernel, output, &self.rows_of(look, kernel, chosen))
    }

    fn rows_of<'a>(&self, look: &'a Look, kernel: usize, chosen: &[usize]) -> Cow<'a, [Row]> {
        let mode = self.kernels.mode(kernel);
        let mode = self.kernels.modes().iter().position(|known| *known == mode).unwrap_or_default();
        let rows = &look.rows[mode];
        if chosen.len() == rows.len() {
            return Cow::Borrowed(rows);
        }
        Cow::Owned(chosen.iter().map(|at| rows[*at]).collect())
    }

    /// Ends a look.
    pub fn close(&mut self, look: Look) {
        self.work.free.extend(look.scratch);
        self.give_back();
    }

    /// Drops tiles before a number. Groups that may have nothing left are added to `emptied`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn drop_before(&mut self, floor: i64, emptied: &mut Vec<Group>) -> Result<()> {
        let mut dropped = Vec::new();
        for part in self.parts.values_mut() {
            part.index.drop_before(floor, &mut dropped);
            if dropped.is_empty() {
                continue;
            }
            for group in dropped.drain(..) {
                let Some(cells) = part.cells.get_mut(group).filter(|cells| !cells.is_empty()) else {
                    continue;
                };
                part.room -= cells.bytes();
                cells.drop_before(floor, &mut self.work);
                part.room += cells.bytes();
                if cells.is_empty() {
                    part.cells.vacate(group);
                    emptied.push(group);
                }
            }
        }
        self.do_work()?;
        self.work.shrink();
        if self.rows.is_sparse() {
            self.renumber();
        }
        Ok(())
    }

    /// Adds the groups that have a tile in a range.
    pub fn find(&self, tiles: &Range<i64>, found: &mut Vec<Group>) {
        self.parts.values().for_each(|part| part.index.find(tiles.clone(), found));
    }

    /// Gives a partition's tiles up; its groups are added to `lost`.
    pub fn forget(&mut self, part: i32, lost: &mut Vec<Group>) {
        let Some(mut part) = self.parts.remove(&part) else { return };
        for (group, cells) in part.cells.iter_mut() {
            if !cells.is_empty() {
                cells.give_up(&mut self.work.free);
                lost.push(group);
            }
        }
        self.give_back();
    }

    /// The number of a group's newest tile.
    pub fn newest(&self, group: Group) -> Option<i64> {
        let cells = self.parts.values().filter_map(|part| part.cells.get(group));
        cells.filter(|cells| !cells.is_empty()).map(Cells::newest).max()
    }

    /// Whether a group has nothing here.
    pub fn is_free(&self, group: Group) -> bool {
        let is_free = |part: &Part| part.cells.get(group).is_none_or(Cells::is_empty);
        self.parts.values().all(is_free)
    }

    /// Rows that are used.
    pub fn used(&self) -> usize {
        self.rows.used()
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.values();
        let parts = parts.map(|part| part.cells.bytes() + part.room + part.index.bytes()).sum::<usize>();
        let rows = self.rows.bytes() + self.work.bytes();
        parts + rows + self.kernels.bytes()
    }

    fn make_room(&mut self) {
        self.kernels.resize(self.rows.len());
    }

    fn do_work(&mut self) -> Result<()> {
        self.make_room();
        let Self { work, kernels, .. } = self;
        kernels.clear_of(Mode::Stack, &work.anew);
        kernels.merge_of(Mode::Stack, &work.stack)?;
        kernels.subtract(&work.subtract);
        kernels.merge_of(Mode::Counted, &work.counted)?;
        kernels.merge_of(Mode::Plain, &work.plain)?;
        work.done();
        self.give_back();
        Ok(())
    }

    /// Clears rows that are not needed any more.
    fn give_back(&mut self) {
        let free = &self.work.free;
        self.kernels.clear(free);
        self.rows.give_back(free);
        self.work.given_back();
    }

    /// Closes the gaps between rows, so that what was needed at a peak is given back.
    fn renumber(&mut self) {
        let mut kept = vec![NOTHING];
        for (_, cells) in self.parts.values_mut().flat_map(|part| part.cells.iter_mut()) {
            cells.renumber(|row| {
                kept.push(row);
                Row::try_from(kept.len() - 1).unwrap_or(Row::MAX)
            });
        }
        self.kernels.keep(&kept);
        self.rows.renumbered(Row::try_from(kept.len()).unwrap_or(Row::MAX));
    }
}

#[cfg(test)]
mod tests;
