//! Generated logs of the shipped streams: a day and some hours with few events,
//! then half an hour with more, then five minutes with many; disorder, late
//! events up to too late, and events from the future. The same at every run.

use super::log::Logged;
use crate::oracle::clickstream::Click;
use crate::oracle::device::Device;
use crate::oracle::transaction::Transaction;
use crate::oracle::{HOUR, MINUTE, SECOND};
use crate::worked::MIDNIGHT;

/// Times are multiples of this, so that some events share theirs.
const STEP: i64 = 250;

/// A sequence of numbers that its seed decides (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 on, below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let limit = u64::try_from(limit).expect("a limit fits 64 bits");
        usize::try_from((mixed ^ (mixed >> 31)) % limit).expect("it is below the limit")
    }

    /// One of several, each as likely.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// A stretch of time from `least` on, below `most`, in milliseconds.
    fn stretch(&mut self, least: i64, most: i64) -> i64 {
        let steps = usize::try_from((most - least) / STEP).expect("a stretch is not negative");
        least + STEP * i64::try_from(self.below(steps)).expect("a test's times fit")
    }
}

/// A moment at which something is to happen.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Its place in the log.
    offset: i64,
    event_time_ms: i64,
    timestamp_ms: i64,
    /// Which entity it happens to. Some have events in the first part only,
    /// some in the first two, and few have most.
    entity: usize,
    partition: i32,
}

/// Parts of a log: how many events, how far apart at most, among how many entities.
const PARTS: [(usize, i64, usize); 3] = [(110, 30 * MINUTE, 9), (130, 20 * SECOND, 7), (160, 4 * SECOND, 5)];

fn moments(dice: &mut Dice, partitions: usize) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut now = MIDNIGHT;
    for (count, apart, entities) in PARTS {
        for _ in 0..count {
            now += dice.stretch(0, apart);
            let (event_time_ms, timestamp_ms) = times(dice, now);
            let entity = dice.below(entities).min(dice.below(entities));
            let partition = i32::try_from(entity % partitions).expect("a test has few partitions");
            let offset = i64::try_from(moments.len()).expect("a test has few events");
            moments.push(Moment { offset, event_time_ms, timestamp_ms, entity, partition });
        }
    }
    moments
}

/// Event time and Kafka's timestamp of an event produced at `now`.
fn times(dice: &mut Dice, now: i64) -> (i64, i64) {
    match dice.below(100) {
        // On time, a little out of order.
        0..25 => (now - dice.stretch(0, 5 * SECOND), now),
        // Late.
        25..37 => (now - dice.stretch(5 * SECOND, 65 * SECOND), now),
        // Late at the edge, and too late.
        37..42 => (now - dice.pick(&[64_750, 65_000, 65_250]), now),
        42..47 => (now - dice.stretch(66 * SECOND, 5 * MINUTE), now),
        // From the future, which must not move the clock.
        47..50 => (now + HOUR, now + HOUR - 5 * MINUTE - STEP),
        // From as far in the future as is allowed.
        50..53 => (now, now - 5 * MINUTE),
        _ => (now, now),
    }
}

/// Puts what happens at each moment into a log.
fn log<E>(
    dice: &mut Dice,
    partitions: usize,
    mut happens: impl FnMut(&mut Dice, Moment) -> E,
) -> Vec<Logged<E>> {
    let moments = moments(dice, partitions);
    let logged = |moment: Moment| Logged {
        partition: moment.partition,
        timestamp_ms: moment.timestamp_ms,
        event: happens(dice, moment),
    };
    moments.into_iter().map(logged).collect()
}

/// Payments of a few cards.
pub fn transactions(dice: &mut Dice, partitions: usize) -> Vec<Logged<Transaction>> {
    let places = [("US", "Boston"), ("DE", "Berlin"), ("DE", "Hamburg"), ("CN", "Wuhan"), ("BR", "Recife")];
    log(dice, partitions, |dice, moment| {
        let place = if dice.one_in(6) { None } else { Some(dice.pick(&places)) };
        let prefix = dice.pick(&["", "", "", "vpn_", "proxy_", "tor_exit_"]);
        Transaction {
            offset: moment.offset,
            event_time_ms: moment.event_time_ms,
            card_id: format!("card-{}", moment.entity),
            amount: dice.pick(&[2.0, 4.75, 10.0, 20.25, 50.0, 75.5, 100.0, 249.75, 500.0]),
            mcc: dice.pick(&["5812", "5999", "6011", "5967", "5311", "4511"]).to_owned(),
            device_id: format!("device-{}", dice.below(4)),
            ip_address: format!("{prefix}10.0.0.{}", dice.below(9)),
            geo_country: place.map(|(country, _)| country.to_owned()),
            geo_city: place.filter(|_| !dice.one_in(4)).map(|(_, city)| city.to_owned()),
        }
    })
}

/// Steps of a few users.
pub fn clicks(dice: &mut Dice, partitions: usize) -> Vec<Logged<Click>> {
    let actions = ["VIEW", "VIEW", "VIEW", "CLICK", "ADD_TO_CART", "REMOVE_FROM_CART", "PURCHASE", "SEARCH"];
    log(dice, partitions, |dice, moment| {
        let is_read = !dice.one_in(3);
        Click {
            offset: moment.offset,
            event_time_ms: moment.event_time_ms,
            user_id: format!("user-{}", moment.entity),
            session_id: format!("session-{}", dice.below(5)),
            page_type: dice.pick(&["HOME", "CATEGORY", "PRODUCT", "CART", "OTHER"]).to_owned(),
            category_id: dice.pick(&[None, Some("books"), Some("games"), Some("shoes")]).map(str::to_owned),
            action_type: dice.pick(&actions).to_owned(),
            dwell_time_ms: is_read.then(|| dice.pick(&[0, 1500, 12_000, 45_000])),
            scroll_depth: is_read.then(|| dice.pick(&[0.0, 0.125, 0.5, 1.0])),
        }
    })
}

/// Sightings of a few devices.
pub fn devices(dice: &mut Dice, partitions: usize) -> Vec<Logged<Device>> {
    log(dice, partitions, |dice, moment| Device {
        offset: moment.offset,
        event_time_ms: moment.event_time_ms,
        device_id: format!("device-{}", moment.entity),
        ip_address: format!("10.0.0.{}", dice.below(5)),
        timezone: dice.pick(&["Europe/Paris", "Asia/Tokyo", "America/Lima"]).to_owned(),
    })
}
