//! Windows of which events are missing: hashes say so until the clock has gone
//! far enough, over restarts, and then hold what plain SQL says.

use std::sync::Arc;

use windrow::clock;
use windrow::source::position::Metadata;
use windrow::source::reach::{Committed, Reach};
use windrow::source::{Coverage, Past};
use windrow::state::lead_in::LeadIn;
use windrow::time::{EventTime, Span};

use super::log::{ALLOWED_LATENESS_MS, BEGIN_MS, Entry, MAX_FUTURE_MS, MAX_OUT_OF_ORDER_MS};
use super::run::{Run, partition};
use super::views::{self, Template, template};
use super::{events, reference};

/// A view of ten minutes.
fn latest() -> &'static Template {
    template("latest")
}

/// All in partition 0, 0.123 s after the full second:
///
/// | offset | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
/// |---|---|---|---|---|---|---|---|---|
/// | second | 0 | 100 | 200 | 300 | 600 | 800 | 810 | 910 |
/// | card | 0 | 0 | 2 | 0 | 2 | 0 | 2 | 0 |
fn log() -> Vec<Entry> {
    events(&[(0, 0), (100, 0), (100, 2), (100, 0), (300, 2), (200, 0), (10, 2), (100, 0)])
}

const BOTH: [&str; 2] = ["card-0", "card-2"];
const NONE: [&str; 0] = [];

/// From offset 2 on: all is known since 205.123 s, so the windows are complete at 805.123 s.
#[test]
fn hashes_say_so_until_the_windows_are_complete() {
    let log = log();
    for reference_only in [false, true] {
        let mut run = Run::torn(latest(), &[2, 0], reference_only);
        assert_eq!(run.commits[&partition(0)].coverage.past, Past::Unknown);
        run.read(&log[..6], 1);
        assert_eq!(run.marked(), BOTH);
        assert_eq!(run.silence(false, 0).views[0].warms_for, Span::from_secs(5));
        let since = EventTime::from_millis(BEGIN_MS + 205_123);
        assert_eq!(run.commits[&partition(0)].coverage.past, Past::Since(since));

        // Another process goes on with it.
        let mut next = run.restarted(run.commits.clone());
        next.read(&log[..6], 9);
        next.silence(false, 0);
        assert_eq!(next.marked(), BOTH);
        next.read(&log[..7], 9);
        assert_eq!(next.marked(), NONE);
        assert_eq!(next.hashes(), reference::hashes(latest(), &log[..7]));
        let publication = next.silence(false, 0);
        assert!(publication.writes.is_empty());
        assert_eq!(publication.views[0].warms_for, Span::ZERO);
        assert_eq!(next.commits[&partition(0)].coverage.past, Past::Whole);
    }
}

/// What makes the windows complete comes while nobody is there.
#[test]
fn a_start_after_the_end_takes_the_field_off() {
    let log = log();
    let mut run = Run::torn(latest(), &[2, 0], false);
    run.read(&log[..6], 9);
    assert_eq!(run.marked(), BOTH);
    let mut next = run.restarted(run.commits.clone());
    next.read(&log[..7], 99);
    assert_eq!(next.marked(), NONE);
    assert_eq!(next.hashes(), reference::hashes(latest(), &log[..7]));
}

/// The clock runs on with the silence, and is turned back by a restart.
#[test]
fn a_silence_completes_windows_for_as_long_as_it_lasts() {
    let log = log();
    let mut run = Run::torn(latest(), &[2, 0], false);
    run.read(&log[..6], 9);
    run.silence(true, 60);
    assert_eq!(run.marked(), NONE);
    let mut next = run.restarted(run.commits.clone());
    next.read(&log[..6], 9);
    next.silence(false, 0);
    assert_eq!(next.marked(), BOTH);
    next.read(&log[..7], 9);
    assert_eq!(next.marked(), NONE);
}

