//! Answers "who is next?" for one request, from a tree of channels and nested keys.
//!
//! A leaf is a channel with the model under the name that was asked for; an inner node is a nested
//! client key with its own rules and algorithm, which asks its gate before its first leaf, or a
//! channel in several places (regions), which has no gate and rotates over them. A node can serve
//! while one of its leaves can. Trees are built on first use and shared by all callers
//! with equal rules; what belongs to one caller is only the cursor, which outlives the tree.
//!
//! Cooldowns are read at the moment of each pick. Members that are benched for everybody are taken
//! out *before* the schedule is asked, so that the others share exactly; members that this request
//! has tried stay in and are stepped over, so that the order does not change under its feet. When
//! everything that is left is benched, the channel that recovers first is tried, and then the next
//! one: serving is better than refusing, and a bench only says that a channel failed once. What
//! bounds the walk in an outage is the request's budget. Channels that do not take the request, for
//! what it asks or for its length, are no part of the tree for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::plan::{Group, MOST_PLACES, Plan, Step};
use layers::policy::{Caller, ChannelName, Demand, Target};
use layers::ports::{Misfit, Route};
use layers::request_id::RequestId;
use layers::stage::TriedKeys;
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::BackendIter;
use tokio::time::Instant;

use super::rules::{Access, Admitted, Offers, members};
use super::schedule::{self, Key, Ordinals, Schedule, Ticket};
use crate::state::cursors::{Cursor, Cursors};
use crate::values::{Algorithm, Rule};

/// Trees kept over all rule lists and models. A dropped one is built again when it is asked for.
const CAPACITY: usize = 1 << 14;
/// Nested keys deeper than this admit nothing; no configuration means that.
const DEEPEST: usize = 64;

/// All routes of one configuration.
pub struct Routes {
    offers: Offers,
    /// By position of the caller.
    access: Box<[Access]>,
    /// Which rule list each caller has; callers with equal ones share.
    lists: Box<[usize]>,
    /// By rule list, then by model. Models that the list does not admit are noted, too.
    trees: Box<[RwLock<Trees>]>,
    built: AtomicUsize,
    /// Balancers by algorithm and weights: they know members by ordinal only, so the same one
    /// serves every node of that shape.
    shapes: Mutex<Shapes>,
}

type Trees = HashMap<Arc<str>, Option<Arc<Tree>>, RandomState>;
type Shapes = HashMap<(Algorithm, Box<[u32]>), Weak<Shape>, RandomState>;

/// The order of the members of a node, without the members.
struct Shape {
    balancer: LoadBalancer<Schedule>,
    schedule: Arc<Schedule>,
}

struct Tree {
    root: Node,
    /// Distinct channels.
    leaves: usize,
    /// Distinct channels and places of channels.
    targets: usize,
    /// The shortest interval of any channel.
    keepalive: Option<Duration>,
    /// Whether any node rotates.
    rotates: bool,
    /// Whether any channel does not take every request.
    picky: bool,
    model: Arc<str>,
}

struct Node {
    members: Box<[Member]>,
    /// None where there is nothing to choose.
    shape: Option<Arc<Shape>>,
}

enum Member {
    Leaf(Arc<Target>),
    Group(Group, Node),
    /// A channel that has several places.
    Places(Node),
}

impl Routes {
    /// The routes of a configuration. `access` holds every caller at its ordinal.
    pub fn new(offers: Offers, access: Vec<Access>) -> Self {
        let mut known = HashMap::<(Algorithm, &[Rule]), usize, RandomState>::default();
        let lists: Box<[usize]> = access
            .iter()
            .map(|access| {
                let next = known.len();
                *known.entry((access.algorithm, &access.rules)).or_insert(next)
            })
            .collect();
        let trees = (0..known.len()).map(|_| RwLock::default()).collect();
        Self {
            offers,
            access: access.into(),
            lists,
            trees,
            built: AtomicUsize::new(0),
            shapes: Mutex::default(),
        }
    }

