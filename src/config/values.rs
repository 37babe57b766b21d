//! What a value may be: durations, numbers, sizes, addresses, names of a
//! closed set. A [`Scope`] looks values up in one table and collects what is
//! wrong with them, so that one start shows every problem.

use std::cell::RefCell;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::option;
use super::secret::{Secret, Url};
use super::tree::{Entry, Table, Value};
use crate::checkpoint::location::{self, Location};
use crate::error::Problem;
use crate::time::parse_duration;

/// What a value was read as, or what is wrong with it.
pub(super) type Read<T> = Result<T, Problem>;

/// One table of the tree, and where problems go.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub table: &'a Table,
    /// The table's name with a dot, or nothing.
    pub prefix: &'a str,
    pub problems: &'a RefCell<Vec<Problem>>,
}

impl<'a> Scope<'a> {
    pub fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.table.get(name)
    }

    /// Reports what is wrong with the option `name`, with its place.
    pub fn wrong(&self, name: &str, mut problem: Problem) {
        problem.message = format!("`{}{name}`: {}", self.prefix, problem.message);
        if problem.place.is_none() {
            problem.place = self.entry(name).map(|entry| entry.place.clone());
        }
        self.report(problem);
    }

    /// The value of `name`, where it is given and right.
    pub fn optional<T>(&self, name: &str, read: impl Fn(&Value) -> Read<T>) -> Option<T> {
        match read(&self.entry(name)?.value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.wrong(name, problem);
                None
            }
        }
    }

    /// The value of `name`; where it is not given, or wrong and reported, its default.
    pub fn required<T>(&self, name: &str, read: impl Fn(&Value) -> Read<T>) -> T {
        self.optional(name, &read).unwrap_or_else(|| {
            let option = option(&format!("{}{name}", self.prefix));
            let default = option.default.expect("the table has a default for it");
            read(&Value::Text(default.to_owned())).expect("every default is right; a test loads them all")
        })
    }

    /// The secret `name`, or what stands in the file of `<name>_file`.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        let file_name = format!("{name}_file");
        let given = self.optional(name, text).map(Secret::new);
        let file = self.optional(&file_name, path);
        if given.is_some() && file.is_some() {
            let message = format!("`{}{file_name}` is given too", self.prefix);
            self.wrong(name, Problem::new(message).hint("keep one of them"));
        }
        match file {
            Some(file) => match read_secret(&file) {
                Ok(secret) => Some(secret),
                Err(problem) => {
                    self.wrong(&file_name, problem);
                    None
                }
            },
            None => given,
        }
    }
}

/// Longest secret: a bundle of certificates has some hundred kilobytes. What is
/// longer is another file, or a device without an end.
const MOST_SECRET_BYTES: u64 = 4 << 20;

/// A file's text without the line's end that editors leave.
pub(super) fn read_secret(file: &Path) -> Read<Secret> {
    let wrong =
        |reason: String| Problem::new(format!("the file {} could not be read: {reason}", file.display()));
    let mut secret = String::new();
    let read = std::fs::File::open(file)
        .and_then(|open| open.take(MOST_SECRET_BYTES + 1).read_to_string(&mut secret))
        .map_err(|error| wrong(error.to_string()))?;
    if read as u64 > MOST_SECRET_BYTES {
        return Err(wrong(format!("it holds more than {MOST_SECRET_BYTES} bytes")));
    }
    Ok(Secret::new(secret.trim_end_matches(['\r', '\n'])))
}

fn scalar(value: &Value, wanted: &str) -> Read<String> {
    value.scalar().ok_or_else(|| Problem::new(format!("{} stands where {wanted} belongs", value.kind())))
}

pub(super) fn text(value: &Value) -> Read<String> {
    let text = scalar(value, "a text")?;
    if text.trim().is_empty() { Err(Problem::new("nothing is given")) } else { Ok(text) }
}

