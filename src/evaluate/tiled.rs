//! The tiled engine: a view from partial aggregates by entity and stretch of
//! event time. What a batch costs grows with the entities it touches.
//!
//! ```text
//!  events ──▶ partial rows ──▶ tiles              ([`partial`], `state::tile`)
//!                                │
//!  touched entities ─────────────┤  with events since the last evaluation,
//!                                ▼  or with a tile that an edge has passed since
//!                     the aggregates' output      ([`partial`])
//!                                │
//!                                ▼
//!                     the rest of the plan        ([`rest`]) ──▶ rows of the touched
//! ```
//! A touched entity without a row has none any more: [`Outcome`] says whom the
//! rows speak of. Entities that have no tiles left are forgotten after that.

mod distinct;
mod partial;
mod rest;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;

use crate::state::tile::entities::Entities;
use crate::state::tile::{Slot, Store};
use crate::time::EventTime;
use crate::view::FeatureView;
use crate::view::tiling::{Leaf, Tiling};
use partial::{Bound, BoundLeaf, Partial};
use rest::Rest;

/// Entities are evaluated so many at a time, which bounds the memory that it takes.
const ENTITIES_AT_ONCE: usize = 32_768;

/// What does not change of a view, shared by its shards.
struct Plan {
    view: Arc<FeatureView>,
    leaves: Vec<BoundLeaf>,
    rest: Rest,
    /// The output column that tells entities apart.
    entity: usize,
    /// The output's columns, each of them nullable.
    nullable: SchemaRef,
    /// Turns keys of several columns into bytes and back; `None` when the entity is the whole key.
    keys: Option<RowConverter>,
}

/// A view's shard, evaluated from tiles.
pub struct Tiled {
    plan: Arc<Plan>,

    entities: Entities,
    /// By partition, since partitions can be given up one by one; then by leaf
    /// and stratum.
    parts: BTreeMap<i32, Vec<Vec<Store>>>,
    touched: Touched,
    /// The clock of the last evaluation.
    evaluated_at: Option<EventTime>,
    /// Of keys of several columns: those that each entity had rows for.
    had: HashMap<Slot, Vec<Box<[u8]>>>,
}

/// What an evaluation came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rows of the touched entities.
    pub rows: RecordBatch,
    /// Keys that had a row or may have had one, in columns like those of
    /// `rows`, all others NULL. Who is here and not in `rows` has no row any more.
    pub touched: RecordBatch,
}

