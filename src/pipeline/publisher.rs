//! Makes a turn's publication safe: dead letters first, then the store, again
//! and again until both have it. Only then may its offsets be committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::Event;
use super::publication::{Letters, Publication};
use crate::error::Fault;
use crate::frame::Reason;
use crate::sink::backoff::Backoff;
use crate::sink::dead_letter::{DeadLetter, DeadLetters};
use crate::sink::fence::Shard;
use crate::sink::{self, Sink, Writes, Written};
use crate::telemetry::{Health, LateAction, Metrics, RedisStatus, Stage};
use crate::time::Clock;
use crate::view::Streams;

/// How often a store that has nothing to do is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(2);

/// A shard that another process took over is spoken of again after this long:
/// by then the group's rebalance should have told us so, too.
const FENCED_AGAIN: Duration = Duration::from_secs(60);

/// The shards that other processes took over, and when that was said last.
pub type TakenOver = BTreeMap<Shard, Instant>;

/// What a publisher is made of.
pub struct Publisher {
    /// Which worker's.
    pub worker: usize,
    /// The store.
    pub sink: Box<dyn Sink>,
    /// The place for dead letters; `None` when they are only counted, as in a replay.
    pub dead_letters: Option<Box<dyn DeadLetters>>,
    /// The configured streams.
    pub streams: Arc<Streams>,
    /// Where to count.
    pub metrics: Metrics,
    /// Where to say whether the store answers.
    pub health: Health,
    /// Wall time, for freshness.
    pub clock: Arc<dyn Clock>,
    /// Set when waiting for a store has to end.
    pub give_up: Arc<AtomicBool>,
    /// What others took over and this process was not told to give up; empty at first.
    pub taken_over: TakenOver,
    /// The store was found to be another one; that is told at the end of the turn.
    pub store_changed: bool,
    /// How long publishing what went ahead of the turn's end took.
    pub published_in: Duration,
    /// Publications sent to it that it is not done with.
    pub in_flight: Arc<AtomicUsize>,
}

