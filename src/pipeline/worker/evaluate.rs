//! Shards evaluated: which, when, and what has to be written of what came out.

use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;

use super::turn::{Ahead, Part};
use super::{COMPLAIN_EVERY, Error, ShardId, ShardRows, View, Worker};
use crate::clock::{Silence, shard_now};
use crate::evaluate::changes::{Changes, Moment};
use crate::evaluate::touched::{ENTITIES_AT_ONCE, Outcome};
use crate::evaluate::{self, reference};
use crate::frame::PartitionId;
use crate::pipeline::publication::Publication;
use crate::sink::Origin;
use crate::time::EventTime;

/// What came out of an evaluation.
pub(super) enum Evaluated {
    /// Every row of the shard.
    All(RecordBatch),
    /// The rows of the touched entities.
    Touched(Outcome),
}

impl Evaluated {
    pub(super) const fn rows(&self) -> &RecordBatch {
        match self {
            Self::All(rows) => rows,
            Self::Touched(outcome) => &outcome.rows,
        }
    }
}

impl Worker {
    /// The rows of a view, shard by shard, as they are at `at` or else at the
    /// shard's clock: for looking at them without publishing. The worker must
    /// be one that keeps every event, [`super::Parts::reference_only`].
    ///
    /// # Errors
    /// When the view's SQL fails on these events.
    pub fn rows(&self, view: usize, at: Option<EventTime>) -> Result<Vec<RecordBatch>, evaluate::Error> {
        let view = &self.views[view];
        let mut batches = Vec::new();
        for shard in view.shards.keys() {
            let Some(clock) = self.event_clock(&view.streams, *shard) else { continue };
            let rows = ShardRows { worker: self, shard: *shard };
            let now = at.unwrap_or(clock);
            let evaluated = self.runtime.block_on(reference::evaluate(&self.session, &view.view, now, &rows));
            batches.push(evaluated.map_err(|error| evaluate::Error::query(&view.view, error))?);
        }
        Ok(batches)
    }

    /// Shards that have reached what was published before: the rows that they
    /// have there are those that the store has.
    pub(super) fn adopt_warm(&mut self, wall: EventTime) -> Result<(), Error> {
        for index in 0..self.views.len() {
            let adopting: Vec<ShardId> = self.views[index]
                .shards
                .iter()
                .filter(|(id, shard)| shard.adopts && self.is_warm(&self.views[index].streams, **id))
                .map(|(id, _)| *id)
                .collect();
            for id in adopting {
                if let Some(clock) = self.published_clock(&self.views[index].streams, id) {
                    self.adopt(index, id, clock, wall)?;
                }
                let shard = self.views[index].shards.get_mut(&id).expect("the shard was just there");
                shard.adopts = false;
                shard.begin_sweep();
            }
        }
        Ok(())
    }

