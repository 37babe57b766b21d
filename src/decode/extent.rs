//! How much a schema unfolds to, and how much its events can. A decoder has a
//! part for every use of a type, so that a text of one kilobyte, in which each
//! record uses the one before it twice, would ask for more memory than there is.
//! Five bytes of an event could say that two thousand million items follow, each
//! of no bytes at all.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Most types that a schema may unfold to. The widest records in use have some
/// thousand fields; a part of a decoder takes about 8 KiB at first.
const MOST_TYPES: u64 = 10_000;

/// What a schema comes to.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// How many types it unfolds to.
    types: u64,
    /// Whether its values take no bytes.
    is_empty: bool,
    /// Whether the items of some array in it take no bytes.
    has_empty_items: bool,
}

impl Extent {
    const ONE: Self = Self { types: 1, is_empty: false, has_empty_items: false };

    /// Adds what is inside.
    const fn add(&mut self, inner: Self) {
        self.types = self.types.saturating_add(inner.types);
        self.has_empty_items |= inner.has_empty_items;
    }
}

/// Refuses a schema that unfolds to too much, or of which few bytes do: a
/// decoder steps through an array's items, of which an event says how many
/// there are, and items without bytes never come to the event's end.
///
/// # Errors
/// One sentence.
pub(super) fn check(avro: &str) -> Result<(), String> {
    let schema: Value = serde_json::from_str(avro).map_err(|error| error.to_string())?;
    let extent = extent_of(&schema, "", &mut HashMap::new());
    if extent.types > MOST_TYPES {
        return Err(format!("it unfolds to more than {MOST_TYPES} types"));
    }
    if extent.has_empty_items {
        return Err("it has an array whose items take no bytes, such as `null`".to_owned());
    }
    Ok(())
}

/// Counts the types of a schema, those that it names once more for each use.
/// Recursion is as deep as the JSON, which its parser limits.
fn extent_of(schema: &Value, namespace: &str, named: &mut HashMap<String, Extent>) -> Extent {
    match schema {
        Value::String(name) => {
            let known = named.get(&full_name(name, namespace)).or(named.get(name)).copied();
            known.unwrap_or(Extent { is_empty: name == "null", ..Extent::ONE })
        }
        Value::Array(branches) => {
            let mut extent = Extent::ONE;
            branches.iter().for_each(|one| extent.add(extent_of(one, namespace, named)));
            extent
        }
        Value::Object(object) => extent_of_object(object, namespace, named),
        _ => Extent::ONE,
    }
}

fn extent_of_object(
    object: &Map<String, Value>,
    namespace: &str,
    named: &mut HashMap<String, Extent>,
) -> Extent {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let name = text("name").map(|name| match text("namespace") {
        Some(own) => full_name(name, own),
        None => full_name(name, namespace),
    });
    let within = match &name {
        Some(name) => name.rsplit_once('.').map_or("", |(namespace, _)| namespace),
        None => namespace,
    };
    let mut extent = Extent::ONE;
    let mut fields_are_empty = true;
    for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
        let Some(kind) = field.get("type") else { continue };
        let inner = extent_of(kind, within, named);
        fields_are_empty &= inner.is_empty;
        extent.add(inner);
    }
    if let Some(items) = object.get("items") {
        let inner = extent_of(items, within, named);
        extent.has_empty_items |= inner.is_empty;
        extent.add(inner);
    }
    // An entry of a map has a key at least.
    if let Some(values) = object.get("values") {
        extent.add(extent_of(values, within, named));
    }
    match object.get("type") {
        Some(kind @ (Value::Object(_) | Value::Array(_))) => {
            let inner = extent_of(kind, within, named);
            extent.is_empty = inner.is_empty;
            extent.add(inner);
        }
        Some(Value::String(kind)) => match kind.as_str() {
            "null" => extent.is_empty = true,
            "record" | "error" => extent.is_empty = fields_are_empty,
            "fixed" => extent.is_empty = object.get("size").and_then(Value::as_u64) == Some(0),
            _ if name.is_none() => {
                let used = named.get(&full_name(kind, within)).or(named.get(kind)).copied();
                if let Some(used) = used {
                    extent.is_empty = used.is_empty;
                    extent.add(used);
                }
            }
            _ => {}
        },
        _ => {}
    }
    if let Some(name) = name {
        named.insert(name, extent);
    }
    extent
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

    #[track_caller]
    fn check_field(kind: &str, is_taken: bool) {
        let schema = format!(
            r#"{{"type":"record","name":"R","fields":[
                {{"name":"e","type":{{"type":"record","name":"Empty","fields":[]}}}},
                {{"name":"f","type":{{"type":"fixed","name":"Nothing","size":0}}}},
                {{"name":"field","type":{kind}}}]}}"#
        );
        let checked = check(&schema);
        assert_eq!(checked.is_ok(), is_taken, "{kind}: {checked:?}");
    }

    #[test]
    fn arrays_of_what_takes_no_bytes_are_refused() {
        let array = |items: &str| format!(r#"{{"type":"array","items":{items}}}"#);
        for items in [
            r#""null""#,
            r#"{"type":"null"}"#,
            r#"{"type":{"type":"null"}}"#,
            r#""Empty""#,
            r#"{"type":"Nothing"}"#,
            r#"{"type":"record","name":"N","fields":[{"name":"a","type":"null"}]}"#,
        ] {
            check_field(&array(items), false);
            // Also where they are not at the top.
            check_field(&array(&array(items)), false);
            check_field(&format!(r#"["null",{}]"#, array(items)), false);
            check_field(&format!(r#"{{"type":"map","values":{}}}"#, array(items)), false);
            // Alone, and in a map, they are no harm.
            check_field(items, true);
            check_field(&format!(r#"{{"type":"map","values":{items}}}"#), true);
            // Which branch it is takes a byte.
            check_field(&array(&format!("[{items}]")), true);
        }
        check_field(&array(r#""int""#), true);
        check_field(&array(r#"{"type":"fixed","name":"F","size":1}"#), true);
        check_field(&array(r#"{"type":"enum","name":"E","symbols":["A"]}"#), true);
        check_field(&array(r#"{"type":"record","name":"S","fields":[{"name":"a","type":"int"}]}"#), true);
    }
}
