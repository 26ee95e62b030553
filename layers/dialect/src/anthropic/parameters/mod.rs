//! The parameters of a tool in the grammar of `input_schema`: the schema of an object, with no choice among schemas at
//! its top, whose parameters have short plain names.
//!
//! Source: <https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/define-tools>, and the provider's refusals. It
//! judges the top alone: what is within a parameter stays as it is. Nothing is left out. What the grammar cannot say is
//! put into words, and a name that it does not know is fitted and named back in the calls.

mod choices;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use self::choices::{cut, merged, other_kind};
use crate::names::{Grammar, Names};
use crate::rekey::Keys;

/// Longest name of a parameter.
const LONGEST_NAME: usize = 64;

/// The parameters of one tool as the upstream is told of them.
#[derive(Debug, PartialEq)]
pub(crate) struct Parameters {
    /// `input_schema`.
    pub(crate) schema: Value,
    /// What it cannot say, in sentences for the description of the tool.
    pub(crate) rules: Vec<String>,
    /// The upstream's names of parameters and the client's, where they differ.
    pub(crate) keys: Keys,
}

impl Parameters {
    /// Fits what a client gave.
    ///
    /// # Errors
    /// What is wrong with it, as a clause about the parameters.
    pub(crate) fn of(given: &Value) -> Result<Self, String> {
        Self::within(given, Grammar::of_parameters(LONGEST_NAME))
    }

    /// The same for names of another grammar.
    ///
    /// # Errors
    /// What is wrong with it, as a clause about the parameters.
    pub(crate) fn within(given: &Value, names: Grammar) -> Result<Self, String> {
        let read;
        let given = match given {
            // Some clients write the schema as text.
            Value::String(text) if text.trim().is_empty() => &Value::Null,
            Value::String(text) => {
                read = serde_json::from_str::<Value>(text).map_err(|_| "are no JSON".to_owned())?;
                &read
            }
            given => given,
        };
        match given {
            Value::Object(map) => Self::of_object(map, names),
            // No schema, and the one that takes everything.
            Value::Null | Value::Bool(true) => Ok(Self::plain(json!({ "type": "object", "properties": {} }))),
            _ => Err(format!("must be a JSON schema of type object; found {}", cut(given.to_string()))),
        }
    }

    /// The schema of an object where nothing of it has to be told otherwise.
    pub(crate) fn exactly(given: &Value) -> Option<Value> {
        let plain = given.is_object().then(|| Self::of(given).ok()).flatten()?;
        (plain.rules.is_empty() && plain.keys.is_empty()).then_some(plain.schema)
    }

    fn plain(schema: Value) -> Self {
        Self { schema, rules: Vec::new(), keys: Keys::default() }
    }

    fn of_object(given: &Map<String, Value>, names: Grammar) -> Result<Self, String> {
        let mut map = given.clone();
        let properties = match map.get("properties") {
            None => false,
            Some(Value::Object(_)) => true,
            // What PHP writes for an empty object.
            Some(Value::Array(list)) if list.is_empty() => false,
            Some(Value::Null) => false,
            Some(_) => return Err("must have properties that are an object".to_owned()),
        };
        if !properties && map.contains_key("properties") {
            map.insert("properties".into(), json!({}));
        }
        if !properties && let Some(kind) = other_kind(given.get("type")) {
            return Err(format!("must be a JSON schema of type object; found type {kind}"));
        }
        map.insert("type".into(), "object".into());
        if map.get("required").is_some_and(|required| !required.is_array()) {
            map.shift_remove("required");
        }
        let rules = merged(&mut map, given)?;
        let fitted = fit_names(&mut map, names);
        let rules = rules.iter().filter_map(|rule| rule.words(&fitted)).collect();
        Ok(Self { schema: map.into(), rules, keys: fitted.reversed() })
    }
}

/// Fits the names of the parameters: the client's and the upstream's of those that had to be.
fn fit_names(map: &mut Map<String, Value>, grammar: Grammar) -> Keys {
    let Some(Value::Object(properties)) = map.get("properties") else { return Keys::default() };
    if properties.keys().all(|name| grammar.fits(name)) {
        return Keys::default();
    }
    let mut names = Names::new(grammar, properties.keys().map(String::as_str));
    let odd: Vec<String> = properties.keys().filter(|name| !grammar.fits(name)).cloned().collect();
    odd.iter().for_each(|name| drop(names.fitting(name)));
    let fitted = Keys::new(names.into_renamed()).reversed();
    rename(map, &fitted);
    fitted
}

/// Renames parameters wherever the schema speaks of them.
fn rename(map: &mut Map<String, Value>, fitted: &Keys) {
    let listed = |list: &mut Value| {
        for name in list.as_array_mut().into_iter().flatten() {
            if let Some(found) = name.as_str().and_then(|name| fitted.get(name)) {
                *name = found.into();
            }
        }
    };
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("required" | "propertyOrdering", list) => listed(list),
            (word @ ("properties" | "dependentRequired" | "dependentSchemas" | "dependencies"), value) => {
                let Value::Object(table) = value else { continue };
                let renamed = std::mem::take(table).into_iter().map(|(name, mut value)| {
                    match &mut value {
                        list @ Value::Array(_) if word != "properties" => listed(list),
                        Value::Object(schema) if word != "properties" => rename(schema, fitted),
                        _ => {}
                    }
                    (fitted.get(&name).map_or(name.clone(), str::to_owned), value)
                });
                *table = renamed.collect();
            }
            ("if" | "then" | "else" | "not", Value::Object(schema)) => rename(schema, fitted),
            _ => {}
        }
    }
}

/// The description of a tool with what its schema cannot say.
pub(crate) fn described<'a>(description: Option<&'a str>, rules: &[String]) -> Option<Cow<'a, str>> {
    match (description, rules) {
        (description, []) => description.map(Cow::Borrowed),
        (None | Some(""), rules) => Some(rules.join(" ").into()),
        (Some(text), rules) => Some(format!("{text}\n\n{}", rules.join(" ")).into()),
    }
}

#[cfg(test)]
mod tests;
