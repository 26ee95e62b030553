//! Writes requests for Gemini upstreams.
//!
//! Source: <https://ai.google.dev/api/generate-content>. Unknown fields are refused, so that nothing is passed on that is
//! not known. What is broken is repaired where the meaning is plain; what cannot be expressed is told in words, or is an
//! error, so that another channel may try.

mod extras;
mod media;
mod pictures;
mod seals;
mod settings;
mod thinking;
mod tools;
mod turns;

use serde_json::Value;

use self::extras::Extras;
use self::settings::Form;
use self::tools::Tools;
use self::turns::{Writer, content, text};
use super::model::Model;
use crate::ir::{Content, Request};
use crate::names::{Grammar, Names};
use crate::rope::Node;
use crate::{Aim, Correspondence, FetchedMedia, Unsupported, Written};

/// Writes a request. Model and method are in the path, and nothing of them is in the body.
///
/// # Errors
/// Media, tools and wishes that this upstream cannot take.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    let model = Model::of(aim.model);
    settings::check(request, &model)?;
    let mut names = names(request, aim);
    let tools = if aim.tools { Tools::of(request, &model, &mut names)? } else { Tools::default() };
    let mut writer = Writer::new(request, aim, media, model, names, tools);
    let mut contents = writer.contents()?;
    let mut system = std::mem::take(&mut writer.system);
    let Writer { mut names, mut tools, .. } = writer;

    let mut extras = Extras::of(request);
    let form = Form::of(request, &model, tools.has_functions());
    let one_by_one = request.parallel_tool_calls == Some(false) && tools.has_functions();
    let words = [
        form.words.clone(),
        one_by_one.then(|| "Call at most one tool at a time.".to_owned()),
        Some(tools.words.join(" ")).filter(|words| !words.is_empty()),
    ];
    system.extend(words.into_iter().flatten().map(|words| Node::object([("text", words.into())])));

    if !model.has_system || aim.quirks.system_in_turns || contents.is_empty() {
        lead(&mut contents, &mut system);
    }
    let mut body = Node::Object(Vec::new());
    if !system.is_empty() {
        body.insert("systemInstruction", Node::object([("parts", system.into())]));
    }
    body.insert_some("toolConfig", tools.config(request, &model, aim.envelope.google, &mut names)?);
    let cites = tools.cites() || aim.as_json;
    body.insert_some("tools", tools.written());
    body.insert("contents", contents);
    let thinking = thinking::config(request.reasoning, aim.alias, &model);
    let generation = settings::generation(request, aim, &model, form, thinking, &mut extras);
    if !generation.is_empty() {
        body.insert("generationConfig", generation);
    }
    body.insert("safetySettings", extras.safety.unwrap_or_else(|| settings::safety(&model)));
    body.insert_some("cachedContent", extras.cached_content);
    let labels = extras.labels.filter(|_| aim.envelope.google == crate::Google::Vertex);
    body.insert_some("labels", labels);
    body.insert_some("serviceTier", settings::tier(request, aim.envelope.google).map(Value::from));
    let correspondence = Correspondence {
        tools: names.into_renamed(),
        parameters: tools.back,
        sound: settings::sound(request).flatten().map(str::to_owned),
        cites,
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// Names of functions, none of which may take the place of another.
fn names(request: &Request, aim: &Aim<'_>) -> Names {
    let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
    let called = blocks.filter_map(|block| match &block.content {
        Content::ToolCall { name, .. } => Some(name.as_str()),
        _ => None,
    });
    let known = if aim.tools { request.tools.as_slice() } else { &[] };
    let known = known.iter().map(|tool| tool.name.as_str()).chain(called);
    Names::new(Grammar::of_google_functions(), known)
}

/// Puts the instructions before the first turn of the user.
fn lead<'a>(contents: &mut Vec<Node<'a>>, system: &mut Vec<Node<'a>>) {
    if system.is_empty() {
        if contents.is_empty() {
            contents.push(content("user", vec![text(" ")]));
        }
        return;
    }
    let mut parts = std::mem::take(system);
    match contents.first_mut().and_then(|first| first.field_mut("parts")) {
        Some(Node::List(first)) => {
            parts.append(first);
            *first = parts;
        }
        _ => contents.push(content("user", parts)),
    }
}
