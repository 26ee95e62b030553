//! Repairs of requests.
//!
//! Sources: the documents of the hosts that are named at each, and the words in which they refuse.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::{Map, Value, json};

use super::{Repair, Repairs};
use crate::anthropic::model::{Model, Thinking};
use crate::openai_chat::write_request::thinks;
use crate::{Aim, names};

type Body = Map<String, Value>;

/// The aim of a request, as far as repairs look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The model by the client's name.
    pub(crate) alias: &'a str,
    /// The model by the upstream's.
    pub(crate) model: &'a str,
    /// The repairs of the channel.
    pub(crate) repairs: Repairs,
}

/// A repair of requests: whether a body may need it, rather yes than no, and what is done.
struct Row(Repair, fn(&[u8], Subject<'_>) -> bool, fn(&mut Body, Subject<'_>));

const ROWS: [Row; 12] = [
    Row(Repair::SystemRole, |body, _| holds(body, &["developer"]), |body, _| system_role(body)),
    Row(
        Repair::MaxTokens,
        |body, _| holds(body, &["max_completion_tokens"]),
        |body, _| rename(body, "max_completion_tokens", "max_tokens"),
    ),
    Row(
        Repair::MaxCompletionTokens,
        |body, to| thinks(to.model) && holds(body, &["max_tokens"]),
        |body, to| {
            if thinks(to.model) {
                rename(body, "max_tokens", "max_completion_tokens");
            }
        },
    ),
    Row(Repair::FixedSampling, |body, to| thinks(to.model) && holds(body, SAMPLING), fixed_sampling),
    Row(Repair::RandomSeed, |body, _| holds(body, &["seed"]), |body, _| rename(body, "seed", "random_seed")),
    Row(Repair::NoBookkeeping, |body, _| holds(body, BOOKKEEPING), |body, _| remove(body, BOOKKEEPING)),
    Row(
        Repair::UsageUnasked,
        |body, _| holds(body, &["stream_options"]),
        |body, _| remove(body, &["stream_options"]),
    ),
    Row(
        Repair::NineLetterIds,
        |body, _| holds(body, &["tool_calls", "tool_call_id"]),
        |body, _| nine_letter_ids(body),
    ),
    Row(Repair::StripThoughts, |body, _| holds(body, &["assistant"]), strip_thoughts),
    Row(Repair::RequireThoughts, |body, _| holds(body, &["tool_calls"]), require_thoughts),
    Row(
        Repair::GrokParameters,
        |body, _| holds(body, &["reasoning_effort", "presence_penalty", "frequency_penalty"]),
        grok_parameters,
    ),
    Row(
        Repair::ClaudeThinking,
        |body, to| names_thinking(to.alias) || holds(body, &["reasoning_effort"]),
        claude_thinking,
    ),
];

/// Whether a request that stays in the dialect has to be changed on its way.
pub(crate) fn concerns(body: &[u8], to: Subject<'_>) -> bool {
    !to.repairs.of_requests().is_empty()
        && ROWS.iter().any(|Row(repair, concerns, _)| to.repairs.has(*repair) && concerns(body, to))
}

/// Repairs a request: all of its body, or the fields of one that is being written.
pub(crate) fn mend(body: &mut Body, to: Subject<'_>) {
    if to.repairs.of_requests().is_empty() {
        return;
    }
    for Row(repair, _, mend) in &ROWS {
        if to.repairs.has(*repair) {
            mend(body, to);
        }
    }
}

/// The identity of a call as this upstream takes it.
pub(crate) fn fitting_id(id: &str, longest: usize, repairs: Repairs) -> String {
    if repairs.has(Repair::NineLetterIds) {
        nine_letters(id).into_owned()
    } else {
        names::fitting_id(id, longest)
    }
}

/// Whether calls in earlier turns go to this upstream with what was thought before them.
pub(crate) fn replays(aim: &Aim<'_>) -> bool {
    aim.quirks.repairs.has(Repair::RequireThoughts) && wants_thoughts(aim.model)
}

/// All but models of Moonshot that do not think.
fn wants_thoughts(model: &str) -> bool {
    !model.starts_with("moonshot-v1")
}

/// Whether one of these stands in a text as a string. Quotes within strings are escaped, so it is found in none.
fn holds(body: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| {
        memmem::find_iter(body, word.as_bytes())
            .any(|at| at > 0 && body[at - 1] == b'"' && body.get(at + word.len()) == Some(&b'"'))
    })
}

fn remove(body: &mut Body, names: &[&str]) {
    for name in names {
        body.shift_remove(*name);
    }
}

