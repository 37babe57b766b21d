//! From rows of features to packed Redis commands, without I/O. What has
//! changed and must be written is decided before, in [`crate::evaluate`];
//! sending is [`super::redis`].
//!
//! ```text
//! HSET features:card:c_17:transaction txn_count_5m 3 … _as_of 1700000000000 _computed_at 1700000000123
//! PEXPIRE features:card:c_17:transaction 86400000
//! ```
//! When fields that became NULL have to go, an `HDEL` joins them, and the sink
//! makes the three a transaction: no reader sees half of the new row. Where it is
//! known what a hash has, the fields that did not change may be left out: see
//! [`super::parts`].

mod bound;
mod column;
mod digest;
mod number;
mod template;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::json::EncoderOptions;

pub use bound::Bound;
use column::Column;
pub use digest::Digest;
use digest::{Layout, Secret};
pub use template::{KeyTemplate, TemplateError};

use super::{Writes, resp};

/// The field with the as-of time in milliseconds.
pub const AS_OF: &str = "_as_of";

/// The field with the wall time of the computation in milliseconds.
pub const COMPUTED_AT: &str = "_computed_at";

/// The field that says that events are missing in the windows: `true`, or not there.
pub const WARMING: &str = "_warming";

/// A command that lets a hash live on, up to the hash's name.
const PEXPIRE: &[u8] = b"*3\r\n$7\r\nPEXPIRE\r\n";

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
    /// Whether fields that did not change are left out, where it is known what the hash has.
    pub changed_only: bool,
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
    /// Rows that changed could not be told from the others. Ours.
    #[error("rows that changed could not be picked")]
    Pick(#[source] ArrowError),
}

/// What the caller knows of the hash that a row is written over.
///
/// | known | an `HDEL` names | fields that did not change |
/// |---|---|---|
/// | nothing | every field that is NULL | are written |
/// | the hash does not exist | nothing | are written |
/// | which fields it has | NULL fields for which the function says that they were written | are written |
/// | the row written last | NULL fields that were not | are left out, if that is wanted |
#[derive(Clone, Copy)]
pub enum Known<'a> {
    /// Nothing: any field may exist.
    Nothing,
    /// The hash does not exist, or has none of the fields that are NULL now.
    Absent,
    /// Says of a feature, by its place among them, whether its field may exist.
    Fields(&'a dyn Fn(usize) -> bool),
    /// The image of the row written last, from [`Bound::image`].
    Row(&'a [u8]),
}

/// Whether hashes say that events are missing in their windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// None does, nor did.
    #[default]
    Never,
    /// Those written do: the field [`WARMING`].
    Warming,
    /// No more: the field goes where nothing is known of a hash.
    Ended,
}

/// Writes the rows of one feature view.
#[derive(Debug)]
pub struct Encoder {
    view: String,
    columns: usize,
    key_columns: Vec<usize>,
    features: Vec<Feature>,
    around_key: Vec<Vec<u8>>,
    /// The time to live as it stands in a command, like those that follow.
    ttl: Vec<u8>,
    null_text: Option<Vec<u8>>,
    as_of: Vec<u8>,
    computed_at: Vec<u8>,
    warming: Vec<u8>,
    json: EncoderOptions,
    layout: Layout,
    /// What digests are made with.
    secret: Secret,
    changed_only: bool,
}

/// A name of up to 25 letters, with its length and the ends of lines.
const NAME_START: usize = 32;

#[derive(Debug)]
struct Feature {
    column: usize,
    /// The field's name as it stands in a command.
    name: Vec<u8>,
    /// The start of that, filled up with zeros: most names are copied from
    /// here, without a call.
    start: [u8; NAME_START],
}

impl Feature {
    fn new(column: usize, name: &str) -> Self {
        let name = bulk(name);
        let mut start = [0; NAME_START];
        let len = name.len().min(NAME_START);
        start[..len].copy_from_slice(&name[..len]);
        Self { column, name, start }
    }

