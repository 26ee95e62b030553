//! The conversation in this dialect's grammar.
//!
//! Source: <https://ai.google.dev/api/caching#Content>. Turns alternate and begin with the user; behind a turn with calls
//! stands one with exactly as many results, in the same order, while other dialects allow nearly anything.

use serde_json::{Map, Value, json};

use super::media::{Medium, part};
use super::pictures::{Piece, pieces};
use super::seals::{self, NO_SEAL};
use super::tools::Tools;
use crate::aim::Google;
use crate::gemini::model::Model;
use crate::ir::{Block, Content, Maker, Request, Role, Source};
use crate::names::{CallIds, Names};
use crate::rope::Node;
use crate::worded::{CONTINUE, instruction};
use crate::{Aim, Dialect, FetchedMedia, Unsupported, exact, media};

/// Longest identity of a call.
const LONGEST_ID: usize = 64;

/// A turn: the user's or the model's.
#[derive(Debug)]
pub(super) struct WrittenTurn<'a> {
    model: bool,
    parts: Vec<Node<'a>>,
    /// The calls of the model, each with what came of it.
    calls: Vec<Call<'a>>,
}

/// A call, and what came of it.
#[derive(Debug)]
struct Call<'a> {
    id: String,
    name: String,
    result: Option<Node<'a>>,
}

/// A writer of conversations.
pub(super) struct Writer<'a> {
    request: &'a Request,
    aim: &'a Aim<'a>,
    media: &'a FetchedMedia,
    model: Model,
    pub(super) names: Names,
    pub(super) tools: Tools<'a>,
    pub(super) system: Vec<Node<'a>>,
    ids: CallIds<'a>,
    turns: Vec<WrittenTurn<'a>>,
    /// The user had the word since the model's last turn.
    answered: bool,
    /// The client's message that is being written.
    message: usize,
}

impl<'a> Writer<'a> {
    /// A writer that knows the tools.
    pub(super) fn new(
        request: &'a Request,
        aim: &'a Aim<'a>,
        media: &'a FetchedMedia,
        model: Model,
        names: Names,
        tools: Tools<'a>,
    ) -> Self {
        Self {
            request,
            aim,
            media,
            model,
            names,
            tools,
            system: Vec::new(),
            ids: CallIds::new(LONGEST_ID),
            turns: Vec::new(),
            answered: false,
            message: 0,
        }
    }

