//! A stream as a table: only its layout while views are planned, its retained
//! rows when one is evaluated.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_datafusion_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// The table of a stream.
#[derive(Debug)]
pub struct StreamTable {
    /// Every column of the stream.
    schema: SchemaRef,
    /// The columns that are decoded, and rows of them.
    rows: Option<(SchemaRef, Vec<RecordBatch>)>,
}

impl StreamTable {
    /// A table without rows, for planning.
    pub const fn layout(schema: SchemaRef) -> Self {
        Self { schema, rows: None }
    }

    /// The table with rows that have the columns of `decoded`.
    pub const fn with_rows(schema: SchemaRef, decoded: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, rows: Some((decoded, batches)) }
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters stay where they are; that they also reach the scan is how the
    /// planner learns what bounds it.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (decoded, batches) = match &self.rows {
            Some((decoded, batches)) => (Arc::clone(decoded), batches.clone()),
            None => (Arc::clone(&self.schema), Vec::new()),
        };
        let wanted: Vec<usize> =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let projection = wanted
            .into_iter()
            .map(|index| {
                let name = self.schema.field(index).name();
                decoded
                    .index_of(name)
                    .map_err(|_| plan_datafusion_err!("column `{name}` is used and was not decoded"))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], decoded, Some(projection))?)
    }
}
