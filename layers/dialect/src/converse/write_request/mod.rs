//! Writes requests for Converse.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>. What is broken is repaired
//! where the meaning is plain, since the provider would refuse the whole request; what the model cannot be told in a
//! field is told in words, and what cannot be expressed at all is an error, so that another channel may try.

mod marks;
mod media;
mod thinking;
mod tools;
mod turns;

use serde_json::{Map, Value, json};

use self::marks::{Marked, settle, written};
use self::thinking::Thoughts;
use self::tools::{NO_CALLS, Told};
use self::turns::{Writer, WrittenTurn, asking_on, lacks_thinking, text, trim_prefill};
use super::family::{Family, Force, Maker};
use crate::anthropic::{self, Model, Parameters, SamplingRule, schema};
use crate::exact;
use crate::ir::{self, Request, ResponseFormat, Role, ToolChoice};
use crate::rope::Node;
use crate::worded::instruction;
use crate::{Aim, Correspondence, Dialect, FetchedMedia, Unsupported, Written};

/// The tool that stands for a response format where models know none.
const ANSWER_TOOL: &str = "json";
/// Fields of this dialect that clients of others may add.
const OWN: [&str; 7] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
];
/// Most labels of a request, and the longest word of one.
const LABELS: usize = 16;
const LONGEST_LABEL: usize = 256;

