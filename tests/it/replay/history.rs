//! A replay into Parquet files: every row is what the view says of the events
//! up to its `_as_of`, and there is a whole file or none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use arrow::util::display::array_value_to_string;
use tempfile::TempDir;

use super::{EVENTS, NOTES, filled, refused, replay};
use crate::payments::{NOON, Payment, Setting, payments, spending};
use crate::support::PATIENCE;
use crate::support::redis::RedisServer;

const FEATURES: [&str; 5] = ["payments_10m", "payments_24h", "amount_sum_24h", "last_amount", "last_note"];

/// Nobody answers there.
const NO_REDIS: &str = "redis://127.0.0.1:1";

fn directory() -> TempDir {
    TempDir::with_prefix("windrow-history-").expect("makes a temporary directory")
}

fn text(directory: &TempDir) -> &str {
    directory.path().to_str().expect("it has a plain name")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be listed").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).expect("the file is there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is a Parquet file");
    let batches = reader.build().expect("it can be read");
    batches.map(|batch| batch.expect("its rows can be read")).collect()
}

/// What a row of `spending` says.
struct Told {
    card: String,
    as_of_ms: i64,
    deleted: bool,
    /// Of each feature the value, as it stands in a hash.
    features: BTreeMap<&'static str, Option<String>>,
}

fn told(batches: &[RecordBatch]) -> Vec<Told> {
    let mut all = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).expect("the file has the column");
        let value = |name: &str, row: usize| {
            let column = column(name);
            column.is_valid(row).then(|| array_value_to_string(column, row).expect("it has a text"))
        };
        let times = |name: &str| column(name).as_primitive::<TimestampMillisecondType>().clone();
        let (as_of, computed_at) = (times("_as_of"), times("_computed_at"));
        for row in 0..batch.num_rows() {
            assert!(computed_at.value(row) > as_of.value(row), "the events are of the past");
            all.push(Told {
                card: value("card_id", row).expect("a row has its key"),
                as_of_ms: as_of.value(row),
                deleted: column("_deleted").as_boolean().value(row),
                features: FEATURES.iter().map(|&name| (name, value(name, row))).collect(),
            });
        }
    }
    all
}

/// Every row is exact for the events up to its time, and the last rows are
/// there. Times of a partition's payments are in order and all different, so
/// the time says which events were seen.
#[track_caller]
fn assert_exact(rows: &[Told], all: &[Payment]) {
    let mut last: BTreeMap<&str, &Told> = BTreeMap::new();
    for row in rows {
        let before = last.insert(&row.card, row);
        assert!(before.is_none_or(|before| before.as_of_ms < row.as_of_ms), "{}: out of order", row.card);
        let partition = partition_of(&row.card, all);
        let seen: Vec<Payment> = all
            .iter()
            .filter(|payment| payment.partition == partition && payment.time_ms <= row.as_of_ms)
            .cloned()
            .collect();
        assert_eq!(row.features, expected(&row.card, &seen), "{} at {}", row.card, row.as_of_ms);
        assert_eq!(row.deleted, !spending(&seen).contains_key(&row.card), "{}", row.card);
    }
    for card in spending(all).keys() {
        let row = last.get(card.as_str()).unwrap_or_else(|| panic!("{card} has no row"));
        assert_eq!(row.features, expected(card, all), "{card} at the end");
    }
    for (card, row) in last {
        assert_eq!(row.deleted, !spending(all).contains_key(card), "{card} at the end");
    }
}

fn partition_of(card: &str, all: &[Payment]) -> i32 {
    all.iter().find(|payment| payment.card == card).expect("the card has a payment").partition
}

fn expected(card: &str, seen: &[Payment]) -> BTreeMap<&'static str, Option<String>> {
    let rows = spending(seen);
    let row = rows.get(card);
    FEATURES.iter().map(|&name| (name, row.and_then(|row| row[name].redis()))).collect()
}

#[track_caller]
fn count_told(stdout: &str, rows: &[Told]) {
    assert!(stdout.contains(&format!(", {} rows written", rows.len())), "{} rows: {stdout}", rows.len());
}

