//! Any aggregate function, user-defined ones too, through DataFusion's own accumulators.
//!
//! An accumulator cannot be changed in place for a few of its groups, so each call makes a new one
//! for the rows that it is about, numbered densely, and what is kept of a row between calls is the
//! state that the accumulator gave: packed, or nothing where no event came.
//!
//! ```text
//! row      0     1     2     3         update of rows 3, 1, 3:  groups 0, 1, 0
//! state    -   bytes   -   bytes       unpack 3 and 1, merge, update, state, pack
//! ```
//!
//! Of groups without rows DataFusion takes some for groups that have rows. So either every group of
//! a call has one, or the accumulator is told first, by a filter that lets nothing pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array, new_empty_array, new_null_array};
use arrow::compute::{FilterBuilder, SortColumn, cast, concat, filter, interleave, lexsort_to_indices, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::{Kernel, Mode, Pair, Row};
use crate::state::column::Column;

/// Of a row that has no group in this call.
const UNGROUPED: u32 = u32::MAX;

/// The kernel of any aggregate.
pub(super) fn kernel(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn Kernel>> {
    if aggregate.groups_accumulator_supported() {
        aggregate.create_groups_accumulator()?;
    } else {
        aggregate.create_accumulator()?;
    }
    let fields = aggregate.state_fields()?;
    let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
    if types.iter().all(comes_back) {
        let rows = RowConverter::new(types.iter().cloned().map(SortField::new).collect())?;
        return Ok(Box::new(Boxed::new(aggregate, types, Encoded(rows))));
    }
    Ok(Box::new(Boxed::new(aggregate, types, Whole)))
}

/// Whether arrow's row format gives back what it was given.
fn comes_back(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => comes_back(item.data_type()),
        DataType::Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|field| comes_back(field.data_type()))
        }
        // A dictionary comes back as what it refers to; the others are too rare to be looked into.
        DataType::Dictionary(_, _) | DataType::RunEndEncoded(_, _) => false,
        other => !other.is_nested(),
    }
}

/// How the state of a row is kept.
trait Form: fmt::Debug + Send + 'static {
    type State: fmt::Debug + Clone + Send;

    /// Of columns of states, those of each row.
    fn pack(&self, columns: &[ArrayRef]) -> Result<Vec<Self::State>>;

    /// The columns of at least one state.
    fn unpack(&self, states: &[&Self::State]) -> Result<Vec<ArrayRef>>;

    /// What a state takes beside its own size.
    fn bytes(state: &Self::State) -> usize;
}

/// In arrow's row format.
#[derive(Debug)]
struct Encoded(RowConverter);

impl Form for Encoded {
    type State = Box<[u8]>;

    fn pack(&self, columns: &[ArrayRef]) -> Result<Vec<Box<[u8]>>> {
        let rows = self.0.convert_columns(columns)?;
        Ok(rows.iter().map(|row| Box::from(row.data())).collect())
    }

    fn unpack(&self, states: &[&Box<[u8]>]) -> Result<Vec<ArrayRef>> {
        let parser = self.0.parser();
        Ok(self.0.convert_rows(states.iter().map(|state| parser.parse(state)))?)
    }

    fn bytes(state: &Box<[u8]>) -> usize {
        state.len()
    }
}

/// As columns of one row, for types that the row format does not keep.
#[derive(Debug)]
struct Whole;

impl Form for Whole {
    type State = Box<[ArrayRef]>;

    fn pack(&self, columns: &[ArrayRef]) -> Result<Vec<Box<[ArrayRef]>>> {
        let rows = columns.first().map_or(0, |column| column.len());
        let row = |index: usize| -> Result<Box<[ArrayRef]>> {
            // A slice would keep the memory of all rows.
            let one = UInt64Array::from(vec![index as u64]);
            Ok(columns.iter().map(|column| take(column, &one, None)).collect::<Result<_, _>>()?)
        };
        (0..rows).map(row).collect()
    }

    fn unpack(&self, states: &[&Box<[ArrayRef]>]) -> Result<Vec<ArrayRef>> {
        let width = states.first().map_or(0, |state| state.len());
        let column = |index: usize| -> Result<ArrayRef> {
            let parts: Vec<&dyn Array> = states.iter().map(|state| state[index].as_ref()).collect();
            Ok(concat(&parts)?)
        };
        (0..width).map(column).collect()
    }

    fn bytes(state: &Box<[ArrayRef]>) -> usize {
        size_of_val::<[ArrayRef]>(state)
            + state.iter().map(|column| column.get_array_memory_size()).sum::<usize>()
    }
}

#[derive(Debug)]
struct Boxed<F: Form> {
    aggregate: Arc<AggregateFunctionExpr>,
    /// Of the columns of a state.
    types: Vec<DataType>,
    form: F,

