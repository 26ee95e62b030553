//! The borrowed shapes of Gemini's answers.
//!
//! Every frame of a stream and every whole answer is one `GenerateContentResponse`. Google writes camel case; relays
//! that go through its protocol buffers write snake case, and both are read.
//!
//! Source: <https://ai.google.dev/api/generate-content>, and recordings.

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use crate::ir::{Error, Usage};
use crate::lenient::{Class, Count, Flag, List, Obj, Str, gathered};

/// An answer, or a part of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    candidates: Option<List<Candidate<'a>>>,
    #[serde(borrow, alias = "promptFeedback")]
    pub(super) prompt_feedback: Obj<Feedback<'a>>,
    #[serde(alias = "usageMetadata")]
    pub(super) usage_metadata: Obj<WireUsage>,
    #[serde(borrow, alias = "modelVersion")]
    pub(super) model_version: Str<'a>,
    #[serde(borrow, alias = "responseId")]
    pub(super) response_id: Str<'a>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    /// Reads an answer or a part of one; none for what is neither. The error is the one that it reports itself.
    pub(super) fn read(payload: &'a [u8]) -> Result<Option<Self>, Error> {
        // What is skipped must be text too.
        let Ok(text) = std::str::from_utf8(payload) else { return Ok(None) };
        match serde_json::from_str::<Obj<Chunk<'a>>>(text) {
            Ok(Obj(Some(chunk))) if chunk.error.is_none() && chunk.says_something() => Ok(Some(chunk)),
            _ => super::words::in_band(payload).map_or(Ok(None), Err),
        }
    }

    pub(super) fn candidates(&self) -> &[Candidate<'a>] {
        self.candidates.as_ref().map(|list| &*list.0).unwrap_or_default()
    }

    /// Whether it is an answer at all; one without candidates keeps a stream alive.
    fn says_something(&self) -> bool {
        self.candidates.is_some()
            || self.prompt_feedback.0.is_some()
            || self.usage_metadata.0.is_some()
            || self.response_id.full().is_some()
            || self.model_version.full().is_some()
    }
}

/// The judgement on a prompt that was not answered.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Feedback<'a> {
    #[serde(borrow, alias = "blockReason")]
    pub(super) block_reason: Str<'a>,
    #[serde(borrow, alias = "blockReasonMessage")]
    pub(super) block_reason_message: Str<'a>,
}

/// One candidate of an answer, as far as this part of it tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Candidate<'a> {
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) content: Obj<Contents<'a>>,
    #[serde(borrow, alias = "finishReason")]
    pub(super) finish_reason: Str<'a>,
    #[serde(borrow, alias = "finishMessage")]
    pub(super) finish_message: Str<'a>,
    #[serde(borrow, alias = "groundingMetadata")]
    pub(super) grounding_metadata: Obj<Grounding<'a>>,
    #[serde(borrow, alias = "logprobsResult")]
    pub(super) logprobs_result: Option<&'a RawValue>,
}

/// The content of a candidate.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Contents<'a> {
    #[serde(borrow)]
    pub(super) parts: List<Part<'a>>,
}

/// A part: text, a thought, a call, a medium, code that ran at the provider.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    pub(super) thought: Flag,
    #[serde(borrow, alias = "thoughtSignature")]
    pub(super) thought_signature: Str<'a>,
    #[serde(borrow, alias = "functionCall")]
    pub(super) function_call: Obj<Call<'a>>,
    #[serde(borrow, alias = "inlineData")]
    pub(super) inline_data: Obj<Blob<'a>>,
    #[serde(borrow, alias = "fileData")]
    pub(super) file_data: Obj<FileData<'a>>,
    #[serde(borrow, alias = "executableCode")]
    pub(super) executable_code: Obj<Code<'a>>,
    #[serde(borrow, alias = "codeExecutionResult")]
    pub(super) code_execution_result: Obj<Outcome<'a>>,
}

/// A call of a function of the client's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call<'a> {
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(borrow, alias = "partialArgs")]
    pub(super) partial_args: List<Piece<'a>>,
    #[serde(alias = "willContinue")]
    pub(super) will_continue: Flag,
}

/// A piece of the arguments of a call that comes bit by bit (`streamFunctionCallArguments` of Vertex AI).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'a> {
    #[serde(borrow, alias = "jsonPath")]
    pub(super) json_path: Str<'a>,
    #[serde(borrow, alias = "stringValue")]
    pub(super) string_value: Str<'a>,
    #[serde(borrow, alias = "numberValue")]
    pub(super) number_value: Option<&'a RawValue>,
    #[serde(borrow, alias = "boolValue")]
    pub(super) bool_value: Option<&'a RawValue>,
}

/// A medium in base64.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Blob<'a> {
    #[serde(borrow, alias = "mimeType")]
    pub(super) mime_type: Str<'a>,
    #[serde(borrow)]
    pub(super) data: Str<'a>,
}

/// A medium at an address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FileData<'a> {
    #[serde(borrow, alias = "mimeType")]
    pub(super) mime_type: Str<'a>,
    #[serde(borrow, alias = "fileUri")]
    pub(super) file_uri: Str<'a>,
}

