//! The dialects by name, and what can be asked of a client's request without a conversion.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use crate::codec::LastTurn;
use crate::ir::FinishReason;
use crate::openai_chat::Subject;
use crate::{
    Asked, Body, Codec, ErrorShape, Kind, Quirks, Repairs, Sighting, Size, TextScope, anthropic, cloudflare,
    cohere, converse, doubao, fresh_text, gemini, ir, openai_chat, opening, responses,
};

/// A way of shaping bytes. Adding one is its folder and its row in [`Dialect::codec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, which most providers imitate.
    OpenAiChat,
    /// Anthropic's messages.
    Anthropic,
    /// OpenAI's responses.
    Responses,
    /// Ark's responses as its models for translation take them.
    DoubaoTranslation,
    /// Google's Gemini, at AI Studio and on Vertex AI.
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
    /// Cohere's chat, version 2.
    CohereV2,
    /// Cohere's chat, version 1.
    CohereV1,
    /// Workers AI's own format at Cloudflare.
    Cloudflare,
}

impl Dialect {
    /// Its row: everything else that is known of it.
    pub fn codec(self) -> &'static Codec {
        match self {
            Self::OpenAiChat => &openai_chat::CODEC,
            Self::Anthropic => &anthropic::CODEC,
            Self::Responses => &responses::CODEC,
            Self::DoubaoTranslation => &doubao::CODEC,
            Self::Gemini => &gemini::CODEC,
            Self::Converse => &converse::CODEC,
            Self::CohereV2 => &cohere::CODEC_V2,
            Self::CohereV1 => &cohere::CODEC_V1,
            Self::Cloudflare => &cloudflare::CODEC,
        }
    }

    /// The dialect in which its upstreams speak of all that is no conversation, headers included.
    pub fn family(self) -> Self {
        match self {
            Self::Responses => Self::OpenAiChat,
            other => other,
        }
    }

    /// A stable name for metrics and the ledger.
    pub fn label(self) -> &'static str {
        self.codec().label
    }

    /// The texts of a client's request, in order, as far as they are of this scope: what moderation looks at. Of a form
    /// those are the short parts that hold texts of their own, such as `prompt`.
    ///
    /// # Errors
    /// A body in which they cannot be found.
    pub fn texts(self, body: &Body, scope: TextScope) -> Result<Vec<Cow<'_, str>>, Malformed> {
        let Some(client) = &self.codec().client else { return Ok(Vec::new()) };
        match body {
            Body::Json(json) => fresh_text::read(json, &client.texts, scope),
            Body::Form(form) => fresh_text::read_form(form, &client.texts),
            Body::Empty => Ok(Vec::new()),
        }
    }

    /// A digest of how a client's conversation begins, which is the same in each of its requests: its tools, the
    /// instructions before it and the user's first turn. None where there is no such beginning.
    pub fn opening(self, kind: Kind, body: &Body) -> Option<u64> {
        let client = self.codec().client.as_ref().filter(|_| kind == Kind::Chat)?;
        opening::digest(body.json()?, &client.texts)
    }

    /// What is answered to the question how many tokens a client's request takes, where no upstream counts them: a
    /// guess that says so. None where that is no question of this dialect.
    ///
    /// # Errors
    /// A body that cannot be read.
    pub fn estimated_count(self, body: &Body) -> Option<Result<Bytes, Malformed>> {
        let estimate = self.codec().client.as_ref()?.estimate?;
        body.json().map(|json| estimate(json))
    }

    /// How much a client's request of a kind will take.
    pub fn size(self, _kind: Kind, body: &Body) -> Size {
        match (&self.codec().client, body.json()) {
            (Some(client), Some(json)) => client.measure.of(json),
            _ => Size::default(),
        }
    }

    /// Whether a client's request may hold tools; cheap, and rather yes than no.
    pub fn may_hold_tools(self, body: &[u8]) -> bool {
        self.codec().client.as_ref().is_none_or(|client| client.raw.may_hold_tools(body))
    }

    /// Whether a client's request may hold pictures; cheap, and rather yes than no.
    pub fn may_hold_images(self, body: &[u8]) -> bool {
        self.codec().client.as_ref().is_none_or(|client| client.raw.may_hold_images(body))
    }

    /// Whether quirks of an upstream of the same dialect demand that a client's request for this model is changed;
    /// cheap, and rather yes than no.
    pub fn is_mended(self, kind: Kind, body: &Body, alias: &str, model: &str, quirks: Quirks) -> bool {
        let subject = Subject { alias, model, repairs: quirks.repairs };
        let foreign = |json: &[u8]| {
            self.codec().client.as_ref().is_some_and(|client| client.raw.may_hold_foreign(json))
        };
        quirks.repairs != Repairs::NONE
            && body.json().is_some_and(|json| self.concerns_quirks(kind, json, subject))
            || body.json().is_some_and(|json| foreign(json))
    }

    /// The same of a body in JSON.
    pub(crate) fn concerns_quirks(self, kind: Kind, json: &[u8], subject: Subject<'_>) -> bool {
        let client = self.codec().client.as_ref().filter(|_| kind == Kind::Chat);
        client.is_some_and(|client| client.raw.concerns_quirks(json, subject))
    }

    /// Whether an answer that says nothing, and ended well, is one to a client's conversation: where that ends with
    /// the model's own turn, and, of models that stop so when all is said, where it ends with the result of a tool.
    pub fn may_be_silent(self, body: &Body, upstream: Self, seen: &Sighting) -> bool {
        let (Some(client), Some(json)) = (&self.codec().client, body.json()) else { return false };
        let stopped = seen.detail.as_ref().is_some_and(|detail| detail.finish == Some(FinishReason::Stop))
            && seen.usage().is_some_and(|usage| usage.output_total > 0);
        match client.raw.last_turn(json) {
            Some(LastTurn::Answer) => seen.done || seen.finished,
            Some(LastTurn::Result) => stopped && upstream.codec().upstream.stops_silently,
            None => false,
        }
    }

    /// Whether a refusal names what was added to a client's request without its asking, the wish for usage, and not
    /// because the client has put that word there.
    pub fn names_addition(self, error: &ir::Error, asked: &Asked<'_>) -> bool {
        let field = self.codec().client.as_ref().and_then(|client| client.raw.usage_field());
        field.is_some_and(|field| {
            let named = error.message.contains(field) || error.param.as_deref() == Some(field);
            named && !asked.holds(field)
        })
    }

    /// How clients of this dialect are told of failures; those of a dialect that no client speaks get OpenAI's shape.
    pub fn error_shape(self) -> ErrorShape {
        self.codec().client.as_ref().map_or(ErrorShape::OpenAi, |client| client.shape)
    }

    /// The shape of its own errors, where there are clients that read it.
    pub fn own_error_shape(self) -> Option<ErrorShape> {
        self.codec().client.as_ref().map(|client| client.shape)
    }

    /// An error as a whole body.
    pub fn error(self, error: &ir::Error) -> Bytes {
        self.error_shape().body(error)
    }

    /// An error as one framed event of a stream that has begun and said nothing, without a terminal marker.
    pub fn stream_error(self, error: &ir::Error) -> Bytes {
        self.error_shape().event(error)
    }

    /// Bytes that keep a stream of this dialect alive before anything is said in it.
    pub fn keepalive(self) -> &'static [u8] {
        self.error_shape().keepalive()
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

    /// The same within something else.
    #[must_use]
    pub(crate) fn within(self, at: &str) -> Self {
        let param = self.param.map_or_else(|| at.to_owned(), |param| format!("{at}.{param}"));
        Self { param: Some(param), ..self }
    }

    /// As the error of a client's request (400).
    pub fn into_request_error(self) -> ir::Error {
        let mut error = ir::Error::new(StatusCode::BAD_REQUEST, self.message);
        error.param = self.param;
        error
    }

    /// As the error of an upstream's answer (502).
    pub fn into_answer_error(self) -> ir::Error {
        ir::Error::malformed(self.message)
    }
}

/// A wish that a dialect cannot express.
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
