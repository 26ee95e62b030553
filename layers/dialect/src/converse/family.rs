//! What the models of each maker accept of Converse: a table in code, since no API tells it.
//!
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html>,
//! `…/tool-use.html`, `…/prompt-caching.html`, `…/structured-output.html`, and the pages of the models. Of models that
//! nobody has named here only what all of them take is asked.

use crate::anthropic::Model;

/// A family of models, as far as it decides what may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) maker: Maker,
    /// Whether instructions have a place of their own.
    pub(super) system: bool,
    /// How a tool can be forced.
    pub(super) force: Force,
    /// Whether a result can be marked as a failure.
    pub(super) failed_results: bool,
    /// Whether answers can be bound to a JSON schema.
    pub(super) schema: bool,
    /// Which marks for the cache there are.
    pub(super) caches: Caches,
    /// The field for an amount of thinking.
    pub(super) thinking: Thinking,
    /// Whether it goes on with the beginning of an answer that the client wrote.
    pub(super) prefill: bool,
    /// Whether a tool of the provider searches the web.
    pub(super) searches: bool,
    /// Most sequences that end an answer.
    pub(super) stops: usize,
}

/// The maker of a model, where anything depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Anthropic,
    Amazon,
    Cohere,
    Mistral,
    Other,
}

/// The ways in which a tool can be forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Not at all: it is asked for in words.
    Words,
    /// Some tool.
    Any,
    /// A certain one, too.
    Named,
}

/// The places in which marks for the cache may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caches {
    /// Nowhere.
    None,
    /// Behind instructions and in the conversation.
    Messages,
    /// Behind tools, too, and for an hour where this says so.
    Everywhere { hours: bool },
}

/// The field in which an amount of thinking is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// There is none: the model thinks or does not.
    Fixed,
    /// Anthropic's.
    Claude,
    /// `reasoningConfig.maxReasoningEffort`.
    Nova,
    /// `reasoning_effort`.
    Effort,
    /// `reasoning_config`, a word.
    Word,
}

/// Parts of names, the family that they tell, in order: the first that is found counts.
const FAMILIES: [(&[&str], Family); 14] = [
    (&["nova-2"], Family { thinking: Thinking::Nova, searches: true, ..NOVA }),
    (&["nova-premier"], Family { searches: true, ..NOVA }),
    (&["nova"], NOVA),
    (&["titan", "command-text", "command-light", "j2-"], Family { system: false, ..PLAIN }),
    (&["cohere.", "command-r"], Family { maker: Maker::Cohere, ..PLAIN }),
    (&["mistral-7b", "mixtral-8x7b"], Family { system: false, ..MISTRAL }),
    (
        &["magistral-small", "ministral-3", "ministral-8b", "ministral-14b", "mistral-large-3", "voxtral"],
        Family { schema: true, ..MISTRAL },
    ),
    (&["mistral", "pixtral"], MISTRAL),
    (&["gpt-oss"], Family { schema: true, thinking: Thinking::Effort, ..PLAIN }),
    (&["qwen3"], Family { schema: true, thinking: Thinking::Word, ..PLAIN }),
    (&["gemma-3", "deepseek.v3", "deepseek-v3"], Family { schema: true, ..PLAIN }),
    (&["kimi-k2", "minimax-m2", "nemotron"], Family { schema: true, ..PLAIN }),
    (&["jamba", "llama"], PLAIN),
    (&[""], PLAIN),
];

const PLAIN: Family = Family {
    maker: Maker::Other,
    system: true,
    force: Force::Words,
    failed_results: false,
    schema: false,
    caches: Caches::None,
    thinking: Thinking::Fixed,
    prefill: false,
    searches: false,
    stops: 2500,
};

const MISTRAL: Family = Family { maker: Maker::Mistral, force: Force::Any, stops: 10, ..PLAIN };

const NOVA: Family = Family {
    maker: Maker::Amazon,
    force: Force::Named,
    failed_results: true,
    caches: Caches::Messages,
    prefill: true,
    stops: 4,
    ..PLAIN
};

impl Family {
    /// That of a model, by the provider's name of it or that of one of its inference profiles.
    pub(super) fn of(name: &str, model: &Model) -> Self {
        let name = name.to_ascii_lowercase();
        if name.contains("claude") || name.contains("anthropic.") {
            return Self {
                maker: Maker::Anthropic,
                force: Force::Named,
                failed_results: true,
                schema: model.recent,
                caches: Caches::Everywhere { hours: model.recent },
                thinking: Thinking::Claude,
                prefill: model.prefill,
                ..PLAIN
            };
        }
        let found = FAMILIES.iter().find(|(parts, _)| parts.iter().any(|part| name.contains(part)));
        found.map_or(PLAIN, |(_, family)| *family)
    }

    pub(super) fn is(self, maker: Maker) -> bool {
        self.maker == maker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Family {
        Family::of(name, &Model::of(name))
    }

    #[test]
    fn a_family_is_read_out_of_names_profiles_and_arns() {
        for (name, maker, force, thinking, schema) in [
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                Maker::Anthropic,
                Force::Named,
                Thinking::Claude,
                true,
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
                Maker::Anthropic,
                Force::Named,
                Thinking::Claude,
                false,
            ),
            ("us.amazon.nova-2-lite-v1:0", Maker::Amazon, Force::Named, Thinking::Nova, false),
            ("amazon.nova-micro-v1:0", Maker::Amazon, Force::Named, Thinking::Fixed, false),
            ("mistral.mistral-large-2407-v1:0", Maker::Mistral, Force::Any, Thinking::Fixed, false),
            ("openai.gpt-oss-120b-1:0", Maker::Other, Force::Words, Thinking::Effort, true),
            ("qwen.qwen3-32b-v1:0", Maker::Other, Force::Words, Thinking::Word, true),
            ("cohere.command-r-v1:0", Maker::Cohere, Force::Words, Thinking::Fixed, false),
            ("somebody.new-model", Maker::Other, Force::Words, Thinking::Fixed, false),
        ] {
            let family = of(name);
            assert_eq!(
                (family.maker, family.force, family.thinking, family.schema),
                (maker, force, thinking, schema),
                "{name}"
            );
        }
    }

    #[test]
    fn models_without_a_place_for_instructions_are_known() {
        assert!(!of("amazon.titan-text-express-v1").system && !of("mistral.mistral-7b-instruct-v0:2").system);
        assert!(
            of("mistral.mistral-large-2402-v1:0").system && of("us.meta.llama3-3-70b-instruct-v1:0").system
        );
    }
}
