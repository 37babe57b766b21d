//! What Redis' answers mean: whether an entry is written, refused for good,
//! elsewhere in the cluster, or whether the whole call has to be repeated. Pure.

use ::redis::{ErrorKind, RedisError, ServerError, Value};

use crate::sink::Error;
use crate::sink::parts::Part;

/// Why a call did not work, before the store's name is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The same call may work later.
    Unavailable(String),
    /// It will not, until someone changes an option or a right.
    Refused(String),
}

impl Failure {
    /// As the sink's error.
    pub(super) fn at(self, store: &str) -> Error {
        let store = store.to_owned();
        match self {
            Self::Unavailable(reason) => Error::Unavailable { store, reason },
            Self::Refused(reason) => Error::Refused { store, reason },
        }
    }
}

impl From<RedisError> for Failure {
    /// Errors of the client: the network, TLS, options. Those of the server
    /// come as values and go through [`verdict`].
    fn from(error: RedisError) -> Self {
        let reason = error.to_string();
        match error.kind() {
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::RESP3NotSupported => Self::Refused(reason),
            // A certificate that is not trusted now will not be in five seconds.
            _ if reason.contains("invalid peer certificate") => Self::Refused(reason),
            _ => Self::Unavailable(reason),
        }
    }
}

/// Where a cluster says that a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// At another node from now on.
    Moved,
    /// Moving: this once, ask that node.
    Ask {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Acknowledged.
    Done,
    /// Not written, since the store has a row for a later time.
    Newer,
    /// Written, but the hash had lost the fields that are left out.
    Lost,
    /// The key holds another type; the server's words.
    WrongType(String),
    /// Another node has the key.
    Elsewhere(Elsewhere),
}

/// Reads the replies of one entry, all of them, and judges by the first error.
/// Of one that leaves fields out, the first number says how many are new.
pub(super) fn verdict(
    replies: u32,
    part: Option<Part>,
    mut receive: impl FnMut() -> Result<Value, RedisError>,
) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::Done;
    let mut added = None;
    for _ in 0..replies {
        let reply = receive()?;
        if part.is_some() && added.is_none() {
            added = first_number(&reply);
        }
        if verdict == Verdict::Done {
            match (&reply, first_error(&reply)) {
                (_, Some(error)) => verdict = meaning(error)?,
                (Value::SimpleString(text), None) if text == "NEWER" => verdict = Verdict::Newer,
                _ => {}
            }
        }
    }
    let was_lost = part.zip(added).is_some_and(|(part, added)| part.was_lost(added));
    Ok(if was_lost && verdict == Verdict::Done { Verdict::Lost } else { verdict })
}

fn first_number(reply: &Value) -> Option<i64> {
    match reply {
        Value::Int(number) => Some(*number),
        Value::Array(items) => items.iter().find_map(first_number),
        _ => None,
    }
}

/// A reply that must not be an error.
pub(super) fn accept(reply: Value) -> Result<Value, Failure> {
    match first_error(&reply).map(meaning).transpose()? {
        None | Some(Verdict::Done | Verdict::Newer | Verdict::Lost) => Ok(reply),
        Some(Verdict::WrongType(reason)) => Err(Failure::Refused(reason)),
        Some(Verdict::Elsewhere(_)) => {
            let reason = "the key is at another node; of a cluster, the mode has to be cluster";
            Err(Failure::Unavailable(reason.to_owned()))
        }
    }
}

/// The first error of a reply; EXEC has those of its commands inside.
pub(super) fn first_error(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        Value::Array(items) => items.iter().find_map(first_error),
        _ => None,
    }
}

/// What an error says about an entry, or about the whole call.
///
/// | code | meaning |
/// |---|---|
/// | `WRONGTYPE` | this entry cannot be written, others can |
/// | `MOVED`, `ASK`, a key that a script did not find at its node | another node has the key |
/// | `NOAUTH`, `WRONGPASS`, `NOPERM`, `NOPROTO`, a command it does not know | refused until someone acts |
/// | any other (`LOADING`, `READONLY`, `OOM`, `CLUSTERDOWN`, …) | may pass; unknown ones too, since losing features is worse than waiting |
fn meaning(error: &ServerError) -> Result<Verdict, Failure> {
    let details = error.details().unwrap_or_default();
    let reason = words(error);
    match error.code() {
        "WRONGTYPE" => Ok(Verdict::WrongType(reason)),
        "MOVED" => Ok(Verdict::Elsewhere(Elsewhere::Moved)),
        "ASK" => match node(details) {
            Some((host, port)) => Ok(Verdict::Elsewhere(Elsewhere::Ask { host, port })),
            None => Err(Failure::Unavailable(reason)),
        },
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "NOPROTO" => Err(Failure::Refused(reason)),
        "ERR" if details.contains("access a non local key") => Ok(Verdict::Elsewhere(Elsewhere::Moved)),
        "ERR" if details.starts_with("DUMP payload version") => Err(Failure::Refused(format!(
            "{reason}; Redis 7 or newer is needed where `redis.set_by` is restore"
        ))),
        "ERR"
            if details.starts_with("unknown command") || details.starts_with("wrong number of arguments") =>
        {
            Err(Failure::Refused(format!("{reason}; Redis 4 or newer is needed")))
        }
        _ => Err(Failure::Unavailable(reason)),
    }
}

