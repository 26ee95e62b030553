//! What both versions have in common: what is refused, how tokens are drawn, how much the model thinks.

use serde_json::{Number, Value, json};

use crate::Unsupported;
use crate::ir::{Effort, Reasoning, ReasoningMode, Request, Sampling};
use crate::rope::Node;

/// Most sequences that end an answer.
const MOST_STOPS: usize = 5;
/// Most candidates for a token.
const MOST_CANDIDATES: u64 = 500;

/// A model, as far as its name tells.
#[derive(Clone, Copy, Debug)]
pub(in crate::cohere) struct Model {
    /// It thinks before it answers.
    pub(super) thinks: bool,
    /// It can be told to call a tool, or none.
    pub(super) chooses: bool,
}

impl Model {
    /// Source: <https://docs.cohere.com/docs/models>. `tool_choice` is for models from Command R7B on.
    pub(in crate::cohere) fn of(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let has = |part: &str| name.contains(part);
        let is_older = has("command-r") && !has("command-r7b")
            || has("command-light")
            || has("command-nightly")
            || name == "command";
        Self { thinks: has("reasoning") || has("thinking") || has("command-a-plus"), chooses: !is_older }
    }
}

/// Refuses what no answer of these dialects can hold.
pub(in crate::cohere) fn check(request: &Request) -> Result<(), Unsupported> {
    let sampling = &request.sampling;
    if request.modalities.iter().any(|form| form == "audio") {
        return Err(Unsupported::at("modalities", "this upstream cannot answer with sound"));
    }
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(Unsupported::at("n", "n must be 1 for this model: it gives one answer at a time"));
    }
    let weights = sampling.logit_bias.as_ref();
    if weights.is_some_and(|weights| weights.as_object().is_none_or(|weights| !weights.is_empty())) {
        return Err(Unsupported::at("logit_bias", "this upstream takes no weights of tokens"));
    }
    if let Some(tool) = request.server_tools.first() {
        let what = match tool.task {
            crate::ir::ServerTask::WebSearch(_) => "this upstream does not search the web",
            crate::ir::ServerTask::Other => "a tool of this type cannot be sent to this upstream",
        };
        return Err(Unsupported::at("tools", what));
    }
    Ok(())
}

/// The fields by which tokens are drawn, and where they end; the stop sequences that are more than are taken.
pub(in crate::cohere) fn write_sampling(
    sampling: &Sampling,
    limit: Option<u64>,
    body: &mut Node<'_>,
) -> Vec<String> {
    body.insert_some("max_tokens", limit);
    let within =
        |number: &Option<Number>, low, high| number.as_ref().map(|number| clamped(number, low, high));
    // Half of the range of other dialects; numbers within it stay as they were written.
    body.insert_some("temperature", within(&sampling.temperature, 0.0, 1.0));
    body.insert_some("p", within(&sampling.top_p, 0.01, 0.99));
    body.insert_some("k", sampling.top_k.map(|k| k.min(MOST_CANDIDATES)));
    body.insert_some("seed", sampling.seed.as_ref().map(seed));
    let stops: Vec<&str> = sampling.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect();
    let (taken, rest) = stops.split_at(stops.len().min(MOST_STOPS));
    if !taken.is_empty() {
        body.insert("stop_sequences", Value::from(taken));
    }
    let rest = rest.iter().map(|stop| (*stop).to_owned()).collect();
    // Only one of the two is taken: the stronger one, where they differ.
    let weight = |number: &Option<Number>| number.as_ref().and_then(Number::as_f64).unwrap_or(0.0).max(0.0);
    let (frequency, presence) = (weight(&sampling.frequency_penalty), weight(&sampling.presence_penalty));
    if frequency > 0.0 && frequency >= presence {
        body.insert_some("frequency_penalty", within(&sampling.frequency_penalty, 0.0, 1.0));
    } else if presence > 0.0 {
        body.insert_some("presence_penalty", within(&sampling.presence_penalty, 0.0, 1.0));
    }
    rest
}

fn clamped(number: &Number, low: f64, high: f64) -> Value {
    match number.as_f64() {
        Some(value) if value > high => json!(high),
        Some(value) if value < low => json!(low),
        _ => Value::Number(number.clone()),
    }
}

/// A seed is no more than a name of a draw, and may not be negative.
fn seed(number: &Number) -> Value {
    match (number.as_u64(), number.as_i64()) {
        (Some(seed), _) => seed.into(),
        (None, Some(negative)) => negative.unsigned_abs().into(),
        (None, None) => (number.as_f64().unwrap_or(0.0).abs() as u64).into(),
    }
}

/// `thinking`, and the output limit with room for a budget that the client names: it counts as output here. Models
/// that do not think are told nothing of it.
///
/// Source: <https://docs.cohere.com/docs/reasoning>.
pub(super) fn thinking(request: &Request, alias: &str, model: &Model) -> (Option<Value>, Option<u64>) {
    let limit = request.sampling.max_tokens.filter(|limit| *limit > 0);
    let wish = request.reasoning.or_else(|| alias_wish(alias)).filter(|_| model.thinks);
    let Some(wish) = wish else { return (None, limit) };
    let with_budget = |budget: u64| json!({ "type": "enabled", "token_budget": budget });
    match (wish.mode, wish.budget, wish.effort) {
        (ReasoningMode::Off, ..) => (Some(json!({ "type": "disabled" })), limit),
        (_, Some(budget), _) => {
            let limit = limit.map(|limit| if limit <= budget { budget.saturating_add(limit) } else { limit });
            (Some(with_budget(budget)), limit)
        }
        (_, None, Some(effort)) => {
            let budget = match effort {
                Effort::Minimal => 256,
                Effort::Low => 1024,
                Effort::Medium => 4096,
                // As much as it does by itself, which is as much as it likes.
                Effort::High | Effort::XHigh | Effort::Max => {
                    return (Some(json!({ "type": "enabled" })), limit);
                }
            };
            // A word asks for no more than the limit holds, and for room to answer.
            let most = limit.map_or(budget, |limit| (limit / 2).max(1));
            (Some(with_budget(budget.min(most))), limit)
        }
        (_, None, None) => (Some(json!({ "type": "enabled" })), limit),
    }
}

/// What the alias says: `…-think` turns thinking on, and a number behind it is the budget (`-think-16000`, `-think-0`).
fn alias_wish(alias: &str) -> Option<Reasoning> {
    let alias = alias.to_ascii_lowercase();
    let (_, behind) = alias.rsplit_once("-think")?;
    match behind.strip_prefix('-').map(str::parse) {
        None if behind.is_empty() => Some(Reasoning::FREE),
        Some(Ok(budget)) => Some(Reasoning::with_budget(budget)),
        _ => None,
    }
}
