//! The manifest of a partition: pure. It names objects from the oldest that is
//! needed to the newest, each of them all that there was (*whole*) or what
//! changed since the one before:
//!
//! ```text
//!   whole ─ change ─ change ─ change          what goes on from here needs all four,
//!   100       140      180      230           or, with 200 committed, the first three
//! ```
//! A new whole one stands beside those before it until the next change: by then
//! its position is known to be committed.

use serde::{Deserialize, Serialize};

use super::{Identity, hash};

/// The layout of manifests and objects, and of what kernels save. Another one is not read.
pub const FORMAT: u32 = 2;

/// The first word of a manifest.
const MAGIC: &str = "windrow-checkpoint";

/// More changes than this in a row cost too many requests at a start.
const MOST_CHANGES: usize = 32;

/// An object, and up to where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name beside the manifest.
    pub object: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The hash of its bytes.
    pub hash: String,
    /// Whether it needs none before it.
    pub is_whole: bool,
    /// The next offset to read.
    pub position: i64,
}

/// What there is of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose it is.
    pub identity: Identity,
    /// The partition.
    pub partition: i32,
    /// Objects, the oldest first.
    pub chain: Vec<Entry>,
}

/// Why a checkpoint is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Bytes are missing or wrong.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(String),
    /// Another build wrote it.
    #[error("the checkpoint has format {0}, and this build reads {FORMAT}")]
    Format(u32),
    /// It is another pipeline's.
    #[error("the checkpoint is another pipeline's: {0}")]
    Foreign(String),
    /// What is kept for a view is not what was.
    #[error("the checkpoint is of other views: {0}")]
    Changed(String),
    /// Nothing of it was committed.
    #[error("the checkpoint is at offset {position}, after the committed {committed}")]
    Ahead {
        /// Where the earliest one is.
        position: i64,
        /// The group's offset.
        committed: i64,
    },
    /// Reading the windows' events again is shorter.
    #[error("the checkpoint is at offset {position}, before {lead_in}, where the windows begin")]
    Behind {
        /// Where the newest one is.
        position: i64,
        /// Where the windows can be read again from.
        lead_in: i64,
    },
}

impl Manifest {
    /// A manifest of this build.
    pub const fn new(identity: Identity, partition: i32, chain: Vec<Entry>) -> Self {
        Self { format: FORMAT, identity, partition, chain }
    }

    /// Its text, which tells whether it is whole.
    pub fn to_text(&self) -> String {
        let body = serde_json::to_string(self).expect("names and numbers are JSON");
        format!("{MAGIC} {}\n{body}\n", hash(body.as_bytes()))
    }

    /// Reads [`Manifest::to_text`] back.
    ///
    /// # Errors
    /// When it is not whole, or of another build.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        /// What every format has.
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let damaged = |what: &str| Refusal::Damaged(format!("its manifest {what}"));
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is no text"))?;
        let (head, body) = text.split_once('\n').ok_or_else(|| damaged("breaks off"))?;
        let known = head.strip_prefix(MAGIC).map(str::trim).ok_or_else(|| damaged("is none"))?;
        let body = body.strip_suffix('\n').ok_or_else(|| damaged("breaks off"))?;
        if known != hash(body.as_bytes()) {
            return Err(damaged("is not what was written"));
        }
        let unread = |error: serde_json::Error| damaged(&format!("cannot be read: {error}"));
        match serde_json::from_str::<Any>(body).map_err(unread)? {
            Any { format: FORMAT } => serde_json::from_str(body).map_err(unread),
            Any { format } => Err(Refusal::Format(format)),
        }
    }

    /// The objects with which `identity` can go on, the oldest first, when its
    /// group has committed an offset and its windows can be read again from `lead_in`.
    ///
    /// # Errors
    /// Why there are none.
    pub fn usable(
        &self,
        identity: &Identity,
        partition: i32,
        lead_in: i64,
        committed: i64,
    ) -> Result<&[Entry], Refusal> {
        let (own, ours) = (&self.identity, identity);
        if (&own.group, &own.topic, self.partition) != (&ours.group, &ours.topic, partition) {
            return Err(Refusal::Foreign(format!(
                "of group `{}`, topic `{}`, partition {}",
                own.group, own.topic, self.partition
            )));
        }
        for name in ours.views.keys().chain(own.views.keys()) {
            let what = match (own.views.get(name), ours.views.get(name)) {
                (Some(then), Some(now)) if then == now => continue,
                (Some(_), Some(_)) => "keeps something else now",
                (None, _) => "is new",
                (_, None) => "is gone",
            };
            return Err(Refusal::Changed(format!("`{name}` {what}")));
        }
        let Some(last) = self.chain.iter().rposition(|entry| entry.position <= committed) else {
            let position = self.chain.first().map_or(0, |entry| entry.position);
            return Err(Refusal::Ahead { position, committed });
        };
        let position = self.chain[last].position;
        if position < lead_in {
            return Err(Refusal::Behind { position, lead_in });
        }
        match self.chain[..=last].iter().rposition(|entry| entry.is_whole) {
            Some(first) => Ok(&self.chain[first..=last]),
            None => Err(Refusal::Damaged("its manifest begins with a change".to_owned())),
        }
    }
}

/// The objects that are needed once another is added.
pub fn with(chain: &[Entry], entry: Entry) -> Vec<Entry> {
    let first = chain.iter().rposition(|entry| entry.is_whole);
    let mut needed = chain[first.unwrap_or_default()..].to_vec();
    needed.push(entry);
    needed
}

