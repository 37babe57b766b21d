//! `windrow replay`: a stretch of the topics evaluated again, for backfill. The
//! running job's consumer group is not touched, and clocks follow events only.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::job::{Job, Scope};
use super::run::{cadence, shared};
use crate::config::Flags;
use crate::error::{Fault, Problem, Problems};
use crate::pipeline::{Crew, Options, Pipeline, Progress};
use crate::sink::Sink;
use crate::sink::memory::MemorySink;
use crate::source::range::{self, Bound, RangeSource, RangeStream};
use crate::time::{Clock, Span, SystemClock, duration_text};

const HELP: &str = "\
Examples:
  windrow replay --from beginning --to end
  windrow replay --from 0:1200,1:900 --to 0:5000,1:4800 --views transaction
  windrow replay --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --dry-run

Events before --from are read as far as windows reach back, so that the first value is right. A hash in
Redis that is of a later time than what is replayed stays as it is.";

/// Options of `windrow replay`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ReplayArgs {
    /// Where to begin: beginning, a time (RFC 3339 or epoch milliseconds), or offsets as PARTITION:OFFSET,… (STREAM/PARTITION:OFFSET with several streams)
    #[arg(long, value_name = "START")]
    from: Bound,

    /// Where to end, exclusive: end, a time, or offsets
    #[arg(long, value_name = "END", default_value = "end")]
    to: Bound,

    /// Only these views, parted by commas
    #[arg(long, value_delimiter = ',', value_name = "VIEW")]
    views: Option<Vec<String>>,

    /// Compute everything and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &ReplayArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let scope = Scope { views: args.views.as_deref(), ..Scope::default() };
    let job = Job::from_flags(&args.flags, scope, &clock)?;
    let streams = range_streams(&job);
    if let Bound::Offsets(offsets) = &args.from {
        check_names(offsets, &streams)?;
    }
    if let Bound::Offsets(offsets) = &args.to {
        check_names(offsets, &streams)?;
    }
    let shared = shared(&job, &clock);
    let mut crews = Vec::new();
    for _ in 0..job.parallelism() {
        let sink: Box<dyn Sink> = if args.dry_run {
            Box::new(MemorySink::default())
        } else {
            let mut redis = job.redis_for_backfill()?;
            match redis.ping() {
                Err(error) if error.fault() == Fault::User => return Err(error.into()),
                Err(error) => tracing::warn!("{error}; waiting for it"),
                Ok(_) => {}
            }
            Box::new(redis)
        };
        // What is dead was put aside when it was first read.
        crews.push(Crew { worker: job.worker()?, sink, dead_letters: None });
    }
    let mut source = RangeSource::open(range::Options {
        brokers: job.brokers(),
        properties: job.consumer_properties(),
        streams,
        from: args.from.clone(),
        to: args.to.clone(),
        max_batch_events: job.config.max_batch_events,
    })?;
    for assignment in source.assignments() {
        eprintln!(
            "{} partition {}: offsets {} to {}, lead-in from {}",
            job.streams.get(assignment.partition.stream).topic,
            assignment.partition.partition,
            assignment.publish_from,
            assignment.end,
            assignment.read_from,
        );
    }
    let options = Options {
        cadence: cadence(&job),
        until_caught_up: true,
        idle_clocks: false,
        shutdown_timeout: job.config.shutdown_timeout,
    };
    let mut shown = Shown::new();
    let mut pipeline = Pipeline::start(options, shared, crews)?;
    if let Some(limit) = job.memory_limit() {
        pipeline = pipeline.with_memory_limit(limit);
    }
    let done = pipeline.run(&mut source, stop, |progress| shown.show(progress))?;
    shown.end();
    println!(
        "replayed {} events ({} to fill windows, {} rejected): {} feature values of {} entities{}",
        done.processed,
        done.lead_in,
        done.rejected,
        done.features,
        done.entities(),
        if args.dry_run { ", nothing written" } else { "" },
    );
    if stop.load(Ordering::Relaxed) {
        bail!("interrupted before the end of the range");
    }
    Ok(())
}

/// The streams of a job, each with how far back its events can matter.
fn range_streams(job: &Job) -> Vec<RangeStream> {
    let clock = job.clock_options();
    // Lateness is decided by a clock that the lead-in has to have wound up before its first event that counts.
    let slack = clock.max_out_of_order.plus(clock.allowed_lateness).plus(clock.max_future);
    job.streams_read()
        .into_iter()
        .map(|(stream, topic)| {
            let name = job.streams.get(stream).name.clone();
            let lead_in = longest_window(job, &name).plus(slack);
            RangeStream { stream, name, topic, lead_in }
        })
        .collect()
}

/// How far back an event of a stream counts in any view.
pub(super) fn longest_window(job: &Job, stream: &str) -> Span {
    job.views
        .iter()
        .flat_map(|view| &view.scans)
        .filter(|scan| scan.stream == stream)
        .map(|scan| scan.bound.span().plus(scan.bound.resolution))
        .max()
        .unwrap_or(Span::ZERO)
}

/// Offsets name their stream where there are several.
fn check_names(offsets: &[(Option<String>, i32, i64)], streams: &[RangeStream]) -> Result<(), Problems> {
    let names = || streams.iter().map(|stream| stream.name.clone());
    for (name, partition, offset) in offsets {
        match name {
            None if streams.len() > 1 => {
                return Err(Problem::new(format!(
                    "offset {offset} of partition {partition} could be of several streams"
                ))
                .hint(format!(
                    "write it as `{}/{partition}:{offset}`, or choose views of one stream with `--views`",
                    streams[0].name
                ))
                .into());
            }
            Some(name) if !streams.iter().any(|stream| stream.name == *name) => {
                return Err(Problem::new(format!("no view replayed reads stream `{name}`"))
                    .valid("streams read", name, names())
                    .into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Progress: a bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    begun: Instant,
    said: Instant,
}

impl Shown {
    /// Elsewhere than on a terminal a line is written this often.
    const LINE_EVERY: Duration = Duration::from_secs(5);

    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}% {msg} ETA {eta}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        Self { bar, begun: now, said: now }
    }

    fn show(&mut self, progress: &Progress) {
        let (done, all) = progress.offsets();
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "offsets are far below 2^53")]
        let (done_f, all_f) = (done as f64, all as f64);
        let reached = progress.event_time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        let message = format!("{:.0} events/s, event time {reached},", done_f / seconds);
        if let Some(bar) = &self.bar {
            bar.set_length(u64::try_from(all).unwrap_or(0));
            bar.set_position(u64::try_from(done).unwrap_or(0));
            bar.set_message(message);
        } else if self.said.elapsed() >= Self::LINE_EVERY {
            self.said = Instant::now();
            let eta = Duration::try_from_secs_f64(((all_f - done_f) * seconds / done_f.max(1.0)).round());
            let eta = eta.map_or_else(|_| "unknown".to_owned(), duration_text);
            eprintln!("{done} of {all} offsets, {message} ETA {eta}");
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
