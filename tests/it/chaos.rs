//! Everything is broken at random: a real broker, a real Redis and three
//! processes of one group under load. Afterwards Redis holds, field by field,
//! what the topic's content says, as if nothing had happened.
//!
//! The short form is a test like any other, with a fault of each kind.
//! `make chaos` goes on for minutes. The seed decides what breaks when and what
//! the events are; which of them are under way at that moment it cannot decide.

pub mod dice;
mod fleet;
mod producer;
mod schedule;
mod truth;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use windrow::time::{Clock, SystemClock};

use crate::support::kafka::KafkaBroker;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, eventually, number, unique};
use fleet::Fleet;
use producer::{Producer, Writer};
use schedule::{Edge, Fault, Planned};
use truth::Truth;

/// The topic's partitions: two for each process.
const PARTITIONS: i32 = 6;
/// The writer's schema, that of the shipped stream `transactions`.
const SCHEMA: &str = include_str!("../../schemas/transactions.v2.avsc");

/// How long the short form breaks things, and how much is written meanwhile. With
/// this seed faults overlap, and no restart of Redis hides that it was emptied.
const SECONDS: u64 = 25;
const SEED: u64 = 30;
const EVENTS_A_SECOND: u64 = 400;

/// How long everything may take to be read and written once nothing breaks any
/// more: without a checkpoint that is the whole topic, on a machine that is busy.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Hashes that are shown where more differ.
const SHOWN: usize = 20;

/// How a run is to be.
#[derive(Debug, Clone, Copy)]
struct Options {
    seed: u64,
    seconds: u64,
    rate: u64,
}

impl Options {
    /// As the environment says.
    fn given() -> Self {
        Self {
            seed: number("WINDROW_CHAOS_SEED", SEED),
            seconds: number("WINDROW_CHAOS_SECONDS", SECONDS),
            rate: number("WINDROW_CHAOS_RATE", EVENTS_A_SECOND),
        }
    }
}

/// The command that does the same once more.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, seconds, rate } = self;
        write!(
            f,
            "WINDROW_CHAOS_SEED={seed} WINDROW_CHAOS_SECONDS={seconds} WINDROW_CHAOS_RATE={rate} \
             cargo test --locked --test it -- --nocapture chaos::"
        )
    }
}

/// All that breaks.
#[derive(Debug)]
struct World {
    fleet: Fleet,
    broker: KafkaBroker,
    redis: RedisServer,
    topic: String,
    group: String,

    /// Hashes that Redis has lost so far.
    lost: usize,
    broken: BTreeMap<Fault, usize>,
}

impl World {
    fn new() -> Self {
        let (broker, redis) = (KafkaBroker::start(), RedisServer::start());
        let (topic, group) = (unique("chaos"), unique("chaos-group"));
        broker.client().create_topic(&topic, PARTITIONS);
        let fleet = Fleet::new(&broker.brokers(), &redis.url(), &topic, &group);
        Self { fleet, broker, redis, topic, group, lost: 0, broken: BTreeMap::new() }
    }

    /// Does what is due at each step, then waits for the end.
    fn suffer(&mut self, plan: &[Planned], whole: Duration) {
        let begun = Instant::now();
        for (at, edge, planned) in schedule::steps(plan) {
            self.wait_until(begun + at);
            match edge {
                Edge::Break => self.begin(planned),
                Edge::Mend => self.mend(planned),
            }
        }
        self.wait_until(begun + whole);
    }

    fn wait_until(&mut self, when: Instant) {
        eventually(Duration::MAX, "time passes", || {
            self.fleet.supervise();
            if Instant::now() >= when { Ok(()) } else { Err(String::new()) }
        });
    }

    fn begin(&mut self, planned: Planned) {
        *self.broken.entry(planned.fault).or_default() += 1;
        match planned.fault {
            Fault::Kill => self.fleet.kill(planned.process()),
            Fault::Pause => self.fleet.pause(planned.process()),
            Fault::Terminate => self.fleet.terminate(planned.process()),
            Fault::RedisRestart => self.redis.stop_saved(),
            Fault::RedisBack => self.redis.query(&redis::cmd("SAVE")),
            Fault::RedisLoss => {
                self.note_loss();
                self.redis.stop();
            }
            Fault::Flush => {
                self.note_loss();
                self.redis.flush();
            }
            Fault::BrokerRestart => self.broker.stop(),
        }
    }

