//! How faults are played. One that does not fit what is going on is not played:
//! nothing can be cut off where nothing is written.

use super::faults::Fault;
use super::process::{How, Process, Saving};
use super::world::World;

impl World {
    /// Plays any fault that fits.
    pub(super) fn break_something(&mut self) {
        /// Not more are looked at in a step.
        const ATTEMPTS: usize = 4;
        for _ in 0..ATTEMPTS {
            let fault = self.dice.pick(Fault::ALL);
            if self.play(fault) {
                *self.played.entry(fault).or_default() += 1;
                self.tell(&format!("fault: {}", fault.label()));
                return;
            }
        }
    }

    /// Whether it was played.
    fn play(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::CrashBeforeEvaluate
            | Fault::CrashBeforePublish
            | Fault::CrashInPublication
            | Fault::CrashBeforeCommit
            | Fault::CrashBeforeCheckpoint => self.play_crash(fault),
            Fault::CommitLost
            | Fault::SuffixRepeated
            | Fault::Rebalance
            | Fault::RebalanceTooSlow
            | Fault::PartitionsLost
            | Fault::Zombie => self.play_in_group(fault),
            Fault::StoreAway
            | Fault::WriteBroken
            | Fault::WriteUnheard
            | Fault::LettersFail
            | Fault::StoreBack
            | Fault::StoreLost
            | Fault::StoreFlushed => self.play_at_store(fault),
            Fault::CheckpointTorn
            | Fault::CheckpointMissing
            | Fault::ManifestBack
            | Fault::CheckpointFails
            | Fault::CheckpointBreaksOff => self.play_at_checkpoints(fault),
        }
    }

    fn play_crash(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::CrashBeforeEvaluate => {
                let Some(slot) = self.any() else { return false };
                let taken = self.with(slot, |process, outside| process.take(outside, || 5).len());
                if taken.unwrap_or(0) == 0 {
                    return false;
                }
                self.crash(slot);
            }
            Fault::CrashBeforePublish => {
                let Some(slot) = self.any_with(|_| true) else { return false };
                self.crash(slot);
            }
            Fault::CrashInPublication => {
                let Some(slot) = self.any_with(writes_several) else { return false };
                self.break_off(slot);
                self.crash(slot);
            }
            Fault::CrashBeforeCommit => {
                let Some(slot) = self.any_with(|_| true) else { return false };
                if !self.publish(slot, How::Whole) {
                    return false;
                }
                self.crash(slot);
            }
            _ => {
                let Some(slot) = self.any_with(|_| true) else { return false };
                if !self.publish(slot, How::Whole) {
                    return false;
                }
                self.hear(slot);
                self.crash(slot);
            }
        }
        true
    }

    fn play_in_group(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::CommitLost => {
                let Some(slot) = self.any_with(|_| true) else { return false };
                self.publish(slot, How::Whole);
                if !self.with(slot, |process, _| process.has_acknowledged()).unwrap_or(false) {
                    return false;
                }
                self.with(slot, |process, _| process.loses_commit = true);
                self.hear(slot);
                // Where there was nothing new to commit, nothing was lost.
                !self.with(slot, |process, _| std::mem::take(&mut process.loses_commit)).unwrap_or(true)
            }
            Fault::SuffixRepeated => {
                let Some(slot) = self.any_with(|_| true) else { return false };
                // What is on its way to the store stays there, or is safe and committed before.
                let slow = self.dice.below(2) == 0;
                let given_again = self.with(slot, |process, outside| {
                    let ids = process.partitions();
                    process.revoke(outside, &ids, true, slow);
                    process.assign(outside, &ids);
                    !ids.is_empty()
                });
                given_again.unwrap_or(false)
            }
            Fault::Rebalance | Fault::RebalanceTooSlow => {
                let slow = fault == Fault::RebalanceTooSlow;
                if self.awake().len() < 2 || (slow && self.any_with(|_| true).is_none()) {
                    return false;
                }
                self.shift += 1;
                self.rebalance(slow);
                true
            }
            Fault::PartitionsLost => {
                let Some(slot) = self.any() else { return false };
                self.forget(slot, self.step);
                self.lose_partitions(slot);
                self.rebalance(false);
                true
            }
            _ => {
                let Some(slot) = self.any_with(|_| true) else { return false };
                let until = self.step + usize::try_from(self.dice.between(2..12)).unwrap();
                self.forget(slot, until);
                true
            }
        }
    }

    fn play_at_store(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::StoreAway => {
                self.away_until = self.step + usize::try_from(self.dice.between(2..10)).unwrap();
                self.outside.store.set_away(true);
                return true;
            }
            Fault::WriteBroken => {
                let Some(slot) = self.any_with(writes_several) else { return false };
                self.break_off(slot);
                return true;
            }
            Fault::WriteUnheard => {
                let Some(slot) = self.any_with(writes_several) else { return false };
                self.publish(slot, How::Unheard);
                return true;
            }
            Fault::LettersFail => {
                let has_letters = |process: &Process| {
                    process.next_publication().is_some_and(|publication| !publication.letters.is_empty())
                };
                let Some(slot) = self.any_with(has_letters) else { return false };
                self.publish(slot, How::LettersFail);
                return true;
            }
            Fault::StoreBack => match self.snapshot.clone() {
                Some(snapshot) => {
                    let before = self.outside.store.hashes();
                    self.outside.store.go_back_to(snapshot);
                    let back = self.outside.store.hashes().into_iter();
                    self.brought_back.extend(back.filter(|(key, _)| !before.contains_key(key)));
                }
                None => return false,
            },
            Fault::StoreLost => self.outside.store.lose_everything(),
            _ => self.outside.store.flush(),
        }
        self.outside.watch.store_changed(&self.outside.store);
        true
    }

    fn play_at_checkpoints(&mut self, fault: Fault) -> bool {
        let ids: Vec<i32> = self.outside.group.partitions().map(|id| id.partition).collect();
        let partition = self.dice.pick(&ids);
        let done = match fault {
            Fault::CheckpointTorn => self.outside.objects.tear(partition, &mut self.dice),
            Fault::CheckpointMissing => self.outside.objects.lose(partition, &mut self.dice),
            Fault::ManifestBack => {
                let back = self.outside.objects.go_back(&mut self.dice);
                back.map(|partition| format!("an older manifest of partition {partition}"))
            }
            _ => {
                let breaks_off = fault == Fault::CheckpointBreaksOff;
                let saves = |process: &Process| {
                    if breaks_off { process.can_break_off() } else { process.has_job() }
                };
                let slot = self.slot_that(saves).or_else(|| {
                    let slot = self.any()?;
                    self.save(slot, Saving::Whole);
                    self.slot_that(saves)
                });
                let Some(slot) = slot else { return false };
                self.save(slot, if breaks_off { Saving::BreaksOff } else { Saving::Fails });
                return true;
            }
        };
        let Some(done) = done else { return false };
        self.tell(&done);
        true
    }

    /// The process is gone at once. The group may notice only later.
    fn crash(&mut self, slot: usize) {
        self.tell(&format!("slot {slot}: crashes"));
        self.slots[slot] = None;
        if self.dice.below(2) == 0 {
            self.rebalance(false);
        }
    }

    /// The group goes on without a process, which does not know.
    fn forget(&mut self, slot: usize, until: usize) {
        self.with(slot, |process, _| process.sleeps_until = Some(until));
        self.tell(&format!("slot {slot}: the group goes on without it"));
        self.rebalance(false);
    }

    fn break_off(&mut self, slot: usize) {
        let thousandths = self.dice.below(1000);
        self.publish(slot, How::Broken(thousandths));
    }

    /// A process that the group can reach and for which this holds.
    fn slot_that(&self, holds: impl Fn(&Process) -> bool) -> Option<usize> {
        self.awake().into_iter().find(|slot| self.slots[*slot].as_ref().is_some_and(&holds))
    }

    /// A process with a publication for which this holds; one may have to be computed first.
    fn any_with(&mut self, holds: impl Fn(&Process) -> bool) -> Option<usize> {
        let slot = self.any()?;
        let fits = |process: &Process| process.next_publication().is_some() && holds(process);
        if !self.slots[slot].as_ref().is_some_and(fits) {
            self.turn(slot);
        }
        self.slots[slot].as_ref().is_some_and(fits).then_some(slot)
    }
}

/// Whether what is published next has several entries.
fn writes_several(process: &Process) -> bool {
    process.next_publication().is_some_and(|publication| publication.writes.entries.len() > 1)
}
