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
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.take(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Malformed::at(name, format!("{name} must be {kind}")))
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, Malformed> {
        self.typed(name, "a string", |value| match value {
            Value::String(text) => Some(text).filter(|text| exact::number(text).is_none()),
            _ => None,
        })
    }

    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, Malformed> {
        self.typed(name, "a boolean", |value| value.as_bool())
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<Number>, Malformed> {
        self.typed(name, "a number", |value| match value {
            Value::Number(number) => Some(number),
            Value::String(text) => exact::number(&text),
            _ => None,
        })
    }

    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, Malformed> {
        self.typed(name, "an integer that is not negative", |value| {
            value.as_u64().or_else(|| {
                let number = value.as_f64()?;
                (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
            })
        })
    }

    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<Value>, Malformed> {
        let list = self.typed(name, "an array", |value| match value {
            Value::Array(list) => Some(list),
            _ => None,
        })?;
        Ok(list.unwrap_or_default())
    }

    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Malformed> {
        self.typed(name, "an object", |value| match value {
            Value::Object(map) => Some(map),
            _ => None,
        })
    }

    /// A string or an array of strings.
    pub(crate) fn strings(&mut self, name: &str) -> Result<Vec<String>, Malformed> {
        let list = self.typed(name, "a string or an array of strings", |value| match value {
            Value::String(text) => Some(vec![text]),
            Value::Array(list) => {
                list.into_iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        })?;
        Ok(list.unwrap_or_default())
    }
}
