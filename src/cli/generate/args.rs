//! The options of `windrow generate`, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::properties;
use crate::config::{Input, InputFlags};
use crate::error::{Problem, Problems};
use crate::generate::{Framing, Kind, Options, SchemaIds};
use crate::time::{EventTime, Span, parse_duration};

const HELP: &str = "\
Examples:
  windrow generate --brokers localhost:9092 --rate 5000
  windrow generate --brokers localhost:9092 --rate 0 --count 10000000 --seed 7
  windrow generate --brokers localhost:9092 --late-share 0.02 --malformed-share 0.001 --v1-share 0.3
  windrow generate --output events.jsonl --streams clicks --count 1000 --start-time 2026-01-31T12:00:00Z

Brokers, Kafka's properties, the registry and the streams' topics are those of `windrow run`: also from
windrow.toml. The shipped schemas are registered as TOPIC-value.";

/// Events per second of event time where nothing says how many.
const UNPACED_EVENT_RATE: f64 = 1000.0;

/// A shipped stream, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StreamName {
    /// Card payments, to txn.events unless configured otherwise
    Transactions,
    /// Steps of users on a shop's pages, to click.events likewise
    Clicks,
    /// Devices that report what they are, to device.events likewise
    Devices,
}

impl From<StreamName> for Kind {
    fn from(name: StreamName) -> Self {
        match name {
            StreamName::Transactions => Self::Transactions,
            StreamName::Clicks => Self::Clicks,
            StreamName::Devices => Self::Devices,
        }
    }
}

/// A framing, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FramingName {
    /// 00 and the registry's schema id in four bytes
    Confluent,
    /// Avro single-object encoding: C3 01 and the schema's fingerprint
    SingleObject,
    /// The Avro body alone, of the stream's newest schema
    Bare,
}

/// Options of `windrow generate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct GenerateArgs {
    /// Write JSON lines to a file, or to standard output (-), instead of to Kafka
    #[arg(long, env = "WINDROW_OUTPUT", value_name = "FILE|-")]
    pub output: Option<PathBuf>,

    /// Partitions of topics that are missing and made
    #[arg(long, env = "WINDROW_PARTITIONS", value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,

    /// What precedes the Avro body of a value [default: confluent with a registry, else single-object]
    #[arg(long, env = "WINDROW_FRAMING", value_enum, value_name = "FRAMING")]
    pub framing: Option<FramingName>,

    /// Streams to generate, parted by commas
    #[arg(long, env = "WINDROW_STREAMS", value_enum, value_name = "STREAM,…", value_delimiter = ',',
        default_values_t = [StreamName::Transactions, StreamName::Clicks, StreamName::Devices])]
    pub streams: Vec<StreamName>,

    /// Events per second, of all streams together; 0 is as fast as possible
    #[arg(long, env = "WINDROW_RATE", value_name = "N", default_value_t = 1000.0, value_parser = rate)]
    pub rate: f64,

    /// Events per second of event time [default: --rate; if 0, 1000 with a --start-time, else wall time]
    #[arg(long, env = "WINDROW_EVENT_RATE", value_name = "N", value_parser = rate)]
    pub event_rate: Option<f64>,

    /// Event time of the first event: RFC 3339 or epoch milliseconds [default: now]
    #[arg(long, env = "WINDROW_START_TIME", value_name = "TIME", value_parser = time)]
    pub start_time: Option<EventTime>,

    /// Stop after so many events [default: never]
    #[arg(long, env = "WINDROW_COUNT", value_name = "N")]
    pub count: Option<u64>,

    /// Stop after this time, such as 30s or 10m [default: never]
    #[arg(long = "for", env = "WINDROW_FOR", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// The same seed and start time give the same events
    #[arg(long, env = "WINDROW_SEED", value_name = "N", default_value_t = Options::default().seed)]
    pub seed: u64,

    /// How many users there are, and as many cards and devices
    #[arg(long, env = "WINDROW_ENTITIES", value_name = "N", default_value_t = Options::default().entities,
        value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    pub entities: u64,

    /// Share of transactions that belong to a burst of fraud, 0 to 1
    #[arg(long, env = "WINDROW_FRAUD_SHARE", value_name = "SHARE",
        default_value_t = Options::default().fraud_share, value_parser = share)]
    pub fraud_share: f64,

    /// Share of events whose time lies a little before that of earlier ones, 0 to 1
    #[arg(long, env = "WINDROW_DISORDER_SHARE", value_name = "SHARE",
        default_value_t = Options::default().disorder_share, value_parser = share)]
    pub disorder_share: f64,

    /// By how much at most
    #[arg(long, env = "WINDROW_DISORDER_MAX", value_name = "DURATION",
        default_value_t = Options::default().disorder_max, value_parser = span)]
    pub disorder_max: Span,

    /// Share of events that are late, 0 to 1
    #[arg(long, env = "WINDROW_LATE_SHARE", value_name = "SHARE",
        default_value_t = Options::default().late_share, value_parser = share)]
    pub late_share: f64,

    /// By how much they are late
    #[arg(long, env = "WINDROW_LATE_BY", value_name = "DURATION",
        default_value_t = Options::default().late_by, value_parser = span)]
    pub late_by: Span,

    /// Share of events that nobody can decode, 0 to 1
    #[arg(long, env = "WINDROW_MALFORMED_SHARE", value_name = "SHARE",
        default_value_t = Options::default().malformed_share, value_parser = share)]
    pub malformed_share: f64,

    /// Share of events that are the one before once more, 0 to 1
    #[arg(long, env = "WINDROW_DUPLICATE_SHARE", value_name = "SHARE",
        default_value_t = Options::default().duplicate_share, value_parser = share)]
    pub duplicate_share: f64,

    /// Share of transactions written with version 1 of their schema, 0 to 1
    #[arg(long, env = "WINDROW_V1_SHARE", value_name = "SHARE",
        default_value_t = Options::default().v1_share, value_parser = share)]
    pub v1_share: f64,

    #[command(flatten)]
    flags: InputFlags,
}

