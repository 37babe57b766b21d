//! Where features go. A [`Sink`] is an edge; what it is given is decided
//! before, in [`encode`] and in [`crate::evaluate`].

pub mod backoff;
mod base64;
pub mod dead_letter;
pub mod encode;
pub mod memory;
pub mod redis;
pub mod resp;

use crate::error::Fault;

/// The commands for one entity of one view, as a stretch of [`Writes::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where its commands begin in [`Writes::bytes`].
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// How many replies they get.
    pub replies: u32,
    /// Where the key stands, for routing in a cluster.
    pub key: (usize, usize),
}

/// Redis commands, packed as the protocol has them, in the order in which they
/// must take effect. An entry's commands change one hash.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// The commands.
    pub bytes: Vec<u8>,
    /// One entity each.
    pub entries: Vec<Entry>,
}

impl Writes {
    /// The key of an entry.
    pub fn key(&self, entry: Entry) -> &[u8] {
        &self.bytes[entry.key.0..entry.key.1]
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Entries that the store acknowledged.
    pub acknowledged: u64,
    /// Entries that the store refused for good, such as a key that holds
    /// another type. Each was logged.
    pub refused: u64,
    /// The store is not the one that earlier writes went to (it was restarted,
    /// or another took its place), so nothing written before can be relied on.
    pub store_changed: bool,
}

/// What a sink reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be reached or could not answer now.
    #[error("could not write to {store}: {reason}")]
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
pub trait Sink: Send {
    /// Writes every entry and waits for the acknowledgements.
    ///
    /// # Errors
    /// When an entry is neither acknowledged nor refused for good.
    fn write(&mut self, writes: &Writes) -> Result<Written, Error>;

    /// Asks whether the store answers, and whether it is the one that earlier
    /// writes went to; nothing is written.
    ///
    /// # Errors
    /// When it does not answer.
    fn ping(&mut self) -> Result<Written, Error>;
}
