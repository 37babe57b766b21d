//! Workers compared: each is given the same batches, in turn, so that whatever
//! else the machine does meets all of them.

use std::sync::Arc;

use windrow::pipeline::publication::Publication;
use windrow::pipeline::worker::Worker;

use crate::fill::{DRAWS, fill};
use crate::memory::status;
use crate::shipped::{CARDS, Recorder, Shipped, Start, TRANSACTION};
use crate::singles::{LIVE, Pace, measure};
use crate::table::{BATCH, Turns, grouped, heading, mebibytes, number, row, row_of_what_is_kept};

/// A view whose windows are all of one length.
const WINDOWS: &str = "\
-- view: windows
-- entity: card
-- key: card_id
SELECT
  card_id,
  count(*) AS txn_count,
  sum(amount) AS amount_sum,
  avg(amount) AS amount_avg,
  max(amount) AS amount_max,
  min(amount) AS amount_min,
  stddev_pop(amount) AS amount_std,
  last_value(amount ORDER BY event_time, _offset) AS last_amount,
  count(DISTINCT mcc) AS mcc_count
FROM transactions
WHERE event_time > now() - INTERVAL '{window}'
GROUP BY card_id
";

/// Batches of the comparison with the reference: it takes as few as it may, the engine some more.
const BY_REFERENCE: usize = 2;
const BY_ENGINE: usize = 20;

/// With more events than this the reference takes half a minute and more: it takes one batch.
const MANY_EVENTS: usize = 2_000_000;

/// Workers that have taken in what fills the windows.
fn filled<const N: usize>(recorder: &mut Recorder, draws: usize, workers: &mut [Worker; N]) {
    let mut unmeasured = Turns::default();
    let mut last: Option<Publication> = None;
    fill(recorder, draws, |frames| {
        for worker in workers.iter_mut() {
            last = Some(unmeasured.take(worker, frames.clone(), false));
        }
    });
    if let Some(publication) = &last {
        row_of_what_is_kept(recorder, publication);
    }
}

/// What the length of windows costs.
pub fn windows() {
    heading("All windows of one length: the last value, seven aggregates, one of them DISTINCT");
    let shipped = Shipped::new();
    let [short, long] = ["5 minutes", "24 hours"].map(|window| {
        let view = shipped.plan("windows", &WINDOWS.replace("{window}", window));
        (window, view)
    });
    let mut recorder = Recorder::of(CARDS, 1);
    let mut workers =
        [&short, &long].map(|(_, view)| shipped.worker(&[Arc::clone(view)], 0..1, Start::default()));
    filled(&mut recorder, DRAWS, &mut workers);
    let (turns, _) = measure(&mut recorder, LIVE, &mut workers);
    for ((window, view), turns) in [&short, &long].into_iter().zip(&turns) {
        let class = view.classification.class;
        row(&format!("{window}, {class}"), &turns.rate(), &turns.remark());
    }
    let factor = turns[1].micros_an_event() / turns[0].micros_an_event();
    row("cost of an event, 24 hours", &format!("{factor:.2} times"), "that of 5 minutes");
}

/// What a second view over the same stream costs.
pub fn views() {
    heading("Two views over one stream, which is decoded once: `transaction` and its twin");
    let shipped = Shipped::new();
    let named = "-- view: transaction\n";
    assert!(TRANSACTION.contains(named), "its header names it");
    let twin = TRANSACTION.replacen(named, "-- view: transaction_twin\n", 1);
    let views = [Arc::clone(&shipped.view), shipped.plan("transaction_twin", &twin)];
    let mut recorder = Recorder::of(CARDS, 1);
    let mut workers = [&views[..1], &views[..]].map(|views| shipped.worker(views, 0..1, Start::default()));
    filled(&mut recorder, DRAWS, &mut workers);
    let ([one, two], _) = measure(&mut recorder, LIVE, &mut workers);
    row("one view", &one.rate(), &one.remark());
    row("two views", &two.rate(), &two.remark());
    let factor = two.micros_an_event() / one.micros_an_event();
    row("cost of an event, two views", &format!("{factor:.2} times"), "that of one");
}

/// What running the SQL over everything kept costs, against the engine.
pub fn reference(kept: usize) {
    heading(&format!("The reference against the engine, {} events kept", grouped(number(kept))));
    let shipped = Shipped::new();
    let views = [Arc::clone(&shipped.view)];
    let mut recorder = Recorder::of(CARDS, 1);
    let draws = kept.saturating_sub(cards());
    // Filled by events that were published before, the first batch with them, which is not measured:
    // the SQL is not run until all of them are there.
    let publish_from = i64::try_from(kept.max(cards()) + BATCH).expect("a number of events");
    let start = Start { publish_from, reference_only: true };
    let mut workers = [shipped.worker(&views, 0..1, start), shipped.worker(&views, 0..1, Start::default())];
    filled(&mut recorder, draws, &mut workers);
    let pace = Pace { batches: if kept > MANY_EVENTS { 1 } else { BY_REFERENCE }, ..LIVE };
    let ([reference, _], _) = measure(&mut recorder, pace, &mut workers);
    let [by_reference, engine] = workers;
    drop(by_reference);
    let pace = Pace { batches: BY_ENGINE, ..LIVE };
    let ([engine], _) = measure(&mut recorder, pace, &mut [engine]);
    row("reference", &format!("{} ms a turn", grouped(reference.mean_ms())), &reference.remark());
    row("engine", &format!("{:.1} ms a turn", engine.mean_ms()), &engine.remark());
    let factor = reference.mean_ms() / engine.mean_ms();
    row("the reference takes", &format!("{factor:.0} times"), "the engine's time");
    let remark = "of the process, both workers and what was measured before";
    row("resident memory at most", &mebibytes(status("VmHWM:")), remark);
}

/// Events of [`fill`] beside those that are drawn: one of each card.
fn cards() -> usize {
    usize::try_from(CARDS).expect("there are some thousands")
}
