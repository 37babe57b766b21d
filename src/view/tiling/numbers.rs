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
//! never cut from. A coarser tile has the number of the first fine one in it.
//!
//! Base aggregates whose windows reach about as far back are kept together in a
//! [`Stratum`]: the state of a five-minute window is not kept for a day.

use std::collections::BTreeSet;

use super::leaf::{Comparison, Edge, Leaf, gcd, grain};
use crate::time::{EventTime, Span};

/// Base aggregates are kept together when the longest reaches at most this many
/// times as far as the shortest: each stratum costs a pass over every batch.
const REACH_RATIO: i64 = 8;

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
    fn of(edges: &BTreeSet<Edge>) -> Self {
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

    /// The finest tiles' size.
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

    /// The number of an edge, which lies at a multiple of the size.
    pub fn edge(self, edge: Edge, clock: EventTime) -> i64 {
        edge.at(clock).micros().div_euclid(self.size).saturating_mul(2)
    }
}

/// Whether a tile is on the inner side of an edge with this number.
pub const fn keeps(comparison: Comparison, edge: i64, tile: i64) -> bool {
    match comparison {
        Comparison::After => tile > edge,
        Comparison::From => tile >= edge,
        Comparison::Before => tile < edge,
        Comparison::Until => tile <= edge,
    }
}

/// A size of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// How many of the finest tiles one of these is.
    pub ratio: i64,
    /// Tiles that all of these edges have passed can have this size: no other cuts it.
    pub passed: Vec<Edge>,
}

impl Level {
    /// The number that a fine tile has at this level.
    pub const fn coarse(&self, tile: i64) -> i64 {
        let multiple = tile.div_euclid(2);
        if tile.rem_euclid(2) == 0 && multiple.rem_euclid(self.ratio) == 0 {
            return tile;
        }
        multiple.div_euclid(self.ratio).saturating_mul(self.ratio).saturating_mul(2).saturating_add(1)
    }
}

/// Base aggregates that are kept together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stratum {
    /// Which of [`Leaf::bases`].
    pub bases: Vec<usize>,
    /// How its tiles are numbered.
    pub numbering: Numbering,
    /// Every edge that can cut its tiles.
    pub edges: BTreeSet<Edge>,
    /// Sizes of tiles, the finest first.
    pub levels: Vec<Level>,
    /// Sets of lower edges: a tile is needed while some set is behind it as a whole.
    reaches: BTreeSet<Vec<Edge>>,
}

/// What a stratum's tiles are to be at some clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundaries {
    /// Tiles before this one are not needed any more.
    pub floor: i64,
    /// For each level but the finest: tiles before this one belong to it.
    pub coarser: Vec<i64>,
}

impl Stratum {
    /// Where its tiles end and become coarser, at the time of the events themselves.
    pub fn boundaries(&self, clock: EventTime) -> Boundaries {
        let number = |edge: &Edge| self.numbering.edge(*edge, clock);
        let floor = self.reaches.iter().filter_map(|reach| reach.iter().map(number).max()).min();
        let coarser = self.levels[1..]
            .iter()
            .map(|level| {
                let passed = level.passed.iter().map(number).min().unwrap_or(i64::MIN);
                // Only tiles that are passed as a whole.
                passed.div_euclid(2).div_euclid(level.ratio).saturating_mul(level.ratio).saturating_mul(2)
            })
            .collect();
        Boundaries { floor: floor.unwrap_or(i64::MIN), coarser }
    }
}

/// How far back a set of lower edges that hold together reaches.
fn reach(edges: &[Edge]) -> i64 {
    edges.iter().map(|edge| edge.window.length).min().unwrap_or(i64::MAX)
}

