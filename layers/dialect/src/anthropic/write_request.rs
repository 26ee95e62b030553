//! Writes requests for Anthropic upstreams.
//!
//! Most of the work is grammar: turns must alternate, begin with the user, and answer every tool call at once, while
//! other dialects allow nearly anything. What is broken is repaired where the meaning is plain, since the provider
//! would refuse the whole request; what cannot be expressed is an error, so that another channel may try.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::model::{Model, SamplingRule, Thinking};
use super::schema;
use crate::ir::{
    Block, CacheHint, Content, Effort, Reasoning, Request, ResponseFormat, Role, Source, Tool, ToolChoice,
};
use crate::names::{self, Names};
use crate::{Correspondence, Dialect, Unsupported, UpstreamRequest};

/// Longest name of a tool, and of a call's identity.
const NAME_LIMIT: usize = 128;
/// Cache breakpoints that one request may hold.
const BREAKPOINTS: usize = 4;
/// Smallest budget for thinking.
const LEAST_BUDGET: u64 = 1024;
/// Budget that a `think` in the alias stands for.
const ALIAS_BUDGET: u64 = 4096;
/// The tool that stands for a response format where models know none.
const ANSWER_TOOL: &str = "json";

pub(crate) fn write(request: &Request) -> Result<UpstreamRequest, Unsupported> {
    if request.modalities.iter().any(|form| form == "audio") {
        return Err(Unsupported::at("modalities", "this upstream cannot answer with sound"));
    }
    let model = Model::of(&request.upstream_model);
    let mut writer = Writer::new(request);
    let mut turns = writer.turns()?;
    let tools = tools(request, &mut writer.names)?;
    let limit =
        model.clamp(request.sampling.max_tokens.filter(|limit| *limit > 0).unwrap_or(model.default_limit()));
    let thinking = Amount::of(request, &model, limit).unless_torn_off(&turns);

    let mut system = writer.system;
    let mut output = Map::new();
    let mut answer_tool = None;
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            system.push(
                json!({ "type": "text", "text": "Respond with a single JSON object and nothing else." }),
            );
        }
        Some(ResponseFormat::JsonSchema { schema, .. }) if model.schema => {
            output
                .insert("format".into(), json!({ "type": "json_schema", "schema": schema::trimmed(schema) }));
        }
        // A forced tool is the stricter way, but thinking forbids force and other tools would never be called.
        Some(ResponseFormat::JsonSchema { schema, .. }) if tools.is_empty() && !thinking.is_on() => {
            answer_tool = Some(schema.clone());
        }
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let text = format!(
                "Respond with a single JSON value and nothing else. It must match this JSON schema: {schema}"
            );
            system.push(json!({ "type": "text", "text": text }));
        }
    }
    trim_prefill(&mut turns);

    let mut body = Map::new();
    body.insert("model".into(), request.upstream_model.as_str().into());
    body.insert("max_tokens".into(), thinking.limit(limit, &model).into());
    match system.as_slice() {
        [] => {}
        [single] if single.get("cache_control").is_none() => {
            body.insert("system".into(), single["text"].clone());
        }
        _ => drop(body.insert("system".into(), system.into())),
    }
    let messages: Vec<Value> =
        turns.into_iter().map(|turn| json!({ "role": turn.role(), "content": turn.blocks })).collect();
    body.insert("messages".into(), messages.into());
    let choice = match (&answer_tool, tools.is_empty()) {
        (Some(_), _) => {
            Some(json!({ "type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": true }))
        }
        (None, true) => None,
        (None, false) => tool_choice(request, thinking.is_on(), &mut writer.names),
    };
    if let Some(schema) = &answer_tool {
        let tool = json!({
            "name": ANSWER_TOOL,
            "description": "Respond with a JSON object.",
            "input_schema": input_schema(schema),
        });
        body.insert("tools".into(), json!([tool]));
    } else if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    insert(&mut body, "tool_choice", choice);
    write_sampling(request, &model, thinking.is_on(), &mut body);
    thinking.write(&model, &mut body, &mut output);
    if !output.is_empty() {
        body.insert("output_config".into(), output.into());
    }
    insert(&mut body, "metadata", request.user.as_ref().map(|user| json!({ "user_id": user })));
    insert(&mut body, "service_tier", request.service_tier.as_deref().map(service_tier));
    if request.source == Dialect::Anthropic {
        for (name, value) in &request.extra {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
    }
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    let correspondence = Correspondence {
        tools: writer.names.into_renamed(),
        answer_tool: answer_tool.map(|_| ANSWER_TOOL.to_owned()),
    };
    Ok(UpstreamRequest { body: Bytes::from(Value::Object(body).to_string()), correspondence })
}

