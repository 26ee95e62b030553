//! Carries the seals of models through clients that drop them.
//!
//! A thought before a call of a tool, and with some makers the call itself, must come back with the seal of its maker:
//! without it the model thinks anew, does not think at all, or refuses the conversation. Clients of OpenAI's chat know
//! none of this and replay text, calls and results. So what was sealed in an answer is remembered by the identity of the
//! call ([`learn`]), a picture by its bytes, and put back into the history ([`attach`]) between the reading of a request
//! and its writing.
//!
//! Whom a seal is given to is decided by the writers: a seal names its maker ([`ir::Seal`]), and writers take those of
//! theirs alone. The memory is a best effort: what it has lost is as if it had never been.

pub(crate) mod attach;
pub(crate) mod learn;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use crate::ir::{Block, Content, Maker, Seal, Source};

/// Longest seal that is kept, in bytes.
const LONGEST_SEAL: usize = 64 << 10;

/// A bounded memory of what models have sealed, for each client key apart.
pub trait Seals: Send + Sync {
    /// What was sealed under this name for this owner.
    fn find(&self, owner: &str, name: &str) -> Option<Arc<Sealed>>;
    /// Keeps it.
    fn keep(&self, owner: &str, name: &str, sealed: Sealed);
    /// Whether it holds pictures of this owner: to look for one is to read all of its bytes.
    fn holds_pictures(&self, owner: &str) -> bool;
}

/// The memory of one client key.
#[derive(Clone, Copy)]
pub struct SealsOf<'a> {
    /// The memory of all.
    pub all: &'a Arc<dyn Seals>,
    /// The client key, by what stands for it.
    pub owner: &'a str,
}

/// A thing that a model has sealed: a call with what stood before it, or a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// The sealed parts of the answer before the call, since the call before.
    parts: Vec<Part>,
    /// The seal of the call or the picture itself.
    own: Option<Seal>,
    /// A digest of the call, since identities may be used again; none of a picture.
    call: Option<u64>,
}

/// A sealed part of an answer.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// How many bytes of text stood before it.
    at: usize,
    /// How many bytes of the text are its own: where it is text, the block is empty.
    length: usize,
    /// It, as it is replayed.
    block: Block,
}

impl Sealed {
    /// Whether it is a picture.
    pub fn is_picture(&self) -> bool {
        self.call.is_none()
    }

    /// A call behind a thought without words that has this seal, for memories' own tests.
    #[doc(hidden)]
    pub fn of_call(name: &str, arguments: &str, seal: &str) -> Self {
        let seal = Seal { maker: Maker::Anthropic, data: seal.to_owned() };
        let block = Block { seal: Some(seal), ..Block::new(Content::Thinking { text: String::new() }) };
        let parts = vec![Part { at: 0, length: 0, block }];
        Self { parts, own: None, call: Some(call_digest(name, arguments)) }
    }

    /// A picture that has this seal, for memories' own tests.
    #[doc(hidden)]
    pub fn of_picture(seal: &str) -> Self {
        let seal = Seal { maker: Maker::Google, data: seal.to_owned() };
        Self { parts: Vec::new(), own: Some(seal), call: None }
    }

    /// How many bytes it takes to keep it.
    pub fn size(&self) -> usize {
        let seal = |seal: &Option<Seal>| seal.as_ref().map_or(0, |seal| seal.data.len());
        let part = |part: &Part| {
            let text = match &part.block.content {
                Content::Thinking { text } | Content::Text(text) => text.len(),
                Content::RedactedThinking { data } => data.len(),
                _ => 0,
            };
            size_of::<Part>() + text + seal(&part.block.seal)
        };
        size_of::<Self>() + seal(&self.own) + self.parts.iter().map(part).sum::<usize>()
    }

    /// Whether no seal in it is longer than any that is taken.
    fn is_bounded(&self) -> bool {
        let seals = self.parts.iter().map(|part| &part.block.seal).chain([&self.own]);
        seals.flatten().all(|seal| seal.data.len() <= LONGEST_SEAL)
    }
}

/// A digest of a call. Clients read arguments and write them anew, so it is that of their meaning.
fn call_digest(name: &str, arguments: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    match serde_json::from_str::<Value>(arguments) {
        Ok(value) => value_digest(&value, &mut hasher),
        // No arguments are an object without members.
        Err(_) if arguments.trim().is_empty() => {
            value_digest(&Value::Object(serde_json::Map::new()), &mut hasher)
        }
        Err(_) => arguments.hash(&mut hasher),
    }
    hasher.finish()
}

fn value_digest(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => hasher.write_u8(0),
        Value::Bool(value) => (1_u8, value).hash(hasher),
        // However it is written.
        Value::Number(number) => (2_u8, number.as_f64().map(f64::to_bits)).hash(hasher),
        Value::String(text) => (3_u8, text).hash(hasher),
        Value::Array(values) => {
            (4_u8, values.len()).hash(hasher);
            values.iter().for_each(|value| value_digest(value, hasher));
        }
        Value::Object(map) => {
            (5_u8, map.len()).hash(hasher);
            // In whatever order.
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            for (key, value) in members {
                key.hash(hasher);
                value_digest(value, hasher);
            }
        }
    }
}

/// The name under which a picture is kept.
fn picture_name(base64: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(base64);
    // No identity of a call is like it.
    format!("picture {:016x} {}", hasher.finish(), base64.len())
}

/// The bytes of a picture that is in the request.
fn picture(block: &Block) -> Option<&[u8]> {
    match &block.content {
        Content::Image { source: Source::Base64 { data, .. }, .. } => Some(data),
        _ => None,
    }
}

impl fmt::Debug for SealsOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealsOf").field("owner", &self.owner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
