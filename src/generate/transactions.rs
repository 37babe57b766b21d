//! Card payments: ordinary ones, and bursts of fraud on a card.
//!
//! A burst is a handful of small test amounts, then large ones, from another
//! country, another device and often a hidden address, seconds apart:
//!
//! ```text
//!   tests: 1.20  3.75  0.99 │ 240.00  1150.00  600.00  …
//!          digital goods    │ cash, betting, jewellery, round amounts
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;
use rand_distr::{Distribution, LogNormal};

use super::merchants::{CASH, EMPTIED_AT, Shop, TESTED_AT, frequented};
use super::places::{COUNTRIES, City, Country};
use super::population::{Person, Population, Random, country_abroad, low_bits, pick};
use super::record::{Metadata, PaymentMethod, Transaction};
use super::text::{push_number, set_address, set_number, set_unique};
use super::{Error, Moment};

/// Payments of a burst: from this many …
const BURST_MIN: u8 = 6;
/// … to this many, each number as likely.
const BURST_MAX: u8 = 11;
/// Their mean, with which the share of fraud is kept.
const BURST_MEAN: f64 = 8.5;

/// Bursts under way at once. More than that and the oldest goes on before its
/// time: memory stays bounded at any rate.
const BURSTS_AT_ONCE: usize = 16_384;

/// What hides an address.
const DISGUISES: [&str; 4] = ["proxy_", "vpn_", "tor_exit_", ""];

const AT_TERMINAL: Metadata = Metadata(&[("channel", "terminal")]);
const ONLINE: Metadata = Metadata(&[("channel", "online"), ("three_d_secure", "yes")]);
const UNPROTECTED: Metadata = Metadata(&[("channel", "online"), ("three_d_secure", "no")]);

/// A burst of fraud under way, ordered by when it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Burst {
    due_ms: i64,
    number: u64,

    card: u64,
    device: u64,
    country: usize,
    disguise: usize,
    /// Whether each payment is made from another country.
    hops: bool,
    host: u32,
    tests: u8,
    steps: u8,
    step: u8,
}

/// The stream of transactions.
#[derive(Debug)]
pub struct Transactions {
    /// The chance that a burst begins where none is due.
    burst_begins: f64,
    amounts: LogNormal<f64>,
    run: u32,

    number: u64,
    bursts: BinaryHeap<Reverse<Burst>>,
    record: Transaction,
}

impl Transactions {
    /// Transactions of which `fraud_share` are fraud.
    ///
    /// # Errors
    /// Never, unless the spread of amounts were no number.
    pub fn try_new(run: u32, fraud_share: f64) -> Result<Self, Error> {
        Ok(Self {
            // Of n draws where no burst is due, p·n begin one and bring p·n·m fraudulent payments:
            // the share is p·m / (1 + p·(m - 1)), solved for p.
            burst_begins: (fraud_share / (BURST_MEAN - fraud_share * (BURST_MEAN - 1.0))).clamp(0.0, 1.0),
            amounts: LogNormal::new(0.0, 0.6).map_err(|_| Error::Amounts)?,
            run,
            number: 0,
            bursts: BinaryHeap::new(),
            record: Transaction::default(),
        })
    }

    /// The transaction made last.
    pub const fn record(&self) -> &Transaction {
        &self.record
    }

    /// Makes the next one.
    pub fn make(&mut self, population: &Population, random: &mut Random, moment: Moment) {
        self.number += 1;
        set_unique(&mut self.record.txn_id, "txn_", self.run, self.number);
        self.record.timestamp = moment.event_ms;
        self.record.processing_time =
            random.random_bool(0.95).then(|| moment.arrival_ms.saturating_add(random.random_range(15..=250)));
        match self.due_burst(moment.arrival_ms) {
            Some(burst) => self.continue_burst(burst, population, random, moment),
            None if random.random_bool(self.burst_begins) => {
                let burst = self.begin_burst(population, random, moment);
                self.continue_burst(burst, population, random, moment);
            }
            None => self.ordinary(population, random, moment),
        }
    }

    fn due_burst(&mut self, now_ms: i64) -> Option<Burst> {
        let full = self.bursts.len() >= BURSTS_AT_ONCE;
        let Reverse(next) = self.bursts.peek()?;
        if full || next.due_ms <= now_ms { self.bursts.pop().map(|Reverse(burst)| burst) } else { None }
    }

    fn begin_burst(&self, population: &Population, random: &mut Random, moment: Moment) -> Burst {
        Burst {
            due_ms: moment.arrival_ms,
            number: self.number,
            card: population.draw(random),
            device: population.any_device(random),
            country: random.random_range(0..COUNTRIES.len()),
            disguise: random.random_range(0..DISGUISES.len()),
            hops: random.random_bool(0.2),
            host: random.random(),
            tests: random.random_range(2..=4),
            steps: random.random_range(BURST_MIN..=BURST_MAX),
            step: 0,
        }
    }

