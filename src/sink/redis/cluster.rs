//! Redis Cluster: which master has which slot, and entries sent to all masters
//! at once. The client's own cluster pipeline is not used: it cannot hold a
//! transaction, does not follow redirections, and waits for a silent node once
//! a command instead of once.
//!
//! ```text
//! entries ──slot of the key──▶ a buffer a master ──▶ send all ──▶ read all
//!    ▲                                                             │ MOVED: learn the slots anew
//!    └──────────────── what is elsewhere ◀────────────────────────┘ ASK: that node, this once
//! ```

mod fenced;

use std::collections::{BTreeMap, BTreeSet};

use ::redis::{Connection, Value};

use super::connect::{Dialer, request, text};
use super::reply::{Elsewhere, Failure, Verdict, verdict};
use super::{Tally, push_entry, run_id, stretches};
use crate::sink::{Entry, Writes, resp};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;

/// How often a stretch of entries follows a redirection. More than a failover
/// needs; a cluster that moves on and on is one that is not available.
const REDIRECTIONS: usize = 5;

/// Connections to every master of a cluster.
pub(super) struct Cluster {
    masters: Vec<Master>,
    /// The index of the master of each slot.
    slots: Vec<Option<usize>>,
    /// By master: the tag of the fences' copies that it has, once it was looked for.
    tags: Vec<Option<u32>>,
}

struct Master {
    address: (String, u16),
    connection: Connection,
    run_id: Option<String>,
}

/// What one master is sent: the commands, and the entries with how many replies each gets.
type Sent = (Vec<u8>, Vec<(Entry, u32)>);

/// A range of slots and its master, as a node tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SlotRange {
    first: usize,
    last: usize,
    host: String,
    port: u16,
}

impl Cluster {
    /// Asks a given node for the slots and connects to their masters.
    pub(super) fn open(dialer: &Dialer) -> Result<Self, Failure> {
        let (mut connection, host) = dialer.any_seed()?;
        let answer = request(&mut connection, &[b"CLUSTER", b"SLOTS"])?;
        let ranges = slot_ranges(&answer, &host)
            .ok_or_else(|| Failure::Unavailable("CLUSTER SLOTS has no slots to tell of yet".to_owned()))?;
        let mut masters = Vec::new();
        let mut indexes = BTreeMap::new();
        let mut slots = vec![None; SLOTS];
        for range in ranges {
            let address = (range.host, range.port);
            let index = if let Some(index) = indexes.get(&address) {
                *index
            } else {
                let mut connection = dialer.node(&address.0, address.1)?;
                let run_id = run_id(&mut connection)?;
                masters.push(Master { address: address.clone(), connection, run_id });
                indexes.insert(address, masters.len() - 1);
                masters.len() - 1
            };
            slots[range.first..=range.last].fill(Some(index));
        }
        Ok(Self { tags: vec![None; masters.len()], masters, slots })
    }

    /// Which server processes hold the data, if they all tell.
    pub(super) fn identities(&self) -> Option<BTreeSet<String>> {
        self.masters.iter().map(|master| master.run_id.clone()).collect()
    }

    /// Every master's connection.
    pub(super) fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.masters.iter_mut().map(|master| &mut master.connection)
    }

    /// The connection to the master of a key.
    pub(super) fn connection(&mut self, key: &[u8]) -> Result<&mut Connection, Failure> {
        let index = self.master_of(key)?;
        Ok(&mut self.masters[index].connection)
    }

    /// Writes every entry, at all masters at once.
    pub(super) fn write(&mut self, dialer: &Dialer, writes: &Writes) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        // Nodes that are taking over slots: asked only while they do.
        let mut importing = BTreeMap::new();
        for stretch in stretches(&writes.entries) {
            let mut pending = stretch.to_vec();
            let mut redirections = 0;
            while !pending.is_empty() {
                if redirections > REDIRECTIONS {
                    return Err(Failure::Unavailable("its slots keep moving".to_owned()));
                }
                redirections += 1;
                let mut moved = Vec::new();
                for (entry, elsewhere) in self.exchange(writes, &pending, &mut tally)? {
                    match elsewhere {
                        Elsewhere::Moved => moved.push(entry),
                        Elsewhere::Ask { host, port } => {
                            let node = match importing.entry((host, port)) {
                                std::collections::btree_map::Entry::Occupied(node) => node.into_mut(),
                                std::collections::btree_map::Entry::Vacant(vacant) => {
                                    let node = dialer.node(&vacant.key().0, vacant.key().1)?;
                                    vacant.insert(node)
                                }
                            };
                            if ask(node, writes, entry, &mut tally)? {
                                moved.push(entry);
                            }
                        }
                    }
                }
                if !moved.is_empty() {
                    *self = Self::open(dialer)?;
                }
                pending = moved;
            }
        }
        Ok(tally)
    }

    /// Sends entries to their masters, then reads every reply; returns what is elsewhere.
    fn exchange(
        &mut self,
        writes: &Writes,
        entries: &[Entry],
        tally: &mut Tally,
    ) -> Result<Vec<(Entry, Elsewhere)>, Failure> {
        let mut by_master: BTreeMap<usize, Sent> = BTreeMap::new();
        for entry in entries {
            let (bytes, entries) = by_master.entry(self.master_of(writes.key(*entry))?).or_default();
            let replies = push_entry(bytes, writes, *entry);
            entries.push((*entry, replies));
        }
        for (master, (bytes, _)) in &by_master {
            self.masters[*master].connection.send_packed_command(bytes)?;
        }
        let mut elsewhere = Vec::new();
        for (master, (_, entries)) in by_master {
            let connection = &mut self.masters[master].connection;
            for (entry, replies) in entries {
                match verdict(replies, entry.part, || connection.recv_response())? {
                    Verdict::Done => tally.acknowledge(),
                    Verdict::Newer => tally.fence(),
                    Verdict::Lost => tally.lost.push(entry),
                    Verdict::WrongType(reason) => tally.refuse(writes.key(entry), &reason),
                    Verdict::Elsewhere(place) => elsewhere.push((entry, place)),
                }
            }
        }
        Ok(elsewhere)
    }

    fn master_of(&self, key: &[u8]) -> Result<usize, Failure> {
        let slot = slot(key);
        self.slots[slot].ok_or_else(|| Failure::Unavailable(format!("no master has slot {slot}")))
    }
}

