//! Recognises a conversation by how it begins: its tools, the instructions before it, and the first word of the user.
//!
//! That is what stays the same from its first request to its last, and what the caches of providers hold first. Marks for
//! such caches move from request to request and do not count, nor does whether a text is wrapped in a part.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::fresh_text::Layout;
use crate::surrogates::mended;

/// Fields that do not tell conversations apart: marks that move, and the wrapping of texts.
const SKIPPED: [&str; 3] = ["cache_control", "prompt_cache_breakpoint", "type"];
/// Keys of wrappings, which may be left out by a later request.
const WRAPPING: [&str; 2] = ["text", "content"];

/// The instruction in which Claude Code tells what is counted; it changes with each request.
const BILLING: &str = "x-anthropic-billing-header:";

/// A digest of how a conversation begins; none of a body without a turn of the user. The same in every process.
pub(crate) fn digest(body: &[u8], layout: &Layout) -> Option<u64> {
    let body = mended(body);
    let mut deserializer = serde_json::Deserializer::from_slice(&body);
    let parts = Request(layout).deserialize(&mut deserializer).ok()?;
    let turns = parts.turns?;
    let mut all = DefaultHasher::new();
    // Apart, because the fields may stand in any order.
    for part in [parts.tools, parts.before, turns] {
        all.write_u64(part);
    }
    Some(all.finish())
}

/// The digests of the parts of a beginning.
#[derive(Default)]
struct Parts {
    tools: u64,
    before: u64,
    /// None without a turn of the user.
    turns: Option<u64>,
}

struct Request<'l>(&'l Layout);

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = Parts;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let Layout { turns, before, tools, .. } = self.0;
        let mut parts = Parts::default();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == *turns {
                parts.turns = map.next_value_seed(Turns)?;
            } else if before.contains(&&*key) {
                parts.before = parts.before.wrapping_add(map.next_value_seed(Alone)?);
            } else if tools.contains(&&*key) {
                parts.tools = parts.tools.wrapping_add(map.next_value_seed(Alone)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(parts)
    }
}

/// A value with a digest of its own.
struct Alone;

impl<'de> DeserializeSeed<'de> for Alone {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        let mut hasher = DefaultHasher::new();
        Hashed { hasher: &mut hasher, role: None }.deserialize(deserializer)?;
        Ok(hasher.finish())
    }
}

/// The turns up to the user's first.
struct Turns;

impl<'de> DeserializeSeed<'de> for Turns {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Turns {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of turns")
    }

    fn visit_unit<E>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    /// A prompt that is one text.
    fn visit_str<E>(self, text: &str) -> Result<Option<u64>, E> {
        let mut hasher = DefaultHasher::new();
        leaf(&mut hasher, text.as_bytes());
        Ok(Some(hasher.finish()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<u64>, A::Error> {
        let mut hasher = DefaultHasher::new();
        loop {
            let mut is_user = false;
            let turn = Hashed { hasher: &mut hasher, role: Some(&mut is_user) };
            if seq.next_element_seed(turn)?.is_none() {
                return Ok(None);
            }
            if is_user {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Some(hasher.finish()));
            }
        }
    }
}

/// A value that is added to a digest.
struct Hashed<'h> {
    hasher: &'h mut DefaultHasher,
    /// Of a turn: whether it is the user's.
    role: Option<&'h mut bool>,
}

fn leaf(hasher: &mut DefaultHasher, bytes: &[u8]) {
    hasher.write(bytes);
    hasher.write_u8(0xff);
}

impl<'de> DeserializeSeed<'de> for Hashed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Hashed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !text.starts_with(BILLING) {
            leaf(self.hasher, text.as_bytes());
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        leaf(self.hasher, &[u8::from(value)]);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        leaf(self.hasher, &value.to_le_bytes());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        leaf(self.hasher, &value.to_le_bytes());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        leaf(self.hasher, &value.to_bits().to_le_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let hasher = self.hasher;
        while seq.next_element_seed(Hashed { hasher, role: None })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { hasher, mut role } = self;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if SKIPPED.contains(&&*key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if let Some(is_user) = role.as_deref_mut().filter(|_| key == "role") {
                let role = map.next_value::<Role>()?.0;
                *is_user = role == "user";
                leaf(hasher, role.as_bytes());
                continue;
            }
            if !WRAPPING.contains(&&*key) {
                leaf(hasher, key.as_bytes());
            }
            map.next_value_seed(Hashed { hasher, role: None })?;
        }
        Ok(())
    }
}

/// The speaker of a turn; nobody where it is no text.
struct Role(String);

impl<'de> serde::Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(crate::lenient::Str::deserialize(deserializer)?.owned().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Body, Dialect, Kind};

