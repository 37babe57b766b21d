//! Feature views: what a `.sql` file says, checked and planned.
//!
//! Reading order: [`header`] (the comment lines), [`plan`] (from text to
//! plan), [`window`] (`now()` found and bound), [`lineage`] (which stream
//! column an output column is), [`tiling`] and [`keying`] (whether entities can
//! be evaluated apart), [`classify`], [`explain`] (all of it told).

pub mod classify;
mod depth;
pub mod explain;
pub mod header;
pub mod keying;
pub mod lineage;
pub mod physical;
pub mod plan;
pub mod problems;
pub mod session;
pub mod table;
pub mod tiling;
pub mod window;

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;

use crate::frame::StreamId;
use crate::time::{EventTime, Span};
use classify::Classification;
use header::Header;
use window::Window;

/// What a view has to know of a stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name: the table.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// The column by which the topic is partitioned.
    pub key: String,
    /// The table.
    pub table: SchemaRef,
}

/// The configured streams. A [`StreamId`] is an index into them.
#[derive(Debug, Clone, Default)]
pub struct Streams(Vec<Stream>);

impl Streams {
    /// Streams in the order of their numbers.
    pub const fn new(streams: Vec<Stream>) -> Self {
        Self(streams)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Stream> {
        self.0.iter()
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|stream| stream.name.clone()).collect()
    }

    /// The one with a number.
    pub fn get(&self, id: StreamId) -> &Stream {
        &self.0[id.index()]
    }

    /// The number of the one with a name.
    pub fn id(&self, name: &str) -> Option<StreamId> {
        let index = self.0.iter().position(|stream| stream.name == name)?;
        u16::try_from(index).ok().map(StreamId)
    }
}

/// One reading of a stream in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The stream's name.
    pub stream: String,
    /// The columns it needs.
    pub columns: BTreeSet<String>,
    /// The window that holds for every row of it: older events are not needed.
    pub bound: Window,
}

/// Which partitions have to be seen together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharding {
    /// Every partition number is a shard of its own.
    ByPartition,
    /// All partitions are one shard: the view needs one process.
    Single {
        /// Why.
        reason: String,
    },
}

/// A feature view, ready to be evaluated.
#[derive(Debug, Clone)]
pub struct FeatureView {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// Its text.
    pub sql: String,
    /// What its header says.
    pub header: Header,
    /// How long a hash lives after its last write.
    pub ttl: Duration,
    /// Which output columns are the key.
    pub key: Vec<usize>,
    /// The output columns.
    pub output: SchemaRef,
    /// Its windows.
    pub windows: BTreeSet<Window>,
    /// What it reads.
    pub scans: Vec<Scan>,
    /// Which partitions have to be seen together.
    pub sharding: Sharding,
    /// How it is evaluated.
    pub classification: Classification,
    /// Its parts when it can be evaluated from tiles, else why it cannot.
    pub tiling: Result<tiling::Tiling, String>,
    /// How it leaves entities apart down to the events, else why it does not.
    pub keying: Result<keying::Keying, String>,
    /// The optimised plan, with placeholders for `now()`.
    pub plan: LogicalPlan,
    /// Whether plain DataFusion can run that plan, else why it cannot: a tiled view needs it only as
    /// far as its aggregates are done.
    pub plain: Result<(), String>,
}

impl FeatureView {
    /// The streams it reads, each once.
    pub fn streams(&self) -> BTreeSet<&str> {
        self.scans.iter().map(|scan| scan.stream.as_str()).collect()
    }

    /// The longest window: how far back an event can matter.
    pub fn longest_window(&self) -> Span {
        self.windows.iter().map(|window| window.span()).max().unwrap_or_default()
    }

    /// Events of a stream at or before this time do not matter any more when
    /// the clock is `clock`. `None` when the view does not read the stream.
    pub fn keep_after(&self, stream: &str, clock: EventTime) -> Option<EventTime> {
        self.scans
            .iter()
            .filter(|scan| scan.stream == stream)
            .map(|scan| {
                let edge = clock.ceil(scan.bound.resolution);
                // With `>=` an event on the edge itself counts.
                EventTime(edge.micros().saturating_sub(scan.bound.length).saturating_sub(1))
            })
            .min()
    }

    /// What `now()` is in each window at `clock`: rows can change by time alone
    /// only when this does.
    pub fn edges(&self, clock: EventTime) -> Vec<EventTime> {
        let resolutions: BTreeSet<Span> = self.windows.iter().map(|window| window.resolution).collect();
        resolutions.into_iter().map(|resolution| clock.ceil(resolution)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
