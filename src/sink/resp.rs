//! The little of Redis' protocol that packed commands need: writing bulk
//! strings and arrays, and reading commands back, for the model in
//! [`super::memory`] and for entries that a cluster redirects. Replies are not
//! read here.

use std::ops::Range;

/// Bytes that are no packed commands. Ours alone to have written wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the packed commands is not what the protocol asks for there")]
pub struct Malformed {
    /// Where reading stopped.
    pub at: usize,
}

/// Begins an array, and so a command of `len` parts.
pub fn push_array(out: &mut Vec<u8>, len: usize) {
    push_header(out, b'*', len);
}

/// Appends one part of a command and says where its text stands.
pub fn push_bulk(out: &mut Vec<u8>, text: &[u8]) -> Range<usize> {
    push_header(out, b'$', text.len());
    let start = out.len();
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
    start..start + text.len()
}

/// Appends one part of a command that is joined of others, with a text between
/// any two of them, and says where it stands.
pub fn push_joined(out: &mut Vec<u8>, parts: &[Vec<u8>], between: &[u8]) -> Range<usize> {
    let own: usize = parts.iter().map(Vec::len).sum();
    let len = own + between.len() * parts.len().saturating_sub(1);
    push_header(out, b'$', len);
    let start = out.len();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(between);
        }
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
    start..start + len
}

/// A whole command.
pub fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 16).sum());
    push_array(&mut out, parts.len());
    for part in parts {
        push_bulk(&mut out, part);
    }
    out
}

fn push_header(out: &mut Vec<u8>, kind: u8, len: usize) {
    match u8::try_from(len) {
        Ok(ones @ 0..10) => out.extend_from_slice(&[kind, b'0' + ones, b'\r', b'\n']),
        Ok(len @ 10..100) => {
            out.extend_from_slice(&[kind, b'0' + len / 10, b'0' + len % 10, b'\r', b'\n']);
        }
        _ => {
            out.push(kind);
            out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Reads packed commands back, one after the other; ends after the first error.
pub const fn commands(bytes: &[u8]) -> Commands<'_> {
    Commands(Reader::new(bytes))
}

/// What [`commands`] returns.
#[derive(Debug, Clone)]
pub struct Commands<'a>(Reader<'a>);

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Vec<&'a [u8]>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_at_end() {
            return None;
        }
        let command = self.command();
        if command.is_err() {
            self.0.end();
        }
        Some(command)
    }
}

impl<'a> Commands<'a> {
    fn command(&mut self) -> Result<Vec<&'a [u8]>, Malformed> {
        /// No part takes less: `$0`, its end, nothing, and the end of that.
        const LEAST: usize = 6;
        let len = self.0.array()?;
        let mut parts = Vec::with_capacity(len.min((self.0.bytes.len() - self.0.at) / LEAST));
        for _ in 0..len {
            parts.push(self.0.bulk()?);
        }
        Ok(parts)
    }
}

/// Reads packed commands back part by part.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Of these commands, from the first one on.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether everything was read.
    pub const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    const fn end(&mut self) {
        self.at = self.bytes.len();
    }

    /// How many parts the command has that begins here; they come next.
    ///
    /// # Errors
    /// When no command begins here.
    pub fn array(&mut self) -> Result<usize, Malformed> {
        self.header(b'*')
    }

    /// The next part of a command.
    ///
    /// # Errors
    /// When no part begins here, or it is torn.
    pub fn bulk(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.header(b'$')?;
        let malformed = Malformed { at: self.at };
        let end = self.at.checked_add(len).ok_or(malformed)?;
        let text = self.bytes.get(self.at..end).ok_or(malformed)?;
        if self.bytes.get(end..).and_then(<[u8]>::first_chunk) != Some(b"\r\n") {
            return Err(Malformed { at: end });
        }
        self.at = end + 2;
        Ok(text)
    }

    fn header(&mut self, kind: u8) -> Result<usize, Malformed> {
        let malformed = Malformed { at: self.at };
        let rest = self.bytes.get(self.at..).ok_or(malformed)?;
        let line = rest.iter().position(|byte| *byte == b'\r').ok_or(malformed)?;
        let digits = rest.get(..line).and_then(|text| text.strip_prefix(&[kind])).ok_or(malformed)?;
        if digits.is_empty() || rest.get(line + 1) != Some(&b'\n') {
            return Err(malformed);
        }
        let len = digits.iter().try_fold(0_usize, |len, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
            len.checked_mul(10)?.checked_add(usize::from(digit))
        });
        let len = len.ok_or(malformed)?;
        self.at += line + 2;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_back() {
        let mut bytes = command(&[b"HSET", b"k", b"f", b"a\r\nb"]);
        bytes.extend(command(&[b"DEL", b""]));
        let mut parts = Reader::new(&bytes);
        assert_eq!((parts.array(), parts.bulk()), (Ok(4), Ok(b"HSET".as_slice())));
        assert!(parts.array().is_err(), "a part is no command");
        let read: Vec<_> = commands(&bytes).map(Result::unwrap).collect();
        let expected: [&[&[u8]]; 2] = [&[b"HSET", b"k", b"f", b"a\r\nb"], &[b"DEL", b""]];
        assert_eq!(read, expected);
        assert_eq!(command(&[b"DEL", b"k"]), b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n");
    }

    #[test]
    fn lengths_have_as_many_digits_as_they_need() {
        for len in [0, 1, 9, 10, 11, 99, 100, 101, 255, 256, 1000] {
            let mut out = Vec::new();
            let stands = push_bulk(&mut out, &vec![b'x'; len]);
            let text = "x".repeat(len);
            assert_eq!(out, format!("${len}\r\n{text}\r\n").into_bytes());
            assert_eq!(&out[stands], text.as_bytes());
            let mut out = Vec::new();
            push_array(&mut out, len);
            assert_eq!(out, format!("*{len}\r\n").into_bytes());
        }
    }

    #[test]
    fn parts_are_joined() {
        let check = |parts: &[&str], between: &str, expected: &str| {
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
            let mut out = b"before".to_vec();
            let stands = push_joined(&mut out, &parts, between.as_bytes());
            assert_eq!(&out[stands], expected.as_bytes());
            assert_eq!(out, format!("before${}\r\n{expected}\r\n", expected.len()).into_bytes());
        };
        check(&["a:", ":b"], "key", "a:key:b");
        check(&["", "-", ""], "k", "k-k");
        check(&["a"], "k", "a");
    }

    #[test]
    fn torn_commands_are_an_error_and_the_end() {
        let bytes = command(&[b"DEL", b"key"]);
        for end in 1..bytes.len() {
            let mut read = commands(&bytes[..end]);
            assert!(read.next().unwrap().is_err(), "{end}");
            assert!(read.next().is_none());
        }
        assert!(commands(b"*1\r\n$99999999999999999999\r\n").next().unwrap().is_err());
    }
}
