//! Whether a view can be evaluated entity by entity: its plan leaves entities
//! apart all the way down to the streams (`tiling::local`), so that the rows of
//! some entities are what its SQL gives over the events of these alone.
//!
//! An entity's rows must change only when an event of it comes or when a window's
//! edge passes one: every `now()` of a window has to stand in a comparison with
//! the event time. Nothing here evaluates anything.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan};

use super::tiling::{self, Edge};
use crate::decode::reader::EVENT_TIME;

/// A view that can be evaluated entity by entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keying {
    /// The output column that tells entities apart.
    pub entity: usize,
    /// The column of each stream that does.
    pub columns: BTreeMap<String, String>,
    /// What event times are compared with.
    pub edges: BTreeSet<Edge>,
}

/// Finds how a plan leaves entities apart. `plan` is what [`tiling::optimize`]
/// gave, and `key` are the output columns that are the view's key.
///
/// # Errors
/// Why it does not, as a clause that follows "not keyed: ".
pub fn analyse(state: &SessionState, plan: &LogicalPlan, key: &[usize]) -> Result<Keying, String> {
    // Any column of the key will do: entities are then groups of what has the same value there.
    let mut why = None;
    for entity in key {
        match columns(plan, *entity) {
            Ok(columns) => return Ok(Keying { entity: *entity, columns, edges: edges(state, plan)? }),
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    Err(why.unwrap_or_else(|| "the view has no key".to_owned()))
}

/// The column of each stream that is the entity.
fn columns(plan: &LogicalPlan, entity: usize) -> Result<BTreeMap<String, String>, String> {
    let output = plan.schema().field(entity).data_type();
    let mut columns: BTreeMap<String, String> = BTreeMap::new();
    for (scan, column) in tiling::scans(plan, entity)? {
        let stream = scan.table_name.table();
        let field = scan.projected_schema.field(column);
        if field.data_type() != output {
            let own = field.data_type();
            return Err(format!("the key is of type {output} and `{}` of type {own}", field.name()));
        }
        let known = columns.entry(stream.to_owned()).or_insert_with(|| field.name().clone());
        if known != field.name() {
            let other = field.name();
            return Err(format!("stream `{stream}` is read by `{known}` and by `{other}`"));
        }
    }
    Ok(columns)
}

/// What event times are compared with, anywhere in the plan.
fn edges(state: &SessionState, plan: &LogicalPlan) -> Result<BTreeSet<Edge>, String> {
    let mut edges = BTreeSet::new();
    let mut why = None;
    let _ = plan.apply(|node| {
        let inputs = node.inputs();
        let is_time = |column: &Column| match inputs.as_slice() {
            // The conditions that reach a stream speak of its own columns.
            [] => column.name == EVENT_TIME,
            inputs => inputs.iter().any(|input| {
                let index = input.schema().maybe_index_of_column(column);
                index.is_some_and(|index| is_event_time(input, index))
            }),
        };
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Some(edge) = tiling::edge_of(state, part, is_time) {
                    edges.insert(edge);
                    return Ok(TreeNodeRecursion::Jump);
                }
                let is_misplaced = match part {
                    Expr::Placeholder(_) => tiling::is_window(part) || chooses_events(node),
                    _ => false,
                };
                if is_misplaced && why.is_none() {
                    why = Some(format!(
                        "`now()` stands elsewhere than in a comparison with `{EVENT_TIME}`: {}",
                        tiling::short(&expr.to_string())
                    ));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    why.map_or(Ok(edges), Err)
}

/// Whether the expressions of a node say which events count, rather than what
/// is told of them or of what they came to. There, the clock would be a window
/// without an edge.
fn chooses_events(node: &LogicalPlan) -> bool {
    let sums_up = |plan: &LogicalPlan| Ok(matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)));
    match node {
        LogicalPlan::Projection(_) | LogicalPlan::Sort(_) => false,
        _ => !node.inputs().iter().any(|input| input.exists(sums_up).unwrap_or(false)),
    }
}

/// Whether an output column of a plan has the event time of some event in every
/// row, or NULL.
fn is_event_time(plan: &LogicalPlan, index: usize) -> bool {
    let below = |input: &LogicalPlan, expr: Option<&Expr>| {
        let column = expr.and_then(Expr::try_as_col);
        let index = column.and_then(|column| input.schema().maybe_index_of_column(column));
        index.is_some_and(|index| is_event_time(input, index))
    };
    match plan {
        LogicalPlan::TableScan(scan) => scan.projected_schema.field(index).name() == EVENT_TIME,
        LogicalPlan::Projection(projection) => {
            below(&projection.input, projection.expr.get(index).map(without_alias))
        }
        LogicalPlan::Aggregate(aggregate) => {
            below(&aggregate.input, aggregate.group_expr.get(index).map(without_alias))
        }
        LogicalPlan::SubqueryAlias(alias) => is_event_time(&alias.input, index),
        LogicalPlan::Filter(filter) => is_event_time(&filter.input, index),
        LogicalPlan::Sort(sort) => is_event_time(&sort.input, index),
        LogicalPlan::Distinct(Distinct::All(input)) => is_event_time(input, index),
        LogicalPlan::Window(window) => {
            index < window.input.schema().fields().len() && is_event_time(&window.input, index)
        }
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| is_event_time(input, index)),
        LogicalPlan::Join(join) => is_event_time_of_join(join, index),
        _ => false,
    }
}

fn is_event_time_of_join(join: &Join, index: usize) -> bool {
    use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    let of =
        |side: &LogicalPlan, index: usize| index < side.schema().fields().len() && is_event_time(side, index);
    match join.join_type {
        Inner | Left | Right | Full => match index.checked_sub(join.left.schema().fields().len()) {
            None => of(&join.left, index),
            Some(index) => of(&join.right, index),
        },
        // The mark comes after the side's own columns.
        LeftSemi | LeftAnti | LeftMark => of(&join.left, index),
        RightSemi | RightAnti | RightMark => of(&join.right, index),
    }
}

fn without_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_alias(&alias.expr),
        other => other,
    }
}
