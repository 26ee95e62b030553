//! Cache marks within the rules that all providers share, and in the words of the clients that set them.
//!
//! Anthropic's `cache_control` (<https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>), Bedrock's
//! `cachePoint` (<https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>) and OpenAI's
//! `prompt_cache_breakpoint` (<https://platform.openai.com/docs/guides/prompt-caching>) mean the same: a cache may end
//! behind what is marked. A prompt is cached from its beginning: tools, then instructions, then the conversation.

use serde_json::{Map, Value};

use crate::Dialect;
use crate::ir::{CacheHint, Request};

/// Marks that one request may hold.
const MOST: usize = 4;
/// OpenAI's name of the conversation, by which it finds the machine that has read it.
pub(crate) const KEY: &str = "prompt_cache_key";
/// OpenAI's mark on a part.
pub(crate) const BREAKPOINT: &str = "prompt_cache_breakpoint";
/// The longer of the two times that Anthropic and Bedrock know.
pub(crate) const HOUR: &str = "1h";

/// The part of a prompt in which a mark stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The tools.
    Tools,
    /// The instructions before the conversation.
    System,
    /// The conversation.
    Turns,
}

/// The fate of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is left out.
    Dropped,
    /// It stays, for the shorter time.
    Short,
    /// It stays as it is.
    Stays,
}

/// Decides what becomes of the marks of a prompt: of each, in the order of the prompt, its part and whether it is for
/// the longer time.
///
/// Surplus ones are left out of the conversation first, from its beginning on: the newest are worth the most, and those
/// on tools and instructions serve every conversation. An hour behind five minutes becomes five minutes.
pub(crate) fn settled(marks: &[(Part, bool)]) -> Vec<Fate> {
    let mut fates = vec![Fate::Stays; marks.len()];
    let mut surplus = marks.len().saturating_sub(MOST);
    for part in [Part::Turns, Part::System, Part::Tools] {
        for (fate, _) in fates.iter_mut().zip(marks).filter(|(_, (of, _))| *of == part) {
            if surplus > 0 {
                *fate = Fate::Dropped;
                surplus -= 1;
            }
        }
    }
    let mut short = false;
    for (fate, (_, hour)) in fates.iter_mut().zip(marks).filter(|(fate, _)| **fate != Fate::Dropped) {
        short |= !hour;
        if short && *hour {
            *fate = Fate::Short;
        }
    }
    fates
}

/// The mark on a part, a message or a tool of a client: in Anthropic's words, which OpenRouter and others take too, or
/// in OpenAI's. `all` is for how long the request asks.
pub(crate) fn on(part: &Map<String, Value>, all: Option<&str>) -> Option<CacheHint> {
    let theirs = part.get("cache_control").and_then(Value::as_object);
    let own = part.get(BREAKPOINT).and_then(Value::as_object);
    let mark = theirs.or(own)?;
    let ttl = mark.get("ttl").and_then(Value::as_str);
    Some(CacheHint { ttl: time(ttl.or(own.and(all))) })
}

/// A time as Anthropic and Bedrock know it. OpenAI's shortest is its usual one, as five minutes are theirs.
fn time(written: Option<&str>) -> Option<String> {
    match written? {
        "30m" => None,
        "12h" | "24h" => Some(HOUR.to_owned()),
        other => Some(other.to_owned()),
    }
}

/// For how long the request asks for all of its marks.
pub(crate) fn time_of_all(body: &Map<String, Value>) -> Option<String> {
    body.get("prompt_cache_options")?.get("ttl")?.as_str().map(str::to_owned)
}

/// Whether a model of OpenAI's takes marks: from GPT-5.6 on.
pub(crate) fn are_taken_by(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let version = name.strip_prefix("gpt-").unwrap_or_default();
    let version =
        version.split(|sign: char| !sign.is_ascii_digit() && sign != '.').next().unwrap_or_default();
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |digits: &str| digits.parse::<u32>().unwrap_or(0);
    (number(major), number(minor)) >= (5, 6)
}

/// Whether a model is one of OpenAI's, whose upstreams know `prompt_cache_key`. Others refuse what they do not know.
pub(crate) fn knows_keys(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let families = ["gpt-3", "gpt-4", "gpt-5", "gpt-6", "chatgpt-", "o1", "o3", "o4"];
    families.iter().any(|family| name.starts_with(family))
}

/// OpenAI's mark.
pub(crate) fn openai() -> Value {
    serde_json::json!({ "mode": "explicit" })
}

/// Names the conversation for caches that ask for it, where the client does not itself: by its digest, else by its user.
pub(crate) fn name(request: &mut Request, conversation: Option<u64>) {
    let own = request.extra.get(KEY).and_then(Value::as_str).map(str::to_owned);
    let named = || conversation.map(|name| format!("{name:016x}"));
    request.cache_key = own.or_else(named).or_else(|| request.user.clone()).filter(|key| !key.is_empty());
    if request.source == Dialect::OpenAiChat
        && let Some(key) = &request.cache_key
    {
        // What goes on to upstreams of the same family stands there.
        request.extra.entry(KEY).or_insert_with(|| key.as_str().into());
    }
}

