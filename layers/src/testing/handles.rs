//! Scripted ports that hang on channels and targets: keys, health, meters, providers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::Notes;
use super::policy::secret;
use crate::failure::Failure;
use crate::policy::{Fingerprint, Target};
use crate::ports::{
    Health, InputTokens, KeyOutcome, Keys, KeysExhausted, Lease, Meters, Presented, Provider, Secret, Tokens,
    Unsupported, Verdict, Wanted,
};
use crate::stage::TriedKeys;

/// What a pool of keys was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNote {
    /// The key in this slot was leased.
    Leased(u32),
    /// The lease of this slot was settled.
    Settled(u32, KeyOutcome),
    /// The lease of this slot was dropped unsettled.
    Released(u32),
}

/// A pool that gives its keys in order, without those that were tried.
pub struct ScriptedKeys {
    keys: Vec<String>,
    exhausted: KeysExhausted,
    most_input: Option<InputTokens>,
    /// What it was told.
    pub notes: Notes<KeyNote>,
}

impl ScriptedKeys {
    /// A pool of these keys.
    pub fn of(keys: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            exhausted: KeysExhausted::For(None),
            most_input: None,
            notes: Notes::default(),
        })
    }

    /// A pool whose keys all cool; the first is back after this time.
    pub fn cooling(first_back: Duration) -> Arc<Self> {
        Arc::new(Self {
            keys: Vec::new(),
            exhausted: KeysExhausted::For(Some(first_back)),
            most_input: None,
            notes: Notes::default(),
        })
    }

    /// A pool of one key that takes at most this many tokens.
    pub fn short(most: u64) -> Arc<Self> {
        Arc::new(Self {
            keys: vec!["sk-provider-key".to_owned()],
            exhausted: KeysExhausted::TooLong,
            most_input: Some(InputTokens(most)),
            notes: Notes::default(),
        })
    }

    fn free(&self, tried: &TriedKeys) -> Option<u32> {
        (0..u32::try_from(self.keys.len()).expect("few keys")).find(|slot| !tried.contains(*slot))
    }
}

impl Keys for ScriptedKeys {
    fn lease(
        self: Arc<Self>,
        target: &Target,
        tried: &TriedKeys,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        if self.most_input.is_some_and(|most| input > most) {
            return Err(self.exhausted);
        }
        let slot = self.free(tried).ok_or(self.exhausted)?;
        self.notes.add(KeyNote::Leased(slot));
        let key = secret(&self.keys[slot as usize]);
        Ok(Lease::new(self, slot, key.into(), target.upstream_model.clone()))
    }

    fn lease_wanted(
        self: Arc<Self>,
        target: &Target,
        wanted: &Fingerprint,
        _: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        if self.keys.is_empty() {
            return Err(self.exhausted);
        }
        let of_wanted = |key: &String| secret(key).fingerprint() == wanted;
        let slot = self.keys.iter().position(of_wanted).ok_or(KeysExhausted::Gone)?;
        let (key, slot) = (secret(&self.keys[slot]).into(), u32::try_from(slot).expect("few keys"));
        self.notes.add(KeyNote::Leased(slot));
        Ok(Lease::new(self, slot, key, target.upstream_model.clone()))
    }

    fn count(&self) -> usize {
        self.keys.len()
    }

    fn has_spare(&self, _: &Target, tried: &TriedKeys) -> bool {
        self.free(tried).is_some()
    }

    fn settle(&self, slot: u32, _: &str, outcome: KeyOutcome) {
        self.notes.add(KeyNote::Settled(slot, outcome));
    }

    fn release(&self, slot: u32, _: &str) {
        self.notes.add(KeyNote::Released(slot));
    }
}

/// A pool of a channel that needs no key.
pub struct Keyless;

impl Keys for Keyless {
    fn lease(self: Arc<Self>, _: &Target, _: &TriedKeys, _: InputTokens) -> Result<Lease, KeysExhausted> {
        Ok(Lease::keyless())
    }

