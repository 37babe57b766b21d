//! A pane against a list of all events, through batches, late events, dropped
//! tiles, lost partitions and clocks that go back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::state::kernel::Kernel;
use crate::state::saved::SavedTiles;

/// Keeps every event of every row: what is merged twice or not at all is seen.
#[derive(Debug)]
struct All {
    mode: Mode,
    rows: Vec<Vec<i64>>,
}

impl Kernel for All {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn resize(&mut self, rows: usize) {
        self.rows.resize(rows, Vec::new());
    }

    fn keep(&mut self, rows: &[Row]) {
        self.rows = rows.iter().map(|row| self.rows[*row as usize].clone()).collect();
    }

    fn clear(&mut self, rows: &[Row]) {
        rows.iter().for_each(|row| self.rows[*row as usize].clear());
    }

    fn update(&mut self, arguments: &[ArrayRef], _: Option<&BooleanArray>, rows: &[Row]) -> Result<()> {
        let values = arguments[0].as_primitive::<Int64Type>().values();
        for (value, row) in values.iter().zip(rows) {
            self.rows[*row as usize].push(*value);
        }
        Ok(())
    }

    fn merge(&mut self, pairs: &[Pair]) -> Result<()> {
        for Pair { into, from } in pairs {
            let from = self.rows[*from as usize].clone();
            self.rows[*into as usize].extend(from);
        }
        Ok(())
    }

    fn subtract(&mut self, pairs: &[Pair]) {
        for Pair { into, from } in pairs {
            for value in self.rows[*from as usize].clone() {
                let into = &mut self.rows[*into as usize];
                let at = into.iter().position(|known| *known == value).expect("it was merged before");
                into.swap_remove(at);
            }
        }
    }

    fn evaluate(&self, _: usize, rows: &[Row]) -> Result<ArrayRef> {
        let text = |row: &Row| {
            let mut values = self.rows[*row as usize].clone();
            values.sort_unstable();
            Some(format!("{values:?}"))
        };
        Ok(Arc::new(rows.iter().map(text).collect::<StringArray>()))
    }

    fn save(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let text = |row: &Row| {
            let values: Vec<String> = self.rows[*row as usize].iter().map(ToString::to_string).collect();
            Some(values.join(" "))
        };
        Ok(vec![Arc::new(rows.iter().map(text).collect::<StringArray>())])
    }

