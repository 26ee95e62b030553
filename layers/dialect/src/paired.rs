//! A conversation in which every call is answered at once, and every result answers a call.
//!
//! Clients lose results, send them late, or send some that nothing asked for, and many providers refuse the whole
//! conversation for it. What is missing is made up, what answers nothing is the user's own word, and nothing else
//! changes its place: a longer conversation begins as the shorter one did.

use crate::ir::{Block, Content, Request, Role};
use crate::names::CallIds;

/// A turn of the model with what came behind it, up to its next one. The first has no turn of the model.
#[derive(Debug, Default)]
pub(crate) struct Group<'a> {
    /// Whether the model has a turn in it.
    pub(crate) answers: bool,
    /// What the model said beside its calls.
    pub(crate) blocks: Vec<&'a Block>,
    /// What it called.
    pub(crate) calls: Vec<Call<'a>>,
    /// What the calls gave back: one for each, in the order in which they came, made-up ones last.
    pub(crate) results: Vec<Outcome<'a>>,
    /// What else was said.
    pub(crate) said: Vec<Said<'a>>,
}

/// A call of a tool.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Its identity, which no other call of the conversation has.
    pub(crate) id: String,
    /// The tool.
    pub(crate) name: &'a str,
    /// Arguments as JSON text.
    pub(crate) arguments: &'a str,
    /// Which message of the client holds it.
    pub(crate) message: usize,
}

/// The outcome of a call.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// Which call of the group.
    pub(crate) call: usize,
    /// The result; none where it is missing.
    pub(crate) blocks: Option<&'a [Block]>,
    /// Whether the tool failed.
    pub(crate) is_error: bool,
}

/// A word of neither the model's nor its tools'.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// A turn of the user's, or an instruction.
    Turn {
        /// Whose.
        role: Role,
        /// What was said.
        blocks: Vec<&'a Block>,
        /// Which message of the client it is.
        message: usize,
    },
    /// A result that answers nothing.
    Orphan {
        /// The result.
        blocks: &'a [Block],
        /// Which message of the client holds it.
        message: usize,
    },
}

/// The conversation of a request in groups, at least one. Identities are of `[A-Za-z0-9_-]{1,longest}`.
pub(crate) fn groups(request: &Request, longest: usize) -> Vec<Group<'_>> {
    let mut ids = CallIds::new(longest);
    let mut groups = vec![Group::default()];
    for (index, turn) in request.turns.iter().enumerate() {
        let message = request.leading + index;
        if turn.role == Role::Assistant {
            let last = &groups[groups.len() - 1];
            if !last.answers || !last.results.is_empty() || !last.said.is_empty() {
                groups.push(Group { answers: true, ..Group::default() });
            }
        }
        let place = groups.len() - 1;
        let group = &mut groups[place];
        let mut said = Vec::new();
        for block in &turn.blocks {
            match &block.content {
                Content::ToolCall { id, name, arguments } if turn.role == Role::Assistant => {
                    let id = ids.call(id, place, message);
                    group.calls.push(Call { id, name, arguments, message });
                }
                Content::ToolResult { call_id, blocks, is_error, .. } => {
                    let answered = ids.result(call_id, place);
                    let call = answered.and_then(|id| group.calls.iter().position(|call| call.id == id));
                    match call {
                        Some(call) => {
                            group.results.push(Outcome { call, blocks: Some(blocks), is_error: *is_error });
                        }
                        None => group.said.push(Said::Orphan { blocks, message }),
                    }
                }
                _ if turn.role == Role::Assistant => group.blocks.push(block),
                _ => said.push(block),
            }
        }
        if !said.is_empty() {
            group.said.push(Said::Turn { role: turn.role, blocks: said, message });
        }
    }
    for (place, id) in ids.unanswered() {
        let group = &mut groups[place];
        if let Some(call) = group.calls.iter().position(|call| call.id == id) {
            group.results.push(Outcome { call, blocks: None, is_error: true });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;
    use crate::ir::Turn;

    fn call(id: &str) -> Block {
        Block::new(Content::ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into() })
    }

    fn result(id: &str, text: &str) -> Block {
        let blocks = vec![Block::text(text)];
        Block::new(Content::ToolResult { call_id: id.into(), name: None, blocks, is_error: false })
    }

    fn request(turns: Vec<(Role, Vec<Block>)>) -> Request {
        let turns = turns.into_iter().map(|(role, blocks)| Turn { role, blocks }).collect();
        Request { turns, ..Request::new(Dialect::OpenAiChat) }
    }

    #[test]
    fn a_late_result_goes_behind_its_call_a_missing_one_is_made_up_and_an_orphan_stays() {
        let request = request(vec![
            (Role::User, vec![Block::text("U")]),
            (Role::Assistant, vec![Block::text("A"), call("a"), call("b")]),
            (Role::User, vec![Block::text("V")]),
            (Role::Tool, vec![result("gone", "0")]),
            (Role::Tool, vec![result("b", "1")]),
            (Role::Assistant, vec![Block::text("B")]),
        ]);

        let groups = groups(&request, 64);

        assert_eq!(groups.len(), 3);
        assert!(!groups[0].answers && groups[1].answers);
        assert_eq!(groups[1].calls.iter().map(|call| &*call.id).collect::<Vec<_>>(), ["a", "b"]);
        let results: Vec<_> =
            groups[1].results.iter().map(|result| (result.call, result.blocks.is_some())).collect();
        assert_eq!(results, [(1, true), (0, false)]);
        assert!(matches!(
            &*groups[1].said,
            [Said::Turn { role: Role::User, message: 2, .. }, Said::Orphan { message: 3, .. }]
        ));
        assert_eq!(groups[2].blocks.len(), 1);
    }

    #[test]
    fn turns_of_the_model_in_a_row_are_one_and_equal_identities_are_told_apart() {
        let request = request(vec![
            (Role::Assistant, vec![call("x")]),
            (Role::Assistant, vec![call("x")]),
            (Role::Tool, vec![result("x", "second"), result("x", "first")]),
            (Role::Assistant, vec![call("x")]),
        ]);

        let groups = groups(&request, 64);

        assert_eq!(groups.len(), 3);
        let ids: Vec<&str> = groups.iter().flat_map(|group| &group.calls).map(|call| &*call.id).collect();
        assert_eq!(ids[0], "x");
        assert!(ids[1] != ids[0] && ids[2] != ids[1] && ids[2] != ids[0], "{ids:?}");
        assert_eq!(groups[1].results.iter().map(|result| result.call).collect::<Vec<_>>(), [1, 0]);
        assert!(groups[2].results[0].blocks.is_none());
    }
}
