//! Puts what was sealed back into a history that was replayed without it.

use std::sync::Arc;

use super::{Part, Sealed, SealsOf, call_digest, picture_name};
use crate::ir::{Block, Content, Request, Role, Turn};

/// Puts it back, as far as it is remembered. A client that has kept seals itself is believed.
pub(crate) fn attach(request: &mut Request, seals: SealsOf<'_>) {
    for turn in &mut request.turns {
        if turn.role == Role::Assistant {
            attach_to_turn(turn, seals);
        }
    }
    if !seals.all.holds_pictures(seals.owner) {
        return;
    }
    for block in request.turns.iter_mut().flat_map(|turn| &mut turn.blocks) {
        if block.seal.is_none()
            && let Some(data) = super::picture(block)
            && let Some(sealed) = seals.all.find(seals.owner, &picture_name(data))
        {
            block.seal.clone_from(&sealed.own);
        }
    }
}

/// What is remembered of a call, if it is this call.
fn remembered(block: &Block, seals: SealsOf<'_>) -> Option<Arc<Sealed>> {
    let Content::ToolCall { id, name, arguments } = &block.content else { return None };
    let sealed = seals.all.find(seals.owner, id)?;
    (sealed.call == Some(call_digest(name, arguments))).then_some(sealed)
}

fn attach_to_turn(turn: &mut Turn, seals: SealsOf<'_>) {
    let is_sealed = |block: &Block| match &block.content {
        Content::Thinking { .. } => block.seal.is_some(),
        Content::RedactedThinking { .. } => true,
        _ => false,
    };
    let believed = turn.blocks.iter().any(is_sealed);
    let mut parts: Vec<(usize, Arc<Sealed>)> = Vec::new();
    for (at, block) in turn.blocks.iter_mut().enumerate() {
        let Some(sealed) = remembered(block, seals) else { continue };
        if block.seal.is_none() {
            block.seal.clone_from(&sealed.own);
        }
        if !believed && !sealed.parts.is_empty() {
            parts.push((at, sealed));
        }
    }
    if !parts.is_empty() {
        weave(turn, &parts);
    }
}

/// Puts sealed parts where they stood: those before the first call between its texts, those before a later one before
/// that. Thoughts of the history without a seal are the same in other words, and give way.
fn weave(turn: &mut Turn, sealed: &[(usize, Arc<Sealed>)]) {
    let first_call = turn.blocks.iter().position(|block| matches!(block.content, Content::ToolCall { .. }));
    let text = text_of(turn);
    let mut early: &[Part] = match sealed {
        [(at, sealed), ..] if Some(*at) == first_call => &sealed.parts,
        _ => &[],
    };
    let fits = early.iter().all(|part| {
        let end = part.at.saturating_add(part.length);
        text.is_char_boundary(part.at) && text.is_char_boundary(end)
    });
    let mut woven = Vec::with_capacity(turn.blocks.len() + 2);
    if !fits {
        // The client has changed the text: thoughts come before all of it.
        woven.extend(early.iter().filter(|part| part.length == 0).map(|part| part.block.clone()));
        early = &[];
    }
    let mut passed = 0;
    for (at, block) in std::mem::take(&mut turn.blocks).into_iter().enumerate() {
        match block.content {
            Content::Thinking { .. } if block.seal.is_none() => {}
            Content::Text(words) => {
                let rest = Block { content: Content::Text(String::new()), ..block };
                split(&words, rest, &mut passed, &mut early, &mut woven);
            }
            Content::ToolCall { .. } => {
                // Behind all of the text.
                woven.extend(early.iter().map(|part| part.block.clone()));
                early = &[];
                if Some(at) != first_call
                    && let Some((_, sealed)) = sealed.iter().find(|(call, _)| *call == at)
                {
                    woven.extend(
                        sealed.parts.iter().filter(|part| part.length == 0).map(|part| part.block.clone()),
                    );
                }
                woven.push(block);
            }
            _ => woven.push(block),
        }
    }
    turn.blocks = woven;
}

/// All text of a turn.
fn text_of(turn: &Turn) -> String {
    let texts = turn.blocks.iter().filter_map(|block| match &block.content {
        Content::Text(words) => Some(words.as_str()),
        _ => None,
    });
    texts.collect()
}

/// A text of the client's, with the parts that stood before its end. `rest` has what belongs to the end of the text.
fn split(words: &str, rest: Block, passed: &mut usize, early: &mut &[Part], woven: &mut Vec<Block>) {
    let end = *passed + words.len();
    let mut at = *passed;
    while let [part, later @ ..] = *early {
        // A text with a seal must lie within this one.
        if part.at > end || part.at == end && part.length > 0 || part.at < at || part.at + part.length > end {
            break;
        }
        // What stands at the very end belongs behind, where more text may come.
        if part.at == end && words.is_empty() {
            break;
        }
        if part.at > at {
            woven.push(Block::text(&words[at - *passed..part.at - *passed]));
        }
        at = part.at + part.length;
        let mut block = part.block.clone();
        if part.length > 0 {
            block.content = Content::Text(words[part.at - *passed..at - *passed].to_owned());
        }
        woven.push(block);
        *early = later;
    }
    let left = &words[at - *passed..];
    match woven.last_mut() {
        // The mark stands at the end of the text, wherever that was cut.
        Some(last) if left.is_empty() && at > *passed && matches!(last.content, Content::Text(_)) => {
            last.cache = rest.cache;
        }
        _ if left.is_empty() && !words.is_empty() && rest.cache.is_none() => {}
        _ => woven.push(Block { content: Content::Text(left.to_owned()), ..rest }),
    }
    *passed = end;
}