    /// No events, once it is known what columns these have.
    nothing: Option<Vec<ArrayRef>>,
    /// By row; of those without events there is none.
    states: Column<Option<F::State>>,
    /// What the states take beside their own size.
    held: usize,
    /// By row, during a call.
    groups: Vec<u32>,
}

impl<F: Form> Boxed<F> {
    fn new(aggregate: &Arc<AggregateFunctionExpr>, types: Vec<DataType>, form: F) -> Self {
        Self {
            aggregate: Arc::clone(aggregate),
            types,
            form,
            nothing: None,
            states: Column::default(),
            held: 0,
            groups: Vec::new(),
        }
    }

    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.aggregate.groups_accumulator_supported() {
            return self.aggregate.create_groups_accumulator();
        }
        let aggregate = Arc::clone(&self.aggregate);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
    }

    /// An accumulator that has what these rows have, a group each.
    fn accumulator_of(&self, rows: &[Row]) -> Result<Box<dyn GroupsAccumulator>> {
        let mut accumulator = self.accumulator()?;
        let states = self.present(rows);
        if states.len() < rows.len()
            && let Some(nothing) = &self.nothing
        {
            let nobody = BooleanArray::from(Vec::<bool>::new());
            accumulator.update_batch(nothing, &[], Some(&nobody), rows.len())?;
        }
        if !states.is_empty() {
            let groups: Vec<usize> =
                (0..rows.len()).filter(|group| self.state(rows[*group]).is_some()).collect();
            accumulator.merge_batch(&self.form.unpack(&states)?, &groups, rows.len())?;
        }
        Ok(accumulator)
    }

    fn state(&self, row: Row) -> Option<&F::State> {
        self.states[row as usize].as_ref()
    }

    /// The states of those rows that have one.
    fn present(&self, rows: &[Row]) -> Vec<&F::State> {
        rows.iter().filter_map(|row| self.state(*row)).collect()
    }

    /// Where each row's state is, given the column of those that there are and one for all others.
    fn places(&self, rows: &[Row]) -> Vec<(usize, usize)> {
        let mut present = 0..rows.len();
        let place = |row: &Row| self.state(*row).and_then(|_| present.next()).map_or((1, 0), |at| (0, at));
        rows.iter().map(place).collect()
    }

    fn put(&mut self, row: Row, state: Option<F::State>) {
        let place = &mut self.states[row as usize];
        self.held -= place.as_ref().map_or(0, F::bytes);
        self.held += state.as_ref().map_or(0, F::bytes);
        *place = state;
    }

    fn store(&mut self, rows: impl Iterator<Item = Row>, columns: &[ArrayRef]) -> Result<()> {
        for (row, state) in rows.zip(self.form.pack(columns)?) {
            self.put(row, Some(state));
        }
        Ok(())
    }

    /// A group for each row, and the row of each group.
    fn group(&mut self, rows: impl Iterator<Item = Row>) -> (Vec<usize>, Vec<Row>) {
        self.groups.resize(self.states.len(), UNGROUPED);
        let mut owners: Vec<Row> = Vec::new();
        let groups = rows.map(|row| {
            let group = &mut self.groups[row as usize];
            if *group == UNGROUPED {
                *group = u32::try_from(owners.len()).expect("no more groups than rows");
                owners.push(row);
            }
            *group as usize
        });
        let groups = groups.collect();
        for row in &owners {
            self.groups[*row as usize] = UNGROUPED;
        }
        (groups, owners)
    }

    /// The events that count, in the order that the function needs.
    fn events(
        &self,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<(Vec<ArrayRef>, Vec<Row>)> {
        let mut arguments = arguments.to_vec();
        let mut rows = rows.to_vec();
        if let Some(filter) = filter {
            let kept = FilterBuilder::new(filter).optimize().build();
            arguments = arguments.iter().map(|column| kept.filter(column)).collect::<Result<_, _>>()?;
            rows = filter.values().set_indices().map(|index| rows[index]).collect();
        }
        if self.aggregate.order_sensitivity().hard_requires() {
            let keys = &arguments[self.aggregate.expressions().len()..];
            let keys = keys.iter().zip(self.aggregate.order_bys());
            let keys: Vec<SortColumn> = keys
                .map(|(values, sort)| SortColumn { values: Arc::clone(values), options: Some(sort.options) })
                .collect();
            let indices = lexsort_to_indices(&keys, None)?;
            arguments =
                arguments.iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>()?;
            rows = indices.values().iter().map(|index| rows[*index as usize]).collect();
        }
        Ok((arguments, rows))
    }

    /// The value of no events, as a column of one row.
    fn value_of_nothing(&self) -> Result<ArrayRef> {
        if self.aggregate.groups_accumulator_supported()
            && let Some(nothing) = &self.nothing
        {
            let mut accumulator = self.accumulator()?;
            let nobody = BooleanArray::from(Vec::<bool>::new());
            accumulator.update_batch(nothing, &[], Some(&nobody), 1)?;
            return accumulator.evaluate(EmitTo::All);
        }
        self.aggregate.create_accumulator()?.evaluate()?.to_array()
    }
}

