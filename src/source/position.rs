//! Where a partition begins: pure, from what the broker says and what was
//! committed. With a commit goes its lead-in, as the commit's metadata.

use super::{Assignment, Commit, Loss};
use crate::frame::PartitionId;
use crate::state::retained::LeadIn;
use crate::time::EventTime;

/// Where reading begins for a partition that is new to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest event; what was committed before is only read.
    Earliest,
    /// After the newest event.
    Latest,
    /// Where the group left off, else at the oldest event.
    Committed,
    /// At an offset found by time; `None` when nothing is that new.
    At(Option<i64>),
}

/// What is known of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The partition.
    pub partition: PartitionId,
    /// The oldest offset that the topic holds.
    pub low: i64,
    /// The offset after the newest.
    pub high: i64,
    /// The group's committed offset.
    pub committed: Option<i64>,
    /// What was committed with it.
    pub lead_in: Option<LeadIn>,
}

/// The decision, and what a person should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Where to begin.
    pub assignment: Assignment,
    /// What the topic does not hold any more.
    pub losses: Vec<Loss>,
    /// A warning, when something is missing.
    pub warning: Option<String>,
}

/// Decides where a partition begins.
pub fn decide(start: Start, facts: &Facts) -> Decision {
    let Facts { partition, low, high, committed, lead_in } = facts.clone();
    let assignment = |read_from: i64, clock, publish_from: i64| Assignment {
        partition,
        read_from,
        clock,
        publish_from,
        end: high,
    };
    let quiet = |assignment| Decision { assignment, losses: Vec::new(), warning: None };
    match (start, committed) {
        (Start::Latest, _) => quiet(assignment(high, None, high)),
        (Start::At(found), _) => {
            let offset = found.unwrap_or(high).clamp(low, high);
            quiet(assignment(offset, None, offset))
        }
        (Start::Earliest | Start::Committed, None) => quiet(assignment(low, None, low)),
        (_, Some(committed)) if committed > high => Decision {
            assignment: assignment(low, None, low),
            losses: vec![Loss::MadeAnew],
            warning: Some(format!(
                "offset {committed} was committed, but the topic ends at {high}: it was made anew, so it is read from its beginning, {low}"
            )),
        },
        (_, Some(committed)) if committed < low => {
            let before = lead_in.map_or(committed, |lead_in| lead_in.offset.min(committed));
            let mut losses = vec![Loss::Unread(distance(committed, low))];
            losses.extend((before < committed).then(|| Loss::LeadIn(distance(before, committed))));
            Decision {
                assignment: assignment(low, None, low),
                losses,
                warning: Some(format!(
                    "the topic no longer holds offsets {before} to {low}: {} of them were removed before they were read",
                    low - committed
                )),
            }
        }
        (Start::Earliest, Some(committed)) => quiet(assignment(low, None, committed)),
        (Start::Committed, Some(committed)) => match lead_in {
            Some(lead_in) if lead_in.offset >= low => {
                quiet(assignment(lead_in.offset.min(committed), lead_in.clock, committed))
            }
            Some(lead_in) => Decision {
                assignment: assignment(low, lead_in.clock, committed),
                losses: vec![Loss::LeadIn(distance(lead_in.offset, low))],
                warning: Some(format!(
                    "the topic no longer holds offsets {} to {low}, which windows still need: {} events are missing in them",
                    lead_in.offset,
                    low - lead_in.offset
                )),
            },
            None => Decision {
                assignment: assignment(committed, None, committed),
                losses: Vec::new(),
                warning: (committed > low).then(|| {
                    format!("offset {committed} was not committed by Windrow: windows begin empty there; `--start-from earliest` would fill them")
                }),
            },
        },
    }
}

/// What became of a partition that is read and does not hold the offset that is
/// wanted next. Where it holds it again, it has been filled meanwhile.
pub fn went_astray(wanted: i64, low: i64) -> Loss {
    if wanted < low { Loss::Unread(distance(wanted, low)) } else { Loss::MadeAnew }
}

fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or(0)
}

/// The first word of a commit's metadata, and its version.
const METADATA: &str = "windrow1";

