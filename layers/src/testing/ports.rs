//! Scripted ports of the request stage: they decide as they were told to and note what they were
//! asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;

use super::Notes;
use crate::failure::{Exceeded, Failure};
use crate::ledger::Entry;
use crate::plan::{Group, Plan, Step};
use crate::policy::{Caller, Demand, Fingerprint, Quota, Target, Triggers};
use crate::ports::{
    Admission, Balances, BoxFuture, Catalog, Directory, Fetched, Gates, Limits, Media, Misfit, Records,
    Route, Verdict, Windows,
};
use crate::stage::Exchange;

/// A configuration in which no channel has any model.
pub fn catalog() -> CatalogBuilder {
    CatalogBuilder(ScriptedCatalog::default())
}

/// A configuration that was told what to answer.
#[derive(Default)]
pub struct ScriptedCatalog {
    routes: HashMap<String, Arc<dyn Route>>,
    known: Vec<String>,
    triggers: Triggers,
    forwarded: Vec<HeaderName>,
    limits: Limits,
}

/// Builds a [`ScriptedCatalog`].
pub struct CatalogBuilder(ScriptedCatalog);

impl CatalogBuilder {
    /// This route serves this model.
    #[must_use]
    pub fn route(mut self, model: &str, route: Arc<dyn Route>) -> Self {
        self.0.routes.insert(model.to_owned(), route);
        self.knows(model)
    }

    /// Some channel has this model.
    #[must_use]
    pub fn knows(mut self, model: &str) -> Self {
        self.0.known.push(model.to_owned());
        self
    }

    /// These texts make an answer an error.
    #[must_use]
    pub fn triggers(mut self, texts: &[&str]) -> Self {
        self.0.triggers = Triggers::new(texts.iter().map(|text| (*text).to_owned()));
        self
    }

    /// Some channel wants this header of the client's.
    #[must_use]
    pub fn forwards(mut self, name: &'static str) -> Self {
        self.0.forwarded.push(HeaderName::from_static(name));
        self
    }

    /// Callers have some limit.
    #[must_use]
    pub fn limited(mut self) -> Self {
        self.0.limits.caller = Some((Arc::new(Quota::default()), None));
        self
    }

    /// The configuration.
    pub fn build(self) -> Arc<dyn Catalog> {
        Arc::new(self.0)
    }
}

impl Catalog for ScriptedCatalog {
    fn route(&self, _: &Caller, model: &str) -> Result<Arc<dyn Route>, Failure> {
        self.routes.get(model).cloned().ok_or_else(|| Failure::ModelNotFound { model: model.to_owned() })
    }

    fn limits(&self, _: &Caller, _: &str) -> Limits {
        self.limits.clone()
    }

    fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    fn known_model(&self, model: &str) -> Option<Arc<str>> {
        self.known.iter().find(|known| *known == model).map(|known| known.as_str().into())
    }

    fn forwards(&self, header: &HeaderName) -> bool {
        self.forwarded.contains(header)
    }
}

/// A directory that knows the key `sk-test`, with this configuration.
pub struct Door(pub Arc<dyn Catalog>);

impl Directory for Door {
    fn admit(&self, head: &http::request::Parts) -> Result<Admission, Failure> {
        let bearer = head.headers.get(http::header::AUTHORIZATION);
        if bearer.is_some_and(|bearer| bearer == "Bearer sk-test") {
            Ok(Admission { catalog: self.0.clone(), caller: super::caller().build() })
        } else {
            Err(Failure::Unauthenticated)
        }
    }
}

/// A route over these targets, in order, without gates.
pub fn route(targets: impl IntoIterator<Item = Arc<Target>>) -> ScriptedRoute {
    let leaves = targets.into_iter().map(|target| (None, target)).collect();
    ScriptedRoute { leaves, keepalive: None, tickets: AtomicU64::new(0), misfit: None }
}

/// A route that gives its targets in order and skips those that were tried.
pub struct ScriptedRoute {
    leaves: Vec<(Option<Group>, Arc<Target>)>,
    keepalive: Option<Duration>,
    tickets: AtomicU64,
    misfit: Option<Misfit>,
}

impl ScriptedRoute {
    /// Then a target behind the gate of node `node`.
    #[must_use]
    pub fn gated(mut self, node: usize, target: Arc<Target>) -> Self {
        let caller = super::caller().alias(&format!("inner {node}")).build();
        self.leaves.push((Some(Group { caller, node }), target));
        self
    }

    /// It has a keepalive interval.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = Some(interval);
        self
    }

    /// It takes no request, for this reason.
    #[must_use]
    pub fn misfit(mut self, misfit: Misfit) -> Self {
        self.misfit = Some(misfit);
        self
    }

    /// The route.
    pub fn build(self) -> Arc<dyn Route> {
        Arc::new(self)
    }
}

