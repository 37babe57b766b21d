//! Rows given out instead of commands: after every turn the last one of each
//! entity is what its hash is, and who has no hash any more is said to be gone.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use windrow::sink::encode::{AS_OF, COMPUTED_AT};
use windrow::sink::rows::{DELETED, History};

use super::events;
use super::log::Entry;
use super::reference::{self, Hashes};
use super::run::Run;
use super::views::{self, TEMPLATES, Template};

/// Seven cards in both partitions that fall silent for longer than the shorter
/// windows, each after some time.
fn log() -> Vec<Entry> {
    let steps: Vec<(i64, u8)> =
        (0..80_u8).map(|number| ([3, 40, 0, 700, 95][usize::from(number % 5)], number % 9 % 7)).collect();
    events(&steps)
}

/// The last rows of a history.
struct Last {
    template: &'static Template,
    history: History,

    hashes: Hashes,
    as_of_ms: BTreeMap<String, i64>,
    deleted: usize,
    /// Said to be gone without having had a row here.
    strangers: usize,
}

impl Last {
    fn new(template: &'static Template) -> Self {
        let view = views::view(template);
        let history = History::try_new(&view.name, &view.output, &view.key).unwrap();
        let (hashes, as_of_ms) = (Hashes::new(), BTreeMap::new());
        Self { template, history, hashes, as_of_ms, deleted: 0, strangers: 0 }
    }

    /// Takes in what a run gave out since it was last asked.
    fn follow(&mut self, run: &mut Run) {
        for changed in std::mem::take(&mut run.changed) {
            assert_eq!(changed.view, 0);
            for table in self.history.rows(&changed).unwrap() {
                (0..table.num_rows()).for_each(|row| self.take(&table, row));
            }
        }
    }

    fn take(&mut self, table: &RecordBatch, row: usize) {
        let schema = table.schema();
        let mut fields: BTreeMap<String, String> = schema
            .fields()
            .iter()
            .zip(table.columns())
            .filter(|(field, _)| ![AS_OF, COMPUTED_AT, DELETED].contains(&field.name().as_str()))
            .filter_map(|(field, column)| Some((field.name().clone(), reference::text(column, row)?)))
            .collect();
        let key = fields.remove(self.template.key).unwrap();
        let as_of = table.column_by_name(AS_OF).unwrap().as_primitive::<TimestampMillisecondType>();
        let before = self.as_of_ms.insert(key.clone(), as_of.value(row));
        assert!(before.is_none_or(|before| before <= as_of.value(row)), "{key}: not in the order of time");
        let name = format!("features:e:{key}:{}", self.template.name);
        if table.column_by_name(DELETED).unwrap().as_boolean().value(row) {
            assert_eq!(fields, BTreeMap::new(), "{key}: who is gone has no features");
            match self.hashes.remove(&name) {
                Some(_) => self.deleted += 1,
                None => self.strangers += 1,
            }
        } else {
            let before = self.hashes.insert(name, fields.clone());
            assert_ne!(before, Some(fields), "{key}: nothing changed");
        }
    }
}

#[test]
fn the_last_rows_are_the_hashes_after_every_turn() {
    let log = log();
    let mut deleted = 0;
    for template in &TEMPLATES {
        let begin: [fn(&Template) -> Run; 2] = [Run::new, Run::by_reference];
        for begin in begin {
            let (mut hashes, mut rows) = (begin(template), begin(template).with_rows());
            let mut last = Last::new(template);
            for until in (4..=log.len()).step_by(4) {
                hashes.read(&log[..until], 3);
                rows.read(&log[..until], 3);
                last.follow(&mut rows);
                assert_eq!(last.hashes, hashes.hashes(), "{} at {until}", template.name);
            }
            assert_eq!(last.hashes, reference::hashes(template, &log), "{}", template.name);
            assert!(rows.hashes().is_empty(), "{}: it wrote hashes as well", template.name);
            assert_eq!(last.strangers, 0, "{}", template.name);
            deleted += last.deleted;
        }
    }
    assert!(deleted > 10, "{deleted}: hardly anybody was gone");
}

/// Who has no new events has a row, too.
#[test]
fn a_beginning_in_the_middle_gives_every_row_at_once() {
    let log = log();
    for template in &TEMPLATES {
        let mut before = Run::new(template);
        before.read(&log[..60], 7);
        let mut rows = before.restarted(before.commits.clone()).with_rows();
        let mut last = Last::new(template);
        rows.read(&log[..64], 64);
        last.follow(&mut rows);
        before.read(&log[..64], 64);
        assert_eq!(last.hashes, before.hashes(), "{}", template.name);
        rows.read(&log, 5);
        last.follow(&mut rows);
        assert_eq!(last.hashes, reference::hashes(template, &log), "{}", template.name);
    }
}
