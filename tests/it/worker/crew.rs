//! Several workers, each with partitions of its own, over one store.

use proptest::prelude::*;

use super::log::{self, PARTITIONS};
use super::run::{Run, partition};
use super::views::TEMPLATES;
use super::{Then, cuts, reference};
use crate::support::cases::check;

/// Has one of the partitions only, from where it was committed.
fn alone(run: &Run, number: i32) -> Run {
    let mut own = run.restarted(run.commits.clone());
    own.revoke((0..PARTITIONS).filter(|other| *other != number));
    own
}

#[test]
fn several_workers_give_what_plain_sql_gives_and_so_does_one_that_takes_over() {
    let sharded: Vec<_> = TEMPLATES.iter().filter(|template| !template.single).collect();
    let case = (log::steps(), cuts(), 0..sharded.len(), 0..PARTITIONS);
    check(48, &case, |(steps, cuts, index, heir)| {
        let template = sharded[index];
        let log = log::written(&steps);
        let expected = reference::hashes(template, &log);
        let all = Run::new(template);
        let mut crew: Vec<Run> = (0..PARTITIONS).map(|number| alone(&all, number)).collect();
        let mut read = 0;
        for (turn, (length, then)) in cuts.iter().cycle().enumerate() {
            if read >= log.len() {
                break;
            }
            read = log.len().min(read + length);
            // The others fall behind meanwhile.
            let number = turn % crew.len();
            crew[number].read(&log[..read], *length);
            if let Then::Restart = then {
                crew[number] = alone(&crew[number], i32::try_from(number).unwrap());
            }
        }
        crew.iter_mut().for_each(|run| run.read(&log, 7));
        prop_assert_eq!(&crew[0].hashes(), &expected, "{} by several", template.name);

        let mut one = crew.remove(usize::try_from(heir).unwrap());
        for (number, mut other) in (0..PARTITIONS).filter(|number| *number != heir).zip(crew) {
            other.revoke([number]);
            one.commits.insert(partition(number), other.commits[&partition(number)]);
            one.assign([number]);
        }
        one.read(&log, 11);
        prop_assert_eq!(&one.hashes(), &expected, "{} taken over", template.name);
        one.lose_store();
        one.silence(false, 0);
        prop_assert_eq!(&one.hashes(), &expected, "{} written again", template.name);
        Ok(())
    });
}
