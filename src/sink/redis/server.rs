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
use super::{Tally, push_entry, stretches};
use crate::sink::fence::Shard;
use crate::sink::{Entry, Writes, resp};

/// Writes every entry.
pub(super) fn write(connection: &mut Connection, writes: &Writes) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut bytes = Vec::new();
    for stretch in stretches(&writes.entries) {
        bytes.clear();
        let replies: Vec<u32> = stretch.iter().map(|entry| push_entry(&mut bytes, writes, *entry)).collect();
        connection.send_packed_command(&bytes)?;
        for (entry, replies) in stretch.iter().zip(replies) {
            let verdict = verdict(replies, || connection.recv_response())?;
            count(&mut tally, writes, *entry, verdict)?;
        }
    }
    Ok(tally)
}

/// Writes the entries whose shards nobody else has taken over.
pub(super) fn write_fenced(
    connection: &mut Connection,
    writes: &Writes,
    fencing: &mut Fencing,
) -> Result<Tally, Failure> {
    if fencing.held_of(writes).is_empty() && fencing.taken_over().is_empty() {
        return write(connection, writes);
    }
    fencing.renew(connection)?;
    let mut tally = Tally::default();
    let mut stretches = stretches(&writes.entries).peekable();
    let mut guarding: Option<Vec<Shard>> = None;
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
                break;
            }
            let goes_on = stretches.peek().is_some() && !shards.is_empty();
            let keys = if goes_on { fencing.keys(None, &shards) } else { Vec::new() };
            send(connection, writes, &open, &keys)?;
            let executed = executed(connection, &open)?;
            if goes_on {
                let found = watched(connection)?;
                if fencing.judge(connection, &shards, &found)? {
                    guarding = Some(shards);
                }
            } else if shards.is_empty() {
                guarding = Some(shards);
            }
            let Some(replies) = executed else { continue };
            tally.fenced += (stretch.len() - open.len()) as u64;
            let mut replies = replies.into_iter();
            for entry in open {
                let verdict = verdict(entry.replies, || Ok(replies.next().unwrap_or(Value::Nil)))?;
                count(&mut tally, writes, entry, verdict)?;
            }
            break;
        }
    }
    Ok(tally)
}

/// Sends entries as one transaction, and then watches `keys` for the next one.
fn send(
    connection: &mut Connection,
    writes: &Writes,
    entries: &[Entry],
    keys: &[String],
) -> Result<(), Failure> {
    let mut bytes = resp::command(&[b"MULTI"]);
    for entry in entries {
        bytes.extend_from_slice(&writes.bytes[entry.start..entry.end]);
    }
    bytes.extend(resp::command(&[b"EXEC"]));
    if !keys.is_empty() {
        bytes.extend(watch(keys));
    }
    connection.send_packed_command(&bytes)?;
    Ok(())
}

/// The replies to the commands of a transaction; `None` when a fence had changed.
fn executed(connection: &mut Connection, entries: &[Entry]) -> Result<Option<Vec<Value>>, Failure> {
    let commands: u32 = entries.iter().map(|entry| entry.replies).sum();
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
        Verdict::WrongType(reason) => tally.refuse(writes.key(entry), &reason),
        Verdict::Elsewhere(_) => {
            let reason = "the server is part of a cluster; the mode has to be cluster";
            return Err(Failure::Refused(reason.to_owned()));
        }
    }
    Ok(())
}
