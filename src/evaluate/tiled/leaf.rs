//! A leaf at work: events into the states of its panes, and those into the
//! aggregate's output for the entities that are looked at.
//!
//! Expressions and the interning of groups are DataFusion's own; states are
//! `state::kernel`'s.

mod base;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean::is_not_null;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{EmitTo, Expr};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use self::base::{Base, Input, aggregates, evaluate, find_or_add, together};
use super::rest::with_lengths;
use crate::decode::reader::EVENT_TIME;
use crate::state::groups::Groups;
use crate::state::kernel::{Row, kernel};
use crate::state::keys::{Keys, Slot};
use crate::state::pane::{self, Fresh, Group};
use crate::state::saved::SavedPane;
use crate::time::EventTime;
use crate::view::tiling::{self, Leaf, panes, table};

/// A pane, and the bases of each of its kernels.
struct BoundPane {
    pane: tiling::Pane,
    kernels: Vec<Vec<usize>>,
}

/// Where an aggregate of the output is found.
struct Output {
    pane: usize,
    kernel: usize,
    /// Which of the kernel's bases it is.
    output: usize,
    /// Of its lists the lengths are wanted.
    is_counted: bool,
}

/// A leaf, its expressions bound to the columns that are decoded.
pub struct BoundLeaf {
    /// The stream.
    pub stream: String,
    /// The layout of its output.
    schema: SchemaRef,
    panes: Vec<BoundPane>,
    bases: Vec<Base>,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    group_fields: SchemaRef,
    /// Which group is the entity.
    entity: usize,
    filter: Option<Arc<dyn PhysicalExpr>>,
    outputs: Vec<Output>,
}

/// What a leaf keeps.
pub struct Kept {
    groups: Groups,
    panes: Vec<pane::Pane>,
}

/// Events of a batch, as far as the view's expressions are concerned.
pub struct Taken {
    /// The columns of the groups, a row each.
    groups: Vec<ArrayRef>,
    /// The group of each event.
    of_events: Vec<usize>,
    times: Vec<i64>,
    /// By base.
    inputs: Vec<Input>,
}

