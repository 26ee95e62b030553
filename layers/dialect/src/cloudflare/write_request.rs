//! Writes requests for models of the older form.
//!
//! Source: <https://developers.cloudflare.com/workers-ai/models/> (input schemas). What has no field is said in words,
//! and what cannot be said at all is an error, so that another channel may try.

use serde_json::{Number, Value, json};

use super::model::{Format, takes_effort};
use crate::ir::{
    Block, Content, Effort, ReasoningMode, Request, ResponseFormat, Role, Sampling, Source, ToolChoice,
};
use crate::names::{Grammar, Names, digest};
use crate::offered::{all_names, offered, schema_of};
use crate::paired::{Call, Group, Outcome, Said, groups};
use crate::rope::Node;
use crate::worded::{
    CONTINUE, JSON_OBJECT, MISSING, MUST_CALL, NO_OUTPUT, ONE_CALL, document, json_schema, spoken, system,
};
use crate::{Aim, Correspondence, FetchedMedia, Unsupported, Written};

/// Output limit where the client names none: the service's own is 256, which cuts most answers.
const LIMIT: u64 = 2048;
/// Longest name of a tool.
const NAME_LIMIT: usize = 64;
/// Letters and digits of the identity of a call.
const ID_LENGTH: usize = 9;
/// Largest seed.
const MOST_SEED: u64 = 9_999_999_999;
/// Fields of this format that clients of another one write beside their own.
const OWN: [&str; 4] = ["repetition_penalty", "lora", "raw", "guided_json"];

/// Writes a request. Limits are in tokens, the temperature ends at 5.
///
/// # Errors
/// Spoken answers, several candidates, likelihoods and weights of tokens; media and tools that these models cannot
/// take.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    check(request)?;
    let mut rules = Vec::new();
    let offered = match request.tool_choice {
        // What is not there is not called.
        Some(ToolChoice::None) => Vec::new(),
        _ if aim.tools => offered(request),
        _ => Vec::new(),
    };
    let mut names = Names::new(Grammar::of_tools(NAME_LIMIT), all_names(request, &offered));
    let mut tools = Vec::new();
    for tool in &offered {
        let description = tool.description.as_deref().unwrap_or(&tool.name);
        let function = json!({
            "name": names.fitting(&tool.name), "description": description, "parameters": schema_of(tool)?,
        });
        tools.push(json!({ "type": "function", "function": function }));
    }
    if !tools.is_empty() {
        let must = matches!(
            request.tool_choice,
            Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
        );
        rules.extend(must.then(|| MUST_CALL.to_owned()));
        rules.extend((request.parallel_tool_calls == Some(false)).then(|| ONE_CALL.to_owned()));
    }
    let (format, can_stream) = format(request, aim, !tools.is_empty(), &mut rules);

    let mut writer = Writer { request, aim, media, names };
    let mut body = Node::object([("messages", writer.messages(&rules)?.into())]);
    if !tools.is_empty() {
        body.insert("tools", Value::from(tools));
    }
    if let Some((name, format)) = format {
        body.insert(name, format);
    }
    let limit = request.sampling.max_tokens.filter(|limit| *limit > 0).unwrap_or(LIMIT);
    body.insert("max_tokens", limit);
    write_sampling(&request.sampling, &mut body);
    body.insert_some("reasoning", effort(request, aim.model).map(|word| json!({ "effort": word })));
    for name in OWN {
        let own = request.extra.get(name).filter(|value| !value.is_null());
        if !body.has(name) {
            body.insert_some(name, own.cloned());
        }
    }
    for (name, value) in aim.envelope.adds {
        body.insert(name, *value);
    }
    if aim.stream && can_stream {
        body.insert("stream", true);
    }
    let correspondence = Correspondence {
        tools: writer.names.into_renamed(),
        stop: request.sampling.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
        limit: Some(limit),
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// Refuses what these models know nothing of.
fn check(request: &Request) -> Result<(), Unsupported> {
    let sampling = &request.sampling;
    if request.modalities.iter().any(|form| form == "audio") {
        return Err(Unsupported::at("modalities", "this upstream cannot answer with sound"));
    }
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(Unsupported::at("n", "n must be 1 for this model: it gives one answer at a time"));
    }
    if sampling.logprobs == Some(true) {
        return Err(Unsupported::at("logprobs", "this upstream does not tell how likely its words are"));
    }
    let weights = sampling.logit_bias.as_ref();
    if weights.is_some_and(|weights| weights.as_object().is_none_or(|weights| !weights.is_empty())) {
        return Err(Unsupported::at("logit_bias", "this upstream takes no weights of tokens"));
    }
    Ok(())
}

