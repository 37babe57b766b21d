//! A master, its replica, and a sentinel that puts one into the other's place.

use super::redis::{MASTER, Options, RedisServer, Role};
use super::{PATIENCE, eventually};

/// A master under watch; all are stopped on drop.
#[derive(Debug)]
pub struct Watched {
    /// The master, at first.
    pub master: RedisServer,
    /// Its replica, which takes its place. It can be written to before that, too.
    pub replica: RedisServer,

    sentinel: RedisServer,
}

impl Watched {
    /// Starts all three and waits until a failover is possible.
    ///
    /// # Panics
    /// When they do not find each other.
    #[track_caller]
    pub fn start() -> Self {
        let start = |role| RedisServer::start_with(Options { role, ..Options::default() });
        let master = RedisServer::start();
        let replica = start(Role::ReplicaOf(master.port()));
        eventually(PATIENCE, "the replica follows", || {
            let info: String = replica.try_query(redis::cmd("INFO").arg("replication"))?;
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        });
        let sentinel = start(Role::SentinelOf(master.port()));
        let watched = Self { master, replica, sentinel };
        eventually(PATIENCE, "the sentinel knows the replica", || {
            let question = Self::question("REPLICAS");
            let replicas: Vec<Vec<String>> = watched.sentinel.try_query(&question)?;
            let linked = |replica: &Vec<String>| {
                replica.windows(2).any(|pair| pair[0] == "master-link-status" && pair[1] == "ok")
            };
            if replicas.iter().any(linked) { Ok(()) } else { Err(format!("{replicas:?}")) }
        });
        watched
    }

    /// Where the sentinel is, for `--redis-url`.
    pub fn url(&self) -> String {
        self.sentinel.url()
    }

    /// Stops the master as a crash would, and waits until the replica is the master.
    #[track_caller]
    pub fn fail_over(&mut self) {
        self.master.stop();
        let (question, port) = (Self::question("GET-MASTER-ADDR-BY-NAME"), self.replica.port().to_string());
        eventually(PATIENCE, "the replica is the master", || {
            let address: Vec<String> = self.sentinel.try_query(&question)?;
            if address.last() == Some(&port) { Ok(()) } else { Err(format!("{address:?}")) }
        });
    }

    fn question(question: &str) -> redis::Cmd {
        let mut command = redis::cmd("SENTINEL");
        command.arg(question).arg(MASTER);
        command
    }
}
