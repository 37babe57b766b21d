//! Checkpoints: what is kept of a partition, in a directory or an object store,
//! so that a restart reads again what came since and not whole windows.
//!
//! ```text
//!  <group>/<topic>/<partition>/manifest          which objects, in which order; put in place last
//!                              <writer>-<n>      all that there was, or what changed since the one before
//! ```
//! A checkpoint counts once its manifest is in place. Kafka stays the judge of
//! what was published: a checkpoint that is ahead of the committed offset is
//! not used. [`manifest`] decides, [`object`] is the layout of what is written,
//! [`location`] is the place as it is configured, [`store`] reads and writes
//! there, [`writer`] is the thread that does so.

pub mod location;
pub mod manifest;
pub mod object;
pub mod store;
pub mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::frame::StreamId;
use crate::view::classify::Class;
use crate::view::tiling::Leaf;
use crate::view::{FeatureView, Streams};

/// Whose a checkpoint is, and what is in it: another's is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// By view over it, a hash of what is kept for it.
    pub views: BTreeMap<String, String>,
}

/// What can be kept of each stream that views read, or else why nothing can be.
/// `decoded` says how a stream's events become rows.
pub fn identities(
    group: &str,
    streams: &Streams,
    views: &[Arc<FeatureView>],
    decoded: impl Fn(StreamId) -> String,
) -> BTreeMap<StreamId, Result<Identity, String>> {
    let mut identities = BTreeMap::new();
    for view in views {
        for name in view.streams() {
            let Some(id) = streams.id(name) else { continue };
            let stream = streams.get(id);
            let identity = identities.entry(id).or_insert_with(|| {
                Ok(Identity { group: group.to_owned(), topic: stream.topic.clone(), views: BTreeMap::new() })
            });
            match (&view.tiling, view.classification.class) {
                (Ok(tiling), Class::Tiled) => {
                    if let Ok(identity) = identity {
                        let mut text = format!("{:?}\n{}\n", stream.table, decoded(id));
                        let leaves = tiling.leaves.iter().enumerate();
                        for (number, leaf) in leaves.filter(|(_, leaf)| leaf.stream == name) {
                            let _ = writeln!(text, "{number} {}", Kept(leaf));
                        }
                        identity.views.insert(view.name.clone(), hash(text.as_bytes()));
                    }
                }
                _ => *identity = Err(format!("view `{}` is not evaluated from tiles", view.name)),
            }
        }
    }
    identities
}

/// What decides what a leaf keeps. How its output is called and used does not.
struct Kept<'a>(&'a Leaf);

impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leaf { groups, entity, filter, bounds, bases, aggregates, schema, .. } = self.0;
        for group in groups {
            write!(f, "{group}, ")?;
        }
        write!(f, "by {entity}, ")?;
        if let Some(filter) = filter {
            write!(f, "where {filter}, ")?;
        }
        for base in bases {
            write!(f, "{base}, ")?;
        }
        write!(f, "{bounds:?}, {aggregates:?}, ")?;
        schema.fields().iter().try_for_each(|field| write!(f, "{}, ", field.data_type()))
    }
}

/// Tells bytes apart that a crash or a fault left.
fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}
