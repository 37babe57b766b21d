//! Every value that some row has, once: rows have ids of values.
//!
//! It is counted who refers to an id. A value to which nobody does any more is forgotten, and its
//! id is used again.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use std::mem;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion::common::hash_utils::RandomState;
use datafusion::common::{DataFusionError, Result};

use super::values::Values;

/// The number of a value.
pub type Id = u32;

/// That of NULL, which is always there.
pub const NULL: Id = 0;

/// That of no value: there was nothing to look up.
pub const SKIPPED: Id = Id::MAX;

/// References to an id that no value has.
const FREE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub struct Dictionary<V> {
    hashes: RandomState,

    values: V,
    /// For each id, how many rows have it. NULL has one more, so that it stays.
    references: Vec<u32>,
    index: Index,
    free: Vec<Id>,
    /// Ids to which nobody may refer: new ones, and those that lost the last row.
    loose: Vec<Id>,
}

impl<V: Values> Default for Dictionary<V> {
    fn default() -> Self {
        // Seeded, since whoever sends events chooses values.
        let hashes = RandomState::with_seed(std::hash::RandomState::new().hash_one(0));
        Self {
            hashes,
            values: V::default(),
            references: vec![1],
            index: Index::default(),
            free: Vec::new(),
            loose: Vec::new(),
        }
    }
}

impl<V: Values> Dictionary<V> {
    /// Writes the ids of the chosen values, or of all; for others `ids` stays as it is. The next
    /// [`Dictionary::sweep`] forgets those that no row has by then.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn intern(
        &mut self,
        values: &ArrayRef,
        chosen: Option<&BooleanBuffer>,
        ids: &mut [Id],
    ) -> Result<()> {
        let note = |position: usize, value: &V::Value| -> Result<()> {
            ids[position] = self.id_of(value)?;
            Ok(())
        };
        match chosen {
            None => V::each(values, 0..values.len(), note),
            Some(chosen) => V::each(values, chosen.set_indices(), note),
        }
    }

    fn id_of(&mut self, value: &V::Value) -> Result<Id> {
        let bits = V::bits(value);
        let hash = self.hash(bits);
        if let Some(id) = self.index.find(hash, |id| V::bits(self.values.get(id)) == bits) {
            return Ok(id);
        }
        let id = match self.free.pop() {
            Some(id) => {
                self.references[id as usize] = 0;
                id
            }
            None => {
                let next = self.references.len();
                let id = Id::try_from(next).ok().filter(|id| *id != SKIPPED);
                let id = id.ok_or_else(|| too_many(next, "values"))?;
                self.references.push(0);
                id
            }
        };
        self.values.put(id, value);
        self.index.insert(Slot { hash, id });
        self.loose.push(id);
        Ok(id)
    }

    fn hash(&self, bits: &[u8]) -> u32 {
        let mut hasher = self.hashes.build_hasher();
        hasher.write(bits);
        (hasher.finish() >> 32) as u32
    }

    /// A row has an id from now on.
    pub fn refer(&mut self, id: Id) {
        self.references[id as usize] += 1;
    }

    /// A row has an id no longer.
    pub fn release(&mut self, id: Id) {
        let references = &mut self.references[id as usize];
        *references -= 1;
        if *references == 0 {
            self.loose.push(id);
        }
    }

    /// Forgets the values that no row has.
    pub fn sweep(&mut self) {
        while let Some(id) = self.loose.pop() {
            if self.references[id as usize] == 0 {
                self.references[id as usize] = FREE;
                let hash = self.hash(V::bits(self.values.get(id)));
                self.index.remove(Slot { hash, id });
                self.values.remove(id);
                self.free.push(id);
            }
        }
    }

    /// Leaves no id unused and gives memory back. The new id of each old one, in the same order.
    pub fn compact(&mut self) -> Vec<Id> {
        self.sweep();
        let mut new_ids = vec![NULL; self.references.len()];
        let mut kept = Vec::with_capacity(self.references.len() - self.free.len());
        let mut next = NULL;
        for (old, references) in (NULL..).zip(&self.references) {
            if *references != FREE {
                new_ids[old as usize] = next;
                kept.push(old);
                next += 1;
            }
        }
        self.values.keep(&kept);
        self.references = kept.iter().map(|old| self.references[*old as usize]).collect();
        self.free = Vec::new();
        self.loose = Vec::new();
        self.index = Index::default();
        for id in NULL + 1..next {
            let hash = self.hash(V::bits(self.values.get(id)));
            self.index.insert(Slot { hash, id });
        }
        new_ids
    }

    /// Which of two values comes first; NULL is last.
    pub fn compare(&self, left: Id, right: Id) -> Ordering {
        match (left, right) {
            (NULL, _) | (_, NULL) => (left == NULL).cmp(&(right == NULL)),
            _ => V::compare(self.values.get(left), self.values.get(right)),
        }
    }

    /// The values of ids, as an array of a type.
    ///
    /// # Errors
    /// When they are too many for one.
    pub fn gather(&self, ids: &[Id], wanted: &DataType) -> Result<ArrayRef> {
        self.values.gather(ids, wanted)
    }

    /// How many values there are, NULL apart.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.index.used, self.references.len() - 1 - self.free.len());
        self.index.used
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.values.bytes()
            + self.references.capacity() * size_of::<u32>()
            + (self.free.capacity() + self.loose.capacity()) * size_of::<Id>()
            + self.index.slots.capacity() * size_of::<Slot>()
    }
}

