//! Against DataFusion's own accumulators: events in random cuts, merges, clears and checkpoints.

use arrow::array::{Float64Array, Int64Array, NullArray, StringArray, UInt32Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{Field, Float64Type, Int64Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use super::super::{AnyKernel, Kernels, Mode, NOTHING, Pair, Row};
use super::*;

const EVENTS: usize = 70;
const ROUNDS: usize = 26;

/// Numbers that look random: the same each time.
pub struct Numbers(u64);

impl Numbers {
    /// One of `0..limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    /// A row that may have something in it.
    fn row(&mut self, rows: usize) -> Row {
        Row::try_from(1 + self.below(rows - 1)).unwrap()
    }

    fn is_null(&mut self) -> bool {
        self.below(11) == 0
    }

    fn integers(&mut self, limit: usize) -> Int64Array {
        let half = i64::try_from(limit / 2).unwrap();
        let value = |_| {
            let value = i64::try_from(self.below(limit)).unwrap() - half;
            (!self.is_null()).then_some(value)
        };
        (0..EVENTS).map(value).collect()
    }

    /// Positive and negative ones, some NULL.
    pub fn floats(&mut self) -> ArrayRef {
        let values = cast(&self.integers(2_000_000), &DataType::Float64).unwrap();
        let (values, nulls) = column::<Float64Type>(std::slice::from_ref(&values)).unwrap();
        let values: Vec<f64> = values.iter().map(|value| value / 7.0).collect();
        Arc::new(Float64Array::new(values.into(), nulls.cloned()))
    }

    /// Those that are not numbers or have no ordinary size; none NULL.
    pub fn strange_floats(&mut self) -> ArrayRef {
        let some = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE / 4.0,
            -0.0,
            0.0,
            -1e300,
            3.25,
        ];
        // Mostly without NaN, which would soon be in every row.
        let value = |_| if self.below(9) == 0 { some[self.below(10)] } else { some[7 + self.below(3)] };
        let values: Vec<f64> = (0..EVENTS).map(value).collect();
        Arc::new(Float64Array::from(values))
    }

    /// Nothing but NULL.
    pub fn no_floats() -> ArrayRef {
        Arc::new(Float64Array::new_null(EVENTS))
    }

    fn mask(&mut self) -> BooleanArray {
        let values: Vec<bool> = (0..EVENTS).map(|_| self.below(3) > 0).collect();
        BooleanArray::from(values)
    }

    fn flags(&mut self) -> ArrayRef {
        let values: BooleanArray =
            (0..EVENTS).map(|_| [Some(true), Some(false), None][self.below(3)]).collect();
        Arc::new(values)
    }
}

/// An aggregate of columns of these types.
pub fn aggregate(function: Arc<AggregateUDF>, types: &[DataType]) -> Arc<AggregateFunctionExpr> {
    Arc::new(builder(function, types).build().unwrap())
}

fn builder(function: Arc<AggregateUDF>, types: &[DataType]) -> AggregateExprBuilder {
    let mut fields = Vec::new();
    let mut arguments: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (index, data_type) in types.iter().enumerate() {
        let name = format!("x{index}");
        arguments.push(Arc::new(ColumnExpr::new(&name, index)));
        fields.push(Field::new(name, data_type.clone(), true));
    }
    AggregateExprBuilder::new(function, arguments).schema(Arc::new(Schema::new(fields))).alias("aggregate")
}

/// What happened to a row.
#[derive(Clone)]
enum Step {
    Update(Vec<ArrayRef>),
    Merge(Vec<ArrayRef>),
}

/// DataFusion's accumulators, one a row. They lose their state when they show it, so that of each
/// row it is remembered what happened.
struct Reference {
    aggregate: Arc<AggregateFunctionExpr>,
    /// No rows of its arguments.
    nothing: Vec<ArrayRef>,
    rows: Vec<Vec<Step>>,
}

impl Reference {
    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) {
        for (row, steps) in self.rows.iter_mut().enumerate() {
            let counts = |index: &usize| {
                rows[*index] as usize == row && filter.is_none_or(|filter| filter.value(*index))
            };
            let indices: Vec<u32> =
                (0..rows.len()).filter(counts).map(|index| u32::try_from(index).unwrap()).collect();
            if indices.is_empty() {
                continue;
            }
            let indices = UInt32Array::from(indices);
            let taken = arguments.iter().map(|argument| take(argument, &indices, None).unwrap());
            steps.push(Step::Update(taken.collect()));
        }
    }

    fn merge(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            let state = self.replay(pair.from).state(EmitTo::All).unwrap();
            self.rows[pair.into as usize].push(Step::Merge(state));
        }
    }

    fn evaluate(&self, row: Row) -> ArrayRef {
        self.replay(row).evaluate(EmitTo::All).unwrap()
    }

    fn replay(&self, row: Row) -> Box<dyn GroupsAccumulator> {
        let mut accumulator: Box<dyn GroupsAccumulator> = if self.aggregate.groups_accumulator_supported() {
            self.aggregate.create_groups_accumulator().unwrap()
        } else {
            let aggregate = Arc::clone(&self.aggregate);
            Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator()))
        };
        // That a group has no rows must be said with a filter.
        let nobody = BooleanArray::from(Vec::<bool>::new());
        accumulator.update_batch(&self.nothing, &[], Some(&nobody), 1).unwrap();
        for step in &self.rows[row as usize] {
            match step {
                Step::Update(values) => {
                    accumulator.update_batch(values, &vec![0; values[0].len()], None, 1).unwrap();
                }
                Step::Merge(state) => accumulator.merge_batch(state, &[0], 1).unwrap(),
            }
        }
        accumulator
    }
}

