//! The tiled engine: a view from partial aggregates by entity and stretch of
//! event time. What a batch costs grows with the entities it touches.
//!
//! ```text
//!  events ──▶ fresh rows ──▶ tiles                ([`leaf`], `state::pane`)
//!                              │
//!  touched entities ───────────┤  with events since the last evaluation,
//!                              ▼  or with a tile that an edge has passed since
//!                     the aggregates' output      ([`leaf`])
//!                                │
//!                                ▼
//!                     the rest of the plan        ([`rest`]) ──▶ rows of the touched
//! ```
//! A touched entity without a row has none any more: [`Outcome`] says whom the
//! rows speak of. Entities that have no tiles left are forgotten after that.

mod leaf;
mod rest;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_err};
use datafusion::execution::SessionState;

use super::entities::Entities;
use super::touched::{KeyColumns, Outcome, Unusable};
use crate::state::keys::Slot;
use crate::state::saved::SavedPane;
use crate::time::EventTime;
use crate::view::FeatureView;
use crate::view::tiling::{Leaf, Tiling};
use leaf::{BoundLeaf, Kept, Taken};
use rest::Rest;

/// What does not change of a view, shared by its shards.
struct Plan {
    view: Arc<FeatureView>,
    leaves: Vec<BoundLeaf>,
    rest: Rest,
    keys: Arc<KeyColumns>,
}

/// A view's shard, evaluated from tiles.
pub struct Tiled {
    plan: Arc<Plan>,

    entities: Entities,
    /// By leaf.
    kept: Vec<Kept>,
}

impl Tiled {
    /// An empty shard. `decoded` gives the columns of a stream that are decoded.
    ///
    /// # Errors
    /// What DataFusion says; ours, since the view was analysed before.
    pub async fn try_new(
        view: &Arc<FeatureView>,
        tiling: &Tiling,
        state: &SessionState,
        decoded: impl Fn(&str) -> SchemaRef,
    ) -> Result<Self> {
        let rest = Rest::try_new(state, tiling).await?;
        let bind = |(number, leaf): (usize, &Leaf)| {
            BoundLeaf::try_new(state, leaf, rest.counted(number), &decoded(&leaf.stream))
        };
        let plan = Plan {
            view: Arc::clone(view),
            leaves: tiling.leaves.iter().enumerate().map(bind).collect::<Result<_>>()?,
            rest,
            keys: Arc::new(KeyColumns::try_new(view, tiling.entity)?),
        };
        Self::of_plan(Arc::new(plan))
    }

