//! The conversation in this dialect's grammar.
//!
//! Source: <https://docs.anthropic.com/en/api/messages> (`messages`, `system`). Turns must alternate, begin with the
//! user, and answer every tool call at once, while other dialects allow nearly anything.

use serde_json::json;

use super::NAME_LIMIT;
use super::marks::{mark, mark_tool, takes_mark};
use super::media::{document, image};
use super::tools::Tools;
use crate::ir::{Block, CacheHint, Content, Maker, Request, Role, Source};
use crate::names::{CallIds, Grammar, Names};
use crate::rope::Node;
use crate::turned::{self, Turns, input, trim_end};
use crate::worded::{CONTINUE, MISSING, instruction};
use crate::{Aim, Dialect, FetchedMedia, Lack, Unsupported};

/// A turn in this dialect's grammar.
pub(super) type WrittenTurn<'a> = turned::WrittenTurn<Node<'a>>;

/// A writer of conversations.
pub(super) struct Writer<'a> {
    request: &'a Request,
    aim: &'a Aim<'a>,
    media: &'a FetchedMedia,
    pub(super) names: Names,
    pub(super) tools: Tools<'a>,
    pub(super) system: Vec<Node<'a>>,
    ids: CallIds<'a>,
    turns: Turns<Node<'a>>,
    /// The client's message that is being written.
    message: usize,
}

