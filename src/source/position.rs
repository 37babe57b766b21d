//! Where a partition begins: pure, from what the broker says and what was
//! committed. With a commit goes its lead-in, as the commit's metadata.

use std::num::ParseIntError;

use super::{Assignment, Commit, Coverage, Loss, Past};
use crate::frame::PartitionId;
use crate::state::lead_in::LeadIn;
use crate::time::{EventTime, Span};

/// The most events of a partition that a process publishes ahead of its commits:
/// more than all its batches on their way. To hold back for the whole of a long
/// log would mean that a start has to get through it at one go.
const PERHAPS_PUBLISHED: i64 = 1_000_000;

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
    /// What was known then of the events before the lead-in.
    pub past: Past,
    /// The first offset that the windows need, looked up by time, where the
    /// lead-in is not known to reach back far enough.
    pub wanted: Option<i64>,
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
    let Facts { partition, low, high, committed, lead_in, .. } = facts.clone();
    let assignment_with = |read_from: i64, clock, publish_from: i64, past| Assignment {
        partition,
        read_from,
        clock,
        publish_from,
        hold_until: high.min(publish_from.saturating_add(PERHAPS_PUBLISHED)).max(publish_from),
        end: high,
        past,
        committed_past: facts.past,
    };
    // Hashes that say that their windows were not complete are to be written again.
    let whole = if facts.past == Past::Whole { Past::Whole } else { Past::Since(EventTime(i64::MIN)) };
    let before = |offset: i64| if offset > 0 { Past::Unknown } else { whole };
    let assignment = |read_from: i64, clock, publish_from: i64| {
        assignment_with(read_from, clock, publish_from, before(read_from))
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
            Some(lead_in) if lead_in.offset >= low => match facts.wanted {
                Some(wanted) if wanted < lead_in.offset => {
                    let read_from = wanted.clamp(low, committed);
                    // An older event than those wanted is still there: none of them was removed.
                    let past = if wanted > low { whole } else { before(low) };
                    quiet(assignment_with(read_from, None, committed, past))
                }
                _ => {
                    let read_from = lead_in.offset.min(committed);
                    quiet(assignment_with(read_from, lead_in.clock, committed, facts.past))
                }
            },
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
const METADATA: &str = "windrow2";

/// The version before, which said nothing beyond the lead-in.
const METADATA_1: &str = "windrow1";

/// What was committed beside an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Where the windows can be read from.
    pub lead_in: LeadIn,
    /// How far back that reaches; `None` where it was not said.
    pub coverage: Option<Coverage>,
}

impl Metadata {
    /// The partition's clock at the commit, or else what it was at least.
    pub fn clock(&self) -> Option<EventTime> {
        self.coverage.map_or(self.lead_in.clock, |coverage| coverage.clock)
    }
}

/// What is committed beside an offset: `windrow2`, the lead-in's offset and
/// clock, the clock at the commit, how far back windows reach from there, and
/// since when all events are known. Times are in microseconds; `-` is said where
/// there is no clock or nothing is missing, `?` where it is not known.
pub fn metadata(commit: &Commit) -> String {
    let clock = |clock: Option<EventTime>| clock.map_or_else(|| "-".to_owned(), |clock| clock.0.to_string());
    let Commit { lead_in, coverage, .. } = commit;
    let past = match coverage.past {
        Past::Whole => "-".to_owned(),
        Past::Since(time) => time.0.to_string(),
        Past::Unknown => "?".to_owned(),
    };
    format!(
        "{METADATA} {} {} {} {} {past}",
        lead_in.offset,
        clock(lead_in.clock),
        clock(coverage.clock),
        coverage.span.0
    )
}