fn insert(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

fn service_tier(tier: &str) -> &'static str {
    match tier {
        "default" | "flex" | "standard" | "standard_only" => "standard_only",
        _ => "auto",
    }
}

fn write_sampling(request: &Request, model: &Model, thinks: bool, body: &mut Map<String, Value>) {
    let sampling = &request.sampling;
    let stop: Vec<&str> =
        sampling.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    if !stop.is_empty() {
        body.insert("stop_sequences".into(), stop.into());
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
        body.insert("temperature".into(), value);
    }
    if model.sampling == SamplingRule::Any || sampling.temperature.is_none() {
        insert(body, "top_p", sampling.top_p.clone().map(Value::Number));
    }
    insert(body, "top_k", sampling.top_k);
}

/// How much the model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    /// As it does by itself, which is not at all for most models.
    Default,
    /// Not at all, said so.
    Off,
    /// At most so many tokens.
    Budget(u64),
    /// As it sees fit, along a word.
    Adaptive(Option<Effort>),
}

impl Amount {
    /// The client's words first, then the alias.
    fn of(request: &Request, model: &Model, limit: u64) -> Self {
        let wish = request.reasoning.clone().or_else(|| alias_wish(&request.model_alias, model, limit));
        let by_word = model.thinking != Thinking::Budget;
        match wish {
            None => Self::Default,
            Some(Reasoning::Disabled) if model.thinks_by_default => Self::Off,
            Some(Reasoning::Disabled) => Self::Default,
            Some(Reasoning::Adaptive) if by_word => Self::Adaptive(None),
            Some(Reasoning::Adaptive) => Self::Budget(ALIAS_BUDGET),
            Some(Reasoning::Effort(effort)) if by_word => Self::Adaptive(Some(effort)),
            Some(Reasoning::Effort(effort)) => Self::Budget(match effort {
                Effort::Minimal | Effort::Low => 1024,
                Effort::Medium => 4096,
                Effort::High => 8192,
                Effort::XHigh => 16_384,
                Effort::Max => 32_000,
            }),
            Some(Reasoning::Budget(budget)) if model.thinking == Thinking::Effort => {
                Self::Adaptive(Some(match budget {
                    ..=2048 => Effort::Low,
                    2049..=8192 => Effort::Medium,
                    8193..=16_384 => Effort::High,
                    _ => Effort::XHigh,
                }))
            }
            Some(Reasoning::Budget(budget)) => Self::Budget(budget),
        }
        .within(model)
    }

    fn within(self, model: &Model) -> Self {
        match self {
            Self::Budget(budget) => {
                // Something must be left for the answer itself.
                let most = model.clamp(u64::MAX).saturating_sub(LEAST_BUDGET).max(LEAST_BUDGET);
                Self::Budget(budget.clamp(LEAST_BUDGET, most))
            }
            other => other,
        }
    }