/// Code that the model wrote for itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Code<'a> {
    #[serde(borrow)]
    pub(super) language: Str<'a>,
    #[serde(borrow)]
    pub(super) code: Str<'a>,
}

/// The outcome of such code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outcome<'a> {
    #[serde(borrow)]
    pub(super) outcome: Str<'a>,
    #[serde(borrow)]
    pub(super) output: Str<'a>,
}

/// The sources of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Grounding<'a> {
    #[serde(borrow, alias = "groundingChunks")]
    pub(super) grounding_chunks: List<Origin<'a>>,
    #[serde(borrow, alias = "groundingSupports")]
    pub(super) grounding_supports: List<Support<'a>>,
    #[serde(borrow, alias = "webSearchQueries")]
    pub(super) web_search_queries: Option<&'a RawValue>,
}

/// A source: a page, or a passage of the caller's own documents.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Origin<'a> {
    #[serde(borrow)]
    pub(super) web: Obj<Page<'a>>,
    #[serde(borrow)]
    pub(super) maps: Obj<Page<'a>>,
    #[serde(borrow, alias = "retrievedContext")]
    pub(super) retrieved_context: Obj<Page<'a>>,
}

/// The name and the place of a source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    pub(super) uri: Str<'a>,
    #[serde(borrow)]
    pub(super) title: Str<'a>,
}

/// A part of the text, and the sources that it draws on, by their places in the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Support<'a> {
    #[serde(borrow)]
    pub(super) segment: Obj<Segment<'a>>,
    #[serde(borrow, alias = "groundingChunkIndices")]
    pub(super) grounding_chunk_indices: Option<&'a RawValue>,
}

/// A part of the text. Offsets are in bytes of UTF-8.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Segment<'a> {
    #[serde(alias = "startIndex")]
    pub(super) start_index: Count,
    #[serde(alias = "endIndex")]
    pub(super) end_index: Count,
    #[serde(borrow)]
    pub(super) text: Str<'a>,
}

/// The likelihoods of tokens, and of those that could have stood in their place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Likelihoods {
    #[serde(alias = "chosenCandidates")]
    pub(super) chosen_candidates: Vec<Token>,
    #[serde(alias = "topCandidates")]
    pub(super) top_candidates: Vec<Tokens>,
}

/// The likeliest tokens in one place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    pub(super) candidates: Vec<Token>,
}

/// A token, and the natural logarithm of its probability.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Token {
    pub(super) token: String,
    #[serde(alias = "logProbability")]
    pub(super) log_probability: Option<Number>,
}

/// Token counts, cumulative over a stream. Thoughts are no part of `candidatesTokenCount`, and prompts of tools none of
/// `promptTokenCount`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    #[serde(alias = "promptTokenCount")]
    prompt_token_count: Count,
    #[serde(alias = "candidatesTokenCount")]
    candidates_token_count: Count,
    #[serde(alias = "totalTokenCount")]
    total_token_count: Count,
    #[serde(alias = "thoughtsTokenCount")]
    thoughts_token_count: Count,
    #[serde(alias = "cachedContentTokenCount")]
    cached_content_token_count: Count,
    #[serde(alias = "toolUsePromptTokenCount")]
    tool_use_prompt_token_count: Count,
    #[serde(alias = "promptTokensDetails")]
    prompt_tokens_details: Modalities,
    #[serde(alias = "toolUsePromptTokensDetails")]
    tool_use_prompt_tokens_details: Modalities,
    #[serde(alias = "candidatesTokensDetails")]
    candidates_tokens_details: Modalities,
    #[serde(alias = "serviceTier")]
    service_tier: Class,
}

/// Tokens of sound and of pictures, added up where they are read: they come with every frame.
#[derive(Clone, Copy, Debug, Default)]
struct Modalities {
    sound: u64,
    picture: u64,
}

impl<'de> Deserialize<'de> for Modalities {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        gathered(deserializer, |sum: &mut Self, part: Modality<'de>| {
            let place = match part.modality.text() {
                "AUDIO" => &mut sum.sound,
                "IMAGE" => &mut sum.picture,
                _ => return,
            };
            *place = place.saturating_add(part.token_count.0);
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Str<'a>,
    #[serde(alias = "tokenCount")]
    token_count: Count,
}

impl WireUsage {
    /// The counts in normal form.
    pub(super) fn normal(&self) -> Usage {
        let (prompt, tools) = (self.prompt_token_count.0, self.tool_use_prompt_token_count.0);
        let (answer, thoughts) = (self.candidates_token_count.0, self.thoughts_token_count.0);
        let (said, shown) = (self.prompt_tokens_details, self.tool_use_prompt_tokens_details);
        Usage {
            input_total: prompt.saturating_add(tools),
            cached_read: self.cached_content_token_count.0,
            output_total: answer.saturating_add(thoughts),
            reasoning: thoughts,
            audio_in: said.sound.saturating_add(shown.sound),
            audio_out: self.candidates_tokens_details.sound,
            image_in: said.picture.saturating_add(shown.picture),
            image_out: self.candidates_tokens_details.picture,
            tool_prompt: tools,
            stated_total: self.total_token_count.0,
            tier: self.service_tier.0,
            ..Usage::default()
        }
    }
}
