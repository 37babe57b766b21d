//! How a run is doing, read from its own metrics: what anybody could scrape.
//!
//! Freshness is a histogram, so a percentile is interpolated within the bucket
//! in which it falls; a recent one is that of what the buckets gained.

use std::collections::VecDeque;
use std::time::Duration;

/// What is recent.
const WINDOW: Duration = Duration::from_secs(5);

/// The numbers of one moment, since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Vitals {
    /// Events taken.
    pub(super) events: f64,
    /// Events that could not be used.
    pub(super) dead_letters: f64,
    /// Events that were not published yet.
    pub(super) lag: f64,
    /// From the broker's acceptance of an event to the store's acknowledgement, in seconds.
    pub(super) freshness: Buckets,
}

impl Vitals {
    /// Reads Prometheus' text format.
    pub(super) fn read(text: &str) -> Self {
        let mut vitals = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "stream_events_processed_total" => vitals.events += value,
                "stream_dead_letters_total" => vitals.dead_letters += value,
                "kafka_consumer_lag" => vitals.lag += value,
                "stream_freshness_seconds_bucket" => {
                    if let Some(upper) = label(labels, "le").and_then(|upper| upper.parse().ok()) {
                        vitals.freshness.add(upper, value);
                    }
                }
                _ => {}
            }
        }
        vitals
    }
}

/// A label's value. Ours come from closed sets: none has a comma or a quote in it.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels
        .trim_end_matches('}')
        .split(',')
        .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// A histogram: upper bounds, each with how many values are not above it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    fn add(&mut self, upper: f64, count: f64) {
        match self.0.iter_mut().find(|(known, _)| known.total_cmp(&upper).is_eq()) {
            Some((_, sum)) => *sum += count,
            None => {
                self.0.push((upper, count));
                self.0.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            }
        }
    }

    /// What was gained since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        let before = |upper: f64| {
            earlier
                .0
                .iter()
                .find(|(known, _)| known.total_cmp(&upper).is_eq())
                .map_or(0.0, |(_, count)| *count)
        };
        Self(self.0.iter().map(|(upper, count)| (*upper, count - before(*upper))).collect())
    }

    /// The value below which a share of all values lies. What is above the last
    /// bound counts as that bound; `None` when there are no values.
    pub(super) fn percentile(&self, share: f64) -> Option<f64> {
        let (_, all) = *self.0.last().filter(|(_, all)| *all > 0.0)?;
        let rank = share * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, count) in &self.0 {
            if *count >= rank && *count > below {
                let within = (rank - below) / (count - below);
                return Some(if upper.is_finite() { lower + (upper - lower) * within } else { lower });
            }
            (lower, below) = (*upper, *count);
        }
        None
    }
}

/// The last few seconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    samples: VecDeque<(Duration, Vitals)>,
}

impl Recent {
    /// Takes the numbers of a moment, so long after the start.
    pub(super) fn push(&mut self, at: Duration, vitals: Vitals) {
        self.samples.push_back((at, vitals));
        // One that is older stays, so that the window is covered from its beginning.
        while self.samples.get(1).is_some_and(|(second, _)| *second + WINDOW <= at) {
            self.samples.pop_front();
        }
    }

    /// The newest numbers.
    pub(super) fn newest(&self) -> Vitals {
        self.samples.back().map(|(_, vitals)| vitals.clone()).unwrap_or_default()
    }

    /// Events a second.
    pub(super) fn rate(&self) -> f64 {
        let (Some((begin, first)), Some((end, last))) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        let seconds = end.saturating_sub(*begin).as_secs_f64();
        if seconds > 0.0 { (last.events - first.events) / seconds } else { 0.0 }
    }

    /// A percentile of freshness, in seconds.
    pub(super) fn freshness(&self, share: f64) -> Option<f64> {
        let (_, first) = self.samples.front()?;
        let (_, last) = self.samples.back()?;
        last.freshness.since(&first.freshness).percentile(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP stream_freshness_seconds From the broker's acceptance.
# TYPE stream_freshness_seconds histogram
stream_freshness_seconds_bucket{view=\"a\",le=\"0.1\"} 10
stream_freshness_seconds_bucket{view=\"a\",le=\"0.2\"} 20
stream_freshness_seconds_bucket{view=\"a\",le=\"+Inf\"} 20
stream_freshness_seconds_bucket{view=\"b\",le=\"0.1\"} 0
stream_freshness_seconds_bucket{view=\"b\",le=\"0.2\"} 20
stream_freshness_seconds_bucket{view=\"b\",le=\"+Inf\"} 20
stream_freshness_seconds_sum{view=\"a\"} 3
stream_events_processed_total{status=\"late\",stream=\"clicks\"} 2
stream_events_processed_total{status=\"processed\",stream=\"clicks\"} 40
stream_dead_letters_total{reason=\"malformed\",stream=\"clicks\"} 3
kafka_consumer_lag{partition=\"0\",topic=\"click.events\"} 5
kafka_consumer_lag{partition=\"1\",topic=\"click.events\"} 6
";

    #[test]
    fn numbers_are_summed_over_their_labels() {
        let vitals = Vitals::read(TEXT);
        assert_eq!((vitals.events, vitals.dead_letters, vitals.lag), (42.0, 3.0, 11.0));
        assert_eq!(vitals.freshness, Buckets(vec![(0.1, 10.0), (0.2, 40.0), (f64::INFINITY, 40.0)]));
    }

    #[track_caller]
    fn check(buckets: &[(f64, f64)], share: f64, expected: Option<f64>) {
        let found = Buckets(buckets.to_vec()).percentile(share);
        let near = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found == expected,
        };
        assert!(near, "{found:?} instead of {expected:?}");
    }

    #[test]
    fn percentiles_are_interpolated_within_their_bucket() {
        let buckets = [(0.1, 10.0), (0.2, 40.0), (f64::INFINITY, 40.0)];
        check(&buckets, 0.5, Some(0.1 + 0.1 / 3.0));
        check(&buckets, 0.25, Some(0.1));
        check(&buckets, 0.125, Some(0.05));
        check(&buckets, 1.0, Some(0.2));
        check(&[(0.1, 1.0), (f64::INFINITY, 4.0)], 0.99, Some(0.1));
        check(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.5, None);
        check(&[], 0.5, None);
    }

    #[test]
    fn only_the_last_seconds_count() {
        let sample = |events: f64, fast: f64, all: f64| Vitals {
            events,
            freshness: Buckets(vec![(0.1, fast), (1.0, all), (f64::INFINITY, all)]),
            ..Vitals::default()
        };
        let mut recent = Recent::default();
        assert_eq!((recent.rate(), recent.freshness(0.5)), (0.0, None));
        recent.push(Duration::from_secs(0), sample(0.0, 0.0, 0.0));
        recent.push(Duration::from_secs(4), sample(400.0, 0.0, 400.0));
        recent.push(Duration::from_secs(9), sample(1400.0, 1000.0, 1400.0));
        assert_eq!((recent.rate(), recent.newest().events), (200.0, 1400.0));
        assert_eq!(recent.freshness(0.5), Some(0.05));
    }
}
