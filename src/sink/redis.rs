//! Redis as a sink: one server, a master behind sentinels, or a cluster.
//! Entries go out in long stretches and their replies are read afterwards, so
//! a round trip is paid for hundreds of entities. A connection that failed in
//! any way is dropped; the next call makes a new one. When to call again is
//! the caller's decision, see [`super::backoff`].

mod cluster;
mod connect;
mod fence;
mod listpack;
mod options;
mod reply;
mod script;
mod server;
mod whole;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use ::redis::{Connection, Value};
use tracing::warn;

use cluster::Cluster;
use connect::{Dialer, request, text};
use fence::Fencing;
pub use options::{Guard, Mode, Options, SetBy};
use reply::Failure;
use whole::Dumper;

use super::fence::Shard;
use super::{Entry, Error, Sink, Writes, Written, encode, resp};

/// Entries sent before their replies are read. Enough to make the round trip
/// cheap; few enough that the server's replies never fill a socket's buffer.
const STRETCH_ENTRIES: usize = 512;

/// Bytes sent before replies are read, so that one stretch of wide hashes does
/// not keep the server from its other clients.
const STRETCH_BYTES: usize = 1 << 20;

/// Keys that one SCAN looks at: the server answers others in between.
const SCAN_COUNT: &[u8] = b"1000";

/// The sink, and the reader of what it wrote.
pub struct RedisSink {
    dialer: Dialer,
    store: String,
    /// Whether hashes for a later time stay as they are.
    keeps_newer: bool,
    /// Where hashes are set by their dumps.
    dumper: Option<Dumper>,

    fencing: Option<Fencing>,
    link: Option<Link>,
    /// The server processes that hold what was written so far, if they tell.
    identities: Option<BTreeSet<String>>,
    /// Other processes have taken their place since the last write.
    changed: bool,
    /// The last write failed: what it did to hashes, and what they had before, is not known.
    doubts: bool,
}

/// What is connected.
enum Link {
    Server { connection: Box<Connection>, run_id: Option<String> },
    Cluster(Cluster),
}

/// What became of the entries so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Tally {
    acknowledged: u64,
    refused: u64,
    fenced: u64,
    /// Entries that left out fields which their hashes had lost.
    lost: Vec<Entry>,
}

/// What is wrong with options, as far as can be told without a network.
pub fn problem(options: &Options) -> Option<String> {
    match Dialer::try_new(options) {
        Ok(_) => None,
        Err(Failure::Refused(reason) | Failure::Unavailable(reason)) => Some(reason),
    }
}

impl RedisSink {
    /// Connects at the first call, and again after each failure.
    ///
    /// # Errors
    /// When the options are wrong.
    pub fn connect(options: &Options) -> Result<Self, Error> {
        let dialer = Dialer::try_new(options).map_err(|failure| failure.at("Redis"))?;
        let store = dialer.store();
        let fencing = match &options.guard {
            Guard::Fences { group, topics } => {
                // Any number will do that no other sink has.
                Some(Fencing::new(group, topics, RandomState::new().hash_one(std::process::id())))
            }
            Guard::None | Guard::AsOf => None,
        };
        let keeps_newer = options.guard == Guard::AsOf;
        Ok(Self {
            dialer,
            store,
            keeps_newer,
            dumper: (options.set_by == SetBy::Restore && !keeps_newer).then(Dumper::default),
            fencing,
            link: None,
            identities: None,
            changed: false,
            doubts: false,
        })
    }

    /// The store as messages call it.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The fields of a hash in the store's order; none when there is no such key.
    ///
    /// # Errors
    /// When the store does not answer, or the key is no hash.
    pub fn read_hash(&mut self, key: &str) -> Result<Vec<(String, String)>, Error> {
        let reply = self.ask(key, &[b"HGETALL", key.as_bytes()])?;
        let Value::Array(items) = reply else { return Ok(Vec::new()) };
        let texts: Vec<String> = items.iter().filter_map(text).collect();
        Ok(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }

    /// How long a key still lives, in milliseconds; `None` when it is not there or lives for ever.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn ttl_ms(&mut self, key: &str) -> Result<Option<u64>, Error> {
        match self.ask(key, &[b"PTTL", key.as_bytes()])? {
            Value::Int(ttl_ms) => Ok(u64::try_from(ttl_ms).ok()),
            _ => Ok(None),
        }
    }

