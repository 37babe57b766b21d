//! A leaf: an aggregate over one stream, written in terms of the stream's own
//! columns, with its windows split from its other conditions.
//!
//! `count(*) FILTER (WHERE mcc = '6011' AND event_time > now() - INTERVAL '5 minutes')`
//! is the base aggregate `count(*) FILTER (WHERE mcc = '6011')` seen through an
//! [`Edge`]. Aggregates that differ by their edges alone share the base.
//!
//! Functions whose result depends on the order of events get the order of the
//! log as their last ordering, so that partial results say how they meet.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, Placeholder};
use datafusion::logical_expr::logical_plan::{Aggregate, TableScan};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, SortExpr};

use crate::decode::reader::{EVENT_TIME, OFFSET, PARTITION};
use crate::time::{EventTime, Span, TIMESTAMP_ZONE};
use crate::view::window::{self, NOW, Window};

/// Functions whose result depends on the order in which values come.
const ORDERED: [&str; 5] = ["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
/// Functions whose result depends on how partial results meet, and what to use instead.
const INEXACT: [(&str, &str); 4] = [
    ("any_value", "first_value"),
    ("approx_median", "median"),
    ("approx_percentile_cont", "percentile_cont"),
    ("approx_percentile_cont_with_weight", "percentile_cont"),
];
/// Columns of the tables that stand for leaves.
const COLUMN: &str = "c";

/// How an event time is compared with an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// `event_time > edge`
    After,
    /// `event_time >= edge`
    From,
    /// `event_time < edge`
    Before,
    /// `event_time <= edge`
    Until,
}

impl Comparison {
    /// Whether events leave through this edge as time passes, rather than enter.
    pub const fn is_lower(self) -> bool {
        matches!(self, Self::After | Self::From)
    }
}

/// One side of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// How it is compared with.
    pub comparison: Comparison,
    /// How far behind `now()` it lies, and in what steps it moves.
    pub window: Window,
}

impl Edge {
    /// Where it lies at `clock`.
    pub fn at(self, clock: EventTime) -> EventTime {
        EventTime(clock.ceil(self.window.resolution).micros().saturating_sub(self.window.length))
    }
}

/// An aggregate of a leaf: a base aggregate seen through edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which of [`Leaf::bases`].
    pub base: usize,
    /// Its own edges, beside those of the leaf.
    pub edges: Vec<Edge>,
}

/// An aggregate over one stream.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The stream.
    pub stream: String,
    /// What is grouped by, in the stream's columns.
    pub groups: Vec<Expr>,
    /// Which of them is the entity.
    pub entity: usize,
    /// The conditions of WHERE that do not depend on time.
    pub filter: Option<Expr>,
    /// Those that do.
    pub bounds: Vec<Edge>,
    /// Aggregate functions with those conditions of their FILTER that do not depend on time.
    pub bases: Vec<Expr>,
    /// The aggregates, in the order of the output after the groups.
    pub aggregates: Vec<Seen>,
    /// The output: groups, then aggregates.
    pub schema: DFSchemaRef,
}

/// The name of an output column in the table that stands for a leaf: their own
/// names need not differ.
pub fn column(index: usize) -> String {
    format!("{COLUMN}{index}")
}

/// The layout of the table that stands for a leaf.
pub fn table(output: &DFSchema) -> SchemaRef {
    let rename = |(index, field): (usize, &Arc<Field>)| field.as_ref().clone().with_name(column(index));
    Arc::new(Schema::new(output.fields().iter().enumerate().map(rename).collect::<Vec<_>>()))
}

