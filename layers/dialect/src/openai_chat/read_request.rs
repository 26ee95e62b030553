//! Reads the requests of OpenAI chat clients.

use serde_json::{Map, Value};

use super::seals::{self, Thoughts};
use crate::fields::{Fields, unknown_word, wrong};
use crate::ir::{
    Block, CacheHint, Content, Effort, Raw, Reasoning, Request, ResponseFormat, Role, Sampling, ServerTask,
    ServerTool, Source, Tool, ToolChoice, Turn, WebSearch,
};
use crate::{Dialect, Malformed, Manner, cache_marks, media, names};

/// Reads a whole request (<https://platform.openai.com/docs/api-reference/chat/create>) and the wishes in it.
///
/// # Errors
/// A body that is no JSON object, a field of the wrong kind (by name), a turn or part that means nothing.
pub(crate) fn read(body: &[u8]) -> Result<(Request, Manner), Malformed> {
    let mut fields = Fields::of_body(body)?;
    // Which model is meant and whether events are wanted is read before, and goes with each attempt.
    let model = fields.string("model")?.filter(|model| !model.is_empty());
    model.ok_or_else(|| Malformed::at("model", "model is required"))?;
    fields.bool("stream")?;
    let messages = match fields.take("messages") {
        Some(Value::Array(messages)) if messages.is_empty() => {
            let what = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty \
                        array instead.";
            return Err(Malformed::at("messages", what));
        }
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(wrong("messages", "an array", &other)),
        None => return Err(Malformed::at("messages", "messages is required")),
    };
    let mut request = Request::new(Dialect::OpenAiChat);
    let cached_for = cache_marks::time_of_all(&fields.0);
    Reader { request: &mut request, unanswered: Vec::new(), synthesised: 0, cached_for }
        .messages(messages)?;

    let include_usage = fields
        .object("stream_options")?
        .is_some_and(|options| options.get("include_usage") == Some(&Value::Bool(true)));
    request.sampling = sampling(&mut fields)?;
    for (index, tool) in fields.list("tools")?.into_iter().enumerate() {
        read_tool(tool, &mut request).map_err(|malformed| malformed.within(&format!("tools[{index}]")))?;
    }
    for (index, function) in fields.list("functions")?.into_iter().enumerate() {
        let function = read_function(function, None);
        request.tools.push(function.map_err(|malformed| malformed.within(&format!("functions[{index}]")))?);
    }
    request.tool_choice = match (fields.take("tool_choice"), fields.take("function_call")) {
        (Some(choice), _) => Some(tool_choice(&choice)?),
        (None, Some(choice)) => Some(tool_choice(&choice)?),
        (None, None) => None,
    };
    request.parallel_tool_calls = fields.bool("parallel_tool_calls")?;
    request.response_format = fields.object("response_format")?.map(response_format).transpose()?;
    request.reasoning = reasoning(&mut fields)?;
    request.service_tier = fields.string("service_tier")?;
    request.user = fields.string("user")?;
    request.safety_identifier = fields.string("safety_identifier")?;
    request.metadata = fields.object("metadata")?;
    request.modalities = fields.strings("modalities")?;
    request.audio = fields.take("audio");
    if let Some(options) = fields.0.get("web_search_options").filter(|options| options.is_object()) {
        // It stays among the unknown fields for this family, hence no words of its own.
        let task = ServerTask::WebSearch(web_search(options));
        request.server_tools.push(ServerTool { task, raw: raw(Value::Null) });
    }
    request.extra = fields.0;
    cache_marks::mark_end(&mut request);
    Ok((request, Manner { include_usage, ..Manner::default() }))
}

fn raw(json: Value) -> Raw {
    Raw { dialect: Dialect::OpenAiChat, json }
}

fn sampling(fields: &mut Fields) -> Result<Sampling, Malformed> {
    let old_limit = fields.count("max_tokens")?;
    Ok(Sampling {
        max_tokens: fields.count("max_completion_tokens")?.or(old_limit),
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        min_p: fields.number("min_p")?,
        stop: fields.strings("stop")?,
        seed: fields.number("seed")?,
        n: match fields.count("n")? {
            Some(0) => return Err(wrong("n", "at least 1", &Value::from(0))),
            n => n,
        },
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logprobs: fields.bool("logprobs")?,
        top_logprobs: fields.count("top_logprobs")?,
        logit_bias: fields.take("logit_bias"),
    })
}

