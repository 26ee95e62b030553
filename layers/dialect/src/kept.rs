//! Answers that clients may name later, where no upstream keeps them: what is remembered, and what is asked of it.
//!
//! A client of the dialect goes on from an earlier answer by its name alone. Upstreams of other dialects want the whole
//! conversation, so it is put together again here, before anybody is asked. The memory is bounded and is given from
//! outside ([`Answers`]); each client key has its own, and nobody gets another's.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Body, Dialect, Malformed, ModelPlace, responses};

/// A bounded memory of answers, for each client key apart.
pub trait Answers: Send + Sync {
    /// The answer of this name to this owner.
    fn find(&self, owner: &str, name: &str) -> Option<Arc<KeptAnswer>>;
    /// Keeps one.
    fn keep(&self, owner: &str, name: &str, answer: KeptAnswer);
    /// Forgets one; whether it was there.
    fn forget(&self, owner: &str, name: &str) -> bool;
}

/// The memory of one client key.
#[derive(Clone, Copy)]
pub struct AnswersOf<'a> {
    /// The memory of all.
    pub all: &'a Arc<dyn Answers>,
    /// The client key, by what stands for it.
    pub owner: &'a str,
}

/// An answer with the request that it is to. Texts of clients and models: it belongs into no log.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The request, its conversation complete.
    pub(crate) request: Bytes,
    /// The answer as it was told.
    pub(crate) answer: Bytes,
}

impl KeptAnswer {
    /// An answer to a request, both as JSON, for memories' own tests.
    #[doc(hidden)]
    pub fn new(request: impl Into<Bytes>, answer: impl Into<Bytes>) -> Self {
        Self { request: request.into(), answer: answer.into() }
    }

    /// How many bytes it takes to keep it.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.request.len() + self.answer.len()
    }
}

impl fmt::Debug for KeptAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptAnswer").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl fmt::Debug for AnswersOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswersOf").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A memory that outlives the request, with the request whose answer it is to keep.
#[derive(Clone)]
pub(crate) struct AnswerKeeper {
    all: Arc<dyn Answers>,
    owner: Box<str>,
    request: Bytes,
}

impl AnswerKeeper {
    pub(crate) fn new(answers: AnswersOf<'_>, request: Bytes) -> Self {
        Self { all: answers.all.clone(), owner: answers.owner.into(), request }
    }

    /// Keeps the answer under its name.
    pub(crate) fn keep(self, answer: Bytes) {
        if let Some(name) = responses::name_of(&answer) {
            // A copy: what is received may be a slice of something larger.
            let request = Bytes::copy_from_slice(&self.request);
            self.all.keep(&self.owner, &name, KeptAnswer { request, answer });
        }
    }
}

impl fmt::Debug for AnswerKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerKeeper").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// The names of kept things that a request goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// The answer before it.
    pub answer: Option<String>,
    /// Items of earlier answers that it puts into its conversation by their names.
    pub items: Vec<String>,
}

impl Earlier {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.answer.is_none() && self.items.is_empty()
    }

    /// Of each item the name of the answer that it is of, as far as it is one of ours.
    pub fn answer_of(item: &str) -> Option<String> {
        responses::response_of(item)
    }
}

/// The question about a kept answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptCall {
    /// To read it.
    Read,
    /// To forget it.
    Forget,
    /// To end the work on it.
    Cancel,
    /// To read the conversation before it.
    Input,
}

impl Dialect {
    /// The kept things that a client's request names.
    ///
    /// # Errors
    /// A body that cannot be read, and names of things that nobody here can tell whose they are.
    pub fn earlier(self, body: &Body) -> Result<Earlier, Malformed> {
        match (self, body.json()) {
            (Self::Responses, Some(json)) => responses::earlier(json),
            _ => Ok(Earlier::default()),
        }
    }

    /// A request with the conversation of the answers that it goes on from, and where it names its model.
    ///
    /// # Errors
    /// A body that cannot be read, an item that no answer has.
    pub fn going_on(
        self,
        body: &[u8],
        earlier: &Earlier,
        answers: &[Arc<KeptAnswer>],
    ) -> Result<(Body, ModelPlace), Malformed> {
        responses::going_on(body, earlier, answers)
    }

    /// What a client is told of a kept answer.
    ///
    /// # Errors
    /// What cannot be asked of it, and an answer that cannot be read.
    pub fn told_of_kept(
        self,
        call: KeptCall,
        name: &str,
        kept: &KeptAnswer,
        query: &str,
    ) -> Result<Bytes, Malformed> {
        responses::told_of_kept(call, name, kept, query)
    }
}
