//! What a source hands over: events as the broker has them, undecoded, packed
//! a partition at a time.
//!
//! An offset is the offset of the next event to read, everywhere.

use std::fmt;

/// A stream's number among the configured streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u16);

impl StreamId {
    /// As an index into the streams.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One partition of one stream's topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The stream.
    pub stream: StreamId,
    /// Kafka's partition number.
    pub partition: i32,
}

/// One event as the broker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its own offset.
    pub offset: i64,
    /// Kafka's timestamp in milliseconds; negative when the broker has none.
    pub timestamp_ms: i64,
    /// The message key.
    pub key: Option<&'a [u8]>,
    /// The message value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Where a slice of the arena ends, and whether it is there at all.
#[derive(Debug, Clone, Copy)]
struct End {
    end: usize,
    present: bool,
}

/// The events of one partition in offset order, packed into one buffer: taking
/// an event from the source is a copy of its bytes and no allocation.
#[derive(Debug, Clone)]
pub struct FrameBatch {
    /// Where they come from.
    pub partition: PartitionId,

    offsets: Vec<i64>,
    timestamps_ms: Vec<i64>,
    key_ends: Vec<End>,
    value_ends: Vec<End>,
    bytes: Vec<u8>,
}

impl FrameBatch {
    /// An empty batch.
    pub const fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            offsets: Vec::new(),
            timestamps_ms: Vec::new(),
            key_ends: Vec::new(),
            value_ends: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Appends an event. Offsets grow; the source sees to that.
    pub fn push(&mut self, frame: Frame<'_>) {
        debug_assert!(self.offsets.last().is_none_or(|last| *last < frame.offset), "offsets grow");
        self.offsets.push(frame.offset);
        self.timestamps_ms.push(frame.timestamp_ms);
        self.bytes.extend_from_slice(frame.key.unwrap_or_default());
        self.key_ends.push(End { end: self.bytes.len(), present: frame.key.is_some() });
        self.bytes.extend_from_slice(frame.value.unwrap_or_default());
        self.value_ends.push(End { end: self.bytes.len(), present: frame.value.is_some() });
    }

    /// How many events.
    pub const fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of keys and values.
    pub const fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The event at `index`.
    ///
    /// # Panics
    /// When there is none at that index.
    #[inline]
    pub fn get(&self, index: usize) -> Frame<'_> {
        let start = if index == 0 { 0 } else { self.value_ends[index - 1].end };
        let (key, value) = (self.key_ends[index], self.value_ends[index]);
        Frame {
            offset: self.offsets[index],
            timestamp_ms: self.timestamps_ms[index],
            key: key.present.then(|| &self.bytes[start..key.end]),
            value: value.present.then(|| &self.bytes[key.end..value.end]),
        }
    }

    /// The events in offset order.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The position after the last event.
    pub fn next_offset(&self) -> Option<i64> {
        self.offsets.last().map(|last| last + 1)
    }
}

/// Why an event could not be used. A closed set: the names are metric labels
/// and the `reason` header of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The value begins like no framing that the stream accepts.
    Framing,
    /// The writer's schema is not to be had.
    UnknownSchema,
    /// The writer's schema cannot be resolved with the stream's.
    Incompatible,
    /// The body is not what its schema says.
    Malformed,
    /// The event time is null.
    NoEventTime,
    /// Older than the watermark by more than the allowed lateness.
    TooLate,
    /// Its event time is too long after its Kafka timestamp.
    Future,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Framing,
        Self::UnknownSchema,
        Self::Incompatible,
        Self::Malformed,
        Self::NoEventTime,
        Self::TooLate,
        Self::Future,
    ];

    /// The label: `malformed`, `too_late`, ...
    pub const fn label(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::UnknownSchema => "unknown_schema",
            Self::Incompatible => "incompatible_schema",
            Self::Malformed => "malformed",
            Self::NoEventTime => "no_event_time",
            Self::TooLate => "too_late",
            Self::Future => "future",
        }
    }
}

/// An event of a [`FrameBatch`] that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its index in the batch.
    pub index: usize,
    /// Why, as a label.
    pub reason: Reason,
    /// Why, for a person.
    pub error: String,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} partition {}", self.stream.0, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId { stream: StreamId(0), partition: 3 };

    #[test]
    fn frames_come_back_as_they_went_in() {
        let frames = [
            Frame { offset: 4, timestamp_ms: 1, key: None, value: Some(b"abc") },
            Frame { offset: 5, timestamp_ms: 2, key: Some(b"k"), value: None },
            Frame { offset: 9, timestamp_ms: 3, key: Some(b""), value: Some(b"") },
        ];
        let mut batch = FrameBatch::new(PARTITION);
        for frame in frames {
            batch.push(frame);
        }
        assert_eq!(batch.iter().collect::<Vec<_>>(), frames);
        assert_eq!((batch.next_offset(), batch.byte_len()), (Some(10), 4));
    }
}
