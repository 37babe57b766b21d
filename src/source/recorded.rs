//! Events that are at hand already, for previews and tests: handed over in the
//! batches they come in.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Assignment, Commit, Error, Inbox, Notice, Source};
use crate::frame::{FrameBatch, PartitionId};

/// Recorded events.
#[derive(Debug)]
pub struct RecordedSource {
    assignments: Option<Vec<Assignment>>,
    batches: VecDeque<FrameBatch>,
    /// Everything committed, in order.
    pub commits: Vec<Commit>,
}

impl RecordedSource {
    /// Hands over one of `batches` at a poll.
    pub fn new(batches: Vec<FrameBatch>) -> Self {
        let mut assignments: Vec<Assignment> = Vec::new();
        for batch in &batches {
            let (Some(first), Some(end)) =
                (batch.iter().next().map(|frame| frame.offset), batch.next_offset())
            else {
                continue;
            };
            match assignments.iter_mut().find(|known| known.partition == batch.partition) {
                Some(known) => known.end = end,
                None => assignments.push(Assignment {
                    partition: batch.partition,
                    read_from: first,
                    clock: None,
                    publish_from: first,
                    end,
                }),
            }
        }
        Self { assignments: Some(assignments), batches: batches.into(), commits: Vec::new() }
    }
}

impl Source for RecordedSource {
    fn poll(&mut self, inbox: &mut Inbox, timeout: Duration) -> Result<Option<Notice>, Error> {
        if let Some(assignments) = self.assignments.take() {
            return Ok(Some(Notice::Assigned(assignments)));
        }
        match self.batches.pop_front() {
            Some(batch) => batch.iter().for_each(|frame| inbox.push(batch.partition, frame)),
            None => std::thread::sleep(timeout),
        }
        Ok(None)
    }

    fn assign(&mut self, _assignments: &[Assignment]) -> Result<(), Error> {
        Ok(())
    }

    fn unassign(&mut self, _partitions: &[PartitionId]) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, commits: &[Commit], _wait: bool) -> Result<(), Error> {
        self.commits.extend_from_slice(commits);
        Ok(())
    }

    fn pause(&mut self, _paused: bool) -> Result<(), Error> {
        Ok(())
    }
}
