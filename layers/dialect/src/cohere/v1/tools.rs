//! Tools in the words of version 1: parameters have types as Python has them, and no schema.
//!
//! Source: <https://docs.cohere.com/v1/docs/tool-use>. What a type cannot say stands in the description of the
//! parameter, or of the tool.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::cohere::write_request::NAME_LIMIT;
use crate::ir::{Request, Tool, ToolChoice};
use crate::names::{Grammar, Names};
use crate::offered::{all_names, offered, schema_of};
use crate::rekey::Keys;
use crate::worded::{MUST_CALL, NO_CALL, ONE_CALL};
use crate::{Aim, Unsupported};

/// The tools of a request as the upstream is told of them.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    /// `tools`.
    pub(super) written: Vec<Value>,
    /// What has no field, in sentences.
    pub(super) rules: Vec<String>,
    /// Names that had to be fitted.
    pub(super) names: Names,
    /// Parameters renamed for the upstream, by its name of their tool: what leads back.
    pub(super) back: Vec<(String, Keys)>,
    /// The same by the client's name of the tool: what leads there.
    there: HashMap<&'a str, Keys>,
}

impl<'a> Tools<'a> {
    /// The tools of a request. `are_answered` tells that the conversation ends with results, beside which tools must
    /// be named.
    ///
    /// # Errors
    /// Parameters that are no schema.
    pub(super) fn of(request: &'a Request, aim: &Aim<'_>, are_answered: bool) -> Result<Self, Unsupported> {
        let offered = if aim.tools { offered(request) } else { Vec::new() };
        let names = Names::new(Grammar::of_identifiers(NAME_LIMIT), all_names(request, &offered));
        let mut tools =
            Self { written: Vec::new(), rules: Vec::new(), names, back: Vec::new(), there: HashMap::new() };
        if request.tool_choice == Some(ToolChoice::None) && !are_answered {
            // What is not there is not called.
            return Ok(tools);
        }
        for tool in offered {
            tools.add(tool)?;
        }
        if tools.written.is_empty() {
            return Ok(tools);
        }
        let rule = match &request.tool_choice {
            Some(ToolChoice::None) => Some(NO_CALL),
            Some(
                ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. },
            ) => Some(MUST_CALL),
            Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) | None => None,
        };
        let alone = (request.parallel_tool_calls == Some(false)).then_some(ONE_CALL);
        tools.rules.extend(rule.into_iter().chain(alone).map(str::to_owned));
        Ok(tools)
    }

    fn add(&mut self, tool: &'a Tool) -> Result<(), Unsupported> {
        let mut schema = schema_of(tool)?;
        let properties = match schema.shift_remove("properties") {
            Some(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        let required = match schema.shift_remove("required") {
            Some(Value::Array(required)) => required,
            _ => Vec::new(),
        };
        let mut names =
            Names::new(Grammar::of_identifiers(NAME_LIMIT), properties.keys().map(String::as_str));
        let mut parameters = Map::new();
        for (name, property) in &properties {
            let is_required = required.iter().any(|required| required == name);
            parameters.insert(names.fitting(name), definition(property, is_required));
        }
        // What is left says more than which parameters there are.
        schema.shift_remove("type");
        schema.shift_remove("$schema");
        schema.shift_remove("title");
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            schema.shift_remove("additionalProperties");
        }
        let mut description = tool.description.clone().unwrap_or_else(|| tool.name.clone());
        if !schema.is_empty() {
            description = format!(
                "{description}\n\nIts parameters follow this JSON schema too: {}",
                Value::from(schema)
            );
        }
        let name = self.names.fitting(&tool.name);
        let mut written = json!({ "name": name, "description": description });
        if !parameters.is_empty() {
            written["parameter_definitions"] = parameters.into();
        }
        self.written.push(written);
        let keys = Keys::new(names.into_renamed());
        if !keys.is_empty() {
            self.there.insert(&tool.name, keys.reversed());
            self.back.push((name, keys));
        }
        Ok(())
    }

    /// Arguments of an earlier call under the names that the upstream knows.
    pub(super) fn arguments(&self, tool: &str, arguments: &str) -> Option<String> {
        self.there.get(tool).map(|keys| keys.renamed(arguments))
    }
}

/// A parameter: `{"type", "description", "required"}`.
fn definition(property: &Value, is_required: bool) -> Value {
    let described = property.get("description").and_then(Value::as_str);
    let says_more = property.as_object().is_some_and(|map| {
        map.keys().any(|key| !matches!(key.as_str(), "type" | "description" | "title"))
            || map.get("type").is_some_and(|kind| kind == "object")
    });
    let mut definition = Map::new();
    let description = match (described, says_more) {
        (described, false) => described.map(str::to_owned),
        (None, true) => Some(format!("JSON schema: {property}")),
        (Some(words), true) => {
            let mut rest = property.clone();
            if let Value::Object(rest) = &mut rest {
                rest.shift_remove("description");
            }
            Some(format!("{words} (JSON schema: {rest})"))
        }
    };
    if let Some(description) = description {
        definition.insert("description".into(), description.into());
    }
    definition.insert("type".into(), python(property).into());
    definition.insert("required".into(), is_required.into());
    definition.into()
}

/// The type of a value as Python calls it.
fn python(schema: &Value) -> String {
    let of = |kind: &str| match kind {
        "string" => "str".to_owned(),
        "integer" => "int".to_owned(),
        "number" => "float".to_owned(),
        "boolean" => "bool".to_owned(),
        "array" => match schema.get("items").filter(|items| items.get("type").is_some()) {
            Some(items) => format!("List[{}]", python(items)),
            None => "list".to_owned(),
        },
        "object" => "dict".to_owned(),
        "null" => "None".to_owned(),
        _ => "Any".to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(kind)) => of(kind),
        Some(Value::Array(kinds)) => {
            let names: Vec<&str> =
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
            match names[..] {
                [one] => format!("Optional[{}]", of(one)),
                _ => "Any".to_owned(),
            }
        }
        _ if schema
            .get("enum")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().all(Value::is_string)) =>
        {
            "str".to_owned()
        }
        _ => "Any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_a_type_of_python_s_and_what_that_cannot_say_in_words() {
        for (schema, kind, description) in [
            (json!({ "type": "string", "description": "D" }), "str", Some("D")),
            (json!({ "type": "integer" }), "int", None),
            (
                json!({ "type": "array", "items": { "type": "number" } }),
                "List[float]",
                Some(r#"JSON schema: {"type":"array","items":{"type":"number"}}"#),
            ),
            (json!({ "type": ["string", "null"] }), "Optional[str]", None),
            (json!({ "enum": ["a"], "description": "D" }), "str", Some(r#"D (JSON schema: {"enum":["a"]})"#)),
            (
                json!({ "anyOf": [{ "type": "string" }] }),
                "Any",
                Some(r#"JSON schema: {"anyOf":[{"type":"string"}]}"#),
            ),
            (json!({}), "Any", None),
            (json!(true), "Any", None),
        ] {
            let found = definition(&schema, true);

            assert_eq!(found["type"], kind, "{schema}");
            assert_eq!(found.get("description").and_then(Value::as_str), description, "{schema}");
            assert_eq!(found["required"], true);
        }
    }
}
