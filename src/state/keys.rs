//! Keys of one or several columns and their numbers. A key that is given up
//! leaves nothing behind; its number is used again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use datafusion::common::utils::normalize_float_zero;

use super::map::Map;
use super::sparse::Sparse;

/// The number of a key.
pub type Slot = u32;

/// Which key has which number.
#[derive(Debug)]
pub struct Keys {
    converter: RowConverter,

    slots: Map<Arc<[u8]>, Slot>,
    keys: Sparse<Option<Arc<[u8]>>>,
    /// Numbers out of use. The lowest is taken first: high ones go out of use for good.
    /// Every other number below the highest that was ever in use is in use.
    free: BinaryHeap<Reverse<Slot>>,
    key_bytes: usize,
}

impl Keys {
    /// No keys yet, of columns with these types.
    ///
    /// # Errors
    /// When a type cannot be compared.
    pub fn try_new<'a>(columns: impl IntoIterator<Item = &'a DataType>) -> Result<Self, ArrowError> {
        let fields = columns.into_iter().map(|column| SortField::new(column.clone()));
        let converter = RowConverter::new(fields.collect())?;
        let (slots, keys, free) = (Map::default(), Sparse::default(), BinaryHeap::new());
        Ok(Self { converter, slots, keys, free, key_bytes: 0 })
    }

    /// The numbers of keys; new ones get one.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn intern(&mut self, columns: &[ArrayRef]) -> Result<Vec<Slot>, ArrowError> {
        let rows = self.converter.convert_columns(&plain_zeros(columns))?;
        let mut slots = Vec::with_capacity(rows.num_rows());
        for row in &rows {
            let key: &[u8] = row.as_ref();
            if let Some(slot) = self.slots.get(key) {
                slots.push(*slot);
                continue;
            }
            let key: Arc<[u8]> = key.into();
            self.key_bytes += key.len();
            // Where none is free, they are all in use.
            let slot = self.free.pop().map(|Reverse(slot)| slot);
            let slot = slot.unwrap_or_else(|| Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX));
            *self.keys.make(slot) = Some(Arc::clone(&key));
            self.keys.occupy(slot);
            self.slots.insert(key, slot);
            slots.push(slot);
        }
        Ok(slots)
    }

    /// The numbers of keys that are known.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn find(&self, columns: &[ArrayRef]) -> Result<Vec<Option<Slot>>, ArrowError> {
        let rows = self.converter.convert_columns(&plain_zeros(columns))?;
        Ok(rows.iter().map(|row| self.slots.get(AsRef::<[u8]>::as_ref(&row)).copied()).collect())
    }

    /// The keys, column by column.
    ///
    /// # Errors
    /// Only of our own making.
    pub fn columns(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>, ArrowError> {
        let parser = self.converter.parser();
        let rows = slots.iter().filter_map(|slot| self.keys.get(*slot)?.as_deref());
        self.converter.convert_rows(rows.map(|key| parser.parse(key)))
    }

    /// Gives a key up.
    pub fn remove(&mut self, slot: Slot) {
        if let Some(key) = self.keys.get_mut(slot).and_then(Option::take) {
            self.keys.vacate(slot);
            self.key_bytes -= key.len();
            self.slots.remove(&key);
            self.free.push(Reverse(slot));
            self.slots.shrink();
            if self.slots.is_empty() {
                self.free = BinaryHeap::new();
            }
        }
    }

    /// Whether a number is in use.
    pub fn is_known(&self, slot: Slot) -> bool {
        self.keys.get(slot).is_some_and(Option::is_some)
    }

    /// Every number in use.
    pub fn all(&self) -> impl Iterator<Item = Slot> {
        self.slots.values().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes that this takes.
    pub fn bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        self.slots.bytes()
            + self.keys.bytes()
            + self.free.capacity() * size_of::<Slot>()
            + self.slots.len() * COUNTS
            + self.key_bytes
    }
}

/// Zero and minus zero are one key, as they are one group to DataFusion.
fn plain_zeros(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    columns.iter().map(normalize_float_zero).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Float32Array, Float64Array, Int32Array, StringViewArray};
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Float64Type, Schema};
    use datafusion::logical_expr::EmitTo;
    use datafusion::physical_plan::aggregates::group_values::new_group_values;
    use datafusion::physical_plan::aggregates::order::GroupOrdering;

    use super::*;

    /// The numbers of keys are those of the groups that DataFusion finds, and the keys are theirs.
    #[track_caller]
    fn check(columns: &[ArrayRef], expected: &[Slot]) {
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let fields: Vec<Field> =
            types.iter().map(|of_column| Field::new("key", of_column.clone(), true)).collect();
        let mut groups = new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None).unwrap();
        let mut of_rows = Vec::new();
        groups.intern(columns, &mut of_rows).unwrap();
        let of_rows: Vec<Slot> = of_rows.into_iter().map(|group| Slot::try_from(group).unwrap()).collect();
        assert_eq!(of_rows, expected, "what DataFusion does");

        let mut keys = Keys::try_new(&types).unwrap();
        assert_eq!(keys.intern(columns).unwrap(), expected);
        let found: Vec<Option<Slot>> = expected.iter().copied().map(Some).collect();
        assert_eq!(keys.find(columns).unwrap(), found);
        let slots: Vec<Slot> = (0..Slot::try_from(keys.len()).unwrap()).collect();
        assert_eq!(keys.columns(&slots).unwrap(), groups.emit(EmitTo::All).unwrap());
    }

    #[test]
    fn floats_are_the_groups_of_datafusion() {
        let values = [0.0, -0.0, 1.0, -1.0, f64::NAN, -f64::NAN, f64::NAN];
        let expected = [0, 0, 1, 2, 3, 4, 3];
        let doubles: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        check(&[Arc::clone(&doubles)], &expected);
        check(&[cast(&doubles.slice(0, 4), &DataType::Float16).unwrap()], &expected[..4]);
        let singles: ArrayRef = Arc::new(Float32Array::from(vec![Some(-0.0), None, Some(0.0), None]));
        check(&[Arc::clone(&singles)], &[0, 1, 0, 1]);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 1, 1, 2]));
        check(&[numbers, singles], &[0, 1, 0, 2]);
        // The key is the plain zero, whichever came first.
        let mut keys = Keys::try_new([&DataType::Float64]).unwrap();
        let minus: ArrayRef = Arc::new(Float64Array::from(vec![-0.0]));
        assert_eq!(keys.intern(&[minus]).unwrap(), [0]);
        let zero = keys.columns(&[0]).unwrap().swap_remove(0);
        assert_eq!(zero.as_primitive::<Float64Type>().value(0).to_bits(), 0);
    }

    #[test]
    fn numbers_are_used_again() {
        let mut entities = Keys::try_new([&DataType::Utf8View]).unwrap();
        let keys = |keys: &[&str]| -> [ArrayRef; 1] { [Arc::new(StringViewArray::from(keys.to_vec()))] };
        assert_eq!(entities.intern(&keys(&["a", "b", "a"])).unwrap(), [0, 1, 0]);
        entities.remove(0);
        assert_eq!(entities.find(&keys(&["a", "b"])).unwrap(), [None, Some(1)]);
        assert_eq!(entities.intern(&keys(&["c", "d"])).unwrap(), [0, 2]);
        let columns = entities.columns(&[2, 0]).unwrap();
        assert_eq!(columns[0].as_string_view().iter().flatten().collect::<Vec<_>>(), ["d", "c"]);
        assert_eq!(entities.len(), 3);
    }
}
