//! From a checked configuration to the parts of a run. Everything wrong with
//! schemas and views is collected here and shown together.

mod shares;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;

use crate::cli::properties;
use crate::clock;
use crate::config::{Config, DeadLetters as DeadLettersTo, Flags, NullAs, SchemaSource, StreamConfig};
use crate::decode::{StreamDecoder, StreamSchema};
use crate::error::{Place, Problem, Problems};
use crate::frame::StreamId;
use crate::pipeline::worker::{Parts, Worker};
use crate::schema::writers::Writers;
use crate::schema::{Cached, Directory, Registry, Schemas};
use crate::sink::dead_letter::{DeadLetters, FileDeadLetters, KafkaDeadLetters, KafkaOptions};
use crate::sink::encode::{self, Encoder, KeyTemplate};
use crate::sink::redis::{Guard, Options as RedisOptions, RedisSink, problem as redis_problem};
use crate::telemetry;
use crate::time::{Clock, Span};
use crate::view::{FeatureView, Sharding, Stream, Streams};

use views::{only_wanted, plan_views, read_views, view_files};

/// What a run is made of, checked and planned; nothing is connected yet.
pub struct Job {
    /// The options.
    pub config: Config,
    /// The configured streams.
    pub streams: Arc<Streams>,
    /// The views, in the order of their names.
    pub views: Vec<Arc<FeatureView>>,
    /// What is right and yet hardly meant so.
    pub notes: Vec<Problem>,
    /// What is wrong with views that were left out.
    pub left_out: Vec<Problem>,

    schemas: BTreeMap<StreamId, StreamSchema>,
    writers: Writers,
}

/// What of a job is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Without a network: schemas of a registry are left out.
    pub offline: bool,
    /// Only these views.
    pub views: Option<&'a [String]>,
    /// Only the view in this file, instead of those in the SQL directory.
    pub file: Option<&'a Path>,
    /// Shipped views and schemas stand in for a SQL directory that is not there.
    pub shipped_views: bool,
    /// Views in which something is wrong are left out and noted.
    pub some_views: bool,
}

impl Job {
    /// Loads options, schemas and views.
    ///
    /// # Errors
    /// [`Problems`] with everything that is wrong, or what the registry says.
    pub fn from_flags(flags: &Flags, scope: Scope<'_>, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (job, problems) = Self::inspect(flags, scope, clock)?;
        problems.into_result(job).map_err(Into::into)
    }

    /// The same, going on where something is wrong: with the views that can be planned.
    ///
    /// # Errors
    /// What the registry says.
    pub fn inspect(
        flags: &Flags,
        scope: Scope<'_>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<(Self, Problems)> {
        let (config, mut problems) = Config::inspect(flags);
        if problems.0.is_empty() {
            problems.0.extend(telemetry::log::init(config.log_format).err().map(Problem::new));
        }
        Self::load_beside(config, problems, scope, clock)
    }

    /// Loads schemas and views.
    ///
    /// # Errors
    /// [`Problems`] with everything that is wrong, or what the registry says.
    pub fn load(config: Config, scope: Scope<'_>, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (job, problems) = Self::load_beside(config, Problems::default(), scope, clock)?;
        problems.into_result(job).map_err(Into::into)
    }

