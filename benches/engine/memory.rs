//! What is kept, in bytes: of the process and as the worker reports it. In a
//! process of its own, whose memory nothing else has touched.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windrow::pipeline::publication::Publication;

use crate::shipped::{Recorder, Shipped, Start};
use crate::table::{BATCH, Turns, grouped, heading, mebibytes, number, row};

/// Tells this program to be that process.
pub const CHILD: &str = "--memory-child";

const CARDS: u32 = 1_000_000;

/// Events of each card.
const EACH: i64 = 10;

/// In which they come: all of them lie inside 24 hours at the end.
const SPAN_MS: i64 = 23 * HOUR_MS + HOUR_MS / 2;

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// Cards that pay when all others have been quiet for a day, and minutes in which they do.
const OTHERS: u32 = 100;
const MINUTES: usize = 5;

/// After this long the allocator has given back what nobody uses.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(20);

/// Measures in a child.
pub fn in_child() {
    let program = std::env::current_exe().expect("the system knows what it runs");
    let status = Command::new(program).arg(CHILD).status().expect("what runs can be run again");
    assert!(status.success(), "memory could not be measured: {status}");
}

/// Measures in this process.
pub fn measure() {
    let events = u64::from(CARDS) * EACH.unsigned_abs();
    heading(&format!(
        "Memory, view `transaction`: {} cards with {EACH} events each inside 24 h",
        grouped(number(CARDS))
    ));
    let shipped = Shipped::new();
    let mut recorder = Recorder::of(CARDS, 1);
    let mut worker = shipped.worker(&[Arc::clone(&shipped.view)], 0..1, Start::default());
    let mut turns = Turns::default();
    let before = status("VmRSS:");
    let begun = Instant::now();
    let step = u32::try_from(BATCH).expect("a batch is small");
    let mut last: Option<Publication> = None;
    for _ in 0..EACH {
        for first in (0..CARDS).step_by(BATCH) {
            let cards = first..(first + step).min(CARDS);
            let span_ms = SPAN_MS / EACH * i64::from(step) / i64::from(CARDS);
            let frames = recorder.each(cards, span_ms);
            // The publication before goes first: none but the newest is held.
            drop(last.take());
            last = Some(turns.take(&mut worker, frames, false));
        }
    }
    let taken = begun.elapsed();
    let (entities, reported) = last.as_ref().map_or((0, 0), kept);
    drop(last);
    let resident = status("VmRSS:");
    row(
        "resident memory, all of the process",
        &mebibytes(resident),
        &format!(
            "{} before, {} at most; {} events in {:.0} s",
            mebibytes(before),
            mebibytes(status("VmHWM:")),
            grouped(number(events)),
            taken.as_secs_f64()
        ),
    );
    let grown = resident - before;
    let (an_event, a_card) = (grown / number(events), grown / number(entities));
    row("grown by", &mebibytes(grown), &format!("{an_event:.0} bytes an event, {a_card:.0} a card"));
    let share = number(reported) / grown;
    let remark = format!("{} hashes; {share:.2} of what memory grew by", grouped(number(entities)));
    row("state as the worker reports it", &mebibytes(number(reported)), &remark);

    recorder.skip(25 * HOUR_MS);
    let (mut worst, mut left) = (0.0, (0, 0));
    for _ in 0..MINUTES {
        let mut turn = Turns::default();
        let frames = recorder.each(CARDS..CARDS + OTHERS, MINUTE_MS);
        left = kept(&turn.take(&mut worker, frames, true));
        worst = f64::max(worst, turn.mean_ms());
    }
    let (entities, reported) = left;
    let resident = status("VmRSS:");
    let begun = Instant::now();
    while begun.elapsed() < GIVEN_BACK_WITHIN {
        std::thread::sleep(Duration::from_millis(250));
        turns.take(&mut worker, recorder.each(CARDS..CARDS + OTHERS, 250), false);
    }
    row(
        "25 h later, with 100 other cards",
        &format!("{} hashes", grouped(number(entities))),
        &format!(
            "{} KiB of state reported; {} resident, {} when live turns went on for {} s; worst of {MINUTES} turns {worst:.0} ms",
            grouped(number(reported) / 1024.0),
            mebibytes(resident),
            mebibytes(status("VmRSS:")),
            GIVEN_BACK_WITHIN.as_secs()
        ),
    );
}

/// Entities and bytes of the view.
fn kept(publication: &Publication) -> (usize, usize) {
    (publication.views[0].entities, publication.views[0].state_bytes)
}

/// Bytes that the kernel tells in this line; nothing where it tells none.
pub fn status(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let kibibytes = found.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or_default() * 1024.0
}