    fn load(&mut self, rows: &[Row], states: &[ArrayRef]) -> Result<()> {
        assert_eq!(states[0].len(), rows.len());
        for (row, text) in rows.iter().zip(states[0].as_string::<i32>().iter().flatten()) {
            let known = &mut self.rows[*row as usize];
            assert!(known.is_empty(), "there is something in the row already");
            known.extend(text.split_whitespace().map(|value| value.parse::<i64>().unwrap()));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

const GROUPS: u32 = 4;
const WINDOW: i64 = 40;

/// What happened: partition, group, tile, value.
type Events = Vec<(i32, Group, i64, i64)>;

fn add(pane: &mut Pane, part: i32, events: &[(Group, i64, i64)]) {
    let mut positions: BTreeMap<Group, usize> = BTreeMap::new();
    let mut groups = Vec::new();
    let mut of_events = Vec::new();
    for (group, _, _) in events {
        let position = *positions.entry(*group).or_insert_with(|| {
            groups.push(*group);
            groups.len() - 1
        });
        of_events.push(position);
    }
    let (rows, fresh) = pane.fresh(&of_events, groups.len(), events.iter().map(|(_, tile, _)| *tile));
    let values: ArrayRef = Arc::new(events.iter().map(|(_, _, value)| Some(*value)).collect::<Int64Array>());
    for kernel in 0..3 {
        pane.update(kernel, &[Arc::clone(&values)], None, &rows).unwrap();
    }
    pane.place(part, &fresh, &groups).unwrap();
}

fn check(pane: &mut Pane, events: &Events, inside: &Range<i64>, seed: u64) {
    let groups: Vec<Group> = (0..GROUPS).collect();
    let look = pane.look(&groups, inside).unwrap();
    let all: Vec<usize> = (0..groups.len()).collect();
    for kernel in 0..3 {
        let values = pane.values(&look, kernel, 0, &all).unwrap();
        for group in 0..GROUPS {
            let mut expected: Vec<i64> = events
                .iter()
                .filter(|(_, of, tile, _)| *of == group && inside.contains(tile))
                .map(|(_, _, _, value)| *value)
                .collect();
            expected.sort_unstable();
            let mode = pane.kernels.mode(kernel);
            let found = values.as_string::<i32>().value(group as usize);
            assert_eq!(found, format!("{expected:?}"), "{mode:?}, group {group}, {inside:?}, seed {seed}");
            assert_eq!(look.present[group as usize], !expected.is_empty());
        }
    }
    pane.close(look);
}

fn kernels() -> Vec<AnyKernel> {
    let kernel = |mode| AnyKernel::Own(Box::new(All { mode, rows: Vec::new() }));
    vec![kernel(Mode::Plain), kernel(Mode::Stack), kernel(Mode::Counted)]
}

/// By partition, all of it and then what changed.
type Chain = BTreeMap<i32, Vec<(Vec<Group>, SavedTiles)>>;

fn restored(chain: &Chain, open: bool) -> Pane {
    let mut pane = Pane::new(kernels(), open);
    for (part, saved) in chain {
        for (groups, tiles) in saved.iter().rev() {
            pane.load(*part, groups, tiles).unwrap();
        }
    }
    pane
}

fn run(seed: u64, open: bool) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut pane = Pane::new(kernels(), open);
    let mut chain = Chain::new();
    let mut events = Events::new();
    let (mut now, mut value) = (1000_i64, 0);
    for _ in 0..150 {
        now += random.random_range(0..4) * random.random_range(0..4);
        let part = random.random_range(0..2);
        let batch: Vec<(Group, i64, i64)> = (0..random.random_range(0..12))
            .map(|_| {
                let late = if random.random_ratio(1, 6) { random.random_range(0..WINDOW) } else { 0 };
                value += 1;
                (random.random_range(0..GROUPS), now - late - random.random_range(0..3), value)
            })
            .collect();
        add(&mut pane, part, &batch);
        events.extend(batch.iter().map(|(group, tile, value)| (part, *group, *tile, *value)));
        // Time that runs on in silence, and is turned back.
        let ahead = if random.random_ratio(1, 5) { random.random_range(0..2 * WINDOW) } else { 0 };
        let end = if open { i64::MAX } else { now + ahead - 5 };
        check(&mut pane, &events, &(now + ahead - WINDOW..end), seed);
        if random.random_ratio(1, 8) {
            for part in 0..2 {
                let saved = chain.entry(part).or_default();
                if random.random_ratio(1, 4) {
                    saved.clear();
                }
                saved.push(pane.save(part, saved.is_empty()).unwrap());
            }
            let mut other = restored(&chain, open);
            check(&mut other, &events, &(now + ahead - WINDOW..end), seed);
            if random.random_ratio(1, 2) {
                pane = other;
            }
        }
        if random.random_ratio(1, 3) {
            let floor = now - WINDOW - random.random_range(0..5);
            pane.drop_before(floor, &mut Vec::new()).unwrap();
            events.retain(|(_, _, tile, _)| *tile >= floor);
        }
        if random.random_ratio(1, 40) {
            pane.forget(part, &mut Vec::new());
            chain.remove(&part);
            events.retain(|(of, _, _, _)| *of != part);
        }
        if random.random_ratio(1, 20) {
            pane.renumber();
        }
    }
    let mut emptied = Vec::new();
    pane.drop_before(i64::MAX, &mut emptied).unwrap();
    assert_eq!(pane.used(), 0, "seed {seed}");
    assert!((0..GROUPS).all(|group| pane.is_free(group)));
}

#[test]
fn windows_have_every_event_inside_exactly_once() {
    for seed in 0..200 {
        run(seed, true);
    }
}

#[test]
fn windows_with_an_upper_edge_do_as_well() {
    for seed in 1000..1060 {
        run(seed, false);
    }
}

#[test]
fn a_long_window_is_a_few_rows() {
    let mut pane =
        Pane::new(vec![AnyKernel::Own(Box::new(All { mode: Mode::Stack, rows: Vec::new() }))], true);
    let mut most = 0;
    for tile in 0..1000 {
        let (rows, fresh) = pane.fresh(&[0], 1, std::iter::once(tile));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![tile]));
        pane.update(0, &[values], None, &rows).unwrap();
        pane.place(0, &fresh, &[0]).unwrap();
        let inside = tile - 300..i64::MAX;
        let look = pane.look(&[0], &inside).unwrap();
        pane.close(look);
        let cells = pane.parts[&0].cells.get(0).unwrap();
        let mut rows = 0;
        cells.rows(cells.inside(&inside, true), Mode::Stack, |_| rows += 1);
        most = most.max(rows);
        pane.drop_before(inside.start, &mut Vec::new()).unwrap();
    }
    assert!(most <= 8, "{most} rows");
}

