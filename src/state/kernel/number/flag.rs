//! `min` and `max` of truth values: FALSE is less than TRUE.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::common::{Result, internal_err};

use super::super::{Kernel, Mode, Pair, Row};
use super::End;

/// The least or the greatest truth value of each row.
#[derive(Debug)]
pub(super) struct Flags {
    end: End,

    states: Vec<Option<bool>>,
}

impl Flags {
    /// Without rows.
    pub(super) const fn new(end: End) -> Self {
        Self { end, states: Vec::new() }
    }

    fn add(&mut self, row: Row, value: bool) {
        let state = &mut self.states[row as usize];
        *state = Some(match (*state, self.end) {
            (None, _) => value,
            (Some(current), End::Least) => current && value,
            (Some(current), End::Greatest) => current || value,
        });
    }
}

impl Kernel for Flags {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        super::super::grow(&mut self.states, rows, None);
    }

    fn keep(&mut self, rows: &[Row]) {
        self.states = rows.iter().map(|row| self.states[*row as usize]).collect();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            self.states[*row as usize] = None;
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        let values = flags(arguments)?;
        match super::selected(values.nulls(), filter) {
            None => {
                for (value, row) in values.values().iter().zip(rows) {
                    self.add(*row, value);
                }
            }
            Some(mask) => {
                for index in mask.set_indices() {
                    self.add(rows[index], values.value(index));
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        for pair in pairs {
            if let Some(value) = self.states[pair.from as usize] {
                self.add(pair.into, value);
            }
        }
        Ok(())
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        let values: BooleanArray = rows.iter().map(|row| self.states[*row as usize]).collect();
        Ok(Arc::new(values))
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(0, rows)?])
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let values = flags(states)?;
        if values.len() != rows.len() {
            return internal_err!("expected {} states, got {}", rows.len(), values.len());
        }
        for (row, value) in rows.iter().zip(values) {
            self.states[*row as usize] = value;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<Option<bool>>()
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
