//! Windows: the comparisons of `event_time` with `now()`.
//!
//! Before a view is optimised, every `now()` becomes a placeholder, so that the
//! plan is made once and only bound at evaluation: in a window's comparison
//! `$now_<resolution>`, the clock rounded up to the window's resolution, and
//! elsewhere `$clock`. [`bind`] gives the placeholders their values.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ParamValues, Result, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, LogicalPlan, Operator, binary_expr};

use super::lineage;
use crate::decode::reader::{EVENT_TIME, timestamp_type};
use crate::time::{EventTime, Span, TIMESTAMP_ZONE};

/// The placeholder of `now()` outside windows.
const CLOCK: &str = "$clock";
/// What precedes the resolution, in microseconds, in a window's placeholder.
pub(super) const NOW: &str = "$now_";

/// One window of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// How far its edge lies behind `now()`; negative when it lies ahead.
    pub length: i64,
    /// The step in which its edge moves.
    pub resolution: Span,
}

impl Window {
    /// The window's length; nothing for an edge that lies ahead of `now()`.
    pub fn span(self) -> Span {
        Span(self.length.max(0))
    }
}

/// The step of a window's edge: 1 s up to 1 h, 1 min up to 2 days, 1 h beyond.
pub const fn default_resolution(length: i64) -> Span {
    const HOUR: i64 = 3_600_000_000;
    if length <= HOUR {
        Span::from_secs(1)
    } else if length <= 48 * HOUR {
        Span::from_secs(60)
    } else {
        Span::from_secs(3600)
    }
}

/// Replaces every `now()` of an unoptimised plan and returns the windows found.
///
/// # Errors
/// What DataFusion says of an expression.
pub fn extract(
    state: &SessionState,
    plan: LogicalPlan,
    resolution: Option<Span>,
) -> Result<(LogicalPlan, BTreeSet<Window>)> {
    let mut windows = BTreeSet::new();
    let plan = plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        let inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
        let rewritten = node.map_expressions(|expr| {
            if !mentions_now(&expr)? {
                return Ok(Transformed::no(expr));
            }
            let saved = preserver.save(&expr);
            let expr = expr.transform_down(|part| {
                let Some(length) = window_length(state, &part, &inputs)? else {
                    return Ok(Transformed::no(part));
                };
                let window =
                    Window { length, resolution: resolution.unwrap_or_else(|| default_resolution(length)) };
                windows.insert(window);
                let placeholder = placeholder(format!("{NOW}{}", window.resolution.0));
                let replaced = replace_now(part, &placeholder)?;
                Ok(Transformed::new(replaced, true, TreeNodeRecursion::Jump))
            })?;
            let expr = expr.transform_data(|expr| replace_clock(expr).map(Transformed::yes))?;
            Ok(expr.update_data(|expr| saved.restore(expr)))
        })?;
        rewritten.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok((plan.data, windows))
}

/// Gives the placeholders the values that they have at `clock`.
pub fn bind(windows: &BTreeSet<Window>, clock: EventTime) -> ParamValues {
    let literal = |time: EventTime| {
        let value = ScalarValue::TimestampMicrosecond(Some(time.micros()), Some(TIMESTAMP_ZONE.into()));
        ScalarAndMetadata::new(value, None)
    };
    let mut values = HashMap::from([(CLOCK[1..].to_owned(), literal(clock))]);
    for window in windows {
        let name = format!("{}{}", &NOW[1..], window.resolution.0);
        values.insert(name, literal(clock.ceil(window.resolution)));
    }
    ParamValues::Map(values)
}

/// A lower bound on `event_time` that a filter states: how far back it reaches.
pub fn lower_bound(state: &SessionState, filter: &Expr) -> Option<Window> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (column, edge) = match op {
        Operator::Gt | Operator::GtEq => (left, right),
        Operator::Lt | Operator::LtEq => (right, left),
        _ => return None,
    };
    let resolution = window_placeholder(edge)?;
    let shift =
        shift_of(state, column, |part| matches!(part, Expr::Column(column) if column.name == EVENT_TIME))?;
    let now = shift_of(state, edge, |part| matches!(part, Expr::Placeholder(_)))?;
    Some(Window { length: shift.checked_sub(now)?, resolution })
}

