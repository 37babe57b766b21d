//! Redis as a sink: one server, a master behind sentinels, or a cluster.
//! Entries go out in long stretches and their replies are read afterwards, so
//! a round trip is paid for hundreds of entities. A connection that failed in
//! any way is dropped; the next call makes a new one. When to call again is
//! the caller's decision, see [`super::backoff`].

mod cluster;
mod connect;
mod options;
mod reply;

use std::collections::BTreeSet;

use ::redis::{Connection, Value};
use tracing::warn;

use cluster::Cluster;
use connect::{Dialer, request, text};
pub use options::{Mode, Options};
use reply::{Failure, Verdict, verdict};

use super::{Entry, Error, Sink, Writes, Written};

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

    link: Option<Link>,
    /// The server processes that hold what was written so far, if they tell.
    identities: Option<BTreeSet<String>>,
    /// Other processes have taken their place since the last write.
    changed: bool,
}

/// What is connected.
enum Link {
    Server { connection: Box<Connection>, run_id: Option<String> },
    Cluster(Cluster),
}

/// What became of the entries so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    acknowledged: u64,
    refused: u64,
}

impl RedisSink {
    /// Connects at the first call, and again after each failure.
    ///
    /// # Errors
    /// When the options are wrong.
    pub fn connect(options: &Options) -> Result<Self, Error> {
        let dialer = Dialer::try_new(options).map_err(|failure| failure.at("Redis"))?;
        let store = dialer.store();
        Ok(Self { dialer, store, link: None, identities: None, changed: false })
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
        self.with_link(|link, _| {
            for connection in link.connections() {
                scan(connection, pattern, limit, &mut keys)?;
            }
            Ok(())
        })?;
        Ok(keys.into_iter().take(limit).collect())
    }

    /// One question about one key.
    fn ask(&mut self, key: &str, parts: &[&[u8]]) -> Result<Value, Error> {
        self.with_link(|link, _| request(link.connection(key.as_bytes())?, parts))
    }

    /// Does something with a connection, made if there is none. After a failure
    /// it is not used again: replies may still be on their way.
    fn with_link<T>(
        &mut self,
        act: impl FnOnce(&mut Link, &Dialer) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = Link::open(&self.dialer).map_err(|failure| failure.at(&self.store))?;
                self.compare(link.identities());
                link
            }
        };
        let done = act(&mut link, &self.dialer).map_err(|failure| failure.at(&self.store))?;
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
}

impl Sink for RedisSink {
    fn write(&mut self, writes: &Writes) -> Result<Written, Error> {
        let tally = self.with_link(|link, dialer| match link {
            Link::Server { connection, .. } => write(connection, writes),
            Link::Cluster(cluster) => cluster.write(dialer, writes),
        })?;
        let store_changed = std::mem::take(&mut self.changed);
        Ok(Written { acknowledged: tally.acknowledged, refused: tally.refused, store_changed })
    }

    fn ping(&mut self) -> Result<Written, Error> {
        self.with_link(|link, _| {
            for connection in link.connections() {
                request(connection, &[b"PING"])?;
            }
            Ok(())
        })?;
        Ok(Written { store_changed: std::mem::take(&mut self.changed), ..Written::default() })
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

/// Writes every entry at one server.
fn write(connection: &mut Connection, writes: &Writes) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for stretch in stretches(&writes.entries) {
        let (first, last) = (&stretch[0], &stretch[stretch.len() - 1]);
        connection.send_packed_command(&writes.bytes[first.start..last.end])?;
        for entry in stretch {
            match verdict(entry.replies, || connection.recv_response())? {
                Verdict::Done => tally.acknowledge(),
                Verdict::WrongType(reason) => tally.refuse(writes.key(*entry), &reason),
                Verdict::Elsewhere(_) => {
                    let reason = "the server is part of a cluster; the mode has to be cluster";
                    return Err(Failure::Refused(reason.to_owned()));
                }
            }
        }
    }
    Ok(tally)
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
            warn!(reason, "without the right to INFO, a Redis that lost its data is not noticed");
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
        let entry =
            |start: usize, len: usize| Entry { start, end: start + len, replies: 2, key: (start, start) };
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
