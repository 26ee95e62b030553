//! Reads the requests of OpenAI chat clients.

use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::ir::{
    Block, CacheHint, Content, Effort, Reasoning, Request, ResponseFormat, Role, Sampling, Source, Tool,
    ToolChoice, Turn,
};
use crate::{Dialect, Malformed, media, names};

pub(crate) fn read(body: &[u8]) -> Result<Request, Malformed> {
    let mut fields = Fields::of_body(body)?;
    let model = fields.string("model")?.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Malformed::at("model", "model is required"))?;
    let messages = match fields.take("messages") {
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(Malformed::at("messages", "messages must be an array")),
        None => return Err(Malformed::at("messages", "messages is required")),
    };
    let mut request = Request::new(Dialect::OpenAiChat, model);
    Reader { request: &mut request, unanswered: Vec::new(), synthesised: 0 }.messages(messages)?;

    request.stream = fields.bool("stream")?.unwrap_or(false);
    request.include_usage = fields
        .object("stream_options")?
        .is_some_and(|options| options.get("include_usage") == Some(&Value::Bool(true)));
    request.sampling = sampling(&mut fields)?;
    for tool in fields.list("tools")? {
        read_tool(tool, &mut request)?;
    }
    for function in fields.list("functions")? {
        request.tools.push(read_function(function, None)?);
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
    request.metadata = fields.object("metadata")?;
    request.modalities = fields.strings("modalities")?;
    request.audio = fields.take("audio");
    request.extra = fields.0;
    Ok(request)
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
        n: fields.count("n")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logprobs: fields.bool("logprobs")?,
        top_logprobs: fields.count("top_logprobs")?,
        logit_bias: fields.take("logit_bias"),
    })
}

/// The amount of thinking: Anthropic's `thinking` where a client sends it all the same, then OpenAI's effort in
/// either place, then OpenRouter's `reasoning`.
fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, Malformed> {
    let thinking = fields.object("thinking")?;
    let word = fields.string("reasoning_effort")?;
    let unified = fields.object("reasoning")?;
    if let Some(thinking) = thinking {
        return Ok(match thinking.get("type").and_then(Value::as_str) {
            Some("disabled") => Some(Reasoning::Disabled),
            Some("adaptive") => Some(Reasoning::Adaptive),
            _ => Some(match thinking.get("budget_tokens").and_then(Value::as_u64) {
                Some(0) => Reasoning::Disabled,
                Some(budget) => Reasoning::Budget(budget),
                None => Reasoning::Effort(Effort::Medium),
            }),
        });
    }
    let unified = unified.unwrap_or_default();
    let word = word.or_else(|| unified.get("effort").and_then(Value::as_str).map(str::to_owned));
    if let Some(word) = word {
        return match word.as_str() {
            "none" => Ok(Some(Reasoning::Disabled)),
            "default" | "" => Ok(None),
            word => match Effort::parse(word) {
                Some(effort) => Ok(Some(Reasoning::Effort(effort))),
                None => Err(Malformed::at("reasoning_effort", "reasoning_effort must name a known effort")),
            },
        };
    }
    Ok(
        match (
            unified.get("enabled").and_then(Value::as_bool),
            unified.get("max_tokens").and_then(Value::as_u64),
        ) {
            (Some(false), _) | (_, Some(0)) => Some(Reasoning::Disabled),
            (_, Some(budget)) => Some(Reasoning::Budget(budget)),
            (Some(true), None) => Some(Reasoning::Effort(Effort::Medium)),
            (None, None) => None,
        },
    )
}

fn read_tool(tool: Value, request: &mut Request) -> Result<(), Malformed> {
    let Value::Object(mut map) = tool else {
        return Err(Malformed::at("tools", "a tool must be an object"));
    };
    let kind = map.get("type").and_then(Value::as_str).unwrap_or("function");
    if kind != "function" {
        request.server_tools.push(Value::Object(map));
        return Ok(());
    }
    let cache = map.get("cache_control").and_then(cache_hint);
    // Some clients write the function flat, as in the responses dialect.
    let function = map.shift_remove("function").unwrap_or(Value::Object(map));
    request.tools.push(read_function(function, cache)?);
    Ok(())
}

