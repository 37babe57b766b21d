//! Shows a run while it goes on: the live table on a terminal, plain lines
//! elsewhere. What is shown is read from the store, where any client would
//! find it, and from the metrics.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::board::{self, Board, CARD_COLUMNS, Fields, Headline, Row, Section, USER_COLUMNS};
use super::cast::Cast;
use super::redis::HOW_TO_GET;
use super::screen::{Screen, size};
use super::table::{Marks, layout, render, room};
use super::vitals::{Recent, Vitals};
use crate::sink::encode::KeyTemplate;
use crate::sink::memory::MemoryStore;
use crate::sink::redis::RedisSink;
use crate::telemetry::Metrics;
use crate::view::FeatureView;

/// How often the table is drawn: often enough to look alive.
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// How often plain lines are written.
const LINES_EVERY: Duration = Duration::from_secs(1);

/// How often a card that is shown makes way for another.
const ROTATE_EVERY: Duration = Duration::from_secs(5);

/// How long an end may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Cards and users of whom plain lines tell.
const PLAIN_CARDS: usize = 2;
const PLAIN_USERS: usize = 1;

/// Where the features are.
pub(super) enum Store {
    /// In a Redis on this port.
    Redis {
        /// Reads it.
        reader: Box<RedisSink>,
        /// Its port on loopback.
        port: u16,
    },
    /// In this process.
    Memory(MemoryStore),
}

impl Store {
    /// An entity's hash; empty where there is none. A store that is away is
    /// spoken of by those who write to it.
    fn hash(&mut self, key: &str) -> Fields {
        match self {
            Self::Redis { reader, .. } => reader.read_hash(key).unwrap_or_default().into_iter().collect(),
            Self::Memory(store) => store.hash(key).unwrap_or_default().fields,
        }
    }

    /// Some hashes' names.
    fn keys(&mut self, pattern: &str, count: usize) -> Vec<String> {
        match self {
            Self::Redis { reader, .. } => reader.scan(pattern, count).unwrap_or_default(),
            Self::Memory(store) => store.keys().into_iter().take(count).collect(),
        }
    }
}

/// What the run says of itself beside its metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Glance {
    /// Hashes that are kept up.
    pub(super) entities: usize,
    /// Feature values computed.
    pub(super) features: u64,
}

/// A view whose features are shown, and the entity that they describe.
#[derive(Debug, Clone)]
struct Shown {
    entity: String,
    view: String,
}

impl Shown {
    fn of<'v>(name: &str, mut views: impl Iterator<Item = &'v FeatureView>) -> Option<Self> {
        let view = views.find(|view| view.name == name)?;
        Some(Self { entity: view.header.entity.clone(), view: view.name.clone() })
    }
}

/// Shows a run.
pub(super) struct Show<'a> {
    store: Store,
    template: KeyTemplate,
    cards: Option<Shown>,
    users: Option<Shown>,
    cast: &'a Mutex<Cast>,
    glance: &'a Mutex<Glance>,
    metrics: Metrics,
    metrics_address: SocketAddr,
    started: Instant,

    recent: Recent,
    rotated: Duration,
}

