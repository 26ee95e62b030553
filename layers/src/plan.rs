//! A route plus what one request has done with it so far.
//!
//! Built by `resolve`, owned and changed by `failover`, read by the route when it is asked who is
//! next. Everything a schedule needs to stay in step (the ticket) is drawn once per request, so
//! the order of attempts is a pure function of ticket and exclusions.

use std::sync::Arc;

use crate::policy::{Caller, Retries, Target};
use crate::ports::Route;

/// Attempts that the budget gives beyond one for each channel.
const SPARE_ATTEMPTS: u32 = 10;

/// Where one request stands on its route.
pub struct Plan {
    /// Who may serve.
    pub route: Arc<dyn Route>,
    /// This request's place in every schedule of the route.
    pub ticket: u64,
    /// Channels that are done with for this request, by identity of their target's channel.
    tried: Vec<Arc<Target>>,
    /// Groups whose gate let the request in.
    entered: Vec<Group>,
    /// Groups whose gate refused it.
    refused: Vec<Group>,
    /// Attempts still allowed.
    left: u32,
}

/// A nested key within a route.
#[derive(Debug, Clone)]
pub struct Group {
    /// The nested key's entry.
    pub caller: Arc<Caller>,
    /// Which node of the route it is.
    pub node: usize,
}

/// What a route answers.
pub enum Step {
    /// Try this one.
    Try(Arc<Target>),
    /// Ask this group's gate, then ask again.
    Enter(Group),
    /// Nobody is left.
    Exhausted,
}

impl Plan {
    /// A fresh plan with the budget that the caller's `AUTO_RETRY` gives.
    pub fn new(route: Arc<dyn Route>, retries: Retries) -> Self {
        let leaves = u32::try_from(route.leaves()).unwrap_or(u32::MAX);
        let left = match retries {
            Retries::Never => 1,
            Retries::Budget => leaves.saturating_add(SPARE_ATTEMPTS),
            Retries::AtMost(retries) => retries.saturating_add(1),
        };
        let ticket = route.ticket();
        Self { route, ticket, tried: Vec::new(), entered: Vec::new(), refused: Vec::new(), left }
    }

    /// Whether this target's channel is done with. A channel is tried once per request, even
    /// when two groups hold it.
    pub fn tried(&self, target: &Target) -> bool {
        self.tried.iter().any(|tried| tried.channel.name == target.channel.name)
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

    /// Notes that a channel will not be asked again.
    pub fn exclude(&mut self, target: Arc<Target>) {
        self.tried.push(target);
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

    /// Whether the budget allows one more key of the channel that is being tried: one attempt
    /// stays kept for every channel not tried yet.
    pub fn allows_next_key(&self) -> bool {
        // The channel at hand is not excluded yet, so it is not among the tried.
        let untried = self.route.leaves().saturating_sub(self.tried.len() + 1);
        self.left as usize > untried
    }

    /// Whether any attempt is left.
    pub fn has_budget(&self) -> bool {
        self.left > 0
    }

    /// Whether the whole route is one channel.
    pub fn single(&self) -> bool {
        self.route.leaves() == 1
    }
}
