//! `windrow demo`: the main job with everything embedded, so that features can
//! be seen changing where nothing is set up.
//!
//! ```text
//!   generator ─▶ Kafka (in this process) ─▶ the main job ─▶ Redis (a child process), or memory
//!                                               │                     │
//!                                               └─ metrics ─▶ table ◀─┘ read back
//! ```
//! Nothing of the job itself is special here: the same source, worker and sink
//! as in `windrow run`, with other addresses.

mod board;
mod cast;
mod kafka;
mod redis;
mod screen;
mod show;
mod table;
mod vitals;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use self::cast::Cast;
use self::kafka::{Broker, Feed};
use self::redis::RedisServer;
use self::screen::HeldLog;
use self::show::{Glance, Show, Store};
use super::job::{Job, Scope};
use super::run::{cadence, serve, shared, source_options};
use crate::config::{Config, Flags, KafkaProperties, RedisMode};
use crate::error::{Problem, Problems};
use crate::pipeline::{Crew, Options, Pipeline, Progress, Shared};
use crate::sink::Sink;
use crate::sink::encode::KeyTemplate;
use crate::sink::memory::{MemorySink, MemoryStore};
use crate::source::kafka::KafkaSource;
use crate::time::{Clock, SystemClock, parse_duration};

const HELP: &str = "\
Examples:
  windrow demo
  windrow demo --for 30s --rate 5000
  windrow demo --sql-dir my-views                          your views over the generated events

Needs nothing: Kafka runs within the process, Redis as a child process where redis-server is installed
(apt-get install redis-server; otherwise features are shown from memory). Both are gone at the end.
windrow.toml is not read unless it is named with --config; connections, group and offsets are always the
demo's own, and nothing is fenced or kept in checkpoints. --metrics-addr is any free port unless given,
--shutdown-timeout 5s.";

/// How long the last features may take at the end.
const SHUTDOWN_TIMEOUT: &str = "5s";

/// Options of `windrow demo`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DemoArgs {
    /// End after this time, such as 30s [default: at Ctrl-C]
    #[arg(long = "for", env = "WINDROW_FOR", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Events per second, of all streams together
    #[arg(long, env = "WINDROW_RATE", value_name = "N", default_value_t = 2000.0, value_parser = rate)]
    rate: f64,

    /// The same seed gives the same cards, users and kinds of event
    #[arg(long, env = "WINDROW_SEED", value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    flags: Flags,
}

/// Runs until the time is over or `stop` is set.
///
/// # Errors
/// [`Problems`] when views or options are wrong; anything else when a part fails.
pub fn run(args: &DemoArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let live = std::io::stdout().is_terminal();
    let log = HeldLog::start(live);
    let outcome = play(args, live, stop);
    log.release();
    println!("{}", outcome?);
    Ok(())
}

/// Sets everything up, shows it, takes everything down. Gives the summary.
fn play(args: &DemoArgs, live: bool, stop: &AtomicBool) -> anyhow::Result<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let broker = Broker::start()?;
    let redis = RedisServer::start()?;
    let config = config(args, &broker, redis.as_ref())?;
    broker.make_topics(&config.streams)?;
    let job = Job::load(config, Scope { shipped_views: true, ..Scope::default() }, &clock)?;

    let shared = shared(&job, &clock);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let metrics_address = serve(&runtime, &job, &shared)?;
    let memory = MemoryStore::default();
    let crews = crews(&job, redis.is_some(), &memory)?;
    shared.health.sink_answers(true);

    let (cast, glance) = (Mutex::new(Cast::default()), Mutex::new(Glance::default()));
    let store = match &redis {
        Some(redis) => Store::Redis { reader: Box::new(job.redis()?), port: redis.port() },
        None => Store::Memory(memory),
    };
    let template = KeyTemplate::parse(&job.config.redis.key_template)
        .map_err(|error| Problems::from(Problem::new(error.to_string())))?;
    let mut show = Show::new(
        store,
        template,
        job.views.iter().map(|view| &**view),
        (shared.metrics.clone(), metrics_address),
        (&cast, &glance),
    );
    let play = Play { args, live, stop, job: &job, shared, cast: &cast, glance: &glance, clock };
    play.run(crews, &mut show)?;
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(show.summary())
}

/// What the threads of a demo share.
struct Play<'a> {
    args: &'a DemoArgs,
    live: bool,
    stop: &'a AtomicBool,
    job: &'a Job,
    shared: Shared,
    cast: &'a Mutex<Cast>,
    glance: &'a Mutex<Glance>,
    clock: Arc<dyn Clock>,
}

