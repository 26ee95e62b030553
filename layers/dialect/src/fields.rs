//! Takes fields out of a request's JSON object, complaining about wrong kinds by name.

use serde_json::{Map, Number, Value};

use crate::{Malformed, exact};

/// The rest of an object while its known fields are taken out. Null counts as absent.
#[derive(Debug)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, Malformed> {
        match exact::read(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(Malformed::new("the request body must be a JSON object")),
            Err(error) => Err(Malformed::new(format!("the request body is not valid JSON: {error}"))),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        name: &str,
        kind: &str,
        read: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.take(name) else { return Ok(None) };
        read(value).map(Some).map_err(|other| wrong(name, kind, &other))
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, Malformed> {
        self.typed(name, "a string", |value| match value {
            Value::String(text) if exact::number(&text).is_none() => Ok(text),
            other => Err(other),
        })
    }

    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, Malformed> {
        self.typed(name, "a boolean", |value| value.as_bool().ok_or(value))
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<Number>, Malformed> {
        self.typed(name, "a number", |value| match value {
            Value::Number(number) => Ok(number),
            Value::String(text) => exact::number(&text).ok_or(Value::String(text)),
            other => Err(other),
        })
    }

    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, Malformed> {
        self.typed(name, "an integer that is not negative", |value| {
            let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
            value.as_u64().or_else(|| value.as_f64().and_then(whole)).ok_or(value)
        })
    }

    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<Value>, Malformed> {
        let list = self.typed(name, "an array", |value| match value {
            Value::Array(list) => Ok(list),
            other => Err(other),
        })?;
        Ok(list.unwrap_or_default())
    }

    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Malformed> {
        self.typed(name, "an object", |value| match value {
            Value::Object(map) => Ok(map),
            other => Err(other),
        })
    }

    /// A string or an array of strings.
    pub(crate) fn strings(&mut self, name: &str) -> Result<Vec<String>, Malformed> {
        let list = self.typed(name, "a string or an array of strings", |value| match value {
            Value::String(text) => Ok(vec![text]),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            other => Err(other),
        })?;
        Ok(list.unwrap_or_default())
    }
}

/// A field of the wrong kind.
pub(crate) fn wrong(name: &str, kind: &str, found: &Value) -> Malformed {
    Malformed::at(name, format!("{name} must be {kind}; found {}", shown(found)))
}

/// A field that holds none of the words that are known.
pub(crate) fn unknown_word(name: &str, known: &[&str], found: &Value) -> Malformed {
    wrong(name, &format!("one of {}", known.join(", ")), found)
}

/// A value as it is told of: its beginning.
fn shown(value: &Value) -> String {
    /// Longest beginning, in bytes.
    const LONGEST: usize = 60;
    match value {
        Value::String(text) if text.len() > LONGEST => {
            format!("'{}…'", &text[..text.floor_char_boundary(LONGEST)])
        }
        Value::String(text) => format!("'{text}'"),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string(),
    }
}
