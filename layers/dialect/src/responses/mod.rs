//! OpenAI responses, at OpenAI and wherever else it is spoken (Azure, xAI, Ark, local servers).

mod carried;
mod count;
mod encode;
mod ids;
mod items;
mod kept;
mod manner;
mod model;
mod probe;
mod raw;
mod read_request;
mod response;
mod stream;
mod told;
mod wire;
mod words;
mod write_request;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

pub(crate) use self::ids::response_of;
pub(crate) use self::kept::{earlier, going_on, name_of, told_of_kept};
pub(crate) use self::manner::ClientTool;
use crate::conversion::ThroughChat;
use crate::fields::Fields;
use crate::fresh_text::Layout;
use crate::ir::{self, Error};
use crate::size::Measure;
use crate::{
    Aim, Client, Codec, Correspondence, DecodeEvents, Dialect, EncodeEvents, Envelope, ErrorShape,
    FetchedMedia, Framing, Identity, Malformed, Manner, Received, Unsupported, Upstream, Watch, Written,
    error_body, stops,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "responses",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope::PLAIN,
        framing: Framing::Sse,
        watch: Some(Watch {
            probe: |_| Box::new(probe::Probe::default()),
            whole: probe::whole,
            mender: |_| None,
        }),
        stops_silently: false,
        through_chat: ThroughChat(Dialect::Responses),
    },
    client: Some(Client {
        inbound: Some(&Inbound),
        shape: ErrorShape::Responses,
        texts: Layout {
            turns: "input",
            answerer: "assistant",
            before: &["instructions"],
            beside: &["prompt"],
            tools: &["tools"],
        },
        measure: MEASURE,
        raw: &raw::Raw,
        estimate: Some(count::answer),
    }),
};

/// Where the texts of a request stand, and its limit.
const MEASURE: Measure = Measure { texts: &["input", "instructions"], limits: &["max_output_tokens"] };

/// What a stream is told that failed before anything was said in it.
pub(crate) fn failed_stream(error: &Error) -> Bytes {
    let mut out = BytesMut::new();
    encode::Begun::default().fail(error, &mut out);
    out.freeze()
}

/// OpenAI responses as clients speak it.
#[derive(Debug)]
struct Inbound;

impl crate::Inbound for Inbound {
    fn request(&self, received: Received<'_>) -> Result<(ir::Request, Manner), Malformed> {
        let json =
            received.body.json().ok_or_else(|| Malformed::new("the request body must be a JSON object"))?;
        read_request::read(json)
    }

    fn manner(&self, received: Received<'_>) -> Manner {
        let fields = received.body.json().and_then(|json| Fields::of_body(json).ok());
        fields.map(|fields| manner::of(&fields.0, Vec::new())).unwrap_or_default()
    }

    fn response(&self, answer: &ir::Response, manner: &Manner, identity: &Identity) -> Bytes {
        encode::Encoder::whole(answer, manner, identity)
    }

    fn events(&self, manner: &Manner, identity: &Identity) -> Box<dyn EncodeEvents> {
        Box::new(encode::Encoder::new(manner, identity))
    }
}

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
