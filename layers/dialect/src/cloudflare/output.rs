//! Reads answers in the form of OpenAI's Responses, which some models give within Workers AI's envelope, whole only.
//!
//! Source: <https://developers.cloudflare.com/workers-ai/models/gpt-oss-120b/> and
//! <https://platform.openai.com/docs/api-reference/responses/object>.

use serde::Deserialize;

use crate::Correspondence;
use crate::ir::{Error, Event, FinishReason, Response};
use crate::lenient::{List, Obj, Str};
use crate::names;
use crate::openai_chat::usage::WireUsage;

/// An answer: `{"id", "output": [item], "usage", "incomplete_details"}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    output: List<Item<'a>>,
    usage: Obj<WireUsage>,
    #[serde(borrow)]
    incomplete_details: Obj<Incomplete<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Str<'a>,
}

/// A message, reasoning, or a call of a function.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    content: List<Part<'a>>,
    #[serde(borrow)]
    summary: List<Part<'a>>,
    #[serde(borrow)]
    call_id: Str<'a>,
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Str<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    text: Str<'a>,
    #[serde(borrow)]
    refusal: Str<'a>,
}

/// Reads a whole answer; none where it is not one.
pub(super) fn read(json: &str, correspondence: &Correspondence) -> Option<Result<Response, Error>> {
    let Obj(answer) = serde_json::from_str::<Obj<Answer<'_>>>(json).ok()?;
    let answer = answer.filter(|answer| !answer.output.0.is_empty())?;
    let mut events = vec![Event::Start { id: answer.id.owned(), model: None, created: None }];
    let mut calls = 0;
    for item in &answer.output.0 {
        match item.kind.text() {
            "reasoning" => {
                let parts = item.summary.0.iter().chain(&item.content.0);
                events.extend(parts.filter_map(|part| part.text.owned()).map(Event::Thinking));
                events.push(Event::BlockEnd);
            }
            "message" => {
                for part in &item.content.0 {
                    events.extend(part.text.owned().map(Event::Text));
                    events.extend(part.refusal.owned().map(Event::Refusal));
                    events.push(Event::BlockEnd);
                }
            }
            "function_call" => {
                let index = calls;
                calls += 1;
                let id = item.call_id.owned();
                let id = id.unwrap_or_else(|| names::call_id(answer.id.text(), index));
                let name = correspondence.tool(item.name.text()).to_owned();
                events.push(Event::ToolStart { index, id, name, seal: None });
                events.extend(item.arguments.owned().map(|fragment| Event::ToolArgs { index, fragment }));
                events.push(Event::ToolEnd { index });
            }
            _ => {}
        }
    }
    let usage = answer.usage.0.as_ref().map(WireUsage::normal);
    events.extend(usage.filter(|usage| !usage.is_empty()).map(Event::Usage));
    let cut = answer.incomplete_details.0.as_ref().map(|details| details.reason.text());
    let reason = match cut {
        Some("content_filter") => FinishReason::ContentFilter,
        Some(_) => FinishReason::Length,
        None if calls > 0 => FinishReason::ToolCalls,
        None => FinishReason::Stop,
    };
    events.push(Event::Finish { reason, raw: None, stop_sequence: None });
    Some(Response::fold(events))
}
