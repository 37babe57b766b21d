//! The tiles of one group by number: the first and the last stand in the structure itself, since new
//! events fall in the last and windows begin at the first; so most groups are served without a look
//! elsewhere, and those of one tile or two have no memory of their own.
//!
//! ```text
//!  first   between                  last
//!  [ 3 ]   [ 4 ][ 6 ][ 7 ][   ]     [ 9 ]      between: a ring, in an allocation
//! ```

use std::cmp::Ordering;
use std::ops::Range;

use crate::state::kernel::{NOTHING, Row};

/// A ring is made for this many tiles at first.
const ROOM: u32 = 4;

/// A tile and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Tiles of higher numbers are newer.
    pub number: i64,
    /// Of its events, and for a suffix of the tiles after it.
    pub row: Row,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tiles {
    first_number: i64,
    last_number: i64,
    /// [`NOTHING`] where there are no tiles, which are of other rows.
    first_row: Row,
    last_row: Row,
    between: Ring,
}

impl Tiles {
    pub const fn is_empty(&self) -> bool {
        self.first_row == NOTHING
    }

    pub const fn len(&self) -> usize {
        if self.is_empty() {
            0
        } else if self.first_number == self.last_number {
            1
        } else {
            2 + self.between.len as usize
        }
    }

    /// The tile with the lowest number, or nothing in particular.
    #[inline]
    pub const fn first(&self) -> Tile {
        Tile { number: self.first_number, row: self.first_row }
    }

    /// The tile with the highest, or nothing in particular.
    #[inline]
    pub const fn last(&self) -> Tile {
        Tile { number: self.last_number, row: self.last_row }
    }

    /// One of them, by its place in their order.
    pub fn get(&self, at: usize) -> Tile {
        if at == 0 {
            self.first()
        } else if at + 1 == self.len() {
            self.last()
        } else {
            self.between.get(at - 1)
        }
    }

