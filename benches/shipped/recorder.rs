//! Recorded transactions: those of the generator, thinned to the skew that
//! measurements are made with, or one of each card in turn.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use windrow::frame::{Frame, FrameBatch};
use windrow::generate::{Framing, Generator, Kind, Options, SchemaIds};
use xxhash_rust::xxh3::xxh3_64;

use super::{BEGIN_MS, CARDS, SCHEMA_ID, partition};

/// The share of the card of rank `n` falls as `n^-1`.
const SKEW: f64 = 1.0;

/// What the generator has instead, and how it scatters ranks over the cards.
/// [`Recorder::busiest`] shows whether both are still so.
const GENERATED_SKEW: f64 = 0.8;
const SCATTER: u64 = 2_654_435_761;

/// Between two events of [`Recorder::take`]: 50 000 of them span ten minutes,
/// twice the shortest window of the view.
const SPACING_MS: i64 = 12;

/// Makes events of one stream.
pub fn generator(kind: Kind) -> Generator {
    generator_of(kind, CARDS)
}

fn generator_of(kind: Kind, cards: u32) -> Generator {
    let ids = SchemaIds { transactions_v2: SCHEMA_ID, ..SchemaIds::default() };
    Generator::try_new(Options {
        streams: vec![kind],
        entities: u64::from(cards),
        framing: Framing::Confluent { ids },
        ..Options::default()
    })
    .expect("the options are right")
}

/// Transactions in Confluent's framing, as partitions hold them.
pub struct Recorder {
    cards: u32,
    /// By card: the chance that an event of it is kept.
    chances: Vec<f64>,

    generator: Generator,
    random: Xoshiro256PlusPlus,
    now_ms: i64,
    log: Log,
    drawn: Vec<u32>,
    value: Vec<u8>,
}

/// What was recorded.
struct Log {
    /// By partition: the next offset.
    offsets: Vec<i64>,
    /// By second since the first event: how many events arrived.
    arrivals: Vec<u32>,
}

impl Recorder {
    /// Before the first event, of one partition and as many cards as is usual.
    pub fn new() -> Self {
        Self::of(CARDS, 1)
    }

    /// Before the first event.
    pub fn of(cards: u32, partitions: usize) -> Self {
        Self {
            cards,
            chances: chances(cards),
            generator: generator_of(Kind::Transactions, cards),
            random: Xoshiro256PlusPlus::seed_from_u64(u64::from(cards)),
            now_ms: BEGIN_MS,
            log: Log { offsets: vec![0; partitions], arrivals: Vec::new() },
            drawn: vec![0; index(u64::from(cards))],
            value: Vec::new(),
        }
    }

    /// How many cards there are.
    pub const fn cards(&self) -> u32 {
        self.cards
    }

    /// When the next event arrives.
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Nothing arrives for so long.
    pub const fn skip(&mut self, span_ms: i64) {
        self.now_ms += span_ms;
    }

    /// Nothing arrives until that second of a minute.
    pub const fn skip_to_second(&mut self, second: i64) {
        self.skip((second * 1000 - self.now_ms).rem_euclid(60_000));
    }

    /// The next events of a recorder with one partition.
    pub fn take(&mut self, count: usize) -> FrameBatch {
        self.over(count, whole(count) * SPACING_MS).pop().expect("there is a partition")
    }

    /// The next events, evenly over so much time: a batch a partition. Some
    /// cards pay far more often than others.
    pub fn over(&mut self, count: usize, span_ms: i64) -> Vec<FrameBatch> {
        let mut batches = self.log.batches();
        for number in 0..count {
            let arrival_ms = self.now_ms + span_ms * whole(number) / whole(count);
            loop {
                let event = self.generator.next(arrival_ms);
                let card = card_of(event.entity);
                if self.random.random::<f64>() < self.chances[card] {
                    self.drawn[card] += 1;
                    self.log.push(&mut batches, event.key, event.value, arrival_ms);
                    break;
                }
            }
        }
        self.now_ms += span_ms;
        batches
    }

