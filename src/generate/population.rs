//! Who generated events are about: users, their cards and their devices.
//!
//! Nobody is stored. What a user is follows from the seed and the user's
//! number, so a population of any size costs no memory and no time to set up.
//! Some are far more active than others (Zipf), and which ones is scattered
//! over the numbers.

use rand::RngExt;
use rand_distr::{Distribution, Zipf};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::Error;
use super::places::{COUNTRIES, City, Country};

/// The source of chance: its sequence for a seed is the same in every release.
pub type Random = Xoshiro256PlusPlus;

/// How uneven activity is: the share of the entity of rank `n` falls as
/// `n^-0.8`. Of 10 000 cards the busiest then has 3.7 % of the events.
const SKEW: f64 = 0.8;

/// A prime far from any population's size: multiplying ranks by it scatters
/// the busy ones.
const SCATTER: u64 = 2_654_435_761;

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// What is asked of a number's hash: each its own, so that answers are independent.
#[derive(Debug, Clone, Copy)]
enum Trait {
    Country = 1,
    City,
    Spend,
    Host,
    Travel,
    Holder,
    SecondDevice,
    Model,
    Screen,
    Experiments,
    Favourite,
}

/// A user.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// Where the user lives.
    pub country: &'static Country,
    /// The city.
    pub city: &'static City,
    /// What a usual payment is, in dollars.
    pub spend: f64,
    /// The numbers of the address at home.
    pub host: u32,
}

/// A make of device.
#[derive(Debug)]
pub struct Model {
    /// The user agent.
    pub user_agent: &'static str,
    /// Screens that it comes with; never none.
    pub screens: &'static [&'static str],
    /// The operating system, as metadata.
    pub metadata: &'static [(&'static str, &'static str)],
}

/// Usual payments in dollars; more people stand at the lower end.
const SPEND: [f64; 12] = [6.0, 9.0, 12.0, 12.0, 16.0, 18.0, 24.0, 30.0, 42.0, 60.0, 95.0, 180.0];

const MODELS: [Model; 6] = [
    Model {
        user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Mobile/15E148",
        screens: &["390x844", "430x932"],
        metadata: &[("os", "ios")],
    },
    Model {
        user_agent: "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36",
        screens: &["412x915", "412x892"],
        metadata: &[("os", "android")],
    },
    Model {
        user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/130.0 Safari/537.36",
        screens: &["1920x1080", "2560x1440", "1366x768"],
        metadata: &[("os", "windows")],
    },
    Model {
        user_agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) Version/18.0 Safari/605.1.15",
        screens: &["1440x900", "1728x1117"],
        metadata: &[("os", "macos")],
    },
    Model {
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        screens: &["1920x1080", "3840x2160"],
        metadata: &[("os", "linux")],
    },
    Model {
        user_agent: "Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) Mobile/15E148",
        screens: &["820x1180", "1024x1366"],
        metadata: &[("os", "ipados")],
    },
];

const EXPERIMENTS: [&[&str]; 4] =
    [&[], &["exp_search_b"], &["exp_checkout_one_page"], &["exp_search_b", "exp_free_delivery"]];

/// The users, cards and devices of a run. Each kind is numbered from 0.
#[derive(Debug, Clone)]
pub struct Population {
    seed: u64,
    size: u64,
    ranks: Zipf<f64>,
}

impl Population {
    /// A population of `entities` users with as many cards and devices.
    ///
    /// # Errors
    /// When there is nobody, or more than identifiers have room for.
    pub fn try_new(seed: u64, entities: u64) -> Result<Self, Error> {
        let count = u32::try_from(entities).map_err(|_| Error::Entities { entities })?;
        let ranks = Zipf::new(f64::from(count), SKEW).map_err(|_| Error::Entities { entities })?;
        Ok(Self { seed, size: entities, ranks })
    }

