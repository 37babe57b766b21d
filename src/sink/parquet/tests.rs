//! Files as readers find them, and that there are none after an error.

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMillisecondType};

use super::super::encode::{Encoder, Known};
use super::super::rows::{self, Rows};
use super::*;

fn cards(rows: &[(&str, i64)]) -> RecordBatch {
    let ids = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let columns: [(&str, ArrayRef, bool); 2] =
        [("card", Arc::new(ids), false), ("n", Arc::new(counts), false)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn encoder() -> Arc<Encoder> {
    rows::tests::encoder(&cards(&[]).schema())
}

/// What a turn found out: these rows changed, and these cards have none any more.
fn writes(view: usize, rows: &[(&str, i64)], gone: &[&str], as_of_ms: i64) -> Writes {
    let encoder = encoder();
    let mut writes = Writes { rows: Some(Rows::default()), ..Writes::default() };
    let batch = cards(rows);
    let mut bound = encoder.bind(&batch).unwrap();
    for row in 0..rows.len() {
        bound.set(row, Known::Absent, as_of_ms, as_of_ms, &mut writes).unwrap();
    }
    gone.iter().for_each(|card| encoder.delete(card.as_bytes(), &mut writes));
    let looked_at: Vec<(&str, i64)> = gone.iter().map(|card| (*card, 0)).collect();
    let noted = writes.rows.as_mut().unwrap();
    noted.end(view, &encoder, &batch, Some(&cards(&looked_at)), [as_of_ms, as_of_ms]).unwrap();
    writes
}

fn views(names: &[&str]) -> Vec<(String, History)> {
    let history = |name: &str| History::try_new(name, &cards(&[]).schema(), &[0]).unwrap();
    names.iter().map(|name| ((*name).to_owned(), history(name))).collect()
}

/// The rows of a file: card, feature, as-of time, whether it is gone.
fn read(path: &Path) -> Vec<(String, Option<i64>, i64, bool)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let ids = batch.column(0).as_string::<i32>();
        let counts = batch.column(1).as_primitive::<Int64Type>();
        let as_of = batch.column(2).as_primitive::<TimestampMillisecondType>();
        let deleted = batch.column(4).as_boolean();
        for row in 0..batch.num_rows() {
            let count = counts.is_valid(row).then(|| counts.value(row));
            rows.push((ids.value(row).to_owned(), count, as_of.value(row), deleted.value(row)));
        }
    }
    rows
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn two_sinks_write_one_file_a_view() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("made/here");
    let files = ParquetFiles::create(&made, views(&["one", "two"])).unwrap();
    let (mut first, mut second) = (files.sink(), files.sink());
    assert_eq!(first.write(&writes(0, &[("a", 1), ("b", 1)], &[], 10)).unwrap().acknowledged, 2);
    assert_eq!(second.write(&writes(0, &[("z", 7)], &[], 5)).unwrap().acknowledged, 1);
    assert_eq!(first.write(&writes(0, &[("a", 2)], &["b"], 20)).unwrap().acknowledged, 2);
    assert!(names(&made).iter().all(|name| name.starts_with('.')), "{:?}", names(&made));
    assert_eq!(files.finish().unwrap(), 5);

    assert_eq!(names(&made), ["one.parquet", "two.parquet"]);
    let row = |card: &str, n, as_of_ms, deleted| (card.to_owned(), n, as_of_ms, deleted);
    assert_eq!(
        read(&made.join("one.parquet")),
        [
            row("a", Some(1), 10, false),
            row("b", Some(1), 10, false),
            row("z", Some(7), 5, false),
            row("a", Some(2), 20, false),
            row("b", None, 20, true),
        ]
    );
    // A view without rows has a file with its columns.
    assert!(read(&made.join("two.parquet")).is_empty());
    // What comes after the end changes nothing.
    assert_eq!(first.write(&writes(0, &[("a", 3)], &[], 30)).unwrap().acknowledged, 0);
    assert_eq!(read(&made.join("one.parquet")).len(), 5);
}

#[test]
fn row_groups_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let files = ParquetFiles::create(directory.path(), views(&["txn"])).unwrap();
    let mut sink = files.sink();
    let rows: Vec<(&str, i64)> = (0..300_000).map(|number| ("a", number)).collect();
    for turn in 0..4 {
        sink.write(&writes(0, &rows, &[], turn)).unwrap();
    }
    assert_eq!(files.finish().unwrap(), 1_200_000);
    let file = File::open(directory.path().join("txn.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [1_048_576, 1_200_000 - 1_048_576]);
}

#[test]
fn what_is_there_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("two.parquet");
    fs::write(&path, "mine").unwrap();
    let error = ParquetFiles::create(directory.path(), views(&["one", "two"])).unwrap_err();
    assert!(matches!(&error, Error::Exists { path: known } if *known == path), "{error}");
    assert_eq!(names(directory.path()), ["two.parquet"]);

    // It comes while the run lasts.
    fs::remove_file(&path).unwrap();
    let files = ParquetFiles::create(directory.path(), views(&["one", "two"])).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(matches!(files.finish(), Err(Error::Exists { .. })));
    assert_eq!(names(directory.path()), ["two.parquet"]);
    assert_eq!(fs::read_to_string(path).unwrap(), "mine");
}

#[test]
fn nothing_is_left_of_what_is_not_finished() {
    let directory = tempfile::tempdir().unwrap();
    let files = ParquetFiles::create(directory.path(), views(&["txn"])).unwrap();
    let mut sink = files.sink();
    sink.write(&writes(0, &[("a", 1)], &[], 1)).unwrap();
    drop(files);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn the_first_error_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    // The view is thought to have a column of another type than its rows have.
    let other = Schema::new(vec![
        cards(&[]).schema().field(0).clone(),
        Field::new("n", DataType::FixedSizeBinary(3), false),
    ]);
    let history = History::try_new("txn", &other, &[0]).unwrap();
    let files = ParquetFiles::create(directory.path(), vec![("txn".to_owned(), history)]).unwrap();
    let mut sink = files.sink();
    assert!(!files.has_failed());
    assert_eq!(sink.write(&writes(0, &[("a", 1)], &[], 1)).unwrap().acknowledged, 0);
    assert!(files.has_failed());
    assert_eq!(sink.write(&writes(0, &[("a", 1)], &[], 1)).unwrap().acknowledged, 0);
    assert!(matches!(files.finish(), Err(Error::Rows { .. })));
    assert_eq!(names(directory.path()), Vec::<String>::new());
}
