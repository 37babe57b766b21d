//! Against DataFusion's own accumulators, also where one merges the other's states.

use arrow::array::{DictionaryArray, Float64Array, StringArray};
use arrow::util::display::array_value_to_string;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;

use super::*;

const GROUPS: usize = 13;
const ROWS: usize = 200;

/// Numbers that look random: the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    /// Rows of values below ten, one in eleven of them NULL.
    fn values(&mut self) -> Vec<Option<usize>> {
        (0..ROWS).map(|_| Some(self.below(11)).filter(|value| *value < 10)).collect()
    }

    /// The last two groups stay empty.
    fn groups(&mut self) -> Vec<usize> {
        (0..ROWS).map(|_| self.below(GROUPS - 2)).collect()
    }

    fn mask(&mut self) -> BooleanArray {
        (0..ROWS).map(|_| [Some(true), Some(true), Some(false), None][self.below(4)]).collect()
    }
}

fn aggregate(
    function: Arc<AggregateUDF>,
    values: &DataType,
    ignore_nulls: bool,
) -> Arc<AggregateFunctionExpr> {
    let schema = Schema::new(vec![Field::new("x", values.clone(), true)]);
    let aggregate = AggregateExprBuilder::new(function, vec![Arc::new(Column::new("x", 0))])
        .schema(Arc::new(schema))
        .alias("distinct")
        .distinct()
        .with_ignore_nulls(ignore_nulls)
        .build();
    Arc::new(aggregate.unwrap())
}

fn built_in(aggregate: &Arc<AggregateFunctionExpr>) -> Box<dyn GroupsAccumulator> {
    let aggregate = Arc::clone(aggregate);
    Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator()))
}

fn ours(aggregate: &Arc<AggregateFunctionExpr>) -> Box<dyn GroupsAccumulator> {
    accumulator(aggregate).expect("a distinct aggregate of plain values")
}

/// Lists with their elements in order, and what else there is, as text.
fn shown(column: &ArrayRef) -> Vec<Option<Vec<String>>> {
    let texts = |array: &ArrayRef| -> Vec<String> {
        let text = |row| {
            if array.is_null(row) { "NULL".to_owned() } else { array_value_to_string(array, row).unwrap() }
        };
        (0..array.len()).map(text).collect()
    };
    let Some(lists) = column.as_list_opt::<i32>() else {
        return texts(column).into_iter().map(|text| Some(vec![text])).collect();
    };
    let sorted = |list: ArrayRef| {
        let mut elements = texts(&list);
        elements.sort();
        elements
    };
    lists.iter().map(|list| list.map(&sorted)).collect()
}

#[track_caller]
fn check(aggregate: &Arc<AggregateFunctionExpr>, make: impl Fn(&[Option<usize>]) -> ArrayRef) {
    let mut numbers = Numbers(7);
    let mut states = Vec::new();
    for filtered in [false, true, false] {
        let values = [make(&numbers.values())];
        let groups = numbers.groups();
        let mask = numbers.mask();
        let mask = filtered.then_some(&mask);
        let mut of_both = Vec::new();
        for mut accumulator in [ours(aggregate), built_in(aggregate)] {
            accumulator.update_batch(&values, &groups, mask, GROUPS).unwrap();
            of_both.push(accumulator.state(EmitTo::All).unwrap());
        }
        let fields = aggregate.state_fields().unwrap();
        assert_eq!(of_both[0][0].data_type(), fields[0].data_type());
        assert_eq!(of_both[0][0].len(), GROUPS);

        let mut evaluated = Vec::new();
        for mut accumulator in [ours(aggregate), built_in(aggregate)] {
            accumulator.update_batch(&values, &groups, mask, GROUPS).unwrap();
            evaluated.push(accumulator.evaluate(EmitTo::All).unwrap());
        }
        assert_eq!(evaluated[0].data_type(), aggregate.field().data_type());
        assert_eq!(shown(&evaluated[0]), shown(&evaluated[1]));
        states.push(of_both);
    }
    // Whoever wrote the states, and whoever merges them.
    let into: Vec<usize> = (0..GROUPS).map(|group| group % 5).collect();
    let mut merged = Vec::new();
    for mut accumulator in [ours(aggregate), built_in(aggregate), ours(aggregate), built_in(aggregate)] {
        let writer = merged.len() / 2;
        for of_both in &states {
            accumulator.merge_batch(&of_both[writer], &into, 6).unwrap();
        }
        merged.push(accumulator.evaluate(EmitTo::All).unwrap());
    }
    for other in &merged[1..] {
        assert_eq!(shown(&merged[0]), shown(other));
    }
    // The first groups, and then the others.
    let mut accumulator = ours(aggregate);
    for of_both in &states {
        accumulator.merge_batch(&of_both[0], &into, 6).unwrap();
    }
    let mut parts = shown(&accumulator.evaluate(EmitTo::First(2)).unwrap());
    // Those that are left moved up, and still merge.
    let of_group_two = [states[0][0][0].slice(2, 1)];
    accumulator.merge_batch(&of_group_two, &[0], 4).unwrap();
    parts.extend(shown(&accumulator.evaluate(EmitTo::All).unwrap()));
    assert_eq!(parts, shown(&merged[0]));
}