impl<F: Form> Kernel for Boxed<F> {
    fn mode(&self) -> Mode {
        Mode::Plain
    }

    fn resize(&mut self, rows: usize) {
        self.states.resize_with(rows.max(self.states.len()), || None);
    }

    fn keep(&mut self, rows: &[Row]) {
        self.states = rows.iter().map(|row| self.states[*row as usize].take()).collect();
        self.held = self.states.iter().flatten().map(F::bytes).sum();
        self.groups = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            self.put(*row, None);
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        if self.nothing.is_none() {
            let nothing = arguments.iter().map(|column| new_empty_array(column.data_type()));
            self.nothing = Some(nothing.collect());
        }
        let (arguments, rows) = self.events(arguments, filter, rows)?;
        if rows.is_empty() {
            return Ok(());
        }
        let (groups, owners) = self.group(rows.into_iter());
        let states = if self.aggregate.order_sensitivity().hard_requires() {
            // Such a function cannot take events after others that follow them: only states.
            let mut accumulator = self.accumulator()?;
            accumulator.update_batch(&arguments, &groups, None, owners.len())?;
            let added = accumulator.state(EmitTo::All)?;
            if owners.iter().all(|row| self.state(*row).is_none()) {
                added
            } else {
                let every: Vec<usize> = (0..owners.len()).collect();
                let mut accumulator = self.accumulator_of(&owners)?;
                accumulator.merge_batch(&added, &every, owners.len())?;
                accumulator.state(EmitTo::All)?
            }
        } else {
            let mut accumulator = self.accumulator_of(&owners)?;
            accumulator.update_batch(&arguments, &groups, None, owners.len())?;
            accumulator.state(EmitTo::All)?
        };
        self.store(owners.into_iter(), &states)
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut growing = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let Some(state) = self.state(pair.from) else { continue };
            if self.state(pair.into).is_some() {
                growing.push(*pair);
            } else {
                let state = state.clone();
                self.put(pair.into, Some(state));
            }
        }
        if growing.is_empty() {
            return Ok(());
        }
        let (groups, owners) = self.group(growing.iter().map(|pair| pair.into));
        let groups: Vec<usize> = (0..owners.len()).chain(groups).collect();
        let rows: Vec<Row> = owners.iter().copied().chain(growing.iter().map(|pair| pair.from)).collect();
        let mut accumulator = self.accumulator()?;
        accumulator.merge_batch(&self.form.unpack(&self.present(&rows))?, &groups, owners.len())?;
        let states = accumulator.state(EmitTo::All)?;
        self.store(owners.into_iter(), &states)
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        let states = self.present(rows);
        let mut values = None;
        if !states.is_empty() {
            let groups: Vec<usize> = (0..states.len()).collect();
            let mut accumulator = self.accumulator()?;
            accumulator.merge_batch(&self.form.unpack(&states)?, &groups, states.len())?;
            let evaluated = accumulator.evaluate(EmitTo::All)?;
            if states.len() == rows.len() {
                return Ok(evaluated);
            }
            values = Some(evaluated);
        }
        let nothing = self.value_of_nothing()?;
        let values = values.unwrap_or_else(|| new_empty_array(nothing.data_type()));
        // Lists may differ in what their elements are called.
        let alike = nothing.data_type() == values.data_type();
        let nothing = if alike { nothing } else { cast(&nothing, values.data_type())? };
        Ok(interleave(&[values.as_ref(), nothing.as_ref()], &self.places(rows))?)
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let present: BooleanArray = rows.iter().map(|row| Some(self.state(*row).is_some())).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(present)];
        let states = self.present(rows);
        if states.is_empty() {
            columns.extend(self.types.iter().map(|data_type| new_null_array(data_type, rows.len())));
            return Ok(columns);
        }
        let places = self.places(rows);
        for column in self.form.unpack(&states)? {
            let null = new_null_array(column.data_type(), 1);
            columns.push(interleave(&[column.as_ref(), null.as_ref()], &places)?);
        }
        Ok(columns)
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let foreign = || DataFusionError::Internal("states of another aggregate".to_owned());
        let (present, columns) = states.split_first().ok_or_else(foreign)?;
        let present = present.as_boolean_opt().ok_or_else(foreign)?;
        let alike = columns.iter().zip(&self.types).all(|(column, data_type)| {
            column.data_type().equals_datatype(data_type) && column.len() == rows.len()
        });
        if !alike || columns.len() != self.types.len() || present.len() != rows.len() {
            return Err(foreign());
        }
        let columns = columns.iter().map(|column| filter(column, present)).collect::<Result<Vec<_>, _>>()?;
        let chosen: Vec<Row> = present.values().set_indices().map(|index| rows[index]).collect();
        self.store(chosen.into_iter(), &columns)
    }

    fn bytes(&self) -> usize {
        self.states.bytes() + self.held + self.groups.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests;
