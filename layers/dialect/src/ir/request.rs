use bytes::Bytes;
use serde_json::{Map, Number, Value};

use crate::Dialect;

/// A request of a client, in nobody's wire shape. It is shared by all attempts and never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The dialect it came in; unknown fields are kept for this family only.
    pub source: Dialect,
    /// Instructions before the conversation, in order.
    pub system: Vec<Block>,
    /// How many of the client's messages these were: what errors count from.
    pub leading: usize,
    /// The conversation.
    pub turns: Vec<Turn>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Tools that run at the provider.
    pub server_tools: Vec<ServerTool>,
    /// The choice among tools: which may or must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls in one turn are allowed; `None` leaves it to the provider.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// How much the model should think.
    pub reasoning: Option<Reasoning>,
    /// Priority class, in the words of the client's dialect.
    pub service_tier: Option<String>,
    /// The client's own name of its user.
    pub user: Option<String>,
    /// The same, for those who look after abuse.
    pub safety_identifier: Option<String>,
    /// What caches of providers call the conversation.
    pub cache_key: Option<String>,
    /// The client's own labels.
    pub metadata: Option<Map<String, Value>>,
    /// Forms of output (`text`, `audio`, `image`).
    pub modalities: Vec<String>,
    /// Voice and format of spoken output, in OpenAI's words.
    pub audio: Option<Value>,
    /// Unknown top-level fields, passed on within the same family only.
    pub extra: Map<String, Value>,
}

impl Request {
    /// An empty request of `source`, to be filled.
    pub fn new(source: Dialect) -> Self {
        Self {
            source,
            system: Vec::new(),
            leading: 0,
            turns: Vec::new(),
            sampling: Sampling::default(),
            tools: Vec::new(),
            server_tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            response_format: None,
            reasoning: None,
            service_tier: None,
            user: None,
            safety_identifier: None,
            cache_key: None,
            metadata: None,
            modalities: Vec::new(),
            audio: None,
            extra: Map::new(),
        }
    }
}

/// One side's contribution to the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub blocks: Vec<Block>,
}

/// The speaker of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An instruction in the middle of a conversation.
    System,
    /// The person, or the program, that asks.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls.
    Tool,
}

/// A piece of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What it is.
    pub content: Content,
    /// That a cache may end behind it.
    pub cache: Option<CacheHint>,
    /// What must come back with it to be believed.
    pub seal: Option<Seal>,
}

/// A seal of a model's maker on its own words, thoughts, calls and pictures: without it they cannot be replayed to
/// models of that maker, and to models of others it must never be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Who can read it.
    pub maker: Maker,
    /// It, as it came.
    pub data: String,
}

impl Seal {
    /// The seal's data for models of a maker; none when it is another's.
    pub fn for_maker(&self, maker: Maker) -> Option<&str> {
        (self.maker == maker).then_some(self.data.as_str())
    }
}

/// A maker of models. Several dialects may carry the seals of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Of Claude.
    Anthropic,
    /// Of Gemini.
    Google,
    /// Of GPT and the o series.
    OpenAi,
    /// Of Grok.
    Xai,
}

impl Block {
    /// A block without a cache hint or a seal.
    pub fn new(content: Content) -> Self {
        Self { content, cache: None, seal: None }
    }

    /// The block's seal for models of a maker.
    pub fn seal_for(&self, maker: Maker) -> Option<&str> {
        self.seal.as_ref()?.for_maker(maker)
    }

    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Content::Text(text.into()))
    }
}

/// A wish to cache the prompt up to here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheHint {
    /// For how long (`5m`, `1h`), where the client says so.
    pub ttl: Option<String>,
}

/// The kinds of content.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source,
        /// OpenAI's `detail`.
        detail: Option<String>,
    },
    /// Sound.
    Audio {
        /// Where its bytes are.
        source: Source,
    },
    /// A file to read, such as a PDF.
    Document {
        /// Where its bytes are.
        source: Source,
        /// Its name.
        title: Option<String>,
    },
    /// The model calls a tool.
    ToolCall {
        /// The identity that the result names.
        id: String,
        /// The tool.
        name: String,
        /// Arguments as JSON text, as the model wrote them.
        arguments: String,
    },
    /// What a tool gave back.
    ToolResult {
        /// The call it answers.
        call_id: String,
        /// The tool, where the client says so.
        name: Option<String>,
        /// The result.
        blocks: Vec<Block>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// Visible reasoning of an earlier turn.
    Thinking {
        /// Its words.
        text: String,
    },
    /// Reasoning that only the provider can read.
    RedactedThinking {
        /// Sealed bytes.
        data: String,
    },
    /// Words of a refusal.
    Refusal(String),
    /// Something only one dialect knows.
    Opaque {
        /// The dialect that knows it.
        dialect: Dialect,
        /// It, as it came.
        json: Value,
    },
}

