//! `first_value`, `last_value` and `nth_value` with an order: of each row the few entries that are
//! first in that order, each of them its order keys and its value.
//!
//! ```text
//! nth_value(x, 2 ORDER BY t DESC, o DESC), entries of row r
//!   [t, o], marks, x of the first   [t, o], marks, x of the second     keys are integers, smaller is earlier
//! ```
//!
//! What comes last in the order is what comes first in the opposite one. So "is this event among
//! the entries kept" is one comparison with the latest of them, which is all that happens to an
//! event that is not.
//!
//! A row has one entry ([`first`]) or several ([`nth`]). Functions of one entry that order alike keep
//! it together: their values differ, the entry does not.

mod entry;
mod first;
mod keys;
mod nth;
mod texts;
mod values;

use std::sync::Arc;

use arrow::datatypes::{DataType, i256};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::functions_aggregate::first_last::{FirstValue, LastValue};
use datafusion::functions_aggregate::nth_value::NthValueAgg;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;

use self::entry::MOST_VALUES;
use self::first::{First, Part};
use self::keys::{Direction, Order, is_key};
use self::nth::Nth;
use self::texts::Texts;
use self::values::{Bits, Each, OneEach, Values};
use super::Kernel;

/// The farthest `nth_value` that is kept here: moving entries up is linear in it.
const DEEPEST: usize = 8;

/// The most order keys: a kernel is compiled for each number of them.
const MOST_KEYS: usize = 3;

/// Whether an aggregate can be kept together with others that are.
pub(super) fn fits(kept: &[&Arc<AggregateFunctionExpr>], another: &Arc<AggregateFunctionExpr>) -> bool {
    let first = kept.first().and_then(|first| Plan::new(first));
    let Some((first, another)) = first.zip(Plan::new(another)) else { return false };
    kept.len() < MOST_VALUES && first.goes_with(&another)
}

/// The kernel of an aggregate that this module knows, or of several that fit each other.
pub(super) fn kernel(aggregates: &[&Arc<AggregateFunctionExpr>]) -> Option<Box<dyn Kernel>> {
    let plans = aggregates.iter().map(|aggregate| Plan::new(aggregate)).collect::<Option<Vec<Plan>>>()?;
    let (first, others) = plans.split_first()?;
    if plans.len() > MOST_VALUES || !others.iter().all(|other| first.goes_with(other)) {
        return None;
    }
    match *first.directions.as_slice() {
        [one] => of_order(&plans, [one]),
        [one, two] => of_order(&plans, [one, two]),
        [one, two, three] => of_order(&plans, [one, two, three]),
        _ => None,
    }
}

fn of_order<const N: usize>(plans: &[Plan], directions: [Direction; N]) -> Option<Box<dyn Kernel>> {
    let order = Order::new(directions);
    let first = plans.first()?;
    if first.depth > 1 {
        return of_type(&first.data_type, Several { order, arguments: first.arguments, depth: first.depth });
    }
    let part = |plan: &Plan| {
        let values = of_type(&plan.data_type, One)?;
        Some(Part { arguments: plan.arguments, values })
    };
    let parts = plans.iter().map(part).collect::<Option<Vec<Part>>>()?;
    Some(Box::new(First::new(order, first.skips_nulls, parts)))
}

/// Something that values of a type are made into.
trait Make {
    type Made;

    fn make<V: Values>(self, values: V) -> Self::Made;
}

/// A value for each row.
struct One;

impl Make for One {
    type Made = Box<dyn OneEach>;

    fn make<V: Values>(self, values: V) -> Self::Made {
        Box::new(Each::new(values))
    }
}

/// A kernel of several entries a row.
struct Several<const N: usize> {
    order: Order<N>,
    arguments: usize,
    depth: usize,
}

impl<const N: usize> Make for Several<N> {
    type Made = Box<dyn Kernel>;

    fn make<V: Values>(self, values: V) -> Self::Made {
        Box::new(Nth::new(self.order, self.arguments, self.depth, values))
    }
}