    /// Loads schemas and views, to tell what is wrong with them beside what is
    /// known to be wrong with the options.
    fn load_beside(
        config: Config,
        problems: Problems,
        scope: Scope<'_>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<(Self, Problems)> {
        let sql_dir_is_wrong = problems.has_option("sql_dir");
        let Problems(mut problems) = problems;
        let given = config.kafka.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        problems.extend(properties::problems(given));
        let (mut directory, unreadable) = Directory::inspect(&config.schema_dir);
        problems.extend(unreadable.0);
        problems.extend(redis_problem(&config.redis.options()).map(|reason| unusable("Redis", &reason)));
        let registry = match config.registry.as_ref().map(|config| Registry::try_new(&config.options())) {
            Some(Err(error)) => {
                problems.push(unusable("the schema registry", &error.to_string()));
                None
            }
            opened => opened.and_then(Result::ok).filter(|_| !scope.offline),
        };
        let registry = registry.map(|registry| -> Arc<Mutex<dyn Schemas>> {
            Arc::new(Mutex::new(Cached::new(registry, Arc::clone(clock))))
        });
        let mut streams = Vec::new();
        let mut schemas = BTreeMap::new();
        let mut ids = HashMap::new();
        let mut unchecked = BTreeSet::new();
        for (index, stream) in config.streams.iter().enumerate() {
            let id = StreamId(u16::try_from(index).context("there are too many streams")?);
            let place = stream.place.clone();
            let found = match reader_schema(stream, &mut directory, registry.as_ref(), scope.offline) {
                Ok(Some(avro)) => {
                    StreamSchema::try_new(&avro, &stream.decode()).map_err(|e| schema_problem(stream, &e))
                }
                Ok(None) => {
                    unchecked.insert(stream.name.clone());
                    Err(Problem::new(""))
                }
                Err(problem) => Err(problem),
            };
            for (number, file) in &stream.schema_ids {
                match directory.find(file) {
                    Ok(schema) => {
                        ids.insert((id, *number), schema);
                    }
                    Err(problem) => problems.push(at(problem, place.clone())),
                }
            }
            let table = match found {
                Ok(schema) => {
                    let table = Arc::clone(&schema.table);
                    schemas.insert(id, schema);
                    table
                }
                Err(problem) => {
                    if !unchecked.contains(&stream.name) {
                        problems.push(at(problem, place));
                    }
                    Arc::new(arrow::datatypes::Schema::empty())
                }
            };
            streams.push(Stream {
                name: stream.name.clone(),
                topic: stream.topic.clone(),
                key: stream.key.clone(),
                table,
            });
            // Without a registry, `<name>.v<N>.avsc` has the id N.
            if config.registry.is_none() {
                for (number, schema) in versions(stream, &directory) {
                    ids.entry((id, number)).or_insert(schema);
                }
            }
        }
        let streams = Arc::new(Streams::new(streams));
        let files = match scope.file {
            Some(path) => read_views(vec![path.to_owned()], &mut problems),
            // That it is missing was told with the options.
            None if sql_dir_is_wrong => Vec::new(),
            None => view_files(&config.sql_dir, scope.shipped_views, &mut problems),
        };
        let files = only_wanted(files, scope.views, &mut problems);
        let known: Vec<StreamId> = schemas.keys().copied().collect();
        let mut unfit = Vec::new();
        let views = plan_views(&streams, &known, &unchecked, &files, &mut unfit)?;
        let are_planned = unfit.is_empty();
        let left_out = if scope.some_views { std::mem::take(&mut unfit) } else { Vec::new() };
        problems.extend(unfit);
        let notes = directory.notes().to_vec();
        let writers = Writers::try_new(directory.schemas().map(|(_, schema)| schema), ids, registry)?;
        let views = views.into_iter().map(Arc::new).collect();
        let mut job = Self { config, streams, views, notes, left_out, schemas, writers };
        let planned = job.views.iter().filter(|_| are_planned);
        let unwritable: Vec<Problem> = planned.filter_map(|view| job.encoder(view, false).err()).collect();
        if scope.some_views {
            job.left_out.extend(unwritable);
        } else {
            problems.extend(unwritable);
        }
        Ok((job, Problems(problems)))
    }

    /// The schema of a stream, as its owner wrote it.
    pub fn avro(&self, stream: StreamId) -> Option<&str> {
        self.schemas.get(&stream).map(|schema| &*schema.avro)
    }

    /// The streams that views read, and their topics.
    pub fn streams_read(&self) -> Vec<(StreamId, String)> {
        let read: BTreeSet<StreamId> = self
            .views
            .iter()
            .flat_map(|view| {
                view.streams().into_iter().filter_map(|name| self.streams.id(name)).collect::<Vec<_>>()
            })
            .collect();
        read.into_iter().map(|id| (id, self.streams.get(id).topic.clone())).collect()
    }

    /// How far back an event of a stream counts in any view.
    pub fn longest_window(&self, stream: StreamId) -> Span {
        let name = &self.streams.get(stream).name;
        self.views
            .iter()
            .flat_map(|view| &view.scans)
            .filter(|scan| scan.stream == *name)
            .map(|scan| scan.bound.span().plus(scan.bound.resolution))
            .max()
            .unwrap_or(Span::ZERO)
    }

    /// How many workers there can be: one, when a view is one shard over all partitions.
    pub fn parallelism(&self) -> usize {
        let single = self.views.iter().any(|view| matches!(view.sharding, Sharding::Single { .. }));
        if single { 1 } else { self.config.parallelism }
    }