fn read_function(function: Value, cache: Option<CacheHint>) -> Result<Tool, Malformed> {
    let Value::Object(mut function) = function else {
        return Err(Malformed::at("tools", "a function must be an object"));
    };
    let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Malformed::at("tools", "a function needs a name"))?.to_owned();
    Ok(Tool {
        name,
        description: function.get("description").and_then(Value::as_str).map(str::to_owned),
        strict: function.get("strict").and_then(Value::as_bool),
        cache: cache.or_else(|| function.get("cache_control").and_then(cache_hint)),
        schema: function.shift_remove("parameters").unwrap_or(Value::Null),
    })
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, Malformed> {
    let name_in = |value: &Value| {
        let nested = value.get("function").and_then(|function| function.get("name"));
        nested.or(value.get("name")).and_then(Value::as_str).map(str::to_owned)
    };
    let wrong = || Malformed::at("tool_choice", "tool_choice must be a known word or name a function");
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
    match format.get("type").and_then(Value::as_str) {
        None | Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let Some(Value::Object(mut schema)) = format.shift_remove("json_schema") else {
                return Err(Malformed::at("response_format", "json_schema must be an object"));
            };
            Ok(ResponseFormat::JsonSchema {
                name: schema.get("name").and_then(Value::as_str).unwrap_or("response").to_owned(),
                description: schema.get("description").and_then(Value::as_str).map(str::to_owned),
                strict: schema.get("strict").and_then(Value::as_bool),
                schema: schema.shift_remove("schema").unwrap_or(Value::Object(Map::new())),
            })
        }
        Some(_) => Err(Malformed::at("response_format", "response_format.type is not known")),
    }
}

fn cache_hint(value: &Value) -> Option<CacheHint> {
    value.as_object()?;
    Some(CacheHint { ttl: value.get("ttl").and_then(Value::as_str).map(str::to_owned) })
}

struct Reader<'a> {
    request: &'a mut Request,
    /// Calls that no result has named yet: (id, name), for results that name nothing.
    unanswered: Vec<(String, String)>,
    synthesised: usize,
}

