//! Functions with states of all kinds, of DataFusion and of a user.

use arrow::array::Int64Array;
use arrow::compute::SortOptions;
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::correlation::corr_udaf;
use datafusion::functions_aggregate::covariance::covar_samp_udaf;
use datafusion::functions_aggregate::median::median_udaf;
use datafusion::functions_aggregate::nth_value::nth_value_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;

use super::super::ordered::tests::{ASCENDING, aggregate, check, events};
use super::*;

const DESCENDING: SortOptions = SortOptions { descending: true, nulls_first: true };

#[track_caller]
fn check_boxed(
    function: Arc<AggregateUDF>,
    data_type: &DataType,
    columns: &[&str],
    more: Option<Arc<dyn PhysicalExpr>>,
    order: &[(&str, SortOptions)],
) {
    let events = events(data_type);
    let aggregate = aggregate(function, &events, columns, more, order, false);
    assert_eq!(kernel(&aggregate).unwrap().mode(), Mode::Plain);
    check(&aggregate, &events, || kernel(&aggregate).unwrap());
}

#[test]
fn functions_that_know_groups() {
    check_boxed(median_udaf(), &DataType::Int64, &["x"], None, &[]);
    check_boxed(corr_udaf(), &DataType::Float64, &["x", "g"], None, &[]);
    check_boxed(array_agg_udaf(), &DataType::Utf8View, &["x"], None, &[]);
    check_boxed(approx_distinct_udaf(), &DataType::Utf8View, &["x"], None, &[]);
    check_boxed(string_agg_udaf(), &DataType::Utf8, &["x"], Some(lit(",")), &[]);
}

#[test]
fn functions_that_know_one_group() {
    check_boxed(covar_samp_udaf(), &DataType::Float64, &["x", "g"], None, &[]);
}

#[test]
fn functions_with_an_order() {
    let order = [("t", DESCENDING), ("o", ASCENDING)];
    check_boxed(array_agg_udaf(), &DataType::Float64, &["x"], None, &order);
    check_boxed(string_agg_udaf(), &DataType::Utf8, &["x"], Some(lit(",")), &order);
    for nth in [2_i64, -3] {
        let order = [("s", ASCENDING), ("o", DESCENDING)];
        check_boxed(nth_value_udaf(), &DataType::Int64, &["x"], Some(lit(nth)), &order);
    }
}

#[test]
fn states_that_rows_do_not_keep() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    assert!(!comes_back(&dictionary));
    check_boxed(array_agg_udaf(), &dictionary, &["x"], None, &[]);
}

/// All numbers together, by exclusive or; how many there were is of no concern.
#[derive(Debug, Default)]
struct Together(i64);

impl Accumulator for Together {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values: &Int64Array = values[0].as_primitive::<Int64Type>();
        self.0 = values.iter().flatten().fold(self.0, |together, value| together ^ (value * 31));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states: &Int64Array = states[0].as_primitive::<Int64Type>();
        self.0 = states.iter().flatten().fold(self.0, |together, state| together ^ state);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.0))])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[test]
fn functions_of_a_user() {
    let function = create_udaf(
        "together",
        vec![DataType::Int64],
        Arc::new(DataType::Int64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Together::default()))),
        Arc::new(vec![DataType::Int64]),
    );
    check_boxed(Arc::new(function), &DataType::Int64, &["x"], None, &[]);
}

#[test]
fn memory_is_counted_and_given_back() {
    let events = events(&DataType::Int64);
    let aggregate = aggregate(array_agg_udaf(), &events, &["x"], None, &[], false);
    let mut kernel = kernel(&aggregate).unwrap();
    kernel.resize(2);
    let before = kernel.bytes();
    let count = events.num_rows();
    kernel.update(&[Arc::clone(events.column(0))], None, &vec![1; count]).unwrap();
    assert!(kernel.bytes() > before + count);
    kernel.clear(&[1]);
    assert!(kernel.bytes() < before + count);
}
