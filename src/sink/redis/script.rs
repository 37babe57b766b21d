//! Writes as scripts, where a transaction cannot have the condition in it: in a
//! cluster, whose transactions are within one slot, and for rows that may be
//! older than those in the store. Scripts are sent whole: nothing has to be
//! loaded at a server that came up a moment ago.

use ::redis::Value;

use super::fence::epochs;
use super::reply::{Elsewhere, Failure, Verdict, accept, verdict};
use crate::sink::encode::AS_OF;
use crate::sink::fence::Epoch;
use crate::sink::{Entry, Writes, resp};

/// Carries out the commands in its arguments, each behind the number of its
/// parts, if the fences in its keys are as the first arguments say. It has no
/// `#!`, so it may touch keys of every slot that the server has.
const FENCED: &str = "\
local held = #KEYS > 0 and redis.call('MGET', unpack(KEYS)) or {}
for index = 1, #KEYS do
  if held[index] ~= ARGV[index] then return {0, held} end
end
local replies = {}
local at = #KEYS + 1
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local reply = redis.pcall(unpack(ARGV, at + 1, last))
  if type(reply) == 'table' and not reply.err then reply = 1 end
  replies[#replies + 1] = reply
  at = last + 1
end
return {1, replies}";

/// Carries out the commands in its arguments unless its key is a hash with a
/// higher as-of time than the second argument; the first is that field's name.
const UNLESS_NEWER: &str = "\
local stored = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(stored) == 'table' then return stored end
if stored and tonumber(stored) and tonumber(stored) > tonumber(ARGV[2]) then
  return redis.status_reply('NEWER')
end
local at = 3
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return 1";

/// The same writes, none of which takes effect where the store has a row for a later time.
pub(super) fn unless_newer(writes: &Writes) -> Result<Writes, Failure> {
    let mut scripts = Writes { origins: writes.origins.clone(), ..Writes::default() };
    for entry in &writes.entries {
        let as_of_ms = writes.origin(*entry).map_or(i64::MAX, |origin| origin.as_of_ms).to_string();
        let mut arguments = Arguments::default();
        arguments.push(AS_OF.as_bytes());
        arguments.push(as_of_ms.as_bytes());
        arguments.push_commands(writes, *entry)?;
        let start = scripts.bytes.len();
        let key = arguments.finish(UNLESS_NEWER, &[writes.key(*entry)], &mut scripts.bytes);
        let end = scripts.bytes.len();
        scripts.entries.push(Entry { start, end, replies: 1, origin: entry.origin, key, part: None });
    }
    Ok(scripts)
}

/// Entries as one script that is tied to fences; appended to `out`.
pub(super) fn fenced(
    keys: &[String],
    held: &[Epoch],
    writes: &Writes,
    entries: &[Entry],
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut arguments = Arguments::default();
    for epoch in held {
        arguments.push(epoch.to_string().as_bytes());
    }
    for entry in entries {
        arguments.push_commands(writes, *entry)?;
    }
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    arguments.finish(FENCED, &keys, out);
    Ok(())
}

/// What became of a script that is tied to fences.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It was carried out; the replies to its commands.
    Done(Vec<Value>),
    /// The fences have this instead, and nothing was done.
    Fenced(Vec<Option<Epoch>>),
    /// Another server has the fences' slot, and nothing was done.
    Moved,
}

/// Reads the answer to [`fenced`].
pub(super) fn outcome(answer: Value) -> Result<Outcome, Failure> {
    if let Value::ServerError(_) = &answer {
        return match verdict(1, None, || Ok(answer.clone()))? {
            Verdict::Elsewhere(Elsewhere::Moved | Elsewhere::Ask { .. }) => Ok(Outcome::Moved),
            Verdict::WrongType(reason) => Err(Failure::Refused(reason)),
            Verdict::Done | Verdict::Newer | Verdict::Lost => Err(unreadable()),
        };
    }
    let Value::Array(parts) = answer else { return Err(unreadable()) };
    let Ok([Value::Int(done), second]) = <[Value; 2]>::try_from(parts) else { return Err(unreadable()) };
    match (done, second) {
        (0, held) => epochs(&accept(held)?).map(Outcome::Fenced),
        (_, Value::Array(replies)) => Ok(Outcome::Done(replies)),
        _ => Err(unreadable()),
    }
}

