//! A process that published ahead of its commits and ended: its successor reads
//! the same events in smaller batches, and takes nothing back.

use super::log::Entry;
use super::run::{Commits, Run, partition};
use super::views::template;
use super::{check, events, reference};

/// What was committed after the first `committed` events, by a process that
/// published `published` of them and ended.
fn ended(view: &str, log: &[Entry], committed: usize, published: usize) -> (Run, Commits) {
    let mut run = Run::new(template(view));
    run.read(&log[..committed], 1);
    let commits = run.commits.clone();
    run.read(&log[..published], 99);
    (run, commits)
}

#[test]
fn what_was_published_ahead_of_its_commit_is_never_older_again() {
    let log = events(&[(0, 0), (1, 2), (30, 0), (30, 4), (1, 0), (400, 2), (1, 0)]);
    for view in ["aggregates", "latest", "steps", "standing"] {
        let (run, commits) = ended(view, &log, 2, log.len());
        let published = run.as_of();
        let mut next = run.followed(commits.clone(), &log);
        for read in 1..log.len() {
            next.read(&log[..read], 1);
            assert_eq!(next.as_of(), published, "{view}, {read} events read");
            assert_eq!(next.commits, commits, "{view}, {read} events read");
        }
        next.read(&log, 1);
        assert_eq!(next.hashes(), reference::hashes(template(view), &log), "{view}");
        assert_eq!(next.commits[&partition(0)].offset, 7, "{view}");
    }
}

/// Card 2 has events that were not committed, and a hash of them; when the
/// successor comes to publish, they have left the windows.
#[test]
fn a_stranger_without_a_row_is_deleted() {
    let log = events(&[(0, 0), (1, 2), (61, 0), (700, 0), (1, 4)]);
    for (view, then, expected) in [
        ("delayed", vec![("card-0", "1"), ("card-2", "1")], vec![]),
        ("steps", vec![("card-0", "2"), ("card-2", "1")], vec![("card-0", "1"), ("card-4", "1")]),
    ] {
        let (run, commits) = ended(view, &log, 1, 3);
        check(&run, &then);
        let mut next = run.followed(commits, &log);
        next.read(&log[..4], 1);
        check(&next, &then);
        next.read(&log, 1);
        check(&next, &expected);
    }
}

/// Where the end of the log holds no events, nothing would ever come up to it.
#[test]
fn a_log_that_is_drained_is_held_back_no_longer() {
    let log = events(&[(0, 0), (1, 2), (30, 0)]);
    let (run, commits) = ended("aggregates", &log, 1, 3);
    let mut beyond = log.clone();
    beyond.last_mut().unwrap().offset += 5;
    let mut next = run.followed(commits.clone(), &beyond);
    next.read(&log, 1);
    assert_eq!(next.silence(false, 0).commits.len(), 1, "partition 1 alone");
    assert_eq!(next.commits, commits);
    next.silence(true, 0);
    assert_eq!(next.commits[&partition(0)].offset, 3);
    assert_eq!(next.hashes(), reference::hashes(template("aggregates"), &log));
}

/// So it is with what was committed: the events before it may be gone.
#[test]
fn a_log_that_is_drained_before_what_was_committed_is_published() {
    let log = events(&[(0, 0), (1, 2), (30, 0)]);
    let (run, mut commits) = ended("aggregates", &log, 3, 3);
    commits.get_mut(&partition(0)).unwrap().offset = 5;
    let mut next = run.restarted(commits);
    next.lose_store();
    next.read(&log, 9);
    assert!(next.hashes().is_empty());
    next.silence(true, 0);
    assert_eq!(next.hashes(), reference::hashes(template("aggregates"), &log));
}

/// What one partition of a shard has read while another is not as far is in no row yet.
#[test]
fn a_partition_of_a_shard_that_waits_is_not_committed() {
    let log = events(&[(0, 0), (0, 1), (1, 1), (60, 0)]);
    let mut run = Run::new(template("by_place"));
    run.read(&log[..3], 9);
    let mut next = run.restarted(run.commits.clone());
    next.read(&[log[0].clone(), log[1].clone(), log[3].clone()], 9);
    assert_eq!(next.commits, run.commits);
    next.read(&log, 9);
    assert_eq!(next.commits[&partition(0)].offset, 2);
    assert_eq!(next.hashes(), reference::hashes(template("by_place"), &log));
}
