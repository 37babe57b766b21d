//! Entities and their numbers. One that is given up leaves nothing behind; its
//! number is used again.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::Slot;

/// Which entity has which number.
#[derive(Debug)]
pub struct Entities {
    converter: RowConverter,

    slots: HashMap<Arc<[u8]>, Slot, Seed>,
    keys: Vec<Option<Arc<[u8]>>>,
    free: Vec<Slot>,
    key_bytes: usize,
}

impl Entities {
    /// No entities yet, of keys with this type.
    ///
    /// # Errors
    /// When the type cannot be compared.
    pub fn try_new(key: &DataType) -> Result<Self, ArrowError> {
        let converter = RowConverter::new(vec![SortField::new(key.clone())])?;
        let slots = HashMap::with_hasher(Seed(RandomState::new().hash_one(0)));
        Ok(Self { converter, slots, keys: Vec::new(), free: Vec::new(), key_bytes: 0 })
    }

    /// The numbers of entities; new ones get one.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn intern(&mut self, keys: &ArrayRef) -> Result<Vec<Slot>, ArrowError> {
        let rows = self.converter.convert_columns(std::slice::from_ref(keys))?;
        let mut slots = Vec::with_capacity(keys.len());
        for row in &rows {
            let key: &[u8] = row.as_ref();
            if let Some(slot) = self.slots.get(key) {
                slots.push(*slot);
                continue;
            }
            let key: Arc<[u8]> = key.into();
            self.key_bytes += key.len();
            let slot = self.free.pop().unwrap_or_else(|| {
                self.keys.push(None);
                Slot::try_from(self.keys.len() - 1).unwrap_or(Slot::MAX)
            });
            self.keys[slot as usize] = Some(Arc::clone(&key));
            self.slots.insert(key, slot);
            slots.push(slot);
        }
        Ok(slots)
    }

    /// The numbers of entities that are known.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn find(&self, keys: &ArrayRef) -> Result<Vec<Option<Slot>>, ArrowError> {
        let rows = self.converter.convert_columns(std::slice::from_ref(keys))?;
        Ok(rows.iter().map(|row| self.slots.get(AsRef::<[u8]>::as_ref(&row)).copied()).collect())
    }

    /// The keys of entities.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn keys(&self, slots: &[Slot]) -> Result<ArrayRef, ArrowError> {
        let parser = self.converter.parser();
        let rows = slots.iter().filter_map(|slot| self.keys.get(*slot as usize)?.as_deref());
        let mut columns = self.converter.convert_rows(rows.map(|key| parser.parse(key)))?;
        Ok(columns.swap_remove(0))
    }

    /// Gives an entity up.
    pub fn remove(&mut self, slot: Slot) {
        if let Some(key) = self.keys.get_mut(slot as usize).and_then(Option::take) {
            self.key_bytes -= key.len();
            self.slots.remove(&key);
            self.free.push(slot);
        }
    }

    /// Whether a number is in use.
    pub fn is_known(&self, slot: Slot) -> bool {
        self.keys.get(slot as usize).is_some_and(Option::is_some)
    }

    /// Every number in use.
    pub fn all(&self) -> impl Iterator<Item = Slot> {
        self.slots.values().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes that this takes.
    pub fn bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        self.slots.capacity() * (size_of::<(Arc<[u8]>, Slot)>() + 1)
            + self.keys.capacity() * size_of::<Option<Arc<[u8]>>>()
            + self.slots.len() * COUNTS
            + self.key_bytes
    }
}

/// Hashes keys with XXH3: several times as fast as the standard library's on
/// short texts, and seeded, since whoever sends events chooses keys.
#[derive(Debug, Clone, Copy)]
struct Seed(u64);

impl BuildHasher for Seed {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

struct KeyHasher(u64);

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
    use arrow::array::{AsArray, StringViewArray};

    use super::*;

    #[test]
    fn numbers_are_used_again() {
        let mut entities = Entities::try_new(&DataType::Utf8View).unwrap();
        let keys = |keys: &[&str]| -> ArrayRef { Arc::new(StringViewArray::from(keys.to_vec())) };
        assert_eq!(entities.intern(&keys(&["a", "b", "a"])).unwrap(), [0, 1, 0]);
        entities.remove(0);
        assert_eq!(entities.find(&keys(&["a", "b"])).unwrap(), [None, Some(1)]);
        assert_eq!(entities.intern(&keys(&["c", "d"])).unwrap(), [0, 2]);
        let array = entities.keys(&[2, 0]).unwrap();
        assert_eq!(array.as_string_view().iter().flatten().collect::<Vec<_>>(), ["d", "c"]);
        assert_eq!(entities.len(), 3);
    }
}
