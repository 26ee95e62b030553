//! Learns from an answer what is sealed in it.
//!
//! Of nearly all answers that is nothing, and then nothing is kept and nothing copied but the thoughts, which may turn
//! out to be sealed.

use std::fmt;
use std::sync::Arc;

use super::{Part, Sealed, Seals, SealsOf, call_digest, picture_name};
use crate::ir::{Block, Choice, Content, Event, Seal};

/// A memory that outlives the request, with its owner.
#[derive(Clone)]
pub(crate) struct Keeper {
    all: Arc<dyn Seals>,
    owner: Box<str>,
}

impl Keeper {
    pub(crate) fn new(seals: SealsOf<'_>) -> Self {
        Self { all: seals.all.clone(), owner: seals.owner.into() }
    }

    fn keep(&self, name: &str, sealed: Sealed) {
        if !name.is_empty() && sealed.is_bounded() {
            self.all.keep(&self.owner, name, sealed);
        }
    }

    /// Learns from a whole answer.
    pub(crate) fn learn(&self, choice: &Choice) {
        let (mut text, mut parts) = (0, Vec::new());
        for block in &choice.blocks {
            match &block.content {
                Content::Text(more) => {
                    if block.seal.is_some() {
                        let empty = Block { seal: block.seal.clone(), ..Block::text("") };
                        parts.push(Part { at: text, length: more.len(), block: empty });
                    }
                    text += more.len();
                }
                Content::Thinking { .. } if block.seal.is_some() => {
                    parts.push(Part { at: text, length: 0, block: block.clone() });
                }
                Content::RedactedThinking { .. } => {
                    parts.push(Part { at: text, length: 0, block: block.clone() });
                }
                Content::ToolCall { id, name, arguments } => {
                    let parts = std::mem::take(&mut parts);
                    if !parts.is_empty() || block.seal.is_some() {
                        let call = Some(call_digest(name, arguments));
                        self.keep(id, Sealed { parts, own: block.seal.clone(), call });
                    }
                }
                Content::Image { .. } => {
                    if let Some((seal, data)) = block.seal.clone().zip(super::picture(block)) {
                        self.keep(&picture_name(data), Sealed { parts: vec![], own: Some(seal), call: None });
                    }
                }
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A reader of the events of one answer.
pub(crate) struct Learner {
    keeper: Keeper,
    /// Events are about another candidate than the first.
    elsewhere: bool,
    /// Bytes of text so far.
    text: usize,
    open: Open,
    parts: Vec<Part>,
    /// The calls that are sealed, or stand behind what is.
    calls: Vec<Call>,
}

/// The block that is being told.
enum Open {
    None,
    Text { from: usize, seal: Option<Seal> },
    Thinking { text: String, seal: Option<Seal> },
}

struct Call {
    index: usize,
    id: String,
    name: String,
    arguments: String,
    parts: Vec<Part>,
    own: Option<Seal>,
}

impl Learner {
    pub(crate) fn new(keeper: Keeper) -> Self {
        Self { keeper, elsewhere: false, text: 0, open: Open::None, parts: Vec::new(), calls: Vec::new() }
    }

    /// Reads an event.
    pub(crate) fn see(&mut self, event: &Event) {
        match event {
            Event::Choice(number) => self.elsewhere = *number > 0,
            _ if self.elsewhere => {}
            Event::Text(more) => {
                if !matches!(self.open, Open::Text { .. }) {
                    self.close();
                    self.open = Open::Text { from: self.text, seal: None };
                }
                self.text += more.len();
            }
            Event::Thinking(more) => match &mut self.open {
                Open::Thinking { text, seal: None } => text.push_str(more),
                _ => {
                    self.close();
                    self.open = Open::Thinking { text: more.clone(), seal: None };
                }
            },
            Event::Seal(more) => {
                if matches!(self.open, Open::None) {
                    self.open = Open::Thinking { text: String::new(), seal: None };
                }
                if let Open::Text { seal, .. } | Open::Thinking { seal, .. } = &mut self.open {
                    match seal {
                        Some(seal) if seal.maker == more.maker => seal.data.push_str(&more.data),
                        seal => *seal = Some(more.clone()),
                    }
                }
            }
            Event::BlockEnd => self.close(),
            Event::RedactedThinking(data) => {
                self.close();
                let block = Block::new(Content::RedactedThinking { data: data.clone() });
                self.parts.push(Part { at: self.text, length: 0, block });
            }
            Event::ToolStart { index, id, name, seal } => {
                self.close();
                if !self.parts.is_empty() || seal.is_some() {
                    self.calls.push(Call {
                        index: *index,
                        id: id.clone(),
                        name: name.clone(),
                        arguments: String::new(),
                        parts: std::mem::take(&mut self.parts),
                        own: seal.clone(),
                    });
                }
            }
            Event::ToolArgs { index, fragment } => {
                if let Some(call) = self.calls.iter_mut().rev().find(|call| call.index == *index) {
                    call.arguments.push_str(fragment);
                }
            }
            Event::Image { data, seal: Some(seal), .. } => {
                self.close();
                let sealed = Sealed { parts: Vec::new(), own: Some(seal.clone()), call: None };
                self.keeper.keep(&picture_name(data), sealed);
            }
            Event::Finish { .. } => {
                for Call { id, name, arguments, parts, own, .. } in self.calls.drain(..) {
                    let call = Some(call_digest(&name, &arguments));
                    self.keeper.keep(&id, Sealed { parts, own, call });
                }
            }
            _ => {}
        }
    }

    /// The block that is being told is complete.
    fn close(&mut self) {
        let at = self.text;
        match std::mem::replace(&mut self.open, Open::None) {
            Open::Text { from, seal: Some(seal) } => {
                let block = Block { seal: Some(seal), ..Block::text("") };
                self.parts.push(Part { at: from, length: at - from, block });
            }
            Open::Thinking { text, seal: seal @ Some(_) } => {
                let block = Block { seal, ..Block::new(Content::Thinking { text }) };
                self.parts.push(Part { at, length: 0, block });
            }
            Open::None | Open::Text { .. } | Open::Thinking { .. } => {}
        }
    }
}
