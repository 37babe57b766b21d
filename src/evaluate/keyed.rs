//! The keyed engine: a view's SQL over the events of the touched entities. What
//! a batch costs grows with the events that these have inside the windows.
//!
//! ```text
//!  events ──▶ by entity                           (`state::rows`)
//!                 │
//!  touched ───────┤  with events since the last evaluation,
//!                 ▼  or with one that an edge has passed since
//!      their events, in the order of the log
//!                 │
//!                 ▼
//!      the view's SQL                             ([`reference`]) ──▶ rows of the touched
//! ```
//! That an entity's rows need no other entity's events is `view::keying`'s to find
//! out. Entities that have no events left are evaluated once more, and then forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean::is_not_null;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::SessionState;

use super::entities::Entities;
use super::reference;
use super::touched::{KeyColumns, Outcome, Unusable};
use crate::decode::reader::{EVENT_TIME, OFFSET};
use crate::state::keys::Slot;
use crate::state::rows::Rows;
use crate::time::EventTime;
use crate::view::FeatureView;
use crate::view::keying::Keying;
use crate::view::tiling::{Numbering, Pane, apart};

/// A stream as far as a view reads it.
struct Stream {
    name: String,
    /// Which of the decoded columns are kept, and what they look like.
    kept: Vec<usize>,
    schema: SchemaRef,
    /// Of the kept columns, that of the entity and the event time.
    entity: usize,
    event_time: usize,
}

/// What does not change of a view, shared by its shards.
struct Plan {
    view: Arc<FeatureView>,
    streams: Vec<Stream>,
    keys: Arc<KeyColumns>,
    /// The stretches of event time between which edges lie.
    numbering: Numbering,
    /// What is inside of each edge.
    edges: Vec<Pane>,
}

/// A view's shard, evaluated from the events of the touched entities.
pub struct Keyed {
    plan: Arc<Plan>,

    entities: Entities,
    /// By stream.
    kept: Vec<Rows>,
}

/// The events of some entities.
struct Gathered<'a> {
    plan: &'a Plan,
    /// By stream.
    batches: Vec<Vec<RecordBatch>>,
}

impl reference::Rows for Gathered<'_> {
    fn rows(&self, stream: &str, _: EventTime) -> (SchemaRef, Vec<RecordBatch>) {
        let position = self.plan.streams.iter().position(|known| known.name == stream);
        let position = position.expect("every stream of the view was bound");
        (Arc::clone(&self.plan.streams[position].schema), self.batches[position].clone())
    }
}

impl Stream {
    fn try_new(view: &FeatureView, name: &str, entity: &str, decoded: &SchemaRef) -> Result<Self> {
        let scans = view.scans.iter().filter(|scan| scan.stream == name);
        let read = scans.flat_map(|scan| &scan.columns).map(String::as_str);
        let wanted: BTreeSet<&str> = read.chain([entity, EVENT_TIME, OFFSET]).collect();
        let fields = decoded.fields().iter().enumerate();
        let kept = fields.filter(|(_, field)| wanted.contains(field.name().as_str()));
        let kept: Vec<usize> = kept.map(|(index, _)| index).collect();
        let schema = Arc::new(decoded.project(&kept)?);
        Ok(Self {
            name: name.to_owned(),
            entity: schema.index_of(entity)?,
            event_time: schema.index_of(EVENT_TIME)?,
            schema,
            kept,
        })
    }
}