    /// Takes the rows that a shard has at a clock as those of the store. They
    /// are all of them, so they are looked at a part at a time. Where a partition
    /// has been read further, its events may have taken rows away that the store
    /// has: then everybody looked at may have a hash.
    fn adopt(&mut self, index: usize, id: ShardId, clock: EventTime, wall: EventTime) -> Result<(), Error> {
        loop {
            let Some((evaluated, left)) = self.evaluated(index, id, clock, wall, ENTITIES_AT_ONCE) else {
                return Ok(());
            };
            let is_ahead = self.is_ahead(&self.views[index].streams, id);
            let view = &mut self.views[index];
            let shard = view.shards.get_mut(&id).expect("the shard was just there");
            if let Evaluated::Touched(Outcome { touched, .. }) = &evaluated
                && is_ahead
            {
                shard.published.adopt(&view.encoder, touched, wall)?;
            }
            let new = shard.published.adopt(&view.encoder, evaluated.rows(), wall)?;
            // When as many keys are new as were looked at, or all of them were adopted, nobody is without a row.
            if let Evaluated::Touched(Outcome { touched, .. }) = &evaluated
                && !is_ahead
                && new < touched.num_rows()
            {
                shard.published.note_gone(&view.encoder, touched, wall)?;
            }
            if let Evaluated::All(rows) = &evaluated
                && self.gives_rows
            {
                shard.compared = Some(rows.clone());
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Evaluates every shard in which something happened or a window's edge
    /// moved: of all shards first the entities of the wave that waits longest, so
    /// that their hashes are written first: ahead of the rest, where there is room.
    pub(super) fn evaluate(
        &mut self,
        silences: &[(PartitionId, Silence)],
        wall: EventTime,
        publication: &mut Publication,
        ahead: &mut dyn Ahead,
    ) -> Result<(), Error> {
        self.begin_rows(&mut publication.writes);
        let share = self.share();
        for wave in 0..=publication.early_waves {
            let part = Part { wave, is_last: wave == publication.early_waves, share };
            for index in 0..self.views.len() {
                let ids: Vec<ShardId> = self.views[index].shards.keys().copied().collect();
                for id in ids {
                    self.evaluate_shard(index, id, part, silences, wall, publication)?;
                }
            }
            if !part.is_last && !publication.writes.is_empty() && ahead.has_room() {
                ahead.send(publication.split(wave));
                publication.writes = self.spare.pop().unwrap_or_default();
            }
        }
        self.join_waves();
        Ok(())
    }

    /// Evaluates what a part of a turn looks at in a view's shard.
    fn evaluate_shard(
        &mut self,
        index: usize,
        id: ShardId,
        part: Part,
        silences: &[(PartitionId, Silence)],
        wall: EventTime,
        publication: &mut Publication,
    ) -> Result<(), Error> {
        let streams = &self.views[index].streams;
        if !self.publishes(streams, id) {
            return Ok(());
        }
        let shard = self.views[index].shards.get_mut(&id).expect("the shard was just there");
        let Some(most) = shard.entities_in(part) else { return Ok(()) };
        let ends = most == usize::MAX;
        let streams = &self.views[index].streams;
        let clocks = self.partitions_of(streams, id).map(|(id, partition)| {
            let silence = silences.iter().find(|(known, _)| *known == id).map(|(_, silence)| *silence);
            (partition.clock, silence.unwrap_or_default())
        });
        let Some(now) = shard_now(&self.options, clocks) else { return Ok(()) };
        self.note_warming(index, id, now);
        let view = &mut self.views[index];
        let (edges, fence) = (view.view.edges(now), view.fence(id));
        let shard = view.shards.get_mut(&id).expect("the shard was just there");
        let moment = Moment { as_of: now, wall, ttl: view.view.ttl, mark: shard.mark };
        publication.writes.begin(Origin { shard: fence, as_of_ms: now.millis() });
        if ends {
            shard.touch_stretch(part.share);
            if !shard.due && shard.edges == edges {
                // The reference renews hashes as it compares; here nothing is compared.
                shard.published.renew(&view.encoder, moment, &mut publication.writes);
                return Ok(());
            }
        }
        let Some((evaluated, _)) = self.evaluated(index, id, now, wall, most) else { return Ok(()) };
        let view = &mut self.views[index];
        let shard = view.shards.get_mut(&id).expect("the shard was just there");
        let writes = &mut publication.writes;
        let mut changes: Changes = match &evaluated {
            Evaluated::All(rows) => {
                shard.published.compare_some(&view.encoder, rows, part.share, moment, writes)?
            }
            Evaluated::Touched(Outcome { rows, touched }) => {
                if shard.has_strangers {
                    shard.published.adopt(&view.encoder, touched, wall)?;
                }
                shard.published.compare_touched(&view.encoder, rows, touched, moment, writes)?
            }
        };
        if ends {
            shard.has_strangers = false;
            shard.published.delete_again(&view.encoder, moment, writes);
            if shard.swept() {
                changes.deleted += shard.published.delete_doubtful(&view.encoder, moment, writes);
            }
            shard.edges = edges;
        }
        let features = evaluated.rows().num_columns() - view.view.key.len();
        publication.views[index].features += changes.written * features as u64;
        publication.views[index].keyless += changes.keyless;
        publication.views[index].repeated += changes.repeated;
        view.end_rows(index, id, &evaluated, moment, writes)?;
        if let Some(row) = changes.repeated_row {
            view.warn_of_repeated(evaluated.rows(), row, wall)?;
        }
        Ok(())
    }

    /// What a view's shard has at a clock, and how many touched entities are
    /// left of those beyond `most`; `None` when its SQL fails on these
    /// events, which is said and tried again at the next turn.
    fn evaluated(
        &mut self,
        index: usize,
        id: ShardId,
        now: EventTime,
        wall: EventTime,
        most: usize,
    ) -> Option<(Evaluated, usize)> {
        let by_entity = self.views[index].shards.get_mut(&id).and_then(|shard| shard.by_entity.take());
        let evaluated = if let Some(mut by_entity) = by_entity {
            let outcome = self.runtime.block_on(by_entity.evaluate_some(&self.session, now, most));
            if let Some(shard) = self.views[index].shards.get_mut(&id) {
                shard.by_entity = Some(by_entity);
            }
            outcome.map(|(outcome, left)| (Evaluated::Touched(outcome), left))
        } else {
            let view = &self.views[index].view;
            let rows = ShardRows { worker: self, shard: id };
            let rows = self.runtime.block_on(reference::evaluate(&self.session, view, now, &rows));
            rows.map(|rows| (Evaluated::All(rows), 0))
        };
        match evaluated {
            Ok(evaluated) => Some(evaluated),
            Err(error) => {
                let more = match error.find_root() {
                    DataFusionError::ResourcesExhausted(_) => {
                        "; a quarter of `memory_limit` is for what queries gather: raise it"
                    }
                    _ => "",
                };
                self.complain(index, wall, &format!("its features stay as they are: {error}{more}"));
                None
            }
        }
    }

    /// Says of a view what is wrong with it, not at every turn.
    pub(super) fn complain(&mut self, index: usize, wall: EventTime, what: &str) {
        let view = &mut self.views[index];
        if Complaints::is_due(&mut view.complaints.failure, wall) {
            tracing::error!(view = view.view.name, "the view fails on events, {what}");
        }
    }
}

impl View {
    /// Says that a key has several rows, not at every turn.
    fn warn_of_repeated(&mut self, rows: &RecordBatch, row: usize, wall: EventTime) -> Result<(), Error> {
        if !Complaints::is_due(&mut self.complaints.repetition, wall) {
            return Ok(());
        }
        let mut key = Vec::new();
        // Rows without a key are none of those.
        let _ = self.encoder.bind(rows)?.key(row, &mut key);
        tracing::warn!(
            view = self.view.name,
            "a key has several rows, such as `{}`: the first one is written",
            String::from_utf8_lossy(&key)
        );
        Ok(())
    }
}

/// When it was last said of a view what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    failure: Option<EventTime>,
    repetition: Option<EventTime>,
}

impl Complaints {
    /// Whether to say it again; if so, it was said now.
    fn is_due(said: &mut Option<EventTime>, wall: EventTime) -> bool {
        let is_due = said.is_none_or(|last| wall >= last.plus(COMPLAIN_EVERY.into()));
        if is_due {
            *said = Some(wall);
        }
        is_due
    }
}