/// What a kernel gives must be what DataFusion gives, whatever happens to rows.
#[track_caller]
pub fn check(
    make: impl Fn(&Arc<AggregateFunctionExpr>) -> Option<Box<dyn Packed>>,
    aggregate: &Arc<AggregateFunctionExpr>,
    events: impl Fn(&mut Numbers) -> Vec<ArrayRef>,
) {
    let mut numbers = Numbers(7);
    // Between two others, whose states stay what they are.
    let make = || {
        let kernel = || AnyKernel::Packed(make(aggregate).expect("an aggregate that the module knows"));
        Kernels::new(vec![kernel(), kernel(), kernel()])
    };
    let mut kernel = make();
    assert_eq!(kernel.modes(), [Mode::Stack]);
    let nothing = events(&mut numbers).iter().map(|argument| argument.slice(0, 0)).collect();
    let mut reference = Reference { aggregate: Arc::clone(aggregate), nothing, rows: Vec::new() };
    for round in 0..ROUNDS {
        if round % 9 == 0 {
            reference.rows.resize(reference.rows.len() + 4, Vec::new());
            kernel.resize(reference.rows.len());
        }
        let count = reference.rows.len();
        let arguments = events(&mut numbers);
        let rows: Vec<Row> = (0..EVENTS).map(|_| numbers.row(count)).collect();
        let filter = (round % 3 == 1).then(|| numbers.mask());
        kernel.update(1, &arguments, filter.as_ref(), &rows).unwrap();
        reference.update(&arguments, filter.as_ref(), &rows);

        let pairs: Vec<Pair> = (0..3)
            .map(|_| Pair { into: numbers.row(count), from: numbers.row(count) })
            .filter(|pair| pair.into != pair.from)
            .collect();
        kernel.merge_of(Mode::Stack, &pairs).unwrap();
        reference.merge(&pairs);

        let cleared = [numbers.row(count), numbers.row(count)];
        if round % 2 == 1 {
            kernel.clear(&cleared);
            for row in cleared {
                reference.rows[row as usize].clear();
            }
        }
        let all: Vec<Row> = (0..Row::try_from(count).unwrap()).collect();
        if round % 7 == 6 {
            let states = kernel.save(&all).unwrap();
            kernel = make();
            kernel.resize(count);
            kernel.load(1, &all, &states[1]).unwrap();
        }
        if round % 11 == 10 {
            let mut kept = vec![NOTHING];
            kept.extend(all[2..].iter().rev());
            kernel.keep(&kept);
            reference.rows = kept.iter().map(|row| reference.rows[*row as usize].clone()).collect();
        }
        compare(&kernel, &reference);
    }
    assert!(kernel.bytes() > 0);
}

#[track_caller]
fn compare(kernel: &Kernels, reference: &Reference) {
    let mut rows: Vec<Row> = (0..Row::try_from(reference.rows.len()).unwrap()).rev().collect();
    rows.push(rows[1]);
    let given = kernel.evaluate(1, 0, &rows).unwrap();
    let nothing = reference.evaluate(NOTHING);
    for beside in [0, 2] {
        assert_eq!(&kernel.evaluate(beside, 0, &[1]).unwrap(), &nothing);
    }
    let expected: Vec<ArrayRef> = rows.iter().map(|row| reference.evaluate(*row)).collect();
    let expected: Vec<&dyn Array> = expected.iter().map(|array| array.as_ref()).collect();
    let expected = concat(&expected).unwrap();
    assert_eq!(given.data_type(), reference.aggregate.field().data_type());
    assert_eq!(given.data_type(), expected.data_type());
    if given.data_type().is_floating() {
        // Which of the many NaN it is, is nobody's concern.
        assert_eq!(texts(&given), texts(&expected));
    } else {
        assert_eq!(&given, &expected);
    }
}