/// A list, or one text with commas.
pub(super) fn texts(value: &Value) -> Read<Vec<String>> {
    let texts: Vec<String> = match value {
        Value::List(items) => items.iter().map(text).collect::<Read<_>>()?,
        other => text(other)?.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    let is_whole = !texts.is_empty() && texts.iter().all(|item| !item.is_empty());
    if is_whole { Ok(texts) } else { Err(Problem::new("an item of the list is empty")) }
}

/// `HOST:PORT` or `HOST`.
pub(super) fn brokers(value: &Value) -> Read<Vec<String>> {
    let brokers = texts(value)?;
    for broker in &brokers {
        let port = broker.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map(|(_, port)| port);
        if broker.starts_with(':') || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(Problem::new(format!("`{broker}` is no broker: write HOST:PORT")));
        }
    }
    Ok(brokers)
}

pub(super) fn url(schemes: &[&str]) -> impl Fn(&Value) -> Read<Url> {
    move |value| one_url(text(value)?, schemes)
}

pub(super) fn urls(schemes: &[&str]) -> impl Fn(&Value) -> Read<Vec<Url>> {
    move |value| texts(value)?.into_iter().map(|item| one_url(item, schemes)).collect()
}

fn one_url(text: String, schemes: &[&str]) -> Read<Url> {
    let url = Url::new(text);
    // The path of a socket, and its query, may have one.
    if url.has_stray_at() && !url.scheme().is_some_and(|scheme| scheme.contains("unix")) {
        return Err(Problem::new("a `/`, `?` or `#` stands before the `@` of this address")
            .hint("write %2F, %3F or %23 for it in a password, or give the password as a file"));
    }
    match url.scheme() {
        Some(scheme) if schemes.contains(&scheme) && url.has_host() => Ok(url),
        // What is no address may be a password at the wrong place, so it is not repeated.
        scheme => Err(Problem::new("this is no address that can be used").valid(
            "valid forms",
            scheme.unwrap_or_default(),
            schemes.iter().map(|scheme| form(scheme)),
        )),
    }
}

/// What an address with that scheme looks like: a socket has a path.
fn form(scheme: &str) -> String {
    let rest = if scheme.contains("unix") { "/PATH" } else { "HOST:PORT" };
    format!("{scheme}://{rest}")
}

pub(super) fn duration(value: &Value) -> Read<Duration> {
    parse_duration(&scalar(value, "a duration")?).map_err(Problem::new)
}

/// A duration that is more than nothing.
pub(super) fn interval(value: &Value) -> Read<Duration> {
    let interval = duration(value)?;
    if interval.is_zero() { Err(Problem::new("must be more than nothing")) } else { Ok(interval) }
}

/// A whole number from 1 to `most`.
pub(super) fn count(most: usize) -> impl Fn(&Value) -> Read<usize> {
    move |value| {
        let text = scalar(value, "a number")?;
        match text.trim().replace('_', "").parse::<usize>() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(Problem::new(format!("`{text}` is not a whole number from 1 to {most}"))),
        }
    }
}

/// A size: `2GiB`, `512 MB`, or a plain number of bytes.
pub(super) fn bytes(value: &Value) -> Read<u64> {
    let text = scalar(value, "a size")?;
    let wrong = || {
        let units = "KiB, MiB, GiB, TiB, KB, MB, GB or TB";
        Problem::new(format!("`{text}` is not a size: write bytes, or a number with {units}"))
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let factor: u64 = match trimmed[digits..].trim().to_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" | "ki" | "k" => 1 << 10,
        "mib" | "mi" | "m" => 1 << 20,
        "gib" | "gi" | "g" => 1 << 30,
        "tib" | "ti" | "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).filter(|size| *size > 0).ok_or_else(wrong)
}

pub(super) fn boolean(value: &Value) -> Read<bool> {
    match scalar(value, "true or false")?.to_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        other => Err(Problem::new(format!("`{other}` is neither true nor false"))),
    }
}

pub(super) fn address(value: &Value) -> Read<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        Problem::new(format!("`{text}` is not IP:PORT")).hint("for instance 127.0.0.1:8088 or 0.0.0.0:8088")
    })
}

pub(super) fn path(value: &Value) -> Read<PathBuf> {
    text(value).map(PathBuf::from)
}

/// A place for checkpoints.
pub(super) fn store_location(value: &Value) -> Read<Location> {
    text(value)?.parse().map_err(|error: location::Error| {
        let problem = Problem::new(error.to_string());
        match (&error, error.hint()) {
            (location::Error::Scheme(given), _) => {
                problem.valid("valid schemes, beside a directory", given, location::SCHEMES)
            }
            (_, Some(hint)) => problem.hint(hint),
            _ => problem,
        }
    })
}