    /// Another empty shard of the same view.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn another(&self) -> Result<Self> {
        Self::of_plan(Arc::clone(&self.plan))
    }

    fn of_plan(plan: Arc<Plan>) -> Result<Self> {
        Ok(Self {
            entities: Entities::try_new(&plan.keys)?,
            kept: plan.leaves.iter().map(BoundLeaf::empty).collect::<Result<_>>()?,
            plan,
        })
    }

    /// Takes accepted events of a stream's partition in.
    ///
    /// # Errors
    /// Only of our own making: events on which the view fails are counted.
    pub fn update(&mut self, stream: &str, partition: i32, events: &RecordBatch) -> Result<Unusable> {
        let mut unusable = Unusable::default();
        let mut waiting = vec![events.clone()];
        while let Some(events) = waiting.pop() {
            match self.take(stream, partition, &events) {
                Ok(()) => {}
                Err(error) if events.num_rows() <= 1 => {
                    unusable.events += events.num_rows();
                    unusable.error = Some(error);
                }
                Err(_) => {
                    // One event fails all that are evaluated with it: it is searched for by halves.
                    let half = events.num_rows() / 2;
                    waiting.push(events.slice(half, events.num_rows() - half));
                    waiting.push(events.slice(0, half));
                }
            }
        }
        Ok(unusable)
    }

    /// Takes all of these events in, or none.
    fn take(&mut self, stream: &str, partition: i32, events: &RecordBatch) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let mut taken: Vec<(usize, Taken)> = Vec::new();
        for (position, leaf) in plan.leaves.iter().enumerate().filter(|(_, leaf)| leaf.stream == stream) {
            taken.extend(leaf.take(events)?.map(|taken| (position, taken)));
        }
        let mut fresh = Vec::with_capacity(taken.len());
        for (position, of_leaf) in &taken {
            match plan.leaves[*position].update(&mut self.kept[*position], of_leaf) {
                Ok(of_leaf) => fresh.push(of_leaf),
                Err(error) => {
                    for ((position, _), fresh) in taken.iter().zip(&fresh) {
                        self.kept[*position].discard(fresh);
                    }
                    return Err(error);
                }
            }
        }
        let mut touched = Vec::new();
        for ((position, taken), fresh) in taken.iter().zip(&fresh) {
            let kept = &mut self.kept[*position];
            let entities = self.entities.keys_mut();
            plan.leaves[*position].place(kept, partition, taken, fresh, entities, &mut touched)?;
        }
        self.entities.touch(touched);
        Ok(())
    }

    /// What is kept of a stream's partition: all of it, or what changed since
    /// this was asked last.
    ///
    /// # Errors
    /// What DataFusion says. What changed is then lost sight of: the next time, all of it is asked for.
    pub fn save(&mut self, stream: &str, partition: i32, all: bool) -> Result<Vec<SavedPane>> {
        let mut saved = Vec::new();
        for (number, (leaf, kept)) in self.plan.leaves.iter().zip(&mut self.kept).enumerate() {
            if leaf.stream == stream {
                saved.extend(kept.save(number, partition, self.entities.keys(), all)?);
            }
        }
        Ok(saved)
    }

    /// Takes in what [`Tiled::save`] gave, the newest first: of a group that
    /// is there several times, the first counts.
    ///
    /// # Errors
    /// When it is not of this view. The partition is then to be forgotten.
    pub fn load(&mut self, stream: &str, partition: i32, saved: &[SavedPane]) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let mut touched = Vec::new();
        let mut loaded = Ok(());
        let entities = self.entities.keys_mut();
        for pane in saved {
            let leaf = plan.leaves.get(pane.leaf).filter(|leaf| leaf.stream == stream);
            loaded = match leaf.zip(self.kept.get_mut(pane.leaf)) {
                Some((leaf, kept)) => leaf.load(kept, partition, pane, entities, &mut touched),
                None => internal_err!("a view has no leaf {} over stream `{stream}`", pane.leaf),
            };
            if loaded.is_err() {
                break;
            }
        }
        // Also when it failed: what has nothing is forgotten once it was looked at.
        self.entities.touch(touched);
        loaded
    }

    /// Forgets what came from a stream's partition: it is given up, or read anew.
    pub fn forget(&mut self, stream: &str, partition: i32) {
        let mut lost = Vec::new();
        for (leaf, kept) in self.plan.leaves.iter().zip(&mut self.kept) {
            if leaf.stream == stream {
                kept.forget(partition, &mut lost);
            }
        }
        self.entities.touch(lost);
    }

    /// The books of its entities.
    pub const fn entities_mut(&mut self) -> &mut Entities {
        &mut self.entities
    }

    /// Its entities, each with about the time of its newest event.
    pub fn activity(&self) -> impl Iterator<Item = (i64, Slot)> {
        self.entities.keys().all().map(move |slot| {
            let leaves = self.plan.leaves.iter().zip(&self.kept);
            let newest = leaves.filter_map(|(leaf, kept)| leaf.newest(kept, slot)).max();
            (newest.map_or(i64::MIN, EventTime::micros), slot)
        })
    }

    /// The rows of those entities for which something happened since the last
    /// evaluation: events came, or the edge of a window passed a tile of theirs.
    ///
    /// # Errors
    /// When the view's SQL fails. What is to be evaluated stays so.
    pub async fn evaluate(&mut self, state: &SessionState, clock: EventTime) -> Result<Outcome> {
        self.touch_crossed(clock);
        self.entities.sort();
        let plan = Arc::clone(&self.plan);
        let mut rows = Vec::new();
        for slots in self.entities.stretches() {
            let keys = self.entities.keys();
            let output = |(leaf, kept): (&BoundLeaf, &mut Kept)| leaf.output(kept, keys, slots, clock);
            let leaves = plan.leaves.iter().zip(&mut self.kept).map(output).collect::<Result<Vec<_>>>()?;
            rows.push(plan.rest.run(state, &plan.view, clock, &leaves).await?);
        }
        let kept = &mut self.kept;
        self.entities.evaluated(clock, &rows, |slot| {
            // Each of them has to be tidied, whether there is something in another or not.
            let free = kept.iter_mut().filter_map(|kept| kept.tidy(slot).then_some(())).count();
            free == kept.len()
        })
    }

    /// Drops what no window holds any more. The time of the events counts, not
    /// one that runs on in silence.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn advance(&mut self, clock: EventTime) -> Result<()> {
        let mut emptied = Vec::new();
        for (leaf, kept) in self.plan.leaves.iter().zip(&mut self.kept) {
            leaf.advance(kept, clock, &mut emptied)?;
        }
        // They are looked at once more, and then forgotten.
        self.entities.touch(emptied);
        Ok(())
    }

    /// Entities known.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Rows of tiles kept.
    pub fn rows(&self) -> usize {
        self.kept.iter().map(Kept::rows).sum()
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        let kept: usize = self.kept.iter().map(Kept::bytes).sum();
        kept + self.entities.bytes()
    }

    /// Entities with a tile that some edge has passed since the last evaluation.
    fn touch_crossed(&mut self, clock: EventTime) {
        let Some(before) = self.entities.evaluated_before(clock) else { return };
        let mut crossed = Vec::new();
        for (leaf, kept) in self.plan.leaves.iter().zip(&self.kept) {
            leaf.crossed(kept, before, clock, &mut crossed);
        }
        self.entities.touch_crossed(crossed);
    }
}
