//! The row of a dialect, and the traits that its folder fills.
//!
//! An upstream half, which every dialect has, and a client half, which those have that clients speak. A dialect that
//! only upstreams speak needs neither probe nor error shape.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::conversion::ThroughChat;
use crate::fresh_text::Layout;
use crate::openai_chat::{Repairs, Subject};
use crate::rekey::Keys;
use crate::responses::ClientTool;
use crate::sighting::{Depth, Sighting};
use crate::size::Measure;
use crate::{
    Aim, Body, Envelope, ErrorShape, FetchedMedia, Frame, Framing, Malformed, SentBody, Unsupported, ir,
};

/// The row of a dialect: everything that is known of it.
pub struct Codec {
    /// A stable name for metrics and the ledger.
    pub label: &'static str,
    /// How upstreams speak it.
    pub upstream: Upstream,
    /// How clients speak it, where any do.
    pub client: Option<Client>,
}

/// The upstream half of a dialect.
pub struct Upstream {
    /// Writes requests and reads answers.
    pub outbound: &'static dyn Outbound,
    /// What providers wrap it in unless they say otherwise.
    pub envelope: Envelope,
    /// How its streams are cut into frames unless their content type says otherwise.
    pub framing: Framing,
    /// How answers are watched that are forwarded as they are, for dialects that clients speak too.
    pub watch: Option<Watch>,
    /// Whether its models end a turn with nothing when the result of a tool leaves nothing to say.
    pub(crate) stops_silently: bool,
    /// The way to it from every other dialect, for conversations.
    pub(crate) through_chat: ThroughChat,
}

/// The reading of answers that are forwarded as they are.
pub struct Watch {
    /// A probe for one stream that the client gets in this framing.
    pub probe: fn(Framing) -> Box<dyn Probe>,
    /// What a whole JSON answer tells, with its text where that is wanted. Bytes that are no answer tell nothing:
    /// `done` is false.
    pub whole: fn(&[u8], bool) -> Sighting,
    /// What repairs one answer; none where none of these repairs is one of answers of this dialect.
    pub(crate) mender: fn(Repairs) -> Option<Box<dyn Mend>>,
}

/// The client half of a dialect.
pub struct Client {
    /// Reads requests and writes answers, where clients of it can be served by other dialects.
    pub inbound: Option<&'static dyn Inbound>,
    /// How clients are told of failures.
    pub shape: ErrorShape,
    /// Where texts stand that no model has answered.
    pub(crate) texts: Layout,
    /// Where texts stand and limits are named, for estimates.
    pub(crate) measure: Measure,
    /// Changes of a request that stays in the dialect.
    pub(crate) raw: &'static dyn RawRequest,
    /// What is answered to the question how many tokens a request takes where no upstream counts them; none where
    /// that is no question of this dialect.
    pub(crate) estimate: Option<Estimate>,
}

/// A guess of how many tokens a request takes, as the answer to that question.
pub(crate) type Estimate = fn(&[u8]) -> Result<Bytes, Malformed>;

/// The codec of clients: reads their requests, writes their answers.
pub trait Inbound: Send + Sync {
    /// Reads a client's request, and how this client wants its answer written.
    ///
    /// # Errors
    /// What in it cannot be understood, to be answered with 400.
    fn request(&self, received: Received<'_>) -> Result<(ir::Request, Manner), Malformed>;

    /// How the client wants its answer written, read as cheaply as possible. A body that cannot be read has no wish.
    fn manner(&self, received: Received<'_>) -> Manner;

    /// Writes a whole answer.
    fn response(&self, answer: &ir::Response, manner: &Manner, identity: &Identity) -> Bytes;

    /// An encoder for one streamed answer.
    fn events(&self, manner: &Manner, identity: &Identity) -> Box<dyn EncodeEvents>;

    /// How a stream for a client that asked with this query is cut into frames.
    fn framing(&self, _query: &str) -> Framing {
        Framing::Sse
    }
}

/// A request as it was received, as far as codecs read it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The body.
    pub body: &'a Body,
    /// The query of its target, without the question mark and without credentials; empty where there is none.
    pub query: &'a str,
}

/// The codec of upstreams: writes their requests, reads their answers.
pub trait Outbound: Send + Sync {
    /// Writes the request for one attempt. Large media go out as slices of what was received.
    ///
    /// # Errors
    /// What this dialect cannot express. Another channel may.
    fn request(
        &self,
        request: &ir::Request,
        aim: &Aim<'_>,
        media: &FetchedMedia,
    ) -> Result<Written, Unsupported>;

