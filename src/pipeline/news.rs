//! What the source tells beside events and rebalances: that it is silent, what
//! it could not give, partitions that were made anew. And what it does not tell:
//! whether commits arrived.

use std::time::{Duration, Instant};

use super::crew::Order;
use super::{Error, Pipeline, worker_of};
use crate::source::{Assignment, Loss, Source};
use crate::telemetry::LossKind;

/// Commits that may have been refused are made again after this long.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// All commits are made again after this long: the client does not tell what became of those that
/// nobody waits for.
const COMMIT_ALL_EVERY: Duration = Duration::from_secs(10);

impl Pipeline {
    /// Counts and says what the inbox has noted of the source. What was saved of a
    /// log that is no more is disowned here: before anything of the new one is saved.
    pub(super) fn hear(&mut self) {
        for (partition, loss) in self.inbox.take_losses() {
            let stream = partition.stream;
            match loss {
                Loss::Unread(events) => self.shared.metrics.events_lost(stream, LossKind::Unread, events),
                Loss::LeadIn(events) => self.shared.metrics.events_lost(stream, LossKind::LeadIn, events),
                Loss::MadeAnew => {
                    self.shared.metrics.made_anew(stream);
                    self.disown_checkpoint(partition);
                }
            }
        }
        for (partition, offset) in self.inbox.take_gaps() {
            let worker = worker_of(partition, self.pairs.len());
            // A worker that is gone is noticed at its next turn.
            let _ = self.pairs[worker].orders.send(Order::Gap { partition, offset });
        }
        let silent = self.inbox.is_silent();
        if silent != self.source_silent {
            self.source_silent = silent;
            self.shared.health.source_answers(!silent);
            if silent {
                tracing::warn!("no Kafka broker answers; reading goes on when one does");
            } else {
                tracing::info!("Kafka answers again");
                self.distrust_commits();
            }
        }
    }

    /// Partitions hold another log than before: what was read of them is
    /// dropped with its positions, and they begin anew.
    pub(super) fn begin_anew(
        &mut self,
        source: &mut dyn Source,
        assignments: &[Assignment],
    ) -> Result<(), Error> {
        for assignment in assignments {
            self.inbox.forget(assignment.partition);
        }
        // What is on its way has offsets of the log that was.
        let deadline = Instant::now() + self.options.shutdown_timeout;
        self.wait_until_idle(source, deadline)?;
        for assignment in assignments {
            self.positions.forget(assignment.partition);
        }
        self.assign(source, assignments)
    }

    /// The group changes, or brokers came back: commits on their way may have been refused.
    pub(super) fn distrust_commits(&mut self) {
        self.commit_again = Instant::now() + COMMIT_AGAIN;
    }

    /// Makes all commits again, now and then.
    pub(super) fn commit_again(&mut self, source: &mut dyn Source) {
        if Instant::now() >= self.commit_again {
            self.commit_again = Instant::now() + COMMIT_ALL_EVERY;
            self.positions.distrust();
            self.commit(source, false);
        }
    }
}
