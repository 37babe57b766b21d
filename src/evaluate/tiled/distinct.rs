//! `array_agg(DISTINCT x)` and `count(DISTINCT x)` of many groups at once.
//!
//! For these DataFusion keeps a boxed accumulator a group, most of whose cost is
//! allocation. Here a value is interned once for all groups, and what a group
//! has seen is a list of ids. States are laid out as DataFusion's own are, so
//! either side may merge what the other has written. Types of values that are
//! not plain, and `array_agg` with an order, are left to DataFusion.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, PrimitiveArray, UInt32Array,
    new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{SortOptions, cast, filter, sort_to_indices, take};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type, Int32Type,
    Int64Type, Schema,
};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::functions_aggregate::array_agg::ArrayAgg;
use datafusion::functions_aggregate::count::Count;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

/// The accumulator of an aggregate that this module knows.
pub fn accumulator(aggregate: &AggregateFunctionExpr) -> Option<Box<dyn GroupsAccumulator>> {
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
    let fields = aggregate.state_fields().ok()?;
    let [field] = fields.as_slice() else { return None };
    let DataType::List(item) = field.data_type() else { return None };
    if !is_plain(item.data_type()) {
        return None;
    }
    let distinct = Distinct::try_new(output, skips_nulls, Arc::clone(item)).ok()?;
    Some(Box::new(distinct))
}

/// What the values of a group become in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// A list of them, in their order, NULL last; NULL when there are none.
    List,
    /// Their number.
    Count,
}

/// That a group has a value.
#[derive(Clone, Copy)]
struct Member {
    group: u32,
    /// Of the value.
    id: u32,
}

struct Distinct {
    output: Output,
    skips_nulls: bool,
    /// What the lists of the state are made of.
    item: FieldRef,

    /// Every value that some group has, by id.
    values: Box<dyn GroupValues>,
    /// One for each row that was seen: repetitions go when sets are taken.
    members: Vec<Member>,
    /// How many groups there are.
    groups: usize,
    /// Ids of one batch.
    ids: Vec<usize>,
}

/// The ids of each group, ascending and once each: `offsets[group]..offsets[group + 1]`.
struct Sets {
    values: ArrayRef,
    offsets: Vec<i32>,
    ids: Vec<u32>,
}

impl Distinct {
    fn try_new(output: Output, skips_nulls: bool, item: FieldRef) -> Result<Self> {
        let interned = match item.data_type() {
            DataType::Float32 => DataType::Int32,
            DataType::Float64 => DataType::Int64,
            plain => plain.clone(),
        };
        let schema = Schema::new(vec![Field::new("value", interned, true)]);
        let values = new_group_values(Arc::new(schema), &GroupOrdering::None)?;
        Ok(Self { output, skips_nulls, item, values, members: Vec::new(), groups: 0, ids: Vec::new() })
    }

    /// Adds values to groups: pairs of a row of `values` and its group.
    fn add(&mut self, values: &ArrayRef, rows: impl Iterator<Item = (usize, usize)>) -> Result<()> {
        let values = if values.data_type() == self.item.data_type() {
            Arc::clone(values)
        } else {
            // Of a dictionary `count` keeps what it refers to.
            cast(values, self.item.data_type())?
        };
        self.values.intern(&[to_bits(&values)], &mut self.ids)?;
        let nulls = if self.skips_nulls { values.nulls() } else { None };
        self.members.reserve(rows.size_hint().0);
        for (row, group) in rows {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                self.members.push(Member { group: narrow(group)?, id: narrow(self.ids[row])? });
            }
        }
        Ok(())
    }

    /// Takes the sets of the first groups; the others move up. With `in_order`
    /// values are in ascending order, otherwise as they were first seen.
    fn take_sets(&mut self, emit_to: EmitTo, in_order: bool) -> Result<Sets> {
        let count = match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(count) => count.min(self.groups),
        };
        let mut values = self.take_values()?;
        if in_order {
            values = sort(&values, &mut self.members)?;
        }
        let sets = sets(values, &self.members, count)?;
        self.groups -= count;
        let first = narrow(count)?;
        self.members.retain_mut(|member| match member.group.checked_sub(first) {
            Some(group) => {
                member.group = group;
                true
            }
            None => false,
        });
        if !self.members.is_empty() {
            // All are different: they get the ids that they had.
            self.values.intern(&[to_bits(&sets.values)], &mut self.ids)?;
        }
        Ok(sets)
    }

    fn take_values(&mut self) -> Result<ArrayRef> {
        if self.values.is_empty() {
            return Ok(new_empty_array(self.item.data_type()));
        }
        match self.values.emit(EmitTo::All)?.as_slice() {
            [values] => Ok(from_bits(values, self.item.data_type())),
            columns => internal_err!("one column was interned, {} came back", columns.len()),
        }
    }

    fn list(&self, sets: Sets) -> Result<ListArray> {
        let nulls = match self.output {
            Output::List => {
                let valid: Vec<bool> = sets.offsets.windows(2).map(|pair| pair[0] < pair[1]).collect();
                Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)
            }
            Output::Count => None,
        };
        let offsets = OffsetBuffer::new(ScalarBuffer::from(sets.offsets));
        let values = take(&sets.values, &UInt32Array::from(sets.ids), None)?;
        Ok(ListArray::try_new(Arc::clone(&self.item), offsets, values, nulls)?)
    }
}