/// Reads [`metadata`] back, also that of the version before; `None` when
/// something else wrote it.
pub fn parse_metadata(text: &str) -> Option<Metadata> {
    let mut words = text.split(' ');
    let version = words.next()?;
    if version != METADATA && version != METADATA_1 {
        return None;
    }
    let lead_in = LeadIn { offset: words.next()?.parse().ok()?, clock: parse_clock(words.next()?).ok()? };
    if version == METADATA_1 {
        return Some(Metadata { lead_in, coverage: None });
    }
    let clock = parse_clock(words.next()?).ok()?;
    let span = Span(words.next()?.parse().ok()?);
    let past = match words.next()? {
        "-" => Past::Whole,
        "?" => Past::Unknown,
        time => Past::Since(EventTime(time.parse().ok()?)),
    };
    Some(Metadata { lead_in, coverage: Some(Coverage { clock, span, past }) })
}

fn parse_clock(word: &str) -> Result<Option<EventTime>, ParseIntError> {
    if word == "-" { Ok(None) } else { word.parse().map(|micros| Some(EventTime(micros))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::StreamId;

    const PARTITION: PartitionId = PartitionId { stream: StreamId(0), partition: 0 };

    const FACTS: Facts = Facts {
        partition: PARTITION,
        low: 100,
        high: 200,
        committed: None,
        lead_in: None,
        past: Past::Whole,
        wanted: None,
    };

    /// `read_from`, `publish_from`, and whether there is a warning.
    #[track_caller]
    fn check(start: Start, committed: Option<i64>, lead_in: Option<i64>, expected: (i64, i64, bool)) {
        let lead_in = lead_in.map(|offset| LeadIn { offset, clock: Some(EventTime(5)) });
        let facts = Facts { committed, lead_in, ..FACTS };
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

    /// Where a log of these offsets is first published, with so much committed.
    #[track_caller]
    fn check_hold(start: Start, (low, high): (i64, i64), committed: Option<i64>, expected: i64) {
        let lead_in = committed.map(|offset| LeadIn { offset, clock: None });
        let facts = Facts { low, high, committed, lead_in, ..FACTS };
        let Assignment { publish_from, hold_until, .. } = decide(start, &facts).assignment;
        assert_eq!(hold_until, expected);
        assert!(publish_from <= hold_until);
    }

    #[test]
    fn what_may_be_published_is_held_back() {
        const MOST: i64 = PERHAPS_PUBLISHED;
        check_hold(Start::Committed, (100, 200), Some(150), 200);
        check_hold(Start::Committed, (100, 200), Some(200), 200);
        check_hold(Start::Committed, (100, 200), None, 200);
        // Nothing is there.
        check_hold(Start::Committed, (100, 100), None, 100);
        check_hold(Start::Committed, (0, 0), None, 0);
        // No more than a process is ahead of its commits.
        check_hold(Start::Committed, (0, 5 * MOST), Some(7), 7 + MOST);
        check_hold(Start::Committed, (3, 5 * MOST), None, 3 + MOST);
        check_hold(Start::Earliest, (0, 5 * MOST), Some(7), 7 + MOST);
        check_hold(Start::Latest, (0, 5 * MOST), Some(7), 5 * MOST);
        check_hold(Start::At(Some(9)), (0, 5 * MOST), Some(7), 9 + MOST);
        // What was removed, and a log that was made anew.
        check_hold(Start::Committed, (100, 200), Some(90), 200);
        check_hold(Start::Committed, (0, 20), Some(90), 20);
        check_hold(Start::Committed, (0, i64::MAX), Some(i64::MAX - 1), i64::MAX);
    }

    /// Committed, lead-in, and what is lost of offsets 100 to 200.
    #[track_caller]
    fn check_losses(committed: i64, lead_in: Option<i64>, expected: &[Loss]) {
        let lead_in = lead_in.map(|offset| LeadIn { offset, clock: None });
        let facts = Facts { committed: Some(committed), lead_in, ..FACTS };
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

    /// Facts of a partition with 150 committed, where it is read from with
    /// which clock, and what is known of its past.
    #[track_caller]
    fn check_past(start: Start, facts: &Facts, read_from: i64, clock: Option<i64>, past: Past) {
        let facts = Facts { committed: Some(150), ..facts.clone() };
        let found = decide(start, &facts).assignment;
        assert_eq!((found.read_from, found.clock, found.past), (read_from, clock.map(EventTime), past));
        assert_eq!((found.publish_from, found.committed_past), (150, facts.past));
    }

    #[test]
    fn longer_windows_are_read_from_further_back() {
        let lead_in = Some(LeadIn { offset: 140, clock: Some(EventTime(5)) });
        let check = |wanted: Option<i64>, read_from, clock, past| {
            let facts = Facts { lead_in, wanted, ..FACTS };
            check_past(Start::Committed, &facts, read_from, clock, past);
        };
        check(None, 140, Some(5), Past::Whole);
        check(Some(120), 120, None, Past::Whole);
        check(Some(145), 140, Some(5), Past::Whole);
        check(Some(i64::MAX), 140, Some(5), Past::Whole);
        // The oldest that there is: those before it may have been wanted, too.
        check(Some(100), 100, None, Past::Unknown);
        let facts = Facts { low: 0, lead_in, wanted: Some(0), ..FACTS };
        check_past(Start::Committed, &facts, 0, None, Past::Whole);
        // Hashes that were marked are written again.
        let facts = Facts { lead_in, wanted: Some(120), past: Past::Since(EventTime(7)), ..FACTS };
        check_past(Start::Committed, &facts, 120, None, Past::Since(EventTime(i64::MIN)));
    }

    #[test]
    fn what_is_not_known_of_the_past_is_told() {
        let lead_in = |offset| Some(LeadIn { offset, clock: None });
        let torn = Facts { lead_in: lead_in(90), ..FACTS };
        check_past(Start::Committed, &torn, 100, None, Past::Unknown);
        check_past(Start::Committed, &FACTS, 150, None, Past::Unknown);
        check_past(Start::Earliest, &FACTS, 100, None, Past::Unknown);
        check_past(Start::Earliest, &Facts { low: 0, ..FACTS }, 0, None, Past::Whole);
        for past in [Past::Whole, Past::Unknown, Past::Since(EventTime(7))] {
            let facts = Facts { lead_in: lead_in(140), past, ..FACTS };
            check_past(Start::Committed, &facts, 140, None, past);
        }
        let past = |start, low, high| decide(start, &Facts { low, high, ..FACTS }).assignment.past;
        assert_eq!(past(Start::Committed, 0, 9), Past::Whole);
        assert_eq!(past(Start::Committed, 3, 9), Past::Unknown);
        assert_eq!(past(Start::Latest, 0, 9), Past::Unknown);
        assert_eq!(past(Start::Latest, 0, 0), Past::Whole);
        assert_eq!(past(Start::At(Some(5)), 0, 9), Past::Unknown);
    }

    #[test]
    fn metadata_reads_back() {
        for clock in [None, Some(EventTime(-3)), Some(EventTime(i64::MAX))] {
            let lead_in = LeadIn { offset: 12, clock };
            for past in [Past::Whole, Past::Unknown, Past::Since(EventTime(i64::MIN))] {
                let coverage = Coverage { clock, span: Span(86_400_000_000), past };
                let commit = Commit { partition: PARTITION, offset: 20, lead_in, coverage };
                let read = Metadata { lead_in, coverage: Some(coverage) };
                assert_eq!(parse_metadata(&metadata(&commit)), Some(read));
                assert_eq!(read.clock(), clock);
            }
        }
        let before = parse_metadata("windrow1 12 -3").unwrap();
        let lead_in = LeadIn { offset: 12, clock: Some(EventTime(-3)) };
        assert_eq!((before, before.clock()), (Metadata { lead_in, coverage: None }, lead_in.clock));
        for text in ["", "other 1 2", "windrow1 12", "windrow2 12 -3", "windrow2 12 - - 5 x"] {
            assert_eq!(parse_metadata(text), None, "{text}");
        }
    }
}