    /// Finishes a request that was wanted as a value, when everything has been merged into it.
    fn settle(&self, _body: &mut Map<String, Value>) {}

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error that the body itself reports, or a 502 for one that cannot be read or is incomplete.
    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, ir::Error>;

    /// A decoder for one streamed answer.
    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents>;

    /// Normalises the body of a failed answer: any provider's shape, HTML, or garbage. Some providers name the kind
    /// in a header.
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ir::Error;
}

/// A reader of the frames of one streamed answer.
pub trait DecodeEvents: Send {
    /// Reads one frame and appends what it means.
    ///
    /// # Errors
    /// A frame that cannot be read; the stream cannot be trusted any further.
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<ir::Event>) -> Result<(), Malformed>;

    /// Whether the reason is told why the answer ends: at most usage and the terminal marker are still to come.
    fn is_over(&self) -> bool;

    /// The body has ended. Without a terminal event, or at least a reason, before this is an error, never a quiet stop.
    fn finish(&mut self, out: &mut Vec<ir::Event>);
}

/// A writer of one streamed answer. It is the voice in which everything in that stream is said.
pub trait EncodeEvents: Send {
    /// Appends what tells the client of `event`; many events append nothing.
    fn encode(&mut self, event: &ir::Event, out: &mut BytesMut);

    /// Appends the trailer: the finish, the usage where it was asked for, the terminal marker. After an error, and
    /// without a finish, there is none.
    fn finish(&mut self, out: &mut BytesMut);

    /// Appends an error behind what was said so far. No terminal marker follows: it would make a torn answer look
    /// whole.
    fn fail(&mut self, error: &ir::Error, out: &mut BytesMut);

    /// Appends bytes that keep the stream alive and mean nothing.
    fn keepalive(&mut self, out: &mut BytesMut);

    /// The whole answer as it was told, for those who keep it: behind the trailer, in dialects in which an answer is
    /// named later.
    fn told(&mut self) -> Option<Bytes> {
        None
    }
}

/// A watcher of one stream that is forwarded as it is, and the voice in which anything of ours is said in it.
pub trait Probe: Send {
    /// Tells what one frame means. Never fails: what cannot be read is machinery.
    fn observe(&mut self, frame: Frame<'_>, depth: Depth) -> Sighting;

    /// Appends an error behind what went by so far.
    fn fail(&mut self, error: &ir::Error, out: &mut BytesMut);

    /// Appends bytes that keep the stream alive and mean nothing.
    fn keepalive(&mut self, out: &mut BytesMut);
}

/// A repairer of one answer that is otherwise forwarded as it is.
pub(crate) trait Mend: Send {
    /// What the client gets in place of an event with this payload: any number of payloads. `None`: the event itself.
    fn event(&mut self, payload: &[u8]) -> Option<Vec<Vec<u8>>>;

    /// What the client gets in place of this whole answer. `None`: the answer itself.
    fn whole(&mut self, body: &[u8]) -> Option<Vec<u8>>;
}

/// Changes of a JSON request that stays in its dialect: what layers must not know field by field.
pub(crate) trait RawRequest: Send + Sync {
    /// Leaves out tools, and what refers to them.
    fn without_tools(&self, body: &mut Map<String, Value>);

    /// Leaves out pictures.
    fn without_images(&self, body: &mut Map<String, Value>);

    /// Asks for a stream, or for none.
    fn set_stream(&self, body: &mut Map<String, Value>, stream: bool);

    /// What asks for the usage of a stream; none where usage comes unasked, and for a body that says itself what it
    /// wants.
    fn ask_usage(&self, _body: &[u8]) -> Option<Addition> {
        None
    }

    /// The field that asks for it, if it is one.
    fn usage_field(&self) -> Option<&'static str> {
        None
    }

    /// Whether quirks of the upstream demand that a body is changed; cheap, and rather yes than no.
    fn concerns_quirks(&self, _body: &[u8], _subject: Subject<'_>) -> bool {
        false
    }

    /// Changes a body as quirks of the upstream demand.
    fn mend(&self, _body: &mut Map<String, Value>, _subject: Subject<'_>) {}

    /// Whether a body may hold what was written here on behalf of other dialects; cheap, and rather yes than no.
    fn may_hold_foreign(&self, _body: &[u8]) -> bool {
        false
    }

    /// Takes out what was written here on behalf of other dialects and upstreams of this one would refuse.
    fn without_foreign(&self, _body: &mut Map<String, Value>) {}

    /// Takes out what is not for a provider that wraps the dialect so.
    fn fit(&self, _body: &mut Map<String, Value>, _envelope: &Envelope) {}

    /// Whether a body may hold tools; cheap, and rather yes than no.
    fn may_hold_tools(&self, body: &[u8]) -> bool;

    /// Whether a body may hold pictures; cheap, and rather yes than no.
    fn may_hold_images(&self, body: &[u8]) -> bool;

    /// The last turn of a conversation, where it is one behind which a model may have nothing to say.
    fn last_turn(&self, body: &[u8]) -> Option<LastTurn>;
}

/// A turn behind which a model may have nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastTurn {
    /// The model's own, which it is to go on with.
    Answer,
    /// The result of a tool that the model called.
    Result,
}

