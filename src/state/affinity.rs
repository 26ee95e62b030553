//! Remembers who served each conversation last.
//!
//! In memory and bounded: for each client key and over all of them, the least recently served goes
//! first; what nobody has gone on with for an hour is forgotten, as it is by the caches of
//! providers. Channels and keys stand in it by name, so that it holds over reloads; what a new
//! configuration no longer has is not found by the route and costs one turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use layers::conversation::Home;
use layers::policy::Fingerprint;
use layers::ports::Homes;
use tokio::time::Instant;

use super::recent::{Bounds, Recent};

/// How long a conversation is kept that nobody goes on with.
const LIFE: Duration = Duration::from_secs(3600);
/// Tables, each with a lock of its own. A conversation is always in the same one.
const SHARDS: u64 = 16;
/// Most conversations of one client key in one table.
const MOST_OF_CALLER: usize = 2_000;
/// Most conversations of all client keys in one table.
const MOST: usize = 10_000;

/// Homes by caller, model and digest of the conversation's name.
#[derive(Debug)]
pub struct Affinity([Mutex<Table>; SHARDS as usize]);

type Table = Recent<(u64, Arc<str>), Home>;

impl Default for Affinity {
    fn default() -> Self {
        let bounds = Bounds {
            life: LIFE,
            most_of_caller: MOST_OF_CALLER,
            most: MOST,
            // All rows are of one size.
            bytes_of_caller: usize::MAX,
            bytes: usize::MAX,
        };
        Self(std::array::from_fn(|_| Mutex::new(Recent::new(bounds))))
    }
}

impl Affinity {
    /// Where this conversation was served last, without counting as a request of it: for
    /// explanations.
    pub fn peek(&self, caller: &Fingerprint, model: &Arc<str>, conversation: u64) -> Option<Home> {
        let name = (conversation, model.clone());
        self.table(conversation).peek(caller, &name, Instant::now()).cloned()
    }

    /// Keeps those whose caller is alive.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        (0..SHARDS).for_each(|shard| self.table(shard).retain(caller, Instant::now()));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.table(shard).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self, conversation: u64) -> MutexGuard<'_, Table> {
        self.0[(conversation % SHARDS) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Homes for Affinity {
    fn find(&self, caller: &Fingerprint, model: &Arc<str>, conversation: u64) -> Option<Home> {
        let name = (conversation, model.clone());
        self.table(conversation).find(caller, &name, Instant::now())
    }

    fn keep(&self, caller: &Fingerprint, model: &Arc<str>, conversation: u64, home: Home) {
        let name = (conversation, model.clone());
        self.table(conversation).keep(caller, name, home, 0, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(channel: &str) -> Home {
        Home { channel: channel.into(), place: None, key: Some(Fingerprint::new("k")) }
    }

    fn found(affinity: &Affinity, caller: &str, model: &str, conversation: u64) -> Option<String> {
        let home = affinity.find(&Fingerprint::new(caller), &model.into(), conversation)?;
        Some(home.channel.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_conversation_is_found_under_its_caller_and_model_alone() {
        let affinity = Affinity::default();

        affinity.keep(&Fingerprint::new("a"), &"m".into(), 7, home("east"));

        assert_eq!(found(&affinity, "a", "m", 7).as_deref(), Some("east"));
        assert_eq!(found(&affinity, "b", "m", 7), None);
        assert_eq!(found(&affinity, "a", "n", 7), None);
        assert_eq!(found(&affinity, "a", "m", 8), None);
        affinity.keep(&Fingerprint::new("a"), &"m".into(), 7, home("west"));
        assert_eq!((found(&affinity, "a", "m", 7).as_deref(), affinity.len()), (Some("west"), 1));
        affinity.retain(&|_| false);
        assert!(affinity.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_after_its_last_request_a_conversation_is_forgotten() {
        let affinity = Affinity::default();
        affinity.keep(&Fingerprint::new("a"), &"m".into(), 1, home("east"));

        tokio::time::advance(LIFE - Duration::from_secs(1)).await;
        assert!(found(&affinity, "a", "m", 1).is_some());
        tokio::time::advance(LIFE - Duration::from_secs(1)).await;
        assert!(affinity.peek(&Fingerprint::new("a"), &"m".into(), 1).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(found(&affinity, "a", "m", 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_conversations_do_not_grow_it_beyond_its_bound() {
        let affinity = Affinity::default();

        for at in 0..(MOST as u64 + 100) * SHARDS {
            let caller = Fingerprint::new(&(at / SHARDS % 100).to_string());
            affinity.keep(&caller, &"m".into(), at, home("east"));
        }

        assert_eq!(affinity.len() as u64, MOST as u64 * SHARDS);
    }
}
