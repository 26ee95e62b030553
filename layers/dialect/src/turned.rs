//! Turns that alternate, begin with the user and answer every call at once, as Anthropic's models want them in either
//! dialect that is spoken to them. Other dialects allow nearly anything.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::names::CallIds;
use crate::rekey::Keys;
use crate::{Unsupported, exact};

/// A turn: the user's or the model's, of blocks as a dialect has them.
#[derive(Debug)]
pub(crate) struct WrittenTurn<B> {
    pub(crate) assistant: bool,
    /// Results of the calls in the turn before, which stand first in the end.
    pub(crate) results: Vec<B>,
    pub(crate) blocks: Vec<B>,
}

impl<B> WrittenTurn<B> {
    fn new(assistant: bool) -> Self {
        Self { assistant, results: Vec::new(), blocks: Vec::new() }
    }

    /// The user's word where the grammar wants one.
    pub(crate) fn asking_on(word: B) -> Self {
        Self { blocks: vec![word], ..Self::new(false) }
    }

    pub(crate) fn role(&self) -> &'static str {
        if self.assistant { "assistant" } else { "user" }
    }
}

/// The turns of a conversation that is being written.
#[derive(Debug)]
pub(crate) struct Turns<B>(Vec<WrittenTurn<B>>);

impl<B> Turns<B> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// The place of the turn that the next block of this side stands in: turns of one side are one.
    pub(crate) fn place(&self, assistant: bool) -> usize {
        let merges = self.0.last().is_some_and(|last| last.assistant == assistant);
        self.0.len() - usize::from(merges)
    }

    /// That turn.
    pub(crate) fn turn(&mut self, assistant: bool) -> &mut WrittenTurn<B> {
        let place = self.place(assistant);
        if place == self.0.len() {
            self.0.push(WrittenTurn::new(assistant));
        }
        &mut self.0[place]
    }

    /// All blocks, the last first.
    pub(crate) fn last_first(&mut self) -> impl Iterator<Item = &mut B> {
        let turns = self.0.iter_mut().rev();
        turns.flat_map(|turn| turn.blocks.iter_mut().rev().chain(turn.results.iter_mut().rev()))
    }

    /// The turns as they are sent: each call answered, results before all else, and the user's word first, for which
    /// there is a block, as there is one for a call without a result.
    pub(crate) fn settled(
        self,
        ids: CallIds<'_>,
        missing: impl Fn(String) -> B,
        word: impl FnOnce() -> B,
    ) -> Vec<WrittenTurn<B>> {
        let Self(mut turns) = self;
        for (turn, call) in ids.unanswered() {
            if turn + 1 == turns.len() {
                turns.push(WrittenTurn::new(false));
            }
            turns[turn + 1].results.push(missing(call));
        }
        for turn in &mut turns {
            turn.results.append(&mut turn.blocks);
            std::mem::swap(&mut turn.results, &mut turn.blocks);
        }
        if turns.first().is_none_or(|turn| turn.assistant) {
            turns.insert(0, WrittenTurn::asking_on(word()));
        }
        turns
    }
}

/// Arguments of an earlier call as the object that is demanded, under the names of parameters that the upstream knows.
///
/// # Errors
/// Arguments that are no JSON.
pub(crate) fn input(
    name: &str,
    arguments: &str,
    keys: Option<&Keys>,
    message: usize,
) -> Result<Value, Unsupported> {
    if arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    let renamed = keys.map(|keys| keys.renamed(arguments));
    match exact::read(renamed.as_deref().unwrap_or(arguments).as_bytes()) {
        Ok(Value::Object(object)) => Ok(object.into()),
        Ok(Value::Null) => Ok(json!({})),
        Ok(other) => Ok(json!({ "value": other })),
        Err(_) => Err(Unsupported::at(
            format!("messages[{message}].tool_calls"),
            format!("the arguments of a call of the function {name} are not valid JSON"),
        )),
    }
}

/// The beginning of an answer without white space at its end, in which it may not end.
pub(crate) fn trim_end(words: &mut Cow<'_, str>) {
    let end = words.trim_end().len();
    match words {
        Cow::Borrowed(borrowed) => *words = borrowed[..end].into(),
        Cow::Owned(owned) => owned.truncate(end),
    }
}
