//! The thread that encodes and writes. It takes one checkpoint at a time, and
//! none waits: where the store is slow there are fewer of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::Identity;
use super::manifest::Entry;
use super::store::{Error, Store};
use crate::frame::PartitionId;
use crate::state::saved::SavedPartition;
use crate::time::EventTime;

/// A checkpoint to be written.
#[derive(Debug)]
pub struct Job {
    /// The partition.
    pub partition: PartitionId,
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// The objects that there are.
    pub chain: Vec<Entry>,
    /// What is to be added.
    pub saved: SavedPartition,
    /// Whether it is all that there is.
    pub is_whole: bool,
    /// Wall time.
    pub wall: EventTime,
}

/// What became of it.
#[derive(Debug)]
pub struct Done {
    /// The partition.
    pub partition: PartitionId,
    /// Up to where it goes.
    pub position: i64,
    /// The objects that there are now.
    pub chain: Result<Vec<Entry>, Error>,
    /// How long it took.
    pub taken: Duration,
}

/// The thread, which ends with this.
#[derive(Debug)]
pub struct Writer {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        // One is handed over only after the one before was told of.
        let (jobs, received) = sync_channel::<Job>(1);
        let (told, done) = channel();
        std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || {
            for Job { partition, identity, chain, saved, is_whole, wall } in received {
                let begun = Instant::now();
                let chain = store.write(&identity, partition.partition, &chain, &saved, is_whole, wall);
                let done = Done { partition, position: saved.position, chain, taken: begun.elapsed() };
                if told.send(done).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, done })
    }

    /// Hands a checkpoint over; whether it was taken.
    pub fn write(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// What became of the last one, when it is done.
    pub fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}
