//! What the caches of providers save: agents with several conversations at once, over accounts that
//! keep what they have read as their providers do.
//!
//! A token is a word here. Each account, which is a provider key, remembers the prompts that it was
//! sent and supplies the longest beginning of a new one that it has seen, by the rules of its
//! provider: OpenAI in steps of 128 tokens from 1,024 on; Anthropic up to a mark, looking back over
//! twenty blocks; Gemini any beginning of 1,024 tokens and more. The ideal is one account for
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::bench::subjects::distribution::keys;
use super::bench::*;

/// The provider whose rules an account follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    OpenAi,
    Anthropic,
    Gemini,
}

/// Fewest tokens that are kept.
const LEAST: usize = 1024;
/// Blocks before a mark in which Anthropic looks for what it has read.
const LOOK_BACK: usize = 20;

/// A prompt as its provider reads it: blocks of words, some of them marked.
type Prompt = Vec<(Vec<String>, bool)>;

/// The accounts of all providers: what each has read, and what all of them counted.
#[derive(Default)]
struct Accounts {
    /// Beginnings that are kept, by account: digests of so many words.
    kept: BTreeMap<String, BTreeSet<u64>>,
    tokens: usize,
    supplied: usize,
}

impl Accounts {
    /// Reads a prompt and tells how many tokens of it the account's cache supplied.
    fn read(&mut self, rules: Rules, account: &str, prompt: &Prompt) -> usize {
        // What has been read up to each word.
        let mut digests = vec![0];
        let mut ends = Vec::new();
        for (words, marked) in prompt {
            for word in words {
                let mut hasher = DefaultHasher::new();
                (digests.last(), word).hash(&mut hasher);
                digests.push(hasher.finish());
            }
            ends.push((digests.len() - 1, *marked));
        }
        let tokens = digests.len() - 1;
        let (sought, written): (Vec<usize>, Vec<usize>) = match rules {
            Rules::OpenAi => {
                let steps: Vec<usize> = (LEAST..=tokens).step_by(128).collect();
                (steps.clone(), steps)
            }
            Rules::Gemini => ((LEAST..=tokens).collect(), (LEAST..=tokens).collect()),
            Rules::Anthropic => {
                let marks = ends.iter().enumerate().filter(|(_, (end, marked))| *marked && *end >= LEAST);
                let marks: Vec<usize> = marks.map(|(at, _)| at).collect();
                let seen = marks.iter().flat_map(|at| at.saturating_sub(LOOK_BACK - 1)..=*at);
                (seen.map(|at| ends[at].0).collect(), marks.iter().map(|at| ends[*at].0).collect())
            }
        };
        let kept = self.kept.entry(account.to_owned()).or_default();
        let supplied = sought.iter().filter(|end| kept.contains(&digests[**end])).max().copied();
        kept.extend(written.iter().map(|end| digests[*end]));
        self.tokens += tokens;
        self.supplied += supplied.unwrap_or(0);
        supplied.unwrap_or(0)
    }

    fn ratio(&self) -> f64 {
        self.supplied as f64 / self.tokens as f64
    }
}

/// The words of a value, in order.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(values) => values.iter().flat_map(words).collect(),
        Value::Object(map) => {
            let fields = map.iter().filter(|(name, _)| *name != "cache_control");
            fields.flat_map(|(_, value)| words(value)).collect()
        }
        other => vec![other.to_string()],
    }
}

/// The blocks of a body of either format: tools, instructions, turns.
fn prompt(body: &Value) -> Prompt {
    let list = |value: &Value| match value {
        Value::Array(blocks) => blocks.clone(),
        Value::Null => Vec::new(),
        text => vec![json!({ "text": text })],
    };
    let mut blocks = list(&body["tools"]);
    blocks.extend(list(&body["system"]));
    for turn in list(&body["messages"]) {
        blocks.push(json!({ "role": turn["role"], "calls": turn["tool_calls"] }));
        blocks.extend(list(&turn["content"]));
    }
    blocks.iter().map(|block| (words(block), block["cache_control"].is_object())).collect()
}

/// An upstream with any number of accounts.
async fn upstream(rules: Rules, accounts: &Arc<Mutex<Accounts>>) -> Upstream {
    let accounts = accounts.clone();
    Upstream::start(move |seen| {
        let supplied = accounts.lock().unwrap().read(rules, &seen.key(), &prompt(&seen.json()));
        match rules {
            Rules::Anthropic => {
                Script::json(&said_by_claude("ok").with("/usage/cache_read_input_tokens", json!(supplied)))
            }
            _ => {
                Script::json(&said("ok").with("/usage/prompt_tokens_details/cached_tokens", json!(supplied)))
            }
        }
    })
    .await
}

/// One agent's conversation: long instructions and tools, then turns of calls and results.
fn turn(agent: usize, turn: usize) -> Value {
    let long =
        |seed: &str, words: usize| (0..words).map(|at| format!("{seed}{at}")).collect::<Vec<_>>().join(" ");
    let mut messages = vec![
        json!({ "role": "system", "content": [
            { "type": "text", "text": long("rule", 800), "cache_control": { "type": "ephemeral" } },
        ]}),
        json!({ "role": "user", "content": format!("{} task of agent {agent}", long("word", 100)) }),
    ];
    for step in 0..turn {
        let (id, text) = (format!("call_{agent}_{step}"), long(&format!("result{agent}.{step}."), 60));
        let function = json!({ "name": "read", "arguments": json!({ "at": step }).to_string() });
        let call = json!({ "id": id, "type": "function", "function": function });
        messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
        messages.push(json!({ "role": "tool", "tool_call_id": id, "content": text }));
    }
    // Agents mark the end of what they send.
    messages.last_mut().unwrap()["cache_control"] = json!({ "type": "ephemeral" });
    let parameters = json!({ "type": "object", "properties": { "at": { "type": "integer" } } });
    let function = json!({ "name": "read", "description": long("tool", 300), "parameters": parameters });
    json!({ "model": "m", "tools": [{ "type": "function", "function": function }], "messages": messages })
}

