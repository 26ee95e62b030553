//! The intermediate form between dialects: what a request asks and what an answer tells, in nobody's wire shape.
//!
//! Answers are [`Event`]s first; a whole answer ([`Response`]) is their fold, so that every dialect maps its answers
//! in one place only, whether they come streamed or whole.

mod error;
mod event;
mod finish;
mod request;
mod response;
mod usage;

pub use error::{Error, ErrorKind, Signs};
pub use event::{Citation, CitationKind, Event, Logprob};
pub use finish::FinishReason;
pub use request::{
    Block, CacheHint, Content, Effort, Maker, Raw, Reasoning, ReasoningMode, Request, ResponseFormat, Role,
    Sampling, Seal, ServerTask, ServerTool, Source, Tool, ToolChoice, Turn, WebSearch,
};
pub use response::{Choice, Response};
pub use usage::{Tier, Usage};