/// Writes a request. Limits and budgets are in tokens, the temperature ends at 1.
///
/// # Errors
/// Spoken answers, several candidates, likelihoods of tokens; media, tools and blocks that this upstream cannot take.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    anthropic::check(request)?;
    let model = Model::of(aim.model);
    let family = Family::of(aim.model, &model);
    let mut writer = Writer::new(request, aim, media, family)?;
    let mut turns = writer.turns()?;
    let limit = request.sampling.max_tokens.filter(|limit| *limit > 0);
    let thoughts = Thoughts::of(request, aim, &model, family, lacks_thinking(&turns));

    let mut system = writer.system;
    let mut output = Map::new();
    let mut answer_tool = None;
    let mut words: Vec<String> = Vec::new();
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            words.push("Respond with a single JSON object and nothing else.".to_owned());
        }
        Some(ResponseFormat::JsonSchema { name, schema, description, .. })
            if family.schema && schema::can_be_closed(schema) =>
        {
            output.insert("textFormat".into(), bound(name, schema, description.as_deref()));
        }
        // A forced tool is the stricter way, but thinking forbids force and other tools would never be called.
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let free = writer.tools.written.is_empty() && aim.tools && !thoughts.is_on();
            let free = free && family.force == Force::Named && !family.schema;
            answer_tool = free.then(|| Parameters::exactly(schema)).flatten();
            if answer_tool.is_none() {
                words.push(format!(
                    "Respond with a single JSON value and nothing else. It must match this JSON schema: {schema}"
                ));
            }
        }
    }
    let told = Told::of(request, family, thoughts.is_on(), writer.called, &mut writer.names);
    let mut tools = writer.tools.written;
    if told.without {
        tools.clear();
    } else if !tools.is_empty() {
        words.extend(told.words);
    }
    // Those that earlier turns speak of are none that the client still has.
    let is_remembered = !tools.is_empty() && request.tools.is_empty() && request.server_tools.is_empty();
    if is_remembered && request.tool_choice != Some(ToolChoice::None) {
        words.push(NO_CALLS.to_owned());
    }
    system.extend(words.into_iter().map(|words| Marked::new(text(words))));

    // Where the client had the last word, which was left out, nobody is to go on with the model's own.
    let asked = request.turns.last().is_none_or(|turn| turn.role != Role::Assistant);
    let refused = !family.prefill || thoughts.is_on() || !output.is_empty();
    match turns.last().is_some_and(|turn| turn.assistant) && (asked || refused) {
        true => turns.push(WrittenTurn::asking_on(asking_on())),
        false => trim_prefill(&mut turns),
    }
    if !family.system {
        instruct(&mut turns, std::mem::take(&mut system));
    }
    let mut conversation: Vec<_> = turns.iter_mut().map(|turn| &mut turn.blocks).collect();
    settle(family.caches, &mut tools, &mut system, &mut conversation);

    let mut body = Node::Object(Vec::new());
    if !system.is_empty() {
        body.insert("system", written(system));
    }
    let messages: Vec<Node<'_>> = turns
        .into_iter()
        .map(|turn| Node::object([("role", turn.role().into()), ("content", written(turn.blocks).into())]))
        .collect();
    body.insert("messages", messages);
    let answered_by_tool = answer_tool.is_some();
    if let Some(schema) = answer_tool {
        let spec = json!({
            "name": ANSWER_TOOL,
            "description": "Respond with a JSON object.",
            "inputSchema": { "json": schema },
        });
        let choice = json!({ "tool": { "name": ANSWER_TOOL } });
        body.insert("toolConfig", json!({ "tools": [{ "toolSpec": spec }], "toolChoice": choice }));
    } else if !tools.is_empty() {
        let mut config = Node::object([("tools", written(tools).into())]);
        config.insert_some("toolChoice", told.choice);
        body.insert("toolConfig", config);
    }
    let inference = inference(request, &model, family, &thoughts, limit);
    if !inference.is_empty() {
        body.insert("inferenceConfig", inference);
    }
    let additional = additional(request, aim, &model, family, &thoughts);
    if !additional.is_empty() {
        body.insert("additionalModelRequestFields", additional);
    }
    if !output.is_empty() {
        body.insert("outputConfig", output);
    }
    if family.is(Maker::Anthropic) && !request.sampling.stop.is_empty() {
        // Which of them was met is told on demand only, and elsewhere in a stream.
        let path = if aim.stream { "/delta/stop_sequence" } else { "/stop_sequence" };
        body.insert("additionalModelResponseFieldPaths", json!([path]));
    }
    let tier = request.service_tier.as_deref().and_then(service_tier);
    body.insert_some("serviceTier", tier.map(|tier| json!({ "type": tier })));
    body.insert_some("requestMetadata", labels(request));
    for (name, value) in &request.extra {
        if OWN.contains(&name.as_str()) {
            // What the client says itself stands in place of what was made of its other words.
            body.remove(name);
            body.insert(name, value.clone());
        }
    }
    let correspondence = Correspondence {
        tools: writer.names.into_renamed(),
        parameters: writer.tools.back,
        answer_tool: answered_by_tool.then(|| ANSWER_TOOL.to_owned()),
        sealed_by: family.is(Maker::Anthropic).then_some(ir::Maker::Anthropic),
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// The form of an answer that is bound to a schema, which stands there as text.
fn bound(name: &str, schema: &Value, description: Option<&str>) -> Value {
    let mut text = Vec::new();
    exact::write(&mut text, &schema::trimmed(schema))
        .expect("a JSON value can be written, and a buffer takes all");
    let mut schema = Map::new();
    schema.insert("schema".into(), String::from_utf8_lossy(&text).into());
    schema.insert("name".into(), name.into());
    if let Some(description) = description {
        schema.insert("description".into(), description.into());
    }
    json!({ "type": "json_schema", "structure": { "jsonSchema": schema } })
}

/// Instructions for models that have no place for them: the first words of the user.
fn instruct<'a>(turns: &mut [WrittenTurn<'a>], system: Vec<Marked<'a>>) {
    let Some(first) = turns.first_mut() else { return };
    let words: Vec<&str> = system.iter().filter_map(|block| block.node.str("text")).collect();
    if !words.is_empty() {
        let words = instruction(&words.join("\n\n"));
        first.blocks.insert(0, Marked::new(text(words)));
    }
}

