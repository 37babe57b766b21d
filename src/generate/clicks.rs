//! Visits of a shop: users who browse, put things into the cart, and buy.
//!
//! ```text
//!   landing ─▶ home ─▶ category, search ─▶ product ─▶ cart ─▶ checkout ─▶ confirmation
//!                ▲            ▲               │ add     │ remove    │
//!                └────────────┴───────────────┴─────────┴───────────┘
//! ```
//!
//! A visit under way waits for its next step as long as the user stays on the
//! page. Where no step is due, another user arrives: there are as many visits
//! at once as the rate of events asks for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;
use rand_distr::{Distribution, LogNormal};

use super::population::{Population, Random, low_bits};
use super::record::{ActionType, Click, Metadata, PageType};
use super::text::{push_number, set_address, set_number, set_unique};
use super::{Error, Moment};

/// Visits under way at once. More than that and the one that waits longest
/// goes on before its time: memory stays bounded at any rate.
const VISITS_AT_ONCE: usize = 65_536;

/// A visit that has waited this long is over.
const VISIT_ENDS_AFTER_MS: i64 = 30 * 60 * 1000;

/// How long a user stays on a page, at least and at most.
const STAY_MS: (f64, f64) = (400.0, 180_000.0);

const CATEGORIES: [&str; 10] =
    ["shoes", "jackets", "laptops", "headphones", "garden", "kitchen", "toys", "books", "bicycles", "lamps"];

const REFERRERS: [&str; 4] = [
    "https://search.example/",
    "https://social.example/feed",
    "https://news.example/article",
    "https://mail.example/newsletter",
];

const ORGANIC: Metadata = Metadata(&[]);
const CAMPAIGN: Metadata = Metadata(&[("campaign", "spring"), ("medium", "display")]);

/// Where a user of the shop is, ordered by when the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Visit {
    due_ms: i64,
    number: u64,

    user: u64,
    device: u64,
    host: u32,
    referrer: Option<usize>,
    landed: bool,
    page: PageType,
    category: usize,
    item: u32,
    in_cart: u8,
    steps_left: u8,
}

/// The stream of clicks.
#[derive(Debug)]
pub struct Clicks {
    stays: LogNormal<f64>,
    run: u32,

    number: u64,
    visit_number: u64,
    visits: BinaryHeap<Reverse<Visit>>,
    record: Click,
}

impl Clicks {
    /// Clicks of a run.
    ///
    /// # Errors
    /// Never, unless the spread of the time on a page were no number.
    pub fn try_new(run: u32) -> Result<Self, Error> {
        Ok(Self {
            stays: LogNormal::new(9_000.0_f64.ln(), 0.9).map_err(|_| Error::Amounts)?,
            run,
            number: 0,
            visit_number: 0,
            visits: BinaryHeap::new(),
            record: Click::default(),
        })
    }

    /// The click made last.
    pub const fn record(&self) -> &Click {
        &self.record
    }

    /// Makes the next one.
    pub fn make(&mut self, population: &Population, random: &mut Random, moment: Moment) {
        let mut visit = match self.due_visit(moment.arrival_ms) {
            Some(visit) => visit,
            None => self.begin_visit(population, random, moment),
        };
        let action = visit.step(random);
        let stay_ms = self.stay_ms(random);
        self.write(&visit, action, stay_ms, population, random, moment);

        visit.referrer = None;
        visit.steps_left = visit.steps_left.saturating_sub(1);
        if visit.steps_left > 0 {
            visit.due_ms = moment.arrival_ms.saturating_add(stay_ms);
            self.visits.push(Reverse(visit));
        }
    }

    fn due_visit(&mut self, now_ms: i64) -> Option<Visit> {
        loop {
            let full = self.visits.len() >= VISITS_AT_ONCE;
            let Reverse(next) = self.visits.peek()?;
            if !full && next.due_ms > now_ms {
                return None;
            }
            let Reverse(visit) = self.visits.pop()?;
            if now_ms.saturating_sub(visit.due_ms) < VISIT_ENDS_AFTER_MS {
                return Some(visit);
            }
        }
    }

    fn begin_visit(&mut self, population: &Population, random: &mut Random, moment: Moment) -> Visit {
        self.visit_number += 1;
        let user = population.draw(random);
        let long: u8 = if random.random_bool(0.15) { 20 } else { 0 };
        Visit {
            due_ms: moment.arrival_ms,
            number: self.visit_number,
            user,
            device: population.device_of(user, random),
            host: if random.random_bool(0.8) { population.person(user).host } else { random.random() },
            referrer: random.random_bool(0.6).then(|| random.random_range(0..REFERRERS.len())),
            landed: false,
            page: PageType::Other,
            category: random.random_range(0..CATEGORIES.len()),
            item: 0,
            in_cart: 0,
            steps_left: random.random_range(1_u8..=14) + long,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "clamped to three minutes just before")]
    fn stay_ms(&self, random: &mut Random) -> i64 {
        self.stays.sample(random).clamp(STAY_MS.0, STAY_MS.1) as i64
    }

