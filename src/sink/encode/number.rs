//! Numbers as bulk strings. Most are short: the text of such a one is put
//! together in a register and stored at once. The others are left to `itoa` and
//! `zmij`, whose text every number has here, but for the sign of a positive exponent.

use crate::sink::resp;

/// Integers below this one have 15 digits or fewer: with a sign they fit a [`Text`].
const SHORT_INTEGER: u64 = 1_000_000_000_000_000;

/// Digits are made eight at a time.
const EIGHT_DIGITS: u64 = 100_000_000;

/// The digit 0, eight times.
const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// Fractions of floats are looked for in units of this part of one.
const UNITS: f64 = 10_000.0;

/// 2^52. The sum with a smaller number that is not negative has the nearest
/// whole number in its mantissa.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// No text of a float is longer: a sign, 17 digits, a point and an exponent of three digits with its sign.
const LONGEST_FLOAT: usize = 32;

/// The bits of a float's mantissa.
const MANTISSA: u64 = (1 << 52) - 1;

/// Appends an integer.
#[inline]
pub(super) fn push_integer(out: &mut Vec<u8>, value: i64) {
    let magnitude = value.unsigned_abs();
    if magnitude < SHORT_INTEGER {
        Text::integer(magnitude).signed(value < 0).push(out);
    } else {
        resp::push_bulk(out, itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Appends an integer that may be too large for [`push_integer`].
#[inline]
pub(super) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    if value < SHORT_INTEGER {
        Text::integer(value).push(out);
    } else {
        resp::push_bulk(out, itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Appends a float as [`shortest`] has it.
#[inline]
pub(super) fn push_float(out: &mut Vec<u8>, value: f64) {
    match Text::float(value.abs()) {
        Some(text) => text.signed(value.is_sign_negative()).push(out),
        None => push_shortest(out, value),
    }
}

/// Appends a float as [`shortest`] has it, without trying for something quicker.
pub(super) fn push_shortest(out: &mut Vec<u8>, value: impl zmij::Float) {
    shortest(value, |text| {
        resp::push_bulk(out, text);
    });
}

/// Shows the shortest text that reads back to the same number: `5` rather than
/// `5.0`, `1e300` rather than `1e+300`, and `NaN`, `inf`, `-inf`.
pub(super) fn shortest(value: impl zmij::Float, show: impl FnOnce(&[u8])) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format(value).as_bytes();
    let text = text.strip_suffix(b".0").unwrap_or(text);
    // An exponent has three digits at most.
    let signed = text.len().saturating_sub(1 + 3);
    match text[signed..].iter().position(|byte| *byte == b'+') {
        None => show(text),
        Some(plus) => {
            let plus = signed + plus;
            let mut unsigned = [0; LONGEST_FLOAT];
            unsigned[..plus].copy_from_slice(&text[..plus]);
            unsigned[plus..text.len() - 1].copy_from_slice(&text[plus + 1..]);
            show(&unsigned[..text.len() - 1]);
        }
    }
}

/// Appends the first `len` bytes of an array. All of it is copied and the rest
/// cut off: a length that the compiler knows needs no call.
#[inline]
pub(super) fn push_start<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N], len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

/// A text of at most 16 bytes. The first is the lowest, those after the last are 0.
#[derive(Clone, Copy)]
struct Text {
    bytes: u128,
    len: u32,
}

impl Text {
    /// An integer of at most 16 digits.
    #[inline]
    fn integer(value: u64) -> Self {
        let (high, low) = (value / EIGHT_DIGITS, value % EIGHT_DIGITS);
        let low = eight_digits(low);
        if high == 0 {
            // The last digit stays, also that of 0.
            let zeros = (low.trailing_zeros() / 8).min(7);
            return Self { bytes: u128::from((low | ZEROS) >> (8 * zeros)), len: 8 - zeros };
        }
        let high = eight_digits(high);
        let zeros = high.trailing_zeros() / 8;
        let bytes = u128::from(high | ZEROS) | (u128::from(low | ZEROS) << 64);
        Self { bytes: bytes >> (8 * zeros), len: 16 - zeros }
    }

    /// A float that is not negative, if it is a whole number below 10^15, or one
    /// below 10^10 with at most four digits after the point.
    ///
    /// No two numbers of up to 15 digits read back to the same float, so this
    /// one is also the shortest.
    #[inline]
    fn float(value: f64) -> Option<Self> {
        if value < 1e10 {
            let sum = value * UNITS + WHOLE;
            let reads_back = ((sum - WHOLE) / UNITS).to_bits() == value.to_bits();
            reads_back.then(|| Self::units(sum.to_bits() & MANTISSA))
        } else if value < 1e15 {
            let sum = value + WHOLE;
            let reads_back = (sum - WHOLE).to_bits() == value.to_bits();
            reads_back.then(|| Self::integer(sum.to_bits() & MANTISSA))
        } else {
            None
        }
    }

    /// A number of [`UNITS`], below 10^14.
    #[inline]
    fn units(units: u64) -> Self {
        let whole = Self::integer(units / 10_000);
        let fraction = units % 10_000;
        if fraction == 0 {
            return whole;
        }
        // The lower four of eight digits; what is 0 at the end is left out.
        let digits = eight_digits(fraction) >> 32;
        let len = 8 - digits.leading_zeros() / 8;
        let digits = (digits | ZEROS) & (u64::MAX >> (64 - 8 * len));
        let point = u128::from(b'.') << (8 * whole.len);
        let after = u128::from(digits) << (8 * whole.len + 8);
        Self { bytes: whole.bytes | point | after, len: whole.len + 1 + len }
    }

    /// With a sign, for which there must be room.
    #[inline]
    fn signed(self, is_negative: bool) -> Self {
        if is_negative {
            Self { bytes: (self.bytes << 8) | u128::from(b'-'), len: self.len + 1 }
        } else {
            self
        }
    }

    /// Appends it as a bulk string.
    #[inline]
    fn push(self, out: &mut Vec<u8>) {
        const ONE_DIGIT: u32 = u32::from_le_bytes(*b"$0\r\n");
        const TWO_DIGITS: u64 = u64::from_le_bytes(*b"$10\r\n\0\0\0");
        const END: u16 = u16::from_le_bytes(*b"\r\n");
        let len = self.len as usize;
        if self.len < 10 {
            let header = u128::from(ONE_DIGIT + (self.len << 8));
            let end = u128::from(END) << (8 * self.len);
            let bulk = header | ((self.bytes | end) << 32);
            push_start(out, &bulk.to_le_bytes(), 4 + len + 2);
        } else {
            let header = TWO_DIGITS + (u64::from(self.len - 10) << 16);
            push_start(out, &header.to_le_bytes(), 5);
            push_start(out, &self.bytes.to_le_bytes(), len);
            out.extend_from_slice(&END.to_le_bytes());
        }
    }
}

/// The digits of a number below 10^8 as bytes from 0 to 9, the first in the
/// lowest: halved into fours, twos and ones, all parts in one multiplication.
#[inline]
const fn eight_digits(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    // x * 10486 / 2^20 is x / 100 for x below 10^4, and x * 103 / 2^10 is x / 10 below 100.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - tens * 10) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Vec<u8> {
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[track_caller]
    fn check_integer(value: i64) {
        let mut out = Vec::new();
        push_integer(&mut out, value);
        assert_eq!(out, bulk(&value.to_string()), "{value}");
        let mut out = Vec::new();
        push_unsigned(&mut out, value.unsigned_abs());
        assert_eq!(out, bulk(&value.unsigned_abs().to_string()), "{value}");
    }

    #[track_caller]
    fn check_float(value: f64) {
        for value in [value, -value] {
            let mut out = Vec::new();
            push_float(&mut out, value);
            let mut buffer = ryu::Buffer::new();
            let text = buffer.format(value);
            assert_eq!(out, bulk(text.strip_suffix(".0").unwrap_or(text)), "{value}");
        }
    }

    /// Numbers that look like chance.
    fn chance(index: u32) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&index.to_le_bytes())
    }

    #[test]
    fn integers_of_every_length() {
        check_integer(0);
        check_integer(i64::MIN);
        check_integer(i64::MAX);
        for exponent in 0..=18 {
            let power = 10_i64.pow(exponent);
            for value in [power - 1, power, power + 1, power * 9 / 2] {
                check_integer(value);
                check_integer(-value);
            }
        }
        for index in 0..20_000 {
            check_integer((chance(index) >> (index % 64)).cast_signed());
        }
        let mut out = Vec::new();
        push_unsigned(&mut out, u64::MAX);
        assert_eq!(out, bulk("18446744073709551615"));
    }

    #[test]
    fn eight_digits_are_those_of_the_number() {
        for value in (0..10_000).chain((0..100_000_000).step_by(9_973)).chain([99_999_999]) {
            let text: Vec<u8> = eight_digits(value).to_le_bytes().map(|digit| digit + b'0').to_vec();
            assert_eq!(text, format!("{value:08}").into_bytes());
        }
    }

    #[test]
    fn floats_have_their_shortest_text() {
        for value in [
            0.0,
            1.0,
            0.1 + 0.2,
            1.0 / 3.0,
            12.34,
            0.0001,
            0.00011,
            0.00009,
            0.1234,
            0.12345,
            99.9999,
            1e9 + 0.0001,
            9_999_999_999.999_9,
            10_000_000_000.5,
            999_999_999_999_999.0,
            999_999_999_999_999.5,
            1e15,
            1e16,
            9_007_199_254_740_992.0,
            1e21,
            1e300,
            2.5e-8,
            f64::MIN_POSITIVE,
            5e-324,
            f64::EPSILON,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ] {
            check_float(value);
            check_float(value.next_up());
            check_float(value.next_down());
        }
        for exponent in -20..20 {
            let power = 10_f64.powi(exponent);
            for value in [power, power.next_up(), power.next_down(), 3.0 * power, power / 4.0] {
                check_float(value);
            }
        }
    }

    #[test]
    fn floats_by_chance_have_their_shortest_text() {
        for index in 0..20_000 {
            let bits = chance(index);
            let (high, low) = (u32::try_from(bits >> 32).unwrap(), u32::try_from(bits % (1 << 32)).unwrap());
            let (high, low) = (f64::from(high), f64::from(low));
            check_float(f64::from_bits(bits));
            let fractions = [low / 100.0, low / 1e4, low / 1e5, low / high];
            for value in fractions.into_iter().chain([low, low * high, low * 1e5 + high / 1e4]) {
                check_float(value);
                check_float(value.next_up());
            }
        }
    }
}