fn unreadable() -> Failure {
    Failure::Unavailable("a script was answered otherwise than it answers".to_owned())
}

/// A script's arguments, gathered before it is known how many they are.
#[derive(Default)]
struct Arguments {
    bytes: Vec<u8>,
    count: usize,
}

impl Arguments {
    fn push(&mut self, argument: &[u8]) {
        resp::push_bulk(&mut self.bytes, argument);
        self.count += 1;
    }

    /// An entry's commands, each behind the number of its parts.
    fn push_commands(&mut self, writes: &Writes, entry: Entry) -> Result<(), Failure> {
        for command in resp::commands(&writes.bytes[entry.start..entry.end]) {
            let command = command.map_err(|malformed| Failure::Refused(malformed.to_string()))?;
            self.push(command.len().to_string().as_bytes());
            for part in command {
                self.push(part);
            }
        }
        Ok(())
    }

    /// Appends the whole command and says where its first key stands.
    fn finish(self, script: &str, keys: &[&[u8]], out: &mut Vec<u8>) -> (usize, usize) {
        resp::push_array(out, 3 + keys.len() + self.count);
        resp::push_bulk(out, b"EVAL");
        resp::push_bulk(out, script.as_bytes());
        resp::push_bulk(out, keys.len().to_string().as_bytes());
        let mut first = None;
        for key in keys {
            let place = resp::push_bulk(out, key);
            first.get_or_insert((place.start, place.end));
        }
        out.extend_from_slice(&self.bytes);
        first.unwrap_or((out.len(), out.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::StreamId;
    use crate::sink::Origin;
    use crate::sink::fence::Shard;

    fn writes() -> Writes {
        let mut writes = Writes::default();
        let shard = Shard { stream: StreamId(0), partition: Some(0) };
        writes.begin(Origin { shard, as_of_ms: 7 });
        writes.bytes.extend(resp::command(&[b"DEL", b"card"]));
        writes.end_entry(0, 1, (17, 21));
        writes
    }

    fn parts(bytes: &[u8]) -> Vec<String> {
        let command = resp::commands(bytes).next().unwrap().unwrap();
        command.into_iter().map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_script_has_its_key_and_the_commands() {
        let scripts = unless_newer(&writes()).unwrap();
        let parts = parts(&scripts.bytes);
        assert_eq!(parts[2..], ["1", "card", "_as_of", "7", "2", "DEL", "card"]);
        assert_eq!(scripts.key(scripts.entries[0]), b"card");
        assert_eq!((scripts.entries[0].end, scripts.entries[0].replies), (scripts.bytes.len(), 1));
    }

    #[test]
    fn a_fenced_script_has_the_fences_and_the_commands() {
        let mut bytes = Vec::new();
        let writes = writes();
        let epoch = Epoch { number: 3, holder: 10 };
        fenced(&["fence".to_owned()], &[epoch], &writes, &writes.entries, &mut bytes).unwrap();
        assert_eq!(parts(&bytes)[2..], ["1", "fence", "3:a", "2", "DEL", "card"]);
    }

    #[track_caller]
    fn check(answer: &str, expected: Outcome) {
        let answer = ::redis::parse_redis_value(answer.as_bytes()).unwrap();
        assert_eq!(outcome(answer), Ok(expected));
    }

    #[test]
    fn answers_are_told_apart() {
        check("*2\r\n:1\r\n*2\r\n:1\r\n:1\r\n", Outcome::Done(vec![Value::Int(1), Value::Int(1)]));
        let later = Epoch { number: 4, holder: 11 };
        check("*2\r\n:0\r\n*2\r\n$3\r\n4:b\r\n$-1\r\n", Outcome::Fenced(vec![Some(later), None]));
        check("-MOVED 3999 10.0.0.7:6381\r\n", Outcome::Moved);
    }
}
