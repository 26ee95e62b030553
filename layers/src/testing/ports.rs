//! Scripted ports of the request stage: they decide as they were told to and note what they were
//! asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;

use super::Notes;
use crate::conversation::Home;
use crate::failure::{Exceeded, Failure, Whose};
use crate::ledger::Entry;
use crate::plan::{Group, Plan, Step};
use crate::policy::{Caller, ChannelName, Demand, Fingerprint, Target, Triggers};
use crate::ports::{
    Admission, Allowances, BoxFuture, Catalog, Directory, Ending, Fetched, Homes, Limits, Media, Misfit, Pin,
    Records, Route, Stored, Unfetched, Verdict,
};
use crate::stage::Exchange;
use crate::visit::Visit;

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
    pinned: HashMap<(ChannelName, String), Arc<dyn Route>>,
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

    /// This route leads to what this channel has stored, for this model.
    #[must_use]
    pub fn pinned(mut self, channel: &str, model: &str, route: Arc<dyn Route>) -> Self {
        self.0.pinned.insert((ChannelName::from(channel), model.to_owned()), route);
        self
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

    /// The configuration.
    pub fn build(self) -> Arc<dyn Catalog> {
        Arc::new(self.0)
    }
}

impl Catalog for ScriptedCatalog {
    fn route(&self, _: &Caller, model: &str) -> Result<Arc<dyn Route>, Failure> {
        self.routes.get(model).cloned().ok_or_else(|| Failure::ModelNotFound { model: model.to_owned() })
    }

    fn pinned(&self, _: &Caller, pin: &Pin, model: &str) -> Option<Arc<dyn Route>> {
        self.pinned.get(&(pin.channel.clone(), model.to_owned())).cloned()
    }

    fn limits(&self, _: &Caller, _: &str) -> Limits {
        Limits::default()
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

    /// Here a number of letters stands for a key.
    fn unknown_key(&self, head: &http::request::Parts) -> Option<Fingerprint> {
        let bearer = head.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let letters = bearer.strip_prefix("Bearer ")?.len();
        Some(Fingerprint::new(&format!("{letters} letters")))
    }
}

/// A route over these targets, in order, without groups.
pub fn route(targets: impl IntoIterator<Item = Arc<Target>>) -> ScriptedRoute {
    let leaves = targets.into_iter().map(|target| (None, target)).collect();
    ScriptedRoute { leaves, keepalive: None, tickets: AtomicU64::new(0), has_places: false, misfit: None }
}

/// A route that gives its targets in order and skips those that were tried.
pub struct ScriptedRoute {
    leaves: Vec<(Option<Group>, Arc<Target>)>,
    keepalive: Option<Duration>,
    tickets: AtomicU64,
    has_places: bool,
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

    /// Some of its targets are places of one channel.
    #[must_use]
    pub fn places(mut self) -> Self {
        self.has_places = true;
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

    /// How many distinct channels have such a target.
    fn channels(&self, is_meant: impl Fn(&Target) -> bool) -> usize {
        let meant = self.leaves.iter().filter(|(_, target)| is_meant(target));
        meant.map(|(_, target)| &target.channel.name).collect::<HashSet<_>>().len()
    }
}

impl Route for ScriptedRoute {
    fn leaves(&self) -> usize {
        self.channels(|_| true)
    }

    fn has_places(&self) -> bool {
        self.has_places
    }

    fn leaves_for(&self, demand: Demand) -> Result<usize, Misfit> {
        let fitting = self.channels(|target| target.channel.takes.fits(demand));
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

/// Pins that are given, at once or after a second, and those that were kept: caller, name, pin.
#[derive(Default)]
pub struct ScriptedPins {
    known: Vec<(Fingerprint, String, Pin)>,
    shared: bool,
    /// What was kept.
    pub kept: Notes<(Fingerprint, String, Pin)>,
}

impl ScriptedPins {
    /// This object of this caller is there.
    #[must_use]
    pub fn with(mut self, caller: &Caller, id: &str, pin: Pin) -> Self {
        self.known.push((caller.fingerprint.clone(), id.to_owned(), pin));
        self
    }

    /// The same in shared state, which answers after a second.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }
}

impl Stored for ScriptedPins {
    fn find(&self, caller: &Fingerprint, id: &str) -> Verdict<Option<Pin>> {
        let is_meant = |(of, name, _): &&(Fingerprint, String, Pin)| of == caller && name == id;
        let found = self.known.iter().find(is_meant).map(|(_, _, pin)| pin.clone());
        if !self.shared {
            return Verdict::Ready(Ok(found));
        }
        Verdict::Wait(Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(found)
        }))
    }