fn texts(column: &ArrayRef) -> Vec<String> {
    let text = |row| {
        if column.is_null(row) { "NULL".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    (0..column.len()).map(text).collect()
}

/// Integers below `limit` around zero as another type.
fn converted(numbers: &mut Numbers, limit: usize, to: &DataType) -> ArrayRef {
    let integers: ArrayRef = Arc::new(numbers.integers(limit));
    if matches!(to, DataType::Time32(_)) {
        return cast(&cast(&integers, &DataType::Int32).unwrap(), to).unwrap();
    }
    cast(&integers, to).unwrap()
}

#[test]
fn extremes_of_every_type() {
    let mut types = vec![
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(20, 3),
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Time64(TimeUnit::Nanosecond),
    ];
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        types.push(DataType::Timestamp(unit, None));
        types.push(DataType::Timestamp(unit, Some("+00:00".into())));
        types.push(DataType::Duration(unit));
    }
    for data_type in &types {
        for function in extremes().map(Arc::new) {
            let aggregate = aggregate(function, std::slice::from_ref(data_type));
            check(kernel, &aggregate, |numbers| vec![converted(numbers, 256, data_type)]);
        }
    }
}

#[test]
fn extremes_of_floats_that_are_no_numbers() {
    for function in extremes().map(Arc::new) {
        let aggregate = aggregate(function, &[DataType::Float64]);
        check(kernel, &aggregate, |numbers| vec![numbers.strange_floats()]);
        check(kernel, &aggregate, |_| vec![Numbers::no_floats()]);
    }
}

#[test]
fn extremes_of_truth_values() {
    for function in extremes().map(Arc::new) {
        check(kernel, &aggregate(function, &[DataType::Boolean]), |numbers| vec![numbers.flags()]);
    }
}

#[test]
fn sums() {
    let types = [
        DataType::Int64,
        DataType::UInt64,
        DataType::Float64,
        DataType::Decimal128(20, 3),
        DataType::Duration(TimeUnit::Microsecond),
    ];
    for data_type in &types {
        let aggregate = aggregate(sum_udaf(), std::slice::from_ref(data_type));
        check(kernel, &aggregate, |numbers| vec![converted(numbers, 100_000, data_type)]);
    }
    // Beyond what fits.
    let of_integers = aggregate(sum_udaf(), &[DataType::Int64]);
    check(kernel, &of_integers, |numbers| {
        let large = numbers.integers(7).unary::<_, Int64Type>(|value| value * (i64::MAX / 4));
        vec![Arc::new(large)]
    });
    let of_floats = aggregate(sum_udaf(), &[DataType::Float64]);
    check(kernel, &of_floats, |numbers| vec![numbers.strange_floats()]);
    check(kernel, &of_floats, |_| vec![Numbers::no_floats()]);
}

#[test]
fn averages() {
    let of_floats = aggregate(avg_udaf(), &[DataType::Float64]);
    check(kernel, &of_floats, |numbers| vec![numbers.floats()]);
    check(kernel, &of_floats, |numbers| vec![numbers.strange_floats()]);
    check(kernel, &of_floats, |_| vec![Numbers::no_floats()]);
}

#[test]
fn counts() {
    let of_one = aggregate(count_udaf(), &[DataType::Float64]);
    check(kernel, &of_one, |numbers| vec![numbers.floats()]);
    check(kernel, &of_one, |_| vec![Arc::new(Float64Array::from(vec![1.0; EVENTS]))]);
    let of_two = aggregate(count_udaf(), &[DataType::Float64, DataType::Boolean]);
    check(kernel, &of_two, |numbers| vec![numbers.floats(), numbers.flags()]);
    let of_nothing = aggregate(count_udaf(), &[DataType::Null]);
    check(kernel, &of_nothing, |_| vec![Arc::new(NullArray::new(EVENTS))]);
    let texts = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let of_dictionary = aggregate(count_udaf(), std::slice::from_ref(&texts));
    check(kernel, &of_dictionary, |numbers| {
        let values = [Some("a"), Some("b"), None];
        let column: StringArray = (0..EVENTS).map(|_| values[numbers.below(3)]).collect();
        vec![cast(&column, &texts).unwrap()]
    });
}

#[test]
fn nothing_else() {
    let is_known = |aggregate: AggregateExprBuilder| kernel(&Arc::new(aggregate.build().unwrap())).is_some();
    let [least, greatest] = extremes().map(Arc::new);
    let floats = [DataType::Float64];
    assert!(is_known(builder(greatest, &floats).distinct()));
    assert!(!is_known(builder(count_udaf(), &floats).distinct()));
    assert!(!is_known(builder(sum_udaf(), &floats).distinct()));
    assert!(!is_known(builder(avg_udaf(), &floats).distinct()));
    assert!(!is_known(builder(avg_udaf(), &[DataType::Decimal128(9, 2)])));
    assert!(!is_known(builder(least, &[DataType::Utf8])));
}

#[test]
fn states_of_another_kind_are_refused() {
    let kernel = kernel(&aggregate(sum_udaf(), &[DataType::Decimal128(9, 2)])).unwrap();
    let mut kernels = Kernels::new(vec![AnyKernel::Packed(kernel)]);
    kernels.resize(2);
    let wrong: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert!(kernels.load(0, &[1], &[wrong]).is_err());
    assert!(kernels.load(0, &[1], &[]).is_err());
    let states = kernels.save(&[0, 1]).unwrap();
    assert!(kernels.load(0, &[1], &states[0]).is_err());
    assert!(kernels.load(1, &[1], &states[0]).is_err());
}
