//! The reference: the view's own plan, run by DataFusion over every retained
//! event, with `now()` bound to the clock.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::TableScan;
use datafusion::physical_plan::collect;

use crate::time::EventTime;
use crate::view::FeatureView;
use crate::view::physical::physical;
use crate::view::table::StreamTable;

/// Where the rows of a shard's streams come from.
pub trait Rows {
    /// The columns of a stream that are decoded, and batches that have at least
    /// every row after `after`, in the order of partition and offset.
    fn rows(&self, stream: &str, after: EventTime) -> (SchemaRef, Vec<RecordBatch>);
}

/// Every row of the view at `clock`, in one batch.
///
/// # Errors
/// What DataFusion says.
pub async fn evaluate(
    state: &SessionState,
    view: &FeatureView,
    clock: EventTime,
    rows: &impl Rows,
) -> Result<RecordBatch> {
    let table = |scan: &TableScan| {
        let stream = scan.table_name.table();
        let after = view.keep_after(stream, clock).unwrap_or(EventTime(i64::MIN));
        let (decoded, batches) = rows.rows(stream, after);
        StreamTable::with_rows(scan.source.schema(), decoded, batches)
    };
    let physical = physical(state, &view.plan, &view.windows, clock, table).await?;
    let batches = collect(Arc::clone(&physical), state.task_ctx()).await?;
    Ok(concat_batches(&physical.schema(), &batches)?)
}