const AGENTS: usize = 4;
const TURNS: usize = 9;

/// How much of all prompts the caches supplied to agents that take their turns beside each other.
async fn supplied(rules: Rules, channels: usize, accounts: usize, affinity: Value, named: bool) -> f64 {
    let counted = Arc::new(Mutex::new(Accounts::default()));
    let upstream = upstream(rules, &counted).await;
    let channels = (0..channels).map(|channel| {
        let keys: Vec<String> = (0..accounts).map(|account| format!("account-{channel}-{account}")).collect();
        let name = format!("channel-{channel}");
        let of_format = match rules {
            Rules::Anthropic => anthropic_channel(&name, &upstream),
            _ => super::bench::channel(&name, &upstream),
        };
        of_format.with("/api", json!(keys))
    });
    let keys = keys("round_robin", json!(["all"])).with("/0/preferences/affinity", affinity);
    let gateway = Gateway::start(config(channels).with("/api_keys", keys)).await;
    for turn_of in 0..TURNS {
        for agent in 0..AGENTS {
            let ask = Ask::chat(&turn(agent, turn_of));
            let ask = if named { ask.header("session_id", &agent.to_string()) } else { ask };
            gateway.ask(&ask).await.expect(200);
        }
    }
    counted.lock().unwrap().ratio()
}

/// The ratio with one account for everything, less what each conversation has to read once where it
/// begins: its instructions, of which every account must have its own.
async fn ideal(rules: Rules) -> f64 {
    supplied(rules, 1, 1, json!(false), false).await
}

/// The share of all prompts that is read once more by each of the agents, at most.
fn first_reading() -> f64 {
    let tokens = |agent: usize, at: usize| -> usize {
        prompt(&turn(agent, at)).iter().map(|(words, _)| words.len()).sum()
    };
    let all: usize = (0..AGENTS).flat_map(|agent| (0..TURNS).map(move |at| tokens(agent, at))).sum();
    ((AGENTS - 1) * tokens(0, 0)) as f64 / all as f64
}

const ALL: [Rules; 3] = [Rules::OpenAi, Rules::Anthropic, Rules::Gemini];

#[tokio::test(start_paused = true)]
async fn conversations_with_a_name_are_read_once_with_three_keys_and_two_channels_in_turn() {
    for rules in ALL {
        let best = ideal(rules).await;

        let ratio = supplied(rules, 2, 3, json!(true), true).await;

        assert!(best > 0.8, "{rules:?}: the ideal is {best}");
        assert!(ratio >= best - first_reading(), "{rules:?}: {ratio} of {best}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_affinity_prefix_so_are_all_others() {
    for rules in ALL {
        let best = ideal(rules).await;

        let ratio = supplied(rules, 2, 3, json!("prefix"), false).await;

        assert!(ratio >= best - first_reading(), "{rules:?}: {ratio} of {best}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_affinity_turns_are_turns_and_most_is_read_anew() {
    for rules in ALL {
        let best = ideal(rules).await;

        let (off, nameless) = (
            supplied(rules, 2, 3, json!(false), true).await,
            supplied(rules, 2, 3, json!(true), false).await,
        );

        assert_eq!(off, nameless, "{rules:?}");
        assert!(off < best - first_reading() - 0.05, "{rules:?}: {off} of {best}");
    }
}

#[test]
fn an_account_supplies_what_the_rules_of_its_provider_let_it() {
    let block = |seed: &str, words: usize, marked| {
        ((0..words).map(|at| format!("{seed}{at}")).collect::<Vec<_>>(), marked)
    };
    let read = |rules: Rules, prompts: [&Prompt; 2]| {
        let mut accounts = Accounts::default();
        prompts.map(|prompt| accounts.read(rules, "k", prompt))[1]
    };
    let first = vec![block("a", 1200, true), block("b", 50, false)];
    let longer = vec![block("a", 1200, true), block("b", 50, false), block("c", 100, true)];
    let other = vec![block("a", 1100, false), block("d", 400, true)];
    let mut far = vec![block("a", 1200, false)];
    far.extend((0..20).map(|at| block(&format!("f{at}-"), 10, at == 19)));

    assert_eq!(read(Rules::OpenAi, [&first, &longer]), 1152);
    assert_eq!(read(Rules::OpenAi, [&first, &other]), 1024);
    assert_eq!(read(Rules::Gemini, [&first, &longer]), 1250);
    assert_eq!(read(Rules::Gemini, [&first, &other]), 1100);
    assert_eq!(read(Rules::Anthropic, [&first, &longer]), 1200);
    assert_eq!(read(Rules::Anthropic, [&first, &other]), 0);
    assert_eq!(read(Rules::Anthropic, [&first, &far]), 0, "the mark is more than twenty blocks before");
    assert_eq!(read(Rules::OpenAi, [&vec![block("a", 1000, true)], &longer]), 0, "too short to be kept");
}