/// What is committed beside an offset: where the windows can be read from.
pub fn metadata(commit: &Commit) -> String {
    let clock = commit.lead_in.clock.map_or_else(|| "-".to_owned(), |clock| clock.micros().to_string());
    format!("{METADATA} {} {clock}", commit.lead_in.offset)
}

/// Reads [`metadata`] back; `None` when something else wrote it.
pub fn parse_metadata(text: &str) -> Option<LeadIn> {
    let mut words = text.split(' ');
    if words.next() != Some(METADATA) {
        return None;
    }
    let offset = words.next()?.parse().ok()?;
    let clock = match words.next()? {
        "-" => None,
        clock => Some(EventTime(clock.parse().ok()?)),
    };
    Some(LeadIn { offset, clock })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::StreamId;

    const PARTITION: PartitionId = PartitionId { stream: StreamId(0), partition: 0 };

    /// `read_from`, `publish_from`, and whether there is a warning.
    #[track_caller]
    fn check(start: Start, committed: Option<i64>, lead_in: Option<i64>, expected: (i64, i64, bool)) {
        let lead_in = lead_in.map(|offset| LeadIn { offset, clock: Some(EventTime(5)) });
        let facts = Facts { partition: PARTITION, low: 100, high: 200, committed, lead_in };
        let decision = decide(start, &facts);
        let Assignment { read_from, publish_from, end, .. } = decision.assignment;
        assert_eq!((read_from, publish_from, decision.warning.is_some()), expected);
        assert_eq!(end, 200);
        assert!(read_from <= publish_from);
    }

    #[test]
    fn a_partition_begins_where_it_should() {
        check(Start::Committed, None, None, (100, 100, false));
        check(Start::Committed, Some(150), Some(120), (120, 150, false));
        check(Start::Committed, Some(150), Some(90), (100, 150, true));
        check(Start::Committed, Some(150), None, (150, 150, true));
        check(Start::Committed, Some(90), Some(80), (100, 100, true));
        check(Start::Committed, Some(201), Some(120), (100, 100, true));
        check(Start::Earliest, None, None, (100, 100, false));
        check(Start::Earliest, Some(150), Some(120), (100, 150, false));
        check(Start::Latest, Some(150), Some(120), (200, 200, false));
        check(Start::At(Some(130)), Some(150), None, (130, 130, false));
        check(Start::At(None), None, None, (200, 200, false));
        check(Start::At(Some(7)), None, None, (100, 100, false));
    }

    /// Committed, lead-in, and what is lost of offsets 100 to 200.
    #[track_caller]
    fn check_losses(committed: i64, lead_in: Option<i64>, expected: &[Loss]) {
        let lead_in = lead_in.map(|offset| LeadIn { offset, clock: None });
        let facts = Facts { partition: PARTITION, low: 100, high: 200, committed: Some(committed), lead_in };
        assert_eq!(decide(Start::Committed, &facts).losses, expected);
    }

    #[test]
    fn what_is_lost_is_counted() {
        check_losses(150, Some(120), &[]);
        check_losses(150, Some(70), &[Loss::LeadIn(30)]);
        check_losses(90, None, &[Loss::Unread(10)]);
        check_losses(90, Some(60), &[Loss::Unread(10), Loss::LeadIn(30)]);
        check_losses(201, Some(150), &[Loss::MadeAnew]);
        assert_eq!(went_astray(90, 100), Loss::Unread(10));
        assert_eq!(went_astray(100, 100), Loss::MadeAnew);
        assert_eq!(went_astray(300, 0), Loss::MadeAnew);
    }

    #[test]
    fn metadata_reads_back() {
        for clock in [None, Some(EventTime(-3)), Some(EventTime(i64::MAX))] {
            let lead_in = LeadIn { offset: 12, clock };
            let commit = Commit { partition: PARTITION, offset: 20, lead_in };
            assert_eq!(parse_metadata(&metadata(&commit)), Some(lead_in));
        }
        assert_eq!(parse_metadata(""), None);
        assert_eq!(parse_metadata("other 1 2"), None);
    }
}
