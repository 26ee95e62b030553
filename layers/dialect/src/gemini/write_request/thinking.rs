//! How much a model is told to think, as its family measures it, and whether its thoughts are shown.
//!
//! Source: <https://ai.google.dev/gemini-api/docs/thinking>. Budgets are in tokens; -1 leaves the amount to the model.
//! The client's own words come before the name by which it calls the model.

use serde_json::{Map, Value};

use crate::gemini::model::{Model, Thinking};
use crate::ir::{Effort, Reasoning, ReasoningMode};

/// A wish for thinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wish {
    amount: Option<Amount>,
    visible: Option<bool>,
}

/// An amount of thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Off,
    AsItLikes,
    Budget(u64),
    Effort(Effort),
}

/// `thinkingConfig`; none where nothing has to be said.
pub(super) fn config(reasoning: Option<Reasoning>, alias: &str, model: &Model) -> Option<Map<String, Value>> {
    let said = reasoning.map(Wish::of).filter(|wish| wish.amount.is_some() || wish.visible.is_some());
    let by_name = Wish::of_alias(alias, model);
    let wish = match said {
        Some(said) => Wish { amount: said.amount.or(by_name.and_then(|wish| wish.amount)), ..said },
        None => by_name.unwrap_or_default(),
    };
    let shown = wish.visible.unwrap_or(wish.amount != Some(Amount::Off));
    let mut config = Map::new();
    match model.thinking {
        Thinking::None => return None,
        Thinking::Budget { least, smallest, most, by_default } => {
            let budget = match wish.amount {
                // Where it does not think by itself thoughts can be shown with an amount only.
                None if !by_default => return None,
                None => None,
                Some(Amount::Off) => Some(Value::from(least)),
                Some(Amount::AsItLikes) => Some(Value::from(-1)),
                Some(Amount::Budget(budget)) => Some(budget.clamp(smallest, most).into()),
                Some(Amount::Effort(effort)) => Some(of_effort(effort, most).clamp(smallest, most).into()),
            };
            config.insert("includeThoughts".into(), shown.into());
            config.extend(budget.map(|budget| ("thinkingBudget".to_owned(), budget)));
        }
        Thinking::Level(levels) => {
            let level = match wish.amount {
                None | Some(Amount::AsItLikes) => None,
                Some(Amount::Off) => levels.first().copied(),
                Some(Amount::Budget(budget)) => Some(of_budget(budget, levels)),
                Some(Amount::Effort(effort)) => Some(nearest(effort, levels)),
            };
            config.insert("includeThoughts".into(), shown.into());
            config.extend(level.map(|level| ("thinkingLevel".to_owned(), level.as_str().into())));
        }
    }
    Some(config)
}

impl Wish {
    fn of(reasoning: Reasoning) -> Self {
        let amount = match (reasoning.mode, reasoning.budget, reasoning.effort) {
            (ReasoningMode::Off, ..) => Some(Amount::Off),
            (_, Some(budget), _) => Some(Amount::Budget(budget)),
            (_, None, Some(effort)) => Some(Amount::Effort(effort)),
            (ReasoningMode::Free, None, None) => Some(Amount::AsItLikes),
            (ReasoningMode::Measured, None, None) => None,
        };
        Self { amount, visible: reasoning.visible }
    }

    /// What the name says: `-think-N` anywhere in it, `-think` alone, or a word at its end.
    fn of_alias(alias: &str, model: &Model) -> Option<Self> {
        let alias = alias.to_ascii_lowercase();
        let amount = match alias.find("-think") {
            Some(at) => {
                let behind = alias[at + "-think".len()..].strip_prefix('-').unwrap_or_default();
                let sign = behind.strip_prefix('-');
                let digits = sign.unwrap_or(behind);
                let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
                match (&digits[..end], sign.is_some()) {
                    // It thinks by itself, and to show it is all that is left to say.
                    ("", _) if !matches!(model.thinking, Thinking::Budget { by_default: false, .. }) => {
                        return None;
                    }
                    ("" | "1", true) | ("", false) => Amount::AsItLikes,
                    (digits, false) => match digits.parse() {
                        Ok(0) => Amount::Off,
                        Ok(budget) => Amount::Budget(budget),
                        // More digits than a number has.
                        Err(_) => Amount::Budget(u64::MAX),
                    },
                    // Cut to the least.
                    (_, true) => match model.thinking {
                        Thinking::Budget { least, .. } if least > 0 => Amount::Budget(least),
                        _ => Amount::Off,
                    },
                }
            }
            None if matches!(model.thinking, Thinking::Level(_)) => {
                let word = alias.rsplit('-').next().unwrap_or_default();
                Amount::Effort(Effort::parse(word).filter(|word| *word <= Effort::High)?)
            }
            None => return None,
        };
        Some(Self { amount: Some(amount), visible: None })
    }
}

/// The budget that a word stands for.
fn of_effort(effort: Effort, most: u64) -> u64 {
    match effort {
        Effort::Minimal | Effort::Low => most / 4,
        Effort::Medium => most / 2,
        Effort::High => most / 4 * 3,
        Effort::XHigh | Effort::Max => most,
    }
}