/// `inferenceConfig`.
fn inference(
    request: &Request,
    model: &Model,
    family: Family,
    thoughts: &Thoughts,
    limit: Option<u64>,
) -> Map<String, Value> {
    let sampling = &request.sampling;
    let mut config = Map::new();
    let claude = family.is(Maker::Anthropic);
    let limit = match claude {
        // Without one its longest answer is reserved, quota and all.
        true => Some(thoughts.limit(model.clamp(limit.unwrap_or(model.default_limit())), model)),
        false => limit.filter(|_| !thoughts.forbids_limits()),
    };
    if let Some(limit) = limit {
        config.insert("maxTokens".into(), limit.into());
    }
    let free = match claude {
        true => !thoughts.is_on() && model.sampling != SamplingRule::None,
        false => !thoughts.forbids_limits(),
    };
    if free {
        if let Some(temperature) = &sampling.temperature {
            // Half of the range of other dialects; numbers within it stay as they were written.
            let value = match temperature.as_f64() {
                Some(high) if high > 1.0 => json!(1.0),
                Some(low) if low < 0.0 => json!(0.0),
                _ => Value::Number(temperature.clone()),
            };
            config.insert("temperature".into(), value);
        }
        let both = !claude || model.sampling == SamplingRule::Any || sampling.temperature.is_none();
        if let Some(top_p) = sampling.top_p.clone().filter(|_| both) {
            config.insert("topP".into(), Value::Number(top_p));
        }
    }
    let blank = |stop: &&String| if claude { stop.trim().is_empty() } else { stop.is_empty() };
    let stops: Vec<&String> = sampling.stop.iter().filter(|stop| !blank(stop)).take(family.stops).collect();
    if !stops.is_empty() {
        config.insert("stopSequences".into(), json!(stops));
    }
    config
}

/// `additionalModelRequestFields`: what a model's own format knows and Converse does not.
fn additional(
    request: &Request,
    aim: &Aim<'_>,
    model: &Model,
    family: Family,
    thoughts: &Thoughts,
) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(top_k) = request.sampling.top_k {
        match family.maker {
            Maker::Anthropic if !thoughts.is_on() && model.sampling != SamplingRule::None => {
                fields.insert("top_k".into(), top_k.into());
            }
            Maker::Amazon if !thoughts.forbids_limits() => {
                fields.insert("inferenceConfig".into(), json!({ "topK": top_k }));
            }
            Maker::Cohere => drop(fields.insert("k".into(), top_k.into())),
            Maker::Mistral => drop(fields.insert("top_k".into(), top_k.into())),
            // They have no such thing, or none that Converse passes on.
            Maker::Anthropic | Maker::Amazon | Maker::Other => {}
        }
    }
    let visible = request.reasoning.and_then(|reasoning| reasoning.visible);
    thoughts.write(model, visible, &mut fields);
    if family.is(Maker::Anthropic) {
        if !aim.betas.is_empty() {
            fields.insert(anthropic::BETAS.into(), aim.betas.into());
        }
        for (name, value) in &request.extra {
            // A field in test and its flag go together or not at all.
            if request.source == Dialect::Anthropic || anthropic::unlock(aim.betas, name) {
                fields.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    fields
}

fn service_tier(tier: &str) -> Option<&'static str> {
    match tier {
        "priority" | "fast" => Some("priority"),
        "flex" => Some("flex"),
        "default" | "standard" | "standard_only" => Some("default"),
        _ => None,
    }
}

/// `requestMetadata`: the client's labels, as far as they are such words as the provider keeps.
fn labels(request: &Request) -> Option<Value> {
    let fits = |word: &str| {
        word.len() <= LONGEST_LABEL
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" \t\r\n:_@$#=/+,-.".contains(&byte))
    };
    let labels: Map<String, Value> = request
        .metadata
        .iter()
        .flatten()
        .filter(|(name, value)| !name.is_empty() && fits(name) && value.as_str().is_some_and(fits))
        .take(LABELS)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!labels.is_empty()).then(|| labels.into())
}
