//! Cache marks as the provider takes them.
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>. At most four marks stand in a prompt,
//! and none for an hour behind one for five minutes.

use serde_json::{Value, json};

use super::turns::WrittenTurn;
use crate::cache_marks::{self, Fate, Part};
use crate::ir::CacheHint;
use crate::rope::Node;

const MARK: &str = "cache_control";

/// Marks a block, unless it is marked already.
pub(super) fn mark(written: &mut Node<'_>, hint: &CacheHint) {
    if !written.has(MARK) {
        written.insert(MARK, value(hint));
    }
}

/// Marks a tool.
pub(super) fn mark_tool(written: &mut Value, hint: &CacheHint) {
    if let Value::Object(tool) = written {
        tool.entry(MARK).or_insert_with(|| value(hint));
    }
}

fn value(hint: &CacheHint) -> Value {
    match &hint.ttl {
        Some(ttl) => json!({ "type": "ephemeral", "ttl": ttl }),
        None => json!({ "type": "ephemeral" }),
    }
}

/// Whether a block may be marked: reasoning may not.
pub(super) fn takes_mark(written: &Node<'_>) -> bool {
    !written.is("thinking") && !written.is("redacted_thinking")
}

/// Brings the marks within the rules ([`cache_marks::settled`]).
pub(super) fn settle<'a>(tools: &mut [Value], system: &mut [Node<'a>], turns: &mut [WrittenTurn<'a>]) {
    let is_hour = |mark: &Value| mark.get("ttl").and_then(Value::as_str) == Some(cache_marks::HOUR);
    let of_node = |node: &Node<'a>| node.value(MARK).map(is_hour);
    let tooled = tools.iter().filter_map(|tool| Some((Part::Tools, is_hour(tool.get(MARK)?))));
    let taught = system.iter().filter_map(|node| Some((Part::System, of_node(node)?)));
    let turned = turns.iter().flat_map(|turn| &turn.blocks);
    let turned = turned.filter_map(|node| Some((Part::Turns, of_node(node)?)));
    let marks: Vec<_> = tooled.chain(taught).chain(turned).collect();
    if marks.is_empty() {
        return;
    }
    let mut fates = cache_marks::settled(&marks).into_iter();
    for tool in tools.iter_mut().filter_map(Value::as_object_mut).filter(|tool| tool.contains_key(MARK)) {
        match fates.next() {
            Some(Fate::Dropped) => drop(tool.shift_remove(MARK)),
            Some(Fate::Short) => tool.get_mut(MARK).into_iter().for_each(shorten),
            Some(Fate::Stays) | None => {}
        }
    }
    let nodes = system.iter_mut().chain(turns.iter_mut().flat_map(|turn| &mut turn.blocks));
    for node in nodes.filter(|node| node.value(MARK).is_some()) {
        match fates.next() {
            Some(Fate::Dropped) => drop(node.remove(MARK)),
            Some(Fate::Short) => node.value_mut(MARK).into_iter().for_each(shorten),
            Some(Fate::Stays) | None => {}
        }
    }
}

fn shorten(mark: &mut Value) {
    mark.as_object_mut().map(|mark| mark.shift_remove("ttl"));
}
