//! How much a model is told to think, in the field that its maker has for it.
//!
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html>,
//! <https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html>, and recordings of others.

use serde_json::{Map, Value, json};

use crate::Aim;
use crate::anthropic::{Amount, Model};
use crate::converse::family::{Family, Thinking};
use crate::ir::{Effort, Reasoning, ReasoningMode, Request};
use crate::rope::Node;

/// The thinking that a model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thoughts {
    /// Claude's, by budget or by word.
    Claude(Amount),
    /// A word in a field of this kind.
    Word(Thinking, &'static str),
    /// As it does by itself.
    Default,
}

impl Thoughts {
    /// The client's words first, then the alias. `torn` is whether a loop of calls goes on without its thoughts.
    pub(super) fn of(request: &Request, aim: &Aim<'_>, model: &Model, family: Family, torn: bool) -> Self {
        let limit = request.sampling.max_tokens.filter(|limit| *limit > 0).unwrap_or(model.default_limit());
        let wish = match family.thinking {
            Thinking::Fixed => return Self::Default,
            Thinking::Claude => {
                return Self::Claude(Amount::of(request, aim.alias, model, model.clamp(limit)).unless(torn));
            }
            _ => Amount::wish(request, aim.alias, model, limit),
        };
        let Some(effort) = wish.and_then(effort) else { return Self::Default };
        Self::Word(
            family.thinking,
            match effort {
                Effort::Minimal | Effort::Low => "low",
                Effort::Medium => "medium",
                Effort::High | Effort::XHigh | Effort::Max => "high",
            },
        )
    }

    /// Whether it is told to think in a way that forbids force and beginnings of answers.
    pub(super) fn is_on(&self) -> bool {
        match self {
            Self::Claude(amount) => amount.is_on(),
            Self::Word(kind, _) => *kind == Thinking::Nova,
            Self::Default => false,
        }
    }

    /// Whether limits and the drawing of tokens are the model's own: Nova says so of its highest effort.
    pub(super) fn forbids_limits(&self) -> bool {
        *self == Self::Word(Thinking::Nova, "high")
    }

    /// The output limit, with room for the thinking that counts as output.
    pub(super) fn limit(&self, limit: u64, model: &Model) -> u64 {
        match self {
            Self::Claude(amount) => amount.limit(limit, model),
            _ => limit,
        }
    }

    /// The fields for it.
    pub(super) fn write(&self, model: &Model, visible: Option<bool>, fields: &mut Map<String, Value>) {
        match self {
            Self::Default => {}
            Self::Claude(amount) => {
                let (mut body, mut output) = (Node::Object(Vec::new()), Map::new());
                amount.write(model, visible, &mut body, &mut output);
                if let Value::Object(written) = body.into_value() {
                    fields.extend(written);
                }
                if !output.is_empty() {
                    fields.insert("output_config".into(), output.into());
                }
            }
            Self::Word(Thinking::Nova, word) => {
                let config = json!({ "type": "enabled", "maxReasoningEffort": word });
                fields.insert("reasoningConfig".into(), config);
            }
            Self::Word(Thinking::Word, word) => {
                fields.insert("reasoning_config".into(), (*word).into());
            }
            Self::Word(_, word) => {
                fields.insert("reasoning_effort".into(), (*word).into());
            }
        }
    }
}

/// A wish as a word; none where the model is to do as it does by itself.
fn effort(wish: Reasoning) -> Option<Effort> {
    match (wish.mode, wish.effort, wish.budget) {
        (ReasoningMode::Off, ..) => None,
        (_, Some(effort), _) => Some(effort),
        (_, None, Some(..=2048)) => Some(Effort::Low),
        (_, None, Some(2049..=8192)) => Some(Effort::Medium),
        (_, None, Some(_)) => Some(Effort::High),
        (ReasoningMode::Free, None, None) => Some(Effort::Medium),
        (ReasoningMode::Measured, None, None) => None,
    }
}
