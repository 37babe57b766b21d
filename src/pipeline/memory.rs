//! How much memory the process may take, `memory_limit`: when reading has to
//! wait for it, and when waiting does not help. Deciding is pure.
//!
//! ```text
//!                 at or above the limit
//!   reading ──────────────────────────────▶ waiting ──▶ everything is published,
//!      ▲                                       │        and that for a while
//!      │        below 95 % of the limit        │                 │
//!      ├───────────────────────────────────────┘                 │
//!      │   what is kept would fit: only freed pages are held     │
//!      └─────────────────────────────────────────────────────────┤
//!                              what is kept does not fit: the end ▼
//! ```
//! Memory is what the kernel says is resident. In that are pages which the
//! allocator has taken from it and uses again; it gives them back late. So when
//! nothing is left to wait for, it is judged by what is kept: the bytes of all
//! views' states, an eighth more for what an allocator adds, and the base, which
//! is what the process took before it read its first event.

use std::fmt;
use std::time::{Duration, Instant};

/// How often memory is looked at, at most: reading it costs some ten microseconds.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing must have been left to publish. Freed pages of a peak take
/// about as long to be given back.
const SETTLED: Duration = Duration::from_secs(3);

/// Beyond this part above the limit freed pages are no excuse.
const MOST_ABOVE: u64 = 4;

/// How much memory the process may take.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Bytes of resident memory.
    pub bytes: u64,
    /// The names of the views, in the workers' order.
    pub views: Vec<String>,
}

/// What is known when memory is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Bytes of resident memory.
    pub resident: u64,
    /// Bytes of all views' states.
    pub state: u64,
    /// Nothing is being computed of events, published, or waits for either.
    pub drained: bool,
    /// Monotonic time.
    pub now: Instant,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Reading may go on.
    Read,
    /// Reading waits.
    Wait,
    /// What is kept does not fit.
    TooMuch,
}

/// Which of them it was until now.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Reading, up to so many resident bytes.
    Reading { up_to: u64 },
    /// Waiting, with nothing left to wait for since then.
    Waiting { drained: Option<Instant> },
}

/// Decides whether reading may go on.
#[derive(Debug)]
pub struct Pressure {
    limit: u64,
    base: u64,

    phase: Phase,
}

impl Pressure {
    /// Of a process that may take `limit` bytes and takes `base` before it has read anything.
    pub const fn new(limit: u64, base: u64) -> Self {
        Self { limit, base, phase: Phase::Reading { up_to: limit } }
    }

    /// Decides.
    pub fn look(&mut self, facts: Facts) -> Verdict {
        let low = self.limit - self.limit / 20;
        if facts.resident < low {
            self.phase = Phase::Reading { up_to: self.limit };
            return Verdict::Read;
        }
        match self.phase {
            Phase::Reading { up_to } if facts.resident < up_to => return Verdict::Read,
            Phase::Reading { .. } => self.phase = Phase::Waiting { drained: None },
            Phase::Waiting { .. } if !facts.drained => self.phase = Phase::Waiting { drained: None },
            Phase::Waiting { drained: None } => {
                self.phase = Phase::Waiting { drained: Some(facts.now) };
            }
            Phase::Waiting { drained: Some(since) } if facts.now.duration_since(since) < SETTLED => {}
            Phase::Waiting { drained: Some(_) } => {
                let needed = self.base + facts.state + facts.state / 8;
                if needed >= low || facts.resident > self.limit + self.limit / MOST_ABOVE {
                    return Verdict::TooMuch;
                }
                // The pages held are used again before more are taken.
                self.phase = Phase::Reading { up_to: facts.resident.max(self.limit) + self.limit / 32 };
                return Verdict::Read;
            }
        }
        Verdict::Wait
    }

    /// What the process took before it read anything.
    pub const fn base(&self) -> u64 {
        self.base
    }
}