/// The field for the form of the answer, and whether it can come as a stream then. Beside tools, and where a model knows
/// no such field, it is said in words.
fn format(
    request: &Request,
    aim: &Aim<'_>,
    has_tools: bool,
    rules: &mut Vec<String>,
) -> (Option<(&'static str, Value)>, bool) {
    let by_field = if has_tools { Format::Words } else { Format::of(aim.model) };
    match &request.response_format {
        None | Some(ResponseFormat::Text) => (None, true),
        Some(ResponseFormat::JsonObject) => {
            rules.push(JSON_OBJECT.to_owned());
            match by_field {
                Format::Mode => (Some(("response_format", json!({ "type": "json_object" }))), false),
                Format::Guided | Format::Words => (None, true),
            }
        }
        Some(ResponseFormat::JsonSchema { schema, .. }) => match by_field {
            Format::Mode => {
                let format = json!({ "type": "json_schema", "json_schema": schema });
                (Some(("response_format", format)), false)
            }
            Format::Guided => (Some(("guided_json", schema.clone())), true),
            Format::Words => {
                rules.push(json_schema(schema));
                (None, true)
            }
        },
    }
}

fn effort(request: &Request, model: &str) -> Option<&'static str> {
    let wish = request.reasoning.filter(|_| takes_effort(model))?;
    Some(match (wish.mode, wish.effort, wish.budget) {
        // It cannot be turned off.
        (ReasoningMode::Off, ..) | (_, Some(Effort::Minimal | Effort::Low), _) => "low",
        (_, Some(Effort::Medium), _) => "medium",
        (_, Some(Effort::High | Effort::XHigh | Effort::Max), _) => "high",
        (_, None, Some(..=2048)) => "low",
        (_, None, Some(2049..=8192)) => "medium",
        (_, None, Some(_)) => "high",
        (_, None, None) => return None,
    })
}

fn write_sampling(sampling: &Sampling, body: &mut Node<'_>) {
    let within = |number: &Option<Number>, low: f64, high: f64| {
        number.as_ref().map(|number| match number.as_f64() {
            Some(value) if value > high => json!(high),
            Some(value) if value < low => json!(low),
            _ => Value::Number(number.clone()),
        })
    };
    body.insert_some("temperature", within(&sampling.temperature, 0.0, 5.0));
    body.insert_some("top_p", within(&sampling.top_p, 0.001, 1.0));
    body.insert_some("top_k", sampling.top_k.map(|k| k.clamp(1, 50)));
    let seed = sampling.seed.as_ref().map(|seed| {
        let seed = seed.as_u64().or_else(|| seed.as_i64().map(i64::unsigned_abs)).unwrap_or_default();
        // A seed is no more than a name of a draw.
        if (1..=MOST_SEED).contains(&seed) { seed } else { seed % MOST_SEED + 1 }
    });
    body.insert_some("seed", seed);
    body.insert_some("frequency_penalty", within(&sampling.frequency_penalty, 0.0, 2.0));
    body.insert_some("presence_penalty", within(&sampling.presence_penalty, 0.0, 2.0));
}

/// A writer of conversations.
struct Writer<'a> {
    request: &'a Request,
    aim: &'a Aim<'a>,
    media: &'a FetchedMedia,
    names: Names,
}

