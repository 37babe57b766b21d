//! Events by entity: put in, found, dropped.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::decode::reader::OFFSET;

/// Events with these offsets, each with a text that no view can hold itself.
fn events(offsets: Range<i64>) -> RecordBatch {
    let texts = offsets.clone().map(|offset| Some(format!("the text of the event with offset {offset}")));
    let texts: ArrayRef = Arc::new(texts.collect::<StringViewArray>());
    let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(offsets));
    RecordBatch::try_from_iter([(OFFSET, offsets), ("text", texts)]).unwrap()
}

/// Puts events in, of entities 0, 1 and 2 in turn; ten of them are in a stretch.
fn append(rows: &mut Rows, partition: i32, offsets: Range<i64>) {
    let owners: Vec<Slot> = offsets.clone().map(|offset| Slot::try_from(offset % 3).unwrap()).collect();
    let stretches: Vec<i64> = offsets.clone().map(|offset| offset / 10).collect();
    rows.append(partition, &events(offsets), &owners, &stretches).unwrap();
}

/// The offsets of entities' events, and whether each event still has its text.
#[track_caller]
fn check(rows: &Rows, slots: &[Slot], expected: &[i64]) {
    let mut found = Vec::new();
    for batch in rows.gather(slots).unwrap() {
        let offsets = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        for (offset, text) in offsets.iter().zip(batch.column(1).as_string_view()) {
            assert_eq!(text, Some(format!("the text of the event with offset {offset}").as_str()));
        }
        found.extend(offsets);
    }
    assert_eq!(found, expected);
}

#[test]
fn an_entity_has_its_events_in_the_order_of_the_log() {
    let mut rows = Rows::default();
    append(&mut rows, 1, 100..104);
    append(&mut rows, 0, 0..4);
    append(&mut rows, 0, 4..20);
    append(&mut rows, 0, 20..22);
    check(&rows, &[0], &[0, 3, 6, 9, 12, 15, 18, 21, 102]);
    check(&rows, &[2, 1], &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 100, 101, 103]);
    check(&rows, &[7], &[]);
    assert_eq!(rows.len(), 26);
}

#[test]
fn small_chunks_are_merged_and_sparse_ones_copied() {
    let mut rows = Rows::default();
    for start in (0..900).step_by(9) {
        append(&mut rows, 0, start..start + 9);
    }
    assert!(rows.parts[&0].chunks.len() < 12);
    let (bytes, mut emptied) = (rows.bytes(), Vec::new());
    rows.drop_before(80, &mut emptied).unwrap();
    assert_eq!((rows.len(), emptied.len()), (100, 0));
    assert!(rows.bytes() < bytes / 2, "{} of {bytes}", rows.bytes());
    check(&rows, &[0], &(801..900).step_by(3).collect::<Vec<_>>());
    append(&mut rows, 0, 900..901);
    check(&rows, &[0], &(801..901).step_by(3).collect::<Vec<_>>());
}

#[test]
fn what_leaves_is_found_by_its_stretch() {
    let mut rows = Rows::default();
    append(&mut rows, 0, 0..2);
    append(&mut rows, 0, 12..13);
    let mut found = Vec::new();
    rows.find(&(0..1), &mut found);
    assert_eq!(found, [0, 1]);
    found.clear();
    rows.find(&(1..9), &mut found);
    assert_eq!(found, [0]);
    let mut emptied = Vec::new();
    rows.drop_before(1, &mut emptied).unwrap();
    assert_eq!(emptied, [1]);
    assert!(rows.is_free(1) && !rows.is_free(0));
    check(&rows, &[0, 1], &[12]);
    rows.drop_before(2, &mut emptied).unwrap();
    assert_eq!((rows.len(), rows.parts[&0].chunks.len()), (0, 0));
    assert_eq!((rows.parts[&0].room, rows.parts[&0].index_room), (0, 0));
}

#[test]
fn a_partition_is_given_up() {
    let mut rows = Rows::default();
    append(&mut rows, 0, 0..1);
    append(&mut rows, 1, 0..3);
    let mut lost = Vec::new();
    rows.forget(1, &mut lost);
    assert_eq!(lost, [0, 1, 2]);
    assert!(rows.is_free(1) && !rows.is_free(0));
    check(&rows, &[0, 1, 2], &[0]);
}
