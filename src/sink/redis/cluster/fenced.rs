//! Fenced writes to a cluster. Its transactions are within one slot, and fences
//! and hashes are in many: so each master has copies of the fences, under a tag
//! whose slot it has, and is sent a script that compares them and then writes.
//!
//! ```text
//! the fence   at one master    looked at once a write; set first when a shard is taken over
//! its copies  at each master   compared by every script; set before a master's first script
//! ```
//! A copy that is missing is set only after the fence itself was seen to be
//! ours. What remains: a process that is paused between that look and a script,
//! while slots move and another takes its shards over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cluster, REDIRECTIONS, slot};
use crate::sink::fence::{Epoch, Shard};
use crate::sink::redis::Tally;
use crate::sink::redis::connect::Dialer;
use crate::sink::redis::fence::{Fencing, read};
use crate::sink::redis::reply::{Elsewhere, Failure, Verdict, accept, verdict};
use crate::sink::redis::script::{self, Outcome};
use crate::sink::{Entry, Writes, resp};

/// Tags that are tried to find one for a master: a master with a single slot
/// takes 16 384 on average.
const MOST_TAGS: u32 = 400_000;

/// A script on its way.
struct Sent {
    master: usize,
    tag: u32,
    shards: Vec<Shard>,
    entries: Vec<Entry>,
}

/// What is left of a round.
#[derive(Default)]
struct Left {
    entries: Vec<Entry>,
    /// Entries that their master did not find, with that master.
    elsewhere: Vec<(usize, Entry)>,
    /// Masters whose copies are not ours: what they have.
    doubts: Vec<(u32, Vec<Shard>, Vec<Option<Epoch>>)>,
    /// The slots have other masters by now.
    is_stale: bool,
}

impl Cluster {
    /// Takes shards over, at every master, that the group gave so long `ago`;
    /// returns those that another process was given since.
    pub(in crate::sink::redis) fn take_over(
        &mut self,
        fencing: &mut Fencing,
        shards: &[Shard],
        ago: Duration,
    ) -> Result<Vec<Shard>, Failure> {
        let key = fencing.slot_key(None);
        let others = fencing.take_over(self.connection(key.as_bytes())?, shards, ago)?;
        for master in 0..self.masters.len() {
            self.raise(fencing, master, shards)?;
        }
        Ok(others)
    }

    /// Looks at the fences of all shards, and at every copy that was set.
    pub(in crate::sink::redis) fn check_all(&mut self, fencing: &mut Fencing) -> Result<(), Failure> {
        let held = fencing.held();
        self.check(fencing, &held)?;
        for master in 0..self.masters.len() {
            let tag = self.tag(fencing, master)?;
            let shards = fencing.raised(tag);
            if !shards.is_empty() {
                let found = read(&mut self.masters[master].connection, &fencing.keys(Some(tag), &shards))?;
                self.settle(fencing, tag, &shards, &found)?;
            }
        }
        Ok(())
    }

    /// Writes the entries whose shards nobody else has taken over.
    pub(in crate::sink::redis) fn write_fenced(
        &mut self,
        dialer: &Dialer,
        writes: &Writes,
        fencing: &mut Fencing,
    ) -> Result<Tally, Failure> {
        let shards = fencing.held_of(writes);
        if shards.is_empty() && fencing.taken_over().is_empty() {
            return self.write(dialer, writes);
        }
        let key = fencing.slot_key(None);
        fencing.renew(self.connection(key.as_bytes())?)?;
        self.check(fencing, &shards)?;
        let mut tally = Tally::default();
        for stretch in super::stretches(&writes.entries) {
            let mut pending = stretch.to_vec();
            let mut rounds = 0;
            loop {
                let before = pending.len();
                pending.retain(|entry| !fencing.is_taken_over(writes, *entry));
                tally.fenced += (before - pending.len()) as u64;
                if pending.is_empty() {
                    break;
                }
                if rounds > REDIRECTIONS {
                    return Err(Failure::Unavailable("its slots or fences keep moving".to_owned()));
                }
                rounds += 1;
                pending = self.round(dialer, writes, &pending, fencing, &mut tally)?;
            }
        }
        Ok(tally)
    }

