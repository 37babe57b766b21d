//! Manifests and objects read and written. Each is put in place as a whole; a
//! manifest only once everything that it names is.

use std::hash::{BuildHasher, RandomState};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::error::ArrowError;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;

use super::manifest::{self, Entry, Manifest, Refusal};
use super::{Identity, hash, object};
use crate::state::saved::SavedPartition;
use crate::time::{EventTime, Span};

/// The name of a manifest.
const MANIFEST: &str = "manifest";
/// Objects of others that no manifest names are removed once they are this old.
const STRANGERS: Span = Span::from_secs(3600);

/// What went wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not one to go on from.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This build cannot reach such a place.
    #[error("checkpoints cannot be kept at `{0}`: this build knows directories and file:// URLs")]
    Unknown(String),
    /// The directory is not there and cannot be made.
    #[error("could not make the checkpoint directory `{directory}`")]
    Directory {
        /// As it was named.
        directory: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no runtime.
    #[error("could not set up the checkpoint store")]
    Start(#[from] std::io::Error),
    /// The store.
    #[error("the checkpoint store failed")]
    Store(#[from] object_store::Error),
    /// What is kept could not be encoded: a bug.
    #[error("could not encode a checkpoint")]
    Encode(#[from] ArrowError),
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
    /// A directory, which is made if it is not there, or a file:// URL.
    ///
    /// # Errors
    /// When it is neither, or cannot be used.
    pub fn open(location: &FilePath) -> Result<Self, Error> {
        let text = location.to_string_lossy();
        let directory = match text.split_once("://") {
            Some(("file", path)) => FilePath::new(path),
            Some(_) => return Err(Error::Unknown(text.to_string())),
            None => location,
        };
        let failed = |source| Error::Directory { directory: text.to_string(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        Self::over(Arc::new(LocalFileSystem::new_with_prefix(directory)?))
    }

    /// Any store.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
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
        let Some(manifest) = self.get(&place, MANIFEST)? else { return Ok(None) };
        let manifest = Manifest::parse(&manifest)?;
        let chain = manifest.usable(identity, partition, lead_in, committed)?.to_vec();
        let mut parts = Vec::with_capacity(chain.len());
        for entry in &chain {
            let Entry { object, bytes: length, hash: known, .. } = entry;
            let damaged = |what: &str| Refusal::Damaged(format!("object `{object}` {what}"));
            let bytes = self.get(&place, object)?.ok_or_else(|| damaged("is missing"))?;
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

    fn remove_unreachable(
        &self,
        place: &Path,
        before: &[Entry],
        needed: &[Entry],
        wall: EventTime,
    ) -> Result<(), Error> {
        let listed = self.runtime.block_on(self.objects.list_with_delimiter(Some(place)))?;
        let named = |meta: &object_store::ObjectMeta| {
            let name = meta.location.filename().filter(|name| *name != MANIFEST)?;
            Some((name.to_owned(), meta.last_modified.timestamp_millis()))
        };
        let found: Vec<(String, i64)> = listed.objects.iter().filter_map(named).collect();
        let own =
            |name: &str| name.starts_with(&self.name) || before.iter().any(|entry| entry.object == name);
        for name in manifest::unreachable(&found, needed, own, wall.minus(STRANGERS).millis()) {
            self.runtime.block_on(self.objects.delete(&place.clone().join(name)))?;
        }
        Ok(())
    }

    fn get(&self, place: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let location = place.clone().join(name);
        let read = async { self.objects.get(&location).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put(&self, place: &Path, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let location = place.clone().join(name);
        self.runtime.block_on(self.objects.put(&location, PutPayload::from(bytes)))?;
        Ok(())
    }
}

fn place(identity: &Identity, partition: i32) -> Path {
    Path::from_iter([identity.group.clone(), identity.topic.clone(), partition.to_string()])
}

#[cfg(test)]
mod tests;
