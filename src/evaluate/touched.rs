//! What the engines that look at touched entities alone have in common: which
//! entities these are, and which keys were looked at.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};

use crate::state::keys::{Keys, Slot};
use crate::state::map::Map;
use crate::view::FeatureView;

/// Entities are evaluated so many at a time, which bounds the memory that it takes.
pub const ENTITIES_AT_ONCE: usize = 32_768;

/// What an evaluation came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rows of the touched entities.
    pub rows: RecordBatch,
    /// Keys that had a row or may have had one, in columns like those of
    /// `rows`, all others NULL. Who is here and not in `rows` has no row any more.
    pub touched: RecordBatch,
}

/// Events that could not be used because an expression of the view fails on them.
#[derive(Debug, Default)]
pub struct Unusable {
    /// How many.
    pub events: usize,
    /// What DataFusion said of one.
    pub error: Option<DataFusionError>,
}

/// Entities to be evaluated, each once, in waves: those that came up together.
#[derive(Debug, Default)]
pub struct Touched {
    slots: Vec<Slot>,
    /// By entity, whether it is among them.
    marks: Vec<bool>,
    /// Where each wave but the last one ends.
    waves: VecDeque<usize>,
}

impl Touched {
    /// Adds entities.
    pub fn extend(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            let index = slot as usize;
            if self.marks.len() <= index {
                self.marks.resize(index + 1, false);
            }
            if !self.marks[index] {
                self.marks[index] = true;
                self.slots.push(slot);
            }
        }
    }

    /// Brings the first of them, at most so many, into the order of their
    /// numbers, in which they stand in memory.
    pub fn sort(&mut self, most: usize) {
        let first = most.min(self.slots.len());
        self.slots[..first].sort_unstable();
    }

    /// Those added from now on are of another wave.
    pub fn end_wave(&mut self) {
        self.waves.push_back(self.slots.len());
    }

    /// How many the first wave has, which is told from the second one no more;
    /// `None` when there is one wave only.
    pub fn next_wave(&mut self) -> Option<usize> {
        self.waves.pop_front()
    }

    /// All are of one wave.
    pub fn join_waves(&mut self) {
        self.waves.clear();
    }

    /// All of them.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The first of them, at most so many.
    pub fn first(&self, most: usize) -> &[Slot] {
        &self.slots[..most.min(self.slots.len())]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first of them, at most so many, which are none any more.
    pub fn take(&mut self, most: usize) -> Vec<Slot> {
        let rest = self.slots.split_off(most.min(self.slots.len()));
        let taken = std::mem::replace(&mut self.slots, rest);
        for slot in &taken {
            self.marks[*slot as usize] = false;
        }
        self.waves.iter_mut().for_each(|end| *end = end.saturating_sub(taken.len()));
        taken
    }

    /// Bytes that this takes.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.marks.capacity()
    }
}

/// How the keys of a view's rows are told. An entity is what has the same value
/// in one column of the key.
#[derive(Debug)]
pub struct KeyColumns {
    /// The output columns that are the key.
    key: Vec<usize>,
    /// The one that tells entities apart.
    entity: usize,
    /// The output's columns.
    output: SchemaRef,
    /// The same, each of them nullable.
    nullable: SchemaRef,
    /// Turns keys of several columns into bytes and back; `None` when the entity is the whole key.
    converter: Option<RowConverter>,
}

impl KeyColumns {
    /// The key of a view whose entities `entity` tells apart.
    ///
    /// # Errors
    /// When a type cannot be compared.
    pub fn try_new(view: &FeatureView, entity: usize) -> Result<Self> {
        let nullable: Vec<_> =
            view.output.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let converter = if view.key.len() > 1 {
            let field = |index: &usize| SortField::new(view.output.field(*index).data_type().clone());
            Some(RowConverter::new(view.key.iter().map(field).collect())?)
        } else {
            None
        };
        let (output, nullable) = (Arc::clone(&view.output), Arc::new(Schema::new(nullable)));
        Ok(Self { key: view.key.clone(), entity, output, nullable, converter })
    }

