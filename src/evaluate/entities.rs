//! The entities of a view's shard, and the books that are kept of them: their
//! numbers, which of them the next evaluation looks at, and which keys they had
//! rows for. What is kept of their events is the engine's own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::Result;

use super::touched::{ENTITIES_AT_ONCE, Had, KeyColumns, Outcome, Touched};
use crate::state::keys::{Keys, Slot};
use crate::time::EventTime;

/// See the module.
#[derive(Debug)]
pub struct Entities {
    columns: Arc<KeyColumns>,

    keys: Keys,
    touched: Touched,
    had: Had,
    /// The clock of the last evaluation.
    evaluated_at: Option<EventTime>,
    /// How many an evaluation looks at; the others stay touched.
    most: usize,
}

impl Entities {
    /// None yet.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn try_new(columns: &Arc<KeyColumns>) -> Result<Self> {
        Ok(Self {
            keys: Keys::try_new([columns.entity_type()])?,
            columns: Arc::clone(columns),
            touched: Touched::default(),
            had: Had::default(),
            evaluated_at: None,
            most: usize::MAX,
        })
    }

    /// Their numbers.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Their numbers, to which new ones are added.
    pub const fn keys_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }

    /// Has the next evaluation look at these.
    pub fn touch(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.touched.extend(slots);
    }

    /// Has the next evaluation look at those that an edge passed, which may
    /// have been forgotten since that was noted.
    pub fn touch_crossed(&mut self, slots: impl IntoIterator<Item = Slot>) {
        let keys = &self.keys;
        self.touched.extend(slots.into_iter().filter(|slot| keys.is_known(*slot)));
    }

    /// The clock of the last evaluation, if edges have moved since.
    pub fn evaluated_before(&self, clock: EventTime) -> Option<EventTime> {
        self.evaluated_at.filter(|before| *before != clock)
    }

    /// Brings those to be looked at into the order in which they stand in memory.
    pub fn sort(&mut self) {
        self.touched.sort(self.most);
    }

    /// Those to be looked at.
    pub const fn touched_mut(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// Those to be looked at: so many at a time as are evaluated together.
    pub fn stretches(&self) -> impl Iterator<Item = &[Slot]> {
        self.touched.first(self.most).chunks(ENTITIES_AT_ONCE)
    }

    /// Has evaluations look at so many at most.
    pub const fn bound(&mut self, most: usize) {
        self.most = most;
    }

    /// How many are to be looked at.
    pub fn waiting(&self) -> usize {
        self.touched.slots().len()
    }

    /// Has the next evaluation look at those of these that are still known.
    pub fn touch_known(&mut self, slots: &[Slot]) {
        self.touch_crossed(slots.iter().copied());
    }

    /// What an evaluation came to that looked at all of [`Entities::stretches`]
    /// and found these rows. Those of whom nothing is kept any more are forgotten.
    ///
    /// # Errors
    /// Only of our own making. What is to be evaluated stays so.
    pub fn evaluated(
        &mut self,
        clock: EventTime,
        rows: &[RecordBatch],
        mut is_free: impl FnMut(Slot) -> bool,
    ) -> Result<Outcome> {
        let schema = rows.first().map_or_else(|| self.columns.output(), RecordBatch::schema);
        let rows = concat_batches(&schema, rows)?;
        let looked_at = self.touched.first(self.most);
        let touched = self.had.looked_at(&self.columns, &self.keys, looked_at, &rows)?;
        // From here on nothing can fail: the evaluation counts.
        self.evaluated_at = Some(clock);
        for slot in self.touched.take(self.most) {
            if is_free(slot) {
                self.keys.remove(slot);
                self.had.forget(slot);
            }
        }
        Ok(Outcome { rows, touched })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes that this takes.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.touched.bytes() + self.had.bytes()
    }
}
