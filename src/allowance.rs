//! Decides what a request may still take of what its key has: the balance of the key itself, and
//! the windows and balances of the nested keys that it goes through.
//!
//! Between the layers that ask (`rate_limit`, `failover`) and the state that remembers. All of it
//! is decided at once but the estimate of a large body, which is read where it holds up nobody.

use std::sync::Arc;

use dialect::Kind;
use layers::Failure;
use layers::estimate::{Size, size, size_of};
use layers::heavy::{INLINE, heavy};
use layers::plan::Group;
use layers::policy::{Caller, Credits};
use layers::ports::{Balances, Gates, Limits, Verdict};
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

impl Balances for Allowance {
    fn reserve(&self, exchange: &Exchange) -> Verdict<()> {
        let Some(credits) = exchange.caller.credits else { return Verdict::Ready(Ok(())) };
        // Nothing needs to be measured where nothing is left.
        if !self.accounts.balance(&exchange.caller.fingerprint, &credits).is_open() {
            return Verdict::Ready(Err(Failure::BalanceExhausted));
        }
        let hold = Hold {
            accounts: self.accounts.clone(),
            credits,
            caller: exchange.caller.clone(),
            ledger: exchange.ledger.clone(),
            prices: self.prices.clone(),
            model: exchange.peek.model.clone(),
            free: exchange.endpoint.kind == Kind::Moderate,
        };
        if exchange.body.len() <= INLINE {
            return Verdict::Ready(hold.take(size(exchange)));
        }
        let (endpoint, body) = (exchange.endpoint, exchange.body.clone());
        Verdict::Wait(Box::pin(async move {
            let size = heavy(body.len(), move || size_of(endpoint, &body)).await?;
            hold.take(size)
        }))
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
        entry.input_estimate = Some(size.input.0);
        Ok(())
    }

    /// The most that the request will cost, as far as can be told before it is sent.
    fn estimate(&self, size: Size) -> i128 {
        let price = self.prices.price(&self.model);
        price.estimate(size.input.0, size.most_output.unwrap_or(USUAL_OUTPUT)).max(0)
    }
}

impl Gates for Allowance {
    fn enter(&self, group: &Group, exchange: &Exchange) -> Verdict<()> {
        let inner = &group.caller;
        // First, because it counts nothing. The usage itself is booked on the outer key.
        if let Some(credits) = &inner.credits
            && !self.accounts.balance(&inner.fingerprint, credits).is_open()
        {
            return Verdict::Ready(Err(Failure::BalanceExhausted));
        }
        let limits = Limits { global: None, ..exchange.catalog.limits(inner, &exchange.peek.model) };
        Verdict::Ready(match self.windows.check(&inner.fingerprint, &limits, Instant::now()) {
            Some(exceeded) => Err(Failure::RateLimited(exceeded)),
            None => {
                if limits.caller.is_some() {
                    exchange.ledger.entry().groups.push(inner.fingerprint.clone());
                }
                Ok(())
            }
        })
    }
}
