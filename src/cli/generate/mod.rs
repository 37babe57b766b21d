//! `windrow generate`: plausible events to Kafka, or as JSON lines.

mod args;
mod kafka;
mod pace;
mod progress;
mod registry;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

pub use self::args::{FramingName, GenerateArgs, StreamName};
use self::kafka::Kafka;
use self::pace::Pace;
use self::progress::{Progress, Tally};
use crate::config::{Input, StreamConfig};
use crate::generate::{Generated, Generator, Kind, Record, SchemaIds};
use crate::time::{Clock, Span, SystemClock};

/// Events made between two looks at the clock, at most: a millisecond or so.
const BURST: u64 = 1000;

/// How long to wait when no event is due.
const PAUSE: Duration = Duration::from_millis(5);

/// Generates until the count, the time or `stop` ends it.
///
/// # Errors
/// [`crate::error::Problems`] when the options are wrong; anything else when
/// the outside fails.
pub fn run(args: &GenerateArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let (input, problems) = args.inspect();
    problems.into_result(())?;
    let (mut output, ids) = Output::open(args, &input)?;
    let mut generator = Generator::try_new(args.options(ids))?;

    let clock = SystemClock;
    let started = clock.now();
    let pace = Pace {
        rate: (args.rate > 0.0).then_some(args.rate),
        event_rate: args.event_rate(),
        start: args.start_time.unwrap_or(started),
    };
    let ends_after = args.duration.map(Span::from);
    let mut tally = Tally::default();
    let mut progress = Progress::new(args.count);
    let mut elapsed = Span::ZERO;
    'run: while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        elapsed = Span(now.micros().saturating_sub(started.micros()).max(0));
        let left = args.count.map_or(u64::MAX, |count| count.saturating_sub(tally.events));
        if left == 0 || ends_after.is_some_and(|end| elapsed >= end) {
            break;
        }
        let due = pace.due(elapsed, tally.events).min(left).min(BURST);
        for _ in 0..due {
            let event = generator.next(pace.arrival_ms(tally.events, elapsed));
            if !output.write(&event, now.millis(), stop)? {
                break 'run;
            }
            tally.count(&event);
        }
        progress.show(&tally, elapsed, pace.arrival(tally.events, elapsed));
        if due == 0 {
            output.wait(PAUSE)?;
        }
    }
    let finished = output.finish(stop);
    progress.clear();
    finished?;
    eprintln!("{}", tally.summary(elapsed));
    Ok(())
}

/// The topics of the shipped streams, as they are configured.
pub(super) fn topics(streams: &[StreamConfig]) -> BTreeMap<Kind, String> {
    let topic_of = |kind: Kind| {
        let stream = streams.iter().find(|stream| stream.name == kind.stream())?;
        Some((kind, stream.topic.clone()))
    };
    Kind::ALL.into_iter().filter_map(topic_of).collect()
}

/// Where events go.
enum Output {
    Kafka(Kafka),
    Lines(BufWriter<Box<dyn Write>>),
}

/// An event as a line of JSON: what `windrow preview --events` reads.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'static str,
    key: &'a str,
    event: Record<'a>,
}

impl Output {
    /// Opens what the options name, and has the schemas registered.
    fn open(args: &GenerateArgs, input: &Input) -> anyhow::Result<(Self, Option<SchemaIds>)> {
        if let Some(file) = &args.output {
            return Ok((Self::Lines(BufWriter::new(open_file(file)?)), None));
        }
        let mut topics = topics(&input.streams);
        topics.retain(|kind, _| args.kinds().contains(kind));
        let registry = input.registry.as_ref();
        let ids = registry.map(|registry| registry::register_shipped(registry, &topics)).transpose()?;
        Ok((Self::Kafka(Kafka::connect(input, topics, args.partitions)?), ids))
    }

    /// Writes an event. `false` when there is no use in going on.
    fn write(&mut self, event: &Generated<'_>, wall_ms: i64, stop: &AtomicBool) -> anyhow::Result<bool> {
        match self {
            Self::Kafka(kafka) => kafka.send(event, wall_ms, stop),
            Self::Lines(lines) => {
                let line = Line { stream: event.kind.stream(), key: event.entity, event: event.record };
                let written = serde_json::to_writer(&mut *lines, &line)
                    .map_err(std::io::Error::from)
                    .and_then(|()| lines.write_all(b"\n"));
                read_on(written)
            }
        }
    }

    /// Lets time pass; what was written so far is on its way.
    fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        match self {
            Self::Kafka(kafka) => kafka.wait(time),
            Self::Lines(lines) => {
                read_on(lines.flush())?;
                std::thread::sleep(time);
            }
        }
        Ok(())
    }

    fn finish(&mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        match self {
            Self::Kafka(kafka) => kafka.finish(stop),
            Self::Lines(lines) => read_on(lines.flush()).map(|_| ()),
        }
    }
}

/// Whether the reader of our lines still reads: `head` closes the pipe, which is no fault.
fn read_on(written: std::io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("could not write the events"),
    }
}

fn open_file(file: &Path) -> anyhow::Result<Box<dyn Write>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdout().lock()));
    }
    let opened = File::create(file).with_context(|| format!("could not create {}", file.display()))?;
    Ok(Box::new(opened))
}
