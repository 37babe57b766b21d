//! `windrow replay`: a stretch of the topics evaluated again, for backfill into
//! Redis or a history in Parquet files. The running job's consumer group is not
//! touched, and clocks follow events only.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::job::{Job, Scope};
use super::run::{cadence, shared};
use crate::config::Flags;
use crate::error::{Fault, Place, Problem, Problems};
use crate::pipeline::{Crew, Options, Pipeline, Progress};
use crate::sink::Sink;
use crate::sink::memory::MemorySink;
use crate::sink::parquet::{Error as ParquetError, ParquetFiles};
use crate::sink::rows::History;
use crate::source::range::{self, Bound, RangeSource, RangeStream};
use crate::time::{Clock, SystemClock, duration_text};

const HELP: &str = "\
Examples:
  windrow replay --from beginning --to end
  windrow replay --from 0:1200,1:900 --to 0:5000,1:4800 --views transaction
  windrow replay --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --dry-run
  windrow replay --from 2026-01-01T00:00:00Z --parquet history --max-batch-events 1000

Events before --from are read as far as windows reach back, so that the first value is right; a warning
says where the topic does not hold them any more. A hash in Redis that is of a later time than what is
replayed stays as it is. Neither the consumer group nor checkpoints are touched, and no port is opened:
options for these change nothing here.

--parquet writes DIR/<view>.parquet instead, and Redis is not asked: a row whenever an entity's features
changed from one batch to the next, with _as_of, _computed_at and _deleted. Smaller batches make it finer.";

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

    /// Write every row that changes into a new file a view in this directory, and nothing into Redis
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run")]
    parquet: Option<PathBuf>,

    /// Compute everything and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &ReplayArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let scope = Scope { views: args.views.as_deref(), ..Scope::default() };
    let (job, mut problems) = Job::inspect(&args.flags, scope, &clock)?;
    problems.0.extend(backwards(&args.from, &args.to));
    let job = problems.into_result(job)?;
    let streams = range_streams(&job);
    if let Bound::Offsets(offsets) = &args.from {
        check_names(offsets, &streams)?;
    }
    if let Bound::Offsets(offsets) = &args.to {
        check_names(offsets, &streams)?;
    }
    let shared = shared(&job, &clock);
    let files = args.parquet.as_deref().map(|directory| parquet_files(&job, directory)).transpose()?;
    let crews = crews(args, &job, files.as_ref())?;
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
    let done = pipeline.run(&mut source, stop, |progress| {
        shown.show(progress);
        if files.as_ref().is_some_and(ParquetFiles::has_failed) {
            stop.store(true, Ordering::Relaxed);
        }
    })?;
    shown.end();
    let interrupted = stop.load(Ordering::Relaxed);
    let written = match files {
        Some(files) if !interrupted || files.has_failed() => format!(", {} rows written", files.finish()?),
        None if !args.dry_run => String::new(),
        _ => ", nothing written".to_owned(),
    };
    println!(
        "replayed {} events ({} to fill windows, {} rejected): {} feature values of {} entities{written}",
        done.processed,
        done.lead_in,
        done.rejected,
        done.features,
        done.entities(),
    );
    if interrupted {
        bail!("interrupted before the end of the range");
    }
    Ok(())
}

/// The workers, each with what its features go to.
fn crews(args: &ReplayArgs, job: &Job, files: Option<&ParquetFiles>) -> anyhow::Result<Vec<Crew>> {
    let mut crews = Vec::new();
    for _ in 0..job.parallelism() {
        let mut worker = job.worker_for_backfill()?;
        let sink: Box<dyn Sink> = if let Some(files) = files {
            worker = worker.with_rows();
            Box::new(files.sink())
        } else if args.dry_run {
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
        crews.push(Crew { worker, sink, dead_letters: None });
    }
    Ok(crews)
}

/// A file a view, in the order that workers have them in.
fn parquet_files(job: &Job, directory: &Path) -> anyhow::Result<ParquetFiles> {
    let mut views = Vec::new();
    for view in &job.views {
        let history = History::try_new(&view.name, &view.output, &view.key).map_err(|error| {
            Problems::from(Problem::new(error.to_string()).at(Place::file(view.file.clone())))
        })?;
        views.push((view.name.clone(), history));
    }
    ParquetFiles::create(directory, views).map_err(|error| match error {
        ParquetError::Exists { .. } => Problems::from(
            Problem::new(error.to_string())
                .hint("move it away or name another directory: what is there is not overwritten"),
        )
        .into(),
        _ => error.into(),
    })
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
            let lead_in = job.longest_window(stream).plus(slack);
            RangeStream { stream, name, topic, lead_in }
        })
        .collect()
}

/// What is wrong with a stretch that ends before it begins, where its ends alone tell that.
fn backwards(from: &Bound, to: &Bound) -> Vec<Problem> {
    let problem = |what: String| Problem::new(what).hint("`--from` is where it begins, `--to` where it ends");
    match (from, to) {
        (Bound::Time(begin), Bound::Time(end)) if end < begin => {
            vec![problem(format!("the stretch ends at {end}, before it begins at {begin}"))]
        }
        (Bound::Offsets(begins), Bound::Offsets(ends)) => begins
            .iter()
            .flat_map(|begin| ends.iter().map(move |end| (begin, end)))
            .filter(|((one, partition, begin), (other, number, end))| {
                // Where streams are not named there is one.
                let is_same = one.is_none() || other.is_none() || one == other;
                is_same && partition == number && end < begin
            })
            .map(|((_, partition, begin), (_, _, end))| {
                problem(format!(
                    "the stretch of partition {partition} ends at offset {end}, before it begins at {begin}"
                ))
            })
            .collect(),
        _ => Vec::new(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, problems: usize) {
        let found = backwards(&from.parse().unwrap(), &to.parse().unwrap());
        assert_eq!(found.len(), problems, "{from} {to}: {found:?}");
    }

    #[test]
    fn a_stretch_that_ends_before_it_begins_is_wrong_usage() {
        check("0:100,1:5", "0:99,1:5", 1);
        check("0:100,1:5", "1:4,0:99", 2);
        check("clicks/0:100", "0:99", 1);
        check("clicks/0:100", "devices/0:99", 0);
        check("0:100", "0:100", 0);
        check("2026-01-31T12:00:01Z", "2026-01-31T12:00:00Z", 1);
        check("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", 0);
        // Only a broker knows these.
        check("0:100", "2026-01-31T12:00:00Z", 0);
        check("end", "0:1", 0);
    }
}
