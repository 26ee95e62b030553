//! The conversation in this dialect's grammar.
//!
//! Source: <https://docs.anthropic.com/en/api/messages> (`messages`, `system`). Turns must alternate, begin with the
//! user, and answer every tool call at once, while other dialects allow nearly anything.

use serde_json::{Value, json};

use super::NAME_LIMIT;
use crate::ir::{Block, CacheHint, Content, Maker, Request, Role, Source};
use crate::names::{self, Names};
use crate::rope::Node;
use crate::{Aim, Dialect, FetchedMedia, Unsupported, exact};

/// Cache breakpoints that one request may hold.
const BREAKPOINTS: usize = 4;

/// A turn in this dialect's grammar: the user's or the model's.
#[derive(Debug)]
pub(super) struct WrittenTurn<'a> {
    pub(super) assistant: bool,
    pub(super) blocks: Vec<Node<'a>>,
}

impl WrittenTurn<'_> {
    pub(super) fn role(&self) -> &'static str {
        if self.assistant { "assistant" } else { "user" }
    }
}

/// A writer of conversations.
pub(super) struct Writer<'a> {
    request: &'a Request,
    aim: &'a Aim<'a>,
    media: &'a FetchedMedia,
    pub(super) names: Names,
    pub(super) system: Vec<Node<'a>>,
    /// Cache hints that are too many, to be left out from the oldest on.
    surplus: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(request: &'a Request, aim: &'a Aim<'a>, media: &'a FetchedMedia) -> Self {
        let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        let called = blocks.clone().filter_map(|block| match &block.content {
            Content::ToolCall { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let tools = if aim.tools { request.tools.as_slice() } else { &[] };
        let names = Names::new(NAME_LIMIT, tools.iter().map(|tool| tool.name.as_str()).chain(called));
        let hints = blocks.chain(&request.system).filter(|block| block.cache.is_some()).count()
            + tools.iter().filter(|tool| tool.cache.is_some()).count();
        Self { request, aim, media, names, system: Vec::new(), surplus: hints.saturating_sub(BREAKPOINTS) }
    }

    /// The turns; the instructions go to `system`.
    ///
    /// # Errors
    /// Media and blocks that this upstream cannot take, and arguments of calls that are no JSON.
    pub(super) fn turns(&mut self) -> Result<Vec<WrittenTurn<'a>>, Unsupported> {
        let request = self.request;
        let mut turns: Vec<WrittenTurn<'a>> = Vec::new();
        // Turns before the system text: surplus hints are taken from the conversation first.
        for turn in &request.turns {
            if turn.role == Role::System {
                continue;
            }
            let assistant = turn.role == Role::Assistant;
            let mut blocks = Vec::with_capacity(turn.blocks.len());
            for block in &turn.blocks {
                if let Some(written) = self.block(block, assistant)? {
                    blocks.push(written);
                }
            }
            if blocks.is_empty() {
                continue;
            }
            match turns.last_mut() {
                Some(before) if before.assistant == assistant => before.blocks.append(&mut blocks),
                _ => turns.push(WrittenTurn { assistant, blocks }),
            }
        }
        // Instructions in the middle have no place of their own here.
        let middle =
            request.turns.iter().filter(|turn| turn.role == Role::System).flat_map(|turn| &turn.blocks);
        for block in request.system.iter().chain(middle) {
            if let Content::Text(words) = &block.content
                && !words.trim().is_empty()
            {
                let mut written = text(words);
                self.hint(&mut written, block);
                self.system.push(written);
            }
        }
        if turns.first().is_none_or(|turn| turn.assistant) {
            turns.insert(0, WrittenTurn { assistant: false, blocks: vec![text("(continue)")] });
        }
        answer_calls(&mut turns);
        Ok(turns)
    }

    fn block(&mut self, block: &'a Block, assistant: bool) -> Result<Option<Node<'a>>, Unsupported> {
        let unsupported =
            |what: &str| Err(Unsupported::at("messages", format!("{what} cannot be sent to this upstream")));
        let mut written = match &block.content {
            // Blank text is refused.
            Content::Text(words) | Content::Refusal(words) if words.trim().is_empty() => return Ok(None),
            Content::Text(words) | Content::Refusal(words) => text(words),
            // The model's own pictures and sounds cannot be replayed.
            Content::Image { .. } | Content::Audio { .. } if assistant => return Ok(None),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, .. } => {
                Node::object([("type", "image".into()), ("source", image(self.fetched(source)?)?)])
            }
            Content::Audio { .. } => return unsupported("sound"),
            Content::Document { source, title } => {
                let source = document(self.fetched(source)?)?;
                let mut document = Node::object([("type", "document".into()), ("source", source)]);
                document.insert_some("title", title.as_deref());
                document
            }
            Content::ToolCall { id, name, arguments } => Node::object([
                ("type", "tool_use".into()),
                ("id", names::fitting_id(id, NAME_LIMIT).into()),
                ("name", self.names.fitting(name).into()),
                ("input", input(name, arguments)?.into()),
            ]),
            Content::ToolResult { call_id, blocks, is_error, .. } => {
                self.result(call_id, blocks, *is_error)?
            }
            // Without its seal reasoning is refused, as it is with that of another maker; with it, hints on it are.
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
                let sealed = [("type", "redacted_thinking".into()), ("data", data.as_str().into())];
                return Ok(Some(Node::object(sealed)));
            }
            Content::Opaque { dialect: Dialect::Anthropic, json } => json.clone().into(),
            Content::Opaque { .. } if assistant => return Ok(None),
            Content::Opaque { .. } => return unsupported("a content part of this type"),
        };
        self.hint(&mut written, block);
        Ok(Some(written))
    }

    fn result(
        &mut self,
        call_id: &str,
        blocks: &'a [Block],
        is_error: bool,
    ) -> Result<Node<'a>, Unsupported> {
        let mut content = Vec::new();
        for block in blocks {
            if let Some(written) = self.block(block, false)? {
                content.push(written);
            }
        }
        let content = match content.len() {
            0 => "".into(),
            1 if content[0].is("text") && !content[0].has("cache_control") => content.remove(0).take("text"),
            _ => content.into(),
        };
        let mut result = Node::object([
            ("type", "tool_result".into()),
            ("tool_use_id", names::fitting_id(call_id, NAME_LIMIT).into()),
            ("content", content),
        ]);
        if is_error {
            result.insert("is_error", true);
        }
        Ok(result)
    }

    /// A medium, or what was fetched in its place.
    fn fetched(&self, source: &'a Source) -> Result<&'a Source, Unsupported> {
        match source {
            Source::Url(url) => match self.media.get(url) {
                Some(fetched) => Ok(fetched),
                None if self.aim.envelope.fetches_media => {
                    Err(Unsupported::at("messages", "this upstream does not follow addresses"))
                }
                None => Ok(source),
            },
            _ => Ok(source),
        }
    }

    /// The newest hints are worth the most, so surplus ones are dropped from the front.
    fn hint(&mut self, written: &mut Node<'a>, block: &Block) {
        let Some(hint) = &block.cache else { return };
        if self.surplus > 0 {
            self.surplus -= 1;
            return;
        }
        written.insert("cache_control", cache_control(hint));
    }
}