    /// Up to `limit` keys that match a pattern of Redis', in order.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn scan(&mut self, pattern: &str, limit: usize) -> Result<Vec<String>, Error> {
        let mut keys = BTreeSet::new();
        self.with_link(|link, _, _| {
            for connection in link.connections() {
                scan(connection, pattern, limit, &mut keys)?;
            }
            Ok(())
        })?;
        Ok(keys.into_iter().take(limit).collect())
    }

    /// One question about one key.
    fn ask(&mut self, key: &str, parts: &[&[u8]]) -> Result<Value, Error> {
        self.with_link(|link, _, _| request(link.connection(key.as_bytes())?, parts))
    }

    /// Does something with a connection, made if there is none. After a failure
    /// it is not used again: replies may still be on their way.
    fn with_link<T>(
        &mut self,
        act: impl FnOnce(&mut Link, &Dialer, Option<&mut Fencing>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = Link::open(&self.dialer).map_err(|failure| failure.at(&self.store))?;
                self.compare(link.identities());
                link
            }
        };
        let done =
            act(&mut link, &self.dialer, self.fencing.as_mut()).map_err(|failure| failure.at(&self.store))?;
        // A cluster may have changed its masters on the way.
        self.compare(link.identities());
        self.link = Some(link);
        Ok(done)
    }

    /// Notes whether a process holds data now that did not before.
    fn compare(&mut self, now: Option<BTreeSet<String>>) {
        let Some(now) = now else { return };
        if self.identities.as_ref().is_some_and(|before| !now.is_subset(before)) {
            self.changed = true;
        }
        self.identities = Some(now);
    }

    /// What to report of a write.
    fn written(&mut self, tally: &Tally) -> Written {
        let lost = self.fencing.as_mut().is_some_and(Fencing::take_lost);
        Written {
            acknowledged: tally.acknowledged,
            refused: tally.refused,
            fenced: tally.fenced,
            taken_over: self.fencing.as_ref().map(Fencing::taken_over).unwrap_or_default(),
            store_changed: std::mem::take(&mut self.changed) || lost,
        }
    }

    /// Writes every entry, and those whole that turned out to need it.
    fn write_parts(&mut self, writes: &Writes) -> Result<Tally, Error> {
        let mut tally = self.write_all(writes)?;
        if !tally.lost.is_empty() {
            let whole = writes.whole(&tally.lost).map_err(|error| self.ours(&error))?;
            let again = self.write_all(&whole)?;
            tally.acknowledged += again.acknowledged;
            tally.refused += again.refused;
            tally.fenced += again.fenced;
        }
        Ok(tally)
    }

    /// An error of our own making.
    fn ours(&self, error: &encode::Error) -> Error {
        Failure::Refused(error.to_string()).at(&self.store)
    }

    fn write_all(&mut self, writes: &Writes) -> Result<Tally, Error> {
        let mut dumper = self.dumper.take();
        let tally = self.with_link(|link, dialer, fencing| {
            let cluster = match link {
                Link::Server { connection, .. } => {
                    return match fencing {
                        None => server::write(connection, writes, dumper.as_mut()),
                        Some(fencing) => server::write_fenced(connection, writes, fencing, dumper.as_mut()),
                    };
                }
                Link::Cluster(cluster) => cluster,
            };
            // Which master an entry goes to, and how often, is found out on the way.
            let writes = match &mut dumper {
                Some(dumper) => Cow::Owned(dumper.all(writes)?),
                None => Cow::Borrowed(writes),
            };
            match fencing {
                None => cluster.write(dialer, &writes),
                Some(fencing) => cluster.write_fenced(dialer, &writes, fencing),
            }
        });
        self.dumper = dumper;
        tally
    }
}

impl Sink for RedisSink {
    fn take_over(&mut self, shards: &[Shard], ago: Duration) -> Result<Vec<Shard>, Error> {
        if self.fencing.is_none() {
            return Ok(Vec::new());
        }
        self.with_link(|link, _, fencing| match (link, fencing) {
            (_, None) => Ok(Vec::new()),
            (Link::Server { connection, .. }, Some(fencing)) => fencing.take_over(connection, shards, ago),
            (Link::Cluster(cluster), Some(fencing)) => cluster.take_over(fencing, shards, ago),
        })
    }

    fn give_up(&mut self, shards: &[Shard]) {
        if let Some(fencing) = &mut self.fencing {
            fencing.give_up(shards);
        }
    }

    fn write(&mut self, writes: &Writes) -> Result<Written, Error> {
        let doubts = std::mem::replace(&mut self.doubts, true);
        let tally = if self.keeps_newer {
            let scripts = script::unless_newer(writes).map_err(|failure| failure.at(&self.store))?;
            self.write_all(&scripts)?
        } else if doubts {
            let whole = writes.all_whole().map_err(|error| self.ours(&error))?;
            self.write_all(&whole)?
        } else {
            self.write_parts(writes)?
        };
        self.doubts = false;
        Ok(self.written(&tally))
    }

    fn ping(&mut self) -> Result<Written, Error> {
        self.with_link(|link, _, fencing| {
            for connection in link.connections() {
                request(connection, &[b"PING"])?;
            }
            match (link, fencing) {
                (_, None) => Ok(()),
                (Link::Server { connection, .. }, Some(fencing)) => {
                    let held = fencing.held();
                    fencing.check(connection, &held)
                }
                (Link::Cluster(cluster), Some(fencing)) => cluster.check_all(fencing),
            }
        })?;
        Ok(self.written(&Tally::default()))
    }
}

