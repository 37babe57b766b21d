//! What one row has: ids of values, each with the number of tiles that it is in.
//!
//! Most rows have very few values: those take no memory of their own.

use datafusion::common::HashMap;

use super::dictionary::Id;

/// A set with more members than this leaves the row.
const FEW: usize = 3;

/// With more, moving members costs more than hashing ids.
const SORTED: usize = 1024;

/// Two sorted sets are walked through together when the one that is read has at least one member
/// for this many of the other; otherwise its members are looked up.
const MEMBERS_A_SEARCH: usize = 8;

const _: () = assert!(size_of::<Set>() <= 32, "there are millions of rows");

/// That a set has a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Member {
    /// Of the value.
    pub id: Id,
    /// In how many tiles it is; 0 is no member.
    pub count: u32,
}

/// See the module.
#[derive(Debug)]
pub enum Set {
    /// Members in no order, then places without one.
    Few([Member; FEW]),
    /// Members by id.
    Sorted(Vec<Member>),
    /// Counts by id.
    Hashed(Box<HashMap<Id, u32>>),
}

impl Default for Set {
    fn default() -> Self {
        Self::Few([Member::default(); FEW])
    }
}

impl Set {
    /// How many members there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(places) => places.iter().filter(|place| place.count > 0).count(),
            Self::Sorted(members) => members.len(),
            Self::Hashed(counts) => counts.len(),
        }
    }

    /// Shows every member, in no order.
    pub fn each(&self, mut show: impl FnMut(Member)) {
        match self {
            Self::Few(places) => {
                places.iter().take_while(|place| place.count > 0).for_each(|place| show(*place));
            }
            Self::Sorted(members) => members.iter().for_each(|member| show(*member)),
            Self::Hashed(counts) => {
                counts.iter().for_each(|(id, count)| show(Member { id: *id, count: *count }));
            }
        }
    }

    /// The count of an id. It is 0 when the id is new, and must not stay so.
    pub fn count(&mut self, id: Id) -> &mut u32 {
        self.make_room(id);
        match self {
            Self::Few(places) => {
                let place = places.iter_mut().find(|place| place.count == 0 || place.id == id);
                let place = place.expect("room was made for it");
                place.id = id;
                &mut place.count
            }
            Self::Sorted(members) => {
                let position =
                    members.binary_search_by_key(&id, |member| member.id).unwrap_or_else(|place| {
                        members.insert(place, Member { id, count: 0 });
                        place
                    });
                &mut members[position].count
            }
            Self::Hashed(counts) => counts.entry(id).or_insert(0),
        }
    }

    fn make_room(&mut self, id: Id) {
        match self {
            Self::Few(places) if places.iter().all(|place| place.count > 0 && place.id != id) => {
                let mut members = Vec::with_capacity(2 * FEW);
                members.extend_from_slice(places);
                members.sort_unstable_by_key(|member| member.id);
                *self = Self::Sorted(members);
            }
            Self::Sorted(members) if members.len() >= SORTED => {
                let counts = members.iter().map(|member| (member.id, member.count)).collect();
                *self = Self::Hashed(Box::new(counts));
            }
            _ => {}
        }
    }

    /// Adds the counts of another set, and says which ids are new.
    pub fn merge(&mut self, from: &Self, mut new: impl FnMut(Id)) {
        if let (Self::Sorted(into), Self::Sorted(from)) = (&mut *self, from)
            && from.len() * MEMBERS_A_SEARCH >= into.len()
        {
            let merged = merge(into, from, new);
            *into = merged;
            return;
        }
        from.each(|member| {
            let count = self.count(member.id);
            if *count == 0 {
                new(member.id);
            }
            *count += member.count;
        });
    }

    /// Takes away the counts of a set that was merged into this one, and says which ids are gone.
    pub fn subtract(&mut self, from: &Self, mut gone: impl FnMut(Id)) {
        if let (Self::Sorted(into), Self::Sorted(from)) = (&mut *self, from)
            && from.len() * MEMBERS_A_SEARCH >= into.len()
        {
            let mut rest = from.as_slice();
            into.retain_mut(|member| {
                while let Some((first, others)) = rest.split_first()
                    && first.id < member.id
                {
                    rest = others;
                }
                let taken = rest.first().filter(|first| first.id == member.id).map_or(0, |first| first.count);
                member.count = less(member.count, taken);
                if member.count == 0 {
                    gone(member.id);
                }
                member.count > 0
            });
        } else {
            from.each(|member| {
                if self.lower(member) {
                    gone(member.id);
                }
            });
        }
        self.settle();
    }

    /// Lowers one count and tells whether nothing is left of it.
    fn lower(&mut self, by: Member) -> bool {
        match self {
            Self::Few(places) => {
                let position = places.iter().position(|place| place.count > 0 && place.id == by.id);
                let Some(position) = position else { return false };
                places[position].count = less(places[position].count, by.count);
                if places[position].count > 0 {
                    return false;
                }
                // Members stay in front: the last one moves here.
                if let Some(last) = places.iter().rposition(|place| place.count > 0)
                    && last > position
                {
                    places.swap(position, last);
                }
                true
            }
            Self::Sorted(members) => {
                let position = members.binary_search_by_key(&by.id, |member| member.id);
                let Ok(position) = position else { return false };
                members[position].count = less(members[position].count, by.count);
                if members[position].count > 0 {
                    return false;
                }
                members.remove(position);
                true
            }
            Self::Hashed(counts) => {
                let Some(count) = counts.get_mut(&by.id) else { return false };
                *count = less(*count, by.count);
                if *count > 0 {
                    return false;
                }
                counts.remove(&by.id);
                true
            }
        }
    }

    /// Gives memory back after members went. What is left has room to grow again, or a set at a
    /// border would go back and forth.
    fn settle(&mut self) {
        if let Self::Hashed(counts) = self {
            if counts.len() < SORTED / 2 {
                let mut members: Vec<Member> =
                    counts.iter().map(|(id, count)| Member { id: *id, count: *count }).collect();
                members.sort_unstable_by_key(|member| member.id);
                *self = Self::Sorted(members);
            } else if counts.capacity() > 8 * counts.len() {
                let room = 2 * counts.len();
                counts.shrink_to(room);
            }
        }
        if let Self::Sorted(members) = self {
            if members.len() < FEW {
                let mut places = [Member::default(); FEW];
                places[..members.len()].copy_from_slice(members);
                *self = Self::Few(places);
            } else if members.capacity() > 4 * members.len() {
                let room = 2 * members.len();
                members.shrink_to(room);
            }
        }
    }

    /// Gives members the new ids of their values, which have the order of the old ones.
    pub fn renumber(&mut self, new_ids: &[Id]) {
        match self {
            Self::Few(places) => {
                for place in places.iter_mut().take_while(|place| place.count > 0) {
                    place.id = new_ids[place.id as usize];
                }
            }
            Self::Sorted(members) => {
                for member in members.iter_mut() {
                    member.id = new_ids[member.id as usize];
                }
                members.shrink_to_fit();
            }
            Self::Hashed(counts) => {
                let renumbered = counts.iter().map(|(id, count)| (new_ids[*id as usize], *count)).collect();
                **counts = renumbered;
            }
        }
    }

    /// Bytes that it takes beside the row's own.
    pub fn heap(&self) -> usize {
        match self {
            Self::Few(_) => 0,
            Self::Sorted(members) => members.capacity() * size_of::<Member>(),
            Self::Hashed(counts) => size_of::<HashMap<Id, u32>>() + counts.allocation_size(),
        }
    }
}

