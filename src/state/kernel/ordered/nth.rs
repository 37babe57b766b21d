//! The few entries of each row that are first in the order, each with its value: `nth_value` of a
//! second or later one.

use std::mem;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use datafusion::common::Result;

use super::entry::{self, Entry, PRESENT, valid};
use super::foreign;
use super::keys::{Flags, Order};
use super::values::{Places, Values};
use crate::state::column::Column;
use crate::state::kernel::{Kernel, Mode, Pair, Row};

/// The entries of all rows, those of a row beside each other, the earliest first.
#[derive(Debug)]
pub struct Nth<V, const N: usize> {
    order: Order<N>,
    /// How many arguments stand before the order keys.
    arguments: usize,
    /// How many entries a row has: the last of them is the value.
    depth: usize,

    entries: Column<Entry<N>>,
    values: V,
    /// The keys of one call.
    words: Vec<[u64; N]>,
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
        Self { order, arguments, depth, entries: Column::default(), values, words: Vec::new() }
    }

    /// The entry at `at` goes up to its place among those from `first` on.
    fn rise(&mut self, first: usize, mut at: usize) {
        while at > first && self.entries[at].precedes(&self.entries[at - 1]) {
            self.entries.swap(at, at - 1);
            self.values.swap(at, at - 1);
            at -= 1;
        }
    }

    fn add(&mut self, events: &Events<'_, V, N>, index: usize, row: Row) {
        let marks = PRESENT | u32::from(events.flags.of(index));
        let mut entry = Entry { words: events.words[index], marks };
        let first = row as usize * self.depth;
        let latest = first + self.depth - 1;
        if !entry.precedes(&self.entries[latest]) {
            return;
        }
        if events.nulls.is_none_or(|nulls| nulls.is_valid(index)) {
            entry.marks |= valid(0);
            self.values.set(latest, &events.values, index);
        } else {
            self.values.forget(latest);
        }
        self.entries[latest] = entry;
        self.rise(first, latest);
    }

    fn places<'a>(&self, rows: &'a [Row], slot: usize) -> Places<'a> {
        Places { rows, depth: self.depth, slot }
    }

    fn array(&self, places: Places<'_>) -> Result<ArrayRef> {
        self.values.array(places, entry::nulls(&self.entries, places, 0))
    }
}

impl<V: Values, const N: usize> Kernel for Nth<V, N> {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        let entries = (rows * self.depth).max(self.entries.len());
        self.entries.resize_with(entries, || Entry::NONE);
        self.values.resize(entries);
    }

    fn keep(&mut self, rows: &[Row]) {
        let depth = self.depth;
        let of_row = move |row: &Row| *row as usize * depth..(*row as usize + 1) * depth;
        let kept = || rows.iter().flat_map(of_row);
        self.entries = kept().map(|at| self.entries[at]).collect();
        self.values.keep(kept());
        self.words = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            let first = *row as usize * self.depth;
            for at in first..first + self.depth {
                self.entries[at] = Entry::NONE;
                self.values.forget(at);
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
            let first = pair.into as usize * self.depth;
            let latest = first + self.depth - 1;
            let others = pair.from as usize * self.depth;
            for from in others..others + self.depth {
                let entry = self.entries[from];
                // The rest is later still.
                if !entry.is_present() || !entry.precedes(&self.entries[latest]) {
                    break;
                }
                self.entries[latest] = entry;
                self.values.copy(latest, from);
                self.rise(first, latest);
            }
        }
        Ok(())
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        self.array(self.places(rows, self.depth - 1))
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.depth * (N + 2));
        for slot in 0..self.depth {
            let places = self.places(rows, slot);
            columns.extend(entry::save(&self.entries, places));
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
            let places = self.places(rows, slot);
            let (entries, column) = columns.split_at(N + 1);
            entry::load(&mut self.entries, places, entries)?;
            let values = self.values.open(&column[0])?;
            for (index, at) in places.indices().enumerate() {
                if self.entries[at].marks & valid(0) != 0 {
                    self.values.set(at, &values, index);
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.entries.bytes() + self.words.capacity() * size_of::<[u64; N]>() + self.values.bytes()
    }
}
