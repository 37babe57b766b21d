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
use super::values::Values;

/// The text and, in the last byte, its length; or [`LONG`] there and the number of a long text.
pub type Head = [u8; 16];

/// Where the length is, and how much text fits before it.
const LENGTH: usize = 15;

/// Says that a head has the number of a long text.
const LONG: u8 = u8::MAX;

/// Texts, those that are too long for their heads.
#[derive(Debug)]
pub struct Texts {
    data_type: DataType,

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
        Self { data_type: data_type.clone(), long: Vec::new(), free: Vec::new(), long_bytes: 0 }
    }

    fn get<'a>(&'a self, head: &'a Head) -> &'a [u8] {
        match head[LENGTH] {
            LONG => &self.long[number(head) as usize],
            length => &head[..usize::from(length)],
        }
    }

    /// The long text of a head, which it gets if it has none.
    fn own(&mut self, head: &mut Head) -> &mut Box<[u8]> {
        if head[LENGTH] != LONG {
            let long = self.free.pop().unwrap_or_else(|| {
                self.long.push(Box::default());
                u32::try_from(self.long.len() - 1).expect("memory ends before the numbers of long texts do")
            });
            *head = numbered(long);
        }
        &mut self.long[number(head) as usize]
    }

    fn put(&mut self, head: &mut Head, text: &[u8]) {
        if let Some(short) = short(text) {
            self.forget(head);
            *head = short;
            return;
        }
        let place = self.own(head);
        if place.len() == text.len() {
            place.copy_from_slice(text);
        } else {
            let before = mem::replace(place, text.into());
            self.long_bytes = self.long_bytes + text.len() - before.len();
        }
    }

    fn offsets<O: OffsetSizeTrait>(
        &self,
        heads: impl ExactSizeIterator<Item = Head>,
        nulls: Option<NullBuffer>,
    ) -> Result<GenericStringArray<O>> {
        let mut offsets = Vec::with_capacity(heads.len() + 1);
        offsets.push(O::default());
        let mut bytes = Vec::new();
        for head in heads {
            bytes.extend_from_slice(self.get(&head));
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

/// The number of a long text.
fn number(head: &Head) -> u32 {
    let [a, b, c, d, ..] = *head;
    u32::from_le_bytes([a, b, c, d])
}

/// What a long text is known by.
fn numbered(long: u32) -> Head {
    let mut head = [0; 16];
    head[..4].copy_from_slice(&long.to_le_bytes());
    head[LENGTH] = LONG;
    head
}

impl Values for Texts {
    type Column = Column;
    type Kept = Head;

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

    fn set(&mut self, kept: &mut Head, column: &Column, index: usize) {
        self.put(kept, column.value(index));
    }

    #[inline]
    fn copy(&mut self, kept: &mut Head, from: Head) {
        if from[LENGTH] == LONG {
            let text = self.long[number(&from) as usize].clone();
            self.long_bytes += text.len();
            let before = mem::replace(self.own(kept), text);
            self.long_bytes -= before.len();
        } else {
            self.forget(kept);
            *kept = from;
        }
    }

    #[inline]
    fn forget(&mut self, kept: &mut Head) {
        let head = mem::take(kept);
        if head[LENGTH] == LONG {
            let long = number(&head);
            self.long_bytes -= mem::take(&mut self.long[long as usize]).len();
            self.free.push(long);
        }
    }

    fn keep<'a>(&mut self, all: impl Iterator<Item = &'a mut Head>) {
        let mut kept = Self::new(&self.data_type);
        for head in all.filter(|head| head[LENGTH] == LONG) {
            let text = mem::take(&mut self.long[number(head) as usize]);
            kept.long_bytes += text.len();
            *head = Head::default();
            *kept.own(head) = text;
        }
        *self = kept;
    }

    fn array(
        &self,
        kept: impl ExactSizeIterator<Item = Head>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let array: ArrayRef = match self.data_type {
            DataType::Utf8 => Arc::new(self.offsets::<i32>(kept, nulls)?),
            DataType::LargeUtf8 => Arc::new(self.offsets::<i64>(kept, nulls)?),
            _ => {
                let mut views = BinaryViewBuilder::with_capacity(kept.len());
                for head in kept {
                    views.try_append_value(self.get(&head))?;
                }
                let (views, buffers, _) = views.finish().into_parts();
                Arc::new(StringViewArray::try_new(views, buffers, nulls)?)
            }
        };
        Ok(array)
    }

    fn bytes(&self) -> usize {
        self.long.capacity() * size_of::<Box<[u8]>>()
            + self.free.capacity() * size_of::<u32>()
            + self.long_bytes
    }
}
