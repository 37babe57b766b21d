//! The name of an entity's hash: a template with placeholders.

use std::fmt;

/// The placeholders, as messages name them.
const PLACEHOLDERS: &str = "entity, key, view";

/// How the Redis key of an entity is put together. `{entity}`, `{key}` and
/// `{view}` are replaced; `{{` and `}}` stand for the braces themselves, so
/// that `features:{{{key}}}:{view}` makes the key a hash tag of Redis Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Entity,
    Key,
    View,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that does not exist.
    #[error("key template `{template}` has an unknown placeholder `{{{name}}}`; valid are: {}", PLACEHOLDERS)]
    UnknownPlaceholder {
        /// The template.
        template: String,
        /// The placeholder's name.
        name: String,
    },
    /// A brace without its partner.
    #[error(
        "key template `{template}` has a brace without a partner; write `{{{{` or `}}}}` for the brace itself"
    )]
    LoneBrace {
        /// The template.
        template: String,
    },
    /// Every entity would have the same hash.
    #[error("key template `{template}` lacks `{{key}}`, so all entities would share one hash")]
    NoKey {
        /// The template.
        template: String,
    },
}

impl KeyTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// When a placeholder is unknown, a brace has no partner or `{key}` is missing.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        let lone_brace = || TemplateError::LoneBrace { template: template.to_owned() };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = template;
        while let Some(character) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or_else(lone_brace)?;
                let part = match name {
                    "entity" => Part::Entity,
                    "key" => Part::Key,
                    "view" => Part::View,
                    _ => {
                        let (template, name) = (template.to_owned(), name.to_owned());
                        return Err(TemplateError::UnknownPlaceholder { template, name });
                    }
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(part);
                rest = after;
            } else if character == '}' {
                return Err(lone_brace());
            } else {
                literal.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if !parts.contains(&Part::Key) {
            return Err(TemplateError::NoKey { template: template.to_owned() });
        }
        Ok(Self { parts })
    }

    /// The Redis key of one entity's hash.
    pub fn redis_key(&self, entity: &str, key: &str, view: &str) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.as_str(),
                Part::Entity => entity,
                Part::Key => key,
                Part::View => view,
            })
            .collect()
    }

    /// What stands before, between and after the places of `{key}`, for one
    /// entity and view: the key's text goes between any two of them.
    pub(super) fn around_key(&self, entity: &str, view: &str) -> Vec<Vec<u8>> {
        let mut around = vec![Vec::new()];
        for part in &self.parts {
            let text = match part {
                Part::Literal(text) => text.as_str(),
                Part::Entity => entity,
                Part::View => view,
                Part::Key => {
                    around.push(Vec::new());
                    continue;
                }
            };
            if let Some(last) = around.last_mut() {
                last.extend_from_slice(text.as_bytes());
            }
        }
        around
    }
}

impl Default for KeyTemplate {
    /// `features:{entity}:{key}:{view}`
    fn default() -> Self {
        let literal = |text: &str| Part::Literal(text.to_owned());
        let colon = || literal(":");
        Self { parts: vec![literal("features:"), Part::Entity, colon(), Part::Key, colon(), Part::View] }
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Entity => f.write_str("{entity}")?,
                Part::Key => f.write_str("{key}")?,
                Part::View => f.write_str("{view}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let parsed = KeyTemplate::parse(template).unwrap();
        assert_eq!(parsed.redis_key("card", "c:1", "txn"), expected);
        assert_eq!(parsed.around_key("card", "txn").join(b"c:1".as_slice()), expected.as_bytes());
        assert_eq!(KeyTemplate::parse(&parsed.to_string()).unwrap(), parsed);
    }

    #[test]
    fn templates_are_filled_in() {
        check("features:{entity}:{key}:{view}", "features:card:c:1:txn");
        check("{key}", "c:1");
        check("f:{{{key}}}:{view}", "f:{c:1}:txn");
        check("ä{key}-{key}}}", "äc:1-c:1}");
        assert_eq!(KeyTemplate::parse("features:{entity}:{key}:{view}").unwrap(), KeyTemplate::default());
    }

    #[test]
    fn wrong_templates_say_why() {
        let message = |template: &str| KeyTemplate::parse(template).unwrap_err().to_string();
        assert!(
            message("f:{keys}").contains("`{keys}`; valid are: entity, key, view"),
            "{}",
            message("f:{keys}")
        );
        assert!(message("f:{view}").contains("lacks `{key}`"));
        assert!(message("f:{key").contains("a brace without a partner; write `{{` or `}}`"));
        assert!(message("f:{key}}").contains("a brace without a partner"));
    }
}
