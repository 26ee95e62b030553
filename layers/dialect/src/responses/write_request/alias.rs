//! What a model's alias asks for: `…-think`, `…-think-16000`, `…-high`, `…-search`.

use crate::ir::{Effort, Reasoning};

/// The wishes that stand behind a model's own name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Alias {
    /// How much it should think.
    pub(super) reasoning: Option<Reasoning>,
    /// Whether it should look into the web.
    pub(super) search: bool,
}

impl Alias {
    /// Reads the words of an alias that its model's own name does not have.
    pub(super) fn of(alias: &str, model: &str) -> Self {
        let (alias, model) = (alias.to_ascii_lowercase(), model.to_ascii_lowercase());
        let own: Vec<&str> = model.split(['-', '/']).collect();
        let mut words = alias.split(['-', '/']).filter(|word| !own.contains(word)).peekable();
        let mut wishes = Self::default();
        while let Some(word) = words.next() {
            match word {
                "search" => wishes.search = true,
                "think" | "thinking" => {
                    let budget = words.peek().and_then(|number| number.parse::<u64>().ok());
                    wishes.reasoning = Some(match budget {
                        Some(budget) => Reasoning::with_budget(budget),
                        None => Reasoning::with_effort(Effort::Medium),
                    });
                }
                // Only at the end: elsewhere it is a part of a name.
                word if words.peek().is_none_or(|next| *next == "search") => {
                    if let Some(effort) = Effort::parse(word).filter(|effort| *effort != Effort::Max) {
                        wishes.reasoning = Some(Reasoning::with_effort(effort));
                    }
                }
                _ => {}
            }
        }
        wishes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_asks_for_thinking_and_for_the_web() {
        let effort = |effort| Some(Reasoning::with_effort(effort));
        for (alias, model, reasoning, search) in [
            ("gpt-5.2", "gpt-5.2", None, false),
            ("gpt-5.2-high", "gpt-5.2", effort(Effort::High), false),
            ("gpt-5.2-low-search", "gpt-5.2", effort(Effort::Low), true),
            ("gpt-5-think", "gpt-5", effort(Effort::Medium), false),
            ("gpt-5-think-16000-search", "gpt-5", Some(Reasoning::with_budget(16_000)), true),
            ("gpt-5.1-think-0", "gpt-5.1", Some(Reasoning::OFF), false),
            ("kimi-k2-thinking", "moonshot/kimi-k2-thinking", None, false),
            ("gpt-4o-search-preview", "gpt-4o-search-preview", None, false),
            ("gpt-5.1-codex-max", "codex", None, false),
            ("my-medium-model", "gpt-5", None, false),
        ] {
            assert_eq!(Alias::of(alias, model), Alias { reasoning, search }, "{alias} of {model}");
        }
    }
}
