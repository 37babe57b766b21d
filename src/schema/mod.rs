//! Where Avro schemas come from: the shipped ones, a directory, a registry.
//! What a schema means is decided in [`crate::decode`].

mod answer;
mod directory;
mod inline;
mod registry;
pub mod shipped;
pub mod writers;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

pub use directory::Directory;
pub use registry::{Options, Registry};

use crate::error::Fault;
use crate::time::{Clock, EventTime, Span};

/// Why a schema is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The registry could not be reached or could not answer now.
    #[error("the schema registry at {registry} could not answer: {reason}")]
    Unavailable {
        /// The registry.
        registry: String,
        /// What it said, or what the network said.
        reason: String,
    },
    /// The registry answers and will not have us.
    #[error("the schema registry at {registry} refused: {reason}")]
    Refused {
        /// The registry.
        registry: String,
        /// What it said.
        reason: String,
    },
    /// There is no such subject or version.
    #[error("the schema registry has no {wanted}")]
    NoSubject {
        /// The subject, and the version if one was asked for.
        wanted: String,
    },
    /// The schema is there and is of no use.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The options are no good: a certificate, an address.
    #[error("{0}")]
    Options(String),
}

impl Error {
    /// Who has to act. [`Fault::Outside`] may pass by itself.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } => Fault::Outside,
            Self::Refused { .. } | Self::NoSubject { .. } | Self::Unusable { .. } | Self::Options(_) => {
                Fault::User
            }
        }
    }
}

/// A source of schemas by registry id and by subject.
///
/// A call may take as long as a few tries over a network, and is made once for
/// each schema that is new, never once for each event.
pub trait Schemas: Send {
    /// The schema with that id; `None` when there is none.
    ///
    /// # Errors
    /// When that could not be found out, or the schema is of no use.
    fn by_id(&mut self, id: u32) -> Result<Option<Arc<str>>, Error>;

    /// The id and the schema of a subject's version, or of its latest.
    ///
    /// # Errors
    /// When there is none, when that could not be found out, or the schema is of no use.
    fn by_subject(&mut self, subject: &str, version: Option<u32>) -> Result<(u32, Arc<str>), Error>;
}

/// Without a registry: only the ids that configuration names are known.
#[derive(Debug, Clone, Default)]
pub struct Known(pub HashMap<u32, Arc<str>>);

impl Schemas for Known {
    fn by_id(&mut self, id: u32) -> Result<Option<Arc<str>>, Error> {
        Ok(self.0.get(&id).cloned())
    }

    fn by_subject(&mut self, subject: &str, _version: Option<u32>) -> Result<(u32, Arc<str>), Error> {
        Err(Error::Options(format!("subject `{subject}` cannot be looked up without a schema registry")))
    }
}

/// How long "there is none" is believed: a producer registers before it writes, so an id that is not there is rare.
const ABSENT_FOR: Span = Span::from_secs(60);

/// How long a registry that did not answer is left alone, so that the next batches do not wait for it again.
const FAILED_FOR: Span = Span::from_secs(10);

/// Most answers that are remembered: ids made up by a broken producer must not
/// fill memory. Past it, answers that are no schema are forgotten.
const MOST_REMEMBERED: usize = 10_000;

/// Remembers what another source answered: schemas for ever, since an id never
/// changes its meaning; that there is none for a minute; a failure for ten seconds.
pub struct Cached<S> {
    source: S,
    clock: Arc<dyn Clock>,

    ids: HashMap<u32, Remembered<Option<Arc<str>>>>,
    subjects: HashMap<SubjectVersion, Remembered<(u32, Arc<str>)>>,
    failed: Option<(EventTime, Error)>,
}

/// A subject, and one of its versions or the latest.
type SubjectVersion = (String, Option<u32>);

#[derive(Debug, Clone)]
struct Remembered<T> {
    answer: Result<T, Error>,
    /// Until when it holds; for ever without.
    until: Option<EventTime>,
}

impl<S: Schemas> Cached<S> {
    /// Puts a memory before `source`.
    pub fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, ids: HashMap::new(), subjects: HashMap::new(), failed: None }
    }

    /// A failure of the source that still holds.
    fn failure(&self, now: EventTime) -> Option<Error> {
        self.failed.as_ref().filter(|(until, _)| now < *until).map(|(_, error)| error.clone())
    }

    fn note_failure<T>(&mut self, now: EventTime, answer: &Result<T, Error>) {
        self.failed = match answer {
            Err(error) if error.fault() == Fault::Outside => Some((now.plus(FAILED_FOR), error.clone())),
            _ => None,
        };
    }
}

impl<S: Schemas> Schemas for Cached<S> {
    fn by_id(&mut self, id: u32) -> Result<Option<Arc<str>>, Error> {
        let now = self.clock.now();
        if let Some(answer) = recall(&self.ids, &id, now) {
            return answer;
        }
        if let Some(error) = self.failure(now) {
            return Err(error);
        }
        let answer = self.source.by_id(id);
        // The source may have taken a while.
        let now = self.clock.now();
        self.note_failure(now, &answer);
        let is_schema = matches!(answer, Ok(Some(_)));
        remember(&mut self.ids, id, &answer, is_schema, now);
        answer
    }

