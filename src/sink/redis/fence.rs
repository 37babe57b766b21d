//! Fences in Redis: a key a shard, in which stands who took it over last. All
//! fences of a group have one hash tag, so that one transaction can set them in
//! a cluster, too. There each master has copies of its own beside them, since a
//! write can only be tied to keys of the same server.
//!
//! ```text
//! windrow:{payments-job}:fence:txn.events:3     7:5be1…   the fence
//! windrow:{payments-job:2}:fence:txn.events:3   7:5be1…   its copy at the master that has the slot of this tag
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::redis::{Connection, Value};
use tracing::warn;

use super::connect::request;
use super::reply::{Failure, accept};
use crate::sink::fence::{Epoch, Fences, Shard, Standing};
use crate::sink::{Entry, Writes, resp};

/// Fences of a group that is gone for so long go, too.
const LIFETIME: Duration = Duration::from_hours(30 * 24);

/// How often the lifetime of fences is begun anew.
const RENEW_EVERY: Duration = Duration::from_hours(24);

/// How often something is tried again because another process set a fence at
/// the same time. Processes take over once a rebalance: more is a bug.
pub(super) const ATTEMPTS: usize = 16;

/// A server that says what time it is within this long says so of now. Who was
/// paused in between asks again.
const PROMPT: Duration = Duration::from_millis(250);

/// Which of a fence's keys is meant: the fence itself, or the copy with this tag.
pub(super) type Tag = Option<u32>;

/// The fences of one sink.
pub(super) struct Fencing {
    group: String,
    /// Names of the streams' topics; numbers of streams may differ between processes.
    topics: Vec<String>,

    fences: Fences,
    /// Copies that were set, under which epoch.
    raised: BTreeMap<(u32, Shard), Epoch>,
    /// The store has lost what a fence said.
    lost: bool,
    /// The user has no right to keys of this name.
    forbidden: bool,
    renewed_at: Instant,
}

impl Fencing {
    /// Of the sink that is `holder`, in a group whose streams read `topics`.
    pub(super) fn new(group: &str, topics: &[String], holder: u64) -> Self {
        Self {
            // Braces would begin or end another hash tag.
            group: group.replace('{', "(").replace('}', ")"),
            topics: topics.to_vec(),
            fences: Fences::new(holder),
            raised: BTreeMap::new(),
            lost: false,
            forbidden: false,
            renewed_at: Instant::now(),
        }
    }

    /// Whether the store has lost data since this was asked last.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// The shards that others took over.
    pub(super) fn taken_over(&self) -> Vec<Shard> {
        self.fences.taken_over()
    }

    /// Forgets shards.
    pub(super) fn give_up(&mut self, shards: &[Shard]) {
        self.fences.give_up(shards);
        self.raised.retain(|(_, shard), _| !shards.contains(shard));
    }

    /// Every shard that is held.
    pub(super) fn held(&self) -> Vec<Shard> {
        self.fences.held().collect()
    }

    /// The shards of writes that are held.
    pub(super) fn held_of(&self, writes: &Writes) -> Vec<Shard> {
        let shards: BTreeSet<Shard> = writes.origins.iter().map(|origin| origin.shard).collect();
        shards.into_iter().filter(|shard| self.fences.epoch(*shard).is_some()).collect()
    }

    /// The shards that are held and have a copy under a tag.
    pub(super) fn raised(&self, tag: u32) -> Vec<Shard> {
        let has_copy = |shard: &Shard| self.raised.contains_key(&(tag, *shard));
        self.fences.held().filter(has_copy).collect()
    }

    /// What a shard's fence has while the shard is held.
    pub(super) fn epoch(&self, shard: Shard) -> Option<Epoch> {
        self.fences.epoch(shard)
    }

    /// Whether an entry is another process' to write.
    pub(super) fn is_taken_over(&self, writes: &Writes, entry: Entry) -> bool {
        writes.origin(entry).is_some_and(|origin| self.fences.is_taken_over(origin.shard))
    }

    /// A key in the slot of all keys with a tag.
    pub(super) fn slot_key(&self, tag: Tag) -> String {
        match tag {
            None => format!("windrow:{{{}}}", self.group),
            Some(tag) => format!("windrow:{{{}:{tag}}}", self.group),
        }
    }

    /// The keys of shards, in their order.
    pub(super) fn keys(&self, tag: Tag, shards: &[Shard]) -> Vec<String> {
        let before = self.slot_key(tag);
        let key = |shard: &Shard| {
            let topic = self.topics.get(shard.stream.index()).map_or("", String::as_str);
            match shard.partition {
                Some(partition) => format!("{before}:fence:{topic}:{partition}"),
                None => format!("{before}:fence:{topic}:all"),
            }
        };
        shards.iter().map(key).collect()
    }