impl GroupsAccumulator for Distinct {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let [values] = values else {
            return internal_err!("a distinct aggregate takes one argument, not {}", values.len());
        };
        self.groups = self.groups.max(total_num_groups);
        let Some(mask) = opt_filter else {
            return self.add(values, group_indices.iter().copied().enumerate());
        };
        let kept = filter(values, mask)?;
        let groups = mask.iter().zip(group_indices).filter(|(holds, _)| *holds == Some(true));
        self.add(&kept, groups.map(|(_, group)| *group).enumerate())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let [state] = values else {
            return internal_err!("the state of a distinct aggregate is one column, not {}", values.len());
        };
        let Some(lists) = state.as_list_opt::<i32>() else {
            return internal_err!("the state of a distinct aggregate is a list, not {}", state.data_type());
        };
        self.groups = self.groups.max(total_num_groups);
        let offsets = lists.value_offsets();
        let start = offsets[0].as_usize();
        let elements = lists.values().slice(start, offsets[lists.len()].as_usize() - start);
        let some = group_indices.iter().enumerate().filter(|(row, _)| lists.is_valid(*row));
        let rows = some.flat_map(|(row, group)| {
            let of_list = offsets[row].as_usize() - start..offsets[row + 1].as_usize() - start;
            of_list.map(move |element| (element, *group))
        });
        self.members.reserve(elements.len());
        self.add(&elements, rows)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sets = self.take_sets(emit_to, false)?;
        Ok(vec![Arc::new(self.list(sets)?)])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        match self.output {
            Output::List => {
                let sets = self.take_sets(emit_to, true)?;
                Ok(Arc::new(self.list(sets)?))
            }
            Output::Count => {
                let sets = self.take_sets(emit_to, false)?;
                let counts = sets.offsets.windows(2).map(|pair| i64::from(pair[1] - pair[0]));
                Ok(Arc::new(Int64Array::from_iter_values(counts)))
            }
        }
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut each = Self::try_new(self.output, self.skips_nulls, Arc::clone(&self.item))?;
        let groups: Vec<usize> = (0..values.first().map_or(0, |values| values.len())).collect();
        each.update_batch(values, &groups, opt_filter, groups.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.values.size()
            + self.members.capacity() * size_of::<Member>()
            + self.ids.capacity() * size_of::<usize>()
    }
}

/// Values of these types are the same when their bits are, and DataFusion's
/// accumulators take them so.
fn is_plain(values: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal128, Float32, Float64, LargeBinary, LargeUtf8,
        Timestamp, Utf8, Utf8View,
    };
    values.is_integer()
        || matches!(values, Boolean | Float32 | Float64 | Decimal128(..) | Date32 | Date64 | Timestamp(..))
        || matches!(values, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
}

/// Groups take `-0.0` for `0.0`, distinct values do not: numbers are interned by their bits.
fn to_bits(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => reinterpret::<Float32Type, Int32Type>(values),
        DataType::Float64 => reinterpret::<Float64Type, Int64Type>(values),
        _ => Arc::clone(values),
    }
}

fn from_bits(values: &ArrayRef, wanted: &DataType) -> ArrayRef {
    match wanted {
        DataType::Float32 => reinterpret::<Int32Type, Float32Type>(values),
        DataType::Float64 => reinterpret::<Int64Type, Float64Type>(values),
        _ => Arc::clone(values),
    }
}

fn reinterpret<Given: ArrowPrimitiveType, Wanted: ArrowPrimitiveType>(values: &ArrayRef) -> ArrayRef {
    let values = values.as_primitive::<Given>();
    let bits = ScalarBuffer::<Wanted::Native>::from(values.values().inner().clone());
    Arc::new(PrimitiveArray::<Wanted>::new(bits, values.nulls().cloned()))
}

/// Sorts values, and gives members the ids that are right after that.
fn sort(values: &ArrayRef, members: &mut [Member]) -> Result<ArrayRef> {
    let nulls_last = SortOptions { descending: false, nulls_first: false };
    let order = sort_to_indices(values, Some(nulls_last), None)?;
    let mut ranks = vec![0; order.len()];
    for (rank, id) in order.values().iter().enumerate() {
        ranks[*id as usize] = narrow(rank)?;
    }
    for member in members {
        member.id = ranks[member.id as usize];
    }
    Ok(take(values, &order, None)?)
}

/// The sets of the first `count` groups.
fn sets(values: ArrayRef, members: &[Member], count: usize) -> Result<Sets> {
    // Members by group, by counting: groups are many, and what each has is little.
    let mut ends = vec![0_usize; count];
    for member in members {
        if let Some(end) = ends.get_mut(member.group as usize) {
            *end += 1;
        }
    }
    let mut total = 0;
    for end in &mut ends {
        let length = mem::replace(end, total);
        total += length;
    }
    let mut ids = vec![0; total];
    for member in members {
        if let Some(end) = ends.get_mut(member.group as usize) {
            ids[*end] = member.id;
            *end += 1;
        }
    }
    // What is kept moves to the front, never past what is still to be read.
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(0);
    let mut start = 0;
    let mut kept = 0;
    for end in ends {
        ids[start..end].sort_unstable();
        let first = kept;
        for position in start..end {
            if kept == first || ids[kept - 1] != ids[position] {
                ids[kept] = ids[position];
                kept += 1;
            }
        }
        start = end;
        offsets.push(i32::try_from(kept).map_err(|_| too_many(kept))?);
    }
    ids.truncate(kept);
    Ok(Sets { values, offsets, ids })
}

fn narrow(position: usize) -> Result<u32> {
    u32::try_from(position).map_err(|_| too_many(position))
}

fn too_many(count: usize) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!("{count} groups or distinct values at once"))
}

#[cfg(test)]
mod tests;
