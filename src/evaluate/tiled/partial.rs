//! A leaf at work: events into partial rows, partial rows into fewer, and
//! partial rows into the aggregate's output.
//!
//! Everything is DataFusion's own: its expressions, its interning of groups,
//! its accumulators with their states. A partial row is the group's columns and
//! then every base aggregate's state.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::kernels::boolean::is_not_null;
use arrow::compute::{FilterBuilder, filter_record_batch, lexsort_to_indices, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{EmitTo, Expr, GroupsAccumulator};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::decode::reader::EVENT_TIME;
use crate::state::tile::{Slot, Store};
use crate::time::EventTime;
use crate::view::tiling::{Edge, Leaf, Numbering, Stratum, keeps, strata, table};

/// Names of the columns that partial rows are interned by, beside the groups.
const TILE: &str = "tile";
const OWNER: &str = "owner";

/// Partial rows that came of one batch.
pub struct Partial {
    /// The entity of each row.
    pub entities: ArrayRef,
    /// The tile of each row.
    pub tiles: Vec<i64>,
    /// Groups, then states.
    pub rows: RecordBatch,
}

/// A base aggregate.
struct Base {
    aggregate: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// No rows of its arguments.
    nothing: Vec<ArrayRef>,
    /// Which columns of a partial row are its state.
    states: Range<usize>,
}

/// Base aggregates that are kept together.
pub struct Bound {
    /// Which, and in what tiles.
    pub stratum: Stratum,
    /// The layout of its partial rows.
    pub schema: SchemaRef,
    bases: Vec<Base>,
}

/// An aggregate of the output.
struct Output {
    stratum: usize,
    base: usize,
    edges: Vec<Edge>,
}

/// A leaf, its expressions bound to the columns that are decoded.
pub struct BoundLeaf {
    /// The stream.
    pub stream: String,
    /// The layout of its output.
    pub schema: SchemaRef,
    /// Its strata; the first has every group.
    pub strata: Vec<Bound>,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    group_fields: Vec<Field>,
    entity: usize,
    filter: Option<Arc<dyn PhysicalExpr>>,
    bounds: Vec<Edge>,
    outputs: Vec<Output>,
}

impl BoundLeaf {
    /// Binds a leaf to the columns that are decoded of its stream.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn try_new(state: &SessionState, leaf: &Leaf, decoded: &SchemaRef) -> Result<Self> {
        let input = DFSchema::try_from(decoded.as_ref().clone())?;
        let planning = PhysicalPlanningContext::default();
        let bind = |expr: &Expr| create_physical_expr(expr, &input, state.execution_props(), &planning);
        let schema = table(&leaf.schema);
        let groups = leaf.groups.iter().map(bind).collect::<Result<Vec<_>>>()?;
        let group_fields: Vec<Field> =
            schema.fields()[..groups.len()].iter().map(|field| field.as_ref().clone()).collect();
        let mut bound = Vec::new();
        let mut places = vec![(0, 0); leaf.bases.len()];
        for (position, stratum) in strata(leaf).into_iter().enumerate() {
            let mut fields = group_fields.clone();
            let mut bases = Vec::new();
            for base in &stratum.bases {
                places[*base] = (position, bases.len());
                let lowered = LoweredAggregateBuilder::new(
                    &leaf.bases[*base],
                    &input,
                    decoded,
                    state.execution_props(),
                    &planning,
                )
                .with_name(format!("base{base}"))
                .build()?;
                let start = fields.len();
                let states = lowered.aggregate.state_fields()?;
                fields.extend(states.iter().enumerate().map(|(index, field)| {
                    field.as_ref().clone().with_name(format!("s{base}_{index}")).with_nullable(true)
                }));
                let states = start..fields.len();
                let nothing = arguments(&lowered.aggregate, &RecordBatch::new_empty(Arc::clone(decoded)))?;
                bases.push(Base { aggregate: lowered.aggregate, filter: lowered.filter, nothing, states });
            }
            bound.push(Bound { stratum, schema: Arc::new(Schema::new(fields)), bases });
        }
        let outputs = leaf
            .aggregates
            .iter()
            .map(|seen| {
                let (stratum, base) = places[seen.base];
                Output { stratum, base, edges: seen.edges.clone() }
            })
            .collect();
        Ok(Self {
            stream: leaf.stream.clone(),
            schema,
            strata: bound,
            groups,
            group_fields,
            entity: leaf.entity,
            filter: leaf.filter.as_ref().map(bind).transpose()?,
            bounds: leaf.bounds.clone(),
            outputs,
        })
    }

    /// Events into partial rows, one set a stratum; none when no event counts.
    ///
    /// # Errors
    /// When an expression fails on some event.
    pub fn partials(&self, events: &RecordBatch) -> Result<Vec<Partial>> {
        let mut events = events.clone();
        if let Some(filter) = &self.filter {
            let mask = evaluate(filter, &events)?;
            events = filter_record_batch(&events, mask.as_boolean())?;
        }
        let mut groups = self.evaluate_groups(&events)?;
        // No entity, no hash.
        let known = is_not_null(&groups[self.entity])?;
        if known.true_count() < known.len() {
            events = filter_record_batch(&events, &known)?;
            groups = self.evaluate_groups(&events)?;
        }
        if events.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let Some(times) = events.column_by_name(EVENT_TIME) else {
            return internal_err!("stream `{}` has no event time", self.stream);
        };
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        self.strata.iter().map(|bound| self.partial(bound, &events, &groups, times)).collect()
    }

    fn evaluate_groups(&self, events: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.groups.iter().map(|group| evaluate(group, events)).collect()
    }

    fn partial(
        &self,
        bound: &Bound,
        events: &RecordBatch,
        groups: &[ArrayRef],
        times: &[i64],
    ) -> Result<Partial> {
        let numbering: Numbering = bound.stratum.numbering;
        let tiles: Int64Array = times.iter().map(|time| numbering.number(*time)).collect::<Vec<_>>().into();
        let mut columns = groups.to_vec();
        columns.push(Arc::new(tiles));
        let mut interner = self.interner([Field::new(TILE, DataType::Int64, false)])?;
        let mut of_rows = Vec::new();
        interner.intern(&columns, &mut of_rows)?;
        let count = interner.len();
        let mut columns = interner.emit(EmitTo::All)?;
        let tiles = columns.split_off(groups.len());
        for base in &bound.bases {
            columns.extend(base.update(events, &of_rows, count)?);
        }
        Ok(Partial {
            entities: Arc::clone(&columns[self.entity]),
            tiles: tiles[0].as_primitive::<Int64Type>().values().to_vec(),
            rows: RecordBatch::try_new(Arc::clone(&bound.schema), columns)?,
        })
    }

    /// Merges what these entities have of one stratum, where it is of one tile.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn merge(&self, bound: &Bound, store: &mut Store, slots: &[Slot]) -> Result<()> {
        let (rows, tiles, owners) = store.gather(slots, |_| true)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let tiles: Int64Array = tiles.iter().map(|tile| store.coarse(*tile)).collect::<Vec<_>>().into();
        let width = self.groups.len();
        let mut columns = rows.columns()[..width].to_vec();
        columns.push(Arc::new(tiles));
        columns.push(Arc::new(UInt32Array::from(owners)));
        let mut interner = self.interner([
            Field::new(TILE, DataType::Int64, false),
            Field::new(OWNER, DataType::UInt32, false),
        ])?;
        let mut of_rows = Vec::new();
        interner.intern(&columns, &mut of_rows)?;
        let count = interner.len();
        let mut columns = interner.emit(EmitTo::All)?;
        let added = columns.split_off(width);
        for base in &bound.bases {
            let mut accumulator = base.accumulator()?;
            accumulator.merge_batch(&rows.columns()[base.states.clone()], &of_rows, count)?;
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let tiles = added[0].as_primitive::<Int64Type>().values();
        let owners = added[1].as_primitive::<UInt32Type>().values();
        let owners = owners.iter().map(|position| slots[*position as usize]).collect();
        let merged = RecordBatch::try_new(Arc::clone(&bound.schema), columns)?;
        Ok(store.replace(slots, merged, tiles, owners)?)
    }

    /// The aggregate's output for some entities. `parts` are the leaf's stores
    /// by stratum, once for each partition.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn output(&self, parts: &[&[Store]], slots: &[Slot], clock: EventTime) -> Result<RecordBatch> {
        let mut interner = self.interner([])?;
        let mut seen: Vec<Vec<Gathered>> = Vec::with_capacity(self.strata.len());
        let width = self.groups.len();
        for (position, bound) in self.strata.iter().enumerate() {
            let inside = inside(&self.bounds, bound.stratum.numbering, clock);
            let mut of_parts = Vec::with_capacity(parts.len());
            for part in parts {
                let (rows, tiles, _) = part[position].gather(slots, &inside)?;
                let mut groups = Vec::with_capacity(tiles.len());
                if rows.num_rows() > 0 {
                    interner.intern(&rows.columns()[..width], &mut groups)?;
                    of_parts.push(Gathered { rows, tiles, groups });
                }
            }
            seen.push(of_parts);
        }
        let count = interner.len();
        if count == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let mut columns = interner.emit(EmitTo::All)?;
        for output in &self.outputs {
            let bound = &self.strata[output.stratum];
            let base = &bound.bases[output.base];
            let inside = inside(&output.edges, bound.stratum.numbering, clock);
            let mut accumulator = base.accumulator()?;
            // Groups without a tile in the window have a value as well: that of no rows. That some
            // have none must be said with a filter, since without one DataFusion takes every group
            // for one that has rows.
            let nobody = BooleanArray::from(Vec::<bool>::new());
            accumulator.update_batch(&base.nothing, &[], Some(&nobody), count)?;
            for part in &seen[output.stratum] {
                part.merge_into(accumulator.as_mut(), base, &inside, count)?;
            }
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Interns groups, and what else tells partial rows apart.
    fn interner<const N: usize>(&self, more: [Field; N]) -> Result<Box<dyn GroupValues>> {
        let fields: Vec<Field> = self.group_fields.iter().cloned().chain(more).collect();
        new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)
    }
}

