//! Reads the requests of Anthropic clients on behalf of other dialects.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>. Refusals have the form of Anthropic's own: the place of what is
//! wrong, then what is wrong with it.

use serde_json::{Map, Value};

use super::read_blocks::{Reader, text};
use crate::fields::Fields;
use crate::ir::{
    Block, Content, Effort, Raw, Reasoning, ReasoningMode, Request, ResponseFormat, Role, Sampling,
    ServerTask, ServerTool, Tool, ToolChoice, Turn, WebSearch,
};
use crate::{Dialect, Malformed, Manner, cache_marks, names};

/// What the first instruction of Claude Code begins with, which tells of its bill and is another in each request:
/// Anthropic reads it apart, and at everybody else it would be cached anew each time.
pub(super) const BILLING: &str = "x-anthropic-billing-header:";
/// Longest name of a user that others take.
const LONGEST_USER: usize = 64;

/// Reads a whole request and the wishes in it. The output limit may be left out, since others know one themselves.
///
/// # Errors
/// A body that is no JSON object, a field of the wrong kind, a turn or block that means nothing.
pub(super) fn read(body: &[u8]) -> Result<(Request, Manner), Malformed> {
    let mut fields = Fields::of_body(body)?;
    // Which model is meant and whether events are wanted is read before, and goes with each attempt.
    let model = fields.string("model")?.filter(|model| !model.is_empty());
    model.ok_or_else(|| at("model", "Field required"))?;
    fields.bool("stream")?;
    let mut request = Request::new(Dialect::Anthropic);
    request.system = system(fields.take("system"))?;
    let messages = match fields.take("messages") {
        Some(Value::Array(messages)) if messages.is_empty() => {
            return Err(at("messages", "at least one message is required"));
        }
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(at("messages", "Input should be a valid list")),
        None => return Err(at("messages", "Field required")),
    };
    for (index, message) in messages.into_iter().enumerate() {
        read_message(message, &format!("messages.{index}"), &mut request)?;
    }
    request.sampling = Sampling {
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        stop: fields.strings("stop_sequences")?,
        ..Sampling::default()
    };
    for (index, tool) in fields.list("tools")?.into_iter().enumerate() {
        read_tool(tool, &format!("tools.{index}"), &mut request)?;
    }
    for server in fields.list("mcp_servers")? {
        request.server_tools.push(ServerTool { task: ServerTask::Other, raw: raw(server) });
    }
    if let Some(choice) = fields.object("tool_choice")? {
        request.tool_choice = Some(tool_choice(&choice)?);
        if choice.get("disable_parallel_tool_use") == Some(&Value::Bool(true)) {
            request.parallel_tool_calls = Some(false);
        }
    }
    let thinking = fields.object("thinking")?;
    let mut output = fields.object("output_config")?.unwrap_or_default();
    request.reasoning = reasoning(thinking.as_ref(), &output)?;
    // It had a field of its own before.
    let format = output.shift_remove("format").or_else(|| fields.take("output_format"));
    request.response_format = format.map(response_format).transpose()?.flatten();
    let metadata = fields.object("metadata")?.unwrap_or_default();
    request.user = text(&metadata, "user_id")
        .filter(|user| !user.is_empty())
        .map(|user| if user.len() <= LONGEST_USER { user } else { format!("user_{}", names::digest(&user)) });
    request.service_tier = fields.string("service_tier")?.map(|tier| match tier.as_str() {
        "standard_only" => "default".to_owned(),
        _ => tier,
    });
    request.extra = fields.0;
    cache_marks::mark_end(&mut request);
    let thinks = request.reasoning.is_some_and(|reasoning| reasoning.mode != ReasoningMode::Off);
    Ok((request, Manner { carries_seals_of_text: thinks, ..Manner::default() }))
}

/// Something wrong, with its place in front as Anthropic has it.
pub(super) fn at(place: &str, what: &str) -> Malformed {
    Malformed::at(place, format!("{place}: {what}"))
}

fn raw(json: Value) -> Raw {
    Raw { dialect: Dialect::Anthropic, json }
}

/// The instructions before the conversation, without those that are Anthropic's business alone.
fn system(value: Option<Value>) -> Result<Vec<Block>, Malformed> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(words)) => {
            let rest = match words.starts_with(BILLING) {
                true => words.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default(),
                false => words,
            };
            Ok(Some(rest).filter(|rest| !rest.is_empty()).map(Block::text).into_iter().collect())
        }
        Some(Value::Array(blocks)) => {
            let mut instructions = Vec::with_capacity(blocks.len());
            for (index, block) in blocks.into_iter().enumerate() {
                let place = format!("system.{index}");
                let Value::Object(mut block) = block else {
                    return Err(at(&place, "Input should be an object"));
                };
                let cache = cache_marks::on(&block, None);
                let words = match block.get_mut("text").map(Value::take) {
                    Some(Value::String(words)) => words,
                    _ => return Err(at(&format!("{place}.text"), "Field required")),
                };
                if !words.starts_with(BILLING) {
                    instructions.push(Block { cache, ..Block::text(words) });
                }
            }
            Ok(instructions)
        }
        Some(_) => Err(at("system", "Input should be a valid string or list of text blocks")),
    }
}

