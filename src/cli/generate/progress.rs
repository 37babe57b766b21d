//! How far a run is: a line that moves on a terminal, a line every few seconds
//! elsewhere, and the sum at the end. All on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::generate::{Generated, Kind, Timeliness};
use crate::time::{EventTime, Span};

/// Between two lines where there is no terminal.
const LINE_EVERY: Span = Span::from_secs(5);

/// What was generated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Events of all streams.
    pub events: u64,
    by_kind: [u64; 3],
    fraud: u64,
    disordered: u64,
    late: u64,
    malformed: u64,
    duplicates: u64,
}

impl Tally {
    /// Counts an event.
    pub fn count(&mut self, event: &Generated<'_>) {
        self.events += 1;
        self.by_kind[event.kind as usize] += 1;
        self.fraud += u64::from(event.fraud);
        self.malformed += u64::from(event.malformed);
        self.duplicates += u64::from(event.duplicate);
        self.disordered += u64::from(event.timeliness == Timeliness::Disordered);
        self.late += u64::from(event.timeliness == Timeliness::Late);
    }

    /// The sum, as one line.
    pub fn summary(&self, elapsed: Span) -> String {
        let mut parts: Vec<String> = Kind::ALL
            .into_iter()
            .map(|kind| (self.by_kind[kind as usize], kind.stream()))
            .chain([
                (self.fraud, "of fraud"),
                (self.disordered, "disordered"),
                (self.late, "late"),
                (self.malformed, "malformed"),
                (self.duplicates, "duplicates"),
            ])
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        let rate = per_second(self.events, elapsed);
        format!(
            "generated {} events in {} ({rate} events/s): {}",
            self.events,
            tenths(elapsed),
            parts.join(", ")
        )
    }
}

/// Shows how far a run is.
pub struct Progress {
    bar: Option<ProgressBar>,
    count: Option<u64>,
    next_line: Span,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new(count: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| new_bar(count));
        Self { bar, count, next_line: LINE_EVERY }
    }

    /// Shows the state, if it is time to.
    pub fn show(&mut self, tally: &Tally, elapsed: Span, event_time: EventTime) {
        if let Some(bar) = &self.bar {
            bar.set_message(event_time.to_string());
            bar.set_position(tally.events);
        } else if elapsed >= self.next_line {
            self.next_line = elapsed.plus(LINE_EVERY);
            let of = self.count.map(|count| format!(" of {count}")).unwrap_or_default();
            let rate = per_second(tally.events, elapsed);
            eprintln!("generated {}{of} events, {rate} events/s, event time {event_time}", tally.events);
        }
    }

    /// Removes the moving line.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(count: Option<u64>) -> ProgressBar {
    let (bar, template) = match count {
        Some(count) => (
            ProgressBar::new(count),
            "{wide_bar} {human_pos}/{human_len} events, {per_sec}, event time {msg}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {human_pos} events in {elapsed}, {per_sec}, event time {msg}",
        ),
    };
    // A template that indicatif does not understand leaves its own style: still progress.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn per_second(events: u64, elapsed: Span) -> u64 {
    let micros = u128::from(elapsed.0.unsigned_abs().max(1));
    u64::try_from(u128::from(events) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

fn tenths(elapsed: Span) -> String {
    let tenths = elapsed.millis() / 100;
    format!("{}.{}s", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_names_what_there_was() {
        let tally = Tally { events: 300, by_kind: [200, 100, 0], late: 7, ..Tally::default() };
        assert_eq!(
            tally.summary(Span::from_millis(1500)),
            "generated 300 events in 1.5s (200 events/s): 200 transactions, 100 clicks, 7 late"
        );
    }
}