impl<'a> Writer<'a> {
    /// A writer that knows the tools.
    ///
    /// # Errors
    /// Tools that this upstream cannot take.
    pub(super) fn new(
        request: &'a Request,
        aim: &'a Aim<'a>,
        media: &'a FetchedMedia,
    ) -> Result<Self, Unsupported> {
        let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        let called = blocks.filter_map(|block| match &block.content {
            Content::ToolCall { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let known = if aim.tools { request.tools.as_slice() } else { &[] };
        let known = known.iter().map(|tool| tool.name.as_str()).chain(called);
        let mut names = Names::new(Grammar::of_tools(NAME_LIMIT), known);
        let tools = if aim.tools { Tools::of(request, aim.envelope, &mut names)? } else { Tools::default() };
        Ok(Self {
            request,
            aim,
            media,
            names,
            tools,
            system: Vec::new(),
            ids: CallIds::new(NAME_LIMIT),
            turns: Turns::new(),
            message: 0,
        })
    }

    /// The turns; the instructions before them go to `system`.
    ///
    /// # Errors
    /// Media and blocks that this upstream cannot take, and arguments of calls that are no JSON.
    pub(super) fn turns(&mut self) -> Result<Vec<WrittenTurn<'a>>, Unsupported> {
        let request = self.request;
        for block in &request.system {
            match &block.content {
                Content::Text(words) if !words.trim().is_empty() => {
                    let mut written = text(words);
                    block.cache.iter().for_each(|hint| mark(&mut written, hint));
                    self.system.push(written);
                }
                _ => block.cache.iter().for_each(|hint| self.mark_before(hint)),
            }
        }
        for (index, turn) in request.turns.iter().enumerate() {
            self.message = request.leading + index;
            for block in &turn.blocks {
                self.block(block, turn.role)?;
            }
        }
        let turns = std::mem::replace(&mut self.turns, Turns::new());
        let ids = std::mem::replace(&mut self.ids, CallIds::new(NAME_LIMIT));
        let missing = |call| {
            json!({ "type": "tool_result", "tool_use_id": call, "content": MISSING, "is_error": true }).into()
        };
        Ok(turns.settled(ids, missing, asking_on))
    }

    fn block(&mut self, block: &'a Block, role: Role) -> Result<(), Unsupported> {
        let assistant = role == Role::Assistant;
        if let Content::ToolResult { call_id, blocks, is_error, .. } = &block.content {
            return self.result(call_id, blocks, *is_error, block.cache.as_ref());
        }
        let written = match &block.content {
            Content::Text(words) if role == Role::System && !words.trim().is_empty() => {
                Some(Node::object([("type", "text".into()), ("text", instruction(words).into())]))
            }
            _ if role == Role::System => None,
            _ => self.plain(block, assistant)?,
        };
        match (written, &block.cache) {
            (Some(mut written), hint) => {
                if let Some(hint) = hint {
                    match takes_mark(&written) {
                        true => mark(&mut written, hint),
                        false => self.mark_before(hint),
                    }
                }
                self.turns.turn(assistant).blocks.push(written);
            }
            (None, Some(hint)) => self.mark_before(hint),
            (None, None) => {}
        }
        Ok(())
    }

    /// A block by itself; none where it is left out.
    fn plain(&mut self, block: &'a Block, assistant: bool) -> Result<Option<Node<'a>>, Unsupported> {
        Ok(Some(match &block.content {
            // Blank text is refused.
            Content::Text(words) | Content::Refusal(words) if words.trim().is_empty() => return Ok(None),
            Content::Text(words) | Content::Refusal(words) => text(words),
            // The model's own pictures and sounds cannot be replayed.
            Content::Image { .. } | Content::Audio { .. } if assistant => return Ok(None),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, .. } => {
                let source = image(self.fetched(source)?).map_err(|what| self.unsupported(what))?;
                Node::object([("type", "image".into()), ("source", source)])
            }
            Content::Audio { .. } => return Err(self.unsupported("sound cannot be sent to this upstream")),
            Content::Document { source, title } => {
                let source = document(self.fetched(source)?).map_err(|what| self.unsupported(what))?;
                let mut document = Node::object([("type", "document".into()), ("source", source)]);
                document.insert_some("title", title.as_deref());
                document
            }
            Content::ToolCall { id, name, arguments } => {
                let place = self.turns.place(assistant);
                Node::object([
                    ("type", "tool_use".into()),
                    ("id", self.ids.call(id, place, self.message).into()),
                    ("name", self.names.fitting(name).into()),
                    (
                        "input",
                        input(name, arguments, self.tools.there.get(name.as_str()), self.message)?.into(),
                    ),
                ])
            }
            // Without its seal reasoning is refused, as it is with that of another maker.
            Content::Thinking { text } => {
                let seal = block.seal_for(Maker::Anthropic).filter(|_| assistant);
                return Ok(seal.map(|seal| {
                    Node::object([
                        ("type", "thinking".into()),
                        ("thinking", text.as_str().into()),
                        ("signature", seal.into()),
                    ])
                }));
            }
            Content::RedactedThinking { data } => {
                Node::object([("type", "redacted_thinking".into()), ("data", data.as_str().into())])
            }
            Content::Opaque { dialect: Dialect::Anthropic, json } => json.clone().into(),
            Content::Opaque { .. } if assistant => return Ok(None),
            Content::Opaque { .. } | Content::ToolResult { .. } => {
                return Err(self.unsupported("a content part of this type cannot be sent to this upstream"));
            }
        }))
    }

    /// A result goes to the call that it answers, which stands in the turn before; what answers nothing is text. A mark
    /// within it means all of it.
    fn result(
        &mut self,
        call_id: &str,
        blocks: &'a [Block],
        is_error: bool,
        hint: Option<&'a CacheHint>,
    ) -> Result<(), Unsupported> {
        let hint = hint.or_else(|| blocks.iter().rev().find_map(|block| block.cache.as_ref()));
        let mut content = Vec::new();
        for block in blocks {
            content.extend(self.plain(block, false)?);
        }
        let asked = self.turns.place(false).checked_sub(1).and_then(|turn| self.ids.result(call_id, turn));
        let Some(id) = asked else {
            let mut content = orphan(content);
            match (content.last_mut(), hint) {
                (Some(last), Some(hint)) => mark(last, hint),
                (None, Some(hint)) => self.mark_before(hint),
                (_, None) => {}
            }
            if !content.is_empty() {
                self.turns.turn(false).blocks.append(&mut content);
            }
            return Ok(());
        };
        let content = match content.len() {
            0 => "".into(),
            1 if content[0].is("text") => content.remove(0).take("text"),
            _ => content.into(),
        };
        let mut result =
            Node::object([("type", "tool_result".into()), ("tool_use_id", id.into()), ("content", content)]);
        if is_error {
            result.insert("is_error", true);
        }
        hint.into_iter().for_each(|hint| mark(&mut result, hint));
        self.turns.turn(false).results.push(result);
        Ok(())
    }

    /// A mark on what is left out goes to what stands before it.
    fn mark_before(&mut self, hint: &CacheHint) {
        match self.turns.last_first().chain(self.system.iter_mut().rev()).find(|node| takes_mark(node)) {
            Some(node) => mark(node, hint),
            None => self.tools.written.last_mut().into_iter().for_each(|tool| mark_tool(tool, hint)),
        }
    }

    fn unsupported(&self, what: &str) -> Unsupported {
        Unsupported::at(format!("messages[{}].content", self.message), what)
    }

    /// A medium, or what was fetched in its place.
    fn fetched(&self, source: &'a Source) -> Result<&'a Source, Unsupported> {
        match source {
            Source::Url(url) => match self.media.get(url) {
                Some(fetched) => Ok(fetched),
                None if self.aim.envelope.fetches_media => {
                    Err(self.unsupported("this upstream does not follow addresses"))
                }
                None => Ok(source),
            },
            Source::Reference(_) if self.aim.envelope.lacks(Lack::Store) => {
                Err(self.unsupported("this upstream has no store of files"))
            }
            _ => Ok(source),
        }
    }
}

/// The user's word where the grammar wants one.
pub(super) fn asking_on<'a>() -> Node<'a> {
    text(CONTINUE)
}

/// A block of text.
pub(super) fn text(words: &str) -> Node<'_> {
    Node::object([("type", "text".into()), ("text", words.into())])
}

/// A result that nothing asked for, as plain content.
fn orphan(mut content: Vec<Node<'_>>) -> Vec<Node<'_>> {
    if content.len() == 1
        && content[0].is("text")
        && let Node::Text(words) = content.remove(0).take("text")
    {
        let words = format!("Tool result: {words}");
        content.push(Node::object([("type", "text".into()), ("text", words.into())]));
    }
    content
}

/// The beginning of an answer may not end in white space.
pub(super) fn trim_prefill(turns: &mut [WrittenTurn<'_>]) {
    let Some(last) = turns.last_mut().filter(|turn| turn.assistant) else { return };
    if let Some(block) = last.blocks.last_mut().filter(|block| block.is("text"))
        && let Some(Node::Text(words)) = block.field_mut("text")
    {
        trim_end(words);
    }
}
