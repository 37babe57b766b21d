//! Plausible transactions, clicks and device events, for the demo, for trying
//! views out, and for tests and benchmarks.
//!
//! Everything follows from the seed and from the times at which events are
//! asked for: no clock is read and nothing is stored. Where the events go is
//! the caller's business.
//!
//! ```text
//!   population ─▶ transactions ─┐
//!   (who, where,  clicks ───────┼─▶ encode ─▶ value ─▶ spoiled, if it is to be
//!    with what)   devices ──────┘
//! ```

mod clicks;
mod devices;
mod encode;
mod merchants;
mod options;
mod places;
mod population;
mod record;
#[cfg(test)]
mod tests;
mod text;
mod transactions;

use rand::{RngExt, SeedableRng};
use serde::{Serialize, Serializer};

use self::clicks::Clicks;
use self::devices::Devices;
use self::encode::{Encoder, spoil};
pub use self::options::{Error, Framing, Kind, Options, SchemaIds};
use self::population::{Population, Random, low_bits, mix};
use self::record::{Click, Device, Transaction, TransactionV1};
use self::transactions::Transactions;

/// How an event's time stands to the moment at which it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeliness {
    /// They are the same.
    OnTime,
    /// It lies a little before.
    Disordered,
    /// It lies long before.
    Late,
}

/// One event. It borrows from the generator, which writes the next one over it.
#[derive(Debug, Clone, Copy)]
pub struct Generated<'a> {
    /// Its stream.
    pub kind: Kind,
    /// The message key: the entity.
    pub key: &'a [u8],
    /// The same as text.
    pub entity: &'a str,
    /// The message value: framing and Avro body.
    pub value: &'a [u8],
    /// When it happened, in milliseconds.
    pub event_time_ms: i64,
    /// When it arrives, in milliseconds: the time that was asked for.
    pub arrival_ms: i64,
    /// How the two stand to each other.
    pub timeliness: Timeliness,
    /// Whether the value was made undecodable.
    pub malformed: bool,
    /// Whether it is the event before once more.
    pub duplicate: bool,
    /// Whether it belongs to a burst of fraud.
    pub fraud: bool,
    /// The event itself, as it was before it was encoded.
    pub record: Record<'a>,
}

/// An event's fields, to be serialized in any other format.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a>(Fields<'a>);

