//! What comparisons write, delete and renew.

mod parts;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::*;
use crate::sink::Sink;
use crate::sink::encode::{KeyTemplate, Options};
use crate::sink::memory::{MemorySink, StoredHash};
use crate::state::saved::Deletion;

/// A card and its two features.
type Card<'a> = (Option<&'a str>, Option<i64>, Option<i64>);

const TTL: Duration = Duration::from_secs(60);

fn rows(cards: &[Card<'_>]) -> RecordBatch {
    let ids: StringArray = cards.iter().map(|card| card.0).collect();
    let a: Int64Array = cards.iter().map(|card| card.1).collect();
    let b: Int64Array = cards.iter().map(|card| card.2).collect();
    let columns: [(&str, ArrayRef, bool); 3] =
        [("id", Arc::new(ids), true), ("a", Arc::new(a), true), ("b", Arc::new(b), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn options() -> Options {
    Options {
        template: KeyTemplate::default(),
        entity: "card".to_owned(),
        view: "txn".to_owned(),
        key_columns: vec![0],
        ttl: TTL,
        null_text: None,
        changed_only: false,
    }
}

/// A shard's hashes, and the store that has them.
struct Setting {
    encoder: Arc<Encoder>,
    published: Published,
    sink: MemorySink,
    writes: Writes,
}

impl Setting {
    fn new() -> Self {
        Self::of(&options())
    }

    fn of(options: &Options) -> Self {
        let encoder = Encoder::try_new(options, &rows(&[]).schema()).unwrap();
        let (published, sink) = (Published::default(), MemorySink::default());
        Self { encoder, published, sink, writes: Writes::default() }
    }

    /// Compares all rows.
    fn compare(&mut self, cards: &[Card<'_>]) -> Changes {
        self.writes = Writes::default();
        let changes = self.published.compare(&self.encoder, &rows(cards), at(0), &mut self.writes).unwrap();
        self.published.delete_again(&self.encoder, at(0), &mut self.writes);
        self.sink.write(&self.writes).unwrap();
        changes
    }

    /// Compares all rows, of which so many at most are only written again.
    fn compare_some(&mut self, cards: &[Card<'_>], most_again: usize, wall_ms: i64) -> Changes {
        self.writes = Writes::default();
        let changes = self
            .published
            .compare_some(&self.encoder, &rows(cards), most_again, at(wall_ms), &mut self.writes)
            .unwrap();
        self.sink.write(&self.writes).unwrap();
        changes
    }

    /// Compares the rows of some entities.
    fn compare_touched(&mut self, cards: &[Card<'_>], touched: &[&str], wall_ms: i64) -> Changes {
        self.writes = Writes::default();
        let touched: Vec<Card<'_>> = touched.iter().map(|id| (Some(*id), None, None)).collect();
        let changes = self
            .published
            .compare_touched(&self.encoder, &rows(cards), &rows(&touched), at(wall_ms), &mut self.writes)
            .unwrap();
        self.published.delete_again(&self.encoder, at(wall_ms), &mut self.writes);
        self.sink.write(&self.writes).unwrap();
        changes
    }

    /// What the store has, but for times.
    fn stored(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let fields =
            |hash: StoredHash| hash.fields.into_iter().filter(|(name, _)| !name.starts_with('_')).collect();
        self.sink.store().hashes().into_iter().map(|(key, hash)| (key, fields(hash))).collect()
    }

    fn text(&self) -> String {
        String::from_utf8(self.writes.bytes.clone()).unwrap().replace("\r\n", " ")
    }
}

const fn wall(wall_ms: i64) -> EventTime {
    EventTime::from_millis(wall_ms)
}

fn at(wall_ms: i64) -> Moment {
    let (as_of, wall) = (EventTime::from_millis(5), wall(wall_ms));
    Moment { as_of, wall, ttl: TTL, mark: Mark::Never }
}

fn changes(written: u64, deleted: u64, touched: u64, keyless: u64) -> Changes {
    Changes { written, deleted, touched, keyless, ..Changes::default() }
}

#[test]
fn only_what_differs_is_written() {
    let mut setting = Setting::new();
    let (one, two) = ((Some("c1"), Some(1), None), (Some("c2"), Some(2), Some(3)));
    assert_eq!(setting.compare(&[one, two]), changes(2, 0, 0, 0));
    assert_eq!(setting.compare(&[two, one]), changes(0, 0, 0, 0));
    assert_eq!(setting.compare(&[one, (Some("c2"), Some(3), Some(2))]), changes(1, 0, 0, 0));
    assert_eq!(setting.compare(&[one]), changes(0, 1, 0, 0));
    setting.published.distrust();
    assert_eq!(setting.compare(&[one]), changes(1, 0, 0, 0));
    assert_eq!(setting.compare(&[one]), changes(0, 0, 0, 0));
    assert_eq!((setting.published.len(), setting.published.key_bytes), (1, 2));
}

#[test]
fn rows_without_a_key_and_second_rows_are_skipped() {
    let mut setting = Setting::new();
    let cards = [(Some("c1"), Some(1), None), (None, Some(1), None), (Some("c1"), Some(2), None)];
    let repeated = Changes { repeated: 1, repeated_row: Some(2), ..changes(1, 0, 0, 1) };
    assert_eq!(setting.compare(&cards), repeated);
    assert_eq!(setting.compare(&cards), Changes { written: 0, ..repeated });
    assert_eq!(setting.stored()["features:card:c1:txn"]["a"], "1");
}

#[test]
fn only_fields_that_were_written_are_removed() {
    let mut setting = Setting::new();
    setting.compare(&[(Some("c1"), Some(1), None)]);
    assert!(setting.text().contains("HDEL $20 features:card:c1:txn $1 b "), "{}", setting.text());
    setting.compare(&[(Some("c1"), Some(2), None)]);
    assert!(!setting.text().contains("HDEL"), "{}", setting.text());
    setting.compare(&[(Some("c1"), None, None)]);
    assert!(setting.text().contains("*3 $4 HDEL $20 features:card:c1:txn $1 a "), "{}", setting.text());
}

#[test]
fn what_was_adopted_is_written_once_and_deleted_when_gone() {
    let mut setting = Setting::new();
    let cards = [(Some("c1"), Some(1), None), (Some("c2"), Some(1), None), (None, None, None)];
    setting.published.adopt(&setting.encoder, &rows(&cards), EventTime::from_millis(0)).unwrap();
    setting.published.adopt(&setting.encoder, &rows(&cards), EventTime::from_millis(0)).unwrap();
    assert_eq!((setting.published.len(), setting.published.key_bytes), (2, 4));
    assert_eq!(setting.compare(&cards[..1]), changes(1, 1, 0, 0));
    assert!(setting.text().contains("DEL $20 features:card:c2:txn "), "{}", setting.text());
}

#[test]
fn touched_entities_without_a_row_are_deleted() {
    let mut setting = Setting::new();
    let (one, two, three) =
        ((Some("c1"), Some(1), None), (Some("c2"), Some(2), None), (Some("c3"), None, Some(3)));
    assert_eq!(setting.compare_touched(&[one, two, three], &["c1", "c2", "c3"], 0), changes(3, 0, 0, 0));
    assert_eq!(setting.compare_touched(&[one], &["c1"], 0), changes(0, 0, 0, 0));
    assert_eq!(setting.compare_touched(&[one], &["c2", "c1", "c4"], 0), changes(0, 1, 0, 0));
    assert_eq!(setting.compare_touched(&[], &["c3"], 0), changes(0, 1, 0, 0));
    assert_eq!(setting.published.len(), 1);
    // Two rows of one entity do not stand for another that has none.
    let repeated = Changes { repeated: 1, repeated_row: Some(1), ..changes(1, 1, 0, 0) };
    assert_eq!(setting.compare_touched(&[two, two], &["c1", "c2"], 0), repeated);
    assert_eq!(setting.stored().into_keys().collect::<Vec<_>>(), ["features:card:c2:txn"]);
}

#[test]
fn hashes_that_are_not_written_are_renewed() {
    let mut setting = Setting::new();
    let card = (Some("c1"), Some(1), None);
    setting.compare_touched(&[card], &["c1"], 0);
    assert_eq!(setting.compare_touched(&[card], &["c1"], 29_000), changes(0, 0, 0, 0));
    assert_eq!(setting.compare_touched(&[card], &["c1"], 45_000), changes(0, 0, 1, 0));
    assert!(setting.text().starts_with("*3 $7 PEXPIRE $20 features:card:c1:txn "), "{}", setting.text());
}

/// Whatever the rows do, the store has exactly them after each comparison.
#[test]
fn the_store_follows_the_rows() {
    let chance = |seed: [u32; 2], below: u64| {
        let bytes = seed.map(u32::to_le_bytes).concat();
        xxhash_rust::xxh3::xxh3_64(&bytes) % below
    };
    let mut setting = Setting::new();
    let ids: Vec<String> = (0..20).map(|id| format!("c{id}")).collect();
    for turn in 0..200_u32 {
        let mut cards: Vec<Card<'_>> = Vec::new();
        let mut expected = BTreeMap::new();
        for (id, number) in ids.iter().zip(0..) {
            let value = |column| {
                let value = chance([turn, number * 3 + column], 4);
                (value > 0).then(|| i64::try_from(value).unwrap())
            };
            if chance([turn, number * 3 + 2], 5) == 0 {
                continue;
            }
            let (a, b) = (value(0), value(1));
            cards.push((Some(id), a, b));
            let fields = [("a", a), ("b", b)];
            let fields =
                fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
            expected.insert(format!("features:card:{id}:txn"), fields.collect::<BTreeMap<_, _>>());
        }
        if turn % 2 == 0 {
            setting.compare(&cards);
        } else {
            let touched: Vec<&str> = ids.iter().map(String::as_str).collect();
            setting.compare_touched(&cards, &touched, 0);
        }
        assert_eq!(setting.stored(), expected, "turn {turn}");
    }
}

/// Of rows that are only written again those come first that were written last;
/// none is deleted for having to wait, and what changes does not wait.
#[test]
fn what_is_only_written_again_waits_for_its_turn() {
    let mut setting = Setting::new();
    let mut cards: Vec<Card<'_>> = vec![(Some("c1"), Some(1), None), (Some("c2"), Some(2), None)];
    cards.extend([(Some("c3"), Some(3), None), (Some("c4"), Some(4), None)]);
    for (written, wall_ms) in (1..=cards.len()).zip(1..) {
        assert_eq!(setting.compare_some(&cards[..written], 1, wall_ms), changes(1, 0, 0, 0));
    }
    let expected = setting.stored();
    setting.sink.store().lose_everything();
    setting.published.distrust();
    let mut ids = Vec::new();
    for waiting in [3, 2, 1] {
        assert_eq!(setting.compare_some(&cards, 1, 9), changes(1, 0, 0, 0));
        assert_eq!(setting.published.waiting(), waiting);
        ids.extend(setting.stored().into_keys().filter(|key| !ids.contains(key)).collect::<Vec<_>>());
    }
    assert_eq!(ids, ["features:card:c4:txn", "features:card:c3:txn", "features:card:c2:txn"]);
    cards[0].2 = Some(7);
    assert_eq!(setting.compare_some(&cards, 0, 9), changes(1, 0, 0, 0));
    assert_eq!((setting.published.waiting(), setting.stored().len()), (0, expected.len()));
}

#[test]
fn what_nobody_has_a_row_of_is_deleted() {
    let mut setting = Setting::new();
    let (one, two) = ((Some("c1"), Some(1), None), (Some("c2"), Some(2), None));
    setting.compare(&[one, two]);
    setting.published.distrust();
    assert_eq!(setting.compare_touched(&[one], &["c1"], 0), changes(1, 0, 0, 0));
    setting.writes = Writes::default();
    assert_eq!(setting.published.delete_doubtful(&setting.encoder, at(0), &mut setting.writes), 1);
    setting.sink.write(&setting.writes).unwrap();
    assert_eq!(setting.stored().into_keys().collect::<Vec<_>>(), ["features:card:c1:txn"]);
    assert_eq!(setting.published.len(), 1);
    assert_eq!(setting.published.delete_doubtful(&setting.encoder, at(0), &mut setting.writes), 0);
}

#[test]
fn what_a_store_that_went_back_has_again_is_deleted_once_more() {
    let mut setting = Setting::new();
    let (one, two) = ((Some("c1"), Some(1), None), (Some("c2"), Some(2), None));
    setting.compare_touched(&[one, two], &["c1", "c2"], 0);
    let before = setting.sink.store().snapshot();
    setting.compare_touched(&[], &["c2"], 0);
    let expected = setting.stored();
    for by_touched in [true, false] {
        setting.sink.store().go_back_to(before.clone());
        assert_ne!(setting.stored(), expected);
        setting.published.distrust_store();
        if by_touched {
            assert_eq!(setting.compare_touched(&[one], &["c1"], 0), changes(1, 0, 0, 0));
        } else {
            assert_eq!(setting.compare(&[one]), changes(1, 0, 0, 0));
        }
        assert_eq!(setting.stored(), expected);
        // Once is enough.
        setting.compare_touched(&[one], &["c1"], 0);
        assert_eq!(setting.text(), "");
    }
    // Who is there again is not deleted.
    setting.compare_touched(&[two], &["c2"], 0);
    setting.published.distrust_store();
    setting.compare_touched(&[one, two], &["c1", "c2"], 0);
    assert_eq!(setting.stored().len(), 2);
    // By then the hash has expired.
    setting.compare_touched(&[], &["c2"], 0);
    let past = i64::try_from(TTL.as_millis()).unwrap() + 1;
    setting.compare_touched(&[one], &["c1"], past);
    setting.published.distrust_store();
    setting.compare_touched(&[one], &["c1"], past);
    assert!(!setting.text().contains("$3 DEL"), "{}", setting.text());
}

#[test]
fn a_successor_deletes_what_was_deleted_before_it() {
    let mut setting = Setting::new();
    let (one, two) = ((Some("c1"), Some(1), None), (Some("c2"), Some(2), None));
    let three = (Some("c3"), Some(3), None);
    setting.compare_touched(&[one, two, three], &["c1", "c2", "c3"], 0);
    let before = setting.sink.store().snapshot();
    setting.compare_touched(&[], &["c2"], 0);
    let (first, number) = setting.published.deletions_since(0);
    setting.compare_touched(&[], &["c3"], 1);
    let expected = setting.stored();
    let (second, _) = setting.published.deletions_since(number);
    assert_eq!((first.len(), second.len()), (1, 1));
    setting.sink.store().go_back_to(before);

    setting.published = Published::default();
    setting.published.merge_deletions([first, second.clone(), second].concat());
    assert_eq!(setting.published.deletions_since(0).0.len(), 2);
    setting.published.adopt(&setting.encoder, &rows(&[one]), wall(2)).unwrap();
    setting.compare_touched(&[one], &["c1"], 2);
    assert_eq!(setting.stored(), expected);
    // One more has a row again when the next one begins, one had none when it looked.
    setting.compare_touched(&[two], &["c2"], 3);
    let (deletions, _) = setting.published.deletions_since(0);
    setting.published = Published::default();
    setting.published.merge_deletions(deletions);
    setting.published.adopt(&setting.encoder, &rows(&[two]), wall(4)).unwrap();
    let gone = rows(&[(Some("c1"), None, None), (Some("c2"), None, None)]);
    setting.published.note_gone(&setting.encoder, &gone, wall(4)).unwrap();
    setting.compare_touched(&[two], &["c2"], 4);
    assert_eq!(setting.stored().into_keys().collect::<Vec<_>>(), ["features:card:c2:txn"]);
}

#[test]
fn deletions_have_numbers() {
    let mut setting = Setting::new();
    for number in 0..deleted::MOST + 10 {
        setting.published.deleted.note(number.to_le_bytes().into(), wall(0));
    }
    let (all, next) = setting.published.deletions_since(0);
    assert_eq!(all.len(), deleted::MOST);
    assert_eq!(setting.published.deletions_since(next - 3).0, all[deleted::MOST - 3..]);
    assert_eq!(setting.published.deletions_since(next).0, []);
    // What others deleted has not been told of, wherever it stands.
    let older = Deletion { at: wall(-1), key: (*b"older").into() };
    let newer = Deletion { at: wall(1), key: (*b"newer").into() };
    setting.published.merge_deletions(vec![newer.clone(), older, newer.clone()]);
    let (told, _) = setting.published.deletions_since(next);
    assert_eq!((told.len(), told.last()), (deleted::MOST, Some(&newer)));
}

#[test]
fn so_many_deleted_hashes_are_remembered() {
    let mut deleted = deleted::Deleted::default();
    for number in 0..deleted::MOST + 10 {
        deleted.note(number.to_le_bytes().into(), EventTime::from_millis(0));
    }
    deleted.doubt();
    assert_eq!(deleted.once_more().count(), deleted::MOST);
    assert_eq!(deleted.once_more().count(), 0);
    deleted.doubt();
    assert_eq!(deleted.once_more().next(), Some(10_usize.to_le_bytes().as_slice()));
    deleted.forget_old(at(i64::try_from(TTL.as_millis()).unwrap() + 1));
    assert!(deleted.bytes() < 1 << 16, "{} bytes", deleted.bytes());
}

#[test]
fn little_is_kept_of_a_hash() {
    assert_eq!(size_of::<(Box<[u8]>, Hash)>(), 64);
}