fn of_type<M: Make>(data_type: &DataType, into: M) -> Option<M::Made> {
    Some(match data_type {
        truth @ DataType::Boolean => into.make(Bits::<u8>::new(truth)),
        text @ (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => into.make(Texts::new(text)),
        // Some of them are several integers, aligned otherwise than one of that width.
        DataType::Interval(_) => return None,
        plain => match plain.primitive_width()? {
            1 => into.make(Bits::<u8>::new(plain)),
            2 => into.make(Bits::<u16>::new(plain)),
            4 => into.make(Bits::<u32>::new(plain)),
            8 => into.make(Bits::<u64>::new(plain)),
            16 => into.make(Bits::<i128>::new(plain)),
            32 => into.make(Bits::<i256>::new(plain)),
            _ => return None,
        },
    })
}

/// What is asked for.
struct Plan {
    /// How many arguments stand before the order keys.
    arguments: usize,
    /// How many entries a row has: the last of them is the value.
    depth: usize,
    skips_nulls: bool,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    directions: Vec<Direction>,
    /// Of the value.
    data_type: DataType,
}

impl Plan {
    fn new(aggregate: &AggregateFunctionExpr) -> Option<Self> {
        let function = aggregate.fun().inner();
        let expressions = aggregate.expressions();
        let (arguments, nth, skips_nulls) = if function.is::<FirstValue>() {
            (1, 1, aggregate.ignore_nulls())
        } else if function.is::<LastValue>() {
            (1, -1, aggregate.ignore_nulls())
        } else if function.is::<NthValueAgg>() {
            let ScalarValue::Int64(Some(nth)) = expressions.get(1)?.downcast_ref::<Literal>()?.value() else {
                return None;
            };
            // It takes NULLs for values, whatever was asked.
            (2, if aggregate.is_reversed() { nth.checked_neg()? } else { *nth }, false)
        } else {
            return None;
        };
        let order = aggregate.order_bys();
        let types = key_types(aggregate, arguments)?;
        let depth = usize::try_from(nth.unsigned_abs()).ok()?;
        if aggregate.is_distinct()
            || expressions.len() != arguments
            || !(1..=DEEPEST).contains(&depth)
            || !(1..=MOST_KEYS).contains(&order.len())
            || types.len() != order.len()
            || !types.iter().all(is_key)
        {
            return None;
        }
        let backwards = nth < 0;
        let directions = order.iter().map(|sort| Direction {
            descending: sort.options.descending != backwards,
            nulls_first: sort.options.nulls_first != backwards,
        });
        let data_type = aggregate.field().data_type().clone();
        // Others know what to do with values that cannot be kept here.
        of_type(&data_type, One)?;
        Some(Self {
            arguments,
            depth,
            skips_nulls,
            keys: order.iter().map(|sort| Arc::clone(&sort.expr)).collect(),
            directions: directions.collect(),
            data_type,
        })
    }

    /// Whether the same event counts for both, whatever their values are.
    fn goes_with(&self, other: &Self) -> bool {
        let is_of_any_value = |plan: &Self| plan.depth == 1 && !plan.skips_nulls;
        is_of_any_value(self)
            && is_of_any_value(other)
            && self.directions == other.directions
            && self.keys == other.keys
    }
}

/// The types of the order keys, as the function's state has them.
fn key_types(aggregate: &AggregateFunctionExpr, arguments: usize) -> Option<Vec<DataType>> {
    let fields = aggregate.state_fields().ok()?;
    if arguments == 1 {
        // Value, keys, whether there is one.
        let keys = fields.get(1..fields.len().checked_sub(1)?)?;
        return Some(keys.iter().map(|field| field.data_type().clone()).collect());
    }
    let DataType::List(entry) = fields.get(1)?.data_type() else { return None };
    let DataType::Struct(keys) = entry.data_type() else { return None };
    Some(keys.iter().map(|field| field.data_type().clone()).collect())
}

/// Columns came that are not those of this kernel.
fn foreign(what: &str) -> DataFusionError {
    DataFusionError::Internal(format!("{what} of another aggregate"))
}

#[cfg(test)]
pub(super) mod tests;
