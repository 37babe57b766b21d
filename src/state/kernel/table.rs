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

/// Rows of words.
#[derive(Debug, Default)]
pub struct Table {
    /// The words of a row in which nothing is.
    nothing: Vec<u64>,
    words: Vec<u64>,
}

impl Table {
    /// Widens the rows, of which there are none yet, by these words. Says where they stand.
    pub fn widen(&mut self, nothing: &[u64]) -> usize {
        let at = self.nothing.len();
        self.nothing.extend_from_slice(nothing);
        at
    }

    /// Makes room for this many rows; those added have nothing in them.
    pub fn resize(&mut self, rows: usize) {
        let words = rows * self.nothing.len();
        super::make_room(&mut self.words, words);
        while self.words.len() < words {
            self.words.extend_from_slice(&self.nothing);
        }
    }

    /// Keeps these rows alone, in this order.
    pub fn keep(&mut self, rows: &[Row]) {
        let mut kept = Vec::with_capacity(rows.len() * self.nothing.len());
        rows.iter().for_each(|row| kept.extend_from_slice(&self.words[self.span(*row)]));
        self.words = kept;
    }

    /// Leaves nothing in these rows.
    pub fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            let span = self.span(*row);
            self.words[span].copy_from_slice(&self.nothing);
        }
    }

    /// Bytes that it takes.
    pub const fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// Some words of a row.
    #[inline]
    pub fn get<const N: usize>(&self, row: Row, at: usize) -> [u64; N] {
        let begin = row as usize * self.nothing.len() + at;
        let mut words = [0; N];
        words.copy_from_slice(&self.words[begin..begin + N]);
        words
    }

    /// Changes them.
    #[inline]
    pub fn set<const N: usize>(&mut self, row: Row, at: usize, words: [u64; N]) {
        let begin = row as usize * self.nothing.len() + at;
        self.words[begin..begin + N].copy_from_slice(&words);
    }

    fn span(&self, row: Row) -> std::ops::Range<usize> {
        let begin = row as usize * self.nothing.len();
        begin..begin + self.nothing.len()
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