impl Link {
    fn open(dialer: &Dialer) -> Result<Self, Failure> {
        if *dialer.mode() == Mode::Cluster {
            return Cluster::open(dialer).map(Self::Cluster);
        }
        let mut connection = Box::new(dialer.master()?);
        let run_id = run_id(&mut connection)?;
        Ok(Self::Server { connection, run_id })
    }

    fn identities(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Server { run_id, .. } => run_id.clone().map(|run_id| BTreeSet::from([run_id])),
            Self::Cluster(cluster) => cluster.identities(),
        }
    }

    fn connections(&mut self) -> Box<dyn Iterator<Item = &mut Connection> + '_> {
        match self {
            Self::Server { connection, .. } => Box::new(std::iter::once(connection.as_mut())),
            Self::Cluster(cluster) => Box::new(cluster.connections()),
        }
    }

    fn connection(&mut self, key: &[u8]) -> Result<&mut Connection, Failure> {
        match self {
            Self::Server { connection, .. } => Ok(connection),
            Self::Cluster(cluster) => cluster.connection(key),
        }
    }
}

impl Tally {
    const fn acknowledge(&mut self) {
        self.acknowledged += 1;
    }

    /// Counts an entry that is another process' to write, or older than what is there.
    const fn fence(&mut self) {
        self.fenced += 1;
    }

    /// Counts and logs an entry that the store refused for good.
    fn refuse(&mut self, key: &[u8], reason: &str) {
        self.refused += 1;
        warn!(
            key = %String::from_utf8_lossy(key),
            reason,
            hint = "something else uses this key: delete it, or change the key template",
            "features were not written"
        );
    }
}

/// Appends an entry's commands, those of a torn one as a transaction; how many replies they get.
fn push_entry(bytes: &mut Vec<u8>, writes: &Writes, entry: Entry) -> u32 {
    let commands = &writes.bytes[entry.start..entry.end];
    if entry.is_torn() {
        bytes.extend(resp::command(&[b"MULTI"]));
        bytes.extend_from_slice(commands);
        bytes.extend(resp::command(&[b"EXEC"]));
        entry.replies + 2
    } else {
        bytes.extend_from_slice(commands);
        entry.replies
    }
}

/// Entries, which lie one behind the other, cut into stretches that are sent at
/// once. None is empty; an entry above the limit is a stretch of its own.
fn stretches(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let start = rest.first()?.start;
        let fitting =
            rest.iter().take(STRETCH_ENTRIES).take_while(|entry| entry.end - start <= STRETCH_BYTES).count();
        let (stretch, behind) = rest.split_at(fitting.max(1));
        rest = behind;
        Some(stretch)
    })
}

/// Which process answers: another after every start of the server. `None` when
/// the user has no right to know.
fn run_id(connection: &mut Connection) -> Result<Option<String>, Failure> {
    match request(connection, &[b"INFO", b"server"]) {
        Ok(reply) => {
            let info = text(&reply).unwrap_or_default();
            Ok(info
                .lines()
                .find_map(|line| line.strip_prefix("run_id:"))
                .map(|run_id| run_id.trim().to_owned()))
        }
        Err(Failure::Refused(reason)) if reason.starts_with("NOPERM") => {
            warn!(
                reason,
                "without the right to INFO, a Redis that lost its data is noticed by its missing fences alone"
            );
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

fn scan(
    connection: &mut Connection,
    pattern: &str,
    limit: usize,
    keys: &mut BTreeSet<String>,
) -> Result<(), Failure> {
    let mut cursor = "0".to_owned();
    loop {
        let parts: [&[u8]; 6] =
            [b"SCAN", cursor.as_bytes(), b"MATCH", pattern.as_bytes(), b"COUNT", SCAN_COUNT];
        let reply = request(connection, &parts)?;
        let Value::Array(parts) = reply else { return Ok(()) };
        let [next, Value::Array(found)] = parts.as_slice() else { return Ok(()) };
        keys.extend(found.iter().filter_map(text));
        cursor = text(next).unwrap_or_default();
        if keys.len() >= limit || cursor.is_empty() || cursor == "0" {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_hold_so_many_entries_and_bytes() {
        let entry = |start: usize, len: usize| {
            let key = (start, start);
            Entry { start, end: start + len, replies: 2, origin: 0, key, part: None }
        };
        let lengths = |entries: &[Entry]| stretches(entries).map(<[Entry]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), Vec::<usize>::new());
        let small: Vec<Entry> = (0..1100).map(|index| entry(index * 10, 10)).collect();
        assert_eq!(lengths(&small), [512, 512, 76]);
        let half = STRETCH_BYTES / 2;
        let large =
            [entry(0, 10), entry(10, 2 * half + 1), entry(2 * half + 11, half), entry(3 * half + 11, half)];
        assert_eq!(lengths(&large), [1, 1, 2]);
    }
}
