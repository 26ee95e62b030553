//! Cohere's own chat, in both versions of its interface.
//!
//! Sources: <https://docs.cohere.com/reference/chat> (version 2), <https://docs.cohere.com/v1/reference/chat>
//! (version 1) and <https://docs.cohere.com/reference/errors>.

mod documents;
mod ending;
mod response;
mod schema;
mod stream;
mod v1;
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

/// The row of version 2.
pub(crate) static CODEC_V2: Codec = Codec {
    label: "cohere",
    upstream: Upstream {
        outbound: &OutboundV2,
        envelope: Envelope::PLAIN,
        framing: Framing::Sse,
        watch: None,
        stops_silently: false,
        through_chat: ThroughChat(Dialect::CohereV2),
    },
    client: None,
};

/// The row of version 1.
pub(crate) static CODEC_V1: Codec = Codec {
    label: "cohere_v1",
    upstream: Upstream {
        outbound: &OutboundV1,
        envelope: Envelope::PLAIN,
        framing: Framing::JsonLines,
        watch: None,
        stops_silently: false,
        through_chat: ThroughChat(Dialect::CohereV1),
    },
    client: None,
};

/// Version 2.
#[derive(Debug)]
struct OutboundV2;

impl crate::Outbound for OutboundV2 {
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
        error(status, body)
    }
}

/// Version 1.
#[derive(Debug)]
struct OutboundV1;

impl crate::Outbound for OutboundV1 {
    fn request(
        &self,
        request: &ir::Request,
        aim: &Aim<'_>,
        media: &FetchedMedia,
    ) -> Result<Written, Unsupported> {
        v1::write_request::write(request, aim, media)
    }

    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, Error> {
        v1::response::read(body, correspondence).and_then(|answer| stops::whole(answer, &correspondence.stop))
    }

    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        stops::decoder(Box::new(v1::stream::Decoder::new(correspondence.clone())), &correspondence.stop)
    }

    fn error(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        error(status, body)
    }
}

/// The error of a failed answer: `{"message"}`, with what its words and status mean here and nowhere else.
///
/// Source: <https://docs.cohere.com/reference/errors>. 498 is a text that is on a list of forbidden ones, so that it
/// is about the request and not about the key; a trial key has a number of calls a month.
fn error(status: StatusCode, body: &[u8]) -> Error {
    let mut error = error_body::normalise(status, body);
    let words = error.message.to_ascii_lowercase();
    let sign = match status.as_u16() {
        498 => Some("contentfilter"),
        429 if words.contains("trial key") && words.contains("month") => Some("quotaexceeded"),
        400 | 422 if words.starts_with("too many tokens") => Some("contextlengthexceeded"),
        _ => None,
    };
    error.signs.codes.extend(sign.map(str::to_owned));
    error
}

/// The error that stands where an answer or an event of one should: `{"message"}` without any of their fields.
fn told_error(body: &[u8]) -> Error {
    error_body::normalise(StatusCode::BAD_GATEWAY, body)
}
