//! DataFusion as every view is planned and evaluated with.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

use crate::state::kernel::extremes;

/// DataFusion with one partition, since the parallelism is that of shards.
pub fn session() -> SessionState {
    builder().build()
}

/// The same with so many bytes for what a query gathers. A query that wants
/// more fails; nothing is put on a disk instead.
///
/// # Errors
/// What DataFusion says.
pub fn session_within(bytes: usize) -> Result<SessionState> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    Ok(builder().with_runtime_env(runtime).build())
}

fn builder() -> SessionStateBuilder {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    config.options_mut().sql_parser.collect_spans = true;
    config.options_mut().execution.time_zone = Some("+00:00".to_owned());
    let mut builder = SessionStateBuilder::new().with_config(config).with_default_features();
    // The last of those of one name is what SQL means.
    builder.aggregate_functions().get_or_insert_default().extend(extremes().map(Arc::new));
    builder
}

#[cfg(test)]
mod tests {
    use datafusion::common::DataFusionError;
    use datafusion::prelude::SessionContext;

    use super::*;

    fn counted(state: SessionState) -> Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sql = "SELECT column1, count(*) FROM (VALUES (1), (2)) GROUP BY column1";
        runtime.block_on(async {
            let batches = SessionContext::new_with_state(state).sql(sql).await?.collect().await?;
            Ok(batches.iter().map(|batch| batch.num_rows()).sum())
        })
    }

    #[test]
    fn a_query_that_wants_more_memory_fails() {
        assert_eq!(counted(session()).unwrap(), 2);
        assert_eq!(counted(session_within(64 << 20).unwrap()).unwrap(), 2);
        let error = counted(session_within(1).unwrap()).unwrap_err();
        assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    }
}
