//! The traits that layers used before [`crate::Conversion`], spelled with what stands behind it. Goes, with the four
//! fields of [`ir::Request`] that belong to attempts, when nothing calls it.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::codec::{Correspondence, DecodeEvents, EncodeEvents, Identity, Inbound, Manner, Probe};
use crate::{
    Aim, Dialect, Envelope, FetchedMedia, Malformed, Quirks, SentBody, Sighting, Unsupported, fresh_text, ir,
};

/// What an encoder of streams needs to know besides the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStyle {
    /// The model's name as the client knows it.
    pub model: String,
    /// Whether the client asked for the usage at the end.
    pub include_usage: bool,
    /// The answer's identity when the upstream names none.
    pub id: String,
    /// Unix seconds, used when the upstream tells none.
    pub created: u64,
}

/// A request as an upstream is sent it.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// The body.
    pub body: Bytes,
    /// What the decoder of the answer must know of it.
    pub correspondence: Correspondence,
}

/// How clients of a dialect are understood.
pub struct InboundBefore(&'static dyn Inbound);

/// How upstreams of a dialect are spoken to.
pub struct OutboundBefore(Dialect);

impl Dialect {
    /// How clients of this dialect are understood, for those whose requests can be converted to others.
    pub fn inbound(self) -> Option<InboundBefore> {
        self.codec().client.as_ref()?.inbound.map(InboundBefore)
    }

    /// How upstreams of this dialect are spoken to.
    pub fn outbound(self) -> OutboundBefore {
        OutboundBefore(self)
    }

    /// A probe for one stream of this dialect.
    ///
    /// # Panics
    /// No client speaks the dialect.
    pub fn probe(self) -> Box<dyn Probe> {
        (self.codec().upstream.watch.as_ref().expect("both dialects have a client half").probe)()
    }

    /// What a whole JSON answer of this dialect tells.
    pub fn whole(self, body: &[u8], want_text: bool) -> Sighting {
        self.codec().upstream.watch.as_ref().map(|watch| (watch.whole)(body, want_text)).unwrap_or_default()
    }

    /// The texts of a client's request that no answer follows yet.
    ///
    /// # Errors
    /// A body in which they cannot be found.
    pub fn fresh_texts(self, body: &[u8]) -> Result<Vec<Cow<'_, str>>, Malformed> {
        let Some(client) = &self.codec().client else { return Ok(Vec::new()) };
        fresh_text::read(body, &client.texts)
    }
}

impl InboundBefore {
    /// Reads a client's request.
    ///
    /// # Errors
    /// What in it cannot be understood.
    pub fn request(&self, body: &[u8]) -> Result<ir::Request, Malformed> {
        self.0.request(body).map(|(request, _)| request)
    }

    /// Writes a whole answer.
    pub fn response(&self, answer: &ir::Response) -> Bytes {
        self.0.response(answer, &Manner::default(), &Identity::default())
    }

    /// An encoder for one streamed answer.
    pub fn events(&self, style: &StreamStyle) -> Box<dyn EncodeEvents> {
        let identity = Identity { id: style.id.clone(), created: style.created, model: style.model.clone() };
        self.0.events(&Manner { include_usage: style.include_usage }, &identity)
    }
}

impl OutboundBefore {
    /// Writes the request.
    ///
    /// # Errors
    /// What this dialect cannot express.
    pub fn request(&self, request: &ir::Request) -> Result<UpstreamRequest, Unsupported> {
        let model_json = Bytes::new();
        let aim = Aim {
            alias: &request.model_alias,
            model: &request.upstream_model,
            model_json: &model_json,
            stream: request.stream,
            tools: true,
            image: true,
            ask_usage: false,
            as_json: false,
            betas: &[],
            envelope: &Envelope::PLAIN,
            quirks: &Quirks::default(),
        };
        let outbound = self.0.codec().upstream.outbound;
        let written = outbound.request(request, &aim, &FetchedMedia::default())?;
        let body = match written.body {
            SentBody::Bytes(parts) => Bytes::from(parts.concat()),
            SentBody::Json(map) => serde_json::Value::Object(map).to_string().into(),
        };
        Ok(UpstreamRequest { body, correspondence: written.correspondence })
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error that the body itself reports, or a 502.
    pub fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, ir::Error> {
        self.0.codec().upstream.outbound.response(body, correspondence)
    }

    /// A decoder for one streamed answer.
    pub fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        self.0.codec().upstream.outbound.events(correspondence)
    }

    /// Normalises the body of a failed answer.
    pub fn error(&self, status: StatusCode, body: &[u8]) -> ir::Error {
        self.0.codec().upstream.outbound.error(status, &HeaderMap::new(), body)
    }
}
