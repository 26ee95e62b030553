//! A route plus what one request has done with it so far.
//!
//! Built by `resolve`, owned and changed by `failover`, read by the route when it is asked who is
//! next. Everything a schedule needs to stay in step (the ticket) is drawn once per request, so
//! the order of attempts is a pure function of ticket and exclusions.
//!
//! A channel may have several places, its regions. Each of them is tried for itself, the next one
//! before the next channel. For the budget all of them are one leaf: it gives one attempt to each
//! channel and some to spare, and a next place takes a spare one, as a next key does. So a long
//! list of regions neither raises the number of attempts nor takes the one that is kept for a
//! channel not tried yet; and no request asks more than [`MOST_PLACES`] places of one channel.

use std::sync::Arc;

use tokio::time::Instant;

use crate::conversation::Home;
use crate::policy::{Caller, Demand, Retries, Target};
use crate::ports::{InputTokens, Misfit, Route};

/// Attempts that the budget gives beyond one for each channel.
const SPARE_ATTEMPTS: u32 = 10;
/// Most places of one channel that one request asks, so that a list of regions does not take the
/// time of the whole request.
pub const MOST_PLACES: usize = 3;

/// A request's standing on its route.
pub struct Plan {
    /// Who may serve.
    pub route: Arc<dyn Route>,
    /// This request's place in every schedule of the route. Drawn only when it is needed: a request
    /// that is served at home takes nobody's turn.
    pub ticket: u64,
    /// What is done with for this request.
    tried: Vec<Tried>,
    /// How many distinct channels are among it.
    channels_tried: usize,
    /// Groups whose gate let the request in.
    entered: Vec<Group>,
    /// Groups whose gate refused it.
    refused: Vec<Group>,
    /// Attempts still allowed.
    left: u32,
    /// What the request demands of a channel; none when it is any request.
    demand: Option<Demand>,
    /// How many distinct channels take the request.
    leaves: usize,
    /// Who served the conversation last, until that cannot serve this request.
    home: Option<Home>,
    /// How long the request is by estimate, where some channel may be too small for it; else zero.
    input: InputTokens,
}

/// A channel, or one place of it, that is done with for a request.
struct Tried {
    target: Arc<Target>,
    /// Whether no other place of the channel would do better.
    whole: bool,
}

/// A nested key within a route.
#[derive(Debug, Clone)]
pub struct Group {
    /// The nested key's entry.
    pub caller: Arc<Caller>,
    /// Which node of the route it is.
    pub node: usize,
}

/// An answer of a route.
pub enum Step {
    /// Try this one.
    Try(Arc<Target>),
    /// Ask this group's gate, then ask again.
    Enter(Group),
    /// Nobody is left.
    Exhausted,
}

impl Plan {
    /// A fresh plan with the budget that the caller's `AUTO_RETRY` gives, for a request that every
    /// channel takes.
    pub fn new(route: Arc<dyn Route>, retries: Retries) -> Self {
        let leaves = route.leaves();
        Self::over(route, retries, leaves, None, None)
    }

    /// The same for a request that some channels may not take: they are no part of it.
    ///
    /// # Errors
    /// None takes it.
    pub fn demanding(route: Arc<dyn Route>, retries: Retries, demand: Demand) -> Result<Self, Misfit> {
        Self::returning(route, retries, demand, None)
    }

    /// The same for a request whose conversation was served before.
    ///
    /// # Errors
    /// None takes it.
    pub fn returning(
        route: Arc<dyn Route>,
        retries: Retries,
        demand: Demand,
        home: Option<Home>,
    ) -> Result<Self, Misfit> {
        let leaves = route.leaves_for(demand)?;
        Ok(Self::over(route, retries, leaves, Some(demand), home))
    }

    fn over(
        route: Arc<dyn Route>,
        retries: Retries,
        leaves: usize,
        demand: Option<Demand>,
        home: Option<Home>,
    ) -> Self {
        let left = match retries {
            Retries::Never => 1,
            Retries::Budget => u32::try_from(leaves).unwrap_or(u32::MAX).saturating_add(SPARE_ATTEMPTS),
            Retries::AtMost(retries) => retries.saturating_add(1),
        };
        let ticket = if home.is_none() { route.ticket() } else { 0 };
        let (tried, entered, refused) = (Vec::new(), Vec::new(), Vec::new());
        let input = InputTokens::default();
        Self { route, ticket, tried, channels_tried: 0, entered, refused, left, demand, leaves, home, input }
    }

