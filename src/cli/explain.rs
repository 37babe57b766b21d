//! `windrow explain`: views, told to a person.

use std::sync::Arc;

use clap::Args;

use super::job::{Job, Scope};
use crate::config::Flags;
use crate::time::{Clock, SystemClock};
use crate::view::explain::{explain, refused};

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
    let (job, problems) = Job::inspect(&args.flags, scope, &clock)?;
    let mut told: Vec<String> = job.views.iter().map(|view| explain(view)).collect();
    let is_wanted = |name: &str| args.view.as_deref().is_none_or(|wanted| wanted == name);
    told.extend(refused(&problems.0).into_iter().filter(|(name, _)| is_wanted(name)).map(|(_, text)| text));
    print!("{}", told.join("\n"));
    problems.into_result(()).map_err(Into::into)
}