fn check_all(values: &DataType, make: impl Fn(&[Option<usize>]) -> ArrayRef) {
    check(&aggregate(array_agg_udaf(), values, false), &make);
    check(&aggregate(array_agg_udaf(), values, true), &make);
    check(&aggregate(count_udaf(), values, false), &make);
}

fn strings(values: &[Option<usize>]) -> ArrayRef {
    // Longer than what a string view keeps inline.
    let texts = values.iter().map(|value| value.map(|value| format!("merchant category {value}")));
    Arc::new(texts.collect::<StringArray>())
}

#[test]
fn strings_are_as_built_in() {
    check_all(&DataType::Utf8, strings);
}

#[test]
fn other_strings_are_as_built_in() {
    for values in [DataType::LargeUtf8, DataType::Utf8View, DataType::Binary] {
        check_all(&values, |rows| cast(&strings(rows), &values).unwrap());
    }
}

#[test]
fn integers_are_as_built_in() {
    check_all(&DataType::Int64, |rows| {
        let numbers = rows.iter().map(|value| value.map(|value| i64::try_from(value).unwrap() - 4));
        Arc::new(numbers.collect::<Int64Array>())
    });
}

#[test]
fn floats_are_told_apart_by_their_bits() {
    const FLOATS: [f64; 10] = [0.0, -0.0, f64::NAN, 1.5, -1.5, 2.0, f64::INFINITY, 1e300, 3.0, 4.0];
    check_all(&DataType::Float64, |rows| {
        Arc::new(rows.iter().map(|value| value.map(|value| FLOATS[value])).collect::<Float64Array>())
    });
}

#[test]
fn truths_are_as_built_in() {
    check_all(&DataType::Boolean, |rows| {
        Arc::new(rows.iter().map(|value| value.map(|value| value > 4)).collect::<BooleanArray>())
    });
}

#[test]
fn dictionaries_are_counted_by_what_they_refer_to() {
    let values = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    check(&aggregate(count_udaf(), &values, false), |rows| {
        let texts: Vec<Option<String>> =
            rows.iter().map(|value| value.map(|value| value.to_string())).collect();
        let texts = texts.iter().map(|text| text.as_deref());
        Arc::new(texts.collect::<DictionaryArray<Int32Type>>())
    });
}

#[test]
fn lists_are_in_order() {
    let mut accumulator = ours(&aggregate(array_agg_udaf(), &DataType::Utf8, false));
    let values = StringArray::from(vec![Some("c"), None, Some("a"), Some("c"), Some("b")]);
    let values: ArrayRef = Arc::new(values);
    accumulator.update_batch(&[values], &[0; 5], None, 1).unwrap();
    let lists = accumulator.evaluate(EmitTo::All).unwrap();
    let expected = StringArray::from(vec![Some("a"), Some("b"), Some("c"), None]);
    assert_eq!(lists.as_list::<i32>().value(0).as_string::<i32>(), &expected);
}

#[test]
fn what_is_not_known_is_left_to_datafusion() {
    let nested = DataType::new_list(DataType::Utf8, true);
    assert!(accumulator(&aggregate(array_agg_udaf(), &nested, false)).is_none());
    assert!(accumulator(&aggregate(count_udaf(), &nested, false)).is_none());
}
