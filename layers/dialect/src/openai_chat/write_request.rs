//! Writes requests for OpenAI chat upstreams, on behalf of clients of other dialects.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::ir::{
    Block, Content, Effort, Reasoning, Request, ResponseFormat, Role, Sampling, Source, ToolChoice, Turn,
};
use crate::names::{self, Names};
use crate::{Correspondence, Dialect, Unsupported, UpstreamRequest};

/// Longest identity of a tool call.
const ID_LIMIT: usize = 40;
/// Longest name of a tool.
const NAME_LIMIT: usize = 64;

pub(crate) fn write(request: &Request) -> Result<UpstreamRequest, Unsupported> {
    let family = request.source == Dialect::OpenAiChat;
    let mut names = Names::new(NAME_LIMIT, request.tools.iter().map(|tool| tool.name.as_str()));
    let mut body = Map::new();
    body.insert("model".into(), request.upstream_model.as_str().into());
    body.insert("messages".into(), messages(request, &mut names)?.into());
    if request.stream {
        body.insert("stream".into(), true.into());
        // The usage is always wanted here; whether the client sees it is the encoder's business.
        body.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    write_sampling(request, family, &mut body);
    write_tools(request, family, &mut names, &mut body);
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            body.insert("response_format".into(), json!({ "type": "json_object" }));
        }
        Some(ResponseFormat::JsonSchema { name, schema, description, strict }) => {
            let mut format = Map::new();
            format.insert("name".into(), name.as_str().into());
            insert(&mut format, "description", description.as_deref());
            format.insert("schema".into(), schema.clone());
            insert(&mut format, "strict", *strict);
            body.insert("response_format".into(), json!({ "type": "json_schema", "json_schema": format }));
        }
    }
    let effort = match request.reasoning {
        Some(Reasoning::Effort(Effort::Max)) => Some(Effort::XHigh),
        Some(Reasoning::Effort(effort)) => Some(effort),
        Some(Reasoning::Budget(..=2048)) => Some(Effort::Low),
        Some(Reasoning::Budget(2049..=8192)) => Some(Effort::Medium),
        Some(Reasoning::Budget(_)) => Some(Effort::High),
        // No word for "off" is understood by all models.
        Some(Reasoning::Disabled | Reasoning::Adaptive) | None => None,
    };
    insert(&mut body, "reasoning_effort", effort.map(Effort::as_str));
    insert(&mut body, "user", request.user.as_deref());
    if family {
        insert(&mut body, "service_tier", request.service_tier.as_deref());
        insert(&mut body, "metadata", request.metadata.clone());
        insert(&mut body, "audio", request.audio.clone());
        if !request.modalities.is_empty() {
            body.insert("modalities".into(), request.modalities.clone().into());
        }
        for (name, value) in &request.extra {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
    }
    let correspondence = Correspondence { tools: names.into_renamed(), answer_tool: None };
    Ok(UpstreamRequest { body: Bytes::from(Value::Object(body).to_string()), correspondence })
}

fn insert(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// Models that count thinking as output, and take no sampling parameters.
fn thinks(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    ["o1", "o3", "o4", "gpt-5"].iter().any(|prefix| name.starts_with(prefix))
}

fn write_sampling(request: &Request, family: bool, body: &mut Map<String, Value>) {
    let Sampling {
        max_tokens,
        temperature,
        top_p,
        top_k,
        min_p,
        stop,
        seed,
        n,
        presence_penalty,
        frequency_penalty,
        logprobs,
        top_logprobs,
        logit_bias,
    } = &request.sampling;
    let number = |number: &Option<serde_json::Number>| number.clone().map(Value::Number);
    if thinks(&request.upstream_model) {
        insert(body, "max_completion_tokens", *max_tokens);
    } else {
        insert(body, "max_tokens", *max_tokens);
        insert(body, "temperature", number(temperature));
        insert(body, "top_p", number(top_p));
        insert(body, "presence_penalty", number(presence_penalty));
        insert(body, "frequency_penalty", number(frequency_penalty));
        insert(body, "logprobs", *logprobs);
        insert(body, "top_logprobs", *top_logprobs);
        insert(body, "logit_bias", logit_bias.clone());
    }
    match stop.as_slice() {
        [] => {}
        // No more than four are taken.
        some => drop(body.insert("stop".into(), some.iter().take(4).cloned().collect::<Vec<_>>().into())),
    }
    insert(body, "seed", number(seed));
    insert(body, "n", *n);
    if family {
        insert(body, "top_k", *top_k);
        insert(body, "min_p", number(min_p));
    }
}

fn write_tools(request: &Request, family: bool, names: &mut Names, body: &mut Map<String, Value>) {
    let mut tools: Vec<Value> = Vec::new();
    for tool in &request.tools {
        let mut function = Map::new();
        function.insert("name".into(), names.fitting(&tool.name).into());
        insert(&mut function, "description", tool.description.as_deref());
        if !tool.schema.is_null() {
            function.insert("parameters".into(), tool.schema.clone());
        }
        insert(&mut function, "strict", tool.strict);
        tools.push(json!({ "type": "function", "function": function }));
    }
    if family {
        tools.extend(request.server_tools.iter().cloned());
    }
    if tools.is_empty() {
        return;
    }
    body.insert("tools".into(), tools.into());
    let mut named = |name: &str| json!({ "type": "function", "function": { "name": names.fitting(name) } });
    let choice = request.tool_choice.as_ref().map(|choice| match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => named(name),
        ToolChoice::Allowed { names: allowed, required } => {
            let tools: Vec<Value> = allowed.iter().map(|name| named(name)).collect();
            let mode = if *required { "required" } else { "auto" };
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools } })
        }
    });
    insert(body, "tool_choice", choice);
    insert(body, "parallel_tool_calls", request.parallel_tool_calls);
}