/// The amount of thinking: Anthropic's `thinking` where a client sends it all the same, OpenAI's effort in either
/// place, OpenRouter's `reasoning`. Each may tell what the others leave open; of two budgets the first counts.
fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, Malformed> {
    let thinking = fields.object("thinking")?;
    let word = fields.string("reasoning_effort")?;
    let unified = fields.object("reasoning")?.unwrap_or_default();
    let flag = |name: &str| unified.get(name).and_then(Value::as_bool);
    let place = if word.is_some() { "reasoning_effort" } else { "reasoning.effort" };
    let word = word.or_else(|| unified.get("effort").and_then(Value::as_str).map(str::to_owned));
    let visible = match (&thinking, flag("exclude")) {
        (_, Some(excluded)) => Some(!excluded),
        (Some(thinking), None) => match thinking.get("display").and_then(Value::as_str) {
            Some("omitted") => Some(false),
            Some(_) => Some(true),
            None => None,
        },
        (None, None) => None,
    };
    let effort = match word.as_deref() {
        None | Some("none" | "default" | "") => None,
        Some(word) => match Effort::parse(word) {
            Some(effort) => Some(effort),
            None if thinking.is_some() => None,
            None => {
                let known = [&["none"][..], &Effort::ALL.map(Effort::as_str)].concat();
                return Err(unknown_word(place, &known, &word.into()));
            }
        },
    };
    let wanted = if let Some(thinking) = &thinking {
        match thinking.get("type").and_then(Value::as_str) {
            Some("disabled") => Reasoning::OFF,
            Some("adaptive") => Reasoning { effort, ..Reasoning::FREE },
            _ => match thinking.get("budget_tokens").and_then(Value::as_u64) {
                Some(budget) => Reasoning { effort, ..Reasoning::with_budget(budget) },
                None => Reasoning::with_effort(effort.unwrap_or(Effort::Medium)),
            },
        }
    } else if word.as_deref() == Some("none") {
        Reasoning::OFF
    } else {
        let budget = unified.get("max_tokens").and_then(Value::as_u64);
        match (flag("enabled"), budget, effort) {
            (Some(false), ..) | (_, Some(0), None) => Reasoning::OFF,
            (_, budget, Some(effort)) => {
                Reasoning { budget: budget.filter(|budget| *budget > 0), ..Reasoning::with_effort(effort) }
            }
            (_, Some(budget), None) => Reasoning::with_budget(budget),
            (Some(true), None, None) => Reasoning::with_effort(Effort::Medium),
            (None, None, None) => return Ok(None),
        }
    };
    Ok(Some(Reasoning { visible, ..wanted }))
}

fn read_tool(tool: Value, request: &mut Request) -> Result<(), Malformed> {
    let Value::Object(mut map) = tool else {
        return Err(Malformed::new("a tool must be an object"));
    };
    let kind = map.get("type").and_then(Value::as_str).unwrap_or("function");
    if kind != "function" {
        let is_search = kind.starts_with("web_search");
        let tool = Value::Object(map);
        let task = if is_search { ServerTask::WebSearch(web_search(&tool)) } else { ServerTask::Other };
        request.server_tools.push(ServerTool { task, raw: raw(tool) });
        return Ok(());
    }
    let cache = cache_marks::on(&map, None);
    // Some clients write the function flat, as in the responses dialect.
    let function = map.shift_remove("function").unwrap_or(Value::Object(map));
    request.tools.push(read_function(function, cache)?);
    Ok(())
}

/// The limits of a search, from a tool of that type or from `web_search_options`.
pub(crate) fn web_search(options: &Value) -> WebSearch {
    // OpenAI wraps the place once more.
    let place = options.get("user_location").map(|place| place.get("approximate").unwrap_or(place));
    WebSearch {
        max_uses: options.get("max_uses").and_then(Value::as_u64),
        place: place.and_then(Value::as_object).cloned(),
    }
}

fn read_function(function: Value, cache: Option<CacheHint>) -> Result<Tool, Malformed> {
    let Value::Object(mut function) = function else {
        return Err(Malformed::new("a function must be an object"));
    };
    let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Malformed::new("a function needs a name"))?.to_owned();
    Ok(Tool {
        name,
        description: function.get("description").and_then(Value::as_str).map(str::to_owned),
        strict: function.get("strict").and_then(Value::as_bool),
        cache: cache.or_else(|| cache_marks::on(&function, None)),
        schema: function.shift_remove("parameters").unwrap_or(Value::Null),
    })
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, Malformed> {
    let name_in = |value: &Value| {
        let nested = value.get("function").and_then(|function| function.get("name"));
        nested.or(value.get("name")).and_then(Value::as_str).map(str::to_owned)
    };
    let wrong = || wrong("tool_choice", "one of auto, none, required, or name a function", choice);
    if let Some(word) = choice.as_str() {
        return match word {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        };
    }
    if choice.get("type").and_then(Value::as_str) == Some("allowed_tools") {
        let allowed = choice.get("allowed_tools").unwrap_or(choice);
        let tools = allowed.get("tools").and_then(Value::as_array).ok_or_else(wrong)?;
        let required = allowed.get("mode").and_then(Value::as_str) == Some("required");
        return Ok(ToolChoice::Allowed { names: tools.iter().filter_map(name_in).collect(), required });
    }
    name_in(choice).map(ToolChoice::Named).ok_or_else(wrong)
}