    /// The route of this caller for this model; none when no channel has it or the caller may not
    /// use it.
    pub fn route(&self, caller: &Caller, model: &str, cursors: &Cursors) -> Option<Arc<CallerRoute>> {
        let tree = self.tree(caller.ordinal, model)?;
        let cursor = tree.rotates.then(|| cursors.of(&caller.fingerprint, &tree.model));
        Some(Arc::new(CallerRoute { tree, cursor }))
    }

    /// Whether this caller may use this model: a route exists, be it benched or not.
    pub fn admits(&self, caller: &Caller, model: &str) -> bool {
        self.tree(caller.ordinal, model).is_some()
    }

    /// What the channels offer.
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    fn tree(&self, caller: usize, model: &str) -> Option<Arc<Tree>> {
        let model = self.offers.known(model)?;
        let list = self.trees.get(*self.lists.get(caller)?)?;
        if let Some(tree) = list.read().unwrap_or_else(PoisonError::into_inner).get(model) {
            return tree.clone();
        }
        let tree = self.build(caller, model).map(Arc::new);
        if self.built.load(Ordering::Relaxed) >= CAPACITY {
            self.forget();
        }
        match list.write().unwrap_or_else(PoisonError::into_inner).entry(Arc::clone(model)) {
            // Somebody else was faster.
            Entry::Occupied(built) => built.get().clone(),
            Entry::Vacant(place) => {
                self.built.fetch_add(1, Ordering::Relaxed);
                place.insert(tree).clone()
            }
        }
    }

