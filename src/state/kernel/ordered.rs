//! `first_value`, `last_value` and `nth_value` with an order: of each row the few entries that are
//! first in that order, each of them its order keys and its value.
//!
//! ```text
//! nth_value(x, 2 ORDER BY t DESC, o DESC), entries of row r
//!   keys    [t, o] of the first   [t, o] of the second      integers, smaller is earlier
//!   marks   flags, present, valid
//!   values  x of the first        x of the second
//! ```
//!
//! What comes last in the order is what comes first in the opposite one. So "is this event among
//! the entries kept" is one comparison with the latest of them, which is all that happens to an
//! event that is not.

mod keys;
mod texts;
mod values;

use std::mem;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt8Array, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, UInt8Type, UInt64Type, i256};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::first_last::{FirstValue, LastValue};
use datafusion::functions_aggregate::nth_value::NthValueAgg;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;

use self::keys::{Direction, Order, is_key};
use self::texts::Texts;
use self::values::{Bits, Places, Values};
use super::{Kernel, Mode, Pair, Row};

/// The farthest `nth_value` that is kept here: moving entries up is linear in it.
const DEEPEST: usize = 8;

/// In a mark, beside the flags of the keys: there is an entry.
const PRESENT: u8 = 1 << 6;
/// Its value is not NULL.
const VALID: u8 = 1 << 7;
/// Of no entry: as late as an entry can be.
const ABSENT: u8 = !(PRESENT | VALID);

/// The kernel of an aggregate that this module knows.
pub(super) fn kernel(aggregate: &Arc<AggregateFunctionExpr>) -> Option<Box<dyn Kernel>> {
    let plan = Plan::new(aggregate)?;
    let field = aggregate.field();
    match field.data_type() {
        truth @ DataType::Boolean => plan.kernel(Bits::<u8>::new(truth)),
        text @ (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => plan.kernel(Texts::new(text)),
        // Some of them are several integers, aligned otherwise than one of that width.
        DataType::Interval(_) => None,
        plain => match plain.primitive_width()? {
            1 => plan.kernel(Bits::<u8>::new(plain)),
            2 => plan.kernel(Bits::<u16>::new(plain)),
            4 => plan.kernel(Bits::<u32>::new(plain)),
            8 => plan.kernel(Bits::<u64>::new(plain)),
            16 => plan.kernel(Bits::<i128>::new(plain)),
            32 => plan.kernel(Bits::<i256>::new(plain)),
            _ => None,
        },
    }
}

/// What is asked for.
struct Plan {
    /// How many arguments stand before the order keys.
    arguments: usize,
    /// How many entries a row has: the last of them is the value.
    depth: usize,
    skips_nulls: bool,
    directions: Vec<Direction>,
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
        Some(Self { arguments, depth, skips_nulls, directions: directions.collect() })
    }

    fn kernel<V: Values>(self, values: V) -> Option<Box<dyn Kernel>> {
        let kernel: Box<dyn Kernel> = match *self.directions.as_slice() {
            [one] => Box::new(Ordered::new(&self, [one], values)),
            [one, two] => Box::new(Ordered::new(&self, [one, two], values)),
            [one, two, three] => Box::new(Ordered::new(&self, [one, two, three], values)),
            _ => return None,
        };
        Some(kernel)
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

/// The entries of all rows, those of a row beside each other, the earliest first.
#[derive(Debug)]
struct Ordered<V, const N: usize> {
    order: Order<N>,
    arguments: usize,
    depth: usize,
    skips_nulls: bool,

    keys: Vec<[u64; N]>,
    marks: Vec<u8>,
    values: V,
    /// The keys of one call.
    words: Vec<[u64; N]>,
}

impl<V: Values, const N: usize> Ordered<V, N> {
    fn new(plan: &Plan, directions: [Direction; N], values: V) -> Self {
        Self {
            order: Order::new(directions),
            arguments: plan.arguments,
            depth: plan.depth,
            skips_nulls: plan.skips_nulls,
            keys: Vec::new(),
            marks: Vec::new(),
            values,
            words: Vec::new(),
        }
    }

    /// Whether an entry comes before the one at `at`. Words decide unless they are equal.
    #[inline]
    fn precedes(&self, words: &[u64; N], flags: u8, at: usize) -> bool {
        for (key, (new, held)) in words.iter().zip(&self.keys[at]).enumerate() {
            if new != held {
                return new < held;
            }
            let bit = 1 << key;
            let (new, held) = (flags & bit, self.marks[at] & bit);
            if new != held {
                return new < held;
            }
        }
        self.marks[at] & PRESENT == 0
    }

    /// The entry at `at` goes up to its place among those from `first` on.
    fn rise(&mut self, first: usize, mut at: usize) {
        while at > first {
            let words = self.keys[at];
            if !self.precedes(&words, self.marks[at], at - 1) {
                return;
            }
            self.keys.swap(at, at - 1);
            self.marks.swap(at, at - 1);
            self.values.swap(at, at - 1);
            at -= 1;
        }
    }

    fn add(&mut self, events: &Events<'_, V, N>, index: usize, row: Row) {
        let words = &events.words[index];
        let flags = events.flags.of(index);
        let first = row as usize * self.depth;
        let latest = first + self.depth - 1;
        if !self.precedes(words, flags, latest) {
            return;
        }
        self.keys[latest] = *words;
        self.marks[latest] = flags | PRESENT;
        if events.nulls.is_none_or(|nulls| nulls.is_valid(index)) {
            self.marks[latest] |= VALID;
            self.values.set(latest, &events.values, index);
        } else {
            self.values.forget(latest);
        }
        self.rise(first, latest);
    }

    fn forget(&mut self, at: usize) {
        self.keys[at] = [u64::MAX; N];
        self.marks[at] = ABSENT;
        self.values.forget(at);
    }

    fn places<'a>(&self, rows: &'a [Row], slot: usize) -> Places<'a> {
        Places { rows, depth: self.depth, slot }
    }

    fn array(&self, places: Places<'_>) -> Result<ArrayRef> {
        let valid: BooleanBuffer = places.indices().map(|at| self.marks[at] & VALID != 0).collect();
        let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
        self.values.array(places, nulls)
    }
}

