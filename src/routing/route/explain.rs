//! Says how every channel of a route stands, and changes nothing by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::conversation::Home;
use layers::plan::{MOST_PLACES, Plan, Step};
use layers::policy::{Caller, ChannelName, Demand, Target};
use layers::ports::{Misfit, Route};
use layers::stage::TriedKeys;
use pingora_load_balancing::selection::BackendSelection as _;
use tokio::time::Instant;

use super::{CallerRoute, Member, Node, View};
use crate::routing::schedule::{Key, Ticket};

/// One channel of a route, as far as there is something to be said about it.
#[derive(Debug, Clone)]
pub struct RouteLine {
    /// The channel.
    pub channel: ChannelName,
    /// Under which name it has the model.
    pub upstream_model: Arc<str>,
    /// What an attempt would be aimed at.
    pub target: Arc<Target>,
    /// The nested keys above it, outermost first.
    pub groups: Vec<Arc<Caller>>,
    /// How it stands.
    pub standing: Standing,
    /// Its weight, or that of its group, among its neighbours.
    pub weight: Option<u64>,
    /// The share of requests that try it first while everybody stands as now, from 0 to 1.
    pub share: f64,
    /// Whether the conversation was served there last.
    pub is_home: bool,
}

impl RouteLine {
    pub(super) fn new(
        target: &Arc<Target>,
        groups: Vec<Arc<Caller>>,
        standing: Standing,
        weight: Option<u64>,
        share: f64,
    ) -> Self {
        let (channel, upstream_model) = (target.channel.name.clone(), target.upstream_model.clone());
        Self {
            channel,
            upstream_model,
            target: target.clone(),
            groups,
            standing,
            weight,
            share,
            is_home: false,
        }
    }
}

/// The standing of a channel towards one request, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is next.
    Chosen,
    /// It is next although it is cooling for this long: nobody else is left.
    LastResort(Duration),
    /// It follows when those before it fail.
    Standby,
    /// It was tried, or stands in another group already.
    Tried,
    /// Enough other places of its channel come before it for one request.
    Surplus,
    /// It is cooling for this long, or another request is trying it out.
    Cooling(Duration),
    /// The gate of a group above it refused the request.
    GateRefused,
    /// None of its keys can be used now.
    NoKey,
    /// It does not take the request, for what is asked or for its length.
    Unfit,
    /// The request is longer than its model can look at, by estimate: it follows behind all others.
    TooSmall,
}

impl Standing {
    /// The word for logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::LastResort(_) => "last_resort",
            Self::Standby => "standby",
            Self::Tried => "tried",
            Self::Surplus => "surplus",
            Self::Cooling(_) => "cooling",
            Self::GateRefused => "gate_refused",
            Self::NoKey => "no_key",
            Self::Unfit => "unfit",
            Self::TooSmall => "too_small",
        }
    }

    /// How long it is cooling.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::LastResort(left) | Self::Cooling(left) => Some(left),
            Self::Chosen
            | Self::Standby
            | Self::Tried
            | Self::Surplus
            | Self::GateRefused
            | Self::NoKey
            | Self::Unfit
            | Self::TooSmall => None,
        }
    }
}

impl CallerRoute {
    /// A plan that looks at the route as the caller's next request of this kind would, without
    /// counting as one.
    ///
    /// # Errors
    /// No channel takes such a request: [`unfit`](Self::unfit) shows them.
    pub fn preview(self: &Arc<Self>, demand: Demand) -> Result<Plan, Misfit> {
        self.preview_at(demand, None)
    }

    /// The same for a request of a conversation that was served here last.
    ///
    /// # Errors
    /// No channel takes such a request.
    pub fn preview_at(self: &Arc<Self>, demand: Demand, home: Option<Home>) -> Result<Plan, Misfit> {
        let route = Preview { route: Arc::clone(self), ticket: self.next_ticket() };
        Plan::returning(Arc::new(route), layers::policy::Retries::Budget, demand, home)
    }

    /// The ticket that the next request would draw.
    fn next_ticket(&self) -> u64 {
        let turn = self.cursor.as_ref().map(|cursor| cursor.peek());
        Ticket::of_turn(turn.unwrap_or(0), fastrand::u64(..)).0
    }

    /// Every channel of the route, in the order of the rules, for a request that none of them
    /// takes.
    pub fn unfit(&self) -> Vec<RouteLine> {
        let mut lines = Vec::new();
        self.tree.root.visit(&mut Vec::new(), &mut |above, target| {
            let groups = above.iter().map(|group| Arc::clone(&group.caller)).collect();
            lines.push(RouteLine::new(target, groups, Standing::Unfit, None, 0.0));
        });
        lines
    }

    /// Every channel of the route in the order in which this request would try it, with the
    /// reason why it would not. Changes nothing. Gates that were not asked yet count as open.
    pub fn explain(&self, plan: &Plan, now: Instant) -> Vec<RouteLine> {
        let mut lines = Vec::new();
        let above = Above { groups: Vec::new(), refused: false, share: 1.0 };
        // One that goes home has drawn none.
        let ticket = if plan.home().is_some() { self.next_ticket() } else { plan.ticket };
        explain(&self.tree.root, Ticket(ticket), plan, now, &above, &mut lines);
        if let Some((target, _)) = plan.home().and_then(|home| self.tree.home(plan, home, now)) {
            let is_home = |line: &RouteLine| Arc::ptr_eq(&line.target, &target);
            if let Some(at) = lines.iter().position(is_home) {
                let home = lines.remove(at);
                lines.insert(0, RouteLine { is_home: true, ..home });
            }
        }
        // Those beyond whose reach it is stand behind all others, in their order.
        lines.sort_by_key(|line| line.standing == Standing::TooSmall);
        each_once(&mut lines, plan);
        // What has no key is passed over by the layer that leases one, not by the route.
        let next = [Standing::Standby, Standing::TooSmall]
            .into_iter()
            .find_map(|standing| lines.iter().position(|line| line.standing == standing));
        if let Some(first) = next.and_then(|at| lines.get_mut(at)) {
            first.standing = Standing::Chosen;
        } else if let Some(Step::Try(target)) = self.tree.last_resort(plan, now) {
            let is_it = |line: &&mut RouteLine| {
                line.channel == target.channel.name && line.target.place == target.place
            };
            let line = lines.iter_mut().find(is_it);
            if let Some((line, left)) = line.and_then(|line| match line.standing {
                Standing::Cooling(left) => Some((line, left)),
                _ => None,
            }) {
                line.standing = Standing::LastResort(left);
            }
        }
        lines
    }
}

