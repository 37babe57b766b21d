//! Dead letters in a file, one JSON object a line, keys and values in base64.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{DeadLetter, DeadLetters};
use crate::sink::{Error, base64};

/// Lines kept in memory before they go to the file without being asked for:
/// the letters of any usual batch.
const BUFFER_BYTES: usize = 8 << 20;

/// The file. It is only ever appended to, by one process.
#[derive(Debug)]
pub struct FileDeadLetters {
    path: PathBuf,
    file: File,

    /// Whole lines that are not in the file yet.
    lines: Vec<u8>,
    /// The file's length at the last successful flush.
    safe_len: u64,
}

/// A line. The names are those of the headers in a topic.
#[derive(Serialize)]
struct Line<'a> {
    source_topic: &'a str,
    source_partition: i32,
    source_offset: i64,
    source_timestamp: i64,
    reason: &'a str,
    error: &'a str,
    key: Option<String>,
    value: Option<String>,
}

impl FileDeadLetters {
    /// Opens the file for appending, and makes it if it is missing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |error: io::Error| Error::Refused { store: store(path), reason: error.to_string() };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(refused)?;
        let lines = unfinished_line(&mut file).map_err(refused)?;
        let safe_len = file.metadata().map_err(refused)?.len();
        Ok(Self { path: path.to_owned(), file, lines, safe_len })
    }

    fn write_lines(&mut self) -> io::Result<()> {
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }

    /// Back to the last successful flush, so that the repeated letters do not
    /// follow half a line.
    fn unavailable(&mut self, error: &io::Error) -> Error {
        self.lines.clear();
        if self.file.set_len(self.safe_len).is_err() {
            self.lines.push(b'\n');
        }
        Error::Unavailable { store: store(&self.path), reason: error.to_string() }
    }
}

impl DeadLetters for FileDeadLetters {
    fn append(&mut self, letter: &DeadLetter<'_>) -> Result<(), Error> {
        let line = Line {
            source_topic: letter.source_topic,
            source_partition: letter.partition,
            source_offset: letter.frame.offset,
            source_timestamp: letter.frame.timestamp_ms,
            reason: letter.reason.label(),
            error: letter.error,
            key: letter.frame.key.map(base64::text),
            value: letter.frame.value.map(base64::text),
        };
        serde_json::to_writer(&mut self.lines, &line).expect("texts and numbers are always JSON");
        self.lines.push(b'\n');
        if self.lines.len() >= BUFFER_BYTES {
            self.write_lines().map_err(|error| self.unavailable(&error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let flushed =
            self.write_lines().and_then(|()| self.file.sync_data()).and_then(|()| self.file.metadata());
        match flushed {
            Ok(metadata) => {
                self.safe_len = metadata.len();
                Ok(())
            }
            Err(error) => Err(self.unavailable(&error)),
        }
    }
}

/// A line break, if the file ends within a line: a process died while writing it.
fn unfinished_line(file: &mut File) -> io::Result<Vec<u8>> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0_u8];
    file.read_exact(&mut last)?;
    Ok(if last == *b"\n" { Vec::new() } else { b"\n".to_vec() })
}

fn store(path: &Path) -> String {
    format!("dead letters in `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Reason};

    fn letter(offset: i64) -> DeadLetter<'static> {
        DeadLetter {
            source_topic: "txn.events",
            partition: 3,
            frame: Frame { offset, timestamp_ms: 1_700_000_000_000, key: Some(b"c1"), value: None },
            reason: Reason::TooLate,
            error: "61 s \"too\" late",
        }
    }

    const LINE: &str = "{\"source_topic\":\"txn.events\",\"source_partition\":3,\"source_offset\":7,\
                        \"source_timestamp\":1700000000000,\"reason\":\"too_late\",\
                        \"error\":\"61 s \\\"too\\\" late\",\"key\":\"YzE=\",\"value\":null}\n";

    #[test]
    fn letters_are_lines_of_json() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.jsonl");
        let mut letters = FileDeadLetters::open(&path).unwrap();
        letters.append(&letter(7)).unwrap();
        letters.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), LINE);

        let mut again = FileDeadLetters::open(&path).unwrap();
        again.append(&letter(8)).unwrap();
        again.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_torn_line_stays_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.jsonl");
        std::fs::write(&path, "{\"source_to").unwrap();
        let mut letters = FileDeadLetters::open(&path).unwrap();
        letters.append(&letter(7)).unwrap();
        letters.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{{\"source_to\n{LINE}"));
    }

    #[test]
    fn a_place_that_cannot_be_is_refused() {
        let error = FileDeadLetters::open(Path::new("/nonexistent/dead.jsonl")).unwrap_err();
        assert!(
            matches!(&error, Error::Refused { .. }) && error.to_string().contains("/nonexistent"),
            "{error}"
        );
    }
}
