//! Reads and writes whole answers of Anthropic.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::carried::{self, Place};
use super::stream::Decoder;
use super::wire::Message;
use super::{answer_id, told};
use crate::ir::{Choice, Content, Error, FinishReason, Response, Source};
use crate::surrogates::mended;
use crate::{Correspondence, Dialect, Identity, Malformed, Manner, exact};

/// Reads a whole answer as the fold of its events.
pub(crate) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let malformed = || Malformed::new("upstream sent no message").into_answer_error();
    let body = mended(body);
    let message =
        Message::read(&body)?.filter(|message| message.kind.text() == "message").ok_or_else(malformed)?;
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.start(&message, &mut events);
    for (index, block) in (0..).zip(&message.content.0) {
        decoder.open(index, block, &mut events);
        decoder.close(index, &mut events);
    }
    decoder.end(&mut events);
    Response::fold(events)
}

/// Writes a whole answer (<https://docs.anthropic.com/en/api/messages>). It holds one candidate; more cannot be asked
/// for in this dialect.
pub(crate) fn write(answer: &Response, manner: &Manner, identity: &Identity) -> Bytes {
    let mut blocks = Vec::new();
    let (mut reason, mut sequence) = (Value::Null, Value::Null);
    if let Some(choice) = answer.choices.first() {
        blocks = write_blocks(choice, manner);
        let is = |kind: &str| blocks.iter().any(|block: &Value| block["type"] == kind);
        let refused = choice.blocks.iter().any(|block| matches!(block.content, Content::Refusal(_)));
        let finish = if refused { told::refused(choice.finish) } else { choice.finish };
        reason = finish.to_anthropic(is("tool_use")).into();
        if finish == FinishReason::StopSequence {
            sequence = choice.stop_sequence.clone().into();
        }
    }
    let body = json!({
        "id": answer_id(answer.id.as_deref().unwrap_or(&identity.id)),
        "type": "message",
        "role": "assistant",
        "model": answer.model.as_deref().unwrap_or(&identity.model),
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": answer.usage.unwrap_or_default().to_anthropic(),
    });
    let mut bytes = Vec::with_capacity(512);
    exact::write(&mut bytes, &body).expect("a JSON value can be written, and a buffer takes everything");
    bytes.into()
}

fn write_blocks(choice: &Choice, manner: &Manner) -> Vec<Value> {
    let mut blocks = Vec::with_capacity(choice.blocks.len());
    let mut texts = 0;
    for block in &choice.blocks {
        match &block.content {
            Content::Text(words) => {
                let sources = choice.citations.iter().filter(|citation| citation.block == texts);
                let sources: Vec<Value> = sources.filter_map(told::citation).collect();
                texts += 1;
                if !words.is_empty() || !sources.is_empty() {
                    let mut text = told::text(words);
                    if !sources.is_empty() {
                        text["citations"] = sources.into();
                    }
                    blocks.push(text);
                }
                if let Some(seal) = block.seal.as_ref().filter(|_| manner.carries_seals_of_text) {
                    blocks.push(told::redacted(&carried::written(seal, Place::Last)));
                }
            }
            Content::Thinking { text } => {
                let signature = block.seal.as_ref().map(|seal| carried::written(seal, Place::Own));
                match signature {
                    Some(signature) if text.is_empty() && signature.starts_with(carried::MARK) => {
                        blocks.push(told::redacted(&signature));
                    }
                    Some(signature) => blocks.push(told::thinking(text, &signature)),
                    None if text.is_empty() => {}
                    None => blocks.push(told::thinking(text, carried::UNSEALED)),
                }
            }
            Content::RedactedThinking { data } => blocks.push(told::redacted(data)),
            Content::ToolCall { id, name, arguments } => {
                if let Some(seal) = &block.seal {
                    blocks.push(told::redacted(&carried::written(seal, Place::Next)));
                }
                blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input(arguments) }));
            }
            Content::Refusal(words) => blocks.push(told::text(words)),
            Content::Image { source: Source::Base64 { mime, data }, .. } => {
                let data = std::str::from_utf8(data).unwrap_or_default();
                blocks.push(told::text(&told::picture(&format!("data:{mime};base64,{data}"))));
            }
            Content::Image { source: Source::Url(url), .. } => blocks.push(told::text(&told::picture(url))),
            Content::Audio { source: Source::Text(words) } => blocks.push(told::text(words)),
            Content::Opaque { dialect: Dialect::Anthropic, json } => blocks.push(json.clone()),
            // Sound cannot be asked for here; the others are parts of requests, or known to other dialects alone.
            Content::Audio { .. }
            | Content::Image { .. }
            | Content::Document { .. }
            | Content::ToolResult { .. }
            | Content::Opaque { .. } => {}
        }
    }
    let orphans = choice.citations.iter().filter(|citation| citation.block >= texts);
    blocks.extend(orphans.filter_map(told::worded).map(|words| told::text(&words)));
    blocks
}

/// The arguments of a call. Those that are no JSON are the one member of an object, since nothing else may stand here.
fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match exact::read(arguments.as_bytes()) {
        Ok(object @ Value::Object(_)) => object,
        Ok(Value::Null) => Value::Object(Map::new()),
        Ok(other) => json!({ "value": other }),
        Err(_) => json!({ "value": arguments }),
    }
}
