//! Manifests and objects read and written. Each is put in place as a whole; a
//! manifest only once everything that it names is. No wait is without an end:
//! whoever asks goes on without a store that does not answer.

mod remote;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::error::ArrowError;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;

use super::location::Location;
use super::manifest::{self, Entry, Manifest, Refusal};
use super::{Identity, hash, object};
use crate::state::saved::SavedPartition;
use crate::time::{EventTime, Span};

/// The name of a manifest.
const MANIFEST: &str = "manifest";
/// Objects of others that no manifest names are removed once they are this old.
const STRANGERS: Span = Span::from_secs(3600);

/// A store is waited for so long, for one request with all its tries.
const ANSWER: Duration = Duration::from_secs(15);
/// And a second longer for so many bytes: a slower one is of no use at a start.
const BYTES_PER_SECOND: u64 = 4 << 20;

/// What went wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not one to go on from.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The directory is not there and cannot be made.
    #[error("could not make the checkpoint directory `{directory}`")]
    Directory {
        /// As it was named.
        directory: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The place cannot be used as the environment describes it.
    #[error("could not open the checkpoint store `{location}`")]
    Open {
        /// As it was named.
        location: String,
        /// What the client says.
        #[source]
        source: object_store::Error,
    },
    /// The system gives no runtime.
    #[error("could not set up the checkpoint store")]
    Start(#[from] std::io::Error),
    /// The credentials are wrong, or do not allow it.
    #[error("the checkpoint store refuses access, its credentials or rights are wrong: {0}")]
    Denied(String),
    /// Nobody answers.
    #[error("the checkpoint store did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The store.
    #[error("the checkpoint store failed")]
    Store(#[source] object_store::Error),
    /// What is kept could not be encoded: a bug.
    #[error("could not encode a checkpoint")]
    Encode(#[from] ArrowError),
}

/// What is wrong with the place, as opposed to one checkpoint in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It refuses this process.
    Denied,
    /// It is away.
    Silent,
    /// It says what is wrong.
    Failing,
}

impl Error {
    /// What is wrong with the place, if that is what is wrong.
    pub const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Denied(_) => Some(Trouble::Denied),
            Self::Silent(_) => Some(Trouble::Silent),
            Self::Directory { .. } | Self::Open { .. } | Self::Start(_) | Self::Store(_) => {
                Some(Trouble::Failing)
            }
            Self::Refused(_) | Self::Encode(_) => None,
        }
    }

    fn of(error: object_store::Error) -> Self {
        use object_store::Error as Told;
        match &error {
            Told::PermissionDenied { source, .. } => Self::denied("permission denied", &source.to_string()),
            Told::Unauthenticated { source, .. } => Self::denied("not authenticated", &source.to_string()),
            _ => Self::Store(error),
        }
    }

    /// With the code that the store gives, which names what is wrong; the rest
    /// of its answer repeats the request.
    fn denied(otherwise: &str, answer: &str) -> Self {
        let behind = answer.split_once("<Code>").map(|(_, behind)| behind);
        let code = behind.and_then(|behind| behind.split_once("</Code>")).map(|(code, _)| code);
        Self::Denied(code.unwrap_or(otherwise).to_owned())
    }
}

/// A checkpoint to go on from.
#[derive(Debug)]
pub struct Found {
    /// What is in it.
    pub saved: SavedPartition,
    /// Its objects.
    pub chain: Vec<Entry>,
}

/// A place for checkpoints.
#[derive(Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
    /// What the names of this process' objects begin with.
    name: String,
    count: AtomicU64,
}