/// Events that could not be used because an expression of the view fails on them.
#[derive(Debug, Default)]
pub struct Unusable {
    /// How many.
    pub events: usize,
    /// What DataFusion said of one.
    pub error: Option<DataFusionError>,
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
        let bind = |leaf: &Leaf| BoundLeaf::try_new(state, leaf, &decoded(&leaf.stream));
        let nullable: Vec<_> =
            view.output.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let keys = if view.key.len() > 1 {
            let field = |index: &usize| SortField::new(view.output.field(*index).data_type().clone());
            Some(RowConverter::new(view.key.iter().map(field).collect())?)
        } else {
            None
        };
        let plan = Plan {
            view: Arc::clone(view),
            leaves: tiling.leaves.iter().map(bind).collect::<Result<_>>()?,
            rest: Rest::try_new(state, tiling).await?,
            entity: tiling.entity,
            nullable: Arc::new(Schema::new(nullable)),
            keys,
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
        let key = plan.view.output.field(plan.entity).data_type();
        Ok(Self {
            entities: Entities::try_new(key)?,
            parts: BTreeMap::new(),
            touched: Touched::default(),
            evaluated_at: None,
            had: HashMap::new(),
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
            match self.partials(stream, &events) {
                Ok(partials) => self.keep(partition, partials)?,
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

    /// Partial rows of every leaf over a stream, or none at all.
    fn partials(&self, stream: &str, events: &RecordBatch) -> Result<Vec<(usize, Vec<Partial>)>> {
        let leaves = self.plan.leaves.iter().enumerate().filter(|(_, leaf)| leaf.stream == stream);
        leaves.map(|(position, leaf)| Ok((position, leaf.partials(events)?))).collect()
    }

    fn keep(&mut self, partition: i32, partials: Vec<(usize, Vec<Partial>)>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let empty = || -> Vec<Vec<Store>> { plan.leaves.iter().map(empty_stores).collect() };
        let stores = self.parts.entry(partition).or_insert_with(empty);
        for (position, partials) in partials {
            let leaf = &plan.leaves[position];
            for ((bound, store), partial) in leaf.strata.iter().zip(&mut stores[position]).zip(partials) {
                let slots = self.entities.intern(&partial.entities)?;
                self.touched.extend(slots.iter().copied());
                store.append(partial.rows, &partial.tiles, slots)?;
                let mut crowded = store.crowded();
                crowded.sort_unstable();
                crowded.dedup();
                for slots in crowded.chunks(ENTITIES_AT_ONCE) {
                    leaf.merge(bound, store, slots)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets what came from a stream's partition: it is given up, or read anew.
    pub fn forget(&mut self, stream: &str, partition: i32) {
        let Some(stores) = self.parts.get_mut(&partition) else { return };
        for (leaf, stores) in self.plan.leaves.iter().zip(stores) {
            if leaf.stream == stream {
                let lost = |slot: &Slot| stores.iter().any(|store| !store.is_free(*slot));
                let slots: Vec<Slot> = self.entities.all().filter(lost).collect();
                self.touched.extend(slots.into_iter());
                *stores = empty_stores(leaf);
            }
        }
    }

    /// Whether an evaluation at `clock` could change anything.
    pub fn is_due(&self, clock: EventTime) -> bool {
        !self.touched.slots.is_empty()
            || self.evaluated_at.is_none_or(|before| {
                before != clock && self.plan.view.edges(before) != self.plan.view.edges(clock)
            })
    }

    /// Has the next evaluation look at every entity.
    pub fn touch_all(&mut self) {
        self.touched.extend(self.entities.all());
    }

    /// The rows of those entities for which something happened since the last
    /// evaluation: events came, or the edge of a window passed a tile of theirs.
    ///
    /// # Errors
    /// When the view's SQL fails. What is to be evaluated stays so.
    pub async fn evaluate(&mut self, state: &SessionState, clock: EventTime) -> Result<Outcome> {
        self.touch_crossed(clock);
        let plan = Arc::clone(&self.plan);
        let mut rows = Vec::new();
        for slots in self.touched.slots.chunks(ENTITIES_AT_ONCE) {
            let output = |(position, leaf): (usize, &BoundLeaf)| {
                let parts: Vec<&[Store]> =
                    self.parts.values().map(|leaves| leaves[position].as_slice()).collect();
                leaf.output(&parts, slots, clock)
            };
            let leaves = plan.leaves.iter().enumerate().map(output).collect::<Result<Vec<_>>>()?;
            rows.push(plan.rest.run(state, &plan.view, clock, &leaves).await?);
        }
        let schema = rows.first().map_or_else(|| Arc::clone(&plan.view.output), |rows| rows.schema());
        let rows = concat_batches(&schema, &rows)?;
        let touched = self.touched_keys(&rows)?;
        // From here on nothing can fail: the evaluation counts.
        self.evaluated_at = Some(clock);
        for slot in self.touched.take() {
            if self.stores().all(|store| store.is_free(slot)) {
                self.entities.remove(slot);
                self.had.remove(&slot);
            }
        }
        Ok(Outcome { rows, touched })
    }

    /// Drops what no window holds any more. The time of the events counts, not
    /// one that runs on in silence.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn advance(&mut self, clock: EventTime) -> Result<()> {
        let mut emptied = Vec::new();
        for part in self.parts.values_mut() {
            for (leaf, stores) in self.plan.leaves.iter().zip(part) {
                for (bound, store) in leaf.strata.iter().zip(stores) {
                    store.advance(&bound.stratum.boundaries(clock), &mut emptied)?;
                }
            }
        }
        // They are looked at once more, and then forgotten.
        self.touched.extend(emptied.into_iter());
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

    /// Partial rows kept.
    pub fn rows(&self) -> usize {
        self.stores().map(Store::rows).sum()
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        const LIST: usize = size_of::<(Slot, Vec<Box<[u8]>>)>();
        let stores: usize = self.stores().map(Store::bytes).sum();
        let keys: usize = self.had.values().flatten().map(|key| key.len() + size_of::<Box<[u8]>>()).sum();
        stores + self.entities.bytes() + self.touched.bytes() + keys + self.had.capacity() * LIST
    }

    fn stores(&self) -> impl Iterator<Item = &Store> {
        self.parts.values().flatten().flatten()
    }

    /// Entities with a tile that some edge has passed since the last evaluation.
    fn touch_crossed(&mut self, clock: EventTime) {
        let Some(before) = self.evaluated_at.filter(|before| *before != clock) else { return };
        let mut crossed = Vec::new();
        for part in self.parts.values() {
            for (leaf, stores) in self.plan.leaves.iter().zip(part) {
                for (bound, store) in leaf.strata.iter().zip(stores) {
                    let numbering = bound.stratum.numbering;
                    for edge in &bound.stratum.edges {
                        let (from, to) = (numbering.edge(*edge, before), numbering.edge(*edge, clock));
                        if from != to {
                            store.crossed(from, to, &mut crossed);
                        }
                    }
                }
            }
        }
        // The index may speak of entities that were given up.
        let entities = &self.entities;
        self.touched.extend(crossed.into_iter().filter(|slot| entities.is_known(*slot)));
    }

    /// The keys of the touched entities, as columns of the view's output.
    fn touched_keys(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let plan = Arc::clone(&self.plan);
        let slots = &self.touched.slots;
        let columns: Vec<(usize, ArrayRef)> = match &plan.keys {
            None => vec![(plan.entity, self.entities.keys(slots)?)],
            Some(converter) => {
                let mut keys: Vec<Box<[u8]>> =
                    slots.iter().filter_map(|slot| self.had.remove(slot)).flatten().collect();
                let own: Vec<ArrayRef> =
                    plan.view.key.iter().map(|index| Arc::clone(rows.column(*index))).collect();
                let encoded = converter.convert_columns(&own)?;
                let owners = self.entities.find(rows.column(plan.entity))?;
                for (owner, key) in owners.into_iter().zip(&encoded) {
                    // Rows without an entity are not published.
                    if let Some(slot) = owner {
                        let key: Box<[u8]> = AsRef::<[u8]>::as_ref(&key).into();
                        self.had.entry(slot).or_default().push(key.clone());
                        keys.push(key);
                    }
                }
                let parser = converter.parser();
                let arrays = converter.convert_rows(keys.iter().map(|key| parser.parse(key)))?;
                plan.view.key.iter().copied().zip(arrays).collect()
            }
        };
        let count = columns.first().map_or(0, |(_, column)| column.len());
        let column = |index: usize| {
            let given = columns.iter().find(|(of, _)| *of == index).map(|(_, column)| Arc::clone(column));
            given.unwrap_or_else(|| new_null_array(plan.nullable.field(index).data_type(), count))
        };
        let all = (0..plan.nullable.fields().len()).map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&plan.nullable), all, &options)?)
    }
}

/// A store for each stratum of a leaf.
fn empty_stores(leaf: &BoundLeaf) -> Vec<Store> {
    let store = |bound: &Bound| Store::new(Arc::clone(&bound.schema), bound.stratum.levels.clone());
    leaf.strata.iter().map(store).collect()
}

/// Entities to be evaluated, each once.
#[derive(Debug, Default)]
struct Touched {
    slots: Vec<Slot>,
    /// By entity, whether it is among them.
    marks: Vec<bool>,
}

impl Touched {
    fn extend(&mut self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            let index = slot as usize;
            if self.marks.len() <= index {
                self.marks.resize(index + 1, false);
            }
            if !self.marks[index] {
                self.marks[index] = true;
                self.slots.push(slot);
            }
        }
    }

    fn take(&mut self) -> Vec<Slot> {
        for slot in &self.slots {
            self.marks[*slot as usize] = false;
        }
        std::mem::take(&mut self.slots)
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.marks.capacity()
    }
}
