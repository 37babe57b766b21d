//! Where checkpoints are kept, as it is written: a directory, or the address of
//! a bucket and a prefix in it. Pure: nothing is opened here, and no message
//! repeats what may be a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What an address may begin with.
pub const SCHEMES: [&str; 6] = ["abfs", "abfss", "az", "file", "gs", "s3"];

/// A place for checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A bucket, and a prefix in it.
    Bucket(Bucket),
}

/// A bucket of an object store, and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Who keeps it.
    pub service: Service,
    /// What stands before `://`.
    pub scheme: &'static str,
    /// Its name; Azure's may be `container@account.dfs.core.windows.net`.
    pub name: String,
    /// What every object's name begins with; may be empty.
    pub prefix: String,
}

/// Whose object store it is, by the interface that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, and what speaks as it does.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// Why a text names no place for checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody knows such a store.
    #[error("checkpoints cannot be kept at an address that begins with `{0}://`")]
    Scheme(String),
    /// `s3:/bucket`, or `s3:bucket`.
    #[error("two slashes belong behind `{0}:`")]
    Slashes(&'static str),
    /// A path of nowhere.
    #[error("a file:// address names a directory by its whole path, such as file:///var/lib/windrow")]
    File,
    /// User, password or a signature would be seen in logs.
    #[error("the address of the checkpoint store holds a user, a password or a query")]
    Secret,
    /// No bucket, or none that can be.
    #[error("no name of a bucket follows `{0}://`")]
    Name(&'static str),
    /// A prefix that not every store would take as it is.
    #[error(
        "the prefix in the bucket is not made of names with letters, digits and -_.=+ between single slashes"
    )]
    Prefix,
}

impl Error {
    /// What to do.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Secret => Some("credentials come from the environment; README.md names the variables"),
            Self::Name(_) => Some(
                "write BUCKET/PREFIX behind it; another endpoint is given by the environment, such as AWS_ENDPOINT_URL",
            ),
            Self::Scheme(_) | Self::Slashes(_) | Self::File | Self::Prefix => None,
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_scheme = |word: &str| {
            !word.is_empty()
                && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        };
        let Some((given, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            let begun = |scheme: &&str| text.strip_prefix(*scheme).is_some_and(|rest| rest.starts_with(':'));
            return match SCHEMES.into_iter().find(begun) {
                Some(scheme) => Err(Error::Slashes(scheme)),
                None => Ok(Self::Directory(PathBuf::from(text))),
            };
        };
        let known = SCHEMES.into_iter().find(|scheme| *scheme == given);
        let scheme = known.ok_or_else(|| Error::Scheme(given.to_owned()))?;
        let service = match scheme {
            "file" => return directory(rest),
            "s3" => Service::S3,
            "gs" => Service::Google,
            _ => Service::Azure,
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // A container of Azure may stand before the `@`; nothing else may, and no password.
        let is_azure = service == Service::Azure;
        let has_user = name.contains('@') && (!is_azure || name.contains(':'));
        if has_user || prefix.contains('@') || rest.contains(['?', '#']) {
            return Err(Error::Secret);
        }
        let words = name.split('@').count();
        let is_word = |word: &str| !word.is_empty() && word.chars().all(is_of_a_name) && word != "..";
        if words > 2 || !name.split('@').all(is_word) {
            return Err(Error::Name(scheme));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_part = |part: &str| {
            let is_known = |c: char| is_of_a_name(c) || matches!(c, '=' | '+');
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_known)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(Error::Prefix);
        }
        Ok(Self::Bucket(Bucket { service, scheme, name: name.to_owned(), prefix: prefix.to_owned() }))
    }
}

const fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn directory(rest: &str) -> Result<Location, Error> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if path.starts_with('/') { Ok(Location::Directory(PathBuf::from(path))) } else { Err(Error::File) }
}

impl From<&Path> for Location {
    fn from(directory: &Path) -> Self {
        Self::Directory(directory.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "{}", directory.display()),
            Self::Bucket(Bucket { scheme, name, prefix, .. }) => write!(f, "{scheme}://{name}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bucket(text: &str, service: Service, name: &str, prefix: &str) {
        match text.parse() {
            Ok(Location::Bucket(bucket)) => {
                let found = (bucket.service, bucket.name.as_str(), bucket.prefix.as_str());
                assert_eq!(found, (service, name, prefix), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn buckets_have_names_and_prefixes() {
        check_bucket("s3://a-bucket", Service::S3, "a-bucket", "");
        check_bucket("s3://a.bucket/", Service::S3, "a.bucket", "");
        check_bucket("s3://bucket/windrow/prod/", Service::S3, "bucket", "windrow/prod");
        check_bucket("gs://bucket/of=one", Service::Google, "bucket", "of=one");
        check_bucket("az://container/windrow", Service::Azure, "container", "windrow");
        let whole = "container@account.dfs.core.windows.net";
        check_bucket(&format!("abfss://{whole}/windrow"), Service::Azure, whole, "windrow");
    }

    #[test]
    fn directories_are_what_is_no_address() {
        for (text, directory) in [
            ("/var/lib/windrow", "/var/lib/windrow"),
            ("state", "state"),
            ("a b/c://d", "a b/c://d"),
            ("file:///var/lib/windrow", "/var/lib/windrow"),
            ("file://localhost/var/lib", "/var/lib"),
        ] {
            assert_eq!(text.parse(), Ok(Location::Directory(PathBuf::from(directory))), "{text}");
        }
    }

    #[track_caller]
    fn check_refused(text: &str, expected: Error) {
        assert_eq!(text.parse::<Location>(), Err(expected), "{text}");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        check_refused("s4://bucket/a", Error::Scheme("s4".to_owned()));
        check_refused("https://bucket.s3.amazonaws.com", Error::Scheme("https".to_owned()));
        check_refused("s3:/bucket", Error::Slashes("s3"));
        check_refused("file:/var/lib", Error::Slashes("file"));
        check_refused("file://var/lib", Error::File);
        for name in ["s3://", "s3:///prefix", "s3://host:9000/bucket", "s3://a%20bucket", "s3://.."] {
            check_refused(name, Error::Name("s3"));
        }
        check_refused("az://@account", Error::Name("az"));
        for prefix in ["s3://b//a", "s3://b/a//c", "s3://b/../c", "s3://b/a b", "s3://b/a%2Fc"] {
            check_refused(prefix, Error::Prefix);
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for text in [
            "s3://key:hunter2@bucket/a",
            "s3://hunter2@bucket",
            "s3://key:hun/ter2@bucket",
            "az://container:hunter2@account.dfs.core.windows.net/a",
            "az://container/a?sig=hunter2",
            "gs://bucket#hunter2",
        ] {
            let error = text.parse::<Location>().expect_err(text);
            assert_eq!(error, Error::Secret, "{text}");
            assert!(!format!("{error} {:?}", error.hint()).contains("hunter2"));
        }
    }
}
