//! Remembers where upstreams keep the objects that they made for callers.
//!
//! In memory and bounded: for each client key and over all of them, the least recently named goes
//! first; what nobody has named for an hour is forgotten. A request for what was forgotten is
//! refused like one for what never was, and never sent to a key that does not have it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use layers::policy::Fingerprint;
use layers::ports::{Pin, Stored, Verdict};
use tokio::time::Instant;

use super::recent::{Bounds, Recent};

/// How long one is kept that nobody names.
const LIFE: Duration = Duration::from_secs(3600);
/// Most of one client key.
const MOST_OF_CALLER: usize = 10_000;
/// Most of all client keys.
const MOST: usize = 100_000;
/// Longest name that is kept; upstreams use some fifty characters.
const LONGEST_NAME: usize = 256;

/// Pins by caller and name of the object.
#[derive(Debug)]
pub struct Pins(Mutex<Recent<Arc<str>, Pin>>);

impl Default for Pins {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(Bounds {
            life: LIFE,
            most_of_caller: MOST_OF_CALLER,
            most: MOST,
            // Names are bounded one by one.
            bytes_of_caller: usize::MAX,
            bytes: usize::MAX,
        })))
    }
}

impl Pins {
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

    fn table(&self) -> MutexGuard<'_, Recent<Arc<str>, Pin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored for Pins {
    fn find(&self, caller: &Fingerprint, id: &str) -> Verdict<Option<Pin>> {
        Verdict::Ready(Ok(self.table().find(caller, id, Instant::now())))
    }

    fn keep(&self, caller: &Fingerprint, id: &str, pin: Pin) {
        if !id.is_empty() && id.len() <= LONGEST_NAME {
            self.table().keep(caller, id.into(), pin, 0, Instant::now());
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