    /// Takes shards over that the group gave so long `ago`; returns those that
    /// another process was given since.
    pub(super) fn take_over(
        &mut self,
        connection: &mut Connection,
        shards: &[Shard],
        ago: Duration,
    ) -> Result<Vec<Shard>, Failure> {
        if shards.is_empty() || self.forbidden {
            return Ok(Vec::new());
        }
        let given_at = moment(connection, ago)?;
        self.set_ours(connection, shards, |fences, shard, found| fences.claim(shard, found, given_at))
    }

    /// Sets fences to what `choose` says, which are ours then; returns the others,
    /// which are another's. Without the right to do so, writes are not fenced.
    fn set_ours(
        &mut self,
        connection: &mut Connection,
        shards: &[Shard],
        choose: impl Fn(&Fences, Shard, Option<Epoch>) -> Option<Epoch>,
    ) -> Result<Vec<Shard>, Failure> {
        if shards.is_empty() || self.forbidden {
            return Ok(Vec::new());
        }
        let fences = &self.fences;
        let set = self.set(connection, None, shards, |shard, found| choose(fences, shard, found));
        match set {
            Ok(set) => {
                let mut others: BTreeSet<Shard> = shards.iter().copied().collect();
                for (shard, found, epoch) in set {
                    let ours = self.fences.epoch(shard);
                    self.lost |= ours.is_some_and(|ours| ours.standing(found) == Standing::Lost);
                    self.fences.hold(shard, epoch);
                    others.remove(&shard);
                }
                others.iter().for_each(|shard| self.fences.yield_to_another(*shard));
                Ok(others.into_iter().collect())
            }
            Err(Failure::Refused(reason)) if reason.starts_with("NOPERM") => {
                warn!(
                    reason,
                    hint = format!("give the user the keys `{}:*`", self.slot_key(None)),
                    "without the right to its fences, a process that was paused can overwrite newer features"
                );
                self.forbidden = true;
                Ok(Vec::new())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Sets the copies at one master to our epochs, but for those that are
    /// higher: whoever set them took over later.
    pub(super) fn raise(
        &mut self,
        connection: &mut Connection,
        tag: u32,
        shards: &[Shard],
    ) -> Result<(), Failure> {
        let due: Vec<(Shard, Epoch)> = shards
            .iter()
            .filter_map(|shard| Some((*shard, self.fences.epoch(*shard)?)))
            .filter(|(shard, epoch)| self.raised.get(&(tag, *shard)) != Some(epoch))
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let names: Vec<Shard> = due.iter().map(|(shard, _)| *shard).collect();
        let fences = &self.fences;
        self.set(connection, Some(tag), &names, |shard, found| {
            fences.epoch(shard).filter(|ours| ours.standing(found) != Standing::TakenOver)
        })?;
        self.raised.extend(due.into_iter().map(|(shard, epoch)| ((tag, shard), epoch)));
        Ok(())
    }

    /// Sets fences to what `choose` makes of what they have, with nobody else
    /// setting them in between; returns what was there and what is there now.
    fn set(
        &self,
        connection: &mut Connection,
        tag: Tag,
        shards: &[Shard],
        choose: impl Fn(Shard, Option<Epoch>) -> Option<Epoch>,
    ) -> Result<Vec<(Shard, Option<Epoch>, Epoch)>, Failure> {
        let keys = self.keys(tag, shards);
        let lifetime_ms = LIFETIME.as_millis().to_string();
        for _ in 0..ATTEMPTS {
            connection.send_packed_command(&watch(&keys))?;
            let found = watched(connection)?;
            let mut chosen = Vec::new();
            let mut bytes = resp::command(&[b"MULTI"]);
            for ((shard, found), key) in shards.iter().zip(found).zip(&keys) {
                let Some(epoch) = choose(*shard, found) else { continue };
                let value = epoch.to_string();
                let set: [&[u8]; 5] =
                    [b"SET", key.as_bytes(), value.as_bytes(), b"PX", lifetime_ms.as_bytes()];
                bytes.extend(resp::command(&set));
                chosen.push((*shard, found, epoch));
            }
            bytes.extend(resp::command(&[b"EXEC"]));
            connection.send_packed_command(&bytes)?;
            let queued: Vec<Value> =
                (0..=chosen.len()).map(|_| connection.recv_response()).collect::<Result<_, _>>()?;
            let executed = connection.recv_response()?;
            for reply in queued {
                accept(reply)?;
            }
            if accept(executed)? != Value::Nil {
                return Ok(chosen);
            }
        }
        Err(keep_changing())
    }

    /// Looks at the fences of shards; what was lost is taken over anew.
    pub(super) fn check(&mut self, connection: &mut Connection, shards: &[Shard]) -> Result<(), Failure> {
        if shards.is_empty() {
            return Ok(());
        }
        let found = read(connection, &self.keys(None, shards))?;
        self.judge(connection, shards, &found).map(|_| ())
    }

    /// Watches the fences of writes, so that a transaction fails if one of them
    /// changes; what was lost is taken over anew before. Returns what is watched.
    pub(super) fn watch(
        &mut self,
        connection: &mut Connection,
        writes: &Writes,
    ) -> Result<Vec<Shard>, Failure> {
        for _ in 0..ATTEMPTS {
            let shards = self.held_of(writes);
            if shards.is_empty() {
                return Ok(shards);
            }
            connection.send_packed_command(&watch(&self.keys(None, &shards)))?;
            let found = watched(connection)?;
            if self.judge(connection, &shards, &found)? {
                return Ok(shards);
            }
        }
        Err(keep_changing())
    }

    /// Takes in what fences have. `false` when some were lost: they were taken
    /// over anew, and nothing is watched any more.
    pub(super) fn judge(
        &mut self,
        connection: &mut Connection,
        shards: &[Shard],
        found: &[Option<Epoch>],
    ) -> Result<bool, Failure> {
        let mut lost = Vec::new();
        for (shard, found) in shards.iter().zip(found) {
            if self.fences.judge(*shard, *found) == Standing::Lost {
                lost.push(*shard);
            }
        }
        if lost.is_empty() {
            return Ok(true);
        }
        self.lost = true;
        // Whoever lost this may have lost the copies as well.
        self.raised.retain(|(_, shard), _| !lost.contains(shard));
        self.set_ours(connection, &lost, Fences::restored)?;
        Ok(false)
    }

    /// Takes in that copies have something else than we set; returns those that
    /// are higher.
    pub(super) fn doubt(
        &mut self,
        tag: u32,
        shards: &[Shard],
        found: &[Option<Epoch>],
    ) -> Vec<(Shard, Epoch)> {
        let mut higher = Vec::new();
        for (shard, found) in shards.iter().zip(found) {
            match (self.fences.epoch(*shard).map(|ours| ours.standing(*found)), found) {
                (Some(Standing::Lost), _) => {
                    self.lost = true;
                    self.raised.remove(&(tag, *shard));
                }
                (Some(Standing::TakenOver), Some(found)) => higher.push((*shard, *found)),
                _ => {}
            }
        }
        higher
    }

    /// Takes shards over under more than what a copy has: the fence itself,
    /// just looked at, says that they are ours, so it lost data.
    pub(super) fn outdo(
        &mut self,
        connection: &mut Connection,
        copies: &[(Shard, Epoch)],
    ) -> Result<(), Failure> {
        let mut behind = Vec::new();
        for (shard, copy) in copies {
            if let Some(ours) = self.fences.epoch(*shard)
                && ours.number < copy.number
            {
                self.fences.hold(*shard, Epoch { number: copy.number, ..ours });
                behind.push(*shard);
            }
        }
        self.lost |= !behind.is_empty();
        self.set_ours(connection, &behind, |fences, shard, found| Some(fences.next(shard, found))).map(|_| ())
    }

    /// Begins the lifetime of the fences anew, when it is time; copies are set again.
    pub(super) fn renew(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        if self.renewed_at.elapsed() < RENEW_EVERY {
            return Ok(());
        }
        let lifetime_ms = LIFETIME.as_millis().to_string();
        for key in self.keys(None, &self.held()) {
            request(connection, &[b"PEXPIRE", key.as_bytes(), lifetime_ms.as_bytes()])?;
        }
        self.raised.clear();
        self.renewed_at = Instant::now();
        Ok(())
    }
}

/// When it was so long ago, in microseconds by the server's clock: that of one
/// server for all processes. `None` where it does not say.
fn moment(connection: &mut Connection, ago: Duration) -> Result<Option<u64>, Failure> {
    let begun = Instant::now();
    for _ in 0..ATTEMPTS {
        let asked = Instant::now();
        connection.send_packed_command(&resp::command(&[b"TIME"]))?;
        let answer = match accept(connection.recv_response()?) {
            Err(Failure::Refused(_)) => return Ok(None),
            answer => answer?,
        };
        if asked.elapsed() <= PROMPT {
            let ago = ago.saturating_add(asked.duration_since(begun)).as_micros();
            let ago = u64::try_from(ago).unwrap_or(u64::MAX);
            return Ok(time(&answer).map(|now| now.saturating_sub(ago)));
        }
    }
    Ok(None)
}

/// The answer to `TIME`, in microseconds.
fn time(answer: &Value) -> Option<u64> {
    let Value::Array(parts) = answer else { return None };
    let number = |part: &Value| match part {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let [seconds, micros] = parts.as_slice() else { return None };
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)
}

/// What the keys have.
pub(super) fn read(connection: &mut Connection, keys: &[String]) -> Result<Vec<Option<Epoch>>, Failure> {
    connection.send_packed_command(&command("MGET", keys))?;
    epochs(&accept(connection.recv_response()?)?)
}

/// Watches keys and asks what they have: replies for [`watched`].
pub(super) fn watch(keys: &[String]) -> Vec<u8> {
    let mut bytes = command("WATCH", keys);
    bytes.extend(command("MGET", keys));
    bytes
}

/// The replies to [`watch`].
pub(super) fn watched(connection: &mut Connection) -> Result<Vec<Option<Epoch>>, Failure> {
    let watching = connection.recv_response()?;
    let values = connection.recv_response()?;
    accept(watching)?;
    epochs(&accept(values)?)
}

/// What an array of fences' values says; one that nobody can read is none.
pub(super) fn epochs(values: &Value) -> Result<Vec<Option<Epoch>>, Failure> {
    let Value::Array(values) = values else {
        return Err(Failure::Unavailable("MGET was not answered by an array".to_owned()));
    };
    let epoch = |value: &Value| match value {
        Value::BulkString(text) => Epoch::parse(text),
        _ => None,
    };
    Ok(values.iter().map(epoch).collect())
}

/// That fences cannot be set or watched in peace.
pub(super) fn keep_changing() -> Failure {
    Failure::Unavailable("other processes keep changing its fences".to_owned())
}

fn command(name: &str, keys: &[String]) -> Vec<u8> {
    let parts: Vec<&[u8]> =
        std::iter::once(name.as_bytes()).chain(keys.iter().map(String::as_bytes)).collect();
    resp::command(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::StreamId;

    #[test]
    fn keys_are_of_a_topic_and_a_partition_and_share_a_tag() {
        let fencing = Fencing::new("job{1}", &["clicks".to_owned(), "txn".to_owned()], 1);
        let shard = |stream, partition| Shard { stream: StreamId(stream), partition };
        let shards = [shard(1, Some(3)), shard(0, None)];
        assert_eq!(
            fencing.keys(None, &shards),
            ["windrow:{job(1)}:fence:txn:3", "windrow:{job(1)}:fence:clicks:all"]
        );
        assert_eq!(fencing.keys(Some(7), &shards)[0], "windrow:{job(1):7}:fence:txn:3");
    }

    #[test]
    fn values_that_are_no_epochs_are_none() {
        let values = "*4\r\n$3\r\n7:a\r\n$-1\r\n$5\r\nhello\r\n$3\r\n8:b\r\n";
        let values = ::redis::parse_redis_value(values.as_bytes()).unwrap();
        let expected = [Some((7, 10)), None, None, Some((8, 11))]
            .map(|epoch| epoch.map(|(number, holder)| Epoch { number, holder }));
        assert_eq!(epochs(&values), Ok(expected.to_vec()));
        assert!(epochs(&Value::Nil).is_err());
    }

    #[test]
    fn a_server_says_what_time_it_is() {
        let answer = ::redis::parse_redis_value(b"*2\r\n$10\r\n1700000000\r\n$2\r\n42\r\n").unwrap();
        assert_eq!(time(&answer), Some(1_700_000_000_000_042));
        assert_eq!(time(&Value::Nil), None);
    }

    #[test]
    fn a_copy_that_went_back_is_a_loss_and_one_that_is_higher_is_told() {
        let mut fencing = Fencing::new("job", &["txn".to_owned()], 1);
        let shard = Shard { stream: StreamId(0), partition: Some(0) };
        let ours = Epoch { number: 5, holder: 1 };
        fencing.fences.hold(shard, ours);
        assert_eq!(fencing.doubt(2, &[shard], &[Some(ours)]), Vec::new());
        assert!(!fencing.take_lost());
        let later = Epoch { number: 6, holder: 2 };
        assert_eq!(fencing.doubt(2, &[shard], &[Some(later)]), [(shard, later)]);
        assert!(!fencing.take_lost());
        assert_eq!(fencing.doubt(2, &[shard], &[None]), Vec::new());
        assert!(fencing.take_lost() && !fencing.take_lost());
    }
}
