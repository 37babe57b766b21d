//! Tiles have numbers. Between two multiples of the tile's size, `k` and
//! `k + 1`, lies number `2k + 1`; what happened exactly at `k` has number `2k`,
//! so that every comparison with an edge at a multiple is a comparison of
//! numbers, whether it is `>` or `>=`:
//!
//! ```text
//!        k           k+1          k+2
//! ───────┼────────────┼────────────┼──────▶ event time
//!       2k    2k+1   2k+2   2k+3  2k+4
//! ```
//! When all edges are of one kind, a multiple goes with the tile that it is
//! never cut from.
//!
//! Aggregates that are seen through the same edges are a [`Pane`]. Each has
//! tiles of its own: as fine as its edges move, as far back as they reach.

use std::ops::Range;

use super::leaf::{Comparison, Edge, Leaf, gcd, grain};
use crate::time::{EventTime, Span};

/// What happens to events exactly between two tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// They go with the earlier one: all edges are `>` or `<=`.
    Earlier,
    /// They go with the later one: all edges are `>=` or `<`.
    Later,
    /// They are a tile of their own.
    Own,
}

/// How tiles are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    size: i64,
    between: Between,
}

impl Numbering {
    fn of(edges: &[Edge]) -> Self {
        let size = edges.iter().fold(0, |size, edge| gcd(size, grain(*edge).0)).max(1);
        let closes = |edge: &Edge| matches!(edge.comparison, Comparison::After | Comparison::Until);
        let between = if edges.iter().all(closes) {
            Between::Earlier
        } else if edges.iter().any(closes) {
            Between::Own
        } else {
            Between::Later
        };
        Self { size, between }
    }

    /// How much event time a tile has.
    pub const fn size(self) -> Span {
        Span(self.size)
    }

    /// The number of the tile in which an event falls.
    pub const fn number(self, event_time: i64) -> i64 {
        let even = event_time.div_euclid(self.size).saturating_mul(2);
        if event_time.rem_euclid(self.size) != 0 {
            return even.saturating_add(1);
        }
        match self.between {
            Between::Earlier => even.saturating_sub(1),
            Between::Later => even.saturating_add(1),
            Between::Own => even,
        }
    }

    /// Where the tile with a number begins.
    pub const fn begin(self, number: i64) -> EventTime {
        EventTime(number.div_euclid(2).saturating_mul(self.size))
    }

    /// The number of an edge, which lies at a multiple of the size.
    fn edge(self, edge: Edge, clock: EventTime) -> i64 {
        edge.at(clock).micros().div_euclid(self.size).saturating_mul(2)
    }
}

/// Aggregates seen through the same edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// The edges that decide; those that others never let decide are left out.
    edges: Vec<Edge>,
    /// How its tiles are numbered.
    pub numbering: Numbering,
}

impl Pane {
    fn of(mut edges: Vec<Edge>) -> Self {
        edges.sort_unstable();
        edges.dedup();
        let all = edges.clone();
        edges.retain(|edge| !all.iter().any(|other| other != edge && implies(*other, *edge)));
        Self { numbering: Numbering::of(&edges), edges }
    }

    /// The tiles that are inside at a clock.
    pub fn inside(&self, clock: EventTime) -> Range<i64> {
        let mut inside = i64::MIN..i64::MAX;
        for edge in &self.edges {
            let number = self.numbering.edge(*edge, clock);
            match edge.comparison {
                Comparison::After => inside.start = inside.start.max(number.saturating_add(1)),
                Comparison::From => inside.start = inside.start.max(number),
                Comparison::Before => inside.end = inside.end.min(number),
                Comparison::Until => inside.end = inside.end.min(number.saturating_add(1)),
            }
        }
        inside
    }

    /// The first tile that may be needed at this clock of the events or later.
    pub fn floor(&self, clock: EventTime) -> i64 {
        self.inside(clock).start
    }

    /// How far back it reaches.
    pub fn reach(&self) -> Span {
        let lower = self.edges.iter().filter(|edge| edge.comparison.is_lower());
        lower.map(|edge| edge.window.span()).min().unwrap_or_default()
    }

    /// Whether tiles leave it only, and none enters but by being new.
    pub fn is_open(&self) -> bool {
        self.edges.iter().all(|edge| edge.comparison.is_lower())
    }

    /// Tiles that are inside at one clock and not at the other, in at most two ranges.
    pub fn crossed(&self, before: EventTime, now: EventTime) -> [Range<i64>; 2] {
        let (before, now) = (self.inside(before), self.inside(now));
        let between = |one: i64, other: i64| one.min(other)..one.max(other);
        [between(before.start, now.start), between(before.end, now.end)]
    }
}

