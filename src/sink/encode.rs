//! From rows of features to packed Redis commands, without I/O. What has
//! changed and must be written is decided before, in [`crate::evaluate`];
//! sending is [`super::redis`].
//!
//! ```text
//! HSET features:card:c_17:transaction txn_count_5m 3 … _as_of 1700000000000 _computed_at 1700000000123
//! PEXPIRE features:card:c_17:transaction 86400000
//! ```
//! When fields that became NULL have to go, an `HDEL` joins them, and the three
//! stand in a transaction: no reader sees half of the new row.

mod bound;
mod column;
mod template;
#[cfg(test)]
mod tests;

use std::time::Duration;

use arrow::array::{RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Schema};
use arrow::json::EncoderOptions;

pub use bound::Bound;
use column::Column;
pub use template::{KeyTemplate, TemplateError};

use super::{Entry, Writes, resp};

/// The field with the as-of time in milliseconds.
pub const AS_OF: &str = "_as_of";

/// The field with the wall time of the computation in milliseconds.
pub const COMPUTED_AT: &str = "_computed_at";

/// How one feature view is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the hashes are called.
    pub template: KeyTemplate,
    /// The kind of entity.
    pub entity: String,
    /// The feature view.
    pub view: String,
    /// Which columns of the rows are the key, in its order. They are part of
    /// the hash's name and so are no fields of it.
    pub key_columns: Vec<usize>,
    /// How long a hash lives after its last write.
    pub ttl: Duration,
    /// What is written for NULL; `None` removes the field.
    pub null_text: Option<String>,
}

/// What is wrong with a view's output, as far as writing it goes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A type that has no text.
    #[error("view `{view}` has a column that cannot be written: `{column}` is of type {data_type}")]
    UnsupportedType {
        /// The feature view.
        view: String,
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// A feature that has the name of a bookkeeping field.
    #[error("view `{view}` calls a column `{column}`, the name of a bookkeeping field")]
    ReservedName {
        /// The feature view.
        view: String,
        /// The column.
        column: String,
    },
    /// The key is not among the columns. Ours: headers are checked before.
    #[error("view `{view}` has {columns} columns and no key column {key_column}")]
    KeyColumn {
        /// The feature view.
        view: String,
        /// The number given for a key column.
        key_column: usize,
        /// How many columns there are.
        columns: usize,
    },
    /// Rows of another schema than the encoder was made for. Ours.
    #[error("rows of view `{view}` do not have its schema: {expected} columns expected, {found} found")]
    Rows {
        /// The feature view.
        view: String,
        /// Columns expected.
        expected: usize,
        /// Columns found.
        found: usize,
    },
}

/// What the caller knows about the fields that are NULL now.
///
/// | known | an `HDEL` names |
/// |---|---|
/// | nothing | every field that is NULL |
/// | the hash does not exist | nothing |
/// | what was written last | NULL fields for which the function says that they were written |
#[derive(Clone, Copy)]
pub enum Nulls<'a> {
    /// Nothing is known: any field may exist.
    Unknown,
    /// The hash does not exist, or has none of them.
    Absent,
    /// Says of a column, by its index in the rows, whether its field may exist.
    Written(&'a dyn Fn(usize) -> bool),
}

impl Nulls<'_> {
    fn may_exist(self, column: usize) -> bool {
        match self {
            Self::Unknown => true,
            Self::Absent => false,
            Self::Written(written) => written(column),
        }
    }
}

/// What a row of features is, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// A hash of every feature's text.
    pub value: u128,
    /// Which of the first 128 columns are NULL features, a bit each.
    pub nulls: u128,
}

/// Writes the rows of one feature view.
#[derive(Debug)]
pub struct Encoder {
    view: String,
    columns: usize,
    key_columns: Vec<usize>,
    features: Vec<Feature>,
    around_key: Vec<Vec<u8>>,
    ttl_ms: String,
    null_text: Option<String>,
    as_of: Vec<u8>,
    computed_at: Vec<u8>,
    json: EncoderOptions,
}

#[derive(Debug)]
struct Feature {
    column: usize,
    /// The field's name as it stands in a command.
    name: Vec<u8>,
}

