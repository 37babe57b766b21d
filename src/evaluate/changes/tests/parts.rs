//! Fields that did not change are left out, and nobody can tell.

use arrow::array::{BooleanArray, Float64Array};
use proptest::prelude::*;

use super::*;

/// Enough features for a second word of bits.
const COUNTS: usize = 64;

/// The features of a card: few values, so that some stay as they are.
#[derive(Debug, Clone)]
struct Features {
    counts: Vec<Option<i64>>,
    share: Option<f64>,
    flag: Option<bool>,
    text: Option<String>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A card has these features now, or none.
    Set(usize, Option<Features>),
    /// The store loses a card's hash.
    Evict(usize),
    /// The store is not trusted any more.
    Distrust,
}

fn features() -> impl Strategy<Value = Features> {
    let count = prop::option::weighted(0.8, 0_i64..2);
    let share = prop::option::of(prop::sample::select(vec![0.0, -0.0, 0.1, f64::NAN]));
    let text = prop::option::of(prop::sample::select(["", "a", "b"].map(str::to_owned).to_vec()));
    (prop::collection::vec(count, COUNTS), share, any::<Option<bool>>(), text)
        .prop_map(|(counts, share, flag, text)| Features { counts, share, flag, text })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..4_usize, prop::option::weighted(0.9, features())).prop_map(|(card, features)| Step::Set(card, features)),
        2 => (0..4_usize).prop_map(Step::Evict),
        1 => Just(Step::Distrust),
    ]
}

fn batch(cards: &BTreeMap<usize, Features>) -> RecordBatch {
    let of = |index: usize| cards.values().map(|card| card.counts[index]).collect::<Int64Array>();
    let names: Vec<String> = (0..COUNTS).map(|index| format!("n{index}")).collect();
    let ids: StringArray = cards.keys().map(|card| Some(format!("c{card}"))).collect();
    let share: Float64Array = cards.values().map(|card| card.share).collect();
    let flag: BooleanArray = cards.values().map(|card| card.flag).collect();
    let text: StringArray = cards.values().map(|card| card.text.clone()).collect();
    // The key stands among the features.
    let mut columns: Vec<(&str, ArrayRef, bool)> =
        vec![("flag", Arc::new(flag), true), ("id", Arc::new(ids), true)];
    columns.extend(
        names.iter().enumerate().map(|(index, name)| (name.as_str(), Arc::new(of(index)) as ArrayRef, true)),
    );
    columns.extend([("share", Arc::new(share) as ArrayRef, true), ("text", Arc::new(text), true)]);
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn encoder(null_text: Option<String>, changed_only: bool) -> Arc<Encoder> {
    let options = Options { key_columns: vec![1], null_text, changed_only, ..options() };
    Encoder::try_new(&options, &batch(&BTreeMap::new()).schema()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hashes_are_as_if_every_field_was_written(
        steps in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..12),
        has_null_text in any::<bool>(),
    ) {
        let null_text = has_null_text.then(|| "null".to_owned());
        let (parts, all) = (encoder(null_text.clone(), true), encoder(null_text, false));
        let (mut published, mut sink) = (Published::default(), MemorySink::default());
        let mut cards: BTreeMap<usize, Features> = BTreeMap::new();
        for together in steps {
            let mut evicted = Vec::new();
            for step in together {
                match step {
                    Step::Set(card, Some(features)) => drop(cards.insert(card, features)),
                    Step::Set(card, None) => drop(cards.remove(&card)),
                    Step::Evict(card) => evicted.push(format!("features:card:c{card}:txn")),
                    Step::Distrust => published.distrust(),
                }
            }
            evicted.iter().for_each(|key| sink.store().evict(key));
            let mut writes = Writes::default();
            let rows = batch(&cards);
            published.compare(&parts, &rows, at(0), &mut writes).unwrap();
            sink.write(&writes).unwrap();

            let mut expected = MemorySink::default();
            let mut whole = Writes::default();
            Published::default().compare(&all, &rows, at(0), &mut whole).unwrap();
            expected.write(&whole).unwrap();
            let (found, mut expected) = (sink.store().hashes(), expected.store().hashes());
            // Those that were lost and did not change come back when they do.
            for key in evicted.iter().filter(|key| !sink.store().hashes().contains_key(*key)) {
                expected.remove(key);
            }
            prop_assert_eq!(&found, &expected);
            // From here on they are there again, as Redis has them after their next change.
            for key in evicted {
                if !found.contains_key(&key) {
                    let card: usize = key["features:card:c".len()..][..1].parse().unwrap();
                    cards.remove(&card);
                }
            }
        }
    }
}

#[test]
fn what_did_not_change_is_left_out() {
    let mut setting = Setting::of(&Options { changed_only: true, ..options() });
    setting.compare(&[(Some("c1"), Some(1), Some(2))]);
    assert!(setting.writes.behind.is_empty());
    setting.compare(&[(Some("c1"), Some(1), Some(3))]);
    assert_eq!(
        setting.text(),
        "*8 $4 HSET $20 features:card:c1:txn $1 b $1 3 $6 _as_of $1 5 $12 _computed_at $1 0 \
         *3 $7 PEXPIRE $20 features:card:c1:txn $5 60000 "
    );
    setting.compare(&[(Some("c1"), Some(1), None)]);
    assert!(
        setting.text().starts_with("*6 $4 HSET $20 features:card:c1:txn $6 _as_of"),
        "{}",
        setting.text()
    );
    assert!(setting.text().contains("*3 $4 HDEL $20 features:card:c1:txn $1 b "), "{}", setting.text());
    setting.compare(&[(Some("c1"), Some(1), Some(4))]);
    assert_eq!(setting.writes.entries[0].part.map(|part| part.added), Some(1));
    // A hash that is gone is noticed as soon as a field of it changes.
    setting.sink.store().evict("features:card:c1:txn");
    setting.compare(&[(Some("c1"), Some(1), Some(5))]);
    assert!(!setting.text().contains("$1 a"), "{}", setting.text());
    let expected = [("a", "1"), ("b", "5")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(setting.stored()["features:card:c1:txn"], BTreeMap::from(expected));
    // The same as a whole, which is what a sink writes that has to repeat it.
    let whole = setting.writes.all_whole().unwrap();
    let text = String::from_utf8(whole.bytes.clone()).unwrap().replace("\r\n", " ");
    assert!(text.starts_with("*10 $4 HSET $20 features:card:c1:txn $1 a $1 1 $1 b $1 5 $6 _as_of"), "{text}");
    assert_eq!((whole.entries.len(), whole.entries[0].part), (1, None));
}
