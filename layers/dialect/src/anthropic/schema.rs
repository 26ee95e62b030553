//! Trims JSON schemas to what structured answers accept.

use serde_json::{Map, Value};

/// Keywords that are not understood; their meaning is moved into the description.
const WORDED: [&str; 13] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// Formats that are understood.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Keywords whose values map names, which are no keywords themselves, to schemas.
const NAMED: [&str; 5] = ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"];

/// Keywords whose values are data.
const DATA: [&str; 5] = ["enum", "const", "default", "examples", "required"];

/// Whether all that matches a schema can be said where objects have the properties that are named, and no others. An
/// object that names none is a map: closed, it would always be empty.
pub(crate) fn can_be_closed(schema: &Value) -> bool {
    schema.as_object().is_some_and(|schema| !schema.is_empty()) && names_its_properties(schema)
}

fn names_its_properties(schema: &Value) -> bool {
    let Value::Object(given) = schema else { return true };
    let named = given.get("properties").and_then(Value::as_object).is_some_and(|named| !named.is_empty());
    let closed = given.get("additionalProperties") == Some(&Value::Bool(false));
    if is_object(given) && !named && !closed {
        return false;
    }
    given.iter().all(|(key, value)| match (key.as_str(), value) {
        (data, _) if DATA.contains(&data) => true,
        // It is closed in any case.
        ("additionalProperties", _) => true,
        (name, Value::Object(inner)) if NAMED.contains(&name) => inner.values().all(names_its_properties),
        (_, Value::Array(list)) => list.iter().all(names_its_properties),
        (_, value) => names_its_properties(value),
    })
}

fn is_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.contains_key("properties"),
    }
}

/// A schema that structured answers accept, as close to the given one as possible.
pub(crate) fn trimmed(schema: &Value) -> Value {
    let Value::Object(given) = schema else { return schema.clone() };
    let mut trimmed = Map::new();
    let mut words: Vec<String> = Vec::new();
    for (key, value) in given {
        match key.as_str() {
            "not" => words.push(format!("not: {value}")),
            "format" if !value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                words.push(format!("format: {value}"));
            }
            worded if WORDED.contains(&worded) => words.push(format!("{worded}: {value}")),
            // Values, not schemas: `{"default": {"minimum": 1}}` is data.
            data if DATA.contains(&data) => {
                trimmed.insert(key.clone(), value.clone());
            }
            named if NAMED.contains(&named) => {
                let inner = value.as_object().into_iter().flatten();
                let inner: Map<String, Value> =
                    inner.map(|(name, schema)| (name.clone(), self::trimmed(schema))).collect();
                trimmed.insert(key.clone(), inner.into());
            }
            "oneOf" | "anyOf" | "allOf" | "prefixItems" => {
                let list: Vec<Value> = value.as_array().into_iter().flatten().map(self::trimmed).collect();
                let key = if key == "oneOf" { "anyOf" } else { key };
                trimmed.insert(key.to_owned(), list.into());
            }
            _ => {
                trimmed.insert(key.clone(), self::trimmed(value));
            }
        }
    }
    if is_object(given) {
        trimmed.insert("additionalProperties".into(), false.into());
    }
    if !words.is_empty() {
        let described = trimmed.get("description").and_then(Value::as_str).map(|text| format!("{text} "));
        let description = format!("{}({})", described.unwrap_or_default(), words.join(", "));
        trimmed.insert("description".into(), description.into());
    }
    trimmed.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_map_that_names_no_property_cannot_be_closed() {
        let words = json!({ "type": "string" });
        for open in [
            json!({ "type": "object", "additionalProperties": words }),
            json!({ "type": "object" }),
            json!({ "type": ["object", "null"], "properties": {}, "additionalProperties": true }),
            json!({ "type": "object", "patternProperties": { "^a": words } }),
            json!({ "type": "object", "properties": { "a": { "type": "object", "additionalProperties": words } } }),
            json!({ "type": "array", "items": { "type": "object" } }),
            json!({ "$defs": { "a": { "type": "object" } }, "$ref": "#/$defs/a" }),
            json!({ "anyOf": [words, { "type": "object" }] }),
            json!({}),
            json!(true),
        ] {
            assert!(!can_be_closed(&open), "{open}");
        }
        for closed in [
            json!({ "type": "object", "properties": { "a": words }, "additionalProperties": words }),
            json!({ "type": "object", "additionalProperties": false }),
            json!({ "type": "object", "properties": { "type": { "enum": ["object"], "default": { "type": "object" } } } }),
            words.clone(),
        ] {
            assert!(can_be_closed(&closed), "{closed}");
        }
    }

    #[test]
    fn unknown_keywords_become_words_and_objects_are_closed() {
        let schema = json!({
            "type": "object",
            "properties": {
                "minimum": { "type": "integer", "minimum": 1, "description": "Least." },
                "id": { "type": "string", "format": "uuid" },
                "zip": { "type": "string", "format": "zip" },
                "kind": { "oneOf": [{ "type": "string", "maxLength": 3 }, { "type": "null" }] },
            },
        });

        assert_eq!(
            trimmed(&schema),
            json!({
                "type": "object",
                "properties": {
                    "minimum": { "type": "integer", "description": "Least. (minimum: 1)" },
                    "id": { "type": "string", "format": "uuid" },
                    "zip": { "type": "string", "description": "(format: \"zip\")" },
                    "kind": { "anyOf": [
                        { "type": "string", "description": "(maxLength: 3)" },
                        { "type": "null" },
                    ] },
                },
                "additionalProperties": false,
            })
        );
    }
}
