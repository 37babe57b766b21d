//! Rows of features as Arrow has them, for a sink that keeps every row and no
//! hashes, such as [`super::parquet`]. Which rows changed is found out as for
//! commands: where [`Writes::rows`](super::Writes::rows) is given, an
//! [`Encoder`] notes rows there instead of writing them as commands.
//!
//! ```text
//!  comparison ─▶ set(row), gone(key) ─▶ end() ─▶ Changed ─▶ History: rows of a table
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, TimestampMillisecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::encode::{AS_OF, COMPUTED_AT, Encoder, Error};

/// The column that says that an entity has no row any more.
pub const DELETED: &str = "_deleted";

/// The time zone of the columns with times.
const UTC: &str = "UTC";

/// What changed in one shard of one view at one turn.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The view, by its number among those of the worker.
    pub view: usize,
    /// The rows that are new or differ from those before.
    pub rows: RecordBatch,
    /// Of the entities that have no row any more the key, in columns like those
    /// of `rows`; the other columns mean nothing.
    pub gone: RecordBatch,
    /// The clock for which the rows were computed, in milliseconds.
    pub as_of_ms: i64,
    /// Wall time of the computation, in milliseconds.
    pub computed_at_ms: i64,
}

/// What changed at one turn.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    changed: Vec<Changed>,

    /// Of the comparison that has not ended: the rows that changed.
    set: Vec<u64>,
    /// The keys, as text, of who has no row any more.
    gone: HashSet<Box<[u8]>>,
}

impl Rows {
    /// By shard, in the order in which they were compared.
    pub fn changed(&self) -> &[Changed] {
        &self.changed
    }

    /// Whether nothing changed.
    pub const fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// A row is new, or differs from the one before.
    pub(super) fn set(&mut self, row: usize) {
        self.set.push(row as u64);
    }

    /// The entity with this key has no row any more.
    pub(super) fn gone(&mut self, key: &[u8]) {
        self.gone.insert(key.into());
    }

    /// Ends the comparison of a shard's `rows`. Among `looked_at` are the keys of
    /// all entities that may have lost theirs, in columns like those of `rows`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn end(
        &mut self,
        view: usize,
        encoder: &Arc<Encoder>,
        rows: &RecordBatch,
        looked_at: Option<&RecordBatch>,
        [as_of_ms, computed_at_ms]: [i64; 2],
    ) -> Result<(), Error> {
        let set = std::mem::take(&mut self.set);
        let mut gone = std::mem::take(&mut self.gone);
        if set.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let mut lost = Vec::new();
        if let Some(looked_at) = looked_at.filter(|_| !gone.is_empty()) {
            let mut bound = encoder.bind(looked_at)?;
            let mut key = Vec::new();
            for row in 0..looked_at.num_rows() {
                // A key can stand there twice.
                if bound.key(row, &mut key).is_some() && gone.remove(key.as_slice()) {
                    lost.push(row as u64);
                }
            }
        }
        let rows = pick(rows, set)?;
        let gone = pick(looked_at.unwrap_or(&rows), lost)?;
        self.changed.push(Changed { view, rows, gone, as_of_ms, computed_at_ms });
        Ok(())
    }
}

/// These rows of a batch; all of it without copying when they are all of them.
fn pick(rows: &RecordBatch, picked: Vec<u64>) -> Result<RecordBatch, Error> {
    if picked.is_empty() {
        return Ok(rows.slice(0, 0));
    }
    if picked.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    take_record_batch(rows, &UInt64Array::from(picked)).map_err(Error::Pick)
}

/// The table of all rows that a view ever had: its output columns, then
/// `_as_of`, `_computed_at` and `_deleted`.
#[derive(Debug, Clone)]
pub struct History {
    schema: SchemaRef,
    /// How many of the columns are the view's.
    columns: usize,
    key: Vec<usize>,
}