/// The place in which the bytes of a medium are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the request.
    Base64 {
        /// Media type.
        mime: String,
        /// The bytes, in standard base64 without white space: a slice of what was received, where it was so.
        data: Bytes,
    },
    /// Plain text in the request.
    Text(String),
    /// At an address.
    Url(String),
    /// In a store of the provider.
    Reference(String),
}

/// The parameters by which tokens are drawn. Numbers stay as the client wrote them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Output limit.
    pub max_tokens: Option<u64>,
    /// Randomness, 0 to 2.
    pub temperature: Option<Number>,
    /// Nucleus.
    pub top_p: Option<Number>,
    /// Candidates.
    pub top_k: Option<u64>,
    /// Smallest probability.
    pub min_p: Option<Number>,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// For repeatable answers.
    pub seed: Option<Number>,
    /// How many answers.
    pub n: Option<u64>,
    /// Against words that occurred.
    pub presence_penalty: Option<Number>,
    /// Against words that occurred often.
    pub frequency_penalty: Option<Number>,
    /// Whether probabilities are wanted.
    pub logprobs: Option<bool>,
    /// How many of them.
    pub top_logprobs: Option<u64>,
    /// Token weights.
    pub logit_bias: Option<Value>,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments; null when the client gave none.
    pub schema: Value,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// That a cache may end behind it.
    pub cache: Option<CacheHint>,
}

/// A tool that runs at the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTool {
    /// What it does.
    pub task: ServerTask,
    /// It, in the words of the dialect that it came in.
    pub raw: Raw,
}

/// The task of a tool at the provider.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerTask {
    /// It searches the web.
    WebSearch(WebSearch),
    /// Something that only the dialect it came in knows.
    Other,
}

/// The limits of a search in the web.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebSearch {
    /// How often it may search.
    pub max_uses: Option<u64>,
    /// Where the user is: `city`, `region`, `country`, `timezone`.
    pub place: Option<Map<String, Value>>,
}

/// A piece in the words of one dialect, for that dialect only.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// The dialect that knows it.
    pub dialect: Dialect,
    /// It, as it came; null where it was told in another place of the request.
    pub json: Value,
}

impl Raw {
    /// The words for a dialect; none for another's.
    pub fn of(&self, dialect: Dialect) -> Option<&Value> {
        (self.dialect == dialect && !self.json.is_null()).then_some(&self.json)
    }
}

/// The rule for which tool may or must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model sees fit.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
    /// Some of these only.
    Allowed {
        /// Their names.
        names: Vec<String>,
        /// Whether one must be called.
        required: bool,
    },
}

/// The form of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON after a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Value,
        /// What it is for.
        description: Option<String>,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}

/// The amount of thinking that is wanted, in each of the measures that the client gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Whether, and who decides how much.
    pub mode: ReasoningMode,
    /// As much as this word says.
    pub effort: Option<Effort>,
    /// At most so many tokens.
    pub budget: Option<u64>,
    /// Whether the thoughts are to be shown; `None` leaves it to the provider.
    pub visible: Option<bool>,
}

impl Reasoning {
    /// Not at all.
    pub const OFF: Self = Self { mode: ReasoningMode::Off, effort: None, budget: None, visible: None };

    /// As the model sees fit.
    pub const FREE: Self = Self { mode: ReasoningMode::Free, effort: None, budget: None, visible: None };

    /// As much as a word says.
    pub fn with_effort(effort: Effort) -> Self {
        Self { effort: Some(effort), ..Self::default() }
    }

    /// At most so many tokens; none is not at all.
    pub fn with_budget(budget: u64) -> Self {
        match budget {
            0 => Self::OFF,
            budget => Self { budget: Some(budget), ..Self::default() },
        }
    }
}

/// The party that decides how much a model thinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningMode {
    /// The client, by a word or a budget.
    #[default]
    Measured,
    /// The model.
    Free,
    /// Nobody: it does not think.
    Off,
}

/// Words for an amount of thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// All there is.
    Max,
}

impl Effort {
    /// All of them, the least first.
    pub const ALL: [Self; 6] = [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    /// Reads the word; `None` for words that no provider uses.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == word)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }
}
