//! A view's shard in an engine that looks at touched entities only, whichever it is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SessionState;

use super::Engine;
use super::entities::Entities;
use super::keyed::Keyed;
use super::sweep::Sweep;
use super::tiled::Tiled;
use super::touched::{Outcome, Touched, Unusable};
use crate::state::keys::Slot;
use crate::time::EventTime;
use crate::view::FeatureView;

/// See the module.
pub enum ByEntity {
    /// From partial aggregates.
    Tiled(Tiled),
    /// From events.
    Keyed(Keyed),
}

impl ByEntity {
    /// An empty shard; `None` when the view is not evaluated by entity.
    /// `decoded` gives the columns of a stream that are decoded.
    ///
    /// # Errors
    /// What DataFusion says; ours, since the view was analysed before.
    pub async fn try_new(
        engine: Engine,
        view: &Arc<FeatureView>,
        state: &SessionState,
        decoded: impl Fn(&str) -> SchemaRef,
    ) -> Result<Option<Self>> {
        Ok(match (engine, &view.tiling, &view.keying) {
            (Engine::Tiled, Ok(tiling), _) => {
                Some(Self::Tiled(Tiled::try_new(view, tiling, state, decoded).await?))
            }
            (Engine::Keyed, _, Ok(keying)) => Some(Self::Keyed(Keyed::try_new(view, keying, decoded)?)),
            _ => None,
        })
    }

    /// The tiles, where it is evaluated from them.
    pub const fn tiled(&mut self) -> Option<&mut Tiled> {
        match self {
            Self::Tiled(tiled) => Some(tiled),
            Self::Keyed(_) => None,
        }
    }

    /// Another empty shard of the same view.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn another(&self) -> Result<Self> {
        match self {
            Self::Tiled(tiled) => tiled.another().map(Self::Tiled),
            Self::Keyed(keyed) => keyed.another().map(Self::Keyed),
        }
    }

    /// Takes accepted events of a stream's partition in.
    ///
    /// # Errors
    /// Only of our own making: events on which the view fails are counted.
    pub fn update(&mut self, stream: &str, partition: i32, events: &RecordBatch) -> Result<Unusable> {
        match self {
            Self::Tiled(tiled) => tiled.update(stream, partition, events),
            Self::Keyed(keyed) => keyed.update(stream, partition, events),
        }
    }

    /// Forgets what came from a stream's partition: it is given up, or read anew.
    pub fn forget(&mut self, stream: &str, partition: i32) {
        match self {
            Self::Tiled(tiled) => tiled.forget(stream, partition),
            Self::Keyed(keyed) => keyed.forget(stream, partition),
        }
    }

    /// Has the next evaluation look at these, as far as they are known.
    pub fn touch(&mut self, slots: &[Slot]) {
        self.entities_mut().touch_known(slots);
    }

    /// Those that the next evaluations look at.
    pub const fn touched_mut(&mut self) -> &mut Touched {
        self.entities_mut().touched_mut()
    }

    /// A sweep over every entity.
    pub fn sweep(&self) -> Sweep {
        match self {
            Self::Tiled(tiled) => Sweep::over(tiled.activity()),
            Self::Keyed(keyed) => Sweep::over(keyed.activity()),
        }
    }

    const fn entities_mut(&mut self) -> &mut Entities {
        match self {
            Self::Tiled(tiled) => tiled.entities_mut(),
            Self::Keyed(keyed) => keyed.entities_mut(),
        }
    }

    /// The rows of those entities for which something happened since the last evaluation.
    ///
    /// # Errors
    /// When the view's SQL fails. What is to be evaluated stays so.
    pub async fn evaluate(&mut self, state: &SessionState, clock: EventTime) -> Result<Outcome> {
        match self {
            Self::Tiled(tiled) => tiled.evaluate(state, clock).await,
            Self::Keyed(keyed) => keyed.evaluate(state, clock).await,
        }
    }

    /// The same of so many of them at most, and how many are left, for the same
    /// clock. To be repeated until none is.
    ///
    /// # Errors
    /// When the view's SQL fails. What is to be evaluated stays so.
    pub async fn evaluate_some(
        &mut self,
        state: &SessionState,
        clock: EventTime,
        most: usize,
    ) -> Result<(Outcome, usize)> {
        self.entities_mut().bound(most);
        let outcome = self.evaluate(state, clock).await;
        let entities = self.entities_mut();
        entities.bound(usize::MAX);
        Ok((outcome?, entities.waiting()))
    }

    /// Drops what no window holds any more.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn advance(&mut self, clock: EventTime) -> Result<()> {
        match self {
            Self::Tiled(tiled) => tiled.advance(clock),
            Self::Keyed(keyed) => keyed.advance(clock),
        }
    }

    /// Entities known.
    pub fn len(&self) -> usize {
        match self {
            Self::Tiled(tiled) => tiled.len(),
            Self::Keyed(keyed) => keyed.len(),
        }
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows kept: of tiles, or events.
    pub fn rows(&self) -> usize {
        match self {
            Self::Tiled(tiled) => tiled.rows(),
            Self::Keyed(keyed) => keyed.rows(),
        }
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Tiled(tiled) => tiled.bytes(),
            Self::Keyed(keyed) => keyed.bytes(),
        }
    }
}