fn messages(request: &Request, names: &mut Names) -> Result<Vec<Value>, Unsupported> {
    let mut messages = Vec::new();
    let system = texts(&request.system);
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    for turn in &request.turns {
        match turn.role {
            Role::System => messages.push(json!({ "role": "system", "content": texts(&turn.blocks) })),
            Role::Assistant => messages.push(assistant(turn, names)),
            Role::User | Role::Tool => user(turn, &mut messages)?,
        }
    }
    Ok(messages)
}

/// The text of blocks, a blank line between two.
fn texts(blocks: &[Block]) -> String {
    let texts: Vec<&str> = blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::Text(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n\n")
}

fn assistant(turn: &Turn, names: &mut Names) -> Value {
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let mut text = String::new();
    let mut calls = Vec::new();
    for block in &turn.blocks {
        match &block.content {
            Content::Text(more) => text.push_str(more),
            Content::Refusal(refusal) => {
                message.insert("refusal".into(), refusal.as_str().into());
            }
            Content::ToolCall { id, name, arguments, .. } => {
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                calls.push(json!({
                    "id": names::fitting_id(id, ID_LIMIT),
                    "type": "function",
                    "function": { "name": names.fitting(name), "arguments": arguments },
                }));
            }
            // Reasoning is not replayed, and pictures of the model's own cannot be.
            _ => {}
        }
    }
    let silent = text.is_empty() && !calls.is_empty();
    message.insert("content".into(), if silent { Value::Null } else { text.into() });
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    message.into()
}

/// A user's turn. Results come first, each in a message of its own, right behind the calls; pictures in them follow
/// in the user's own message, because tool messages hold text only.
fn user(turn: &Turn, messages: &mut Vec<Value>) -> Result<(), Unsupported> {
    let mut parts = Vec::new();
    for block in &turn.blocks {
        let Content::ToolResult { call_id, blocks, is_error, .. } = &block.content else { continue };
        let mut text = texts(blocks);
        if *is_error {
            text.insert_str(0, "Error: ");
        }
        messages.push(json!({
            "role": "tool",
            "tool_call_id": names::fitting_id(call_id, ID_LIMIT),
            "content": text,
        }));
        for block in blocks.iter().filter(|block| !matches!(block.content, Content::Text(_))) {
            parts.extend(part(block)?);
        }
    }
    if !parts.is_empty() {
        parts.insert(0, json!({ "type": "text", "text": "Attachments of the tool output:" }));
    }
    for block in &turn.blocks {
        parts.extend(part(block)?);
    }
    match parts.as_slice() {
        [] => {}
        [single] if single["type"] == "text" => {
            messages.push(json!({ "role": "user", "content": single["text"] }));
        }
        _ => messages.push(json!({ "role": "user", "content": parts })),
    }
    Ok(())
}

fn part(block: &Block) -> Result<Option<Value>, Unsupported> {
    let unsupported =
        |what: &str| Unsupported::at("messages", format!("{what} cannot be sent to this upstream"));
    Ok(Some(match &block.content {
        Content::Text(text) => json!({ "type": "text", "text": text }),
        Content::Image { source, detail } => {
            let mut image = Map::new();
            image
                .insert("url".into(), address(source).ok_or_else(|| unsupported("a stored picture"))?.into());
            insert(&mut image, "detail", detail.as_deref());
            json!({ "type": "image_url", "image_url": image })
        }
        Content::Audio { source: Source::Base64 { mime, data } } => {
            let format = match mime.rsplit('/').next().unwrap_or_default() {
                "mpeg" => "mp3",
                "x-wav" | "wave" => "wav",
                other => other,
            };
            json!({ "type": "input_audio", "input_audio": { "data": data, "format": format } })
        }
        Content::Document { source, title } => match source {
            Source::Base64 { mime, data } => json!({ "type": "file", "file": {
                "filename": title.as_deref().unwrap_or("document.pdf"),
                "file_data": format!("data:{mime};base64,{data}"),
            } }),
            Source::Text(text) => json!({ "type": "text", "text": text }),
            Source::Reference(id) => json!({ "type": "file", "file": { "file_id": id } }),
            Source::Url(_) => return Err(unsupported("a document at an address")),
        },
        Content::Audio { .. } => return Err(unsupported("sound at an address")),
        Content::Opaque { dialect: Dialect::OpenAiChat, json } => json.clone(),
        Content::Opaque { .. } => return Err(unsupported("a content block of another provider")),
        // Results are messages of their own; the rest belongs to the model.
        Content::ToolResult { .. }
        | Content::ToolCall { .. }
        | Content::Thinking { .. }
        | Content::RedactedThinking { .. }
        | Content::Refusal(_) => return Ok(None),
    }))
}

fn address(source: &Source) -> Option<String> {
    match source {
        Source::Base64 { mime, data } => Some(format!("data:{mime};base64,{data}")),
        Source::Url(url) => Some(url.clone()),
        Source::Text(_) | Source::Reference(_) => None,
    }
}
