//! Kernels against DataFusion's plain accumulators, over events that are added, merged, cleared,
//! kept and saved at random.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::{SortColumn, SortOptions, cast, lexsort_to_indices, take};
use arrow::datatypes::{Field, Int64Type, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_aggregate::nth_value::nth_value_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{col, lit};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::texts::Head;
use super::*;
use crate::state::kernel::{Mode, Pair, Row};

const EVENTS: usize = 240;
const ROWS: usize = 6;
const STEPS: usize = 60;

/// Numbers that look random: the same each time.
pub struct Numbers(pub u64);

impl Numbers {
    /// One below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn small(&mut self) -> Option<i64> {
        Some(self.below(12)).filter(|value| *value < 11).map(|value| i64::try_from(value).unwrap())
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn rows(&mut self, count: usize) -> Vec<Row> {
        (0..count).map(|_| self.row()).collect()
    }

    /// The first row stays empty.
    fn row(&mut self) -> Row {
        Row::try_from(1 + self.below(ROWS - 1)).unwrap()
    }
}

/// Events: values `x` of a type, a text `s`, two numbers `f` and `g`, and what they can be ordered
/// by, with ties, NULLs and extremes, but for the last.
pub fn events(data_type: &DataType) -> RecordBatch {
    let mut numbers = Numbers(7);
    let numbers = &mut numbers;
    let texts: StringViewArray = (0..EVENTS)
        .map(|_| numbers.small().map(|value| format!("{value}{}", "x".repeat(numbers.below(30)))))
        .collect();
    let texts: ArrayRef = Arc::new(texts);
    let small: ArrayRef = Arc::new((0..EVENTS).map(|_| numbers.small()).collect::<Int64Array>());
    let values = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => cast(&texts, data_type),
        other => cast(&small, other),
    };
    let floats = [Some(0.0), Some(-0.0), Some(1.5), Some(-1.5), Some(f64::NAN), Some(f64::INFINITY), None];
    let extremes = [Some(i64::MIN), Some(i64::MIN + 1), Some(-1), Some(0), Some(i64::MAX), None];
    let unsigned = [Some(0), Some(1), Some(u64::MAX - 1), Some(u64::MAX), None];
    let times = (0..EVENTS).map(|_| numbers.small()).collect::<TimestampMicrosecondArray>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("x", values.unwrap()),
        ("s", texts),
        ("f", Arc::new((0..EVENTS).map(|_| numbers.pick(&floats)).collect::<Float64Array>())),
        ("g", cast(&small, &DataType::Float64).unwrap()),
        ("t", Arc::new(times.with_timezone("UTC"))),
        ("i", Arc::new((0..EVENTS).map(|_| numbers.pick(&extremes)).collect::<Int64Array>())),
        ("u", Arc::new((0..EVENTS).map(|_| numbers.pick(&unsigned)).collect::<UInt64Array>())),
        ("p", Arc::new((0..EVENTS).map(|_| numbers.pick(&[-1, 0, 1])).collect::<Int32Array>())),
        // Each offset once, in no order.
        ("o", Arc::new((0..240).map(|index: i64| index * 77 % 240).collect::<Int64Array>())),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// An aggregate over such events: its columns, what else it takes, and its order.
pub fn aggregate(
    function: Arc<AggregateUDF>,
    events: &RecordBatch,
    columns: &[&str],
    more: Option<Arc<dyn PhysicalExpr>>,
    order: &[(&str, SortOptions)],
    ignore_nulls: bool,
) -> Arc<AggregateFunctionExpr> {
    let schema = events.schema();
    let arguments = columns.iter().map(|name| col(name, &schema).unwrap()).chain(more).collect();
    let order = order
        .iter()
        .map(|(name, options)| PhysicalSortExpr { expr: col(name, &schema).unwrap(), options: *options });
    let aggregate = AggregateExprBuilder::new(function, arguments)
        .order_by(order.collect())
        .schema(Arc::clone(&schema))
        .alias("aggregate")
        .with_ignore_nulls(ignore_nulls)
        .build();
    Arc::new(aggregate.unwrap())
}

/// Ascending, its NULLs last.
pub const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// Does all that can be done with kernels, comparing all rows after each step.
#[track_caller]
pub fn check(
    aggregate: &Arc<AggregateFunctionExpr>,
    events: &RecordBatch,
    kernel: impl Fn() -> Box<dyn Kernel>,
) {
    check_together(&[aggregate], events, kernel);
}

/// The same for kernels of several aggregates that have the same order.
#[track_caller]
fn check_together(
    aggregates: &[&Arc<AggregateFunctionExpr>],
    events: &RecordBatch,
    kernel: impl Fn() -> Box<dyn Kernel>,
) {
    let fresh = || {
        let mut kernel = kernel();
        kernel.resize(ROWS);
        kernel
    };
    let column = |expr: Arc<dyn PhysicalExpr>| expr.evaluate(events).unwrap().into_array(EVENTS).unwrap();
    let order: Vec<ArrayRef> =
        aggregates[0].order_bys().iter().map(|sort| column(Arc::clone(&sort.expr))).collect();
    let of_each: Vec<Vec<ArrayRef>> = aggregates
        .iter()
        .map(|aggregate| aggregate.expressions().into_iter().map(column).collect())
        .collect();
    let arguments: Vec<ArrayRef> = of_each.iter().flatten().chain(&order).cloned().collect();
    let all: Vec<Row> = (0..Row::try_from(ROWS).unwrap()).collect();
    let mut numbers = Numbers(42);
    let mut kernel = fresh();
    let mut model: Vec<Vec<usize>> = vec![Vec::new(); ROWS];
    for step in 0..STEPS {
        match numbers.below(8) {
            0..=3 => {
                let count = numbers.below(20);
                let start = numbers.below(EVENTS - count);
                let batch: Vec<ArrayRef> =
                    arguments.iter().map(|column| column.slice(start, count)).collect();
                let rows = numbers.rows(count);
                let mask: BooleanArray = (0..count).map(|_| Some(numbers.below(3) > 0)).collect();
                let filter = (step % 2 == 0).then_some(&mask);
                kernel.update(&batch, filter, &rows).unwrap();
                for (index, row) in rows.iter().enumerate() {
                    if filter.is_none_or(|filter| filter.value(index)) {
                        model[*row as usize].push(start + index);
                    }
                }
            }
            4 | 5 => {
                let rows = numbers.rows(3);
                let pairs: Vec<Pair> = rows[1..]
                    .iter()
                    .filter(|from| **from != rows[0])
                    .map(|from| Pair { into: rows[0], from: *from })
                    .collect();
                kernel.merge(&pairs).unwrap();
                for pair in &pairs {
                    let others = model[pair.from as usize].clone();
                    model[pair.into as usize].extend(others);
                }
                for pair in &pairs {
                    kernel.clear(&[pair.from]);
                    model[pair.from as usize].clear();
                }
            }
            6 => {
                let row = numbers.row();
                kernel.clear(&[row]);
                model[row as usize].clear();
            }
            _ => {
                let kept: Vec<Row> = vec![0, 3, 5, 1];
                kernel.keep(&kept);
                kernel.resize(ROWS);
                model = kept.iter().map(|row| model[*row as usize].clone()).collect();
                model.resize(ROWS, Vec::new());
                let states = kernel.save(&all).unwrap();
                kernel = fresh();
                kernel.load(&all, &states).unwrap();
            }
        }
        for (output, (aggregate, own)) in aggregates.iter().zip(&of_each).enumerate() {
            let values = kernel.evaluate(output, &all).unwrap();
            assert_eq!(values.len(), ROWS);
            let own = [own.as_slice(), order.as_slice()].concat();
            for (row, seen) in model.iter().enumerate() {
                let value = ScalarValue::try_from_array(&values, row).unwrap();
                let expected = expected(aggregate, &own, seen);
                let place = format!("step {step}, output {output}, row {row}");
                assert!(same(&value, &expected), "{place}: {value:?}, not {expected:?}");
            }
        }
    }
    assert!(kernel.bytes() > 0);
}

fn expected(aggregate: &AggregateFunctionExpr, arguments: &[ArrayRef], seen: &[usize]) -> ScalarValue {
    let pick = |columns: &[ArrayRef], rows: &UInt32Array| -> Vec<ArrayRef> {
        columns.iter().map(|column| take(column, rows, None).unwrap()).collect()
    };
    let rows: Vec<u32> = seen.iter().map(|index| u32::try_from(*index).unwrap()).collect();
    let rows = UInt32Array::from(rows);
    let mut columns = pick(arguments, &rows);
    let order = aggregate.order_bys();
    if !order.is_empty() {
        let keys = columns[aggregate.expressions().len()..].iter().zip(order);
        let keys = keys
            .map(|(values, sort)| SortColumn { values: Arc::clone(values), options: Some(sort.options) })
            .collect::<Vec<_>>();
        columns = pick(&columns, &lexsort_to_indices(&keys, None).unwrap());
    }
    let mut accumulator = aggregate.create_accumulator().unwrap();
    if !seen.is_empty() {
        accumulator.update_batch(&columns).unwrap();
    }
    accumulator.evaluate().unwrap()
}

/// Sums of floats may differ in their last digits.
fn same(one: &ScalarValue, other: &ScalarValue) -> bool {
    match (one, other) {
        (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-9
        }
        _ => one == other,
    }
}

#[track_caller]
fn check_ordered(aggregate: &Arc<AggregateFunctionExpr>, events: &RecordBatch) {
    let made = kernel(&[aggregate]).expect("a kernel of ordered entries");
    assert_eq!(made.mode(), Mode::Stack);
    assert_eq!(made.evaluate(0, &[]).unwrap().data_type(), aggregate.field().data_type());
    check(aggregate, events, || kernel(&[aggregate]).unwrap());
}

fn check_types(order: &[(&str, SortOptions)], data_type: &DataType) {
    let events = events(data_type);
    for ignore_nulls in [false, true] {
        for function in [first_value_udaf(), last_value_udaf()] {
            check_ordered(&aggregate(function, &events, &["x"], None, order, ignore_nulls), &events);
        }
    }
    for nth in [1_i64, 2, -2, 8] {
        let nth = Some(lit(nth));
        check_ordered(&aggregate(nth_value_udaf(), &events, &["x"], nth, order, false), &events);
    }
}

#[test]
fn values_of_any_plain_type() {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("+02:00".into()));
    for data_type in [
        DataType::Boolean,
        DataType::Int8,
        DataType::UInt16,
        DataType::Float32,
        DataType::Int64,
        DataType::Float64,
        DataType::Decimal128(12, 2),
        DataType::Decimal256(50, 2),
        timestamp,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
    ] {
        check_types(&[("t", ASCENDING), ("o", ASCENDING)], &data_type);
    }
}