    /// Some of them, in order.
    pub fn range(&self, places: Range<usize>) -> impl DoubleEndedIterator<Item = Tile> + '_ {
        places.map(|at| self.get(at))
    }

    /// Those from a place on, in order.
    pub fn since(&self, place: usize) -> impl DoubleEndedIterator<Item = Tile> + '_ {
        self.range(place..self.len())
    }

    /// How many are before a number.
    #[inline]
    pub fn before(&self, number: i64) -> usize {
        if self.is_empty() || self.first_number >= number {
            return 0;
        }
        match self.last_number.cmp(&number) {
            Ordering::Less => return self.len(),
            Ordering::Equal => return self.len() - 1,
            Ordering::Greater => {}
        }
        // The first is before it and the last is not.
        let (mut low, mut high) = (1, self.len() - 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.between.get(middle - 1).number < number {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Adds one where it belongs, which is at `at`: there is none of its number.
    pub fn insert(&mut self, at: usize, tile: Tile) {
        let len = self.len();
        if len == 0 {
            self.set_first(tile);
            self.set_last(tile);
        } else if at == len {
            if len > 1 {
                self.between.insert(self.between.len, self.last());
            }
            self.set_last(tile);
        } else if at == 0 {
            if len > 1 {
                self.between.insert(0, self.first());
            }
            self.set_first(tile);
        } else {
            self.between.insert(narrow(at - 1), tile);
        }
    }

    /// Takes the first ones out, which `each` is told.
    pub fn drop_first(&mut self, count: usize, each: impl FnMut(Tile)) {
        let len = self.len();
        self.range(0..count).for_each(each);
        if count == len {
            *self = Self::default();
        } else if count > 0 {
            let first = self.get(count);
            // The one that is the first now is not between any more, nor is the last if it is that.
            self.between.drop_first(narrow(count.min(len - 2)));
            self.set_first(first);
        }
    }

    /// Changes the rows.
    pub fn renumber(&mut self, mut number: impl FnMut(Row) -> Row) {
        if self.is_empty() {
            return;
        }
        let is_one = self.len() == 1;
        self.first_row = number(self.first_row);
        for at in 0..self.between.len {
            let slot = self.between.slot(at);
            self.between.slots[slot].row = number(self.between.slots[slot].row);
        }
        self.last_row = if is_one { self.first_row } else { number(self.last_row) };
    }

    /// Bytes that it takes elsewhere.
    pub const fn bytes(&self) -> usize {
        self.between.slots.len() * size_of::<Tile>()
    }

    const fn set_first(&mut self, tile: Tile) {
        (self.first_number, self.first_row) = (tile.number, tile.row);
    }

    const fn set_last(&mut self, tile: Tile) {
        (self.last_number, self.last_row) = (tile.number, tile.row);
    }
}

impl FromIterator<(i64, Row)> for Tiles {
    /// Of tiles by number.
    fn from_iter<I: IntoIterator<Item = (i64, Row)>>(tiles: I) -> Self {
        let mut all = Self::default();
        for (at, (number, row)) in tiles.into_iter().enumerate() {
            all.insert(at, Tile { number, row });
        }
        all
    }
}

/// As `VecDeque`, in two thirds of its bytes.
#[derive(Debug, Default)]
struct Ring {
    /// As many as a power of two, or none.
    slots: Box<[Tile]>,
    head: u32,
    len: u32,
}

impl Ring {
    /// Where a place is.
    const fn slot(&self, at: u32) -> usize {
        (self.head.wrapping_add(at) as usize) & (self.slots.len() - 1)
    }

    fn get(&self, at: usize) -> Tile {
        self.slots[self.slot(narrow(at))]
    }

    fn insert(&mut self, at: u32, tile: Tile) {
        if self.len as usize == self.slots.len() {
            self.move_to((2 * self.len).max(ROOM));
        }
        self.len += 1;
        if at < self.len / 2 {
            // Those before it move towards the front.
            self.head = self.head.wrapping_sub(1);
            for place in 0..at {
                self.slots[self.slot(place)] = self.slots[self.slot(place + 1)];
            }
        } else {
            for place in (at + 1..self.len).rev() {
                self.slots[self.slot(place)] = self.slots[self.slot(place - 1)];
            }
        }
        let slot = self.slot(at);
        self.slots[slot] = tile;
    }

    fn drop_first(&mut self, count: u32) {
        self.head = self.head.wrapping_add(count);
        self.len -= count;
        let room = self.slots.len();
        if self.len == 0 {
            *self = Self::default();
        } else if room > ROOM as usize && room > 4 * self.len as usize {
            self.move_to((2 * self.len).next_power_of_two());
        }
    }

    /// Into this many slots, a power of two.
    fn move_to(&mut self, slots: u32) {
        let nothing = Tile { number: 0, row: NOTHING };
        let mut moved = vec![nothing; slots as usize].into_boxed_slice();
        for (at, slot) in (0..self.len).zip(&mut moved) {
            *slot = self.slots[self.slot(at)];
        }
        (self.slots, self.head) = (moved, 0);
    }
}

/// Tiles of a group: far fewer than that.
pub fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Add(i64),
        DropBefore(i64),
        Renumber,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (-20_i64..60).prop_map(Step::Add),
            1 => (-20_i64..60).prop_map(Step::DropBefore),
            1 => Just(Step::Renumber),
        ]
    }

    fn check(tiles: &Tiles, model: &BTreeMap<i64, Row>) {
        let all: Vec<(i64, Row)> = tiles.since(0).map(|tile| (tile.number, tile.row)).collect();
        assert_eq!(all, model.iter().map(|(number, row)| (*number, *row)).collect::<Vec<_>>());
        assert_eq!(tiles.is_empty(), model.is_empty());
        if let Some((first, last)) = all.first().zip(all.last()) {
            assert_eq!((tiles.first().number, tiles.first().row), *first);
            assert_eq!((tiles.last().number, tiles.last().row), *last);
        }
        for number in -21..61 {
            assert_eq!(tiles.before(number), model.range(..number).count(), "before {number}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn tiles_are_a_map_by_number(steps in prop::collection::vec(step(), 1..150)) {
            let mut tiles = Tiles::default();
            let mut model: BTreeMap<i64, Row> = BTreeMap::new();
            let mut next = NOTHING;
            for step in steps {
                match step {
                    Step::Add(number) => {
                        next += 1;
                        if let std::collections::btree_map::Entry::Vacant(place) = model.entry(number) {
                            place.insert(next);
                            tiles.insert(tiles.before(number), Tile { number, row: next });
                        }
                    }
                    Step::DropBefore(number) => {
                        let mut dropped = Vec::new();
                        tiles.drop_first(tiles.before(number), |tile| dropped.push((tile.number, tile.row)));
                        let kept = model.split_off(&number);
                        prop_assert_eq!(dropped, model.into_iter().collect::<Vec<_>>());
                        model = kept;
                    }
                    Step::Renumber => {
                        tiles.renumber(|row| row + 1000);
                        model.values_mut().for_each(|row| *row += 1000);
                    }
                }
                check(&tiles, &model);
            }
            let again: Tiles = model.iter().map(|(number, row)| (*number, *row)).collect();
            check(&again, &model);
        }
    }

    #[test]
    fn few_tiles_take_no_memory_and_many_give_it_back() {
        let mut tiles: Tiles = (0..2).map(|number| (number, 7)).collect();
        assert_eq!(tiles.bytes(), 0);
        for number in 2..1000 {
            tiles.insert(tiles.len(), Tile { number, row: 7 });
        }
        assert_eq!(tiles.bytes(), 1024 * size_of::<Tile>());
        tiles.drop_first(990, |_| {});
        assert!(tiles.bytes() <= 32 * size_of::<Tile>(), "{} bytes", tiles.bytes());
        tiles.drop_first(8, |_| {});
        assert_eq!((tiles.len(), tiles.bytes()), (2, 0));
    }
}
