//! Writes requests for Gemini upstreams.
//!
//! Source: <https://ai.google.dev/api/generate-content>.

use serde_json::json;

use crate::ir::{Content, Request, Role};
use crate::rope::Node;
use crate::{Aim, Correspondence, FetchedMedia, Unsupported, Written};

/// Writes a request. Model and method are in the path, and nothing of them is in the body.
///
/// # Errors
/// What this dialect cannot express.
pub(super) fn write(request: &Request, aim: &Aim<'_>, _media: &FetchedMedia) -> Result<Written, Unsupported> {
    let mut contents = Vec::new();
    for turn in &request.turns {
        let role = if turn.role == Role::Assistant { "model" } else { "user" };
        let mut parts = Vec::new();
        for block in &turn.blocks {
            let Content::Text(text) = &block.content else {
                return Err(Unsupported::at(
                    "messages",
                    "a content part of this type cannot be sent to this upstream",
                ));
            };
            parts.push(Node::object([("text", text.as_str().into())]));
        }
        contents.push(Node::object([("role", role.into()), ("parts", parts.into())]));
    }
    let mut body = Node::object([("contents", contents.into())]);
    if let Some(limit) = request.sampling.max_tokens {
        body.insert("generationConfig", json!({ "maxOutputTokens": limit }));
    }
    Ok(Written { body: body.into_body(aim.as_json), correspondence: Correspondence::default() })
}
