//! Doubao translation: Ark's responses as its models for translation take them. One text of the user goes there, with
//! the languages beside it; answers are those of responses.
//!
//! Source: <https://www.volcengine.com/docs/82379> (Responses API, `translation_options`).

mod write_request;

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::conversion::ThroughChat;
use crate::ir::{self, Error};
use crate::{
    Aim, Codec, Correspondence, DecodeEvents, Dialect, Envelope, FetchedMedia, Framing, Unsupported,
    Upstream, Written,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "doubao_translation",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope::PLAIN,
        framing: Framing::Sse,
        watch: None,
        stops_silently: false,
        through_chat: ThroughChat(Dialect::DoubaoTranslation),
    },
    client: None,
};

/// How the answers are read: as any other of responses.
fn responses() -> &'static dyn crate::Outbound {
    Dialect::Responses.codec().upstream.outbound
}

/// Translation as Ark speaks it.
#[derive(Debug)]
struct Outbound;

impl crate::Outbound for Outbound {
    fn request(
        &self,
        request: &ir::Request,
        aim: &Aim<'_>,
        _media: &FetchedMedia,
    ) -> Result<Written, Unsupported> {
        write_request::write(request, aim)
    }

    fn settle(&self, body: &mut Map<String, Value>) {
        write_request::settle(body);
    }

    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, Error> {
        responses().response(body, correspondence)
    }

    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        responses().events(correspondence)
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        responses().error(status, headers, body)
    }
}