/// What is kept does not fit into the memory that the process may take.
#[derive(Debug)]
pub struct TooMuch {
    limit: u64,
    resident: u64,
    base: u64,
    /// What each view holds, the largest first.
    views: Vec<(String, u64)>,
}

impl TooMuch {
    pub(super) fn new(limit: &Limit, resident: u64, base: u64, held: &[u64]) -> Self {
        let mut views: Vec<(String, u64)> = limit.views.iter().cloned().zip(held.iter().copied()).collect();
        views.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Self { limit: limit.bytes, resident, base, views }
    }
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, resident, base, views } = self;
        write!(
            f,
            "what is kept does not fit into `memory_limit`, {}: the process takes {} with nothing left to publish; without any events it took {}",
            Size(*limit),
            Size(*resident),
            Size(*base)
        )?;
        for (view, bytes) in views {
            write!(f, ", view `{view}` holds {}", Size(*bytes))?;
        }
        Ok(())
    }
}

impl std::error::Error for TooMuch {}

/// A size as people read it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1000;

    /// Looks at these in turn, of a process that takes 100 without any events:
    /// resident, state, whether all is drained, and seconds since the beginning.
    #[track_caller]
    fn check(looks: &[(u64, u64, bool, u64, Verdict)]) {
        let begun = Instant::now();
        let mut pressure = Pressure::new(LIMIT, 100);
        for (number, (resident, state, drained, seconds, expected)) in looks.iter().enumerate() {
            let now = begun + Duration::from_secs(*seconds);
            let facts = Facts { resident: *resident, state: *state, drained: *drained, now };
            assert_eq!(pressure.look(facts), *expected, "look {number}: {facts:?}");
        }
    }

    #[test]
    fn reading_waits_from_the_limit_on_until_it_is_well_below() {
        use Verdict::{Read, Wait};
        check(&[
            (999, 0, false, 0, Read),
            (1000, 0, false, 1, Wait),
            (951, 0, false, 2, Wait),
            (949, 0, false, 3, Read),
            (999, 0, false, 4, Read),
        ]);
    }

    #[test]
    fn what_does_not_fit_ends_it_once_nothing_is_left_to_wait_for() {
        use Verdict::{Read, TooMuch, Wait};
        check(&[
            (1100, 900, false, 0, Wait),
            // However long the store is away.
            (1100, 900, false, 900, Wait),
            (1100, 900, true, 901, Wait),
            (1100, 900, false, 902, Wait),
            (1100, 900, true, 903, Wait),
            (1100, 900, true, 905, Wait),
            (1100, 900, true, 906, TooMuch),
        ]);
        // What leaves the windows meanwhile makes room.
        check(&[(1100, 900, true, 0, Wait), (1100, 900, true, 1, Wait), (900, 700, true, 2, Read)]);
    }

    #[test]
    fn freed_pages_are_used_again() {
        use Verdict::{Read, TooMuch, Wait};
        check(&[
            (1100, 500, true, 0, Wait),
            (1100, 500, true, 1, Wait),
            (1100, 500, true, 4, Read),
            (1130, 600, false, 5, Read),
            // More than were held then.
            (1132, 600, false, 6, Wait),
            (940, 600, false, 7, Read),
            (1000, 600, false, 8, Wait),
        ]);
        check(&[
            (1251, 500, true, 0, Wait),
            (1251, 500, true, 1, Wait),
            // Too many to be explained so.
            (1251, 500, true, 4, TooMuch),
        ]);
    }

    #[test]
    fn the_largest_is_named_first() {
        let limit = Limit { bytes: 200 << 20, views: vec!["small".to_owned(), "large".to_owned()] };
        let error = TooMuch::new(&limit, 231 << 20, 74 << 20, &[3 << 20, 120 << 20]);
        assert_eq!(
            error.to_string(),
            "what is kept does not fit into `memory_limit`, 200 MiB: the process takes 231 MiB with nothing left to publish; without any events it took 74 MiB, view `large` holds 120 MiB, view `small` holds 3 MiB"
        );
    }
}
