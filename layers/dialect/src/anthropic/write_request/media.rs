//! Pictures and documents in this dialect's shapes.
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/vision> and `…/pdf-support`.

use serde_json::json;

use crate::ir::Source;
use crate::rope::Node;

fn inline<'a>(mime: &'a str, data: &bytes::Bytes) -> Node<'a> {
    Node::object([
        ("type", "base64".into()),
        ("media_type", mime.into()),
        ("data", Node::Media { before: String::new(), data: data.clone() }),
    ])
}

/// `source` of a picture; what is wrong with it otherwise.
pub(super) fn image(source: &Source) -> Result<Node<'_>, &'static str> {
    Ok(match source {
        Source::Base64 { mime, data } => match mime.as_str() {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => inline(mime, data),
            _ => return Err("a picture of this type cannot be sent to this upstream"),
        },
        Source::Url(url) if url.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("https://")) => {
            json!({ "type": "url", "url": url }).into()
        }
        Source::Url(_) => return Err("pictures must be at https addresses for this upstream"),
        Source::Reference(id) => json!({ "type": "file", "file_id": id }).into(),
        Source::Text(_) => return Err("a picture cannot be text"),
    })
}

/// `source` of a document; what is wrong with it otherwise.
pub(super) fn document(source: &Source) -> Result<Node<'_>, &'static str> {
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
            return Err("a file of this type cannot be sent to this upstream");
        }
        Source::Text(text) => plain(text.clone().into()),
        Source::Url(url) => json!({ "type": "url", "url": url }).into(),
        Source::Reference(id) => json!({ "type": "file", "file_id": id }).into(),
    })
}