impl Publisher {
    /// Publishes until the worker is gone.
    /// The room of what is written goes back to the worker.
    pub fn run(
        mut self,
        publications: &Receiver<Publication>,
        events: &Sender<Event>,
        reusable: &Sender<Writes>,
    ) {
        loop {
            match publications.recv_timeout(PING_EVERY) {
                Ok(mut publication) => {
                    let event = match self.publish(&publication) {
                        Some(written) => {
                            self.count(&publication, &written);
                            self.store_changed |= written.store_changed;
                            publication.ends_turn.then(|| Event::Acknowledged {
                                worker: self.worker,
                                giving: publication.giving,
                                commits: publication.commits_without(self.taken_over.keys()),
                                store_changed: std::mem::take(&mut self.store_changed),
                            })
                        }
                        None => Some(Event::GaveUp { worker: self.worker }),
                    };
                    // A worker that has ended does not need it any more.
                    let _ = reusable.send(std::mem::take(&mut publication.writes));
                    self.in_flight.fetch_sub(1, Ordering::Relaxed);
                    if event.is_some_and(|event| events.send(event).is_err()) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let answer = self.sink.ping();
                    self.health.sink_answers(answer.is_ok());
                    if let Ok(written) = &answer {
                        self.note_taken_over(&written.taken_over);
                    }
                    if answer.is_ok_and(|written| written.store_changed)
                        && events.send(Event::StoreChanged).is_err()
                    {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// `None` when it was told to give up.
    fn publish(&mut self, publication: &Publication) -> Option<Written> {
        let begun = Instant::now();
        self.sink.give_up(&publication.given_up);
        for shard in publication.given_up.iter().chain(&publication.taken) {
            self.taken_over.remove(shard);
        }
        if !publication.taken.is_empty() {
            let written = self.until_done("take shards over", |publisher| {
                let ago = publication.given_at.elapsed();
                let taken_over = publisher.sink.take_over(&publication.taken, ago)?;
                Ok(Written { taken_over, ..Written::default() })
            })?;
            self.note_taken_over(&written.taken_over);
        }
        if !publication.letters.is_empty() && self.dead_letters.is_some() {
            self.until_done("write dead letters", |publisher| {
                publisher.send_letters(&publication.letters).map(|()| Written::default())
            })?;
        }
        let written = if publication.writes.is_empty() {
            Written::default()
        } else {
            let written = self.until_done("write features", |publisher| {
                let written = publisher.sink.write(&publication.writes);
                publisher.metrics.redis_writes(RedisStatus::Retried, u64::from(written.is_err()));
                written
            })?;
            self.health.sink_answers(true);
            self.note_taken_over(&written.taken_over);
            written
        };
        self.published_in += begun.elapsed();
        if publication.ends_turn {
            self.metrics.batch_seconds(Stage::Publish, std::mem::take(&mut self.published_in));
        }
        Some(written)
    }

    /// Says which shards others took over, and again while we are not told to give them up.
    fn note_taken_over(&mut self, shards: &[Shard]) {
        for shard in shards {
            let topic = &self.streams.get(shard.stream).topic;
            let partition = shard.partition.map_or_else(|| "all".to_owned(), |number| number.to_string());
            match self.taken_over.get(shard) {
                None => {
                    tracing::warn!(
                        topic,
                        partition,
                        "another process of the group has taken the partition over: what is computed here is not written, and its offsets are not committed; that ends with the group's next rebalance"
                    );
                    self.taken_over.insert(*shard, Instant::now());
                }
                Some(said) if said.elapsed() >= FENCED_AGAIN => {
                    tracing::error!(
                        topic,
                        partition,
                        hint = "restart this process; if two consumer groups or two Kafka clusters use one Redis under the same group id, give each an id of its own",
                        "another process has taken the partition over, and the group has not taken it from this one: its features are not written"
                    );
                    self.taken_over.insert(*shard, Instant::now());
                }
                Some(_) => {}
            }
        }
    }

    fn send_letters(&mut self, letters: &[Letters]) -> Result<(), sink::Error> {
        let Some(place) = &mut self.dead_letters else { return Ok(()) };
        for Letters { frames, rejected } in letters {
            let stream = self.streams.get(frames.partition.stream);
            for one in rejected {
                place.append(&DeadLetter {
                    source_topic: &stream.topic,
                    partition: frames.partition.partition,
                    frame: frames.get(one.index),
                    reason: one.reason,
                    error: &one.error,
                })?;
            }
        }
        place.flush()
    }

    /// Tries until it works; waits longer and longer in between.
    fn until_done(
        &mut self,
        what: &str,
        mut attempt: impl FnMut(&mut Self) -> Result<Written, sink::Error>,
    ) -> Option<Written> {
        /// A store that stays away is spoken of again after this long.
        const AGAIN: Duration = Duration::from_secs(30);
        let mut backoff = Backoff::new(self.worker as u64);
        let mut said: Option<Instant> = None;
        let begun = Instant::now();
        loop {
            match attempt(self) {
                Ok(written) => {
                    if said.is_some() {
                        tracing::info!("could {what} again after {:.1} s", begun.elapsed().as_secs_f64());
                    }
                    return Some(written);
                }
                Err(error) => {
                    self.health.sink_answers(false);
                    if said.is_none_or(|last| last.elapsed() >= AGAIN) {
                        said = Some(Instant::now());
                        if error.fault() == Fault::User {
                            tracing::error!("{error}; reading waits until that is mended");
                        } else {
                            tracing::warn!("{error}; tried again, and reading waits meanwhile");
                        }
                    }
                }
            }
            let until = Instant::now() + backoff.next_delay();
            while Instant::now() < until {
                if self.give_up.load(Ordering::Relaxed) {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn count(&self, publication: &Publication, written: &Written) {
        self.metrics.redis_writes(RedisStatus::Acknowledged, written.acknowledged);
        self.metrics.redis_writes(RedisStatus::Refused, written.refused);
        self.metrics.redis_writes(RedisStatus::Fenced, written.fenced);
        if publication.ends_turn && (publication.events() > 0 || !publication.writes.is_empty()) {
            self.metrics.processing_latency(publication.begun.elapsed());
        }
        let now = self.clock.now().millis();
        for (index, view) in publication.views.iter().enumerate() {
            for (stream, counts) in &publication.streams {
                if view.streams.contains(stream) {
                    // Clocks of machines differ a little: nothing is fresher than now.
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "milliseconds of freshness are far below 2^53"
                    )]
                    let seconds = counts
                        .timestamps_ms
                        .iter()
                        .flatten()
                        .map(|timestamp| ((now - timestamp).max(0) as f64 / 1000.0, 1));
                    self.metrics.freshness(index, seconds);
                }
            }
        }
        for letters in &publication.letters {
            let stream = letters.frames.partition.stream;
            for reason in Reason::ALL {
                let count = letters.rejected.iter().filter(|one| one.reason == reason).count() as u64;
                if count > 0 {
                    self.metrics.dead_letters(stream, reason, count);
                    if reason == Reason::TooLate {
                        self.metrics.late(stream, LateAction::DeadLetter, count);
                    }
                }
            }
        }
    }
}
