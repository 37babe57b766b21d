//! A turn. Its events come in waves: those that a worker takes in while a batch
//! gathers, each time one, and those that come with the order. The entities of the
//! first wave are looked at first, of every shard, and their hashes are written
//! first: what has waited longest does not wait for what came last as well.

use std::time::Instant;

use super::{Error, Shard, Worker};
use crate::clock::Silence;
use crate::evaluate::by_entity::ByEntity;
use crate::frame::{FrameBatch, PartitionId};
use crate::pipeline::publication::Publication;
use crate::time::EventTime;

/// Where commands of a turn go while the rest of it is computed.
pub trait Ahead {
    /// Whether they would be written soon. If not, they go with what is ready next.
    fn has_room(&self) -> bool;

    /// Takes them.
    fn send(&mut self, early: Publication);
}

/// Nowhere: all of a turn is published at its end.
impl Ahead for () {
    fn has_room(&self) -> bool {
        false
    }

    fn send(&mut self, _: Publication) {}
}

/// So many waves of a turn are told apart from its last one.
const EARLY_WAVES: usize = 8;

/// What a turn looks at one after the other.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The entities of this wave, numbered from 0.
    pub wave: usize,
    /// Whether everything that is left is looked at.
    pub is_last: bool,
    /// Entities of a sweep.
    pub share: usize,
}

impl Shard {
    /// How many entities a part of a turn looks at; all that are left when it is
    /// the last one, and `None` when there is nothing for it. What is evaluated
    /// as a whole is that in the first part: nobody's hash waits for another.
    pub(super) fn entities_in(&mut self, part: Part) -> Option<usize> {
        match &mut self.by_entity {
            Some(_) if part.is_last => Some(usize::MAX),
            Some(by_entity) => by_entity.touched_mut().next_wave().filter(|entities| *entities > 0),
            None => (part.wave == 0).then_some(usize::MAX),
        }
    }
}

impl Worker {
    /// Takes frames in that the next turn evaluates, together with its own: a
    /// wave of events, whose hashes are written before those of the next.
    ///
    /// # Errors
    /// Bugs only: no event can cause one.
    pub fn take_in(&mut self, frames: Vec<FrameBatch>, wall: EventTime) -> Result<(), Error> {
        self.ingest_all(frames, wall)?;
        self.end_wave();
        Ok(())
    }

    fn ingest_all(&mut self, frames: Vec<FrameBatch>, wall: EventTime) -> Result<(), Error> {
        let begun = Instant::now();
        let mut publication = self.begun.take().unwrap_or_else(|| Publication::new(wall, self.views.len()));
        publication.wall = wall;
        for batch in frames {
            self.ingest(batch, &mut publication)?;
        }
        publication.ingested_in += begun.elapsed();
        self.begun = Some(publication);
        Ok(())
    }

    /// One turn: takes frames in, evaluates what is due, says what to publish.
    ///
    /// # Errors
    /// Bugs only: no event can cause one.
    pub fn turn(
        &mut self,
        frames: Vec<FrameBatch>,
        silences: &[(PartitionId, Silence)],
        wall: EventTime,
    ) -> Result<Publication, Error> {
        self.turn_ahead(frames, silences, wall, &mut ())
    }

    /// The same, where what is ready of it can be published before the rest.
    ///
    /// # Errors
    /// Bugs only: no event can cause one.
    pub fn turn_ahead(
        &mut self,
        frames: Vec<FrameBatch>,
        silences: &[(PartitionId, Silence)],
        wall: EventTime,
        ahead: &mut dyn Ahead,
    ) -> Result<Publication, Error> {
        let begun = Instant::now();
        self.ingest_all(frames, wall)?;
        let mut publication = self.begun.take().expect("frames were just taken in");
        publication.begun = begun;
        publication.writes = self.spare.pop().unwrap_or_default();
        publication.given_up = std::mem::take(&mut self.given_up).into_iter().collect();
        publication.taken = std::mem::take(&mut self.taken).into_iter().collect();
        publication.given_at = self.given_at.take().unwrap_or(publication.begun);
        for (report, view) in publication.views.iter_mut().zip(&self.views) {
            report.streams.clone_from(&view.streams);
        }
        let evaluating = Instant::now();
        self.end_holding(silences);
        self.adopt_warm(wall)?;
        self.evaluate(silences, wall, &mut publication, ahead)?;
        self.expire()?;
        self.forget_gaps();
        self.report(&mut publication);
        publication.evaluated_in = evaluating.elapsed();
        Ok(publication)
    }

    /// Has what is touched from now on evaluated after what was before.
    fn end_wave(&mut self) {
        let Some(publication) = self.begun.as_mut().filter(|begun| begun.early_waves < EARLY_WAVES) else {
            return;
        };
        // Rows of one turn have one time: they are looked for all at once.
        if self.gives_rows {
            return;
        }
        publication.early_waves += 1;
        self.by_entity().for_each(|by_entity| by_entity.touched_mut().end_wave());
    }

    /// What is left of waves belongs to the next turn's first one.
    pub(super) fn join_waves(&mut self) {
        self.by_entity().for_each(|by_entity| by_entity.touched_mut().join_waves());
    }

    fn by_entity(&mut self) -> impl Iterator<Item = &mut ByEntity> {
        let shards = self.views.iter_mut().flat_map(|view| view.shards.values_mut());
        shards.filter_map(|shard| shard.by_entity.as_mut())
    }
}