#[test]
fn lists_of_work_are_counted_and_shrink_after_a_peak() {
    let mut pane = Pane::new(kernels(), true);
    let events: Vec<(Group, i64, i64)> = (0..50_000).map(|group| (group, 1, 1)).collect();
    add(&mut pane, 0, &events);
    // Of a tile that is there, each event is merged by every kernel, and its row given back.
    add(&mut pane, 0, &events);
    let (all, work) = (pane.bytes(), pane.work.bytes());
    assert!(work > 1 << 20, "{work} bytes");
    // The first time, the peak was but now.
    for _ in 0..2 {
        pane.drop_before(0, &mut Vec::new()).unwrap();
    }
    let left = pane.work.bytes();
    assert!(left < 1 << 18, "{left} bytes");
    assert_eq!(all - pane.bytes(), work - left);
    // Short lists keep their room.
    add(&mut pane, 0, &events[..100]);
    let before = pane.work.bytes();
    pane.drop_before(0, &mut Vec::new()).unwrap();
    pane.drop_before(0, &mut Vec::new()).unwrap();
    assert_eq!(pane.work.bytes(), before);
}

#[test]
fn groups_that_went_quiet_leave_no_room() {
    let mut pane = Pane::new(kernels(), true);
    add(&mut pane, 0, &[(0, 1, 1)]);
    let few = pane.bytes();
    let events: Vec<(Group, i64, i64)> = (0..100_000).map(|group| (group, 1, 1)).collect();
    add(&mut pane, 0, &events);
    // Others come in their place, with higher numbers.
    let events: Vec<(Group, i64, i64)> = (100_000..100_010).map(|group| (group, 9, 1)).collect();
    add(&mut pane, 0, &events);
    let many = pane.bytes();
    let mut emptied = Vec::new();
    for _ in 0..3 {
        pane.drop_before(5, &mut emptied).unwrap();
    }
    assert_eq!(emptied.len(), 100_000);
    let left = pane.bytes() - few;
    assert!(left * 20 < many, "{left} bytes of {many}");
}

#[test]
fn what_was_saved_otherwise_is_refused() {
    let mut pane = Pane::new(kernels(), true);
    add(&mut pane, 0, &[(0, 1, 10), (1, 2, 20), (1, 3, 30)]);
    let (groups, saved) = pane.save(0, true).unwrap();
    let refused = |saved: SavedTiles, open: bool| {
        let mut other = Pane::new(kernels(), open);
        assert!(other.load(0, &groups, &saved).is_err());
        assert_eq!(other.used(), 0);
    };
    refused(SavedTiles { numbers: vec![1, 3, 2], ..saved.clone() }, true);
    refused(SavedTiles { of: vec![0, 1, 2], ..saved.clone() }, true);
    refused(SavedTiles { of: vec![0, 0, 0], ..saved.clone() }, true);
    refused(SavedTiles { are_suffixes: vec![false, false, true], ..saved.clone() }, true);
    refused(SavedTiles { are_suffixes: vec![false, true, false], ..saved.clone() }, false);
    refused(SavedTiles { states: saved.states[..2].to_vec(), ..saved.clone() }, true);
    let mut short = saved.clone();
    short.states[2][0] = short.states[2][0].slice(0, 2);
    refused(short, true);
    // Nothing changed since.
    assert!(pane.save(0, false).unwrap().0.is_empty());
    add(&mut pane, 0, &[(1, 2, 40)]);
    assert_eq!(pane.save(0, false).unwrap().0, [1]);
}
