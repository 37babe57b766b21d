//! The directory of checkpoints in memory, and what can happen to it. Objects
//! are found by what the manifest names: their own names are another every time.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;
use windrow::checkpoint::manifest::Manifest;
use windrow::checkpoint::store::Store;

use crate::chaos::dice::Dice;

const MANIFEST: &str = "manifest";

/// Objects and manifests of all partitions.
pub struct Objects {
    runtime: Runtime,
    group: String,
    topic: String,

    objects: Arc<InMemory>,
    /// Every manifest that was put in place, and of which partition.
    manifests: Vec<(i32, Vec<u8>)>,
}

impl Objects {
    pub fn new(group: &str, topic: &str) -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            objects: Arc::new(InMemory::new()),
            manifests: Vec::new(),
        }
    }

    /// As a process opens it.
    pub fn open(&self) -> Store {
        let objects: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(&self.objects);
        Store::over(objects).unwrap()
    }

    fn location(&self, partition: i32, name: &str) -> Path {
        Path::from_iter([self.group.clone(), self.topic.clone(), partition.to_string()]).join(name)
    }

    fn get(&self, partition: i32, name: &str) -> Option<Vec<u8>> {
        let location = self.location(partition, name);
        let read = async { self.objects.get(&location).await?.bytes().await };
        self.runtime.block_on(read).ok().map(|bytes| bytes.to_vec())
    }

    fn put(&self, partition: i32, name: &str, bytes: Vec<u8>) {
        let location = self.location(partition, name);
        self.runtime.block_on(self.objects.put(&location, PutPayload::from(bytes))).unwrap();
    }

    fn remove(&self, partition: i32, name: &str) {
        let location = self.location(partition, name);
        self.runtime.block_on(self.objects.delete(&location)).unwrap();
    }

    pub fn manifest(&self, partition: i32) -> Option<Vec<u8>> {
        self.get(partition, MANIFEST)
    }

    /// Remembers the manifest that is in place.
    pub fn note_manifest(&mut self, partition: i32) {
        let manifest = self.manifest(partition);
        self.manifests.extend(manifest.map(|manifest| (partition, manifest)));
    }

    /// Puts what was there before a write in place again.
    pub fn undo(&self, partition: i32, before: Option<Vec<u8>>) {
        match before {
            Some(manifest) => self.put(partition, MANIFEST, manifest),
            None => self.remove(partition, MANIFEST),
        }
    }

    /// The manifest or one of the objects that it names.
    fn any(&self, partition: i32, dice: &mut Dice) -> Option<String> {
        let manifest = Manifest::parse(&self.manifest(partition)?).ok()?;
        let objects = manifest.chain.into_iter().map(|entry| entry.object);
        let names: Vec<String> = objects.chain([MANIFEST.to_owned()]).collect();
        let index = dice.below(u64::try_from(names.len()).unwrap());
        names.into_iter().nth(usize::try_from(index).unwrap())
    }

    /// Cuts something off at any byte, or changes a bit of it; what was done.
    pub fn tear(&self, partition: i32, dice: &mut Dice) -> Option<String> {
        let name = self.any(partition, dice)?;
        let mut bytes = self.get(partition, &name).filter(|bytes| !bytes.is_empty())?;
        // Compressed bytes are not as many at every run.
        let share = dice.below(1_000_000);
        let place = usize::try_from(u64::try_from(bytes.len()).unwrap() * share / 1_000_000).unwrap();
        let what = if name == MANIFEST { MANIFEST } else { "an object" };
        let torn = if dice.below(2) == 0 {
            bytes.truncate(place);
            format!("{what} of partition {partition} is cut at {share} millionths")
        } else {
            bytes[place] ^= 1 << dice.below(8);
            format!("{what} of partition {partition} is changed at {share} millionths")
        };
        self.put(partition, &name, bytes);
        Some(torn)
    }

    /// Removes something; what it was.
    pub fn lose(&self, partition: i32, dice: &mut Dice) -> Option<String> {
        let name = self.any(partition, dice)?;
        self.remove(partition, &name);
        let what = if name == MANIFEST { MANIFEST } else { "an object" };
        Some(format!("{what} of partition {partition} is gone"))
    }

    /// Puts any manifest of before in place; of which partition it is.
    pub fn go_back(&self, dice: &mut Dice) -> Option<i32> {
        let count = u64::try_from(self.manifests.len()).unwrap();
        if count == 0 {
            return None;
        }
        let (partition, manifest) = &self.manifests[usize::try_from(dice.below(count)).unwrap()];
        if self.manifest(*partition).as_ref() == Some(manifest) {
            return None;
        }
        self.put(*partition, MANIFEST, manifest.clone());
        Some(*partition)
    }
}