    /// Within a tool loop the reasoning before the calls must be replayed with its seal. Clients of other dialects
    /// have lost it, and then the model must go on without thinking.
    fn unless_torn_off(self, turns: &[Conversed]) -> Self {
        let torn = turns.iter().rev().find(|turn| turn.assistant).is_some_and(|turn| {
            let calls = turn.blocks.iter().any(|block| block["type"] == "tool_use");
            let sealed = turn
                .blocks
                .first()
                .is_some_and(|block| block["type"] == "thinking" || block["type"] == "redacted_thinking");
            calls && !sealed
        });
        let in_loop = turns.last().is_some_and(|turn| {
            turn.assistant || turn.blocks.iter().any(|block| block["type"] == "tool_result")
        });
        match self {
            Self::Budget(_) if torn && in_loop => Self::Default,
            other => other,
        }
    }

    fn is_on(self) -> bool {
        matches!(self, Self::Budget(_) | Self::Adaptive(_))
    }

    /// The output limit, with room for the thinking that counts as output here.
    fn limit(self, limit: u64, model: &Model) -> u64 {
        match self {
            Self::Budget(budget) if limit <= budget => {
                model.clamp(budget.saturating_add(limit)).max(budget.saturating_add(1))
            }
            _ => limit,
        }
    }

    fn write(self, model: &Model, body: &mut Map<String, Value>, output: &mut Map<String, Value>) {
        let newest = model.thinking == Thinking::Effort;
        let thinking = match self {
            Self::Default => return,
            Self::Off => json!({ "type": "disabled" }),
            Self::Budget(budget) => json!({ "type": "enabled", "budget_tokens": budget }),
            // The newest models keep their thoughts to themselves unless asked.
            Self::Adaptive(_) if newest => json!({ "type": "adaptive", "display": "summarized" }),
            Self::Adaptive(_) => json!({ "type": "adaptive" }),
        };
        body.insert("thinking".into(), thinking);
        if let Self::Adaptive(Some(effort)) = self {
            let word = match effort {
                Effort::Minimal => Effort::Low,
                Effort::XHigh if !newest => Effort::High,
                word => word,
            };
            output.insert("effort".into(), word.as_str().into());
        }
    }
}

/// What the alias says: `…think…` turns thinking on, and a number at its end is the budget (`-think-16000`).
fn alias_wish(alias: &str, model: &Model, limit: u64) -> Option<Reasoning> {
    if !alias.to_ascii_lowercase().contains("think") {
        return None;
    }
    let last = alias.rsplit('-').next().unwrap_or_default();
    let number = last.parse::<u64>().ok().filter(|_| last.bytes().all(|byte| byte.is_ascii_digit()));
    Some(match number {
        Some(0) => Reasoning::Disabled,
        // A larger number is a date of the model's name.
        Some(budget) if budget < model.default_limit().max(limit) => Reasoning::Budget(budget),
        _ => Reasoning::Budget(ALIAS_BUDGET),
    })
}

fn input_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(map) if map.get("type").is_some_and(|kind| kind == "object") => schema.clone(),
        Value::Object(map) if !map.contains_key("type") => {
            let mut map = map.clone();
            map.insert("type".into(), "object".into());
            map.into()
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

fn tools(request: &Request, names: &mut Names) -> Result<Vec<Value>, Unsupported> {
    let allowed = |tool: &&Tool| match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&tool.name),
        _ => true,
    };
    let mut tools = Vec::new();
    for tool in request.tools.iter().filter(allowed) {
        let mut written = Map::new();
        written.insert("name".into(), names.fitting(&tool.name).into());
        insert(&mut written, "description", tool.description.as_deref());
        written.insert("input_schema".into(), input_schema(&tool.schema));
        insert(&mut written, "cache_control", tool.cache.as_ref().map(cache_control));
        tools.push(written.into());
    }
    for tool in &request.server_tools {
        if request.source == Dialect::Anthropic {
            tools.push(tool.clone());
            continue;
        }
        match tool.get("type").and_then(Value::as_str).unwrap_or_default() {
            kind if kind.starts_with("web_search") => tools.push(web_search(tool)),
            _ => return Err(Unsupported::at("tools", "a tool of this type cannot be sent to this upstream")),
        }
    }
    if request.source == Dialect::OpenAiChat
        && let Some(options) = request.extra.get("web_search_options")
    {
        tools.push(web_search(options));
    }
    Ok(tools)
}

