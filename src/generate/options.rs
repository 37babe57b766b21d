//! What a generator is told, and what may be wrong with it.

use crate::error::Fault;
use crate::time::Span;

/// A shipped stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Card payments.
    Transactions,
    /// Steps of users on a shop's pages.
    Clicks,
    /// Devices that report what they are.
    Devices,
}

impl Kind {
    /// Every shipped stream.
    pub const ALL: [Self; 3] = [Self::Transactions, Self::Clicks, Self::Devices];

    /// The stream's name.
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Clicks => "clicks",
            Self::Devices => "devices",
        }
    }

    /// The stream's topic.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Transactions => "txn.events",
            Self::Clicks => "click.events",
            Self::Devices => "device.events",
        }
    }

    /// Its share of the events where every stream is generated.
    pub(super) const fn weight(self) -> f64 {
        match self {
            Self::Transactions => 0.5,
            Self::Clicks => 0.4,
            Self::Devices => 0.1,
        }
    }
}

/// The ids under which a registry knows the shipped schemas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchemaIds {
    /// Transactions, version 1.
    pub transactions_v1: u32,
    /// Transactions, version 2.
    pub transactions_v2: u32,
    /// Clicks.
    pub clicks: u32,
    /// Devices.
    pub devices: u32,
}

/// What precedes the Avro body of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `00` and the schema's id in four bytes, big endian.
    Confluent {
        /// The ids.
        ids: SchemaIds,
    },
    /// `C3 01` and the schema's fingerprint in eight bytes, little endian.
    SingleObject,
    /// Nothing. Only the newest schema of a stream is written then, since
    /// nothing would tell the older one.
    Bare,
}

/// What to generate. Shares lie between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The same seed gives the same events.
    pub seed: u64,
    /// Which streams, interleaved.
    pub streams: Vec<Kind>,
    /// How many users there are, and as many cards and devices.
    pub entities: u64,
    /// Share of transactions that belong to a burst of fraud.
    pub fraud_share: f64,
    /// Share of events whose event time lies before that of earlier ones.
    pub disorder_share: f64,
    /// By how much at most.
    pub disorder_max: Span,
    /// Share of events that are late.
    pub late_share: f64,
    /// By how much.
    pub late_by: Span,
    /// Share of events that nobody can decode.
    pub malformed_share: f64,
    /// Share of events that are the one before once more.
    pub duplicate_share: f64,
    /// Share of transactions written with version 1 of their schema.
    pub v1_share: f64,
    /// What precedes the body of a value.
    pub framing: Framing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            streams: Kind::ALL.to_vec(),
            entities: 10_000,
            fraud_share: 0.01,
            disorder_share: 0.05,
            disorder_max: Span::from_secs(2),
            late_share: 0.0,
            late_by: Span::from_secs(30),
            malformed_share: 0.0,
            duplicate_share: 0.0,
            v1_share: 0.0,
            framing: Framing::SingleObject,
        }
    }
}

impl Options {
    /// Whether a generator can be made of them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        for (name, share) in [
            ("the share of fraud", self.fraud_share),
            ("the share of disorder", self.disorder_share),
            ("the share of late events", self.late_share),
            ("the share of malformed events", self.malformed_share),
            ("the share of duplicates", self.duplicate_share),
            ("the share of version 1", self.v1_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Share { name, share });
            }
        }
        let sum = self.disorder_share + self.late_share;
        if sum > 1.0 {
            return Err(Error::Times { sum });
        }
        if self.entities == 0 || self.entities > u64::from(u32::MAX) {
            return Err(Error::Entities { entities: self.entities });
        }
        if self.streams.is_empty() { Err(Error::NoStreams) } else { Ok(()) }
    }
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A share outside of 0 to 1.
    #[error("{name} is {share}, which is no share: it lies between 0 and 1")]
    Share {
        /// Which.
        name: &'static str,
        /// What was given.
        share: f64,
    },
    /// More late and disordered events than events.
    #[error("the shares of disorder and of late events are {sum} together, which is more than 1")]
    Times {
        /// Both together.
        sum: f64,
    },
    /// No stream at all.
    #[error("no stream to generate: at least one of transactions, clicks and devices is needed")]
    NoStreams,
    /// Too few or too many.
    #[error("{entities} entities cannot be had: from 1 to {} can", u32::MAX)]
    Entities {
        /// What was given.
        entities: u64,
    },
    /// A distribution whose parameters are no numbers: our own fault.
    #[error("the distribution of amounts or of times has parameters that are none")]
    Amounts,
    /// A shipped schema that is none: our own fault.
    #[error("a shipped schema cannot be parsed")]
    Schema(#[from] apache_avro::Error),
}

impl Error {
    /// Who has to act.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Share { .. } | Self::Times { .. } | Self::NoStreams | Self::Entities { .. } => Fault::User,
            Self::Amounts | Self::Schema(_) => Fault::Ours,
        }
    }
}
