//! Against DataFusion's own accumulators and a model that counts.

use std::collections::BTreeMap;

use arrow::array::{DictionaryArray, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::compute::{SortOptions, filter, sort};
use arrow::datatypes::{Int32Type, Int64Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;

use super::*;

const EVENTS: usize = 60;
const TILES: Row = 8;
/// The first row of tiles, of what tiles are merged into, and of new events. Row 0 stays empty.
const TILE: Row = 1;
const WHOLE: Row = TILE + TILES;
const WHOLES: Row = 2;
const FRESH: Row = WHOLE + WHOLES;
const ROWS: usize = (FRESH + TILES) as usize;

/// Numbers that look random: the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn row(&mut self, first: Row, rows: Row) -> Row {
        first + Row::try_from(self.below(rows as usize)).unwrap()
    }

    /// Values below ten, one in eleven of them NULL.
    fn values(&mut self) -> Vec<Option<usize>> {
        (0..EVENTS).map(|_| Some(self.below(11)).filter(|value| *value < 10)).collect()
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

/// What DataFusion makes of all these events.
fn built_in(aggregate: &AggregateFunctionExpr, events: &[&ArrayRef]) -> Vec<Option<Vec<String>>> {
    let mut accumulator: Box<dyn Accumulator> = aggregate.create_accumulator().unwrap();
    for part in events {
        accumulator.update_batch(&[Arc::clone(*part)]).unwrap();
    }
    shown(&accumulator.evaluate().unwrap().to_array().unwrap())
}

fn pair(into: Row, from: Row) -> Pair {
    Pair { into, from }
}

/// Tiles that grow, that are merged into a whole and leave it again, and a kernel that is loaded.
#[track_caller]
fn check(aggregate: &Arc<AggregateFunctionExpr>, make: impl Fn(&[Option<usize>]) -> ArrayRef) {
    let all: Vec<Row> = (0..FRESH).collect();
    let mut random = Random(7);
    let mut kernel = kernel(aggregate).expect("a distinct aggregate of plain values");
    kernel.resize(ROWS);
    let mut tiles: Vec<Vec<ArrayRef>> = vec![Vec::new(); TILES as usize];
    for turn in 0..40 {
        let values = make(&random.values());
        let rows: Vec<Row> = (0..EVENTS).map(|_| random.row(FRESH, TILES)).collect();
        let mask: BooleanArray = (0..EVENTS).map(|_| Some(random.below(4) > 0)).collect();
        let mask = (turn % 3 == 1).then_some(mask);
        kernel.update(&[Arc::clone(&values)], mask.as_ref(), &rows).unwrap();
        for tile in 0..TILES {
            let whole = WHOLE + tile % WHOLES;
            kernel.merge(&[pair(TILE + tile, FRESH + tile), pair(whole, FRESH + tile)]).unwrap();
            let holds = |event: usize| mask.as_ref().is_none_or(|mask| mask.value(event));
            let of_tile = (0..EVENTS).map(|event| Some(rows[event] == FRESH + tile && holds(event)));
            let events = filter(&values, &of_tile.collect::<BooleanArray>()).unwrap();
            tiles[tile as usize].extend(Some(events).filter(|events| !events.is_empty()));
        }
        kernel.clear(&(FRESH..FRESH + TILES).collect::<Vec<_>>());
        if turn % 2 == 1 {
            let tile = random.row(0, TILES);
            kernel.subtract(&[pair(WHOLE + tile % WHOLES, TILE + tile)]);
            kernel.clear(&[TILE + tile]);
            tiles[tile as usize].clear();
        }
        if turn % 8 == 3 {
            let states = kernel.save(&all).unwrap();
            kernel = super::kernel(aggregate).unwrap();
            kernel.resize(ROWS);
            kernel.load(&all, &states).unwrap();
        }
        if turn % 8 == 6 {
            kernel.keep(&all);
            kernel.resize(ROWS);
        }
        let result = kernel.evaluate(0, &all).unwrap();
        assert_eq!(result.data_type(), aggregate.field().data_type());
        let mut expected = built_in(aggregate, &[]);
        for tile in &tiles {
            expected.extend(built_in(aggregate, &tile.iter().collect::<Vec<_>>()));
        }
        for whole in 0..WHOLES as usize {
            let parts = tiles.iter().skip(whole).step_by(WHOLES as usize).flatten();
            expected.extend(built_in(aggregate, &parts.collect::<Vec<_>>()));
        }
        assert_eq!(shown(&result), expected, "turn {turn}");
        if let Some(lists) = result.as_list_opt::<i32>() {
            let lengths = lists.iter().map(|list| list.map(|list| list.len() as u64));
            let expected: UInt64Array = lengths.collect();
            assert_eq!(kernel.lengths(0, &all).unwrap().as_ref(), &expected as &dyn Array, "turn {turn}");
        }
        for list in result.as_list_opt::<i32>().into_iter().flat_map(|lists| lists.iter()).flatten() {
            let nulls_last = SortOptions { descending: false, nulls_first: false };
            assert_eq!(&list, &sort(&list, Some(nulls_last)).unwrap());
        }
    }
}

fn check_all(values: &DataType, make: impl Fn(&[Option<usize>]) -> ArrayRef) {
    check(&aggregate(array_agg_udaf(), values, false), &make);
    check(&aggregate(array_agg_udaf(), values, true), &make);
    check(&aggregate(count_udaf(), values, false), &make);
}

fn strings(values: &[Option<usize>]) -> ArrayRef {
    // Some longer than what a string view keeps inline, one empty.
    let texts = values.iter().map(|value| value.map(|value| "merchant ".repeat(value)));
    Arc::new(texts.collect::<StringArray>())
}

fn integers(values: &[Option<usize>]) -> ArrayRef {
    let numbers = values.iter().map(|value| value.map(|value| i64::try_from(value).unwrap() - 4));
    Arc::new(numbers.collect::<Int64Array>())
}

#[test]
fn strings_are_as_built_in() {
    check_all(&DataType::Utf8, strings);
}

#[test]
fn other_strings_are_as_built_in() {
    for values in [
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
    ] {
        check_all(&values, |rows| cast(&strings(rows), &values).unwrap());
    }
}

#[test]
fn integers_are_as_built_in() {
    check_all(&DataType::Int64, integers);
    for values in [DataType::Int8, DataType::Int16, DataType::Int32, DataType::Decimal128(20, 3)] {
        check_all(&values, |rows| cast(&integers(rows), &values).unwrap());
    }
}

#[test]
fn unsigned_integers_are_as_built_in() {
    for values in [DataType::UInt8, DataType::UInt16, DataType::UInt32, DataType::UInt64] {
        // From high to low: as signed numbers they had another order.
        check_all(&values, |rows| {
            let number = |value: usize| 255 - 20 * i64::try_from(value).unwrap();
            let numbers: Int64Array = rows.iter().map(|value| value.map(number)).collect();
            cast(&numbers, &values).unwrap()
        });
    }
}

#[test]
fn times_are_as_built_in() {
    let zoned = DataType::Timestamp(TimeUnit::Millisecond, Some("+02:00".into()));
    check_all(&zoned, |rows| {
        let times = cast(&integers(rows), &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        let times: &TimestampMillisecondArray = times.as_primitive();
        Arc::new(times.clone().with_timezone("+02:00"))
    });
    check_all(&DataType::Date32, |rows| {
        cast(&cast(&integers(rows), &DataType::Int32).unwrap(), &DataType::Date32).unwrap()
    });
}

#[test]
fn floats_are_told_apart_by_their_bits() {
    const FLOATS: [f64; 10] = [0.0, -0.0, f64::NAN, 1.5, -1.5, 2.0, f64::INFINITY, 1e30, 3.0, 4.0];
    let floats = |rows: &[Option<usize>]| -> ArrayRef {
        Arc::new(rows.iter().map(|value| value.map(|value| FLOATS[value])).collect::<Float64Array>())
    };
    check_all(&DataType::Float64, floats);
    check_all(&DataType::Float32, |rows| cast(&floats(rows), &DataType::Float32).unwrap());
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
    let mut kernel = kernel(&aggregate(array_agg_udaf(), &DataType::Utf8, false)).unwrap();
    kernel.resize(2);
    let values = StringArray::from(vec![Some("c"), None, Some("a"), Some("c"), Some("b")]);
    let values: ArrayRef = Arc::new(values);
    kernel.update(&[values], None, &[1; 5]).unwrap();
    let lists = kernel.evaluate(0, &[0, 1]).unwrap();
    let expected = StringArray::from(vec![Some("a"), Some("b"), Some("c"), None]);
    assert!(lists.is_null(0));
    assert_eq!(lists.as_list::<i32>().value(1).as_string::<i32>(), &expected);
}

#[test]
fn what_is_not_known_is_left_to_datafusion() {
    let nested = DataType::new_list(DataType::Utf8, true);
    assert!(kernel(&aggregate(array_agg_udaf(), &nested, false)).is_none());
    assert!(kernel(&aggregate(count_udaf(), &nested, false)).is_none());
    let keyed = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    assert!(kernel(&aggregate(array_agg_udaf(), &keyed, false)).is_none());
}

fn distinct<V: Values>(output: Output, skips_nulls: bool, values: DataType) -> Distinct<V> {
    Distinct::new(output, skips_nulls, Arc::new(Field::new_list_field(values, true)))
}

/// The values of a row with their counts.
fn counted(kernel: &Distinct<Numbers<i64>>, row: Row) -> BTreeMap<Option<i64>, u32> {
    let states = kernel.save(&[row]).unwrap();
    let (values, counts) = (states[0].as_list::<i32>().value(0), states[1].as_list::<i32>().value(0));
    let counts = counts.as_primitive::<UInt32Type>().values().to_vec();
    values.as_primitive::<Int64Type>().iter().zip(counts).collect()
}

#[test]
fn counts_add_up() {
    const WHOLES_FROM: Row = 20;
    let mut random = Random(3);
    let mut kernel = distinct::<Numbers<i64>>(Output::List, false, DataType::Int64);
    kernel.resize(30);
    let mut models: Vec<BTreeMap<Option<i64>, u32>> = vec![BTreeMap::new(); 30];
    for row in 1..WHOLES_FROM {
        for _ in 0..[1, 2, 3, 10, 400, 3000][row as usize % 6] {
            let value = i64::try_from(random.below(6000)).unwrap() - 3000;
            models[row as usize].insert(Some(value).filter(|value| *value != 0), 1);
        }
        let values: Vec<Option<i64>> = models[row as usize].keys().copied().collect();
        // Each of them twice: that counts once.
        let values: ArrayRef = Arc::new(Int64Array::from([values.clone(), values].concat()));
        kernel.update(&[Arc::clone(&values)], None, &vec![row; values.len()]).unwrap();
        assert_eq!(counted(&kernel, row), models[row as usize]);
    }
    let mut merged = Vec::new();
    for _ in 0..400 {
        let changed = if merged.is_empty() || random.below(2) == 0 {
            let (into, from) = (random.row(WHOLES_FROM, 4), random.row(0, WHOLES_FROM));
            kernel.merge(&[pair(into, from)]).unwrap();
            for (value, count) in models[from as usize].clone() {
                *models[into as usize].entry(value).or_default() += count;
            }
            merged.push(pair(into, from));
            into
        } else {
            let undone = merged.swap_remove(random.below(merged.len()));
            kernel.subtract(&[undone]);
            for (value, count) in models[undone.from as usize].clone() {
                *models[undone.into as usize].get_mut(&value).unwrap() -= count;
            }
            models[undone.into as usize].retain(|_, count| *count > 0);
            undone.into
        };
        assert_eq!(counted(&kernel, changed), models[changed as usize]);
        assert_eq!(kernel.heap, kernel.sets.iter().map(Set::heap).sum::<usize>());
    }
}

#[test]
fn values_that_no_row_has_are_forgotten() {
    let mut kernel = distinct::<Texts>(Output::List, false, DataType::Utf8);
    kernel.resize(10);
    let texts = |range: std::ops::Range<usize>| strings(&range.map(Some).collect::<Vec<_>>());
    kernel.update(&[texts(0..100)], None, &[1; 100]).unwrap();
    kernel.update(&[texts(50..90)], None, &[2; 40]).unwrap();
    kernel.merge(&[pair(3, 1), pair(3, 2)]).unwrap();
    kernel.clear(&[1]);
    assert_eq!(kernel.dictionary.len(), 100);
    kernel.clear(&[3]);
    assert_eq!(kernel.dictionary.len(), 40);
    let before = kernel.bytes();
    // Ids are used again, and those that are left are given up by what is kept.
    kernel.update(&[texts(0..50)], None, &[1; 50]).unwrap();
    assert_eq!(kernel.dictionary.len(), 90);
    kernel.keep(&[0, 2]);
    assert_eq!(kernel.dictionary.len(), 40);
    assert!(kernel.bytes() < before);
    let left = kernel.evaluate(0, &[1]).unwrap();
    assert_eq!(&left.as_list::<i32>().value(0), &texts(50..90));
    kernel.clear(&[0, 1]);
    assert_eq!(kernel.dictionary.len(), 0);
    assert_eq!(kernel.heap, 0);
}

#[test]
fn what_a_dictionary_array_does_not_use_is_not_kept() {
    let mut kernel = distinct::<Texts>(Output::Count, true, DataType::Utf8);
    kernel.resize(2);
    let keyed: DictionaryArray<Int32Type> = ["a", "b", "a", "c", "a"].into_iter().collect();
    let mask = BooleanArray::from(vec![true, false, true, true, true]);
    let keyed: ArrayRef = Arc::new(keyed);
    kernel.update(&[keyed], Some(&mask), &[1; 5]).unwrap();
    let counts = kernel.evaluate(0, &[0, 1]).unwrap();
    assert_eq!(counts.as_primitive::<Int64Type>().values().to_vec(), [0, 2]);
    assert_eq!(kernel.dictionary.len(), 2);
}

#[test]
fn states_of_another_kernel_are_refused() {
    let mut kernel = distinct::<Texts>(Output::List, false, DataType::Utf8);
    kernel.resize(2);
    kernel.update(&[strings(&[Some(1), None])], None, &[1; 2]).unwrap();
    let states = kernel.save(&[1]).unwrap();
    let mut other = distinct::<Numbers<i64>>(Output::List, false, DataType::Int64);
    other.resize(2);
    assert!(other.load(&[1], &states).is_err());
    assert!(other.load(&[1], &[]).is_err());
    let mut without_nulls = distinct::<Texts>(Output::List, true, DataType::Utf8);
    without_nulls.resize(2);
    assert!(without_nulls.load(&[1], &states).is_err());
}
