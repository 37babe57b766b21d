//! A column of millions of values that grows without being moved: its values stand in chunks. A vector
//! copies everything when it grows, into memory that the system has to clear first: tenths of a second
//! in which nothing else happens, and for as long as that takes the room of both.
//!
//! ```text
//!  values 0…n     values n…2n    values 2n…
//!  [ ········· ]  [ ········· ]  [ ···       ]    the first chunk alone grows by moving
//! ```

use std::ops::{Index, IndexMut};

/// Bytes of a chunk, about: the system can map it by a few large pages.
const CHUNK_BYTES: usize = 4 << 20;

/// Two to this power is the number of rows in a chunk.
const fn shift(row_bytes: usize) -> u32 {
    let rows = CHUNK_BYTES / if row_bytes == 0 { 1 } else { row_bytes };
    if rows < 2 { 0 } else { rows.ilog2() }
}

/// Rows of `width` values each, one after the other, in chunks.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    /// How many rows there are: of none of their values there is no telling otherwise.
    rows: usize,
    width: usize,
    /// See [`shift`].
    shift: u32,
}

impl<T> Chunks<T> {
    /// No rows yet.
    pub const fn new(width: usize) -> Self {
        Self { chunks: Vec::new(), rows: 0, width, shift: shift(width * size_of::<T>()) }
    }

    /// Changes how many values a row has, while there are no rows.
    pub fn widen(&mut self, width: usize) {
        debug_assert!(self.rows == 0, "there are rows of {} values", self.width);
        *self = Self::new(width);
    }

    /// The rows.
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Makes room for this many rows; `fill` adds one that is not there yet. Never fewer than before.
    pub fn resize(&mut self, rows: usize, mut fill: impl FnMut(&mut Vec<T>)) {
        let of_chunk: usize = 1 << self.shift;
        while self.rows < rows {
            if self.rows.is_multiple_of(of_chunk) {
                self.chunks.push(Vec::new());
            }
            let is_first = self.chunks.len() == 1;
            let chunk = self.chunks.last_mut().expect("one was just added if there was none");
            let here = self.rows % of_chunk;
            let wanted = (here + rows - self.rows).min(of_chunk);
            if chunk.capacity() < wanted * self.width {
                let room = if is_first { wanted.next_power_of_two() } else { of_chunk };
                chunk.reserve_exact((room - here) * self.width);
            }
            (here..wanted).for_each(|_| fill(chunk));
            self.rows += wanted - here;
        }
    }

    /// These rows alone, in this order.
    pub fn kept(&self, mut rows: impl ExactSizeIterator<Item = usize>) -> Self
    where
        T: Copy,
    {
        let mut kept = Self::new(self.width);
        kept.resize(rows.len(), |chunk| chunk.extend(rows.next().into_iter().flat_map(|row| self.row(row))));
        kept
    }

    /// The chunk of a row, and where in it the row begins.
    #[inline]
    fn at(&self, row: usize) -> (usize, usize) {
        (row >> self.shift, (row & ((1 << self.shift) - 1)) * self.width)
    }

    /// The values of a row from one on.
    ///
    /// # Panics
    /// When it has fewer.
    #[inline]
    pub fn part<const N: usize>(&self, row: usize, from: usize) -> &[T; N] {
        let (chunk, begin) = self.at(row);
        let part = self.chunks[chunk].get(begin + from..).and_then(<[T]>::first_chunk);
        part.expect("a row has the values that it is asked for")
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// When it has fewer.
    #[inline]
    pub fn part_mut<const N: usize>(&mut self, row: usize, from: usize) -> &mut [T; N] {
        let (chunk, begin) = self.at(row);
        let part = self.chunks[chunk].get_mut(begin + from..).and_then(<[T]>::first_chunk_mut);
        part.expect("a row has the values that it is asked for")
    }

    /// A row.
    #[inline]
    pub fn row(&self, row: usize) -> &[T] {
        let (chunk, begin) = self.at(row);
        &self.chunks[chunk][begin..begin + self.width]
    }

    /// A row, to be changed.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        let (chunk, begin) = self.at(row);
        &mut self.chunks[chunk][begin..begin + self.width]
    }

    /// All values, row by row, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// Bytes that the values take, and may soon take.
    pub fn bytes(&self) -> usize {
        let Some((last, others)) = self.chunks.split_last() else { return 0 };
        ((others.len() << self.shift) * self.width + last.capacity()) * size_of::<T>()
            + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Column<T>(Chunks<T>);

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Chunks::new(1))
    }
}

