//! Anthropic messages.

mod model;
mod probe;
mod response;
mod schema;
mod stream;
mod wire;
mod write_request;

use http::StatusCode;

use crate::fresh_text::Layout;
use crate::ir::{self, Error};
use crate::{Correspondence, DecodeEvents, Unsupported, UpstreamRequest, error_body};

pub(crate) use probe::{Probe, whole};

/// Where texts stand.
pub(crate) const TEXTS: Layout =
    Layout { turns: "messages", answerer: "assistant", before: &["system"], beside: &[] };

/// Anthropic messages as upstreams speak them.
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