#[derive(Debug, Clone, Copy)]
enum Fields<'a> {
    TransactionV1(&'a Transaction),
    TransactionV2(&'a Transaction),
    Click(&'a Click),
    Device(&'a Device),
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Fields::TransactionV1(record) => TransactionV1::from(record).serialize(serializer),
            Fields::TransactionV2(record) => record.serialize(serializer),
            Fields::Click(record) => record.serialize(serializer),
            Fields::Device(record) => record.serialize(serializer),
        }
    }
}

/// When an event happened and when it arrives.
#[derive(Debug, Clone, Copy)]
struct Moment {
    event_ms: i64,
    arrival_ms: i64,
}

/// What there is to know of the event made last, beside its record.
#[derive(Debug, Clone, Copy)]
struct Last {
    kind: Kind,
    version_1: bool,
    event_ms: i64,
    timeliness: Timeliness,
    malformed: bool,
}

/// Makes events, one after the other.
pub struct Generator {
    options: Options,
    /// Each stream with the chance that an event is of it or of one before it.
    kinds: Vec<(f64, Kind)>,
    population: Population,
    encoder: Encoder,

    random: Random,
    transactions: Transactions,
    clicks: Clicks,
    devices: Devices,
    last: Option<Last>,
    value: Vec<u8>,
}

impl Generator {
    /// A generator of what the options say.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn try_new(options: Options) -> Result<Self, Error> {
        options.validate()?;
        let run = low_bits(mix(options.seed));
        Ok(Self {
            kinds: thresholds(&options.streams),
            population: Population::try_new(options.seed, options.entities)?,
            encoder: Encoder::try_new(&options.framing)?,
            random: Random::seed_from_u64(options.seed),
            transactions: Transactions::try_new(run, options.fraud_share)?,
            clicks: Clicks::try_new(run)?,
            devices: Devices::default(),
            last: None,
            value: Vec::with_capacity(512),
            options,
        })
    }

    /// The event that arrives at `now_ms`, in milliseconds. The times that are
    /// asked for should not go back.
    ///
    /// # Panics
    /// When a shipped schema is not what its record says, which tests rule out.
    pub fn next(&mut self, now_ms: i64) -> Generated<'_> {
        let (last, duplicate) = match self.last {
            Some(last) if self.random.random_bool(self.options.duplicate_share) => (last, true),
            _ => (self.make(now_ms), false),
        };
        self.last = Some(last);
        let (entity, fields, fraud) = match last.kind {
            Kind::Transactions => {
                let record = self.transactions.record();
                let fields = if last.version_1 {
                    Fields::TransactionV1(record)
                } else {
                    Fields::TransactionV2(record)
                };
                (record.card_id.as_str(), fields, record.is_fraud)
            }
            Kind::Clicks => {
                let record = self.clicks.record();
                (record.user_id.as_str(), Fields::Click(record), false)
            }
            Kind::Devices => {
                let record = self.devices.record();
                (record.device_id.as_str(), Fields::Device(record), false)
            }
        };
        Generated {
            kind: last.kind,
            key: entity.as_bytes(),
            entity,
            value: &self.value,
            event_time_ms: last.event_ms,
            arrival_ms: now_ms,
            timeliness: last.timeliness,
            malformed: last.malformed,
            duplicate,
            fraud,
            record: Record(fields),
        }
    }

    fn make(&mut self, now_ms: i64) -> Last {
        let kind = self.draw_kind();
        let (timeliness, back_ms) = self.draw_delay();
        let moment = Moment { event_ms: now_ms.saturating_sub(back_ms), arrival_ms: now_ms };
        let mut version_1 = false;
        match kind {
            Kind::Transactions => {
                self.transactions.make(&self.population, &mut self.random, moment);
                version_1 =
                    self.options.framing != Framing::Bare && self.random.random_bool(self.options.v1_share);
                if version_1 {
                    self.encoder.transaction_v1(self.transactions.record(), &mut self.value);
                } else {
                    self.encoder.transaction_v2(self.transactions.record(), &mut self.value);
                }
            }
            Kind::Clicks => {
                self.clicks.make(&self.population, &mut self.random, moment);
                self.encoder.click(self.clicks.record(), &mut self.value);
            }
            Kind::Devices => {
                self.devices.make(&self.population, &mut self.random, moment);
                self.encoder.device(self.devices.record(), &mut self.value);
            }
        }
        let malformed = self.random.random_bool(self.options.malformed_share);
        if malformed {
            spoil(&mut self.value, self.encoder.header_len(), &mut self.random);
        }
        Last { kind, version_1, event_ms: moment.event_ms, timeliness, malformed }
    }

    fn draw_kind(&mut self) -> Kind {
        let chance: f64 = self.random.random();
        let found = self.kinds.iter().find(|(threshold, _)| chance < *threshold);
        // Rounding may leave the last threshold a hair below 1.
        found.or(self.kinds.last()).map_or(Kind::Transactions, |(_, kind)| *kind)
    }

    fn draw_delay(&mut self) -> (Timeliness, i64) {
        let chance: f64 = self.random.random();
        if chance < self.options.late_share {
            (Timeliness::Late, self.options.late_by.millis())
        } else if chance < self.options.late_share + self.options.disorder_share {
            (Timeliness::Disordered, self.random.random_range(0..=self.options.disorder_max.millis().max(0)))
        } else {
            (Timeliness::OnTime, 0)
        }
    }
}

fn thresholds(streams: &[Kind]) -> Vec<(f64, Kind)> {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| streams.contains(kind)).collect();
    let total: f64 = kinds.iter().map(|kind| kind.weight()).sum();
    let mut threshold = 0.0;
    kinds
        .into_iter()
        .map(|kind| {
            threshold += kind.weight() / total;
            (threshold, kind)
        })
        .collect()
}
