//! What the engine does in a second, and what it keeps: workers whose windows
//! are full take batch after batch in, from frames to packed commands.
//!
//! States are large and take long to fill, so there is one table, each row of
//! it measured once; `stages` repeats what is small. An argument picks the
//! measurements whose names contain it:
//!
//! ```text
//! cargo bench --bench engine -- windows
//! BENCH_KEPT=10000000 cargo bench --bench engine -- reference
//! BENCH_LIVE_ENTITIES=5000000 cargo bench --bench engine -- recovery
//! ```
//!
//! `store` needs redis-server and redis-cli. With the numbers above `reference`
//! and `recovery` take gigabytes and minutes.

mod fill;
mod memory;
mod recovery;
mod rivals;
mod servers;
#[path = "../shipped/mod.rs"]
mod shipped;
mod singles;
mod store;
mod table;
mod threads;

use std::cell::OnceCell;

use shipped::CARDS;
use singles::Paced;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many cards there are where there are many.
const MANY_CARDS: u32 = 1_000_000;

/// Events that the reference has to look at, at first and where `BENCH_KEPT` says nothing else.
const KEPT: [usize; 2] = [1_000_000, 2_000_000];

/// A measurement: its name, and what takes it.
type Measurement<'a> = (&'a str, &'a dyn Fn());

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == memory::CHILD) {
        memory::measure();
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == recovery::CHILD) {
        recovery::measure(&arguments[at + 1..]);
        return;
    }
    // `cargo bench` says `--bench`.
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).map_or("", String::as_str);

    let few: OnceCell<Paced> = OnceCell::new();
    let few = || few.get_or_init(|| singles::turns(CARDS));
    let measurements: [Measurement<'_>; 11] = [
        ("turns", &|| {
            few();
        }),
        ("decode", &singles::decode),
        ("encode", &singles::encode),
        ("cards", &|| singles::relate(few(), &singles::turns(MANY_CARDS))),
        ("windows", &rivals::windows),
        ("views", &rivals::views),
        ("reference", &|| {
            rivals::reference(KEPT[0]);
            rivals::reference(given("BENCH_KEPT").unwrap_or(KEPT[1]));
        }),
        ("workers", &threads::workers),
        ("memory", &memory::in_child),
        ("recovery", &|| match given("BENCH_LIVE_ENTITIES") {
            Some(live) => recovery::in_children(&[live]),
            None => recovery::in_children(&recovery::LIVE),
        }),
        ("store", &store::store),
    ];
    table::begin();
    for (_, measure) in measurements.iter().filter(|(name, _)| name.contains(filter)) {
        measure();
    }
}

/// A number of the environment, if it has one of this name.
#[expect(clippy::disallowed_methods, reason = "how much is measured is no option of the program")]
fn given(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    let number = text.replace('_', "").parse::<usize>();
    Some(number.unwrap_or_else(|error| panic!("{name} is `{text}`, which is no number: {error}")))
}
