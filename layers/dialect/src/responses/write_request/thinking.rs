//! How much a model is told to think.
//!
//! Source: <https://platform.openai.com/docs/guides/reasoning>. Budgets are in tokens.

use serde_json::Map;

use super::alias::Alias;
use crate::ir::{Effort, Maker, ReasoningMode, Request};
use crate::responses::model::{Model, Thinks};
use crate::rope::Node;

/// The amount of thinking that the model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    wanted: Wanted,
    /// Whether the client wants to see the thoughts.
    visible: Option<bool>,
}

/// The amount that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// As the model does by itself.
    Default,
    /// Nothing.
    Off,
    /// As much as a word says.
    Word(Effort),
}

impl Amount {
    /// The client's words first, then the alias.
    pub(super) fn of(request: &Request, alias: &Alias, model: &Model) -> Self {
        let wish = request.reasoning.or(alias.reasoning).filter(|_| model.thinks != Thinks::Never);
        let Some(wish) = wish else { return Self { wanted: Wanted::Default, visible: Some(false) } };
        let wanted = match (wish.mode, wish.effort, wish.budget) {
            (ReasoningMode::Off, ..) => Wanted::Off,
            (_, Some(effort), _) => Wanted::Word(effort),
            (_, None, Some(budget)) => Wanted::Word(match budget {
                ..=2048 => Effort::Low,
                2049..=8192 => Effort::Medium,
                8193..=16_384 => Effort::High,
                _ => Effort::XHigh,
            }),
            (_, None, None) => Wanted::Default,
        };
        Self { wanted, visible: wish.visible }
    }

    /// Whether the model is told to think.
    pub(super) fn is_on(self) -> bool {
        matches!(self.wanted, Wanted::Word(_))
    }

    /// `reasoning`, where something is to be said. Thoughts come only where a summary of them is asked for.
    pub(super) fn write(self, model: &Model, body: &mut Node<'_>) {
        let mut reasoning = Map::new();
        match self.wanted {
            Wanted::Default => {}
            Wanted::Off => drop(reasoning.insert("effort".into(), model.word(None).into())),
            Wanted::Word(effort) => drop(reasoning.insert("effort".into(), model.word(Some(effort)).into())),
        }
        let hides = self.visible == Some(false) || self.wanted == Wanted::Off;
        // Others show what they think, or have nothing like it.
        if !hides && model.maker == Some(Maker::OpenAi) {
            reasoning.insert("summary".into(), "auto".into());
        }
        if !reasoning.is_empty() {
            body.insert("reasoning", reasoning);
        }
    }
}