/// A member that is added to a client's object.
#[derive(Clone, Debug)]
pub(crate) struct Addition {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value as JSON text.
    pub(crate) value: &'static str,
    /// Where the client's own value stands, which says nothing and is replaced; none where there is none.
    pub(crate) replaces: Option<Range<usize>>,
}

impl Addition {
    /// What is written, and what of the body it stands in place of: a part of it, or nothing behind its first brace.
    pub(crate) fn spliced(&self, body: &[u8]) -> (String, Range<usize>) {
        match &self.replaces {
            Some(span) => (self.value.to_owned(), span.clone()),
            None => {
                // It was seen to be an object: its brace is the first thing in it, and a member follows.
                let start = memchr::memchr(b'{', body).map_or(0, |brace| brace + 1);
                (["\"", self.name, "\":", self.value, ","].concat(), start..start)
            }
        }
    }
}

/// The wishes of one client for the writing of its answer: made by the client's codec, opaque to everybody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether the usage is wanted at the end of a stream.
    pub(crate) include_usage: bool,
    /// Whether the seals of texts go with the answer, to come back with the history.
    pub(crate) carries_seals_of_text: bool,
    /// The fields of the request that its answer tells again.
    pub(crate) echo: Option<Arc<Map<String, Value>>>,
    /// Tools of the client that go by another name elsewhere, or are of another kind.
    pub(crate) client_tools: Option<Arc<[ClientTool]>>,
    /// What only upstreams of the client's own dialect can do: the field that asks for it, and what it is.
    pub(crate) own_only: Option<(&'static str, &'static str)>,
    /// The answer from which the request goes on.
    pub(crate) previous: Option<Arc<str>>,
    /// Whether the answer is kept, to be named later.
    pub(crate) keeps: bool,
    /// Whether the upstream's name of the answer stays, because it is kept there.
    pub(crate) keeps_name: bool,
}

/// The identity of an answer, for what the upstream leaves open. Prefixes such as `chatcmpl-` are the codec's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The answer's identity where the upstream names none.
    pub id: String,
    /// Unix seconds, used where the upstream tells none.
    pub created: u64,
    /// The model's name as the client knows it.
    pub model: String,
}

/// A request as an outbound codec writes it.
#[derive(Clone, Debug)]
pub struct Written {
    /// The body.
    pub body: SentBody,
    /// What the decoder of the answer must know of it.
    pub correspondence: Correspondence,
}

/// The correspondence between the words of an answer and those of the client: what an outbound codec had to rename on
/// the way up is named back on the way down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correspondence {
    /// Tools renamed for the upstream: its name, then the client's.
    pub(crate) tools: Vec<(String, String)>,
    /// Parameters renamed for the upstream, by its name of their tool.
    pub(crate) parameters: Vec<(String, Keys)>,
    /// A tool that stands for the response format: its arguments are the text of the answer.
    pub(crate) answer_tool: Option<String>,
    /// The media type of spoken output, which the answer itself does not tell.
    pub(crate) sound: Option<String>,
    /// Whether the answer may name sources of its text, which is kept until they come.
    pub(crate) cites: bool,
    /// Who can read the seals of the answer, where that is the model's maker and no format tells it.
    pub(crate) sealed_by: Option<ir::Maker>,
    /// Sequences at which the answer ends, where the upstream knows none.
    pub(crate) stop: Vec<String>,
    /// The limit of output tokens, where an answer that reaches it does not tell so.
    pub(crate) limit: Option<u64>,
}

impl Correspondence {
    /// The client's name of a tool.
    pub(crate) fn tool<'a>(&'a self, name: &'a str) -> &'a str {
        self.tools.iter().find(|(upstream, _)| upstream == name).map_or(name, |(_, client)| client)
    }

    /// The client's names of a tool's parameters, where some are its own.
    pub(crate) fn parameters(&self, tool: &str) -> Option<&Keys> {
        self.parameters.iter().find(|(upstream, _)| upstream == tool).map(|(_, keys)| keys)
    }
}
