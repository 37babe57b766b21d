//! Something for each of many numbers of which most may be out of use: numbers of a stretch in which
//! none is used take no room. So what a million entities needed is given back when they went quiet,
//! though a few that came after them have higher numbers.

/// Numbers of a stretch.
const STRETCH: usize = 1024;

/// See the module. Who takes a number into use, and out of it, says so.
#[derive(Debug)]
pub struct Sparse<T> {
    stretches: Vec<Stretch<T>>,
    /// Room for values, over all stretches.
    room: usize,
}

#[derive(Debug)]
struct Stretch<T> {
    values: Vec<T>,
    used: usize,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { stretches: Vec::new(), room: 0 }
    }
}

impl<T: Default> Sparse<T> {
    /// What a number has; `None` where that is nothing for sure.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.stretches.get(number / STRETCH)?.values.get(number % STRETCH)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        self.stretches.get_mut(number / STRETCH)?.values.get_mut(number % STRETCH)
    }

    /// What a number has, for which room is made.
    #[inline]
    pub fn make(&mut self, number: u32) -> &mut T {
        let (stretch, at) = (number as usize / STRETCH, number as usize % STRETCH);
        if self.stretches.len() <= stretch {
            self.stretches.resize_with(stretch + 1, || Stretch { values: Vec::new(), used: 0 });
        }
        let values = &mut self.stretches[stretch].values;
        if values.len() <= at {
            let before = values.capacity();
            if before <= at {
                values.reserve_exact((at + 1).next_power_of_two() - values.len());
            }
            values.resize_with(at + 1, T::default);
            self.room += values.capacity() - before;
        }
        &mut values[at]
    }

    /// A number for which there is room is in use from here on: to be said once.
    pub fn occupy(&mut self, number: u32) {
        self.stretches[number as usize / STRETCH].used += 1;
    }

    /// A number in use is so no more.
    pub fn vacate(&mut self, number: u32) {
        let stretch = &mut self.stretches[number as usize / STRETCH];
        stretch.used -= 1;
        if stretch.used == 0 {
            self.room -= stretch.values.capacity();
            stretch.values = Vec::new();
        }
    }

    /// The numbers for which there is room, with what they have.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let stretches = (0_u32..).step_by(STRETCH).zip(&self.stretches);
        stretches.flat_map(|(first, stretch)| (first..).zip(&stretch.values))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        let stretches = (0_u32..).step_by(STRETCH).zip(&mut self.stretches);
        stretches.flat_map(|(first, stretch)| (first..).zip(&mut stretch.values))
    }

    /// Bytes that this takes, but for what values have elsewhere.
    pub const fn bytes(&self) -> usize {
        self.room * size_of::<T>() + self.stretches.capacity() * size_of::<Stretch<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_out_of_use_take_no_room() {
        let mut sparse: Sparse<u64> = Sparse::default();
        let last = 100 * 1024 - 1;
        for number in 0..=last {
            *sparse.make(number) = u64::from(number);
            sparse.occupy(number);
        }
        assert!(sparse.iter().all(|(number, value)| u64::from(number) == *value));
        let full = sparse.bytes();
        assert!(full >= 100 * 1024 * size_of::<u64>());
        (0..last).for_each(|number| sparse.vacate(number));
        assert_eq!((sparse.get(0), sparse.get(last)), (None, Some(&u64::from(last))));
        assert_eq!(sparse.iter().count(), 1024);
        assert!(sparse.bytes() < full / 20);
        // And are there again when they are needed.
        *sparse.make(7) = 1;
        sparse.occupy(7);
        assert_eq!((sparse.get(6), sparse.get(7), sparse.get(8)), (Some(&0), Some(&1), None));
        sparse.vacate(7);
        sparse.vacate(last);
        assert_eq!(sparse.iter().count(), 0);
    }

    #[test]
    fn few_numbers_take_little() {
        let mut sparse: Sparse<[u64; 8]> = Sparse::default();
        sparse.make(2);
        assert!(sparse.bytes() <= 4 * size_of::<[u64; 8]>() + 4 * size_of::<Stretch<[u64; 8]>>());
        assert!(sparse.get_mut(1).is_some() && sparse.get_mut(3).is_none());
    }
}
