//! Parquet files as a sink, a file a view: every row that its entities ever
//! had, in the order of time, for training sets. The sinks of several workers
//! append to the same files.
//!
//! A file is written under a name of its own and gets its place once it is
//! whole, in [`ParquetFiles::finish`]; before that, and after an error, there is
//! nothing. Rows that were appended cannot be appended again, so nothing is
//! tried twice: after the first error the sinks take rows and drop them, and
//! whoever has the [`ParquetFiles`] is to end the run.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::error::ArrowError;
use tempfile::NamedTempFile;

use super::fence::Shard;
use super::rows::{Changed, History};
use super::{Sink, Writes, Written};

/// The most rows of a row group: what readers take at once without trouble.
const GROUP_ROWS: usize = 1024 * 1024;

/// The most encoded bytes of a row group. They are in memory, once a view, until
/// the group is full.
const GROUP_BYTES: usize = 64 * 1024 * 1024;

/// Who may read the files is decided by the umask, as for any other file.
const MODE: u32 = 0o666;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was there before is not overwritten.
    #[error("{} is there already", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system.
    #[error("could not {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file, or its directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Rows could not be encoded or written, or have types that Parquet does not know.
    #[error("could not write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the writer says.
        #[source]
        source: ParquetError,
    },
    /// Rows do not have the columns of the file. Ours.
    #[error("rows do not have the columns of {}", .path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: ArrowError,
    },
}

/// The files of a run. Dropping them removes what is not finished.
#[derive(Debug)]
pub struct ParquetFiles(Arc<Shared>);

/// What appends to them, for one worker.
#[derive(Debug)]
pub struct ParquetSink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// In the order of the workers' views; `None` when it is not written any more.
    files: Vec<Mutex<Option<Open>>>,
    has_failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// A file that is being written.
#[derive(Debug)]
struct Open {
    history: History,
    /// Where it belongs when it is whole.
    path: PathBuf,

    writer: ArrowWriter<NamedTempFile>,
    rows: u64,
}

impl ParquetFiles {
    /// Begins a file a view, `<directory>/<view>.parquet`, in the order of the
    /// workers' views. The directory is made if it is missing.
    ///
    /// # Errors
    /// When one of them is there already, cannot be made or cannot have the view's columns.
    pub fn create(directory: &Path, views: Vec<(String, History)>) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(failed("make", directory))?;
        let paths: Vec<PathBuf> =
            views.iter().map(|(view, _)| directory.join(format!("{view}.parquet"))).collect();
        for path in &paths {
            // A link that leads nowhere would be in the way, too.
            match fs::symlink_metadata(path) {
                Ok(_) => return Err(Error::Exists { path: path.clone() }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("look for", path)(error)),
            }
        }
        let mut files = Vec::with_capacity(views.len());
        for ((view, history), path) in views.into_iter().zip(paths) {
            files.push(Mutex::new(Some(Open::create(directory, &view, history, path)?)));
        }
        let (has_failed, failure) = (AtomicBool::new(false), Mutex::new(None));
        Ok(Self(Arc::new(Shared { files, has_failed, failure })))
    }

    /// A sink for one more worker.
    pub fn sink(&self) -> ParquetSink {
        ParquetSink(Arc::clone(&self.0))
    }

    /// Whether rows could not be written, so that the run is in vain.
    pub fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Relaxed)
    }

    /// Ends every file and puts it in its place; how many rows there are in all.
    /// To be called when no sink writes any more.
    ///
    /// # Errors
    /// What went wrong, now or in a sink before; then none of the files is there.
    pub fn finish(self) -> Result<u64, Error> {
        if let Some(failure) = lock(&self.0.failure).take() {
            return Err(failure);
        }
        let mut whole = Vec::new();
        let mut rows = 0;
        for file in &self.0.files {
            let Some(open) = lock(file).take() else { continue };
            rows += open.rows;
            whole.push(open.close()?);
        }
        let mut placed: Vec<PathBuf> = Vec::new();
        for (file, path) in whole {
            if let Err(error) = put(file, &path) {
                for path in placed {
                    // What cannot be removed is whole, at least.
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
            placed.push(path);
        }
        Ok(rows)
    }
}

impl Drop for ParquetFiles {
    fn drop(&mut self) {
        // A sink may outlive this on a thread that hangs.
        for file in &self.0.files {
            drop(lock(file).take());
        }
    }
}

impl Sink for ParquetSink {
    /// Nobody else writes these files.
    fn take_over(&mut self, _: &[Shard], _: Duration) -> Result<Vec<Shard>, super::Error> {
        Ok(Vec::new())
    }

    fn give_up(&mut self, _: &[Shard]) {}

    /// Acknowledged are rows that are in a row group, in memory or written.
    fn write(&mut self, writes: &Writes) -> Result<Written, super::Error> {
        let mut written = Written::default();
        for changed in writes.rows.iter().flat_map(|rows| rows.changed()) {
            if self.0.has_failed.load(Ordering::Relaxed) {
                break;
            }
            match self.0.append(changed) {
                Ok(rows) => written.acknowledged += rows,
                Err(error) => self.0.fail(error),
            }
        }
        Ok(written)
    }

    fn ping(&mut self) -> Result<Written, super::Error> {
        Ok(Written::default())
    }
}

impl Shared {
    /// How many rows were appended.
    fn append(&self, changed: &Changed) -> Result<u64, Error> {
        match lock(&self.files[changed.view]).as_mut() {
            Some(open) => open.append(changed),
            None => Ok(0),
        }
    }

    /// Keeps the first error, which the others follow from.
    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.has_failed.store(true, Ordering::Relaxed);
    }
}

impl Open {
    fn create(directory: &Path, view: &str, history: History, path: PathBuf) -> Result<Self, Error> {
        let prefix = format!(".{view}.");
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".part")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(directory)
            .map_err(failed("make a file in", directory))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        match ArrowWriter::try_new(file, Arc::clone(history.schema()), Some(properties)) {
            Ok(writer) => Ok(Self { history, path, writer, rows: 0 }),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    fn append(&mut self, changed: &Changed) -> Result<u64, Error> {
        let tables =
            self.history.rows(changed).map_err(|source| Error::Rows { path: self.path.clone(), source })?;
        let mut rows = 0;
        for table in &tables {
            self.writer.write(table).map_err(|source| Error::Write { path: self.path.clone(), source })?;
            rows += table.num_rows() as u64;
        }
        self.rows += rows;
        Ok(rows)
    }

    /// The whole file, on the disk, and where it belongs.
    fn close(self) -> Result<(NamedTempFile, PathBuf), Error> {
        let path = self.path;
        match self.writer.into_inner() {
            Ok(file) => {
                file.as_file().sync_all().map_err(failed("write", &path))?;
                Ok((file, path))
            }
            Err(source) => Err(Error::Write { path, source }),
        }
    }
}

/// Puts a whole file in its place, where there must be none, for good.
fn put(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => failed("put in its place", path)(error.error),
    })?;
    let Some(directory) = path.parent() else { return Ok(()) };
    // The name is on the disk when its directory is; not every file system lets one ask.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// After a panic elsewhere a file is what it was before, and is not finished anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