    fn forget(&self) {
        self.built.store(0, Ordering::Relaxed);
        for list in &self.trees {
            list.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn build(&self, caller: usize, model: &Arc<str>) -> Option<Tree> {
        let root = self.node(caller, model, &mut Vec::new())?;
        let mut channels = std::collections::HashSet::<&ChannelName, RandomState>::default();
        let mut targets = std::collections::HashSet::<(&ChannelName, Option<&str>), RandomState>::default();
        let mut keepalive = None::<Duration>;
        let mut picky = false;
        root.visit(&mut Vec::new(), &mut |_, target| {
            channels.insert(&target.channel.name);
            targets.insert((&target.channel.name, target.place.as_deref()));
            picky |= !target.channel.takes.is_everything();
            keepalive = keepalive.into_iter().chain(target.keepalive).min();
        });
        let (leaves, targets) = (channels.len(), targets.len());
        Some(Tree {
            rotates: root.rotates(),
            leaves,
            targets,
            keepalive,
            picky,
            model: Arc::clone(model),
            root,
        })
    }

    /// The node of this caller; none when nothing below it has the model.
    fn node(&self, caller: usize, model: &str, above: &mut Vec<usize>) -> Option<Node> {
        let access = self.access.get(caller)?;
        // A cycle is an error of the configuration; here it only must not be followed.
        if above.contains(&caller) || above.len() >= DEEPEST {
            return None;
        }
        above.push(caller);
        let (members, weights): (Vec<_>, Vec<_>) = members(&access.rules, &self.offers, model)
            .into_iter()
            .filter_map(|(admitted, weight)| {
                let member = match admitted {
                    Admitted::Channel(channel) => self.channel(channel, model)?,
                    Admitted::Nested(inner) => {
                        let node = self.node(inner, model, above)?;
                        let caller = Arc::clone(&self.access.get(inner)?.caller);
                        // Numbered by its key, so that a key that two groups hold is asked once.
                        Member::Group(Group { caller, node: inner }, node)
                    }
                };
                Some((member, weight))
            })
            .unzip();
        above.pop();
        let shape = (members.len() > 1).then(|| self.shape(access.algorithm, weights));
        (!members.is_empty()).then(|| Node { members: members.into(), shape })
    }

    /// The member that a channel is: one leaf, or a rotation over its places.
    fn channel(&self, channel: usize, model: &str) -> Option<Member> {
        let mut places: Vec<_> = self.offers.places(channel, model).cloned().map(Member::Leaf).collect();
        if places.len() < 2 {
            return places.pop();
        }
        let shape = Some(self.shape(Algorithm::RoundRobin, vec![0; places.len()]));
        Some(Member::Places(Node { members: places.into(), shape }))
    }

    fn shape(&self, algorithm: Algorithm, weights: Vec<u32>) -> Arc<Shape> {
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if shapes.len() >= CAPACITY {
            shapes.retain(|_, shape| shape.strong_count() > 0);
        }
        let name = (algorithm, weights.into_boxed_slice());
        if let Some(shape) = shapes.get(&name).and_then(Weak::upgrade) {
            return shape;
        }
        let (balancer, schedule) = schedule::balancer(algorithm, &name.1);
        let shape = Arc::new(Shape { balancer, schedule });
        shapes.insert(name, Arc::downgrade(&shape));
        shape
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("callers", &self.access.len())
            .field("rule_lists", &self.trees.len())
            .field("built", &self.built.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// How a member stands towards one request at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stand {
    /// Benched for everybody: not part of the order.
    Out,
    /// Keeps its place in the order and is stepped over.
    Done,
    /// Can serve.
    Usable,
}

impl Node {
    fn rotates(&self) -> bool {
        self.shape.as_ref().is_some_and(|shape| shape.schedule.rotates())
            || self.members.iter().any(|member| match member {
                Member::Leaf(_) => false,
                Member::Group(_, node) | Member::Places(node) => node.rotates(),
            })
    }

    /// Calls `each` for every leaf in rule order, with the groups above it.
    fn visit<'a>(&'a self, above: &mut Vec<&'a Group>, each: &mut dyn FnMut(&[&'a Group], &'a Arc<Target>)) {
        for member in &self.members {
            match member {
                Member::Leaf(target) => each(above, target),
                Member::Places(node) => node.visit(above, each),
                Member::Group(group, node) => {
                    above.push(group);
                    node.visit(above, each);
                    above.pop();
                }
            }
        }
    }

    /// The best stand of any member.
    fn stand(&self, plan: &Plan, now: Instant) -> Stand {
        self.members.iter().map(|member| member.stand(plan, now)).max().unwrap_or(Stand::Done)
    }

    /// The members that stand out, and those that can serve.
    fn survey(&self, plan: &Plan, now: Instant) -> (Ordinals, Ordinals) {
        let mut out = Ordinals::none(self.members.len());
        let mut usable = Ordinals::none(self.members.len());
        for (ordinal, member) in self.members.iter().enumerate() {
            match member.stand(plan, now) {
                Stand::Out => out.insert(ordinal),
                Stand::Usable => usable.insert(ordinal),
                Stand::Done => {}
            }
        }
        (out, usable)
    }

    /// What the schedules say, without asking for the trial that a recovered channel needs.
    fn next(&self, ticket: Ticket, plan: &Plan, now: Instant) -> Option<Step> {
        let (out, usable) = self.survey(plan, now);
        if usable.is_empty() {
            return None;
        }
        let Some(shape) = &self.shape else {
            return self.members.first()?.step(|| ticket, plan, now);
        };
        let key = Key::new(ticket, &out);
        let picked = shape.balancer.select_with(key.as_bytes(), self.members.len(), |member, ready| {
            ready && schedule::ordinal(member).is_some_and(|ordinal| usable.contains(ordinal))
        });
        let ordinal = schedule::ordinal(&picked?)?;
        self.members.get(ordinal)?.step(|| shape.schedule.descend(&key, ordinal), plan, now)
    }
}

impl Member {
    fn stand(&self, plan: &Plan, now: Instant) -> Stand {
        match self {
            Self::Leaf(target) if plan.tried(target) => Stand::Done,
            Self::Leaf(target) if !plan.fits(target) || target.health.benched_until(now).is_some() => {
                Stand::Out
            }
            Self::Leaf(_) => Stand::Usable,
            Self::Group(group, _) if plan.refused(group.node) => Stand::Done,
            Self::Group(_, node) | Self::Places(node) => node.stand(plan, now),
        }
    }

    fn step(&self, ticket: impl FnOnce() -> Ticket, plan: &Plan, now: Instant) -> Option<Step> {
        match self {
            Self::Leaf(target) => Some(Step::Try(Arc::clone(target))),
            Self::Group(group, _) if !plan.entered(group.node) => Some(Step::Enter(group.clone())),
            Self::Group(_, node) | Self::Places(node) => node.next(ticket(), plan, now),
        }
    }
}

impl Tree {
    /// Distinct channels that take a request.
    fn leaves_for(&self, demand: Demand) -> Result<usize, Misfit> {
        let mut channels = std::collections::HashSet::<&ChannelName, RandomState>::default();
        let mut served = false;
        self.root.visit(&mut Vec::new(), &mut |_, target| {
            served |= target.channel.takes.serves(demand.endpoint);
            if target.channel.takes.fits(demand) {
                channels.insert(&target.channel.name);
            }
        });
        match channels.len() {
            0 if served => Err(Misfit::Length),
            0 => Err(Misfit::Endpoint),
            leaves => Ok(leaves),
        }
    }

    /// What is left when nobody can serve: the benched leaf that recovers first.
    fn last_resort(&self, plan: &Plan, now: Instant) -> Option<Step> {
        let mut first = None::<(Instant, Step)>;
        self.root.visit(&mut Vec::new(), &mut |above, target| {
            let Some(until) = target.health.benched_until(now).filter(|_| plan.fits(target)) else { return };
            if plan.tried(target) || above.iter().any(|group| plan.refused(group.node)) {
                return;
            }
            if first.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                let gate = above.iter().find(|group| !plan.entered(group.node));
                let step = match gate {
                    Some(group) => Step::Enter((*group).clone()),
                    None => Step::Try(Arc::clone(target)),
                };
                first = Some((until, step));
            }
        });
        first.map(|(_, step)| step)
    }
}

/// A tree as one caller uses it.
pub struct CallerRoute {
    tree: Arc<Tree>,
    /// None where nothing rotates.
    cursor: Option<Arc<Cursor>>,
}

impl Route for CallerRoute {
    fn leaves(&self) -> usize {
        self.tree.leaves
    }

