//! The few fields of a body that decide where a request goes, read in one pass that validates all of it.
//!
//! A scanner that stops at the first `model` would let a client be authorised for one model and send another one behind
//! it, so duplicates of what decides are refused. The name of the conversation only orders who is asked, so there the
//! last one counts.

use std::fmt;

use memchr::memchr;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json_scan::{object_members, string_length};

/// The deciding fields of a JSON object, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The model, as it is written.
    pub model: Option<&'a str>,
    /// Whether a stream is asked for.
    pub stream: Option<bool>,
    /// What the client calls the conversation, or the answer that it goes on from; as it is written.
    conversation: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// Reads them with a parser, which says what is wrong.
    ///
    /// # Errors
    /// Anything but an object with at most one `model` and at most one `stream`, a boolean.
    pub fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// What a walk over the body finds, which sees that all of it is JSON. `None` calls for the parser: something is
    /// wrong, or written as hardly anybody writes it.
    pub fn glance(body: &'a [u8]) -> Option<Self> {
        let (mut head, mut previous) = (Self::default(), None);
        let mut is_odd = false;
        let body = std::str::from_utf8(body).ok()?;
        let text = |value: &'a str| value.get(..string_length(value.as_bytes())? + 2);
        object_members(body, |key, at| match key {
            b"model" => {
                is_odd |= head.model.is_some();
                head.model = text(&body[at..]);
                is_odd |= head.model.is_none();
            }
            b"stream" => {
                let value = &body[at..];
                is_odd |= head.stream.is_some() || !value.starts_with(['t', 'f']);
                head.stream = Some(value.starts_with('t'));
            }
            b"prompt_cache_key" | b"previous_response_id" => {
                let value = &body[at..];
                let found = text(value);
                is_odd |= found.is_none() && !value.starts_with("null");
                let place = if key == b"prompt_cache_key" { &mut head.conversation } else { &mut previous };
                *place = found;
            }
            _ => is_odd |= memchr(b'\\', key).is_some(),
        })?;
        head.conversation = head.conversation.or(previous);
        (!is_odd).then_some(head)
    }

    /// The name of the conversation, where the client gives it one: its text, escapes and all.
    pub fn conversation(&self) -> Option<&'a str> {
        let text = self.conversation?;
        text.strip_prefix('"')?.strip_suffix('"').filter(|name| !name.is_empty())
    }
}

/// A field that matters, or one that does not.
enum Field {
    Model,
    Stream,
    /// OpenAI's `prompt_cache_key`, which agents set to the conversation's id.
    Conversation,
    /// OpenAI's `previous_response_id`.
    Previous,
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
                Ok(match name {
                    "model" => Field::Model,
                    "stream" => Field::Stream,
                    "prompt_cache_key" => Field::Conversation,
                    "previous_response_id" => Field::Previous,
                    _ => Field::Other,
                })
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

/// A value as it is written; none for null.
fn written<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de str>, A::Error> {
    Ok(map.next_value::<Option<&'de RawValue>>()?.map(RawValue::get))
}

impl<'de> Deserialize<'de> for Head<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Head<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
                let mut head = Head::default();
                let (mut models, mut streams) = (0, 0);
                let mut previous = None;
                while let Some(field) = map.next_key()? {
                    match field {
                        Field::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        Field::Model => {
                            models += 1;
                            if models > 1 {
                                return Err(A::Error::duplicate_field("model"));
                            }
                            head.model = written(&mut map)?;
                        }
                        Field::Stream => {
                            streams += 1;
                            if streams > 1 {
                                return Err(A::Error::duplicate_field("stream"));
                            }
                            head.stream = map.next_value()?;
                        }
                        Field::Conversation => head.conversation = written(&mut map)?,
                        Field::Previous => previous = written(&mut map)?,
                    }
                }
                head.conversation = head.conversation.or(previous);
                Ok(head)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(body: &str) -> Option<&str> {
        Head::read(body.as_bytes()).unwrap().conversation()
    }

    #[test]
    fn a_conversation_is_named_by_its_key_else_by_the_answer_before() {
        assert_eq!(named(r#"{"previous_response_id":"r","model":"m","prompt_cache_key":"k"}"#), Some("k"));
        assert_eq!(named(r#"{"model":"m","previous_response_id":"r"}"#), Some("r"));
        assert_eq!(named(r#"{"prompt\u005fcache_key":"k"}"#), Some("k"));
    }

    #[test]
    fn a_glance_finds_what_a_parser_finds_or_leaves_it_to_it() {
        let values = [
            r#""m""#,
            r#""a\u0062""#,
            r#""\\""#,
            r#""a\"b""#,
            "7",
            "null",
            r#"{"model":1}"#,
            "true",
            "false",
            "tru",
            "\"\u{e9}\"",
        ];
        let keys = ["model", "stream", "prompt_cache_key", "previous_response_id", r"mod\u0065l", "x"];
        let mut seen = 0;
        for (first, second) in keys.iter().flat_map(|key| keys.iter().map(move |other| (key, other))) {
            for (one, two) in values.iter().flat_map(|value| values.iter().map(move |other| (value, other))) {
                let body = format!(r#" {{"{first}": {one} , "y":[{{"model":"n"}}],"{second}":{two}}} "#);

                if let Some(head) = Head::glance(body.as_bytes()) {
                    assert_eq!(Head::read(body.as_bytes()).ok(), Some(head), "{body}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 100, "{seen}");
        assert!(Head::glance(br#"{"model":"gpt-4o","stream":true,"prompt_cache_key":"k"}"#).is_some());
    }

    #[test]
    fn what_names_nothing_is_no_name_and_no_fault() {
        for body in [
            r#"{"model":"m"}"#,
            r#"{"prompt_cache_key":""}"#,
            r#"{"prompt_cache_key":null,"previous_response_id":null}"#,
            r#"{"prompt_cache_key":{"a":1}}"#,
            r#"{"messages":[{"prompt_cache_key":"k"}]}"#,
        ] {
            assert_eq!(named(body), None, "{body}");
        }
        assert_eq!(named(r#"{"prompt_cache_key":"a","prompt_cache_key":"b"}"#), Some("b"));
    }
}
