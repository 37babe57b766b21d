//! What tells one row of features from another. Rows are looked at in blocks
//! and column by column; one hash a row is then taken over its image, which has
//! every value in a fixed place:
//!
//! ```text
//! │ a bit a column: NULL │ 8 bytes: integer │ 8 bytes: bits of a float │ 16 bytes: hash of a string │ …
//! ```
//! The place of a NULL is 0. So no value can be taken for its neighbour's, and
//! the values themselves are compared, not their texts.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::column::{Column, Places};
use super::{Encoder, Feature};

/// Rows looked at together: as many as a word has bits. Their images stay in
/// the processor's nearest cache.
const BLOCK: usize = 64;

/// Columns that share a word.
const WORD_BITS: usize = 64;

/// Bytes of a word.
const WORD_BYTES: usize = size_of::<u64>();

/// What XXH3 mixes values with.
pub(super) type Secret = [u8; 192];

/// A new secret. Whoever sends events chooses texts and numbers, and must not
/// be able to choose two rows with one digest.
pub(super) fn secret() -> Secret {
    let random = RandomState::new();
    let mut secret = [0; 192];
    for (index, word) in secret.chunks_exact_mut(WORD_BYTES).enumerate() {
        word.copy_from_slice(&random.hash_one(index).to_le_bytes());
    }
    secret
}

/// The hash of a text or of a row's image.
pub(super) fn hash(bytes: &[u8], secret: &Secret) -> [u8; 16] {
    xxh3_128_with_secret(bytes, secret).to_le_bytes()
}

/// What a row of features is, in short. Digests of one [`Encoder`] can be
/// compared, those of two cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// A hash of every feature. Rows with different texts have different ones
    /// but for a chance of about 2^-128 (XXH3, with a secret).
    value: [u8; 16],
    /// Bit `n` says that of the features in columns `n`, `n + 64` and so on all
    /// are NULL.
    nulls: u64,
}

impl Digest {
    /// Whether the feature in a column may have a value. It has one in columns
    /// before the 64th; from there on others may be meant.
    pub const fn may_have_value(&self, column: usize) -> bool {
        self.nulls & (1_u64 << (column % WORD_BITS)) == 0
    }
}

/// Whether a column is NULL in a row, of which [`Block::nulls`] gave the words.
#[inline]
pub(super) const fn is_null(nulls: &[u64], column: usize) -> bool {
    nulls[column / WORD_BITS] & (1_u64 << (column % WORD_BITS)) != 0
}

/// The block of the row that was looked at last.
pub(super) struct Block {
    /// Words with a bit a column.
    words: usize,
    /// The bits of columns that are no features.
    others: Vec<u64>,
    /// Where in an image each feature has its place.
    offsets: Vec<usize>,
    /// Bytes of an image.
    stride: usize,

    /// The block whose `nulls` there are.
    nulls_of: Option<usize>,
    nulls: Vec<u64>,
    /// The block whose `images` there are.
    images_of: Option<usize>,
    images: Vec<u8>,
    text: Vec<u8>,
}

impl Block {
    pub(super) fn new(encoder: &Encoder, features: &[Column<'_>]) -> Self {
        let words = encoder.columns.div_ceil(WORD_BITS).max(1);
        let mut others = vec![u64::MAX; words];
        for feature in &encoder.features {
            others[feature.column / WORD_BITS] &= !(1_u64 << (feature.column % WORD_BITS));
        }
        let mut stride = words * WORD_BYTES;
        let mut offsets = Vec::with_capacity(features.len());
        for feature in features {
            offsets.push(stride);
            stride += feature.width();
        }
        Self {
            words,
            others,
            offsets,
            stride,
            nulls_of: None,
            nulls: Vec::new(),
            images_of: None,
            images: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Which features of a row are NULL, for [`is_null`]. `rows` is how many there are.
    pub(super) fn nulls(
        &mut self,
        row: usize,
        rows: usize,
        encoder: &Encoder,
        features: &[Column<'_>],
    ) -> &[u64] {
        if self.nulls_of != Some(row / BLOCK) {
            self.nulls_of = Some(row / BLOCK);
            self.find_nulls(around(row, rows), &encoder.features, features);
        }
        &self.nulls[row % BLOCK * self.words..][..self.words]
    }

    /// The digest of a row. `rows` is how many there are.
    pub(super) fn digest(
        &mut self,
        row: usize,
        rows: usize,
        encoder: &Encoder,
        features: &mut [Column<'_>],
    ) -> Digest {
        self.nulls(row, rows, encoder, features);
        if self.images_of != Some(row / BLOCK) {
            self.images_of = Some(row / BLOCK);
            self.make_images(around(row, rows), features, &encoder.secret);
        }
        let index = row % BLOCK;
        let nulls = self.nulls[index * self.words..][..self.words]
            .iter()
            .zip(&self.others)
            .fold(u64::MAX, |all, (nulls, others)| all & (nulls | others));
        let image = &self.images[index * self.stride..][..self.stride];
        Digest { value: hash(image, &encoder.secret), nulls }
    }

    fn find_nulls(&mut self, rows: Range<usize>, names: &[Feature], features: &[Column<'_>]) {
        self.nulls.clear();
        self.nulls.resize(BLOCK * self.words, 0);
        for (name, feature) in names.iter().zip(features) {
            let (word, bit) = (name.column / WORD_BITS, 1_u64 << (name.column % WORD_BITS));
            for row in bits(feature.nulls_in(rows.clone())) {
                self.nulls[row * self.words + word] |= bit;
            }
        }
    }

    fn make_images(&mut self, rows: Range<usize>, features: &mut [Column<'_>], secret: &Secret) {
        self.images.resize(BLOCK * self.stride, 0);
        let nulls = self.nulls.chunks_exact(self.words);
        for (image, nulls) in self.images.chunks_exact_mut(self.stride).zip(nulls) {
            for (place, word) in image.chunks_exact_mut(WORD_BYTES).zip(nulls) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        for (feature, offset) in features.iter_mut().zip(&self.offsets) {
            let places = Places { images: &mut self.images, stride: self.stride, offset: *offset };
            feature.put(rows.clone(), places, secret, &mut self.text);
        }
    }
}

/// The rows of the block that a row is in.
fn around(row: usize, rows: usize) -> Range<usize> {
    let start = row - row % BLOCK;
    start..(start + BLOCK).min(rows)
}

/// The places of the bits that are set.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}