impl<'a> Show<'a> {
    /// Shows what these views compute.
    pub(super) fn new<'v>(
        store: Store,
        template: KeyTemplate,
        views: impl Iterator<Item = &'v FeatureView> + Clone,
        (metrics, metrics_address): (Metrics, SocketAddr),
        (cast, glance): (&'a Mutex<Cast>, &'a Mutex<Glance>),
    ) -> Self {
        Self {
            store,
            template,
            cards: Shown::of("transaction", views.clone()),
            users: Shown::of("clickstream", views),
            cast,
            glance,
            metrics,
            metrics_address,
            started: Instant::now(),
            recent: Recent::default(),
            rotated: Duration::ZERO,
        }
    }

    /// The live table, until `over`. The screen is restored however this ends.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub(super) fn live(&mut self, over: &dyn Fn() -> bool) -> io::Result<()> {
        let mut screen = Screen::enter()?;
        let mut marks = Marks::default();
        while !over() {
            let (width, height) = size();
            let (cards, users) = room(height);
            let board = self.board(cards, users);
            screen.write(&render(&layout(&board, width, height, &mut marks)))?;
            wait(REDRAW_EVERY, over);
        }
        Ok(())
    }

    /// Plain lines, until `over`, or until nobody reads them.
    pub(super) fn lines(&mut self, over: &dyn Fn() -> bool) {
        for hint in self.hints() {
            eprintln!("{hint}");
        }
        while !over() {
            wait(LINES_EVERY, over);
            let board = self.board(PLAIN_CARDS, PLAIN_USERS);
            let mut text = board.headline.line();
            text.push('\n');
            for section in &board.sections {
                for row in &section.rows {
                    text.push_str(&row.line(section.columns));
                    text.push('\n');
                }
            }
            if io::stdout().write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// What it all came to, in a line and a next step.
    pub(super) fn summary(&self) -> String {
        let vitals = self.vitals();
        let (elapsed, glance) = (self.started.elapsed(), self.glance());
        let seconds = |share| {
            let seconds = vitals.freshness.percentile(share);
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"))
        };
        format!(
            "{} events in {:.0} s; {} feature values for {} hashes; fresh in the store after {} (half of them), {} (99 %); \
             {} dead letters\n\
             next: `windrow run --help` tells how to run on your own Kafka and Redis; a view is a file of SQL like \
             sql/transaction.sql",
            board::grouped(&format!("{:.0}", vitals.events)),
            elapsed.as_secs_f64(),
            board::grouped(&glance.features.to_string()),
            board::grouped(&glance.entities.to_string()),
            seconds(0.5),
            seconds(0.99),
            board::grouped(&format!("{:.0}", vitals.dead_letters)),
        )
    }

    fn vitals(&self) -> Vitals {
        // That metrics cannot be written is a bug that /metrics tells.
        Vitals::read(&self.metrics.text().unwrap_or_default())
    }

    fn glance(&self) -> Glance {
        *self.glance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&mut self, cards: usize, users: usize) -> Board {
        let elapsed = self.started.elapsed();
        let vitals = self.vitals();
        self.recent.push(elapsed, vitals);
        let (cards, users) = self.entities(elapsed, cards, users);
        Board {
            headline: self.headline(elapsed),
            sections: self.sections(&cards, &users),
            hints: self.hints(),
        }
    }

    /// Whom to show.
    fn entities(&mut self, elapsed: Duration, cards: usize, users: usize) -> (Vec<String>, Vec<String>) {
        let mut cast = self.cast.lock().unwrap_or_else(PoisonError::into_inner);
        if elapsed >= self.rotated + ROTATE_EVERY {
            self.rotated = elapsed;
            cast.rotate(cards, users);
        } else {
            cast.fill(cards, users);
        }
        (cast.cards(), cast.users().to_vec())
    }

    fn headline(&self, elapsed: Duration) -> Headline {
        let newest = self.recent.newest();
        Headline {
            rate: self.recent.rate(),
            events: newest.events,
            fresh_p50: self.recent.freshness(0.5),
            fresh_p99: self.recent.freshness(0.99),
            lag: newest.lag,
            entities: self.glance().entities,
            dead_letters: newest.dead_letters,
            elapsed,
        }
    }

    fn sections(&mut self, cards: &[String], users: &[String]) -> Vec<Section> {
        let mut sections = Vec::new();
        if let Some(shown) = self.cards.clone() {
            sections.push(Section {
                title: format!("CARDS  {}", self.redis_key(&shown, "{card_id}")),
                entity: "card_id",
                columns: CARD_COLUMNS,
                note: "signals",
                rows: self.rows(&shown, cards, board::card),
            });
        }
        if let Some(shown) = self.users.clone() {
            sections.push(Section {
                title: format!("USERS  {}", self.redis_key(&shown, "{user_id}")),
                entity: "user_id",
                columns: USER_COLUMNS,
                note: "signals",
                rows: self.rows(&shown, users, board::user),
            });
        }
        if sections.is_empty() {
            // Views of somebody's own: any of their hashes.
            let pattern = self.template.redis_key("*", "*", "*");
            let keys = self.store.keys(&pattern, cards.len() + users.len());
            let rows = keys.iter().map(|key| board::any(key, &self.store.hash(key))).collect();
            sections.push(Section {
                title: "FEATURES".to_owned(),
                entity: "hash",
                rows,
                ..Section::default()
            });
        }
        sections
    }

    /// The entities that have features.
    fn rows(&mut self, shown: &Shown, names: &[String], row: fn(&str, &Fields) -> Row) -> Vec<Row> {
        let mut rows = Vec::with_capacity(names.len());
        for name in names {
            let fields = self.store.hash(&self.template.redis_key(&shown.entity, name, &shown.view));
            if !fields.is_empty() {
                rows.push(row(name, &fields));
            }
        }
        rows
    }

    fn redis_key(&self, shown: &Shown, key: &str) -> String {
        self.template.redis_key(&shown.entity, key, &shown.view)
    }

    fn hints(&self) -> Vec<String> {
        let look = match &self.store {
            Store::Redis { port, .. } => {
                let cast = self.cast.lock().unwrap_or_else(PoisonError::into_inner);
                match (&self.cards, cast.cards().first()) {
                    (Some(shown), Some(card)) => {
                        format!("look: redis-cli -p {port} HGETALL {}", self.redis_key(shown, card))
                    }
                    _ => format!("look: redis-cli -p {port} --scan"),
                }
            }
            Store::Memory(_) => format!("no Redis is installed, features are kept in memory: {HOW_TO_GET}"),
        };
        vec![look, format!("metrics: http://{}/metrics   end: Ctrl-C", self.metrics_address)]
    }
}

/// Lets time pass, or less when it is over.
fn wait(time: Duration, over: &dyn Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < time && !over() {
        std::thread::sleep(LOOK_EVERY.min(time));
    }
}
