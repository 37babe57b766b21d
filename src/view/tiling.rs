//! Whether a view can be evaluated from tiles, and the parts it then has:
//! leaves, which are aggregates over one stream, and the rest of the plan
//! above them, which has to leave entities apart.
//!
//! ```text
//!   SELECT … CASE … HAVING …          the rest: plain SQL over the touched entities ([`local`])
//!      │            │
//!   Aggregate    Aggregate            leaves: kept as partial aggregates ([`leaf`])
//!      │            │
//!   stream       stream
//! ```
//! Nothing here evaluates anything. A plan that cannot be taken apart says why
//! in a sentence that `explain` prints.

mod leaf;
mod local;
mod numbers;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::logical_plan::{LogicalTableSource, TableScan};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerRule};

pub use leaf::{Comparison, Edge, Leaf, Seen, table};
pub(super) use leaf::{edge_of, is_window, short};
pub(super) use local::scans;
pub use numbers::{Numbering, Pane, apart, panes};

/// What precedes a leaf's number in the name of the table that stands for it.
const LEAF: &str = "leaf_";

/// A view taken apart.
#[derive(Debug, Clone)]
pub struct Tiling {
    /// The aggregates that are kept in tiles.
    pub leaves: Vec<Leaf>,
    /// The plan above them; each of them is a table in it ([`leaf_of`]).
    pub rest: LogicalPlan,
    /// The output column that tells entities apart.
    pub entity: usize,
}

/// The number of the leaf that a scan of [`Tiling::rest`] stands for.
pub fn leaf_of(scan: &TableScan) -> Option<usize> {
    scan.table_name.table().strip_prefix(LEAF)?.parse().ok()
}

/// Optimises an analysed plan with those rules that leave aggregates as they
/// are written.
///
/// # Errors
/// What DataFusion says.
pub fn optimize(state: &SessionState, analyzed: LogicalPlan) -> Result<LogicalPlan> {
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    Optimizer::with_rules(rules).optimize(analyzed, state, |_, _| {})
}

/// Takes a plan apart. `plan` is what [`optimize`] gave, `key` are the output
/// columns that are the view's key, and `single` says that events of several
/// partitions meet.
///
/// # Errors
/// Why it cannot be done, as a clause that follows "not tiled: ".
pub fn analyse(
    state: &SessionState,
    plan: &LogicalPlan,
    key: &[usize],
    single: bool,
) -> Result<Tiling, String> {
    // Any column of the key will do: entities are then groups of what has the same value there.
    let mut why = None;
    for entity in key {
        match analyse_by(state, plan, *entity, single) {
            Ok(tiling) => return Ok(tiling),
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    Err(why.unwrap_or_else(|| "the view has no key".to_owned()))
}

fn analyse_by(
    state: &SessionState,
    plan: &LogicalPlan,
    entity: usize,
    single: bool,
) -> Result<Tiling, String> {
    let found = local::leaves(plan, entity)?;
    let leaves = found
        .iter()
        .map(|(aggregate, entity)| leaf::analyse(state, aggregate, *entity, single))
        .collect::<Result<Vec<_>, _>>()?;
    let output = plan.schema().field(entity).data_type();
    for leaf in &leaves {
        let own = leaf.schema.field(leaf.entity).data_type();
        if own != output {
            return Err(format!("the key is of type {output} and the grouping column of type {own}"));
        }
    }
    let rest = replace_leaves(plan).map_err(|error| error.to_string())?;
    if let Some(window) = window_in(&rest) {
        return Err(format!("`now()` bounds a window above the aggregate: {window}"));
    }
    Ok(Tiling { leaves, rest, entity })
}

/// The plan with tables for its leaves, numbered in the order of a walk from
/// the top, left before right: that in which [`local::leaves`] finds them.
fn replace_leaves(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    plan.clone()
        .transform_down(|node| {
            let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
            if !local::is_leaf(aggregate) {
                return Ok(Transformed::no(node));
            }
            let source = Arc::new(LogicalTableSource::new(leaf::table(&aggregate.schema)));
            let name = format!("{LEAF}{count}");
            count += 1;
            let columns: Vec<Expr> = aggregate
                .schema
                .iter()
                .enumerate()
                .map(|(index, (qualifier, field))| {
                    let column = datafusion::common::Column::new(Some(name.clone()), leaf::column(index));
                    Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
                })
                .collect();
            let table = LogicalPlanBuilder::scan(name.clone(), source, None)?.project(columns)?.build()?;
            Ok(Transformed::new(table, true, TreeNodeRecursion::Jump))
        })
        .map(|replaced| replaced.data)
}

/// An expression above the leaves that has a window's `now()`: its rows would
/// change without any tile leaving a window.
fn window_in(rest: &LogicalPlan) -> Option<String> {
    let mut found = None;
    let _ = rest.apply(|node| {
        node.apply_expressions(|expr| {
            if leaf::mentions_window(expr) {
                found = Some(leaf::short(&expr.to_string()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}