#[test]
fn every_row_is_exact_for_its_time() {
    let (_redis, setting, all) = filled("history");
    let setting = setting.redis_url(NO_REDIS);
    let directory = directory();
    let arguments = ["--from", "beginning", "--parquet", text(&directory), "--max-batch-events", "10"];
    let output = replay(&setting, &arguments);
    assert_eq!(names(directory.path()), ["spending.parquet"]);
    let batches = read(&directory.path().join("spending.parquet"));
    let rows = told(&batches);
    assert!(rows.len() >= 9, "a row a batch: {}", rows.len());
    assert_exact(&rows, &all);
    count_told(&output.stdout, &rows);

    let schema = batches[0].schema();
    let types = ["amount_sum_24h", "_as_of", "_computed_at", "_deleted"]
        .map(|name| schema.field_with_name(name).expect("the column is there").data_type().clone());
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    assert_eq!(types, [DataType::Int64, time.clone(), time, DataType::Boolean]);
}

/// The windows are filled from before it, and who has no event in it has a row.
#[test]
fn a_stretch_begins_with_what_was_there() {
    let (_redis, setting, all) = filled("history-stretch");
    let directory = directory();
    let arguments = ["--from", "0:50", "--to", "0:70", "--parquet", text(&directory)];
    replay(&setting, &arguments);
    let rows = told(&read(&directory.path().join("spending.parquet")));
    assert_exact(&rows, &all[..70]);
    assert!(rows.iter().all(|row| row.as_of_ms >= all[49].time_ms), "nothing of what stands before it");
}

#[test]
fn who_has_no_row_any_more_is_deleted() {
    const HOUR: i64 = 3_600_000;
    let (_redis, setting, mut all) = filled("history-deleted");
    let late = Payment::new("card-late", 5, None, NOON + 26 * HOUR);
    setting.produce(std::slice::from_ref(&late));
    all.push(late);
    let directory = directory();
    let arguments = ["--from", "beginning", "--parquet", text(&directory), "--max-batch-events", "10"];
    replay(&setting, &arguments);
    let rows = told(&read(&directory.path().join("spending.parquet")));
    assert_exact(&rows, &all);
    let deleted: Vec<&str> = rows.iter().filter(|row| row.deleted).map(|row| row.card.as_str()).collect();
    assert_eq!(deleted.len(), 3, "{deleted:?}");
}

#[test]
fn several_workers_write_one_file_a_view() {
    let redis = RedisServer::start();
    let setting = Setting::new("history-workers", 4, &redis).view("notes", NOTES);
    let all = payments(0..200, 4);
    setting.produce(&all);
    let directory = directory();
    let made = directory.path().join("made");
    let made_text = made.to_str().expect("it has a plain name");
    let arguments =
        ["--from", "beginning", "--parquet", made_text, "--parallelism", "3", "--max-batch-events", "20"];
    let output = replay(&setting, &arguments);
    assert_eq!(names(&made), ["notes.parquet", "spending.parquet"]);
    assert_exact(&told(&read(&made.join("spending.parquet"))), &all);
    let rows = |name: &str| read(&made.join(name)).iter().map(RecordBatch::num_rows).sum::<usize>();
    let written = rows("notes.parquet") + rows("spending.parquet");
    assert!(output.stdout.contains(&format!(", {written} rows written")), "{}", output.stdout);
    assert_eq!(redis.keys("*"), Vec::<String>::new());
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let (_redis, setting, _) = filled("history-there");
    let directory = directory();
    let path = directory.path().join("spending.parquet");
    fs::write(&path, "mine").expect("writes a file");
    let arguments = ["--from", "beginning", "--parquet", text(&directory)];
    refused(&setting, &arguments, &["spending.parquet is there already", "hint: move it away"]);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "mine");
    assert_eq!(names(directory.path()), ["spending.parquet"]);
    refused(&setting, &[&arguments[..], &["--dry-run"]].concat(), &["--parquet", "--dry-run"]);
}

#[test]
fn an_interrupted_replay_leaves_nothing() {
    let (_redis, setting, _) = filled("history-interrupted");
    let more = payments(EVENTS..30_000, 1);
    setting.produce(&more);
    let directory = directory();
    let arguments =
        ["replay", "--from", "beginning", "--parquet", text(&directory), "--max-batch-events", "1"];
    let mut running = setting.windrow(&arguments).spawn();
    running.wait_for_line("lead-in from");
    let begun = names(directory.path());
    assert!(matches!(begun.as_slice(), [name] if name.starts_with(".spending.")), "{begun:?}");
    running.signal("INT");
    let output = running.wait(PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}\n{}", output.stdout, output.stderr);
    assert!(output.stderr.contains("interrupted before the end"), "{}", output.stderr);
    assert!(output.stdout.contains(", nothing written"), "{}", output.stdout);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}
