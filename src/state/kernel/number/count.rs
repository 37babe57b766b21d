//! `count` of one or several arguments: of the events where none of them is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int64Type;
use datafusion::common::{Result, internal_err};

use super::super::{Kernel, Mode, Pair, Row};

/// How many events each row has.
#[derive(Debug, Default)]
pub(super) struct Counts {
    counts: Vec<i64>,
}

impl Counts {
    fn gather(&self, rows: &[Row]) -> Vec<i64> {
        rows.iter().map(|row| self.counts[*row as usize]).collect()
    }
}

impl Kernel for Counts {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        super::super::grow(&mut self.counts, rows, 0);
    }

    fn keep(&mut self, rows: &[Row]) {
        self.counts = self.gather(rows);
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            self.counts[*row as usize] = 0;
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        // Logical ones: a dictionary may refer to a NULL, and of the type NULL nothing else is.
        let mut nulls: Option<NullBuffer> = None;
        for argument in arguments {
            nulls = NullBuffer::union(nulls.as_ref(), argument.logical_nulls().as_ref());
        }
        let counts = self.counts.as_mut_slice();
        match super::selected(nulls.as_ref(), filter) {
            None => {
                for row in rows {
                    counts[*row as usize] += 1;
                }
            }
            Some(mask) => {
                for index in mask.set_indices() {
                    counts[rows[index] as usize] += 1;
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        let counts = self.counts.as_mut_slice();
        for pair in pairs {
            counts[pair.into as usize] += counts[pair.from as usize];
        }
        Ok(())
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.gather(rows))))
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(0, rows)?])
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let [counts] = states else {
            return internal_err!("the state of a count is one column, not {}", states.len());
        };
        for (row, count) in rows.iter().zip(super::states::<Int64Type>(counts, rows.len())?) {
            self.counts[*row as usize] = *count;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
