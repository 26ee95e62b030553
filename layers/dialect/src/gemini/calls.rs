//! The arguments of calls: whole, or put together from pieces.
//!
//! Source: <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling> (streaming of arguments).

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::wire::Piece;
use crate::exact;
use crate::ir::Seal;

/// Deepest place in arguments that come in pieces.
const DEEPEST: usize = 64;
/// Longest list that a piece may make.
const LONGEST_LIST: usize = 10_000;

/// The arguments of a call as JSON text on one line; a call without any has an empty object.
pub(super) fn arguments(args: Option<&RawValue>) -> Cow<'_, str> {
    match args.map(RawValue::get) {
        Some(json) if json.starts_with('{') && !json.contains(['\n', '\r']) => {
            if json[1..json.len() - 1].trim().is_empty() { "{}".into() } else { json.into() }
        }
        // Answers that are laid out for people.
        Some(json) if json.starts_with('{') => match exact::read::<Map<String, Value>>(json.as_bytes()) {
            Ok(map) => String::from_utf8(exact::json_bytes(&map)).map_or(Cow::Borrowed(json), Cow::Owned),
            Err(_) => json.into(),
        },
        _ => "{}".into(),
    }
}

/// A call whose arguments come bit by bit.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) seal: Option<Seal>,
    arguments: Value,
}

impl Partial {
    pub(super) fn new(name: &str, id: Option<String>, seal: Option<Seal>) -> Self {
        Self { name: name.to_owned(), id, seal, arguments: Value::Object(Map::new()) }
    }

    /// Adds a piece: text is joined to what stands in its place, other values replace it.
    pub(super) fn add(&mut self, piece: &Piece<'_>) {
        let Some(path) = path(piece.json_path.text()) else { return };
        let Some(place) = place(&mut self.arguments, &path) else { return };
        let other = piece.number_value.or(piece.bool_value);
        if let Some(value) = other.and_then(|value| serde_json::from_str(value.get()).ok()) {
            *place = value;
        } else if let Some(more) = &piece.string_value.0 {
            match place {
                Value::String(text) => text.push_str(more),
                place => *place = more.as_ref().into(),
            }
        }
    }

    /// The arguments as JSON text.
    pub(super) fn arguments(&self) -> String {
        self.arguments.to_string()
    }
}

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Key(Cow<'a, str>),
    At(usize),
}

/// The steps of `$.a.b[0]['c d']`; none for what is no such path.
fn path(text: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == DEEPEST {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Key(after[..end].into()));
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[')?;
        let quote = after.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        match quote {
            Some(quote) => {
                let (key, behind) = after[1..].split_once(quote)?;
                steps.push(Step::Key(key.into()));
                rest = behind.strip_prefix(']')?;
            }
            None => {
                let (number, behind) = after.split_once(']')?;
                steps.push(Step::At(number.parse().ok().filter(|at| *at < LONGEST_LIST)?));
                rest = behind;
            }
        }
    }
    (!steps.is_empty()).then_some(steps)
}

/// The place that a path leads to, made on the way.
fn place<'v>(mut value: &'v mut Value, path: &[Step<'_>]) -> Option<&'v mut Value> {
    for step in path {
        value = match step {
            Step::Key(key) => {
                if value.is_null() {
                    *value = Value::Object(Map::new());
                }
                value.as_object_mut()?.entry(key.as_ref()).or_insert(Value::Null)
            }
            Step::At(at) => {
                if value.is_null() {
                    *value = Value::Array(Vec::new());
                }
                let list = value.as_array_mut()?;
                if list.len() <= *at {
                    list.resize(at + 1, Value::Null);
                }
                &mut list[*at]
            }
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put_together(pieces: &Value) -> Value {
        let mut partial = Partial::new("f", None, None);
        for piece in pieces.as_array().unwrap() {
            let json = piece.to_string();
            partial.add(&serde_json::from_str(&json).unwrap());
        }
        serde_json::from_str(&partial.arguments()).unwrap()
    }

    #[test]
    fn pieces_of_arguments_are_put_where_their_paths_lead() {
        let pieces = json!([
            { "jsonPath": "$.city", "stringValue": "Ber", "willContinue": true },
            { "jsonPath": "$.city", "stringValue": "lin" },
            { "jsonPath": "$.days[1].high", "numberValue": 21.5 },
            { "jsonPath": "$['a b']", "boolValue": true },
            { "jsonPath": "nowhere", "stringValue": "x" },
            { "jsonPath": "$.city.below", "stringValue": "x" },
            { "jsonPath": "$.list[99999999]", "stringValue": "x" },
        ]);

        let arguments = put_together(&pieces);

        assert_eq!(arguments, json!({ "city": "Berlin", "days": [null, { "high": 21.5 }], "a b": true }));
    }

    #[test]
    fn whole_arguments_are_told_on_one_line_with_the_digits_that_came() {
        let told = |json: &str| {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
            arguments(Some(&raw)).into_owned()
        };

        assert_eq!(told("{\n  \"id\": 12345678901234567890123\n}"), "{\"id\":12345678901234567890123}");
        assert_eq!(told("{ \"a\": 1 }"), "{ \"a\": 1 }");
        assert_eq!([told("{ }"), told("null"), told("[1]")], ["{}", "{}", "{}"]);
        assert_eq!(arguments(None), "{}");
    }
}