impl Route for ScriptedRoute {
    fn leaves(&self) -> usize {
        self.leaves.len()
    }

    fn leaves_for(&self, demand: Demand) -> Result<usize, Misfit> {
        let fitting = self.leaves.iter().filter(|(_, target)| target.channel.takes.fits(demand)).count();
        self.misfit.map_or(Ok(fitting), Err)
    }

    fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    fn pick(&self, plan: &Plan, _: Instant) -> Step {
        for (group, target) in &self.leaves {
            if plan.tried(target) || !plan.fits(target) {
                continue;
            }
            match group {
                Some(group) if plan.refused(group.node) => {}
                Some(group) if !plan.entered(group.node) => return Step::Enter(group.clone()),
                _ => return Step::Try(target.clone()),
            }
        }
        Step::Exhausted
    }
}

/// Gates that refuse the nodes they were told to, and note whom they were asked about.
#[derive(Default)]
pub struct ScriptedGates {
    /// Nodes whose windows are used up.
    pub refused: Vec<usize>,
    /// Nodes that were asked about.
    pub asked: Notes<usize>,
}

impl ScriptedGates {
    /// Gates that refuse these nodes.
    pub fn refusing(nodes: &[usize]) -> Arc<Self> {
        Arc::new(Self { refused: nodes.to_vec(), asked: Notes::default() })
    }

    /// Gates that let everybody in.
    pub fn open() -> Arc<Self> {
        Self::refusing(&[])
    }
}

impl Gates for ScriptedGates {
    fn enter(&self, group: &Group, _: &Exchange) -> Verdict<()> {
        self.asked.add(group.node);
        Verdict::Ready(if self.refused.contains(&group.node) {
            Err(Failure::RateLimited(exceeded()))
        } else {
            Ok(())
        })
    }
}

/// A window of 15 requests that admits the next one in a minute.
pub fn exceeded() -> Exceeded {
    Exceeded { limit: 15, reset: Duration::from_secs(60) }
}

/// Windows that admit or refuse everything, at once or after a second, and note what they count.
#[derive(Default)]
pub struct ScriptedWindows {
    full: bool,
    shared: bool,
    counted: Notes<Fingerprint>,
    taken_back: Notes<Fingerprint>,
}

impl ScriptedWindows {
    /// Windows with room.
    pub fn with_room() -> Self {
        Self::default()
    }

    /// Windows that are used up.
    pub fn full() -> Self {
        Self { full: true, ..Self::default() }
    }

    /// The same in shared state, which answers after a second.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Requests that count now.
    pub fn count(&self) -> usize {
        self.counted.count() - self.taken_back.count()
    }
}

impl Windows for ScriptedWindows {
    fn admit(&self, caller: &Fingerprint, _: &Limits) -> Verdict<Option<Exceeded>> {
        let answer = self.full.then(exceeded);
        if answer.is_none() {
            self.counted.add(caller.clone());
        }
        verdict(self.shared, Ok(answer))
    }

    fn take_back(&self, caller: &Fingerprint, _: &Limits) {
        self.taken_back.add(caller.clone());
    }
}

/// Balances that have money or have none, at once or after a second.
#[derive(Default)]
pub struct ScriptedBalances {
    empty: bool,
    shared: bool,
    /// How many requests have reserved.
    pub reserved: Notes<()>,
}

impl ScriptedBalances {
    /// Balances with money.
    pub fn rich() -> Self {
        Self::default()
    }

    /// Balances that are used up.
    pub fn empty() -> Self {
        Self { empty: true, ..Self::default() }
    }

    /// The same in shared state, which answers after a second.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }
}

impl Balances for ScriptedBalances {
    fn reserve(&self, _: &Exchange) -> Verdict<()> {
        if self.empty {
            return verdict(self.shared, Err(Failure::BalanceExhausted));
        }
        self.reserved.add(());
        verdict(self.shared, Ok(()))
    }
}

fn verdict<T: Send + 'static>(shared: bool, result: Result<T, Failure>) -> Verdict<T> {
    if !shared {
        return Verdict::Ready(result);
    }
    Verdict::Wait(Box::pin(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        result
    }))
}

/// Records that keep the closed entries.
#[derive(Default)]
pub struct Closed(pub Notes<Entry>);

impl Records for Closed {
    fn close(&self, entry: Entry) {
        self.0.add(entry);
    }
}

/// Media that nobody may ask for.
pub fn no_media() -> Arc<dyn Media> {
    struct NoMedia;

    impl Media for NoMedia {
        fn fetch(&self, address: &str) -> BoxFuture<Result<Fetched, String>> {
            panic!("{address} is not to be fetched")
        }
    }

    Arc::new(NoMedia)
}