/// Writes an entry at a node that is taking over its slot; `true` when the key
/// has moved on. ASKING holds for one command only, so no transaction here.
fn ask(node: &mut Connection, writes: &Writes, entry: Entry, tally: &mut Tally) -> Result<bool, Failure> {
    let mut bytes = Vec::new();
    let mut replies = 0;
    for command in resp::commands(&writes.bytes[entry.start..entry.end]) {
        let command = command.map_err(|malformed| Failure::Refused(malformed.to_string()))?;
        bytes.extend(resp::command(&[b"ASKING"]));
        bytes.extend(resp::command(&command));
        replies += 2;
    }
    node.send_packed_command(&bytes)?;
    match verdict(replies, entry.part, || node.recv_response())? {
        Verdict::Done => tally.acknowledge(),
        Verdict::Newer => tally.fence(),
        Verdict::Lost => tally.lost.push(entry),
        Verdict::WrongType(reason) => tally.refuse(writes.key(entry), &reason),
        Verdict::Elsewhere(_) => return Ok(true),
    }
    Ok(false)
}

/// Reads CLUSTER SLOTS; a node that does not say its host is the one asked.
/// `None` when there is no slot at all.
fn slot_ranges(answer: &Value, asked: &str) -> Option<Vec<SlotRange>> {
    let Value::Array(rows) = answer else { return None };
    let ranges: Vec<SlotRange> = rows.iter().filter_map(|row| slot_range(row, asked)).collect();
    if ranges.is_empty() { None } else { Some(ranges) }
}

fn slot_range(row: &Value, asked: &str) -> Option<SlotRange> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = row.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = text(host).filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.to_owned());
    let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
    if first > last || last >= SLOTS {
        return None;
    }
    Some(SlotRange { first, last, host, port: u16::try_from(*port).ok()? })
}

/// The slot of a key: of what stands in its first braces, if anything does.
fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        if close == 0 { None } else { Some(&rest[..close]) }
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM, bit by bit: keys are short.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT has them.
        for (key, expected) in [("foo", 12_182), ("somekey", 11_058), ("foo{hash_tag}", 2515)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{c1}:a"), slot(b"{c1}:b"));
        assert_eq!(slot(b"a{}b"), usize::from(crc16(b"a{}b")) % SLOTS);
        assert_eq!(slot(b"a{b"), usize::from(crc16(b"a{b")) % SLOTS);
    }

    #[test]
    fn slot_ranges_are_read_and_empty_hosts_are_the_one_asked() {
        let answer = "*3\r\n*4\r\n:0\r\n:5460\r\n*3\r\n$8\r\n10.0.0.1\r\n:7000\r\n$2\r\nid\r\n*3\r\n$8\r\n10.0.0.9\r\n:7009\r\n$1\r\nx\r\n\
                      *3\r\n:5461\r\n:16383\r\n*3\r\n$0\r\n\r\n:7001\r\n$2\r\nid\r\n\
                      *3\r\n:9\r\n:99999\r\n*3\r\n$0\r\n\r\n:7001\r\n$2\r\nid\r\n";
        let answer = ::redis::parse_redis_value(answer.as_bytes()).unwrap();
        let ranges = slot_ranges(&answer, "asked").unwrap();
        let expected = [(0, 5460, "10.0.0.1", 7000), (5461, 16_383, "asked", 7001)]
            .map(|(first, last, host, port)| SlotRange { first, last, host: host.to_owned(), port });
        assert_eq!(ranges, expected);
        assert_eq!(slot_ranges(&Value::Array(Vec::new()), "asked"), None);
    }
}
