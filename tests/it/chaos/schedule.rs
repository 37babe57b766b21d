//! What breaks when and for how long: decided by the seed alone. Faults overlap
//! as they come, but nothing breaks again before it was mended.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::dice::Dice;

/// Processes in the group.
pub const PROCESSES: usize = 3;
/// After such a silence the broker gives a process' partitions to the others.
pub const SESSION_MS: u64 = 6000;

/// What else can break, beside the processes: their places among the targets.
const REDIS: usize = PROCESSES;
const BROKER: usize = PROCESSES + 1;
const TARGETS: usize = PROCESSES + 2;

/// How long what was mended is left alone.
const REST_MS: u64 = 500;
/// Between two faults, on average: no less, or all would be down all the time;
/// no more, or a long run would be a quiet one.
const MEAN_GAP_MS: [u64; 2] = [1500, 6000];

/// A way to break something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed with SIGKILL and started again later.
    Kill,
    /// A process is stopped for longer than its session, and goes on.
    Pause,
    /// A process is asked to end and started again later.
    Terminate,
    /// Redis is stopped in order and comes back with its data.
    RedisRestart,
    /// Redis is killed and comes back with what it had saved some time before.
    RedisBack,
    /// Redis is killed and comes back empty.
    RedisLoss,
    /// Redis is emptied as it runs.
    Flush,
    /// The broker is stopped in order and comes back with its log.
    BrokerRestart,
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Pause,
        Self::Terminate,
        Self::RedisRestart,
        Self::RedisBack,
        Self::RedisLoss,
        Self::Flush,
        Self::BrokerRestart,
    ];

    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of a process",
            Self::Pause => "SIGSTOP past the session",
            Self::Terminate => "SIGTERM and restart",
            Self::RedisRestart => "Redis restart, its data kept",
            Self::RedisBack => "Redis restart, older data",
            Self::RedisLoss => "Redis restart, no data",
            Self::Flush => "FLUSHALL",
            Self::BrokerRestart => "broker restart",
        }
    }

    /// From the break to the repair, in milliseconds.
    const fn lasts(self) -> Range<u64> {
        match self {
            Self::Kill | Self::Terminate | Self::RedisRestart | Self::RedisLoss | Self::BrokerRestart => {
                500..3000
            }
            Self::Pause => SESSION_MS + 1500..SESSION_MS + 4000,
            // What is written meanwhile is lost.
            Self::RedisBack => 1500..3000,
            Self::Flush => 0..1,
        }
    }
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// When it breaks, since the beginning.
    pub begins: Duration,
    /// When it is mended.
    pub ends: Duration,
    /// What breaks.
    pub fault: Fault,
    /// One of the processes, or one of the servers.
    target: usize,
}

impl Planned {
    /// The process that breaks.
    ///
    /// # Panics
    /// When it is a server that does.
    pub fn process(&self) -> usize {
        assert!(self.target < PROCESSES, "{self} breaks no process");
        self.target
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begins, ends, fault, target } = self;
        write!(f, "{:7.2} s to {:7.2} s: {}", begins.as_secs_f64(), ends.as_secs_f64(), fault.label())?;
        if *target < PROCESSES { write!(f, ", process {target}") } else { Ok(()) }
    }
}

/// The faults of a run of so many seconds, in the order in which they begin. One
/// of each kind in any case, and then as many rounds of them as there is time for.
pub fn plan(seed: u64, seconds: u64) -> Vec<Planned> {
    let mut dice = Dice::new(seed);
    let whole_ms = seconds * 1000;
    let [least, most] = MEAN_GAP_MS;
    let kinds = u64::try_from(Fault::ALL.len()).expect("there are few kinds");
    let mean_gap_ms = (whole_ms / kinds).clamp(least, most);
    let mut free_ms = [0; TARGETS];
    let mut at_ms = REST_MS;
    let mut plan = Vec::new();
    loop {
        for fault in dice.shuffled(Fault::ALL) {
            if plan.len() >= Fault::ALL.len() && at_ms >= whole_ms {
                plan.sort_by_key(|planned: &Planned| planned.begins);
                return plan;
            }
            let target = target(&mut dice, fault, &free_ms, at_ms);
            let begins_ms = at_ms.max(free_ms[target]);
            let ends_ms = begins_ms + dice.between(fault.lasts());
            free_ms[target] = ends_ms + REST_MS;
            at_ms += dice.between(REST_MS..2 * mean_gap_ms - REST_MS);
            let (begins, ends) = (Duration::from_millis(begins_ms), Duration::from_millis(ends_ms));
            plan.push(Planned { begins, ends, fault, target });
        }
    }
}

/// What breaks: a process that is whole by then, where there is one.
fn target(dice: &mut Dice, fault: Fault, free_ms: &[u64; TARGETS], at_ms: u64) -> usize {
    match fault {
        Fault::Kill | Fault::Pause | Fault::Terminate => {
            let whole: Vec<usize> = (0..PROCESSES).filter(|process| free_ms[*process] <= at_ms).collect();
            if whole.is_empty() {
                (0..PROCESSES).min_by_key(|process| free_ms[*process]).expect("there are processes")
            } else {
                dice.pick(&whole)
            }
        }
        Fault::RedisRestart | Fault::RedisBack | Fault::RedisLoss | Fault::Flush => REDIS,
        Fault::BrokerRestart => BROKER,
    }
}

/// One end of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It is broken.
    Break,
    /// It is mended.
    Mend,
}

/// What is to be done, and when, in order.
pub fn steps(plan: &[Planned]) -> Vec<(Duration, Edge, Planned)> {
    let edges =
        |planned: &Planned| [(planned.begins, Edge::Break, *planned), (planned.ends, Edge::Mend, *planned)];
    let mut steps: Vec<_> = plan.iter().flat_map(edges).collect();
    steps.sort_by_key(|(at, ..)| *at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides() {
        assert_eq!(plan(7, 60), plan(7, 60));
        assert_ne!(plan(7, 60), plan(8, 60));
    }

    #[test]
    fn a_short_run_has_one_fault_of_each_kind() {
        for seed in 0..50 {
            let mut kinds: Vec<Fault> = plan(seed, 1).iter().map(|planned| planned.fault).collect();
            kinds.sort();
            assert_eq!(kinds, Fault::ALL);
        }
    }

    #[test]
    fn nothing_breaks_before_it_was_mended() {
        for seed in 0..50 {
            let plan = plan(seed, 600);
            assert!(plan.len() > 80, "{}", plan.len());
            for target in 0..TARGETS {
                let own: Vec<_> = plan.iter().filter(|planned| planned.target == target).collect();
                assert!(own.windows(2).all(|pair| pair[0].ends < pair[1].begins), "{own:?}");
            }
            let steps = steps(&plan);
            assert_eq!(steps.len(), 2 * plan.len());
            assert!(steps.is_sorted_by_key(|(at, ..)| *at));
        }
    }
}
