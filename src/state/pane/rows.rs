//! Numbers of rows, used again.

use crate::state::kernel::{NOTHING, Row};

/// Rows are renumbered when fewer than one in this many is used …
const SPARSE: usize = 4;
/// … and there are at least this many.
const WORTH_IT: usize = 65_536;

/// Which rows are used. Row [`NOTHING`] always is.
#[derive(Debug)]
pub struct Rows {
    count: Row,
    free: Vec<Row>,
}

impl Rows {
    pub const fn new() -> Self {
        Self { count: NOTHING + 1, free: Vec::new() }
    }

    /// A row with nothing in it.
    pub fn take(&mut self) -> Row {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    /// Gives rows back; nothing is in them any more.
    pub fn give_back(&mut self, rows: &[Row]) {
        self.free.extend_from_slice(rows);
    }

    /// How many rows there are, the free ones among them.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// How many rows are used.
    pub fn used(&self) -> usize {
        self.len() - 1 - self.free.len()
    }

    /// Whether so many are free that the rest should be renumbered.
    pub fn is_sparse(&self) -> bool {
        self.len() >= WORTH_IT && self.used() * SPARSE < self.len()
    }

    /// The rows were renumbered from 0 on, without gaps.
    pub fn renumbered(&mut self, count: Row) {
        self.count = count;
        self.free = Vec::new();
    }

    pub fn bytes(&self) -> usize {
        self.free.capacity() * size_of::<Row>()
    }
}
