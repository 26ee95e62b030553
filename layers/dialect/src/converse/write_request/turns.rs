//! The conversation in this dialect's grammar.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html>. Turns must alternate, begin
//! with the user, and answer every tool call at once, while other dialects allow nearly anything.

use super::marks::Marked;
use super::media::{self, DocumentNames};
use super::tools::Tools;
use crate::converse::family::{Family, Maker};
use crate::ir::{self, Block, CacheHint, Content, Request, Role, Source};
use crate::names::{CallIds, Grammar, Names};
use crate::rope::Node;
use crate::turned::{self, Turns, input, trim_end};
use crate::worded::{CONTINUE, MISSING, instruction};
use crate::{Aim, Dialect, FetchedMedia, Unsupported};

/// Longest name of a tool, and of a call's identity.
pub(super) const NAME_LIMIT: usize = 64;
/// What stands beside a document that comes without a word.
const SEE: &str = "See the attached document.";

/// A turn in this dialect's grammar.
pub(super) type WrittenTurn<'a> = turned::WrittenTurn<Marked<'a>>;

/// A writer of conversations.
pub(super) struct Writer<'a> {
    request: &'a Request,
    aim: &'a Aim<'a>,
    media: &'a FetchedMedia,
    family: Family,
    pub(super) names: Names,
    pub(super) tools: Tools<'a>,
    pub(super) system: Vec<Marked<'a>>,
    /// Whether earlier turns hold calls that are told as such.
    pub(super) called: bool,
    ids: CallIds<'a>,
    documents: DocumentNames,
    turns: Turns<Marked<'a>>,
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
        family: Family,
    ) -> Result<Self, Unsupported> {
        let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        let called = blocks.filter_map(|block| match &block.content {
            Content::ToolCall { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let has_calls = called.clone().next().is_some();
        let known = if aim.tools { request.tools.as_slice() } else { &[] };
        let known = known.iter().map(|tool| tool.name.as_str()).chain(called);
        let mut names = Names::new(Grammar::of_tools(NAME_LIMIT), known);
        let mut tools = Tools::default();
        if aim.tools {
            tools = Tools::of(request, family, &mut names)?;
            tools.remember(request, &mut names);
        }
        Ok(Self {
            request,
            aim,
            media,
            family,
            names,
            tools,
            system: Vec::new(),
            called: has_calls && aim.tools,
            ids: CallIds::new(NAME_LIMIT),
            documents: DocumentNames::default(),
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
                    self.system.push(Marked { node: text(words), mark: block.cache.clone() });
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
        let missing = |call| Marked::new(result(self.family, call, vec![text(MISSING)], true));
        let mut turns = turns.settled(ids, missing, asking_on);
        for turn in turns.iter_mut().filter(|turn| has(turn, "document") && !has(turn, "text")) {
            turn.blocks.push(Marked::new(text(SEE)));
        }
        Ok(turns)
    }

    fn block(&mut self, block: &'a Block, role: Role) -> Result<(), Unsupported> {
        let assistant = role == Role::Assistant;
        if let Content::ToolResult { call_id, blocks, is_error, .. } = &block.content {
            return self.result(call_id, blocks, *is_error, block.cache.as_ref());
        }
        let written = match &block.content {
            Content::Text(words) if role == Role::System && !words.trim().is_empty() => {
                Some(text(instruction(words)))
            }
            _ if role == Role::System => None,
            _ => self.plain(block, assistant)?,
        };
        match (written.map(Marked::new), &block.cache) {
            (Some(mut written), hint) => {
                if let Some(hint) = hint {
                    match written.takes_mark() {
                        true => written.mark(hint),
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
        let written = match &block.content {
            // Blank text is refused.
            Content::Text(words) | Content::Refusal(words) if words.trim().is_empty() => return Ok(None),
            Content::Text(words) | Content::Refusal(words) => Ok(text(words)),
            // The model's own pictures and sounds cannot be replayed.
            Content::Image { .. } | Content::Audio { .. } if assistant => return Ok(None),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, .. } => media::image(self.fetched(source)),
            Content::Audio { source } => media::audio(self.fetched(source)),
            Content::Document { source, title } => {
                let source = self.fetched(source);
                media::document(source, title.as_deref(), &mut self.documents)
            }
            Content::ToolCall { name, arguments, .. } if !self.aim.tools => {
                Ok(text(format!("(The tool {name} was called with {arguments}.)")))
            }
            Content::ToolCall { id, name, arguments } => {
                let place = self.turns.place(assistant);
                let call = Node::object([
                    ("toolUseId", self.ids.call(id, place, self.message).into()),
                    ("name", self.names.fitting(name).into()),
                    (
                        "input",
                        input(name, arguments, self.tools.there.get(name.as_str()), self.message)?.into(),
                    ),
                ]);
                Ok(Node::object([("toolUse", call)]))
            }
            // Without its seal reasoning is refused, as it is with that of another maker.
            Content::Thinking { text } => {
                let seal = block.seal_for(ir::Maker::Anthropic);
                let seal = seal.filter(|_| assistant && self.family.is(Maker::Anthropic));
                return Ok(seal.map(|seal| {
                    let words = Node::object([("text", text.as_str().into()), ("signature", seal.into())]);
                    Node::object([("reasoningContent", Node::object([("reasoningText", words)]))])
                }));
            }
            Content::RedactedThinking { data } => {
                let data = Some(data).filter(|_| assistant && self.family.is(Maker::Anthropic));
                return Ok(data.map(|data| {
                    let sealed = Node::object([("redactedContent", data.as_str().into())]);
                    Node::object([("reasoningContent", sealed)])
                }));
            }
            Content::Opaque { dialect: Dialect::Converse, json } => Ok(json.clone().into()),
            Content::Opaque { .. } if assistant => return Ok(None),
            Content::Opaque { .. } | Content::ToolResult { .. } => {
                Err("a content part of this type cannot be sent to this upstream")
            }
        };
        written.map(Some).map_err(|what| self.unsupported(what))
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
                (Some(last), Some(hint)) => last.mark(hint),
                (None, Some(hint)) => self.mark_before(hint),
                (_, None) => {}
            }
            if !content.is_empty() {
                self.turns.turn(false).blocks.append(&mut content);
            }
            return Ok(());
        };
        let mut result = Marked::new(result(self.family, id, content, is_error));
        hint.into_iter().for_each(|hint| result.mark(hint));
        self.turns.turn(false).results.push(result);
        Ok(())
    }

    /// A mark on what is left out goes to what stands before it.
    fn mark_before(&mut self, hint: &CacheHint) {
        match self.turns.last_first().chain(self.system.iter_mut().rev()).find(|block| block.takes_mark()) {
            Some(block) => block.mark(hint),
            None => self.tools.written.last_mut().into_iter().for_each(|tool| tool.mark(hint)),
        }
    }

    fn unsupported(&self, what: &str) -> Unsupported {
        Unsupported::at(format!("messages[{}].content", self.message), what)
    }

    /// A medium, or what was fetched in its place.
    fn fetched(&self, source: &'a Source) -> &'a Source {
        match source {
            Source::Url(url) => self.media.get(url).unwrap_or(source),
            _ => source,
        }
    }
}

/// The user's word where the grammar wants one.
pub(super) fn asking_on<'a>() -> Marked<'a> {
    Marked::new(text(CONTINUE))
}

/// Whether a turn has a block of this kind.
fn has(turn: &WrittenTurn<'_>, kind: &str) -> bool {
    turn.blocks.iter().any(|block| block.node.has(kind))
}

/// A block of text.
pub(super) fn text<'a>(words: impl Into<std::borrow::Cow<'a, str>>) -> Node<'a> {
    Node::object([("text", Node::Text(words.into()))])
}

/// The result of a call. Where nothing else tells that it failed, words do.
fn result<'a>(family: Family, id: String, mut content: Vec<Node<'a>>, is_error: bool) -> Node<'a> {
    if is_error && !family.failed_results {
        content.insert(0, text("The tool failed."));
    }
    let mut result = Node::object([("toolUseId", id.into()), ("content", content.into())]);
    if is_error && family.failed_results {
        result.insert("status", "error");
    }
    Node::object([("toolResult", result)])
}

/// A result that nothing asked for, as plain content.
fn orphan(content: Vec<Node<'_>>) -> Vec<Marked<'_>> {
    let mut content: Vec<Marked<'_>> = content.into_iter().map(Marked::new).collect();
    if let [only] = content.as_mut_slice()
        && let Some(Node::Text(words)) = only.node.field_mut("text")
    {
        *words = format!("Tool result: {words}").into();
    }
    content
}

/// The beginning of an answer may not end in white space.
pub(super) fn trim_prefill(turns: &mut [WrittenTurn<'_>]) {
    let Some(last) = turns.last_mut().filter(|turn| turn.assistant) else { return };
    if let Some(Node::Text(words)) = last.blocks.last_mut().and_then(|block| block.node.field_mut("text")) {
        trim_end(words);
    }
}

/// Whether a loop of calls goes on whose reasoning was lost on the way: a model that is told to think refuses it.
pub(super) fn lacks_thinking(turns: &[WrittenTurn<'_>]) -> bool {
    let torn = turns.iter().rev().find(|turn| turn.assistant).is_some_and(|turn| {
        let sealed = turn.blocks.first().is_some_and(|block| block.node.has("reasoningContent"));
        has(turn, "toolUse") && !sealed
    });
    torn && turns.last().is_some_and(|turn| turn.assistant || has(turn, "toolResult"))
}