/// Whether the next object has to be a whole one: there is none, or reading
/// the changes since costs as much as reading one.
pub fn wants_whole(chain: &[Entry]) -> bool {
    let Some(whole) = chain.iter().rposition(|entry| entry.is_whole) else { return true };
    let changes = &chain[whole + 1..];
    changes.len() >= MOST_CHANGES || changes.iter().map(|entry| entry.bytes).sum::<u64>() > chain[whole].bytes
}

/// Which of the objects beside a manifest nobody needs: those that this
/// pipeline wrote or found named, and strangers that are old. A young stranger
/// may be what another process is about to name.
pub fn unreachable<'a>(
    found: &'a [(String, i64)],
    chain: &[Entry],
    own: impl Fn(&str) -> bool,
    old_before_ms: i64,
) -> Vec<&'a str> {
    let needed = |name: &str| chain.iter().any(|entry| entry.object == name);
    found
        .iter()
        .filter(|(name, written_ms)| !needed(name) && (own(name) || *written_ms < old_before_ms))
        .map(|(name, _)| name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn identity(group: &str, views: &[(&str, &str)]) -> Identity {
        let views = views.iter().map(|(name, kept)| ((*name).to_owned(), (*kept).to_owned()));
        Identity { group: group.to_owned(), topic: "pay.events".to_owned(), views: views.collect() }
    }

    fn entry(position: i64, is_whole: bool) -> Entry {
        let bytes = if is_whole { 100 } else { 40 };
        Entry { object: format!("at-{position}"), bytes, hash: String::new(), is_whole, position }
    }

    /// Whole ones are marked by a negative sign.
    fn manifest(chain: &[i64]) -> Manifest {
        let chain = chain.iter().map(|position| entry(position.abs(), *position < 0)).collect();
        Manifest::new(identity("g", &[("a", "1"), ("b", "2")]), 3, chain)
    }

    #[track_caller]
    fn check(chain: &[i64], lead_in: i64, committed: i64, expected: Result<&[i64], Refusal>) {
        let manifest = manifest(chain);
        let usable = manifest.usable(&manifest.identity, 3, lead_in, committed);
        let positions = usable.map(|entries| entries.iter().map(|entry| entry.position).collect::<Vec<_>>());
        assert_eq!(positions, expected.map(<[i64]>::to_vec));
    }

    #[test]
    fn what_is_committed_is_used() {
        let chain = [-100, 140, 180, 230];
        check(&chain, 0, 230, Ok(&[100, 140, 180, 230]));
        check(&chain, 0, 1000, Ok(&[100, 140, 180, 230]));
        check(&chain, 0, 229, Ok(&[100, 140, 180]));
        check(&chain, 100, 100, Ok(&[100]));
        check(&chain, 0, 99, Err(Refusal::Ahead { position: 100, committed: 99 }));
        check(&chain, 231, 300, Err(Refusal::Behind { position: 230, lead_in: 231 }));
        check(&[-100, 140, -180], 0, 180, Ok(&[180]));
        check(&[-100, 140, -180], 0, 179, Ok(&[100, 140]));
        check(&[], 0, 5, Err(Refusal::Ahead { position: 0, committed: 5 }));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let manifest = manifest(&[-100]);
        let usable = |identity: &Identity, partition| manifest.usable(identity, partition, 0, 100).err();
        let same = identity("g", &[("a", "1"), ("b", "2")]);
        assert_eq!(usable(&same, 3), None);
        assert!(matches!(usable(&same, 4), Some(Refusal::Foreign(_))));
        assert!(matches!(usable(&identity("h", &[("a", "1"), ("b", "2")]), 3), Some(Refusal::Foreign(_))));
        for (views, what) in [
            (vec![("a", "1"), ("b", "3")], "`b` keeps something else now"),
            (vec![("a", "1")], "`b` is gone"),
            (vec![("a", "1"), ("b", "2"), ("c", "3")], "`c` is new"),
        ] {
            assert_eq!(usable(&identity("g", &views), 3), Some(Refusal::Changed(what.to_owned())));
        }
    }

    #[test]
    fn a_manifest_is_whole_or_refused() {
        let manifest = manifest(&[-100, 140]);
        let text = manifest.to_text();
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest.clone()));
        for length in 0..text.len() {
            assert!(Manifest::parse(&text.as_bytes()[..length]).is_err(), "{length} bytes");
            let mut other = text.clone().into_bytes();
            other[length] ^= 1;
            assert!(Manifest::parse(&other).is_err(), "byte {length} differs");
        }
        let next = Manifest { format: FORMAT + 1, ..manifest };
        assert_eq!(Manifest::parse(next.to_text().as_bytes()), Err(Refusal::Format(FORMAT + 1)));
    }

    #[test]
    fn a_chain_grows_until_it_costs_what_a_whole_one_does() {
        let mut chain = Vec::new();
        let mut lengths = Vec::new();
        for position in 1..9 {
            let is_whole = wants_whole(&chain);
            chain = with(&chain, entry(position, is_whole));
            lengths.push((is_whole, chain.len()));
        }
        // The whole one at 5 keeps those before it until the change at 6.
        let expected =
            [(true, 1), (false, 2), (false, 3), (false, 4), (true, 5), (false, 2), (false, 3), (false, 4)];
        assert_eq!(lengths, expected);
    }

    #[test]
    fn what_is_named_is_never_removed() {
        let chain = [entry(1, true), entry(2, false)];
        let found: BTreeMap<&str, i64> =
            BTreeMap::from([("at-1", 5), ("at-2", 5), ("own", 99), ("old", 5), ("young", 99)]);
        let found: Vec<(String, i64)> =
            found.into_iter().map(|(name, written)| (name.to_owned(), written)).collect();
        assert_eq!(unreachable(&found, &chain, |name| name == "own", 50), ["old", "own"]);
    }
}