impl<'a> Writer<'a> {
    fn messages(&mut self, rules: &[String]) -> Result<Vec<Node<'a>>, Unsupported> {
        let mut messages = Vec::new();
        let system = system(self.request, rules);
        let any = !system.is_empty();
        if any {
            messages.push(message("system", system.into()));
        }
        for group in groups(self.request, usize::MAX) {
            if group.answers {
                messages.extend(self.answer(&group));
            }
            let mut attached = Vec::new();
            for result in &group.results {
                messages.push(self.result(&group, result, &mut attached)?);
            }
            if !attached.is_empty() {
                attached.insert(0, text("Attachments of the tool output:"));
                messages.push(message("user", attached.into()));
            }
            for said in &group.said {
                messages.extend(self.said(said)?);
            }
        }
        if messages.len() == usize::from(any) {
            messages.push(message("user", CONTINUE.into()));
        }
        Ok(messages)
    }

    fn answer(&mut self, group: &Group<'a>) -> Option<Node<'a>> {
        let text = spoken(&group.blocks);
        if text.trim().is_empty() && group.calls.is_empty() {
            return None;
        }
        let mut answer = message("assistant", text.into());
        if !group.calls.is_empty() {
            let calls: Vec<Value> = group.calls.iter().map(|call| self.call(call)).collect();
            answer.insert("tool_calls", Value::from(calls));
        }
        Some(answer)
    }

    fn call(&mut self, call: &Call<'_>) -> Value {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments };
        let name = self.names.fitting(call.name);
        json!({
            "id": short(&call.id),
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        })
    }

    /// What a call gave back. Pictures follow in a message of the user's, because results hold text only.
    fn result(
        &mut self,
        group: &Group<'a>,
        result: &Outcome<'a>,
        attached: &mut Vec<Node<'a>>,
    ) -> Result<Node<'a>, Unsupported> {
        let call = &group.calls[result.call];
        let mut words: Vec<String> = Vec::new();
        for block in result.blocks.unwrap_or_default() {
            match &block.content {
                Content::Text(text) => words.push(text.clone()),
                _ => attached.extend(self.part(block, call.message)?),
            }
        }
        let mut words = words.join("\n\n");
        if result.blocks.is_none() {
            words = MISSING.to_owned();
        } else if words.trim().is_empty() {
            words = NO_OUTPUT.to_owned();
        } else if result.is_error {
            words.insert_str(0, "Error: ");
        }
        Ok(Node::object([
            ("role", "tool".into()),
            ("tool_call_id", short(&call.id).into()),
            ("name", self.names.fitting(call.name).into()),
            ("content", words.into()),
        ]))
    }

    fn said(&self, said: &Said<'a>) -> Result<Option<Node<'a>>, Unsupported> {
        let mut parts = Vec::new();
        let role = match said {
            Said::Turn { role, blocks, message } => {
                for block in blocks {
                    parts.extend(self.part(block, *message)?);
                }
                if *role == Role::System { "system" } else { "user" }
            }
            Said::Orphan { blocks, message } => {
                for block in *blocks {
                    parts.extend(self.part(block, *message)?);
                }
                if !parts.is_empty() {
                    parts.insert(0, text("Tool result:"));
                }
                "user"
            }
        };
        if parts.is_empty() {
            return Ok(None);
        }
        // Most models take text alone.
        if parts.iter().all(|part| part.is("text")) {
            let words: Vec<&str> = parts.iter().filter_map(|part| part.str("text")).collect();
            return Ok(Some(message(role, words.join("\n\n").into())));
        }
        Ok(Some(message(role, parts.into())))
    }

    fn part(&self, block: &'a Block, at: usize) -> Result<Option<Node<'a>>, Unsupported> {
        let unsupported = |what: &str| {
            let what = format!("{what} cannot be sent to this upstream");
            Unsupported::at(format!("messages[{at}].content"), what)
        };
        let fetched = |source: &'a Source| match source {
            Source::Url(url) => self.media.get(url).unwrap_or(source),
            _ => source,
        };
        Ok(Some(match &block.content {
            Content::Text(words) if words.trim().is_empty() => return Ok(None),
            Content::Text(words) => text(words),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, .. } => match fetched(source) {
                Source::Base64 { mime, data } => {
                    let url = Node::Media { before: format!("data:{mime};base64,"), data: data.clone() };
                    let url = Node::object([("url", url)]);
                    Node::object([("type", "image_url".into()), ("image_url", url)])
                }
                Source::Url(_) => return Err(unsupported("a picture at an address")),
                Source::Text(_) | Source::Reference(_) => return Err(unsupported("a stored picture")),
            },
            Content::Document { source, title } => {
                let words = document(fetched(source), title.as_deref());
                let words = words.ok_or_else(|| unsupported("a file of this type"))?;
                Node::object([("type", "text".into()), ("text", words.into())])
            }
            Content::Audio { .. } => return Err(unsupported("sound")),
            Content::Opaque { .. } => return Err(unsupported("a content part of this type")),
            // They belong to the model.
            Content::ToolResult { .. }
            | Content::ToolCall { .. }
            | Content::Thinking { .. }
            | Content::RedactedThinking { .. }
            | Content::Refusal(_) => return Ok(None),
        }))
    }
}

/// An identity of nine letters and digits, which Mistral's models demand.
fn short(id: &str) -> String {
    match id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => id.to_owned(),
        false => digest(id)[..ID_LENGTH].to_owned(),
    }
}

fn message<'a>(role: &'static str, content: Node<'a>) -> Node<'a> {
    Node::object([("role", role.into()), ("content", content)])
}

fn text(words: &str) -> Node<'_> {
    Node::object([("type", "text".into()), ("text", words.into())])
}
