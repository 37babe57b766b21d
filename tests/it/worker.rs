//! The worker in process, over generated logs: however the log is cut into
//! batches and wherever the process is replaced by another, the store has what
//! one single batch gives, and that is what plain SQL says of the events that
//! count.

mod checkpoints;
mod crew;
mod early;
mod holding;
pub mod log;
pub mod reference;
mod rows;
pub mod run;
mod sweep;
pub mod views;
mod warming;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::support::cases;
use log::{Entry, Kind, PARTITIONS, Step};
use run::{Run, partition};
use views::{TEMPLATES, template};

/// What happens after a stretch of the log.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The next turn.
    Turn,
    /// The process ends, and another goes on from what it committed.
    Restart,
}

/// Stretches of the log, again and again until its end.
fn cuts() -> impl Strategy<Value = Vec<(usize, Then)>> {
    let then = prop_oneof![3 => Just(Then::Turn), 1 => Just(Then::Restart)];
    proptest::collection::vec((1..30_usize, then), 1..8)
}

#[test]
fn any_cut_gives_what_one_batch_gives_and_plain_sql() {
    let case = (log::steps(), cuts(), 0..TEMPLATES.len());
    cases::check(48, &case, |(steps, cuts, index)| {
        let template = &TEMPLATES[index];
        let log = log::written(&steps);
        let expected = reference::hashes(template, &log);

        let mut whole = Run::by_reference(template);
        whole.read(&log, usize::MAX);
        prop_assert_eq!(&whole.hashes(), &expected, "{} in one batch", template.name);
        prop_assert_eq!(&whole.rejected, &rejected(&log), "dead letters");

        let mut cut = Run::new(template);
        let mut committed = cut.commits.clone();
        let mut read = 0;
        for (index, (length, then)) in cuts.iter().cycle().enumerate() {
            if read >= log.len() {
                break;
            }
            read = log.len().min(read + length);
            cut.read(&log[..read], *length);
            if let Then::Restart = then {
                cut = cut.restarted(cut.commits.clone());
            }
            if index == cuts.len() / 2 {
                committed = cut.commits.clone();
            }
        }
        // After a restart at the very end, what was read before is read again.
        cut.read(&log, 7);
        prop_assert_eq!(&cut.hashes(), &expected, "{} in batches", template.name);

        let mut again = cut.restarted(committed);
        again.read(&log, 11);
        prop_assert_eq!(&again.hashes(), &expected, "{} with a suffix repeated", template.name);

        again.lose_store();
        again.silence(false, 0);
        prop_assert_eq!(&again.hashes(), &expected, "{} written again", template.name);
        Ok(())
    });
}

/// The dead letters of a log, by reason.
fn rejected(log: &[Entry]) -> BTreeMap<windrow::frame::Reason, usize> {
    let mut rejected = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for (reason, count) in log::accepted(log, partition).rejected {
            *rejected.entry(reason).or_default() += count;
        }
    }
    rejected
}

/// A log of events by the milliseconds since the one before in its partition,
/// the card, and how many milliseconds the event's time lies behind. Cards with
/// an even number are in partition 0.
fn log_of(events: impl IntoIterator<Item = (i64, u8, i64)>) -> Vec<Entry> {
    let step = |(after_ms, card, behind_ms)| Step {
        after_ms,
        gap: 0,
        card,
        quarters: 4,
        device: None,
        kind: Kind::V1 { behind_ms },
    };
    log::written(&events.into_iter().map(step).collect::<Vec<_>>())
}

/// The same by seconds, each 0.123 s after a full one, on the edge of no window.
fn events(events: &[(i64, u8)]) -> Vec<Entry> {
    log_of(events.iter().map(|(after, card)| (after * 1000, *card, -123)))
}

/// The cards that have a hash, and the field `n` of each.
#[track_caller]
fn check(run: &Run, expected: &[(&str, &str)]) {
    let hashes = run.hashes();
    let found: Vec<(&str, &str)> =
        hashes.iter().map(|(key, fields)| (key.split(':').nth(2).unwrap(), fields["n"].as_str())).collect();
    assert_eq!(found, expected);
}

