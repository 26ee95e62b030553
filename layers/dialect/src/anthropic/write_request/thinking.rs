//! How much a model is told to think: by a budget, by a word, or not at all, as its version allows.
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>. Budgets and limits are in tokens.

use serde_json::{Map, Value, json};

use super::turns::WrittenTurn;
use crate::anthropic::model::{Model, Thinking};
use crate::ir::{Effort, Reasoning, ReasoningMode, Request};
use crate::rope::Node;

/// Smallest budget for thinking.
const LEAST_BUDGET: u64 = 1024;
/// Budget that a `think` in the alias stands for.
const ALIAS_BUDGET: u64 = 4096;

/// The amount of thinking that the model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// As it does by itself, which is not at all for most models.
    Default,
    /// Not at all, said so.
    Off,
    /// At most so many tokens.
    Budget(u64),
    /// As it sees fit, along a word.
    Adaptive(Option<Effort>),
}

impl Amount {
    /// The client's words first, then the alias.
    pub(crate) fn of(request: &Request, alias: &str, model: &Model, limit: u64) -> Self {
        let Some(wish) = Self::wish(request, alias, model, limit) else { return Self::Default };
        let by_word = model.thinking != Thinking::Budget;
        match (wish.mode, wish.budget, wish.effort) {
            (ReasoningMode::Off, ..) if model.thinks_by_default => Self::Off,
            (ReasoningMode::Off, ..) => Self::Default,
            (ReasoningMode::Free, _, effort) if by_word => Self::Adaptive(effort),
            // A budget is the nearer measure where it can be kept, a word where not.
            (_, Some(budget), _) if model.thinking != Thinking::Effort => Self::Budget(budget),
            (_, _, Some(effort)) if by_word => Self::Adaptive(Some(effort)),
            (_, _, Some(effort)) => Self::Budget(match effort {
                Effort::Minimal | Effort::Low => 1024,
                Effort::Medium => 4096,
                Effort::High => 8192,
                Effort::XHigh => 16_384,
                Effort::Max => 32_000,
            }),
            (_, Some(budget), None) => Self::Adaptive(Some(match budget {
                ..=2048 => Effort::Low,
                2049..=8192 => Effort::Medium,
                8193..=16_384 => Effort::High,
                _ => Effort::XHigh,
            })),
            (ReasoningMode::Free, None, None) => Self::Budget(ALIAS_BUDGET),
            (ReasoningMode::Measured, None, None) => Self::Default,
        }
        .within(model)
    }

    /// What is asked for, in whatever measure; none where nothing is.
    pub(crate) fn wish(request: &Request, alias: &str, model: &Model, limit: u64) -> Option<Reasoning> {
        request.reasoning.or_else(|| alias_wish(alias, model, limit))
    }

    fn within(self, model: &Model) -> Self {
        match self {
            Self::Budget(budget) => {
                // Something must be left for the answer itself.
                let most = model.clamp(u64::MAX).saturating_sub(LEAST_BUDGET).max(LEAST_BUDGET);
                Self::Budget(budget.clamp(LEAST_BUDGET, most))
            }
            other => other,
        }
    }

    /// Within a tool loop the reasoning before the calls must be replayed with its seal. Clients of other dialects
    /// have lost it, and then the model must go on without thinking.
    pub(super) fn unless_a_call_lacks_its_thinking(self, turns: &[WrittenTurn<'_>]) -> Self {
        let torn = turns.iter().rev().find(|turn| turn.assistant).is_some_and(|turn| {
            let calls = turn.blocks.iter().any(|block| block.is("tool_use"));
            let sealed = turn
                .blocks
                .first()
                .is_some_and(|block| block.is("thinking") || block.is("redacted_thinking"));
            calls && !sealed
        });
        let in_loop = turns
            .last()
            .is_some_and(|turn| turn.assistant || turn.blocks.iter().any(|block| block.is("tool_result")));
        self.unless(torn && in_loop)
    }

    /// None where it cannot go on with what is known.
    pub(crate) fn unless(self, torn: bool) -> Self {
        match self {
            Self::Budget(_) if torn => Self::Default,
            other => other,
        }
    }

    /// Whether it thinks.
    pub(crate) fn is_on(self) -> bool {
        matches!(self, Self::Budget(_) | Self::Adaptive(_))
    }

    /// The output limit, with room for the thinking that counts as output here.
    pub(crate) fn limit(self, limit: u64, model: &Model) -> u64 {
        match self {
            Self::Budget(budget) if limit <= budget => {
                model.clamp(budget.saturating_add(limit)).max(budget.saturating_add(1))
            }
            _ => limit,
        }
    }

    /// The fields for it: `thinking` of the body, and `effort` of `output_config`.
    pub(crate) fn write(
        self,
        model: &Model,
        visible: Option<bool>,
        body: &mut Node<'_>,
        output: &mut Map<String, Value>,
    ) {
        let newest = model.thinking == Thinking::Effort;
        let thinking = match self {
            Self::Default => return,
            Self::Off => json!({ "type": "disabled" }),
            Self::Budget(budget) => json!({ "type": "enabled", "budget_tokens": budget }),
            // The newest models keep their thoughts to themselves unless asked.
            Self::Adaptive(_) if newest && visible != Some(false) => {
                json!({ "type": "adaptive", "display": "summarized" })
            }
            Self::Adaptive(_) => json!({ "type": "adaptive" }),
        };
        body.insert("thinking", thinking);
        if let Self::Adaptive(Some(effort)) = self {
            let word = match effort {
                Effort::Minimal => Effort::Low,
                Effort::XHigh if !newest => Effort::High,
                word => word,
            };
            output.insert("effort".into(), word.as_str().into());
        }
    }
}

/// What the alias says: `…think…` turns thinking on, and a number at its end is the budget (`-think-16000`).
fn alias_wish(alias: &str, model: &Model, limit: u64) -> Option<Reasoning> {
    if !alias.to_ascii_lowercase().contains("think") {
        return None;
    }
    let last = alias.rsplit('-').next().unwrap_or_default();
    let number = last.parse::<u64>().ok().filter(|_| last.bytes().all(|byte| byte.is_ascii_digit()));
    Some(match number {
        // A larger number is a date of the model's name.
        Some(budget) if budget < model.default_limit().max(limit) => Reasoning::with_budget(budget),
        _ => Reasoning::with_budget(ALIAS_BUDGET),
    })
}
