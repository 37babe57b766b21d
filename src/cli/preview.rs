//! `windrow preview`: one view over events in files, by the same path that
//! events from Kafka take, all in one partition.

mod convert;
mod events;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use apache_avro::Schema;
use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use clap::Args;

use self::convert::Converter;
use self::events::{EventFile, Gathered, Input, Inputs, Origin};
use super::job::{Job, Scope};
use crate::config::{Config, Flags};
use crate::decode::framing::Framing;
use crate::error::{Place, Problem, Problems};
use crate::frame::{FrameBatch, PartitionId};
use crate::pipeline::publication::Publication;
use crate::source::{Assignment, Past};
use crate::time::{Clock, EventTime, SystemClock};
use crate::view::FeatureView;
use crate::view::problems::ONE_ORDER;

const HELP: &str = "\
Examples:
  windrow generate --output events.jsonl --count 10000
  windrow preview transaction --events events.jsonl
  windrow preview drafts/transaction.sql --events events.jsonl --columns card_id,txn_count_5m
  windrow preview clickstream --events clicks=clicks.jsonl --at 2026-01-31T12:00:00Z
  windrow preview device --events devices.avro

A line is an event as a JSON object, or {\"stream\": …, \"key\": …, \"event\": {…}} as `windrow generate --output`
writes it. Members that are missing take the schema's defaults; timestamps are numbers or RFC 3339 text. A file
whose name ends with .avro is an Avro object container.";

/// Events that could not be used and are told one by one.
const REJECTED_SHOWN: usize = 10;

/// Options of `windrow preview`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct PreviewArgs {
    /// The view: its name, or the path of a .sql file
    view: String,

    /// Files of events, JSON lines or .avro; - is standard input
    #[arg(long, required = true, num_args = 1.., value_name = "[STREAM=]FILE")]
    events: Vec<String>,

    /// Rows to print at most; 0 is all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Columns to print, parted by commas [default: all]
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    columns: Vec<String>,

    /// The clock, RFC 3339 or epoch milliseconds; later events are left out [default: the latest event's time]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<EventTime>,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &PreviewArgs, stop: &AtomicBool) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let files: Vec<EventFile> = args.events.iter().map(|text| EventFile::parse(text)).collect();
    let job = load(args, &clock)?;
    let view = job.views.first().context("no view was planned")?;
    check_columns(args, view)?;
    if let Err(reason) = &view.plain {
        let problem = Problem::new(format!("view `{}` can be run and not previewed: {reason}", view.name));
        return Err(Problems(vec![problem.at(Place::file(&view.file)).hint(ONE_ORDER)]).into());
    }

    let streams = job.streams_read();
    let mut schemas = BTreeMap::new();
    for (id, _) in &streams {
        let avro = job.avro(*id).context("a stream that is read has a schema")?;
        schemas.insert(*id, Schema::parse_str(avro)?);
    }
    let mut read = BTreeMap::new();
    for (id, _) in &streams {
        let stream = &job.config.streams[id.index()];
        let converter = Converter::try_new(stream, &schemas[id])?;
        read.insert(stream.name.clone(), Input { id: *id, converter });
    }
    let inputs = Inputs { view: &view.name, read, known: job.streams.names(), until: args.at };
    let mut gathered = inputs.gather(&files, stop)?;

    let mut worker = job.reference_worker()?;
    let assignments: Vec<Assignment> = streams
        .iter()
        .map(|(stream, _)| Assignment {
            partition: PartitionId { stream: *stream, partition: 0 },
            read_from: 0,
            clock: None,
            publish_from: 0,
            hold_until: 0,
            end: gathered.frames.get(stream).and_then(FrameBatch::next_offset).unwrap_or(0),
            past: Past::Whole,
            committed_past: Past::Whole,
        })
        .collect();
    worker.assign(&assignments)?;
    let frames: Vec<FrameBatch> = std::mem::take(&mut gathered.frames).into_values().collect();
    let publication = worker.turn(frames, &[], clock.now())?;
    let mut rows = worker.rows(0, args.at)?;
    if rows.is_empty() {
        rows.push(RecordBatch::new_empty(Arc::clone(&view.output)));
    }

    let tally = Tally::of(&gathered, &publication, args.at);
    tell_rejected(&gathered, &publication, &files);
    let mut total = 0;
    for batch in &rows {
        let batch = sorted(batch, &view.key);
        let shown = if args.limit == 0 { batch.num_rows() } else { batch.num_rows().min(args.limit) };
        println!("{}", table(&batch.slice(0, shown), &args.columns)?);
        total += batch.num_rows();
        if shown < batch.num_rows() {
            eprintln!("{} more rows: `--limit 0` prints all", batch.num_rows() - shown);
        }
    }
    eprintln!("{}; {total} rows", tally.text());
    if tally.accepted == 0 && tally.rejected > 0 {
        bail!("none of the events could be used");
    }
    Ok(())
}

/// The job of the one view. Values are bare bodies: nothing has to tell who wrote them.
fn load(args: &PreviewArgs, clock: &Arc<dyn Clock>) -> anyhow::Result<Job> {
    let mut config = Config::load(&args.flags)?;
    for stream in &mut config.streams {
        stream.framing = Framing::Bare;
    }
    let path = Path::new(&args.view);
    let is_file = path.extension().is_some_and(|suffix| suffix == "sql");
    let wanted = [args.view.clone()];
    let scope = if is_file {
        Scope { file: Some(path), ..Scope::default() }
    } else {
        Scope { views: Some(&wanted), shipped_views: true, ..Scope::default() }
    };
    Job::load(config, scope, clock)
}

