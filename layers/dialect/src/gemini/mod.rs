//! Gemini, at Google AI Studio and on Vertex AI.

mod calls;
mod grounding;
mod model;
mod response;
mod schema;
mod sound;
mod stream;
mod wire;
pub(crate) mod words;
mod write_request;

use http::{HeaderMap, StatusCode};

use crate::conversion::ThroughChat;
use crate::ir::{self, Error};
use crate::{
    Aim, Codec, Correspondence, DecodeEvents, Dialect, Envelope, FetchedMedia, Framing, Unsupported,
    Upstream, Written,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "gemini",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope::GEMINI,
        framing: Framing::Sse,
        watch: None,
        stops_silently: false,
        through_chat: ThroughChat(Dialect::Gemini),
    },
    // Clients of it are told of failures in its shape, and not yet understood.
    client: None,
};

/// Gemini as upstreams speak it.
#[derive(Debug)]
struct Outbound;

impl crate::Outbound for Outbound {
    fn request(
        &self,
        request: &ir::Request,
        aim: &Aim<'_>,
        media: &FetchedMedia,
    ) -> Result<Written, Unsupported> {
        write_request::write(request, aim, media)
    }

    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, Error> {
        response::read(body, correspondence)
    }

    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        Box::new(stream::Decoder::new(correspondence.clone()))
    }

    fn error(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        words::read_error(status, body)
    }
}
