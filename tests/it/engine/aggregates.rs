//! What made-up views are made of: the columns of the streams, conditions on them, aggregates.

use proptest::prelude::*;
use proptest::sample::select;

/// A stream, and expressions over its columns.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub name: &'static str,
    integers: &'static [&'static str],
    /// Multiples of a quarter, whose sums are exact.
    floats: &'static [&'static str],
    texts: &'static [&'static str],
    /// What is only compared: the sums of some of these depend on the order. None is a BOOLEAN, of which
    /// DataFusion's own `last_value` stops a build with overflow checks where a filter lets nothing pass.
    others: &'static [&'static str],
    conditions: &'static [&'static str],
    /// Orders in which no two events are equal.
    pub orders: &'static [&'static str],
}

pub const TRANSACTIONS: Source = Source {
    name: "transactions",
    integers: &["n", "level", "n + level", "abs(n)", "coalesce(n, 7)", "character_length(mcc)"],
    floats: &["amount", "amount / 2", "n * 0.25", "CASE WHEN flag THEN amount ELSE 1.5 END"],
    texts: &["mcc", "device", "lower(mcc)", "coalesce(device, mcc)", "concat(mcc, '/', device)"],
    others: &["huge", "wild", "price", "seen", "event_time"],
    conditions: &[
        "n > 0",
        "mcc IN ('A', '6011')",
        "amount IS NOT NULL",
        "device LIKE '%1%'",
        "n % 2 = 0",
        "flag",
        "NOT flag",
        "mcc <> device",
        "amount < n",
        "(n BETWEEN 0 AND 3 OR flag)",
        "huge > 0",
        "coalesce(price, 0) < 2",
    ],
    orders: &[
        "event_time, _partition, _offset",
        "event_time DESC, _partition DESC, _offset DESC",
        "n DESC NULLS LAST, event_time, _partition, _offset",
        "mcc, event_time DESC, _partition, _offset",
        "amount NULLS FIRST, _partition, _offset DESC",
        "huge DESC, event_time, _partition, _offset",
    ],
};

pub const CLICKS: Source = Source {
    name: "clicks",
    integers: &["page", "page * 2", "coalesce(page, -1)"],
    floats: &["page / 4.0"],
    texts: &["place", "upper(place)"],
    others: &["event_time"],
    conditions: &["page > 0", "place = 'A'", "place IS NULL", "page % 3 <> 0"],
    orders: &["event_time, _partition, _offset", "page DESC, event_time DESC, _partition, _offset"],
};

/// One call of an aggregate function, and what is made of its value.
#[derive(Debug, Clone)]
pub struct Aggregate {
    before: &'static str,
    call: String,
    filter: String,
    after: &'static str,
    /// Its value is a number that depends on no order of adding.
    pub is_exact: bool,
}

impl Aggregate {
    /// The same of the events on a condition; of all of them when that is empty.
    pub fn filtered(mut self, condition: &str) -> Self {
        if !condition.is_empty() {
            self.filter = format!(" FILTER (WHERE {condition})");
        }
        self
    }

    pub fn sql(&self) -> String {
        format!("{}{}{}{}", self.before, self.call, self.filter, self.after)
    }
}

fn number(call: String) -> Aggregate {
    Aggregate { is_exact: true, ..other(call) }
}

fn other(call: String) -> Aggregate {
    Aggregate { before: "", call, filter: String::new(), after: "", is_exact: false }
}

/// A condition on events.
pub fn condition(source: Source) -> impl Strategy<Value = &'static str> {
    select(source.conditions)
}

/// Any expression over a stream's columns.
fn value(source: Source) -> impl Strategy<Value = &'static str> {
    prop_oneof![
        2 => select(source.integers),
        2 => select(source.floats),
        3 => select(source.texts),
        3 => select(source.others),
    ]
}

