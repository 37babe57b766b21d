//! What is printed: one table, a row as soon as it is measured.

use std::time::{Duration, Instant};

use windrow::frame::FrameBatch;
use windrow::pipeline::publication::Publication;
use windrow::pipeline::worker::Worker;
use windrow::sink::Writes;

use crate::shipped::{Recorder, WALL};

/// Events of a batch.
pub const BATCH: usize = 25_000;

const SECONDS_OF_5M: i64 = 300;
const SECONDS_OF_30M: i64 = 1800;
const SECONDS_OF_24H: i64 = 86_400;

/// What holds for every row.
pub fn begin() {
    println!(
        "One thread where nothing else is said, batches of {} events: recorded transactions \
         (version 2, 21 fields) in Confluent's framing, Zipf 1.0 over the cards",
        grouped(number(BATCH))
    );
}

/// What the following rows have in common.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// One figure, and what there is to say of it.
pub fn row(name: &str, figure: &str, remark: &str) {
    println!("  {name:<44} {figure:>22}  {remark}");
}

/// What the windows hold, who the busiest card is, and how large an event.
pub fn row_of_what_is_kept(recorder: &Recorder, publication: &Publication) {
    let held = |seconds| grouped(number(recorder.held(seconds)));
    let (busiest, expected) = recorder.busiest();
    assert!((busiest / expected - 1.0).abs() < 0.1, "the skew is Zipf 1.0: {busiest} is not {expected}");
    let cards: Vec<String> = publication.views.iter().map(|view| grouped(number(view.entities))).collect();
    row(
        "kept, 24 h / 30 min / 5 min",
        &format!("{} events", held(SECONDS_OF_24H)),
        &format!(
            "/ {} / {}; of {} cards, the busiest with {:.1} % of them",
            held(SECONDS_OF_30M),
            held(SECONDS_OF_5M),
            cards.join(" and "),
            busiest * 100.0
        ),
    );
}

/// Turns that were measured one by one.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    times: Vec<Duration>,
    events: usize,
    commands: usize,
    /// Commands that are written: their room goes back, as a publisher gives it back.
    written: Option<Writes>,
}

impl Turns {
    /// Takes a turn and notes it, if it is to be `counted`. The publication's commands are taken out of it.
    pub fn take(&mut self, worker: &mut Worker, frames: Vec<FrameBatch>, counted: bool) -> Publication {
        let events: usize = frames.iter().map(FrameBatch::len).sum();
        let begun = Instant::now();
        if let Some(written) = self.written.take() {
            worker.reuse(written);
        }
        let mut publication = worker.turn(frames, &[], WALL).expect("no event can fail a turn");
        let taken = begun.elapsed();
        assert!(publication.letters.is_empty(), "every event counts");
        if counted {
            self.times.push(taken);
            self.events += events;
            self.commands += publication.writes.entries.len();
        }
        self.written = Some(std::mem::take(&mut publication.writes));
        publication
    }

    /// The commands of the last turn.
    pub fn last_commands(&self) -> usize {
        self.written.as_ref().map_or(0, |written| written.entries.len())
    }

    /// All events over all the time.
    pub fn per_second(&self) -> f64 {
        per_second(self.events, self.total())
    }

    /// The time of an event, in microseconds.
    pub fn micros_an_event(&self) -> f64 {
        1e6 / self.per_second()
    }

    /// The time of a turn, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        millis(self.total()) / number(self.times.len())
    }

    /// The rate as text.
    pub fn rate(&self) -> String {
        rate(self.per_second(), "events")
    }

    /// How the turns were.
    pub fn remark(&self) -> String {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let (median, worst) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
        format!(
            "{} turns, median {:.1} ms, worst {:.1} ms; {} commands a turn",
            sorted.len(),
            millis(median),
            millis(worst),
            grouped(number(self.commands / sorted.len()))
        )
    }

    fn total(&self) -> Duration {
        self.times.iter().sum()
    }
}

/// So many in that time, as a rate.
pub fn per_second(count: usize, time: Duration) -> f64 {
    number(count) / time.as_secs_f64()
}

/// A rate as text.
pub fn rate(per_second: f64, what: &str) -> String {
    format!("{} {what}/s", grouped(per_second))
}

/// Milliseconds with their fraction.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Bytes as text.
pub fn mebibytes(bytes: f64) -> String {
    format!("{} MiB", grouped(bytes / 1_048_576.0))
}

/// A count to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

/// A whole number with its thousands apart.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