/// A view of ten minutes that counts, without its last one: `n` is what came
/// between ten minutes and one minute ago.
const DELAYED: &str = "delayed";

#[test]
fn an_event_enters_and_leaves_a_window_by_the_time_of_others() {
    let log = events(&[(0, 0), (59, 2), (1, 2), (539, 4), (1, 4)]);
    let mut run = Run::new(template(DELAYED));
    // The time of the first is 0.123 s; `now()` is rounded up to the second.
    let turns: [(usize, &[(&str, &str)]); 5] = [
        (1, &[]),
        // 59.123 s: up to 0 s.
        (2, &[]),
        // 60.123 s: up to 1 s.
        (3, &[("card-0", "1")]),
        // 599.123 s: from 0 s.
        (4, &[("card-0", "1"), ("card-2", "2")]),
        // 600.123 s: from 1 s.
        (5, &[("card-2", "2")]),
    ];
    for (until, expected) in turns {
        run.read(&log[..until], 1);
        check(&run, expected);
    }
}

#[test]
fn an_entity_that_has_left_all_windows_has_no_hash() {
    let mut run = Run::new(template("aggregates"));
    let log = events(&[(0, 0), (0, 2), (0, 1), (3599, 2), (1, 2), (7200, 1)]);
    run.read(&log[..4], 1);
    let cards = |run: &Run| -> Vec<String> {
        run.hashes().keys().map(|key| key.split(':').nth(2).unwrap().to_owned()).collect()
    };
    assert_eq!(cards(&run), ["card-0", "card-1", "card-2"]);
    assert_eq!(run.hashes()["features:e:card-0:aggregates"]["n_5m"], "0");
    run.read(&log[..5], 1);
    // The other partition's clock has not moved.
    assert_eq!(cards(&run), ["card-1", "card-2"]);
    run.read(&log, 1);
    assert_eq!(run.hashes()["features:e:card-1:aggregates"]["n_1h"], "1");
}

#[test]
fn a_silent_shard_that_is_caught_up_decays() {
    // The last is 60 s behind the one before.
    let log = log_of([(0, 0, -123), (120_000, 0, -123), (120_000, 2, -123), (5_000, 2, 64_877)]);
    let mut run = Run::new(template(DELAYED));
    run.read(&log[..3], 9);
    let before = [("card-0", "2")];
    check(&run, &before);
    // Too short a silence, or more in the log.
    for (caught_up, seconds) in [(true, 9), (false, 9000)] {
        run.silence(caught_up, seconds);
        check(&run, &before);
    }
    run.silence(true, 60);
    check(&run, &[("card-0", "2"), ("card-2", "1")]);
    run.silence(true, 361);
    check(&run, &[("card-0", "1"), ("card-2", "1")]);
    run.silence(true, 800);
    check(&run, &[]);
    // An event ends the silence. It is late by the times of events, and counts:
    // the time that ran on says nothing of lateness.
    run.read(&log, 9);
    check(&run, &[("card-0", "2"), ("card-2", "1")]);
    assert_eq!(run.rejected, BTreeMap::new());
    assert_eq!(run.hashes(), reference::hashes(template(DELAYED), &log));
}

#[test]
fn every_partition_has_its_own_clock() {
    // Partition 0 is an hour ahead of partition 1.
    let log = events(&[(3600, 0), (120, 0), (0, 1), (1, 1), (120, 3)]);
    let mut run = Run::new(template(DELAYED));
    run.read(&log, 1);
    check(&run, &[("card-0", "1"), ("card-1", "2")]);
    assert_eq!(run.rejected, BTreeMap::new());
    // One shard over all partitions has the time of the one that is ahead.
    let mut run = Run::new(template("by_place"));
    run.read(&log, 1);
    check(&run, &[("unknown", "2")]);
    assert_eq!(run.rejected, BTreeMap::new());
}