/// How the events of one SELECT are sorted: plain SQL does so once, for all aggregates that need an
/// order. Those that give none then see that, or the order of the log.
#[derive(Debug, Clone, Copy)]
pub enum Sorting {
    Log,
    By(&'static str),
    /// Of lists without repetitions, whose order is that of their values.
    Distinct(&'static str),
}

/// Any.
pub fn sorting(source: Source) -> impl Strategy<Value = Sorting> {
    prop_oneof![
        1 => Just(Sorting::Log),
        3 => select(source.orders).prop_map(Sorting::By),
        1 => prop_oneof![select(source.integers), select(source.texts)].prop_map(Sorting::Distinct),
    ]
}

/// An aggregate over a stream.
pub fn aggregate(source: Source, sorting: Sorting) -> impl Strategy<Value = Aggregate> {
    let sorted = match sorting {
        Sorting::Log => unordered(source).boxed(),
        Sorting::By(order) => prop_oneof![one_of_ordered(source), several_of_ordered(source, order)].boxed(),
        Sorting::Distinct(value) => {
            let lists = other(format!("array_agg(DISTINCT {value} ORDER BY {value})"));
            prop_oneof![one_of_ordered(source), Just(lists)].boxed()
        }
    };
    prop_oneof![4 => numbers(source), 2 => statistics(source), 3 => sorted, 2 => distinct(source)]
}

fn numbers(source: Source) -> impl Strategy<Value = Aggregate> {
    let of_numbers = select(&["sum", "min", "max", "count", "median"][..]);
    let of_integers = select(&["bit_and", "bit_or", "bit_xor", "sum"][..]);
    let numeric = || prop_oneof![select(source.integers), select(source.floats)];
    prop_oneof![
        1 => Just(number("count(*)".to_owned())),
        1 => value(source).prop_map(|value| number(format!("count({value})"))),
        4 => (of_numbers, numeric()).prop_map(|(function, value)| number(format!("{function}({value})"))),
        1 => (of_integers, select(source.integers))
            .prop_map(|(function, value)| number(format!("{function}({value})"))),
        1 => select(source.texts).prop_map(|value| number(format!("approx_distinct({value})"))),
    ]
}

/// Whose values differ in their last digits by the order of adding, or are no numbers.
fn statistics(source: Source) -> impl Strategy<Value = Aggregate> {
    let of_one = select(&["avg", "stddev", "stddev_pop", "var_samp", "var_pop"][..]);
    let of_two = select(&["covar_pop", "covar_samp", "regr_count", "regr_sxy", "regr_avgx"][..]);
    let of_conditions = select(&["bool_and", "bool_or"][..]);
    let of_others = select(&["min", "max"][..]);
    let numeric = || prop_oneof![select(source.integers), select(source.floats)];
    prop_oneof![
        3 => (of_one, numeric()).prop_map(|(function, value)| other(format!("{function}({value})"))),
        1 => (of_two, numeric(), numeric())
            .prop_map(|(function, one, two)| other(format!("{function}({one}, {two})"))),
        1 => numeric().prop_map(|value| {
            other(format!("percentile_cont(0.25) WITHIN GROUP (ORDER BY {value})"))
        }),
        1 => (of_conditions, condition(source))
            .prop_map(|(function, condition)| other(format!("{function}({condition})"))),
        2 => (of_others, prop_oneof![select(source.texts), select(source.others)])
            .prop_map(|(function, value)| other(format!("{function}({value})"))),
    ]
}

/// By an order of its own: that needs no sorting.
fn one_of_ordered(source: Source) -> impl Strategy<Value = Aggregate> {
    let function = select(&["first_value", "last_value"][..]);
    let after = select(&["", "", " IGNORE NULLS"][..]);
    let order = || select(source.orders);
    prop_oneof![
        3 => (function, value(source), order(), after).prop_map(|(function, value, order, after)| Aggregate {
            after,
            ..other(format!("{function}({value} ORDER BY {order})"))
        }),
        1 => (value(source), order())
            .prop_map(|(value, order)| other(format!("array_agg({value} ORDER BY {order})"))),
    ]
}

fn several_of_ordered(source: Source, order: &'static str) -> impl Strategy<Value = Aggregate> {
    let place = select(&["2", "3", "-2"][..]);
    prop_oneof![
        2 => (value(source), place).prop_map(move |(value, place)| other(format!(
            "nth_value({value}, {place} ORDER BY {order})"
        ))),
        1 => select(source.texts)
            .prop_map(move |value| other(format!("string_agg({value}, '-' ORDER BY {order})"))),
    ]
}

fn distinct(source: Source) -> impl Strategy<Value = Aggregate> {
    prop_oneof![
        2 => value(source).prop_map(|value| number(format!("count(DISTINCT {value})"))),
        1 => select(source.integers).prop_map(|value| number(format!("sum(DISTINCT {value})"))),
        2 => value(source).prop_map(|value| Aggregate {
            before: "cardinality(",
            after: ")",
            ..number(format!("array_agg(DISTINCT {value})"))
        }),
    ]
}

/// In the order of the log, where none is given.
fn unordered(source: Source) -> impl Strategy<Value = Aggregate> {
    let function = select(&["first_value", "last_value", "array_agg"][..]);
    prop_oneof![
        2 => (function, value(source)).prop_map(|(function, value)| other(format!("{function}({value})"))),
        1 => select(source.texts).prop_map(|value| other(format!("string_agg({value}, ',')"))),
    ]
}
