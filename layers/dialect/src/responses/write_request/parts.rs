//! Parts of messages and of results in this dialect's shapes.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/create> (`input`).

use crate::ir::{Block, Content, Source};
use crate::responses::model::Model;
use crate::rope::Node;
use crate::{Aim, Dialect, FetchedMedia};

/// A writer of parts.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) aim: &'a Aim<'a>,
    pub(super) media: &'a FetchedMedia,
    pub(super) model: &'a Model,
}

impl<'a> Parts<'a> {
    /// A part of what the model is given; none where it is left out.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub(super) fn given(&self, block: &'a Block) -> Result<Option<Node<'a>>, &'static str> {
        Ok(Some(match &block.content {
            Content::Text(words) | Content::Refusal(words) if words.is_empty() => return Ok(None),
            Content::Text(words) | Content::Refusal(words) => text(words),
            Content::Image { .. } if !self.aim.image => return Ok(None),
            Content::Image { source, detail } => self.image(source, detail.as_deref())?,
            Content::Audio { source } => self.sound(source)?,
            Content::Document { source, title } => self.document(source, title.as_deref())?,
            Content::Opaque { dialect: Dialect::Responses, json } => json.clone().into(),
            Content::Opaque { .. } => {
                return Err("a content part of this type cannot be sent to this upstream");
            }
            // Calls, results and reasoning are items of their own.
            Content::ToolCall { .. }
            | Content::ToolResult { .. }
            | Content::Thinking { .. }
            | Content::RedactedThinking { .. } => return Ok(None),
        }))
    }

    fn image(&self, source: &'a Source, detail: Option<&'a str>) -> Result<Node<'a>, &'static str> {
        let mut image = Node::object([("type", "input_image".into())]);
        match self.fetched(source)? {
            Source::Base64 { mime, data } => {
                let before = format!("data:{mime};base64,");
                image.insert("image_url", Node::Media { before, data: data.clone() });
            }
            Source::Url(url) => image.insert("image_url", url.as_str()),
            Source::Reference(id) => image.insert("file_id", id.as_str()),
            Source::Text(_) => return Err("a picture cannot be text"),
        }
        image.insert("detail", detail.unwrap_or("auto"));
        Ok(image)
    }

    fn sound(&self, source: &'a Source) -> Result<Node<'a>, &'static str> {
        if !self.model.hears {
            return Err("sound cannot be sent to this model by way of responses");
        }
        let Source::Base64 { mime, data } = self.fetched(source)? else {
            return Err("sound at an address cannot be sent to this upstream");
        };
        let format = match mime.rsplit('/').next().unwrap_or_default() {
            "mpeg" => "mp3",
            "x-wav" | "wave" => "wav",
            other => other,
        };
        let data = Node::Media { before: String::new(), data: data.clone() };
        let sound = Node::object([("data", data), ("format", format.into())]);
        Ok(Node::object([("type", "input_audio".into()), ("input_audio", sound)]))
    }

    fn document(&self, source: &'a Source, title: Option<&'a str>) -> Result<Node<'a>, &'static str> {
        let mut file = Node::object([("type", "input_file".into())]);
        match self.fetched(source)? {
            Source::Base64 { mime, data } => {
                let named = title.map_or_else(|| format!("document.{}", ending(mime)), str::to_owned);
                file.insert("filename", named);
                let before = format!("data:{mime};base64,");
                file.insert("file_data", Node::Media { before, data: data.clone() });
            }
            // A name is refused beside an address or an identity.
            Source::Url(url) => file.insert("file_url", url.as_str()),
            Source::Reference(id) => file.insert("file_id", id.as_str()),
            Source::Text(words) => return Ok(text(words)),
        }
        Ok(file)
    }

    /// A medium, or what was fetched in its place.
    fn fetched(&self, source: &'a Source) -> Result<&'a Source, &'static str> {
        let Source::Url(url) = source else { return Ok(source) };
        let followed = ["http://", "https://"];
        match self.media.get(url) {
            Some(fetched) => Ok(fetched),
            None if self.aim.envelope.fetches_media => Err("this upstream does not follow addresses"),
            None if followed.iter().any(|scheme| url.starts_with(scheme)) => Ok(source),
            None => Err("a medium at an address of this kind cannot be sent to this upstream"),
        }
    }
}

/// The ending of a file's name, by which the provider knows what is in it.
fn ending(mime: &str) -> &str {
    match mime {
        "text/plain" => "txt",
        "text/markdown" => "md",
        mime => mime.rsplit('/').next().filter(|kind| !kind.is_empty()).unwrap_or("pdf"),
    }
}

/// A text that the model is given.
pub(super) fn text(words: &str) -> Node<'_> {
    Node::object([("type", "input_text".into()), ("text", words.into())])
}

/// Marks a part as one behind which a cache may end.
pub(super) fn mark(part: &mut Node<'_>) {
    const MARK: &str = "prompt_cache_breakpoint";
    if !part.has(MARK) {
        part.insert(MARK, serde_json::json!({ "mode": "explicit" }));
    }
}

/// Whether a part may be marked: those of the model's own words may not.
pub(super) fn takes_mark(part: &Node<'_>) -> bool {
    ["input_text", "input_image", "input_file"].iter().any(|kind| part.is(kind))
}
