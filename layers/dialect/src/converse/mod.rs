//! Converse, Amazon Bedrock's one format for the models of all makers.
//!
//! Only upstreams speak it. Streams are messages of the AWS event stream, each named by its event; failures in them are
//! exceptions.

mod family;
mod response;
mod stream;
mod wire;
mod words;
mod write_request;

use http::{HeaderMap, StatusCode};

use crate::aim::{Betas, Place};
use crate::conversion::ThroughChat;
use crate::ir::{self, Error};
use crate::{
    Aim, Codec, Correspondence, DecodeEvents, Dialect, Envelope, FetchedMedia, Framing, Unsupported,
    Upstream, Written, aws_error,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "converse",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope {
            model: Place::Path,
            stream: Place::Path,
            betas: Betas::Body,
            fetches_media: true,
            ..Envelope::PLAIN
        },
        framing: Framing::EventStream,
        watch: None,
        // Claude does.
        stops_silently: true,
        through_chat: ThroughChat(Dialect::Converse),
    },
    client: None,
};

/// Converse as upstreams speak it.
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
        aws_error::normalise(status, headers, body)
    }
}
