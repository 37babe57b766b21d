//! Which schema wrote a value, and where its body begins.
//!
//! | first bytes | framing | writer |
//! |---|---|---|
//! | `00`, 4 bytes | Confluent | schema id, big endian |
//! | `C3 01`, 8 bytes | Avro single object | Rabin fingerprint, little endian |
//! | anything else | bare body | the stream's own schema |
//!
//! A bare body may itself begin with `00` or `C3 01`; a stream of bare bodies
//! whose schema allows that says so with `framing = "bare"`.

use serde::Deserialize;

/// Which framings a stream accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Told apart by the first bytes.
    #[default]
    Auto,
    /// Confluent only.
    Confluent,
    /// Avro single-object encoding only.
    SingleObject,
    /// Bodies without framing only.
    Bare,
}

impl Framing {
    /// The names that configuration accepts.
    pub const NAMES: [&'static str; 4] = ["auto", "confluent", "single-object", "bare"];
}

/// The schema that a value was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// A registry's id.
    Id(u32),
    /// The CRC-64-AVRO of the schema's parsing canonical form.
    Fingerprint(u64),
    /// The stream's own schema.
    Stream,
}

impl Writer {
    /// Bytes of a value before its body.
    pub const fn header(self) -> usize {
        match self {
            Self::Id(_) => CONFLUENT_HEADER,
            Self::Fingerprint(_) => SINGLE_OBJECT_MAGIC.len() + size_of::<u64>(),
            Self::Stream => 0,
        }
    }
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "schema id {id}"),
            Self::Fingerprint(fingerprint) => write!(f, "schema fingerprint {fingerprint:016x}"),
            Self::Stream => f.write_str("the stream's own schema"),
        }
    }
}

const CONFLUENT_MAGIC: u8 = 0;
const SINGLE_OBJECT_MAGIC: [u8; 2] = [0xC3, 0x01];

/// The length of a Confluent header.
pub const CONFLUENT_HEADER: usize = 5;

/// Splits a value into its writer and its body.
///
/// # Errors
/// One sentence, when the value is not of an accepted framing.
pub fn split(framing: Framing, value: &[u8]) -> Result<(Writer, &[u8]), String> {
    match framing {
        Framing::Bare => Ok((Writer::Stream, value)),
        Framing::Confluent => confluent(value),
        Framing::SingleObject => single_object(value),
        Framing::Auto => match value {
            [] => Err("the value is empty".to_owned()),
            [CONFLUENT_MAGIC, ..] => confluent(value),
            [first, second, ..] if [*first, *second] == SINGLE_OBJECT_MAGIC => single_object(value),
            _ => Ok((Writer::Stream, value)),
        },
    }
}

fn confluent(value: &[u8]) -> Result<(Writer, &[u8]), String> {
    match value {
        [CONFLUENT_MAGIC, a, b, c, d, body @ ..] => {
            Ok((Writer::Id(u32::from_be_bytes([*a, *b, *c, *d])), body))
        }
        [CONFLUENT_MAGIC, ..] => Err(format!(
            "the value ends within its Confluent header, after {} of {CONFLUENT_HEADER} bytes",
            value.len()
        )),
        _ => Err("the value does not begin with Confluent's magic byte 00".to_owned()),
    }
}

fn single_object(value: &[u8]) -> Result<(Writer, &[u8]), String> {
    let rest = value
        .strip_prefix(&SINGLE_OBJECT_MAGIC)
        .ok_or("the value does not begin with Avro's single-object marker C3 01")?;
    let (fingerprint, body) =
        rest.split_first_chunk::<8>().ok_or("the value ends within its single-object header")?;
    Ok((Writer::Fingerprint(u64::from_le_bytes(*fingerprint)), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(framing: Framing, value: &[u8], expected: Option<(Writer, &[u8])>) {
        assert_eq!(split(framing, value).ok(), expected);
        if let Some((writer, body)) = expected {
            assert_eq!(&value[writer.header()..], body);
        }
    }

    #[test]
    fn framings_are_told_apart() {
        check(Framing::Auto, &[0, 0, 0, 1, 2, 9], Some((Writer::Id(258), &[9])));
        check(Framing::Auto, &[0xC3, 1, 1, 0, 0, 0, 0, 0, 0, 0, 9], Some((Writer::Fingerprint(1), &[9])));
        check(Framing::Auto, &[6, 1], Some((Writer::Stream, &[6, 1])));
        check(Framing::Auto, &[0, 0, 0], None);
        check(Framing::Auto, &[], None);
        check(Framing::Auto, &[0xC3, 1, 1], None);
        check(Framing::Bare, &[0, 0, 0], Some((Writer::Stream, &[0, 0, 0])));
        check(Framing::Confluent, &[6, 1], None);
        check(Framing::SingleObject, &[0, 0, 0, 0, 1, 1], None);
    }
}
