//! `count(DISTINCT x)` and `array_agg(DISTINCT x)`.
//!
//! A value is kept once for all rows. What a row has is a set of ids of values, each with the
//! number of tiles that it is in: so a tile can leave what it was merged into. Types of values that
//! are not plain, and `array_agg` with an order, are left to DataFusion.

mod dictionary;
mod set;
mod values;

use std::mem;
use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType, Field, FieldRef, UInt32Type};
use datafusion::common::{Result, internal_err};
use datafusion::functions_aggregate::array_agg::ArrayAgg;
use datafusion::functions_aggregate::count::Count;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use self::dictionary::{Dictionary, Id, NULL, SKIPPED, too_many};
use self::set::Set;
use self::values::{Numbers, Texts, Values};
use super::{Kernel, Mode, Pair, Row};
use crate::state::column::Column;

/// The kernel of an aggregate that this module knows.
pub(super) fn kernel(aggregate: &Arc<AggregateFunctionExpr>) -> Option<Box<dyn Kernel>> {
    if !aggregate.is_distinct() || aggregate.expressions().len() != 1 || !aggregate.order_bys().is_empty() {
        return None;
    }
    let function = aggregate.fun().inner();
    let (output, skips_nulls) = if function.is::<Count>() {
        (Output::Count, true)
    } else if function.is::<ArrayAgg>() {
        (Output::List, aggregate.ignore_nulls())
    } else {
        return None;
    };
    // Of a dictionary `count` keeps what it refers to, and so does its state.
    let fields = aggregate.state_fields().ok()?;
    let [field] = fields.as_slice() else { return None };
    let DataType::List(item) = field.data_type() else { return None };
    Some(of_values(item)?(output, skips_nulls, Arc::clone(item)))
}

type Make = fn(Output, bool, FieldRef) -> Box<dyn Kernel>;

/// Values of these types are the same when their bits are, and DataFusion's accumulators take them so.
fn of_values(item: &FieldRef) -> Option<Make> {
    let make: Make = match item.data_type() {
        DataType::Boolean | DataType::UInt8 => boxed::<Numbers<u8>>,
        DataType::UInt16 => boxed::<Numbers<u16>>,
        DataType::UInt32 => boxed::<Numbers<u32>>,
        DataType::UInt64 => boxed::<Numbers<u64>>,
        DataType::Int8 => boxed::<Numbers<i8>>,
        DataType::Int16 => boxed::<Numbers<i16>>,
        DataType::Int32 | DataType::Date32 => boxed::<Numbers<i32>>,
        DataType::Int64 | DataType::Date64 | DataType::Timestamp(..) => boxed::<Numbers<i64>>,
        DataType::Float32 => boxed::<Numbers<f32>>,
        DataType::Float64 => boxed::<Numbers<f64>>,
        DataType::Decimal128(..) => boxed::<Numbers<i128>>,
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => boxed::<Texts>,
        _ => return None,
    };
    Some(make)
}

fn boxed<V: Values>(output: Output, skips_nulls: bool, item: FieldRef) -> Box<dyn Kernel> {
    Box::new(Distinct::<V>::new(output, skips_nulls, item))
}

/// What the values of a row become in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// A list of them, in their order, NULL last; NULL when there are none.
    List,
    /// Their number.
    Count,
}

#[derive(Debug)]
struct Distinct<V> {
    output: Output,
    skips_nulls: bool,
    /// What a list of the values is made of.
    item: FieldRef,

    dictionary: Dictionary<V>,
    /// One a row.
    sets: Column<Set>,
    /// Bytes that the sets take beside those of their rows.
    heap: usize,
    /// Ids of one batch.
    ids: Vec<Id>,
}

impl<V: Values> Distinct<V> {
    fn new(output: Output, skips_nulls: bool, item: FieldRef) -> Self {
        let dictionary = Dictionary::default();
        Self { output, skips_nulls, item, dictionary, sets: Column::default(), heap: 0, ids: Vec::new() }
    }

