//! `windrow run`: the main job.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::net::TcpListener;

use super::job::{Job, Scope};
use super::signals;
use crate::checkpoint;
use crate::checkpoint::store::Store;
use crate::config::{Flags, StartFrom};
use crate::error::Fault;
use crate::frame::StreamId;
use crate::pipeline::cadence::Cadence;
use crate::pipeline::checkpoints::{self, Checkpoints};
use crate::pipeline::{Crew, Options, Pipeline, Progress, Shared};
use crate::sink::Sink;
use crate::source::kafka::{self, KafkaSource};
use crate::source::reach::Reach;
use crate::telemetry::{self, Health, Metrics};
use crate::time::{Clock, SystemClock, duration_text};
use crate::view::{FeatureView, Sharding, Streams};

const HELP: &str = "\
Examples:
  windrow run --brokers kafka:9092 --redis-url redis://redis:6379
  windrow run --config windrow.toml --batch-interval 100ms
  windrow run --start-from earliest --until-caught-up          once over everything, then end";

/// Options of `windrow run`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct RunArgs {
    /// End with status 0 once every partition is processed to the end that it had at the start
    #[arg(long, env = "WINDROW_UNTIL_CAUGHT_UP", num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    until_caught_up: bool,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &RunArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let job = Job::from_flags(&args.flags, Scope::default(), &clock)?;
    for note in &job.notes {
        tracing::warn!("{note}");
    }
    signals::end_within(stop, job.config.shutdown_timeout)?;
    let shared = shared(&job, &clock);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    serve(&runtime, &job, &shared)?;

    let workers = job.parallelism();
    if workers < job.config.parallelism {
        tracing::warn!(
            "one worker instead of {}: a view is one shard over all partitions",
            job.config.parallelism
        );
    }
    let mut crews = Vec::with_capacity(workers);
    for _ in 0..workers {
        let mut sink = job.redis_of_group()?;
        // Wrong credentials are told at once; a store that is away is waited for.
        match sink.ping() {
            Err(error) if error.fault() == Fault::User => return Err(error.into()),
            Err(error) => tracing::warn!("{error}; waiting for it"),
            Ok(_) => shared.health.sink_answers(true),
        }
        crews.push(Crew {
            worker: job.worker()?,
            sink: Box::new(sink),
            dead_letters: Some(job.dead_letters()?),
        });
    }
    let checkpoints = checkpoints(&job)?;
    let mut source = KafkaSource::join(source_options(&job, args.until_caught_up))?;
    let options = Options {
        cadence: cadence(&job),
        until_caught_up: args.until_caught_up,
        idle_clocks: !args.until_caught_up,
        shutdown_timeout: job.config.shutdown_timeout,
    };
    tracing::info!(
        views = job.views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>().join(", "),
        group = job.config.group_id,
        brokers = job.brokers(),
        "running"
    );
    let mut rebuilding = Rebuilding::default();
    let mut pipeline = Pipeline::start(options, shared, crews)?;
    if let Some(checkpoints) = checkpoints {
        pipeline = pipeline.with_checkpoints(checkpoints);
    }
    if let Some(limit) = job.memory_limit() {
        pipeline = pipeline.with_memory_limit(limit);
    }
    let progress = pipeline.run(&mut source, stop, |progress| rebuilding.show(progress))?;
    tracing::info!(
        processed = progress.processed,
        rejected = progress.rejected,
        features = progress.features,
        entities = progress.entities(),
        "ended"
    );
    source.leave();
    runtime.shutdown_timeout(Duration::from_millis(200));
    if args.until_caught_up && stop.load(Ordering::Relaxed) {
        bail!("interrupted before it had caught up");
    }
    Ok(())
}

/// Where state is kept across restarts, if anywhere.
fn checkpoints(job: &Job) -> anyhow::Result<Option<Checkpoints>> {
    let Some(location) = job.config.checkpoint_dir.clone() else { return Ok(None) };
    let decoded = |stream: StreamId| format!("{:?}", job.config.streams[stream.index()].decode());
    let options = checkpoints::Options {
        interval: job.config.checkpoint_interval,
        resumes: matches!(job.config.start_from, StartFrom::Committed),
        identities: checkpoint::identities(&job.config.group_id, &job.streams, &job.views, decoded),
    };
    Ok(Some(Checkpoints::start(Store::open(location)?, options, &job.streams)?))
}

/// How far windows are rebuilt, told now and then until they are.
#[derive(Default)]
struct Rebuilding {
    /// When this rebuild was first seen, and when it was spoken of last.
    since: Option<(Instant, Instant)>,
    /// Offsets that were last seen to be all read again.
    rebuilt: i64,
}

impl Rebuilding {
    const LINE_EVERY: Duration = Duration::from_secs(5);

    fn show(&mut self, progress: &Progress) {
        let (done, all) = progress.lead_in_read();
        let now = Instant::now();
        match self.since {
            None if done < all => {
                self.since = Some((now, now));
                tracing::info!(offsets = all, "windows are being rebuilt");
            }
            Some((begun, _)) if done >= all => {
                self.since = None;
                self.rebuilt = all;
                let taken = begun.elapsed().as_secs_f64();
                tracing::info!(offsets = all, "windows are rebuilt, in {taken:.1} s");
            }
            // So few that one turn did it; or partitions were given up.
            None => {
                if all > self.rebuilt {
                    tracing::info!(offsets = all, "windows are rebuilt");
                }
                self.rebuilt = all;
            }
            Some((begun, said)) if now.duration_since(said) >= Self::LINE_EVERY => {
                self.since = Some((begun, now));
                tracing::info!("windows are being rebuilt: {}", rebuilt(done, all, begun.elapsed()));
            }
            _ => {}
        }
    }
}

