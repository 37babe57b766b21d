//! `avg` of floats.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion::common::{Result, internal_err};

use super::super::table::{Packed, Table};
use super::super::{Pair, Row};

/// Two words.
#[derive(Debug, Clone, Copy)]
struct State {
    sum: f64,
    count: u64,
}

impl State {
    #[inline]
    fn of(table: &Table, row: Row, at: usize) -> Self {
        let [sum, count] = table.get(row, at);
        Self { sum: f64::from_bits(sum), count }
    }

    #[inline]
    fn put(self, table: &mut Table, row: Row, at: usize) {
        table.set(row, at, [self.sum.to_bits(), self.count]);
    }

    /// Of nothing this is no number, which the caller hides.
    #[expect(clippy::cast_precision_loss, reason = "DataFusion divides by the count as a float too")]
    fn average(self) -> f64 {
        self.sum / self.count as f64
    }
}

/// The sum and the number of the values of each row.
#[derive(Debug)]
pub(super) struct Averages;

fn gather(table: &Table, rows: &[Row], at: usize) -> impl Iterator<Item = State> {
    rows.iter().map(move |row| State::of(table, *row, at))
}

impl Packed for Averages {
    fn nothing(&self) -> Vec<u64> {
        vec![0f64.to_bits(), 0]
    }

    fn update(
        &self,
        table: &mut Table,
        at: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        super::each(super::column::<Float64Type>(arguments)?, filter, rows, |row, value| {
            let State { sum, count } = State::of(table, row, at);
            State { sum: sum + value, count: count + 1 }.put(table, row, at);
        });
        Ok(())
    }

    fn merge(&self, table: &mut Table, at: usize, pairs: &[Pair]) {
        for pair in pairs {
            // Nothing is zero, and to add that changes no sum: none is ever -0.0.
            let from = State::of(table, pair.from, at);
            let State { sum, count } = State::of(table, pair.into, at);
            State { sum: sum + from.sum, count: count + from.count }.put(table, pair.into, at);
        }
    }

    fn evaluate(&self, table: &Table, at: usize, rows: &[Row]) -> Result<ArrayRef> {
        let averages: Vec<f64> = gather(table, rows, at).map(State::average).collect();
        let some = |index: usize| State::of(table, rows[index], at).count > 0;
        let some = BooleanBuffer::collect_bool(rows.len(), some);
        let nulls = Some(NullBuffer::new(some)).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(Float64Array::new(averages.into(), nulls)))
    }

    fn save(&self, table: &Table, at: usize, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let counts: Vec<u64> = gather(table, rows, at).map(|state| state.count).collect();
        let sums: Vec<f64> = gather(table, rows, at).map(|state| state.sum).collect();
        Ok(vec![Arc::new(UInt64Array::from(counts)), Arc::new(Float64Array::from(sums))])
    }

    fn load(&self, table: &mut Table, at: usize, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let [counts, sums] = states else {
            return internal_err!("the state of an average is two columns, not {}", states.len());
        };
        let counts = super::states::<UInt64Type>(counts, rows.len())?;
        let sums = super::states::<Float64Type>(sums, rows.len())?;
        for ((row, count), sum) in rows.iter().zip(counts).zip(sums) {
            State { sum: *sum, count: *count }.put(table, *row, at);
        }
        Ok(())
    }
}