#[test]
fn keys_in_any_direction() {
    for descending in [false, true] {
        for nulls_first in [false, true] {
            let options = SortOptions { descending, nulls_first };
            check_types(&[("o", options)], &DataType::Int64);
            for key in ["f", "i", "u", "t"] {
                check_types(&[(key, options), ("o", ASCENDING)], &DataType::Int64);
                check_types(&[(key, ASCENDING), ("p", ASCENDING), ("o", options)], &DataType::Utf8View);
            }
        }
    }
}

/// The opposite.
const DESCENDING: SortOptions = SortOptions { descending: true, nulls_first: true };

#[test]
fn functions_that_share_their_entries() {
    for data_type in [DataType::Boolean, DataType::Decimal256(50, 2), DataType::Utf8] {
        let events = events(&data_type);
        let order = [("t", ASCENDING), ("o", ASCENDING)];
        // Values with NULLs in different events, without any, and the keys themselves.
        let mut kept: Vec<Arc<AggregateFunctionExpr>> = ["x", "s", "f", "p", "t", "u"]
            .map(|value| aggregate(last_value_udaf(), &events, &[value], None, &order, false))
            .into();
        kept.push(aggregate(nth_value_udaf(), &events, &["i"], Some(lit(-1_i64)), &order, false));
        // The first in the opposite order.
        let opposite = [("t", DESCENDING), ("o", DESCENDING)];
        kept.push(aggregate(first_value_udaf(), &events, &["g"], None, &opposite, false));
        let kept: Vec<&Arc<AggregateFunctionExpr>> = kept.iter().collect();
        for (count, another) in kept.iter().enumerate().skip(1) {
            assert!(fits(&kept[..count], another), "{count} of {data_type}");
        }
        check_together(&kept, &events, || kernel(&kept).unwrap());
    }
}

