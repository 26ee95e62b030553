//! Cache marks as the provider takes them.
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>. A prompt is cached from its beginning:
//! tools, then instructions, then the conversation. At most four marks stand in it, and none for an hour behind one for
//! five minutes.

use serde_json::{Value, json};

use super::turns::WrittenTurn;
use crate::ir::CacheHint;
use crate::rope::Node;

/// Marks that one request may hold.
const MOST: usize = 4;
const MARK: &str = "cache_control";
/// The longer of the two times.
const HOUR: &str = "1h";

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

/// Brings the marks within the rules.
///
/// Surplus ones are left out of the conversation first, from its beginning on: the newest are worth the most, and those
/// on tools and instructions serve every conversation. An hour behind five minutes becomes five minutes.
pub(super) fn settle<'a>(tools: &mut [Value], system: &mut [Node<'a>], turns: &mut [WrittenTurn<'a>]) {
    let marked = |node: &&Node<'a>| node.has(MARK);
    let marks = tools.iter().filter(|tool| tool.get(MARK).is_some()).count()
        + system.iter().filter(marked).count()
        + turns.iter().flat_map(|turn| &turn.blocks).filter(marked).count();
    if marks == 0 {
        return;
    }
    let mut surplus = marks.saturating_sub(MOST);
    let turned = turns.iter_mut().flat_map(|turn| &mut turn.blocks);
    for node in turned.chain(system.iter_mut()) {
        if surplus > 0 && node.remove(MARK).is_some() {
            surplus -= 1;
        }
    }
    for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
        if surplus > 0 && tool.shift_remove(MARK).is_some() {
            surplus -= 1;
        }
    }
    let mut short = false;
    for mark in tools.iter_mut().filter_map(|tool| tool.get_mut(MARK)) {
        shorten(mark, &mut short);
    }
    for node in system.iter_mut().chain(turns.iter_mut().flat_map(|turn| &mut turn.blocks)) {
        if let Some(Node::Value(mark)) = node.field_mut(MARK) {
            shorten(mark, &mut short);
        }
    }
}

fn shorten(mark: &mut Value, short: &mut bool) {
    match mark.get("ttl").and_then(Value::as_str) {
        Some(HOUR) if *short => {
            mark.as_object_mut().map(|mark| mark.shift_remove("ttl"));
        }
        Some(HOUR) => {}
        _ => *short = true,
    }
}