impl<T> Column<T> {
    /// See [`shift`].
    const SHIFT: u32 = shift(size_of::<T>());

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes it at least this long.
    pub fn resize_with(&mut self, len: usize, mut nothing: impl FnMut() -> T) {
        self.0.resize(len, |chunk| chunk.push(nothing()));
    }

    /// Adds one.
    pub fn push(&mut self, value: T) {
        let mut value = Some(value);
        self.0.resize(self.len() + 1, |chunk| chunk.extend(value.take()));
    }

    /// Two that are not the same.
    #[inline]
    pub fn both(&mut self, one: usize, other: usize) -> Option<[&mut T; 2]> {
        let ((of_one, one), (of_other, other)) = (self.0.at(one), self.0.at(other));
        let chunks = &mut self.0.chunks;
        if of_one == of_other {
            return chunks.get_mut(of_one)?.get_disjoint_mut([one, other]).ok();
        }
        let [of_one, of_other] = chunks.get_disjoint_mut([of_one, of_other]).ok()?;
        Some([of_one.get_mut(one)?, of_other.get_mut(other)?])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.chunks.iter().flatten()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Bytes that the values take, and may soon take, but for what they have elsewhere.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl<T> Index<usize> for Column<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.0.chunks[at >> Self::SHIFT][at & ((1 << Self::SHIFT) - 1)]
    }
}

impl<T> IndexMut<usize> for Column<T> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.0.chunks[at >> Self::SHIFT][at & ((1 << Self::SHIFT) - 1)]
    }
}

impl<T> FromIterator<T> for Column<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut column = Self::default();
        values.into_iter().for_each(|value| column.push(value));
        column
    }
}

impl<T> IntoIterator for Column<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.chunks.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 1 << Column::<usize>::SHIFT;

    #[test]
    fn values_stay_where_they_are() {
        let mut column = Column::default();
        let mut addresses: Vec<*const usize> = Vec::new();
        for step in [1, 3, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 7] {
            let mut next = column.len();
            column.resize_with(step, || {
                next += 1;
                next - 1
            });
            assert_eq!(column.len(), step);
            assert!((0..step).all(|at| column[at] == at));
            // The first chunk has its full room from here on.
            if step >= ROWS {
                let now: Vec<*const usize> = column.iter().map(std::ptr::from_ref).collect();
                assert!(addresses.iter().zip(&now).all(|(before, now)| before == now));
                addresses = now;
            }
        }
        assert!(column.bytes() < 5 * ROWS * size_of::<usize>());
        assert_eq!(Column::from_iter([7_u8; 3]).bytes(), 4 + 4 * size_of::<Vec<u8>>());
    }

    #[test]
    fn two_values_of_whichever_chunks_can_be_exchanged() {
        let last = 2 * ROWS + 1;
        let mut column: Column<usize> = (0..=last).collect();
        for (one, other) in [(0, 1), (ROWS - 1, ROWS), (last, 0)] {
            let before = (column[one], column[other]);
            let [left, right] = column.both(one, other).unwrap();
            std::mem::swap(left, right);
            assert_eq!((column[other], column[one]), before);
        }
        assert!(column.both(5, 5).is_none());
        assert!(column.both(5, last + 1).is_none());
        assert_eq!(column.into_iter().sum::<usize>(), last * (last + 1) / 2);
    }

    #[test]
    fn rows_of_several_values_are_not_parted() {
        const ROWS: usize = 1 << shift(3 * size_of::<usize>());
        let mut chunks: Chunks<usize> = Chunks::new(3);
        let mut next = 0;
        for rows in [1, 5, ROWS + 2] {
            chunks.resize(rows, |chunk| {
                chunk.extend([next, next, next]);
                next += 1;
            });
            assert_eq!(chunks.len(), rows);
        }
        assert!((0..ROWS + 2).all(|row| chunks.row(row) == [row; 3]));
        chunks.row_mut(ROWS)[1] = 7;
        assert_eq!(chunks.row(ROWS), [ROWS, 7, ROWS]);
    }

    #[test]
    fn rows_of_nothing_take_nothing() {
        let mut chunks: Chunks<u64> = Chunks::new(0);
        chunks.resize(10_000_000, |_| {});
        assert_eq!((chunks.len(), chunks.row(9_999_999)), (10_000_000, [].as_slice()));
        assert!(chunks.bytes() < 1024, "{} bytes", chunks.bytes());
    }
}
