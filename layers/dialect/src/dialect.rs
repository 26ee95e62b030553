//! The dialects by name, and the few traits through which the layers use them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use crate::framing::Frame;
use crate::sighting::{Depth, Sighting};
use crate::{ErrorShape, anthropic, fresh_text, ir, openai_chat};

/// A way of shaping bytes. Adding one is one folder and one arm in each of these functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, which most providers imitate.
    OpenAiChat,
    /// Anthropic's messages.
    Anthropic,
}

impl Dialect {
    /// A stable name for metrics and the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::Anthropic => "anthropic",
        }
    }

    /// How clients of this dialect are understood, for those whose requests can be converted to others.
    pub fn inbound(self) -> Option<&'static dyn Inbound> {
        match self {
            Self::OpenAiChat => Some(&openai_chat::Inbound),
            Self::Anthropic => None,
        }
    }

    /// How upstreams of this dialect are spoken to.
    pub fn outbound(self) -> &'static dyn Outbound {
        match self {
            Self::OpenAiChat => &openai_chat::Outbound,
            Self::Anthropic => &anthropic::Outbound,
        }
    }

    /// A probe for one stream of this dialect.
    pub fn probe(self) -> Box<dyn Probe> {
        match self {
            Self::OpenAiChat => Box::new(openai_chat::Probe::default()),
            Self::Anthropic => Box::new(anthropic::Probe::default()),
        }
    }

    /// What a whole JSON answer of this dialect tells. Bytes that are no answer tell nothing: `done` is false.
    pub fn whole(self, body: &[u8], want_text: bool) -> Sighting {
        match self {
            Self::OpenAiChat => openai_chat::whole(body, want_text),
            Self::Anthropic => anthropic::whole(body, want_text),
        }
    }

    /// The texts of a client's request that no answer follows yet, in order: what moderation looks at.
    ///
    /// # Errors
    /// A body in which they cannot be found.
    pub fn fresh_texts(self, body: &[u8]) -> Result<Vec<Cow<'_, str>>, Malformed> {
        let layout = match self {
            Self::OpenAiChat => &openai_chat::TEXTS,
            Self::Anthropic => &anthropic::TEXTS,
        };
        fresh_text::read(body, layout)
    }

    /// How clients of this dialect are told of failures.
    pub fn error_shape(self) -> ErrorShape {
        match self {
            Self::OpenAiChat => ErrorShape::OpenAi,
            Self::Anthropic => ErrorShape::Anthropic,
        }
    }

    /// An error as a whole body.
    pub fn error(self, error: &ir::Error) -> Bytes {
        self.error_shape().body(error)
    }

    /// An error as one framed event of a stream that has begun, without a terminal marker.
    pub fn stream_error(self, error: &ir::Error) -> Bytes {
        self.error_shape().event(error)
    }

    /// Bytes that keep a stream of this dialect alive.
    pub fn keepalive(self) -> &'static [u8] {
        self.error_shape().keepalive()
    }
}

/// How a client speaks to us. Errors and keepalive bytes are on [`Dialect`], since every dialect has those.
pub trait Inbound: Send + Sync {
    /// Reads a client's request.
    ///
    /// # Errors
    /// What in it cannot be understood, to be answered with 400.
    fn request(&self, body: &[u8]) -> Result<ir::Request, Malformed>;

    /// Writes a whole answer. Identity and model are taken from it: set the client's alias before.
    fn response(&self, answer: &ir::Response) -> Bytes;

    /// An encoder for one streamed answer.
    fn events(&self, style: &StreamStyle) -> Box<dyn EncodeEvents>;
}

/// How an upstream speaks to us.
pub trait Outbound: Send + Sync {
    /// Writes the request, with `upstream_model` and `stream` as they stand in it.
    ///
    /// # Errors
    /// What this dialect cannot express. Another channel may.
    fn request(&self, request: &ir::Request) -> Result<UpstreamRequest, Unsupported>;

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error that the body itself reports, or a 502 for one that cannot be read or is incomplete.
    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, ir::Error>;

    /// A decoder for one streamed answer.
    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents>;

    /// Normalises the body of a failed answer: any provider's shape, HTML, or garbage.
    fn error(&self, status: StatusCode, body: &[u8]) -> ir::Error;
}

/// Reads the events of one streamed answer.
pub trait DecodeEvents: Send {
    /// Reads one event and appends what it means.
    ///
    /// # Errors
    /// An event that cannot be read; the stream cannot be trusted any further.
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<ir::Event>) -> Result<(), Malformed>;

    /// The body has ended. Without a terminal event before this is an error, never a quiet stop.
    fn finish(&mut self, out: &mut Vec<ir::Event>);
}

/// Writes the events of one streamed answer.
pub trait EncodeEvents: Send {
    /// Appends what tells the client of `event`; many events append nothing.
    fn encode(&mut self, event: &ir::Event, out: &mut BytesMut);

    /// Appends the trailer: the finish, the usage where it was asked for, the terminal marker. After an error, and
    /// without a finish, there is none.
    fn finish(&mut self, out: &mut BytesMut);
}

/// Watches one stream that is forwarded as it is.
pub trait Probe: Send {
    /// Tells what one event means. Never fails: what cannot be read is machinery.
    fn observe(&mut self, frame: Frame<'_>, depth: Depth) -> Sighting;
}

/// What an encoder of streams needs to know besides the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStyle {
    /// The model's name as the client knows it, echoed in every event.
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

/// How the words of an answer correspond to those of the client: what an outbound codec had to rename on the way up
/// is named back on the way down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correspondence {
    /// Tools renamed for the upstream: its name, then the client's.
    pub(crate) tools: Vec<(String, String)>,
    /// A tool that stands for the response format: its arguments are the text of the answer.
    pub(crate) answer_tool: Option<String>,
}

impl Correspondence {
    /// The client's name of a tool.
    pub(crate) fn tool<'a>(&'a self, name: &'a str) -> &'a str {
        self.tools.iter().find(|(upstream, _)| upstream == name).map_or(name, |(_, client)| client)
    }
}

/// A request, or an event of an answer, that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// What is wrong, as a clause.
    pub message: String,
    /// The field at fault, where there is one.
    pub param: Option<String>,
}

impl Malformed {
    /// Something wrong in general.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None }
    }

    /// Something wrong with the field `param`.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }

    /// As the error of a client's request (400).
    pub fn into_request_error(self) -> ir::Error {
        let mut error = ir::Error::new(StatusCode::BAD_REQUEST, self.message);
        error.param = self.param;
        error
    }

    /// As the error of an upstream's answer (502).
    pub fn into_answer_error(self) -> ir::Error {
        ir::Error::new(StatusCode::BAD_GATEWAY, self.message).with_code("upstream_malformed")
    }
}

/// Something that a dialect cannot express.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// What it is, as a clause.
    pub message: String,
    /// The field that asks for it, where there is one.
    pub param: Option<String>,
}

impl Unsupported {
    /// Something that cannot be expressed, asked for by `param`.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }

    /// As the error a client gets when no channel can express it (400).
    pub fn into_error(self) -> ir::Error {
        let mut error = ir::Error::new(StatusCode::BAD_REQUEST, self.message);
        error.param = self.param;
        error
    }
}
