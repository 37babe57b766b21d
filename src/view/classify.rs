//! How a view can be evaluated, and why.

use std::collections::BTreeSet;
use std::fmt;

use super::tiling::Tiling;

/// The ways of evaluating a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// From partial aggregates, for the touched entities only.
    Tiled,
    /// The SQL is run over every event kept.
    Full,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiled => "tiled",
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
pub fn classify(tiling: &Result<Tiling, String>) -> Classification {
    match tiling {
        Ok(tiling) => {
            let streams: BTreeSet<&str> = tiling.leaves.iter().map(|leaf| leaf.stream.as_str()).collect();
            let streams: Vec<String> = streams.into_iter().map(|stream| format!("`{stream}`")).collect();
            Classification {
                class: Class::Tiled,
                reason: format!("its aggregates over {} are kept in tiles by entity", streams.join(" and ")),
                cost: "entities touched",
            }
        }
        Err(why) => Classification {
            class: Class::Full,
            reason: format!("not tiled: {why}; the SQL is run over all events that its windows hold"),
            cost: "all events kept",
        },
    }
}