impl GenerateArgs {
    /// Events per second of event time; none where it is wall time. Whoever gives a
    /// start time wants the same events again, however fast this machine is.
    pub fn event_rate(&self) -> Option<f64> {
        let as_fast_as_possible = self.rate <= 0.0 && self.start_time.is_some();
        let default = if as_fast_as_possible { UNPACED_EVENT_RATE } else { self.rate };
        Some(self.event_rate.unwrap_or(default)).filter(|rate| *rate > 0.0)
    }

    /// The streams, each once.
    pub fn kinds(&self) -> Vec<Kind> {
        let given: Vec<Kind> = self.streams.iter().copied().map(Kind::from).collect();
        Kind::ALL.into_iter().filter(|kind| given.contains(kind)).collect()
    }

    /// What the generator is told, with the schemas' ids where a registry gave them.
    pub fn options(&self, ids: Option<SchemaIds>) -> Options {
        Options {
            seed: self.seed,
            streams: self.kinds(),
            entities: self.entities,
            fraud_share: self.fraud_share,
            disorder_share: self.disorder_share,
            disorder_max: self.disorder_max,
            late_share: self.late_share,
            late_by: self.late_by,
            malformed_share: self.malformed_share,
            duplicate_share: self.duplicate_share,
            v1_share: self.v1_share,
            framing: match (self.framing, ids) {
                (Some(FramingName::Confluent), _) | (None, Some(_)) => {
                    Framing::Confluent { ids: ids.unwrap_or_default() }
                }
                (Some(FramingName::SingleObject), _) | (None, None) => Framing::SingleObject,
                (Some(FramingName::Bare), _) => Framing::Bare,
            },
        }
    }

    /// Where to write, and everything that is wrong with that and with the other options.
    pub fn inspect(&self) -> (Input, Problems) {
        let (input, Problems(mut problems)) = Input::inspect(&self.flags.0);
        let to_kafka = self.output.is_none();
        if to_kafka && self.framing == Some(FramingName::Confluent) && input.registry.is_none() {
            let problem = Problem::new("Confluent's framing needs schema ids, and no registry gives them");
            let hint = "name a registry with --schema-registry-url, or use --framing single-object";
            problems.push(problem.hint(hint));
        }
        if to_kafka && self.framing == Some(FramingName::Bare) && self.v1_share > 0.0 {
            let problem = Problem::new("a bare body does not tell that it is of version 1");
            problems.push(problem.hint("use another --framing, or leave --v1-share out"));
        }
        if !to_kafka && self.malformed_share > 0.0 {
            let problem = Problem::new("JSON lines cannot hold malformed Avro");
            problems.push(problem.hint("leave --malformed-share out, or write to Kafka"));
        }
        let given = input.kafka.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        problems.extend(properties::problems(given));
        if let Err(error) = self.options(None).validate() {
            problems.push(Problem::new(error.to_string()));
        }
        (input, Problems(problems))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err(format!("`{text}` is not a rate: write a number of events per second, 0 or more")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not a share: write a number from 0 to 1")),
    }
}

fn span(text: &str) -> Result<Span, String> {
    parse_duration(text).map(Span::from)
}

fn time(text: &str) -> Result<EventTime, String> {
    if let Ok(millis) = text.trim().parse::<i64>() {
        return Ok(EventTime::from_millis(millis));
    }
    chrono::DateTime::parse_from_rfc3339(text.trim()).map(|time| EventTime(time.timestamp_micros())).map_err(
        |_| format!("`{text}` is not a time: write RFC 3339 (2026-01-31T12:00:00Z) or epoch milliseconds"),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: GenerateArgs,
    }

    #[track_caller]
    fn check(arguments: &str, expected: Option<f64>) {
        let line = Line::try_parse_from(format!("generate {arguments}").split_whitespace()).unwrap();
        assert_eq!(line.args.event_rate(), expected, "{arguments}");
    }

    #[test]
    fn event_time_does_not_follow_this_machine_where_it_begins_at_a_given_time() {
        check("", Some(1000.0));
        check("--rate 50", Some(50.0));
        check("--rate 50 --event-rate 7", Some(7.0));
        check("--rate 0", None);
        check("--rate 0 --start-time 5000", Some(1000.0));
        check("--rate 0 --start-time 5000 --event-rate 7", Some(7.0));
        check("--rate 50 --start-time 5000 --event-rate 0", None);
    }
}
