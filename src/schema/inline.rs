//! References of a registry's schema, put in where their names are first used,
//! so that one text holds all: Avro knows no other way to say it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Puts each of `definitions`, by full name, at the first use of its name in
/// `schema`. What is put in is looked through too.
pub(super) fn inline(schema: Value, mut definitions: BTreeMap<String, Value>) -> Value {
    in_type(schema, "", &mut definitions)
}

fn in_type(schema: Value, namespace: &str, definitions: &mut BTreeMap<String, Value>) -> Value {
    match schema {
        Value::String(name) => {
            let full = full_name(&name, namespace);
            let definition = definitions.remove(&full).or_else(|| definitions.remove(&name));
            match definition {
                Some(definition) => in_type(rooted(definition), "", definitions),
                None => Value::String(name),
            }
        }
        Value::Array(branches) => {
            Value::Array(branches.into_iter().map(|branch| in_type(branch, namespace, definitions)).collect())
        }
        Value::Object(object) => Value::Object(in_object(object, namespace, definitions)),
        other => other,
    }
}

fn in_object(
    mut object: Map<String, Value>,
    namespace: &str,
    definitions: &mut BTreeMap<String, Value>,
) -> Map<String, Value> {
    let own = own_namespace(&object).unwrap_or_else(|| namespace.to_owned());
    for name in ["type", "items", "values"] {
        if let Some(value) = object.get_mut(name) {
            *value = in_type(value.take(), &own, definitions);
        }
    }
    if let Some(Value::Array(fields)) = object.get_mut("fields") {
        for field in fields {
            if let Some(value) = field.get_mut("type") {
                *value = in_type(value.take(), &own, definitions);
            }
        }
    }
    object
}

/// The namespace that a definition sets, if it does.
fn own_namespace(object: &Map<String, Value>) -> Option<String> {
    match (object.get("name"), object.get("namespace")) {
        (Some(Value::String(name)), _) if name.contains('.') => {
            name.rsplit_once('.').map(|(namespace, _)| namespace.to_owned())
        }
        (Some(_), Some(Value::String(namespace))) => Some(namespace.clone()),
        _ => None,
    }
}

/// A definition that does not take on the namespace of the place where it is put.
fn rooted(mut definition: Value) -> Value {
    if let Value::Object(object) = &mut definition
        && object.contains_key("name")
        && own_namespace(object).is_none()
    {
        object.insert("namespace".to_owned(), Value::String(String::new()));
    }
    definition
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_use_of_a_name_becomes_its_definition() {
        let schema = json!({"type": "record", "name": "Order", "namespace": "shop", "fields": [
            {"name": "billing", "type": "shop.Address"},
            {"name": "delivery", "type": ["null", "Address"]},
        ]});
        let address = json!({"type": "record", "name": "Address", "namespace": "shop", "fields": [
            {"name": "country", "type": "geo.Country"},
        ]});
        let country = json!({"type": "enum", "name": "geo.Country", "symbols": ["CH"]});
        let definitions = [("shop.Address".to_owned(), address), ("geo.Country".to_owned(), country)].into();
        let whole = inline(schema, definitions);
        assert_eq!(whole["fields"][0]["type"]["fields"][0]["type"]["symbols"], json!(["CH"]));
        assert_eq!(whole["fields"][1]["type"], json!(["null", "Address"]));
        apache_avro::Schema::parse_str(&whole.to_string()).unwrap();
    }

    #[test]
    fn a_definition_without_a_namespace_keeps_none() {
        let schema = json!({"type": "record", "name": "a.B", "fields": [{"name": "x", "type": {"type": "array", "items": "C"}}]});
        let definition = json!({"type": "fixed", "name": "C", "size": 2});
        let whole = inline(schema, [("C".to_owned(), definition)].into());
        assert_eq!(whole["fields"][0]["type"]["items"]["namespace"], json!(""));
    }
}
