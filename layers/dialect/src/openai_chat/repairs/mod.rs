//! The quirks of those who imitate OpenAI chat, each with its repair: what is changed in a request that stays in this
//! dialect, or in its answer, because a known upstream takes or gives something else there.
//!
//! A channel has the repairs that the table of hosts names for its upstream (`providers` of the gateway) and those
//! that its configuration adds. Each is one small function that changes what it is for and nothing else. Before a body
//! is parsed it is looked at whether there is anything to repair in it; a channel without repairs is not even looked at.

mod answer;
mod request;

use std::fmt;

pub(super) use answer::mender;
pub(crate) use request::Subject;
pub(super) use request::{concerns, fitting_id, mend, replays};

/// A repair, by the name that `quirks` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Repair {
    /// Request: the role `developer` is unknown and becomes `system`.
    SystemRole,
    /// Request: `max_completion_tokens` is called `max_tokens`.
    MaxTokens,
    /// Request: `max_tokens` is called `max_completion_tokens` for models that think.
    MaxCompletionTokens,
    /// Request: models that think refuse temperature, nucleus and penalties.
    FixedSampling,
    /// Request: `seed` is called `random_seed`.
    RandomSeed,
    /// Request: fields that are for OpenAI's own records and caches are refused.
    NoBookkeeping,
    /// Request: usage comes unasked, and the question for it is refused.
    UsageUnasked,
    /// Request: identities of calls have exactly nine letters and digits.
    NineLetterIds,
    /// Request: thoughts in earlier turns are refused.
    StripThoughts,
    /// Request: thoughts in earlier turns with calls are demanded.
    RequireThoughts,
    /// Request: parameters that models of xAI refuse.
    GrokParameters,
    /// Request: the amount of thinking of Claude models is a budget.
    ClaudeThinking,
    /// Answer: the content is an array of parts, some of which are thoughts.
    ContentParts,
    /// Answer: thoughts are called `reasoning`.
    ReasoningField,
    /// Answer: thoughts stand in the text, between tags.
    ThinkTags,
    /// Answer: there are chunks without choices, and choices without a delta.
    BareChunks,
    /// Answer: reasons to finish are missing, or have other names.
    FinishWords,
    /// Answer: calls in streams have no index.
    CallIndexes,
    /// Answer: what is not there is there, and empty.
    HollowFields,
}

/// A set of repairs.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs(u32);

impl Repair {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::SystemRole,
        Self::MaxTokens,
        Self::MaxCompletionTokens,
        Self::FixedSampling,
        Self::RandomSeed,
        Self::NoBookkeeping,
        Self::UsageUnasked,
        Self::NineLetterIds,
        Self::StripThoughts,
        Self::RequireThoughts,
        Self::GrokParameters,
        Self::ClaudeThinking,
        Self::ContentParts,
        Self::ReasoningField,
        Self::ThinkTags,
        Self::BareChunks,
        Self::FinishWords,
        Self::CallIndexes,
        Self::HollowFields,
    ];

    /// Its name in `quirks`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SystemRole => "system_role",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::FixedSampling => "fixed_sampling",
            Self::RandomSeed => "random_seed",
            Self::NoBookkeeping => "no_bookkeeping",
            Self::UsageUnasked => "usage_unasked",
            Self::NineLetterIds => "nine_letter_ids",
            Self::StripThoughts => "strip_thoughts",
            Self::RequireThoughts => "require_thoughts",
            Self::GrokParameters => "grok_parameters",
            Self::ClaudeThinking => "claude_thinking",
            Self::ContentParts => "content_parts",
            Self::ReasoningField => "reasoning_field",
            Self::ThinkTags => "think_tags",
            Self::BareChunks => "bare_chunks",
            Self::FinishWords => "finish_words",
            Self::CallIndexes => "call_indexes",
            Self::HollowFields => "hollow_fields",
        }
    }

    /// The repair of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|repair| repair.name() == name)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl Repairs {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those that are made in answers.
    const OF_ANSWERS: Self = Self::of(&[
        Repair::ContentParts,
        Repair::ReasoningField,
        Repair::ThinkTags,
        Repair::BareChunks,
        Repair::FinishWords,
        Repair::CallIndexes,
        Repair::HollowFields,
    ]);

    /// These.
    pub const fn of(repairs: &[Repair]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < repairs.len() {
            bits |= repairs[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// The same with one in it, or not.
    #[must_use]
    pub const fn with(self, repair: Repair, on: bool) -> Self {
        if on { Self(self.0 | repair.bit()) } else { Self(self.0 & !repair.bit()) }
    }

    /// Whether one is among them.
    pub const fn has(self, repair: Repair) -> bool {
        self.0 & repair.bit() != 0
    }

    /// Those among them that are made in requests.
    pub(crate) const fn of_requests(self) -> Self {
        Self(self.0 & !Self::OF_ANSWERS.0)
    }

    /// Those among them that are made in answers.
    pub(crate) const fn of_answers(self) -> Self {
        Self(self.0 & Self::OF_ANSWERS.0)
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Repair> {
        Repair::ALL.into_iter().filter(move |repair| self.has(*repair))
    }
}

impl fmt::Debug for Repairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repair_has_a_bit_and_a_name_of_its_own() {
        for (place, repair) in Repair::ALL.into_iter().enumerate() {
            assert_eq!(repair as usize, place);
            assert_eq!(Repair::named(repair.name()), Some(repair));
            assert_eq!(Repairs::of(&[repair]).iter().collect::<Vec<_>>(), [repair]);
        }
        let all = Repairs::of(&Repair::ALL);
        assert_eq!(all.of_requests().and(all.of_answers()), all);
        assert_eq!(all.of_requests().of_answers(), Repairs::NONE);
        assert!(!all.with(Repair::ThinkTags, false).has(Repair::ThinkTags));
    }
}