    #[inline]
    fn push_name(&self, out: &mut Vec<u8>) {
        if self.name.len() <= NAME_START {
            number::push_start(out, &self.start, self.name.len());
        } else {
            out.extend_from_slice(&self.name);
        }
    }
}

impl Encoder {
    /// Prepares the names and checks the types.
    ///
    /// # Errors
    /// When a column cannot be written, or the key is not among the columns.
    pub fn try_new(options: &Options, schema: &Schema) -> Result<Arc<Self>, Error> {
        let json = EncoderOptions::default().with_explicit_nulls(true);
        let view = || options.view.clone();
        let columns = schema.fields().len();
        if let Some(key_column) = options.key_columns.iter().copied().find(|column| *column >= columns) {
            return Err(Error::KeyColumn { view: view(), key_column, columns });
        }
        let (mut features, mut widths) = (Vec::new(), Vec::new());
        for (index, field) in schema.fields().iter().enumerate() {
            let column = field.name().clone();
            let nothing = new_empty_array(field.data_type());
            let Ok(values) = Column::try_new(field, nothing.as_ref(), &json) else {
                let data_type = field.data_type().clone();
                return Err(Error::UnsupportedType { view: view(), column, data_type });
            };
            if [AS_OF, COMPUTED_AT, WARMING].contains(&column.as_str()) {
                return Err(Error::ReservedName { view: view(), column });
            }
            if !options.key_columns.contains(&index) {
                features.push(Feature::new(index, &column));
                widths.push(values.width());
            }
        }
        // Redis takes 0 as "delete now"; nobody means that.
        let ttl_ms = options.ttl.as_millis().max(1).to_string();
        Ok(Arc::new(Self {
            view: view(),
            columns,
            key_columns: options.key_columns.clone(),
            features,
            around_key: options.template.around_key(&options.entity, &options.view),
            ttl: bulk(&ttl_ms),
            null_text: options.null_text.as_deref().map(bulk),
            as_of: bulk(AS_OF),
            computed_at: bulk(COMPUTED_AT),
            warming: bulk(WARMING),
            json,
            layout: Layout::new(&widths),
            secret: digest::secret(),
            changed_only: options.changed_only,
        }))
    }

    /// Bytes of a row's image, where images are of use; else 0.
    pub const fn image_bytes(&self) -> usize {
        if self.changed_only { self.layout.stride() } else { 0 }
    }

    /// Looks at the types of a batch once, to write many of its rows.
    ///
    /// # Errors
    /// When the rows do not have the schema that the encoder was made for.
    pub fn bind<'a>(self: &'a Arc<Self>, rows: &'a RecordBatch) -> Result<Bound<'a>, Error> {
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
        Ok(Bound::new(self, rows, keys, features))
    }

    /// Deletes an entity's hash. `key` is what [`Bound::key`] gave.
    pub fn delete(&self, key: &[u8], writes: &mut Writes) {
        if let Some(rows) = &mut writes.rows {
            return rows.gone(key);
        }
        let start = writes.bytes.len();
        let out = &mut writes.bytes;
        out.extend_from_slice(b"*2\r\n$3\r\nDEL\r\n");
        let name = self.push_redis_key(out, key);
        writes.end_entry(start, 1, (name.start, name.end));
    }

    /// Lets an entity's hash live for another TTL. `key` is what [`Bound::key`] gave.
    pub fn touch(&self, key: &[u8], writes: &mut Writes) {
        // Rows do not expire.
        if writes.rows.is_some() {
            return;
        }
        let start = writes.bytes.len();
        let out = &mut writes.bytes;
        out.extend_from_slice(PEXPIRE);
        let name = self.push_redis_key(out, key);
        out.extend_from_slice(&self.ttl);
        writes.end_entry(start, 1, (name.start, name.end));
    }

    /// Appends the name of an entity's hash and says where its text stands.
    fn push_redis_key(&self, out: &mut Vec<u8>, key: &[u8]) -> Range<usize> {
        resp::push_joined(out, &self.around_key, key)
    }
}

fn bulk(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    resp::push_bulk(&mut out, text.as_bytes());
    out
}
