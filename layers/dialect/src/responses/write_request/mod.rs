//! Writes requests for upstreams of this dialect.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/create>. What a model would refuse although the
//! answer is the same without it is left out, by the table of models; what would change the answer is an error, so
//! that another channel may try.

mod alias;
mod input;
mod parts;
mod thinking;
mod tools;

use serde_json::{Map, Value, json};

use self::alias::Alias;
use self::input::Writer;
use self::thinking::Amount;
use self::tools::Tools;
use super::model::{Model, Sampling, Thinks};
use crate::aim::Place;
use crate::ir::{Request, ResponseFormat};
use crate::names::{Grammar, Names, digest};
use crate::rope::Node;
use crate::{Aim, Correspondence, Dialect, FetchedMedia, Unsupported, Written, media};

/// Longest name of a tool or a response format, and longest identity of a call or a user.
const NAME_LIMIT: usize = 64;
/// Smallest output limit that is accepted, in tokens.
const LEAST_OUTPUT: u64 = 16;
/// Fields of OpenAI's chat that go by the same name and mean the same here.
const SAME: [&str; 6] = [
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "truncation",
    "max_tool_calls",
    "moderation",
];

/// Writes a request. Limits are in tokens.
///
/// # Errors
/// Spoken answers, several candidates, likelihoods and biases of tokens that the model does not tell or take; media and
/// blocks that this dialect has no place for.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    let model = Model::of(aim.model);
    check(request, &model)?;
    let alias = Alias::of(aim.alias, aim.model);
    let mut writer = Writer::new(request, aim, media, &model);
    let tools = if aim.tools { Tools::of(request, &alias, &mut writer.names)? } else { Tools::default() };
    let input = writer.items()?;
    let amount = Amount::of(request, &alias, &model);

    let mut body = Node::Object(Vec::new());
    if aim.envelope.model == Place::Body {
        body.insert("model", aim.model);
    }
    for (name, value) in aim.envelope.adds {
        body.insert(name, *value);
    }
    body.insert("input", input);
    tools.write(request, &mut writer.names, &mut body);
    amount.write(&model, &mut body);
    write_text(request, &mut body);
    write_sampling(request, &model, amount, &mut body);
    let mut include = Vec::new();
    if model.thinks == Thinks::Sealed {
        include.push("reasoning.encrypted_content");
    }
    if request.sampling.logprobs == Some(true) {
        include.push("message.output_text.logprobs");
    }
    if !include.is_empty() {
        body.insert("include", Value::from(include));
    }
    write_rest(request, &mut body);
    if aim.stream && aim.envelope.stream == Place::Body {
        body.insert("stream", true);
    }
    let sound = request.audio.as_ref().and_then(|audio| audio.get("format")).and_then(Value::as_str);
    let correspondence = Correspondence {
        tools: writer.names.into_renamed(),
        sound: sound.map(media::audio_mime),
        stop: request.sampling.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// Refuses what no answer of this dialect, or of this model, can hold.
fn check(request: &Request, model: &Model) -> Result<(), Unsupported> {
    if request.modalities.iter().any(|form| form == "audio") {
        return Err(Unsupported::at("modalities", "this upstream cannot answer with sound"));
    }
    if request.sampling.n.is_some_and(|n| n > 1) {
        return Err(Unsupported::at("n", "n must be 1 for this upstream: it gives one answer at a time"));
    }
    if request.sampling.logprobs == Some(true) && model.sampling == Sampling::Never {
        return Err(Unsupported::at("logprobs", "this model does not tell how likely its words are"));
    }
    let bias = request.sampling.logit_bias.as_ref().and_then(Value::as_object);
    if bias.is_some_and(|bias| !bias.is_empty()) {
        return Err(Unsupported::at("logit_bias", "this upstream takes no weights of tokens"));
    }
    Ok(())
}

/// `text`: the form of the answer, and how many words it makes.
fn write_text(request: &Request, body: &mut Node<'_>) {
    let mut text = Map::new();
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            text.insert("format".into(), json!({ "type": "json_object" }));
        }
        Some(ResponseFormat::JsonSchema { name, schema, description, strict }) => {
            let name = Names::new(Grammar::of_tools(NAME_LIMIT), std::iter::empty()).fitting(name);
            let mut format = Map::new();
            format.insert("type".into(), "json_schema".into());
            format.insert("name".into(), name.into());
            if let Some(description) = description {
                format.insert("description".into(), description.as_str().into());
            }
            format.insert("schema".into(), schema.clone());
            if let Some(strict) = strict {
                format.insert("strict".into(), (*strict).into());
            }
            text.insert("format".into(), format.into());
        }
    }
    if let Some(verbosity) = request.extra.get("verbosity").filter(|verbosity| verbosity.is_string()) {
        text.insert("verbosity".into(), verbosity.clone());
    }
    if !text.is_empty() {
        body.insert("text", text);
    }
}

/// Seeds and penalties are wishes that change nothing of what an answer says; there is no place for them here.
fn write_sampling(request: &Request, model: &Model, amount: Amount, body: &mut Node<'_>) {
    let sampling = &request.sampling;
    let limit = sampling.max_tokens.filter(|limit| *limit > 0);
    body.insert_some("max_output_tokens", limit.map(|limit| limit.max(LEAST_OUTPUT)));
    let taken = match model.sampling {
        Sampling::Always => true,
        Sampling::WithoutThinking => !amount.is_on(),
        Sampling::Never => false,
    };
    if taken {
        body.insert_some("temperature", sampling.temperature.clone().map(Value::Number));
        body.insert_some("top_p", sampling.top_p.clone().map(Value::Number));
    }
    if sampling.logprobs == Some(true) {
        body.insert_some("top_logprobs", sampling.top_logprobs);
    }
}

/// What is about the request as a whole. Nothing is stored at the provider unless the client asks for it.
fn write_rest(request: &Request, body: &mut Node<'_>) {
    let store = request.extra.get("store").and_then(Value::as_bool);
    body.insert("store", store.unwrap_or(false));
    body.insert_some("service_tier", request.service_tier.clone());
    body.insert_some("metadata", request.metadata.clone());
    body.insert_some("user", request.user.clone());
    let safety = request.safety_identifier.as_ref();
    body.insert_some(
        "safety_identifier",
        safety.map(|name| if name.chars().count() > NAME_LIMIT { digest(name) } else { name.clone() }),
    );
    if request.source != Dialect::OpenAiChat {
        return;
    }
    for name in SAME {
        body.insert_some(name, request.extra.get(name).cloned());
    }
}