    fn by_subject(&mut self, subject: &str, version: Option<u32>) -> Result<(u32, Arc<str>), Error> {
        let now = self.clock.now();
        let key = (subject.to_owned(), version);
        if let Some(answer) = recall(&self.subjects, &key, now) {
            return answer;
        }
        if let Some(error) = self.failure(now) {
            return Err(error);
        }
        let answer = self.source.by_subject(subject, version);
        let now = self.clock.now();
        self.note_failure(now, &answer);
        // The latest version is asked for once a start: a stream keeps the schema that it began with.
        remember(&mut self.subjects, key, &answer, answer.is_ok(), now);
        answer
    }
}

fn recall<K: Hash + Eq, T: Clone>(
    answers: &HashMap<K, Remembered<T>>,
    key: &K,
    now: EventTime,
) -> Option<Result<T, Error>> {
    let remembered = answers.get(key)?;
    let holds = remembered.until.is_none_or(|until| now < until);
    holds.then(|| remembered.answer.clone())
}

/// Failures of the source are remembered elsewhere, once for all of it.
fn remember<K: Hash + Eq, T: Clone>(
    answers: &mut HashMap<K, Remembered<T>>,
    key: K,
    answer: &Result<T, Error>,
    is_schema: bool,
    now: EventTime,
) {
    if answer.as_ref().is_err_and(|error| error.fault() == Fault::Outside) {
        return;
    }
    if answers.len() >= MOST_REMEMBERED {
        answers.retain(|_, remembered| remembered.until.is_none());
    }
    let until = if is_schema { None } else { Some(now.plus(ABSENT_FOR)) };
    answers.insert(key, Remembered { answer: answer.clone(), until });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Hands(Mutex<i64>);

    impl Hands {
        fn forward(&self, seconds: i64) {
            *self.0.lock().unwrap() += seconds * 1_000_000;
        }
    }

    impl Clock for Hands {
        fn now(&self) -> EventTime {
            EventTime(*self.0.lock().unwrap())
        }
    }

    /// Knows id 1, fails for id 99, and counts the calls.
    struct Counting(Arc<Mutex<u32>>);

    impl Schemas for Counting {
        fn by_id(&mut self, id: u32) -> Result<Option<Arc<str>>, Error> {
            *self.0.lock().unwrap() += 1;
            match id {
                1 => Ok(Some("schema".into())),
                99 => Err(Error::Unavailable { registry: "r".into(), reason: "gone".into() }),
                _ => Ok(None),
            }
        }

        fn by_subject(&mut self, subject: &str, _version: Option<u32>) -> Result<(u32, Arc<str>), Error> {
            Err(Error::NoSubject { wanted: subject.into() })
        }
    }

    fn cached() -> (Cached<Counting>, Arc<Hands>, Arc<Mutex<u32>>) {
        let (clock, calls) = (Arc::new(Hands::default()), Arc::new(Mutex::new(0)));
        (Cached::new(Counting(calls.clone()), clock.clone()), clock, calls)
    }

    #[test]
    fn a_schema_is_asked_for_once() {
        let (mut cached, clock, calls) = cached();
        for _ in 0..3 {
            assert_eq!(cached.by_id(1), Ok(Some("schema".into())));
            clock.forward(3600);
        }
        assert_eq!(*calls.lock().unwrap(), 1);
    }

    #[test]
    fn an_absent_id_is_asked_for_again_after_a_minute() {
        let (mut cached, clock, calls) = cached();
        for (seconds, expected) in [(0, 1), (59, 1), (1, 2)] {
            clock.forward(seconds);
            assert_eq!(cached.by_id(2), Ok(None));
            assert_eq!(*calls.lock().unwrap(), expected);
        }
    }

    #[test]
    fn a_registry_that_failed_is_left_alone_for_ten_seconds_but_known_schemas_are_there() {
        let (mut cached, clock, calls) = cached();
        assert!(cached.by_id(1).is_ok());
        assert!(
            cached.by_id(99).is_err() && cached.by_id(2).is_err() && cached.by_subject("s", None).is_err()
        );
        assert!(cached.by_id(1).is_ok());
        assert_eq!(*calls.lock().unwrap(), 2);
        clock.forward(10);
        assert_eq!(cached.by_id(2), Ok(None));
    }

    #[test]
    fn invented_ids_do_not_fill_memory() {
        let (mut cached, ..) = cached();
        assert!(cached.by_id(1).is_ok());
        for id in 2..u32::try_from(MOST_REMEMBERED).unwrap() + 200 {
            if id != 99 {
                assert_eq!(cached.by_id(id), Ok(None));
            }
        }
        assert!(cached.ids.len() <= MOST_REMEMBERED && cached.ids.contains_key(&1));
    }
}
