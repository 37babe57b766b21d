//! librdkafka properties: passed through, but for those that are ours.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::values::{Scope, read_secret};
use crate::error::Problem;

/// Properties as librdkafka names them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct KafkaProperties(pub BTreeMap<String, String>);

/// Values of properties that look secret are not shown.
impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_secret = |name: &str| ["password", "secret", "pem"].iter().any(|word| name.contains(word));
        let shown =
            self.0.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

/// Properties that decide what this program promises, and what to use instead.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "use the option `brokers`"),
    ("metadata.broker.list", "use the option `brokers`"),
    ("group.id", "use the option `group_id`"),
    ("auto.offset.reset", "use the option `start_from`"),
    ("enable.auto.commit", "offsets are committed once Redis has acknowledged"),
    ("auto.commit.interval.ms", "offsets are committed once Redis has acknowledged"),
    ("enable.auto.offset.store", "offsets are committed once Redis has acknowledged"),
    ("enable.partition.eof", "the end of a partition tells that a shard is caught up"),
];

/// Reads the `[kafka]` table. A name that ends with `_file` gives the file that holds the value.
pub(super) fn read(scope: &Scope<'_>) -> KafkaProperties {
    let mut properties = BTreeMap::new();
    for (name, entry) in scope.table {
        let property = name.strip_suffix("_file").unwrap_or(name);
        if let Some((_, hint)) = OURS.iter().find(|(ours, _)| *ours == property) {
            scope.wrong(name, Problem::new("this property is not to be set").hint(*hint));
            continue;
        }
        let Some(value) = entry.value.scalar() else {
            scope.wrong(name, Problem::new(format!("{} is no value of a property", entry.value.kind())));
            continue;
        };
        if property == name {
            properties.insert(property.to_owned(), value);
        } else if scope.table.contains_key(property) {
            scope.wrong(
                name,
                Problem::new(format!("`kafka.{property}` is given too")).hint("keep one of them"),
            );
        } else {
            match read_secret(Path::new(&value)) {
                Ok(secret) => {
                    properties.insert(property.to_owned(), secret.reveal().to_owned());
                }
                Err(problem) => scope.wrong(name, problem),
            }
        }
    }
    KafkaProperties(properties)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::tree::{Value, flatten, parse};
    use super::*;

    fn read_text(text: &str) -> (KafkaProperties, Vec<Problem>) {
        let mut tree = parse("w.toml", text).unwrap();
        let Some(Value::Table(table)) = tree.remove("kafka").map(|entry| entry.value) else {
            panic!("no table")
        };
        let (table, problems) = (flatten(table), RefCell::new(Vec::new()));
        let properties = read(&Scope { table: &table, prefix: "kafka.", problems: &problems });
        (properties, problems.into_inner())
    }

    #[test]
    fn properties_of_every_kind_pass() {
        let (properties, problems) = read_text(
            "[kafka]\nsecurity.protocol = \"ssl\"\n\"fetch.min.bytes\" = 1\nx = true\n\"sasl.password\" = \"p\"\n",
        );
        assert_eq!(problems, []);
        assert_eq!(properties.0["security.protocol"], "ssl");
        assert_eq!(properties.0["fetch.min.bytes"], "1");
        assert!(format!("{properties:?}").contains(r#""sasl.password": "***""#), "{properties:?}");
    }

    #[test]
    fn ours_are_refused_with_what_to_use() {
        let (_, problems) =
            read_text("[kafka]\n\"group.id\" = \"x\"\nenable.auto.commit = true\nlist = [1]\n");
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.hint.as_deref() == Some("use the option `group_id`")));
    }
}
