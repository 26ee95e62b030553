//! Decides what a request may still take of what its key has: the windows and the balance of the
//! key itself, and those of the nested keys that it goes through.
//!
//! Between the layers that ask (`rate_limit`, `failover`) and the state that remembers. All of it
//! is decided at once but the estimate of a large body, which is read where it holds up nobody.
//!
//! What windows have counted before the rest is decided is held by a guard in here and not by the
//! layer: between the decision and the request there is no step at which a layer could have
//! anything to give back, and how it is given back is the state's own affair. This one undoes a
//! hit; a shared store would have to send a command, which no drop in a layer could await.

use std::sync::Arc;

use dialect::Kind;
use layers::estimate::{Size, size, size_of};
use layers::failure::{Exceeded, Failure, Whose};
use layers::offload::{INLINE, offload};
use layers::plan::Group;
use layers::policy::{Caller, Credits, Fingerprint};
use layers::ports::{Allowances, Limits, Verdict};
use layers::stage::Exchange;
use tokio::time::Instant;

use crate::state::Runtime;
use crate::state::balances::Accounts;
use crate::state::windows::Windows;
use crate::values::Prices;

/// Output tokens that are held for a request which sets no limit: an answer of some length.
const USUAL_OUTPUT: u64 = 1024;

/// Judge of what keys may still have, shared by all requests.
#[derive(Clone)]
pub struct Allowance {
    accounts: Arc<Accounts>,
    windows: Arc<Windows>,
    prices: Arc<dyn Prices>,
}

impl Allowance {
    /// Over what this process remembers. Holds are computed with the prices that closed records
    /// are charged with.
    pub fn new(runtime: &Runtime, prices: Arc<dyn Prices>) -> Self {
        Self { accounts: runtime.accounts().clone(), windows: runtime.windows().clone(), prices }
    }
}

impl Allowance {
    /// Counts the request in these windows, or refuses it.
    fn count(&self, caller: &Fingerprint, limits: &Limits) -> Result<(), Failure> {
        let exceeded = self.windows.check(caller, limits, Instant::now());
        exceeded.map_or(Ok(()), |exceeded| Err(Failure::RateLimited(exceeded)))
    }

    /// Whether the balance of this key admits another request.
    fn check_balance(&self, caller: &Caller, credits: &Credits) -> Result<(), Failure> {
        let open = self.accounts.balance(&caller.fingerprint, credits).is_open();
        if open { Ok(()) } else { Err(Failure::BalanceExhausted) }
    }

    /// Counts in the windows, then reserves the cost.
    fn try_admit(&self, exchange: &Exchange) -> Result<Verdict<()>, Failure> {
        let caller = &exchange.caller;
        let limits = exchange.catalog.limits(caller, &exchange.peek.model);
        self.count(&caller.fingerprint, &limits)?;
        let Some(credits) = caller.credits else { return Ok(Verdict::Ready(Ok(()))) };
        let hit = Hit::new(&self.windows, caller, limits);
        // Nothing needs to be measured where nothing is left.
        self.check_balance(caller, &credits)?;
        let hold = Hold {
            accounts: self.accounts.clone(),
            credits,
            caller: caller.clone(),
            ledger: exchange.ledger.clone(),
            prices: self.prices.clone(),
            model: exchange.peek.model.clone(),
            free: matches!(exchange.endpoint.kind, Kind::Moderate | Kind::CountTokens | Kind::Stored),
        };
        if exchange.body.len() > INLINE {
            let (endpoint, body) = (exchange.endpoint, exchange.body.clone());
            return Ok(Verdict::Wait(Box::pin(async move {
                hold.take(offload(body.len(), move || size_of(endpoint, &body)).await?)?;
                hit.keep();
                Ok(())
            })));
        }
        hold.take(size(exchange))?;
        hit.keep();
        Ok(Verdict::Ready(Ok(())))
    }

    fn try_enter(&self, group: &Group, exchange: &Exchange) -> Result<(), Failure> {
        let inner = &group.caller;
        // First, because it counts nothing. The usage itself is booked on the outer key.
        if let Some(credits) = &inner.credits {
            self.check_balance(inner, credits)?;
        }
        let limits = Limits { global: None, ..exchange.catalog.limits(inner, &exchange.peek.model) };
        self.count(&inner.fingerprint, &limits).map_err(|refusal| match refusal {
            Failure::RateLimited(exceeded) => {
                Failure::RateLimited(Exceeded { whose: Whose::Group, ..exceeded })
            }
            other => other,
        })?;
        if limits.caller.is_some() {
            exchange.ledger.entry().groups.push(inner.fingerprint.clone());
        }
        Ok(())
    }
}

impl Allowances for Allowance {
    fn admit(&self, exchange: &Exchange) -> Verdict<()> {
        self.try_admit(exchange).unwrap_or_else(|refusal| Verdict::Ready(Err(refusal)))
    }

    fn enter(&self, group: &Group, exchange: &Exchange) -> Verdict<()> {
        Verdict::Ready(self.try_enter(group, exchange))
    }
}

/// A hit in windows, taken back when it is dropped before it is kept: what is refused later, or
/// left by its client before that is known, counts nowhere.
struct Hit {
    windows: Arc<Windows>,
    caller: Arc<Caller>,
    /// The windows that have counted it; none once it is kept.
    limits: Option<Limits>,
}

impl Hit {
    /// The hit that `windows` have just counted.
    fn new(windows: &Arc<Windows>, caller: &Arc<Caller>, limits: Limits) -> Self {
        Self { windows: windows.clone(), caller: caller.clone(), limits: Some(limits) }
    }

    fn keep(mut self) {
        self.limits = None;
    }
}

impl Drop for Hit {
    fn drop(&mut self) {
        if let Some(limits) = &self.limits {
            self.windows.take_back(&self.caller.fingerprint, limits);
        }
    }
}

/// A hold that is about to be taken.
struct Hold {
    accounts: Arc<Accounts>,
    credits: Credits,
    caller: Arc<Caller>,
    ledger: layers::ledger::Ledger,
    prices: Arc<dyn Prices>,
    model: Arc<str>,
    /// Whether it will cost nothing.
    free: bool,
}

impl Hold {
    fn take(self, size: Size) -> Result<(), Failure> {
        let estimate = if self.free { 0 } else { self.estimate(size) };
        if !self.accounts.hold(&self.caller.fingerprint, &self.credits, estimate) {
            return Err(Failure::BalanceExhausted);
        }
        let mut entry = self.ledger.entry();
        entry.reserved = estimate;
        entry.estimate = Some(size);
        Ok(())
    }

    /// The most that the request will cost, as far as can be told before it is sent.
    fn estimate(&self, size: Size) -> i128 {
        let price = self.prices.price(&self.model);
        price.estimate(size.input.0, size.most_output.unwrap_or(USUAL_OUTPUT)).max(0)
    }
}

#[cfg(test)]
mod tests;
