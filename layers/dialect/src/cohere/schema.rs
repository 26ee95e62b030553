//! JSON schemas in the grammar of structured answers, and of tools whose arguments follow theirs exactly.
//!
//! Source: <https://docs.cohere.com/docs/structured-outputs> (supported and unsupported features, constraints). What it
//! does not know is put into words within the schema; what it forbids at the top, or in an object, cannot be said at all.

use serde_json::{Map, Value};

/// Keywords that are refused.
const WORDED: [&str; 16] = [
    "not",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "if",
    "then",
    "else",
];

/// Formats that are understood.
const FORMATS: [&str; 4] = ["date-time", "uuid", "date", "time"];

/// Parts of regular expressions that are not.
const PATTERNS: [&str; 4] = ["^", "$", "?=", "?!"];

/// Keywords whose values map names, which are no keywords themselves, to schemas.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];

/// Keywords whose values are data.
const DATA: [&str; 6] = ["enum", "const", "default", "examples", "required", "description"];

/// The schema as it is accepted; none where it is no object's, or holds an object that requires nothing.
pub(super) fn fitted(schema: &Value) -> Option<Value> {
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    (is_object && requires(schema)).then(|| trimmed(schema))
}

/// Whether every object in it requires a property.
fn requires(schema: &Value) -> bool {
    let Value::Object(given) = schema else { return true };
    if is_object(given) {
        let names = given.get("required").and_then(Value::as_array);
        let known = |name: &Value| {
            let properties = given.get("properties").and_then(Value::as_object);
            name.as_str().zip(properties).is_some_and(|(name, known)| known.contains_key(name))
        };
        if !names.is_some_and(|names| !names.is_empty() && names.iter().all(known)) {
            return false;
        }
    }
    inner(given).all(requires)
}

fn is_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.contains_key("properties"),
    }
}

/// The schemas within a schema.
fn inner(given: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    given.iter().filter(|(key, _)| !DATA.contains(&key.as_str())).flat_map(|(key, value)| match value {
        Value::Object(named) if NAMED.contains(&key.as_str()) => named.values().collect::<Vec<_>>(),
        Value::Array(list) => list.iter().collect(),
        other => vec![other],
    })
}

/// A schema as close to the given one as possible.
fn trimmed(schema: &Value) -> Value {
    let Value::Object(given) = schema else { return schema.clone() };
    let mut trimmed = Map::new();
    let mut words: Vec<String> = Vec::new();
    for (key, value) in given {
        match (key.as_str(), value) {
            ("format", Value::String(format)) if FORMATS.contains(&&**format) => {
                trimmed.insert(key.clone(), value.clone());
            }
            ("pattern", Value::String(pattern)) => match plain_pattern(pattern) {
                Some(plain) => drop(trimmed.insert(key.clone(), plain.into())),
                None => words.push(format!("pattern: {value}")),
            },
            ("format", _) => words.push(format!("format: {value}")),
            (worded, _) if WORDED.contains(&worded) => words.push(format!("{worded}: {value}")),
            (data, _) if DATA.contains(&data) => drop(trimmed.insert(key.clone(), value.clone())),
            (named, Value::Object(inner)) if NAMED.contains(&named) => {
                let inner = inner.iter().map(|(name, schema)| (name.clone(), self::trimmed(schema)));
                trimmed.insert(key.clone(), inner.collect::<Map<_, _>>().into());
            }
            // Of several that each must hold, one alone is what it says.
            ("allOf", Value::Array(list)) if list.len() == 1 && list[0].is_object() => {
                let Value::Object(one) = self::trimmed(&list[0]) else { continue };
                for (key, value) in one {
                    trimmed.entry(key).or_insert(value);
                }
            }
            ("allOf", _) => words.push(format!("allOf: {value}")),
            ("oneOf" | "anyOf" | "prefixItems", Value::Array(list)) => {
                let list: Vec<Value> = list.iter().map(self::trimmed).collect();
                let key = if key == "oneOf" { "anyOf" } else { key };
                trimmed.insert(key.to_owned(), list.into());
            }
            _ => drop(trimmed.insert(key.clone(), self::trimmed(value))),
        }
    }
    if !words.is_empty() {
        let described = trimmed.get("description").and_then(Value::as_str).map(|text| format!("{text} "));
        let description = format!("{}({})", described.unwrap_or_default(), words.join(", "));
        trimmed.insert("description".into(), description.into());
    }
    trimmed.into()
}

/// A pattern without the anchors around it, which stand for what always holds here; none where it has others.
fn plain_pattern(pattern: &str) -> Option<&str> {
    let plain = pattern.strip_prefix('^')?.strip_suffix('$')?;
    (!PATTERNS.iter().any(|part| plain.contains(part))).then_some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_grammar_does_not_know_is_worded_and_a_pattern_loses_its_anchors() {
        let schema = json!({
            "type": "object",
            "properties": {
                "minimum": { "type": "integer", "minimum": 1, "description": "Least." },
                "code": { "type": "string", "pattern": "^[a-z]{3}$" },
                "loose": { "type": "string", "pattern": "[a-z]" },
                "day": { "type": "string", "format": "date" },
                "mail": { "type": "string", "format": "email" },
                "kind": { "oneOf": [{ "type": "string", "maxLength": 3 }, { "type": "null" }] },
                "one": { "allOf": [{ "$ref": "#/$defs/a" }], "description": "One." },
            },
            "required": ["minimum"],
            "additionalProperties": false,
            "$defs": { "a": { "type": "string" } },
        });

        assert_eq!(
            fitted(&schema).unwrap(),
            json!({
                "type": "object",
                "properties": {
                    "minimum": { "type": "integer", "description": "Least. (minimum: 1)" },
                    "code": { "type": "string", "pattern": "[a-z]{3}" },
                    "loose": { "type": "string", "description": "(pattern: \"[a-z]\")" },
                    "day": { "type": "string", "format": "date" },
                    "mail": { "type": "string", "description": "(format: \"email\")" },
                    "kind": { "anyOf": [
                        { "type": "string", "description": "(maxLength: 3)" },
                        { "type": "null" },
                    ] },
                    "one": { "$ref": "#/$defs/a", "description": "One." },
                },
                "required": ["minimum"],
                "additionalProperties": false,
                "$defs": { "a": { "type": "string" } },
            })
        );
    }

    #[test]
    fn a_schema_whose_objects_require_nothing_cannot_be_said() {
        let a = json!({ "type": "string" });
        for schema in [
            json!({ "type": "array", "items": a }),
            json!({ "anyOf": [a] }),
            json!({ "type": "object", "properties": { "a": a } }),
            json!({ "type": "object", "properties": { "a": a }, "required": [] }),
            json!({ "type": "object", "properties": { "a": a }, "required": ["b"] }),
            json!({ "type": "object", "properties": { "a": { "type": "object" } }, "required": ["a"] }),
            json!({ "type": "object", "properties": { "a": a }, "required": ["a"], "$defs": { "b": { "type": "object" } } }),
            json!(true),
        ] {
            assert_eq!(fitted(&schema), None, "{schema}");
        }
        let named = json!({ "type": "object", "properties": { "type": { "enum": [{ "type": "object" }] } }, "required": ["type"] });
        assert!(fitted(&named).is_some());
    }
}