/// Whether what is inside of one edge is inside of the other at every clock.
fn implies(edge: Edge, other: Edge) -> bool {
    if edge.comparison.is_lower() != other.comparison.is_lower() {
        return false;
    }
    let (later, earlier) = if edge.comparison.is_lower() { (edge, other) } else { (other, edge) };
    let ahead = earlier.window.length.saturating_sub(later.window.length);
    if edge.window.resolution == other.window.resolution && edge.comparison == other.comparison {
        return ahead >= 0;
    }
    // An edge lies less than a step ahead of where it would be without steps.
    ahead >= earlier.window.resolution.0
}

/// The panes of a leaf, and of each of its aggregates which pane it belongs to.
/// The first pane has every event of the leaf, and so says which groups there are.
pub fn panes(leaf: &Leaf) -> (Vec<Pane>, Vec<usize>) {
    let mut panes = vec![Pane::of(leaf.bounds.clone())];
    let places = leaf.aggregates.iter().map(|seen| {
        let pane = Pane::of(leaf.bounds.iter().chain(&seen.edges).copied().collect());
        panes.iter().position(|known| *known == pane).unwrap_or_else(|| {
            panes.push(pane);
            panes.len() - 1
        })
    });
    let places = places.collect();
    (panes, places)
}

/// Edges each of which counts for itself: a pane of each, and the one numbering that all of them have.
pub fn apart(edges: impl IntoIterator<Item = Edge>) -> (Numbering, Vec<Pane>) {
    let edges: Vec<Edge> = edges.into_iter().collect();
    let numbering = Numbering::of(&edges);
    (numbering, edges.into_iter().map(|edge| Pane { edges: vec![edge], numbering }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::window::Window;

    const SECOND: i64 = 1_000_000;

    fn edge(comparison: Comparison, length: i64, resolution: i64) -> Edge {
        Edge { comparison, window: Window { length: length * SECOND, resolution: Span(resolution * SECOND) } }
    }

    /// Numbers compare as times do.
    #[track_caller]
    fn check(edges: &[Edge]) {
        let pane = Pane::of(edges.to_vec());
        for clock in [999_999_000_000, 1_000_000_000_000, 1_000_000_000_001, 1_000_000_500_000] {
            let clock = EventTime(clock);
            let inside = pane.inside(clock);
            for time in (-12_000_000..2_000_000).step_by(250_000).flat_map(|at| [at - 1, at, at + 1]) {
                let time = clock.micros() + time;
                let is_inside = edges.iter().all(|edge| match edge.comparison {
                    Comparison::After => time > edge.at(clock).micros(),
                    Comparison::From => time >= edge.at(clock).micros(),
                    Comparison::Before => time < edge.at(clock).micros(),
                    Comparison::Until => time <= edge.at(clock).micros(),
                });
                assert_eq!(inside.contains(&pane.numbering.number(time)), is_inside, "{edges:?} at {time}");
            }
        }
    }

    #[test]
    fn every_comparison_with_an_edge_is_one_of_numbers() {
        use Comparison::{After, Before, From, Until};
        check(&[edge(After, 5, 1)]);
        check(&[edge(After, 1, 1), edge(After, 10, 5), edge(Until, 0, 1)]);
        check(&[edge(From, 1, 1), edge(Before, 0, 1), edge(From, 10, 2)]);
        check(&[edge(From, 1, 1), edge(Until, 0, 1), edge(After, 10, 5)]);
        check(&[edge(After, 3, 2), edge(Before, -1, 2)]);
        check(&[edge(After, 3, 2), edge(After, 4, 5), edge(Until, 1, 1), edge(Until, 0, 2)]);
        check(&[edge(After, 4, 1), edge(From, 4, 1), edge(Before, 1, 1), edge(Until, 1, 1)]);
    }

    #[test]
    fn an_edge_that_never_decides_is_left_out() {
        use Comparison::{After, From, Until};
        let minutes = edge(After, 300, 1);
        assert_eq!(Pane::of(vec![minutes, edge(After, 86_400, 60)]).edges, [minutes]);
        assert_eq!(Pane::of(vec![minutes, edge(After, 301, 60)]).edges.len(), 2);
        assert_eq!(Pane::of(vec![edge(From, 300, 1), minutes]).edges.len(), 2);
        let hour_ago = edge(Until, 3600, 1);
        assert_eq!(Pane::of(vec![hour_ago, edge(Until, 0, 60)]).edges, [hour_ago]);
    }
}