#[test]
fn what_is_revoked_is_gone_and_the_rest_goes_on() {
    let log = events(&[(0, 0), (0, 1), (120, 0), (120, 1), (1, 0), (1, 1)]);
    let mut run = Run::new(template(DELAYED));
    run.read(&log[..4], 9);
    let both = [("card-0", "1"), ("card-1", "1")];
    check(&run, &both);
    run.revoke([0]);
    let publication = run.silence(true, 9000);
    // Partition 1 decays, and nobody deletes the hashes of partition 0.
    check(&run, &[("card-0", "1")]);
    assert_eq!((publication.views[0].shards, publication.views[0].entities), (1, 0));
    let committed: Vec<_> = publication.commits.iter().map(|commit| commit.partition).collect();
    assert_eq!(committed, [partition(1)]);
    run.revoke([1]);
    let publication = run.silence(true, 9000);
    assert_eq!((publication.views[0].shards, publication.writes.entries.len()), (0, 0));
    assert!(publication.commits.is_empty() && publication.clocks.is_empty());
    // Given back, they go on from what they committed.
    run.assign(0..PARTITIONS);
    run.read(&log, 1);
    assert_eq!(run.hashes(), reference::hashes(template(DELAYED), &log));
    check(&run, &both);
}

/// The window's first moment belongs to it, and the last batch that holds
/// nothing later must not be gone.
#[test]
fn an_event_on_a_closed_edge_counts() {
    let log = log_of([(0, 0, 0), (0, 0, 0), (0, 0, 0), (600_000, 2, 0), (1, 2, 0)]);
    let mut run = Run::new(template(DELAYED));
    run.read(&log[..3], 9);
    run.read(&log[..4], 9);
    check(&run, &[("card-0", "3")]);
    let mut next = run.restarted(run.commits.clone());
    next.read(&log[..4], 9);
    check(&next, &[("card-0", "3")]);
    next.read(&log, 9);
    check(&next, &[]);
}

/// Ten minutes hold 600 events here, out of 3000: what a restart reads again
/// grows with the window and not with the log.
#[test]
fn a_restart_reads_again_what_the_windows_hold() {
    let log = events(&vec![(1, 0); 3000]);
    let mut run = Run::new(template(DELAYED));
    run.read(&log, 50);
    let commit = run.commits[&partition(0)];
    assert_eq!(commit.offset, 3000);
    let again = commit.offset - commit.lead_in.offset;
    assert!(again <= 3 * 600, "{again} events are read again");
    let hashes = run.hashes();
    let mut next = run.restarted(run.commits.clone());
    next.read(&log, 200);
    assert_eq!((next.hashes(), next.rejected), (hashes, BTreeMap::new()));
}

#[test]
fn a_store_that_lost_everything_gets_everything_again() {
    let log = events(&[(0, 0), (0, 1), (120, 0), (120, 1)]);
    let mut run = Run::new(template(DELAYED));
    run.read(&log, 9);
    let hashes = run.hashes();
    // Nothing changed, nothing is written.
    assert!(run.silence(false, 0).writes.is_empty());
    run.lose_store();
    assert!(run.hashes().is_empty());
    assert_eq!(run.silence(false, 0).writes.entries.len(), hashes.len());
    assert_eq!(run.hashes(), hashes);
}

/// What was deleted since then as well, by views of every class.
#[test]
fn a_store_that_goes_back_loses_what_was_deleted_since() {
    let log = events(&[(0, 0), (0, 2), (0, 1), (0, 3), (3599, 2), (7200, 3), (7200, 4), (7200, 5)]);
    let mut deleted = 0;
    for template in &TEMPLATES {
        let mut run = Run::new(template);
        run.read(&log[..4], 9);
        let before = run.snapshot();
        let then = run.hashes();
        run.read(&log, 9);
        let hashes = run.hashes();
        deleted += then.keys().filter(|key| !hashes.contains_key(*key)).count();
        run.go_back_to(before);
        assert_eq!(run.hashes(), then, "{}", template.name);
        while run.silence(false, 0).waiting > 0 {}
        assert_eq!(run.hashes(), hashes, "{}", template.name);
    }
    assert!(deleted > 10, "{deleted} hashes were deleted");
}
