//! What models accept here, by name: a table in code, since no API tells it.
//!
//! Sources: <https://platform.openai.com/docs/guides/reasoning>, <https://platform.openai.com/docs/guides/latest-model>,
//! and the providers' refusals.

use crate::ir::{Effort, Maker};

/// A model, as far as what it accepts goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// Whether it thinks.
    pub(super) thinks: Thinks,
    /// Whose seals it can read.
    pub(super) maker: Option<Maker>,
    /// Whether it takes temperature, nucleus and likelihoods.
    pub(super) sampling: Sampling,
    /// The least and the most that it can be told to think; without a least one it can do without.
    least: Option<Effort>,
    most: Effort,
    /// Whether it takes marks behind which a cache may end.
    pub(super) marks: bool,
    /// Whether it hears.
    pub(super) hears: bool,
}

/// The habit of thinking before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    /// It does, and gives its thoughts away sealed.
    Sealed,
    /// It may: whether it does is not known.
    Perhaps,
    /// It does not, and refuses to be told how much.
    Never,
}

/// The rule by which sampling parameters are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// In any case.
    Always,
    /// While it does not think, as it does unless told to.
    WithoutThinking,
    /// In no case.
    Never,
}

/// Names in which models of others can be told.
const OTHERS: [&str; 14] = [
    "doubao", "deepseek", "qwen", "kimi", "glm", "gemini", "gemma", "claude", "mistral", "llama", "gpt-oss",
    "minimax", "nova", "phi-",
];

/// Who can read the seals of a model's thoughts; none where there are no such seals.
pub(super) fn maker(name: &str) -> Option<Maker> {
    let name = name.to_ascii_lowercase();
    if name.contains("grok") {
        return Some(Maker::Xai);
    }
    // What is called by another name is a deployment: there, too, they are of OpenAI's models.
    (!OTHERS.iter().any(|other| name.contains(other))).then_some(Maker::OpenAi)
}

impl Model {
    /// Reads a model's name, in any provider's spelling: `gpt-5.2-2025-12-11`, `openai/o3`, `openai.gpt-5.5`.
    pub(super) fn of(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let bare = lower.rsplit('/').next().unwrap_or_default();
        let bare = bare.strip_prefix("openai.").unwrap_or(bare);
        let maker = maker(&lower);
        let unknown = Self {
            thinks: Thinks::Perhaps,
            maker,
            sampling: Sampling::Always,
            least: None,
            most: Effort::Max,
            marks: false,
            hears: true,
        };
        if maker == Some(Maker::Xai) {
            let thinks = if bare.starts_with("grok-4") { Thinks::Sealed } else { Thinks::Perhaps };
            return Self { thinks, hears: false, ..unknown };
        }
        if maker.is_none() {
            return unknown;
        }
        let own = Self { hears: bare.contains("audio"), ..unknown };
        let thinker = Self {
            thinks: Thinks::Sealed,
            sampling: Sampling::Never,
            least: Some(Effort::Low),
            most: Effort::High,
            ..own
        };
        if ["codex", "computer-use"].iter().any(|start| bare.starts_with(start)) || is_of_o_series(bare) {
            return thinker;
        }
        let Some((version, rest)) = bare.strip_prefix("gpt-").and_then(version) else {
            let mute = ["gpt-3", "gpt-4", "chatgpt"].iter().any(|start| bare.starts_with(start));
            return if mute { Self { thinks: Thinks::Never, ..own } } else { own };
        };
        let has = |word: &str| rest.split('-').any(|part| part == word);
        if version < (5, 0) {
            return Self { thinks: Thinks::Never, ..own };
        }
        if has("chat") {
            let sampling = if version == (5, 0) { Sampling::Always } else { Sampling::Never };
            return Self { thinks: Thinks::Never, sampling, ..own };
        }
        let least = match version {
            (5, 0) if has("pro") => Some(Effort::High),
            _ if has("pro") => Some(Effort::Medium),
            _ if has("codex") => Some(Effort::Low),
            (5, 0) => Some(Effort::Minimal),
            _ => None,
        };
        let most = match version {
            (5, 1) if has("max") => Effort::XHigh,
            (5, ..=1) => Effort::High,
            (5, ..=5) => Effort::XHigh,
            _ => Effort::Max,
        };
        let plain = least.is_none() && version <= (5, 4);
        let sampling = if plain { Sampling::WithoutThinking } else { Sampling::Never };
        Self { least, most, sampling, marks: version >= (5, 6), ..thinker }
    }