impl Keyed {
    /// An empty shard. `decoded` gives the columns of a stream that are decoded.
    ///
    /// # Errors
    /// What DataFusion says; ours, since the view was analysed before.
    pub fn try_new(
        view: &Arc<FeatureView>,
        keying: &Keying,
        decoded: impl Fn(&str) -> SchemaRef,
    ) -> Result<Self> {
        if let Some(stranger) = view.streams().into_iter().find(|name| !keying.columns.contains_key(*name)) {
            return internal_err!("stream `{stranger}` has no column for the entity");
        }
        let streams = keying.columns.iter();
        let (numbering, edges) = apart(keying.edges.iter().copied());
        let plan = Plan {
            streams: streams
                .map(|(name, entity)| Stream::try_new(view, name, entity, &decoded(name)))
                .collect::<Result<_>>()?,
            keys: Arc::new(KeyColumns::try_new(view, keying.entity)?),
            numbering,
            edges,
            view: Arc::clone(view),
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
            kept: plan.streams.iter().map(|_| Rows::default()).collect(),
            plan,
        })
    }

    /// Takes accepted events of a stream's partition in. None of them can be
    /// unusable here: the view's expressions are not evaluated yet.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn update(&mut self, stream: &str, partition: i32, events: &RecordBatch) -> Result<Unusable> {
        let plan = Arc::clone(&self.plan);
        let Some(position) = plan.streams.iter().position(|known| known.name == stream) else {
            return Ok(Unusable::default());
        };
        let bound = &plan.streams[position];
        let mut events = events.project(&bound.kept)?;
        // No entity, no hash.
        let known = is_not_null(events.column(bound.entity))?;
        if known.true_count() < known.len() {
            events = filter_record_batch(&events, &known)?;
        }
        let times = events.column(bound.event_time).as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| internal_datafusion_err!("stream `{stream}` has no event time"))?;
        let stretches: Vec<i64> = times.values().iter().map(|time| plan.numbering.number(*time)).collect();
        let owners = self.entities.keys_mut().intern(&events.columns()[bound.entity..=bound.entity])?;
        self.kept[position].append(partition, &events, &owners, &stretches)?;
        self.entities.touch(owners);
        Ok(Unusable::default())
    }

    /// Forgets what came from a stream's partition: it is given up, or read anew.
    pub fn forget(&mut self, stream: &str, partition: i32) {
        let mut lost = Vec::new();
        for (bound, kept) in self.plan.streams.iter().zip(&mut self.kept) {
            if bound.name == stream {
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
            let newest = self.kept.iter().filter_map(|kept| kept.newest(slot)).max();
            (newest.unwrap_or(i64::MIN), slot)
        })
    }

    /// The rows of those entities for which something happened since the last
    /// evaluation: events came, or the edge of a window passed one of theirs.
    ///
    /// # Errors
    /// When the view's SQL fails. What is to be evaluated stays so.
    pub async fn evaluate(&mut self, state: &SessionState, clock: EventTime) -> Result<Outcome> {
        self.touch_crossed(clock);
        self.entities.sort();
        let plan = Arc::clone(&self.plan);
        let mut rows = Vec::new();
        for slots in self.entities.stretches() {
            let batches = self.kept.iter().map(|kept| kept.gather(slots));
            let batches = batches.collect::<Result<Vec<_>, _>>()?;
            let gathered = Gathered { plan: &plan, batches };
            rows.push(reference::evaluate(state, &plan.view, clock, &gathered).await?);
        }
        let kept = &self.kept;
        self.entities.evaluated(clock, &rows, |slot| kept.iter().all(|kept| kept.is_free(slot)))
    }

    /// Drops what no window holds any more. The time of the events counts, not
    /// one that runs on in silence.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn advance(&mut self, clock: EventTime) -> Result<()> {
        let mut emptied = Vec::new();
        for (stream, kept) in self.plan.streams.iter().zip(&mut self.kept) {
            let Some(EventTime(after)) = self.plan.view.keep_after(&stream.name, clock) else { continue };
            // What lies together with the first moment to be kept may matter, too.
            kept.drop_before(self.plan.numbering.number(after.saturating_add(1)), &mut emptied)?;
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

    /// Events kept.
    pub fn rows(&self) -> usize {
        self.kept.iter().map(Rows::len).sum()
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        let kept: usize = self.kept.iter().map(Rows::bytes).sum();
        kept + self.entities.bytes()
    }

    /// Entities with an event that some edge has passed since the last evaluation.
    fn touch_crossed(&mut self, clock: EventTime) {
        let Some(before) = self.entities.evaluated_before(clock) else { return };
        let mut crossed: Vec<Slot> = Vec::new();
        for edge in &self.plan.edges {
            for stretches in edge.crossed(before, clock) {
                self.kept.iter().for_each(|kept| kept.find(&stretches, &mut crossed));
            }
        }
        self.entities.touch_crossed(crossed);
    }
}
