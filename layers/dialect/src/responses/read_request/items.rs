//! The items of `input` as turns. What the model said, thought and called in one go is one turn, however many items it
//! is; the instructions before the first of all others are those of the conversation.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::OwnOnly;
use crate::fields::{unknown_word, wrong};
use crate::ir::{Block, CacheHint, Content, Request, Role, Seal, Source, Turn};
use crate::openai_chat::read_request::part as chat_part;
use crate::responses::carried::Carried;
use crate::responses::manner::{ClientTool, flat_name};
use crate::responses::wire::BETWEEN;
use crate::{Dialect, Malformed, cache_marks, names};

/// The roles of messages.
const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];

/// A reader of items.
pub(super) struct Reader<'a> {
    request: &'a mut Request,
    /// For how long the request asks for all of its cache marks.
    cached_for: Option<String>,
    own_only: &'a mut OwnOnly,
    /// The tools of calls, by their identities.
    called: HashMap<String, String>,
    /// The seal of the call that comes next.
    seal: Option<Seal>,
    /// Calls that came without an identity.
    synthesised: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        request: &'a mut Request,
        cached_for: Option<String>,
        own_only: &'a mut OwnOnly,
    ) -> Self {
        Self { request, cached_for, own_only, called: HashMap::new(), seal: None, synthesised: 0 }
    }

    /// The whole input as the user's one text.
    pub(super) fn say(&mut self, text: String) {
        self.request.turns.push(Turn { role: Role::User, blocks: vec![Block::text(text)] });
    }

    /// Reads all items.
    ///
    /// # Errors
    /// An item that means nothing, by its place.
    pub(super) fn items(&mut self, items: Vec<Value>) -> Result<(), Malformed> {
        for (index, item) in items.into_iter().enumerate() {
            let at = format!("input[{index}]");
            match item {
                Value::Object(map) => self.item(map, &at)?,
                other => return Err(wrong(&at, "an object", &other)),
            }
        }
        Ok(())
    }

    fn item(&mut self, mut item: Map<String, Value>, at: &str) -> Result<(), Malformed> {
        let kind = match text(&item, "type") {
            Some(kind) => kind,
            None if item.contains_key("role") => "message".to_owned(),
            None => return Err(Malformed::at(format!("{at}.type"), "an item needs a type")),
        };
        match kind.as_str() {
            "message" => self.message(item, at),
            "reasoning" => {
                self.reasoning(&item);
                Ok(())
            }
            "function_call" => {
                let arguments = match item.shift_remove("arguments") {
                    Some(Value::String(text)) => text,
                    None | Some(Value::Null) => String::new(),
                    Some(other) => other.to_string(),
                };
                self.call(&item, arguments, at)
            }
            "custom_tool_call" => {
                let input = taken(&mut item, "input").unwrap_or_default();
                self.call(&item, json!({ ClientTool::INPUT: input }).to_string(), at)
            }
            "function_call_output" | "custom_tool_call_output" => self.result(item, at),
            "image_generation_call" => {
                if let Some(data) = taken(&mut item, "result").filter(|data| !data.is_empty()) {
                    let mime = format!("image/{}", text(&item, "output_format").as_deref().unwrap_or("png"));
                    let source = crate::media::source(data, &mime)
                        .map_err(|what| Malformed::at(format!("{at}.result"), what))?;
                    self.answer(Block::new(Content::Image { source, detail: None }));
                }
                Ok(())
            }
            // What providers did by themselves is told again for those who know it.
            "web_search_call"
            | "file_search_call"
            | "code_interpreter_call"
            | "mcp_call"
            | "mcp_list_tools" => {
                let json = Value::Object(item);
                self.answer(Block::new(Content::Opaque { dialect: Dialect::Responses, json }));
                Ok(())
            }
            "item_reference" => self.only_own("an item that an upstream keeps"),
            _ => self.only_own("an item of this type"),
        }
    }

    fn only_own(&mut self, what: &'static str) -> Result<(), Malformed> {
        self.own_only.get_or_insert(("input", what));
        Ok(())
    }

    /// A block of the model's turn.
    fn answer(&mut self, block: Block) {
        match self.request.turns.last_mut() {
            Some(Turn { role: Role::Assistant, blocks }) => blocks.push(block),
            _ => self.request.turns.push(Turn { role: Role::Assistant, blocks: vec![block] }),
        }
    }

    fn message(&mut self, mut item: Map<String, Value>, at: &str) -> Result<(), Malformed> {
        let hint = cache_marks::on(&item, self.cached_for.as_deref());
        let content = item.shift_remove("content");
        let mut blocks = self.parts(content, at, "content")?;
        mark(&mut blocks, hint);
        match text(&item, "role").as_deref() {
            Some("user") => self.request.turns.push(Turn { role: Role::User, blocks }),
            Some("assistant") => blocks.into_iter().for_each(|block| self.answer(block)),
            Some("system" | "developer") if self.request.turns.is_empty() => {
                self.request.leading += 1;
                self.request.system.append(&mut blocks);
            }
            Some("system" | "developer") => self.request.turns.push(Turn { role: Role::System, blocks }),
            _ => {
                let found = item.get("role").cloned().unwrap_or_default();
                return Err(unknown_word(&format!("{at}.role"), &ROLES, &found));
            }
        }
        Ok(())
    }

    fn parts(&self, content: Option<Value>, at: &str, name: &str) -> Result<Vec<Block>, Malformed> {
        match content {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![Block::text(text)]),
            Some(Value::Array(parts)) => parts.into_iter().map(|part| self.part(part, at)).collect(),
            Some(other) => Err(wrong(&format!("{at}.{name}"), "a string or an array of parts", &other)),
        }
    }

    /// A part: as in chat, but for pictures that stand at the provider.
    fn part(&self, part: Value, at: &str) -> Result<Block, Malformed> {
        let cached_for = self.cached_for.as_deref();
        if let Value::Object(map) = &part
            && text(map, "type").as_deref() == Some("input_image")
            && map.get("image_url").is_none_or(Value::is_null)
            && let Some(id) = text(map, "file_id")
        {
            let content = Content::Image { source: Source::Reference(id), detail: text(map, "detail") };
            return Ok(Block { cache: cache_marks::on(map, cached_for), ..Block::new(content) });
        }
        let mut block = chat_part(part, cached_for, at)?;
        if let Content::Opaque { dialect, .. } = &mut block.content {
            *dialect = Dialect::Responses;
        }
        Ok(block)
    }

    fn reasoning(&mut self, item: &Map<String, Value>) {
        let said = ["summary", "content"].into_iter().filter_map(|name| item.get(name)?.as_array()).flatten();
        let words: Vec<&str> = said.filter_map(|part| part.get("text")?.as_str()).collect();
        let words = words.join(BETWEEN);
        let thought = |seal| Block { seal, ..Block::new(Content::Thinking { text: words.clone() }) };
        match text(item, "encrypted_content").as_deref().and_then(Carried::read) {
            Some(Carried::Thought(seal)) => self.answer(thought(Some(seal))),
            Some(Carried::Redacted(data)) => self.answer(Block::new(Content::RedactedThinking { data })),
            Some(Carried::Call(seal)) => self.seal = Some(seal),
            Some(Carried::Text(seal)) => {
                if let Some(Turn { role: Role::Assistant, blocks }) = self.request.turns.last_mut()
                    && let Some(last) = blocks.last_mut()
                    && matches!(last.content, Content::Text(_))
                {
                    last.seal = Some(seal);
                }
            }
            None if !words.is_empty() => self.answer(thought(None)),
            None => {}
        }
    }

    fn call(&mut self, item: &Map<String, Value>, arguments: String, at: &str) -> Result<(), Malformed> {
        let name = text(item, "name").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Malformed::at(format!("{at}.name"), "a call needs a name"))?;
        let name = flat_name(text(item, "namespace").as_deref(), &name);
        let id = text(item, "call_id").or_else(|| text(item, "id")).filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| {
            self.synthesised += 1;
            names::call_id(&name, self.synthesised - 1)
        });
        self.called.insert(id.clone(), name.clone());
        let seal = self.seal.take();
        self.answer(Block { seal, ..Block::new(Content::ToolCall { id, name, arguments }) });
        Ok(())
    }

    fn result(&mut self, mut item: Map<String, Value>, at: &str) -> Result<(), Malformed> {
        let hint = cache_marks::on(&item, self.cached_for.as_deref());
        let output = item.shift_remove("output");
        let blocks = match output {
            // Some clients write the value itself.
            Some(Value::Object(map)) => vec![Block::text(Value::Object(map).to_string())],
            output => self.parts(output, at, "output")?,
        };
        let call_id = text(&item, "call_id").unwrap_or_default();
        let name = self.called.get(&call_id).cloned();
        let is_error = text(&item, "status").as_deref() == Some("failed");
        let mut result = vec![Block::new(Content::ToolResult { call_id, name, blocks, is_error })];
        mark(&mut result, hint);
        self.request.turns.push(Turn { role: Role::Tool, blocks: result });
        Ok(())
    }
}

/// A mark on all of it means its end.
fn mark(blocks: &mut Vec<Block>, hint: Option<CacheHint>) {
    match (blocks.last_mut(), hint) {
        (Some(last), Some(hint)) => last.cache = Some(hint),
        (None, Some(hint)) => blocks.push(Block { cache: Some(hint), ..Block::text("") }),
        (_, None) => {}
    }
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// A text, taken out of the object.
fn taken(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.get_mut(key)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}