    /// The word for an amount of thinking, none for not at all, as near as the model takes it.
    pub(super) fn word(&self, wanted: Option<Effort>) -> &'static str {
        let Some(wanted) = wanted else { return self.least.map_or("none", Effort::as_str) };
        // Models that can do without thinking know no word for nearly so.
        let floor = match self.thinks {
            Thinks::Sealed => Effort::Low,
            Thinks::Perhaps | Thinks::Never => Effort::Minimal,
        };
        wanted.max(self.least.unwrap_or(floor)).min(self.most).as_str()
    }
}

/// `o1`, `o3-mini`, `o4-mini-deep-research` …
fn is_of_o_series(bare: &str) -> bool {
    let mut letters = bare.bytes();
    letters.next() == Some(b'o') && letters.next().is_some_and(|digit| digit.is_ascii_digit())
}

/// The version at the beginning of a name, and what stands behind it: `5.2-codex`, `5-mini`, `4o`.
fn version(name: &str) -> Option<((u32, u32), &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = name.split_at(digits(name));
    let (minor, rest) = match rest.strip_prefix('.') {
        Some(minor) => minor.split_at(digits(minor)),
        None => ("0", rest),
    };
    Some(((major.parse().ok()?, minor.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_accepts_is_known_by_its_name() {
        use Sampling::{Always, WithoutThinking};
        use Thinks::{Perhaps, Sealed};
        for (name, thinks, sampling) in [
            ("gpt-4o-mini", Thinks::Never, Always),
            ("gpt-4.1", Thinks::Never, Always),
            ("chatgpt-4o-latest", Thinks::Never, Always),
            ("gpt-5-chat-latest", Thinks::Never, Always),
            ("gpt-5.2-chat-latest", Thinks::Never, Sampling::Never),
            ("o3-mini-2025-01-31", Sealed, Sampling::Never),
            ("openai/o4-mini-deep-research", Sealed, Sampling::Never),
            ("codex-mini", Sealed, Sampling::Never),
            ("gpt-5", Sealed, Sampling::Never),
            ("gpt-5-mini-2025-08-07", Sealed, Sampling::Never),
            ("gpt-5.2-2025-12-11", Sealed, WithoutThinking),
            ("gpt-5.2-codex", Sealed, Sampling::Never),
            ("openai.gpt-5.5", Sealed, Sampling::Never),
            ("gpt-6", Sealed, Sampling::Never),
            ("gpt-oss-20b", Perhaps, Always),
            ("grok-4.3", Sealed, Always),
            ("my-deployment", Perhaps, Always),
            ("omni", Perhaps, Always),
            ("doubao-seed-1-6", Perhaps, Always),
        ] {
            let model = Model::of(name);

            assert_eq!((model.thinks, model.sampling), (thinks, sampling), "{name}");
        }
    }

    #[test]
    fn an_amount_of_thinking_is_told_in_a_word_that_the_model_knows() {
        use Effort::{High, Low, Max, Minimal, XHigh};
        for (name, wanted, word) in [
            ("o3", None, "low"),
            ("o3", Some(Minimal), "low"),
            ("o3", Some(Max), "high"),
            ("gpt-5", None, "minimal"),
            ("gpt-5", Some(XHigh), "high"),
            ("gpt-5-pro", Some(Low), "high"),
            ("gpt-5-codex", Some(Minimal), "low"),
            ("gpt-5.1", None, "none"),
            ("gpt-5.1", Some(XHigh), "high"),
            ("gpt-5.1-codex-max", Some(XHigh), "xhigh"),
            ("gpt-5.2", Some(Minimal), "low"),
            ("gpt-5.2", Some(Max), "xhigh"),
            ("gpt-5.2-pro", None, "medium"),
            ("gpt-5.6-sol", Some(Max), "max"),
            ("grok-3-mini", Some(High), "high"),
            ("my-deployment", Some(Minimal), "minimal"),
            ("my-deployment", None, "none"),
        ] {
            assert_eq!(Model::of(name).word(wanted), word, "{name}: {wanted:?}");
        }
    }

    #[test]
    fn a_seal_is_of_the_maker_of_the_model() {
        for (name, expected) in [
            ("gpt-5-nano-2025-08-07", Some(Maker::OpenAi)),
            ("my-deployment", Some(Maker::OpenAi)),
            ("grok-4.3", Some(Maker::Xai)),
            ("openai.gpt-oss-20b", None),
            ("deepseek-v4-flash", None),
        ] {
            assert_eq!(maker(name), expected, "{name}");
        }
    }
}
