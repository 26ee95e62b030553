//! A bounded memory of what client keys have to do with: the least recently used goes first.
//!
//! Each key has a share that the others cannot take from it, all of them together have one, and
//! what nobody has used for a while is forgotten. Rows belong to one client key and are found by it
//! alone.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::policy::Fingerprint;
use tokio::time::Instant;

/// The bounds of a memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How long a row is kept that nobody uses.
    pub(super) life: Duration,
    /// Most rows of one client key.
    pub(super) most_of_caller: usize,
    /// Most rows of all client keys.
    pub(super) most: usize,
    /// Most bytes of one client key's rows.
    pub(super) bytes_of_caller: usize,
    /// Most bytes of all rows.
    pub(super) bytes: usize,
}

/// Rows by caller and name.
#[derive(Debug)]
pub(super) struct Recent<N, V> {
    bounds: Bounds,
    callers: HashMap<Fingerprint, OfCaller<N, V>, RandomState>,
    /// All names, the least recently used first.
    order: BTreeMap<u64, (Fingerprint, N)>,
    bytes: usize,
    /// The number of the next use.
    turn: u64,
}

#[derive(Debug)]
struct OfCaller<N, V> {
    rows: HashMap<N, Row<V>, RandomState>,
    /// Its names, the least recently used first.
    order: BTreeMap<u64, N>,
    bytes: usize,
}

#[derive(Debug)]
struct Row<V> {
    value: V,
    bytes: usize,
    /// Its place in both orders.
    turn: u64,
    used: Instant,
}