fn web_search(options: &Value) -> Value {
    let mut tool = Map::new();
    tool.insert("type".into(), "web_search_20250305".into());
    tool.insert("name".into(), "web_search".into());
    insert(&mut tool, "max_uses", options.get("max_uses").filter(|uses| uses.is_u64()).cloned());
    // OpenAI wraps the place once more.
    let place = options.get("user_location").map(|place| place.get("approximate").unwrap_or(place));
    if let Some(Value::Object(place)) = place {
        let mut place = place.clone();
        place.insert("type".into(), "approximate".into());
        tool.insert("user_location".into(), place.into());
    }
    tool.into()
}

fn tool_choice(request: &Request, thinks: bool, names: &mut Names) -> Option<Value> {
    let mut choice = match request.tool_choice.as_ref() {
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        // Force is illegal while the model thinks.
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) if !thinks => {
            json!({ "type": "any" })
        }
        Some(ToolChoice::Named(name)) if !thinks => json!({ "type": "tool", "name": names.fitting(name) }),
        Some(_) => json!({ "type": "auto" }),
        None if request.parallel_tool_calls == Some(false) => json!({ "type": "auto" }),
        None => return None,
    };
    if request.parallel_tool_calls == Some(false) {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

fn cache_control(hint: &CacheHint) -> Value {
    match &hint.ttl {
        Some(ttl) => json!({ "type": "ephemeral", "ttl": ttl }),
        None => json!({ "type": "ephemeral" }),
    }
}

/// A turn in this dialect's grammar: the user's or the model's.
#[derive(Debug)]
struct Conversed {
    assistant: bool,
    blocks: Vec<Value>,
}

impl Conversed {
    fn role(&self) -> &'static str {
        if self.assistant { "assistant" } else { "user" }
    }
}

struct Writer<'a> {
    request: &'a Request,
    names: Names,
    system: Vec<Value>,
    /// Cache hints that are too many, to be left out from the oldest on.
    surplus: usize,
}