/// How much of the offsets, and when the rest will be done at that pace.
fn rebuilt(done: i64, all: i64, taken: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "offsets are far below 2^53")]
    let (done_f, all_f) = (done as f64, all as f64);
    let left = (all_f - done_f) * taken.as_secs_f64() / done_f.max(1.0);
    let left = Duration::try_from_secs_f64(left.round());
    let left = left.map_or_else(|_| "unknown".to_owned(), duration_text);
    format!("{:.0} % of {all} offsets, ETA {left}", 100.0 * done_f / all_f.max(1.0))
}

/// What the parts of a run share.
pub(super) fn shared(job: &Job, clock: &Arc<dyn Clock>) -> Shared {
    let streams: Vec<(&str, &str)> =
        job.streams.iter().map(|stream| (stream.name.as_str(), stream.topic.as_str())).collect();
    let views: Vec<&str> = job.views.iter().map(|view| view.name.as_str()).collect();
    Shared {
        streams: Arc::clone(&job.streams),
        metrics: Metrics::new(&streams, &views),
        health: Health::new(Arc::clone(clock)),
        clock: Arc::clone(clock),
    }
}

/// When a turn is taken.
pub(super) fn cadence(job: &Job) -> Cadence {
    Cadence {
        interval: job.config.batch_interval,
        max_events: job.config.max_batch_events,
        max_bytes: job.waiting_bytes(),
    }
}

/// Answers for metrics and health, until the process ends; the address is the
/// one that it got, where any port would do.
pub(super) fn serve(
    runtime: &tokio::runtime::Runtime,
    job: &Job,
    shared: &Shared,
) -> anyhow::Result<SocketAddr> {
    let address = job.config.metrics_addr;
    let listener = runtime.block_on(TcpListener::bind(address)).with_context(|| {
        format!("could not listen on {address} for metrics; choose another with `--metrics-addr`")
    })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!("metrics and health on http://{address}");
    let (metrics, health) = (shared.metrics.clone(), shared.health.clone());
    runtime.spawn(async move {
        if let Err(error) = telemetry::http::serve(listener, metrics, health, std::future::pending()).await {
            tracing::error!("metrics and health are not answered any more: {error}");
        }
    });
    Ok(address)
}

/// How a job consumes.
pub(super) fn source_options(job: &Job, until_caught_up: bool) -> kafka::Options {
    kafka::Options {
        brokers: job.brokers(),
        group_id: job.config.group_id.clone(),
        properties: job.consumer_properties(),
        topics: job.streams_read(),
        windows: job
            .streams_read()
            .into_iter()
            .map(|(stream, _)| (stream, job.longest_window(stream)))
            .collect(),
        reach: Reach {
            streams: Arc::clone(&job.streams),
            views: job.views.clone(),
            clock: job.clock_options(),
        },
        start_from: match job.config.start_from {
            StartFrom::Earliest => kafka::StartFrom::Earliest,
            StartFrom::Latest => kafka::StartFrom::Latest,
            StartFrom::Committed => kafka::StartFrom::Committed,
            StartFrom::Timestamp(time) => kafka::StartFrom::Timestamp(time),
        },
        whole_topics: whole_topics(&job.views, &job.streams),
        copartitioned: job.views.iter().any(|view| view.streams().len() > 1),
        joined: joined(&job.views, &job.streams),
        until_caught_up,
        max_batch_events: job.config.max_batch_events,
        max_batch_bytes: job.waiting_bytes(),
    }
}

/// Views whose streams meet partition by partition, with the topics of each.
fn joined(views: &[Arc<FeatureView>], streams: &Streams) -> Vec<(String, Vec<String>)> {
    let by_partition = views.iter().filter(|view| !matches!(view.sharding, Sharding::Single { .. }));
    let several = by_partition.filter(|view| view.streams().len() > 1);
    let with_topics = several.map(|view| {
        let ids = view.streams().into_iter().filter_map(|stream| streams.id(stream));
        (view.name.clone(), ids.map(|id| streams.get(id).topic.clone()).collect())
    });
    with_topics.collect()
}

/// Topics of which one process needs all partitions, and for which view.
fn whole_topics(views: &[Arc<FeatureView>], streams: &Streams) -> Vec<(String, String)> {
    let mut whole = Vec::new();
    for view in views.iter().filter(|view| matches!(view.sharding, Sharding::Single { .. })) {
        for stream in view.streams() {
            if let Some(id) = streams.id(stream) {
                whole.push((streams.get(id).topic.clone(), view.name.clone()));
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuild_tells_how_far_it_is() {
        let taken = Duration::from_secs(10);
        assert_eq!(rebuilt(250, 1000, taken), "25 % of 1000 offsets, ETA 30s");
        assert_eq!(rebuilt(0, 1000, Duration::ZERO), "0 % of 1000 offsets, ETA 0s");
    }
}
