//! What was asked, as far as a refusal is judged by it: whoever reads a provider's words must know which of them are
//! the client's own.
//!
//! Providers quote what they do not like: roles, names of tools, unknown parameters, flags in headers. A phrase that
//! stands in the request is therefore no evidence. Read on the failure path alone, and only when a phrase was found.

use std::fmt;

use http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Body;

/// A request that was refused, with the model that the upstream was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The client's body.
    pub body: &'a Body,
    /// The client's headers, some of which are passed on.
    pub headers: &'a HeaderMap,
    /// The model by the name that the upstream uses.
    pub model: &'a str,
}

impl Asked<'_> {
    /// Whether the request holds this phrase: its letters and digits in a row, whatever stands between them, in any
    /// case, in any field but the model's, and across elements of a list. What cannot be read may hold anything.
    pub(crate) fn holds(&self, phrase: &str) -> bool {
        let mut hunt = Hunt { phrase: squeezed(phrase), window: String::new(), found: false };
        if hunt.phrase.is_empty() {
            return true;
        }
        for (_, value) in self.headers {
            hunt.read(&String::from_utf8_lossy(value.as_bytes()));
        }
        match self.body {
            Body::Json(json) => {
                let mut deserializer = serde_json::Deserializer::from_slice(json);
                if (Within { hunt: &mut hunt, top: true }).deserialize(&mut deserializer).is_err() {
                    return true;
                }
            }
            Body::Form(form) => {
                let parts = form.parts().iter().enumerate().filter(|(_, part)| part.name != "model");
                for (at, part) in parts {
                    hunt.read(&part.name);
                    hunt.read(part.filename.as_deref().unwrap_or_default());
                    for chunk in form.value(at) {
                        hunt.read(&String::from_utf8_lossy(&chunk));
                    }
                }
            }
            Body::Empty => {}
        }
        hunt.look();
        hunt.found
    }
}

/// The letters and digits of a text, in lower case: what is left of a phrase however it is written.
pub(crate) fn squeezed(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The search for one phrase in many texts.
struct Hunt {
    phrase: String,
    /// What was read last, squeezed.
    window: String,
    found: bool,
}

impl Hunt {
    /// How much is read before it is searched.
    const ENOUGH: usize = 64 << 10;

    fn read(&mut self, text: &str) {
        for letter in text.chars().filter(|letter| letter.is_alphanumeric()) {
            self.window.push(letter.to_ascii_lowercase());
            if self.window.len() >= Self::ENOUGH {
                self.look();
            }
        }
    }

    /// Searches what was read, and keeps of it what a phrase may begin with.
    fn look(&mut self) {
        self.found |= self.window.contains(&self.phrase);
        let mut end = self.window.len().saturating_sub(self.phrase.len());
        while !self.window.is_char_boundary(end) {
            end -= 1;
        }
        self.window.drain(..end);
    }
}

/// A value of the body.
struct Within<'h> {
    hunt: &'h mut Hunt,
    /// Whether it is the body itself.
    top: bool,
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A key, which is read as any text. Tells whether it is the model's.
struct Key<'h>(&'h mut Hunt);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        self.0.read(text);
        Ok(text == "model")
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.hunt.read(text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Within { hunt: self.hunt, top: false })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(is_model) = map.next_key_seed(Key(self.hunt))? {
            if is_model && self.top {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Within { hunt: self.hunt, top: false })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    fn holds(body: &Value, phrase: &str) -> bool {
        let body = Body::Json(Bytes::from(body.to_string()));
        Asked { body: &body, headers: &HeaderMap::new(), model: "m" }.holds(phrase)
    }

    #[test]
    fn a_phrase_is_found_however_and_wherever_the_request_writes_it() {
        for body in [
            json!({"messages": [{"role": "insufficient_quota"}]}),
            json!({"tools": [{"name": "Insufficient Quota"}]}),
            json!({"insufficient-quota": 1}),
            json!({"a": ["insufficient", "quota"]}),
            json!({"x": format!("{}insufficient_\u{200b}quota{}", "y".repeat(70_000), "y".repeat(70_000))}),
            json!({"x": format!("{}insufficient_quota", "é".repeat(Hunt::ENOUGH / 2 - 4))}),
        ] {
            assert!(holds(&body, "insufficient_quota"), "{body}");
        }
        assert!(!holds(&json!({"x": "insufficient words about quota"}), "insufficient_quota"));
    }

    #[test]
    fn the_model_s_own_field_does_not_count_and_escapes_do() {
        let ask = |text: &'static str| {
            let body = Body::Json(Bytes::from_static(text.as_bytes()));
            Asked { body: &body, headers: &HeaderMap::new(), model: "m" }.holds("gpt-4o")
        };

        assert!(!ask(r#"{"model":"gpt-4o"}"#));
        assert!(ask(r#"{"model":"gpt-4o","x":{"model":"gpt-4o"}}"#));
        assert!(ask(r#"{"x":"\u0067pt-4o"}"#));
        assert!(ask(r#"{"x":"#), "what cannot be read may hold anything");
    }

    #[test]
    fn headers_are_part_of_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-beta", "credit balance is too low".parse().unwrap());

        assert!(
            Asked { body: &Body::Empty, headers: &headers, model: "m" }.holds("credit balance is too low")
        );
    }
}