    fn of(dialect: Dialect, body: &Value) -> Option<u64> {
        dialect.opening(Kind::Chat, &Body::Json(body.to_string().into()))
    }

    fn chat(body: &Value) -> u64 {
        of(Dialect::OpenAiChat, body).expect("it has a turn of the user")
    }

    fn talk() -> Value {
        json!({
            "model": "m",
            "tools": [{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }],
            "messages": [{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Hi" }],
        })
    }

    fn with(mut body: Value, at: &str, value: Value) -> Value {
        *body.pointer_mut(at).expect("it is there") = value;
        body
    }

    #[test]
    fn a_longer_conversation_begins_as_it_did() {
        let mut longer = talk();
        longer["temperature"] = json!(1);
        longer["messages"].as_array_mut().unwrap().extend([
            json!({ "role": "assistant", "content": "Hello" }),
            json!({ "role": "user", "content": "And now?" }),
        ]);

        assert_eq!(chat(&longer), chat(&talk()));
    }

    #[test]
    fn marks_that_move_and_the_wrapping_of_a_text_do_not_count() {
        let part = json!([{ "type": "text", "text": "Hi", "cache_control": { "type": "ephemeral" } }]);
        let own =
            json!([{ "type": "text", "text": "Hi", "prompt_cache_breakpoint": { "mode": "explicit" } }]);

        for wrapped in [part, own] {
            assert_eq!(chat(&with(talk(), "/messages/1/content", wrapped)), chat(&talk()));
        }
    }

    #[test]
    fn another_tool_another_instruction_and_another_first_word_are_other_conversations() {
        let others = [
            with(talk(), "/messages/1/content", json!("Ho")),
            with(talk(), "/messages/0/content", json!("Be brief.")),
            with(talk(), "/tools/0/function/name", json!("g")),
            with(talk(), "/messages/0/role", json!("developer")),
        ];

        let mut digests: Vec<u64> = others.iter().chain([&talk()]).map(chat).collect();
        digests.sort_unstable();
        digests.dedup();

        assert_eq!(digests.len(), 5);
    }

    #[test]
    fn instructions_beside_the_turns_count_wherever_they_stand() {
        let first = r#"{"system":"s","tools":[],"messages":[{"role":"user","content":"Hi"}]}"#;
        let last = r#"{"messages":[{"role":"user","content":"Hi"}],"tools":[],"system":[
            {"type":"text","text":"x-anthropic-billing-header: cch=1;"},{"type":"text","text":"s"}]}"#;
        let other = r#"{"system":"t","messages":[{"role":"user","content":"Hi"}]}"#;
        let of = |body: &'static str| {
            Dialect::Anthropic.opening(Kind::Chat, &Body::Json(bytes::Bytes::from_static(body.as_bytes())))
        };

        assert_ne!(of(first), of(other));
        assert_eq!(of(first), of(last), "a header in the text of an instruction changes with each request");
    }

    #[test]
    fn a_body_in_which_no_user_speaks_begins_nothing() {
        for body in [
            json!({ "messages": [{ "role": "system", "content": "s" }] }),
            json!({ "messages": [] }),
            json!({ "input": "x" }),
            json!({ "messages": 5 }),
            json!([]),
        ] {
            assert_eq!(of(Dialect::OpenAiChat, &body), None, "{body}");
        }
        assert!(of(Dialect::OpenAiChat, &json!({ "messages": "Hi" })).is_some());
        assert_eq!(Dialect::OpenAiChat.opening(Kind::Moderate, &Body::Json(talk().to_string().into())), None);
    }
}
