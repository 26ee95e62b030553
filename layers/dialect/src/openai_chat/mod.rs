//! OpenAI chat completions, and the many who imitate them.

mod probe;
mod read_request;
mod response;
mod stream;
mod wire;
mod write_request;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::fresh_text::Layout;
use crate::ir::{self, Citation, Error};
use crate::{
    Correspondence, DecodeEvents, EncodeEvents, Malformed, StreamStyle, Unsupported, UpstreamRequest,
    error_body,
};

pub(crate) use probe::{Probe, whole};

/// Where texts stand. `prompt` and `input` are what some upstreams take in place of messages.
pub(crate) const TEXTS: Layout =
    Layout { turns: "messages", answerer: "assistant", before: &[], beside: &["prompt", "input"] };

/// OpenAI chat as clients speak it.
#[derive(Debug)]
pub(crate) struct Inbound;

impl crate::Inbound for Inbound {
    fn request(&self, body: &[u8]) -> Result<ir::Request, Malformed> {
        read_request::read(body)
    }

    fn response(&self, answer: &ir::Response) -> Bytes {
        response::write(answer)
    }

    fn events(&self, style: &StreamStyle) -> Box<dyn EncodeEvents> {
        Box::new(stream::Encoder::new(style))
    }
}

/// OpenAI chat as upstreams speak it.
#[derive(Debug)]
pub(crate) struct Outbound;

impl crate::Outbound for Outbound {
    fn request(&self, request: &ir::Request) -> Result<UpstreamRequest, Unsupported> {
        write_request::write(request)
    }

    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, Error> {
        response::read(body, correspondence)
    }

    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        Box::new(stream::Decoder::new(correspondence.clone()))
    }

    fn error(&self, status: StatusCode, body: &[u8]) -> Error {
        error_body::normalise(status, body)
    }
}

/// The error behind `finish_reason: "error"` where nothing else names it.
fn failed_choice() -> Error {
    Error::new(StatusCode::BAD_GATEWAY, "upstream failed while it answered").with_code("upstream_error")
}

/// The identity of an answer with the prefix that clients of this dialect know.
fn answer_id(id: &str) -> String {
    if id.starts_with("chatcmpl-") { id.to_owned() } else { format!("chatcmpl-{id}") }
}

/// A picture within text: chat answers have no other place for it.
fn picture(url: &str) -> String {
    format!("![image]({url})")
}

/// A citation as an annotation that points behind the text so far; only addresses can be expressed.
fn annotation(citation: &Citation, at: usize) -> Option<Value> {
    let url = citation.url.as_deref()?;
    let title = citation.title.as_deref().unwrap_or(url);
    Some(json!({
        "type": "url_citation",
        "url_citation": { "start_index": at, "end_index": at, "url": url, "title": title },
    }))
}
