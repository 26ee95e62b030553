//! Remembers what models have sealed, for clients that drop it.
//!
//! In memory only and bounded: for each client key, so that nobody gets another's, and over all of
//! them; the least recently used goes first, and what nobody has used for an hour is forgotten. In
//! it are thoughts of models in the words that the client was told, with their seals; pictures are
//! known by a digest. Never in the ledger, a log or a span.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialect::{Sealed, Seals};
use layers::policy::Fingerprint;
use tokio::time::Instant;

use super::recent::{Bounds, Recent};

/// How long what nobody uses is kept.
const LIFE: Duration = Duration::from_secs(3600);
/// Longest name that is kept; identities of calls have some thirty characters.
const LONGEST_NAME: usize = 256;

/// Calls, with the thoughts before them.
const CALLS: Bounds =
    Bounds { life: LIFE, most_of_caller: 2_000, most: 20_000, bytes_of_caller: 8 << 20, bytes: 64 << 20 };
/// Pictures.
const PICTURES: Bounds =
    Bounds { life: LIFE, most_of_caller: 100, most: 2_000, bytes_of_caller: 4 << 20, bytes: 32 << 20 };

type Table = Recent<Arc<str>, Arc<Sealed>>;

/// Seals by caller and name.
#[derive(Debug)]
pub struct SealMemory {
    calls: Mutex<Table>,
    pictures: Mutex<Table>,
}

impl Default for SealMemory {
    fn default() -> Self {
        Self { calls: Mutex::new(Recent::new(CALLS)), pictures: Mutex::new(Recent::new(PICTURES)) }
    }
}

impl SealMemory {
    /// Keeps those whose caller is alive.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        for table in [&self.calls, &self.pictures] {
            lock(table).retain(caller, Instant::now());
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.calls).len() + lock(&self.pictures).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Seals for SealMemory {
    fn find(&self, owner: &str, name: &str) -> Option<Arc<Sealed>> {
        let (owner, now) = (Fingerprint::new(owner), Instant::now());
        let call = lock(&self.calls).find(&owner, name, now);
        call.or_else(|| lock(&self.pictures).find(&owner, name, now))
    }

    fn keep(&self, owner: &str, name: &str, sealed: Sealed) {
        if name.len() > LONGEST_NAME {
            return;
        }
        let table = if sealed.is_picture() { &self.pictures } else { &self.calls };
        let bytes = sealed.size() + name.len();
        lock(table).keep(&Fingerprint::new(owner), name.into(), Arc::new(sealed), bytes, Instant::now());
    }

    fn holds_pictures(&self, owner: &str) -> bool {
        lock(&self.pictures).holds(&Fingerprint::new(owner))
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(bytes: usize) -> Sealed {
        Sealed::of_call("f", "{}", &"s".repeat(bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sealed_for_one_client_key_is_nobody_else_s() {
        let memory = SealMemory::default();

        memory.keep("a", "call_1", call(1));
        memory.keep("a", "picture", Sealed::of_picture("s"));

        assert!(memory.find("a", "call_1").is_some() && memory.find("a", "picture").is_some());
        assert!(memory.find("b", "call_1").is_none() && memory.find("b", "picture").is_none());
        assert_eq!((memory.holds_pictures("a"), memory.holds_pictures("b")), (true, false));
        memory.retain(&|caller| caller.as_str() == "b");
        assert!(memory.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn long_conversations_do_not_grow_it_beyond_its_bounds() {
        let memory = SealMemory::default();

        for at in 0..300 {
            memory.keep("a", &format!("call_{at}"), call(60_000));
            memory.keep("a", &format!("picture {at}"), Sealed::of_picture("s"));
        }

        let bytes = lock(&memory.calls).bytes();
        assert!(bytes <= CALLS.bytes_of_caller && bytes > CALLS.bytes_of_caller - 70_000, "{bytes}");
        assert_eq!(lock(&memory.pictures).len(), PICTURES.most_of_caller);
        assert!(memory.find("a", "call_299").is_some() && memory.find("a", "call_0").is_none());
        memory.keep("a", &"x".repeat(LONGEST_NAME + 1), call(1));
        assert!(memory.find("a", &"x".repeat(LONGEST_NAME + 1)).is_none());
        tokio::time::advance(LIFE).await;
        assert!(memory.find("a", "call_299").is_none());
    }
}
