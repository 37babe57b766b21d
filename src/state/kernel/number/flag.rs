//! `min` and `max` of truth values: FALSE is less than TRUE.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::common::{Result, internal_err};

use super::super::table::{Packed, Table};
use super::super::{Pair, Row};
use super::End;

/// The word of a row without a value; those with one have that, as 0 or 1.
const NO_VALUE: u64 = 2;

/// The least or the greatest truth value of each row: one word.
#[derive(Debug)]
pub(super) struct Flags {
    pub end: End,
}

fn flag(table: &Table, row: Row, at: usize) -> Option<bool> {
    let [word] = table.get(row, at);
    (word != NO_VALUE).then_some(word == 1)
}

impl Flags {
    fn add(&self, table: &mut Table, row: Row, at: usize, value: bool) {
        let value = match (flag(table, row, at), self.end) {
            (None, _) => value,
            (Some(current), End::Least) => current && value,
            (Some(current), End::Greatest) => current || value,
        };
        table.set(row, at, [u64::from(value)]);
    }
}

impl Packed for Flags {
    fn nothing(&self) -> Vec<u64> {
        vec![NO_VALUE]
    }

    fn update(
        &self,
        table: &mut Table,
        at: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        let values = flags(arguments)?;
        match super::selected(values.nulls(), filter) {
            None => {
                for (value, row) in values.values().iter().zip(rows) {
                    self.add(table, *row, at, value);
                }
            }
            Some(mask) => {
                for index in mask.set_indices() {
                    self.add(table, rows[index], at, values.value(index));
                }
            }
        }
        Ok(())
    }

    fn merge(&self, table: &mut Table, at: usize, pairs: &[Pair]) {
        for pair in pairs {
            if let Some(value) = flag(table, pair.from, at) {
                self.add(table, pair.into, at, value);
            }
        }
    }

    fn evaluate(&self, table: &Table, at: usize, rows: &[Row]) -> Result<ArrayRef> {
        let values: BooleanArray = rows.iter().map(|row| flag(table, *row, at)).collect();
        Ok(Arc::new(values))
    }

    fn save(&self, table: &Table, at: usize, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(table, at, rows)?])
    }

    fn load(&self, table: &mut Table, at: usize, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let values = flags(states)?;
        if values.len() != rows.len() {
            return internal_err!("expected {} states, got {}", rows.len(), values.len());
        }
        for (row, value) in rows.iter().zip(values) {
            table.set(*row, at, [value.map_or(NO_VALUE, u64::from)]);
        }
        Ok(())
    }
}

fn flags(columns: &[ArrayRef]) -> Result<&BooleanArray> {
    let [column] = columns else {
        return internal_err!("expected one column, got {}", columns.len());
    };
    match column.as_boolean_opt() {
        Some(values) => Ok(values),
        None => internal_err!("expected a column of truth values, got {}", column.data_type()),
    }
}