    fn continue_burst(
        &mut self,
        mut burst: Burst,
        population: &Population,
        random: &mut Random,
        moment: Moment,
    ) {
        let user = population.holder(burst.card);
        let person = population.person(user);
        let mut country = &COUNTRIES[burst.country];
        if burst.hops || country.code == person.country.code {
            country = country_abroad(person.country, random);
        }
        let testing = burst.step < burst.tests;
        let shop = pick(if testing { TESTED_AT } else { EMPTIED_AT }, random.random());

        self.identify(burst.card, user, burst.device);
        self.place(country, pick(country.cities, random.random()), random);
        set_address(&mut self.record.ip_address, DISGUISES[burst.disguise], country.network, burst.host);
        let dollars = if testing {
            random.random_range(0.5..4.99)
        } else {
            person.spend * random.random_range(4.0..20.0)
        };
        // A card is charged in its own currency, wherever it is used.
        self.record.currency = person.country.currency;
        self.record.amount = if testing {
            // Small in any currency: that is what makes a test.
            cents(dollars)
        } else if shop.mcc == CASH || random.random_bool(0.35) {
            round_amount(dollars * self.record.currency.per_dollar())
        } else {
            cents(dollars * self.record.currency.per_dollar())
        };
        self.sell(shop, random.random());
        self.record.metadata = if shop.online { UNPROTECTED } else { AT_TERMINAL };
        self.record.payment_method =
            if shop.online { PaymentMethod::CardNotPresent } else { PaymentMethod::CardPresent };
        self.record.risk_score = Some(thousandths(random.random_range(0.55..0.99)));
        self.record.is_fraud = true;

        burst.step += 1;
        if burst.step < burst.steps {
            let pause_ms = if testing { 500..=4000 } else { 1500..=9000 };
            burst.due_ms = moment.arrival_ms.saturating_add(random.random_range(pause_ms));
            self.bursts.push(Reverse(burst));
        }
    }

    fn ordinary(&mut self, population: &Population, random: &mut Random, moment: Moment) {
        let card = population.draw(random);
        let user = population.holder(card);
        let person = population.person(user);
        let (country, city) = population.whereabouts(user, &person, moment.event_ms);
        // People go where they have been before, more often than not.
        let choice: u64 = if random.random_bool(0.6) {
            population.favourite(user, random.random_range(0..5))
        } else {
            random.random()
        };
        let shop = frequented(choice);

        self.identify(card, user, population.device_of(user, random));
        self.place(country, city, random);
        self.address(&person, country, random);
        self.record.currency = person.country.currency;
        self.record.amount = self.ordinary_amount(&person, shop, random);
        self.sell(shop, choice >> 16);
        self.record.metadata = if shop.online { ONLINE } else { AT_TERMINAL };
        self.record.payment_method = ordinary_method(shop, random);
        self.record.risk_score = random.random_bool(0.9).then(|| thousandths(random.random_range(0.01..0.4)));
        self.record.is_fraud = false;
    }

    fn ordinary_amount(&self, person: &Person, shop: &Shop, random: &mut Random) -> f64 {
        let dollars = (person.spend * shop.factor * self.amounts.sample(random)).clamp(0.5, 20_000.0);
        let amount = dollars * person.country.currency.per_dollar();
        if shop.mcc == CASH || random.random_bool(0.03) { round_amount(amount) } else { cents(amount) }
    }

    fn identify(&mut self, card: u64, user: u64, device: u64) {
        set_number(&mut self.record.card_id, "card_", card);
        set_number(&mut self.record.user_id, "user_", user);
        set_number(&mut self.record.device_id, "dev_", device);
    }

    /// Says where, as far as it is known: not always.
    fn place(&mut self, country: &'static Country, city: &'static City, random: &mut Random) {
        let precision = random.random_range(0..100);
        self.record.geo_country = (precision >= 3).then_some(country.code);
        self.record.geo_city = (precision >= 8).then_some(city.name);
        let exact = precision >= 12;
        self.record.geo_lat = exact.then(|| thousandths(city.latitude + random.random_range(-0.1..0.1)));
        self.record.geo_lon = exact.then(|| thousandths(city.longitude + random.random_range(-0.1..0.1)));
    }

    /// The address at home, one on the way, or now and then a hidden one.
    fn address(&mut self, person: &Person, country: &Country, random: &mut Random) {
        let text = &mut self.record.ip_address;
        match random.random_range(0..1000) {
            0..5 => set_address(text, "vpn_", country.network, random.random()),
            5..150 => set_address(text, "", country.network, random.random()),
            _ => set_address(text, "", country.network, person.host),
        }
    }

    fn sell(&mut self, shop: &'static Shop, hash: u64) {
        let text = self.record.merchant_id.start();
        push_number(text, "mer_", u64::from(low_bits(hash) % 5000), 6);
        self.record.mcc = shop.mcc;
        self.record.merchant_name = Some(*pick(shop.names, hash));
        self.record.merchant_category = Some(shop.category);
    }
}

fn ordinary_method(shop: &Shop, random: &mut Random) -> PaymentMethod {
    match random.random_range(0..100) {
        0..2 => PaymentMethod::Unknown,
        2..20 => PaymentMethod::Wallet,
        _ if shop.online => PaymentMethod::CardNotPresent,
        20..65 => PaymentMethod::Contactless,
        _ => PaymentMethod::CardPresent,
    }
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// The next multiple of 50.
fn round_amount(amount: f64) -> f64 {
    (amount / 50.0).ceil() * 50.0
}
