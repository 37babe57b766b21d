//! `windrow explain`: views, told to a person.

use std::sync::Arc;

use clap::Args;

use super::job::{Job, Scope};
use crate::config::Flags;
use crate::time::{Clock, SystemClock};
use crate::view::explain::explain;

const HELP: &str = "\
Examples:
  windrow explain
  windrow explain transaction --sql-dir sql";

/// Options of `windrow explain`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ExplainArgs {
    /// The view; all of them when not said
    view: Option<String>,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let wanted: Option<Vec<String>> = args.view.clone().map(|view| vec![view]);
    let scope = Scope { offline: true, views: wanted.as_deref(), ..Scope::default() };
    let job = Job::from_flags(&args.flags, scope, &clock)?;
    let told: Vec<String> = job.views.iter().map(|view| explain(view)).collect();
    print!("{}", told.join("\n"));
    Ok(())
}