impl Base {
    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.aggregate.groups_accumulator_supported() {
            return self.aggregate.create_groups_accumulator();
        }
        if let Some(accumulator) = super::distinct::accumulator(&self.aggregate) {
            return Ok(accumulator);
        }
        let aggregate = Arc::clone(&self.aggregate);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
    }

    /// The states of `count` groups over a batch of events.
    fn update(&self, events: &RecordBatch, groups: &[usize], count: usize) -> Result<Vec<ArrayRef>> {
        let order = self.aggregate.order_bys();
        let mut values = arguments(&self.aggregate, events)?;
        let mut filter = match &self.filter {
            Some(filter) => Some(is_true(evaluate(filter, events)?.as_boolean())),
            None => None,
        };
        let mut accumulator = self.accumulator()?;
        if self.aggregate.order_sensitivity().hard_requires() {
            // Such a function takes its input in order.
            let columns =
                order.iter().map(|sort| sort.evaluate_to_sort_column(events)).collect::<Result<Vec<_>>>()?;
            let indices = lexsort_to_indices(&columns, None)?;
            values = values.iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>()?;
            if let Some(mask) = &filter {
                filter = Some(take(mask, &indices, None)?.as_boolean().clone());
            }
            let groups: Vec<usize> = indices.values().iter().map(|row| groups[*row as usize]).collect();
            accumulator.update_batch(&values, &groups, filter.as_ref(), count)?;
        } else {
            accumulator.update_batch(&values, groups, filter.as_ref(), count)?;
        }
        accumulator.state(EmitTo::All)
    }
}

