//! A view's plan as DataFusion runs it: bound to a clock, over tables with rows or without. Some plans
//! pass the planner and are refused only when they are made physical: that is found out before there
//! are events.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;

use super::table::StreamTable;
use super::window::{self, Window};
use crate::time::EventTime;

/// Makes a plan physical, with `now()` as it is at `clock` and the tables that its scans are given.
///
/// # Errors
/// What DataFusion says.
pub async fn physical(
    state: &SessionState,
    plan: &LogicalPlan,
    windows: &BTreeSet<Window>,
    clock: EventTime,
    table: impl Fn(&TableScan) -> StreamTable,
) -> Result<Arc<dyn ExecutionPlan>> {
    let bound = plan.clone().replace_params_with_values(&window::bind(windows, clock))?;
    let bound = bound
        .transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                scan.source = provider_as_source(Arc::new(table(&scan)));
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?
        .data;
    state.query_planner().create_physical_plan(&bound, state).await
}

/// Makes a plan physical over tables without rows, to see whether it can be.
///
/// # Errors
/// What DataFusion says.
pub async fn rehearse(state: &SessionState, plan: &LogicalPlan, windows: &BTreeSet<Window>) -> Result<()> {
    let table = |scan: &TableScan| StreamTable::layout(scan.source.schema());
    physical(state, plan, windows, EventTime(0), table).await.map(|_| ())
}
