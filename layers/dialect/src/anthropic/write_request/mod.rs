//! Writes requests for Anthropic upstreams.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>. What is broken is repaired where the meaning is plain, since
//! the provider would refuse the whole request; what cannot be expressed is an error, so that another channel may try.

mod marks;
mod media;
mod thinking;
mod tools;
mod turns;
mod user;

use serde_json::{Map, Value, json};

pub(crate) use self::thinking::Amount;
use self::tools::tool_choice;
use self::turns::{Writer, WrittenTurn, asking_on, text, trim_prefill};
use super::model::{Model, SamplingRule};
use super::parameters::Parameters;
use super::{BETAS, betas, schema};
use crate::aim::{Betas, Lack, Place};
use crate::ir::{Request, ResponseFormat, Role};
use crate::rope::Node;
use crate::{Aim, Correspondence, Dialect, FetchedMedia, Unsupported, Written};

/// Longest name of a tool, and of a call's identity.
const NAME_LIMIT: usize = 128;
/// The tool that stands for a response format where models know none.
const ANSWER_TOOL: &str = "json";

/// Writes a request. Limits and budgets are in tokens, the temperature ends at 1.
///
/// # Errors
/// Spoken answers, several candidates, likelihoods of tokens; media, tools and blocks that this upstream cannot take.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    check(request)?;
    let model = Model::of(aim.model);
    let mut writer = Writer::new(request, aim, media)?;
    let mut turns = writer.turns()?;
    let mut tools = writer.tools.written;
    let limit =
        model.clamp(request.sampling.max_tokens.filter(|limit| *limit > 0).unwrap_or(model.default_limit()));
    let thinking = Amount::of(request, aim.alias, &model, limit).unless_a_call_lacks_its_thinking(&turns);

    let mut system = writer.system;
    let mut output = Map::new();
    let mut answer_tool = None;
    let lacks = |what| aim.envelope.lacks(what);
    let binds = model.schema && !lacks(Lack::Schemas) && (model.recent || !lacks(Lack::OldSchemas));
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            system.push(text("Respond with a single JSON object and nothing else."));
        }
        Some(ResponseFormat::JsonSchema { schema, .. }) if binds && schema::can_be_closed(schema) => {
            output
                .insert("format".into(), json!({ "type": "json_schema", "schema": schema::trimmed(schema) }));
        }
        // A forced tool is the stricter way, but thinking forbids force and other tools would never be called.
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let free = tools.is_empty() && !thinking.is_on() && !binds;
            answer_tool = free.then(|| Parameters::exactly(schema)).flatten();
            if answer_tool.is_none() {
                let words = format!(
                    "Respond with a single JSON value and nothing else. It must match this JSON schema: {schema}"
                );
                system.push(Node::object([("type", "text".into()), ("text", words.into())]));
            }
        }
    }
    let single = request.parallel_tool_calls == Some(false) && !tools.is_empty();
    if single && aim.envelope.lacks(Lack::SingleCalls) {
        system.push(text("Call at most one tool at a time."));
    }
    // Where the client had the last word, which was left out, nobody is to go on with the model's own.
    let asked = request.turns.last().is_none_or(|turn| turn.role != Role::Assistant);
    let refused = !model.prefill || thinking.is_on() || !output.is_empty();
    match turns.last().is_some_and(|turn| turn.assistant) && (asked || refused) {
        true => turns.push(WrittenTurn::asking_on(asking_on())),
        false => trim_prefill(&mut turns),
    }
    marks::settle(&mut tools, &mut system, &mut turns);

    let mut body = Node::Object(Vec::new());
    if aim.envelope.model == Place::Body {
        body.insert("model", aim.model);
    }
    for (name, value) in aim.envelope.adds {
        body.insert(name, *value);
    }
    if aim.envelope.betas == Betas::Body && !aim.betas.is_empty() {
        body.insert(BETAS, Value::from(aim.betas));
    }
    body.insert("max_tokens", thinking.limit(limit, &model));
    match system.len() {
        0 => {}
        1 if !system[0].has("cache_control") => body.insert("system", system.remove(0).take("text")),
        _ => body.insert("system", system),
    }
    let messages: Vec<Node<'_>> = turns
        .into_iter()
        .map(|turn| Node::object([("role", turn.role().into()), ("content", turn.blocks.into())]))
        .collect();
    body.insert("messages", messages);
    let answered_by_tool = answer_tool.is_some();
    let choice = match (&answer_tool, tools.is_empty()) {
        (Some(_), _) => {
            Some(json!({ "type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": true }))
        }
        (None, true) => None,
        (None, false) => {
            let single = !aim.envelope.lacks(Lack::SingleCalls);
            tool_choice(request, thinking.is_on(), single, &mut writer.names)
        }
    };
    if let Some(schema) = answer_tool {
        let tool = json!({
            "name": ANSWER_TOOL,
            "description": "Respond with a JSON object.",
            "input_schema": schema,
        });
        body.insert("tools", json!([tool]));
    } else if !tools.is_empty() {
        body.insert("tools", Value::from(tools));
    }
    body.insert_some("tool_choice", choice);
    write_sampling(request, &model, thinking.is_on(), &mut body);
    let visible = request.reasoning.and_then(|reasoning| reasoning.visible);
    thinking.write(&model, visible, &mut body, &mut output);
    if !output.is_empty() {
        body.insert("output_config", output);
    }
    body.insert_some("metadata", user::id(request).map(|user| json!({ "user_id": user })));
    let tier = request.service_tier.as_deref().filter(|_| !aim.envelope.lacks(Lack::Tiers));
    body.insert_some("service_tier", tier.map(service_tier));
    for (name, value) in &request.extra {
        // A field in test and its flag go together or not at all.
        let known = request.source == Dialect::Anthropic || betas::unlock(aim.betas, name);
        if known && !body.has(name) {
            body.insert(name, value.clone());
        }
    }
    if aim.stream && aim.envelope.stream == Place::Body {
        body.insert("stream", true);
    }
    let correspondence = Correspondence {
        tools: writer.names.into_renamed(),
        parameters: writer.tools.back,
        answer_tool: answered_by_tool.then(|| ANSWER_TOOL.to_owned()),
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// Refuses what no answer of this dialect can hold.
pub(crate) fn check(request: &Request) -> Result<(), Unsupported> {
    if request.modalities.iter().any(|form| form == "audio") {
        return Err(Unsupported::at("modalities", "this upstream cannot answer with sound"));
    }
    if request.sampling.n.is_some_and(|n| n > 1) {
        return Err(Unsupported::at("n", "n must be 1 for this model: it gives one answer at a time"));
    }
    if request.sampling.logprobs == Some(true) {
        return Err(Unsupported::at("logprobs", "this upstream does not tell how likely its words are"));
    }
    Ok(())
}

fn service_tier(tier: &str) -> &'static str {
    match tier {
        "default" | "flex" | "standard" | "standard_only" => "standard_only",
        _ => "auto",
    }
}

fn write_sampling(request: &Request, model: &Model, thinks: bool, body: &mut Node<'_>) {
    let sampling = &request.sampling;
    let stop: Vec<&str> =
        sampling.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    if !stop.is_empty() {
        body.insert("stop_sequences", Value::from(stop));
    }
    // Thinking allows no sampling parameters worth sending.
    if thinks || model.sampling == SamplingRule::None {
        return;
    }
    if let Some(temperature) = &sampling.temperature {
        // Half of the range of other dialects; numbers within it stay as they were written.
        let value = match temperature.as_f64() {
            Some(high) if high > 1.0 => json!(1.0),
            Some(low) if low < 0.0 => json!(0.0),
            _ => Value::Number(temperature.clone()),
        };
        body.insert("temperature", value);
    }
    if model.sampling == SamplingRule::Any || sampling.temperature.is_none() {
        body.insert_some("top_p", sampling.top_p.clone().map(Value::Number));
    }
    body.insert_some("top_k", sampling.top_k);
}
