//! Writes to one server. With fences, a stretch of entries is a transaction
//! that fails if one of their fences has changed since it was looked at:
//!
//! ```text
//! WATCH fences  MGET fences                                       ──▶ all ours
//! MULTI  HSET …  PEXPIRE …  EXEC  WATCH fences  MGET fences        ──▶ written, and all ours for the next stretch
//! MULTI  …                  EXEC                                   ──▶ nil: somebody took over, look again
//! ```

use ::redis::{Connection, Value};

use super::fence::{ATTEMPTS, Fencing, keep_changing, watch, watched};
use super::reply::{Failure, Verdict, accept, verdict};
use super::whole::Dumper;
use super::{Tally, push_entry, stretches};
use crate::sink::fence::Shard;
use crate::sink::{Entry, Writes, resp};

/// Bytes that a transaction and the fences of the next one take beside the entries, about.
const AROUND_BYTES: usize = 1024;

/// Writes every entry.
pub(super) fn write(
    connection: &mut Connection,
    writes: &Writes,
    mut dumper: Option<&mut Dumper>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut stretches = stretches(&writes.entries);
    let mut next =
        stretches.next().map(|stretch| Packed::single(writes, stretch, &mut dumper)).transpose()?;
    while let Some(packed) = next.take() {
        connection.send_packed_command(&packed.bytes)?;
        next = stretches.next().map(|stretch| Packed::single(writes, stretch, &mut dumper)).transpose()?;
        for (entry, replies) in packed.entries {
            let verdict = verdict(replies, entry.part, || connection.recv_response())?;
            count(&mut tally, writes, entry, verdict)?;
        }
    }
    Ok(tally)
}

/// Writes the entries whose shards nobody else has taken over.
pub(super) fn write_fenced(
    connection: &mut Connection,
    writes: &Writes,
    fencing: &mut Fencing,
    mut dumper: Option<&mut Dumper>,
) -> Result<Tally, Failure> {
    if fencing.held_of(writes).is_empty() && fencing.taken_over().is_empty() {
        return write(connection, writes, dumper);
    }
    fencing.renew(connection)?;
    let mut tally = Tally::default();
    let mut stretches = stretches(&writes.entries).peekable();
    let mut guarding: Option<Vec<Shard>> = None;
    let mut ahead: Option<Packed> = None;
    while let Some(stretch) = stretches.next() {
        let mut attempts = 0;
        loop {
            attempts += 1;
            if attempts > ATTEMPTS {
                return Err(keep_changing());
            }
            let shards = match guarding.take() {
                Some(shards) => shards,
                None => fencing.watch(connection, writes)?,
            };
            let open: Vec<Entry> =
                stretch.iter().copied().filter(|entry| !fencing.is_taken_over(writes, *entry)).collect();
            if open.is_empty() {
                tally.fenced += stretch.len() as u64;
                guarding = Some(shards);
                ahead = None;
                break;
            }
            let goes_on = stretches.peek().is_some() && !shards.is_empty();
            let mut packed = match ahead.take() {
                Some(packed) if packed.entries.len() == open.len() => packed,
                _ => Packed::together(writes, &open, &mut dumper)?,
            };
            if goes_on {
                packed.bytes.extend(watch(&fencing.keys(None, &shards)));
            }
            connection.send_packed_command(&packed.bytes)?;
            // The next one is packed while the server is at work.
            let following = stretches.peek().map(|stretch| Packed::together(writes, stretch, &mut dumper));
            let executed = executed(connection, &packed.entries)?;
            if goes_on {
                let found = watched(connection)?;
                if fencing.judge(connection, &shards, &found)? {
                    guarding = Some(shards);
                }
            } else if shards.is_empty() {
                guarding = Some(shards);
            }
            let Some(replies) = executed else { continue };
            ahead = following.transpose()?;
            tally.fenced += (stretch.len() - open.len()) as u64;
            let mut replies = replies.into_iter();
            for (entry, count_of) in packed.entries {
                let verdict = verdict(count_of, entry.part, || Ok(replies.next().unwrap_or(Value::Nil)))?;
                count(&mut tally, writes, entry, verdict)?;
            }
            break;
        }
    }
    Ok(tally)
}

/// A stretch of entries as it is sent, and how many replies each of them gets.
struct Packed {
    bytes: Vec<u8>,
    entries: Vec<(Entry, u32)>,
}

impl Packed {
    /// Nothing yet, and room for these entries with what goes around them.
    fn with_room(entries: &[Entry]) -> Self {
        let own: usize = entries.iter().map(|entry| entry.end - entry.start).sum();
        Self { bytes: Vec::with_capacity(own + AROUND_BYTES), entries: Vec::with_capacity(entries.len()) }
    }

    /// Each on its own, torn ones as transactions.
    fn single(writes: &Writes, entries: &[Entry], dumper: &mut Option<&mut Dumper>) -> Result<Self, Failure> {
        let mut packed = Self::with_room(entries);
        for entry in entries {
            let replies = match dumper {
                Some(dumper) => dumper.push(writes, *entry, &mut packed.bytes)?.0,
                None => push_entry(&mut packed.bytes, writes, *entry),
            };
            packed.entries.push((*entry, replies));
        }
        Ok(packed)
    }

    /// As one transaction.
    fn together(
        writes: &Writes,
        entries: &[Entry],
        dumper: &mut Option<&mut Dumper>,
    ) -> Result<Self, Failure> {
        let mut packed = Self::with_room(entries);
        packed.bytes.extend(resp::command(&[b"MULTI"]));
        for entry in entries {
            let replies = match dumper {
                Some(dumper) => dumper.push(writes, *entry, &mut packed.bytes)?.0,
                None => {
                    packed.bytes.extend_from_slice(&writes.bytes[entry.start..entry.end]);
                    entry.replies
                }
            };
            packed.entries.push((*entry, replies));
        }
        packed.bytes.extend(resp::command(&[b"EXEC"]));
        Ok(packed)
    }
}

/// The replies to the commands of a transaction; `None` when a fence had changed.
fn executed(connection: &mut Connection, entries: &[(Entry, u32)]) -> Result<Option<Vec<Value>>, Failure> {
    let commands: u32 = entries.iter().map(|(_, replies)| replies).sum();
    // MULTI's own and one for each command that is queued.
    for _ in 0..=commands {
        accept(connection.recv_response()?)?;
    }
    match connection.recv_response()? {
        Value::Nil => Ok(None),
        Value::Array(replies) => Ok(Some(replies)),
        other => {
            accept(other)?;
            Err(Failure::Unavailable("EXEC was not answered by an array".to_owned()))
        }
    }
}

fn count(tally: &mut Tally, writes: &Writes, entry: Entry, verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Done => tally.acknowledge(),
        Verdict::Newer => tally.fence(),
        Verdict::Lost => tally.lost.push(entry),
        Verdict::WrongType(reason) => tally.refuse(writes.key(entry), &reason),
        Verdict::Elsewhere(_) => {
            let reason = "the server is part of a cluster; the mode has to be cluster";
            return Err(Failure::Refused(reason.to_owned()));
        }
    }
    Ok(())
}