fn less(count: u32, taken: u32) -> u32 {
    debug_assert!(count >= taken, "{taken} subtracted from {count}");
    count.saturating_sub(taken)
}

fn merge(left: &[Member], right: &[Member], mut new: impl FnMut(Id)) -> Vec<Member> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let mut rest = left;
    for member in right {
        while let Some((first, others)) = rest.split_first()
            && first.id < member.id
        {
            merged.push(*first);
            rest = others;
        }
        match rest.split_first() {
            Some((first, others)) if first.id == member.id => {
                merged.push(Member { id: first.id, count: first.count + member.count });
                rest = others;
            }
            _ => {
                new(member.id);
                merged.push(*member);
            }
        }
    }
    merged.extend_from_slice(rest);
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Ids of sets with other seeds are partly the same.
    fn set(size: u32, seed: u32) -> Set {
        let mut set = Set::default();
        for number in 0..size {
            *set.count((number * 7 + seed * 21) % 5000 + 1) += 1 + number % 3;
        }
        set
    }

    fn contents(set: &Set) -> BTreeMap<Id, u32> {
        let mut contents = BTreeMap::new();
        set.each(|member| assert!(contents.insert(member.id, member.count).is_none()));
        assert_eq!(contents.len(), set.len());
        contents
    }

    #[track_caller]
    fn check(sizes: &[u32]) {
        let sets: Vec<Set> = (0..).zip(sizes).map(|(seed, size)| set(*size, seed)).collect();
        let mut sum = Set::default();
        let mut model: BTreeMap<Id, u32> = BTreeMap::new();
        for each in &sets {
            let mut new = BTreeSet::new();
            sum.merge(each, |id| assert!(new.insert(id)));
            for (id, count) in contents(each) {
                assert_eq!(new.contains(&id), !model.contains_key(&id));
                *model.entry(id).or_default() += count;
            }
            assert_eq!(contents(&sum), model);
        }
        for each in &sets {
            let mut gone = BTreeSet::new();
            sum.subtract(each, |id| assert!(gone.insert(id)));
            for (id, count) in contents(each) {
                let left = model.get_mut(&id).unwrap();
                *left -= count;
                assert_eq!(gone.contains(&id), *left == 0);
            }
            model.retain(|_, count| *count > 0);
            assert_eq!(contents(&sum), model);
        }
        assert_eq!(sum.len(), 0);
        assert_eq!(sum.heap(), 0);
    }

    #[test]
    fn what_was_merged_can_be_subtracted() {
        check(&[1, 2, 3]);
        check(&[3, 4, 5, 1]);
        check(&[2, 900, 1, 600, 40, 3]);
        check(&[1500, 10, 1200, 3]);
        check(&[1, 3000, 700, 700, 700]);
    }

    #[test]
    fn members_get_new_ids() {
        for size in [2, 20, 2000] {
            let mut renumbered = set(size, 1);
            let new_ids: Vec<Id> = (0..6000).map(|id| id * 2).collect();
            let expected: BTreeMap<Id, u32> =
                contents(&renumbered).into_iter().map(|(id, count)| (id * 2, count)).collect();
            renumbered.renumber(&new_ids);
            assert_eq!(contents(&renumbered), expected);
            let mut sum = set(size, 1);
            sum.renumber(&new_ids);
            sum.subtract(&renumbered, |_| {});
            assert_eq!(sum.len(), 0);
        }
    }
}
