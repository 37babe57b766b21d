//! Digests: equal for equal features, and for no others.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, NullArray, RecordBatch,
    StringArray, StringViewArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;

use super::{batch, options};
use crate::sink::encode::{Digest, Encoder};

/// The digests of rows, of which the first column is the key.
fn digests(rows: &RecordBatch) -> Vec<Digest> {
    let encoder = Encoder::try_new(&options(&[0]), &rows.schema()).unwrap();
    let mut bound = encoder.bind(rows).unwrap();
    (0..rows.num_rows()).map(|row| bound.digest(row)).collect()
}

fn of(columns: Vec<ArrayRef>) -> Vec<Digest> {
    let names: Vec<String> = (0..columns.len()).map(|index| format!("f{index}")).collect();
    let rows = i32::try_from(columns[0].len()).unwrap();
    let mut all = vec![("id", Arc::new(Int32Array::from_iter_values(0..rows)) as ArrayRef)];
    all.extend(names.iter().map(String::as_str).zip(columns));
    digests(&batch(all))
}

#[track_caller]
fn assert_distinct(digests: &[Digest]) {
    for (index, digest) in digests.iter().enumerate() {
        for (other, before) in digests[..index].iter().enumerate() {
            assert_ne!(digest, before, "rows {index} and {other}");
        }
    }
}

/// One value in the first row, another in the second, NULL in the third.
fn kinds() -> Vec<ArrayRef> {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![]), None]);
    vec![
        Arc::new(BooleanArray::from(vec![Some(false), Some(true), None])),
        Arc::new(Int8Array::from(vec![Some(0), Some(1), None])),
        Arc::new(Int16Array::from(vec![Some(0), Some(-1), None])),
        Arc::new(Int32Array::from(vec![Some(7), Some(1 << 30), None])),
        Arc::new(Int64Array::from(vec![Some(0), Some(1 << 62), None])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(0), None])),
        Arc::new(Float32Array::from(vec![Some(0.0), Some(-0.0), None])),
        Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), Some(0.3), None])),
        Arc::new(Decimal128Array::from(vec![Some(1), Some(1 << 100), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000), Some(2_000), None])),
        Arc::new(Date32Array::from(vec![Some(0), Some(1), None])),
        Arc::new(StringArray::from(vec![Some(""), Some("a"), None])),
        Arc::new(StringViewArray::from(vec![Some("longer than a view has room for"), Some("b"), None])),
        Arc::new(BinaryArray::from(vec![Some(b"".as_slice()), Some(b"\0".as_slice()), None])),
        Arc::new([Some("x"), Some("y"), None].into_iter().collect::<DictionaryArray<Int32Type>>()),
        Arc::new(list),
    ]
}

/// Takes the rows of an array in another order.
fn take(array: &ArrayRef, rows: &[usize]) -> ArrayRef {
    let slices: Vec<ArrayRef> = rows.iter().map(|row| array.slice(*row, 1)).collect();
    let slices: Vec<&dyn Array> = slices.iter().map(|slice| slice.as_ref()).collect();
    arrow::compute::concat(&slices).unwrap()
}

#[test]
fn any_one_value_makes_a_difference() {
    let kinds = kinds();
    let rows = 1 + 2 * kinds.len();
    let columns = kinds.iter().enumerate().map(|(column, kind)| {
        let mut chosen = vec![0; rows];
        (chosen[1 + 2 * column], chosen[2 + 2 * column]) = (1, 2);
        take(kind, &chosen)
    });
    let digests = of(columns.collect());
    assert_eq!(digests.len(), rows);
    assert_distinct(&digests);
}

#[test]
fn equal_rows_are_equal_wherever_they_stand() {
    let rows: Vec<usize> = (0..200).map(|row| row % 3).collect();
    let kinds = kinds();
    let mut names = vec!["id".to_owned()];
    names.extend((0..kinds.len()).map(|index| format!("f{index}")));
    let mut all = vec![Arc::new(Int32Array::from(vec![1; 200])) as ArrayRef];
    all.extend(kinds.iter().map(|kind| take(kind, &rows)));
    let all = batch(names.iter().map(String::as_str).zip(all).collect());
    let encoder = Encoder::try_new(&options(&[0]), &all.schema()).unwrap();
    let mut bound = encoder.bind(&all).unwrap();
    let expected = [bound.digest(0), bound.digest(1), bound.digest(2)];
    assert_distinct(&expected);
    // Back and forth between blocks, and from rows that begin within a byte of NULL bits.
    for row in (0..200).map(|row| row * 77 % 200) {
        assert_eq!(bound.digest(row), expected[row % 3], "{row}");
    }
    for start in [1, 3, 63, 64, 65, 130, 199] {
        let rest = all.slice(start, 200 - start);
        let mut bound = encoder.bind(&rest).unwrap();
        for row in 0..rest.num_rows() {
            assert_eq!(bound.digest(row), expected[(start + row) % 3], "{row} from {start}");
        }
    }
}

#[test]
fn neighbours_are_kept_apart() {
    let texts = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    assert_distinct(&of(vec![
        texts(vec![Some("ab"), Some("a"), Some("abc"), Some(""), None, Some("abc"), Some("c"), None]),
        texts(vec![Some("c"), Some("bc"), Some(""), Some("abc"), Some("abc"), None, Some("ab"), None]),
    ]));
    let numbers = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    assert_distinct(&of(vec![
        numbers(vec![Some(0), Some(1), Some(0), None, Some(0), None, Some(256)]),
        numbers(vec![Some(0), Some(0), Some(1), Some(0), None, None, Some(0)]),
    ]));
    let columns = (0..10).map(|column| numbers((0..10).map(|row| (row != column).then_some(0)).collect()));
    assert_distinct(&of(columns.collect()));
}

#[test]
fn values_of_one_text_are_one() {
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let digests = of(vec![Arc::new(Float64Array::from(vec![f64::NAN, -f64::NAN, other_nan, 1.0]))]);
    assert_eq!((digests[0], digests[0]), (digests[1], digests[2]));
    assert_ne!(digests[0], digests[3]);
    let digests = of(vec![Arc::new(TimestampMicrosecondArray::from(vec![1_000, 1_999, 2_000]))]);
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
    let digests = of(vec![Arc::new(Float64Array::from(vec![0.0, -0.0]))]);
    assert_ne!(digests[0], digests[1]);
    // What stands behind NULL is no part of the row.
    let hidden = Int64Array::new(vec![1, 2].into(), Some(vec![false, false].into()));
    let digests = of(vec![Arc::new(hidden), Arc::new(NullArray::new(2))]);
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn digests_say_which_features_are_null() {
    let number = |value: Option<i64>| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
    // All of 70 features are NULL but these.
    let feature = |feature: usize| number(matches!(feature, 3 | 5 | 69).then_some(1));
    let digest = of((0..70).map(feature).collect())[0];
    let may_have_value: Vec<usize> = (0..70).filter(|feature| digest.may_have_value(*feature)).collect();
    // Feature 69 shares its bit with feature 5, and feature 67 with feature 3.
    assert_eq!(may_have_value, [3, 5, 67, 69]);
    let digest = of((0..70).map(|feature| number((feature == 66).then_some(1))).collect())[0];
    let may_have_value: Vec<usize> = (0..70).filter(|feature| digest.may_have_value(*feature)).collect();
    assert_eq!(may_have_value, [2, 66]);
    // A key column, and what is beyond the last one, has no say.
    let digest = of(vec![number(None)])[0];
    assert!((0..64).all(|feature| !digest.may_have_value(feature)));
}