    fn leaves_for(&self, demand: Demand) -> Result<usize, Misfit> {
        if self.tree.picky { self.tree.leaves_for(demand) } else { Ok(self.tree.leaves) }
    }

    fn has_places(&self) -> bool {
        self.tree.targets > self.tree.leaves
    }

    fn keepalive(&self) -> Option<Duration> {
        self.tree.keepalive
    }

    fn ticket(&self) -> u64 {
        let luck = fastrand::u64(..);
        self.cursor.as_ref().map_or(luck, |cursor| Ticket::of_turn(cursor.next(), luck).0)
    }

    fn narrate(&self, plan: &Plan, request: &RequestId) {
        // What it takes to say it is done only where somebody listens.
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        for line in self.explain(plan, Instant::now()) {
            let groups: Vec<&str> = line.groups.iter().map(|group| &*group.alias).collect();
            tracing::debug!(
                request = request.as_str(),
                channel = %line.channel,
                place = line.target.place.as_deref(),
                model = &*line.upstream_model,
                groups = groups.join("/"),
                standing = line.standing.label(),
                seconds = line.standing.wait().map(|wait| wait.as_secs_f64()),
                "Candidate."
            );
        }
    }

    fn pick(&self, plan: &Plan, now: Instant) -> Step {
        // Each turn of the loop that finds a channel on trial finds one fewer that can serve.
        for _ in 0..=self.tree.targets {
            match self.tree.root.next(Ticket(plan.ticket), plan, now) {
                Some(Step::Try(target)) if !target.health.admit(now) => {}
                Some(step) => return step,
                None => break,
            }
        }
        self.tree.last_resort(plan, now).unwrap_or(Step::Exhausted)
    }
}

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
}

