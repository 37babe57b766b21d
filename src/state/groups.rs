//! The groups of an aggregate, and whose they are: an entity has one, or several
//! when there is more in GROUP BY than the entity.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::keys::{Keys, Slot};
use super::pane::Group;
use super::sparse::Sparse;

/// See the module.
#[derive(Debug)]
pub enum Groups {
    /// The entity is all there is in GROUP BY: a group has the number of its entity.
    Entity,
    /// There is more.
    Many(Box<Many>),
}

/// Groups of several columns.
#[derive(Debug)]
pub struct Many {
    keys: Keys,
    /// The entity of each group.
    owners: Sparse<Option<Slot>>,
    /// The groups of each entity.
    owned: Sparse<Vec<Group>>,
    /// Room in these lists.
    room: usize,
}

impl Groups {
    /// No groups yet, of columns with these types.
    ///
    /// # Errors
    /// When a type cannot be compared.
    pub fn try_new(columns: &[&DataType]) -> Result<Self, ArrowError> {
        if columns.len() == 1 {
            return Ok(Self::Entity);
        }
        let keys = Keys::try_new(columns.iter().copied())?;
        Ok(Self::Many(Box::new(Many { keys, owners: Sparse::default(), owned: Sparse::default(), room: 0 })))
    }

    /// The numbers of groups, given their columns and their entities; new ones get one.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn intern(&mut self, columns: &[ArrayRef], entities: Vec<Slot>) -> Result<Vec<Group>, ArrowError> {
        let Self::Many(many) = self else { return Ok(entities) };
        let groups = many.keys.intern(columns)?;
        for (group, entity) in groups.iter().zip(entities) {
            let owner = many.owners.make(*group);
            if owner.is_some() {
                continue;
            }
            *owner = Some(entity);
            many.owners.occupy(*group);
            let owned = many.owned.make(entity);
            let (before, is_first) = (owned.capacity(), owned.is_empty());
            owned.push(*group);
            many.room += owned.capacity() - before;
            if is_first {
                many.owned.occupy(entity);
            }
        }
        Ok(groups)
    }

    /// The groups of entities.
    pub fn of(&self, entities: &[Slot]) -> Vec<Group> {
        match self {
            Self::Entity => entities.to_vec(),
            Self::Many(many) => {
                let owned = entities.iter().filter_map(|entity| many.owned.get(*entity));
                owned.flatten().copied().collect()
            }
        }
    }

    /// The entity of a group.
    pub fn owner(&self, group: Group) -> Slot {
        match self {
            Self::Entity => group,
            Self::Many(many) => many.owners.get(group).copied().flatten().unwrap_or(Slot::MAX),
        }
    }

    /// The columns of groups; `entities` has those of entities.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn columns(&self, groups: &[Group], entities: &Keys) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            Self::Entity => entities.columns(groups),
            Self::Many(many) => many.keys.columns(groups),
        }
    }

    /// Gives those groups of an entity up for which `is_free` says so. Says
    /// whether it has none left.
    pub fn tidy(&mut self, entity: Slot, is_free: impl Fn(Group) -> bool) -> bool {
        match self {
            Self::Entity => is_free(entity),
            Self::Many(many) => {
                let owned = many.owned.get_mut(entity).filter(|owned| !owned.is_empty());
                let Some(owned) = owned else { return true };
                let before = owned.capacity();
                owned.retain(|group| {
                    let is_free = is_free(*group);
                    if is_free {
                        many.keys.remove(*group);
                        *many.owners.make(*group) = None;
                        many.owners.vacate(*group);
                    }
                    !is_free
                });
                let is_empty = owned.is_empty();
                if is_empty {
                    *owned = Vec::new();
                }
                many.room = many.room + owned.capacity() - before;
                if is_empty {
                    many.owned.vacate(entity);
                }
                is_empty
            }
        }
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Entity => 0,
            Self::Many(many) => {
                many.keys.bytes() + many.owners.bytes() + many.owned.bytes() + many.room * size_of::<Group>()
            }
        }
    }
}
