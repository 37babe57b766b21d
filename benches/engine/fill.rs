//! Windows filled before anything is measured, in pieces: what is generated is
//! taken in and dropped again.

use windrow::frame::FrameBatch;

use crate::shipped::Recorder;
use crate::table::BATCH;

/// Events that fill the windows, beside the one of each card.
pub const DRAWS: usize = 1_500_000;

/// The time before the last half hour is gone through by so many of them.
const HALF_HOURS: u32 = 47;

const MINUTE_MS: i64 = 60_000;

/// Records 24 hours: one event of each card and half the draws, evenly, then a
/// quarter of the draws in 25 minutes and the last quarter in 5.
pub fn fill(recorder: &mut Recorder, draws: usize, mut take: impl FnMut(Vec<FrameBatch>)) {
    let (early, later) = (draws / 2, draws / 4);
    let cards = recorder.cards();
    let spread = |whole: u64, number: u32| whole * u64::from(number) / u64::from(HALF_HOURS);
    for number in 0..HALF_HOURS {
        let card = |number| u32::try_from(spread(u64::from(cards), number)).expect("a card is a u32");
        take(recorder.each(card(number)..card(number + 1), 15 * MINUTE_MS));
        let drawn = |number| usize::try_from(spread(early as u64, number)).expect("a part of a usize");
        in_batches(recorder, drawn(number + 1) - drawn(number), 15 * MINUTE_MS, &mut take);
    }
    in_batches(recorder, later, 25 * MINUTE_MS, &mut take);
    in_batches(recorder, draws - early - later, 5 * MINUTE_MS, &mut take);
}

fn in_batches(
    recorder: &mut Recorder,
    mut count: usize,
    mut span_ms: i64,
    take: &mut impl FnMut(Vec<FrameBatch>),
) {
    while count > 0 {
        let left = count.div_ceil(BATCH);
        let (events, time_ms) = (count / left, span_ms / i64::try_from(left).unwrap_or(i64::MAX));
        take(recorder.over(events, time_ms));
        count -= events;
        span_ms -= time_ms;
    }
}
