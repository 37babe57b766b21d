//! Events of one partition in the order of offsets, and which of them are gone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;

use crate::decode::reader::OFFSET;

/// See the module. It is never without a row.
#[derive(Debug)]
pub struct Chunk {
    rows: RecordBatch,
    /// Which rows are gone; nothing as long as none is.
    gone: Vec<bool>,
    count_gone: usize,
}

impl Chunk {
    /// Events, with texts of their own.
    pub fn try_new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self { rows: with_own_texts(rows)?, gone: Vec::new(), count_gone: 0 })
    }

    /// The rows, those among them that are gone.
    pub const fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The offset of each row.
    pub fn offsets(&self) -> &[i64] {
        self.rows
            .column_by_name(OFFSET)
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .expect("every stream's rows have an offset")
            .values()
    }

    /// The first offset.
    pub fn first(&self) -> i64 {
        self.offsets().first().copied().unwrap_or(i64::MIN)
    }

    /// The row with an offset.
    pub fn row(&self, offset: i64) -> Option<usize> {
        self.offsets().binary_search(&offset).ok()
    }

    /// Rows that are not gone.
    pub fn live(&self) -> usize {
        self.rows.num_rows() - self.count_gone
    }

    /// Marks the row with an offset as gone.
    pub fn give_up(&mut self, offset: i64) {
        let Some(row) = self.row(offset) else { return };
        if self.gone.is_empty() {
            self.gone.resize(self.rows.num_rows(), false);
        }
        if !self.gone[row] {
            self.gone[row] = true;
            self.count_gone += 1;
        }
    }

    /// Whether most of it is gone.
    pub fn is_sparse(&self) -> bool {
        self.count_gone > self.live()
    }

    /// Both without what is gone. The other one follows this one.
    pub fn merged(&self, other: &Self) -> Result<Self, ArrowError> {
        let parts = [self.live_rows()?, other.live_rows()?];
        Self::try_new(&concat_batches(&self.rows.schema(), &parts)?)
    }

    /// Removes what is gone.
    pub fn compact(&mut self) -> Result<(), ArrowError> {
        *self = Self::try_new(&self.live_rows()?)?;
        Ok(())
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.gone.capacity()
    }

    fn live_rows(&self) -> Result<RecordBatch, ArrowError> {
        if self.count_gone == 0 {
            return Ok(self.rows.clone());
        }
        let live: BooleanBuffer = self.gone.iter().map(|gone| !gone).collect();
        filter_record_batch(&self.rows, &BooleanArray::from(live))
    }
}

/// Views into texts hold on to all texts of the batch that they came in.
fn with_own_texts(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let own = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        }
    };
    RecordBatch::try_new(rows.schema(), rows.columns().iter().map(own).collect())
}
