//! Keeps the tokens of service accounts: fetched once for all, renewed before they expire.
//!
//! They are kept by the account's fingerprint, so that a reload finds them again, and are fetched by
//! one task on the process's runtime: a request that is dropped, or a worker that ends, takes no
//! fetch along, and however many requests wait for a token, it is fetched once. Requests wait on a
//! watch, no longer than `PATIENCE`; while an account backs off after a failure they are told so at
//! once, and go to the next channel.
//!
//! A token is renewed ahead of its end as long as it is used; that of an account that nobody asks
//! for lapses, and is fetched when the next request comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::Failure;
use layers::policy::Fingerprint;
use layers::ports::{Secret, Tokens, Verdict};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::engine::{Issuer, NoToken, SideClient, Token};

/// The longest wait of a request for a token.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest wait for an issuer.
const LONGEST_FETCH: Duration = Duration::from_secs(15);
/// How long before its end a token is renewed; half of its life if that is shorter.
const AHEAD: Duration = Duration::from_secs(300);
/// The pause after a failure; doubles with each one …
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A token that replaced a refused one so short a time ago is not replaced again: its account is
/// refused, not the token.
const SETTLED: Duration = Duration::from_secs(60);
/// The bounds of what an issuer says about the life of a token.
const LIVES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
/// Most accounts that are fetched for at once.
const MOST_FETCHES: usize = 32;

/// The tokens of all accounts.
#[derive(Default)]
pub struct TokenStore {
    accounts: Mutex<HashMap<Fingerprint, Arc<Account>, RandomState>>,
    /// Some account has become due.
    due: Arc<Notify>,
}

/// The tokens of one account.
struct Account {
    fingerprint: Fingerprint,
    /// That of the latest configuration.
    issuer: Mutex<Arc<dyn Issuer>>,
    state: watch::Sender<State>,
    /// Whether a request has asked since the last renewal began.
    used: AtomicBool,
    due: Arc<Notify>,
}

/// The facts that are known of an account's tokens. Written by requests (`due`, `token`) and by the task.
#[derive(Default)]
struct State {
    token: Option<Held>,
    /// The one before, which requests under way may carry.
    before: Option<Secret>,
    /// When the next fetch is to begin; none while nobody needs one.
    due: Option<Instant>,
    fetching: bool,
    failed: Option<Failed>,
    /// When a token was refused last.
    refused: Option<Instant>,
}

/// A token that is valid for a while.
struct Held {
    secret: Secret,
    /// When it is to be renewed.
    renews: Instant,
    expires: Instant,
}

/// A fetch that failed, and those before it in a row.
#[derive(Clone)]
struct Failed {
    why: Arc<str>,
    is_of_account: bool,
    times: u32,
    /// Until when requests are told of it instead of waiting.
    until: Instant,
}

// === impl TokenStore ===

impl TokenStore {
    /// The tokens of the account that this issuer knows.
    pub fn account(&self, issuer: Arc<dyn Issuer>) -> Arc<dyn Tokens> {
        let fingerprint = issuer.account();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&fingerprint) {
            *account.issuer.lock().unwrap_or_else(PoisonError::into_inner) = issuer;
            return account.clone();
        }
        let account = Arc::new(Account {
            fingerprint: fingerprint.clone(),
            issuer: Mutex::new(issuer),
            state: watch::Sender::default(),
            used: AtomicBool::new(false),
            due: self.due.clone(),
        });
        accounts.insert(fingerprint, account.clone());
        account
    }

    /// Fetches what is due by way of `client`, until it is dropped. To run once, on the process's own
    /// runtime.
    pub async fn renew(self: Arc<Self>, client: Arc<dyn SideClient>) {
        let mut fetches = JoinSet::new();
        loop {
            let next = self.begin(&mut fetches, &client);
            let soonest = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = soonest => {}
                () = self.due.notified() => {}
                Some(_ended) = fetches.join_next() => {}
            }
        }
    }

    /// Begins what is due. Tells when the next one will be, if there is room for it.
    fn begin(&self, fetches: &mut JoinSet<()>, client: &Arc<dyn SideClient>) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for account in accounts.values() {
            if fetches.len() >= MOST_FETCHES {
                // The end of a fetch looks again.
                return None;
            }
            match account.begin(now) {
                Begin::Fetch => {
                    let (account, client) = (account.clone(), client.clone());
                    fetches.spawn(async move { account.fetch(client.as_ref()).await });
                }
                Begin::At(at) => next = Some(next.map_or(at, |next| next.min(at))),
                Begin::Never => {}
            }
        }
        next
    }

    /// Forgets accounts that no pool holds any more.
    pub fn prune(&self) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, account| Arc::strong_count(account) > 1);
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The time at which an account is to be fetched for.
enum Begin {
    Fetch,
    At(Instant),
    Never,
}

// === impl Account ===

impl Account {
    /// Takes the fetch that is due, so that nobody else begins it.
    fn begin(&self, now: Instant) -> Begin {
        let mut begin = Begin::Never;
        self.state.send_if_modified(|state| {
            let Some(due) = state.due.filter(|_| !state.fetching) else { return false };
            if due > now {
                begin = Begin::At(due);
                return false;
            }
            state.due = None;
            let is_waited_for = state.valid(now).is_none();
            // A renewal ahead of time is for those who used the token that ends.
            if is_waited_for || self.used.swap(false, Ordering::Relaxed) {
                state.fetching = true;
                begin = Begin::Fetch;
            }
            false
        });
        begin
    }

