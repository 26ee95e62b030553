//! Remembers how far the rotation of each (client key, request model) has come.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use layers::policy::Fingerprint;

/// How many are kept. One that is dropped starts over, which nobody notices.
const CAPACITY: usize = 1 << 17;
const SHARDS: usize = 64;

/// A running number of requests.
#[derive(Debug, Default)]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// The number of this request.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the next request will get.
    pub fn peek(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

type Name = (Fingerprint, Arc<str>);
type Shard = HashMap<Name, Arc<Cursor>, RandomState>;

/// All cursors.
#[derive(Debug)]
pub struct Cursors {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl Default for Cursors {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::default() }
    }
}

impl Cursors {
    /// The cursor of this key for this model, which must be a name that the configuration has.
    pub fn of(&self, caller: &Fingerprint, model: &Arc<str>) -> Arc<Cursor> {
        use std::hash::BuildHasher;

        let name = (caller.clone(), Arc::clone(model));
        let shard = self.hasher.hash_one(&name) as usize % SHARDS;
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= CAPACITY / SHARDS && !shard.contains_key(&name) {
            shard.clear();
        }
        Arc::clone(shard.entry(name).or_default())
    }

    /// Keeps those whose key and model are both alive.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool, model: &dyn Fn(&str) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|(fingerprint, alias), _| caller(fingerprint) && model(alias));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_and_model_counts_for_itself() {
        let cursors = Cursors::default();
        let (a, b) = (Fingerprint::new("a"), Fingerprint::new("b"));
        let (one, two) = (Arc::from("one"), Arc::from("two"));

        assert_eq!((0..3).map(|_| cursors.of(&a, &one).next()).collect::<Vec<_>>(), [0, 1, 2]);

        assert_eq!(cursors.of(&a, &two).next(), 0);
        assert_eq!(cursors.of(&b, &one).next(), 0);
        assert_eq!(cursors.of(&a, &one).peek(), 3);
    }

    #[test]
    fn more_names_than_fit_do_not_grow_it() {
        let cursors = Cursors::default();
        let caller = Fingerprint::new("a");

        for model in 0..CAPACITY * 2 {
            cursors.of(&caller, &model.to_string().into());
        }

        assert!(cursors.len() <= CAPACITY);
    }
}
