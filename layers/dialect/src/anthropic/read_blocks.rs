//! Reads the blocks of Anthropic clients' turns.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>. What only Anthropic's own servers made, such as the results of a
//! search that they ran, is worded: no other model knows it in another form.

use serde_json::{Map, Value};

use super::carried::{self, Carried, Place};
use super::read_request::at;
use crate::ir::{Block, Content, Seal, Source};
use crate::{Malformed, cache_marks, exact, media};

/// Most blocks within blocks that are read: results hold media and texts, and those hold nothing.
const DEEPEST: usize = 3;

/// A reader of the blocks of one turn, or of what a block holds.
pub(super) struct Reader<'a> {
    /// Their place, as refusals have it.
    place: &'a str,
    depth: usize,
    /// The seal of the block that comes next.
    next: Option<Seal>,
    blocks: Vec<Block>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(place: &'a str) -> Self {
        Self { place, depth: 0, next: None, blocks: Vec::new() }
    }

    /// Reads them.
    ///
    /// # Errors
    /// What means nothing.
    pub(super) fn read(mut self, blocks: Vec<Value>) -> Result<Vec<Block>, Malformed> {
        self.blocks.reserve(blocks.len());
        for (index, block) in blocks.into_iter().enumerate() {
            let place = format!("{}.{index}", self.place);
            match block {
                Value::Object(block) => self.block(block, &place)?,
                Value::String(words) => self.blocks.push(Block::text(words)),
                _ => return Err(at(&place, "Input should be an object")),
            }
        }
        Ok(self.blocks)
    }

    fn block(&mut self, mut block: Map<String, Value>, place: &str) -> Result<(), Malformed> {
        let required = |field: &str| at(&format!("{place}.{field}"), "Field required");
        let kind = text(&block, "type").ok_or_else(|| required("type"))?;
        let cache = cache_marks::on(&block, None);
        let mut seal = None;
        let content = match kind.as_str() {
            "text" => Content::Text(taken(&mut block, "text").ok_or_else(|| required("text.text"))?),
            "image" => Content::Image { source: self.source(&mut block, "image/png", place)?, detail: None },
            "document" => {
                let title = text(&block, "title");
                if let Some(context) = text(&block, "context").filter(|context| !context.is_empty()) {
                    self.blocks.push(Block::text(format!("<context>\n{context}\n</context>")));
                }
                Content::Document { source: self.source(&mut block, "application/pdf", place)?, title }
            }
            "search_result" => Content::Text(search_result(&block)),
            "thinking" => {
                let words = taken(&mut block, "thinking").unwrap_or_default();
                match carried::read(taken(&mut block, "signature").unwrap_or_default()) {
                    Carried::Native(data) => {
                        seal = Some(Seal { maker: crate::ir::Maker::Anthropic, data });
                    }
                    Carried::Seal(_, carried) => seal = Some(carried),
                    Carried::Nothing if words.is_empty() => return Ok(()),
                    Carried::Nothing => {}
                }
                Content::Thinking { text: words }
            }
            "redacted_thinking" => match carried::read(taken(&mut block, "data").unwrap_or_default()) {
                Carried::Native(data) => Content::RedactedThinking { data },
                Carried::Seal(Place::Own, carried) => {
                    seal = Some(carried);
                    Content::Thinking { text: String::new() }
                }
                Carried::Seal(Place::Next, carried) => {
                    self.next = Some(carried);
                    return Ok(());
                }
                Carried::Seal(Place::Last, carried) => {
                    if let Some(last @ Block { content: Content::Text(_), .. }) = self.blocks.last_mut() {
                        last.seal = Some(carried);
                    }
                    return Ok(());
                }
                Carried::Nothing => return Ok(()),
            },
            "tool_use" => Content::ToolCall {
                id: taken(&mut block, "id").ok_or_else(|| required("tool_use.id"))?,
                name: text(&block, "name")
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| required("tool_use.name"))?,
                arguments: arguments(block.shift_remove("input")),
            },
            "tool_result" => {
                let call_id = taken(&mut block, "tool_use_id");
                let call_id = call_id.ok_or_else(|| required("tool_result.tool_use_id"))?;
                let is_error = block.get("is_error") == Some(&Value::Bool(true));
                let blocks = self.within(block.shift_remove("content"), &format!("{place}.content"))?;
                Content::ToolResult { call_id, name: None, blocks, is_error }
            }
            _ => Content::Text(worded(&kind, &block)),
        };
        if matches!(content, Content::ToolCall { .. }) {
            seal = self.next.take().or(seal);
        }
        self.blocks.push(Block { content, cache, seal });
        Ok(())
    }

    /// What a block holds.
    fn within(&self, content: Option<Value>, place: &str) -> Result<Vec<Block>, Malformed> {
        match content {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(words)) => Ok(vec![Block::text(words)]),
            Some(Value::Array(_)) if self.depth == DEEPEST => Err(at(place, "Input is nested too deeply")),
            Some(Value::Array(blocks)) => Reader { depth: self.depth + 1, ..Reader::new(place) }.read(blocks),
            Some(_) => Err(at(place, "Input should be a valid string or list")),
        }
    }

    /// The bytes of a medium.
    fn source(
        &mut self,
        block: &mut Map<String, Value>,
        assumed: &str,
        place: &str,
    ) -> Result<Source, Malformed> {
        let place = format!("{place}.source");
        let wrong = |what: &str| at(&place, what);
        let Some(Value::Object(mut source)) = block.shift_remove("source") else {
            return Err(wrong("Field required"));
        };
        let mime = text(&source, "media_type");
        match text(&source, "type").unwrap_or_default().as_str() {
            "base64" => {
                let data = taken(&mut source, "data").ok_or_else(|| wrong("data: Field required"))?;
                media::source(data, mime.as_deref().unwrap_or(assumed)).map_err(wrong)
            }
            "url" => {
                let url = taken(&mut source, "url").ok_or_else(|| wrong("url: Field required"))?;
                media::source(url, assumed).map_err(wrong)
            }
            "text" => {
                let data = taken(&mut source, "data").ok_or_else(|| wrong("data: Field required"))?;
                Ok(Source::Text(data))
            }
            "file" => {
                let id = taken(&mut source, "file_id");
                id.map(Source::Reference).ok_or_else(|| wrong("file_id: Field required"))
            }
            "content" => {
                // Pictures among its words stand before it.
                let blocks = self.within(source.shift_remove("content"), &format!("{place}.content"))?;
                let mut words = Vec::new();
                for block in blocks {
                    match block.content {
                        Content::Text(text) => words.push(text),
                        _ => self.blocks.push(block),
                    }
                }
                Ok(Source::Text(words.join("\n")))
            }
            _ => Err(wrong("type: Input should be 'base64', 'url', 'text', 'content' or 'file'")),
        }
    }
}

