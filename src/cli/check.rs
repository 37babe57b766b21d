//! `windrow check`: everything that is wrong, without a network.

use std::sync::Arc;

use clap::Args;

use super::job::{Job, Scope};
use crate::config::Flags;
use crate::time::{Clock, SystemClock};
use crate::view::Sharding;

const HELP: &str = "\
Examples:
  windrow check
  windrow check --config windrow.toml --sql-dir sql --schema-dir schemas";

/// Options of `windrow check`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let job = Job::from_flags(&args.flags, Scope { offline: true, ..Scope::default() }, &clock)?;
    for note in &job.notes {
        eprintln!("note: {note}");
    }
    for view in &job.views {
        let shards = match view.sharding {
            Sharding::ByPartition => "a shard a partition",
            Sharding::Single { .. } => "one shard, one process",
        };
        println!(
            "ok  {}: {} features of {}, {}, {shards}",
            view.name,
            view.output.fields().len() - view.key.len(),
            view.header.entity,
            view.classification.class,
        );
    }
    println!("{} views over {} streams are ready to run", job.views.len(), job.streams_read().len());
    Ok(())
}
