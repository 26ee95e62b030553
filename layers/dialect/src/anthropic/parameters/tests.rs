use super::choices::CHOICES;
use super::*;

fn schema(given: Value) -> Value {
    Parameters::of(&given).expect("understood").schema
}

fn fitted(given: Value) -> Parameters {
    Parameters::of(&given).expect("understood")
}

#[test]
fn parameters_stay_whatever_the_form_of_their_type() {
    let given = |kind: Value| json!({ "type": kind, "properties": { "a": { "type": "string" } }, "required": ["a"], "x": 1 });
    let expected = given("object".into());

    for kind in [
        json!("object"),
        json!(["object", "null"]),
        json!(["null", "object"]),
        json!(null),
        json!("OBJECT"),
        json!("None"),
        json!(""),
        json!({}),
        json!("string"),
    ] {
        assert_eq!(schema(given(kind.clone())), expected, "{kind}");
    }
    let mut untyped = given(json!(null));
    untyped.as_object_mut().unwrap().shift_remove("type");
    assert_eq!(schema(untyped), expected);
    assert_eq!(schema(Value::from(expected.to_string())), expected, "written as text");
    assert_eq!(
        schema(json!({ "type": "object", "properties": [], "required": null })),
        json!({ "type": "object", "properties": {} })
    );
    for empty in [json!(null), json!(true), json!(""), json!("null")] {
        assert_eq!(schema(empty), json!({ "type": "object", "properties": {} }));
    }
}

#[test]
fn what_is_no_schema_of_an_object_is_refused() {
    for given in [
        json!(5),
        json!([]),
        json!(false),
        json!("{"),
        json!("5"),
        json!({ "type": "string" }),
        json!({ "type": ["array", "null"] }),
        json!({ "properties": 5 }),
        json!({ "$ref": "#/$defs/none" }),
        json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
        json!({ "anyOf": {} }),
    ] {
        assert!(Parameters::of(&given).is_err(), "{given}");
    }
}

#[test]
fn rules_of_required_alone_are_worded() {
    let one = fitted(json!({
        "type": "object", "properties": { "a": { "type": "string" } }, "anyOf": [{ "required": ["a"] }],
    }));
    assert_eq!(
        one.schema,
        json!({
            "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"],
        })
    );
    assert_eq!(one.rules, ["At least one of these must be given: `a`."]);

    let several = fitted(json!({
        "properties": { "a": {}, "b c": {}, "d": {} },
        "oneOf": [{ "required": ["a"] }, { "required": ["b c", "d"] }],
    }));
    assert_eq!(several.schema["properties"], json!({ "a": {}, "b_c": {}, "d": {} }));
    assert_eq!(several.schema.get("required"), None);
    assert_eq!(several.rules, ["Exactly one of these must be given: `a`; `b_c` and `d`."]);
}

#[test]
fn alternatives_of_objects_are_merged() {
    let merged = fitted(json!({
        "$defs": {
            "Cat": { "type": "object", "properties": { "kind": { "const": "cat" }, "lives": { "type": "integer" } },
                "required": ["kind", "lives"] },
            "Dog": { "type": "object", "properties": { "kind": { "const": "dog" }, "lives": { "type": "string" } },
                "required": ["kind"] },
        },
        "discriminator": { "propertyName": "kind" },
        "oneOf": [{ "$ref": "#/$defs/Cat" }, { "$ref": "#/$defs/Dog" }, { "type": "null" }],
    }));

    assert_eq!(
        merged.schema["properties"],
        json!({
            "kind": { "enum": ["cat", "dog"] },
            "lives": { "anyOf": [{ "type": "integer" }, { "type": "string" }] },
        })
    );
    assert_eq!(merged.schema["required"], json!(["kind"]));
    assert_eq!(
        merged.rules,
        ["Exactly one of these must be given: `kind` and `lives`; `kind`, with `lives` if wanted."]
    );
    assert!(CHOICES.iter().all(|choice| merged.schema.get(choice).is_none()));
}

#[test]
fn what_holds_together_is_united() {
    let merged = fitted(json!({
        "type": "object",
        "properties": { "a": { "type": "string" } },
        "required": ["a"],
        "allOf": [
            { "properties": { "a": { "minLength": 1 }, "b": {} }, "required": ["b"], "minProperties": 2 },
            { "if": { "required": ["b"] }, "then": { "required": ["c"] } },
            { "if": { "required": ["d"] }, "else": { "required": ["e"] } },
            { "minProperties": 3, "anyOf": [{ "required": ["c"] }, { "required": ["d"] }] },
        ],
    }));

    assert_eq!(
        merged.schema,
        json!({
            "type": "object",
            "properties": { "a": { "allOf": [{ "type": "string" }, { "minLength": 1 }] }, "b": {} },
            "required": ["a", "b"],
            "minProperties": 2,
            "if": { "required": ["b"] },
            "then": { "required": ["c"] },
        })
    );
    assert_eq!(
        merged.rules,
        [
            "Arguments must also match {\"if\":{\"required\":[\"d\"]},\"else\":{\"required\":[\"e\"]}}.",
            "At least one of these must be given: `c`; `d`.",
            "Arguments must also match {\"minProperties\":3}.",
        ]
    );
}

#[test]
fn a_choice_that_demands_nothing_is_not_told() {
    let open = fitted(json!({ "properties": { "a": {} }, "anyOf": [{ "required": ["a"] }, {}] }));

    assert!(open.rules.is_empty());
    assert_eq!(open.schema, json!({ "properties": { "a": {} }, "type": "object" }));
}

#[test]
fn schemas_that_never_end_or_multiply_are_refused_at_once() {
    let endless = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/a" }] } } });
    assert!(Parameters::of(&endless).is_err());
    let mut defs = Map::new();
    for depth in 0..30 {
        let next = json!({ "$ref": format!("#/$defs/{}", depth + 1) });
        defs.insert(depth.to_string(), json!({ "allOf": [next, next] }));
    }
    defs.insert("30".into(), json!({}));
    assert!(Parameters::of(&json!({ "$ref": "#/$defs/0", "$defs": defs })).is_err());
}

#[test]
fn odd_names_are_fitted_wherever_the_schema_speaks_of_them_and_only_at_its_top() {
    let long = "é".repeat(70);
    let fitted = fitted(json!({
        "type": "object",
        "properties": {
            "page[size]": { "properties": { "a b": {} }, "required": ["a b"] }, "page_size_": {}, "x.y-z_1": {},
            (long.clone()): {},
        },
        "required": ["page[size]", "x.y-z_1"],
        "dependentRequired": { "page[size]": ["page[size]", "x.y-z_1"] },
        "if": { "required": ["page[size]"] },
    }));

    let name = fitted.schema["required"][0].as_str().unwrap().to_owned();
    assert!(name.starts_with("page_size_") && name != "page_size_", "{name}");
    assert_eq!(
        fitted.schema["properties"][&name],
        json!({ "properties": { "a b": {} }, "required": ["a b"] })
    );
    assert_eq!(fitted.schema["required"], json!([name, "x.y-z_1"]));
    assert_eq!(fitted.schema["dependentRequired"], json!({ (name.clone()): [name, "x.y-z_1"] }));
    assert_eq!(fitted.schema["if"], json!({ "required": [name] }));
    let grammar = Grammar::of_parameters(64);
    assert!(fitted.schema["properties"].as_object().unwrap().keys().all(|name| grammar.fits(name)));
    let arguments = json!({ (name): 1, "page_size_": 2 }).to_string();
    assert_eq!(fitted.keys.renamed(&arguments), r#"{"page[size]":1,"page_size_":2}"#);
}
