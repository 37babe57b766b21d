//! The states of many kernels in one table, a row a tile: what several of them keep of one tile
//! stands in a cache line or two, where a column each would be a line each to wait for.
//!
//! ```text
//!          count  sum         max         var
//!  row 0 [  n   | sum, some | max, some | n, mean, m2 ]   nothing
//!  row 1 [  n   | sum, some | max, some | n, mean, m2 ]
//! ```

use std::fmt;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::Result;

use super::{Pair, Row};
use crate::state::column::Chunks;

/// Rows of words.
#[derive(Debug)]
pub struct Table {
    /// The words of a row in which nothing is.
    nothing: Vec<u64>,
    words: Chunks<u64>,
}

impl Default for Table {
    fn default() -> Self {
        Self { nothing: Vec::new(), words: Chunks::new(0) }
    }
}

impl Table {
    /// Widens the rows, of which there are none yet, by these words. Says where they stand.
    pub fn widen(&mut self, nothing: &[u64]) -> usize {
        let at = self.nothing.len();
        self.nothing.extend_from_slice(nothing);
        self.words.widen(self.nothing.len());
        at
    }

    /// Makes room for this many rows; those added have nothing in them.
    pub fn resize(&mut self, rows: usize) {
        self.words.resize(rows, |words| words.extend_from_slice(&self.nothing));
    }

    /// Keeps these rows alone, in this order.
    pub fn keep(&mut self, rows: &[Row]) {
        self.words = self.words.kept(rows.iter().map(|row| *row as usize));
    }

    /// Leaves nothing in these rows.
    pub fn clear(&mut self, rows: &[Row]) {
        rows.iter().for_each(|row| self.words.row_mut(*row as usize).copy_from_slice(&self.nothing));
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }

    /// Some words of a row.
    #[inline]
    pub fn get<const N: usize>(&self, row: Row, at: usize) -> [u64; N] {
        *self.words.part(row as usize, at)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut<const N: usize>(&mut self, row: Row, at: usize) -> &mut [u64; N] {
        self.words.part_mut(row as usize, at)
    }

    /// Changes them.
    #[inline]
    pub fn set<const N: usize>(&mut self, row: Row, at: usize, words: [u64; N]) {
        *self.get_mut(row, at) = words;
    }
}

/// The kernel of an aggregate function whose state is a few words: as
/// [`Kernel`](super::Kernel), but that the states are in a table, from the word `at` of each row on.
/// What was merged into a state stays: its mode is [`Mode::Stack`](super::Mode::Stack).
pub trait Packed: fmt::Debug + Send {
    /// The words of nothing.
    fn nothing(&self) -> Vec<u64>;

    /// Adds events.
    ///
    /// # Errors
    /// What DataFusion says of the events. The rows of this call may then have anything in them.
    fn update(
        &self,
        table: &mut Table,
        at: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()>;

    /// Merges rows into others, one pair after the other.
    fn merge(&self, table: &mut Table, at: usize, pairs: &[Pair]);

    /// The values of rows.
    ///
    /// # Errors
    /// What DataFusion says.
    fn evaluate(&self, table: &Table, at: usize, rows: &[Row]) -> Result<ArrayRef>;

    /// The states of rows as columns.
    ///
    /// # Errors
    /// What DataFusion says.
    fn save(&self, table: &Table, at: usize, rows: &[Row]) -> Result<Vec<ArrayRef>>;

    /// Puts states that [`Packed::save`] gave into rows that have nothing in them.
    ///
    /// # Errors
    /// When the columns are not those of this kernel.
    fn load(&self, table: &mut Table, at: usize, rows: &[Row], states: &[ArrayRef]) -> Result<()>;
}
