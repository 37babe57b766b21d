//! `count` of one or several arguments: of the events where none of them is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int64Type;
use datafusion::common::{Result, internal_err};

use super::super::table::{Packed, Table};
use super::super::{Pair, Row};

/// How many events each row has: one word.
#[derive(Debug)]
pub(super) struct Counts;

#[inline]
fn count(table: &Table, row: Row, at: usize) -> i64 {
    let [count] = table.get(row, at);
    count.cast_signed()
}

#[inline]
fn add(table: &mut Table, row: Row, at: usize, more: i64) {
    let [count] = table.get_mut(row, at);
    *count = (count.cast_signed() + more).cast_unsigned();
}

impl Packed for Counts {
    fn nothing(&self) -> Vec<u64> {
        vec![0]
    }

    fn update(
        &self,
        table: &mut Table,
        at: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        // Logical ones: a dictionary may refer to a NULL, and of the type NULL nothing else is.
        let mut nulls: Option<NullBuffer> = None;
        for argument in arguments {
            nulls = NullBuffer::union(nulls.as_ref(), argument.logical_nulls().as_ref());
        }
        match super::selected(nulls.as_ref(), filter) {
            None => rows.iter().for_each(|row| add(table, *row, at, 1)),
            Some(mask) => mask.set_indices().for_each(|index| add(table, rows[index], at, 1)),
        }
        Ok(())
    }

    fn merge(&self, table: &mut Table, at: usize, pairs: &[Pair]) {
        for pair in pairs {
            let more = count(table, pair.from, at);
            add(table, pair.into, at, more);
        }
    }

    fn evaluate(&self, table: &Table, at: usize, rows: &[Row]) -> Result<ArrayRef> {
        let counts: Vec<i64> = rows.iter().map(|row| count(table, *row, at)).collect();
        Ok(Arc::new(Int64Array::from(counts)))
    }

    fn save(&self, table: &Table, at: usize, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(table, at, rows)?])
    }

    fn load(&self, table: &mut Table, at: usize, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let [counts] = states else {
            return internal_err!("the state of a count is one column, not {}", states.len());
        };
        for (row, count) in rows.iter().zip(super::states::<Int64Type>(counts, rows.len())?) {
            table.set(*row, at, [count.cast_unsigned()]);
        }
        Ok(())
    }
}