/// What cannot be counted in 31 or 32 bits.
pub fn too_many(count: usize, what: &str) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!("{count} {what} at once"))
}

/// Ids by the hash of their value, each at or soon after the slot that its hash says. A map of the
/// standard library would keep every value a second time.
#[derive(Debug, Default)]
struct Index {
    /// A power of two, or none.
    slots: Vec<Slot>,
    used: usize,
}

/// NULL is never looked up: a slot with it is empty.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u32,
    id: Id,
}

impl Index {
    const FEWEST_SLOTS: usize = 16;

    fn find(&self, hash: u32, is_it: impl Fn(Id) -> bool) -> Option<Id> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut position = hash as usize & mask;
        loop {
            let slot = self.slots[position];
            if slot.id == NULL {
                return None;
            }
            if slot.hash == hash && is_it(slot.id) {
                return Some(slot.id);
            }
            position = (position + 1) & mask;
        }
    }

    fn insert(&mut self, slot: Slot) {
        // A quarter is empty, so that what is not there is soon known not to be.
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            let larger = (self.slots.len() * 2).max(Self::FEWEST_SLOTS);
            let full = mem::replace(&mut self.slots, vec![Slot::default(); larger]);
            full.into_iter().filter(|slot| slot.id != NULL).for_each(|slot| self.place(slot));
        }
        self.place(slot);
        self.used += 1;
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut position = slot.hash as usize & mask;
        while self.slots[position].id != NULL {
            position = (position + 1) & mask;
        }
        self.slots[position] = slot;
    }

    /// Removes what is there.
    fn remove(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut hole = slot.hash as usize & mask;
        while self.slots[hole].id != slot.id {
            hole = (hole + 1) & mask;
        }
        // What comes after moves up, but not to before where its hash says.
        let mut position = hole;
        loop {
            position = (position + 1) & mask;
            let next = self.slots[position];
            if next.id == NULL {
                break;
            }
            let home = next.hash as usize & mask;
            if position.wrapping_sub(home) & mask >= position.wrapping_sub(hole) & mask {
                self.slots[hole] = next;
                hole = position;
            }
        }
        self.slots[hole] = Slot::default();
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_close_up_when_one_goes() {
        // Few hashes, so that most are not where their hash says, some of them past the last slot.
        const HASHES: [u32; 8] = [3, u32::MAX, u32::MAX, 15, u32::MAX - 1, 0, 3, 7];
        let slot = |id: Id| Slot { hash: HASHES[id as usize % 8], id };
        for first in 1..=40 {
            let mut index = Index::default();
            (1..=40).for_each(|id| index.insert(slot(id)));
            let order = (first..=40).chain(1..first);
            for (gone, id) in order.clone().enumerate() {
                index.remove(slot(id));
                assert_eq!(index.used, 39 - gone);
                assert_eq!(index.find(slot(id).hash, |found| found == id), None);
                for left in order.clone().skip(gone + 1) {
                    assert_eq!(index.find(slot(left).hash, |found| found == left), Some(left));
                }
            }
        }
    }
}