/// What a call adds.
struct Events<'a, V: Values, const N: usize> {
    words: &'a [[u64; N]],
    flags: keys::Flags,
    values: V::Column,
    nulls: Option<&'a NullBuffer>,
}

impl<V: Values, const N: usize> Kernel for Ordered<V, N> {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        let entries = (rows * self.depth).max(self.keys.len());
        self.keys.resize(entries, [u64::MAX; N]);
        self.marks.resize(entries, ABSENT);
        self.values.resize(entries);
    }

    fn keep(&mut self, rows: &[Row]) {
        let depth = self.depth;
        let of_row = move |row: &Row| *row as usize * depth..(*row as usize + 1) * depth;
        let entries = || rows.iter().flat_map(of_row);
        let mut keys = Vec::with_capacity(rows.len() * depth);
        keys.extend(entries().map(|at| self.keys[at]));
        let mut marks = Vec::with_capacity(rows.len() * depth);
        marks.extend(entries().map(|at| self.marks[at]));
        self.values.keep(rows.len() * depth, entries());
        self.keys = keys;
        self.marks = marks;
        self.words = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            let first = *row as usize * self.depth;
            for at in first..first + self.depth {
                self.forget(at);
            }
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        let Some((keys, column)) = arguments.get(self.arguments..).zip(arguments.first()) else {
            return Err(foreign("arguments"));
        };
        let mut words = mem::take(&mut self.words);
        let flags = self.order.read(keys, &mut words)?;
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let values = self.values.open(column)?;
        let events: Events<'_, V, N> = Events { words: &words, flags, values, nulls };
        let skipped = if self.skips_nulls { nulls.map(|nulls| nulls.inner()) } else { None };
        match (filter.map(|filter| filter.values()), skipped) {
            (None, None) => {
                for (index, row) in rows.iter().enumerate() {
                    self.add(&events, index, *row);
                }
            }
            (Some(chosen), None) | (None, Some(chosen)) => {
                for index in chosen.set_indices() {
                    self.add(&events, index, rows[index]);
                }
            }
            (Some(filter), Some(valid)) => {
                for index in (filter & valid).set_indices() {
                    self.add(&events, index, rows[index]);
                }
            }
        }
        self.words = words;
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        for pair in pairs {
            let first = pair.into as usize * self.depth;
            let latest = first + self.depth - 1;
            let others = pair.from as usize * self.depth;
            for from in others..others + self.depth {
                let (words, mark) = (self.keys[from], self.marks[from]);
                // The rest is later still.
                if mark & PRESENT == 0 || !self.precedes(&words, mark, latest) {
                    break;
                }
                self.keys[latest] = words;
                self.marks[latest] = mark;
                self.values.copy(latest, from);
                self.rise(first, latest);
            }
        }
        Ok(())
    }

    fn evaluate(&self, rows: &[Row]) -> Result<ArrayRef> {
        self.array(self.places(rows, self.depth - 1))
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.depth * (N + 2));
        for slot in 0..self.depth {
            let places = self.places(rows, slot);
            for key in 0..N {
                let words: Vec<u64> = places.indices().map(|at| self.keys[at][key]).collect();
                columns.push(Arc::new(UInt64Array::from(words)));
            }
            let marks: Vec<u8> = places.indices().map(|at| self.marks[at]).collect();
            columns.push(Arc::new(UInt8Array::from(marks)));
            columns.push(self.array(places)?);
        }
        Ok(columns)
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let lengths = states.iter().all(|column| column.len() == rows.len());
        if states.len() != self.depth * (N + 2) || !lengths {
            return Err(foreign("states"));
        }
        for (slot, columns) in states.chunks_exact(N + 2).enumerate() {
            let (keys, others) = columns.split_at(N);
            let keys = keys.iter().map(|column| {
                column.as_primitive_opt::<UInt64Type>().ok_or_else(|| foreign("order keys in a state"))
            });
            let keys = keys.collect::<Result<Vec<_>>>()?;
            let Some(marks) = others[0].as_primitive_opt::<UInt8Type>() else {
                return Err(foreign("marks in a state"));
            };
            let values = self.values.open(&others[1])?;
            for (index, at) in self.places(rows, slot).indices().enumerate() {
                for (word, key) in self.keys[at].iter_mut().zip(&keys) {
                    *word = key.value(index);
                }
                self.marks[at] = marks.value(index);
                if marks.value(index) & VALID != 0 {
                    self.values.set(at, &values, index);
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        (self.keys.capacity() + self.words.capacity()) * size_of::<[u64; N]>()
            + self.marks.capacity()
            + self.values.bytes()
    }
}

/// Columns came that are not those of this kernel.
fn foreign(what: &str) -> DataFusionError {
    DataFusionError::Internal(format!("{what} of another aggregate"))
}

#[cfg(test)]
pub(super) mod tests;
