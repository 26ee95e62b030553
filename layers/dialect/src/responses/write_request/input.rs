//! The conversation as items of this dialect.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/create> (`input`). Instructions stay where they
//! stand: the provider takes them as messages. Every call must have a result and every result a call, wherever they
//! stand; items carry no identities of their own, because those of items that are not stored are refused.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::NAME_LIMIT;
use super::parts::{Parts, mark, takes_mark, text};
use crate::ir::{Block, Content, Request, Role, Turn};
use crate::names::{CallIds, Grammar, Names};
use crate::responses::model::Model;
use crate::rope::Node;
use crate::{Aim, Dialect, FetchedMedia, Unsupported};

/// A writer of conversations.
pub(super) struct Writer<'a> {
    request: &'a Request,
    parts: Parts<'a>,
    pub(super) names: Names,
    ids: CallIds<'a>,
    /// The turn in which each call stands, by the identity that the upstream is told.
    turns: HashMap<String, usize>,
    /// The items of each turn; those of the instructions before them come first.
    items: Vec<Vec<Node<'a>>>,
    /// The client's message that is being written.
    message: usize,
}

impl<'a> Writer<'a> {
    /// A writer that knows the names of tools.
    pub(super) fn new(
        request: &'a Request,
        aim: &'a Aim<'a>,
        media: &'a FetchedMedia,
        model: &'a Model,
    ) -> Self {
        let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        let called = blocks.filter_map(|block| match &block.content {
            Content::ToolCall { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let known = if aim.tools { request.tools.as_slice() } else { &[] };
        let known = known.iter().map(|tool| tool.name.as_str()).chain(called);
        Self {
            request,
            parts: Parts { aim, media, model },
            names: Names::new(Grammar::of_tools(NAME_LIMIT), known),
            ids: CallIds::new(NAME_LIMIT),
            turns: HashMap::new(),
            items: Vec::new(),
            message: 0,
        }
    }

    /// `input`.
    ///
    /// # Errors
    /// Media and blocks that this upstream cannot take.
    pub(super) fn items(&mut self) -> Result<Vec<Node<'a>>, Unsupported> {
        let request = self.request;
        self.items.push(Vec::new());
        self.say("system", &request.system)?;
        for (index, turn) in request.turns.iter().enumerate() {
            self.message = request.leading + index;
            self.items.push(Vec::new());
            self.turn(turn)?;
        }
        let ids = std::mem::replace(&mut self.ids, CallIds::new(NAME_LIMIT));
        for (_, call) in ids.unanswered() {
            let turn = self.turns.get(&call).copied().unwrap_or_default();
            self.items[turn].push(output(call, "tool result missing".into()));
        }
        Ok(std::mem::take(&mut self.items).into_iter().flatten().collect())
    }

    fn put(&mut self, item: Node<'a>) {
        if let Some(items) = self.items.last_mut() {
            items.push(item);
        }
    }

    fn turn(&mut self, turn: &'a Turn) -> Result<(), Unsupported> {
        match turn.role {
            Role::System => self.say("system", &turn.blocks),
            Role::Assistant => self.answer(&turn.blocks),
            Role::User | Role::Tool => {
                let blocks = if self.parts.aim.tools { turn.blocks.as_slice() } else { &[] };
                for block in blocks {
                    if let Content::ToolResult { call_id, blocks, is_error, .. } = &block.content {
                        self.result(call_id, blocks, *is_error, block)?;
                    }
                }
                self.say("user", &turn.blocks)
            }
        }
    }

    /// A message that the model is given; without anything in it there is none.
    fn say(&mut self, role: &'static str, blocks: &'a [Block]) -> Result<(), Unsupported> {
        let is_given = |block: &&Block| !matches!(block.content, Content::ToolResult { .. });
        let parts = self.given(blocks.iter().filter(is_given))?;
        if !parts.is_empty() {
            let content = self.content(parts);
            self.put(message(role, content));
        }
        Ok(())
    }

    /// Parts with their marks. One on what is left out goes to what stands before it.
    fn given(&mut self, blocks: impl Iterator<Item = &'a Block>) -> Result<Vec<Node<'a>>, Unsupported> {
        let mut parts: Vec<Node<'a>> = Vec::new();
        for block in blocks {
            let part = self.parts.given(block).map_err(|what| self.unsupported(what))?;
            let marked = block.cache.is_some() && self.parts.model.marks;
            match (part, marked, parts.last_mut()) {
                (Some(mut part), true, _) if takes_mark(&part) => {
                    mark(&mut part);
                    parts.push(part);
                }
                (Some(part), ..) => parts.push(part),
                (None, true, Some(last)) if takes_mark(last) => mark(last),
                (None, true, _) => self.mark_before(),
                (None, false, _) => {}
            }
        }
        Ok(parts)
    }

    /// Parts, or the one text that they are. Models that take marks always get parts: a mark must change nothing else.
    fn content(&self, mut parts: Vec<Node<'a>>) -> Node<'a> {
        match parts.len() {
            1 if parts[0].is("input_text") && !self.parts.model.marks => parts.remove(0).take("text"),
            _ => parts.into(),
        }
    }

    /// Marks the last part of what was written so far.
    fn mark_before(&mut self) {
        let items = self.items.iter_mut().rev().flat_map(|items| items.iter_mut().rev());
        for item in items {
            let place = if item.has("content") { "content" } else { "output" };
            let Some(Node::List(parts)) = item.field_mut(place) else { continue };
            if let Some(part) = parts.iter_mut().rev().find(|part| takes_mark(part)) {
                return mark(part);
            }
        }
    }

    /// What the model said and did, in order. Its reasoning goes with what follows it, and is refused alone.
    fn answer(&mut self, blocks: &'a [Block]) -> Result<(), Unsupported> {
        let mut reasoning: Vec<Node<'a>> = Vec::new();
        let mut said: Vec<Node<'a>> = Vec::new();
        for block in blocks {
            match &block.content {
                Content::Text(words) | Content::Refusal(words) if words.is_empty() => {}
                Content::Text(words) => said.push(own("output_text", "text", words)),
                Content::Refusal(words) => said.push(own("refusal", "refusal", words)),
                Content::Thinking { text } => {
                    // Another maker's seal is refused, and so are thoughts without one.
                    let seal = self.parts.model.maker.and_then(|maker| block.seal_for(maker));
                    if let Some(seal) = seal {
                        self.close(&mut reasoning, &mut said);
                        reasoning.push(thought(text, seal));
                    }
                }
                Content::ToolCall { id, name, arguments } if self.parts.aim.tools => {
                    self.close(&mut reasoning, &mut said);
                    self.put_all(&mut reasoning);
                    let call = self.ids.call(id, 0, self.message);
                    self.turns.insert(call.clone(), self.items.len() - 1);
                    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                    let name = self.names.fitting(name);
                    self.put(Node::object([
                        ("type", "function_call".into()),
                        ("call_id", call.into()),
                        ("name", name.into()),
                        ("arguments", arguments.into()),
                    ]));
                }
                Content::Opaque { dialect: Dialect::Responses, json } => {
                    self.close(&mut reasoning, &mut said);
                    self.put_all(&mut reasoning);
                    self.put(json.clone().into());
                }
                // The model's own pictures and sounds cannot be replayed, nor what others did by themselves.
                _ => {}
            }
            if block.cache.is_some() && self.parts.model.marks {
                self.mark_before();
            }
        }
        self.close(&mut reasoning, &mut said);
        Ok(())
    }

    /// Ends the message that is being written, with the reasoning before it.
    fn close(&mut self, reasoning: &mut Vec<Node<'a>>, said: &mut Vec<Node<'a>>) {
        if said.is_empty() {
            return;
        }
        self.put_all(reasoning);
        let content = match said.len() {
            1 if said[0].is("output_text") => said.remove(0).take("text"),
            _ => std::mem::take(said).into(),
        };
        said.clear();
        self.put(message("assistant", content));
    }

    fn put_all(&mut self, items: &mut Vec<Node<'a>>) {
        std::mem::take(items).into_iter().for_each(|item| self.put(item));
    }

    /// A result goes with its call; what answers nothing is the user's word.
    fn result(
        &mut self,
        call_id: &str,
        blocks: &'a [Block],
        is_error: bool,
        whole: &'a Block,
    ) -> Result<(), Unsupported> {
        let mut parts = self.given(blocks.iter())?;
        if is_error {
            parts.insert(0, text("Error:"));
        }
        if whole.cache.is_some() && self.parts.model.marks {
            match parts.last_mut() {
                Some(last) if takes_mark(last) => mark(last),
                _ => self.mark_before(),
            }
        }
        match self.ids.result(call_id, 0) {
            Some(call) => {
                let content = if parts.is_empty() { "".into() } else { self.results(parts) };
                self.put(output(call, content));
            }
            None if parts.is_empty() => {}
            None => {
                parts.insert(0, text("Tool result:"));
                let content = self.content(parts);
                self.put(message("user", content));
            }
        }
        Ok(())
    }

    /// Parts of a result, or the text that they are all of: not everybody takes anything else.
    fn results(&self, parts: Vec<Node<'a>>) -> Node<'a> {
        if self.parts.model.marks || !parts.iter().all(|part| part.is("input_text")) {
            return parts.into();
        }
        if parts.len() == 1 {
            return self.content(parts);
        }
        let texts: Vec<&str> = parts.iter().filter_map(|part| part.str("text")).collect();
        texts.join("\n\n").into()
    }

    fn unsupported(&self, what: &str) -> Unsupported {
        Unsupported::at(format!("messages[{}].content", self.message), what)
    }
}

fn message<'a>(role: &'static str, content: Node<'a>) -> Node<'a> {
    Node::object([("type", "message".into()), ("role", role.into()), ("content", content)])
}

fn output<'a>(call: String, content: Node<'a>) -> Node<'a> {
    Node::object([("type", "function_call_output".into()), ("call_id", call.into()), ("output", content)])
}

/// A part of what the model said.
fn own<'a>(kind: &'static str, field: &'static str, words: &'a str) -> Node<'a> {
    Node::object([("type", kind.into()), (field, words.into())])
}

fn thought<'a>(words: &'a str, seal: &'a str) -> Node<'a> {
    let summary = match words {
        "" => Value::from(Vec::<Value>::new()),
        words => json!([{ "type": "summary_text", "text": words }]),
    };
    Node::object([
        ("type", "reasoning".into()),
        ("summary", summary.into()),
        ("encrypted_content", seal.into()),
    ])
}