impl<'a> Writer<'a> {
    fn new(request: &'a Request) -> Self {
        let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        let called = blocks.clone().filter_map(|block| match &block.content {
            Content::ToolCall { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let names = Names::new(NAME_LIMIT, request.tools.iter().map(|tool| tool.name.as_str()).chain(called));
        let hints = blocks.chain(&request.system).filter(|block| block.cache.is_some()).count()
            + request.tools.iter().filter(|tool| tool.cache.is_some()).count();
        Self { request, names, system: Vec::new(), surplus: hints.saturating_sub(BREAKPOINTS) }
    }

    fn turns(&mut self) -> Result<Vec<Conversed>, Unsupported> {
        let request = self.request;
        let mut turns: Vec<Conversed> = Vec::new();
        // Turns before the system text: surplus hints are taken from the conversation first.
        for turn in &request.turns {
            if turn.role == Role::System {
                continue;
            }
            let assistant = turn.role == Role::Assistant;
            let mut blocks = Vec::with_capacity(turn.blocks.len());
            for block in &turn.blocks {
                if let Some(written) = self.block(block, assistant)? {
                    blocks.push(written);
                }
            }
            if blocks.is_empty() {
                continue;
            }
            match turns.last_mut() {
                Some(before) if before.assistant == assistant => before.blocks.append(&mut blocks),
                _ => turns.push(Conversed { assistant, blocks }),
            }
        }
        // Instructions in the middle have no place of their own here.
        let middle =
            request.turns.iter().filter(|turn| turn.role == Role::System).flat_map(|turn| &turn.blocks);
        for block in request.system.iter().chain(middle) {
            if let Content::Text(text) = &block.content
                && !text.trim().is_empty()
            {
                let mut written = json!({ "type": "text", "text": text });
                self.hint(&mut written, block);
                self.system.push(written);
            }
        }
        if turns.first().is_none_or(|turn| turn.assistant) {
            turns.insert(0, Conversed { assistant: false, blocks: vec![text("(continue)")] });
        }
        answer_calls(&mut turns);
        Ok(turns)
    }

    fn block(&mut self, block: &Block, assistant: bool) -> Result<Option<Value>, Unsupported> {
        let unsupported =
            |what: &str| Err(Unsupported::at("messages", format!("{what} cannot be sent to this upstream")));
        let mut written = match &block.content {
            // Blank text is refused.
            Content::Text(words) | Content::Refusal(words) if words.trim().is_empty() => return Ok(None),
            Content::Text(words) | Content::Refusal(words) => text(words),
            // The model's own pictures and sounds cannot be replayed.
            Content::Image { .. } | Content::Audio { .. } if assistant => return Ok(None),
            Content::Image { source, .. } => json!({ "type": "image", "source": image(source)? }),
            Content::Audio { .. } => return unsupported("sound"),
            Content::Document { source, title } => {
                let mut document = Map::new();
                document.insert("type".into(), "document".into());
                document.insert("source".into(), self::document(source)?);
                insert(&mut document, "title", title.as_deref());
                document.into()
            }
            Content::ToolCall { id, name, arguments, .. } => json!({
                "type": "tool_use",
                "id": names::fitting_id(id, NAME_LIMIT),
                "name": self.names.fitting(name),
                "input": input(name, arguments)?,
            }),
            Content::ToolResult { call_id, blocks, is_error, .. } => {
                self.result(call_id, blocks, *is_error)?
            }
            // Without its seal reasoning is refused; with it, hints on it are.
            Content::Thinking { text, signature: Some(signature) } if assistant => {
                return Ok(Some(json!({ "type": "thinking", "thinking": text, "signature": signature })));
            }
            Content::Thinking { .. } => return Ok(None),
            Content::RedactedThinking { data } => {
                return Ok(Some(json!({ "type": "redacted_thinking", "data": data })));
            }
            Content::Opaque { dialect: Dialect::Anthropic, json } => json.clone(),
            Content::Opaque { .. } if assistant => return Ok(None),
            Content::Opaque { .. } => return unsupported("a content part of this type"),
        };
        self.hint(&mut written, block);
        Ok(Some(written))
    }

    fn result(&mut self, call_id: &str, blocks: &[Block], is_error: bool) -> Result<Value, Unsupported> {
        let mut content = Vec::new();
        for block in blocks {
            if let Some(written) = self.block(block, false)? {
                content.push(written);
            }
        }
        let mut result = Map::new();
        result.insert("type".into(), "tool_result".into());
        result.insert("tool_use_id".into(), names::fitting_id(call_id, NAME_LIMIT).into());
        let content = match content.as_slice() {
            [] => "".into(),
            [single] if single["type"] == "text" && single.get("cache_control").is_none() => {
                single["text"].clone()
            }
            _ => content.into(),
        };
        result.insert("content".into(), content);
        if is_error {
            result.insert("is_error".into(), true.into());
        }
        Ok(result.into())
    }

    /// The newest hints are worth the most, so surplus ones are dropped from the front.
    fn hint(&mut self, written: &mut Value, block: &Block) {
        let Some(hint) = &block.cache else { return };
        if self.surplus > 0 {
            self.surplus -= 1;
            return;
        }
        written["cache_control"] = cache_control(hint);
    }
}

fn text(words: &str) -> Value {
    json!({ "type": "text", "text": words })
}

fn image(source: &Source) -> Result<Value, Unsupported> {
    let unsupported = |what: &str| Err(Unsupported::at("messages", what));
    Ok(match source {
        Source::Base64 { mime, data } => match mime.as_str() {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => {
                json!({ "type": "base64", "media_type": mime, "data": data })
            }
            _ => return unsupported("a picture of this type cannot be sent to this upstream"),
        },
        Source::Url(url) if url.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("https://")) => {
            json!({ "type": "url", "url": url })
        }
        Source::Url(_) => return unsupported("pictures must be at https addresses for this upstream"),
        Source::Reference(id) => json!({ "type": "file", "file_id": id }),
        Source::Text(_) => return unsupported("a picture cannot be text"),
    })
}

fn document(source: &Source) -> Result<Value, Unsupported> {
    Ok(match source {
        Source::Base64 { mime, data } if mime == "application/pdf" => {
            json!({ "type": "base64", "media_type": mime, "data": data })
        }
        Source::Base64 { mime, data } if mime.starts_with("text/") || mime == "application/json" => {
            let text = crate::media::decode(data.as_bytes());
            json!({ "type": "text", "media_type": "text/plain", "data": String::from_utf8_lossy(&text) })
        }
        Source::Base64 { .. } => {
            return Err(Unsupported::at("messages", "a file of this type cannot be sent to this upstream"));
        }
        Source::Text(text) => json!({ "type": "text", "media_type": "text/plain", "data": text }),
        Source::Url(url) => json!({ "type": "url", "url": url }),
        Source::Reference(id) => json!({ "type": "file", "file_id": id }),
    })
}

/// Arguments as the object that this dialect demands.
fn input(name: &str, arguments: &str) -> Result<Value, Unsupported> {
    if arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(object)) => Ok(object.into()),
        Ok(Value::Null) => Ok(json!({})),
        Ok(other) => Ok(json!({ "value": other })),
        Err(_) => Err(Unsupported::at(
            "messages",
            format!("the arguments of a call of the function {name} are not valid JSON"),
        )),
    }
}

