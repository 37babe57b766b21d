//! `avg` of floats.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion::common::{Result, internal_err};

use super::super::{Kernel, Mode, Pair, Row};

/// Side by side, so that an event touches one cache line.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    sum: f64,
    count: u64,
}

impl State {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// Of nothing this is no number, which the caller hides.
    #[expect(clippy::cast_precision_loss, reason = "DataFusion divides by the count as a float too")]
    fn average(self) -> f64 {
        self.sum / self.count as f64
    }
}

/// The sum and the number of the values of each row.
#[derive(Debug, Default)]
pub(super) struct Averages {
    states: Vec<State>,
}

impl Averages {
    fn gather(&self, rows: &[Row]) -> impl Iterator<Item = State> {
        rows.iter().map(move |row| self.states[*row as usize])
    }
}

impl Kernel for Averages {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        super::super::grow(&mut self.states, rows, State::default());
    }

    fn keep(&mut self, rows: &[Row]) {
        self.states = self.gather(rows).collect();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            self.states[*row as usize] = State::default();
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        let states = self.states.as_mut_slice();
        super::each(super::column::<Float64Type>(arguments)?, filter, rows, |row, value| {
            states[row].add(value);
        });
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        let states = self.states.as_mut_slice();
        for pair in pairs {
            // Nothing is zero, and to add that changes no sum: none is ever -0.0.
            let from = states[pair.from as usize];
            let into = &mut states[pair.into as usize];
            into.sum += from.sum;
            into.count += from.count;
        }
        Ok(())
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        let averages: Vec<f64> = self.gather(rows).map(State::average).collect();
        let some = |index: usize| self.states[rows[index] as usize].count > 0;
        let some = BooleanBuffer::collect_bool(rows.len(), some);
        let nulls = Some(NullBuffer::new(some)).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(Float64Array::new(averages.into(), nulls)))
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let counts: Vec<u64> = self.gather(rows).map(|state| state.count).collect();
        let sums: Vec<f64> = self.gather(rows).map(|state| state.sum).collect();
        Ok(vec![Arc::new(UInt64Array::from(counts)), Arc::new(Float64Array::from(sums))])
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let [counts, sums] = states else {
            return internal_err!("the state of an average is two columns, not {}", states.len());
        };
        let counts = super::states::<UInt64Type>(counts, rows.len())?;
        let sums = super::states::<Float64Type>(sums, rows.len())?;
        for ((row, count), sum) in rows.iter().zip(counts).zip(sums) {
            self.states[*row as usize] = State { sum: *sum, count: *count };
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>()
    }
}
