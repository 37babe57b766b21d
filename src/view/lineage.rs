//! Where a column comes from: the stream's columns whose values it has, row for
//! row, unchanged.

use std::collections::BTreeSet;

use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

/// A column of a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The stream's name.
    pub stream: String,
    /// The column's name.
    pub column: String,
}

/// The stream columns whose value `column` of `plan`'s output always has. An
/// inner join on equality makes both sides' columns sources of either; a union
/// has only what all its inputs share, so with several inputs it has none
/// unless they are of the same column.
pub fn of(plan: &LogicalPlan, column: &Column) -> BTreeSet<Source> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let belongs =
                column.relation.as_ref().is_none_or(|relation| relation.table() == scan.table_name.table());
            let has = scan.projected_schema.has_column_with_unqualified_name(&column.name);
            if belongs && has {
                BTreeSet::from([Source {
                    stream: scan.table_name.table().to_owned(),
                    column: column.name.clone(),
                }])
            } else {
                BTreeSet::new()
            }
        }
        LogicalPlan::Projection(projection) => projection
            .schema
            .maybe_index_of_column(column)
            .map_or_else(BTreeSet::new, |index| of_expr(&projection.input, &projection.expr[index])),
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(index) = alias.schema.maybe_index_of_column(column) else { return BTreeSet::new() };
            of(&alias.input, &Column::from(alias.input.schema().qualified_field(index)))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let Some(index) = aggregate.schema.maybe_index_of_column(column) else { return BTreeSet::new() };
            aggregate
                .group_expr
                .get(index)
                .filter(|group| !matches!(group, Expr::GroupingSet(_)))
                .map_or_else(BTreeSet::new, |group| of_expr(&aggregate.input, group))
        }
        LogicalPlan::Join(join) => of_join(join, column),
        LogicalPlan::Union(union) => {
            let Some(index) = union.schema.maybe_index_of_column(column) else { return BTreeSet::new() };
            union
                .inputs
                .iter()
                .map(|input| of(input, &Column::from(input.schema().qualified_field(index))))
                .reduce(|all, one| &all & &one)
                .unwrap_or_default()
        }
        LogicalPlan::Unnest(_) | LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => BTreeSet::new(),
        // Filters, sorts, limits, windows, distinct: rows as their only input has them.
        other => match other.inputs().as_slice() {
            [input] if input.schema().maybe_index_of_column(column).is_some() => of(input, column),
            _ => BTreeSet::new(),
        },
    }
}

fn of_join(join: &Join, column: &Column) -> BTreeSet<Source> {
    let side = |plan: &LogicalPlan, column: &Column| {
        if plan.schema().maybe_index_of_column(column).is_some() { of(plan, column) } else { BTreeSet::new() }
    };
    let mut sources = side(&join.left, column);
    sources.extend(side(&join.right, column));
    // A column of the kept side has the other side's value wherever that side has a row at all:
    // enough for the question asked here, which rows meet.
    let (left_kept, right_kept) = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (true, true),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (false, true),
        JoinType::Full => (false, false),
    };
    for (left, right) in &join.on {
        let (left, right) = (of_expr(&join.left, left), of_expr(&join.right, right));
        if left_kept && !sources.is_disjoint(&left) {
            sources.extend(right.iter().cloned());
        }
        if right_kept && !sources.is_disjoint(&right) {
            sources.extend(left);
        }
    }
    sources
}

fn of_expr(input: &LogicalPlan, expr: &Expr) -> BTreeSet<Source> {
    match expr {
        Expr::Column(column) => of(input, column),
        Expr::Alias(alias) => of_expr(input, &alias.expr),
        _ => BTreeSet::new(),
    }
}
