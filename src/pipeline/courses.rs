//! Which partition is saved next, and what becomes of it: pure. One is saved at
//! a time, and the next only when the one before is written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::checkpoint::manifest::{Entry, wants_whole};
use crate::frame::PartitionId;
use crate::source::Commit;

/// A partition that is saved now and then.
#[derive(Debug)]
struct Course {
    due: Instant,
    /// The last position saved.
    position: Option<i64>,
    /// The objects that there are.
    chain: Vec<Entry>,
    /// What changed since the last of them is not known.
    whole: bool,
    /// It is about to be given up.
    is_hurried: bool,
}

/// The partitions that this process saves.
#[derive(Debug)]
pub struct Courses {
    interval: Duration,

    courses: BTreeMap<PartitionId, Course>,
    /// What is on its way.
    busy: Option<PartitionId>,
    /// The partition was taken anew since: nothing is to be added to what is on its way.
    void: bool,
}

impl Courses {
    /// None yet; each will be saved this often.
    pub fn new(interval: Duration) -> Self {
        /// Nothing runs for longer; sums and products of it stay in range.
        const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
        let interval = interval.min(LONGEST);
        Self { interval, courses: BTreeMap::new(), busy: None, void: false }
    }

    /// A partition was given; `place` of so many, which are not all saved at once.
    pub fn begin(&mut self, now: Instant, partition: PartitionId, place: usize, of: usize) {
        self.void |= self.busy == Some(partition);
        let share = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let due = now + self.interval / share(of.max(1)) * share(place + 1);
        let course = Course { due, position: None, chain: Vec::new(), whole: true, is_hurried: false };
        self.courses.insert(partition, course);
    }

    /// A partition goes on from what was saved.
    pub fn resume(&mut self, partition: PartitionId, position: i64, chain: Vec<Entry>) {
        if let Some(course) = self.courses.get_mut(&partition) {
            (course.position, course.chain, course.whole) = (Some(position), chain, false);
        }
    }

    /// The partition to be saved next, if one is due, and whether all of it.
    pub fn next(
        &self,
        now: Instant,
        wanted: impl Fn(PartitionId) -> bool,
        committed: &BTreeMap<PartitionId, Commit>,
    ) -> Option<(PartitionId, bool)> {
        if self.busy.is_some() {
            return None;
        }
        let moved = |id: &PartitionId, course: &Course| {
            committed.get(id).is_some_and(|commit| course.position.is_none_or(|at| commit.offset > at))
        };
        let due = |one: &(&PartitionId, &Course)| {
            let (id, course) = *one;
            course.due <= now && wanted(*id) && moved(id, course)
        };
        let (id, course) = self.courses.iter().filter(due).min_by_key(|(_, course)| course.due)?;
        Some((*id, course.whole || wants_whole(&course.chain)))
    }

    /// A worker is asked for a partition.
    pub const fn order(&mut self, partition: PartitionId) {
        self.busy = Some(partition);
    }

    /// The objects that what a worker said is to be added to; `None` when it cannot be.
    pub fn chain(&self, partition: PartitionId, all: bool) -> Option<Vec<Entry>> {
        let usable = |course: &&Course| !self.void && (all || !course.whole);
        self.courses.get(&partition).filter(usable).map(|course| course.chain.clone())
    }

    /// It was written.
    pub fn done(&mut self, now: Instant, partition: PartitionId, position: i64, chain: Vec<Entry>) {
        self.busy = None;
        let void = std::mem::take(&mut self.void);
        if let Some(course) = self.courses.get_mut(&partition).filter(|_| !void) {
            (course.position, course.chain, course.whole) = (Some(position), chain, false);
            // What was on its way when it was hurried is not the last of it.
            course.due = if course.is_hurried { now } else { now + self.interval };
        }
    }

    /// Nothing came of it. What changed until then is known no more.
    pub fn put_off(&mut self, now: Instant, partition: PartitionId) {
        self.busy = None;
        self.void = false;
        if let Some(course) = self.courses.get_mut(&partition) {
            course.due = now + self.interval;
            course.whole = true;
        }
    }

