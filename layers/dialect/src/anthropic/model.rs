//! What Claude models accept, by version: a table in code, since no API tells it.

/// A model, as far as what it accepts goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// Longest answer; `None` for models of other makers, which are not clamped.
    pub(crate) limit: Option<u64>,
    /// The measure in which an amount of thinking is asked for.
    pub(crate) thinking: Thinking,
    /// The rule by which sampling parameters are legal.
    pub(crate) sampling: SamplingRule,
    /// Whether answers can be bound to a JSON schema.
    pub(crate) schema: bool,
    /// Whether it thinks unless told not to.
    pub(crate) thinks_by_default: bool,
    /// Whether it goes on with the beginning of an answer that the client wrote.
    pub(crate) prefill: bool,
    /// Whether it is of version 4.5 or later: what other hosts than Anthropic have taught their older models is less.
    pub(crate) recent: bool,
}

/// The way in which the amount of thinking is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// By a budget of tokens.
    Budget,
    /// By a word; a budget still works.
    Either,
    /// By a word only.
    Effort,
}

/// The rule for which sampling parameters are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SamplingRule {
    /// Any.
    Any,
    /// Temperature or nucleus, not both.
    One,
    /// None at all.
    None,
}

/// Longest default answer, so that forgotten limits do not reserve the largest quota.
const DEFAULT_LIMIT: u64 = 64_000;
/// Default for models of other makers.
const FOREIGN_LIMIT: u64 = 8_192;

impl Model {
    /// Reads the version out of a model's name, in any provider's spelling: `claude-3-7-sonnet-20250219`,
    /// `claude-sonnet-4@20250514`, `us.anthropic.claude-opus-4-1-20250805-v1:0`. Unknown ones count as newest.
    pub(crate) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let Some(at) = name.find("claude") else {
            return Self {
                limit: None,
                thinking: Thinking::Budget,
                sampling: SamplingRule::Any,
                schema: false,
                thinks_by_default: false,
                prefill: true,
                recent: false,
            };
        };
        let mut words = name[at..].split(|letter: char| !letter.is_ascii_alphanumeric()).skip(1).peekable();
        let small = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
        let mut version = (u32::MAX, 0);
        while let Some(word) = words.next() {
            if let Some(major) = small(word) {
                version = (major, words.peek().and_then(|word| small(word)).unwrap_or(0));
                break;
            }
        }
        let opus = name.contains("opus");
        let limit = match version {
            (..=2, _) | (3, ..=4) => 4_096,
            (3, 5..=6) => 8_192,
            (3, _) => 64_000,
            (4, ..=4) if opus => 32_000,
            (4, ..=5) => 64_000,
            _ => 128_000,
        };
        Self {
            limit: Some(limit),
            thinking: match version {
                (..=3, _) | (4, ..=5) => Thinking::Budget,
                (4, 6) => Thinking::Either,
                _ => Thinking::Effort,
            },
            sampling: match version {
                (..=3, _) | (4, 0) => SamplingRule::Any,
                (4, ..=6) => SamplingRule::One,
                _ => SamplingRule::None,
            },
            schema: version >= (4, 5) || (opus && version == (4, 1)),
            thinks_by_default: version >= (5, 0),
            prefill: version < (4, 6),
            recent: version >= (4, 5),
        }
    }

    /// The output limit when the client names none.
    pub(crate) fn default_limit(&self) -> u64 {
        self.limit.map_or(FOREIGN_LIMIT, |limit| limit.min(DEFAULT_LIMIT))
    }

    /// A limit that the model accepts.
    pub(crate) fn clamp(&self, limit: u64) -> u64 {
        self.limit.map_or(limit, |longest| limit.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_spelling() {
        for (name, limit, thinking, sampling) in [
            ("claude-3-haiku-20240307", 4_096, Thinking::Budget, SamplingRule::Any),
            ("claude-3-5-sonnet-latest", 8_192, Thinking::Budget, SamplingRule::Any),
            ("claude-sonnet-4@20250514", 64_000, Thinking::Budget, SamplingRule::Any),
            ("claude-opus-4-20250514", 32_000, Thinking::Budget, SamplingRule::Any),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", 32_000, Thinking::Budget, SamplingRule::One),
            ("anthropic/claude-sonnet-4.5", 64_000, Thinking::Budget, SamplingRule::One),
            ("claude-haiku-4-5-20251001", 64_000, Thinking::Budget, SamplingRule::One),
            ("claude-opus-4-6", 128_000, Thinking::Either, SamplingRule::One),
            ("claude-opus-4-8", 128_000, Thinking::Effort, SamplingRule::None),
            ("claude-sonnet-5", 128_000, Thinking::Effort, SamplingRule::None),
            ("claude-fable", 128_000, Thinking::Effort, SamplingRule::None),
        ] {
            let model = Model::of(name);

            assert_eq!(
                (model.limit, model.thinking, model.sampling),
                (Some(limit), thinking, sampling),
                "{name}"
            );
        }
    }

    #[test]
    fn models_of_other_makers_are_not_clamped() {
        let model = Model::of("kimi-k2-thinking");

        assert_eq!(model.clamp(1_000_000), 1_000_000);
        assert_eq!(model.default_limit(), FOREIGN_LIMIT);
    }
}
