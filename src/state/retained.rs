//! The accepted events of one partition, for as long as a window holds them.
//!
//! Chunks stand in offset order. Small neighbours are merged, so that their
//! number grows with the logarithm of the events; whole chunks are dropped once
//! every event in them is too old. Each chunk knows the clock as it was before
//! its first event: reading again from there, with that clock, gives the same
//! rows, which is how a restart rebuilds its windows.

use std::collections::VecDeque;

use arrow::array::{AsArray, BooleanArray, RecordBatch, Scalar, TimestampMicrosecondArray};
use arrow::compute::kernels::aggregate::{max, min};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::lead_in::LeadIn;
use super::saved::SavedChunk;
use crate::decode::reader::{EVENT_TIME, OFFSET};
use crate::time::{EventTime, Span, TIMESTAMP_ZONE};

/// Chunks are not merged beyond this many rows: dropping works by the chunk, so
/// larger ones would hold on to more that is too old.
const ROWS_PER_CHUNK: usize = 65_536;

/// Nor beyond this much event time where no rows are kept.
const SPAN_PER_CHUNK: Span = Span::from_secs(600);

#[derive(Debug)]
struct Chunk {
    /// None of them where only the lead-in is kept.
    rows: RecordBatch,
    /// How many events there are.
    events: usize,
    lead_in: LeadIn,
    oldest: EventTime,
    newest: EventTime,
}

/// The accepted events of one partition.
#[derive(Debug)]
pub struct Retained {
    schema: SchemaRef,
    /// Whether events are kept, or only what a restart has to know of them.
    keeps_rows: bool,

    chunks: VecDeque<Chunk>,
    rows: usize,
    bytes: usize,
}

impl Retained {
    /// Nothing kept yet, of rows with this layout. Without `keeps_rows` only the
    /// lead-in is kept: what the events come to is kept elsewhere, in tiles.
    pub const fn new(schema: SchemaRef, keeps_rows: bool) -> Self {
        Self { schema, keeps_rows, chunks: VecDeque::new(), rows: 0, bytes: 0 }
    }

    /// Keeps accepted rows, which follow all those kept before. `lead_in` is the
    /// position and the clock before the frames they were decoded from.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn append(&mut self, rows: RecordBatch, lead_in: LeadIn) -> Result<(), ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut one = chunk(rows, lead_in);
        if !self.keeps_rows {
            one.rows = RecordBatch::new_empty(SchemaRef::clone(&self.schema));
        }
        self.push(one);
        while let [.., before, last] = self.chunks.make_contiguous() {
            let together = before.events + last.events;
            let oldest = before.oldest.min(last.oldest);
            let newest = before.newest.max(last.newest);
            // Without rows a chunk cannot be dropped in part: it must not span too much time.
            let too_long = !self.keeps_rows && newest > oldest.plus(SPAN_PER_CHUNK);
            if together > ROWS_PER_CHUNK || before.events > 2 * last.events || too_long {
                break;
            }
            let merged = Chunk {
                rows: concat_batches(&self.schema, [&before.rows, &last.rows])?,
                events: together,
                lead_in: before.lead_in,
                oldest,
                newest,
            };
            self.pop();
            self.pop();
            self.push(merged);
        }
        Ok(())
    }

    /// Drops what is at or before `time`, by whole chunks, and within the
    /// oldest chunk once most of its time has passed.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn drop_until(&mut self, time: EventTime) -> Result<(), ArrowError> {
        let mut kept = VecDeque::with_capacity(self.chunks.len());
        let (mut rows, mut bytes) = (0, 0);
        for mut one in std::mem::take(&mut self.chunks) {
            if one.newest <= time {
                continue;
            }
            let passed = time.micros().saturating_sub(one.oldest.micros());
            if self.keeps_rows && passed > one.newest.micros().saturating_sub(one.oldest.micros()) / 2 {
                let edge = TimestampMicrosecondArray::new_scalar(time.micros());
                let edge = Scalar::new(edge.into_inner().with_timezone(TIMESTAMP_ZONE));
                let mask = arrow::compute::kernels::cmp::gt(event_times(&one.rows), &edge)?;
                let lead_in = advanced(&one, &mask);
                one = chunk(filter_record_batch(&one.rows, &mask)?, lead_in);
            }
            rows += one.events;
            bytes += one.rows.get_array_memory_size();
            kept.push_back(one);
        }
        (self.chunks, self.rows, self.bytes) = (kept, rows, bytes);
        Ok(())
    }

    /// Batches that have rows after `time`, in offset order; rows that are not
    /// after it may be among them.
    pub fn after(&self, time: EventTime) -> impl Iterator<Item = &RecordBatch> {
        self.chunks.iter().filter(move |chunk| chunk.newest > time).map(|chunk| &chunk.rows)
    }

    /// Where to read again from; `None` when nothing is kept.
    pub fn lead_in(&self) -> Option<LeadIn> {
        self.chunks.front().map(|chunk| chunk.lead_in)
    }

    /// What a restart has to know of the events, without the events.
    pub fn save(&self) -> Vec<SavedChunk> {
        let chunk = |chunk: &Chunk| SavedChunk {
            events: chunk.events,
            lead_in: chunk.lead_in,
            oldest: chunk.oldest,
            newest: chunk.newest,
        };
        self.chunks.iter().map(chunk).collect()
    }

    /// What [`Retained::save`] gave of a partition of which no rows are kept.
    pub fn load(schema: SchemaRef, chunks: &[SavedChunk]) -> Self {
        let mut retained = Self::new(schema, false);
        for SavedChunk { events, lead_in, oldest, newest } in chunks.iter().copied() {
            let rows = RecordBatch::new_empty(SchemaRef::clone(&retained.schema));
            retained.push(Chunk { rows, events, lead_in, oldest, newest });
        }
        retained
    }

    /// Events kept.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that they take.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, chunk: Chunk) {
        self.rows += chunk.events;
        self.bytes += chunk.rows.get_array_memory_size();
        self.chunks.push_back(chunk);
    }

    fn pop(&mut self) {
        if let Some(chunk) = self.chunks.pop_back() {
            self.rows -= chunk.events;
            self.bytes -= chunk.rows.get_array_memory_size();
        }
    }
}