impl BoundLeaf {
    /// Binds a leaf to the columns that are decoded of its stream. In the columns of its output that
    /// are `counted` it gives the lengths of lists, and not these.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn try_new(
        state: &SessionState,
        leaf: &Leaf,
        counted: &[usize],
        decoded: &SchemaRef,
    ) -> Result<Self> {
        let input = DFSchema::try_from(decoded.as_ref().clone())?;
        let planning = PhysicalPlanningContext::default();
        let bind = |expr: &Expr| create_physical_expr(expr, &input, state.execution_props(), &planning);
        let schema = table(&leaf.schema);
        let groups = leaf.groups.iter().map(bind).collect::<Result<Vec<_>>>()?;
        let group_fields: Vec<Field> =
            schema.fields()[..groups.len()].iter().map(|field| field.as_ref().clone()).collect();
        let lower = |expr: &Expr| {
            let props = state.execution_props();
            let lowered = LoweredAggregateBuilder::new(expr, &input, decoded, props, &planning)
                .with_name("base")
                .build()?;
            Ok(Base { aggregate: lowered.aggregate, filter: lowered.filter })
        };
        let bases = leaf.bases.iter().map(lower).collect::<Result<Vec<Base>>>()?;
        let (found, places) = panes(leaf);
        let mut panes: Vec<BoundPane> =
            found.into_iter().map(|pane| BoundPane { pane, kernels: Vec::new() }).collect();
        let mut outputs = Vec::with_capacity(places.len());
        for (position, (seen, pane)) in leaf.aggregates.iter().zip(places).enumerate() {
            let (kernel, output) = find_or_add(&mut panes[pane].kernels, &bases, seen.base);
            let is_counted = counted.contains(&(groups.len() + position));
            outputs.push(Output { pane, kernel, output, is_counted });
        }
        Ok(Self {
            stream: leaf.stream.clone(),
            schema: with_lengths(&schema, counted),
            panes,
            bases,
            groups,
            group_fields: Arc::new(Schema::new(group_fields)),
            entity: leaf.entity,
            filter: leaf.filter.as_ref().map(bind).transpose()?,
            outputs,
        })
    }

    /// Nothing kept yet.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn empty(&self) -> Result<Kept> {
        let types: Vec<&DataType> =
            self.group_fields.fields().iter().map(|field| field.data_type()).collect();
        let pane = |bound: &BoundPane| {
            let kernels = bound.kernels.iter().map(|bases| kernel(&aggregates(&self.bases, bases)));
            Ok(pane::Pane::new(kernels.collect::<Result<_>>()?, bound.pane.is_open()))
        };
        Ok(Kept {
            groups: Groups::try_new(&types)?,
            panes: self.panes.iter().map(pane).collect::<Result<_>>()?,
        })
    }

    /// Evaluates the view's expressions on events; `None` when none of them counts.
    ///
    /// # Errors
    /// When an expression fails on some event.
    pub fn take(&self, events: &RecordBatch) -> Result<Option<Taken>> {
        let mut events = events.clone();
        if let Some(filter) = &self.filter {
            let mask = evaluate(filter, &events)?;
            events = filter_record_batch(&events, mask.as_boolean())?;
        }
        let mut columns = self.evaluate_groups(&events)?;
        // No entity, no hash.
        let known = is_not_null(&columns[self.entity])?;
        if known.true_count() < known.len() {
            events = filter_record_batch(&events, &known)?;
            columns = self.evaluate_groups(&events)?;
        }
        if events.num_rows() == 0 {
            return Ok(None);
        }
        let Some(times) = events.column_by_name(EVENT_TIME) else {
            return internal_err!("stream `{}` has no event time", self.stream);
        };
        let times = times.as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let mut interner = new_group_values(Arc::clone(&self.group_fields), &GroupOrdering::None)?;
        let mut of_events = Vec::new();
        interner.intern(&columns, &mut of_events)?;
        Ok(Some(Taken {
            groups: interner.emit(EmitTo::All)?,
            of_events,
            times,
            inputs: self.bases.iter().map(|base| base.input(&events)).collect::<Result<_>>()?,
        }))
    }

    fn evaluate_groups(&self, events: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.groups.iter().map(|group| evaluate(group, events)).collect()
    }

    /// Puts events into fresh rows, a list a pane.
    ///
    /// # Errors
    /// When an aggregate fails on some event. Nothing is kept of the others then.
    pub fn update(&self, kept: &mut Kept, taken: &Taken) -> Result<Vec<Vec<Fresh>>> {
        let mut fresh: Vec<Vec<Fresh>> = Vec::with_capacity(self.panes.len());
        let count = taken.groups[self.entity].len();
        let mut failed = None;
        for (bound, pane) in self.panes.iter().zip(&mut kept.panes) {
            let numbering = bound.pane.numbering;
            let tiles = taken.times.iter().map(|time| numbering.number(*time));
            let (rows, of_pane): (Vec<Row>, Vec<Fresh>) = pane.fresh(&taken.of_events, count, tiles);
            fresh.push(of_pane);
            let update = |(kernel, bases): (usize, &Vec<usize>)| {
                let (arguments, filter) = together(&taken.inputs, bases);
                pane.update(kernel, &arguments, filter, &rows)
            };
            failed = bound.kernels.iter().enumerate().map(update).find_map(Result::err);
            if failed.is_some() {
                break;
            }
        }
        match failed {
            None => Ok(fresh),
            Some(error) => {
                kept.discard(&fresh);
                Err(error)
            }
        }
    }

    /// Keeps what [`BoundLeaf::update`] gave; adds whose events these were to `touched`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn place(
        &self,
        kept: &mut Kept,
        partition: i32,
        taken: &Taken,
        fresh: &[Vec<Fresh>],
        entities: &mut Keys,
        touched: &mut Vec<Slot>,
    ) -> Result<()> {
        let slots = entities.intern(&taken.groups[self.entity..=self.entity])?;
        touched.extend_from_slice(&slots);
        let groups = kept.groups.intern(&taken.groups, slots)?;
        for (pane, fresh) in kept.panes.iter_mut().zip(fresh) {
            pane.place(partition, fresh, &groups)?;
        }
        Ok(())
    }

    /// The aggregate's output for some entities.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn output(
        &self,
        kept: &mut Kept,
        entities: &Keys,
        slots: &[Slot],
        clock: EventTime,
    ) -> Result<RecordBatch> {
        let mut groups = kept.groups.of(slots);
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.outputs.len()];
        for (position, bound) in self.panes.iter().enumerate() {
            let pane = &mut kept.panes[position];
            let look = pane.look(&groups, &bound.pane.inside(clock))?;
            // The first pane says which groups there are.
            let chosen: Vec<usize> = match position {
                0 => (0..groups.len()).filter(|at| look.present[*at]).collect(),
                _ => (0..groups.len()).collect(),
            };
            let of_pane = self.outputs.iter().zip(&mut columns).filter(|(output, _)| output.pane == position);
            let mut values = Ok(());
            for (output, column) in of_pane {
                let values_or_lengths =
                    if output.is_counted { pane::Pane::lengths } else { pane::Pane::values };
                match values_or_lengths(pane, &look, output.kernel, output.output, &chosen) {
                    Ok(array) => *column = Some(array),
                    Err(error) => values = Err(error),
                }
            }
            pane.close(look);
            values?;
            if chosen.is_empty() {
                return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
            }
            if chosen.len() < groups.len() {
                groups = chosen.iter().map(|at| groups[*at]).collect();
            }
        }
        let mut all = kept.groups.columns(&groups, entities)?;
        all.extend(columns.into_iter().flatten());
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), all)?)
    }

    /// Drops what no window holds any more; adds whose it was to `emptied`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn advance(&self, kept: &mut Kept, clock: EventTime, emptied: &mut Vec<Slot>) -> Result<()> {
        let mut groups: Vec<Group> = Vec::new();
        for (bound, pane) in self.panes.iter().zip(&mut kept.panes) {
            pane.drop_before(bound.pane.floor(clock), &mut groups)?;
        }
        emptied.extend(groups.into_iter().map(|group| kept.groups.owner(group)));
        Ok(())
    }

    /// About when an entity's newest event was: where its tile begins.
    pub fn newest(&self, kept: &Kept, entity: Slot) -> Option<EventTime> {
        let groups = kept.groups.of(&[entity]);
        let of_pane = |(bound, pane): (&BoundPane, &pane::Pane)| {
            let newest = groups.iter().filter_map(|group| pane.newest(*group)).max()?;
            Some(bound.pane.numbering.begin(newest))
        };
        self.panes.iter().zip(&kept.panes).filter_map(of_pane).max()
    }

    /// Takes in what [`Kept::save`] gave, but for groups that have tiles of
    /// the partition; adds whose it was to `touched`.
    ///
    /// # Errors
    /// When it is not of this leaf. Some of it may have been taken in.
    pub fn load(
        &self,
        kept: &mut Kept,
        partition: i32,
        saved: &SavedPane,
        entities: &mut Keys,
        touched: &mut Vec<Slot>,
    ) -> Result<()> {
        let types = saved.groups.iter().map(|column| column.data_type());
        let own = self.group_fields.fields().iter().map(|field| field.data_type());
        if !types.eq(own) || saved.pane >= kept.panes.len() {
            return internal_err!("pane {} of a view was saved with other columns", saved.pane);
        }
        let slots = entities.intern(&saved.groups[self.entity..=self.entity])?;
        touched.extend_from_slice(&slots);
        let groups = kept.groups.intern(&saved.groups, slots)?;
        kept.panes[saved.pane].load(partition, &groups, &saved.tiles)
    }

    /// Adds the entities with a tile that an edge passes between two clocks.
    pub fn crossed(&self, kept: &Kept, before: EventTime, now: EventTime, found: &mut Vec<Slot>) {
        let mut groups: Vec<Group> = Vec::new();
        for (bound, pane) in self.panes.iter().zip(&kept.panes) {
            bound.pane.crossed(before, now).iter().for_each(|tiles| pane.find(tiles, &mut groups));
        }
        // The index may speak of groups that were given up.
        let owners = groups.into_iter().map(|group| kept.groups.owner(group));
        found.extend(owners.filter(|owner| *owner != Slot::MAX));
    }
}

