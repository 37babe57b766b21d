//! From what is kept to rows of features.
//!
//! [`reference`] reruns a view's SQL over every retained event: exact for any
//! SQL, and the oracle against which any faster way is tested. [`Engine`] is
//! where a faster way joins. [`changes`] tells what differs from what was
//! written before.

pub mod changes;
pub mod reference;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;

use crate::time::EventTime;
use crate::view::FeatureView;
use crate::view::classify::Class;
use reference::Rows;

/// What went wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The view's SQL failed on the events as they are: a cast, an overflow.
    #[error("view `{view}` could not be evaluated")]
    Query {
        /// The view.
        view: String,
        /// What DataFusion says.
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
}

/// The way in which a view is evaluated.
#[derive(Debug, Clone, Copy)]
pub enum Engine {
    /// Its SQL is rerun over all retained events.
    Reference,
}

impl Engine {
    /// The way for a class.
    pub const fn for_class(class: Class) -> Self {
        match class {
            Class::Full => Self::Reference,
        }
    }

    /// Every row of the view at `clock`.
    ///
    /// # Errors
    /// When the view's SQL fails.
    pub async fn evaluate(
        self,
        state: &SessionState,
        view: &FeatureView,
        clock: EventTime,
        rows: &impl Rows,
    ) -> Result<RecordBatch, Error> {
        match self {
            Self::Reference => reference::evaluate(state, view, clock, rows)
                .await
                .map_err(|source| Error::Query { view: view.name.clone(), source: Box::new(source) }),
        }
    }
}
