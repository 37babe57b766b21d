//! Values that must not be seen in a log: secrets, and addresses that may hold one.

use std::fmt;

/// A secret. Its debug form is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An address. What stands before its `@`, and its query, are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// Wraps an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The address with all it holds.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What stands before `://`.
    pub fn scheme(&self) -> Option<&str> {
        self.0.split_once("://").map(|(scheme, _)| scheme)
    }

    /// Whether a host, or at a socket's scheme a path, follows the scheme.
    pub fn has_host(&self) -> bool {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        !host.is_empty() && !host.starts_with(':')
    }

    /// Whether an `@` follows a `/`, `?` or `#`. Then user and password are not
    /// what they seem: to a program the host ends at the first of these.
    pub fn has_stray_at(&self) -> bool {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.find(['/', '?', '#']).is_some_and(|end| rest[end..].contains('@'))
    }

    /// The address without user and password.
    #[must_use]
    pub fn without_user(&self) -> Self {
        match self.0.split_once("://") {
            Some((scheme, rest)) => {
                Self(format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)))
            }
            None => self.clone(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("…") };
        // Nobody knows where the password of such a one ends.
        if self.has_stray_at() {
            return write!(f, "{scheme}://…");
        }
        // A socket's address has its password in the query.
        let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
        match rest.rsplit_once('@') {
            Some((_, host)) => write!(f, "{scheme}://***@{host}"),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("x")), "***");
        assert_eq!(format!("{:?}", Url::new("redis://u:p@ss@h:1/0")), "redis://***@h:1/0");
        assert_eq!(Url::new("redis://h:1").to_string(), "redis://h:1");
        assert!(!Url::new("redis://u:p@").has_host());
        assert_eq!(Url::new("unix:///run/redis.sock?user=u&pass=p").to_string(), "unix:///run/redis.sock");
        assert_eq!(Url::new("unix:///run/redis.sock?pass=p@ss").to_string(), "unix://…");
        assert_eq!(Url::new("redis://u:1/p@h:1").to_string(), "redis://…");
        assert_eq!(Url::new("redis://u:p@h:1/0").without_user(), Url::new("redis://h:1/0"));
        assert!(Url::new("redis://u:1/p@h:1").has_stray_at() && !Url::new("redis://u:p@h/1").has_stray_at());
    }
}
