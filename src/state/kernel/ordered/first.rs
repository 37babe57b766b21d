//! One entry a row, and of it a value for each of several functions that have the same order:
//! its keys are read, compared and kept once.
//!
//! ```text
//! last_value(x ORDER BY t, o), last_value(y ORDER BY t, o)
//!   entries   t, o, marks of the entry     who wins is decided here, for a list of events or pairs
//!   values    x of the entry               which each column of values then goes through by itself
//!             y of the entry
//! ```

use std::mem;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use datafusion::common::Result;

use super::entry::{self, Entry, PRESENT, valid};
use super::foreign;
use super::keys::{Flags, Order};
use super::values::OneEach;
use crate::state::column::Column;
use crate::state::kernel::{Kernel, Mode, Pair, Row};

/// Pairs that are decided before their values are copied: a list that stays near the processor.
const AT_A_TIME: usize = 1024;

/// The values of one function.
#[derive(Debug)]
pub struct Part {
    /// How many arguments the function has, of which the first is the value.
    pub arguments: usize,
    /// The value of each row.
    pub values: Box<dyn OneEach>,
}

/// The first entry of each row.
#[derive(Debug)]
pub struct First<const N: usize> {
    order: Order<N>,
    /// Of a single part only: which entry counts depends on the value then.
    skips_nulls: bool,

    entries: Column<Entry<N>>,
    parts: Vec<Part>,
    /// The keys of one call.
    words: Vec<[u64; N]>,
    /// Rows that get another entry, one after the other, and the row or the event that it is of.
    won: Vec<(Row, usize)>,
}

impl<const N: usize> First<N> {
    /// No rows yet.
    pub fn new(order: Order<N>, skips_nulls: bool, parts: Vec<Part>) -> Self {
        let (entries, words, won) = (Column::default(), Vec::new(), Vec::new());
        Self { order, skips_nulls, entries, parts, words, won }
    }

    fn entries_of(&self, rows: &[Row]) -> impl Iterator<Item = Entry<N>> + Clone {
        rows.iter().map(|row| self.entries[*row as usize])
    }

    #[inline]
    fn offer(&mut self, entry: Entry<N>, row: Row, from: usize) {
        let held = &mut self.entries[row as usize];
        if entry.precedes(held) {
            *held = entry;
            self.won.push((row, from));
        }
    }
}

/// What a call adds.
struct Events<'a, const N: usize> {
    words: &'a [[u64; N]],
    flags: Flags,
    /// The marks that all of them have.
    marks: u32,
    /// Values of which some are NULL.
    nullable: Vec<(u32, &'a NullBuffer)>,
}

impl<const N: usize> Events<'_, N> {
    #[inline]
    fn entry(&self, index: usize) -> Entry<N> {
        let mut marks = self.marks | u32::from(self.flags.of(index));
        for (bit, nulls) in &self.nullable {
            if nulls.is_valid(index) {
                marks |= bit;
            }
        }
        Entry { words: self.words[index], marks }
    }
}

impl<const N: usize> Kernel for First<N> {
    fn mode(&self) -> Mode {
        Mode::Stack
    }

    fn resize(&mut self, rows: usize) {
        let rows = rows.max(self.entries.len());
        self.entries.resize_with(rows, || Entry::NONE);
        self.parts.iter_mut().for_each(|part| part.values.resize(rows));
    }

    fn keep(&mut self, rows: &[Row]) {
        self.entries = rows.iter().map(|row| self.entries[*row as usize]).collect();
        self.parts.iter_mut().for_each(|part| part.values.keep(rows));
        self.words = Vec::new();
        self.won = Vec::new();
    }

    fn clear(&mut self, rows: &[Row]) {
        for row in rows {
            self.entries[*row as usize] = Entry::NONE;
        }
        self.parts.iter_mut().for_each(|part| part.values.forget(rows));
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        let before_keys = self.parts.iter().map(|part| part.arguments).sum::<usize>();
        let Some(keys) = arguments.get(before_keys..) else {
            return Err(foreign("arguments"));
        };
        let mut words = mem::take(&mut self.words);
        let flags = self.order.read(keys, &mut words)?;
        let mut columns = Vec::with_capacity(self.parts.len());
        let mut events = Events { words: &words, flags, marks: PRESENT, nullable: Vec::new() };
        let mut at = 0;
        for (number, part) in self.parts.iter().enumerate() {
            let column = &arguments[at];
            match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => events.marks |= valid(number),
                Some(nulls) => events.nullable.push((valid(number), nulls)),
            }
            columns.push(column);
            at += part.arguments;
        }
        self.won.clear();
        let skipped = events.nullable.first().filter(|_| self.skips_nulls).map(|(_, nulls)| nulls.inner());
        match (filter.map(|filter| filter.values()), skipped) {
            (None, None) => {
                for (index, row) in rows.iter().enumerate() {
                    self.offer(events.entry(index), *row, index);
                }
            }
            (Some(chosen), None) | (None, Some(chosen)) => {
                for index in chosen.set_indices() {
                    self.offer(events.entry(index), rows[index], index);
                }
            }
            (Some(filter), Some(valid)) => {
                for index in (filter & valid).set_indices() {
                    self.offer(events.entry(index), rows[index], index);
                }
            }
        }
        self.words = words;
        for (part, column) in self.parts.iter_mut().zip(columns) {
            part.values.set(column, &self.won)?;
        }
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        for pairs in pairs.chunks(AT_A_TIME) {
            self.won.clear();
            for Pair { into, from } in pairs {
                let entry = self.entries[*from as usize];
                if entry.is_present() {
                    self.offer(entry, *into, *from as usize);
                }
            }
            for part in &mut self.parts {
                part.values.copy(&self.won);
            }
        }
        Ok(())
    }

    fn evaluate(&self, output: usize, rows: &[Row]) -> Result<ArrayRef> {
        let nulls = entry::nulls(self.entries_of(rows), output);
        self.parts[output].values.column(rows, nulls)
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let mut columns = entry::save(self.entries_of(rows));
        for output in 0..self.parts.len() {
            columns.push(self.evaluate(output, rows)?);
        }
        Ok(columns)
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        let lengths = states.iter().all(|column| column.len() == rows.len());
        if states.len() != N + 1 + self.parts.len() || !lengths {
            return Err(foreign("states"));
        }
        let (entries, values) = states.split_at(N + 1);
        for (row, entry) in rows.iter().zip(entry::load(entries)?) {
            self.entries[*row as usize] = entry;
        }
        let all: Vec<(Row, usize)> = rows.iter().copied().zip(0..).collect();
        for (part, column) in self.parts.iter_mut().zip(values) {
            part.values.set(column, &all)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.entries.bytes()
            + self.words.capacity() * size_of::<[u64; N]>()
            + self.won.capacity() * size_of::<(Row, usize)>()
            + self.parts.capacity() * size_of::<Part>()
            + self.parts.iter().map(|part| part.values.bytes()).sum::<usize>()
    }
}
