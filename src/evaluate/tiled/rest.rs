//! The plan above the leaves: planned once, run again and again over the
//! leaves' output for the entities that are looked at.

mod counted;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::projection::Projector;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions, collect,
};

use crate::time::EventTime;
use crate::view::FeatureView;
use crate::view::tiling::{Tiling, leaf_of};
use crate::view::window;
pub use counted::with_lengths;

/// The rest of a view's plan.
pub enum Rest {
    /// It computes columns from those of one leaf, and no more: it is run without
    /// streams, whose set-up costs more than a small batch.
    Computed(Computed),
    /// It does not depend on the time: its plan is made.
    Planned(Arc<dyn ExecutionPlan>),
    /// It has `now()`, which is put in each time.
    Timed(LogicalPlan),
}

/// Columns computed from those of one leaf.
pub struct Computed {
    leaf: usize,
    /// Which columns of the leaf.
    projection: Option<Vec<usize>>,
    steps: Vec<Projector>,
    /// Columns of the leaf that have the lengths of its lists, and not these.
    counted: Vec<usize>,
}

impl Rest {
    /// Plans what stands above the leaves.
    ///
    /// # Errors
    /// What DataFusion says.
    pub async fn try_new(state: &SessionState, tiling: &Tiling) -> Result<Self> {
        let plan = tiling
            .rest
            .clone()
            .transform_up(|node| match node {
                LogicalPlan::TableScan(mut scan) => {
                    let Some(leaf) = leaf_of(&scan) else {
                        return internal_err!("{} is no leaf", scan.table_name);
                    };
                    let schema = scan.source.schema();
                    scan.source = provider_as_source(Arc::new(LeafTable { leaf, schema }));
                    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                }
                other => Ok(Transformed::no(other)),
            })?
            .data;
        // The rules left out before, such as that for common subexpressions, do no harm here.
        let plan = state.optimizer().optimize(plan, state, |_, _| {})?;
        if has_clock(&plan) {
            return Ok(Self::Timed(plan));
        }
        let plan = state.query_planner().create_physical_plan(&plan, state).await?;
        Ok(computed(&plan, tiling)?.map_or(Self::Planned(plan), Self::Computed))
    }

    /// Columns of a leaf's output of which the lengths are wanted in the place of its lists.
    pub fn counted(&self, leaf: usize) -> &[usize] {
        match self {
            Self::Computed(computed) if computed.leaf == leaf => &computed.counted,
            _ => &[],
        }
    }

    /// The view's rows, given the leaves' outputs.
    ///
    /// # Errors
    /// What DataFusion says.
    pub async fn run(
        &self,
        state: &SessionState,
        view: &FeatureView,
        clock: EventTime,
        leaves: &[RecordBatch],
    ) -> Result<RecordBatch> {
        let planned = match self {
            Self::Computed(Computed { leaf, projection, steps, .. }) => {
                let rows = projected(&leaves[*leaf], projection.as_deref())?;
                return steps.iter().try_fold(rows, |rows, step| step.project_batch(&rows));
            }
            Self::Planned(plan) => Arc::clone(plan),
            Self::Timed(plan) => {
                let values = window::bind(&view.windows, clock);
                let plan = plan.clone().replace_params_with_values(&values)?;
                state.query_planner().create_physical_plan(&plan, state).await?
            }
        };
        let plan = planned
            .transform_up(|node| {
                let replaced: Arc<dyn ExecutionPlan> = match node.downcast_ref::<LeafExec>() {
                    Some(leaf) => Arc::new(leaf.with_rows(leaves[leaf.leaf].clone())),
                    None => node.reset_state()?,
                };
                Ok(Transformed::yes(replaced))
            })?
            .data;
        let batches = collect(Arc::clone(&plan), state.task_ctx()).await?;
        Ok(concat_batches(&plan.schema(), &batches)?)
    }
}

/// A plan that has projections above a leaf and nothing else.
fn computed(plan: &Arc<dyn ExecutionPlan>, tiling: &Tiling) -> Result<Option<Computed>> {
    let mut projections = Vec::new();
    let mut node = plan;
    while let Some(above) = node.downcast_ref::<ProjectionExec>() {
        projections.push(above);
        node = above.input();
    }
    let Some(leaf) = node.downcast_ref::<LeafExec>() else { return Ok(None) };
    let of_leaf = |column: usize| leaf.projection.as_ref().map_or(column, |projection| projection[column]);
    // What is grouped by is there in any case.
    let is_aggregate = |column: &usize| of_leaf(*column) >= tiling.leaves[leaf.leaf].groups.len();
    let mut steps = Vec::with_capacity(projections.len());
    let mut counted = Vec::new();
    for projection in projections.iter().rev() {
        let (exprs, input) = (projection.projection_expr(), projection.input().schema());
        let mut step = exprs.make_projector(&input)?;
        if steps.is_empty() {
            let mut columns = counted::counted(exprs, &input);
            columns.retain(is_aggregate);
            let lengths = with_lengths(&input, &columns);
            let over_lengths = counted::over_lengths(exprs, &columns)?.make_projector(&lengths)?;
            if over_lengths.output_schema() == step.output_schema() {
                step = over_lengths;
                counted = columns;
            }
        }
        if step.output_schema() != &projection.schema() {
            return Ok(None);
        }
        steps.push(step);
    }
    counted.iter_mut().for_each(|column| *column = of_leaf(*column));
    Ok(Some(Computed { leaf: leaf.leaf, projection: leaf.projection.clone(), steps, counted }))
}

