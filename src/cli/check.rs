//! `windrow check`: everything that is wrong, without a network.

use std::sync::Arc;

use clap::Args;

use super::job::{Job, Scope};
use crate::config::{Config, Flags};
use crate::error::Problems;
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
    let job = match Config::load(&args.flags) {
        Ok(config) => Job::load(config, Scope { offline: true, ..Scope::default() }, &clock)?,
        Err(problems) => return Err(with_views(problems, args, &clock).into()),
    };
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

/// A wrong option must not hide what is wrong with the views: they are looked
/// at in their default places, when those are what the options would say.
fn with_views(mut problems: Problems, args: &CheckArgs, clock: &Arc<dyn Clock>) -> Problems {
    let mut flags = Flags::default();
    for path in ["sql_dir", "schema_dir"] {
        if let Some(text) = args.flags.text(path) {
            flags.set(path, text);
        }
    }
    let Ok(config) = Config::load(&flags) else { return problems };
    if let Err(error) = Job::load(config, Scope { offline: true, ..Scope::default() }, clock)
        && let Some(found) = error.downcast_ref::<Problems>()
    {
        problems.0.extend(
            found.0.iter().filter(|problem| !problems.0.contains(problem)).cloned().collect::<Vec<_>>(),
        );
    }
    problems
}
