//! A Redis Cluster of three masters without replicas.

use std::collections::{BTreeMap, HashMap};

use super::child::{Guarded, guarded};
use super::redis::{Options, RedisServer, Role};
use super::{PATIENCE, eventually};

/// The fewest that make a cluster.
const MASTERS: usize = 3;

/// How long one key may take from one master to another, in milliseconds.
const MIGRATE_MS: u32 = 10_000;

/// A cluster, stopped on drop.
#[derive(Debug)]
pub struct Cluster {
    masters: Vec<RedisServer>,
}

/// A slot whose key is at its new master already, while the cluster still names the old one.
#[derive(Debug)]
#[must_use = "the move has to be ended"]
pub struct Move {
    slot: u16,
    from: usize,
    to: usize,
}

impl Cluster {
    /// Three masters, each with a third of the slots, the first with the lowest.
    ///
    /// # Panics
    /// When they do not become a cluster.
    #[track_caller]
    pub fn start() -> Self {
        let node = || RedisServer::start_with(Options { role: Role::ClusterNode, ..Options::default() });
        let cluster = Self { masters: (0..MASTERS).map(|_| node()).collect() };
        let mut arguments = vec!["--cluster".to_owned(), "create".to_owned()];
        arguments.extend(cluster.masters.iter().map(address));
        arguments.extend(["--cluster-replicas", "0", "--cluster-yes"].map(str::to_owned));
        let mut create = redis_cli(&arguments);
        let status = create.wait(PATIENCE);
        assert!(status.success(), "redis-cli --cluster create: {status}\n{}", create.stdout());
        for master in &cluster.masters {
            eventually(PATIENCE, "the cluster is up", || {
                let info: String = master.try_query(redis::cmd("CLUSTER").arg("INFO"))?;
                if info.contains("cluster_state:ok") { Ok(()) } else { Err(info) }
            });
        }
        cluster
    }

    /// Where its nodes are, for `--redis-url`.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.masters.iter().map(RedisServer::url).collect();
        urls.join(",")
    }

    /// Its masters.
    pub fn masters(&self) -> &[RedisServer] {
        &self.masters
    }

    /// The hashes of a view, by key, of all masters.
    ///
    /// # Errors
    /// While one of them is between two masters.
    pub fn hashes(
        &self,
        entity: &str,
        view: &str,
    ) -> Result<BTreeMap<String, HashMap<String, String>>, String> {
        let (before, behind) = (format!("features:{entity}:"), format!(":{view}"));
        let mut hashes = BTreeMap::new();
        for master in &self.masters {
            let names: Vec<String> =
                master.try_query(redis::cmd("KEYS").arg(format!("{before}*{behind}")))?;
            for name in names {
                let hash = master.try_query(redis::cmd("HGETALL").arg(&name))?;
                let key = name.strip_prefix(&before).and_then(|key| key.strip_suffix(&behind));
                let key = key.ok_or_else(|| format!("{name} matches no pattern"))?.to_owned();
                if hashes.insert(key, hash).is_some() {
                    return Err(format!("{name} is at two masters"));
                }
            }
        }
        Ok(hashes)
    }

    /// Begins to move so many slots, the lowest, from one master to another.
    pub fn reshard(&self, from: usize, to: usize, slots: u16) -> Guarded {
        let arguments = [
            "--cluster".to_owned(),
            "reshard".to_owned(),
            address(&self.masters[from]),
            "--cluster-from".to_owned(),
            self.id(from),
            "--cluster-to".to_owned(),
            self.id(to),
            "--cluster-slots".to_owned(),
            slots.to_string(),
            "--cluster-yes".to_owned(),
        ];
        redis_cli(&arguments)
    }

    /// Moves a key, which is there, to the next master and leaves its slot on its way.
    #[track_caller]
    pub fn begin_move(&self, key: &str) -> Move {
        let from = self.masters.iter().position(|master| master.keys(key) == [key]);
        let from = from.expect("a master has the key");
        let to = (from + 1) % MASTERS;
        let slot: u16 = self.masters[from].query(redis::cmd("CLUSTER").arg("KEYSLOT").arg(key));
        self.set_slot(to, slot, "IMPORTING", from);
        self.set_slot(from, slot, "MIGRATING", to);
        let (mut migrate, port) = (redis::cmd("MIGRATE"), self.masters[to].port());
        migrate.arg("127.0.0.1").arg(port).arg(key).arg(0).arg(MIGRATE_MS);
        self.masters[from].query::<()>(&migrate);
        Move { slot, from, to }
    }

    /// Tells the masters that the slot has arrived.
    #[track_caller]
    pub fn end_move(&self, Move { slot, from, to }: Move) {
        self.set_slot(to, slot, "NODE", to);
        self.set_slot(from, slot, "NODE", to);
    }

    #[track_caller]
    fn set_slot(&self, told: usize, slot: u16, state: &str, other: usize) {
        let (mut command, other) = (redis::cmd("CLUSTER"), self.id(other));
        command.arg("SETSLOT").arg(slot).arg(state).arg(other);
        self.masters[told].query::<()>(&command);
    }

    #[track_caller]
    fn id(&self, master: usize) -> String {
        self.masters[master].query(redis::cmd("CLUSTER").arg("MYID"))
    }
}

fn address(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

fn redis_cli(arguments: &[String]) -> Guarded {
    Guarded::spawn("redis-cli", guarded("redis-cli", arguments, None))
}
