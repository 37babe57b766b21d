//! Base64 (RFC 4648, with padding): how bytes are written where only text can
//! stand. Nothing here reads it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64.
pub fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if index <= group.len() { ALPHABET[(bits >> shift & 63) as usize] } else { b'=' });
        }
    }
}

/// `bytes` in base64.
pub fn text(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    push(&mut out, bytes);
    String::from_utf8(out).expect("the alphabet is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, expected) in vectors {
            assert_eq!(text(bytes.as_bytes()), expected);
        }
        assert_eq!(text(&[0xff, 0xfe, 0xfb]), "//77");
    }
}