    /// These are saved as soon as may be, until nothing is left to save: they are about to be given up.
    pub fn hurry(&mut self, now: Instant, partitions: &[PartitionId]) {
        for partition in partitions {
            if let Some(course) = self.courses.get_mut(partition) {
                (course.due, course.is_hurried) = (now, true);
            }
        }
    }

    /// Partitions were given up.
    pub fn forget(&mut self, partitions: &[PartitionId]) {
        self.courses.retain(|partition, _| !partitions.contains(partition));
    }

    /// Whether something is on its way.
    pub const fn is_busy(&self) -> bool {
        self.busy.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::StreamId;
    use crate::source::Coverage;
    use crate::state::lead_in::LeadIn;

    const INTERVAL: Duration = Duration::from_secs(30);

    const fn partition(partition: i32) -> PartitionId {
        PartitionId { stream: StreamId(0), partition }
    }

    fn committed(offsets: &[(i32, i64)]) -> BTreeMap<PartitionId, Commit> {
        let commit = |(number, offset): &(i32, i64)| {
            let (id, lead_in) = (partition(*number), LeadIn { offset: 0, clock: None });
            (id, Commit { partition: id, offset: *offset, lead_in, coverage: Coverage::default() })
        };
        offsets.iter().map(commit).collect()
    }

    #[test]
    fn a_partition_is_saved_when_it_is_due_and_has_moved() {
        let (begun, mut courses) = (Instant::now(), Courses::new(INTERVAL));
        courses.begin(begun, partition(0), 0, 2);
        courses.begin(begun, partition(1), 1, 2);
        let next = |courses: &Courses, after: u64, offsets: &[(i32, i64)]| {
            let found = courses.next(begun + Duration::from_secs(after), |_| true, &committed(offsets));
            found.map(|(id, all)| (id.partition, all))
        };
        assert_eq!(next(&courses, 14, &[(0, 5), (1, 5)]), None);
        assert_eq!(next(&courses, 30, &[]), None);
        assert_eq!(next(&courses, 30, &[(0, 5), (1, 5)]), Some((0, true)));
        courses.order(partition(0));
        assert_eq!(next(&courses, 30, &[(1, 5)]), None);
        assert_eq!(courses.chain(partition(0), true), Some(Vec::new()));
        courses.done(begun, partition(0), 5, Vec::new());
        assert_eq!(next(&courses, 30, &[(0, 5)]), None);
        assert_eq!(next(&courses, 30, &[(0, 6)]), Some((0, true)), "there is no whole one");
    }

    /// One that was on its way when it was to be given up does not have what was committed since.
    #[test]
    fn what_is_given_up_is_saved_to_its_end() {
        let (now, mut courses) = (Instant::now(), Courses::new(INTERVAL));
        courses.begin(now, partition(0), 0, 1);
        courses.order(partition(0));
        courses.hurry(now, &[partition(0)]);
        courses.done(now, partition(0), 5, Vec::new());
        let next = |courses: &Courses, offset| {
            let found = courses.next(now, |_| true, &committed(&[(0, offset)]));
            found.map(|(id, _)| id.partition)
        };
        assert_eq!(next(&courses, 5), None);
        assert_eq!(next(&courses, 7), Some(0));
    }

    #[test]
    fn what_was_taken_anew_meanwhile_is_not_added_to() {
        let (now, mut courses) = (Instant::now(), Courses::new(INTERVAL));
        courses.begin(now, partition(0), 0, 1);
        courses.resume(partition(0), 5, Vec::new());
        courses.order(partition(0));
        courses.begin(now, partition(0), 0, 1);
        courses.resume(partition(0), 7, Vec::new());
        assert_eq!(courses.chain(partition(0), true), None);
        courses.done(now, partition(0), 9, Vec::new());
        assert_eq!(courses.chain(partition(0), false), Some(Vec::new()));
        courses.put_off(now, partition(0));
        assert_eq!(courses.chain(partition(0), false), None, "all of it is wanted");
    }
}
