//! Hashes written as a whole: instead of setting a hash's fields one by one, its
//! dump takes its place. Redis pays for fields, of which it looks for each in
//! the hash, several times what it pays for bytes.
//!
//! ```text
//! HSET name field value …  HDEL name …  PEXPIRE name ttl  ──▶  RESTORE name ttl dump REPLACE
//! ```
//! A row always has all its fields, so both leave the same. But whatever else
//! stood in the hash, or under its name, is gone.

use super::listpack::Listpack;
use super::reply::Failure;
use crate::sink::resp::{self, Malformed, Reader};
use crate::sink::{Entry, Writes};

/// Turns what sets a hash into its dump, with room that is used again.
#[derive(Debug, Default)]
pub(super) struct Dumper {
    listpack: Listpack,
    dump: Vec<u8>,
}

impl Dumper {
    /// Appends an entry's commands; how many replies they get, and where the key stands.
    pub(super) fn push(
        &mut self,
        writes: &Writes,
        entry: Entry,
        out: &mut Vec<u8>,
    ) -> Result<(u32, (usize, usize)), Failure> {
        let start = out.len();
        let bytes = &writes.bytes[entry.start..entry.end];
        let hash = self.dump(bytes).map_err(|malformed| Failure::Refused(malformed.to_string()))?;
        match hash {
            Some(Hash { name, ttl }) => {
                resp::push_array(out, 5);
                resp::push_bulk(out, b"RESTORE");
                let key = resp::push_bulk(out, name);
                resp::push_bulk(out, ttl);
                resp::push_bulk(out, &self.dump);
                resp::push_bulk(out, b"REPLACE");
                Ok((1, (key.start, key.end)))
            }
            None => {
                out.extend_from_slice(bytes);
                let moved = |at: usize| at - entry.start + start;
                Ok((entry.replies, (moved(entry.key.0), moved(entry.key.1))))
            }
        }
    }

    /// The same writes with a dump for each hash that is set.
    pub(super) fn all(&mut self, writes: &Writes) -> Result<Writes, Failure> {
        let mut dumped = Writes { origins: writes.origins.clone(), ..Writes::default() };
        for entry in &writes.entries {
            let start = dumped.bytes.len();
            let (replies, key) = self.push(writes, *entry, &mut dumped.bytes)?;
            let end = dumped.bytes.len();
            dumped.entries.push(Entry { start, end, replies, origin: entry.origin, key, part: None });
        }
        Ok(dumped)
    }

    /// Makes the dump of the hash that commands set; `None` when they do something
    /// else, or it would be too large.
    fn dump<'a>(&mut self, commands: &'a [u8]) -> Result<Option<Hash<'a>>, Malformed> {
        let mut read = Reader::new(commands);
        let parts = read.array()?;
        if parts < 2 || read.bulk()? != b"HSET" {
            return Ok(None);
        }
        let name = read.bulk()?;
        self.listpack.begin();
        for _ in 2..parts {
            self.listpack.push(read.bulk()?);
        }
        while !read.is_at_end() {
            match (read.array()?, read.bulk()?) {
                // Of a new hash nothing need be removed.
                (parts, b"HDEL") => {
                    for _ in 1..parts {
                        read.bulk()?;
                    }
                }
                (3, b"PEXPIRE") => {
                    let (same, ttl) = (read.bulk()?, read.bulk()?);
                    self.dump.clear();
                    let is_whole = same == name && read.is_at_end() && self.listpack.finish(&mut self.dump);
                    return Ok(is_whole.then_some(Hash { name, ttl }));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// A hash that commands set.
struct Hash<'a> {
    name: &'a [u8],
    /// Milliseconds, as text.
    ttl: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[&[&[&[u8]]]]) -> Writes {
        let mut writes = Writes::default();
        for commands in entries {
            let start = writes.bytes.len();
            for command in *commands {
                writes.bytes.extend(resp::command(command));
            }
            let key = start + 4 + 4 + 2 + commands[0][0].len() + 4;
            writes.end_entry(
                start,
                u32::try_from(commands.len()).unwrap(),
                (key, key + commands[0][1].len()),
            );
        }
        writes
    }

    fn commands(writes: &Writes, index: usize) -> Vec<Vec<&[u8]>> {
        let entry = writes.entries[index];
        resp::commands(&writes.bytes[entry.start..entry.end]).map(Result::unwrap).collect()
    }

    #[test]
    fn what_sets_a_hash_becomes_one_command_and_the_rest_stays() {
        let writes = written(&[
            &[&[b"DEL", b"a"]],
            &[&[b"HSET", b"b", b"f", b"v"], &[b"PEXPIRE", b"b", b"9"]],
            &[&[b"HSET", b"c", b"f", b"v"], &[b"HDEL", b"c", b"g"], &[b"PEXPIRE", b"c", b"9"]],
            &[&[b"PEXPIRE", b"d", b"9"]],
            &[&[b"HSET", b"e", b"f", b"v"]],
        ]);
        let restored = Dumper::default().all(&writes).unwrap();
        let first: Vec<&[u8]> = (0..5).map(|index| commands(&restored, index)[0][0]).collect();
        assert_eq!(first, [b"DEL".as_slice(), b"RESTORE", b"RESTORE", b"PEXPIRE", b"HSET"]);
        let keys: Vec<&[u8]> = restored.entries.iter().map(|entry| restored.key(*entry)).collect();
        assert_eq!(keys, [b"a", b"b", b"c", b"d", b"e"]);
        assert_eq!(restored.entries.iter().map(|entry| entry.replies).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
        let command = &commands(&restored, 1)[0];
        assert_eq!((command[2], command[4]), (b"9".as_slice(), b"REPLACE".as_slice()));
    }
}
