//! Text, 16 bytes an entry: up to 15 bytes of it stand in the entry itself, which an IPv4 address
//! or a code needs; longer ones have an allocation of their own, which the next one of the same
//! length takes over.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, GenericStringArray, LargeStringArray, OffsetSizeTrait,
    StringArray, StringViewArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::foreign;
use super::values::{Places, Values};
use crate::state::column::Column as Kept;

/// The text and, in the last byte, its length; or [`LONG`] there and the number of a long text.
type Head = [u8; 16];

/// Where the length is, and how much text fits before it.
const LENGTH: usize = 15;

/// Says that a head has the number of a long text.
const LONG: u8 = u8::MAX;

/// A text for each entry.
#[derive(Debug)]
pub struct Texts {
    data_type: DataType,

    heads: Kept<Head>,
    long: Vec<Box<[u8]>>,
    /// Numbers of long texts that nobody has.
    free: Vec<u32>,
    /// Bytes of the long texts.
    long_bytes: usize,
}

/// A column of text, of whichever layout.
#[derive(Debug)]
pub enum Column {
    /// `Utf8`
    Small(StringArray),
    /// `LargeUtf8`
    Large(LargeStringArray),
    /// `Utf8View`
    View(StringViewArray),
}

impl Column {
    fn value(&self, index: usize) -> &[u8] {
        let text = match self {
            Self::Small(column) => column.value(index),
            Self::Large(column) => column.value(index),
            Self::View(column) => column.value(index),
        };
        text.as_bytes()
    }
}

impl Texts {
    /// None yet.
    pub fn new(data_type: &DataType) -> Self {
        let data_type = data_type.clone();
        Self { data_type, heads: Kept::default(), long: Vec::new(), free: Vec::new(), long_bytes: 0 }
    }

    fn get(&self, at: usize) -> &[u8] {
        let head = &self.heads[at];
        match head[LENGTH] {
            LONG => &self.long[number(head) as usize],
            length => &head[..usize::from(length)],
        }
    }

    fn put(&mut self, at: usize, text: &[u8]) {
        if let Some(short) = short(text) {
            self.forget(at);
            self.heads[at] = short;
        } else {
            let place = self.own(at);
            if place.len() == text.len() {
                place.copy_from_slice(text);
            } else {
                let before = mem::replace(place, text.into());
                self.long_bytes = self.long_bytes + text.len() - before.len();
            }
        }
    }

    /// The long text of an entry, which it gets if it has none.
    fn own(&mut self, at: usize) -> &mut Box<[u8]> {
        let mut head = self.heads[at];
        if head[LENGTH] != LONG {
            let long = self.free.pop().unwrap_or_else(|| {
                self.long.push(Box::default());
                u32::try_from(self.long.len() - 1).expect("memory ends before the numbers of long texts do")
            });
            head = [0; 16];
            head[..4].copy_from_slice(&long.to_le_bytes());
            head[LENGTH] = LONG;
            self.heads[at] = head;
        }
        &mut self.long[number(&head) as usize]
    }

    fn offsets<O: OffsetSizeTrait>(
        &self,
        places: Places<'_>,
        nulls: Option<NullBuffer>,
    ) -> Result<GenericStringArray<O>> {
        let mut offsets = Vec::with_capacity(places.rows.len() + 1);
        offsets.push(O::default());
        let mut bytes = Vec::new();
        for at in places.indices() {
            bytes.extend_from_slice(self.get(at));
            let end = O::from_usize(bytes.len());
            offsets.push(end.ok_or_else(|| {
                DataFusionError::ResourcesExhausted(format!("{} bytes of text in one column", bytes.len()))
            })?);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(GenericStringArray::try_new(offsets, Buffer::from_vec(bytes), nulls)?)
    }
}

/// Text that fits a head.
fn short(text: &[u8]) -> Option<Head> {
    let length = u8::try_from(text.len()).ok().filter(|_| text.len() <= LENGTH)?;
    let mut head = [0; 16];
    head[..text.len()].copy_from_slice(text);
    head[LENGTH] = length;
    Some(head)
}

/// That of a long text.
fn number(head: &Head) -> u32 {
    let [a, b, c, d, ..] = *head;
    u32::from_le_bytes([a, b, c, d])
}

impl Values for Texts {
    type Column = Column;

    fn open(&self, column: &ArrayRef) -> Result<Column> {
        if column.data_type() != &self.data_type {
            return Err(foreign("values"));
        }
        Ok(match self.data_type {
            DataType::Utf8 => Column::Small(column.as_string::<i32>().clone()),
            DataType::LargeUtf8 => Column::Large(column.as_string::<i64>().clone()),
            _ => Column::View(column.as_string_view().clone()),
        })
    }

    fn resize(&mut self, entries: usize) {
        self.heads.resize_with(entries, Head::default);
    }

    fn set(&mut self, at: usize, column: &Column, index: usize) {
        self.put(at, column.value(index));
    }

    fn copy(&mut self, at: usize, from: usize) {
        let head = self.heads[from];
        if head[LENGTH] == LONG {
            let text = self.long[number(&head) as usize].clone();
            self.long_bytes += text.len();
            let before = mem::replace(self.own(at), text);
            self.long_bytes -= before.len();
        } else {
            self.forget(at);
            self.heads[at] = head;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heads.swap(one, other);
    }

    fn forget(&mut self, at: usize) {
        let head = mem::take(&mut self.heads[at]);
        if head[LENGTH] == LONG {
            let long = number(&head);
            self.long_bytes -= mem::take(&mut self.long[long as usize]).len();
            self.free.push(long);
        }
    }

    fn keep(&mut self, entries: impl Iterator<Item = usize>) {
        let mut kept = Self::new(&self.data_type);
        for (at, from) in entries.enumerate() {
            let head = self.heads[from];
            if head[LENGTH] == LONG {
                let text = mem::take(&mut self.long[number(&head) as usize]);
                kept.heads.push([0; 16]);
                kept.long_bytes += text.len();
                *kept.own(at) = text;
            } else {
                kept.heads.push(head);
            }
        }
        *self = kept;
    }

    fn array(&self, places: Places<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let array: ArrayRef = match self.data_type {
            DataType::Utf8 => Arc::new(self.offsets::<i32>(places, nulls)?),
            DataType::LargeUtf8 => Arc::new(self.offsets::<i64>(places, nulls)?),
            _ => {
                let mut views = BinaryViewBuilder::with_capacity(places.rows.len());
                for at in places.indices() {
                    views.try_append_value(self.get(at))?;
                }
                let (views, buffers, _) = views.finish().into_parts();
                Arc::new(StringViewArray::try_new(views, buffers, nulls)?)
            }
        };
        Ok(array)
    }

    fn bytes(&self) -> usize {
        self.heads.bytes()
            + self.long.capacity() * size_of::<Box<[u8]>>()
            + self.free.capacity() * size_of::<u32>()
            + self.long_bytes
    }
}
