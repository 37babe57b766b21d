//! A worker that goes on from a checkpoint has what one has that read everything,
//! wherever the checkpoint was made and however many changes it consists of.

use proptest::prelude::*;

use windrow::view::classify::Class;

use super::run::{Checkpoints, Run};
use super::views::{self, TEMPLATES};
use super::{events, log, reference};
use crate::support::cases::check;

/// What happens after a stretch of the log.
#[derive(Debug, Clone, Copy)]
enum Then {
    Turn,
    Checkpoint,
    /// The next checkpoint has all that there is.
    WholeCheckpoint,
    Restart,
}

fn cuts() -> impl Strategy<Value = Vec<(usize, Then)>> {
    let then = prop_oneof![
        2 => Just(Then::Turn),
        3 => Just(Then::Checkpoint),
        1 => Just(Then::WholeCheckpoint),
        2 => Just(Then::Restart),
    ];
    proptest::collection::vec((1..30_usize, then), 1..8)
}

#[test]
fn a_worker_goes_on_from_a_checkpoint() {
    let case = (log::steps(), cuts(), 0..TEMPLATES.len());
    check(48, &case, |(steps, cuts, index)| {
        let template = &TEMPLATES[index];
        let log = log::written(&steps);
        let expected = reference::hashes(template, &log);
        let mut run = Run::new(template);
        let mut checkpoints = Checkpoints::new();
        let mut read = 0;
        for (length, then) in cuts.iter().cycle() {
            if read >= log.len() {
                break;
            }
            read = log.len().min(read + length);
            run.read(&log[..read], *length);
            match then {
                Then::Turn => {}
                Then::Checkpoint => run.checkpoint(&mut checkpoints),
                Then::WholeCheckpoint => {
                    checkpoints.clear();
                    run.checkpoint(&mut checkpoints);
                }
                Then::Restart => run = run.restored(&checkpoints),
            }
        }
        run.read(&log, 7);
        prop_assert_eq!(&run.hashes(), &expected, "{} with checkpoints", template.name);
        let mut again = run.restored(&checkpoints);
        again.read(&log, 11);
        again.silence(false, 0);
        prop_assert_eq!(&again.hashes(), &expected, "{} from the last of them", template.name);
        again.lose_store();
        again.silence(false, 0);
        prop_assert_eq!(&again.hashes(), &expected, "{} written again", template.name);
        Ok(())
    });
}

/// What a process deleted, its successor knows, be it from a checkpoint or from the events after it: a
/// store that goes back does not keep it, whether it does so before the successor begins or afterwards.
#[test]
fn a_store_that_goes_back_loses_what_was_deleted_before_a_restart() {
    let log = events(&[(0, 0), (0, 2), (0, 1), (0, 3), (3599, 2), (7200, 3), (7200, 4), (7200, 5)]);
    let mut deleted = 0;
    for template in &TEMPLATES {
        if views::view(template).classification.class != Class::Tiled {
            continue;
        }
        for (saves_before, saves_after) in [(true, false), (false, true), (true, true)] {
            let mut run = Run::new(template);
            let mut checkpoints = Checkpoints::new();
            run.read(&log[..4], 9);
            let (before, then) = (run.snapshot(), run.hashes());
            if saves_before {
                run.checkpoint(&mut checkpoints);
            }
            run.read(&log, 9);
            let hashes = run.hashes();
            if saves_after {
                run.checkpoint(&mut checkpoints);
            }
            deleted += then.keys().filter(|key| !hashes.contains_key(*key)).count();
            let message = format!("{}: {saves_before}, {saves_after}", template.name);

            let mut next = run.restored(&checkpoints);
            next.read(&log, 9);
            while next.silence(false, 0).waiting > 0 {}
            next.go_back_to(before.clone());
            while next.silence(false, 0).waiting > 0 {}
            assert_eq!(next.hashes(), hashes, "{message}, afterwards");

            next.go_back_to(before);
            let mut last = next.restored(&checkpoints);
            last.read(&log, 9);
            while last.silence(false, 0).waiting > 0 {}
            assert_eq!(last.hashes(), hashes, "{message}, before");
        }
    }
    assert!(deleted > 10, "{deleted} hashes were deleted");
}