impl<N: Clone + Eq + Hash, V: Clone> Recent<N, V> {
    /// An empty memory.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, callers: HashMap::default(), order: BTreeMap::new(), bytes: 0, turn: 0 }
    }

    /// What is under this name of this caller, which is thereby used.
    pub(super) fn find<Q>(&mut self, caller: &Fingerprint, name: &Q, now: Instant) -> Option<V>
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.expire(now);
        let (name, row) = self.take(caller, name)?;
        let value = row.value.clone();
        self.put(caller, name, row.value, row.bytes, now);
        Some(value)
    }

    /// The same without counting as a use.
    pub(super) fn peek<Q>(&self, caller: &Fingerprint, name: &Q, now: Instant) -> Option<&V>
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let row = self.callers.get(caller)?.rows.get(name)?;
        (now.saturating_duration_since(row.used) < self.bounds.life).then_some(&row.value)
    }

    /// Keeps a row of so many bytes, in place of what was under its name. One that is larger than
    /// its caller's share is not kept.
    pub(super) fn keep(&mut self, caller: &Fingerprint, name: N, value: V, bytes: usize, now: Instant) {
        self.expire(now);
        self.take(caller, &name);
        if bytes > self.bounds.bytes_of_caller.min(self.bounds.bytes) {
            return;
        }
        self.put(caller, name, value, bytes, now);
        let Bounds { most_of_caller, most, bytes_of_caller, bytes, .. } = self.bounds;
        while let Some(oldest) = self
            .callers
            .get(caller)
            .filter(|mine| mine.rows.len() > most_of_caller || mine.bytes > bytes_of_caller)
            .and_then(|mine| mine.order.values().next().cloned())
        {
            self.take(caller, &oldest);
        }
        while self.order.len() > most || self.bytes > bytes {
            self.drop_first();
        }
    }

    /// Keeps those whose caller is alive.
    pub(super) fn retain(&mut self, caller: &dyn Fn(&Fingerprint) -> bool, now: Instant) {
        let bytes = &mut self.bytes;
        self.callers.retain(|fingerprint, mine| {
            let stays = caller(fingerprint);
            *bytes -= if stays { 0 } else { mine.bytes };
            stays
        });
        self.order.retain(|_, (fingerprint, _)| caller(fingerprint));
        self.expire(now);
    }

    /// Drops what is under this name of this caller; whether there was anything.
    pub(super) fn forget<Q>(&mut self, caller: &Fingerprint, name: &Q) -> bool
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.take(caller, name).is_some()
    }

    /// Whether there is any row of this caller.
    pub(super) fn holds(&self, caller: &Fingerprint) -> bool {
        self.callers.contains_key(caller)
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many bytes they have.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn put(&mut self, caller: &Fingerprint, name: N, value: V, bytes: usize, used: Instant) {
        let turn = self.turn;
        self.turn += 1;
        let mine = self.callers.entry(caller.clone()).or_insert_with(|| OfCaller {
            rows: HashMap::default(),
            order: BTreeMap::new(),
            bytes: 0,
        });
        mine.rows.insert(name.clone(), Row { value, bytes, turn, used });
        mine.order.insert(turn, name.clone());
        mine.bytes += bytes;
        self.bytes += bytes;
        self.order.insert(turn, (caller.clone(), name));
    }

    fn take<Q>(&mut self, caller: &Fingerprint, name: &Q) -> Option<(N, Row<V>)>
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mine = self.callers.get_mut(caller)?;
        let (name, row) = mine.rows.remove_entry(name)?;
        mine.order.remove(&row.turn);
        mine.bytes -= row.bytes;
        self.bytes -= row.bytes;
        if mine.rows.is_empty() {
            self.callers.remove(caller);
        }
        self.order.remove(&row.turn);
        Some((name, row))
    }

    fn drop_first(&mut self) {
        if let Some((caller, name)) = self.order.first_key_value().map(|(_, name)| name.clone()) {
            self.take(&caller, &name);
        }
    }

    /// Drops what nobody has used for too long: it is at the head of the order.
    fn expire(&mut self, now: Instant) {
        while let Some((caller, name)) = self.order.values().next() {
            let row = self.callers.get(caller).and_then(|mine| mine.rows.get(name));
            if row.is_some_and(|row| now.saturating_duration_since(row.used) < self.bounds.life) {
                return;
            }
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        life: Duration::from_secs(60),
        most_of_caller: 3,
        most: 5,
        bytes_of_caller: 100,
        bytes: 150,
    };

    fn named(memory: &Recent<u64, &'static str>) -> Vec<(String, u64)> {
        memory.order.values().map(|(caller, name)| (caller.as_str().to_owned(), *name)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_and_rows_are_bounded_for_each_caller_and_for_all() {
        let mut memory = Recent::new(BOUNDS);
        let [a, b] = ["a", "b"].map(Fingerprint::new);
        let now = Instant::now();

        memory.keep(&a, 1, "x", 60, now);
        memory.keep(&a, 2, "x", 60, now);
        assert_eq!((named(&memory), memory.bytes()), (vec![("a".into(), 2)], 60));
        memory.keep(&b, 1, "x", 95, now);
        assert_eq!((named(&memory), memory.bytes()), (vec![("b".into(), 1)], 95));
        memory.keep(&b, 1, "x", 101, now);
        assert_eq!((memory.len(), memory.bytes()), (0, 0), "too large, and in place of what was there");
        (0..4).for_each(|name| memory.keep(&a, name, "x", 1, now));
        (0..3).for_each(|name| memory.keep(&b, name, "x", 1, now));
        let names = [("a", 2), ("a", 3), ("b", 0), ("b", 1), ("b", 2)];
        assert_eq!(named(&memory), names.map(|(caller, name)| (caller.to_owned(), name)));
        memory.retain(&|caller| *caller == b, now);
        assert_eq!((memory.len(), memory.bytes()), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_no_use_and_a_find_is() {
        let mut memory = Recent::new(BOUNDS);
        let caller = Fingerprint::new("a");
        let start = Instant::now();
        memory.keep(&caller, 1, "x", 1, start);
        memory.keep(&caller, 2, "y", 1, start);
        let later = start + Duration::from_secs(59);

        assert!(memory.peek(&caller, &1, later).is_some());
        assert_eq!(memory.find(&caller, &2, later), Some("y"));

        let end = start + Duration::from_secs(60);
        assert_eq!(memory.peek(&caller, &1, end), None);
        assert_eq!((memory.find(&caller, &1, end), memory.find(&caller, &2, end)), (None, Some("y")));
    }
}