    /// The turns; the instructions before them go to `system`.
    ///
    /// # Errors
    /// Media and blocks that this upstream cannot take.
    pub(super) fn contents(&mut self) -> Result<Vec<Node<'a>>, Unsupported> {
        let request = self.request;
        for block in &request.system {
            match &block.content {
                Content::Text(words) if words.trim().is_empty() => {}
                Content::Text(words) => self.system.push(text(words)),
                _ => return Err(self.unsupported("instructions must be text for this upstream")),
            }
        }
        for (index, turn) in request.turns.iter().enumerate() {
            self.message = request.leading + index;
            match turn.role {
                Role::Assistant => self.answer(&turn.blocks)?,
                role => self.question(&turn.blocks, role)?,
            }
        }
        let turns = std::mem::take(&mut self.turns);
        let mut contents = Vec::new();
        if turns.first().is_some_and(|turn| turn.model) {
            contents.push(content("user", vec![text(CONTINUE)]));
        }
        for turn in turns {
            let WrittenTurn { model, parts, calls } = turn;
            if !parts.is_empty() {
                contents.push(content(if model { "model" } else { "user" }, parts));
            }
            if !calls.is_empty() {
                let ids = self.takes_ids();
                let results = calls.into_iter().map(|call| call.response(ids)).collect();
                contents.push(content("user", results));
            }
        }
        Ok(contents)
    }

    /// Whether calls and their results may carry identities: Vertex AI refuses them.
    fn takes_ids(&self) -> bool {
        self.aim.envelope.google == Google::AiStudio
    }

    /// The turn of this side, at its end. Behind results of calls, which stand with the calls, the model's next turn is
    /// another.
    fn turn(&mut self, model: bool) -> &mut WrittenTurn<'a> {
        let answered = model && std::mem::take(&mut self.answered);
        let merges = |turn: &WrittenTurn<'_>| turn.model == model && (turn.calls.is_empty() || !answered);
        if !self.turns.last().is_some_and(merges) {
            self.turns.push(WrittenTurn { model, parts: Vec::new(), calls: Vec::new() });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    /// The model's own turn.
    fn answer(&mut self, blocks: &'a [Block]) -> Result<(), Unsupported> {
        let mut parts = Vec::new();
        for block in blocks {
            match &block.content {
                Content::Text(words) | Content::Refusal(words) => self.said(words, block, &mut parts),
                Content::ToolCall { id, name, arguments } => {
                    let part = self.call(block, id, name, arguments);
                    parts.push(part);
                }
                // Thoughts go back sealed, or not at all.
                Content::Thinking { text } => {
                    if let Some(seal) = block.seal_for(Maker::Google) {
                        let mut part = super::turns::text(text);
                        if !text.is_empty() {
                            part.insert("thought", true);
                        }
                        part.insert("thoughtSignature", seal);
                        parts.push(part);
                    }
                }
                Content::Image { source, .. } if self.aim.image => {
                    if let Ok(mut part) =
                        self.fetched(source).and_then(|source| self.part(source, Medium::Picture))
                    {
                        self.seal_picture(block, &mut part);
                        parts.push(part);
                    }
                }
                Content::Opaque { dialect: Dialect::Gemini, json } => parts.push(json.clone().into()),
                // Words of the provider's own tools, of other makers, and sound that was spoken.
                Content::Image { .. }
                | Content::Audio { .. }
                | Content::RedactedThinking { .. }
                | Content::Opaque { .. } => {}
                Content::Document { .. } | Content::ToolResult { .. } => {
                    return Err(self.unsupported("a part of this type cannot be the model's own"));
                }
            }
        }
        if !parts.is_empty() {
            self.turn(true).parts.append(&mut parts);
        }
        Ok(())
    }

    /// The model's own text. Pictures within it, which chat answers have no other place for, become pictures again.
    fn said(&self, words: &'a str, block: &'a Block, parts: &mut Vec<Node<'a>>) {
        for piece in pieces(words) {
            match piece {
                Piece::Text(words) if words.trim().is_empty() => {}
                Piece::Text(words) => parts.push(text(words)),
                Piece::Picture(_) if !self.aim.image => {}
                Piece::Picture(Source::Base64 { mime, data }) => {
                    let data = Node::Media { before: String::new(), data };
                    let blob = Node::object([("mimeType", mime.into()), ("data", data)]);
                    let mut part = Node::object([("inlineData", blob)]);
                    self.seal_picture(block, &mut part);
                    parts.push(part);
                }
                Piece::Picture(_) => {}
            }
        }
        if let (Some(seal), Some(last)) = (block.seal_for(Maker::Google), parts.last_mut())
            && last.has("text")
        {
            last.insert("thoughtSignature", seal);
        }
    }

    fn seal_picture(&self, block: &'a Block, part: &mut Node<'a>) {
        match block.seal_for(Maker::Google) {
            Some(seal) => part.insert("thoughtSignature", seal),
            None if self.model.is_third => part.insert("thoughtSignature", NO_SEAL),
            None => {}
        }
    }

    fn call(&mut self, block: &'a Block, id: &'a str, name: &'a str, arguments: &'a str) -> Node<'a> {
        let args = self.arguments(name, arguments);
        let name = self.names.fitting(name);
        let seal = seals::of_call(block, id);
        self.turn(true);
        let (place, message) = (self.turns.len() - 1, self.message);
        let id = self.ids.call(id, place, message);
        let mut call = Node::object([("name", name.clone().into()), ("args", args.into())]);
        if self.takes_ids() {
            call.insert("id", id.clone());
        }
        let mut part = Node::object([("functionCall", call)]);
        let first = self.turns[place].calls.is_empty();
        match seal {
            Some(seal) if self.model.calls => part.insert("thoughtSignature", seal),
            None if first && self.model.is_third => part.insert("thoughtSignature", NO_SEAL),
            _ => {}
        }
        self.turns[place].calls.push(Call { id, name, result: None });
        part
    }

    /// Arguments as the object that this dialect demands, under the names that the upstream knows.
    fn arguments(&self, name: &str, arguments: &str) -> Value {
        if arguments.trim().is_empty() {
            return json!({});
        }
        let renamed = self.tools.there.get(name).map(|keys| keys.renamed(arguments));
        match exact::read(renamed.as_deref().unwrap_or(arguments).as_bytes()) {
            Ok(Value::Object(object)) => object.into(),
            Ok(Value::Null) => json!({}),
            Ok(other) => json!({ "value": other }),
            // What a model wrote wrongly is what it wrote.
            Err(_) => json!({ "arguments": arguments }),
        }
    }

    /// The user's turn, instructions in its middle, and results of calls.
    fn question(&mut self, blocks: &'a [Block], role: Role) -> Result<(), Unsupported> {
        self.answered = true;
        let (mut files, mut parts) = (Vec::new(), Vec::new());
        for block in blocks {
            match &block.content {
                Content::Text(words) if role == Role::System => {
                    if !words.trim().is_empty() {
                        parts.push(Node::object([("text", instruction(words).into())]));
                    }
                }
                Content::ToolResult { call_id, name, blocks, is_error } => {
                    self.result(call_id, name.as_deref(), blocks, *is_error, &mut parts)?;
                }
                _ => {
                    for part in self.plain(block)? {
                        // Files stand before the words about them.
                        if part.has("fileData") { files.push(part) } else { parts.push(part) }
                    }
                }
            }
        }
        files.append(&mut parts);
        if !files.is_empty() {
            // Media alone are no question.
            if files.iter().all(|part| !part.has("text")) {
                files.push(text(" "));
            }
            self.turn(false).parts.append(&mut files);
        }
        Ok(())
    }

    /// The parts of a block by itself; none where it is left out.
    fn plain(&self, block: &'a Block) -> Result<Vec<Node<'a>>, Unsupported> {
        let one = |source: &'a Source, medium| {
            self.fetched(source).and_then(|source| self.part(source, medium)).map(|part| vec![part])
        };
        match &block.content {
            // Empty text is refused.
            Content::Text(words) | Content::Refusal(words) if words.is_empty() => Ok(Vec::new()),
            Content::Text(words) | Content::Refusal(words) => Ok(vec![text(words)]),
            Content::Image { .. } if !self.aim.image => Ok(Vec::new()),
            Content::Image { source, .. } => one(source, Medium::Picture),
            Content::Audio { source } => one(source, Medium::Sound),
            Content::Document { source, title } => {
                let mut parts = one(source, Medium::Document)?;
                if let Some(title) = title.as_deref().filter(|title| !title.trim().is_empty()) {
                    parts.insert(0, Node::object([("text", format!("File: {title}").into())]));
                }
                Ok(parts)
            }
            Content::Opaque { dialect: Dialect::Gemini, json } => Ok(vec![json.clone().into()]),
            Content::Opaque { dialect: Dialect::OpenAiChat, json } if json["type"] == "video_url" => {
                self.video(&json["video_url"]).map(|part| vec![part])
            }
            _ => Err(self.unsupported("a content part of this type cannot be sent to this upstream")),
        }
    }

    /// A video, as OpenAI's imitators name it. Addresses of videos are followed by the provider itself.
    fn video(&self, video: &'a Value) -> Result<Node<'a>, Unsupported> {
        let url = video.get("url").unwrap_or(video).as_str();
        let url = url.ok_or_else(|| self.unsupported("video_url needs a url"))?;
        let source = media::source(url.to_owned(), "video/mp4").map_err(|what| self.unsupported(what))?;
        let part = self.part(&source, Medium::Video)?;
        Ok(part.into_value().into())
    }

    /// A result goes to the call that it answers; what answers nothing is text.
    fn result(
        &mut self,
        call_id: &str,
        name: Option<&str>,
        blocks: &'a [Block],
        is_error: bool,
        parts: &mut Vec<Node<'a>>,
    ) -> Result<(), Unsupported> {
        let mut words = String::new();
        let mut others = Vec::new();
        for part in blocks.iter().map(|block| self.plain(block)) {
            for part in part? {
                match part.str("text") {
                    Some(text) => {
                        if !words.is_empty() {
                            words.push('\n');
                        }
                        words.push_str(text);
                    }
                    None => others.push(part),
                }
            }
        }
        let place = self.turns.iter().rposition(|turn| turn.model);
        let call = place.and_then(|place| Some((place, self.ids.result(call_id, place)?)));
        let Some((place, id)) = call else {
            let of = name.map(|name| format!(" of {name}")).unwrap_or_default();
            parts.push(Node::object([("text", format!("Tool result{of}: {words}").into())]));
            parts.append(&mut others);
            return Ok(());
        };
        let response = match exact::read::<Map<String, Value>>(words.as_bytes()) {
            Ok(map) if !is_error => map,
            _ => {
                let key = if is_error { "error" } else { "result" };
                [(key.to_owned(), Value::from(words))].into_iter().collect()
            }
        };
        let inline = self.model.is_third;
        let Some(call) = self.turns[place].calls.iter_mut().find(|call| call.id == id) else { return Ok(()) };
        let mut result =
            Node::object([("name", call.name.clone().into()), ("response", Node::from(response))]);
        if inline && !others.is_empty() {
            result.insert("parts", std::mem::take(&mut others));
        }
        call.result = Some(result);
        // Older models see media of results behind them.
        parts.append(&mut others);
        Ok(())
    }

    fn part<'s>(&self, source: &'s Source, medium: Medium) -> Result<Node<'s>, Unsupported> {
        part(source, medium).map_err(|what| self.unsupported(what))
    }

    fn unsupported(&self, what: &str) -> Unsupported {
        Unsupported::at(format!("messages[{}].content", self.message), what)
    }

    /// A medium, or what was fetched in its place.
    fn fetched(&self, source: &'a Source) -> Result<&'a Source, Unsupported> {
        match source {
            Source::Url(url) if !media::is_for_provider(url) => match self.media.get(url) {
                Some(fetched) => Ok(fetched),
                None if self.aim.envelope.fetches_media => {
                    Err(self.unsupported("this upstream does not follow addresses"))
                }
                None => Ok(source),
            },
            _ => Ok(source),
        }
    }
}

impl<'a> Call<'a> {
    /// What came of it; that nothing came, where nothing did.
    fn response(self, ids: bool) -> Node<'a> {
        let mut response = self.result.unwrap_or_else(|| {
            let missing = json!({ "error": "tool result missing" });
            Node::object([("name", self.name.into()), ("response", missing.into())])
        });
        if ids {
            response.insert("id", self.id);
        }
        Node::object([("functionResponse", response)])
    }
}

/// A part of text.
pub(super) fn text(words: &str) -> Node<'_> {
    Node::object([("text", words.into())])
}

pub(super) fn content<'a>(role: &'static str, parts: Vec<Node<'a>>) -> Node<'a> {
    Node::object([("role", role.into()), ("parts", parts.into())])
}