/// A wish to cache the prompt up to here.
pub(super) fn cache_control(hint: &CacheHint) -> Value {
    match &hint.ttl {
        Some(ttl) => json!({ "type": "ephemeral", "ttl": ttl }),
        None => json!({ "type": "ephemeral" }),
    }
}

/// A block of text.
pub(super) fn text(words: &str) -> Node<'_> {
    Node::object([("type", "text".into()), ("text", words.into())])
}

fn inline<'a>(mime: &'a str, data: &bytes::Bytes) -> Node<'a> {
    Node::object([
        ("type", "base64".into()),
        ("media_type", mime.into()),
        ("data", Node::Media { before: String::new(), data: data.clone() }),
    ])
}

fn image(source: &Source) -> Result<Node<'_>, Unsupported> {
    let unsupported = |what: &str| Err(Unsupported::at("messages", what));
    Ok(match source {
        Source::Base64 { mime, data } => match mime.as_str() {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => inline(mime, data),
            _ => return unsupported("a picture of this type cannot be sent to this upstream"),
        },
        Source::Url(url) if url.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("https://")) => {
            json!({ "type": "url", "url": url }).into()
        }
        Source::Url(_) => return unsupported("pictures must be at https addresses for this upstream"),
        Source::Reference(id) => json!({ "type": "file", "file_id": id }).into(),
        Source::Text(_) => return unsupported("a picture cannot be text"),
    })
}