/// Marks the end of the prompt where the request asks the provider to find the place itself: with OpenAI's
/// `prompt_cache_options`, or with `cache_control` on all of it. What is marked already stays so.
pub(crate) fn mark_end(request: &mut Request) {
    let options = request.extra.get("prompt_cache_options").and_then(Value::as_object);
    let asked = options.and_then(|options| options.get("mode")).and_then(Value::as_str) == Some("implicit");
    let mark = match request.extra.get("cache_control") {
        Some(Value::Object(mark)) => time(mark.get("ttl").and_then(Value::as_str)),
        _ if asked => time(options.and_then(|options| options.get("ttl")).and_then(Value::as_str)),
        _ => return,
    };
    if let Some(last) = request.turns.iter_mut().rev().find_map(|turn| turn.blocks.last_mut()) {
        last.cache.get_or_insert(CacheHint { ttl: mark });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ir::{Block, Role, Turn};

    #[test]
    fn models_that_know_marks_and_keys_are_told_by_their_names() {
        for model in ["gpt-5.6", "openai/gpt-5.6-mini", "gpt-5.10", "gpt-6-2027-01-01"] {
            assert!(are_taken_by(model) && knows_keys(model), "{model}");
        }
        for model in ["gpt-5.5", "gpt-5", "gpt-4o", "o3-mini", "claude-opus-4-8", "gpt-oss-120b", ""] {
            assert!(!are_taken_by(model), "{model}");
        }
        assert!(knows_keys("gpt-4o") && knows_keys("o3-mini"));
        assert!(!knows_keys("gpt-oss-120b") && !knows_keys("llama-3"));
    }

    #[test]
    fn a_conversation_is_named_by_the_client_else_by_its_session_else_by_its_user() {
        let key = |own: Option<&str>, session, user: Option<&str>| {
            let mut request = Request::new(Dialect::OpenAiChat);
            request.user = user.map(str::to_owned);
            request.extra.extend(own.map(|own| (KEY.to_owned(), own.into())));
            name(&mut request, session);
            assert_eq!(request.extra.get(KEY).and_then(Value::as_str), request.cache_key.as_deref());
            request.cache_key
        };

        assert_eq!(key(Some("k"), Some(7), Some("u")).as_deref(), Some("k"));
        assert_eq!(key(None, Some(7), Some("u")).as_deref(), Some("0000000000000007"));
        assert_eq!(key(None, None, Some("u")).as_deref(), Some("u"));
        assert_eq!(key(None, None, None), None);
    }

    #[test]
    fn four_marks_stay_the_newest_and_those_on_what_serves_all() {
        use Part::{System, Tools, Turns};
        let fates = settled(&[Tools, System, System, Turns, Turns, Turns].map(|part| (part, false)));

        assert_eq!(fates, [Fate::Stays, Fate::Stays, Fate::Stays, Fate::Dropped, Fate::Dropped, Fate::Stays]);
        let many = settled(&[(Tools, false); 6]);
        assert_eq!(many.iter().filter(|fate| **fate == Fate::Dropped).count(), 2);
    }

    #[test]
    fn an_hour_never_stands_behind_five_minutes() {
        use Part::{System, Tools, Turns};

        let fates = settled(&[(Tools, true), (System, false), (Turns, true)]);
        assert_eq!(fates, [Fate::Stays, Fate::Stays, Fate::Short]);
        // What is left out does not shorten what follows.
        let marks = [(System, true), (Turns, false), (Turns, true), (Turns, true), (Turns, true)];
        assert_eq!(settled(&marks)[1..], [Fate::Dropped, Fate::Stays, Fate::Stays, Fate::Stays]);
    }

    #[test]
    fn a_mark_is_read_in_both_words() {
        let read = |part: Value, all| {
            let part = part.as_object().unwrap().clone();
            on(&part, all).map(|hint| hint.ttl.unwrap_or_else(|| "usual".to_owned()))
        };
        let usual = Some("usual".to_owned());

        assert_eq!(read(json!({ "cache_control": { "type": "ephemeral" } }), None), usual);
        assert_eq!(read(json!({ "cache_control": { "ttl": "1h" } }), None).as_deref(), Some("1h"));
        assert_eq!(read(json!({ "prompt_cache_breakpoint": { "mode": "explicit" } }), None), usual);
        assert_eq!(read(json!({ "prompt_cache_breakpoint": {} }), Some("30m")), usual);
        assert_eq!(read(json!({ "prompt_cache_breakpoint": {} }), Some("24h")).as_deref(), Some("1h"));
        assert_eq!(read(json!({ "prompt_cache_breakpoint": { "ttl": "12h" } }), None).as_deref(), Some("1h"));
        assert_eq!(read(json!({ "cache_control": null, "text": "x" }), Some("24h")), None);
    }

    #[test]
    fn the_end_is_marked_where_the_provider_is_asked_to_find_the_place() {
        let marked = |name: &str, value: Value| {
            let mut request = Request::new(Dialect::OpenAiChat);
            request.turns.push(Turn { role: Role::User, blocks: vec![Block::text("a"), Block::text("b")] });
            request.turns.push(Turn { role: Role::Assistant, blocks: Vec::new() });
            request.extra.insert(name.to_owned(), value);
            mark_end(&mut request);
            request.turns[0].blocks[1].cache.clone()
        };

        assert_eq!(marked("prompt_cache_options", json!({ "mode": "implicit" })), Some(CacheHint::default()));
        let hour = Some(CacheHint { ttl: Some("1h".to_owned()) });
        assert_eq!(marked("prompt_cache_options", json!({ "mode": "implicit", "ttl": "24h" })), hour);
        assert_eq!(marked("cache_control", json!({ "type": "ephemeral", "ttl": "1h" })), hour);
        assert_eq!(marked("prompt_cache_options", json!({ "mode": "explicit" })), None);
        assert_eq!(marked("prompt_cache_options", json!({ "ttl": "30m" })), None);
    }
}
