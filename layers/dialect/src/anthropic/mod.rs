//! Anthropic messages.

mod betas;
mod carried;
mod count;
mod encode;
mod enveloped;
pub(crate) mod model;
pub(crate) mod parameters;
mod probe;
mod raw;
mod read_blocks;
mod read_request;
mod response;
pub(crate) mod schema;
mod stream;
mod told;
mod wire;
pub(crate) mod words;
mod write_request;

use bytes::Bytes;
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
    Aim, Client, Codec, Correspondence, DecodeEvents, Dialect, EncodeEvents, Envelope, ErrorShape,
    FetchedMedia, Framing, Identity, Malformed, Manner, Received, Unsupported, Upstream, Watch, Written,
    aws_error,
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
        inbound: Some(&Inbound),
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
        estimate: Some(count::answer),
    }),
};

/// Anthropic messages as clients speak them.
#[derive(Debug)]
struct Inbound;

impl crate::Inbound for Inbound {
    fn request(&self, received: Received<'_>) -> Result<(ir::Request, Manner), Malformed> {
        let json =
            received.body.json().ok_or_else(|| Malformed::new("the request body must be a JSON object"))?;
        read_request::read(json)
    }

    fn manner(&self, _received: Received<'_>) -> Manner {
        // It matters to answers of others alone, whose requests were read.
        Manner::default()
    }

    fn response(&self, answer: &ir::Response, manner: &Manner, identity: &Identity) -> Bytes {
        response::write(answer, manner, identity)
    }

    fn events(&self, manner: &Manner, identity: &Identity) -> Box<dyn EncodeEvents> {
        Box::new(encode::Encoder::new(manner, identity))
    }
}

/// The identity of an answer with the prefix that clients of this dialect know.
fn answer_id(id: &str) -> String {
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

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
