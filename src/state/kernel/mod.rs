//! Partial aggregates of many tiles at once: a [`Kernel`] an aggregate function, or one for several
//! that keep the same ([`fits`]); one row a tile.
//!
//! States are plain numbers that are changed in place, so that a tile that grows, two tiles that are
//! put together and a value that is read cost a few nanoseconds each and allocate nothing. Those of a
//! few words stand side by side in a [`table`], the others in columns of their kernel's own. Which row
//! is whose, only [`super::pane`] knows.
//!
//! | kernel | functions |
//! |---|---|
//! | [`number`] | `count`, `sum`, `avg`, `min`, `max` of numbers and times |
//! | [`variance`] | `var_pop`, `var_samp`, `stddev_pop`, `stddev` |
//! | [`ordered`] | `first_value`, `last_value`, `nth_value` |
//! | [`distinct`] | `count(DISTINCT x)`, `array_agg(DISTINCT x)` |
//! | [`boxed`] | every other aggregate function of DataFusion, user-defined ones too |
//!
//! All of them give what DataFusion's own accumulators give; `min` and `max` are those of [`extremes`].

mod boxed;
mod distinct;
mod kernels;
mod number;
mod ordered;
mod plain;
mod table;
mod variance;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, GenericListArray, OffsetSizeTrait, UInt64Array};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

pub use kernels::{AnyKernel, Kernels};
pub use number::extremes;

/// The number of a row, the same in every kernel of a pane.
pub type Row = u32;

/// The row in which nothing ever is: its value is that of no events.
pub const NOTHING: Row = 0;

/// How the states of many tiles become that of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A state has a bounded size, whatever was merged into it: the states of all tiles up to the
    /// newest may be kept merged, one for each edge that a window may come to have.
    Stack,
    /// What was merged into a state can be subtracted again, exactly.
    Counted,
    /// Neither: the tiles of a window are merged whenever it is evaluated.
    Plain,
}

/// One row takes in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The row that grows.
    pub into: Row,
    /// The row that is read; never the same one.
    pub from: Row,
}

/// The states of an aggregate function, or of several, in columns of its own, a row each; see the module.
pub trait Kernel: fmt::Debug + Send {
    /// How windows are put together.
    fn mode(&self) -> Mode;

    /// Makes room for this many rows; those added have nothing in them. Never fewer than before.
    fn resize(&mut self, rows: usize);

    /// Keeps these rows alone: the first of them becomes row 0, and so on. Memory is given back.
    fn keep(&mut self, rows: &[Row]);

    /// Leaves nothing in these rows.
    fn clear(&mut self, rows: &[Row]);

    /// Adds events: the one at index `i` of the arguments to row `rows[i]`, but for those for which
    /// the filter is not true. The filter has no nulls.
    ///
    /// `arguments` are the arguments of each function, then the expressions that they are ordered by.
    ///
    /// # Errors
    /// What DataFusion says of the events. The rows of this call may then have anything in them.
    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, rows: &[Row]) -> Result<()>;

    /// Merges rows into others, one pair after the other. With [`Mode::Plain`] no row is read in a
    /// pair after it grew in another.
    ///
    /// # Errors
    /// What DataFusion says.
    fn merge(&mut self, pairs: &[Pair]) -> Result<()>;

    /// Takes rows out of others into which they were merged before: of [`Mode::Counted`] only.
    fn subtract(&mut self, pairs: &[Pair]) {
        debug_assert!(pairs.is_empty(), "{self:?} does not subtract");
    }

    /// The values of rows, of the type of the function with the number `output` among the kernel's.
    /// The rows stay as they are.
    ///
    /// # Errors
    /// What DataFusion says.
    fn evaluate(&self, output: usize, rows: &[Row]) -> Result<ArrayRef>;

    /// The lengths of lists that [`Kernel::evaluate`] gives, as unsigned integers of 64 bits; NULL
    /// where that gives NULL.
    ///
    /// # Errors
    /// What DataFusion says.
    fn lengths(&self, output: usize, rows: &[Row]) -> Result<ArrayRef> {
        lengths(&self.evaluate(output, rows)?)
    }

    /// The states of rows as columns, in a layout of the kernel's own.
    ///
    /// # Errors
    /// What DataFusion says.
    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>>;

    /// Puts states that [`Kernel::save`] gave into rows that have nothing in them.
    ///
    /// # Errors
    /// When the columns are not those of this kernel.
    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()>;

    /// Bytes that it takes, and may soon take: its capacity.
    fn bytes(&self) -> usize;
}

/// The lengths of lists.
fn lengths(lists: &ArrayRef) -> Result<ArrayRef> {
    fn of<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> ArrayRef {
        let lengths = lists.offsets().lengths().map(|length| length as u64);
        Arc::new(UInt64Array::new(lengths.collect(), lists.nulls().cloned()))
    }
    let small = lists.as_list_opt::<i32>().map(of);
    let lengths = small.or_else(|| lists.as_list_opt::<i64>().map(of));
    lengths.map_or_else(|| internal_err!("{} is counted, which is no list", lists.data_type()), Ok)
}

/// Whether one kernel can keep an aggregate function beside others that it keeps, if all of them
/// count the same events.
pub fn fits(kept: &[&Arc<AggregateFunctionExpr>], another: &Arc<AggregateFunctionExpr>) -> bool {
    ordered::fits(kept, another)
}

/// The kernel of an aggregate function, or of several that fit, with nothing in it and no room.
///
/// # Errors
/// When DataFusion cannot make an accumulator.
pub fn kernel(aggregates: &[&Arc<AggregateFunctionExpr>]) -> Result<AnyKernel> {
    if let Some(kernel) = ordered::kernel(aggregates) {
        return Ok(AnyKernel::Own(kernel));
    }
    let [aggregate] = aggregates else {
        return internal_err!("{} aggregates of which each needs a kernel", aggregates.len());
    };
    if let Some(kernel) = number::kernel(aggregate).or_else(|| variance::kernel(aggregate)) {
        return Ok(AnyKernel::Packed(kernel));
    }
    let own = distinct::kernel(aggregate).map_or_else(|| boxed::kernel(aggregate), Ok);
    own.map(AnyKernel::Own)
}
