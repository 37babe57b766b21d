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
use crate::state::column::Chunks;
use crate::state::kernel::{Kernel, Mode, Pair, Row};

/// The entries of all rows, those of a row beside each other, the earliest first.
#[derive(Debug)]
pub struct Nth<V, const N: usize> {
    order: Order<N>,
    /// How many arguments stand before the order keys.
    arguments: usize,
    /// How many entries a row has: the last of them is the value.
    depth: usize,

    entries: Chunks<Entry<N>>,
    values: V,
    /// The keys of one call.
    words: Vec<[u64; N]>,
}

/// Puts an entry in the place of the latest, and up to where it belongs. Says how many it has passed.
fn put<const N: usize>(entries: &mut [Entry<N>], entry: Entry<N>) -> usize {
    let others = entries.len() - 1;
    let passed = entries[..others].iter().rev().take_while(|other| entry.precedes(other)).count();
    entries[others - passed..].rotate_right(1);
    entries[others - passed] = entry;
    passed
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
        Self { order, arguments, depth, entries: Chunks::new(depth), values, words: Vec::new() }
    }

    fn add(&mut self, events: &Events<'_, V, N>, index: usize, row: Row) {
        let marks = PRESENT | u32::from(events.flags.of(index));
        let mut entry = Entry { words: events.words[index], marks };
        let entries = self.entries.row_mut(row as usize);
        if !entries.last().is_some_and(|latest| entry.precedes(latest)) {
            return;
        }
        let latest = (row as usize + 1) * self.depth - 1;
        if events.nulls.is_none_or(|nulls| nulls.is_valid(index)) {
            entry.marks |= valid(0);
            self.values.set(latest, &events.values, index);
        } else {
            self.values.forget(latest);
        }
        let passed = put(entries, entry);
        self.values.rise(latest, passed);
    }

    fn entries_of(&self, places: Places<'_>) -> impl Iterator<Item = Entry<N>> + Clone {
        places.rows.iter().map(move |row| self.entries.row(*row as usize)[places.slot])
    }

    fn places<'a>(&self, rows: &'a [Row], slot: usize) -> Places<'a> {
        Places { rows, depth: self.depth, slot }
    }

    fn array(&self, places: Places<'_>) -> Result<ArrayRef> {
        self.values.array(places, entry::nulls(self.entries_of(places), 0))
    }
}

impl<V: Values, const N: usize> Kernel for Nth<V, N> {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        let rows = rows.max(self.entries.len());
        self.entries.resize(rows, |entries| entries.resize(entries.len() + self.depth, Entry::NONE));
        self.values.resize(rows * self.depth);
    }

    fn keep(&mut self, rows: &[Row]) {
        let depth = self.depth;
        let of_row = move |row: &Row| *row as usize * depth..(*row as usize + 1) * depth;
        self.values.keep(rows.iter().flat_map(of_row));
        self.entries = self.entries.kept(rows.iter().map(|row| *row as usize));
        self.words = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            let first = *row as usize * self.depth;
            self.entries.row_mut(*row as usize).fill(Entry::NONE);
            (first..first + self.depth).for_each(|at| self.values.forget(at));
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
            let latest = (pair.into as usize + 1) * self.depth - 1;
            for (slot, from) in (pair.from as usize * self.depth..).take(self.depth).enumerate() {
                let entry = self.entries.row(pair.from as usize)[slot];
                let entries = self.entries.row_mut(pair.into as usize);
                // The rest is later still.
                if !entry.is_present() || !entries.last().is_some_and(|latest| entry.precedes(latest)) {
                    break;
                }
                let passed = put(entries, entry);
                self.values.copy(latest, from);
                self.values.rise(latest, passed);
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
            columns.extend(entry::save(self.entries_of(places)));
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
            let values = self.values.open(&column[0])?;
            let entries = entry::load(entries)?.into_iter().enumerate();
            for ((index, entry), (row, at)) in entries.zip(rows.iter().zip(places.indices())) {
                self.entries.row_mut(*row as usize)[slot] = entry;
                if entry.marks & valid(0) != 0 {
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