impl Reader<'_> {
    fn messages(mut self, messages: Vec<Value>) -> Result<(), Malformed> {
        for (index, message) in messages.into_iter().enumerate() {
            let at = format!("messages[{index}]");
            let Value::Object(map) = message else {
                return Err(Malformed::at(at, "a message must be an object"));
            };
            self.message(Fields(map), &at)?;
        }
        Ok(())
    }

    fn message(&mut self, mut message: Fields, at: &str) -> Result<(), Malformed> {
        let role = match message.take("role") {
            Some(Value::String(role)) => role,
            _ => return Err(Malformed::at(format!("{at}.role"), "a message needs a role")),
        };
        let mut blocks = content(message.take("content"), at)?;
        // A hint on the message means its end.
        if let Some(hint) = message.take("cache_control").as_ref().and_then(cache_hint)
            && let Some(last) = blocks.last_mut()
        {
            last.cache = Some(hint);
        }
        let role = match role.as_str() {
            "system" | "developer" if self.request.turns.is_empty() => {
                self.request.system.append(&mut blocks);
                return Ok(());
            }
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => {
                self.assistant(&mut message, &mut blocks, at)?;
                Role::Assistant
            }
            "tool" | "function" => {
                blocks = vec![self.result(&mut message, blocks)?];
                Role::Tool
            }
            _ => return Err(Malformed::at(format!("{at}.role"), "the role is not known")),
        };
        self.request.turns.push(Turn { role, blocks });
        Ok(())
    }

    fn assistant(
        &mut self,
        message: &mut Fields,
        blocks: &mut Vec<Block>,
        at: &str,
    ) -> Result<(), Malformed> {
        let thinking = match (message.take("reasoning_content"), message.take("reasoning")) {
            (Some(Value::String(text)), _) | (_, Some(Value::String(text))) if !text.is_empty() => Some(text),
            _ => None,
        };
        if let Some(text) = thinking {
            blocks.insert(0, Block::new(Content::Thinking { text, signature: None }));
        }
        if let Some(Value::String(refusal)) = message.take("refusal") {
            blocks.push(Block::new(Content::Refusal(refusal)));
        }
        self.unanswered.clear();
        for call in message.list("tool_calls")? {
            let function = call.get("function").cloned().unwrap_or(Value::Null);
            let id = call.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let seal = call.pointer("/extra_content/google/thought_signature").and_then(Value::as_str);
            let block = self.call(id, &function, seal.map(str::to_owned), at)?;
            blocks.push(block);
        }
        if let Some(function) = message.take("function_call") {
            blocks.push(self.call(String::new(), &function, None, at)?);
        }
        Ok(())
    }

    fn call(
        &mut self,
        mut id: String,
        function: &Value,
        signature: Option<String>,
        at: &str,
    ) -> Result<Block, Malformed> {
        let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name
            .ok_or_else(|| Malformed::at(format!("{at}.tool_calls"), "a tool call needs a function name"))?
            .to_owned();
        if id.is_empty() {
            id = names::call_id(&name, self.synthesised);
            self.synthesised += 1;
        }
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        self.unanswered.push((id.clone(), name.clone()));
        Ok(Block::new(Content::ToolCall { id, name, arguments, signature }))
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

fn content(value: Option<Value>, at: &str) -> Result<Vec<Block>, Malformed> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Block::text(text)]),
        Some(Value::Array(parts)) => parts.into_iter().map(|value| part(value, at)).collect(),
        Some(_) => Err(Malformed::at(format!("{at}.content"), "content must be text or an array of parts")),
    }
}

fn part(value: Value, at: &str) -> Result<Block, Malformed> {
    let at = || format!("{at}.content");
    if let Value::String(text) = value {
        return Ok(Block::text(text));
    }
    let wrong = |what: &str| Malformed::at(at(), what);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let cache = value.get("cache_control").and_then(cache_hint);
    let kind = text(&value, "type").ok_or_else(|| wrong("a content part needs a type"))?;
    let content = match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            Content::Text(text(&value, "text").ok_or_else(|| wrong("a text part needs text"))?)
        }
        "refusal" => Content::Refusal(text(&value, "refusal").unwrap_or_default()),
        "image_url" | "input_image" => {
            let image = value.get("image_url").ok_or_else(|| wrong("an image part needs image_url"))?;
            let url = image.as_str().map(str::to_owned).or_else(|| text(image, "url"));
            let url = url.ok_or_else(|| wrong("image_url needs a url"))?;
            let source = media::source(&url, "image/png").map_err(wrong)?;
            Content::Image { source, detail: text(image, "detail").or_else(|| text(&value, "detail")) }
        }
        "input_audio" => {
            let audio = value.get("input_audio").ok_or_else(|| wrong("an audio part needs input_audio"))?;
            let data = text(audio, "data").ok_or_else(|| wrong("input_audio needs data"))?;
            let mime = media::audio_mime(&text(audio, "format").unwrap_or_default());
            Content::Audio { source: media::source(&data, &mime).map_err(wrong)? }
        }
        "file" | "input_file" => {
            let file = value.get("file").unwrap_or(&value);
            let title = text(file, "filename");
            let source = if let Some(data) = text(file, "file_data") {
                media::source(&data, "application/pdf").map_err(wrong)?
            } else if let Some(url) = text(file, "file_url") {
                Source::Url(url)
            } else if let Some(id) = text(file, "file_id") {
                Source::Reference(id)
            } else {
                return Err(wrong("a file part needs file_data or file_id"));
            };
            Content::Document { source, title }
        }
        _ => Content::Opaque { dialect: Dialect::OpenAiChat, json: value },
    };
    Ok(Block { content, cache })
}