impl Kept {
    /// Forgets what [`BoundLeaf::update`] gave.
    pub fn discard(&mut self, fresh: &[Vec<Fresh>]) {
        for (pane, fresh) in self.panes.iter_mut().zip(fresh) {
            pane.discard(fresh);
        }
    }

    /// Gives up what came from a partition; adds whose it was to `lost`.
    pub fn forget(&mut self, partition: i32, lost: &mut Vec<Slot>) {
        let mut groups: Vec<Group> = Vec::new();
        self.panes.iter_mut().for_each(|pane| pane.forget(partition, &mut groups));
        lost.extend(groups.into_iter().map(|group| self.groups.owner(group)));
    }

    /// What is kept of a partition, pane by pane: all of it, or the groups that
    /// changed since this was asked last. `leaf` is the leaf's number.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn save(
        &mut self,
        leaf: usize,
        partition: i32,
        entities: &Keys,
        all: bool,
    ) -> Result<Vec<SavedPane>> {
        let Self { groups, panes } = self;
        let mut saved = Vec::with_capacity(panes.len());
        for (position, pane) in panes.iter_mut().enumerate() {
            let (of_pane, tiles) = pane.save(partition, all)?;
            if !of_pane.is_empty() {
                saved.push(SavedPane {
                    leaf,
                    pane: position,
                    groups: groups.columns(&of_pane, entities)?,
                    tiles,
                });
            }
        }
        Ok(saved)
    }

    /// Gives the groups of an entity up that have nothing. Says whether it has none left.
    pub fn tidy(&mut self, entity: Slot) -> bool {
        let panes = &self.panes;
        self.groups.tidy(entity, |group| panes.iter().all(|pane| pane.is_free(group)))
    }

    /// Rows of tiles.
    pub fn rows(&self) -> usize {
        self.panes.iter().map(pane::Pane::used).sum()
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        self.groups.bytes() + self.panes.iter().map(pane::Pane::bytes).sum::<usize>()
    }
}