/// The lead-in without the rows before the first that `kept` holds.
fn advanced(chunk: &Chunk, kept: &BooleanArray) -> LeadIn {
    let offsets = chunk.rows.column_by_name(OFFSET).map(|column| column.as_primitive::<Int64Type>());
    match (kept.iter().position(|kept| kept == Some(true)), offsets) {
        (Some(first), Some(offsets)) if first > 0 => {
            let passed = event_times(&chunk.rows).values()[..first].iter().max().map(|time| EventTime(*time));
            LeadIn { offset: offsets.value(first), clock: chunk.lead_in.clock.max(passed) }
        }
        _ => chunk.lead_in,
    }
}

fn chunk(rows: RecordBatch, lead_in: LeadIn) -> Chunk {
    let times = event_times(&rows);
    let oldest = EventTime(min(times).unwrap_or(i64::MAX));
    let newest = EventTime(max(times).unwrap_or(i64::MIN));
    Chunk { events: rows.num_rows(), rows, lead_in, oldest, newest }
}

fn event_times(rows: &RecordBatch) -> &TimestampMicrosecondArray {
    rows.column_by_name(EVENT_TIME)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .expect("every stream's rows have an event time")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::decode::reader::timestamp_type;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new(EVENT_TIME, timestamp_type(), false)]))
    }

    fn rows(times: std::ops::Range<i64>) -> RecordBatch {
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone(TIMESTAMP_ZONE);
        RecordBatch::try_new(schema(), vec![Arc::new(times)]).unwrap()
    }

    fn lead_in(offset: i64) -> LeadIn {
        LeadIn { offset, clock: Some(EventTime(offset - 1)) }
    }

    #[test]
    fn what_is_too_old_goes_and_the_rest_stays_in_order() {
        let mut retained = Retained::new(schema(), true);
        for start in (0..1000).step_by(10) {
            retained.append(rows(start..start + 10), lead_in(start)).unwrap();
        }
        assert_eq!(retained.rows(), 1000);
        assert!(retained.chunks.len() < 12, "{} chunks", retained.chunks.len());
        retained.drop_until(EventTime(899)).unwrap();
        assert!((100..350).contains(&retained.rows()), "{} rows", retained.rows());
        let mut last = -1;
        for batch in retained.after(EventTime(899)) {
            for time in event_times(batch).values() {
                assert!(*time > last);
                last = *time;
            }
        }
        assert_eq!(last, 999);
        assert!(retained.lead_in().unwrap().offset <= 900);
        retained.drop_until(EventTime(999)).unwrap();
        assert_eq!((retained.rows(), retained.bytes(), retained.lead_in()), (0, 0, None));
    }

    #[test]
    fn merging_keeps_the_oldest_lead_in() {
        let mut retained = Retained::new(schema(), true);
        retained.append(rows(0..4), lead_in(10)).unwrap();
        retained.append(rows(4..8), lead_in(20)).unwrap();
        assert_eq!((retained.chunks.len(), retained.lead_in()), (1, Some(lead_in(10))));
    }
}
