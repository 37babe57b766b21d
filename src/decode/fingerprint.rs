//! By which eight bytes a single-object header names a schema.
//!
//! Avro's specification and its writers in Java take a primitive type with a
//! logical one as `"long"`, those in Rust and Python as `{"type":"long"}`. Both
//! are in topics, so a schema is known by either, and written by the first.

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

/// The types that the specification's form has as a name alone.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The CRC-64-AVRO of a schema's parsing canonical form: the specification's,
/// then that of writers which leave a primitive an object.
///
/// # Errors
/// When the schema cannot be parsed.
pub fn fingerprints(schema: &str) -> Result<[u64; 2], apache_avro::Error> {
    let schema = Schema::parse_str(schema)?;
    // The form has no blanks, and no name in it has a quotation mark.
    let form = PRIMITIVES.iter().fold(schema.canonical_form(), |form, primitive| {
        form.replace(&format!(r#"{{"type":"{primitive}"}}"#), &format!(r#""{primitive}""#))
    });
    Ok([rabin(&Schema::parse_str(&form)?), rabin(&schema)])
}

fn rabin(schema: &Schema) -> u64 {
    let bytes = schema.fingerprint::<Rabin>().bytes;
    // The hash comes out in the byte order in which it is framed.
    u64::from_le_bytes(bytes.as_slice().try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shipped::{CLICKS_V1, DEVICES_V1, TRANSACTIONS_V1, TRANSACTIONS_V2};

    #[track_caller]
    fn check(schema: &str, expected: u64) {
        let [own, _] = fingerprints(schema).unwrap();
        assert_eq!(own, expected, "{own:016x} of {schema}");
    }

    /// What `SchemaNormalization.parsingFingerprint64` of Avro for Java 1.12 says.
    #[test]
    fn fingerprints_are_those_of_avro_for_java() {
        check(CLICKS_V1, 0x221d_2c99_99b5_6808);
        check(DEVICES_V1, 0xda2e_19ec_b68b_8b98);
        check(TRANSACTIONS_V1, 0x2728_e401_b64c_863e);
        check(TRANSACTIONS_V2, 0x1a97_234a_6c91_b825);
    }

    /// What the package `avro` 1.12 of Python says.
    #[test]
    fn the_form_that_keeps_logical_types_apart_is_known_too() {
        let [_, other] = fingerprints(TRANSACTIONS_V2).unwrap();
        assert_eq!(other, 0xb64c_5a0a_5c50_af01, "{other:016x}");
        // Without logical types there is one form.
        let [one, two] = fingerprints(r#"{"type": "record", "name": "R", "fields": []}"#).unwrap();
        assert_eq!(one, two);
    }
}