fn response_format(mut format: Map<String, Value>) -> Result<ResponseFormat, Malformed> {
    let kind = format.get("type").cloned().unwrap_or_default();
    match kind.as_str() {
        None | Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let Some(Value::Object(mut schema)) = format.shift_remove("json_schema") else {
                return Err(Malformed::at("response_format.json_schema", "json_schema must be an object"));
            };
            Ok(ResponseFormat::JsonSchema {
                name: schema.get("name").and_then(Value::as_str).unwrap_or("response").to_owned(),
                description: schema.get("description").and_then(Value::as_str).map(str::to_owned),
                strict: schema.get("strict").and_then(Value::as_bool),
                schema: schema.shift_remove("schema").unwrap_or(Value::Object(Map::new())),
            })
        }
        Some(_) => Err(unknown_word("response_format.type", &["text", "json_object", "json_schema"], &kind)),
    }
}

/// The roles of messages.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

struct Reader<'a> {
    request: &'a mut Request,
    /// Calls that no result has named yet: (id, name), for results that name nothing.
    unanswered: Vec<(String, String)>,
    synthesised: usize,
    /// For how long the request asks for all of its cache marks.
    cached_for: Option<String>,
}

impl Reader<'_> {
    fn messages(mut self, messages: Vec<Value>) -> Result<(), Malformed> {
        for (index, message) in messages.into_iter().enumerate() {
            let at = format!("messages[{index}]");
            let Value::Object(map) = message else { return Err(wrong(&at, "an object", &message)) };
            self.message(Fields(map), &at)?;
        }
        Ok(())
    }

    fn message(&mut self, mut message: Fields, at: &str) -> Result<(), Malformed> {
        let role = match message.take("role") {
            Some(Value::String(role)) => role,
            _ => return Err(Malformed::at(format!("{at}.role"), "a message needs a role")),
        };
        let cached_for = self.cached_for.as_deref();
        let mut blocks = content(message.take("content"), cached_for, at)?;
        let hint = cache_marks::on(&message.0, cached_for);
        let role = match role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => {
                self.assistant(&mut message, &mut blocks, at)?;
                Role::Assistant
            }
            "tool" | "function" => {
                let result = self.result(&mut message, blocks).map_err(|malformed| malformed.within(at))?;
                blocks = vec![result];
                Role::Tool
            }
            _ => return Err(unknown_word(&format!("{at}.role"), &ROLES, &role.into())),
        };
        // A hint on the message means its end.
        match (blocks.last_mut(), hint) {
            (Some(last), Some(hint)) => last.cache = Some(hint),
            (None, Some(hint)) => {
                blocks.push(Block { cache: Some(hint), ..Block::text("") });
            }
            (_, None) => {}
        }
        if role == Role::System && self.request.turns.is_empty() {
            self.request.leading += 1;
            self.request.system.append(&mut blocks);
        } else {
            self.request.turns.push(Turn { role, blocks });
        }
        Ok(())
    }

    fn assistant(
        &mut self,
        message: &mut Fields,
        blocks: &mut Vec<Block>,
        at: &str,
    ) -> Result<(), Malformed> {
        let mut sealed = Thoughts::read(message.take("reasoning_details"), message.take("thinking_blocks"));
        let thinking = match (message.take("reasoning_content"), message.take("reasoning")) {
            (Some(Value::String(text)), _) | (_, Some(Value::String(text))) if !text.is_empty() => Some(text),
            _ => None,
        };
        if !sealed.blocks.is_empty() {
            // The same thoughts, and with what makes them believed.
            blocks.splice(..0, std::mem::take(&mut sealed.blocks));
        } else if let Some(text) = thinking {
            blocks.insert(0, Block::new(Content::Thinking { text }));
        }
        if let Some(Value::String(refusal)) = message.take("refusal") {
            blocks.push(Block::new(Content::Refusal(refusal)));
        }
        self.unanswered.clear();
        for mut call in message.list("tool_calls").map_err(|malformed| malformed.within(at))? {
            let function = call.get_mut("function").map(Value::take).unwrap_or_default();
            let id = call.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let seal = seals::of_call(&call, &id).or_else(|| sealed.of_call(&id));
            let mut block = self.call(id, function, at)?;
            block.seal = seal;
            blocks.push(block);
        }
        if let Some(function) = message.take("function_call") {
            blocks.push(self.call(String::new(), function, at)?);
        }
        Ok(())
    }

    fn call(&mut self, mut id: String, mut function: Value, at: &str) -> Result<Block, Malformed> {
        let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name
            .ok_or_else(|| Malformed::at(format!("{at}.tool_calls"), "a tool call needs a function name"))?
            .to_owned();
        if id.is_empty() {
            id = names::call_id(&name, self.synthesised);
            self.synthesised += 1;
        }
        let arguments = match function.get_mut("arguments").map(Value::take) {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        self.unanswered.push((id.clone(), name.clone()));
        Ok(Block::new(Content::ToolCall { id, name, arguments }))
    }

    /// A result names its call by id; the older form only by function, and some clients not at all.
    fn result(&mut self, message: &mut Fields, blocks: Vec<Block>) -> Result<Block, Malformed> {
        let name = message.string("name")?;
        let id = message.string("tool_call_id")?.filter(|id| !id.is_empty());
        let place = match (&id, &name) {
            (Some(id), _) => self.unanswered.iter().position(|(call, _)| call == id),
            (None, Some(name)) => self.unanswered.iter().position(|(_, function)| function == name),
            (None, None) => None,
        };
        let answered = match place {
            Some(place) => Some(self.unanswered.remove(place)),
            None if id.is_none() && !self.unanswered.is_empty() => Some(self.unanswered.remove(0)),
            None => None,
        };
        let (known_id, known_name) = answered.unzip();
        Ok(Block::new(Content::ToolResult {
            call_id: id.or(known_id).unwrap_or_default(),
            name: name.or(known_name),
            blocks,
            is_error: false,
        }))
    }
}

