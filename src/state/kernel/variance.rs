//! `var_pop`, `var_samp`, `stddev_pop` and `stddev` of floats.
//!
//! The formulas are Welford's for a value, and those for two sets that are put together, term by
//! term as DataFusion has them: another order of the same terms would give other last digits.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Float64Type, UInt64Type};
use datafusion::common::{Result, internal_err};
use datafusion::functions_aggregate::stddev::{Stddev, StddevPop};
use datafusion::functions_aggregate::variance::{VariancePopulation, VarianceSample};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::number::{column, each, states};
use super::table::{Packed, Table};
use super::{Pair, Row};

/// The kernel of an aggregate that this module knows.
pub(super) fn kernel(aggregate: &Arc<AggregateFunctionExpr>) -> Option<Box<dyn Packed>> {
    if aggregate.is_distinct()
        || !aggregate.order_bys().is_empty()
        || aggregate.expressions().len() != 1
        || *aggregate.field().data_type() != DataType::Float64
    {
        return None;
    }
    let function = aggregate.fun().inner();
    let (of_sample, is_root) = if function.is::<VariancePopulation>() {
        (false, false)
    } else if function.is::<VarianceSample>() {
        (true, false)
    } else if function.is::<StddevPop>() {
        (false, true)
    } else if function.is::<Stddev>() {
        (true, true)
    } else {
        return None;
    };
    Some(Box::new(Variances { less: u64::from(of_sample), is_root }))
}

/// Three words.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    count: u64,
    mean: f64,
    /// The sum of the squares of how far values are from the mean.
    m2: f64,
}

impl State {
    #[inline]
    fn of(table: &Table, row: Row, at: usize) -> Self {
        Self::of_words(table.get(row, at))
    }

    #[inline]
    const fn of_words([count, mean, m2]: [u64; 3]) -> Self {
        Self { count, mean: f64::from_bits(mean), m2: f64::from_bits(m2) }
    }

    const fn words(self) -> [u64; 3] {
        [self.count, self.mean.to_bits(), self.m2.to_bits()]
    }

    #[expect(clippy::cast_precision_loss, reason = "DataFusion divides by the count as a float too")]
    fn add(&mut self, value: f64) {
        let count = self.count + 1;
        let before = value - self.mean;
        let mean = before / count as f64 + self.mean;
        let after = value - mean;
        *self = Self { count, mean, m2: self.m2 + before * after };
    }

    /// Also into a state of nothing by the formula, which may differ from a copy in the last digit.
    #[expect(clippy::cast_precision_loss, reason = "DataFusion multiplies by counts as floats too")]
    fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        let count = self.count + other.count;
        let mean =
            self.mean * self.count as f64 / count as f64 + other.mean * other.count as f64 / count as f64;
        let delta = self.mean - other.mean;
        let m2 = self.m2 + other.m2 + delta * delta * self.count as f64 * other.count as f64 / count as f64;
        *self = Self { count, mean, m2 };
    }
}

/// What the variance of each row is made of.
#[derive(Debug)]
struct Variances {
    /// What is taken off the count before it divides: 1 for a sample.
    less: u64,
    /// Whether the square root is wanted.
    is_root: bool,
}

fn gather(table: &Table, rows: &[Row], at: usize) -> impl Iterator<Item = State> {
    rows.iter().map(move |row| State::of(table, *row, at))
}

impl Variances {
    /// Of too few values this is no number, which the caller hides.
    #[expect(clippy::cast_precision_loss, reason = "DataFusion divides by the count as a float too")]
    fn variance(&self, state: State) -> f64 {
        state.m2 / state.count.saturating_sub(self.less) as f64
    }
}

impl Packed for Variances {
    fn nothing(&self) -> Vec<u64> {
        State::default().words().to_vec()
    }

    fn update(
        &self,
        table: &mut Table,
        at: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        each(column::<Float64Type>(arguments)?, filter, rows, |row, value| {
            let words = table.get_mut(row, at);
            let mut state = State::of_words(*words);
            state.add(value);
            *words = state.words();
        });
        Ok(())
    }

    fn merge(&self, table: &mut Table, at: usize, pairs: &[Pair]) {
        for pair in pairs {
            let from = State::of(table, pair.from, at);
            let words = table.get_mut(pair.into, at);
            let mut state = State::of_words(*words);
            state.merge(from);
            *words = state.words();
        }
    }

    fn evaluate(&self, table: &Table, at: usize, rows: &[Row]) -> Result<ArrayRef> {
        let mut values: Vec<f64> = gather(table, rows, at).map(|state| self.variance(state)).collect();
        if self.is_root {
            for value in &mut values {
                *value = value.sqrt();
            }
        }
        let enough = |index: usize| State::of(table, rows[index], at).count > self.less;
        let enough = BooleanBuffer::collect_bool(rows.len(), enough);
        let nulls = Some(NullBuffer::new(enough)).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(Float64Array::new(values.into(), nulls)))
    }

    fn save(&self, table: &Table, at: usize, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let counts: Vec<u64> = gather(table, rows, at).map(|state| state.count).collect();
        let means: Vec<f64> = gather(table, rows, at).map(|state| state.mean).collect();
        let m2s: Vec<f64> = gather(table, rows, at).map(|state| state.m2).collect();
        Ok(vec![
            Arc::new(UInt64Array::from(counts)),
            Arc::new(Float64Array::from(means)),
            Arc::new(Float64Array::from(m2s)),
        ])
    }

    fn load(&self, table: &mut Table, at: usize, rows: &[Row], columns: &[ArrayRef]) -> Result<()> {
        let [counts, means, m2s] = columns else {
            return internal_err!("the state of a variance is three columns, not {}", columns.len());
        };
        let counts = states::<UInt64Type>(counts, rows.len())?;
        let means = states::<Float64Type>(means, rows.len())?;
        let m2s = states::<Float64Type>(m2s, rows.len())?;
        for (((row, count), mean), m2) in rows.iter().zip(counts).zip(means).zip(m2s) {
            table.set(*row, at, State { count: *count, mean: *mean, m2: *m2 }.words());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
    use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};

    use super::super::number::tests::{Numbers, aggregate, check};
    use super::*;

    #[test]
    fn variances_are_those_of_datafusion() {
        for function in [var_pop_udaf(), var_samp_udaf(), stddev_pop_udaf(), stddev_udaf()] {
            let aggregate = aggregate(function, &[DataType::Float64]);
            check(kernel, &aggregate, |numbers| vec![numbers.floats()]);
            check(kernel, &aggregate, |numbers| vec![numbers.strange_floats()]);
            check(kernel, &aggregate, |_| vec![Numbers::no_floats()]);
        }
    }
}
