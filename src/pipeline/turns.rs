//! Events handed to the workers: what came so far while a batch gathers, and the
//! rest of it with the order to evaluate.

use std::time::Instant;

use super::cadence::EARLY_EVENTS;
use super::crew::Order;
use super::{PartitionState, Pipeline, worker_of};
use crate::clock::Silence;
use crate::frame::{FrameBatch, PartitionId};
use crate::time::Span;

impl Pipeline {
    /// Has workers without work take in what waits for them: when the turn is
    /// due, little is left to do before it can be evaluated.
    pub(super) fn take_in_early(&mut self) {
        if self.inbox.len() < EARLY_EVENTS {
            return;
        }
        let wall = self.shared.clock.now();
        for index in 0..self.pairs.len() {
            if self.pairs[index].computing {
                continue;
            }
            let frames = self.take_frames(index);
            if frames.is_empty() {
                continue;
            }
            let pair = &mut self.pairs[index];
            pair.taken_in.events += frames.iter().map(FrameBatch::len).sum::<usize>();
            pair.taken_in.bytes += frames.iter().map(FrameBatch::byte_len).sum::<usize>();
            pair.has_events = true;
            pair.computing = pair.orders.send(Order::TakeIn { frames, wall }).is_ok();
        }
    }

    /// What waits for a worker.
    fn take_frames(&mut self, worker: usize) -> Vec<FrameBatch> {
        let workers = self.pairs.len();
        self.inbox.take(|partition| worker_of(partition, workers) == worker)
    }

    /// Orders a turn of every worker that is not in one.
    pub(super) fn take_turn(&mut self) {
        let wall = self.shared.clock.now();
        self.turned_at = Instant::now();
        let silences: Vec<(PartitionId, Silence)> =
            self.partitions.iter().map(|(id, state)| (*id, self.silence(*id, state))).collect();
        let workers = self.pairs.len();
        for index in 0..workers {
            if self.pairs[index].computing {
                continue;
            }
            let frames = self.take_frames(index);
            let own = silences.iter().filter(|(id, _)| worker_of(*id, workers) == index).copied().collect();
            let taken_in = std::mem::take(&mut self.pairs[index].taken_in);
            let has_events = !frames.is_empty() || taken_in.events > 0;
            let order = Order::Turn { giving: self.positions.giving(), frames, silences: own, wall };
            let pair = &mut self.pairs[index];
            (pair.has_events, pair.is_told) = (has_events, false);
            pair.computing = pair.orders.send(order).is_ok();
        }
        self.report_lag();
    }

    fn silence(&self, id: PartitionId, state: &PartitionState) -> Silence {
        let end = self.inbox.end(id);
        let caught_up = end.is_reached(state.end, state.delivered);
        Silence {
            drained: caught_up,
            caught_up: caught_up && self.options.idle_clocks && self.paused.is_none(),
            since: Span::from(state.last_event.elapsed()),
        }
    }
}