fn content(value: Option<Value>, cached_for: Option<&str>, at: &str) -> Result<Vec<Block>, Malformed> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Block::text(text)]),
        Some(Value::Array(parts)) => parts.into_iter().map(|value| part(value, cached_for, at)).collect(),
        Some(other) => Err(wrong(&format!("{at}.content"), "text or an array of parts", &other)),
    }
}

/// Reads a part. Its texts are taken over, not copied: they may be long, and media longer.
pub(crate) fn part(value: Value, cached_for: Option<&str>, at: &str) -> Result<Block, Malformed> {
    let wrong = |what: &str| Malformed::at(format!("{at}.content"), what);
    let mut part = match value {
        Value::String(text) => return Ok(Block::text(text)),
        Value::Object(part) => part,
        _ => return Err(wrong("a content part needs a type")),
    };
    let cache = cache_marks::on(&part, cached_for);
    let kind = text(&part, "type").ok_or_else(|| wrong("a content part needs a type"))?;
    let content = match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            Content::Text(taken(&mut part, "text").ok_or_else(|| wrong("a text part needs text"))?)
        }
        "refusal" => Content::Refusal(taken(&mut part, "refusal").unwrap_or_default()),
        "image_url" | "input_image" => {
            let (url, detail) = match part.shift_remove("image_url") {
                Some(Value::String(url)) => (Some(url), None),
                Some(Value::Object(mut image)) => (taken(&mut image, "url"), text(&image, "detail")),
                Some(_) => (None, None),
                None => return Err(wrong("an image part needs image_url")),
            };
            let url = url.ok_or_else(|| wrong("image_url needs a url"))?;
            let source = media::source(url, "image/png").map_err(wrong)?;
            Content::Image { source, detail: detail.or_else(|| text(&part, "detail")) }
        }
        "input_audio" => {
            let audio = part.shift_remove("input_audio");
            let audio = audio.ok_or_else(|| wrong("an audio part needs input_audio"))?;
            let Value::Object(mut audio) = audio else { return Err(wrong("input_audio needs data")) };
            let data = taken(&mut audio, "data").ok_or_else(|| wrong("input_audio needs data"))?;
            let mime = media::audio_mime(&text(&audio, "format").unwrap_or_default());
            Content::Audio { source: media::source(data, &mime).map_err(wrong)? }
        }
        "file" | "input_file" => {
            let mut file = match part.shift_remove("file") {
                Some(Value::Object(file)) => file,
                Some(_) => Map::new(),
                None => part,
            };
            let title = text(&file, "filename");
            let source = if let Some(data) = taken(&mut file, "file_data") {
                media::source(data, "application/pdf").map_err(wrong)?
            } else if let Some(url) = taken(&mut file, "file_url") {
                Source::Url(url)
            } else if let Some(id) = taken(&mut file, "file_id") {
                Source::Reference(id)
            } else {
                return Err(wrong("a file part needs file_data or file_id"));
            };
            Content::Document { source, title }
        }
        _ => Content::Opaque { dialect: Dialect::OpenAiChat, json: Value::Object(part) },
    };
    Ok(Block { content, cache, seal: None })
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// A text, taken out of the object.
fn taken(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.get_mut(key)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}
