//! A worker of the shipped view, at two paces of event time and with few cards
//! or many; decoding and encoding alone.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use windrow::frame::FrameBatch;
use windrow::pipeline::publication::Publication;
use windrow::pipeline::worker::Worker;
use windrow::sink::Writes;
use windrow::sink::encode::Known;
use windrow::time::EventTime;

use crate::fill::{DRAWS, fill};
use crate::shipped::{CARDS, Kept, Recorder, Shipped, Start, unknown};
use crate::table::{BATCH, Turns, grouped, heading, number, per_second, rate, row, row_of_what_is_kept};

/// How event time passes while batches are measured.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many batches are measured.
    pub batches: usize,
    /// Event time of a batch.
    pub advance_ms: i64,
}

/// 100 000 events a second of event time: twenty seconds, a full minute in their middle.
pub const LIVE: Pace = Pace { batches: 80, advance_ms: 250 };

/// 2 000 events a second of event time: twelve and a half minutes.
pub const REPLAY: Pace = Pace { batches: 60, advance_ms: 12_500 };

/// Batches that are decoded again and again, so often.
const DECODED: (usize, usize) = (8, 8);

/// Rows that are encoded at once, so often.
const ENCODED: (usize, usize) = (5_000, 100);

/// A worker's turns at both paces.
pub struct Paced {
    cards: u32,
    live: Turns,
    replay: Turns,
}

/// Turns of workers that are given the same batches, one after the other.
pub fn measure<const N: usize>(
    recorder: &mut Recorder,
    pace: Pace,
    workers: &mut [Worker; N],
) -> ([Turns; N], [Option<Publication>; N]) {
    let mut turns: [Turns; N] = std::array::from_fn(|_| Turns::default());
    let mut last: [Option<Publication>; N] = [const { None }; N];
    // The first batch brings the time that was skipped, and is not measured.
    recorder.skip_to_second(50);
    for batch in 0..=pace.batches {
        let frames = recorder.over(BATCH, pace.advance_ms);
        for ((worker, turns), last) in workers.iter_mut().zip(&mut turns).zip(&mut last) {
            *last = Some(turns.take(worker, frames.clone(), batch > 0));
        }
    }
    (turns, last)
}

/// Measures a worker whose windows are full.
pub fn turns(cards: u32) -> Paced {
    heading(&format!("Frames to Redis commands, view `transaction`, {} cards", grouped(number(cards))));
    let shipped = Shipped::new();
    let mut recorder = Recorder::of(cards, 1);
    let mut workers = [shipped.worker(&[Arc::clone(&shipped.view)], 0..1, Start::default())];
    let mut unmeasured = Turns::default();
    let mut filled = None;
    fill(&mut recorder, DRAWS, |frames| filled = Some(unmeasured.take(&mut workers[0], frames, false)));
    if let Some(publication) = &filled {
        row_of_what_is_kept(&recorder, publication);
    }
    let ([replay], [last]) = measure(&mut recorder, REPLAY, &mut workers);
    row("2 000 events/s of event time, as a replay", &replay.rate(), &replay.remark());
    if let Some(publication) = &last {
        row_of_what_is_kept(&recorder, publication);
    }
    let ([live], _) = measure(&mut recorder, LIVE, &mut workers);
    row("100 000 events/s of event time, live", &live.rate(), &live.remark());
    Paced { cards, live, replay }
}

/// What more cards cost.
pub fn relate(few: &Paced, many: &Paced) {
    let than = format!("that with {} cards", grouped(number(few.cards)));
    for (name, few, many) in [("replay", &few.replay, &many.replay), ("live", &few.live, &many.live)] {
        let factor = many.micros_an_event() / few.micros_an_event();
        row(&format!("cost of an event, {name}"), &format!("{factor:.2} times"), &than);
    }
}

/// Decoding alone, of every column and of those that the view uses.
pub fn decode() {
    heading("Decoding alone");
    let shipped = Shipped::new();
    let mut recorder = Recorder::of(CARDS, 1);
    let batches: Vec<FrameBatch> = (0..DECODED.0).map(|_| recorder.take(BATCH)).collect();
    let values = batches.iter().flat_map(FrameBatch::iter).filter_map(|frame| frame.value);
    let bytes = values.map(<[u8]>::len).sum::<usize>() / DECODED.0 / BATCH;
    let (all, used) = (shipped.all_columns(), shipped.used_columns());
    for (name, columns) in [("all columns", &all), ("columns of the view", &used)] {
        let mut decoder = shipped.decoder(columns);
        let mut taken = Duration::ZERO;
        for round in 0..=DECODED.1 {
            let begun = Instant::now();
            for batch in &batches {
                let decoded = decoder.decode(black_box(batch), unknown);
                black_box(decoded.expect("frames can be decoded"));
            }
            // The first round warms up.
            if round > 0 {
                taken += begun.elapsed();
            }
        }
        let remark = format!("{} of {} columns; values of {bytes} bytes", columns.len(), all.len());
        row(name, &rate(per_second(BATCH * DECODED.0 * DECODED.1, taken), "events"), &remark);
    }
}

/// So many rows of features, and the time in milliseconds at which they are so.
pub fn features(shipped: &Shipped, rows: usize) -> (RecordBatch, i64) {
    let mut recorder = Recorder::of(CARDS, 1);
    let kept = Kept(shipped.rows(&recorder.take(2 * BATCH)));
    let now_ms = recorder.now_ms();
    let features = shipped.features(&kept, EventTime::from_millis(now_ms));
    assert!(features.num_rows() >= rows, "so many cards have paid");
    (features.slice(0, rows), now_ms)
}

/// Encoding alone: rows of features to packed commands.
pub fn encode() {
    heading("Encoding alone");
    let shipped = Shipped::new();
    let (features, now_ms) = features(&shipped, ENCODED.0);
    let encoder = shipped.encoder();
    let (mut taken, mut bytes) = (Duration::ZERO, 0);
    for round in 0..=ENCODED.1 {
        let mut writes = Writes::default();
        let begun = Instant::now();
        let mut bound = encoder.bind(&features).expect("the rows are the view's");
        for index in 0..ENCODED.0 {
            bound.set(index, Known::Absent, now_ms, now_ms, &mut writes);
        }
        if round > 0 {
            taken += begun.elapsed();
        }
        bytes = black_box(writes).bytes.len();
    }
    let remark = format!("{} fields, {} bytes each", features.num_columns() + 1, bytes / ENCODED.0);
    row("rows to commands", &rate(per_second(ENCODED.0 * ENCODED.1, taken), "commands"), &remark);
}
