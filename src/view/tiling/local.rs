//! Whether a plan leaves entities apart: from the key among its output columns
//! down to the aggregates over streams, or further down to the streams
//! themselves, every node must give an entity's rows from that entity's rows alone.
//!
//! On the way down a node is asked for a set of its output columns, each of
//! which has the entity's key or NULL, and never all of them NULL. It is one
//! column but for full joins, above which `coalesce` puts two together.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::logical_plan::{Aggregate, Distinct, Join, TableScan};
use datafusion::logical_expr::{Case, Expr, ExprSchemable, GroupingSet, LogicalPlan};

use super::leaf::short;

type Columns = BTreeSet<usize>;

/// What a walk ends at, each with the column that is the entity.
enum Ends<'a, 'b> {
    /// Aggregates over one stream; the column is a grouping column.
    Leaves(&'b mut Vec<(&'a Aggregate, usize)>),
    /// Streams.
    Scans(&'b mut Vec<(&'a TableScan, usize)>),
}

/// The plan's leaves, each with the grouping column that is the entity, in the
/// order of a walk from the top, left before right.
pub fn leaves(plan: &LogicalPlan, entity: usize) -> Result<Vec<(&Aggregate, usize)>, String> {
    let mut leaves = Vec::new();
    descend(plan, &Columns::from([entity]), &mut Ends::Leaves(&mut leaves))?;
    Ok(leaves)
}

/// The plan's readings of streams, each with the column that is the entity.
pub fn scans(plan: &LogicalPlan, entity: usize) -> Result<Vec<(&TableScan, usize)>, String> {
    let mut scans = Vec::new();
    descend(plan, &Columns::from([entity]), &mut Ends::Scans(&mut scans))?;
    Ok(scans)
}

/// Whether nothing but filters and projections stands between an aggregate and
/// one stream.
pub fn is_leaf(aggregate: &Aggregate) -> bool {
    let mut plan = &aggregate.input;
    loop {
        plan = match plan.as_ref() {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::TableScan(_) => return true,
            _ => return false,
        };
    }
}

fn descend<'a>(plan: &'a LogicalPlan, wanted: &Columns, ends: &mut Ends<'a, '_>) -> Result<(), String> {
    if has_subquery(plan) {
        return Err(format!("a subquery is computed over all entities: {}", node(plan)));
    }
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            if let Ends::Leaves(leaves) = ends
                && is_leaf(aggregate)
            {
                return match only(wanted) {
                    Some(entity) if entity < aggregate.group_expr.len() && !has_grouping_sets(aggregate) => {
                        leaves.push((aggregate, entity));
                        Ok(())
                    }
                    _ => Err(format!("the view's key is no grouping column of {}", node(plan))),
                };
            }
            if has_grouping_sets(aggregate) {
                return Err(format!("grouping sets: {}", node(plan)));
            }
            let mut below = Columns::new();
            for column in wanted {
                let group = aggregate.group_expr.get(*column);
                below.extend(
                    group
                        .and_then(|group| columns_of(group, aggregate.input.schema()))
                        .ok_or_else(|| format!("groups of several entities: {}", node(plan)))?,
                );
            }
            descend(&aggregate.input, &below, ends)
        }
        LogicalPlan::Projection(projection) => {
            let mut below = Columns::new();
            for column in wanted {
                let expr = &projection.expr[*column];
                let columns = columns_of(expr, projection.input.schema());
                below.extend(
                    columns.ok_or_else(|| format!("the key is computed: {}", short(&expr.to_string())))?,
                );
            }
            descend(&projection.input, &below, ends)
        }
        LogicalPlan::SubqueryAlias(alias) => descend(&alias.input, wanted, ends),
        LogicalPlan::Filter(filter) => descend(&filter.input, wanted, ends),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => descend(&sort.input, wanted, ends),
        LogicalPlan::Distinct(Distinct::All(input)) => descend(input, wanted, ends),
        LogicalPlan::Window(window) => {
            let input = window.input.as_ref();
            let width = input.schema().fields().len();
            let keeps_apart = window.window_expr.iter().all(|expr| {
                partition_by(expr).is_some_and(|columns| columns.iter().any(|by| is_key(by, input, wanted)))
            });
            if !keeps_apart || wanted.iter().any(|column| *column >= width) {
                return Err(format!("a window function over several entities: {}", node(plan)));
            }
            descend(input, wanted, ends)
        }
        LogicalPlan::Union(union) => union.inputs.iter().try_for_each(|input| descend(input, wanted, ends)),
        LogicalPlan::Join(join) => descend_join(plan, join, wanted, ends),
        LogicalPlan::TableScan(scan) => descend_scan(scan, wanted, ends),
        other => Err(format!("rows of several entities meet: {}", node(other))),
    }
}