/// Some columns, or all.
fn projected(rows: &RecordBatch, projection: Option<&[usize]>) -> Result<RecordBatch> {
    Ok(match projection {
        Some(projection) => rows.project(projection)?,
        None => rows.clone(),
    })
}

fn has_clock(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}

/// The table that stands for a leaf.
#[derive(Debug)]
struct LeafTable {
    leaf: usize,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for LeafTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(LeafExec::try_new(self.leaf, &self.schema, projection.cloned())?))
    }
}

/// Reads a leaf's output. A plan has it without rows; a run puts them in.
#[derive(Debug)]
struct LeafExec {
    leaf: usize,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
    rows: Option<RecordBatch>,
}

impl LeafExec {
    fn try_new(leaf: usize, schema: &SchemaRef, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = match &projection {
            Some(projection) => Arc::new(schema.project(projection)?),
            None => Arc::clone(schema),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self { leaf, projection, properties: Arc::new(properties), rows: None })
    }

    /// The same with rows. It keeps its properties, and so do the nodes above.
    fn with_rows(&self, rows: RecordBatch) -> Self {
        Self {
            leaf: self.leaf,
            projection: self.projection.clone(),
            properties: Arc::clone(&self.properties),
            rows: Some(rows),
        }
    }
}

impl DisplayAs for LeafExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafExec: leaf={}", self.leaf)
    }
}

impl ExecutionPlan for LeafExec {
    fn name(&self) -> &'static str {
        "LeafExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let Some(rows) = &self.rows else {
            return internal_err!("leaf {} is run without rows", self.leaf);
        };
        let rows = projected(rows, self.projection.as_deref())?;
        Ok(Box::pin(MemoryStream::try_new(vec![rows], schema, None)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::plan::session;
    use crate::view::tests::plan;

    fn rest(sql: &str) -> Rest {
        let view = plan(sql);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Rest::try_new(&session(), view.tiling.as_ref().unwrap())).unwrap()
    }

    /// How the rest of a view is run.
    fn kind(sql: &str) -> &'static str {
        match rest(sql) {
            Rest::Computed(_) => "computed",
            Rest::Planned(_) => "planned",
            Rest::Timed(_) => "timed",
        }
    }

    #[test]
    fn what_only_computes_columns_is_run_without_streams() {
        let counting = |what: &str, having: &str| {
            format!(
                "SELECT card_id, {what} AS n FROM transactions \
                 WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id {having}"
            )
        };
        assert_eq!(kind(&counting("count(*) + 1", "")), "computed");
        assert_eq!(kind(&counting("count(*)", "HAVING count(*) > 1")), "planned");
        assert_eq!(kind(&counting("now() - max(event_time)", "")), "timed");
        assert_eq!(kind(include_str!("../../../sql/transaction.sql")), "computed");
    }

    /// How many lists of a view with these columns are only counted.
    fn lists_counted(columns: &str) -> usize {
        counted_of(columns, "").len()
    }

    /// Which columns of the aggregates' output are lengths, in a view with these columns.
    fn counted_of(columns: &str, also_by: &str) -> Vec<usize> {
        let rest = rest(&format!(
            "SELECT card_id, {columns} FROM transactions \
             WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY card_id{also_by}"
        ));
        assert!(rest.counted(1).is_empty(), "there is one leaf");
        rest.counted(0).to_vec()
    }

    #[test]
    fn lists_that_are_only_counted_are_not_made() {
        let (currencies, devices) = ("array_agg(DISTINCT currency)", "array_agg(DISTINCT device_id)");
        let counted = format!("cardinality({currencies})");
        assert_eq!(lists_counted(&format!("{counted} AS n")), 1);
        assert_eq!(lists_counted(&format!("{counted} + 1 AS n, {counted} > 2 AS many, count(*) AS m")), 1);
        assert_eq!(lists_counted(&format!("{counted} AS n, cardinality({devices}) AS m")), 2);
        assert_eq!(lists_counted(&format!("cardinality(array_agg(currency)) AS n, {devices} AS m")), 1);
        assert_eq!(lists_counted(&format!("{currencies} AS all")), 0);
        assert_eq!(lists_counted(&format!("{counted} AS n, {currencies} AS all")), 0);
        assert_eq!(lists_counted(&format!("cardinality(array_sort({currencies})) AS n")), 0);
        assert_eq!(lists_counted("cardinality(array_agg(DISTINCT make_array(currency))) AS n"), 0);
        assert_eq!(lists_counted(&format!("array_length({currencies}) AS n")), 0);
        let by_list = format!("cardinality(make_array(currency)) AS n, {counted} AS m");
        assert_eq!(counted_of(&by_list, ", make_array(currency)"), [2]);
    }

    #[test]
    fn the_shipped_view_makes_no_lists() {
        assert_eq!(rest(include_str!("../../../sql/transaction.sql")).counted(0).len(), 2);
    }
}