    /// Someone, the active ones more often.
    pub fn draw(&self, random: &mut Random) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is a whole number from 1 to the population's size"
        )]
        let rank = self.ranks.sample(random) as u64;
        // Both factors are below 2^32.
        (rank * SCATTER + self.seed % self.size) % self.size
    }

    /// Who holds a card. A fifth of the cards are somebody's second one.
    pub fn holder(&self, card: u64) -> u64 {
        let hash = self.ask(card, Trait::Holder);
        if hash.is_multiple_of(5) { (hash >> 8) % self.size } else { card }
    }

    /// What a user is.
    pub fn person(&self, user: u64) -> Person {
        let country = country_of(self.ask(user, Trait::Country));
        Person {
            country,
            city: pick(country.cities, self.ask(user, Trait::City)),
            spend: *pick(&SPEND, self.ask(user, Trait::Spend)),
            host: low_bits(self.ask(user, Trait::Host)),
        }
    }

    /// Where a user is on the day of an event: at home, or abroad on one day in forty.
    pub fn whereabouts(
        &self,
        user: u64,
        person: &Person,
        event_time_ms: i64,
    ) -> (&'static Country, &'static City) {
        let day = event_time_ms.div_euclid(DAY_MS).unsigned_abs();
        let hash = self.ask(user ^ mix(day), Trait::Travel);
        if hash.is_multiple_of(40) {
            let country = country_of(hash >> 8);
            (country, pick(country.cities, hash >> 32))
        } else {
            (person.country, person.city)
        }
    }

    /// The device that a user has in hand: mostly the own one, whose number is
    /// the user's, at times one that is shared.
    pub fn device_of(&self, user: u64, random: &mut Random) -> u64 {
        if random.random_bool(0.85) { user } else { self.ask(user, Trait::SecondDevice) % self.size }
    }

    /// A device that has nothing to do with the one who is robbed.
    pub fn any_device(&self, random: &mut Random) -> u64 {
        random.random_range(0..self.size)
    }

    /// The make of a device, and its screen.
    pub fn model(&self, device: u64) -> (&'static Model, &'static str) {
        let model = pick(&MODELS, self.ask(device, Trait::Model));
        (model, *pick(model.screens, self.ask(device, Trait::Screen)))
    }

    /// The experiments that a user is part of.
    pub fn experiments(&self, user: u64) -> &'static [&'static str] {
        pick::<&[&str]>(&EXPERIMENTS, self.ask(user, Trait::Experiments))
    }

    /// A number that stays the same for the user and `choice`: where the user likes to shop.
    pub fn favourite(&self, user: u64, choice: u64) -> u64 {
        self.ask(user ^ mix(choice), Trait::Favourite)
    }

    const fn ask(&self, number: u64, what: Trait) -> u64 {
        mix(self.seed ^ mix(number.wrapping_add((what as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))))
    }
}

/// A country other than `home`, mostly a risky one.
pub fn country_abroad(home: &Country, random: &mut Random) -> &'static Country {
    loop {
        let country = pick(COUNTRIES, random.random());
        if country.code != home.code && (country.risky || random.random_bool(0.25)) {
            return country;
        }
    }
}

/// One of `table`, by a hash.
pub fn pick<T>(table: &[T], hash: u64) -> &T {
    &table[index(hash, table.len())]
}

fn index(hash: u64, length: usize) -> usize {
    usize::try_from(hash % length as u64).unwrap_or_default()
}

fn country_of(hash: u64) -> &'static Country {
    let total: u64 = COUNTRIES.iter().map(|country| country.weight).sum();
    let mut rest = hash % total;
    for country in COUNTRIES {
        if rest < country.weight {
            return country;
        }
        rest -= country.weight;
    }
    &COUNTRIES[0]
}

/// The lower half.
pub fn low_bits(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

/// Spreads a number's bits over all 64: the last step of `SplitMix64`.
pub const fn mix(number: u64) -> u64 {
    let mut bits = number;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn few_are_busy_and_all_are_in_range() {
        let population = Population::try_new(7, 1000).unwrap();
        let mut random = Random::seed_from_u64(1);
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for _ in 0..50_000 {
            *counts.entry(population.draw(&mut random)).or_default() += 1;
        }
        let busiest = counts.values().copied().max().unwrap();
        assert!(counts.keys().all(|card| *card < 1000));
        assert!(counts.len() > 900, "{}", counts.len());
        assert!((1500..8000).contains(&busiest), "{busiest}");
    }

    #[test]
    fn a_user_stays_who_they_are() {
        let (one, two) = (Population::try_new(7, 100).unwrap(), Population::try_new(7, 100).unwrap());
        for user in 0..100 {
            let (a, b) = (one.person(user), two.person(user));
            assert_eq!((a.country.code, a.city.name, a.host), (b.country.code, b.city.name, b.host));
            assert!(one.holder(user) < 100);
        }
    }

    #[test]
    fn a_population_of_one_works_and_of_none_is_refused() {
        let one = Population::try_new(1, 1).unwrap();
        assert_eq!(one.draw(&mut Random::seed_from_u64(1)), 0);
        assert!(matches!(Population::try_new(1, 0), Err(Error::Entities { entities: 0 })));
        assert!(Population::try_new(1, u64::MAX).is_err());
    }
}
