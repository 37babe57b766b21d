//! A map whose entries come and go. The standard one doubles its room when traces of entries that
//! left have used it up, though those that are there need no more than half or so: with keys that
//! are ever new it takes up to twice as much after a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::{Deref, DerefMut};

/// With so many of 8 entries that it has room for, a map may grow.
const FULL: usize = 7;

/// See the module. What it does not do itself it does as the standard one.
#[derive(Debug)]
pub struct Map<K, V> {
    map: HashMap<K, V, Seed>,
    /// How many entries there is room for when none has left.
    room: usize,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { map: HashMap::default(), room: 0 }
    }
}

impl<K: Eq + Hash, V> Map<K, V> {
    /// Puts an entry in; the value that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.map.len() == self.map.capacity() && self.map.len() < self.room / 8 * FULL {
            let mut anew = HashMap::with_capacity_and_hasher(self.room, *self.map.hasher());
            anew.extend(self.map.drain());
            self.map = anew;
        }
        let before = self.map.insert(key, value);
        self.room = self.room.max(self.map.capacity());
        before
    }

    /// Gives back what was needed at a peak.
    pub fn shrink(&mut self) {
        if self.room > 8 * self.map.len() + 4096 {
            self.map.shrink_to(2 * self.map.len());
            self.room = self.map.capacity();
        }
    }

    /// Bytes that it takes, but for what keys and values have elsewhere.
    pub const fn bytes(&self) -> usize {
        self.room * (size_of::<(K, V)>() + 1)
    }
}

impl<K, V> Deref for Map<K, V> {
    type Target = HashMap<K, V, Seed>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl<K, V> DerefMut for Map<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.map
    }
}

/// Hashes keys with XXH3: several times as fast as the standard library's on
/// short texts, and seeded, since whoever sends events chooses keys.
#[derive(Debug, Clone, Copy)]
pub struct Seed(u64);

impl Default for Seed {
    /// Another in every map.
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seed {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

/// Of [`Seed`].
#[derive(Debug)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    /// Lengths: the bytes themselves tell keys apart.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_come_and_go_take_no_more_room() {
        const KEPT: u64 = 10_000;
        let mut map = Map::default();
        for number in 0..KEPT {
            map.insert(number, ());
        }
        let before = map.bytes();
        for number in KEPT..40 * KEPT {
            map.remove(&(number - KEPT));
            map.insert(number, ());
        }
        assert_eq!((map.len() as u64, map.bytes()), (KEPT, before));
        assert!((39 * KEPT..40 * KEPT).all(|number| map.contains_key(&number)));
        assert!(map.capacity() <= map.room);
        for number in KEPT..3 * KEPT {
            map.insert(number, ());
        }
        assert_eq!(map.len() as u64, 3 * KEPT);
        assert!(map.bytes() > before);
        map.retain(|number, ()| *number < KEPT + 10);
        map.shrink();
        assert!(map.len() == 10 && map.bytes() < before / 8);
    }
}
