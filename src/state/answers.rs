//! Remembers answers of `/v1/responses` that no upstream keeps, so that a client can go on from them by their names.
//!
//! The one place where texts of clients and models are kept: in memory only and bounded, for each client key and over
//! all of them. The least recently used goes first, and what nobody has used for an hour is forgotten. It outlives
//! configurations, not the process. Never in the ledger, a log or a span.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialect::{Answers, KeptAnswer};
use layers::policy::Fingerprint;
use tokio::time::Instant;

use super::recent::{Bounds, Recent};

const BOUNDS: Bounds = Bounds {
    life: Duration::from_secs(3600),
    most_of_caller: 256,
    most: 16_384,
    bytes_of_caller: 8 << 20,
    bytes: 64 << 20,
};

type Table = Recent<Arc<str>, Arc<KeptAnswer>>;

/// A memory of answers by caller and name.
#[derive(Debug)]
pub struct AnswerMemory(Mutex<Table>);

impl Default for AnswerMemory {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(BOUNDS)))
    }
}

impl AnswerMemory {
    /// Keeps those whose caller is alive.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        self.table().retain(caller, Instant::now());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers for AnswerMemory {
    fn find(&self, owner: &str, name: &str) -> Option<Arc<KeptAnswer>> {
        self.table().find(&Fingerprint::new(owner), name, Instant::now())
    }

    fn keep(&self, owner: &str, name: &str, answer: KeptAnswer) {
        let bytes = answer.size() + name.len();
        let (owner, answer) = (Fingerprint::new(owner), Arc::new(answer));
        self.table().keep(&owner, name.into(), answer, bytes, Instant::now());
    }

    fn forget(&self, owner: &str, name: &str) -> bool {
        self.table().forget(&Fingerprint::new(owner), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> KeptAnswer {
        KeptAnswer::new("{}", "x".repeat(bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_found_and_forgotten_by_whom_it_was_for_and_by_nobody_else() {
        let memory = AnswerMemory::default();

        memory.keep("a", "resp_1", answer(1));

        assert_eq!(memory.find("a", "resp_1").as_deref(), Some(&answer(1)));
        assert!(memory.find("b", "resp_1").is_none() && !memory.forget("b", "resp_1"));
        assert!(memory.forget("a", "resp_1") && !memory.forget("a", "resp_1"));
        assert!(memory.find("a", "resp_1").is_none());
        memory.keep("a", "resp_2", answer(1));
        memory.retain(&|caller| caller.as_str() == "b");
        assert!(memory.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_key_holds_so_many_answers_and_bytes_for_an_hour_and_no_more() {
        let memory = AnswerMemory::default();

        (0..300).for_each(|at| memory.keep("a", &at.to_string(), answer(1)));
        assert_eq!(memory.len(), BOUNDS.most_of_caller);
        (0..20).for_each(|at| memory.keep("a", &format!("long {at}"), answer(1 << 20)));
        assert!(memory.table().bytes() <= BOUNDS.bytes_of_caller);
        assert!(memory.find("a", "long 19").is_some() && memory.find("a", "long 0").is_none());
        memory.keep("a", "too long", answer(BOUNDS.bytes_of_caller + 1));
        assert!(memory.find("a", "too long").is_none());
        for owner in 0..20 {
            (0..7).for_each(|at| memory.keep(&format!("k{owner}"), &at.to_string(), answer(1 << 20)));
        }
        assert!(memory.table().bytes() <= BOUNDS.bytes);
        tokio::time::advance(BOUNDS.life).await;
        assert!(memory.find("k19", "6").is_none());
    }
}
