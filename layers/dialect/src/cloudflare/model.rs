//! What is known of models by their names.
//!
//! Source: <https://developers.cloudflare.com/workers-ai/models/>, the input schema of each.

/// Families whose models have the older form; all others take OpenAI's.
const OLDER: [&str; 24] = [
    "/llama",
    "meta-llama",
    "/mistral",
    "mixtral",
    "/gemma-2",
    "/gemma-3",
    "/gemma-7b",
    "gemma-sea-lion",
    "/qwen1.5",
    "/qwen2",
    "/qwen3-30b",
    "/qwq",
    "gpt-oss",
    "granite",
    "hermes",
    "openhermes",
    "deepseek-r1",
    "deepseek-coder",
    "deepseek-math",
    "/phi-2",
    "tinyllama",
    "/falcon",
    "/neural-chat",
    "/zephyr",
];

/// Whether a model has the older form.
pub(super) fn is_older(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("@hf/") || OLDER.iter().any(|family| name.contains(family))
}

/// The way in which a model is told the form of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `response_format`, which it cannot stream.
    Mode,
    /// `guided_json`.
    Guided,
    /// In words.
    Words,
}

impl Format {
    /// That of an older model.
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match () {
            () if name.contains("mistral-small-3.1") || name.contains("qwq") => Self::Guided,
            () if name.contains("llama-3.2-11b-vision") => Self::Words,
            () => Self::Mode,
        }
    }
}

/// Whether an effort of thinking can be told to an older model.
pub(super) fn takes_effort(name: &str) -> bool {
    name.to_ascii_lowercase().contains("gpt-oss")
}