fn check_columns(args: &PreviewArgs, view: &FeatureView) -> Result<(), Problems> {
    let valid = || view.output.fields().iter().map(|field| field.name().clone());
    let problems =
        args.columns.iter().filter(|column| view.output.column_with_name(column).is_none()).map(|column| {
            Problem::new(format!("view `{}` has no output column `{column}`", view.name)).valid(
                "output columns",
                column,
                valid(),
            )
        });
    Problems(problems.collect()).into_result(())
}

/// What became of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    read: u64,
    accepted: u64,
    late: u64,
    rejected: u64,
    elsewhere: u64,
    after: u64,
    as_of: Option<EventTime>,
}

impl Tally {
    fn of(gathered: &Gathered, publication: &Publication, at: Option<EventTime>) -> Self {
        let late = publication.streams.iter().map(|(_, counts)| counts.late).sum::<u64>();
        let on_time = publication.streams.iter().map(|(_, counts)| counts.processed).sum::<u64>();
        let rejected = publication.letters.iter().map(|letters| letters.rejected.len()).sum::<usize>();
        Self {
            read: gathered.read,
            accepted: on_time + late,
            late,
            rejected: (rejected + gathered.rejected.len()) as u64,
            elsewhere: gathered.elsewhere,
            after: gathered.after,
            as_of: at.or_else(|| publication.clocks.iter().filter_map(|(_, time)| *time).max()),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} events read: {} accepted ({} late), {} rejected",
            self.read, self.accepted, self.late, self.rejected
        );
        if self.elsewhere > 0 {
            text.push_str(&format!(", {} of streams that the view does not read", self.elsewhere));
        }
        if self.after > 0 {
            text.push_str(&format!(", {} after that time", self.after));
        }
        if let Some(as_of) = self.as_of {
            text.push_str(&format!("; as of {as_of}"));
        }
        text
    }
}

/// Tells where the events stand that could not be used, and why.
fn tell_rejected(gathered: &Gathered, publication: &Publication, files: &[EventFile]) {
    let mut rejected: Vec<(Origin, String)> =
        gathered.rejected.iter().map(|(origin, reason)| (*origin, format!("malformed: {reason}"))).collect();
    for letters in &publication.letters {
        let Some(origins) = gathered.origins.get(&letters.frames.partition.stream) else { continue };
        for one in &letters.rejected {
            let offset = usize::try_from(letters.frames.get(one.index).offset).unwrap_or(usize::MAX);
            if let Some(origin) = origins.get(offset) {
                rejected.push((*origin, format!("{}: {}", one.reason.label(), one.error)));
            }
        }
    }
    rejected.sort();
    for (origin, reason) in rejected.iter().take(REJECTED_SHOWN) {
        eprintln!("{}:{}: {reason}", files[origin.file].path.display(), origin.line);
    }
    if rejected.len() > REJECTED_SHOWN {
        eprintln!("… and {} more", rejected.len() - REJECTED_SHOWN);
    }
}

/// Rows in the order of their keys, so that the same events print the same table.
fn sorted(rows: &RecordBatch, key: &[usize]) -> RecordBatch {
    let columns: Vec<SortColumn> = key
        .iter()
        .map(|column| SortColumn { values: Arc::clone(rows.column(*column)), options: None })
        .collect();
    // Keys of a type that has no order stay as they come.
    lexsort_to_indices(&columns, None)
        .and_then(|order| take_record_batch(rows, &order))
        .unwrap_or_else(|_| rows.clone())
}

/// Rows as a table; of `columns` alone, where some are named.
fn table(rows: &RecordBatch, columns: &[String]) -> anyhow::Result<String> {
    let indices =
        columns.iter().map(|column| rows.schema_ref().index_of(column)).collect::<Result<Vec<_>, _>>()?;
    let rows = if columns.is_empty() { rows.clone() } else { rows.project(&indices)? };
    let options = FormatOptions::default().with_display_error(true).with_null("null");
    Ok(pretty_format_batches_with_options(&[rows], &options)?.to_string())
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
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn rows() -> RecordBatch {
        let keys: StringViewArray = [Some("b"), Some("a")].into_iter().collect();
        let counts: Int64Array = [Some(2), None].into_iter().collect();
        RecordBatch::try_from_iter_with_nullable([
            ("key", Arc::new(keys) as arrow::array::ArrayRef, true),
            ("count", Arc::new(counts) as arrow::array::ArrayRef, true),
        ])
        .unwrap()
    }

    #[test]
    fn rows_are_printed_by_key_and_the_columns_asked_for() {
        let text = table(&sorted(&rows(), &[0]), &[]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "| key | count |");
        assert_eq!((lines[3], lines[4]), ("| a   | null  |", "| b   | 2     |"));
        let text = table(&rows(), &["count".to_owned()]).unwrap();
        assert_eq!(text.lines().nth(1), Some("| count |"));
    }

    #[test]
    fn the_tally_is_a_line() {
        let tally = Tally { read: 10, accepted: 7, late: 1, rejected: 3, ..Tally::default() };
        assert_eq!(tally.text(), "10 events read: 7 accepted (1 late), 3 rejected");
        let tally = Tally { elsewhere: 2, after: 4, as_of: Some(EventTime(0)), ..tally };
        assert!(tally.text().ends_with(
            ", 2 of streams that the view does not read, 4 after that time; as of 1970-01-01T00:00:00.000Z"
        ));
    }

    #[test]
    fn a_time_is_text_or_milliseconds() {
        assert_eq!(time("1500"), Ok(EventTime::from_millis(1500)));
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Ok(EventTime::from_millis(1500)));
        assert!(time("noon").unwrap_err().contains("RFC 3339"));
    }
}
