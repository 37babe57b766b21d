//! How a view can be evaluated, and why.

use std::collections::BTreeSet;
use std::fmt;

use super::keying::Keying;
use super::tiling::Tiling;

/// The ways of evaluating a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// From partial aggregates, for the touched entities only.
    Tiled,
    /// The SQL is run over the events of the touched entities.
    Keyed,
    /// The SQL is run over every event kept.
    Full,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiled => "tiled",
            Self::Keyed => "keyed",
            Self::Full => "full",
        })
    }
}

/// A class and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    /// The class.
    pub class: Class,
    /// Why it is this one.
    pub reason: String,
    /// With what the cost of a batch grows.
    pub cost: &'static str,
}

/// Classifies a view by what came of taking it apart.
pub fn classify(tiling: &Result<Tiling, String>, keying: &Result<Keying, String>) -> Classification {
    match (tiling, keying) {
        (Ok(tiling), _) => {
            let streams: BTreeSet<&str> = tiling.leaves.iter().map(|leaf| leaf.stream.as_str()).collect();
            let streams: Vec<String> = streams.into_iter().map(|stream| format!("`{stream}`")).collect();
            Classification {
                class: Class::Tiled,
                reason: format!("its aggregates over {} are kept in tiles by entity", streams.join(" and ")),
                cost: "entities touched",
            }
        }
        (Err(not_tiled), Ok(_)) => Classification {
            class: Class::Keyed,
            reason: format!(
                "not tiled: {not_tiled}; no row needs events of several entities, so the SQL is run over those of the touched ones"
            ),
            cost: "events of the entities touched",
        },
        (Err(not_tiled), Err(not_keyed)) => Classification {
            class: Class::Full,
            reason: format!(
                "not tiled: {not_tiled}; not keyed: {not_keyed}; the SQL is run over all events that its windows hold"
            ),
            cost: "all events kept",
        },
    }
}