/// What an aggregate takes: its arguments, and what it is ordered by.
fn arguments(aggregate: &AggregateFunctionExpr, events: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let expressions = aggregate.expressions();
    let order = aggregate.order_bys().iter().map(|sort| &sort.expr);
    expressions.iter().chain(order).map(|expr| evaluate(expr, events)).collect()
}

/// Partial rows of one stratum, with their groups in the output.
struct Gathered {
    rows: RecordBatch,
    tiles: Vec<i64>,
    groups: Vec<usize>,
}

impl Gathered {
    fn merge_into(
        &self,
        accumulator: &mut dyn GroupsAccumulator,
        base: &Base,
        inside: impl Fn(i64) -> bool,
        count: usize,
    ) -> Result<()> {
        let states = &self.rows.columns()[base.states.clone()];
        let mask: BooleanArray = self.tiles.iter().map(|tile| Some(inside(*tile))).collect();
        if mask.true_count() == mask.len() {
            return accumulator.merge_batch(states, &self.groups, count);
        }
        let filter = FilterBuilder::new(&mask).optimize().build();
        let states = states.iter().map(|state| filter.filter(state)).collect::<Result<Vec<_>, _>>()?;
        let kept = self.groups.iter().zip(mask.values().iter());
        let groups: Vec<usize> = kept.filter(|(_, kept)| *kept).map(|(group, _)| *group).collect();
        accumulator.merge_batch(&states, &groups, count)
    }
}

/// Says of a tile whether it is inside all edges.
fn inside(edges: &[Edge], numbering: Numbering, clock: EventTime) -> impl Fn(i64) -> bool + use<> {
    let edges: Vec<_> = edges.iter().map(|edge| (edge.comparison, numbering.edge(*edge, clock))).collect();
    move |tile| edges.iter().all(|(comparison, edge)| keeps(*comparison, *edge, tile))
}

/// A condition that is NULL does not hold.
fn is_true(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) }
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(rows)?.into_array(rows.num_rows())
}
