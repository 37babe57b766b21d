//! `windrow run`: the main job.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::job::{Job, Scope};
use crate::config::{Flags, StartFrom};
use crate::error::Fault;
use crate::pipeline::cadence::Cadence;
use crate::pipeline::{Crew, Options, Pipeline, Shared};
use crate::sink::Sink;
use crate::source::kafka::{self, KafkaSource};
use crate::telemetry::{self, Health, Metrics};
use crate::time::{Clock, SystemClock};
use crate::view::{FeatureView, Sharding, Streams};

const HELP: &str = "\
Examples:
  windrow run --brokers kafka:9092 --redis-url redis://redis:6379
  windrow run --config windrow.toml --batch-interval 100ms
  windrow run --start-from earliest --until-caught-up          once over everything, then end";

/// Bytes of events that wait for the next batch, at most: with a batch being
/// computed, one that waits for its publisher and one being published, four times this.
pub(super) const MAX_BATCH_BYTES: usize = 64 << 20;

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

pub(super) fn run(args: &RunArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let job = Job::from_flags(&args.flags, Scope::default(), &clock)?;
    for note in &job.notes {
        tracing::warn!("{note}");
    }
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
        let mut sink = job.redis()?;
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
    let progress = Pipeline::start(options, shared, crews)?.run(&mut source, stop, |_| {})?;
    tracing::info!(
        processed = progress.processed,
        rejected = progress.rejected,
        features = progress.features,
        entities = progress.entities(),
        "ended"
    );
    drop(source);
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(())
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
        max_bytes: MAX_BATCH_BYTES,
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
        properties: job.config.kafka.0.clone(),
        topics: job.streams_read(),
        start_from: match job.config.start_from {
            StartFrom::Earliest => kafka::StartFrom::Earliest,
            StartFrom::Latest => kafka::StartFrom::Latest,
            StartFrom::Committed => kafka::StartFrom::Committed,
            StartFrom::Timestamp(time) => kafka::StartFrom::Timestamp(time),
        },
        whole_topics: whole_topics(&job.views, &job.streams),
        copartitioned: job.views.iter().any(|view| view.streams().len() > 1),
        until_caught_up,
        max_batch_events: job.config.max_batch_events,
        max_batch_bytes: MAX_BATCH_BYTES,
    }
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