    fn lease_wanted(
        self: Arc<Self>,
        _: &Target,
        _: &Fingerprint,
        _: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        Err(KeysExhausted::Gone)
    }

    fn count(&self) -> usize {
        0
    }

    fn has_spare(&self, _: &Target, _: &TriedKeys) -> bool {
        false
    }

    fn settle(&self, _: u32, _: &str, _: KeyOutcome) {
        unreachable!("a lease without a key books nothing")
    }

    fn release(&self, _: u32, _: &str) {
        unreachable!("a lease without a key holds nothing")
    }
}

/// Health that notes what it was told: whether it failed, and the period.
#[derive(Default)]
pub struct HealthNotes(pub Notes<(bool, Duration)>);

impl Health for HealthNotes {
    fn settle(&self, failed: bool, period: Duration, _: Instant) {
        self.0.add((failed, period));
    }

    fn cooling_until(&self, _: Instant) -> Option<Instant> {
        None
    }
}

/// Meters that note what they were told: the outcome and how long it took.
#[derive(Default)]
pub struct MeterNotes(pub Notes<(&'static str, Duration)>);

impl Meters for MeterNotes {
    fn attempt(&self, outcome: &'static str, elapsed: Duration) {
        self.0.add((outcome, elapsed));
    }
}

/// A provider with one address, which adds the key as a bearer and any headers it was given.
pub struct FixedProvider {
    uri: http::Uri,
    headers: HeaderMap,
    /// What it was asked to sign, each as it was then.
    pub signed: Notes<Unsigned>,
}

/// A finished request, as its signer saw it.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// Its URL.
    pub uri: http::Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, joined.
    pub body: Vec<u8>,
}

impl FixedProvider {
    /// A provider at this address.
    pub fn at(uri: &str) -> Self {
        let uri = uri.parse().expect("an address");
        Self { uri, headers: HeaderMap::new(), signed: Notes::default() }
    }

    /// A header that it generates.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

impl Provider for FixedProvider {
    fn address(&self, _: Wanted<'_>) -> Result<http::Uri, Unsupported> {
        Ok(self.uri.clone())
    }

    fn sign(
        &self,
        request: &mut http::Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        self.signed.add(Unsigned {
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body: request.body().concat(),
        });
        let key = match with {
            Some(Presented::Key(key)) => Some(key.expose()),
            Some(Presented::Token(token)) => Some(token.expose()),
            Some(Presented::Pair(_)) => return Err(Unsupported("it signs with one key".into())),
            None => None,
        };
        let headers = request.headers_mut();
        if let Some(key) = key {
            let bearer = HeaderValue::from_str(&format!("Bearer {key}")).expect("a key is a header value");
            headers.entry(http::header::AUTHORIZATION).or_insert(bearer);
        }
        for (name, value) in &self.headers {
            headers.entry(name.clone()).or_insert(value.clone());
        }
        Ok(())
    }
}

/// An account that gives its tokens in order, each until it is refused.
pub struct ScriptedTokens {
    account: Fingerprint,
    tokens: Vec<Secret>,
    /// The tokens that were refused, in order.
    pub refused: Notes<String>,
}

impl ScriptedTokens {
    /// An account with these tokens.
    pub fn of(tokens: &[&str]) -> Arc<Self> {
        let tokens = tokens.iter().map(|token| secret(token)).collect();
        Arc::new(Self { account: Fingerprint::new("print of an account"), tokens, refused: Notes::default() })
    }
}

impl Tokens for ScriptedTokens {
    fn account(&self) -> &Fingerprint {
        &self.account
    }

    fn current(&self) -> Verdict<Secret> {
        let token = self.tokens.get(self.refused.count()).cloned();
        Verdict::Ready(token.ok_or_else(|| Failure::NoToken {
            why: "none is left".to_owned(),
            of_account: true,
            spare_of: None,
        }))
    }

    fn refused(&self, used: &Secret) {
        self.refused.add(used.expose().to_owned());
    }

    fn known(&self) -> Vec<Secret> {
        self.tokens.clone()
    }
}