fn document(source: &Source) -> Result<Node<'_>, Unsupported> {
    let plain = |words: Node<'static>| {
        Node::object([("type", "text".into()), ("media_type", "text/plain".into()), ("data", words)])
    };
    Ok(match source {
        Source::Base64 { mime, data } if mime == "application/pdf" => inline(mime, data),
        Source::Base64 { mime, data } if mime.starts_with("text/") || mime == "application/json" => {
            let text = crate::media::decode(data);
            plain(String::from_utf8_lossy(&text).into_owned().into())
        }
        Source::Base64 { .. } => {
            return Err(Unsupported::at("messages", "a file of this type cannot be sent to this upstream"));
        }
        Source::Text(text) => plain(text.clone().into()),
        Source::Url(url) => json!({ "type": "url", "url": url }).into(),
        Source::Reference(id) => json!({ "type": "file", "file_id": id }).into(),
    })
}

/// Arguments as the object that this dialect demands.
fn input(name: &str, arguments: &str) -> Result<Value, Unsupported> {
    if arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    match exact::read(arguments.as_bytes()) {
        Ok(Value::Object(object)) => Ok(object.into()),
        Ok(Value::Null) => Ok(json!({})),
        Ok(other) => Ok(json!({ "value": other })),
        Err(_) => Err(Unsupported::at(
            "messages",
            format!("the arguments of a call of the function {name} are not valid JSON"),
        )),
    }
}

/// Brings results where they belong: all of them, first, in the turn behind the calls. Calls without a result get
/// one that says so, results without a call become text.
fn answer_calls(turns: &mut Vec<WrittenTurn<'_>>) {
    let mut calls: Vec<String> = Vec::new();
    let mut place = 0;
    while place < turns.len() {
        if turns[place].assistant {
            let blocks = turns[place].blocks.iter();
            calls = blocks
                .filter(|block| block.is("tool_use"))
                .filter_map(|block| block.str("id").map(str::to_owned))
                .collect();
            if !calls.is_empty() && place + 1 == turns.len() {
                turns.push(WrittenTurn { assistant: false, blocks: Vec::new() });
            }
            place += 1;
            continue;
        }
        let mut results = Vec::new();
        let mut rest = Vec::new();
        for block in turns[place].blocks.drain(..) {
            let answered = block.str("tool_use_id").filter(|_| block.is("tool_result"));
            match answered.map(|id| calls.iter().position(|call| call == id)) {
                None => rest.push(block),
                Some(Some(call)) => {
                    calls.remove(call);
                    results.push(block);
                }
                Some(None) => rest.extend(orphan(block)),
            }
        }
        for call in calls.drain(..) {
            let missing = json!({
                "type": "tool_result",
                "tool_use_id": call,
                "content": "tool result missing",
                "is_error": true,
            });
            results.push(missing.into());
        }
        results.append(&mut rest);
        turns[place].blocks = results;
        place += 1;
    }
    turns.retain(|turn| !turn.blocks.is_empty());
}

/// A result that nothing asked for, as plain content.
fn orphan(result: Node<'_>) -> Vec<Node<'_>> {
    let words = match result.take("content") {
        Node::Text(words) => words,
        Node::Value(Value::String(words)) => words.into(),
        Node::List(blocks) => return blocks,
        _ => return Vec::new(),
    };
    if words.trim().is_empty() {
        return Vec::new();
    }
    let words = format!("Tool result: {words}");
    vec![Node::object([("type", "text".into()), ("text", words.into())])]
}

/// The beginning of an answer may not end in white space.
pub(super) fn trim_prefill(turns: &mut [WrittenTurn<'_>]) {
    let Some(last) = turns.last_mut().filter(|turn| turn.assistant) else { return };
    if let Some(block) = last.blocks.last_mut().filter(|block| block.is("text"))
        && let Some(Node::Text(words)) = block.field_mut("text")
    {
        let end = words.trim_end().len();
        match words {
            std::borrow::Cow::Borrowed(borrowed) => *words = borrowed[..end].into(),
            std::borrow::Cow::Owned(owned) => owned.truncate(end),
        }
    }
}