impl Store {
    /// A directory, which is made if it is not there, or a bucket. Of a bucket
    /// nothing is asked yet.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(location: impl Into<Location>) -> Result<Self, Error> {
        let location = location.into();
        let failed = |source| Error::Open { location: location.to_string(), source };
        match &location {
            Location::Directory(directory) => {
                std::fs::create_dir_all(directory)
                    .map_err(|source| Error::Directory { directory: location.to_string(), source })?;
                Self::over(Arc::new(LocalFileSystem::new_with_prefix(directory).map_err(failed)?))
            }
            Location::Bucket(bucket) => Self::over(remote::open(bucket).map_err(failed)?),
        }
    }

    /// Any store.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let name = format!("{:016x}", RandomState::new().hash_one(MANIFEST));
        Ok(Self { objects, runtime, name, count: AtomicU64::new(0) })
    }

    /// The newest checkpoint of a partition that is not after `committed`;
    /// `None` when there is none at all.
    ///
    /// # Errors
    /// Why what there is cannot be used.
    pub fn read(
        &self,
        identity: &Identity,
        partition: i32,
        lead_in: i64,
        committed: i64,
    ) -> Result<Option<Found>, Error> {
        let place = place(identity, partition);
        let Some(manifest) = self.get(&place, MANIFEST, 0)? else { return Ok(None) };
        let manifest = Manifest::parse(&manifest)?;
        let chain = manifest.usable(identity, partition, lead_in, committed)?.to_vec();
        let mut parts = Vec::with_capacity(chain.len());
        for entry in &chain {
            let Entry { object, bytes: length, hash: known, .. } = entry;
            let damaged = |what: &str| Refusal::Damaged(format!("object `{object}` {what}"));
            let bytes = self.get(&place, object, *length)?.ok_or_else(|| damaged("is missing"))?;
            if bytes.len() as u64 != *length || hash(&bytes) != *known {
                return Err(damaged("is not what was written").into());
            }
            let part = object::decode(&bytes)?;
            if part.position != entry.position {
                return Err(damaged("is of another position").into());
            }
            parts.push(part);
        }
        Ok(Some(Found { saved: object::together(parts)?, chain }))
    }

    /// Adds to the objects `chain` of a partition and says which there are then.
    /// What nothing needs any more is removed.
    ///
    /// # Errors
    /// When it could not be written: what there was stays.
    pub fn write(
        &self,
        identity: &Identity,
        partition: i32,
        chain: &[Entry],
        saved: &SavedPartition,
        is_whole: bool,
        wall: EventTime,
    ) -> Result<Vec<Entry>, Error> {
        let place = place(identity, partition);
        let bytes = object::encode(saved)?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            object: format!("{}-{number}", self.name),
            bytes: bytes.len() as u64,
            hash: hash(&bytes),
            is_whole,
            position: saved.position,
        };
        self.put(&place, &entry.object, bytes)?;
        let needed = manifest::with(chain, entry);
        let manifest = Manifest::new(identity.clone(), partition, needed.clone());
        self.put(&place, MANIFEST, manifest.to_text().into_bytes())?;
        if chain.is_empty() || needed.len() <= chain.len() {
            // What stays behind is found the next time.
            if let Err(error) = self.remove_unreachable(&place, chain, &needed, wall) {
                tracing::debug!("old checkpoints could not be removed: {error}");
            }
        }
        Ok(needed)
    }

    /// Takes the checkpoint of a partition away from whoever would go on from it;
    /// whether there was one.
    ///
    /// # Errors
    /// When it could not be removed.
    pub fn disown(&self, identity: &Identity, partition: i32, wall: EventTime) -> Result<bool, Error> {
        let place = place(identity, partition);
        let Some(manifest) = self.get(&place, MANIFEST, 0)? else { return Ok(false) };
        self.delete(&place, MANIFEST)?;
        // A damaged one names nothing; its objects are strangers then.
        let chain = Manifest::parse(&manifest).map_or_else(|_| Vec::new(), |manifest| manifest.chain);
        if let Err(error) = self.remove_unreachable(&place, &chain, &[], wall) {
            tracing::debug!("old checkpoints could not be removed: {error}");
        }
        Ok(true)
    }

    fn remove_unreachable(
        &self,
        place: &Path,
        before: &[Entry],
        needed: &[Entry],
        wall: EventTime,
    ) -> Result<(), Error> {
        let listed = self.wait(0, self.objects.list_with_delimiter(Some(place)))?;
        let named = |meta: &object_store::ObjectMeta| {
            let name = meta.location.filename().filter(|name| *name != MANIFEST)?;
            Some((name.to_owned(), meta.last_modified.timestamp_millis()))
        };
        let found: Vec<(String, i64)> = listed.objects.iter().filter_map(named).collect();
        let own =
            |name: &str| name.starts_with(&self.name) || before.iter().any(|entry| entry.object == name);
        for name in manifest::unreachable(&found, needed, own, wall.minus(STRANGERS).millis()) {
            self.delete(place, name)?;
        }
        Ok(())
    }

    /// An object of about so many bytes, if there is one.
    fn get(&self, place: &Path, name: &str, length: u64) -> Result<Option<Vec<u8>>, Error> {
        let location = place.clone().join(name);
        let read = async { self.objects.get(&location).await?.bytes().await };
        match self.wait(length, read) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put(&self, place: &Path, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let location = place.clone().join(name);
        let length = bytes.len() as u64;
        self.wait(length, self.objects.put(&location, PutPayload::from(bytes)))?;
        Ok(())
    }

    /// Deletes what may be gone already.
    fn delete(&self, place: &Path, name: &str) -> Result<(), Error> {
        let location = place.clone().join(name);
        match self.wait(0, self.objects.delete(&location)) {
            Err(Error::Store(object_store::Error::NotFound { .. })) => Ok(()),
            done => done,
        }
    }

    /// Waits for a request with so many bytes.
    fn wait<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Error> {
        let within = ANSWER + Duration::from_secs(bytes / BYTES_PER_SECOND);
        match self.runtime.block_on(async { tokio::time::timeout(within, request).await }) {
            Ok(done) => done.map_err(Error::of),
            Err(_) => Err(Error::Silent(within)),
        }
    }
}

fn place(identity: &Identity, partition: i32) -> Path {
    Path::from_iter([identity.group.clone(), identity.topic.clone(), partition.to_string()])
}

#[cfg(test)]
mod tests;