    /// Writes the id of each value, [`SKIPPED`] where the filter is not true and for a NULL that does
    /// not count.
    fn intern(&mut self, values: &ArrayRef, filter: Option<&BooleanArray>, ids: &mut Vec<Id>) -> Result<()> {
        ids.clear();
        ids.resize(values.len(), SKIPPED);
        let filter = filter.map(|filter| filter.values());
        let nulls = values.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let chosen = match (filter, &nulls) {
            (None, None) => None,
            (Some(filter), None) => Some(filter.clone()),
            (None, Some(nulls)) => Some(nulls.inner().clone()),
            (Some(filter), Some(nulls)) => Some(filter & nulls.inner()),
        };
        if let Some(nulls) = &nulls
            && !self.skips_nulls
        {
            let missing = !nulls.inner();
            let missing = filter.map_or_else(|| missing.clone(), |filter| filter & &missing);
            missing.set_indices().for_each(|position| ids[position] = NULL);
        }
        let wanted = self.item.data_type();
        match values.as_any_dictionary_opt() {
            _ if values.data_type() == wanted => self.dictionary.intern(values, chosen.as_ref(), ids),
            Some(keyed) if keyed.values().data_type() == wanted && keyed.values().len() <= values.len() => {
                self.intern_keyed(keyed, chosen.as_ref(), ids)
            }
            _ => self.dictionary.intern(&cast(values, wanted)?, chosen.as_ref(), ids),
        }
    }

    /// Looks up what an array refers to once.
    fn intern_keyed(
        &mut self,
        keyed: &dyn AnyDictionaryArray,
        chosen: Option<&BooleanBuffer>,
        ids: &mut [Id],
    ) -> Result<()> {
        let values = keyed.values();
        if values.is_empty() {
            return Ok(());
        }
        let mut ids_of_values = vec![SKIPPED; values.len()];
        self.dictionary.intern(values, values.nulls().map(|nulls| nulls.inner()), &mut ids_of_values)?;
        let keys = keyed.normalized_keys();
        match chosen {
            None => ids.iter_mut().zip(keys).for_each(|(id, key)| *id = ids_of_values[key]),
            Some(chosen) => {
                chosen.set_indices().for_each(|position| ids[position] = ids_of_values[keys[position]]);
            }
        }
        Ok(())
    }

    /// Changes in how many tiles a value of a row is. It is in at least one then.
    fn change(&mut self, row: Row, id: Id, change: impl FnOnce(u32) -> u32) {
        let set = &mut self.sets[row as usize];
        let before = set.heap();
        let count = set.count(id);
        if *count == 0 {
            self.dictionary.refer(id);
        }
        *count = change(*count);
        self.heap = self.heap - before + set.heap();
    }

    /// The values of rows in their order.
    fn lists(&self, rows: &[Row]) -> Result<ListArray> {
        let mut ids = Vec::with_capacity(rows.len());
        let mut offsets = Vec::with_capacity(rows.len() + 1);
        offsets.push(0);
        for row in rows {
            let start = ids.len();
            self.sets[*row as usize].each(|member| ids.push(member.id));
            ids[start..].sort_unstable_by(|left, right| self.dictionary.compare(*left, *right));
            offsets.push(offset(ids.len())?);
        }
        let nulls: NullBuffer = offsets.windows(2).map(|pair| pair[0] < pair[1]).collect();
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values = self.dictionary.gather(&ids, self.item.data_type())?;
        Ok(ListArray::try_new(Arc::clone(&self.item), offsets, values, nulls)?)
    }
}

impl<V: Values> Kernel for Distinct<V> {
    fn mode(&self) -> Mode {
        Mode::Counted
    }

    fn resize(&mut self, rows: usize) {
        debug_assert!(rows >= self.sets.len(), "{rows} rows are fewer than there are");
        self.sets.resize_with(rows, Set::default);
    }

