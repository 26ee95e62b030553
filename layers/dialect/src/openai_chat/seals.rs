//! Seals that clients of this dialect send back, in the forms that they have met with one provider or another.
//!
//! On a call: Google's own compatible API has them in `extra_content`
//! (<https://ai.google.dev/gemini-api/docs/openai>); gateways that had no other place have them in the call's identity.
//! On a message: OpenRouter's `reasoning_details` (<https://openrouter.ai/docs/use-cases/reasoning-tokens>), and
//! LiteLLM's `thinking_blocks`, which are Anthropic's own. Whoever sends none of it has them remembered
//! ([`crate::seals`]).

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ir::{Block, Content, Maker, Seal};

/// Longest seal that an identity carries, in bytes.
const LONGEST: usize = 64 << 10;

/// The seal of a call.
pub(super) fn of_call(call: &Value, id: &str) -> Option<Seal> {
    let own = call.pointer("/extra_content/google/thought_signature").and_then(Value::as_str);
    let data = own.filter(|data| !data.is_empty()).map(str::to_owned).or_else(|| within(id))?;
    Some(Seal { maker: Maker::Google, data })
}

/// The seal within an identity: `call_<base64url>.<anything>`, or `<identity>__thought__<seal>`.
fn within(id: &str) -> Option<String> {
    if id.len() > 2 * LONGEST {
        return None;
    }
    // Google's seals are base64 themselves, and hardly anything else that is read so is.
    let is_seal = |seal: &String| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
        !seal.is_empty() && seal.len() <= LONGEST && seal.bytes().all(letters)
    };
    if let Some((_, seal)) = id.split_once("__thought__") {
        return Some(seal.to_owned()).filter(is_seal);
    }
    let (letters, _) = id.strip_prefix("call_")?.split_once('.')?;
    let bytes = URL_SAFE_NO_PAD.decode(letters).or_else(|_| URL_SAFE.decode(letters)).ok()?;
    String::from_utf8(bytes).ok().filter(is_seal)
}

/// The thoughts that a message sends back.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    /// The thoughts with their seals.
    pub(super) blocks: Vec<Block>,
    /// Seals of calls: whose, where that is told.
    calls: Vec<(Option<String>, Seal)>,
}

impl Thoughts {
    /// Reads `reasoning_details` and `thinking_blocks`.
    pub(super) fn read(details: Option<Value>, blocks: Option<Value>) -> Self {
        let mut thoughts = Self::default();
        if let Some(Value::Array(details)) = details {
            thoughts.details(&details);
        } else if let Some(Value::Array(blocks)) = blocks {
            for block in &blocks {
                match text(block, "type") {
                    "thinking" => thoughts.think(text(block, "thinking"), text(block, "signature")),
                    "redacted_thinking" => thoughts.hide(text(block, "data")),
                    _ => {}
                }
            }
        }
        thoughts
    }