    /// The same for a request that is as long as this, by estimate: whoever cannot look at so much is
    /// asked behind all others.
    #[must_use]
    pub fn of_length(self, input: InputTokens) -> Self {
        Self { input, ..self }
    }

    /// Who is next: who served the conversation last while that can serve, then as the route says.
    pub fn next(&mut self, now: Instant) -> Step {
        if let Some(home) = self.home.take() {
            if let Some(step) = self.route.to_home(self, &home, now) {
                self.home = Some(home);
                return step;
            }
            self.ticket = self.route.ticket();
        }
        self.route.clone().pick(self, now)
    }

    /// Who served the conversation last, as long as nothing kept it from serving this request.
    pub fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    /// Whether the estimate is more than this target can look at.
    pub fn is_beyond(&self, target: &Target) -> bool {
        self.input > InputTokens::default() && target.context.is_some_and(|most| self.input.0 > most)
    }

    /// Whether some target may be too small for the request.
    pub fn is_long(&self) -> bool {
        self.input > InputTokens::default()
    }

    /// Whether this target's channel takes the request.
    pub fn fits(&self, target: &Target) -> bool {
        self.demand.is_none_or(|demand| target.channel.takes.fits(demand))
    }

    /// Whether this target is done with. A channel, or a place of it, is tried once per request,
    /// even when two groups hold it; so are the places that are too many for the request or for
    /// what is left of its budget. The alias needs no look: all of a route have the same.
    pub fn tried(&self, target: &Target) -> bool {
        let mut places = 0;
        for tried in self.of_channel(target) {
            if tried.whole || tried.target.place == target.place {
                return true;
            }
            places += 1;
        }
        places > 0 && (places >= MOST_PLACES || !self.allows_more_of(target))
    }

    /// How many places of this target's channel are done with.
    pub fn places_tried(&self, target: &Target) -> usize {
        self.of_channel(target).count()
    }

    fn of_channel(&self, target: &Target) -> impl Iterator<Item = &Tried> {
        self.tried.iter().filter(|tried| tried.target.channel.name == target.channel.name)
    }

    /// Whether this node's gate was passed.
    pub fn entered(&self, node: usize) -> bool {
        self.entered.iter().any(|group| group.node == node)
    }

    /// Whether this node's gate refused.
    pub fn refused(&self, node: usize) -> bool {
        self.refused.iter().any(|group| group.node == node)
    }

    /// Notes what a gate said.
    pub fn gate(&mut self, group: Group, admitted: bool) {
        if admitted { self.entered.push(group) } else { self.refused.push(group) }
    }

    /// Notes that this target will not be asked again; another place of its channel may be.
    pub fn exclude(&mut self, target: Arc<Target>) {
        self.note(Tried { target, whole: false });
    }

    /// Notes that no place of this target's channel will be asked again.
    pub fn exclude_channel(&mut self, target: Arc<Target>) {
        self.note(Tried { target, whole: true });
    }

    fn note(&mut self, tried: Tried) {
        self.channels_tried += usize::from(self.places_tried(&tried.target) == 0);
        self.tried.push(tried);
    }

    /// Takes one attempt from the budget; false when there is none.
    pub fn spend(&mut self) -> bool {
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }

    /// Gives an attempt back that came to nothing before anybody was asked.
    pub fn refund(&mut self) {
        self.left = self.left.saturating_add(1);
    }

    /// Whether the budget allows one more key or place of this target's channel, which is being
    /// tried: one attempt stays kept for every channel not tried yet.
    pub fn allows_more_of(&self, target: &Target) -> bool {
        // A channel at hand is among the tried only when another place of it was.
        let at_hand = usize::from(self.places_tried(target) == 0);
        let untried = self.leaves.saturating_sub(self.channels_tried + at_hand);
        self.left as usize > untried
    }

    /// Whether any attempt is left.
    pub fn has_budget(&self) -> bool {
        self.left > 0
    }

    /// Whether all that takes the request is one channel in one place.
    pub fn single(&self) -> bool {
        self.leaves == 1 && !self.route.has_places()
    }
}

#[cfg(test)]
mod tests;