fn descend_scan<'a>(scan: &'a TableScan, wanted: &Columns, ends: &mut Ends<'a, '_>) -> Result<(), String> {
    let stream = scan.table_name.table();
    let Ends::Scans(scans) = ends else {
        return Err(format!("events of stream `{stream}` are used one by one, not only in aggregates"));
    };
    if scan.fetch.is_some() {
        return Err(format!("a limit on the events of stream `{stream}`"));
    }
    let Some(column) = only(wanted) else {
        return Err(format!("the key is put together from several columns of stream `{stream}`"));
    };
    scans.push((scan, column));
    Ok(())
}

/// The one column of a set, if there is one.
fn only(columns: &Columns) -> Option<usize> {
    columns.first().copied().filter(|_| columns.len() == 1)
}

/// A join keeps entities apart when it compares their keys.
///
/// | join | whose key the row has |
/// |---|---|
/// | inner | either side's |
/// | left, and semi, anti and mark on the left | the left side's |
/// | right, and semi, anti and mark on the right | the right side's |
/// | full | both sides' together |
fn descend_join<'a>(
    plan: &LogicalPlan,
    join: &'a Join,
    wanted: &Columns,
    ends: &mut Ends<'a, '_>,
) -> Result<(), String> {
    use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    let width = join.left.schema().fields().len();
    let (left, right): (Columns, Columns) = match join.join_type {
        Inner | Left | Right | Full => (
            wanted.iter().copied().filter(|column| *column < width).collect(),
            wanted.iter().filter_map(|column| column.checked_sub(width)).collect(),
        ),
        LeftSemi | LeftAnti | LeftMark => {
            (wanted.iter().copied().filter(|column| *column < width).collect(), Columns::new())
        }
        RightSemi | RightAnti | RightMark => {
            let width = join.right.schema().fields().len();
            (Columns::new(), wanted.iter().copied().filter(|column| *column < width).collect())
        }
    };
    if join.null_aware {
        return Err(format!("NOT IN looks at all entities (NOT EXISTS does not): {}", node(plan)));
    }
    for (on_left, on_right) in &join.on {
        let by_left = is_key(on_left, &join.left, &left);
        let by_right = is_key(on_right, &join.right, &right);
        let fits = match join.join_type {
            Inner => by_left || by_right,
            Left | LeftSemi | LeftAnti | LeftMark => by_left,
            Right | RightSemi | RightAnti | RightMark => by_right,
            Full => by_left && by_right,
        };
        let types = (on_left.get_type(join.left.schema()).ok(), on_right.get_type(join.right.schema()).ok());
        if !fits || types.0 != types.1 {
            continue;
        }
        let below = |by: bool, own: &Columns, on: &Expr, side: &LogicalPlan| {
            if by { Some(own.clone()) } else { columns_of(on, side.schema()) }
        };
        if let (Some(left), Some(right)) =
            (below(by_left, &left, on_left, &join.left), below(by_right, &right, on_right, &join.right))
        {
            descend(&join.left, &left, ends)?;
            return descend(&join.right, &right, ends);
        }
    }
    Err(format!("a join that does not compare the key: {}", node(plan)))
}

/// Whether an expression over a plan's columns is the entity's key, given the
/// columns that are it together.
fn is_key(expr: &Expr, input: &LogicalPlan, wanted: &Columns) -> bool {
    let Some(columns) = columns_of(expr, input.schema()) else { return false };
    match (wanted.len(), columns.first()) {
        (1, Some(column)) if columns.len() == 1 => {
            wanted.iter().any(|wanted| same(input, *wanted).contains(column))
        }
        (0, _) => false,
        _ => columns == *wanted,
    }
}

