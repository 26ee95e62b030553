//! OpenAI responses, at OpenAI and wherever else it is spoken (Azure, xAI, Ark, local servers).

mod items;
mod model;
mod response;
mod stream;
mod told;
mod wire;
mod words;
mod write_request;

use http::{HeaderMap, StatusCode};

use crate::conversion::ThroughChat;
use crate::ir::{self, Error};
use crate::{
    Aim, Codec, Correspondence, DecodeEvents, Dialect, Envelope, FetchedMedia, Framing, Unsupported,
    Upstream, Written, error_body, stops,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "responses",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope::PLAIN,
        framing: Framing::Sse,
        // No client speaks it so far, so that none of its answers is forwarded as it is.
        watch: None,
        stops_silently: false,
        through_chat: ThroughChat(Dialect::Responses),
    },
    client: None,
};

/// OpenAI responses as upstreams speak it.
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
        response::read(body, correspondence).and_then(|answer| stops::whole(answer, &correspondence.stop))
    }

    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        stops::decoder(Box::new(stream::Decoder::new(correspondence.clone())), &correspondence.stop)
    }

    fn error(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        error_body::normalise(status, body)
    }
}