/// Divides a leaf's base aggregates by how far back they reach. The first
/// stratum has every event of the leaf, and so says which groups there are.
pub fn strata(leaf: &Leaf) -> Vec<Stratum> {
    let lower = |edges: &[Edge]| {
        let all = edges.iter().chain(&leaf.bounds).copied();
        let mut lower: Vec<Edge> = all.filter(|edge| edge.comparison.is_lower()).collect();
        lower.sort_unstable();
        lower.dedup();
        lower
    };
    let reaches: Vec<(usize, Vec<Edge>)> =
        leaf.aggregates.iter().map(|seen| (seen.base, lower(&seen.edges))).collect();
    let furthest = |base: usize| {
        reaches.iter().filter(|(of, _)| *of == base).map(|(_, edges)| reach(edges)).max().unwrap_or(0)
    };
    let mut bases: Vec<usize> = (0..leaf.bases.len()).collect();
    bases.sort_by_key(|base| std::cmp::Reverse(furthest(*base)));
    let mut parts: Vec<(i64, Vec<usize>)> = vec![(reach(&lower(&[])), Vec::new())];
    for base in bases {
        let reach = furthest(base);
        let fits = |(longest, _): &(i64, Vec<usize>)| reach.saturating_mul(REACH_RATIO) >= *longest;
        if parts.last().is_some_and(fits)
            && let Some((_, part)) = parts.last_mut()
        {
            part.push(base);
        } else {
            parts.push((reach, vec![base]));
        }
    }
    let stratum = |(index, (_, bases)): (usize, (i64, Vec<usize>))| {
        let of_bases = leaf.aggregates.iter().filter(|seen| bases.contains(&seen.base));
        let mut edges: BTreeSet<Edge> = leaf.bounds.iter().copied().collect();
        edges.extend(of_bases.flat_map(|seen| seen.edges.iter().copied()));
        let own = reaches.iter().filter(|(base, _)| bases.contains(base)).map(|(_, edges)| edges.clone());
        let mut reaches: BTreeSet<Vec<Edge>> = own.collect();
        if index == 0 {
            reaches.insert(lower(&[]));
        }
        let numbering = Numbering::of(&edges);
        let levels = levels(&edges, numbering.size);
        Stratum { bases, numbering, edges, levels, reaches }
    };
    parts.into_iter().enumerate().map(stratum).collect()
}

/// As edges pass, from the latest to the earliest, those that are left may all
/// be multiples of something longer.
fn levels(edges: &BTreeSet<Edge>, size: i64) -> Vec<Level> {
    let mut by_age: Vec<Edge> = edges.iter().copied().collect();
    by_age.sort_by_key(|edge| edge.window.length);
    let mut levels = vec![Level { ratio: 1, passed: Vec::new() }];
    for count in 1..by_age.len() {
        let (passed, left) = by_age.split_at(count);
        let ratio = left.iter().fold(0, |size, edge| gcd(size, grain(*edge).0)).max(1) / size;
        if levels.last().is_some_and(|level| level.ratio < ratio) {
            levels.push(Level { ratio, passed: passed.to_vec() });
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::window::Window;

    const SECOND: i64 = 1_000_000;

    fn edge(comparison: Comparison, length: i64, resolution: i64) -> Edge {
        Edge { comparison, window: Window { length: length * SECOND, resolution: Span(resolution * SECOND) } }
    }

    /// Numbers compare as times do, at every level.
    #[track_caller]
    fn check(edges: &[Edge]) {
        let set: BTreeSet<Edge> = edges.iter().copied().collect();
        let numbering = Numbering::of(&set);
        let levels = levels(&set, numbering.size);
        for clock in [999_999_000_000, 1_000_000_000_000, 1_000_000_000_001, 1_000_000_500_000] {
            let clock = EventTime(clock);
            for time in (-12_000_000..2_000_000).step_by(250_000).flat_map(|at| [at - 1, at, at + 1]) {
                let time = clock.micros() + time;
                for edge in edges {
                    let number = numbering.edge(*edge, clock);
                    let is_inside = match edge.comparison {
                        Comparison::After => time > edge.at(clock).micros(),
                        Comparison::From => time >= edge.at(clock).micros(),
                        Comparison::Before => time < edge.at(clock).micros(),
                        Comparison::Until => time <= edge.at(clock).micros(),
                    };
                    let tile = numbering.number(time);
                    assert_eq!(keeps(edge.comparison, number, tile), is_inside, "{edge:?} at {time}");
                    for level in &levels {
                        if !level.passed.contains(edge) {
                            let tile = level.coarse(tile);
                            let keeps = keeps(edge.comparison, number, tile);
                            assert_eq!(keeps, is_inside, "{edge:?} at {time}, coarse");
                        }
                    }
                }
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
    }

    #[test]
    fn what_only_longer_windows_hold_becomes_coarser() {
        let edges = BTreeSet::from([edge(Comparison::After, 300, 1), edge(Comparison::After, 86_400, 60)]);
        let levels = levels(&edges, SECOND);
        assert_eq!(levels.iter().map(|level| level.ratio).collect::<Vec<_>>(), [1, 60]);
        assert_eq!(levels[1].passed, [edge(Comparison::After, 300, 1)]);
    }
}