impl Encoder {
    /// Prepares the names and checks the types.
    ///
    /// # Errors
    /// When a column cannot be written, or the key is not among the columns.
    pub fn try_new(options: &Options, schema: &Schema) -> Result<Self, Error> {
        let json = EncoderOptions::default().with_explicit_nulls(true);
        let view = || options.view.clone();
        let columns = schema.fields().len();
        if let Some(key_column) = options.key_columns.iter().copied().find(|column| *column >= columns) {
            return Err(Error::KeyColumn { view: view(), key_column, columns });
        }
        let mut features = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let column = field.name().clone();
            if Column::try_new(field, new_empty_array(field.data_type()).as_ref(), &json).is_err() {
                let data_type = field.data_type().clone();
                return Err(Error::UnsupportedType { view: view(), column, data_type });
            }
            if column == AS_OF || column == COMPUTED_AT {
                return Err(Error::ReservedName { view: view(), column });
            }
            if !options.key_columns.contains(&index) {
                features.push(Feature { column: index, name: bulk(&column) });
            }
        }
        // Redis takes 0 as "delete now"; nobody means that.
        let ttl_ms = options.ttl.as_millis().max(1).to_string();
        Ok(Self {
            view: view(),
            columns,
            key_columns: options.key_columns.clone(),
            features,
            around_key: options.template.around_key(&options.entity, &options.view),
            ttl_ms,
            null_text: options.null_text.clone(),
            as_of: bulk(AS_OF),
            computed_at: bulk(COMPUTED_AT),
            json,
        })
    }

    /// Looks at the types of a batch once, to write many of its rows.
    ///
    /// # Errors
    /// When the rows do not have the schema that the encoder was made for.
    pub fn bind<'a>(&'a self, rows: &'a RecordBatch) -> Result<Bound<'a>, Error> {
        let found = rows.num_columns();
        if found != self.columns {
            return Err(Error::Rows { view: self.view.clone(), expected: self.columns, found });
        }
        let fields = rows.schema_ref().fields();
        let bind = |index: usize| {
            let (field, array) = (&fields[index], rows.column(index));
            Column::try_new(field, array.as_ref(), &self.json).map_err(|_| Error::UnsupportedType {
                view: self.view.clone(),
                column: field.name().clone(),
                data_type: array.data_type().clone(),
            })
        };
        let keys = self.key_columns.iter().map(|column| bind(*column)).collect::<Result<_, _>>()?;
        let features = self.features.iter().map(|feature| bind(feature.column)).collect::<Result<_, _>>()?;
        Ok(Bound::new(self, keys, features))
    }

    /// Deletes an entity's hash. `key` is what [`Bound::key`] gave.
    pub fn delete(&self, key: &[u8], writes: &mut Writes) {
        let start = writes.bytes.len();
        let out = &mut writes.bytes;
        resp::push_array(out, 2);
        resp::push_bulk(out, b"DEL");
        let name = resp::push_bulk(out, &self.redis_key(key));
        writes.entries.push(Entry {
            start,
            end: writes.bytes.len(),
            replies: 1,
            key: (name.start, name.end),
        });
    }

    /// Lets an entity's hash live for another TTL. `key` is what [`Bound::key`] gave.
    pub fn touch(&self, key: &[u8], writes: &mut Writes) {
        let start = writes.bytes.len();
        let name = self.push_expire(&mut writes.bytes, &self.redis_key(key));
        writes.entries.push(Entry { start, end: writes.bytes.len(), replies: 1, key: name });
    }

    /// The name of an entity's hash. `key` is what [`Bound::key`] gave.
    pub fn redis_key(&self, key: &[u8]) -> Vec<u8> {
        self.around_key.join(key)
    }

    fn push_expire(&self, out: &mut Vec<u8>, redis_key: &[u8]) -> (usize, usize) {
        resp::push_array(out, 3);
        resp::push_bulk(out, b"PEXPIRE");
        let name = resp::push_bulk(out, redis_key);
        resp::push_bulk(out, self.ttl_ms.as_bytes());
        (name.start, name.end)
    }
}

fn bulk(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    resp::push_bulk(&mut out, text.as_bytes());
    out
}