    fn mend(&mut self, planned: Planned) {
        match planned.fault {
            Fault::Kill | Fault::Terminate => self.fleet.start(planned.process()),
            Fault::Pause => self.fleet.resume(planned.process()),
            Fault::RedisRestart => self.redis.start_again(),
            Fault::RedisBack => {
                self.redis.stop();
                self.redis.start_again();
            }
            Fault::RedisLoss => self.redis.start_again_empty(),
            Fault::Flush => {}
            Fault::BrokerRestart => self.broker.start_again(),
        }
    }

    fn note_loss(&mut self) {
        self.lost += self.redis.keys("features:*").len();
    }

    /// Waits until all that was produced is published, by what the processes say
    /// and have committed.
    #[track_caller]
    fn catch_up(&mut self) {
        let client = self.broker.client();
        let ends = client.end_offsets(&self.topic);
        eventually(CATCH_UP, "everything is read and published", || {
            self.fleet.caught_up()?;
            let committed = client.committed(&self.group, &self.topic);
            if committed == ends { Ok(()) } else { Err(format!("{committed:?} of {ends:?} is committed")) }
        });
    }
}

/// What a run has shown.
struct Report<'a> {
    options: Options,
    took: Duration,
    produced: u64,
    world: &'a World,
    truth: &'a Truth,
    differences: usize,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<32}{value:>10}");
        row("seed", &self.options.seed)?;
        row("seconds, from start to verdict", &self.took.as_secs())?;
        row("events under faults", &self.produced)?;
        row("events in the topic", &self.truth.counts.values().sum::<usize>())?;
        for (became, count) in &self.truth.counts {
            row(&format!("  {became}"), count)?;
        }
        row("faults", &self.world.broken.values().sum::<usize>())?;
        for (fault, count) in &self.world.broken {
            row(&format!("  {}", fault.label()), count)?;
        }
        row("hashes", &self.truth.hashes())?;
        row("hashes lost and written again", &self.world.lost)?;
        row("differences", &self.differences)
    }
}

#[test]
fn any_fault_ends_in_the_same_redis_as_no_fault() {
    let options = Options::given();
    println!("again: {options}");
    let plan = schedule::plan(options.seed, options.seconds);
    for planned in &plan {
        println!("{planned}");
    }

    let begun = Instant::now();
    let mut world = World::new();
    let mut writer = Writer::new(options.seed);
    let client = world.broker.client();
    client.produce(&world.topic, &writer.history(SystemClock.now().millis()));
    world.fleet.start_all();
    let producer = Producer::start(&world.broker.brokers(), &world.topic, options.rate, writer);
    world.suffer(&plan, Duration::from_secs(options.seconds));
    let produced = producer.finish();
    world.catch_up();

    let truth = Truth::read(&client.consume_all(&world.topic));
    let soon = Instant::now();
    let mut differences = truth.differences(&world.redis);
    // What Redis lost may still be on its way there.
    while !differences.is_empty() && soon.elapsed() < PATIENCE {
        world.wait_until(Instant::now() + Duration::from_millis(500));
        differences = truth.differences(&world.redis);
    }
    let (took, count) = (begun.elapsed(), differences.len());
    println!("{}", Report { options, took, produced, world: &world, truth: &truth, differences: count });
    for wrong in world.fleet.wrongs() {
        println!("{wrong}");
    }
    assert_exact(&options, &differences);
    truth.assert_dead_letters(&client.consume_all(&format!("{}.dlq", world.topic)));

    // Ending writes nothing else either.
    let World { fleet, redis, .. } = world;
    let wrongs = fleet.end();
    assert_exact(&options, &truth.differences(&redis));
    assert!(wrongs.is_empty(), "{}\nagain: {options}", wrongs.join("\n"));
}

#[track_caller]
fn assert_exact(options: &Options, differences: &[String]) {
    let (count, shown) = (differences.len(), differences[..differences.len().min(SHOWN)].join("\n"));
    assert!(count == 0, "{count} hashes differ from the topic's content:\n{shown}\nagain: {options}");
}