/// The error as the server said it.
pub(super) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The node in `3999 10.0.0.7:6381`.
fn node(details: &str) -> Option<(String, u16)> {
    let (host, port) = details.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    if host.is_empty() { None } else { Some((host.to_owned(), port.parse().ok()?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(replies: &str) -> Result<Verdict, Failure> {
        judge_part(replies, None)
    }

    fn judge_part(replies: &str, part: Option<Part>) -> Result<Verdict, Failure> {
        let replies: Vec<&str> = replies.split('|').collect();
        let mut values = replies.iter();
        verdict(u32::try_from(replies.len()).unwrap(), part, || {
            ::redis::parse_redis_value(values.next().unwrap().as_bytes())
        })
    }

    #[track_caller]
    fn check(replies: &str, expected: Verdict) {
        assert_eq!(judge(replies), Ok(expected));
    }

    #[test]
    fn entries_are_judged_by_their_first_error() {
        check(":2\r\n|:1\r\n", Verdict::Done);
        check("+NEWER\r\n", Verdict::Newer);
        let script = "-ERR Script attempted to access a non local key in a cluster node\r\n";
        check(script, Verdict::Elsewhere(Elsewhere::Moved));
        check("+OK\r\n|+QUEUED\r\n|+QUEUED\r\n|*2\r\n:1\r\n:1\r\n", Verdict::Done);
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("-{wrong}\r\n|:1\r\n"), Verdict::WrongType(wrong.to_owned()));
        check(&format!("+OK\r\n|*2\r\n-{wrong}\r\n:1\r\n"), Verdict::WrongType(wrong.to_owned()));
        check("-MOVED 3999 10.0.0.7:6381\r\n", Verdict::Elsewhere(Elsewhere::Moved));
        let ask = Elsewhere::Ask { host: "::1".to_owned(), port: 6381 };
        check("-ASK 3999 ::1:6381\r\n|-EXECABORT Transaction discarded\r\n", Verdict::Elsewhere(ask));
    }

    #[test]
    fn more_new_fields_than_expected_mean_that_the_hash_was_lost() {
        let part = Some(Part { behind: 0, row: 0, added: 2 });
        for (replies, expected) in [
            (":2\r\n|:1\r\n", Verdict::Done),
            // Repeated, after an answer that was lost.
            (":0\r\n|:1\r\n", Verdict::Done),
            (":3\r\n|:1\r\n", Verdict::Lost),
            // In a transaction, and asking a node that takes the slot over.
            ("+OK\r\n|+QUEUED\r\n|+QUEUED\r\n|*2\r\n:3\r\n:1\r\n", Verdict::Lost),
            ("+OK\r\n|:3\r\n|+OK\r\n|:1\r\n", Verdict::Lost),
        ] {
            assert_eq!(judge_part(replies, part), Ok(expected), "{replies}");
            assert_eq!(judge(replies), Ok(Verdict::Done), "{replies}");
        }
    }

    #[test]
    fn what_may_pass_is_repeated_and_what_will_not_is_refused() {
        for code in [
            "LOADING",
            "READONLY",
            "MASTERDOWN",
            "TRYAGAIN",
            "CLUSTERDOWN",
            "BUSY",
            "OOM",
            "MISCONF",
            "NOREPLICAS",
            "ERR",
        ] {
            let failure = judge(&format!("-{code} some words\r\n|:1\r\n")).unwrap_err();
            assert_eq!(failure, Failure::Unavailable(format!("{code} some words")));
        }
        for code in ["NOAUTH", "WRONGPASS", "NOPERM", "NOPROTO"] {
            let failure = judge(&format!("-{code} some words\r\n|:1\r\n")).unwrap_err();
            assert_eq!(failure, Failure::Refused(format!("{code} some words")));
        }
        let queued = judge("+OK\r\n|-OOM no memory\r\n|-EXECABORT discarded\r\n").unwrap_err();
        assert_eq!(queued, Failure::Unavailable("OOM no memory".to_owned()));
        let old = judge("-ERR DUMP payload version or checksum are wrong\r\n");
        assert!(matches!(old, Err(Failure::Refused(reason)) if reason.contains("redis.set_by")));
        assert!(matches!(judge("-ERR unknown command 'HSET'\r\n"), Err(Failure::Refused(_))));
    }

    #[test]
    fn a_lost_connection_may_come_back() {
        let lost = || Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        assert!(matches!(verdict(2, None, lost), Err(Failure::Unavailable(_))));
    }
}
