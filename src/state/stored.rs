//! Remembers where upstreams keep the objects that they made for callers.
//!
//! In memory and bounded: for each client key and over all of them, the least recently named goes
//! first; what nobody has named for an hour is forgotten. A request for what was forgotten is
//! refused like one for what never was, and never sent to a key that does not have it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::policy::Fingerprint;
use layers::ports::{Pin, Stored, Verdict};
use tokio::time::Instant;

/// How long one is kept that nobody names.
const LIFE: Duration = Duration::from_secs(3600);
/// Most of one client key.
const MOST_OF_CALLER: usize = 10_000;
/// Most of all client keys.
const MOST: usize = 100_000;
/// Longest name that is kept; upstreams use some fifty characters.
const LONGEST_NAME: usize = 256;

/// Pins by caller and name of the object.
#[derive(Debug, Default)]
pub struct Pins(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    callers: HashMap<Fingerprint, OfCaller, RandomState>,
    /// All names, the least recently used first.
    order: BTreeMap<u64, (Fingerprint, Arc<str>)>,
    /// The number of the next use.
    turn: u64,
}

#[derive(Debug, Default)]
struct OfCaller {
    rows: HashMap<Arc<str>, Row, RandomState>,
    /// Its names, the least recently used first.
    order: BTreeMap<u64, Arc<str>>,
}

#[derive(Debug)]
struct Row {
    pin: Pin,
    /// Its place in both orders.
    turn: u64,
    used: Instant,
}

// === impl Pins ===

impl Pins {
    /// Keeps those whose caller is alive.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        let mut table = self.table();
        table.callers.retain(|fingerprint, _| caller(fingerprint));
        table.order.retain(|_, (fingerprint, _)| caller(fingerprint));
        table.expire(Instant::now());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table().order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored for Pins {
    fn find(&self, caller: &Fingerprint, id: &str) -> Verdict<Option<Pin>> {
        let mut table = self.table();
        let now = Instant::now();
        table.expire(now);
        let found = table.take(caller, id);
        if let Some((name, pin)) = &found {
            table.put(caller, name.clone(), pin.clone(), now);
        }
        Verdict::Ready(Ok(found.map(|(_, pin)| pin)))
    }

    fn keep(&self, caller: &Fingerprint, id: &str, pin: Pin) {
        if id.is_empty() || id.len() > LONGEST_NAME {
            return;
        }
        let mut table = self.table();
        let now = Instant::now();
        table.expire(now);
        table.take(caller, id);
        table.put(caller, id.into(), pin, now);
        let of_caller = table.callers.get(caller).filter(|of_caller| of_caller.rows.len() > MOST_OF_CALLER);
        if let Some(oldest) = of_caller.and_then(|of_caller| of_caller.order.values().next().cloned()) {
            table.take(caller, &oldest);
        }
        if table.order.len() > MOST {
            table.drop_first();
        }
    }
}

// === impl Table ===

impl Table {
    fn put(&mut self, caller: &Fingerprint, name: Arc<str>, pin: Pin, used: Instant) {
        let turn = self.turn;
        self.turn += 1;
        let of_caller = self.callers.entry(caller.clone()).or_default();
        of_caller.rows.insert(name.clone(), Row { pin, turn, used });
        of_caller.order.insert(turn, name.clone());
        self.order.insert(turn, (caller.clone(), name));
    }

    fn take(&mut self, caller: &Fingerprint, id: &str) -> Option<(Arc<str>, Pin)> {
        let of_caller = self.callers.get_mut(caller)?;
        let (name, row) = of_caller.rows.remove_entry(id)?;
        of_caller.order.remove(&row.turn);
        if of_caller.rows.is_empty() {
            self.callers.remove(caller);
        }
        self.order.remove(&row.turn);
        Some((name, row.pin))
    }

    fn drop_first(&mut self) {
        if let Some((caller, name)) = self.order.first_key_value().map(|(_, name)| name.clone()) {
            self.take(&caller, &name);
        }
    }

    /// Drops what nobody has named for too long: it is at the head of the order.
    fn expire(&mut self, now: Instant) {
        while let Some((caller, name)) = self.order.values().next() {
            let row = self.callers.get(caller).and_then(|of_caller| of_caller.rows.get(name));
            if row.is_some_and(|row| now.saturating_duration_since(row.used) < LIFE) {
                return;
            }
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(channel: &str) -> Pin {
        Pin { channel: channel.into(), place: None, model: "m".into(), key: Some(Fingerprint::new("k")) }
    }

    fn caller(name: &str) -> Fingerprint {
        Fingerprint::new(name)
    }

    fn found(pins: &Pins, of: &str, id: &str) -> Option<String> {
        let Verdict::Ready(Ok(pin)) = pins.find(&caller(of), id) else { panic!("it waits") };
        pin.map(|pin| pin.channel.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_found_by_the_caller_it_was_made_for_and_by_nobody_else() {
        let pins = Pins::default();

        pins.keep(&caller("a"), "resp_1", pin("east"));

        assert_eq!(found(&pins, "a", "resp_1").as_deref(), Some("east"));
        assert_eq!(found(&pins, "b", "resp_1"), None);
        assert_eq!(found(&pins, "a", "resp_2"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_names_for_an_hour_is_forgotten() {
        let pins = Pins::default();
        pins.keep(&caller("a"), "named", pin("east"));
        pins.keep(&caller("a"), "forgotten", pin("east"));

        tokio::time::advance(LIFE - Duration::from_secs(1)).await;
        assert!(found(&pins, "a", "named").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(found(&pins, "a", "forgotten"), None);
        assert!(found(&pins, "a", "named").is_some());
        assert_eq!(pins.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_recently_named_of_a_caller_goes_when_it_has_too_many() {
        let pins = Pins::default();
        pins.keep(&caller("other"), "old", pin("east"));
        (0..MOST_OF_CALLER).for_each(|at| pins.keep(&caller("a"), &at.to_string(), pin("east")));
        assert!(found(&pins, "a", "0").is_some());

        pins.keep(&caller("a"), "one more", pin("east"));

        assert_eq!(found(&pins, "a", "1"), None);
        assert!(["0", "2", "one more"].iter().all(|id| found(&pins, "a", id).is_some()));
        assert!(found(&pins, "other", "old").is_some());
        assert_eq!(pins.len(), MOST_OF_CALLER + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_do_not_grow_it_beyond_its_bound() {
        let pins = Pins::default();

        for at in 0..MOST + 10 {
            pins.keep(&caller(&(at % 1000).to_string()), &at.to_string(), pin("east"));
        }

        assert_eq!(pins.len(), MOST);
        assert_eq!(found(&pins, "9", "9"), None);
        assert!(found(&pins, "10", "10").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_kept_twice_is_one_and_leads_to_the_later_place() {
        let pins = Pins::default();

        pins.keep(&caller("a"), "x", pin("east"));
        pins.keep(&caller("a"), "x", pin("west"));
        pins.keep(&caller("a"), &"x".repeat(LONGEST_NAME + 1), pin("east"));

        assert_eq!((found(&pins, "a", "x").as_deref(), pins.len()), (Some("west"), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_a_caller_that_is_gone_goes_with_it() {
        let pins = Pins::default();
        ["a", "b"].iter().for_each(|of| pins.keep(&caller(of), "x", pin("east")));

        pins.retain(&|of| of.as_str() == "a");

        assert!(found(&pins, "a", "x").is_some() && found(&pins, "b", "x").is_none());
        assert_eq!(pins.len(), 1);
    }
}
