//! The thread that encodes and writes. It takes one checkpoint at a time, and
//! none waits: where the store is slow there are fewer of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
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

/// What the thread is to do, in this order.
#[derive(Debug)]
enum Order {
    Write(Box<Job>),
    Disown { partition: PartitionId, identity: Arc<Identity>, wall: EventTime },
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
    orders: Sender<Order>,
    done: Receiver<Done>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        // A checkpoint is handed over only after the one before was told of; what
        // is disowned beside it is small, and at most every partition.
        let (orders, received) = channel();
        let (told, done) = channel();
        std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || {
            for order in received {
                let job = match order {
                    Order::Write(job) => *job,
                    Order::Disown { partition, identity, wall } => {
                        disown(&store, partition, &identity, wall);
                        continue;
                    }
                };
                let Job { partition, identity, chain, saved, is_whole, wall } = job;
                let begun = Instant::now();
                let chain = store.write(&identity, partition.partition, &chain, &saved, is_whole, wall);
                let done = Done { partition, position: saved.position, chain, taken: begun.elapsed() };
                if told.send(done).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, done })
    }

    /// Hands a checkpoint over; whether it was taken.
    pub fn write(&self, job: Job) -> bool {
        self.orders.send(Order::Write(Box::new(job))).is_ok()
    }

    /// Has what there is of a partition not used any more, after what was handed over.
    pub fn disown(&self, partition: PartitionId, identity: Arc<Identity>, wall: EventTime) {
        // Without the thread nothing is written any more, and that has been said.
        let _ = self.orders.send(Order::Disown { partition, identity, wall });
    }

    /// What became of the last one, when it is done.
    pub fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

/// What cannot be removed now is replaced by the next checkpoint of the partition.
fn disown(store: &Store, partition: PartitionId, identity: &Identity, wall: EventTime) {
    let (topic, partition) = (&identity.topic, partition.partition);
    match store.disown(identity, partition, wall) {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!(
                topic,
                partition,
                "the checkpoint of the log that was before is not used any more"
            );
        }
        // The next write runs into the same, and says so.
        Err(error) if error.trouble().is_some() => {}
        Err(error) => tracing::warn!(
            topic,
            partition,
            "the checkpoint of the log that was before stays until the next is written: {error}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use object_store::memory::InMemory;

    use super::*;
    use crate::frame::StreamId;

    /// What is on its way when a topic is made anew does not come back.
    #[test]
    fn what_was_handed_over_before_is_disowned_too() {
        let views = BTreeMap::from([("spending".to_owned(), "1".to_owned())]);
        let identity = Identity { group: "g".to_owned(), topic: "t".to_owned(), views };
        let identity = Arc::new(identity);
        let store = Arc::new(Store::over(Arc::new(InMemory::new())).unwrap());
        let writer = Writer::start(Arc::clone(&store)).unwrap();
        let partition = PartitionId { stream: StreamId(0), partition: 3 };
        let job = |position| Job {
            partition,
            identity: Arc::clone(&identity),
            chain: Vec::new(),
            saved: SavedPartition { position, clock: None, chunks: Vec::new(), views: Vec::new() },
            is_whole: true,
            wall: EventTime(0),
        };
        assert!(writer.write(job(10)));
        writer.disown(partition, Arc::clone(&identity), EventTime(0));
        writer.disown(partition, Arc::clone(&identity), EventTime(0));
        // The thread has come this far once it has told of the next.
        let other = PartitionId { partition: 4, ..partition };
        assert!(writer.write(Job { partition: other, ..job(20) }));
        let told: Vec<i32> = (0..2).map(|_| writer.done.recv().unwrap().partition.partition).collect();
        assert_eq!(told, [3, 4]);
        assert!(store.read(&identity, 3, 0, 100).unwrap().is_none());
        assert!(store.read(&identity, 4, 0, 100).unwrap().is_some());
    }
}