    /// One event of each of these cards, in turn, evenly over so much time.
    pub fn each(&mut self, cards: Range<u32>, span_ms: i64) -> Vec<FrameBatch> {
        let mut batches = self.log.batches();
        let count = i64::from(cards.end.saturating_sub(cards.start)).max(1);
        for (number, card) in (0_i64..).zip(cards) {
            let arrival_ms = self.now_ms + span_ms * number / count;
            let event = self.generator.next(arrival_ms);
            // Identifiers of cards are all of one length.
            let key = identifier(card);
            self.value.clear();
            self.value.extend_from_slice(event.value);
            let at = self.value.windows(event.key.len()).position(|part| part == event.key);
            let at = at.expect("the value has the card in it");
            self.value[at..at + event.key.len()].copy_from_slice(key.as_bytes());
            self.log.push(&mut batches, key.as_bytes(), &self.value, arrival_ms);
        }
        self.now_ms += span_ms;
        batches
    }

    /// How many of the cards each partition has.
    pub fn cards_by_partition(&self) -> Vec<i64> {
        let mut counts = vec![0; self.log.offsets.len()];
        for card in 0..self.cards {
            counts[self.log.partition_of(identifier(card).as_bytes())] += 1;
        }
        counts
    }

    /// How many events arrived in the last seconds.
    pub fn held(&self, seconds: i64) -> u64 {
        let now = second_of(self.now_ms);
        let first = index(u64::try_from(now - seconds).unwrap_or(0));
        self.log.arrivals.iter().skip(first).map(|count| u64::from(*count)).sum()
    }

    /// The share of the busiest card among the events of [`Self::over`], and
    /// what it is where the card of rank `n` has `1 / n` of it.
    pub fn busiest(&self) -> (f64, f64) {
        let busiest = f64::from(self.drawn.iter().copied().max().unwrap_or(0));
        let all: f64 = self.drawn.iter().copied().map(f64::from).sum();
        let weights: f64 = (1..=self.cards).map(|rank| f64::from(rank).powf(-SKEW)).sum();
        (busiest / all, 1.0 / weights)
    }
}

impl Log {
    fn batches(&self) -> Vec<FrameBatch> {
        (0..self.offsets.len()).map(|number| FrameBatch::new(partition(number))).collect()
    }

    fn partition_of(&self, key: &[u8]) -> usize {
        match self.offsets.len() {
            1 => 0,
            partitions => index(xxh3_64(key) % partitions as u64),
        }
    }

    fn push(&mut self, batches: &mut [FrameBatch], key: &[u8], value: &[u8], arrival_ms: i64) {
        let number = self.partition_of(key);
        let offset = &mut self.offsets[number];
        batches[number].push(Frame {
            offset: *offset,
            timestamp_ms: arrival_ms,
            key: Some(key),
            value: Some(value),
        });
        *offset += 1;
        let second = index(u64::try_from(second_of(arrival_ms)).unwrap_or(0));
        if self.arrivals.len() <= second {
            self.arrivals.resize(second + 1, 0);
        }
        self.arrivals[second] += 1;
    }
}

/// By card, how much rarer it is than in the generator's events, the busiest
/// card taken as the measure.
fn chances(cards: u32) -> Vec<f64> {
    let (count, shift) = (u64::from(cards), Options::default().seed % u64::from(cards));
    let mut chances = vec![0.0; index(count)];
    for rank in 1..=cards {
        let card = (u64::from(rank) * SCATTER + shift) % count;
        chances[index(card)] = f64::from(rank).powf(GENERATED_SKEW - SKEW);
    }
    chances
}

fn identifier(card: u32) -> String {
    format!("card_{card:08}")
}

fn card_of(entity: &str) -> usize {
    let number = entity.strip_prefix("card_").and_then(|number| number.parse().ok());
    number.expect("cards are numbered")
}

const fn second_of(arrival_ms: i64) -> i64 {
    (arrival_ms - BEGIN_MS).div_euclid(1000)
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a few millions at most")
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).expect("a few millions at most")
}
