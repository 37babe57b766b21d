//! From what is kept to rows of features.
//!
//! [`reference`] reruns a view's SQL over every retained event: exact for any
//! SQL, and the oracle against which any faster way is tested. [`tiled`] keeps
//! partial aggregates, [`keyed`] events by entity; both evaluate the touched
//! entities only, and [`by_entity`] is either of them. [`changes`] tells what
//! differs from what was written before.

pub mod by_entity;
pub mod changes;
mod entities;
pub mod keyed;
pub mod reference;
pub mod sweep;
pub mod tiled;
pub mod touched;

use crate::view::FeatureView;
use crate::view::classify::Class;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Its SQL is rerun over all retained events.
    Reference,
    /// From partial aggregates, for the touched entities ([`tiled`]).
    Tiled,
    /// Its SQL is rerun over the events of the touched entities ([`keyed`]).
    Keyed,
}

impl Engine {
    /// The way for a class.
    pub const fn for_class(class: Class) -> Self {
        match class {
            Class::Tiled => Self::Tiled,
            Class::Keyed => Self::Keyed,
            Class::Full => Self::Reference,
        }
    }
}

impl Error {
    /// Of a view whose SQL failed.
    pub fn query(view: &FeatureView, source: datafusion::error::DataFusionError) -> Self {
        Self::Query { view: view.name.clone(), source: Box::new(source) }
    }
}
