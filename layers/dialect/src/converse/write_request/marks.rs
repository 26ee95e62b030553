//! Marks for the cache, which are blocks of their own behind what they mark.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>. A prompt is cached from its
//! beginning: tools, then instructions, then the conversation.

use serde_json::{Map, Value, json};

use crate::cache_marks::{Fate, HOUR, Part, settled};
use crate::converse::family::Caches;
use crate::ir::CacheHint;
use crate::rope::Node;

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

/// The three parts of a prompt with their marks brought within the rules that all providers share, and within what this
/// model caches.
pub(super) fn settle<'a>(
    caches: Caches,
    tools: &mut [Marked<'a>],
    system: &mut [Marked<'a>],
    turns: &mut [&mut Vec<Marked<'a>>],
) {
    if !matches!(caches, Caches::Everywhere { .. }) {
        tools.iter_mut().for_each(|tool| tool.mark = None);
    }
    let of = |part| move |block| (part, block);
    let turned = turns.iter_mut().flat_map(|turn| turn.iter_mut()).map(of(Part::Turns));
    let blocks = tools.iter_mut().map(of(Part::Tools)).chain(system.iter_mut().map(of(Part::System)));
    let mut marked: Vec<(Part, &mut Marked<'a>)> =
        blocks.chain(turned).filter(|(_, block)| block.mark.is_some()).collect();
    let lasts = |block: &Marked<'_>| {
        let ttl = block.mark.as_ref().and_then(|mark| mark.ttl.as_deref());
        caches == (Caches::Everywhere { hours: true }) && ttl == Some(HOUR)
    };
    let marks: Vec<(Part, bool)> = marked.iter().map(|(part, block)| (*part, lasts(block))).collect();
    for (((_, block), fate), (_, hour)) in marked.iter_mut().zip(settled(&marks)).zip(&marks) {
        if fate == Fate::Dropped || caches == Caches::None {
            block.mark = None;
        } else if fate == Fate::Short || !hour {
            block.mark = Some(CacheHint { ttl: None });
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
