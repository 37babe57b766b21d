//! A worker that goes on from a checkpoint has what one has that read everything,
//! wherever the checkpoint was made and however many changes it consists of.

use proptest::prelude::*;

use super::log;
use super::reference;
use super::run::{Checkpoints, Run};
use super::views::TEMPLATES;

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

proptest! {
    #![proptest_config(crate::support::cases(48))]

    #[test]
    fn a_worker_goes_on_from_a_checkpoint(
        steps in log::steps(),
        cuts in cuts(),
        index in 0..TEMPLATES.len(),
    ) {
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
    }
}