/// A call's arguments as JSON text, with the digits that came.
fn arguments(input: Option<Value>) -> String {
    match input {
        None | Some(Value::Null) => "{}".to_owned(),
        // Some clients send them back as the text that they collected.
        Some(Value::String(text)) => text,
        Some(input) => {
            let mut text = Vec::with_capacity(64);
            exact::write(&mut text, &input)
                .expect("a JSON value can be written, and a buffer takes everything");
            String::from_utf8(text).unwrap_or_default()
        }
    }
}

/// A result of a search that the client made.
fn search_result(block: &Map<String, Value>) -> String {
    let attribute = |name: &str| {
        let value = text(block, name).filter(|value| !value.is_empty());
        value.map(|value| format!(" {name}={}", Value::from(value))).unwrap_or_default()
    };
    let mut words = Vec::new();
    collect(block.get("content").unwrap_or(&Value::Null), &mut words);
    let (source, title) = (attribute("source"), attribute("title"));
    format!("<search_result{source}{title}>\n{}\n</search_result>", words.join("\n"))
}

/// A block of Anthropic's own servers, or one that is not known: its kind, and the words in it.
fn worded(kind: &str, block: &Map<String, Value>) -> String {
    let name = text(block, "name").map(|name| format!(" name={}", Value::from(name))).unwrap_or_default();
    let mut words = Vec::new();
    if let Some(input) = block.get("input") {
        words.push(input.to_string());
    }
    for field in ["content", "error_code", "file_id", "text", "summary"] {
        collect(block.get(field).unwrap_or(&Value::Null), &mut words);
    }
    format!("<{kind}{name}>\n{}\n</{kind}>", words.join("\n"))
}

/// The words of a value, in order: titles, addresses and texts, but nothing that only machines read.
fn collect(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => words.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|one| collect(one, words)),
        Value::Object(map) => {
            for (name, value) in map {
                if matches!(
                    name.as_str(),
                    "title"
                        | "url"
                        | "source"
                        | "text"
                        | "content"
                        | "stdout"
                        | "stderr"
                        | "error_code"
                        | "page_age"
                        | "tool_name"
                        | "data"
                ) {
                    collect(value, words);
                }
            }
        }
        _ => {}
    }
}

/// A text of an object.
pub(super) fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// A text, taken out of the object: it may be long.
fn taken(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.get_mut(key)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}
