//! The tiles of one group, and what has to be done with their rows when events
//! come, tiles leave, or the window is looked at. Nothing is done here: what is
//! to be done is noted in [`Work`], for all groups, and then done kernel by kernel.
//!
//! A group with few tiles has nothing else. One with many also has a row `back`:
//!
//! ```text
//!           ┌── left the window      ┌── suffixes          ┌── each by itself
//!  tiles:  [ 3 ][ 4 ]  [ 5 ][ 6 ][ 7 ][ 8 ]     [ 9 ][ 10 ][ 11 ]
//!                                          └ flipped       back = 9 + 10 + 11
//!  rows of Mode::Stack:  5+6+7+8, 6+7+8, 7+8, 8
//! ```
//! so that a window that begins at tile 6 is two rows, `6+7+8` and `back`. When
//! it begins after the last suffix, the tiles by themselves are made suffixes
//! (*flipped*), which costs one merge a tile: the two stacks of a queue
//! (Tangwongsan, Hirzel, Schneider, "In-order sliding-window aggregation in
//! worst-case constant time", arXiv 2009.13768, section 3), with late events
//! merged into the suffixes that hold their tile.
//!
//! Rows of [`Mode::Counted`] stay by themselves;
//! their `back` has all tiles from `counted` on, from which those that leave are
//! subtracted. Rows of [`Mode::Plain`] stay by themselves as well and have no `back`.

use std::ops::Range;

use super::rows::Rows;
use super::tiles::{Tile, Tiles, narrow};
use crate::state::kernel::{Mode, NOTHING, Pair, Row};

/// A group with more tiles by themselves has a row `back`.
const FEW: usize = 3;
/// So many of the newest tiles are not made suffixes: most events fall in them.
const NEWEST: usize = 2;
/// A list of work keeps room for this many entries, whatever comes.
const ROOM: usize = 4096;

/// What is to be done with rows, in this order.
#[derive(Debug, Default)]
pub struct Work {
    /// Of counted kernels.
    pub subtract: Vec<Pair>,
    /// Rows `back` that are made anew, of stacked kernels.
    pub anew: Vec<Row>,
    /// Merges of stacked kernels,
    pub stack: Vec<Pair>,
    /// of counted ones,
    pub counted: Vec<Pair>,
    /// and of plain ones.
    pub plain: Vec<Pair>,
    /// Rows that are not needed after that.
    pub free: Vec<Row>,

    /// The longest of the lists since [`Work::shrink`] was called last.
    longest: usize,
}

impl Work {
    /// All but the giving back of rows is done.
    pub fn done(&mut self) {
        for pairs in [&mut self.subtract, &mut self.stack, &mut self.counted, &mut self.plain] {
            self.longest = self.longest.max(pairs.len());
            pairs.clear();
        }
        self.longest = self.longest.max(self.anew.len());
        self.anew.clear();
    }

    /// The rows are given back.
    pub fn given_back(&mut self) {
        self.longest = self.longest.max(self.free.len());
        self.free.clear();
    }

    /// Gives the room back that was needed at a peak, and not since this was called last.
    pub fn shrink(&mut self) {
        let longest = std::mem::take(&mut self.longest);
        for pairs in [&mut self.subtract, &mut self.stack, &mut self.counted, &mut self.plain] {
            shrink(pairs, longest);
        }
        shrink(&mut self.anew, longest);
        shrink(&mut self.free, longest);
    }

    /// Bytes that the lists take.
    pub fn bytes(&self) -> usize {
        let pairs = [&self.subtract, &self.stack, &self.counted, &self.plain];
        let rows = self.anew.capacity() + self.free.capacity();
        pairs.map(Vec::capacity).iter().sum::<usize>() * size_of::<Pair>() + rows * size_of::<Row>()
    }
}

fn shrink<T>(list: &mut Vec<T>, longest: usize) {
    if list.capacity() > 4 * longest + ROOM {
        list.shrink_to(2 * longest);
    }
}

/// The tiles of one group; see the module. One cache line, of which most looks need no more.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Cells {
    tiles: Tiles,
    /// How many of the first are suffixes.
    flipped: u32,
    /// How many of the first are not in `back`, for counted kernels.
    counted: u32,
    /// [`NOTHING`] when there is none.
    back: Row,
    /// Whether rows of tiles changed since they were saved.
    changed: bool,
}

const _: () = assert!(size_of::<Cells>() == 64);

impl Cells {
    /// Takes a row of new events of a tile in. Says whether the tile is new.
    pub fn place(
        &mut self,
        number: i64,
        fresh: Row,
        stacked: bool,
        rows: &mut Rows,
        work: &mut Work,
    ) -> bool {
        let at = self.tiles.before(number);
        let is_new = at == self.tiles.len() || self.tiles.get(at).number != number;
        self.changed = true;
        let flipped = self.flipped as usize;
        if self.back != NOTHING {
            let pair = Pair { into: self.back, from: fresh };
            if at >= flipped {
                work.stack.push(pair);
            }
            if at >= self.counted as usize {
                work.counted.push(pair);
            } else if is_new {
                self.counted += 1;
            }
        }
        // The suffixes of earlier tiles hold this one.
        let suffixes = if at < flipped { at } else { 0 };
        work.stack.extend(self.tiles.range(0..suffixes).map(|tile| Pair { into: tile.row, from: fresh }));
        if is_new {
            if at < flipped {
                work.stack.push(Pair { into: fresh, from: self.tiles.get(at).row });
                self.flipped += 1;
            }
            self.tiles.insert(at, Tile { number, row: fresh });
        } else {
            let pair = Pair { into: self.tiles.get(at).row, from: fresh };
            work.stack.push(pair);
            work.counted.push(pair);
            work.plain.push(pair);
            work.free.push(fresh);
        }
        if stacked && self.back == NOTHING && self.tiles.len() - self.flipped as usize > FEW {
            self.begin_back(rows, work);
        }
        is_new
    }

