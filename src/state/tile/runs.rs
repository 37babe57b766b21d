//! Rows as columns, in runs that are never changed: a row dies where it stands,
//! and runs that are small or mostly dead are rewritten into one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::Slot;

/// Runs are not joined beyond this many rows: rewriting one is a pause.
const ROWS_PER_RUN: usize = 65_536;
/// Runs with fewer rows are not rewritten because some of them died.
const ROWS_WORTH_REWRITING: usize = 256;
/// The owner of a dead row.
const NOBODY: Slot = Slot::MAX;

#[derive(Debug)]
struct Run {
    rows: RecordBatch,
    owners: Vec<Slot>,
    live: usize,
    bytes: usize,
}

/// Where rows went.
#[derive(Debug)]
pub struct Moved {
    /// The run that has them now.
    pub to: u32,
    /// The runs that had them, each with the new places of its rows.
    pub rows: Vec<(u32, Vec<u32>)>,
    /// Whose they are, each once.
    pub owners: Vec<Slot>,
}

/// See the module.
#[derive(Debug)]
pub struct Runs {
    schema: SchemaRef,

    /// By number; numbers are used again.
    runs: Vec<Option<Run>>,
    free: Vec<u32>,
    /// Numbers, the oldest run first.
    ages: Vec<u32>,
    live: usize,
    bytes: usize,
}

impl Runs {
    pub const fn new(schema: SchemaRef) -> Self {
        Self { schema, runs: Vec::new(), free: Vec::new(), ages: Vec::new(), live: 0, bytes: 0 }
    }

    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number that the next run will have.
    pub fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| u32::try_from(self.runs.len()).unwrap_or(u32::MAX))
    }

    pub fn push(&mut self, rows: RecordBatch, owners: Vec<Slot>) {
        let number = self.next();
        let bytes = rows.get_array_memory_size() + owners.capacity() * size_of::<Slot>();
        let run = Run { live: owners.len(), bytes, rows, owners };
        self.live += run.live;
        self.bytes += run.bytes;
        self.ages.push(number);
        if self.free.pop().is_some() {
            self.runs[number as usize] = Some(run);
        } else {
            self.runs.push(Some(run));
        }
    }

    /// A row is not needed any more.
    pub fn free(&mut self, run: u32, row: u32) {
        if let Some(run) = self.runs[run as usize].as_mut() {
            run.owners[row as usize] = NOBODY;
            run.live -= 1;
            self.live -= 1;
        }
    }

    /// Rows at places (run, row).
    pub fn take(&self, places: &[(u32, u32)]) -> Result<RecordBatch, ArrowError> {
        if places.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let mut positions = vec![usize::MAX; self.runs.len()];
        let mut batches = Vec::new();
        let mut indices = Vec::with_capacity(places.len());
        for (run, row) in places {
            let position = &mut positions[*run as usize];
            if *position == usize::MAX {
                let run = self.runs[*run as usize].as_ref().expect("a cell speaks of a run that is there");
                *position = batches.len();
                batches.push(&run.rows);
            }
            indices.push((*position, *row as usize));
        }
        interleave_record_batch(&batches, &indices)
    }

    /// Runs that should become one.
    pub fn untidy(&self) -> Option<Vec<u32>> {
        let run = |number: &u32| self.runs[*number as usize].as_ref();
        let sparse = |number: &u32| {
            run(number).is_some_and(|run| {
                run.live == 0 || (run.owners.len() >= ROWS_WORTH_REWRITING && 2 * run.live < run.owners.len())
            })
        };
        let live = |number: &u32| run(number).map_or(0, |run| run.live);
        let mut chosen: Vec<u32> = Vec::new();
        let mut total = 0;
        for number in self.ages.iter().filter(|number| sparse(number)) {
            if total > 0 && total + live(number) > ROWS_PER_RUN {
                break;
            }
            total += live(number);
            chosen.push(*number);
        }
        if !chosen.is_empty() {
            return Some(chosen);
        }
        // The latest, as long as each is not much larger than all that came after it.
        for number in self.ages.iter().rev() {
            let here = live(number);
            if !chosen.is_empty() && (here > 2 * total || total + here > ROWS_PER_RUN) {
                break;
            }
            total += here;
            chosen.push(*number);
        }
        (chosen.len() > 1).then_some(chosen)
    }

    /// Makes one run of several.
    pub fn rewrite(&mut self, numbers: &[u32]) -> Result<Moved, ArrowError> {
        let mut places = Vec::new();
        let mut owners = Vec::new();
        let mut moved = Vec::new();
        for number in numbers {
            let Some(run) = self.runs[*number as usize].as_ref() else { continue };
            let mut rows = vec![u32::MAX; run.owners.len()];
            for (row, owner) in (0_u32..).zip(&run.owners) {
                if *owner != NOBODY {
                    rows[row as usize] = u32::try_from(places.len()).unwrap_or(u32::MAX);
                    places.push((*number, row));
                    owners.push(*owner);
                }
            }
            moved.push((*number, rows));
        }
        let rows = self.take(&places)?;
        let columns = rows.columns().iter().map(compact).collect::<Result<Vec<_>, _>>()?;
        for number in numbers {
            if let Some(run) = self.runs[*number as usize].take() {
                self.live -= run.live;
                self.bytes -= run.bytes;
                self.free.push(*number);
            }
        }
        self.ages.retain(|number| !numbers.contains(number));
        let mut each = owners.clone();
        each.sort_unstable();
        each.dedup();
        let to = self.next();
        if !owners.is_empty() {
            self.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?, owners);
        }
        Ok(Moved { to, rows: moved, owners: each })
    }

    /// Rows that are needed.
    pub const fn rows(&self) -> usize {
        self.live
    }

    pub fn bytes(&self) -> usize {
        self.bytes + self.runs.capacity() * size_of::<Option<Run>>()
    }
}

/// The same values without the text of others: taking rows of a view array
/// keeps everything that it was taken from.
fn compact(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        DataType::List(_) => {
            let (field, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(field, offsets, compact(&values)?, nulls)?)
        }
        DataType::Struct(_) => {
            let (fields, columns, nulls) = column.as_struct().clone().into_parts();
            let columns = columns.iter().map(compact).collect::<Result<Vec<_>, _>>()?;
            let length = column.len();
            Arc::new(StructArray::try_new_with_length(fields, columns, nulls, length)?)
        }
        _ => Arc::clone(column),
    })
}