/// Offset 2 is removed before it is read: all is known since 305.123 s.
#[test]
fn a_gap_in_the_middle_of_a_run_is_said() {
    let log = log();
    let mut run = Run::new(latest());
    run.read(&log[..2], 9);
    assert_eq!(run.marked(), NONE);
    run.gap(0, 3);
    run.read(&log[..4], 9);
    assert_eq!(run.marked(), ["card-0"]);
    run.read(&log[..7], 9);
    assert_eq!(run.marked(), BOTH);
    run.read(&log, 9);
    assert_eq!(run.marked(), NONE);
    assert_eq!(run.hashes(), reference::hashes(latest(), &log));
}

/// A store that comes back with hashes from when events were missing.
#[test]
fn a_store_that_goes_back_loses_the_field_again() {
    let log = log();
    let mut run = Run::torn(latest(), &[2, 0], false);
    run.read(&log[..6], 9);
    let marked = run.snapshot();
    run.read(&log[..7], 9);
    assert_eq!(run.marked(), NONE);
    run.go_back_to(marked);
    assert_eq!(run.marked(), BOTH);
    run.silence(false, 0);
    assert_eq!(run.marked(), NONE);
}

/// Milliseconds after the log's beginning.
fn at(millis: i64) -> EventTime {
    EventTime::from_millis(BEGIN_MS + millis)
}

fn reach(name: &str) -> Reach {
    let clock = clock::Options {
        max_out_of_order: Span::from_millis(MAX_OUT_OF_ORDER_MS),
        allowed_lateness: Span::from_millis(ALLOWED_LATENESS_MS),
        max_future: Span::from_millis(MAX_FUTURE_MS),
        idle_after: Span::ZERO,
    };
    Reach { streams: Arc::new(views::streams()), views: vec![views::view(template(name))], clock }
}

/// What was committed of a partition at a clock, with windows that reach back so far.
fn committed(clock: EventTime, span: Span) -> Metadata {
    let coverage = Coverage { clock: Some(clock), span, past: Past::Whole };
    Metadata { lead_in: LeadIn { offset: 7, clock: None }, coverage: Some(coverage) }
}

#[test]
fn what_a_lead_in_does_not_reach_is_looked_up() {
    const SLACK_MS: i64 = MAX_OUT_OF_ORDER_MS + ALLOWED_LATENESS_MS + MAX_FUTURE_MS;
    let reach = reach("latest");
    let wanted = |metadata| reach.wanted(partition(0), &Committed::from([(partition(0), metadata)]));
    // At 1000.5 s `now()` is 1001 s: events after the microsecond before 401 s matter.
    let needed_after = EventTime(at(401_000).micros() - 1);
    let span = Span(599_500_001);
    assert_eq!(wanted(committed(at(1_000_500), span)), None);
    let expected = Some(needed_after.minus(Span::from_millis(SLACK_MS)));
    assert_eq!(wanted(committed(at(1_000_500), Span(span.0 - 1))), expected);
    // The version before told the lead-in's clock, which the clock was at least.
    let lead_in = LeadIn { offset: 7, clock: Some(at(1_000_500)) };
    assert_eq!(wanted(Metadata { lead_in, coverage: None }), expected);
    let lead_in = LeadIn { offset: 7, clock: None };
    assert_eq!(wanted(Metadata { lead_in, coverage: None }), None);
    assert_eq!(reach.wanted(partition(1), &Committed::new()), None);
}

/// A shard over all partitions has the time of the one that is ahead.
#[test]
fn windows_reach_back_from_the_clock_of_the_shard() {
    let short = Span::from_secs(400);
    let of = |reach: &Reach| {
        let ahead = committed(at(1_200_500), Span::from_secs(600));
        let both = Committed::from([(partition(0), committed(at(1_000_500), short)), (partition(1), ahead)]);
        reach.wanted(partition(0), &both).is_some()
    };
    assert!(of(&reach("latest")));
    assert!(!of(&reach("by_place")));
}
