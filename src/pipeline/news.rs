//! What the source tells beside events and rebalances: that it is silent, what
//! it could not give, partitions that were made anew. And what it does not tell:
//! whether commits arrived.

use std::time::{Duration, Instant};

use super::{Error, Pipeline};
use crate::source::{Assignment, Loss, Source};
use crate::telemetry::LossKind;

/// Commits that may have been refused are made again after this long.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// All commits are made again after this long: the client does not tell what became of those that
/// nobody waits for.
const COMMIT_ALL_EVERY: Duration = Duration::from_secs(10);

impl Pipeline {
    /// Counts and says what the inbox has noted of the source.
    pub(super) fn hear(&mut self) {
        for (stream, loss) in self.inbox.take_losses() {
            match loss {
                Loss::Unread(events) => self.shared.metrics.events_lost(stream, LossKind::Unread, events),
                Loss::LeadIn(events) => self.shared.metrics.events_lost(stream, LossKind::LeadIn, events),
                Loss::MadeAnew => self.shared.metrics.made_anew(stream),
            }
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
            self.lead_ins.remove(&assignment.partition);
            self.committed.remove(&assignment.partition);
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
            self.committed.clear();
            self.commit(source, false);
        }
    }
}