/// The resolution of the one window placeholder in an expression.
pub(super) fn window_placeholder(expr: &Expr) -> Option<Span> {
    let mut resolution = None;
    expr.apply(|part| {
        if let Expr::Placeholder(Placeholder { id, .. }) = part
            && let Some(micros) = id.strip_prefix(NOW)
        {
            resolution = micros.parse().ok().map(Span);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .ok()?;
    resolution
}

/// If `expr` compares an event time with `now()`, each with constants added at
/// most, how far the edge lies behind `now()`.
fn window_length(state: &SessionState, expr: &Expr, inputs: &[LogicalPlan]) -> Result<Option<i64>> {
    let is_event_time = |part: &Expr| matches!(part, Expr::Column(column) if is_event_time(inputs, column));
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Ok(None) };
    let compares = matches!(
        op,
        Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq | Operator::Eq | Operator::NotEq
    );
    if !compares {
        return Ok(None);
    }
    for (column, edge) in [(left, right), (right, left)] {
        if !column.exists(|part| Ok(is_event_time(part)))? || !mentions_now(edge)? {
            continue;
        }
        if let (Some(shift), Some(now)) =
            (shift_of(state, column, is_event_time), shift_of(state, edge, is_now))
        {
            return Ok(shift.checked_sub(now));
        }
    }
    Ok(None)
}

/// By how much an expression over one time shifts it, in microseconds: `now() -
/// INTERVAL '5 minutes'` by minus 300 000 000. `None` when it is no such
/// expression. Calendar intervals count with their longest.
fn shift_of(state: &SessionState, expr: &Expr, is_time: impl Fn(&Expr) -> bool) -> Option<i64> {
    // The days after a long month, a leap February and a year's end, when calendar intervals are longest.
    const SAMPLES: [i64; 4] =
        [1_709_164_800_000_000, 1_711_843_200_000_000, 1_722_384_000_000_000, 1_735_603_200_000_000];
    let mut furthest: Option<i64> = None;
    for sample in SAMPLES {
        let literal =
            Expr::Literal(ScalarValue::TimestampMicrosecond(Some(sample), Some(TIMESTAMP_ZONE.into())), None);
        let replaced = expr
            .clone()
            .transform_up(|part| {
                Ok(if is_time(&part) { Transformed::yes(literal.clone()) } else { Transformed::no(part) })
            })
            .ok()?;
        if !replaced.transformed {
            return None;
        }
        let shift = evaluate_constant(state, replaced.data)?.checked_sub(sample)?;
        furthest = Some(furthest.map_or(shift, |known| known.min(shift)));
    }
    furthest
}

pub(super) fn evaluate_constant(state: &SessionState, expr: Expr) -> Option<i64> {
    let constant = expr
        .exists(|part| Ok(matches!(part, Expr::Column(_) | Expr::Placeholder(_)) || part.is_volatile_node()))
        .ok()?;
    if constant {
        return None;
    }
    let physical = state.create_physical_expr(expr, &DFSchema::empty()).ok()?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).ok()?;
    let value: ArrayRef = physical.evaluate(&row).ok()?.into_array(1).ok()?;
    let value = arrow::compute::cast(&value, &timestamp_type()).ok()?;
    let value = value.as_primitive_opt::<TimestampMicrosecondType>()?;
    (value.len() == 1 && value.null_count_is_zero()).then(|| value.value(0))
}

/// Whether there are no nulls; a name for a test that reads as one.
trait NullCount {
    fn null_count_is_zero(&self) -> bool;
}

impl<T: arrow::array::Array> NullCount for T {
    fn null_count_is_zero(&self) -> bool {
        self.null_count() == 0
    }
}

/// Whether a column of a node's inputs is some stream's event time, unchanged.
fn is_event_time(inputs: &[LogicalPlan], column: &Column) -> bool {
    inputs.iter().any(|input| lineage::of(input, column).iter().any(|source| source.column == EVENT_TIME))
        || (inputs.is_empty() && column.name == EVENT_TIME)
}

fn is_now(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.name() == "now")
}

fn is_today(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::ScalarFunction(function) if function.name() == "current_date" => Some(DataType::Date32),
        Expr::ScalarFunction(function) if function.name() == "current_time" => {
            Some(DataType::Time64(arrow::datatypes::TimeUnit::Nanosecond))
        }
        _ => None,
    }
}

fn mentions_now(expr: &Expr) -> Result<bool> {
    expr.exists(|part| Ok(is_now(part) || is_today(part).is_some()))
}

fn replace_now(expr: Expr, placeholder: &Expr) -> Result<Expr> {
    expr.transform_up(|part| {
        Ok(if is_now(&part) { Transformed::yes(placeholder.clone()) } else { Transformed::no(part) })
    })
    .map(|replaced| replaced.data)
}

/// `now()`, `current_date` and `current_time` that are left: all from the clock.
fn replace_clock(expr: Expr) -> Result<Expr> {
    let clock = placeholder(CLOCK.to_owned());
    expr.transform_up(|part| {
        Ok(if is_now(&part) {
            Transformed::yes(clock.clone())
        } else if let Some(kind) = is_today(&part) {
            Transformed::yes(datafusion::logical_expr::cast(clock.clone(), kind))
        } else {
            Transformed::no(part)
        })
    })
    .map(|replaced| replaced.data)
}

fn placeholder(id: String) -> Expr {
    let field = Arc::new(Field::new(id.clone(), timestamp_type(), false));
    Expr::Placeholder(Placeholder::new_with_field(id, Some(field)))
}

/// `BETWEEN` as the two comparisons that it is, so that its edges are windows.
///
/// # Errors
/// What DataFusion says of an expression.
pub fn split_between(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let saved = preserver.save(&expr);
            let split = expr.transform_up(|part| match part {
                Expr::Between(Between { expr, negated: false, low, high }) => {
                    Ok(Transformed::yes(binary_expr(
                        binary_expr((*expr).clone(), Operator::GtEq, *low),
                        Operator::And,
                        binary_expr(*expr, Operator::LtEq, *high),
                    )))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(if split.transformed { split.update_data(|expr| saved.restore(expr)) } else { split })
        })
    })
    .map(|plan| plan.data)
}
