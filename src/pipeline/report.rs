//! What the loop tells an operator: a turn at a time.

use super::Pipeline;
use super::publication::Publication;
use crate::telemetry::{EventStatus, LateAction, SkipReason, Stage};

impl Pipeline {
    /// How many events of each partition are not published yet.
    pub(super) fn report_lag(&self) {
        for (id, state) in &self.partitions {
            let end = self.inbox.end(*id);
            if let Some(high) = end.high {
                let drained = end.drained_to.is_some_and(|offset| offset >= high);
                let reached =
                    if drained && state.acknowledged >= state.delivered { high } else { state.acknowledged };
                self.shared.metrics.consumer_lag(*id, (high - reached).max(0));
            }
        }
    }

    /// What a turn did.
    pub(super) fn report(&mut self, worker: usize, report: &Publication) {
        let metrics = &self.shared.metrics;
        metrics.batch_events(report.events());
        metrics.batch_seconds(Stage::Ingest, report.ingested_in);
        metrics.batch_seconds(Stage::Evaluate, report.evaluated_in);
        for (stream, counts) in &report.streams {
            let rejected: u64 = report
                .letters
                .iter()
                .filter(|letters| letters.frames.partition.stream == *stream)
                .map(|letters| letters.rejected.len() as u64)
                .sum();
            metrics.events(*stream, EventStatus::Processed, counts.processed);
            metrics.events(*stream, EventStatus::Late, counts.late);
            metrics.events(*stream, EventStatus::Skipped, counts.tombstones);
            metrics.events(*stream, EventStatus::LeadIn, counts.lead_in);
            metrics.events(*stream, EventStatus::Rejected, rejected);
            metrics.late(*stream, LateAction::Accepted, counts.late);
            metrics.key_mismatches(*stream, counts.key_mismatches);
        }
        for (index, view) in report.views.iter().enumerate() {
            metrics.features(index, view.features);
            metrics.view_failures(index, view.unusable);
            metrics.rows_skipped(index, SkipReason::NoKey, view.keyless);
            metrics.rows_skipped(index, SkipReason::RepeatedKey, view.repeated);
        }
        self.progress.note(worker, report);
        for (stream, kept) in self.progress.kept() {
            metrics.window_events(stream, kept);
        }
        for (index, bytes) in self.progress.state_bytes().into_iter().enumerate() {
            metrics.state_bytes(index, bytes);
        }
        for (index, left) in self.progress.warming().into_iter().enumerate() {
            metrics.warming(index, left);
        }
        metrics.shards(self.progress.shards());
        for (partition, time) in &report.clocks {
            if let Some(time) = time
                && self.partitions.contains_key(partition)
            {
                #[expect(clippy::cast_precision_loss, reason = "a lag in microseconds is far below 2^53")]
                let seconds = report.wall.micros().saturating_sub(time.micros()) as f64 / 1e6;
                metrics.clock_lag(*partition, seconds);
            }
        }
    }
}
