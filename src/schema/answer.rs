//! What a registry's answers mean, apart from the network: found, none there,
//! try again, refused.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What an answer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<T = Found> {
    /// What was asked for: a schema, as a rule.
    Found(T),
    /// There is no such id, subject or version.
    Absent,
    /// Not now: overload, an error of the registry's own.
    Retry(String),
    /// Never, as things are.
    Refused(String),
}

/// A schema as the registry keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    /// The schema's text.
    pub schema: String,
    /// Its id, where it was asked for by subject.
    pub id: Option<u32>,
    /// Avro where nothing is said.
    #[serde(rename = "schemaType")]
    pub kind: Option<String>,
    /// Schemas whose names it uses.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// What the registry says of a schema that it was given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Registered {
    /// The schema's id.
    pub id: u32,
}

/// A schema that another one uses by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Reference {
    /// The full name by which it is used.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// Its version.
    pub version: u32,
}

#[derive(Deserialize, Default)]
struct Complaint {
    error_code: Option<u32>,
    message: Option<String>,
}

/// Codes of the registry for what is not there: subject, version, schema.
const ABSENT: [u32; 3] = [40401, 40402, 40403];

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(status: u16, body: &str) -> Answer<T> {
    if (200..300).contains(&status) {
        return match serde_json::from_str(body) {
            Ok(found) => Answer::Found(found),
            Err(error) => Answer::Refused(format!("its answer is not understood: {error}")),
        };
    }
    let complaint: Complaint = serde_json::from_str(body).unwrap_or_default();
    let said = match &complaint.message {
        Some(message) => format!("status {status}: {message}"),
        None => format!("status {status}"),
    };
    match (status, complaint.error_code) {
        (404, Some(code)) if ABSENT.contains(&code) => Answer::Absent,
        // Without a code of the registry's, something else answers under that address.
        (404, _) => Answer::Refused(format!("{said}; is this the address of a schema registry?")),
        (408 | 429 | 500..=599, _) => Answer::Retry(said),
        _ => Answer::Refused(said),
    }
}

/// The path of a schema by id.
pub(super) fn id_path(id: u32) -> String {
    format!("/schemas/ids/{id}")
}

/// The path of a subject's version, or of its latest.
pub(super) fn subject_path(subject: &str, version: Option<u32>) -> String {
    let version = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
    format!("{}/{version}", versions_path(subject))
}

/// The path to which a subject's schemas are posted.
pub(super) fn versions_path(subject: &str) -> String {
    format!("/subjects/{}/versions", percent_encoded(subject))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `user:password` in base 64, as basic authentication wants it.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |group, (i, byte)| group | (u32::from(*byte) << (16 - 8 * i)));
        for digit in 0..4 {
            if digit <= chunk.len() {
                let index = (group >> (18 - 6 * digit)) & 63;
                text.push(char::from(DIGITS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &Answer) {
        assert_eq!(&read::<Found>(status, body), expected);
    }

    #[test]
    fn answers() {
        let found = Found { schema: "\"long\"".into(), id: None, kind: None, references: Vec::new() };
        check(200, r#"{"schema":"\"long\"","more":1}"#, &Answer::Found(found));
        check(404, r#"{"error_code":40403,"message":"Schema not found"}"#, &Answer::Absent);
        check(503, "busy", &Answer::Retry("status 503".into()));
        check(500, r#"{"error_code":50001,"message":"store"}"#, &Answer::Retry("status 500: store".into()));
        check(401, r#"{"message":"who?"}"#, &Answer::Refused("status 401: who?".into()));
        assert!(matches!(read::<Found>(404, "<html>"), Answer::Refused(_)));
        assert!(matches!(read::<Found>(200, "<html>"), Answer::Refused(_)));
        let registered = read::<Registered>(200, r#"{"id":3,"version":1}"#);
        assert_eq!(registered, Answer::Found(Registered { id: 3 }));
    }

    #[test]
    fn a_subject_is_quoted_in_its_path() {
        assert_eq!(subject_path("a/b c-value", Some(2)), "/subjects/a%2Fb%20c-value/versions/2");
        assert_eq!(subject_path("a", None), "/subjects/a/versions/latest");
        assert_eq!(versions_path("a b"), "/subjects/a%20b/versions");
        assert_eq!(id_path(7), "/schemas/ids/7");
    }

    #[test]
    fn base64_of_every_length() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("user:pass", "dXNlcjpwYXNz")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