    async fn fetch(&self, client: &dyn SideClient) {
        /// A guard that lets the next fetch begin, also after a panic of the issuer.
        struct Ended<'a>(&'a Account);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.state.send_modify(|state| state.fetching = false);
            }
        }
        let _ended = Ended(self);
        let issuer = self.issuer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let account = self.fingerprint.as_str();
        let span = tracing::info_span!(target: "process", "token renewal", account, otel.status_code = Empty);
        let issued = tokio::time::timeout(LONGEST_FETCH, issuer.issue(client)).instrument(span.clone()).await;
        let issued = issued.unwrap_or_else(|_elapsed| {
            Err(unanswered(format!("nothing came for {} s", LONGEST_FETCH.as_secs())))
        });
        let result = if issued.is_ok() { "ok" } else { "failed" };
        if issued.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        drop(span);
        metrics::counter!("uni_api_token_renewals_total", "result" => result).increment(1);
        let now = Instant::now();
        self.state.send_modify(|state| match issued {
            Ok(token) => state.issued(token, &self.fingerprint, now),
            Err(fault) => {
                let why = &*fault.why;
                tracing::warn!(account = self.fingerprint.as_str(), why, "Token cannot be had.");
                state.failed(&fault, now);
            }
        });
    }

    /// Asks the task for a token.
    fn want(&self, now: Instant) {
        self.state.send_if_modified(|state| {
            if !state.fetching {
                state.due = Some(state.due.map_or(now, |due| due.min(now)));
            }
            // Waiters learn of answers only.
            false
        });
        self.due.notify_one();
    }
}

/// Waits until there is an answer.
async fn answer(mut state: watch::Receiver<State>) -> Result<Secret, Failure> {
    let answered = async {
        loop {
            if let Some(decided) = state.borrow_and_update().decided(Instant::now()) {
                return decided;
            }
            if state.changed().await.is_err() {
                return Err(no_token("its account is gone", false));
            }
        }
    };
    let patience = tokio::time::timeout(PATIENCE, answered).await;
    patience
        .unwrap_or_else(|_elapsed| Err(no_token(&format!("none came for {} s", PATIENCE.as_secs()), false)))
}

impl Tokens for Account {
    fn account(&self) -> &Fingerprint {
        &self.fingerprint
    }

    fn current(&self) -> Verdict<Secret> {
        self.used.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let (decided, is_overdue) = {
            let state = self.state.borrow();
            (state.decided(now), state.is_overdue(now))
        };
        if decided.is_none() || is_overdue {
            self.want(now);
        }
        match decided {
            Some(decided) => Verdict::Ready(decided),
            None => Verdict::Wait(Box::pin(answer(self.state.subscribe()))),
        }
    }

    fn refused(&self, used: &Secret) {
        let now = Instant::now();
        let mut renews = false;
        self.state.send_if_modified(|state| {
            let is_current = state.token.as_ref().is_some_and(|held| held.secret == *used);
            let is_account = state.refused.is_some_and(|before| now < before + SETTLED);
            if is_current && !is_account {
                state.before = state.token.take().map(|held| held.secret);
                state.refused = Some(now);
                state.due = Some(now);
                renews = true;
            }
            false
        });
        if renews {
            self.due.notify_one();
        }
    }

    fn known(&self) -> Vec<Secret> {
        let state = self.state.borrow();
        state.token.iter().map(|held| &held.secret).chain(&state.before).cloned().collect()
    }
}

// === impl State ===

impl State {
    fn valid(&self, now: Instant) -> Option<&Secret> {
        self.token.as_ref().filter(|held| now < held.expires).map(|held| &held.secret)
    }

    /// Whether the time of its renewal passed while nobody used it.
    fn is_overdue(&self, now: Instant) -> bool {
        !self.fetching && self.due.is_none() && self.token.as_ref().is_some_and(|held| held.renews <= now)
    }

    /// The token, or why there is none for now; neither while one is to be waited for.
    fn decided(&self, now: Instant) -> Option<Result<Secret, Failure>> {
        if let Some(secret) = self.valid(now) {
            return Some(Ok(secret.clone()));
        }
        let failed = self.failed.as_ref().filter(|failed| now < failed.until)?;
        Some(Err(no_token(&failed.why, failed.is_of_account)))
    }

    fn issued(&mut self, token: Token, account: &Fingerprint, now: Instant) {
        let secret = Secret::new(&token.text, account.clone());
        if let Some(held) = self.token.take() {
            self.before = Some(held.secret);
        }
        let (shortest, longest) = LIVES;
        let life = token.expires_in.clamp(shortest, longest);
        let renews = now + life - AHEAD.min(life / 2);
        self.token = Some(Held { secret, renews, expires: now + life });
        self.due = Some(renews);
        self.failed = None;
    }

    fn failed(&mut self, fault: &NoToken, now: Instant) {
        let times = self.failed.as_ref().map_or(0, |failed| failed.times) + 1;
        let doubled = SHORTEST_PAUSE.saturating_mul(1 << (times - 1).min(16));
        let until = now + doubled.min(LONGEST_PAUSE);
        self.failed =
            Some(Failed { why: (&*fault.why).into(), is_of_account: fault.is_of_account, times, until });
        // With a token that is still valid it is tried again; without one when somebody asks.
        self.due = self.valid(now).is_some().then_some(until);
    }
}

fn no_token(why: &str, of_account: bool) -> Failure {
    Failure::NoToken { why: why.to_owned(), of_account, spare_of: None }
}

/// The fault of whoever was to answer.
fn unanswered(why: String) -> NoToken {
    NoToken { why, is_of_account: false }
}

#[cfg(test)]
mod tests;
