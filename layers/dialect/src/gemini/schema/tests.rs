use super::*;

fn told(schema: Value) -> Value {
    sanitised(&schema, false)
}

#[test]
fn keywords_that_google_refuses_are_worded_and_names_of_properties_stay() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "default": { "type": "string", "default": "a", "title": "D" },
            "additionalProperties": { "const": "x" },
            "count": { "type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10, "multipleOf": 2 },
            "share": { "type": "number", "exclusiveMinimum": 0, "description": "A share." },
            "note": { "type": ["string", "null"], "format": "uri", "minLength": 1 },
            "$ref": { "$ref": "#/$defs/place" },
        },
        "required": ["default", "missing"],
        "$defs": { "place": { "type": "object", "properties": { "city": { "type": "string" } } } },
    });

    assert_eq!(
        told(schema),
        json!({
            "type": "object",
            "properties": {
                "default": { "type": "string", "title": "D", "description": "(default: \"a\")" },
                "additionalProperties": { "type": "string", "enum": ["x"] },
                "count": { "type": "integer", "minimum": 1, "maximum": 9, "description": "(multipleOf: 2)" },
                "share": { "type": "number", "minimum": 0, "description": "A share. (greater than 0)" },
                "note": { "type": "string", "minLength": 1, "nullable": true, "description": "(format: \"uri\")" },
                "$ref": { "type": "object", "properties": { "city": { "type": "string" } } },
                "missing": anything(),
            },
            "required": ["default", "missing"],
        })
    );
}

#[test]
fn choices_are_put_into_the_one_form_there_is() {
    for (schema, expected) in [
        (
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }], "description": "d" }),
            json!({ "type": "string", "nullable": true, "description": "d" }),
        ),
        (
            json!({ "oneOf": [{ "const": "a", "description": "first" }, { "const": "b" }] }),
            json!({ "type": "string", "enum": ["a", "b"], "description": "(\"a\": first)" }),
        ),
        (
            json!({ "type": ["string", "integer"], "minLength": 1, "minimum": 2, "description": "d" }),
            json!({ "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "integer", "minimum": 2 }], "description": "d" }),
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "string" } },
                "anyOf": [{ "properties": { "b": { "type": "integer" } }, "required": ["b"] }, { "required": ["a"] , "properties": {} }] }),
            json!({ "anyOf": [
                { "type": "object", "properties": { "b": { "type": "integer" }, "a": { "type": "string" } }, "required": ["b"] },
                { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
            ] }),
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } },
                "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
            json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } },
                "description": "(at least one of these must be given: `a`; `b`)" }),
        ),
        (
            json!({ "allOf": [
                { "properties": { "a": { "type": "string" } }, "required": ["a"] },
                { "properties": { "b": { "type": "string" } } },
            ] }),
            json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } }, "required": ["a"] }),
        ),
        (
            json!({ "enum": [1, 2, null] }),
            json!({ "type": "integer", "nullable": true, "description": "(one of 1, 2)" }),
        ),
        (
            json!({ "enum": ["", "a"] }),
            json!({ "type": "string", "enum": ["a"], "description": "(or the empty text)" }),
        ),
        (json!({ "const": 3 }), json!({ "type": "integer", "description": "(always 3)" })),
        (
            json!({ "type": "null" }),
            json!({ "type": "string", "nullable": true, "description": "(always null)" }),
        ),
        (json!({}), anything()),
        (json!(true), anything()),
    ] {
        assert_eq!(told(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn lists_have_elements_and_maps_tell_theirs() {
    assert_eq!(told(json!({ "type": "array" })), json!({ "type": "array", "items": anything() }));
    assert_eq!(
        told(json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "integer" }] })),
        json!({
            "type": "array",
            "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
            "description": "(in this order: [{\"type\":\"string\"},{\"type\":\"integer\"}])",
        })
    );
    assert_eq!(
        told(json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        json!({ "type": "object", "description": "(the value of any further key matches {\"type\":\"string\"})" })
    );
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema = json!({
        "$ref": "#/$defs/node",
        "$defs": { "node": {
            "type": "object",
            "properties": { "next": { "$ref": "#/$defs/node" }, "all": { "type": "array", "items": { "$ref": "#" } } },
        } },
    });

    assert_eq!(
        told(schema),
        json!({
            "type": "object",
            "properties": {
                "next": { "type": "object", "description": "(of the same form as node, in which it stands)" },
                "all": { "type": "array", "items": { "type": "object", "description": "(of the same form as the whole)" } },
            },
        })
    );
}

#[test]
fn references_that_multiply_are_cut_off() {
    let mut tables = Map::new();
    for level in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/t{}", level + 1) });
        tables.insert(
            format!("t{level}"),
            json!({ "type": "object", "properties": { "a": next, "b": next, "c": next } }),
        );
    }
    let schema = json!({ "$ref": "#/$defs/t0", "$defs": tables });

    assert!(told(schema).to_string().len() < 2_000_000);
}

#[test]
fn answers_keep_the_order_of_their_properties() {
    let schema = json!({ "properties": { "z": { "type": "string" }, "a": { "type": "string" } } });

    assert_eq!(sanitised(&schema, true)["propertyOrdering"], json!(["z", "a"]));
    assert_eq!(sanitised(&schema, false).get("propertyOrdering"), None);
}

#[test]
fn what_would_be_written_out_many_times_is_told_in_words() {
    let many: Map<String, Value> =
        (0..1_000).map(|at| (format!("p{at}"), json!({ "type": "string" }))).collect();
    let branches: Vec<Value> =
        (0..1_000).map(|at| json!({ "properties": { format!("q{at}"): {} } })).collect();

    let told = told(json!({ "type": "object", "properties": many, "anyOf": branches }));

    assert_eq!(told["properties"].as_object().map(Map::len), Some(1_000));
    assert!(told["description"].as_str().unwrap().starts_with("(one of [{"));
}
