//! What one attempt is aimed at: the part of a request that changes from channel to channel while the client's own
//! words stay as they are.

use bytes::Bytes;

use crate::openai_chat::Subject;
use crate::{Dialect, Framing, Repairs};

/// The aim of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// The model by the name that the client used; suffixes such as `-think-16000` speak to the outbound codec.
    pub alias: &'a str,
    /// The model by the name that the upstream uses.
    pub model: &'a str,
    /// The same as a JSON string, quotes included, for splicing.
    pub model_json: &'a Bytes,
    /// Whether the upstream is asked for a stream; the client may want otherwise.
    pub stream: bool,
    /// Whether the channel takes tools; without, they are left out.
    pub tools: bool,
    /// Whether the channel takes pictures; without, they are left out.
    pub image: bool,
    /// Whether the usage of a stream is asked for although the client did not, and kept from it.
    pub ask_usage: bool,
    /// Whether the body is wanted as a value, because more is merged into it.
    pub as_json: bool,
    /// Features in test that the client or the configuration asks for, in the words of the upstream's dialect.
    /// Where the envelope has them in a header they are the header's business.
    pub betas: &'a [String],
    /// What the provider wraps its dialect in.
    pub envelope: &'a Envelope,
    /// Deviations of the upstream from its dialect.
    pub quirks: &'a Quirks,
}

impl<'a> Aim<'a> {
    /// What repairs of a request look at.
    pub(crate) fn subject(&self) -> Subject<'a> {
        Subject { alias: self.alias, model: self.model, repairs: self.quirks.repairs }
    }
}

/// The wrapping of a dialect at one provider: what is in the body at some and elsewhere at others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where the model is named.
    pub model: Place,
    /// Where a stream is asked for.
    pub stream: Place,
    /// Fields that every body carries, such as `anthropic_version`.
    pub adds: &'static [(&'static str, &'static str)],
    /// Where features in test are named.
    pub betas: Betas,
    /// The features in test that the provider knows, by what their names begin with, where it refuses requests that
    /// name others.
    pub flags: Option<&'static [&'static str]>,
    /// Whether media must be in the request, because the provider follows no addresses.
    pub fetches_media: bool,
    /// How its streams are cut into frames, where that is another way than the dialect's: then each message of that
    /// framing wraps an event.
    pub framing: Option<Framing>,
    /// What the provider lacks of the dialect.
    pub lacks: &'static [Lack],
    /// Which of Google's services it is, where the dialect is Gemini's.
    pub google: Google,
}

/// The service of Google's that is asked: both speak one dialect and differ in some of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Google {
    /// Google AI Studio.
    #[default]
    AiStudio,
    /// Vertex AI, with an account or with keys.
    Vertex,
}

/// A part of a dialect that a provider may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Calls one at a time, as the choice among tools has it.
    SingleCalls,
    /// Priority classes in the body.
    Tiers,
    /// Tools that run at the provider.
    ServerTools,
    /// Media in a store of the provider.
    Store,
    /// Answers bound to a schema.
    Schemas,
    /// The same, for models before 4.5.
    OldSchemas,
}

/// The place of a fact of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A field of the body.
    Body,
    /// The path: nothing of it may stand in the body.
    Path,
}

/// The place of the names of features in test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Betas {
    /// A header: nothing of it may stand in the body.
    Header,
    /// An array in the body.
    Body,
}

/// Deviations of an upstream from its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quirks {
    /// Usage may be asked for with `stream_options.include_usage`.
    pub stream_options: bool,
    /// Instructions have no field of their own and stand before the first turn (`/v1` of Google AI Studio).
    pub system_in_turns: bool,
    /// What is repaired in requests and answers that stay in OpenAI's dialect.
    pub repairs: Repairs,
}

impl Quirks {
    /// No deviation, and no wish.
    pub const NONE: Self = Self { stream_options: false, system_in_turns: false, repairs: Repairs::NONE };
}

impl Envelope {
    /// Everything where the dialect itself has it.
    pub const PLAIN: Self = Self {
        model: Place::Body,
        stream: Place::Body,
        adds: &[],
        betas: Betas::Header,
        flags: None,
        fetches_media: false,
        framing: None,
        lacks: &[],
        google: Google::AiStudio,
    };

    /// Gemini at Google AI Studio: model and method are in the path.
    pub const GEMINI: Self =
        Self { model: Place::Path, stream: Place::Path, fetches_media: true, ..Self::PLAIN };

    /// Claude on Vertex AI: the model is in the path, the version in the body. Flags of features in test stay a header.
    ///
    /// Source: <https://docs.anthropic.com/en/api/claude-on-vertex-ai>.
    pub const VERTEX_CLAUDE: Self = Self {
        model: Place::Path,
        adds: &[("anthropic_version", "vertex-2023-10-16")],
        flags: Some(&[
            "computer-use-",
            "context-1m-",
            "context-management-",
            "fine-grained-tool-streaming-",
            "interleaved-thinking-",
            "output-128k-",
            "token-efficient-tools-",
            "tool-search-tool-",
            "web-search-",
        ]),
        fetches_media: true,
        // Structured outputs are not offered there.
        lacks: &[Lack::Schemas],
        ..Self::PLAIN
    };

    /// Gemini on Vertex AI.
    pub const VERTEX_GEMINI: Self = Self { google: Google::Vertex, ..Self::GEMINI };

    /// How its streams of a dialect are cut into frames, unless their content type says otherwise.
    pub fn framing_of(&self, dialect: Dialect) -> Framing {
        self.framing.unwrap_or(dialect.codec().upstream.framing)
    }

    /// Whether the provider has no such thing.
    pub fn lacks(&self, what: Lack) -> bool {
        self.lacks.contains(&what)
    }

    /// Whether a request may name this feature in test.
    pub fn knows(&self, flag: &str) -> bool {
        self.flags.is_none_or(|known| known.iter().any(|known| flag.starts_with(known)))
    }
}

impl Default for Envelope {
    fn default() -> Self {
        Self::PLAIN
    }
}
