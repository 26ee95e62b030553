//! Writes requests for OpenAI chat upstreams, on behalf of clients of other dialects.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>.

use serde_json::{Map, Value, json};

use crate::aim::{Betas, Place};
use crate::ir::{
    Block, Content, Effort, Reasoning, ReasoningMode, Request, ResponseFormat, Role, Sampling, ServerTask,
    ServerTool, Source, ToolChoice, Turn, WebSearch,
};
use crate::names::{Grammar, Names};
use crate::openai_chat::repairs::{self, Repair};
use crate::rope::Node;
use crate::{Aim, Correspondence, Dialect, FetchedMedia, Unsupported, Written, cache_marks, media};

/// Longest identity of a tool call.
const ID_LIMIT: usize = 40;
/// Longest name of a tool.
const NAME_LIMIT: usize = 64;

/// Writes a request. Counts are in tokens; the output limit goes by the name that the model knows.
///
/// # Errors
/// Media that no part of this dialect can hold, and blocks of other dialects.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    let family = request.source == Dialect::OpenAiChat;
    let names =
        Names::new(Grammar::of_tools(NAME_LIMIT), request.tools.iter().map(|tool| tool.name.as_str()));
    let marks = cache_marks::are_taken_by(aim.model);
    let mut writer = Writer { aim, media, names, marks };
    let mut body = Node::Object(Vec::new());
    if aim.envelope.model == Place::Body {
        body.insert("model", aim.model.to_owned());
    }
    body.insert("messages", writer.messages(request)?);
    if aim.stream {
        if aim.envelope.stream == Place::Body {
            body.insert("stream", true);
        }
        // The usage is always wanted here; whether the client sees it is the encoder's business.
        if !aim.quirks.repairs.has(Repair::UsageUnasked) {
            body.insert("stream_options", json!({ "include_usage": true }));
        }
    }
    let mut fields = Map::new();
    write_sampling(request, aim, family, &mut fields);
    if aim.tools {
        write_tools(request, family, &mut writer.names, &mut fields);
        if !family {
            write_server_tools(&request.server_tools, aim.model, &mut fields)?;
        }
    }
    write_rest(request, aim.model, family, &mut fields);
    repairs::mend(&mut fields, aim.subject());
    for (name, value) in aim.envelope.adds {
        fields.entry(*name).or_insert_with(|| Value::from(*value));
    }
    // No provider of this dialect has them in the body.
    debug_assert!(aim.envelope.betas == Betas::Header, "betas of this dialect are a header");
    if let Node::Object(body) = &mut body {
        body.extend(fields.into_iter().map(|(name, value)| (name.into(), Node::Value(value))));
    }
    let sound = request.audio.as_ref().and_then(|audio| audio.get("format")).and_then(Value::as_str);
    let correspondence = Correspondence {
        tools: writer.names.into_renamed(),
        sound: sound.map(media::audio_mime),
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

fn insert(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// Everything behind the tools.
fn write_rest(request: &Request, model: &str, family: bool, body: &mut Map<String, Value>) {
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
    insert(body, "reasoning_effort", request.reasoning.and_then(effort).map(Effort::as_str));
    insert(body, "user", request.user.as_deref());
    if !family && cache_marks::knows_keys(model) {
        insert(body, cache_marks::KEY, request.cache_key.as_deref());
    }
    if family {
        insert(body, "safety_identifier", request.safety_identifier.as_deref());
        insert(body, "service_tier", request.service_tier.as_deref());
        insert(body, "metadata", request.metadata.clone());
        insert(body, "audio", request.audio.clone());
        if !request.modalities.is_empty() {
            body.insert("modalities".into(), request.modalities.clone().into());
        }
        for (name, value) in &request.extra {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
    }
}

/// The word for an amount of thinking. No word for "off" is understood by all models, and none for "as you like".
fn effort(wanted: Reasoning) -> Option<Effort> {
    if wanted.mode == ReasoningMode::Off {
        return None;
    }
    match (wanted.effort, wanted.budget) {
        (Some(Effort::Max), _) => Some(Effort::XHigh),
        (Some(effort), _) => Some(effort),
        (None, Some(..=2048)) => Some(Effort::Low),
        (None, Some(2049..=8192)) => Some(Effort::Medium),
        (None, Some(_)) => Some(Effort::High),
        (None, None) => None,
    }
}

/// Models that count thinking as output, and take no sampling parameters.
pub(super) fn thinks(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    ["o1", "o3", "o4", "gpt-5"].iter().any(|prefix| name.starts_with(prefix))
}

fn write_sampling(request: &Request, aim: &Aim<'_>, family: bool, body: &mut Map<String, Value>) {
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
    if thinks(aim.model) {
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
        let own = request.server_tools.iter().filter_map(|tool| tool.raw.of(Dialect::OpenAiChat));
        tools.extend(own.cloned());
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

/// Tools that run at the provider, of clients of other dialects: there is a search in the web, in models that are for it.
fn write_server_tools(
    tools: &[ServerTool],
    model: &str,
    body: &mut Map<String, Value>,
) -> Result<(), Unsupported> {
    for tool in tools {
        let ServerTask::WebSearch(WebSearch { place, .. }) = &tool.task else {
            return Err(Unsupported::at("tools", "this upstream has no tools that run at the provider"));
        };
        if !model.contains("search") {
            let what = "this model does not search the web: that takes one with 'search' in its name";
            return Err(Unsupported::at("tools", what));
        }
        let mut options = Map::new();
        if let Some(place) = place {
            options.insert("user_location".into(), json!({ "type": "approximate", "approximate": place }));
        }
        body.insert("web_search_options".into(), options.into());
    }
    Ok(())
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

struct Writer<'a> {
    aim: &'a Aim<'a>,
    media: &'a FetchedMedia,
    names: Names,
    /// Whether the model takes cache marks.
    marks: bool,
}

impl<'a> Writer<'a> {
    fn messages(&mut self, request: &'a Request) -> Result<Vec<Node<'a>>, Unsupported> {
        let mut messages = Vec::new();
        let said = |content: Node<'a>| Node::object([("role", "system".into()), ("content", content)]);
        if !texts(&request.system).is_empty() {
            messages.push(said(self.words(&request.system)));
        }
        for turn in &request.turns {
            match turn.role {
                Role::System => messages.push(said(self.words(&turn.blocks))),
                Role::Assistant => messages.push(self.assistant(turn)),
                Role::User | Role::Tool => self.user(turn, &mut messages)?,
            }
        }
        Ok(messages)
    }

    /// The identity of a call as this upstream takes it.
    fn id(&self, id: &str) -> String {
        repairs::fitting_id(id, ID_LIMIT, self.aim.quirks.repairs)
    }

    /// The texts of blocks: one text, or parts where some are marked.
    fn words(&self, blocks: &'a [Block]) -> Node<'a> {
        if !self.marks || blocks.iter().all(|block| block.cache.is_none()) {
            return texts(blocks).into();
        }
        let mut parts: Vec<Node<'a>> = Vec::new();
        for block in blocks {
            match &block.content {
                Content::Text(words) if !words.is_empty() => {
                    let mut part = text(words);
                    self.mark(&mut part, block);
                    parts.push(part);
                }
                // The mark of what is left out belongs to what stands before it.
                _ => parts.last_mut().into_iter().for_each(|last| self.mark(last, block)),
            }
        }
        parts.into()
    }

    /// Marks a part as its block is marked.
    fn mark(&self, part: &mut Node<'a>, block: &Block) {
        if self.marks && block.cache.is_some() && !part.has(cache_marks::BREAKPOINT) {
            part.insert(cache_marks::BREAKPOINT, cache_marks::openai());
        }
    }

    fn assistant(&mut self, turn: &'a Turn) -> Node<'a> {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        let mut text = String::new();
        let mut thought = String::new();
        let mut calls = Vec::new();
        for block in &turn.blocks {
            match &block.content {
                Content::Text(more) => text.push_str(more),
                Content::Refusal(refusal) => {
                    message.insert("refusal".into(), refusal.as_str().into());
                }
                Content::ToolCall { id, name, arguments } => {
                    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                    calls.push(json!({
                        "id": self.id(id),
                        "type": "function",
                        "function": { "name": self.names.fitting(name), "arguments": arguments },
                    }));
                }
                Content::Thinking { text } => thought.push_str(text),
                // Pictures of the model's own cannot be replayed, nor what others have sealed.
                _ => {}
            }
        }
        let silent = text.is_empty() && !calls.is_empty();
        message.insert("content".into(), if silent { Value::Null } else { text.into() });
        // Few want thoughts back, and many refuse them.
        if !calls.is_empty() && repairs::replays(self.aim) {
            let thought = if thought.is_empty() { " " } else { &thought };
            message.insert("reasoning_content".into(), thought.into());
        }
        if !calls.is_empty() {
            message.insert("tool_calls".into(), calls.into());
        }
        message.into()
    }

    /// A user's turn. Results come first, each in a message of its own, right behind the calls; pictures in them
    /// follow in the user's own message, because tool messages hold text only.
    fn user(&mut self, turn: &'a Turn, messages: &mut Vec<Node<'a>>) -> Result<(), Unsupported> {
        let mut parts: Vec<Node<'a>> = Vec::new();
        for block in &turn.blocks {
            let Content::ToolResult { call_id, blocks, is_error, .. } = &block.content else { continue };
            let mut text = texts(blocks);
            if *is_error {
                text.insert_str(0, "Error: ");
            }
            // A mark within a result means all of it.
            let marked = [block].into_iter().chain(blocks).find(|block| block.cache.is_some());
            let content: Node<'a> = match marked.filter(|_| self.marks) {
                None => text.into(),
                Some(marked) => {
                    let mut part = Node::object([("type", "text".into()), ("text", text.into())]);
                    self.mark(&mut part, marked);
                    vec![part].into()
                }
            };
            messages.push(Node::object([
                ("role", "tool".into()),
                ("tool_call_id", self.id(call_id).into()),
                ("content", content),
            ]));
            for block in blocks.iter().filter(|block| !matches!(block.content, Content::Text(_))) {
                parts.extend(self.part(block)?);
            }
        }
        if !parts.is_empty() {
            parts.insert(0, text("Attachments of the tool output:"));
        }
        for block in &turn.blocks {
            match self.part(block)? {
                Some(mut part) => {
                    self.mark(&mut part, block);
                    parts.push(part);
                }
                None if matches!(block.content, Content::ToolResult { .. }) => {}
                None => parts.last_mut().into_iter().for_each(|last| self.mark(last, block)),
            }
        }
        let content = match parts.len() {
            0 => return Ok(()),
            1 if parts[0].is("text") && !parts[0].has(cache_marks::BREAKPOINT) => {
                parts.remove(0).take("text")
            }
            _ => parts.into(),
        };
        messages.push(Node::object([("role", "user".into()), ("content", content)]));
        Ok(())
    }

    fn part(&self, block: &'a Block) -> Result<Option<Node<'a>>, Unsupported> {
        let unsupported =
            |what: &str| Unsupported::at("messages", format!("{what} cannot be sent to this upstream"));
        Ok(Some(match &block.content {
            Content::Text(words) => text(words),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, detail } => {
                let url = self.address(source).ok_or_else(|| unsupported("a stored picture"))?;
                let mut image = Node::object([("url", url)]);
                image.insert_some("detail", detail.as_deref());
                Node::object([("type", "image_url".into()), ("image_url", image)])
            }
            Content::Audio { source } => {
                let Source::Base64 { mime, data } = self.fetched(source) else {
                    return Err(unsupported("sound at an address"));
                };
                let format = match mime.rsplit('/').next().unwrap_or_default() {
                    "mpeg" => "mp3",
                    "x-wav" | "wave" => "wav",
                    other => other,
                };
                let data = Node::Media { before: String::new(), data: data.clone() };
                let audio = Node::object([("data", data), ("format", format.into())]);
                Node::object([("type", "input_audio".into()), ("input_audio", audio)])
            }
            Content::Document { source, title } => match self.fetched(source) {
                Source::Base64 { mime, data } => {
                    let before = format!("data:{mime};base64,");
                    file(Node::object([
                        ("filename", title.as_deref().unwrap_or("document.pdf").into()),
                        ("file_data", Node::Media { before, data: data.clone() }),
                    ]))
                }
                Source::Text(words) => text(words),
                Source::Reference(id) => file(Node::object([("file_id", id.as_str().into())])),
                Source::Url(_) => return Err(unsupported("a document at an address")),
            },
            Content::Opaque { dialect: Dialect::OpenAiChat, json } => json.clone().into(),
            Content::Opaque { .. } => return Err(unsupported("a content block of another provider")),
            // Results are messages of their own; the rest belongs to the model.
            Content::ToolResult { .. }
            | Content::ToolCall { .. }
            | Content::Thinking { .. }
            | Content::RedactedThinking { .. }
            | Content::Refusal(_) => return Ok(None),
        }))
    }

    /// A medium, or what was fetched in its place.
    fn fetched(&self, source: &'a Source) -> &'a Source {
        match source {
            Source::Url(url) => self.media.get(url).unwrap_or(source),
            _ => source,
        }
    }

    fn address(&self, source: &'a Source) -> Option<Node<'a>> {
        match self.fetched(source) {
            Source::Base64 { mime, data } => {
                Some(Node::Media { before: format!("data:{mime};base64,"), data: data.clone() })
            }
            Source::Url(url) => Some(url.as_str().into()),
            Source::Text(_) | Source::Reference(_) => None,
        }
    }
}

fn text(words: &str) -> Node<'_> {
    Node::object([("type", "text".into()), ("text", words.into())])
}

fn file(file: Node<'_>) -> Node<'_> {
    Node::object([("type", "file".into()), ("file", file)])
}
