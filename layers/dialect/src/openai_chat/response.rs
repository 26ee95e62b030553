//! Reads and writes whole answers of OpenAI chat.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::stream::Decoder;
use super::wire::Chunk;
use crate::ir::{Choice, Content, Error, Response, Source, Usage};
use crate::surrogates::mended;
use crate::{Correspondence, Identity, Malformed};

/// Reads a whole answer as the fold of its events.
pub(crate) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let malformed = || Malformed::new("upstream sent no chat completion").into_answer_error();
    let body = mended(body);
    let chunk = Chunk::read(&body)?.filter(|chunk| !chunk.choices.0.is_empty()).ok_or_else(malformed)?;
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.read(&chunk, &mut events);
    // A whole body is its own terminal marker.
    decoder.end(true, &mut events);
    Response::fold(events)
}

/// Writes a whole answer (<https://platform.openai.com/docs/api-reference/chat/object>).
pub(crate) fn write(answer: &Response, identity: &Identity) -> Bytes {
    let choices: Vec<Value> =
        (0..).zip(&answer.choices).map(|(index, choice)| write_choice(index, choice)).collect();
    let usage: Usage = answer.usage.unwrap_or_default();
    let mut body = json!({
        "id": super::answer_id(answer.id.as_deref().unwrap_or(&identity.id)),
        "object": "chat.completion",
        "created": answer.created.unwrap_or(identity.created),
        "model": answer.model.as_deref().unwrap_or(&identity.model),
        "choices": choices,
        "usage": usage.to_openai(),
    });
    if let Some(tier) = usage.tier {
        body["service_tier"] = tier.as_str().into();
    }
    Bytes::from(body.to_string())
}

fn write_choice(index: u32, choice: &Choice) -> Value {
    let (mut text, mut thinking, mut refusal) = (String::new(), String::new(), String::new());
    let mut calls = Vec::new();
    let mut audio = Map::new();
    // Where each block of text lies in all of it, in characters.
    let (mut places, mut characters) = (Vec::new(), 0);
    for block in &choice.blocks {
        match &block.content {
            Content::Text(more) => {
                let start = characters;
                characters += more.chars().count();
                places.push((start, characters));
                text.push_str(more);
            }
            Content::Thinking { text: more } => thinking.push_str(more),
            Content::Refusal(more) => refusal.push_str(more),
            Content::ToolCall { id, name, arguments } => {
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                let function = json!({ "name": name, "arguments": arguments });
                let mut call = json!({ "id": id, "type": "function", "function": function });
                super::seals::put_beside(&mut call, block.seal.as_ref());
                calls.push(call);
            }
            Content::Image { source: Source::Base64 { mime, data }, .. } => {
                let data = std::str::from_utf8(data).unwrap_or_default();
                let picture = super::picture(&format!("data:{mime};base64,{data}"));
                characters += picture.chars().count();
                text.push_str(&picture);
            }
            Content::Image { source: Source::Url(url), .. } => {
                let picture = super::picture(url);
                characters += picture.chars().count();
                text.push_str(&picture);
            }
            Content::Audio { source: Source::Base64 { mime, data } } => {
                audio.insert("data".into(), std::str::from_utf8(data).unwrap_or_default().into());
                audio.insert("format".into(), mime.rsplit('/').next().unwrap_or("wav").into());
            }
            Content::Audio { source: Source::Text(words) } => {
                audio.insert("transcript".into(), words.as_str().into());
            }
            // Sealed reasoning has no place in this dialect; the others are parts of requests, or of other dialects.
            Content::RedactedThinking { .. }
            | Content::Image { .. }
            | Content::Audio { .. }
            | Content::Document { .. }
            | Content::ToolResult { .. }
            | Content::Opaque { .. } => {}
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let silent = text.is_empty() && !(calls.is_empty() && audio.is_empty() && refusal.is_empty());
    let annotations: Vec<Value> = choice
        .citations
        .iter()
        .filter_map(|citation| {
            let place = places.get(citation.block as usize).copied();
            let (start, end) = place.unwrap_or((characters, characters));
            super::annotation(citation, start, end)
        })
        .collect();
    message.insert("content".into(), if silent { Value::Null } else { text.into() });
    message.insert("refusal".into(), if refusal.is_empty() { Value::Null } else { refusal.into() });
    if !thinking.is_empty() {
        message.insert("reasoning_content".into(), thinking.into());
    }
    if !annotations.is_empty() {
        message.insert("annotations".into(), annotations.into());
    }
    let called = !calls.is_empty();
    if called {
        message.insert("tool_calls".into(), calls.into());
    }
    if !audio.is_empty() {
        let (id, until) = choice.audio.clone().unwrap_or_default();
        audio.insert("id".into(), if id.is_empty() { "audio_0".into() } else { id.into() });
        audio.insert("expires_at".into(), until.unwrap_or(0).into());
        audio.entry("data").or_insert_with(|| "".into());
        audio.entry("transcript").or_insert_with(|| "".into());
        message.insert("audio".into(), audio.into());
    }
    let logprobs = if choice.logprobs.is_empty() { Value::Null } else { super::logprobs(&choice.logprobs) };
    json!({
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": choice.finish.to_openai(called),
    })
}