/// A route that always gives the same ticket.
struct Preview {
    pub(super) route: Arc<CallerRoute>,
    pub(super) ticket: u64,
}

impl Route for Preview {
    fn leaves(&self) -> usize {
        self.route.leaves()
    }

    fn leaves_for(&self, demand: Demand) -> Result<usize, Misfit> {
        self.route.leaves_for(demand)
    }

    fn has_places(&self) -> bool {
        self.route.has_places()
    }

    fn keepalive(&self) -> Option<Duration> {
        self.route.keepalive()
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn pick(&self, plan: &Plan, now: Instant) -> Step {
        self.route.pick(plan, now)
    }

    fn to_home(&self, plan: &Plan, home: &Home, now: Instant) -> Option<Step> {
        self.route.to_home(plan, home, now)
    }

    fn least_context(&self) -> Option<u64> {
        self.route.least_context()
    }
}

/// Shows a channel or place that two groups hold as tried but where it comes first, and places of
/// a channel beyond those that one request asks as too many.
fn each_once(lines: &mut [RouteLine], plan: &Plan) {
    type Places = Vec<Option<Arc<str>>>;
    let mut seen = HashMap::<ChannelName, Places, RandomState>::default();
    for line in lines.iter_mut().filter(|line| line.standing == Standing::Standby) {
        let places = seen.entry(line.channel.clone()).or_default();
        if places.contains(&line.target.place) {
            line.standing = Standing::Tried;
        } else if plan.places_tried(&line.target) + places.len() >= MOST_PLACES {
            line.standing = Standing::Surplus;
        } else {
            places.push(line.target.place.clone());
        }
    }
}

/// The circumstances that hold for all members of a node.
struct Above {
    pub(super) groups: Vec<Arc<Caller>>,
    /// Whether a gate on the way has refused the request.
    pub(super) refused: bool,
    /// The share of requests that come this way first.
    share: f64,
}

fn explain(
    node: &Node,
    ticket: Ticket,
    plan: &Plan,
    now: Instant,
    above: &Above,
    lines: &mut Vec<RouteLine>,
) {
    let (out, _) = node.survey(View { plan, now, in_reach: plan.is_long() });
    let key = Key::new(ticket, &out);
    let mut order = Vec::with_capacity(node.members.len());
    let mut shares = vec![if out.is_empty() { 1.0 } else { 0.0 }];
    match &node.schedule {
        Some(schedule) => {
            shares = schedule.shares(&out);
            let mut scheduled = schedule.iter(key.as_bytes());
            while let Some(ordinal) = scheduled.advance() {
                order.push((ordinal, schedule.descend(&key, ordinal)));
            }
        }
        None if out.is_empty() => order.push((0, ticket)),
        None => {}
    }
    order.extend(
        (0..node.members.len()).filter(|ordinal| out.contains(*ordinal)).map(|ordinal| (ordinal, ticket)),
    );
    for (ordinal, ticket) in order {
        let share = above.share * shares.get(ordinal).copied().unwrap_or_default();
        let weight =
            node.schedule.as_ref().map(|schedule| schedule.weight(ordinal)).filter(|weight| *weight > 0);
        match node.members.get(ordinal) {
            Some(Member::Leaf(target)) => {
                let standing = standing(target, plan, now, above.refused);
                lines.push(RouteLine::new(target, above.groups.clone(), standing, weight, share));
            }
            Some(Member::Group(group, inner)) => {
                let groups = above.groups.iter().chain([&group.caller]).cloned().collect();
                let refused = above.refused || plan.refused(group.node);
                let from = lines.len();
                explain(inner, ticket, plan, now, &Above { groups, refused, share }, lines);
                // A weight of the group counts for its only channel, which has none of its own.
                if let [only] = &mut lines[from..] {
                    only.weight = only.weight.or(weight);
                }
            }
            Some(Member::Places(inner)) => {
                let from = lines.len();
                let above = Above { groups: above.groups.clone(), refused: above.refused, share };
                explain(inner, ticket, plan, now, &above, lines);
                lines[from..].iter_mut().for_each(|line| line.weight = weight);
            }
            None => {}
        }
    }
}

pub(super) fn standing(target: &Target, plan: &Plan, now: Instant, refused: bool) -> Standing {
    let keys = &target.channel.keys;
    match target.health.cooling_until(now) {
        _ if !plan.fits(target) => Standing::Unfit,
        _ if plan.tried(target) => Standing::Tried,
        _ if refused => Standing::GateRefused,
        Some(until) => Standing::Cooling(until.saturating_duration_since(now)),
        None if plan.is_beyond(target) => Standing::TooSmall,
        None if keys.count() > 0 && !keys.has_spare(target, &TriedKeys::default()) => Standing::NoKey,
        None => Standing::Standby,
    }
}
