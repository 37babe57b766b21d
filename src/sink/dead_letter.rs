//! Where events go that could not be used: kept whole, with the reason, in a
//! topic beside their stream's or in a file. What makes an event a dead letter
//! is decided in [`crate::decode`] and [`crate::clock`].

mod file;
mod kafka;

use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use crate::frame::{Frame, Reason};

pub use file::FileDeadLetters;
pub use kafka::{KafkaDeadLetters, Options as KafkaOptions};

/// The headers of a dead letter, and the names of its parts in a file.
pub(crate) mod header {
    pub const SOURCE_TOPIC: &str = "source_topic";
    pub const SOURCE_PARTITION: &str = "source_partition";
    pub const SOURCE_OFFSET: &str = "source_offset";
    pub const SOURCE_TIMESTAMP: &str = "source_timestamp";
    pub const REASON: &str = "reason";
    pub const ERROR: &str = "error";
}

/// An event that could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The topic it comes from.
    pub source_topic: &'a str,
    /// The partition of that topic.
    pub partition: i32,
    /// The event as the broker had it.
    pub frame: Frame<'a>,
    /// Why, as a label.
    pub reason: Reason,
    /// Why, for a person.
    pub error: &'a str,
}

/// A place for dead letters.
///
/// A letter is safe once a `flush` after its `append` has succeeded; offsets
/// are committed only then. After an error of either, everything appended since
/// the last successful `flush` is the caller's to append again; some of it may
/// then be there twice, which the source position in each letter tells.
pub trait DeadLetters: Send {
    /// Takes a letter; it need not be safe yet.
    ///
    /// # Errors
    /// When the place takes no more letters.
    fn append(&mut self, letter: &DeadLetter<'_>) -> Result<(), Error>;

    /// Waits until every letter is safe.
    ///
    /// # Errors
    /// When one is not.
    fn flush(&mut self) -> Result<(), Error>;
}

/// A dead letter that outlives its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedDeadLetter {
    /// The topic it comes from.
    pub source_topic: String,
    /// The partition of that topic.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Kafka's timestamp in milliseconds.
    pub timestamp_ms: i64,
    /// The message key.
    pub key: Option<Vec<u8>>,
    /// The message value.
    pub value: Option<Vec<u8>>,
    /// Why, as a label.
    pub reason: Reason,
    /// Why, for a person.
    pub error: String,
}

impl From<&DeadLetter<'_>> for OwnedDeadLetter {
    fn from(letter: &DeadLetter<'_>) -> Self {
        Self {
            source_topic: letter.source_topic.to_owned(),
            partition: letter.partition,
            offset: letter.frame.offset,
            timestamp_ms: letter.frame.timestamp_ms,
            key: letter.frame.key.map(<[u8]>::to_vec),
            value: letter.frame.value.map(<[u8]>::to_vec),
            reason: letter.reason,
            error: letter.error.to_owned(),
        }
    }
}

/// Dead letters in memory, for tests and for commands that only show them.
/// Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryDeadLetters {
    safe: Arc<Mutex<Vec<OwnedDeadLetter>>>,
    appended: Vec<OwnedDeadLetter>,
}

impl MemoryDeadLetters {
    /// The letters that were flushed.
    pub fn letters(&self) -> Vec<OwnedDeadLetter> {
        self.safe.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DeadLetters for MemoryDeadLetters {
    fn append(&mut self, letter: &DeadLetter<'_>) -> Result<(), Error> {
        self.appended.push(letter.into());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.safe.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.appended);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_there_once_flushed() {
        let mut letters = MemoryDeadLetters::default();
        let reader = letters.clone();
        let frame = Frame { offset: 7, timestamp_ms: 5, key: None, value: Some(b"\x00") };
        let letter = DeadLetter {
            source_topic: "txn.events",
            partition: 3,
            frame,
            reason: Reason::Malformed,
            error: "the body ends early",
        };
        letters.append(&letter).unwrap();
        assert!(reader.letters().is_empty());
        letters.flush().unwrap();
        assert_eq!(reader.letters(), [OwnedDeadLetter::from(&letter)]);
        letters.flush().unwrap();
        assert_eq!(reader.letters().len(), 1);
    }
}