/// Looks into an aggregate over one stream.
pub fn analyse(
    state: &SessionState,
    aggregate: &Aggregate,
    entity: usize,
    single: bool,
) -> Result<Leaf, String> {
    let input = Input::of(&aggregate.input)?;
    let mut bounds = Vec::new();
    let mut filter = Vec::new();
    for condition in input.conditions.iter().cloned() {
        split(state, condition, &mut bounds, &mut filter)?;
    }
    if !bounds.iter().any(|edge| edge.comparison.is_lower()) {
        return Err(format!("no window holds for all events of stream `{}`", input.stream));
    }
    let groups = aggregate
        .group_expr
        .iter()
        .map(|group| input.inline(group).and_then(without_time))
        .collect::<Result<Vec<_>, _>>()?;
    let mut bases: Vec<Expr> = Vec::new();
    let mut aggregates = Vec::new();
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(mut function) = input.inline(expr)? else {
            return Err(format!("no aggregate function: {}", short(&expr.to_string())));
        };
        let name = function.func.name();
        if let Some((_, exact)) = INEXACT.iter().find(|(inexact, _)| *inexact == name) {
            return Err(format!("the result of `{name}` depends on how events meet (`{exact}` does not)"));
        }
        let (mut edges, mut rest) = (Vec::new(), Vec::new());
        if let Some(condition) = function.params.filter.take() {
            split(state, *condition, &mut edges, &mut rest)?;
        }
        edges.sort_unstable();
        edges.dedup();
        function.params.filter = conjunction(rest).map(Box::new);
        order_as_in_log(&mut function, single);
        let base = without_time(Expr::AggregateFunction(function))?;
        let position = bases.iter().position(|known| *known == base);
        let base = position.unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        aggregates.push(Seen { base, edges });
    }
    bounds.sort_unstable();
    bounds.dedup();
    Ok(Leaf {
        stream: input.stream,
        groups,
        entity,
        filter: conjunction(filter),
        bounds,
        bases,
        aggregates,
        schema: Arc::clone(&aggregate.schema),
    })
}

impl Leaf {
    /// The stream's columns that it reads, the order of the log among them.
    pub fn columns(&self) -> BTreeSet<String> {
        let exprs = self.groups.iter().chain(&self.filter).chain(&self.bases);
        exprs.flat_map(|expr| expr.column_refs()).map(|column| column.name.clone()).collect()
    }
}

/// What an aggregate reads: a stream's columns and the conditions on them, with
/// the projections in between put in place.
struct Input<'a> {
    stream: String,
    schema: &'a DFSchema,
    columns: Vec<Expr>,
    conditions: Vec<Expr>,
}

impl<'a> Input<'a> {
    fn of(plan: &'a LogicalPlan) -> Result<Self, String> {
        match plan {
            LogicalPlan::TableScan(scan) => Self::of_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => {
                Ok(Self { schema: &alias.schema, ..Self::of(&alias.input)? })
            }
            LogicalPlan::Filter(filter) => {
                let mut input = Self::of(&filter.input)?;
                let predicate = input.inline(&filter.predicate)?;
                input.conditions.extend(split_conjunction_owned(predicate));
                Ok(input)
            }
            LogicalPlan::Projection(projection) => {
                let input = Self::of(&projection.input)?;
                let columns =
                    projection.expr.iter().map(|expr| input.inline(expr)).collect::<Result<_, _>>()?;
                Ok(Self { schema: &projection.schema, columns, ..input })
            }
            other => {
                Err(format!("not only filters and projections: {}", short(&other.display().to_string())))
            }
        }
    }

    fn of_scan(scan: &'a TableScan) -> Result<Self, String> {
        let stream = scan.table_name.table().to_owned();
        if scan.fetch.is_some() {
            return Err(format!("a limit on the events of stream `{stream}`"));
        }
        let column = |field: &Arc<Field>| Expr::Column(Column::new_unqualified(field.name()));
        let columns = scan.projected_schema.fields().iter().map(column).collect();
        Ok(Self { stream, schema: &scan.projected_schema, columns, conditions: Vec::new() })
    }

    /// An expression over the input, in the stream's columns.
    fn inline(&self, expr: &Expr) -> Result<Expr, String> {
        let inlined = expr.clone().transform_up(|part| match &part {
            Expr::Column(column) => {
                let index = self.schema.index_of_column(column)?;
                Ok(Transformed::yes(self.columns[index].clone()))
            }
            Expr::Alias(alias) => Ok(Transformed::yes(alias.expr.as_ref().clone())),
            _ => Ok(Transformed::no(part)),
        });
        inlined.map(|inlined| inlined.data).map_err(|error| error.to_string())
    }
}

/// Tells windows from other conditions.
fn split(
    state: &SessionState,
    condition: Expr,
    edges: &mut Vec<Edge>,
    rest: &mut Vec<Expr>,
) -> Result<(), String> {
    for conjunct in split_conjunction_owned(condition) {
        if !mentions_time(&conjunct) {
            rest.push(conjunct);
            continue;
        }
        match edge_of(state, &conjunct, |column| column.name == EVENT_TIME) {
            Some(edge) => edges.push(edge),
            None => return Err(not_a_window(&conjunct)),
        }
    }
    Ok(())
}

