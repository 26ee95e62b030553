//! Anthropic messages.

mod betas;
pub(crate) mod model;
pub(crate) mod parameters;
mod probe;
mod raw;
mod response;
pub(crate) mod schema;
mod stream;
mod wire;
pub(crate) mod words;
mod write_request;

use http::{HeaderMap, StatusCode};

// Bedrock and others speak of the same models in formats of their own.
pub(crate) use self::betas::{unlock, without_locked};
pub(crate) use self::model::{Model, SamplingRule};
pub(crate) use self::parameters::{Parameters, described};
pub(crate) use self::write_request::{Amount, check};
use crate::conversion::ThroughChat;
use crate::fresh_text::Layout;
use crate::ir::{self, Error};
use crate::size::Measure;
use crate::{
    Aim, Client, Codec, Correspondence, DecodeEvents, Dialect, Envelope, ErrorShape, FetchedMedia, Framing,
    Unsupported, Upstream, Watch, Written, aws_error,
};

/// The field in which features in test are named where no header can.
pub(crate) const BETAS: &str = "anthropic_beta";

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "anthropic",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope::PLAIN,
        framing: Framing::Sse,
        watch: Some(Watch {
            probe: |_| Box::new(probe::Probe::default()),
            whole: probe::whole,
            mender: |_| None,
        }),
        stops_silently: true,
        through_chat: ThroughChat(Dialect::Anthropic),
    },
    client: Some(Client {
        // Requests of its clients go to channels of their own format only, so far.
        inbound: None,
        shape: ErrorShape::Anthropic,
        texts: Layout {
            turns: "messages",
            answerer: "assistant",
            before: &["system"],
            beside: &[],
            tools: &["tools"],
        },
        measure: Measure { texts: &["system", "messages"], limits: &["max_tokens"] },
        raw: &raw::Raw,
        estimate: None,
    }),
};

/// Anthropic messages as upstreams speak them.
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

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        // Of Claude at AWS; nobody else names the kind there.
        aws_error::normalise(status, headers, body)
    }
}
