//! Rows written again: a stretch a turn, those of the entities last active
//! first, and whatever happens in the middle of it, in the end the same.

use super::events;
use super::log::Entry;
use super::reference::{self, Hashes};
use super::run::Run;
use super::views::template;

/// A view of each class.
const TILED: &str = "aggregates";
const KEYED: &str = "steps";
const FULL: &str = "standing";

/// Five cards of one partition, the oldest event first.
fn log() -> Vec<Entry> {
    events(&[(0, 6), (1, 0), (1, 8), (1, 2), (1, 4)])
}

/// A run that looks at one entity again a turn, over the whole log.
fn begun(view: &str, log: &[Entry]) -> Run {
    let mut run = Run::new(template(view)).with_stretch(1);
    run.read(log, 9);
    run
}

/// The cards that have a hash.
fn cards(hashes: &Hashes) -> Vec<String> {
    hashes.keys().map(|key| key.split(':').nth(2).unwrap().to_owned()).collect()
}

/// Takes turns until nothing waits to be written again: the cards in the order
/// in which they got their hashes. No turn writes more than one of them.
#[track_caller]
fn sweep(run: &mut Run) -> Vec<String> {
    let mut order = cards(&run.hashes());
    loop {
        let publication = run.silence(false, 0);
        assert!(publication.writes.entries.len() <= 1, "{} in a turn", publication.writes.entries.len());
        let found = cards(&run.hashes()).into_iter();
        let new: Vec<String> = found.filter(|card| !order.contains(card)).collect();
        order.extend(new);
        if publication.waiting == 0 {
            return order;
        }
    }
}

#[track_caller]
fn check(view: &str, expected_order: Option<&[&str]>) {
    let log = log();
    let mut run = begun(view, &log);
    let expected = run.hashes();
    assert_eq!(expected, reference::hashes(template(view), &log));
    run.lose_store();
    let order = sweep(&mut run);
    if let Some(expected) = expected_order {
        assert_eq!(order, expected);
    }
    assert_eq!(run.hashes(), expected);
    assert!(run.silence(false, 0).writes.is_empty());
}

#[test]
fn entities_last_active_are_written_again_first() {
    let order = ["card-4", "card-2", "card-8", "card-0", "card-6"];
    check(TILED, Some(&order));
    check(KEYED, Some(&order));
    // All its rows are at hand: what was written last comes first, which is all the same here.
    check(FULL, None);
}

#[test]
fn a_new_event_does_not_wait_for_the_sweep() {
    for view in [TILED, KEYED, FULL] {
        let mut log = log();
        let mut run = begun(view, &log);
        run.lose_store();
        run.silence(false, 0);
        log = events(&[(0, 6), (1, 0), (1, 8), (1, 2), (1, 4), (1, 6)]);
        run.read(&log, 9);
        assert!(cards(&run.hashes()).contains(&"card-6".to_owned()), "{view}");
        sweep(&mut run);
        assert_eq!(run.hashes(), reference::hashes(template(view), &log), "{view}");
    }
}

/// What is committed in the middle of a sweep is right all the same: the
/// successor writes every row once, a stretch a turn. (In the full view every row
/// changes with each event, and none can be left.)
#[test]
fn a_process_that_ends_in_the_middle_of_a_sweep_is_followed_by_one_that_begins_anew() {
    for view in [TILED, KEYED] {
        let log = log();
        let mut run = begun(view, &log[..4]);
        run.lose_store();
        run.silence(false, 0);
        run.silence(false, 0);
        run.read(&log, 9);
        assert!(run.hashes().len() < 5, "{view}: nothing is left to be written again");
        let mut next = run.restarted(run.commits.clone()).with_stretch(1);
        next.read(&log, 9);
        sweep(&mut next);
        assert_eq!(next.hashes(), reference::hashes(template(view), &log), "{view}");
    }
}

/// After a start every row is written once, and no more of them a turn than that.
#[test]
fn what_a_start_writes_is_bounded() {
    for view in [TILED, KEYED] {
        let log = log();
        let run = begun(view, &log);
        let mut next = run.restarted(run.commits.clone()).with_stretch(2);
        next.read(&log, 9);
        let publication = next.silence(false, 0);
        assert_eq!((publication.writes.entries.len(), publication.waiting), (2, 1), "{view}");
        assert_eq!(next.silence(false, 0).writes.entries.len(), 1, "{view}");
        assert!(next.silence(false, 0).writes.is_empty(), "{view}");
    }
}