/// A file that is there.
pub(super) fn existing_file(value: &Value) -> Read<PathBuf> {
    let file = path(value)?;
    if file.is_file() { Ok(file) } else { Err(Problem::new(format!("there is no file {}", file.display()))) }
}

/// One of a closed set of names.
pub(super) fn choice<T: Copy>(names: &[(&str, T)]) -> impl Fn(&Value) -> Read<T> {
    move |value| {
        let text = text(value)?;
        names.iter().find(|(name, _)| *name == text).map(|(_, chosen)| *chosen).ok_or_else(|| {
            Problem::new(format!("`{text}` is not known")).valid(
                "valid values",
                &text,
                names.iter().map(|(name, _)| *name),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(
        read: impl Fn(&Value) -> Read<T>,
        text: &str,
        expected: Option<T>,
    ) {
        let found = read(&Value::Text(text.into())).ok();
        assert!(found == expected, "{text}: {found:?} instead of {expected:?}");
        drop(expected);
    }

    #[test]
    fn sizes() {
        check(bytes, "2GiB", Some(2 << 30));
        check(bytes, "512 MB", Some(512_000_000));
        check(bytes, "1024", Some(1024));
        for wrong in ["0", "", "GiB", "2 parsecs", "99999999999TiB", "-1"] {
            check(bytes, wrong, None);
        }
    }

    #[test]
    fn counts_and_durations() {
        check(count(10), "10", Some(10));
        check(count(1_000_000), "100_000", Some(100_000));
        check(count(10), "0", None);
        check(count(10), "11", None);
        check(interval, "0s", None);
        assert_eq!(duration(&Value::Integer(2)).unwrap(), Duration::from_secs(2));
        assert!(duration(&Value::Float(2.5)).is_err());
    }

    #[test]
    fn brokers_have_hosts() {
        check(brokers, "a:1, b", Some(vec!["a:1".into(), "b".into()]));
        check(brokers, "[::1]:9092", Some(vec!["[::1]:9092".into()]));
        check(brokers, ":9092", None);
        check(brokers, "a:x", None);
        check(brokers, "a:1,,b:2", None);
    }

    #[test]
    fn an_address_that_is_none_is_not_repeated() {
        let problem = url(&["redis"])(&Value::Text("hunter2".into())).unwrap_err();
        assert!(!problem.to_string().contains("hunter2"));
        let problem = url(&["rediss", "redis+unix"])(&Value::Text("hunter2".into())).unwrap_err();
        let forms = problem.valid.map(|(_, forms)| forms);
        assert_eq!(forms, Some(vec!["redis+unix:///PATH".to_owned(), "rediss://HOST:PORT".to_owned()]));
        let problem = url(&["redis"])(&Value::Text("redis://user:12/hunter2@host".into())).unwrap_err();
        assert!(!problem.to_string().contains("hunter2"));
        check(
            urls(&["redis"]),
            "redis://a:1,redis://b:2",
            Some(vec![Url::new("redis://a:1"), Url::new("redis://b:2")]),
        );
    }

    #[test]
    fn a_place_for_checkpoints_is_checked_without_a_network() {
        let read = |text: &str| store_location(&Value::Text(text.into()));
        for right in ["state", "/var/lib/windrow", "s3://bucket/windrow", "gs://bucket", "az://container/a"] {
            assert_eq!(read(right).unwrap(), right.parse().unwrap(), "{right}");
        }
        let problem = read("s3a://bucket/windrow").unwrap_err().to_string();
        let said = "checkpoints cannot be kept at an address that begins with `s3a://`\n  \
                    valid schemes, beside a directory: abfs, abfss, az, file, gs, s3\nhint: did you mean `s3`?";
        assert_eq!(problem, said);
        let problem = read("s3://key:hunter2@bucket").unwrap_err().to_string();
        assert!(problem.contains("hint: credentials come from the environment"), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        assert!(read("").is_err());
    }

    #[test]
    fn a_choice_suggests() {
        let problem = choice(&[("single", 1), ("cluster", 2)])(&Value::Text("clutser".into())).unwrap_err();
        assert_eq!(problem.hint.as_deref(), Some("did you mean `cluster`?"));
    }
}
