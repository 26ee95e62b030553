//! Writes requests for translations.
//!
//! Source: <https://www.volcengine.com/docs/82379> (Responses API, `translation_options`). The model takes one text and two languages, no
//! instructions, no tools, and no parameters by which tokens are drawn.

use serde_json::{Map, Value, json};

use crate::aim::Place;
use crate::ir::{Block, Content, Request, Role};
use crate::{Aim, Correspondence, SentBody, Unsupported, Written, exact};

/// The field with the languages, in a part of the input and, as people write it, at the top.
const OPTIONS: &str = "translation_options";
/// The language into which a text is translated, and the one that it is in, which the model finds out by itself.
const LANGUAGES: [&str; 2] = ["target_language", "source_language"];
/// The target where nobody names one.
const TARGET: &str = "zh";

/// Writes a request: the last text of the user.
///
/// # Errors
/// A conversation in which the user says nothing in words; what no translation is: calls of tools, a schema, sound,
/// several answers.
pub(super) fn write(request: &Request, aim: &Aim<'_>) -> Result<Written, Unsupported> {
    check(request)?;
    let text = last_text(request)
        .ok_or_else(|| Unsupported::at("messages", "there is no text of a user to translate"))?;
    let mut options = Map::new();
    let given = request.extra.get(OPTIONS).and_then(Value::as_object);
    for name in LANGUAGES {
        let given = given.and_then(|options| options.get(name)).or_else(|| request.extra.get(name));
        if let Some(language) = language(given) {
            options.insert(name.into(), language.into());
        }
    }
    let part = json!({ "type": "input_text", "text": text, OPTIONS: options });
    let mut body = Map::new();
    if aim.envelope.model == Place::Body {
        body.insert("model".into(), aim.model.into());
    }
    body.insert("input".into(), json!([{ "role": "user", "content": [part] }]));
    if aim.stream && aim.envelope.stream == Place::Body {
        body.insert("stream".into(), true.into());
    }
    let body = match aim.as_json {
        true => SentBody::Json(body),
        false => {
            settle(&mut body);
            SentBody::Bytes(vec![exact::json_bytes(&body).into()])
        }
    };
    Ok(Written { body, correspondence: Correspondence::default() })
}

/// Puts languages that were merged in at the top to their place, unless the client named its own, and the default
/// where nobody did. Nothing else knows them at the top.
pub(super) fn settle(body: &mut Map<String, Value>) {
    let mut merged = body.shift_remove(OPTIONS).unwrap_or_default();
    let part = body.get_mut("input").and_then(|input| input.pointer_mut("/0/content/0"));
    let Some(Value::Object(options)) = part.and_then(|part| part.get_mut(OPTIONS)) else { return };
    for name in LANGUAGES {
        let default = merged.get_mut(name).map(Value::take);
        if let Some(language) = language(default.as_ref()) {
            options.entry(name).or_insert_with(|| language.into());
        }
    }
    options.entry(LANGUAGES[0]).or_insert_with(|| TARGET.into());
}

/// A language that is named.
fn language(value: Option<&Value>) -> Option<&str> {
    value?.as_str().map(str::trim).filter(|language| !language.is_empty())
}

/// The words of the last message in which the user says any.
fn last_text(request: &Request) -> Option<String> {
    let said = request.turns.iter().rev().filter(|turn| turn.role == Role::User);
    said.map(|turn| words(&turn.blocks)).find(|text| !text.trim().is_empty())
}

fn words(blocks: &[Block]) -> String {
    let words = blocks.iter().filter_map(|block| match &block.content {
        Content::Text(words) => Some(words.as_str()),
        _ => None,
    });
    words.collect()
}

/// Refuses what a translation cannot be. Instructions and earlier turns are about the talk, not the text, and are left
/// out, as are limits and sampling.
fn check(request: &Request) -> Result<(), Unsupported> {
    use crate::ir::{ResponseFormat, ToolChoice};

    let refused =
        |param: &str, what: &str| Err(Unsupported::at(param, format!("this model translates: {what}")));
    let forced = matches!(
        request.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
    );
    if forced {
        return refused("tool_choice", "it calls no tools");
    }
    if matches!(request.response_format, Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. }))
    {
        return refused("response_format", "it answers with text");
    }
    if request.modalities.iter().any(|form| form != "text") {
        return refused("modalities", "it answers with text");
    }
    if request.sampling.n.is_some_and(|n| n > 1) {
        return refused("n", "it gives one answer at a time");
    }
    if request.sampling.logprobs == Some(true) {
        return refused("logprobs", "it does not tell how likely its words are");
    }
    let media = request.turns.iter().rfind(|turn| turn.role == Role::User).is_some_and(|turn| {
        let is_medium = |content: &Content| {
            matches!(content, Content::Image { .. } | Content::Audio { .. } | Content::Document { .. })
        };
        turn.blocks.iter().any(|block| is_medium(&block.content))
    });
    if media {
        return refused("messages", "it takes text only");
    }
    Ok(())
}