#[test]
fn functions_that_do_not() {
    let events = events(&DataType::Int64);
    let order = [("t", ASCENDING), ("o", ASCENDING)];
    let last = |value: &str, order: &[(&str, SortOptions)], ignore_nulls: bool| {
        aggregate(last_value_udaf(), &events, &[value], None, order, ignore_nulls)
    };
    let nth = |nth: i64| aggregate(nth_value_udaf(), &events, &["x"], Some(lit(nth)), &order, false);
    let kept = last("x", &order, false);
    let others = [
        aggregate(first_value_udaf(), &events, &["s"], None, &order, false),
        // Which entry counts depends on the value.
        last("s", &order, true),
        last("s", &[("o", ASCENDING)], false),
        last("s", &[("o", ASCENDING), ("t", ASCENDING)], false),
        last("s", &[("t", DESCENDING), ("o", ASCENDING)], false),
        last("s", &[("t", SortOptions { nulls_first: true, ..ASCENDING }), ("o", ASCENDING)], false),
        last("s", &[], false),
        nth(1),
        nth(-2),
    ];
    for other in &others {
        assert!(!fits(&[&kept], other), "{:?}", other.order_bys());
        assert!(!fits(&[other], &kept), "{:?}", other.order_bys());
        assert!(kernel(&[&kept, other]).is_none());
    }
    assert!(!fits(&[&last("x", &order, true)], &last("s", &order, true)));
    assert!(!fits(&[&nth(2)], &nth(2)));
    // What no kernel of this module keeps, none keeps together.
    let many = [("o", ASCENDING), ("i", ASCENDING), ("u", ASCENDING), ("p", ASCENDING)];
    for order in [&many[..0], &many[..]] {
        assert!(!fits(&[&last("x", order, false)], &last("s", order, false)));
        assert!(kernel(&[&last("x", order, false)]).is_none());
    }
    // One mark a value.
    assert!(fits(&[&kept; MOST_VALUES - 1], &kept));
    assert!(!fits(&[&kept; MOST_VALUES], &kept));
    assert!(kernel(&[&kept; MOST_VALUES]).is_some());
}

