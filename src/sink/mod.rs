//! Where features go. A [`Sink`] is an edge; what it is given is decided
//! before, in [`encode`] and in [`crate::evaluate`].

pub mod backoff;
mod base64;
pub mod dead_letter;
pub mod encode;
pub mod fence;
pub mod memory;
pub mod parquet;
pub mod parts;
pub mod redis;
pub mod resp;
pub mod rows;

use std::time::Duration;

use crate::error::Fault;
use fence::Shard;
use parts::{Behind, Part};
use rows::Rows;

/// Bytes of room that are kept whatever was used.
const KEPT_ROOM: usize = 1 << 20;

/// The commands for one entity of one view, as a stretch of [`Writes::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where its commands begin in [`Writes::bytes`].
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// How many commands they are, and so how many replies they get.
    pub replies: u32,
    /// Where it comes from: an index into [`Writes::origins`].
    pub origin: u32,
    /// Where the key stands, for routing in a cluster.
    pub key: (usize, usize),
    /// Which row it is of which only the fields that changed are set.
    pub part: Option<Part>,
}

impl Entry {
    /// Whether a reader could see half of the new row, if its commands were not
    /// made a transaction by the sink: HSET and PEXPIRE alone show all or nothing.
    pub const fn is_torn(&self) -> bool {
        self.replies > 2
    }
}

/// Where entries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Whose they are.
    pub shard: Shard,
    /// The clock for which their rows were computed, in milliseconds.
    pub as_of_ms: i64,
}

/// Redis commands, packed as the protocol has them, in the order in which they
/// must take effect. An entry's commands change one hash, together; there is
/// no MULTI among them.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// The commands.
    pub bytes: Vec<u8>,
    /// One entity each.
    pub entries: Vec<Entry>,
    /// Where they come from.
    pub origins: Vec<Origin>,
    /// The rows of entries that set the changed fields only.
    pub behind: Vec<Behind>,
    /// The rows themselves, where the sink takes these: then there are no commands.
    pub rows: Option<Rows>,
}

impl Writes {
    /// The key of an entry.
    pub fn key(&self, entry: Entry) -> &[u8] {
        &self.bytes[entry.key.0..entry.key.1]
    }

    /// Says where the entries come from that are appended next.
    pub fn begin(&mut self, origin: Origin) {
        if self.origins.last() != Some(&origin) {
            self.origins.push(origin);
        }
    }

    /// Ends an entry, whose commands begin at `start` and whose key stands at `key`.
    pub fn end_entry(&mut self, start: usize, replies: u32, key: (usize, usize)) {
        // A turn has few origins: a view's shards.
        let origin = u32::try_from(self.origins.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.entries.push(Entry { start, end: self.bytes.len(), replies, origin, key, part: None });
    }

    /// Where an entry comes from, if that was said.
    pub fn origin(&self, entry: Entry) -> Option<Origin> {
        self.origins.get(entry.origin as usize).copied()
    }

    /// Nothing to write, and the room of what there was, to be used again; but
    /// for what was needed at a peak.
    pub fn emptied(mut self) -> Self {
        let used = self.bytes.len();
        if self.bytes.capacity() > 4 * used + KEPT_ROOM {
            return Self::default();
        }
        self.behind.clear();
        self.bytes.clear();
        self.entries.clear();
        self.origins.clear();
        self.rows = None;
        self
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rows.as_ref().is_none_or(Rows::is_empty)
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Entries that the store acknowledged.
    pub acknowledged: u64,
    /// Entries that the store refused for good, such as a key that holds
    /// another type. Each was logged.
    pub refused: u64,
    /// Entries that were not written: another process has taken their shard
    /// over, or the store has a newer row.
    pub fenced: u64,
    /// The shards that other processes have taken over, whether something of
    /// them was to be written or not.
    pub taken_over: Vec<Shard>,
    /// The store is not the one that earlier writes went to (it was restarted,
    /// or another took its place), or it lost what it had: nothing written
    /// before can be relied on.
    pub store_changed: bool,
}

/// What a sink reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be reached or could not answer now.
    #[error("could not reach {store}: {reason}")]
    Unavailable {
        /// The store, without secrets.
        store: String,
        /// What it said.
        reason: String,
    },
    /// The store answers and will not have us: credentials, rights, options.
    #[error("{store} refused: {reason}")]
    Refused {
        /// The store, without secrets.
        store: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// Who has to act. Everything but [`Fault::User`] is retried.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } => Fault::Outside,
            Self::Refused { .. } => Fault::User,
        }
    }
}

/// A store of features.
///
/// Writes take effect in order. After an error some, all or none of the
/// entries may have taken effect: the caller repeats the whole call, which is
/// harmless because values are absolute. A sink tries once; when to try again
/// is the caller's decision.
///
/// A shard that was taken over is written as long as nobody else takes it over.
/// One that was never taken over is written without asking.
///
/// After a write that succeeded every hash has its whole row, whatever the store
/// had before: see [`parts`].
pub trait Sink: Send {
    /// Takes shards over, from whoever has them: their writes that come later
    /// than this are not made. The group gave them to this process so long `ago`;
    /// returned are those that another process was given since and took over.
    ///
    /// # Errors
    /// When the store does not answer. To be repeated.
    fn take_over(&mut self, shards: &[Shard], ago: Duration) -> Result<Vec<Shard>, Error>;

    /// Forgets shards: they belong to others now, or to nobody. Asks nobody.
    fn give_up(&mut self, shards: &[Shard]);

    /// Writes every entry and waits for the acknowledgements.
    ///
    /// # Errors
    /// When an entry is neither acknowledged nor refused for good.
    fn write(&mut self, writes: &Writes) -> Result<Written, Error>;

    /// Asks whether the store answers, whether it has what earlier writes
    /// brought, and who has the shards; no feature is written.
    ///
    /// # Errors
    /// When it does not answer.
    fn ping(&mut self) -> Result<Written, Error>;
}