    /// The output's columns.
    pub fn output(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    /// The type of what tells entities apart.
    pub fn entity_type(&self) -> &DataType {
        self.output.field(self.entity).data_type()
    }
}

/// Of keys of several columns: those that each entity had rows for.
#[derive(Debug, Default)]
pub struct Had(Map<Slot, Vec<Box<[u8]>>>);

impl Had {
    /// The keys of entities as columns of the view's output: those that they
    /// had rows for before, and those of `rows`.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn looked_at(
        &mut self,
        keys: &KeyColumns,
        entities: &Keys,
        slots: &[Slot],
        rows: &RecordBatch,
    ) -> Result<RecordBatch> {
        let columns: Vec<(usize, ArrayRef)> = match &keys.converter {
            None => vec![(keys.entity, entities.columns(slots)?.swap_remove(0))],
            Some(converter) => {
                let mut all: Vec<Box<[u8]>> =
                    slots.iter().filter_map(|slot| self.0.remove(slot)).flatten().collect();
                let own: Vec<ArrayRef> =
                    keys.key.iter().map(|index| Arc::clone(rows.column(*index))).collect();
                let encoded = converter.convert_columns(&own)?;
                let owners = entities.find(&rows.columns()[keys.entity..=keys.entity])?;
                for (owner, key) in owners.into_iter().zip(&encoded) {
                    // Rows without an entity are not published.
                    if let Some(slot) = owner {
                        let key: Box<[u8]> = AsRef::<[u8]>::as_ref(&key).into();
                        match self.0.get_mut(&slot) {
                            Some(known) => known.push(key.clone()),
                            None => drop(self.0.insert(slot, vec![key.clone()])),
                        }
                        all.push(key);
                    }
                }
                let parser = converter.parser();
                let arrays = converter.convert_rows(all.iter().map(|key| parser.parse(key)))?;
                keys.key.iter().copied().zip(arrays).collect()
            }
        };
        let count = columns.first().map_or(0, |(_, column)| column.len());
        let column = |index: usize| {
            let given = columns.iter().find(|(of, _)| *of == index).map(|(_, column)| Arc::clone(column));
            given.unwrap_or_else(|| new_null_array(keys.nullable.field(index).data_type(), count))
        };
        let all = (0..keys.nullable.fields().len()).map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&keys.nullable), all, &options)?)
    }

    /// Forgets an entity.
    pub fn forget(&mut self, slot: Slot) {
        if self.0.remove(&slot).is_some() {
            self.0.shrink();
        }
    }

    /// Bytes that this takes.
    pub fn bytes(&self) -> usize {
        let keys: usize = self.0.values().flatten().map(|key| key.len() + size_of::<Box<[u8]>>()).sum();
        keys + self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_looked_at_one_after_the_other() {
        let mut touched = Touched::default();
        touched.extend([5, 3, 5]);
        touched.end_wave();
        touched.extend([3]);
        touched.end_wave();
        touched.extend([9, 1]);
        touched.end_wave();
        touched.extend([4]);
        let mut seen = Vec::new();
        while let Some(most) = touched.next_wave() {
            touched.sort(most);
            seen.push(touched.take(most));
        }
        touched.extend([3]);
        touched.sort(usize::MAX);
        seen.push(touched.take(usize::MAX));
        // Nobody is in two waves; who is touched anew is in the last one.
        assert_eq!(seen, [vec![3, 5], vec![], vec![1, 9], vec![3, 4]]);
        assert!(touched.is_empty());
    }

    #[test]
    fn waves_that_were_not_looked_at_can_be_joined() {
        let mut touched = Touched::default();
        touched.extend([2]);
        touched.end_wave();
        touched.extend([1]);
        touched.join_waves();
        assert_eq!(touched.next_wave(), None);
        assert_eq!(touched.slots(), [2, 1]);
    }
}