impl RouteLine {
    fn new(
        target: &Arc<Target>,
        groups: Vec<Arc<Caller>>,
        standing: Standing,
        weight: Option<u64>,
        share: f64,
    ) -> Self {
        let (channel, upstream_model) = (target.channel.name.clone(), target.upstream_model.clone());
        Self { channel, upstream_model, target: target.clone(), groups, standing, weight, share }
    }
}

/// How a channel stands towards one request, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is next.
    Chosen,
    /// It is next although it is benched for this long: nobody else is left.
    LastResort(Duration),
    /// It follows when those before it fail.
    Standby,
    /// It was tried, or stands in another group already.
    Tried,
    /// Enough other places of its channel come before it for one request.
    Surplus,
    /// It is benched for this long, or another request is trying it out.
    Benched(Duration),
    /// The gate of a group above it refused the request.
    GateRefused,
    /// None of its keys can be used now.
    NoKey,
    /// It does not take the request, for what is asked or for its length.
    Unfit,
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
            Self::Benched(_) => "benched",
            Self::GateRefused => "gate_refused",
            Self::NoKey => "no_key",
            Self::Unfit => "unfit",
        }
    }

    /// How long it is benched.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::LastResort(left) | Self::Benched(left) => Some(left),
            Self::Chosen
            | Self::Standby
            | Self::Tried
            | Self::Surplus
            | Self::GateRefused
            | Self::NoKey
            | Self::Unfit => None,
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
        let turn = self.cursor.as_ref().map(|cursor| cursor.peek());
        let ticket = Ticket::of_turn(turn.unwrap_or(0), fastrand::u64(..)).0;
        let route = Preview { route: Arc::clone(self), ticket };
        Plan::demanding(Arc::new(route), layers::policy::Retries::Budget, demand)
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
        explain(&self.tree.root, Ticket(plan.ticket), plan, now, &above, &mut lines);
        each_once(&mut lines, plan);
        // What has no key is passed over by the layer that leases one, not by the route.
        if let Some(first) = lines.iter_mut().find(|line| line.standing == Standing::Standby) {
            first.standing = Standing::Chosen;
        } else if let Some(Step::Try(target)) = self.tree.last_resort(plan, now) {
            let is_it = |line: &&mut RouteLine| {
                line.channel == target.channel.name && line.target.place == target.place
            };
            let line = lines.iter_mut().find(is_it);
            if let Some((line, left)) = line.and_then(|line| match line.standing {
                Standing::Benched(left) => Some((line, left)),
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
    route: Arc<CallerRoute>,
    ticket: u64,
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

/// What holds for all members of a node.
struct Above {
    groups: Vec<Arc<Caller>>,
    /// Whether a gate on the way has refused the request.
    refused: bool,
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
    let (out, _) = node.survey(plan, now);
    let key = Key::new(ticket, &out);
    let mut order = Vec::with_capacity(node.members.len());
    let mut shares = vec![if out.is_empty() { 1.0 } else { 0.0 }];
    match &node.shape {
        Some(shape) => {
            shares = shape.schedule.shares(&out);
            let mut scheduled =
                pingora_load_balancing::selection::BackendSelection::iter(&shape.schedule, key.as_bytes());
            while let Some(ordinal) = scheduled.next().and_then(schedule::ordinal) {
                order.push((ordinal, shape.schedule.descend(&key, ordinal)));
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
            node.shape.as_ref().map(|shape| shape.schedule.weight(ordinal)).filter(|weight| *weight > 0);
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

fn standing(target: &Target, plan: &Plan, now: Instant, refused: bool) -> Standing {
    let keys = &target.channel.keys;
    match target.health.benched_until(now) {
        _ if !plan.fits(target) => Standing::Unfit,
        _ if plan.tried(target) => Standing::Tried,
        _ if refused => Standing::GateRefused,
        Some(until) => Standing::Benched(until.saturating_duration_since(now)),
        None if keys.count() > 0 && !keys.has_spare(target, &TriedKeys::default()) => Standing::NoKey,
        None => Standing::Standby,
    }
}

mod pinned;
#[cfg(test)]
mod tests;
