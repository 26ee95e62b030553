//! Marks for the cache, which are blocks of their own behind what they mark.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>. A prompt is cached from its
//! beginning: tools, then instructions, then the conversation. At most four marks stand in it, and none for an hour
//! behind one for five minutes.

use serde_json::{Map, Value, json};

use crate::converse::family::Caches;
use crate::ir::CacheHint;
use crate::rope::Node;

/// Marks that one request may hold.
const MOST: usize = 4;
/// The longer of the two times.
const HOUR: &str = "1h";

/// A block, and the mark behind it.
#[derive(Debug)]
pub(super) struct Marked<'a> {
    pub(super) node: Node<'a>,
    pub(super) mark: Option<CacheHint>,
}

impl<'a> Marked<'a> {
    pub(super) fn new(node: Node<'a>) -> Self {
        Self { node, mark: None }
    }

    /// Whether a mark may stand behind it: reasoning has none.
    pub(super) fn takes_mark(&self) -> bool {
        !self.node.has("reasoningContent")
    }

    /// Marks it, unless it is marked already.
    pub(super) fn mark(&mut self, hint: &CacheHint) {
        self.mark.get_or_insert_with(|| hint.clone());
    }
}

/// The three parts of a prompt with their marks brought within the rules.
///
/// Surplus ones are left out of the conversation first, from its beginning on: the newest are worth the most, and those
/// on tools and instructions serve every conversation. An hour behind five minutes becomes five minutes.
pub(super) fn settle<'a>(
    caches: Caches,
    tools: &mut [Marked<'a>],
    system: &mut [Marked<'a>],
    turns: &mut [&mut Vec<Marked<'a>>],
) {
    if caches != (Caches::Everywhere { hours: true }) && caches != (Caches::Everywhere { hours: false }) {
        tools.iter_mut().for_each(|tool| tool.mark = None);
    }
    let turned = || turns.iter().flat_map(|turn| turn.iter());
    let count =
        tools.iter().chain(system.iter()).chain(turned()).filter(|block| block.mark.is_some()).count();
    let most = if caches == Caches::None { 0 } else { MOST };
    let mut surplus = count.saturating_sub(most);
    let order = turns.iter_mut().flat_map(|turn| turn.iter_mut());
    for block in order.chain(system.iter_mut()).chain(tools.iter_mut()) {
        if surplus > 0 && block.mark.take().is_some() {
            surplus -= 1;
        }
    }
    let mut short = caches != (Caches::Everywhere { hours: true });
    let turned = turns.iter_mut().flat_map(|turn| turn.iter_mut());
    for mark in
        tools.iter_mut().chain(system.iter_mut()).chain(turned).filter_map(|block| block.mark.as_mut())
    {
        match mark.ttl.as_deref() {
            Some(HOUR) if !short => {}
            _ => {
                short = true;
                mark.ttl = None;
            }
        }
    }
}

/// The blocks with their marks behind them.
pub(super) fn written(blocks: Vec<Marked<'_>>) -> Vec<Node<'_>> {
    let mut nodes = Vec::with_capacity(blocks.len());
    for Marked { node, mark } in blocks {
        nodes.push(node);
        nodes.extend(mark.map(|hint| {
            let mut point = Map::from_iter([("type".to_owned(), Value::from("default"))]);
            if let Some(ttl) = hint.ttl {
                point.insert("ttl".to_owned(), ttl.into());
            }
            json!({ "cachePoint": point }).into()
        }));
    }
    nodes
}
