//! The conversation in the grammar of version 2.
//!
//! Source: <https://docs.cohere.com/reference/chat> (`messages`). Instructions stand first, every result behind its
//! call, no message is empty, and the last word is not the model's.

use serde_json::json;

use super::tools::Tools;
use crate::ir::{Block, Content, Request, Role, Source};
use crate::paired::{Call, Group, Outcome, Said, groups};
use crate::rope::Node;
use crate::worded::{CONTINUE, MISSING, NO_OUTPUT, document, instruction, joined, spoken, system, thought};
use crate::{Aim, FetchedMedia, Unsupported};

/// Longest identity of a call.
const ID_LIMIT: usize = 128;
/// A writer of conversations.
pub(super) struct Writer<'a> {
    pub(super) request: &'a Request,
    pub(super) aim: &'a Aim<'a>,
    pub(super) media: &'a FetchedMedia,
    pub(super) tools: Tools,
}

impl<'a> Writer<'a> {
    /// The messages; `rules` are instructions of ours behind the client's.
    ///
    /// # Errors
    /// Media and blocks that this upstream cannot take.
    pub(super) fn messages(&mut self, rules: &[String]) -> Result<Vec<Node<'a>>, Unsupported> {
        let mut messages = Vec::new();
        let system = system(self.request, rules);
        if !system.is_empty() {
            messages.push(message("system", system.into()));
        }
        let mut ends_with_model = true;
        for group in groups(self.request, ID_LIMIT) {
            if group.answers
                && let Some(answer) = self.answer(&group)
            {
                messages.push(answer);
                ends_with_model = true;
            }
            let mut attached = Vec::new();
            for result in &group.results {
                messages.push(self.result(&group, result, &mut attached)?);
                ends_with_model = false;
            }
            if !attached.is_empty() {
                attached.insert(0, text("Attachments of the tool output:"));
                messages.push(message("user", attached.into()));
            }
            for said in &group.said {
                if let Some(said) = self.said(said)? {
                    messages.push(said);
                    ends_with_model = false;
                }
            }
        }
        if ends_with_model {
            messages.push(message("user", CONTINUE.into()));
        }
        Ok(messages)
    }

    /// The model's turn. Beside calls its words are the plan for them, unless it has thoughts.
    fn answer(&mut self, group: &Group<'a>) -> Option<Node<'a>> {
        let text = spoken(&group.blocks);
        if group.calls.is_empty() {
            return (!text.trim().is_empty()).then(|| message("assistant", text.into()));
        }
        let thoughts = thought(&group.blocks);
        let (plan, text) = if thoughts.trim().is_empty() { (text, String::new()) } else { (thoughts, text) };
        let calls: Vec<Node<'a>> = group.calls.iter().map(|call| self.call(call)).collect();
        let mut answer = Node::object([("role", "assistant".into())]);
        if !text.trim().is_empty() {
            answer.insert("content", text);
        }
        if !plan.trim().is_empty() {
            answer.insert("tool_plan", plan);
        }
        answer.insert("tool_calls", calls);
        Some(answer)
    }

    fn call(&mut self, call: &Call<'a>) -> Node<'a> {
        let arguments = match call.arguments.trim() {
            "" | "null" => "{}",
            _ => call.arguments,
        };
        let name = self.tools.names.fitting(call.name);
        Node::object([
            ("id", call.id.clone().into()),
            ("type", "function".into()),
            ("function", Node::object([("name", name.into()), ("arguments", arguments.into())])),
        ])
    }

    /// What a call gave back. Pictures follow in a message of the user's, because results hold text only.
    fn result(
        &self,
        group: &Group<'a>,
        result: &Outcome<'a>,
        attached: &mut Vec<Node<'a>>,
    ) -> Result<Node<'a>, Unsupported> {
        let call = &group.calls[result.call];
        let mut parts = Vec::new();
        for block in result.blocks.unwrap_or_default() {
            match (&block.content, self.part(block, call.message)?) {
                (Content::Image { .. }, part) => attached.extend(part),
                (_, part) => parts.extend(part),
            }
        }
        if result.is_error && !parts.is_empty() {
            parts.insert(0, text("Error:"));
        }
        let content = match (result.blocks, parts.len()) {
            (None, _) => MISSING.into(),
            (Some(_), 0) => NO_OUTPUT.into(),
            (Some(_), 1) => parts.remove(0).take("text"),
            (Some(_), _) => parts.into(),
        };
        Ok(Node::object([
            ("role", "tool".into()),
            ("tool_call_id", call.id.clone().into()),
            ("content", content),
        ]))
    }

    fn said(&self, said: &Said<'a>) -> Result<Option<Node<'a>>, Unsupported> {
        let mut parts = Vec::new();
        match said {
            // Instructions in the middle are refused as such; at the front they would change what is cached.
            Said::Turn { role: Role::System, blocks, .. } => {
                let words = joined(blocks, "\n\n", |content| match content {
                    Content::Text(words) => Some(words),
                    _ => None,
                });
                if !words.trim().is_empty() {
                    parts.push(text_of(instruction(&words)));
                }
            }
            Said::Turn { blocks, message, .. } => {
                for block in blocks {
                    parts.extend(self.part(block, *message)?);
                }
            }
            Said::Orphan { blocks, message } => {
                for block in *blocks {
                    parts.extend(self.part(block, *message)?);
                }
                if !parts.is_empty() {
                    parts.insert(0, text("Tool result:"));
                }
            }
        }
        Ok(match parts.len() {
            0 => None,
            1 if parts[0].is("text") => Some(message("user", parts.remove(0).take("text"))),
            _ => Some(message("user", parts.into())),
        })
    }

    /// A part of a user's message, or of a result; none where it is left out.
    fn part(&self, block: &'a Block, at: usize) -> Result<Option<Node<'a>>, Unsupported> {
        let unsupported = |what: &str| {
            Unsupported::at(
                format!("messages[{at}].content"),
                format!("{what} cannot be sent to this upstream"),
            )
        };
        Ok(Some(match &block.content {
            // Blank text is refused where it is all of a message.
            Content::Text(words) if words.trim().is_empty() => return Ok(None),
            Content::Text(words) => text(words),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, detail } => {
                let url = match fetched(source, self.media) {
                    Source::Base64 { mime, data } => {
                        Node::Media { before: format!("data:{mime};base64,"), data: data.clone() }
                    }
                    Source::Url(url) => url.as_str().into(),
                    Source::Text(_) | Source::Reference(_) => return Err(unsupported("a stored picture")),
                };
                let mut image = Node::object([("url", url)]);
                image.insert_some("detail", detail.as_deref());
                Node::object([("type", "image_url".into()), ("image_url", image)])
            }
            Content::Document { source, title } => {
                let words = document(fetched(source, self.media), title.as_deref());
                text_of(words.ok_or_else(|| unsupported("a file of this type"))?)
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

/// A medium, or what was fetched in its place.
fn fetched<'a>(source: &'a Source, media: &'a FetchedMedia) -> &'a Source {
    match source {
        Source::Url(url) => media.get(url).unwrap_or(source),
        _ => source,
    }
}

fn message<'a>(role: &'static str, content: Node<'a>) -> Node<'a> {
    Node::object([("role", role.into()), ("content", content)])
}

fn text(words: &str) -> Node<'_> {
    Node::object([("type", "text".into()), ("text", words.into())])
}

fn text_of<'a>(words: String) -> Node<'a> {
    json!({ "type": "text", "text": words }).into()
}
