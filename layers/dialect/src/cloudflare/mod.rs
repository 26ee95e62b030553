//! Workers AI's own format at Cloudflare: the answer in an envelope, whole or as events.
//!
//! Two generations of models lie behind it. Older ones have a form of their own, newer ones take OpenAI's chat requests
//! and answer in kind, within the same envelope.
//!
//! Sources: <https://developers.cloudflare.com/workers-ai/> (models, `features/*`, `platform/errors`).

mod model;
mod output;
mod response;
mod stream;
mod wire;
mod write_request;

use http::{HeaderMap, StatusCode};

use crate::aim::Place;
use crate::conversion::ThroughChat;
use crate::ir::{self, Error};
use crate::{
    Aim, Codec, Correspondence, DecodeEvents, Dialect, Envelope, FetchedMedia, Framing, Unsupported,
    Upstream, Written, error_body, stops,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "cloudflare",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope { model: Place::Path, fetches_media: true, ..Envelope::PLAIN },
        framing: Framing::Sse,
        watch: None,
        stops_silently: false,
        through_chat: ThroughChat(Dialect::Cloudflare),
    },
    client: None,
};

/// Workers AI as it is spoken to.
#[derive(Debug)]
struct Outbound;

impl crate::Outbound for Outbound {
    fn request(
        &self,
        request: &ir::Request,
        aim: &Aim<'_>,
        media: &FetchedMedia,
    ) -> Result<Written, Unsupported> {
        if !request.server_tools.is_empty() {
            return Err(Unsupported::at("tools", "a tool of this type cannot be sent to this upstream"));
        }
        let mut blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        if blocks.any(|block| matches!(block.content, ir::Content::Opaque { .. })) {
            return Err(Unsupported::at(
                "messages",
                "a content part of this type cannot be sent to this upstream",
            ));
        }
        match model::is_older(aim.model) {
            true => write_request::write(request, aim, media),
            false => openai().request(request, aim, media),
        }
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

/// How newer models are spoken to.
fn openai() -> &'static dyn crate::Outbound {
    Dialect::OpenAiChat.codec().upstream.outbound
}

/// The error of a failed answer: `{"success": false, "errors": [{"code", "message"}]}`, whose codes are numbers.
///
/// Source: <https://developers.cloudflare.com/workers-ai/platform/errors/>.
fn error(status: StatusCode, body: &[u8]) -> Error {
    let mut error = error_body::normalise(status, body);
    error.signs.codes.extend(error.code.as_deref().and_then(meaning).map(str::to_owned));
    error
}

/// What a code means, in a word that is known of other providers.
fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        // No such model, no route to one.
        "5007" | "3042" | "7000" | "7003" => "modelnotfound",
        // The token is not one, or not one for this account.
        "6003" | "6111" | "9109" | "10000" | "10001" => "invalidapikey",
        // The free allocation of the day is used up.
        "3036" => "quotaexceeded",
        // Terms that nobody has agreed to, models that the account may not use or must pay for: none of it is about the
        // token.
        "5016" | "5018" | "3041" | "5035" => "resourceunavailable",
        // No capacity is left for the model, for now and whoever asks.
        "3040" => "outofcapacity",
        "3006" => "requesttoolarge",
        _ => return None,
    })
}
