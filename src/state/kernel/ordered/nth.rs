//! The few entries of each row that are first in the order, each with its value: `nth_value` of a
//! second or later one.

use std::mem;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use datafusion::common::Result;

use super::entry::{self, Entry, PRESENT, valid};
use super::foreign;
use super::keys::{Flags, Order};
use super::values::Values;
use crate::state::column::Chunks;
use crate::state::kernel::{Kernel, Mode, Pair, Row};

/// An entry and its value: beside each other, so that a row of two is a line of cache.
#[derive(Debug, Clone, Copy)]
struct Slot<K, const N: usize> {
    entry: Entry<N>,
    kept: K,
}

impl<K: Default, const N: usize> Slot<K, N> {
    fn none() -> Self {
        Self { entry: Entry::NONE, kept: K::default() }
    }
}

/// The entries of all rows, those of a row beside each other, the earliest first.
#[derive(Debug)]
pub struct Nth<V: Values, const N: usize> {
    order: Order<N>,
    /// How many arguments stand before the order keys.
    arguments: usize,
    /// How many entries a row has: the last of them is the value.
    depth: usize,

    slots: Chunks<Slot<V::Kept, N>>,
    values: V,
    /// The keys of one call.
    words: Vec<[u64; N]>,
}

/// Moves the latest entry up to where it belongs.
#[inline]
fn settle<K, const N: usize>(slots: &mut [Slot<K, N>]) {
    for at in (1..slots.len()).rev() {
        if !slots[at].entry.precedes(&slots[at - 1].entry) {
            return;
        }
        slots.swap(at - 1, at);
    }
}

/// What a call adds.
struct Events<'a, V: Values, const N: usize> {
    words: &'a [[u64; N]],
    flags: Flags,
    values: V::Column,
    nulls: Option<&'a NullBuffer>,
}

impl<V: Values, const N: usize> Nth<V, N> {
    /// No rows yet.
    pub fn new(order: Order<N>, arguments: usize, depth: usize, values: V) -> Self {
        Self { order, arguments, depth, slots: Chunks::new(depth), values, words: Vec::new() }
    }

    #[inline]
    fn add(&mut self, events: &Events<'_, V, N>, index: usize, row: Row) {
        let marks = PRESENT | u32::from(events.flags.of(index));
        let mut entry = Entry { words: events.words[index], marks };
        let slots = self.slots.row_mut(row as usize);
        let Some(latest) = slots.last_mut().filter(|latest| entry.precedes(&latest.entry)) else { return };
        if events.nulls.is_none_or(|nulls| nulls.is_valid(index)) {
            entry.marks |= valid(0);
            self.values.set(&mut latest.kept, &events.values, index);
        } else {
            self.values.forget(&mut latest.kept);
        }
        latest.entry = entry;
        settle(slots);
    }

    /// One entry of each of some rows.
    fn slots_of(
        &self,
        rows: &[Row],
        slot: usize,
    ) -> impl ExactSizeIterator<Item = &Slot<V::Kept, N>> + Clone {
        rows.iter().map(move |row| &self.slots.row(*row as usize)[slot])
    }

    fn array(&self, rows: &[Row], slot: usize) -> Result<ArrayRef> {
        let slots = self.slots_of(rows, slot);
        let nulls = entry::nulls(slots.clone().map(|slot| slot.entry), 0);
        self.values.array(slots.map(|slot| slot.kept), nulls)
    }
}

impl<V: Values, const N: usize> Kernel for Nth<V, N> {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        let rows = rows.max(self.slots.len());
        self.slots.resize(rows, |slots| slots.extend((0..self.depth).map(|_| Slot::none())));
    }

    fn keep(&mut self, rows: &[Row]) {
        self.slots = self.slots.kept(rows.iter().map(|row| *row as usize));
        self.values.keep(self.slots.iter_mut().map(|slot| &mut slot.kept));
        self.words = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            for slot in self.slots.row_mut(*row as usize) {
                self.values.forget(&mut slot.kept);
                slot.entry = Entry::NONE;
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
        match filter {
            None => {
                for (index, row) in rows.iter().enumerate() {
                    self.add(&events, index, *row);
                }
            }
            Some(filter) => {
                for index in filter.values().set_indices() {
                    self.add(&events, index, rows[index]);
                }
            }
        }
        self.words = words;
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        for pair in pairs {
            for at in 0..self.depth {
                let from = self.slots.row(pair.from as usize)[at];
                let slots = self.slots.row_mut(pair.into as usize);
                let Some(latest) = slots.last_mut() else { break };
                // The rest is later still.
                if !from.entry.is_present() || !from.entry.precedes(&latest.entry) {
                    break;
                }
                self.values.copy(&mut latest.kept, from.kept);
                latest.entry = from.entry;
                settle(slots);
            }
        }
        Ok(())
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        self.array(rows, self.depth - 1)
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.depth * (N + 2));
        for slot in 0..self.depth {
            columns.extend(entry::save(self.slots_of(rows, slot).map(|slot| slot.entry)));
            columns.push(self.array(rows, slot)?);
        }
        Ok(columns)
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let lengths = states.iter().all(|column| column.len() == rows.len());
        if states.len() != self.depth * (N + 2) || !lengths {
            return Err(foreign("states"));
        }
        for (slot, columns) in states.chunks_exact(N + 2).enumerate() {
            let (entries, column) = columns.split_at(N + 1);
            let values = self.values.open(&column[0])?;
            let entries = entry::load(entries)?.into_iter().enumerate();
            for ((index, entry), row) in entries.zip(rows) {
                let slot = &mut self.slots.row_mut(*row as usize)[slot];
                slot.entry = entry;
                if entry.marks & valid(0) != 0 {
                    self.values.set(&mut slot.kept, &values, index);
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.slots.bytes() + self.words.capacity() * size_of::<[u64; N]>() + self.values.bytes()
    }
}