    fn write(
        &mut self,
        visit: &Visit,
        action: ActionType,
        stay_ms: i64,
        population: &Population,
        random: &mut Random,
        moment: Moment,
    ) {
        self.number += 1;
        let record = &mut self.record;
        let person = population.person(visit.user);
        let category = CATEGORIES[visit.category];
        set_unique(&mut record.event_id, "clk_", self.run, self.number);
        set_number(&mut record.user_id, "user_", visit.user);
        set_unique(&mut record.session_id, "ses_", self.run, visit.number);
        set_page_url(&mut record.page_url, visit, category);
        record.page_type = visit.page;
        let of_item = matches!(visit.page, PageType::Product) || matches!(action, ActionType::RemoveFromCart);
        if of_item {
            push_number(record.item_id.start(), "item_", u64::from(visit.item), 6);
        } else {
            record.item_id.clear();
        }
        record.category_id = (of_item || matches!(visit.page, PageType::Category)).then_some(category);
        record.action_type = action;
        record.referrer_url = visit.referrer.map(|referrer| REFERRERS[referrer]);
        set_number(&mut record.device_id, "dev_", visit.device);
        record.user_agent = random.random_bool(0.97).then(|| population.model(visit.device).0.user_agent);
        set_address(&mut record.ip_address, "", person.country.network, visit.host);
        record.dwell_time_ms = match random.random_range(0..100) {
            0..8 => None,
            8..11 => Some(0),
            _ => Some(stay_ms),
        };
        record.scroll_depth =
            random.random_bool(0.88).then(|| f64::from(random.random_range(0_u8..=100)) / 100.0);
        record.timestamp = moment.event_ms;
        record.processing_time =
            random.random_bool(0.95).then(|| moment.arrival_ms.saturating_add(random.random_range(5..=120)));
        record.experiment_ids = population.experiments(visit.user);
        record.metadata = if visit.referrer.is_some() { CAMPAIGN } else { ORGANIC };
    }
}

impl Visit {
    /// Goes on to the next page, or does something on this one. Weights are
    /// tenths.
    fn step(&mut self, random: &mut Random) -> ActionType {
        let chance = random.random_range(0..10);
        if !self.landed {
            self.landed = true;
            return match chance {
                0..5 => self.go(PageType::Home, ActionType::View),
                5..7 => self.go(PageType::Search, ActionType::Search),
                7..9 => self.go(PageType::Category, ActionType::View),
                _ => self.show_item(ActionType::View, random),
            };
        }
        match self.page {
            PageType::Home | PageType::Other => match chance {
                0..5 => self.browse(ActionType::Click, random),
                5..8 => self.go(PageType::Search, ActionType::Search),
                _ => self.show_item(ActionType::Click, random),
            },
            PageType::Category | PageType::Search => match chance {
                0 => self.browse(ActionType::Click, random),
                1 => self.go(PageType::Search, ActionType::Search),
                2 => self.go(PageType::Home, ActionType::View),
                _ => self.show_item(ActionType::Click, random),
            },
            PageType::Product => match chance {
                0..2 => {
                    self.in_cart = self.in_cart.saturating_add(1);
                    ActionType::AddToCart
                }
                2..4 if self.in_cart > 0 => self.go(PageType::Cart, ActionType::View),
                4..6 => self.browse(ActionType::View, random),
                6 => self.go(PageType::Search, ActionType::Search),
                _ => self.show_item(ActionType::Click, random),
            },
            PageType::Cart => match chance {
                0..2 if self.in_cart > 0 => {
                    self.in_cart -= 1;
                    ActionType::RemoveFromCart
                }
                2..6 if self.in_cart > 0 => self.go(PageType::Checkout, ActionType::Click),
                9 => self.go(PageType::Home, ActionType::View),
                _ => self.show_item(ActionType::Click, random),
            },
            PageType::Checkout => match chance {
                0..7 => {
                    self.in_cart = 0;
                    self.go(PageType::Confirmation, ActionType::Purchase)
                }
                _ => self.go(PageType::Cart, ActionType::View),
            },
            PageType::Confirmation => match chance {
                0..7 => self.go(PageType::Home, ActionType::View),
                _ => self.go(PageType::Other, ActionType::View),
            },
        }
    }

    const fn go(&mut self, page: PageType, action: ActionType) -> ActionType {
        self.page = page;
        action
    }

    fn browse(&mut self, action: ActionType, random: &mut Random) -> ActionType {
        self.category = random.random_range(0..CATEGORIES.len());
        self.go(PageType::Category, action)
    }

    /// Looks at an item of the category; a few are looked at by many.
    fn show_item(&mut self, action: ActionType, random: &mut Random) -> ActionType {
        let popularity: f64 = random.random();
        let within = low_bits(random.random()) % 1000;
        self.item = if popularity < 0.5 { within % 20 } else { within };
        self.go(PageType::Product, action)
    }
}

fn set_page_url(url: &mut String, visit: &Visit, category: &str) {
    url.clear();
    match visit.page {
        PageType::Home => url.push('/'),
        PageType::Category => {
            url.push_str("/c/");
            url.push_str(category);
        }
        PageType::Search => {
            url.push_str("/search?q=");
            url.push_str(category);
        }
        PageType::Product => {
            url.push_str("/p/");
            url.push_str(category);
            push_number(url, "/item_", u64::from(visit.item), 6);
        }
        PageType::Cart => url.push_str("/cart"),
        PageType::Checkout => url.push_str("/checkout"),
        PageType::Confirmation => url.push_str("/order/complete"),
        PageType::Other => url.push_str("/help"),
    }
}