/// The word that a budget stands for.
fn of_budget(budget: u64, levels: &[Effort]) -> Effort {
    let word = match budget {
        _ if levels.len() == 2 => {
            if budget <= 13_107 {
                Effort::Low
            } else {
                Effort::High
            }
        }
        ..=3_276 => Effort::Minimal,
        3_277..=9_830 => Effort::Low,
        9_831..=19_660 => Effort::Medium,
        _ => Effort::High,
    };
    nearest(word, levels)
}

/// The word that a model knows for this one: it, or the next lower, or the lowest.
fn nearest(effort: Effort, levels: &[Effort]) -> Effort {
    let known = levels.iter().rev().find(|level| **level <= effort);
    known.or(levels.first()).copied().unwrap_or(Effort::Low)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(reasoning: Option<Reasoning>, alias: &str, model: &str) -> Value {
        config(reasoning, alias, &Model::of(model)).map_or(Value::Null, Value::Object)
    }

    #[test]
    fn the_name_of_a_model_sets_its_budget() {
        for (alias, model, expected) in [
            (
                "gemini-2.5-flash-think-24576-search",
                "gemini-2.5-flash",
                json!({ "includeThoughts": true, "thinkingBudget": 24576 }),
            ),
            (
                "gemini-2.5-flash-think-0",
                "gemini-2.5-flash",
                json!({ "includeThoughts": false, "thinkingBudget": 0 }),
            ),
            (
                "gemini-2.5-pro-think-0",
                "gemini-2.5-pro",
                json!({ "includeThoughts": false, "thinkingBudget": 128 }),
            ),
            (
                "gemini-2.5-pro-think-99999",
                "gemini-2.5-pro",
                json!({ "includeThoughts": true, "thinkingBudget": 32768 }),
            ),
            ("p-think--99999", "gemini-2.5-pro", json!({ "includeThoughts": true, "thinkingBudget": 128 })),
            (
                "p-think-99999999999999999999999",
                "gemini-2.5-pro",
                json!({ "includeThoughts": true, "thinkingBudget": 32768 }),
            ),
            ("p-think--1", "gemini-2.5-pro", json!({ "includeThoughts": true, "thinkingBudget": -1 })),
            ("p-think", "gemini-2.5-pro", json!({ "includeThoughts": true })),
            ("p-search", "gemini-2.5-pro", json!({ "includeThoughts": true })),
            ("l", "gemini-2.5-flash-lite", Value::Null),
            ("l-think", "gemini-2.5-flash-lite", json!({ "includeThoughts": true, "thinkingBudget": -1 })),
            (
                "l-think-100",
                "gemini-2.5-flash-lite",
                json!({ "includeThoughts": true, "thinkingBudget": 512 }),
            ),
            ("i-think-100", "gemini-2.5-flash-image", Value::Null),
            ("o-think-100", "gemini-2.0-flash", Value::Null),
            ("three", "gemini-3-pro-preview", json!({ "includeThoughts": true })),
            (
                "three-high",
                "gemini-3-pro-preview",
                json!({ "includeThoughts": true, "thinkingLevel": "high" }),
            ),
            (
                "three-think-9000",
                "gemini-3-flash-preview",
                json!({ "includeThoughts": true, "thinkingLevel": "low" }),
            ),
            (
                "three-think-0",
                "gemini-3-flash-preview",
                json!({ "includeThoughts": false, "thinkingLevel": "minimal" }),
            ),
        ] {
            assert_eq!(told(None, alias, model), expected, "{alias} {model}");
        }
    }

    #[test]
    fn the_client_s_words_are_put_into_the_measure_of_the_family() {
        let effort = |word| Some(Reasoning::with_effort(word));
        for (wish, model, budget, level) in [
            (effort(Effort::Low), "gemini-2.5-pro", json!(8192), Value::Null),
            (effort(Effort::Medium), "gemini-2.5-flash", json!(12288), Value::Null),
            (effort(Effort::High), "gemini-2.5-flash", json!(18432), Value::Null),
            (effort(Effort::Max), "gemini-2.5-pro", json!(32768), Value::Null),
            (Some(Reasoning::OFF), "gemini-2.5-flash", json!(0), Value::Null),
            (Some(Reasoning::FREE), "gemini-2.5-flash", json!(-1), Value::Null),
            (effort(Effort::Medium), "gemini-3-pro-preview", Value::Null, json!("low")),
            (effort(Effort::XHigh), "gemini-3-pro-preview", Value::Null, json!("high")),
            (effort(Effort::Medium), "gemini-3.1-pro-preview", Value::Null, json!("medium")),
            (effort(Effort::Minimal), "gemini-3-flash", Value::Null, json!("minimal")),
            (Some(Reasoning::OFF), "gemini-3-pro", Value::Null, json!("low")),
            (Some(Reasoning::with_budget(20_000)), "gemini-3-pro", Value::Null, json!("high")),
            (Some(Reasoning::with_budget(20_000)), "gemini-2.5-pro", json!(20000), Value::Null),
        ] {
            let told = told(wish, "m-think-5", model);

            assert_eq!(
                (&told["thinkingBudget"], &told["thinkingLevel"]),
                (&budget, &level),
                "{wish:?} {model}"
            );
        }
    }

    #[test]
    fn thoughts_are_hidden_where_the_client_wants_them_hidden() {
        let hidden = Reasoning { visible: Some(false), ..Reasoning::with_budget(500) };

        assert_eq!(
            told(Some(hidden), "m", "gemini-2.5-pro"),
            json!({ "includeThoughts": false, "thinkingBudget": 500 })
        );
    }
}