/// Gives a field its other name. Where both are written the other one counts already.
fn rename(body: &mut Body, from: &str, to: &str) {
    if let Some(value) = body.shift_remove(from)
        && body.get(to).is_none_or(Value::is_null)
    {
        body.insert(to.to_owned(), value);
    }
}

fn messages(body: &mut Body) -> impl Iterator<Item = &mut Body> {
    body.get_mut("messages")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn answers(body: &mut Body) -> impl Iterator<Item = &mut Body> {
    messages(body).filter(|message| message.get("role").is_some_and(|role| role == "assistant"))
}

fn is_calling(message: &Body) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

/// DeepSeek, Groq, Mistral and others: "unknown variant `developer`, expected one of `system`, `user`, …".
fn system_role(body: &mut Body) {
    for message in messages(body) {
        if let Some(role) = message.get_mut("role").filter(|role| *role == "developer") {
            *role = "system".into();
        }
    }
}

/// Fields of sampling that thinking models of OpenAI refuse.
const SAMPLING: &[&str] = &["temperature", "top_p", "presence_penalty", "frequency_penalty"];

/// OpenAI: "Unsupported value: 'temperature' does not support 0 with this model". From GPT-5.1 on only while they
/// think; <https://platform.openai.com/docs/guides/latest-model>. What shapes the answer otherwise (`logprobs`,
/// `logit_bias`) stays, and is refused by who knows better.
fn fixed_sampling(body: &mut Body, to: Subject<'_>) {
    let is_later = to.model.contains("gpt-5.");
    let thinks_now = body.get("reasoning_effort").is_some_and(|effort| !effort.is_null() && effort != "none");
    let chats = to.model.contains("gpt-5-chat");
    if thinks(to.model) && !chats && (!is_later || thinks_now) {
        remove(body, SAMPLING);
    }
}

/// Fields for the records and caches of OpenAI, which say nothing of the answer.
const BOOKKEEPING: &[&str] =
    &["store", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Mistral: "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9". A function of the identity, so calls
/// and results stay together, whoever made them.
fn nine_letters(id: &str) -> Cow<'_, str> {
    const LENGTH: usize = 9;
    if id.len() == LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    let mut digest = names::digest(id);
    digest.truncate(LENGTH);
    Cow::Owned(digest)
}

fn nine_letter_ids(body: &mut Body) {
    let fit = |id: &mut Value| {
        if let Some(text) = id.as_str() {
            *id = nine_letters(text).into_owned().into();
        }
    };
    for message in messages(body) {
        message.get_mut("tool_call_id").into_iter().for_each(fit);
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        calls.into_iter().flatten().filter_map(|call| call.get_mut("id")).for_each(fit);
    }
}

/// Groq: "property 'reasoning_content' is unsupported"; Mistral: "Extra inputs are not permitted". A host that calls
/// thoughts `reasoning` itself knows that field.
fn strip_thoughts(body: &mut Body, to: Subject<'_>) {
    for message in answers(body) {
        remove(message, &["reasoning_content", "reasoning_details"]);
        if !to.repairs.has(Repair::ReasoningField) {
            message.shift_remove("reasoning");
        }
    }
}

/// DeepSeek: "Missing `reasoning_content` field in the assistant message"; Moonshot: "thinking is enabled but
/// reasoning_content is missing in assistant tool call message". Where the client has lost the thought a blank stands
/// for it.
fn require_thoughts(body: &mut Body, to: Subject<'_>) {
    if !wants_thoughts(to.model) {
        return;
    }
    for message in answers(body).filter(|message| is_calling(message)) {
        if message.get("reasoning_content").and_then(Value::as_str).is_none_or(str::is_empty) {
            let thought = message.get("reasoning").filter(|thought| thought.is_string());
            let thought = thought.cloned().unwrap_or_else(|| " ".into());
            message.insert("reasoning_content".to_owned(), thought);
        }
    }
}

/// xAI: "Model grok-code-fast-1 does not support parameter reasoningEffort". These models think as they see fit, and
/// those that think take no penalties either (<https://docs.x.ai/docs/guides/reasoning>).
fn grok_parameters(body: &mut Body, to: Subject<'_>) {
    const WITHOUT_EFFORT: [&str; 6] =
        ["grok-2", "grok-3", "grok-4-0709", "grok-4-fast", "grok-4-1-fast", "grok-code"];
    let name = to.model.rsplit('/').next().unwrap_or(to.model);
    let is_mini = name.starts_with("grok-3-mini");
    let is_grok_4 = matches!(name, "grok-4" | "grok-4-latest");
    if !is_mini && (is_grok_4 || WITHOUT_EFFORT.iter().any(|model| name.starts_with(model))) {
        body.shift_remove("reasoning_effort");
    }
    let speaks_at_once = name.contains("non-reasoning")
        || ["grok-2", "grok-3"].iter().any(|model| name.starts_with(model)) && !is_mini;
    if !speaks_at_once {
        remove(body, &["presence_penalty", "frequency_penalty"]);
    }
}

fn names_thinking(alias: &str) -> bool {
    alias.to_ascii_lowercase().contains("think")
}

/// Databricks: Claude takes `thinking` as Anthropic has it, and no `reasoning_effort`
/// (<https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models>). A client's own `thinking`
/// stays; `think` in the alias asks for it too, with a number at its end for the budget.
fn claude_thinking(body: &mut Body, to: Subject<'_>) {
    const LEAST: u64 = 1024;
    const USUAL: u64 = 4096;
    let model = Model::of(to.model);
    if model.limit.is_none() {
        return;
    }
    let effort = body.shift_remove("reasoning_effort");
    let effort = effort.as_ref().and_then(Value::as_str);
    if body.get("thinking").is_none_or(Value::is_null) {
        let by_alias = names_thinking(to.alias).then(|| {
            let number = to.alias.rsplit('-').next().and_then(|last| last.parse().ok());
            // A larger number is a date of the model's name.
            number.filter(|budget| *budget < model.default_limit()).unwrap_or(USUAL)
        });
        let budget = match effort {
            Some("none") => None,
            Some("minimal" | "low") => Some(LEAST),
            Some("medium") => Some(USUAL),
            Some(_) => Some(2 * USUAL),
            None => by_alias,
        };
        match budget {
            Some(_) if model.thinking == Thinking::Effort => {
                body.insert("thinking".to_owned(), json!({ "type": "adaptive" }));
            }
            Some(budget) if budget > 0 && !calls_without_thought(body) => {
                let thinking = json!({ "type": "enabled", "budget_tokens": budget.max(LEAST) });
                body.insert("thinking".to_owned(), thinking);
            }
            _ => {}
        }
    }
    let Some(thinking) = body.get("thinking").filter(|thinking| thinking["type"] != "disabled") else {
        return;
    };
    // Thinking counts as output, and something must be left for the answer.
    let budget = thinking["budget_tokens"].as_u64().unwrap_or(0);
    let limit = ["max_tokens", "max_completion_tokens"].into_iter().find_map(|name| body.get(name)?.as_u64());
    match limit {
        Some(limit) if limit > budget => {}
        Some(limit) => {
            let limit = model.clamp(budget.saturating_add(limit)).max(budget + 1);
            body.insert("max_tokens".to_owned(), limit.into());
        }
        None => drop(body.insert("max_tokens".to_owned(), model.default_limit().max(budget + LEAST).into())),
    }
    // Refused beside thinking.
    remove(body, &["temperature", "top_p", "top_k"]);
}

/// Whether the latest turn of the model calls tools and does not begin with the thought before the calls, which
/// OpenAI's format has no place for. "Expected `thinking` or `redacted_thinking`, but found `tool_use`" is what Claude
/// says then when it is to think on by a budget.
fn calls_without_thought(body: &Body) -> bool {
    let messages = body.get("messages").and_then(Value::as_array);
    let latest =
        messages.and_then(|messages| messages.iter().rfind(|message| message["role"] == "assistant"));
    latest.and_then(Value::as_object).is_some_and(|message| {
        let begins_with = message.get("content").and_then(|content| content.pointer("/0/type"));
        is_calling(message) && begins_with.is_none_or(|kind| kind != "reasoning")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(repairs: &[Repair], model: &str, body: Value) -> Value {
        let to = Subject { alias: model, model, repairs: Repairs::of(repairs) };
        let text = body.to_string();
        let Value::Object(mut map) = body else { panic!("an object") };
        let before = map.clone();
        mend(&mut map, to);
        assert!(map == before || concerns(text.as_bytes(), to), "{text}: what is changed must be looked at");
        map.into()
    }

    #[test]
    fn the_role_of_developers_becomes_that_of_the_system() {
        let body = json!({ "messages": [
            { "role": "developer", "content": "developer" }, { "role": "user", "content": "Hi" },
        ] });

        let mended = mended(&[Repair::SystemRole], "m", body);

        assert_eq!(mended["messages"][0], json!({ "role": "system", "content": "developer" }));
        assert_eq!(mended["messages"][1]["role"], "user");
    }

    #[test]
    fn the_limit_goes_by_the_name_that_the_upstream_knows() {
        let both = json!({ "max_completion_tokens": 5, "max_tokens": 7 });

        assert_eq!(
            mended(&[Repair::MaxTokens], "m", json!({ "max_completion_tokens": 5 })),
            json!({ "max_tokens": 5 })
        );
        assert_eq!(mended(&[Repair::MaxTokens], "m", both), json!({ "max_tokens": 7 }));
        let renaming = [Repair::MaxCompletionTokens];
        for model in ["o3-mini", "gpt-5", "openai/gpt-5.2"] {
            let limit = mended(&renaming, model, json!({ "max_tokens": 5 }));
            assert_eq!(limit, json!({ "max_completion_tokens": 5 }), "{model}");
        }
        assert_eq!(mended(&renaming, "gpt-4o", json!({ "max_tokens": 5 })), json!({ "max_tokens": 5 }));
        let Row(_, concerns, _) = &ROWS[2];
        let to = Subject { alias: "", model: "gpt-4o", repairs: Repairs::NONE };
        assert!(!concerns(br#"{"max_tokens":5}"#, to), "a body that stays is not parsed");
    }

    #[test]
    fn models_that_think_get_no_sampling_parameters() {
        let body = || json!({ "temperature": 0.2, "top_p": 0.5, "seed": 1, "logprobs": true });
        let kept = json!({ "seed": 1, "logprobs": true });
        let with = |effort: &str| {
            let mut body = body();
            body["reasoning_effort"] = effort.into();
            body
        };
        let fixed = |model, body| mended(&[Repair::FixedSampling], model, body);

        for model in ["o4-mini", "gpt-5", "gpt-5-mini"] {
            assert_eq!(fixed(model, body()), kept, "{model}");
        }
        for model in ["gpt-4o", "gpt-5-chat-latest", "gpt-5.2"] {
            assert_eq!(fixed(model, body()), body(), "{model}");
        }
        assert_eq!(fixed("gpt-5.2", with("none")), with("none"));
        assert!(fixed("gpt-5.2", with("high")).get("temperature").is_none());
    }

    #[test]
    fn strict_hosts_are_sent_no_field_that_they_refuse() {
        let body = json!({
            "model": "m", "messages": [], "store": false, "metadata": {}, "user": "u", "seed": 4,
            "stream_options": { "include_usage": true },
        });

        let repairs = [Repair::NoBookkeeping, Repair::RandomSeed, Repair::UsageUnasked];

        assert_eq!(mended(&repairs, "m", body), json!({ "model": "m", "messages": [], "random_seed": 4 }));
    }

    #[test]
    fn calls_and_results_have_the_same_nine_letters() {
        let body = json!({ "messages": [
            { "role": "assistant", "tool_calls": [
                { "id": "call_9f8e7d6c5b4a", "function": { "name": "f", "arguments": "{}" } },
                { "id": "D681PevKs", "function": { "name": "g", "arguments": "{}" } },
            ] },
            { "role": "tool", "tool_call_id": "call_9f8e7d6c5b4a", "content": "1" },
            { "role": "tool", "tool_call_id": "D681PevKs", "content": "2" },
        ] });

        let mended = mended(&[Repair::NineLetterIds], "m", body);

        let id = mended["messages"][0]["tool_calls"][0]["id"].as_str().unwrap();
        assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!(mended["messages"][1]["tool_call_id"], id);
        assert_eq!(mended["messages"][0]["tool_calls"][1]["id"], "D681PevKs");
        assert_eq!(mended["messages"][2]["tool_call_id"], "D681PevKs");
    }

    #[test]
    fn thoughts_of_earlier_turns_are_stripped_or_demanded() {
        let body = || {
            json!({ "messages": [
                { "role": "user", "content": "Hi", "reasoning_content": "mine" },
                { "role": "assistant", "content": "a", "reasoning_content": "b", "reasoning": "b" },
                { "role": "assistant", "tool_calls": [{ "id": "1" }], "reasoning": "c" },
                { "role": "assistant", "tool_calls": [{ "id": "2" }] },
                { "role": "assistant", "tool_calls": [{ "id": "3" }], "reasoning_content": "d" },
                { "role": "assistant", "content": "e" },
            ] })
        };
        let thoughts = |value: &Value, name: &str| -> Vec<Value> {
            value["messages"].as_array().unwrap().iter().map(|message| message[name].clone()).collect()
        };

        let stripped = mended(&[Repair::StripThoughts], "m", body());
        let own = mended(&[Repair::StripThoughts, Repair::ReasoningField], "m", body());
        let required = mended(&[Repair::RequireThoughts], "deepseek-chat", body());

        let none = Value::Null;
        assert_eq!(thoughts(&stripped, "reasoning_content")[1..], [(); 5].map(|()| none.clone()));
        assert_eq!(thoughts(&stripped, "reasoning")[1..], [(); 5].map(|()| none.clone()));
        assert_eq!(thoughts(&stripped, "reasoning_content")[0], "mine");
        assert_eq!(thoughts(&own, "reasoning")[1], "b");
        assert_eq!(
            thoughts(&required, "reasoning_content")[1..],
            [json!("b"), json!("c"), json!(" "), json!("d"), Value::Null]
        );
        assert_eq!(mended(&[Repair::RequireThoughts], "moonshot-v1-8k", body()), body());
    }

    /// `xai/chat-400-01` of the recordings, and those that were answered.
    #[test]
    fn models_of_xai_get_the_parameters_that_they_take() {
        let mended = |model: &str| {
            let body = json!({ "reasoning_effort": "low", "presence_penalty": 1, "frequency_penalty": 1 });
            let Value::Object(map) = mended(&[Repair::GrokParameters], model, body) else { panic!() };
            map.keys().cloned().collect::<Vec<_>>().join(" ")
        };

        assert_eq!(mended("grok-code-fast-1"), "");
        assert_eq!(mended("grok-4-fast-non-reasoning"), "presence_penalty frequency_penalty");
        assert_eq!(mended("grok-3"), "presence_penalty frequency_penalty");
        assert_eq!(mended("grok-3-mini-fast"), "reasoning_effort");
        assert_eq!(mended("grok-9"), "reasoning_effort");
    }

    #[test]
    fn claude_on_databricks_is_told_a_budget() {
        let thought = |alias: &str, model: &str, body: Value| {
            let to = Subject { alias, model, repairs: Repairs::of(&[Repair::ClaudeThinking]) };
            let Value::Object(mut map) = body else { panic!() };
            mend(&mut map, to);
            Value::Object(map)
        };
        let sonnet = "databricks-claude-sonnet-4";

        assert_eq!(
            thought("claude-sonnet-4-think-16000", sonnet, json!({ "temperature": 0.3, "max_tokens": 100 })),
            json!({
                "max_tokens": 16_100, "thinking": { "type": "enabled", "budget_tokens": 16_000 },
            })
        );
        assert_eq!(
            thought("claude-sonnet-4", sonnet, json!({ "reasoning_effort": "low" })),
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 }, "max_tokens": 64_000 })
        );
        for untouched in [json!({ "temperature": 0.3 }), json!({ "thinking": { "type": "disabled" } })] {
            assert_eq!(thought("claude-sonnet-4", sonnet, untouched.clone()), untouched);
        }
        let own = json!({ "max_tokens": 4096, "thinking": { "type": "enabled", "budget_tokens": 2048 } });
        assert_eq!(thought("claude-think", sonnet, own.clone()), own);
        assert_eq!(
            thought("gpt-oss-think", "databricks-gpt-oss-120b", json!({ "reasoning_effort": "low" })),
            json!({ "reasoning_effort": "low" })
        );
    }
    #[test]
    fn claude_on_databricks_does_not_think_behind_calls_whose_thought_is_missing() {
        let thinks_at = |model: &str, messages: Value| {
            let body = json!({ "reasoning_effort": "low", "messages": messages });
            let mended = mended(&[Repair::ClaudeThinking], model, body);
            assert_eq!(mended.get("reasoning_effort"), None);
            mended["thinking"].is_object()
        };
        let thinks = |messages| thinks_at("databricks-claude-sonnet-4", messages);
        let calls =
            json!([{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
        let user = json!({ "role": "user", "content": "Hi" });
        let calling =
            |content: Value| json!({ "role": "assistant", "content": content, "tool_calls": calls });
        let result = json!({ "role": "tool", "tool_call_id": "c", "content": "1" });
        let thought = json!([{ "type": "reasoning", "summary": [] }, { "type": "text", "text": "One." }]);
        let said = json!({ "role": "assistant", "content": "One." });

        assert!(thinks(json!([user])));
        assert!(!thinks(json!([user, calling(Value::Null), result])));
        assert!(!thinks(json!([user, calling(json!("Let me see.")), result, user])));
        assert!(thinks(json!([user, calling(thought), result])), "the client has kept it");
        assert!(thinks(json!([user, calling(Value::Null), result, said, user])), "the loop is over");
        let loose = json!([user, calling(Value::Null), result]);
        assert!(thinks_at("databricks-claude-opus-4-7", loose), "who thinks as it sees fit does not mind");
    }
}
