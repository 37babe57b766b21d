//! Base aggregates of a leaf: what each takes of a batch's events, and which of them one kernel keeps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::state::kernel::fits;

/// A base aggregate, bound to the columns that are decoded.
pub struct Base {
    /// The function, its arguments and its order.
    pub aggregate: Arc<AggregateFunctionExpr>,
    /// Which events it counts.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// What a base takes of a batch.
pub struct Input {
    arguments: Vec<ArrayRef>,
    /// What it is ordered by.
    order: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
}

impl Base {
    /// What it takes of events.
    ///
    /// # Errors
    /// When an expression fails on some event.
    pub fn input(&self, events: &RecordBatch) -> Result<Input> {
        let filter = match &self.filter {
            Some(filter) => Some(is_true(evaluate(filter, events)?.as_boolean())),
            None => None,
        };
        let arguments = self.aggregate.expressions();
        let arguments = arguments.iter().map(|expr| evaluate(expr, events));
        let order = self.aggregate.order_bys().iter().map(|sort| evaluate(&sort.expr, events));
        Ok(Input {
            arguments: arguments.collect::<Result<_>>()?,
            order: order.collect::<Result<_>>()?,
            filter,
        })
    }
}

/// What the bases of one kernel take. Their order and their filter are the same.
pub fn together<'a>(inputs: &'a [Input], of_kernel: &[usize]) -> (Vec<ArrayRef>, Option<&'a BooleanArray>) {
    let mut arguments: Vec<ArrayRef> = Vec::new();
    for base in of_kernel {
        arguments.extend_from_slice(&inputs[*base].arguments);
    }
    let Some(first) = of_kernel.first().map(|base| &inputs[*base]) else { return (arguments, None) };
    arguments.extend_from_slice(&first.order);
    (arguments, first.filter.as_ref())
}

/// The aggregates of the bases of one kernel.
pub fn aggregates<'a>(bases: &'a [Base], of_kernel: &[usize]) -> Vec<&'a Arc<AggregateFunctionExpr>> {
    of_kernel.iter().map(|base| &bases[*base].aggregate).collect()
}

/// Which kernel of a pane has a base, and which of the kernel's bases it is. `kernels` are the bases
/// of each; one that is not among them joins those that count the same events, if it fits them.
pub fn find_or_add(kernels: &mut Vec<Vec<usize>>, bases: &[Base], base: usize) -> (usize, usize) {
    for (kernel, of_kernel) in kernels.iter().enumerate() {
        if let Some(output) = of_kernel.iter().position(|known| *known == base) {
            return (kernel, output);
        }
    }
    let Base { aggregate, filter } = &bases[base];
    let takes_it = |of_kernel: &Vec<usize>| {
        of_kernel.iter().all(|known| bases[*known].filter == *filter)
            && fits(&aggregates(bases, of_kernel), aggregate)
    };
    let kernel = kernels.iter().position(takes_it).unwrap_or_else(|| {
        kernels.push(Vec::new());
        kernels.len() - 1
    });
    kernels[kernel].push(base);
    (kernel, kernels[kernel].len() - 1)
}

/// A condition that is NULL does not hold.
fn is_true(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) }
}

/// The values of an expression, one a row.
///
/// # Errors
/// When it fails on some row.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(rows)?.into_array(rows.num_rows())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::compute::SortOptions;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::functions_aggregate::first_last::last_value_udaf;
    use datafusion::physical_expr::PhysicalSortExpr;
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_expr::expressions::col;

    use super::*;

    fn schema() -> Arc<Schema> {
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let condition = |name: &str| Field::new(name, DataType::Boolean, true);
        let fields = vec![number("x"), number("y"), number("o"), condition("b"), condition("c")];
        Arc::new(Schema::new(fields))
    }

    fn last(value: &str, filter: Option<&str>) -> Base {
        let schema = schema();
        let options = SortOptions { descending: false, nulls_first: false };
        let order = PhysicalSortExpr { expr: col("o", &schema).unwrap(), options };
        let aggregate = AggregateExprBuilder::new(last_value_udaf(), vec![col(value, &schema).unwrap()])
            .order_by(vec![order])
            .schema(Arc::clone(&schema))
            .alias("base")
            .build();
        let filter = filter.map(|name| col(name, &schema).unwrap());
        Base { aggregate: Arc::new(aggregate.unwrap()), filter }
    }

    #[test]
    fn bases_that_count_the_same_events_share_a_kernel() {
        let bases = [
            last("x", None),
            last("x", Some("b")),
            last("y", None),
            last("y", Some("c")),
            last("y", Some("b")),
        ];
        let mut kernels = Vec::new();
        let mut place = |base| find_or_add(&mut kernels, &bases, base);
        assert_eq!([place(0), place(1), place(2)], [(0, 0), (1, 0), (0, 1)]);
        assert_eq!([place(3), place(4), place(2)], [(2, 0), (1, 1), (0, 1)]);
        assert_eq!(kernels, [vec![0, 2], vec![1, 4], vec![3]]);
    }

    #[test]
    fn a_kernel_takes_the_arguments_of_all_and_one_order() {
        let number = |from: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![from, from + 1])) };
        let masks = [[Some(true), None], [Some(false), Some(true)]];
        let mut columns = vec![number(10), number(20), number(30)];
        columns.extend(masks.map(|mask| -> ArrayRef { Arc::new(BooleanArray::from(mask.to_vec())) }));
        let events = RecordBatch::try_new(schema(), columns).unwrap();
        let bases = [last("x", Some("b")), last("y", Some("b")), last("x", None)];
        let inputs: Vec<Input> = bases.iter().map(|base| base.input(&events).unwrap()).collect();
        let (arguments, filter) = together(&inputs, &[0, 1]);
        assert_eq!(arguments, [number(10), number(20), number(30)]);
        // A condition that is NULL does not hold.
        assert_eq!(filter, Some(&BooleanArray::from(vec![true, false])));
        let (arguments, filter) = together(&inputs, &[2]);
        assert_eq!(arguments, [number(10), number(30)]);
        assert!(filter.is_none());
    }
}
