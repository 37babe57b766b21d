//! The groups of an aggregate, and whose they are: an entity has one, or several
//! when there is more in GROUP BY than the entity.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::keys::{Keys, Slot};
use super::pane::Group;

/// See the module.
#[derive(Debug)]
pub enum Groups {
    /// The entity is all there is in GROUP BY: a group has the number of its entity.
    Entity,
    /// There is more.
    Many(Many),
}

/// Groups of several columns.
#[derive(Debug)]
pub struct Many {
    keys: Keys,
    /// The entity of each group.
    owners: Vec<Slot>,
    /// The groups of each entity.
    owned: Vec<Vec<Group>>,
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
        Ok(Self::Many(Many { keys, owners: Vec::new(), owned: Vec::new(), room: 0 }))
    }

    /// The numbers of groups, given their columns and their entities; new ones get one.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn intern(&mut self, columns: &[ArrayRef], entities: Vec<Slot>) -> Result<Vec<Group>, ArrowError> {
        let Self::Many(many) = self else { return Ok(entities) };
        let groups = many.keys.intern(columns)?;
        for (group, entity) in groups.iter().zip(entities) {
            let at = *group as usize;
            if many.owners.len() <= at {
                many.owners.resize(at + 1, Slot::MAX);
            }
            if many.owners[at] == Slot::MAX {
                many.owners[at] = entity;
                let entity = entity as usize;
                if many.owned.len() <= entity {
                    many.owned.resize_with(entity + 1, Vec::new);
                }
                let owned = &mut many.owned[entity];
                let before = owned.capacity();
                owned.push(*group);
                many.room += owned.capacity() - before;
            }
        }
        Ok(groups)
    }

    /// The groups of entities.
    pub fn of(&self, entities: &[Slot]) -> Vec<Group> {
        match self {
            Self::Entity => entities.to_vec(),
            Self::Many(many) => {
                let owned = entities.iter().filter_map(|entity| many.owned.get(*entity as usize));
                owned.flatten().copied().collect()
            }
        }
    }

    /// The entity of a group.
    pub fn owner(&self, group: Group) -> Slot {
        match self {
            Self::Entity => group,
            Self::Many(many) => many.owners[group as usize],
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
                let Some(owned) = many.owned.get_mut(entity as usize) else { return true };
                let before = owned.capacity();
                owned.retain(|group| {
                    let is_free = is_free(*group);
                    if is_free {
                        many.keys.remove(*group);
                        many.owners[*group as usize] = Slot::MAX;
                    }
                    !is_free
                });
                if owned.is_empty() {
                    *owned = Vec::new();
                }
                many.room = many.room + owned.capacity() - before;
                owned.is_empty()
            }
        }
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Entity => 0,
            Self::Many(many) => {
                many.keys.bytes()
                    + many.owners.capacity() * size_of::<Slot>()
                    + many.owned.capacity() * size_of::<Vec<Group>>()
                    + many.room * size_of::<Group>()
            }
        }
    }
}