    /// How much disorder is borne.
    pub fn clock_options(&self) -> clock::Options {
        clock::Options {
            max_out_of_order: Span::from(self.config.max_out_of_order),
            allowed_lateness: Span::from(self.config.allowed_lateness),
            max_future: Span::from(self.config.max_future),
            idle_after: Span::from(self.config.idle_after),
        }
    }

    /// A worker that evaluates every view, and leaves out fields that did not change.
    ///
    /// # Errors
    /// When a stream cannot be decoded, or the system gives no runtime.
    pub fn worker(&self) -> anyhow::Result<Worker> {
        // What takes a hash's place has all of its fields.
        Ok(Worker::try_new(self.parts(!self.config.redis.restores)?)?)
    }

    /// A worker that evaluates every view, for features that may be older than
    /// those in Redis: rows are written with every field, or not at all.
    ///
    /// # Errors
    /// When a stream cannot be decoded, or the system gives no runtime.
    pub fn worker_for_backfill(&self) -> anyhow::Result<Worker> {
        Ok(Worker::try_new(self.parts(false)?)?)
    }

    /// A worker that keeps every event and evaluates by the reference.
    ///
    /// # Errors
    /// When a stream cannot be decoded, or the system gives no runtime.
    pub fn reference_worker(&self) -> anyhow::Result<Worker> {
        Ok(Worker::try_new(Parts { reference_only: true, ..self.parts(false)? })?)
    }

    /// What a worker is made of that leaves out fields that did not change, or does not.
    fn parts(&self, changed_only: bool) -> anyhow::Result<Parts> {
        let mut decoders = BTreeMap::new();
        for (id, _) in self.streams_read() {
            let stream = &self.config.streams[id.index()];
            let used: BTreeSet<String> = self
                .views
                .iter()
                .flat_map(|view| &view.scans)
                .filter(|scan| scan.stream == stream.name)
                .flat_map(|scan| scan.columns.iter().cloned())
                .collect();
            let schema = &self.schemas[&id];
            decoders.insert(id, StreamDecoder::try_new(schema, stream.decode(), &used)?);
        }
        let mut views = Vec::new();
        for view in &self.views {
            let encoder = self.encoder(view, changed_only).map_err(|problem| Problems(vec![problem]))?;
            views.push((Arc::clone(view), encoder));
        }
        Ok(Parts {
            streams: Arc::clone(&self.streams),
            decoders,
            views,
            writers: self.writers.clone(),
            clock: self.clock_options(),
            session: self.session()?,
            reference_only: false,
        })
    }

    /// How a view's rows are written: with every field, or those that changed.
    ///
    /// # Errors
    /// When a column has a type that cannot be.
    pub fn encoder(&self, view: &FeatureView, changed_only: bool) -> Result<Arc<Encoder>, Problem> {
        let template = KeyTemplate::parse(&self.config.redis.key_template)
            .map_err(|error| Problem::new(format!("the key template: {error}")))?;
        let options = encode::Options {
            template,
            entity: view.header.entity.clone(),
            view: view.name.clone(),
            key_columns: view.key.clone(),
            ttl: view.ttl,
            null_text: (self.config.redis.null == NullAs::Text).then(|| "null".to_owned()),
            changed_only,
        };
        Encoder::try_new(&options, &view.output)
            .map_err(|error| Problem::new(error.to_string()).at(Place::file(view.file.clone())))
    }

    /// A connection to Redis, made at its first use.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn redis(&self) -> anyhow::Result<RedisSink> {
        self.guarded_redis(Guard::None)
    }

    /// The same, for the features of a consumer group.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn redis_of_group(&self) -> anyhow::Result<RedisSink> {
        if !self.config.redis.fencing {
            return self.redis();
        }
        let topics = self.streams.iter().map(|stream| stream.topic.clone()).collect();
        self.guarded_redis(Guard::Fences { group: self.config.group_id.clone(), topics })
    }

    /// The same, for features that may be older than those in Redis.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn redis_for_backfill(&self) -> anyhow::Result<RedisSink> {
        self.guarded_redis(Guard::AsOf)
    }

    fn guarded_redis(&self, guard: Guard) -> anyhow::Result<RedisSink> {
        Ok(RedisSink::connect(&RedisOptions { guard, ..self.config.redis.options() })?)
    }

    /// Where dead letters go: each stream's own place.
    ///
    /// # Errors
    /// When a file cannot be opened or the producer not be set up.
    pub fn dead_letters(&self) -> anyhow::Result<Box<dyn DeadLetters>> {
        let mut topics = BTreeMap::new();
        let mut files: BTreeMap<String, Box<dyn DeadLetters>> = BTreeMap::new();
        for stream in &self.config.streams {
            match &stream.dead_letters {
                DeadLettersTo::Topic(topic) => {
                    topics.insert(stream.topic.clone(), topic.clone());
                }
                DeadLettersTo::File(path) => {
                    files.insert(stream.topic.clone(), Box::new(FileDeadLetters::open(path)?));
                }
            }
        }
        let mut properties: Vec<(String, String)> = vec![("bootstrap.servers".to_owned(), self.brokers())];
        properties.extend(self.config.kafka.0.clone());
        let kafka = KafkaDeadLetters::try_new(KafkaOptions { properties, topics })?;
        Ok(Box::new(ByStream { kafka: Box::new(kafka), files }))
    }

    /// Kafka's bootstrap servers, as librdkafka wants them.
    pub fn brokers(&self) -> String {
        self.config.brokers.join(",")
    }
}