/// Brings results where they belong: all of them, first, in the turn behind the calls. Calls without a result get
/// one that says so, results without a call become text.
fn answer_calls(turns: &mut Vec<Conversed>) {
    let mut calls: Vec<Value> = Vec::new();
    let mut place = 0;
    while place < turns.len() {
        if turns[place].assistant {
            calls = turns[place]
                .blocks
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .map(|block| block["id"].clone())
                .collect();
            if !calls.is_empty() && place + 1 == turns.len() {
                turns.push(Conversed { assistant: false, blocks: Vec::new() });
            }
            place += 1;
            continue;
        }
        let mut results = Vec::new();
        let mut rest = Vec::new();
        for block in turns[place].blocks.drain(..) {
            if block["type"] != "tool_result" {
                rest.push(block);
            } else if let Some(call) = calls.iter().position(|call| *call == block["tool_use_id"]) {
                calls.remove(call);
                results.push(block);
            } else {
                rest.extend(orphan(block));
            }
        }
        for call in calls.drain(..) {
            results.push(json!({
                "type": "tool_result",
                "tool_use_id": call,
                "content": "tool result missing",
                "is_error": true,
            }));
        }
        results.append(&mut rest);
        turns[place].blocks = results;
        place += 1;
    }
    turns.retain(|turn| !turn.blocks.is_empty());
}

/// A result that nothing asked for, as plain content.
fn orphan(mut result: Value) -> Vec<Value> {
    match result["content"].take() {
        Value::String(words) if words.trim().is_empty() => Vec::new(),
        Value::String(words) => vec![text(&format!("Tool result: {words}"))],
        Value::Array(blocks) => blocks,
        _ => Vec::new(),
    }
}

/// The beginning of an answer may not end in white space.
fn trim_prefill(turns: &mut [Conversed]) {
    let Some(last) = turns.last_mut().filter(|turn| turn.assistant) else { return };
    if let Some(block) = last.blocks.last_mut().filter(|block| block["type"] == "text")
        && let Some(words) = block["text"].as_str()
    {
        block["text"] = words.trim_end().into();
    }
}