    fn keep(&mut self, rows: &[Row]) {
        let kept = rows.iter().map(|row| mem::take(&mut self.sets[*row as usize])).collect();
        for dropped in mem::replace(&mut self.sets, kept) {
            dropped.each(|member| self.dictionary.release(member.id));
        }
        let new_ids = self.dictionary.compact();
        self.sets.iter_mut().for_each(|set| set.renumber(&new_ids));
        self.heap = self.sets.iter().map(Set::heap).sum();
        self.ids = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            let cleared = mem::take(&mut self.sets[*row as usize]);
            self.heap -= cleared.heap();
            cleared.each(|member| self.dictionary.release(member.id));
        }
        self.dictionary.sweep();
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        let [values] = arguments else {
            return internal_err!("a distinct aggregate takes one argument, not {}", arguments.len());
        };
        let mut ids = mem::take(&mut self.ids);
        self.intern(values, filter, &mut ids)?;
        for (id, row) in ids.iter().zip(rows) {
            if *id != SKIPPED {
                // The row is part of one tile: it has a value or has it not.
                self.change(*row, *id, |count| count.max(1));
            }
        }
        self.ids = ids;
        self.dictionary.sweep();
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        for pair in pairs {
            let [into, from] = both(&mut self.sets, *pair);
            let before = into.heap();
            into.merge(from, |id| self.dictionary.refer(id));
            self.heap = self.heap - before + into.heap();
        }
        Ok(())
    }

    fn subtract(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            let [into, from] = both(&mut self.sets, *pair);
            let before = into.heap();
            into.subtract(from, |id| self.dictionary.release(id));
            self.heap = self.heap - before + into.heap();
        }
        self.dictionary.sweep();
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        match self.output {
            Output::List => Ok(Arc::new(self.lists(rows)?)),
            Output::Count => {
                let lengths = rows.iter().map(|row| self.sets[*row as usize].len());
                let counts = lengths.map(|length| i64::try_from(length).unwrap_or(i64::MAX));
                Ok(Arc::new(Int64Array::from_iter_values(counts)))
            }
        }
    }

    fn lengths(&self, output: usize, rows: &[Row]) -> Result<ArrayRef> {
        match self.output {
            Output::List => {
                let lengths = rows.iter().map(|row| self.sets[*row as usize].len());
                // There is no empty list.
                let lengths = lengths.map(|length| (length > 0).then_some(length as u64));
                Ok(Arc::new(lengths.collect::<UInt64Array>()))
            }
            Output::Count => super::lengths(&self.evaluate(output, rows)?),
        }
    }

    /// Two columns: a row's values as a list, NULL among them, and the counts of these.
    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let mut ids = Vec::with_capacity(rows.len());
        let mut counts = Vec::with_capacity(rows.len());
        let mut offsets = Vec::with_capacity(rows.len() + 1);
        offsets.push(0);
        for row in rows {
            self.sets[*row as usize].each(|member| {
                ids.push(member.id);
                counts.push(member.count);
            });
            offsets.push(offset(ids.len())?);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values = self.dictionary.gather(&ids, self.item.data_type())?;
        let values = ListArray::try_new(Arc::clone(&self.item), offsets.clone(), values, None)?;
        let item = Arc::new(Field::new_list_field(DataType::UInt32, false));
        let counts = ListArray::try_new(item, offsets, Arc::new(UInt32Array::from(counts)), None)?;
        Ok(vec![Arc::new(values), Arc::new(counts)])
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let saved = Saved::of(states, &self.item).filter(|saved| saved.values.len() == rows.len());
        let Some(saved) = saved else {
            let values = self.item.data_type();
            return internal_err!("a distinct aggregate is kept as lists of {values} and of counts");
        };
        let mut ids = mem::take(&mut self.ids);
        self.intern(saved.values.values(), None, &mut ids)?;
        let counts = saved.counts.values().as_primitive::<UInt32Type>().values();
        for (position, row) in rows.iter().enumerate() {
            let ids = within(&ids, saved.values, position);
            let counts = within(counts, saved.counts, position);
            if ids.len() != counts.len() || ids.contains(&SKIPPED) || counts.contains(&0) {
                return internal_err!("a set of {} values was kept with {} counts", ids.len(), counts.len());
            }
            for (id, added) in ids.iter().zip(counts) {
                self.change(*row, *id, |count| count + added);
            }
        }
        self.ids = ids;
        self.dictionary.sweep();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sets.bytes() + self.heap + self.dictionary.bytes() + self.ids.capacity() * size_of::<Id>()
    }
}

/// The columns of a saved state.
struct Saved<'a> {
    values: &'a ListArray,
    counts: &'a ListArray,
}

impl<'a> Saved<'a> {
    fn of(states: &'a [ArrayRef], item: &Field) -> Option<Self> {
        let [values, counts] = states else { return None };
        let (values, counts) = (values.as_list_opt::<i32>()?, counts.as_list_opt::<i32>()?);
        let fit = values.values().data_type() == item.data_type()
            && *counts.values().data_type() == DataType::UInt32
            && counts.len() == values.len();
        fit.then_some(Self { values, counts })
    }
}

/// The part of the elements of all lists that belongs to one.
fn within<'a, Element>(elements: &'a [Element], lists: &ListArray, position: usize) -> &'a [Element] {
    let offsets = lists.value_offsets();
    &elements[offsets[position].as_usize()..offsets[position + 1].as_usize()]
}

fn both(sets: &mut Column<Set>, pair: Pair) -> [&mut Set; 2] {
    let both = sets.both(pair.into as usize, pair.from as usize);
    both.expect("a pair is of two rows that there are")
}

fn offset(length: usize) -> Result<i32> {
    i32::try_from(length).map_err(|_| too_many(length, "distinct values of rows"))
}

#[cfg(test)]
mod tests;
