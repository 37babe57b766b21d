//! How a view can be evaluated, and why.

use std::fmt;

use datafusion::logical_expr::LogicalPlan;

/// The ways of evaluating a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The SQL is run over every event kept.
    Full,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
        }
    }
}

/// A class and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    /// The class.
    pub class: Class,
    /// Why it is no better one.
    pub reason: String,
    /// With what the cost of a batch grows.
    pub cost: &'static str,
}

/// Classifies an optimised plan. There is one way so far, which can evaluate
/// anything.
pub fn classify(_plan: &LogicalPlan) -> Classification {
    Classification {
        class: Class::Full,
        reason: "the SQL is run over all events that its windows hold".to_owned(),
        cost: "all events kept",
    }
}