    fn keep(&self, caller: &Fingerprint, id: &str, pin: Pin) {
        self.kept.add((caller.clone(), id.to_owned(), pin));
    }
}

/// A window of 15 requests that admits the next one in a minute.
pub fn exceeded() -> Exceeded {
    let minute = Duration::from_secs(60);
    Exceeded { limit: 15, period: minute, whose: Whose::Key, reset: minute }
}

/// Allowances that admit everything or refuse what they were told to, at once or after a second.
#[derive(Default)]
pub struct ScriptedAllowances {
    refusal: Option<Failure>,
    refused: Vec<usize>,
    shared: bool,
    /// The nodes of the groups that were asked about.
    pub asked: Notes<usize>,
    counted: Arc<Notes<()>>,
    given_back: Arc<Notes<()>>,
}

/// A request that counts: given back when it is dropped undecided.
struct Counting {
    given_back: Option<Arc<Notes<()>>>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(given_back) = &self.given_back {
            given_back.add(());
        }
    }
}

impl ScriptedAllowances {
    /// Allowances with room for everybody.
    pub fn open() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Allowances that refuse the groups of these nodes.
    pub fn refusing(nodes: &[usize]) -> Arc<Self> {
        Arc::new(Self { refused: nodes.to_vec(), ..Self::default() })
    }

    /// Allowances that refuse every request with this failure.
    pub fn spent(refusal: Failure) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }

    /// The same in shared state, which answers after a second.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Requests that count now.
    pub fn count(&self) -> usize {
        self.counted.count() - self.given_back.count()
    }
}

impl Allowances for ScriptedAllowances {
    fn admit(&self, _: &Exchange) -> Verdict<()> {
        self.counted.add(());
        let mut counting = Counting { given_back: Some(self.given_back.clone()) };
        let result = self.refusal.clone().map_or(Ok(()), Err);
        let mut decide = move || {
            counting.given_back = counting.given_back.take().filter(|_| result.is_err());
            result.clone()
        };
        if !self.shared {
            return Verdict::Ready(decide());
        }
        Verdict::Wait(Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            decide()
        }))
    }

    fn enter(&self, group: &Group, _: &Exchange) -> Verdict<()> {
        self.asked.add(group.node);
        Verdict::Ready(if self.refused.contains(&group.node) {
            Err(Failure::RateLimited(exceeded()))
        } else {
            Ok(())
        })
    }
}

/// An end of the process that comes after a while.
pub struct EndsAfter(Instant);

impl EndsAfter {
    /// It comes after this.
    pub fn new(while_away: Duration) -> Self {
        Self(Instant::now() + while_away)
    }
}

impl Ending for EndsAfter {
    fn is_here(&self) -> bool {
        Instant::now() >= self.0
    }

    fn wait(&self) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.0))
    }
}

/// Records that keep the closed entries.
#[derive(Default)]
pub struct Closed(pub Notes<Entry>);

impl Records for Closed {
    fn close(&self, entry: Entry) {
        self.0.add(entry);
    }

    fn visit(&self, visit: Visit) {
        panic!("{visit:?} is none of the pipeline")
    }
}

/// Records that keep those of requests which are none of the pipeline.
#[derive(Default)]
pub struct Visits(pub Notes<Visit>);

impl Visits {
    /// The outcomes, and whether it is known who asked, of those that came since this was called last.
    pub fn take(&self) -> Vec<(&'static str, bool)> {
        self.0.take().into_iter().map(|visit| (visit.outcome(), visit.caller.is_some())).collect()
    }
}

impl Records for Visits {
    fn close(&self, entry: Entry) {
        panic!("{entry:?} is of the pipeline")
    }

    fn visit(&self, visit: Visit) {
        self.0.add(visit);
    }
}

/// Media that nobody may ask for.
pub fn no_media() -> Arc<dyn Media> {
    struct NoMedia;

    impl Media for NoMedia {
        fn fetch(&self, address: &str) -> BoxFuture<Result<Fetched, Unfetched>> {
            panic!("{address} is not to be fetched")
        }
    }

    Arc::new(NoMedia)
}

/// Media that are the same picture behind every address, and the addresses that were asked for.
#[derive(Debug, Default)]
pub struct OnePicture(Notes<String>);

impl OnePicture {
    /// The addresses that were asked for since this was called last, in order.
    pub fn asked(&self) -> Vec<String> {
        self.0.take()
    }
}

impl Media for OnePicture {
    fn fetch(&self, address: &str) -> BoxFuture<Result<Fetched, Unfetched>> {
        self.0.add(address.to_owned());
        let fetched = match address.ends_with("missing.png") {
            true => Err(Unfetched::Refused("it is not there".to_owned())),
            false => Ok(Fetched { mime: "image/png".to_owned(), bytes: "\u{89}PNG".into() }),
        };
        Box::pin(std::future::ready(fetched))
    }
}

/// Homes that were told and that are noted.
#[derive(Default)]
pub struct ScriptedHomes {
    known: HashMap<u64, Home>,
    /// What was kept: the model, the conversation, and its home.
    pub kept: Notes<(String, u64, Home)>,
}

/// No conversation was served anywhere.
pub fn no_homes() -> Arc<ScriptedHomes> {
    Arc::default()
}

impl ScriptedHomes {
    /// This conversation was served here.
    #[must_use]
    pub fn with(mut self, conversation: u64, home: Home) -> Self {
        self.known.insert(conversation, home);
        self
    }
}

impl Homes for ScriptedHomes {
    fn find(&self, _: &Fingerprint, _: &Arc<str>, conversation: u64) -> Option<Home> {
        self.known.get(&conversation).cloned()
    }

    fn keep(&self, _: &Fingerprint, model: &Arc<str>, conversation: u64, home: Home) {
        self.kept.add((model.to_string(), conversation, home));
    }
}