    /// Sends entries to their masters, at all of them at once; returns those to
    /// be sent again.
    fn round(
        &mut self,
        dialer: &Dialer,
        writes: &Writes,
        entries: &[Entry],
        fencing: &mut Fencing,
        tally: &mut Tally,
    ) -> Result<Vec<Entry>, Failure> {
        let mut by_master: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            by_master.entry(self.master_of(writes.key(*entry))?).or_default().push(*entry);
        }
        let shards = fencing.held_of(writes);
        let mut tags = Vec::new();
        // Before any script is on its way: this waits for answers.
        for master in by_master.keys() {
            tags.push(self.raise(fencing, *master, &shards)?);
        }
        let mut sent = Vec::new();
        for ((master, entries), tag) in by_master.into_iter().zip(tags) {
            let one = Sent { master, tag, shards: shards.clone(), entries };
            self.send(writes, fencing, &one, false)?;
            sent.push(one);
        }
        let mut left = Left::default();
        for one in sent {
            self.receive(writes, one, tally, &mut left)?;
        }
        for (master, entry) in std::mem::take(&mut left.elsewhere) {
            self.follow(writes, master, entry, fencing, tally, &mut left)?;
        }
        for (tag, shards, found) in std::mem::take(&mut left.doubts) {
            self.settle(fencing, tag, &shards, &found)?;
        }
        if left.is_stale {
            *self = Self::open(dialer)?;
        }
        Ok(left.entries)
    }

    fn send(&mut self, writes: &Writes, fencing: &Fencing, one: &Sent, asking: bool) -> Result<(), Failure> {
        let epochs: Vec<Epoch> = one.shards.iter().filter_map(|shard| fencing.epoch(*shard)).collect();
        let keys = fencing.keys(Some(one.tag), &one.shards);
        let mut bytes = Vec::new();
        if asking {
            bytes.extend(resp::command(&[b"ASKING"]));
        }
        script::fenced(&keys, &epochs, writes, &one.entries, &mut bytes)?;
        self.masters[one.master].connection.send_packed_command(&bytes)?;
        Ok(())
    }

    fn receive(
        &mut self,
        writes: &Writes,
        one: Sent,
        tally: &mut Tally,
        left: &mut Left,
    ) -> Result<(), Failure> {
        let answer = self.masters[one.master].connection.recv_response()?;
        match script::outcome(answer)? {
            Outcome::Done(replies) => {
                let mut replies = replies.into_iter();
                for entry in one.entries {
                    let verdict =
                        verdict(entry.replies, entry.part, || Ok(replies.next().unwrap_or_default()))?;
                    match verdict {
                        Verdict::Done => tally.acknowledge(),
                        Verdict::Newer => tally.fence(),
                        Verdict::Lost => tally.lost.push(entry),
                        Verdict::WrongType(reason) => tally.refuse(writes.key(entry), &reason),
                        Verdict::Elsewhere(_) => left.elsewhere.push((one.master, entry)),
                    }
                }
            }
            Outcome::Fenced(found) => {
                left.doubts.push((one.tag, one.shards, found));
                left.entries.extend(one.entries);
            }
            Outcome::Moved => {
                left.is_stale = true;
                left.entries.extend(one.entries);
            }
        }
        Ok(())
    }

    /// Writes an entry that its master did not find: a script does not say where
    /// a key is, so the master is asked. While its slot is on its way, the entry
    /// goes to the master that the slot goes to.
    fn follow(
        &mut self,
        writes: &Writes,
        master: usize,
        entry: Entry,
        fencing: &mut Fencing,
        tally: &mut Tally,
        left: &mut Left,
    ) -> Result<(), Failure> {
        let connection = &mut self.masters[master].connection;
        connection.send_packed_command(&resp::command(&[b"EXISTS", writes.key(entry)]))?;
        let (host, port) = match verdict(1, None, || connection.recv_response())? {
            Verdict::Elsewhere(Elsewhere::Ask { host, port }) => (host, port),
            Verdict::Elsewhere(Elsewhere::Moved) => {
                left.is_stale = true;
                left.entries.push(entry);
                return Ok(());
            }
            // It has come back in the meantime.
            Verdict::Done | Verdict::Newer | Verdict::Lost | Verdict::WrongType(_) => {
                left.entries.push(entry);
                return Ok(());
            }
        };
        let asked = self.masters.iter().position(|known| known.address == (host.clone(), port));
        let Some(asked) = asked else {
            let reason = format!("slots are on their way to {host}:{port}, which has none yet");
            return Err(Failure::Unavailable(reason));
        };
        let shards = fencing.held_of(writes);
        let tag = self.raise(fencing, asked, &shards)?;
        let one = Sent { master: asked, tag, shards, entries: vec![entry] };
        self.send(writes, fencing, &one, true)?;
        accept(self.masters[asked].connection.recv_response()?)?;
        let mut answer = Left::default();
        self.receive(writes, one, tally, &mut answer)?;
        left.entries.extend(answer.entries);
        left.entries.extend(answer.elsewhere.into_iter().map(|(_, entry)| entry));
        left.doubts.extend(answer.doubts);
        left.is_stale |= answer.is_stale;
        Ok(())
    }

    /// Finds out why copies are not ours: another process took shards over, or
    /// somebody lost data.
    fn settle(
        &mut self,
        fencing: &mut Fencing,
        tag: u32,
        shards: &[Shard],
        found: &[Option<Epoch>],
    ) -> Result<(), Failure> {
        let higher = fencing.doubt(tag, shards, found);
        if higher.is_empty() {
            return Ok(());
        }
        let names: Vec<Shard> = higher.iter().map(|(shard, _)| *shard).collect();
        self.check(fencing, &names)?;
        let key = fencing.slot_key(None);
        fencing.outdo(self.connection(key.as_bytes())?, &higher)
    }

    fn check(&mut self, fencing: &mut Fencing, shards: &[Shard]) -> Result<(), Failure> {
        let key = fencing.slot_key(None);
        fencing.check(self.connection(key.as_bytes())?, shards)
    }

    /// Sets a master's copies where they are not ours yet; says under which tag they are.
    fn raise(&mut self, fencing: &mut Fencing, master: usize, shards: &[Shard]) -> Result<u32, Failure> {
        let tag = self.tag(fencing, master)?;
        fencing.raise(&mut self.masters[master].connection, tag, shards)?;
        Ok(tag)
    }

    /// The lowest tag whose slot a master has: every process finds the same.
    fn tag(&mut self, fencing: &Fencing, master: usize) -> Result<u32, Failure> {
        if let Some(tag) = self.tags[master] {
            return Ok(tag);
        }
        let is_there = |tag: &u32| self.slots[slot(fencing.slot_key(Some(*tag)).as_bytes())] == Some(master);
        let tag = (0..MOST_TAGS).find(is_there);
        self.tags[master] = tag;
        let (host, port) = &self.masters[master].address;
        tag.ok_or_else(|| Failure::Unavailable(format!("{host}:{port} has too few slots")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_tag_is_that_of_its_fences() {
        let fencing = Fencing::new("job", &["txn".to_owned()], 1);
        let shard = Shard { stream: crate::frame::StreamId(0), partition: Some(1) };
        for tag in [None, Some(0), Some(12)] {
            let key = &fencing.keys(tag, &[shard])[0];
            assert_eq!(slot(key.as_bytes()), slot(fencing.slot_key(tag).as_bytes()), "{key}");
        }
    }
}
