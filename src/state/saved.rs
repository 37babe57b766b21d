//! What is saved of a partition, so that another process can go on from there:
//! plain columns, whichever way they are written and read.

use arrow::array::ArrayRef;

use super::lead_in::LeadIn;
use crate::time::EventTime;

/// Tiles of groups of one pane.
#[derive(Debug, Clone, Default)]
pub struct SavedTiles {
    /// By tile, the position of its group among those saved; ascending, none left out.
    pub of: Vec<u32>,
    /// By tile, its number; ascending within a group.
    pub numbers: Vec<i64>,
    /// By tile, whether its row holds the tiles after it as well.
    pub are_suffixes: Vec<bool>,
    /// By kernel, the states of the tiles.
    pub states: Vec<Vec<ArrayRef>>,
}

/// One pane of a view.
#[derive(Debug, Clone)]
pub struct SavedPane {
    /// The number of the leaf.
    pub leaf: usize,
    /// The number of the pane in the leaf.
    pub pane: usize,
    /// What the groups are, each once.
    pub groups: Vec<ArrayRef>,
    /// Their tiles.
    pub tiles: SavedTiles,
}

/// One view.
#[derive(Debug, Clone)]
pub struct SavedView {
    /// Its name.
    pub view: String,
    /// Its panes. Of a group that a pane has several times, the first counts.
    pub panes: Vec<SavedPane>,
    /// Hashes deleted lately, in any order; some may be there several times.
    pub deletions: Vec<Deletion>,
}

/// A hash that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deletion {
    /// Wall time.
    pub at: EventTime,
    /// The key, as the view's encoder tells it.
    pub key: Box<[u8]>,
}

/// A stretch of events of which the windows hold some: see [`super::retained`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedChunk {
    /// How many events there are.
    pub events: usize,
    /// Where to read again from.
    pub lead_in: LeadIn,
    /// The lowest event time.
    pub oldest: EventTime,
    /// The highest.
    pub newest: EventTime,
}

/// All of a partition, or what changed in it.
#[derive(Debug, Clone)]
pub struct SavedPartition {
    /// The next offset to read.
    pub position: i64,
    /// The partition's clock before it.
    pub clock: Option<EventTime>,
    /// What the lead-in is told by.
    pub chunks: Vec<SavedChunk>,
    /// The views that read the stream.
    pub views: Vec<SavedView>,
}
