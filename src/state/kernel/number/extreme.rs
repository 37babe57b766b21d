//! `min` and `max` as views have them: DataFusion's, but for floats in groups.
//!
//! Of those DataFusion keeps whatever comes next to a NaN, the first of `0.0` and `-0.0`, and a finite
//! number of nothing but infinities, so that its answer depends on the order of the events. Outside of
//! groups, in windows over rows and in `ORDER BY` it has them in their total order, which these
//! functions keep to everywhere: NaN after infinity, `-0.0` before `0.0`.
//!
//! DataFusion does the same since its [pull request 24433]; with a version that has it, this module
//! has no purpose any more.
//!
//! [pull request 24433]: https://github.com/apache/datafusion/pull/24433

use std::sync::Arc;

use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use super::End;
use super::fold::{Fold, Greatest, Least};

/// `min` and `max`, to be used instead of DataFusion's own.
pub fn extremes() -> [AggregateUDF; 2] {
    let instead = |end, function| AggregateUDF::new_from_impl(Extreme { end, function });
    [instead(End::Least, min_udaf()), instead(End::Greatest, max_udaf())]
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    pub(super) end: End,
    /// DataFusion's.
    function: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Extreme {
    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let output = args.return_field.data_type();
        Ok(match output {
            DataType::Float16 => of::<Float16Type>(self.end, output),
            DataType::Float32 => of::<Float32Type>(self.end, output),
            DataType::Float64 => of::<Float64Type>(self.end, output),
            _ => return self.function.create_groups_accumulator(args),
        })
    }

    // All else that DataFusion's own functions say of themselves.

    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.function.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.function.groups_accumulator_supported(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.function.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.function.inner().is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.function.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.function.reverse_udf()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.function.value_from_stats(statistics)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.function.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

fn of<T: ArrowPrimitiveType + Send>(end: End, output: &DataType) -> Box<dyn GroupsAccumulator> {
    match end {
        End::Least => folded::<T, Least>(output),
        End::Greatest => folded::<T, Greatest>(output),
    }
}

fn folded<T, F>(output: &DataType) -> Box<dyn GroupsAccumulator>
where
    T: ArrowPrimitiveType + Send,
    F: Fold<T::Native>,
{
    let fold = |current: &mut T::Native, new| *current = F::fold(*current, new);
    Box::new(PrimitiveGroupsAccumulator::<T, _>::new(output, fold).with_starting_value(F::START))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
    use arrow::compute::cast;
    use datafusion::logical_expr::EmitTo;

    use super::super::tests::aggregate;
    use super::*;

    const VALUES: [f64; 7] = [f64::NEG_INFINITY, -1024.0, -0.0, 0.0, 1.5, f64::INFINITY, f64::NAN];

    /// What a function makes of a few values in a group, whichever way they come.
    #[track_caller]
    fn check(function: AggregateUDF, data_type: &DataType, values: &[f64], expected: f64) {
        let aggregate = aggregate(Arc::new(function), std::slice::from_ref(data_type));
        let column =
            |values: &[f64]| -> ArrayRef { cast(&Float64Array::from(values.to_vec()), data_type).unwrap() };
        let is_expected = |given: &ArrayRef, how: &str| {
            let given = cast(given, &DataType::Float64).unwrap();
            let given = given.as_primitive::<Float64Type>();
            assert_eq!(given.len(), 1);
            assert!(given.is_valid(0));
            let given = given.value(0);
            assert!(given.total_cmp(&expected).is_eq(), "{how}: {values:?} gave {given}, not {expected}");
        };
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        for values in [values, &reversed] {
            let mut group = aggregate.create_groups_accumulator().unwrap();
            group.update_batch(&[column(values)], &vec![0; values.len()], None, 1).unwrap();
            is_expected(&group.evaluate(EmitTo::All).unwrap(), "a group");
            // As DataFusion has it without groups.
            let mut one = aggregate.create_accumulator().unwrap();
            one.update_batch(&[column(values)]).unwrap();
            is_expected(&one.evaluate().unwrap().to_array().unwrap(), "no group");
        }
    }

    #[test]
    fn floats_have_one_order_whichever_way_they_come() {
        for data_type in [DataType::Float16, DataType::Float32, DataType::Float64] {
            for (index, low) in VALUES.iter().enumerate() {
                for high in &VALUES[index..] {
                    let [min, max] = extremes();
                    check(min, &data_type, &[*low, *high], *low);
                    check(max, &data_type, &[*low, *high], *high);
                }
            }
        }
    }
}