fn read_message(message: Value, place: &str, request: &mut Request) -> Result<(), Malformed> {
    let Value::Object(mut message) = message else { return Err(at(place, "Input should be an object")) };
    let role = match message.get("role").and_then(Value::as_str) {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        // Instructions in the middle stay there: in front they would change what is cached.
        Some("system") => Role::System,
        Some(_) => {
            return Err(at(&format!("{place}.role"), "Input should be 'user', 'assistant' or 'system'"));
        }
        None => return Err(at(&format!("{place}.role"), "Field required")),
    };
    let mut blocks = match message.get_mut("content").map(Value::take) {
        Some(Value::String(words)) => vec![Block::text(words)],
        Some(Value::Array(blocks)) => Reader::new(&format!("{place}.content")).read(blocks)?,
        Some(_) => return Err(at(&format!("{place}.content"), "Input should be a valid string or list")),
        None => return Err(at(&format!("{place}.content"), "Field required")),
    };
    // A mark on the message means its end.
    if let (Some(last), Some(hint)) = (blocks.last_mut(), cache_marks::on(&message, None)) {
        last.cache.get_or_insert(hint);
    }
    if role == Role::System && request.turns.is_empty() {
        request.leading += 1;
        request.system.append(&mut blocks);
        return Ok(());
    }
    let is_result = |block: &Block| matches!(block.content, Content::ToolResult { .. });
    let only_results = role == Role::User && !blocks.is_empty() && blocks.iter().all(is_result);
    request.turns.push(Turn { role: if only_results { Role::Tool } else { role }, blocks });
    Ok(())
}

fn read_tool(tool: Value, place: &str, request: &mut Request) -> Result<(), Malformed> {
    let Value::Object(mut tool) = tool else { return Err(at(place, "Input should be an object")) };
    let kind = text(&tool, "type").unwrap_or_default();
    if !matches!(kind.as_str(), "" | "custom") {
        let task = match kind.starts_with("web_search") {
            true => ServerTask::WebSearch(web_search(&tool)),
            false => ServerTask::Other,
        };
        request.server_tools.push(ServerTool { task, raw: raw(Value::Object(tool)) });
        return Ok(());
    }
    let name = text(&tool, "name").filter(|name| !name.is_empty());
    request.tools.push(Tool {
        name: name.ok_or_else(|| at(&format!("{place}.name"), "Field required"))?,
        description: text(&tool, "description"),
        strict: tool.get("strict").and_then(Value::as_bool),
        cache: cache_marks::on(&tool, None),
        schema: tool.shift_remove("input_schema").unwrap_or(Value::Null),
    });
    Ok(())
}

fn web_search(tool: &Map<String, Value>) -> WebSearch {
    let mut place = tool.get("user_location").and_then(Value::as_object).cloned();
    place.iter_mut().for_each(|place| drop(place.shift_remove("type")));
    WebSearch { max_uses: tool.get("max_uses").and_then(Value::as_u64), place }
}

fn tool_choice(choice: &Map<String, Value>) -> Result<ToolChoice, Malformed> {
    match text(choice, "type").unwrap_or_default().as_str() {
        "auto" => Ok(ToolChoice::Auto),
        "any" => Ok(ToolChoice::Required),
        "none" => Ok(ToolChoice::None),
        "tool" => text(choice, "name")
            .filter(|name| !name.is_empty())
            .map(ToolChoice::Named)
            .ok_or_else(|| at("tool_choice.tool.name", "Field required")),
        _ => Err(at("tool_choice.type", "Input should be 'auto', 'any', 'tool' or 'none'")),
    }
}

/// The amount of thinking: a budget, as the model sees fit, or a word in `output_config`.
fn reasoning(
    thinking: Option<&Map<String, Value>>,
    output: &Map<String, Value>,
) -> Result<Option<Reasoning>, Malformed> {
    let effort = text(output, "effort");
    let effort = effort.map(|word| {
        Effort::parse(&word).ok_or_else(|| {
            at("output_config.effort", "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
        })
    });
    let effort = effort.transpose()?;
    let Some(thinking) = thinking else { return Ok(effort.map(Reasoning::with_effort)) };
    // Whoever asks for thoughts gets to see them, unless they ask for less.
    let visible = Some(text(thinking, "display").as_deref() != Some("omitted"));
    let wanted = match text(thinking, "type").unwrap_or_default().as_str() {
        "disabled" => return Ok(Some(Reasoning::OFF)),
        "adaptive" => Reasoning { effort, ..Reasoning::FREE },
        "enabled" => {
            let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
            let budget = budget.filter(|budget| *budget > 0);
            let budget = budget
                .ok_or_else(|| at("thinking.enabled.budget_tokens", "Input should be a positive integer"))?;
            Reasoning { effort, ..Reasoning::with_budget(budget) }
        }
        _ => return Err(at("thinking.type", "Input should be 'enabled', 'disabled' or 'adaptive'")),
    };
    Ok(Some(Reasoning { visible, ..wanted }))
}

fn response_format(format: Value) -> Result<Option<ResponseFormat>, Malformed> {
    let Value::Object(mut format) = format else {
        return Err(at("output_config.format", "Input should be an object"));
    };
    match text(&format, "type").unwrap_or_default().as_str() {
        "json_schema" => Ok(Some(ResponseFormat::JsonSchema {
            name: text(&format, "name").unwrap_or_else(|| "structured_output".to_owned()),
            schema: format.shift_remove("schema").unwrap_or_else(|| Value::Object(Map::new())),
            description: None,
            strict: Some(true),
        })),
        "text" => Ok(Some(ResponseFormat::Text)),
        _ => Err(at("output_config.format.type", "Input should be 'json_schema'")),
    }
}