/// The columns of which an expression takes the first that is not NULL.
/// DataFusion writes `coalesce` as a CASE.
fn columns_of(expr: &Expr, schema: &DFSchema) -> Option<Columns> {
    match expr {
        Expr::Column(column) => schema.maybe_index_of_column(column).map(|index| Columns::from([index])),
        Expr::Alias(alias) => columns_of(&alias.expr, schema),
        Expr::ScalarFunction(function) if function.name() == "coalesce" => {
            let mut columns = Columns::new();
            for argument in &function.args {
                columns.extend(columns_of(argument, schema)?);
            }
            Some(columns)
        }
        Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(last) }) => {
            let mut columns = columns_of(last, schema)?;
            for (when, then) in when_then_expr {
                let Expr::IsNotNull(tested) = when.as_ref() else { return None };
                if tested != then {
                    return None;
                }
                columns.extend(columns_of(then, schema)?);
            }
            Some(columns)
        }
        _ => None,
    }
}

/// The output columns that have the value of column `index` in every row.
fn same(plan: &LogicalPlan, index: usize) -> Columns {
    let mut found = match plan {
        LogicalPlan::Projection(projection) => {
            renamed(&projection.expr, &projection.expr[index], &projection.input)
        }
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index) {
            Some(group) if !has_grouping_sets(aggregate) => {
                renamed(&aggregate.group_expr, group, &aggregate.input)
            }
            _ => Columns::new(),
        },
        LogicalPlan::SubqueryAlias(alias) => same(&alias.input, index),
        LogicalPlan::Filter(filter) => same(&filter.input, index),
        LogicalPlan::Sort(sort) => same(&sort.input, index),
        LogicalPlan::Distinct(Distinct::All(input)) => same(input, index),
        LogicalPlan::Window(window) if index < window.input.schema().fields().len() => {
            same(&window.input, index)
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => same_in_join(join, index),
        _ => Columns::new(),
    };
    found.insert(index);
    found
}

/// The positions of those expressions that are columns equal to that of `expr`.
fn renamed(exprs: &[Expr], expr: &Expr, input: &LogicalPlan) -> Columns {
    let Some(index) = column_of(expr, input.schema()) else { return Columns::new() };
    let below = same(input, index);
    let is_same = |expr: &Expr| column_of(expr, input.schema()).is_some_and(|index| below.contains(&index));
    (0..exprs.len()).filter(|position| is_same(&exprs[*position])).collect()
}

fn same_in_join(join: &Join, index: usize) -> Columns {
    let width = join.left.schema().fields().len();
    let (mut left, mut right) = match index.checked_sub(width) {
        None => (same(&join.left, index), Columns::new()),
        Some(index) => (Columns::new(), same(&join.right, index)),
    };
    loop {
        let before = left.len() + right.len();
        for (on_left, on_right) in &join.on {
            let pair = (column_of(on_left, join.left.schema()), column_of(on_right, join.right.schema()));
            if let (Some(on_left), Some(on_right)) = pair {
                if left.contains(&on_left) {
                    right.extend(same(&join.right, on_right));
                }
                if right.contains(&on_right) {
                    left.extend(same(&join.left, on_left));
                }
            }
        }
        if left.len() + right.len() == before {
            left.extend(right.iter().map(|index| index + width));
            return left;
        }
    }
}

fn column_of(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        Expr::Alias(alias) => column_of(&alias.expr, schema),
        _ => None,
    }
}

fn partition_by(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Alias(alias) => partition_by(&alias.expr),
        Expr::WindowFunction(function) => {
            let WindowFunction { params, .. } = function.as_ref();
            Some(&params.partition_by)
        }
        _ => None,
    }
}

fn has_grouping_sets(aggregate: &Aggregate) -> bool {
    let is_set = |group: &Expr| {
        matches!(
            group,
            Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_) | GroupingSet::GroupingSets(_))
        )
    };
    aggregate.group_expr.iter().any(is_set)
}

fn has_subquery(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply_expressions(|expr| {
        found |= expr.exists(|part| {
            Ok(matches!(
                part,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// A node of a plan in few words.
fn node(plan: &LogicalPlan) -> String {
    short(&plan.display().to_string())
}