    /// Drops tiles before a number.
    pub fn drop_before(&mut self, floor: i64, work: &mut Work) {
        let count = self.tiles.before(floor);
        if count == 0 {
            return;
        }
        let is_anew = self.back != NOTHING && count > self.flipped as usize;
        if self.back != NOTHING && count > self.counted as usize {
            let left = self.tiles.range(self.counted as usize..count);
            work.subtract.extend(left.map(|tile| Pair { into: self.back, from: tile.row }));
        }
        self.tiles.drop_first(count, |tile| work.free.push(tile.row));
        self.flipped = self.flipped.saturating_sub(narrow(count));
        self.counted = self.counted.saturating_sub(narrow(count));
        if self.back != NOTHING && self.tiles.len() <= FEW / 2 {
            work.free.push(std::mem::replace(&mut self.back, NOTHING));
        } else if is_anew {
            self.make_back_anew(work);
        }
        if self.tiles.is_empty() {
            *self = Self::default();
        }
    }

    /// Gets ready for [`Cells::rows`] of the same tiles, in an open pane.
    pub fn prepare(&mut self, from: i64, work: &mut Work) {
        if self.back == NOTHING {
            return;
        }
        let first = self.tiles.before(from);
        let (counted, flipped) = (self.counted as usize, self.flipped as usize);
        let pair = |tile: Tile| Pair { into: self.back, from: tile.row };
        if first > counted {
            work.subtract.extend(self.tiles.range(counted..first).map(pair));
        } else if first < counted {
            // A clock that ran on in silence goes back when an event comes.
            work.counted.extend(self.tiles.range(first..counted).map(pair));
        }
        self.counted = narrow(first);
        let end = self.tiles.len().saturating_sub(NEWEST);
        if first > flipped && end > flipped {
            let row = |at: usize| self.tiles.get(at).row;
            work.stack.extend((flipped..end - 1).rev().map(|at| Pair { into: row(at), from: row(at + 1) }));
            // Suffixes that there are go on to where these end.
            work.stack.extend((0..flipped).map(|at| Pair { into: row(at), from: row(flipped) }));
            self.flipped = narrow(end);
            self.changed = true;
            self.make_back_anew(work);
        }
    }

    /// Which tiles are inside of a range: from an index to another.
    pub fn inside(&self, inside: &Range<i64>, open: bool) -> Range<usize> {
        if self.tiles.is_empty() {
            return 0..0;
        }
        let first = self.tiles.before(inside.start);
        let end = if open { self.tiles.len() } else { self.tiles.before(inside.end) };
        first..end
    }

    /// Gives the rows that make up tiles inside, for kernels of a mode.
    pub fn rows(&self, inside: Range<usize>, mode: Mode, mut found: impl FnMut(Row)) {
        let flipped = self.flipped as usize;
        let by_itself = match mode {
            Mode::Counted if self.back != NOTHING => return found(self.back),
            Mode::Counted | Mode::Plain => inside.start,
            Mode::Stack => {
                // Only an open pane has suffixes and `back`: there, nothing is beyond the end.
                if inside.start < flipped {
                    found(self.tiles.get(inside.start).row);
                }
                if self.back != NOTHING && inside.start <= flipped {
                    return found(self.back);
                }
                inside.start.max(flipped)
            }
        };
        self.tiles.range(by_itself..inside.end).for_each(|tile| found(tile.row));
    }

    /// Whether rows of tiles changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Gives each tile's number and row, and whether it is a suffix.
    pub fn save(&self, mut found: impl FnMut(i64, Row, bool)) {
        for (at, tile) in self.tiles.since(0).enumerate() {
            found(tile.number, tile.row, at < self.flipped as usize);
        }
    }

    /// A group with these tiles, ascending, of which the first are suffixes.
    pub fn load(
        tiles: impl Iterator<Item = (i64, Row)>,
        suffixes: usize,
        stacked: bool,
        rows: &mut Rows,
        work: &mut Work,
    ) -> Self {
        let mut cells = Self { tiles: tiles.collect(), flipped: narrow(suffixes), ..Self::default() };
        if stacked && (suffixes > 0 || cells.tiles.len() > FEW) {
            cells.begin_back(rows, work);
        }
        cells
    }

    /// Gives every row back.
    pub fn give_up(&mut self, free: &mut Vec<Row>) {
        let given = std::mem::take(self);
        free.extend(given.tiles.since(0).map(|tile| tile.row));
        if given.back != NOTHING {
            free.push(given.back);
        }
    }

    /// Changes the numbers of rows.
    pub fn renumber(&mut self, mut number: impl FnMut(Row) -> Row) {
        self.tiles.renumber(&mut number);
        if self.back != NOTHING {
            self.back = number(self.back);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// Bytes outside of the structure itself.
    pub fn bytes(&self) -> usize {
        self.tiles.bytes()
    }

    /// The number of the newest tile, or nothing in particular.
    pub fn newest(&self) -> i64 {
        self.tiles.last().number
    }

    fn begin_back(&mut self, rows: &mut Rows, work: &mut Work) {
        self.back = rows.take();
        self.counted = 0;
        let pair = |tile: Tile| Pair { into: self.back, from: tile.row };
        work.stack.extend(self.tiles.since(self.flipped as usize).map(pair));
        work.counted.extend(self.tiles.since(0).map(pair));
    }

    fn make_back_anew(&self, work: &mut Work) {
        work.anew.push(self.back);
        let by_itself = self.tiles.since(self.flipped as usize);
        work.stack.extend(by_itself.map(|tile| Pair { into: self.back, from: tile.row }));
    }
}