fn not_a_window(expr: &Expr) -> String {
    format!(
        "`now()` stands elsewhere than in a comparison with `{EVENT_TIME}` that is a condition of its own: {}",
        short(&expr.to_string())
    )
}

fn without_time(expr: Expr) -> Result<Expr, String> {
    if mentions_time(&expr) { Err(not_a_window(&expr)) } else { Ok(expr) }
}

/// The edge with which an expression compares an event time, if that is what it does.
pub fn edge_of(
    state: &SessionState,
    conjunct: &Expr,
    is_event_time: impl Fn(&Column) -> bool,
) -> Option<Edge> {
    use Comparison::{After, Before, From, Until};
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else { return None };
    let (column, edge, comparison) = match (op, mentions_time(right)) {
        (Operator::Gt, true) => (left, right, After),
        (Operator::GtEq, true) => (left, right, From),
        (Operator::Lt, true) => (left, right, Before),
        (Operator::LtEq, true) => (left, right, Until),
        (Operator::Gt, false) => (right, left, Before),
        (Operator::GtEq, false) => (right, left, Until),
        (Operator::Lt, false) => (right, left, After),
        (Operator::LtEq, false) => (right, left, From),
        _ => return None,
    };
    let resolution = window::window_placeholder(edge)?;
    let is_time = |part: &Expr| matches!(part, Expr::Column(column) if is_event_time(column));
    let shift = fixed_shift(state, column, is_time)?;
    let now = fixed_shift(state, edge, is_window)?;
    Some(Edge { comparison, window: Window { length: shift.checked_sub(now)?, resolution } })
}

/// By how much an expression shifts the one time in it, if always by the same.
fn fixed_shift(state: &SessionState, expr: &Expr, is_time: impl Fn(&Expr) -> bool) -> Option<i64> {
    // Days after months of several lengths: by these, calendar intervals differ.
    const SAMPLES: [i64; 6] = [
        1_704_067_200_000_000,
        1_709_251_200_000_000,
        1_709_164_800_000_000,
        1_711_843_200_000_000,
        1_722_384_000_000_000,
        1_735_603_200_000_000,
    ];
    let mut shift = None;
    for sample in SAMPLES {
        let time = ScalarValue::TimestampMicrosecond(Some(sample), Some(TIMESTAMP_ZONE.into()));
        let replaced = expr
            .clone()
            .transform_up(|part| {
                let is_time = is_time(&part);
                Ok(if is_time {
                    Transformed::yes(Expr::Literal(time.clone(), None))
                } else {
                    Transformed::no(part)
                })
            })
            .ok()?;
        if !replaced.transformed {
            return None;
        }
        let here = window::evaluate_constant(state, replaced.data)?.checked_sub(sample)?;
        if shift.is_some_and(|shift| shift != here) {
            return None;
        }
        shift = Some(here);
    }
    shift
}

/// The order of the log decides where the view's own ORDER BY does not.
fn order_as_in_log(function: &mut AggregateFunction, single: bool) {
    if function.params.distinct || !ORDERED.contains(&function.func.name()) {
        return;
    }
    // Within a shard of one partition, the offset is enough.
    let columns: &[&str] = if single { &[PARTITION, OFFSET] } else { &[OFFSET] };
    for name in columns {
        let column = Expr::Column(Column::new_unqualified(*name));
        if !function.params.order_by.iter().any(|sort| sort.expr == column) {
            function.params.order_by.push(SortExpr::new(column, true, false));
        }
    }
}

/// Whether an expression is a window's `now()`.
pub fn is_window(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(Placeholder { id, .. }) if id.starts_with(NOW))
}

/// Whether an expression has a window's `now()`.
pub fn mentions_window(expr: &Expr) -> bool {
    expr.exists(|part| Ok(is_window(part))).unwrap_or(true)
}

/// Whether an expression has any `now()`.
fn mentions_time(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_)))).unwrap_or(true)
}

/// Enough of a text to know what is meant.
pub fn short(text: &str) -> String {
    const LENGTH: usize = 100;
    if text.chars().count() <= LENGTH {
        return text.to_owned();
    }
    text.chars().take(LENGTH).chain(['…']).collect()
}

/// The step in which an edge moves, seen from the epoch.
pub fn grain(edge: Edge) -> Span {
    Span(gcd(edge.window.resolution.0, edge.window.length))
}

/// The greatest span of which both are multiples.
pub fn gcd(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one.saturating_abs()
}