impl History {
    /// Of a view with these output columns, of which `key` are the key.
    ///
    /// # Errors
    /// When a feature has the name of a column that is added.
    pub fn try_new(view: &str, output: &Schema, key: &[usize]) -> Result<Self, Error> {
        let time = || DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()));
        let added = [
            Field::new(AS_OF, time(), false),
            Field::new(COMPUTED_AT, time(), false),
            Field::new(DELETED, DataType::Boolean, false),
        ];
        if let Some(taken) = added.iter().find(|field| output.column_with_name(field.name()).is_some()) {
            return Err(Error::ReservedName { view: view.to_owned(), column: taken.name().clone() });
        }
        // Who has no row any more has no features, also where the view promises some.
        let own = output.fields().iter().enumerate().map(|(index, field)| {
            let nullable = field.is_nullable() || !key.contains(&index);
            field.as_ref().clone().with_nullable(nullable)
        });
        let fields: Vec<Field> = own.chain(added).collect();
        let columns = output.fields().len();
        Ok(Self { schema: Arc::new(Schema::new(fields)), columns, key: key.to_vec() })
    }

    /// Its columns.
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What changed as rows of the table: those that entities have now, and
    /// those that say who has none any more.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn rows(&self, changed: &Changed) -> Result<[RecordBatch; 2], ArrowError> {
        Ok([self.table(changed, false)?, self.table(changed, true)?])
    }

    fn table(&self, changed: &Changed, deleted: bool) -> Result<RecordBatch, ArrowError> {
        let rows = if deleted { &changed.gone } else { &changed.rows };
        let count = rows.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (index, field) in self.schema.fields().iter().take(self.columns).enumerate() {
            let data_type = field.data_type();
            columns.push(if deleted && !self.key.contains(&index) {
                new_null_array(data_type, count)
            } else if rows.column(index).data_type() == data_type {
                Arc::clone(rows.column(index))
            } else {
                // A type as it was planned and as it is evaluated can differ in what items are called.
                cast(rows.column(index), data_type)?
            });
        }
        for time in [changed.as_of_ms, changed.computed_at_ms] {
            columns.push(Arc::new(TimestampMillisecondArray::from_value(time, count).with_timezone(UTC)));
        }
        columns.push(Arc::new(BooleanArray::from(vec![deleted; count])));
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use arrow::array::{Array, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{Int64Type, TimestampMillisecondType};

    use super::super::Writes;
    use super::super::encode::{KeyTemplate, Known, Options};
    use super::*;

    fn cards(rows: &[(Option<&str>, i64)]) -> RecordBatch {
        let fields = [Field::new("card", DataType::Utf8, true), Field::new("n", DataType::Int64, false)];
        let schema = Schema::new(fields.to_vec());
        let ids: StringArray = rows.iter().map(|row| row.0).collect();
        let counts: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(counts)]).unwrap()
    }

    /// Of a view whose first column is its key.
    pub(in crate::sink) fn encoder(schema: &Schema) -> Arc<Encoder> {
        let options = Options {
            template: KeyTemplate::default(),
            entity: "card".to_owned(),
            view: "txn".to_owned(),
            key_columns: vec![0],
            ttl: Duration::from_secs(60),
            null_text: None,
            changed_only: false,
        };
        Encoder::try_new(&options, schema).unwrap()
    }

    fn told(table: &RecordBatch) -> Vec<(String, Option<i64>)> {
        let (ids, counts) = (table.column(0).as_string::<i32>(), table.column(1).as_primitive::<Int64Type>());
        (0..table.num_rows())
            .map(|row| (ids.value(row).to_owned(), counts.is_valid(row).then(|| counts.value(row))))
            .collect()
    }

    #[test]
    fn rows_are_noted_instead_of_commands() {
        let (encoder, rows) =
            (encoder(&cards(&[]).schema()), cards(&[(Some("a"), 1), (None, 2), (Some("c"), 3)]));
        let mut writes = Writes { rows: Some(Rows::default()), ..Writes::default() };
        let mut bound = encoder.bind(&rows).unwrap();
        for row in 0..3 {
            let has_key = bound.set(row, Known::Nothing, 1, 2, &mut writes);
            assert_eq!(has_key.is_some(), row != 1);
        }
        encoder.delete(b"d", &mut writes);
        encoder.delete(b"nobody", &mut writes);
        encoder.touch(b"e", &mut writes);
        assert!(writes.entries.is_empty() && writes.bytes.is_empty());

        let looked_at = cards(&[(Some("a"), 0), (Some("d"), 0), (Some("d"), 0)]);
        let noted = writes.rows.as_mut().unwrap();
        assert!(noted.is_empty());
        noted.end(7, &encoder, &rows, Some(&looked_at), [1000, 2000]).unwrap();
        // Nothing is left of it for the next one.
        noted.end(8, &encoder, &rows, Some(&looked_at), [1000, 2000]).unwrap();
        assert!(!writes.is_empty());
        let changed = writes.rows.unwrap().changed;
        assert_eq!(changed.iter().map(|changed| changed.view).collect::<Vec<_>>(), [7]);

        let history = History::try_new("txn", &rows.schema(), &[0]).unwrap();
        let [now, gone] = history.rows(&changed[0]).unwrap();
        assert_eq!(told(&now), [("a".to_owned(), Some(1)), ("c".to_owned(), Some(3))]);
        assert_eq!(told(&gone), [("d".to_owned(), None)]);
        for (table, deleted) in [(&now, false), (&gone, true)] {
            let fields = table.schema_ref().fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
            assert_eq!(names, ["card", "n", AS_OF, COMPUTED_AT, DELETED]);
            assert_eq!(table.column(2).as_primitive::<TimestampMillisecondType>().value(0), 1000);
            assert_eq!(table.column(3).as_primitive::<TimestampMillisecondType>().value(0), 2000);
            assert_eq!(table.column(4).as_boolean().value(0), deleted);
        }
    }

    #[test]
    fn a_feature_must_not_be_called_like_a_column_that_is_added() {
        let output = Schema::new(vec![
            Field::new("card", DataType::Utf8, false),
            Field::new(DELETED, DataType::Boolean, false),
        ]);
        let error = History::try_new("txn", &output, &[0]).unwrap_err();
        assert!(matches!(&error, Error::ReservedName { column, .. } if column == DELETED), "{error}");
    }
}
