//! Tiles of a partition saved, and taken in again. Rows `back` are not saved:
//! they are put together from the tiles.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter;
use datafusion::common::{Result, internal_err};

use super::cells::Cells;
use super::{Group, Pane};
use crate::state::kernel::Row;
use crate::state::saved::SavedTiles;

impl Pane {
    /// The tiles of a partition, and whose they are: of all groups, or of those
    /// that changed since this was asked last. Tiles that were dropped are no change.
    ///
    /// # Errors
    /// What DataFusion says.
    pub fn save(&mut self, part: i32, all: bool) -> Result<(Vec<Group>, SavedTiles)> {
        let mut groups = Vec::new();
        let mut saved = SavedTiles::default();
        let mut rows: Vec<Row> = Vec::new();
        if let Some(part) = self.parts.get_mut(&part) {
            for (group, cells) in part.cells.iter_mut() {
                let changed = cells.take_changed();
                if cells.is_empty() || !(all || changed) {
                    continue;
                }
                let position = u32::try_from(groups.len()).unwrap_or(u32::MAX);
                groups.push(group);
                cells.save(|number, row, is_suffix| {
                    saved.of.push(position);
                    saved.numbers.push(number);
                    saved.are_suffixes.push(is_suffix);
                    rows.push(row);
                });
            }
        }
        saved.states = self.kernels.save(&rows)?;
        Ok((groups, saved))
    }

    /// Takes in what [`Pane::save`] gave, but for groups that have tiles of the
    /// partition. `groups` has the number of each group.
    ///
    /// # Errors
    /// When it is not of this pane. Nothing is taken in then.
    pub fn load(&mut self, part: i32, groups: &[Group], saved: &SavedTiles) -> Result<()> {
        let Some(extents) = extents(saved, groups.len(), self.open) else {
            return internal_err!("{} tiles were saved in no order", saved.numbers.len());
        };
        if saved.states.len() != self.kernels.count() {
            return internal_err!("{} kernels, and {} were saved", self.kernels.count(), saved.states.len());
        }
        let known = self.parts.get(&part);
        let is_new =
            |group: &Group| known.is_none_or(|part| part.cells.get(*group).is_none_or(Cells::is_empty));
        let wanted: Vec<bool> = groups.iter().map(is_new).collect();
        let mask: BooleanArray = saved.of.iter().map(|of| Some(wanted[*of as usize])).collect();
        let rows: Vec<Row> = (0..mask.true_count()).map(|_| self.rows.take()).collect();
        self.make_room();
        for (kernel, states) in saved.states.iter().enumerate() {
            let loaded = chosen(states, &mask).and_then(|states| self.kernels.load(kernel, &rows, &states));
            if let Err(error) = loaded {
                self.work.free.extend(rows);
                self.give_back();
                return Err(error);
            }
        }
        let part = self.parts.entry(part).or_default();
        let mut rows = rows.into_iter();
        let mut new = Vec::with_capacity(rows.len());
        for ((group, wanted), (tiles, suffixes)) in groups.iter().zip(wanted).zip(extents) {
            if !wanted {
                continue;
            }
            new.extend(saved.numbers[tiles.clone()].iter().map(|number| (*number, *group)));
            let tiles = saved.numbers[tiles].iter().copied().zip(rows.by_ref());
            let cells = Cells::load(tiles, suffixes, self.open, &mut self.rows, &mut self.work);
            part.room += cells.bytes();
            let place = part.cells.make(*group);
            part.room -= place.bytes();
            *place = cells;
            part.cells.occupy(*group);
        }
        part.index.insert(new);
        self.do_work()
    }
}

/// The tiles of each group, and how many of them are suffixes; `None` when they are in no order.
fn extents(saved: &SavedTiles, groups: usize, open: bool) -> Option<Vec<(std::ops::Range<usize>, usize)>> {
    let tiles = saved.of.len();
    if saved.numbers.len() != tiles || saved.are_suffixes.len() != tiles {
        return None;
    }
    let mut found = Vec::with_capacity(groups);
    let mut begin = 0;
    for of_group in saved.of.chunk_by(|one, other| one == other) {
        let tiles = begin..begin + of_group.len();
        let are_suffixes = &saved.are_suffixes[tiles.clone()];
        let suffixes = are_suffixes.iter().take_while(|is_suffix| **is_suffix).count();
        let in_order = usize::try_from(of_group[0]) == Ok(found.len())
            && saved.numbers[tiles.clone()].is_sorted_by(|one, other| one < other)
            && !are_suffixes[suffixes..].contains(&true)
            // What a suffix goes on to is there.
            && suffixes < of_group.len()
            && (open || suffixes == 0);
        if !in_order {
            return None;
        }
        begin = tiles.end;
        found.push((tiles, suffixes));
    }
    (found.len() == groups).then_some(found)
}

fn chosen(states: &[ArrayRef], mask: &BooleanArray) -> Result<Vec<ArrayRef>> {
    let filtered = |column: &ArrayRef| -> Result<ArrayRef> {
        if column.len() != mask.len() {
            return internal_err!("{} tiles were saved with {} states", mask.len(), column.len());
        }
        Ok(if mask.false_count() == 0 { column.clone() } else { filter(column, mask)? })
    };
    states.iter().map(filtered).collect()
}