    /// Reads details, which clients may have collected from a stream piece by piece.
    fn details(&mut self, details: &[Value]) {
        let mut open: Option<(&Value, String)> = None;
        for detail in details {
            let maker = maker(text(detail, "format"));
            match text(detail, "type") {
                "reasoning.text" => {
                    let index = &detail["index"];
                    let (at, words) = open.get_or_insert_with(|| (index, String::new()));
                    if *at != index {
                        *at = index;
                        words.clear();
                    }
                    words.push_str(text(detail, "text"));
                    let signature = text(detail, "signature");
                    if !signature.is_empty()
                        && let Some((_, words)) = open.take()
                        && maker == Some(Maker::Anthropic)
                    {
                        self.think(&words, signature);
                    }
                }
                "reasoning.encrypted" => match maker {
                    Some(Maker::Anthropic) => self.hide(text(detail, "data")),
                    Some(Maker::Google) if !text(detail, "data").is_empty() => {
                        let seal = Seal { maker: Maker::Google, data: text(detail, "data").to_owned() };
                        self.calls.push((detail["id"].as_str().map(str::to_owned), seal));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn think(&mut self, words: &str, signature: &str) {
        if !signature.is_empty() {
            let seal = Some(Seal { maker: Maker::Anthropic, data: signature.to_owned() });
            let content = Content::Thinking { text: words.to_owned() };
            self.blocks.push(Block { seal, ..Block::new(content) });
        }
    }

    fn hide(&mut self, data: &str) {
        if !data.is_empty() {
            self.blocks.push(Block::new(Content::RedactedThinking { data: data.to_owned() }));
        }
    }

    /// The seal of the call with this identity: its own, else that of the first call which nobody named.
    pub(super) fn of_call(&mut self, id: &str) -> Option<Seal> {
        let own = self.calls.iter().position(|(of, _)| of.as_deref() == Some(id));
        let at = own.or_else(|| self.calls.iter().position(|(of, _)| of.is_none()))?;
        Some(self.calls.remove(at).1)
    }
}

/// Whose seals a format has.
fn maker(format: &str) -> Option<Maker> {
    match format.split('-').next() {
        Some("anthropic") => Some(Maker::Anthropic),
        Some("google") => Some(Maker::Google),
        Some("openai") => Some(Maker::OpenAi),
        Some("xai") => Some(Maker::Xai),
        _ => None,
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Puts the seal of a call beside it, where Google's own door for clients of this dialect has it
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>): clients that keep it send it back, also to another
/// gateway.
pub(super) fn put_beside(call: &mut Value, seal: Option<&Seal>) {
    if let Some(data) = seal.and_then(|seal| seal.for_maker(Maker::Google)) {
        call["extra_content"] = json!({ "google": { "thought_signature": data } });
    }
}

/// The seal beside a call of an answer.
pub(super) fn beside(extra_content: &RawValue) -> Option<Seal> {
    let extra: Value = serde_json::from_str(extra_content.get()).ok()?;
    let data = extra.pointer("/google/thought_signature")?.as_str()?.to_owned();
    Some(Seal { maker: Maker::Google, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thought(words: &str, signature: &str) -> Block {
        let mut thoughts = Thoughts::default();
        thoughts.think(words, signature);
        thoughts.blocks.remove(0)
    }

    #[test]
    fn the_seal_of_a_call_is_read_beside_it_and_out_of_its_identity() {
        let beside = json!({ "extra_content": { "google": { "thought_signature": "c2ln" } } });
        let of = |call: &Value, id: &str| of_call(call, id).map(|seal| seal.data);

        assert_eq!(of(&beside, "call_1").as_deref(), Some("c2ln"));
        assert_eq!(of(&Value::Null, "call_c2ln.3f2a").as_deref(), Some("sig"));
        assert_eq!(of(&Value::Null, "call_QWI9.0").as_deref(), Some("Ab="));
        assert_eq!(of(&Value::Null, "abc__thought__c2ln").as_deref(), Some("c2ln"));
        for id in [
            "call_abc",
            "call_.x",
            "toolu_c2ln.x",
            "call_a$b.x",
            "call__w.x",
            "x__thought__",
            "x__thought__a b",
        ] {
            assert_eq!(of(&Value::Null, id), None, "{id}");
        }
    }

    #[test]
    fn details_in_pieces_are_one_thought_and_those_of_other_makers_none() {
        let details = json!([
            { "type": "reasoning.text", "text": "One ", "format": "anthropic-claude-v1", "index": 0 },
            { "type": "reasoning.text", "text": "two.", "format": "anthropic-claude-v1", "index": 0 },
            { "type": "reasoning.text", "signature": "s1", "format": "anthropic-claude-v1", "index": 0 },
            { "type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1", "index": 1 },
            { "type": "reasoning.text", "text": "lost", "format": "anthropic-claude-v1", "index": 2 },
            { "type": "reasoning.text", "text": "Three.", "signature": "s2", "format": "anthropic-claude-v1", "index": 3 },
            { "type": "reasoning.text", "text": "No.", "signature": "s3", "format": "other-v1", "index": 4 },
            { "type": "reasoning.encrypted", "data": "g1", "format": "google-gemini-v1", "id": "call_b" },
            { "type": "reasoning.encrypted", "data": "g2", "format": "google-gemini-v1" },
            { "type": "reasoning.summary", "summary": "S" },
            5,
        ]);

        let mut thoughts = Thoughts::read(Some(details), None);

        let hidden = Block::new(Content::RedactedThinking { data: "x".to_owned() });
        assert_eq!(thoughts.blocks, [thought("One two.", "s1"), hidden, thought("Three.", "s2")]);
        let mut seal = |id: &str| thoughts.of_call(id).map(|seal| seal.data);
        assert_eq!(
            [seal("call_a"), seal("call_b"), seal("call_b")],
            [Some("g2".into()), Some("g1".into()), None]
        );
    }

    #[test]
    fn blocks_of_anthropic_s_own_form_are_read_too() {
        let blocks = json!([
            { "type": "thinking", "thinking": "T", "signature": "s" },
            { "type": "thinking", "thinking": "unsigned" },
            { "type": "redacted_thinking", "data": "x" },
        ]);

        let hidden = Block::new(Content::RedactedThinking { data: "x".to_owned() });
        assert_eq!(Thoughts::read(None, Some(blocks)).blocks, [thought("T", "s"), hidden]);
        assert!(Thoughts::read(Some(json!("x")), Some(json!({}))).blocks.is_empty());
    }

    #[test]
    fn a_call_is_told_with_the_seals_of_one_maker() {
        let seal = |maker| Seal { maker, data: "s".to_owned() };

        let told = |seal: Option<Seal>| {
            let mut call = json!({});
            put_beside(&mut call, seal.as_ref());
            call
        };

        let beside = json!({ "extra_content": { "google": { "thought_signature": "s" } } });
        assert_eq!(told(Some(seal(Maker::Google))), beside);
        assert_eq!((told(Some(seal(Maker::Anthropic))), told(None)), (json!({}), json!({})));
    }
}
