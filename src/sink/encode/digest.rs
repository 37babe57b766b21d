//! What tells one row of features from another. Rows are looked at in blocks
//! and column by column; one hash a row is then taken over its image, which has
//! every value in a fixed place:
//!
//! ```text
//! │ a bit a feature: NULL │ 8 bytes: integer │ 8 bytes: bits of a float │ 16 bytes: hash of a string │ …
//! ```
//! The place of a NULL is 0. So no value can be taken for its neighbour's, and
//! the values themselves are compared, not their texts. Who keeps a row's image
//! can be told later which of its features have changed.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::Encoder;
use super::column::{Column, Places};

/// Rows looked at together: as many as a word has bits. Their images stay in
/// the processor's nearest cache.
const BLOCK: usize = 64;

/// Features that share a word.
pub(super) const WORD_BITS: usize = 64;

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
    /// Bit `n` says that of the features `n`, `n + 64` and so on all are NULL.
    nulls: u64,
}

impl Digest {
    /// Whether a feature may have a value. One of the first 64 has one; from
    /// there on others may be meant.
    pub const fn may_have_value(&self, feature: usize) -> bool {
        self.nulls & (1_u64 << (feature % WORD_BITS)) == 0
    }
}

/// Where in a row's image each feature has its place.
#[derive(Debug)]
pub(super) struct Layout {
    /// The bits of features, word by word.
    features: Vec<u64>,
    /// By feature.
    places: Vec<Range<usize>>,
    /// Bytes of an image.
    stride: usize,
}

impl Layout {
    /// Of features that take so many bytes each.
    pub(super) fn new(widths: &[usize]) -> Self {
        let mut features = vec![0; widths.len().div_ceil(WORD_BITS).max(1)];
        let mut stride = features.len() * WORD_BYTES;
        let mut places = Vec::with_capacity(widths.len());
        for (feature, width) in widths.iter().enumerate() {
            features[feature / WORD_BITS] |= 1_u64 << (feature % WORD_BITS);
            places.push(stride..stride + width);
            stride += width;
        }
        Self { features, places, stride }
    }

    /// The bits of the features, a word for every 64 of them.
    pub(super) fn features(&self) -> &[u64] {
        &self.features
    }

    /// Bytes of an image.
    pub(super) const fn stride(&self) -> usize {
        self.stride
    }

    /// Which features are NULL, of the words in an image.
    pub(super) fn nulls_of<'a>(&self, image: &'a [u8]) -> impl Iterator<Item = u64> + use<'a> {
        let (words, _) = image.as_chunks::<WORD_BYTES>();
        words.iter().take(self.features.len()).map(|word| u64::from_le_bytes(*word))
    }

    /// Which features are not the same in two images.
    fn differing(&self, one: &[u8], other: &[u8], found: &mut Vec<u64>) {
        found.clear();
        found.extend(self.nulls_of(one).zip(self.nulls_of(other)).map(|(one, other)| one ^ other));
        for (found, places) in found.iter_mut().zip(self.places.chunks(WORD_BITS)) {
            for (bit, place) in places.iter().enumerate() {
                *found |= u64::from(!are_equal(&one[place.clone()], &other[place.clone()])) << bit;
            }
        }
    }
}

/// Most features have eight bytes, which are compared without a call.
#[inline]
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    match (<&[u8; WORD_BYTES]>::try_from(one), <&[u8; WORD_BYTES]>::try_from(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The block of the row that was looked at last.
#[derive(Default)]
pub(super) struct Block {
    /// The block whose `nulls` there are.
    nulls_of: Option<usize>,
    nulls: Vec<u64>,
    /// The block whose `images` there are.
    images_of: Option<usize>,
    images: Vec<u8>,
    text: Vec<u8>,
}

impl Block {
    /// Which features of a row are NULL, a word for every 64 of them. `rows` is how many rows there are.
    pub(super) fn nulls(
        &mut self,
        row: usize,
        rows: usize,
        encoder: &Encoder,
        features: &[Column<'_>],
    ) -> &[u64] {
        let words = encoder.layout.features.len();
        if self.nulls_of != Some(row / BLOCK) {
            self.nulls_of = Some(row / BLOCK);
            self.find_nulls(around(row, rows), words, features);
        }
        &self.nulls[row % BLOCK * words..][..words]
    }

    /// The image of a row. `rows` is how many there are.
    pub(super) fn image(
        &mut self,
        row: usize,
        rows: usize,
        encoder: &Encoder,
        features: &mut [Column<'_>],
    ) -> &[u8] {
        self.nulls(row, rows, encoder, features);
        if self.images_of != Some(row / BLOCK) {
            self.images_of = Some(row / BLOCK);
            self.make_images(around(row, rows), encoder, features);
        }
        let stride = encoder.layout.stride;
        &self.images[row % BLOCK * stride..][..stride]
    }

    /// The digest of a row. `rows` is how many there are.
    pub(super) fn digest(
        &mut self,
        row: usize,
        rows: usize,
        encoder: &Encoder,
        features: &mut [Column<'_>],
    ) -> Digest {
        let value = hash(self.image(row, rows, encoder, features), &encoder.secret);
        let words = self.nulls(row, rows, encoder, features).iter().zip(&encoder.layout.features);
        Digest { value, nulls: words.fold(u64::MAX, |all, (nulls, features)| all & (nulls | !features)) }
    }

    /// Which features of a row are not as in an image from before.
    pub(super) fn changed(
        &mut self,
        row: usize,
        rows: usize,
        encoder: &Encoder,
        features: &mut [Column<'_>],
        before: &[u8],
        found: &mut Vec<u64>,
    ) {
        encoder.layout.differing(self.image(row, rows, encoder, features), before, found);
    }

    fn find_nulls(&mut self, rows: Range<usize>, words: usize, features: &[Column<'_>]) {
        self.nulls.clear();
        self.nulls.resize(BLOCK * words, 0);
        for (feature, column) in features.iter().enumerate() {
            let (word, bit) = (feature / WORD_BITS, 1_u64 << (feature % WORD_BITS));
            for row in bits(column.nulls_in(rows.clone())) {
                self.nulls[row * words + word] |= bit;
            }
        }
    }

    fn make_images(&mut self, rows: Range<usize>, encoder: &Encoder, features: &mut [Column<'_>]) {
        let Layout { features: words, places, stride } = &encoder.layout;
        self.images.resize(BLOCK * stride, 0);
        let nulls = self.nulls.chunks_exact(words.len());
        for (image, nulls) in self.images.chunks_exact_mut(*stride).zip(nulls) {
            for (place, word) in image.chunks_exact_mut(WORD_BYTES).zip(nulls) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        for (feature, place) in features.iter_mut().zip(places) {
            let places = Places { images: &mut self.images, stride: *stride, offset: place.start };
            feature.put(rows.clone(), places, &encoder.secret, &mut self.text);
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