#[test]
fn a_pair_may_read_what_another_wrote() {
    let events = events(&DataType::Int64);
    let order = [("o", ASCENDING)];
    let last = |value: &str| aggregate(last_value_udaf(), &events, &[value], None, &order, false);
    let (one, other) = (last("o"), last("p"));
    let mut kernel = kernel(&[&one, &other]).unwrap();
    // More than are decided at a time: the latest event goes from row to row.
    let count = 3000;
    kernel.resize(count + 1);
    let arguments = ["o", "p", "o"].map(|name| Arc::clone(events.column_by_name(name).unwrap()));
    kernel.update(&arguments, None, &[1; EVENTS]).unwrap();
    let of_first = [kernel.evaluate(0, &[1]).unwrap(), kernel.evaluate(1, &[1]).unwrap()];
    assert_eq!(of_first[0].as_primitive::<Int64Type>().value(0), 239);
    let rows = 1..Row::try_from(count).unwrap();
    let pairs: Vec<Pair> = rows.map(|from| Pair { into: from + 1, from }).collect();
    kernel.merge(&pairs).unwrap();
    let last = Row::try_from(count).unwrap();
    assert_eq!([kernel.evaluate(0, &[last]).unwrap(), kernel.evaluate(1, &[last]).unwrap()], of_first);
}

#[test]
fn what_is_left_to_others() {
    let events = events(&DataType::Int64);
    let last = |order: &[(&str, SortOptions)]| {
        kernel(&[&aggregate(last_value_udaf(), &events, &["x"], None, order, false)])
    };
    assert!(last(&[]).is_none());
    assert!(last(&[("s", ASCENDING), ("o", ASCENDING)]).is_none());
    assert!(last(&[("o", ASCENDING)]).is_some());
    let nth = |nth: i64| {
        kernel(&[&aggregate(nth_value_udaf(), &events, &["x"], Some(lit(nth)), &[("o", ASCENDING)], false)])
    };
    assert!(nth(0).is_none());
    assert!(nth(9).is_none());
    assert!(nth(-8).is_some());
}

#[test]
fn long_texts_give_their_memory_back() {
    let mut texts = Texts::new(&DataType::Utf8);
    let [mut one, mut other] = [Head::default(); 2];
    let column: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x".repeat(1000), "y".to_owned()]));
    let opened = texts.open(&column).unwrap();
    let before = texts.bytes();
    texts.set(&mut one, &opened, 0);
    assert!(texts.bytes() >= before + 1000);
    texts.copy(&mut other, one);
    texts.set(&mut one, &opened, 1);
    texts.forget(&mut other);
    assert!(texts.bytes() < before + 200);
    texts.keep([&mut one].into_iter());
    let array = texts.array([one].into_iter(), None).unwrap();
    assert_eq!(array.as_string::<i32>().value(0), "y");
}
