//! All kernels of a pane. The states of those that can share a [`Table`] stand in it; the others
//! have columns of their own.

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, internal_err};

use super::table::{Packed, Table};
use super::{Kernel, Mode, Pair, Row, lengths};

/// So many pairs are merged in one kernel after the other before the next ones: their rows stay in
/// the processor's nearest cache meanwhile.
const PAIRS: usize = 64;

/// A kernel, by where its states are.
#[derive(Debug)]
pub enum AnyKernel {
    /// Beside those of others.
    Packed(Box<dyn Packed>),
    /// In columns of its own.
    Own(Box<dyn Kernel>),
}

#[derive(Debug)]
enum Place {
    Table { kernel: Box<dyn Packed>, at: usize },
    Own(Box<dyn Kernel>),
}

/// See the module. Kernels are known by their numbers, in the order in which they were given.
#[derive(Debug)]
pub struct Kernels {
    table: Table,
    places: Vec<Place>,
    /// The modes that they have, each once.
    modes: Vec<Mode>,
}

impl Kernels {
    /// Without rows.
    pub fn new(kernels: Vec<AnyKernel>) -> Self {
        let mut table = Table::default();
        let place = |kernel| match kernel {
            AnyKernel::Packed(kernel) => Place::Table { at: table.widen(&kernel.nothing()), kernel },
            AnyKernel::Own(kernel) => Place::Own(kernel),
        };
        let places: Vec<Place> = kernels.into_iter().map(place).collect();
        let modes = [Mode::Stack, Mode::Counted, Mode::Plain];
        let modes = modes.into_iter().filter(|mode| places.iter().any(|place| place.mode() == *mode));
        Self { modes: modes.collect(), table, places }
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.places.len()
    }

    /// The modes that they have, each once.
    pub fn modes(&self) -> &[Mode] {
        &self.modes
    }

    /// The mode of one.
    pub fn mode(&self, kernel: usize) -> Mode {
        self.places[kernel].mode()
    }

    /// Makes room for this many rows; those added have nothing in them. Never fewer than before.
    pub fn resize(&mut self, rows: usize) {
        self.table.resize(rows);
        self.own().for_each(|kernel| kernel.resize(rows));
    }

    /// Keeps these rows alone: the first of them becomes row 0, and so on. Memory is given back.
    pub fn keep(&mut self, rows: &[Row]) {
        self.table.keep(rows);
        self.own().for_each(|kernel| kernel.keep(rows));
    }

    /// Leaves nothing in these rows.
    pub fn clear(&mut self, rows: &[Row]) {
        self.table.clear(rows);
        self.own().for_each(|kernel| kernel.clear(rows));
    }

    /// Leaves nothing in these rows of the kernels of a mode.
    pub fn clear_of(&mut self, mode: Mode, rows: &[Row]) {
        if mode == Mode::Stack {
            self.table.clear(rows);
        }
        self.own().filter(|kernel| kernel.mode() == mode).for_each(|kernel| kernel.clear(rows));
    }

    /// Adds events in one kernel; see [`Kernel::update`].
    ///
    /// # Errors
    /// What DataFusion says of the events. The rows of this call may then have anything in them.
    pub fn update(
        &mut self,
        kernel: usize,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &[Row],
    ) -> Result<()> {
        match &mut self.places[kernel] {
            Place::Table { kernel, at } => kernel.update(&mut self.table, *at, arguments, filter, rows),
            Place::Own(kernel) => kernel.update(arguments, filter, rows),
        }
    }

    /// Merges rows into others in all kernels of a mode; see [`Kernel::merge`].
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn merge_of(&mut self, mode: Mode, pairs: &[Pair]) -> Result<()> {
        if mode == Mode::Stack {
            for pairs in pairs.chunks(PAIRS) {
                for place in &self.places {
                    if let Place::Table { kernel, at } = place {
                        kernel.merge(&mut self.table, *at, pairs);
                    }
                }
            }
        }
        self.own().filter(|kernel| kernel.mode() == mode).try_for_each(|kernel| kernel.merge(pairs))
    }

    /// Takes rows out of others in all counted kernels; see [`Kernel::subtract`].
    pub fn subtract(&mut self, pairs: &[Pair]) {
        let counted = self.own().filter(|kernel| kernel.mode() == Mode::Counted);
        counted.for_each(|kernel| kernel.subtract(pairs));
    }

    /// The values of rows of one of a kernel's functions.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn evaluate(&self, kernel: usize, output: usize, rows: &[Row]) -> Result<ArrayRef> {
        match &self.places[kernel] {
            Place::Table { kernel, at } => kernel.evaluate(&self.table, *at, rows),
            Place::Own(kernel) => kernel.evaluate(output, rows),
        }
    }

    /// The lengths of the lists that one of a kernel's functions gives of rows; see [`Kernel::lengths`].
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn lengths(&self, kernel: usize, output: usize, rows: &[Row]) -> Result<ArrayRef> {
        match &self.places[kernel] {
            Place::Table { .. } => lengths(&self.evaluate(kernel, output, rows)?),
            Place::Own(kernel) => kernel.lengths(output, rows),
        }
    }

    /// The states of rows, kernel by kernel.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn save(&self, rows: &[Row]) -> Result<Vec<Vec<ArrayRef>>> {
        let save = |place: &Place| match place {
            Place::Table { kernel, at } => kernel.save(&self.table, *at, rows),
            Place::Own(kernel) => kernel.save(rows),
        };
        self.places.iter().map(save).collect()
    }

    /// Puts states that [`Kernels::save`] gave of one kernel into rows that have nothing in them.
    ///
    /// # Errors
    /// When they are not those of that kernel.
    pub fn load(&mut self, kernel: usize, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        match self.places.get_mut(kernel) {
            Some(Place::Table { kernel, at }) => kernel.load(&mut self.table, *at, rows, states),
            Some(Place::Own(kernel)) => kernel.load(rows, states),
            None => internal_err!("there is no kernel {kernel}"),
        }
    }

    /// Bytes that they take, and may soon take.
    pub fn bytes(&self) -> usize {
        let of_place = |place: &Place| match place {
            Place::Table { .. } => 0,
            Place::Own(kernel) => kernel.bytes(),
        };
        self.table.bytes() + self.places.iter().map(of_place).sum::<usize>()
    }

    /// Those with columns of their own.
    fn own(&mut self) -> impl Iterator<Item = &mut Box<dyn Kernel>> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Own(kernel) => Some(kernel),
            Place::Table { .. } => None,
        })
    }
}

impl Place {
    fn mode(&self) -> Mode {
        match self {
            Self::Table { .. } => Mode::Stack,
            Self::Own(kernel) => kernel.mode(),
        }
    }
}
