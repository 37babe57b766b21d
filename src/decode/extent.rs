//! How much a schema unfolds to. A decoder has a part for every use of a type,
//! so that a text of one kilobyte, in which each record uses the one before it
//! twice, would ask for more memory than there is.

use std::collections::HashMap;

use serde_json::Value;

/// Most types that a schema may unfold to. The widest records in use have some
/// thousand fields; a part of a decoder takes about 8 KiB at first.
const MOST_TYPES: u64 = 10_000;

/// Refuses a schema that unfolds to too much.
///
/// # Errors
/// One sentence.
pub(super) fn check(avro: &str) -> Result<(), String> {
    let schema: Value = serde_json::from_str(avro).map_err(|error| error.to_string())?;
    let types = types_of(&schema, "", &mut HashMap::new());
    if types > MOST_TYPES {
        return Err(format!("it unfolds to more than {MOST_TYPES} types"));
    }
    Ok(())
}

/// Counts the types of a schema, those that it names once more for each use.
/// Recursion is as deep as the JSON, which its parser limits.
fn types_of(schema: &Value, namespace: &str, named: &mut HashMap<String, u64>) -> u64 {
    match schema {
        Value::String(name) => {
            named.get(&full_name(name, namespace)).or(named.get(name)).copied().unwrap_or(1)
        }
        Value::Array(branches) => {
            branches.iter().fold(1, |sum: u64, one| sum.saturating_add(types_of(one, namespace, named)))
        }
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let name = text("name").map(|name| match text("namespace") {
                Some(own) => full_name(name, own),
                None => full_name(name, namespace),
            });
            let within = match &name {
                Some(name) => name.rsplit_once('.').map_or("", |(namespace, _)| namespace),
                None => namespace,
            };
            let mut types = 1_u64;
            let fields = object.get("fields").and_then(Value::as_array).into_iter().flatten();
            let inner = fields.filter_map(|field| field.get("type"));
            for inner in inner.chain(["items", "values"].iter().filter_map(|key| object.get(*key))) {
                types = types.saturating_add(types_of(inner, within, named));
            }
            match object.get("type") {
                Some(kind @ (Value::Object(_) | Value::Array(_))) => {
                    types = types.saturating_add(types_of(kind, within, named));
                }
                Some(Value::String(kind)) if name.is_none() => {
                    let used = named.get(&full_name(kind, within)).or(named.get(kind)).copied();
                    types = types.saturating_add(used.unwrap_or(0));
                }
                _ => {}
            }
            if let Some(name) = name {
                named.insert(name, types);
            }
            types
        }
        _ => 1,
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shipped::SHIPPED;

    /// Records of two fields each, of which each uses the one before it twice.
    fn doubling(levels: u32) -> String {
        let first = r#"{"type":"record","name":"R0","fields":[{"name":"a","type":"int"}]}"#.to_owned();
        (1..=levels).fold(first, |inner, level| {
            format!(
                r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"R{}"}}]}}"#,
                level - 1
            )
        })
    }

    #[test]
    fn shipped_schemas_and_wide_ones_pass() {
        for (name, schema) in SHIPPED {
            assert_eq!(check(schema), Ok(()), "{name}");
        }
        let fields: Vec<String> =
            (0..2000).map(|field| format!(r#"{{"name":"f{field}","type":["null","string"]}}"#)).collect();
        let wide = format!(r#"{{"type":"record","name":"W","fields":[{}]}}"#, fields.join(","));
        assert_eq!(check(&wide), Ok(()));
        assert_eq!(check(&doubling(10)), Ok(()));
    }

    #[test]
    fn a_schema_that_doubles_is_refused_without_unfolding_it() {
        for levels in [12, 30] {
            assert!(check(&doubling(levels)).is_err(), "{levels}");
        }
    }
}