impl Play<'_> {
    /// The job and the generator on threads of their own, the show on this one.
    fn run(self, crews: Vec<Crew>, show: &mut Show<'_>) -> anyhow::Result<()> {
        let options = Options {
            cadence: cadence(self.job),
            until_caught_up: false,
            idle_clocks: true,
            shutdown_timeout: self.job.config.shutdown_timeout,
        };
        let source = source_options(self.job, false);
        let brokers = self.job.brokers();
        let (rate, seed) = (self.args.rate, self.args.seed);
        let feed = Feed::try_new(&brokers, &self.job.config.streams, (rate, seed), self.clock, self.cast)?;
        let health = self.shared.health.clone();
        let pipeline = Pipeline::start(options, self.shared, crews)?;
        let glance = self.glance;
        let watch = move |progress: &Progress| {
            *glance.lock().unwrap_or_else(PoisonError::into_inner) =
                Glance { entities: progress.entities(), features: progress.features };
        };

        let ending = AtomicBool::new(false);
        let (ending, health) = (&ending, &health);
        std::thread::scope(|scope| {
            let _ends = EndsThreads(ending);
            let job = Builder::new().name("job".to_owned()).spawn_scoped(
                scope,
                move || -> anyhow::Result<()> {
                    let mut source = KafkaSource::join(source)?;
                    pipeline.run(&mut source, ending, watch)?;
                    Ok(())
                },
            )?;
            let feed = Builder::new()
                .name("generator".to_owned())
                .spawn_scoped(scope, move || feed.run(health, ending))?;

            let begun = Instant::now();
            let over = || {
                self.stop.load(Ordering::Relaxed)
                    || self.args.duration.is_some_and(|duration| begun.elapsed() >= duration)
                    || job.is_finished()
                    || feed.is_finished()
            };
            let shown = if self.live {
                show.live(&over).context("could not write to the terminal")
            } else {
                show.lines(&over);
                Ok(())
            };
            ending.store(true, Ordering::Relaxed);
            let (job, feed) = (joined(job.join(), "the job"), joined(feed.join(), "the generator"));
            job.and(feed).and(shown)
        })
    }
}

/// Ends the threads of a scope however it is left: it waits for them.
struct EndsThreads<'a>(&'a AtomicBool);

impl Drop for EndsThreads<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn joined(ended: std::thread::Result<anyhow::Result<()>>, who: &str) -> anyhow::Result<()> {
    ended.unwrap_or_else(|_| Err(anyhow::anyhow!("{who} ended unexpectedly")))
}

/// Who computes and who writes.
fn crews(job: &Job, to_redis: bool, memory: &MemoryStore) -> anyhow::Result<Vec<Crew>> {
    let mut crews = Vec::new();
    for _ in 0..job.parallelism() {
        let sink: Box<dyn Sink> =
            if to_redis { Box::new(job.redis()?) } else { Box::new(MemorySink::new(memory.clone())) };
        crews.push(Crew { worker: job.worker()?, sink, dead_letters: Some(job.dead_letters()?) });
    }
    Ok(crews)
}

/// The user's options, with the demo's own connections and nobody's credentials.
fn config(args: &DemoArgs, broker: &Broker, redis: Option<&RedisServer>) -> anyhow::Result<Config> {
    let mut flags = args.flags.clone();
    // A file that happens to lie here is for `windrow run`.
    let empty = tempfile::Builder::new().prefix("windrow-demo-").suffix(".toml").tempfile()?;
    if flags.file().is_none() {
        flags.set_file(empty.path());
    }
    flags.set("brokers", broker.address());
    flags.set("group_id", "windrow-demo");
    flags.set("start_from", "earliest");
    flags.set("redis.url", redis.map_or_else(|| "redis://127.0.0.1:6379".to_owned(), RedisServer::url));
    flags.set("redis.mode", "single");
    if !flags.gives("metrics_addr") {
        flags.set("metrics_addr", "127.0.0.1:0");
    }
    if !flags.gives("shutdown_timeout") {
        flags.set("shutdown_timeout", SHUTDOWN_TIMEOUT);
    }
    let mut config = Config::load(&flags)?;
    config.redis.mode = RedisMode::Single;
    config.redis.username = None;
    config.redis.password = None;
    (config.redis.ca_cert, config.redis.client_cert, config.redis.client_key) = (None, None, None);
    config.registry = None;
    // The embedded Kafka knows no other way that gives equal numbers of topics to one member.
    let strategy = ("partition.assignment.strategy".to_owned(), "range".to_owned());
    config.kafka = KafkaProperties(BTreeMap::from([strategy]));
    Ok(config)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("`{text}` is not a rate: write a number of events per second, more than 0")),
    }
}
