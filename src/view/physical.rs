//! Whether DataFusion can run a plan. Some plans pass the planner and are refused only when they are
//! made physical, which is with the first batch: that is found out before there is one.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::table::StreamTable;
use super::window::{self, Window};
use crate::time::EventTime;

/// Makes a plan physical, over tables without rows.
///
/// # Errors
/// What DataFusion says.
pub async fn rehearse(state: &SessionState, plan: &LogicalPlan, windows: &BTreeSet<Window>) -> Result<()> {
    let bound = plan.clone().replace_params_with_values(&window::bind(windows, EventTime(0)))?;
    let empty = bound
        .transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                scan.source = provider_as_source(Arc::new(StreamTable::layout(scan.source.schema())));
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?
        .data;
    state.query_planner().create_physical_plan(&empty, state).await.map(|_| ())
}