/// Dead letters to the place of the stream they come from.
struct ByStream {
    kafka: Box<dyn DeadLetters>,
    files: BTreeMap<String, Box<dyn DeadLetters>>,
}

impl DeadLetters for ByStream {
    fn append(
        &mut self,
        letter: &crate::sink::dead_letter::DeadLetter<'_>,
    ) -> Result<(), crate::sink::Error> {
        self.files.get_mut(letter.source_topic).unwrap_or(&mut self.kafka).append(letter)
    }

    fn flush(&mut self) -> Result<(), crate::sink::Error> {
        self.files.values_mut().try_for_each(|file| file.flush())?;
        self.kafka.flush()
    }
}

/// The options of a service do not do.
fn unusable(service: &str, reason: &str) -> Problem {
    Problem::new(format!("{service} cannot be reached with these options: {reason}"))
}

fn at(problem: Problem, place: Option<Place>) -> Problem {
    match place {
        Some(place) if problem.place.is_none() => problem.at(place),
        _ => problem,
    }
}

/// The stream's own schema; `None` when it is in a registry that is not asked.
fn reader_schema(
    stream: &StreamConfig,
    directory: &mut Directory,
    registry: Option<&Arc<Mutex<dyn Schemas>>>,
    offline: bool,
) -> Result<Option<Arc<str>>, Problem> {
    match (&stream.schema, registry) {
        (SchemaSource::File(reference), _) => directory.find(reference).map(Some),
        (SchemaSource::Registry { .. }, None) if offline => Ok(None),
        (SchemaSource::Registry { subject, .. }, None) => Err(Problem::new(format!(
            "stream `{}` takes its schema from subject `{subject}`, and there is no registry",
            stream.name
        ))),
        (SchemaSource::Registry { subject, version }, Some(registry)) => registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .by_subject(subject, *version)
            .map(|(_, schema)| Some(schema))
            .map_err(|error| Problem::new(format!("the schema of stream `{}`: {error}", stream.name))),
    }
}

fn schema_problem(stream: &StreamConfig, error: &crate::decode::Error) -> Problem {
    use crate::decode::Error;
    let problem = Problem::new(format!("stream `{}`: {error}", stream.name));
    match error {
        Error::NoColumn { column, valid } => problem.valid("valid columns", column, valid.clone()),
        Error::NoUnit { .. } => problem.hint(
            "say it with `event_time_unit`: ms, us, s or ns (a logicalType beside the type, instead of in it, is not one by Avro's rules)",
        ),
        Error::EventTimeType { .. } => problem.hint("name a timestamp, or a long whose unit is given"),
        _ => problem,
    }
}

/// The schema ids that file names give when there is no registry.
fn versions(stream: &StreamConfig, directory: &Directory) -> Vec<(u32, Arc<str>)> {
    let SchemaSource::File(reference) = &stream.schema else { return Vec::new() };
    let name = |file: &str| -> Option<(String, u32)> {
        let (name, version) = file.strip_suffix(".avsc")?.rsplit_once(".v")?;
        Some((name.to_owned(), version.parse().ok()?))
    };
    let Some((own, _)) = name(reference) else { return Vec::new() };
    directory
        .schemas()
        .filter_map(|(file, schema)| {
            let (other, version) = name(file)?;
            (other == own).then(|| (version, Arc::clone(schema)))
        })
        .collect()
}
