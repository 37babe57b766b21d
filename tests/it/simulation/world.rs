//! A world in which a few processes read one log, and what happens in it step
//! by step: what is to be expected, and faults. A seed decides all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use windrow::checkpoint;
use windrow::clock;
use windrow::frame::PartitionId;
use windrow::sink::memory::{MemoryStore, Snapshot, StoredHash};
use windrow::source::reach::Reach;
use windrow::time::Span;
use windrow::view::FeatureView;
use windrow::view::classify::Class;

use super::events;
use super::faults::Fault;
use super::group::Group;
use super::objects::Objects;
use super::process::{How, Outside, Process, Saving};
use super::watch::{Breach, Watch};
use crate::chaos::dice::Dice;
use crate::worker::log::{self, ALLOWED_LATENESS_MS, MAX_FUTURE_MS, MAX_OUT_OF_ORDER_MS};
use crate::worker::reference::{self, Hashes};
use crate::worker::run::STREAM;
use crate::worker::views::{self, TEMPLATES, Template};

const GROUP: &str = "simulation";

/// Once nothing breaks any more, everything is in the store after so many rounds.
const ROUNDS: usize = 300;

/// What happened, for whoever wants to know why.
#[derive(Debug, Clone, Default)]
pub struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    fn tell(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    pub fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Everything there is.
pub struct World {
    template: &'static Template,
    view: Arc<FeatureView>,
    story: Story,
    breaches_told: usize,

    pub(super) dice: Dice,
    pub(super) outside: Outside,
    /// Places for processes; one that crashed leaves its place empty.
    pub(super) slots: Vec<Option<Process>>,
    started: usize,
    /// What the next assignment begins with.
    pub(super) shift: usize,
    pub(super) step: usize,
    /// The store is away until this step.
    pub(super) away_until: usize,
    pub(super) snapshot: Option<Snapshot>,
    /// Hashes that were gone when the store went back to a time at which it had them.
    pub(super) brought_back: BTreeMap<String, StoredHash>,
    pub played: BTreeMap<Fault, usize>,
}

impl World {
    pub fn new(seed: u64, story: Story) -> Self {
        let mut dice = Dice::new(seed);
        let template = &TEMPLATES[usize::try_from(dice.below(TEMPLATES.len() as u64)).unwrap()];
        let partitions = if dice.below(2) == 0 { 2 } else { 3 };
        let log = log::written_over(&events::steps(&mut dice), partitions);
        let processes = 1 + dice.below(if template.single { 2 } else { 3 });
        story.tell(format!(
            "view {}, {} events in {partitions} partitions, {processes} processes",
            template.name,
            log.len()
        ));

        let (view, streams) = (views::view(template), Arc::new(views::streams()));
        let of_views = [Arc::clone(&view)];
        let mut identities = checkpoint::identities(GROUP, &streams, &of_views, |_| String::new());
        let identity = identities.remove(&STREAM).and_then(Result::ok);
        let objects = Objects::new(GROUP, &streams.get(STREAM).topic);
        let clock = clock::Options {
            max_out_of_order: Span::from_millis(MAX_OUT_OF_ORDER_MS),
            allowed_lateness: Span::from_millis(ALLOWED_LATENESS_MS),
            max_future: Span::from_millis(MAX_FUTURE_MS),
            idle_after: Span::from_secs(10),
        };
        let reach = Reach { streams, views: of_views.to_vec(), clock };
        let outside = Outside {
            group: Group::new(log, partitions, reach),
            store: MemoryStore::default(),
            objects,
            identity,
            watch: Watch::default(),
            letters: BTreeSet::new(),
            told: 0,
            begun: Instant::now(),
            passed_ms: 0,
        };
        let slots = (0..processes).map(|_| None).collect();
        Self {
            template,
            view,
            story,
            breaches_told: 0,
            dice,
            outside,
            slots,
            started: 0,
            shift: 0,
            step: 0,
            away_until: 0,
            snapshot: None,
            brought_back: BTreeMap::new(),
            played: BTreeMap::new(),
        }
    }

    /// Plays it to its end; what was wrong.
    pub fn run(&mut self) -> Vec<Breach> {
        self.start_all();
        let steps = usize::try_from(self.dice.between(30..90)).unwrap();
        while self.step < steps {
            self.step += 1;
            self.outside.passed_ms += self.dice.below(1_500);
            self.pass();
        }
        self.calm();
        self.judge();
        std::mem::take(&mut self.outside.watch.breaches)
    }

    /// Tells what was done, after what was wrong with it.
    pub(super) fn tell(&mut self, what: &str) {
        for breach in &self.outside.watch.breaches[self.breaches_told..] {
            self.story.tell(format!("    broken: {}: {}", breach.rule, breach.detail));
        }
        self.breaches_told = self.outside.watch.breaches.len();
        self.story.tell(format!("{:>3} {what}", self.step));
    }

    /// One step.
    fn pass(&mut self) {
        if self.step >= self.away_until {
            self.outside.store.set_away(false);
        }
        let over = |process: &Process| process.sleeps_until.is_some_and(|until| until <= self.step);
        let awakes = self.slots.iter().position(|slot| slot.as_ref().is_some_and(over));
        if let Some(slot) = awakes {
            self.wake(slot);
        }
        match self.dice.below(100) {
            0..30 => self.break_something(),
            30..42 => {
                let ids: Vec<PartitionId> = self.outside.group.partitions().collect();
                let id = self.dice.pick(&ids);
                let at_most = usize::try_from(self.dice.between(1..16)).unwrap();
                self.outside.group.produce(id, at_most);
                self.tell(&format!("{id}: the log ends at {}", self.outside.group.high(id)));
            }
            42..62 => {
                if let Some(slot) = self.any() {
                    self.turn(slot);
                }
            }
            62..80 => {
                if let Some(slot) = self.any() {
                    self.publish(slot, How::Whole);
                }
            }
            80..88 => {
                if let Some(slot) = self.any() {
                    self.hear(slot);
                }
            }
            88..94 => {
                if let Some(slot) = self.any() {
                    self.save(slot, Saving::Whole);
                }
            }
            94..96 => {
                if let Some(slot) = self.any() {
                    self.with(slot, |process, _| process.ping());
                }
            }
            96..98 => self.start_all(),
            _ => {
                self.tell("the store is saved");
                self.snapshot = Some(self.outside.store.snapshot());
            }
        }
    }

    /// Does something with a process.
    pub(super) fn with<T>(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Process, &mut Outside) -> T,
    ) -> Option<T> {
        let process = self.slots[slot].as_mut()?;
        Some(act(process, &mut self.outside))
    }

    /// The processes that the group can reach.
    pub(super) fn awake(&self) -> Vec<usize> {
        let is_awake =
            |slot: &usize| self.slots[*slot].as_ref().is_some_and(|process| process.sleeps_until.is_none());
        (0..self.slots.len()).filter(is_awake).collect()
    }

    /// One of them.
    pub(super) fn any(&mut self) -> Option<usize> {
        let awake = self.awake();
        if awake.is_empty() { None } else { Some(self.dice.pick(&awake)) }
    }

    pub(super) fn turn(&mut self, slot: usize) {
        let Self { slots, outside, dice, .. } = self;
        let Some(process) = slots[slot].as_mut().filter(|process| process.is_free()) else { return };
        let frames = process.take(outside, || usize::try_from(dice.below(8)).unwrap());
        let taken: usize = frames.iter().map(windrow::frame::FrameBatch::len).sum();
        process.turn(outside, frames);
        self.tell(&format!("slot {slot}: a turn over {taken} events"));
    }

    pub(super) fn publish(&mut self, slot: usize, how: How) -> bool {
        let done = self.with(slot, |process, outside| process.publish(outside, how)).unwrap_or(false);
        self.tell(&format!("slot {slot}: publishes ({how:?}), heard to be safe: {done}"));
        done
    }

    pub(super) fn hear(&mut self, slot: usize) {
        self.with(slot, Process::hear);
        let committed: Vec<_> =
            self.outside.group.partitions().map(|id| self.outside.group.offset(id)).collect();
        self.tell(&format!("slot {slot}: hears and commits; committed is {committed:?}"));
    }

    pub(super) fn save(&mut self, slot: usize, saving: Saving) {
        self.with(slot, |process, outside| process.save(outside, None, saving));
        self.tell(&format!("slot {slot}: a checkpoint ({saving:?})"));
    }

    /// Starts a process in every empty place.
    fn start_all(&mut self) {
        let empty: Vec<usize> = (0..self.slots.len()).filter(|slot| self.slots[*slot].is_none()).collect();
        if empty.is_empty() {
            return;
        }
        for slot in empty {
            self.started += 1;
            self.slots[slot] = Some(Process::new(self.started, &self.view, &self.outside));
            self.tell(&format!("slot {slot}: process {} starts", self.started));
        }
        self.rebalance(false);
    }

    /// The members of the group: a view over all partitions has one.
    fn members(&self) -> Vec<usize> {
        let mut members = self.awake();
        if self.template.single {
            let owns = |slot: &&usize| {
                self.slots[**slot].as_ref().is_some_and(|process| !process.partitions().is_empty())
            };
            let owner = members.iter().find(owns).or(members.first()).copied();
            members = owner.into_iter().collect();
        }
        members
    }

    /// Partitions are spread anew over the processes that the group can reach.
    pub(super) fn rebalance(&mut self, slow: bool) {
        // No two of them are at one moment: members have to answer in between.
        self.outside.passed_ms += 1;
        let members = self.members();
        let target = self.outside.group.spread(&members, self.shift);
        for slot in self.awake() {
            self.with(slot, |process, outside| {
                let mut gone = process.partitions();
                gone.retain(|id| target.get(id) != Some(&slot));
                if !gone.is_empty() {
                    process.revoke(outside, &gone, false, slow);
                }
            });
        }
        let generation = self.outside.group.next_generation();
        for slot in members {
            self.with(slot, |process, outside| {
                process.generation = Some(generation);
                let has = process.partitions();
                let own = target.iter().filter(|(id, owner)| **owner == slot && !has.contains(id));
                let own: Vec<PartitionId> = own.map(|(id, _)| *id).collect();
                if !own.is_empty() {
                    process.assign(outside, &own);
                }
            });
        }
        self.tell(&format!("generation {generation}: {:?}", target.values().collect::<Vec<_>>()));
    }

    /// A process goes on with what it had in hand. Only then is it told what it has lost.
    fn wake(&mut self, slot: usize) {
        self.tell(&format!("slot {slot}: wakes up"));
        self.publish(slot, How::Whole);
        self.hear(slot);
        self.turn(slot);
        self.publish(slot, How::Whole);
        self.hear(slot);
        self.save(slot, Saving::Whole);
        self.lose_partitions(slot);
        self.rebalance(false);
    }

    /// A process is told that others have its partitions already.
    pub(super) fn lose_partitions(&mut self, slot: usize) {
        self.with(slot, |process, outside| {
            process.sleeps_until = None;
            process.generation = None;
            let all = process.partitions();
            process.revoke(outside, &all, true, false);
        });
        self.tell(&format!("slot {slot}: has lost its partitions"));
    }

    /// Nothing breaks any more, and everything is done that is left.
    fn calm(&mut self) {
        self.tell("nothing breaks any more");
        self.outside.store.set_away(false);
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|process| process.sleeps_until.is_some()) {
                self.wake(slot);
            }
        }
        let ids: Vec<PartitionId> = self.outside.group.partitions().collect();
        ids.into_iter().for_each(|id| self.outside.group.produce(id, usize::MAX));
        self.start_all();
        self.rebalance(false);
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            self.outside.passed_ms += 4_000;
            let before = self.outside.store.written();
            for slot in 0..self.slots.len() {
                self.with(slot, Self::round);
            }
            let idle = self.slots.iter().flatten().all(Process::is_idle);
            let done = idle && self.outside.group.is_done() && self.outside.store.written() == before;
            quiet = if done { quiet + 1 } else { 0 };
            if quiet == 3 {
                return;
            }
        }
        self.outside.watch.breach("everything is done in the end", format!("not in {ROUNDS} rounds"));
    }

    fn round(process: &mut Process, outside: &mut Outside) {
        while process.publish(outside, How::Whole) {}
        process.hear(outside);
        let frames = process.take(outside, || 9);
        process.turn(outside, frames);
        while process.publish(outside, How::Whole) {}
        process.hear(outside);
        process.ping();
        process.save(outside, None, Saving::Whole);
    }

    /// Compares what the store has, and the dead letters, with what the log says.
    fn judge(&mut self) {
        let expected = reference::hashes(self.template, self.outside.group.log());
        let found = features(&self.outside.store);
        let watch = &mut self.outside.watch;
        for (key, fields) in &expected {
            match found.get(key) {
                None => watch.breach("no hash is missing", format!("{key}: {fields:?}")),
                Some(found) if found != fields => {
                    watch.breach("every field is right", format!("{key}: {found:?} and not {fields:?}"));
                }
                Some(_) => {}
            }
        }
        // What came back and was neither written nor renewed since goes with its time to live,
        // where nobody remembers to have deleted it.
        let expires = |key: &String| {
            let brought_back = self.brought_back.get(key).filter(|_| !watch.remembers(key));
            brought_back.is_some_and(|hash| self.outside.store.hash(key).as_ref() == Some(hash))
        };
        // A full view does not know of keys that it never had a row for: ADR 0014. So it is where a
        // process ended, or lost its partitions, between publishing and committing.
        let is_full = self.view.classification.class == Class::Full;
        let is_unknown = |key: &String| is_full && watch.is_left(key);
        let stays = |key: &String| !expected.contains_key(key) && !expires(key) && !is_unknown(key);
        let stay: Vec<_> = found.iter().filter(|(key, _)| stays(key)).collect();
        for (key, fields) in stay {
            watch.breach("no hash is there that should not be", format!("{key}: {fields:?}"));
        }
        let mut letters = BTreeSet::new();
        for id in self.outside.group.partitions() {
            let accepted = log::accepted(self.outside.group.log(), id.partition);
            letters.extend(accepted.letters.into_iter().map(|offset| (id.partition, offset)));
        }
        if letters != self.outside.letters {
            let missing: Vec<_> = letters.difference(&self.outside.letters).collect();
            let wrong: Vec<_> = self.outside.letters.difference(&letters).collect();
            let detail = format!("missing {missing:?}, of events that count {wrong:?}");
            self.outside.watch.breach("what cannot be used is a dead letter", detail);
        }
    }
}

/// Everything in the store but the fields that begin with `_`.
fn features(store: &MemoryStore) -> Hashes {
    let features = |fields: BTreeMap<String, String>| -> BTreeMap<String, String> {
        fields.into_iter().filter(|(name, _)| !name.starts_with('_')).collect()
    };
    store.hashes().into_iter().map(|(key, hash)| (key, features(hash.fields))).collect()
}
