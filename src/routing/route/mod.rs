//! Answers "who is next?" for one request, from a tree of channels and nested keys.
//!
//! A leaf is a channel with the model under the name that was asked for; an inner node is a nested
//! client key with its own rules and algorithm, which asks its gate before its first leaf, or a
//! channel in several places (regions), which has no gate and rotates over them. A node can serve
//! while one of its leaves can. Trees are built on first use and shared by all callers
//! with equal rules; what belongs to one caller is only the cursor, which outlives the tree.
//!
//! Cooldowns are read at the moment of each pick. Members that are cooling for everybody are taken
//! out *before* the schedule is asked, so that the others share exactly; members that this request
//! has tried stay in and are stepped over, so that the order does not change under its feet. When
//! everything that is left is cooling, the channel that recovers first is tried, and then the next
//! one: serving is better than refusing, and a cooldown only says that a channel failed once. What
//! bounds the walk in an outage is the request's budget. Channels that do not take the request, for
//! what it asks or for its length, are no part of the tree for it; those whose model an estimate
//! finds too small for it are left out until nobody else is left.

mod explain;
mod home;
mod pinned;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::conversation::Home;
use layers::plan::{Group, Plan, Step};
use layers::policy::{Caller, ChannelName, Demand, Target};
use layers::ports::{Misfit, Route};
use layers::request_id::RequestId;
use pingora_load_balancing::selection::BackendSelection as _;
use tokio::time::Instant;

use super::rules::{Access, Admitted, Offers, members};
use super::schedule::{Key, Ordinals, Schedule, Ticket};
use crate::state::cursors::{Cursor, Cursors};
use crate::values::{Algorithm, DEEPEST, Rule};

pub use self::explain::{RouteLine, Standing};

/// Trees kept over all rule lists and models. A dropped one is built again when it is asked for.
const CAPACITY: usize = 1 << 14;

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
    /// Schedules by algorithm and weights: they know members by ordinal only, so the same one
    /// serves every node of that shape.
    schedules: Mutex<Schedules>,
}

type Trees = HashMap<Arc<str>, Option<Arc<Tree>>, RandomState>;
type Schedules = HashMap<(Algorithm, Box<[u32]>), Weak<Schedule>, RandomState>;

struct Tree {
    root: Arc<Node>,
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
    /// The smallest number of tokens that any model can look at, as far as it is known.
    least_context: Option<u64>,
    model: Arc<str>,
}

struct Node {
    members: Box<[Member]>,
    /// None where there is nothing to choose.
    schedule: Option<Arc<Schedule>>,
}

/// The state of building one tree: each key's node is made once, however many ways lead to it.
#[derive(Default)]
struct Building {
    nodes: HashMap<usize, Option<Arc<Node>>, RandomState>,
    /// The keys on the way to the node that is being made.
    above: Vec<usize>,
}

enum Member {
    Leaf(Arc<Target>),
    /// Shared by all members of the tree that are the same key.
    Group(Group, Arc<Node>),
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
            schedules: Mutex::default(),
        }
    }

    /// The route of this caller for this model; none when no channel has it or the caller may not
    /// use it.
    pub fn route(&self, caller: &Caller, model: &str, cursors: &Cursors) -> Option<Arc<CallerRoute>> {
        let tree = self.tree(caller.ordinal, model)?;
        let cursor = tree.rotates.then(|| cursors.of(&caller.fingerprint, &tree.model));
        Some(Arc::new(CallerRoute { tree, cursor }))
    }

    /// Whether this caller may use this model: a route exists, be it cooling or not.
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
        let root = self.node(caller, model, &mut Building::default())?;
        let mut channels = std::collections::HashSet::<&ChannelName, RandomState>::default();
        let mut targets = std::collections::HashSet::<(&ChannelName, Option<&str>), RandomState>::default();
        let mut keepalive = None::<Duration>;
        let mut picky = false;
        let mut least_context = None::<u64>;
        root.visit(&mut Vec::new(), &mut |_, target| {
            channels.insert(&target.channel.name);
            targets.insert((&target.channel.name, target.place.as_deref()));
            picky |= !target.channel.takes.is_everything();
            least_context = least_context.into_iter().chain(target.context).min();
            keepalive = keepalive.into_iter().chain(target.keepalive).min();
        });
        let (leaves, targets) = (channels.len(), targets.len());
        Some(Tree {
            rotates: root.rotates(),
            leaves,
            targets,
            keepalive,
            picky,
            least_context,
            model: Arc::clone(model),
            root,
        })
    }

    /// The node of this caller; none when nothing below it has the model.
    fn node(&self, caller: usize, model: &str, building: &mut Building) -> Option<Arc<Node>> {
        if let Some(built) = building.nodes.get(&caller) {
            return built.clone();
        }
        let access = self.access.get(caller)?;
        // Both are errors of the configuration; here they only must not be followed.
        if building.above.contains(&caller) || building.above.len() >= DEEPEST {
            return None;
        }
        building.above.push(caller);
        let (members, weights): (Vec<_>, Vec<_>) = members(&access.rules, &self.offers, model)
            .into_iter()
            .filter_map(|(admitted, weight)| {
                let member = match admitted {
                    Admitted::Channel(channel) => self.channel(channel, model)?,
                    Admitted::Nested(inner) => {
                        let node = self.node(inner, model, building)?;
                        let caller = Arc::clone(&self.access.get(inner)?.caller);
                        // Numbered by its key, so that a key that two groups hold is asked once.
                        Member::Group(Group { caller, node: inner }, node)
                    }
                };
                Some((member, weight))
            })
            .unzip();
        building.above.pop();
        let schedule = (members.len() > 1).then(|| self.schedule(access.algorithm, weights));
        let node = (!members.is_empty()).then(|| Arc::new(Node { members: members.into(), schedule }));
        building.nodes.insert(caller, node.clone());
        node
    }

    /// The member that a channel is: one leaf, or a rotation over its places.
    fn channel(&self, channel: usize, model: &str) -> Option<Member> {
        let mut places: Vec<_> = self.offers.places(channel, model).cloned().map(Member::Leaf).collect();
        if places.len() < 2 {
            return places.pop();
        }
        let schedule = Some(self.schedule(Algorithm::RoundRobin, vec![0; places.len()]));
        Some(Member::Places(Node { members: places.into(), schedule }))
    }

    fn schedule(&self, algorithm: Algorithm, weights: Vec<u32>) -> Arc<Schedule> {
        let mut schedules = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        if schedules.len() >= CAPACITY {
            schedules.retain(|_, schedule| schedule.strong_count() > 0);
        }
        let name = (algorithm, weights.into_boxed_slice());
        if let Some(schedule) = schedules.get(&name).and_then(Weak::upgrade) {
            return schedule;
        }
        let schedule = Arc::new(Schedule::new(algorithm, &name.1));
        schedules.insert(name, Arc::downgrade(&schedule));
        schedule
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

/// A request at one moment.
#[derive(Clone, Copy)]
struct View<'a> {
    plan: &'a Plan,
    now: Instant,
    /// Whether those that the request may be too long for are left out.
    in_reach: bool,
}

/// The standing of a member towards one request at one moment.
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
        self.schedule.as_ref().is_some_and(|schedule| schedule.rotates())
            || self.members.iter().any(|member| match member {
                Member::Leaf(_) => false,
                Member::Group(_, node) => node.rotates(),
                Member::Places(node) => node.rotates(),
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
    fn stand(&self, view: View<'_>) -> Stand {
        self.members.iter().map(|member| member.stand(view)).max().unwrap_or(Stand::Done)
    }

    /// The members that stand out, and those that can serve.
    fn survey(&self, view: View<'_>) -> (Ordinals, Ordinals) {
        let mut out = Ordinals::none(self.members.len());
        let mut usable = Ordinals::none(self.members.len());
        for (ordinal, member) in self.members.iter().enumerate() {
            match member.stand(view) {
                Stand::Out => out.insert(ordinal),
                Stand::Usable => usable.insert(ordinal),
                Stand::Done => {}
            }
        }
        (out, usable)
    }

    /// What the schedules say, without asking for the trial that a recovered channel needs.
    fn next(&self, ticket: Ticket, view: View<'_>) -> Option<Step> {
        let (out, usable) = self.survey(view);
        if usable.is_empty() {
            return None;
        }
        let Some(schedule) = &self.schedule else {
            return self.members.first()?.step(|| ticket, view);
        };
        let key = Key::new(ticket, &out);
        let mut order = schedule.iter(key.as_bytes());
        let ordinal = std::iter::from_fn(|| order.advance()).find(|ordinal| usable.contains(*ordinal))?;
        self.members.get(ordinal)?.step(|| schedule.descend(&key, ordinal), view)
    }
}

impl Member {
    fn stand(&self, view: View<'_>) -> Stand {
        let View { plan, now, in_reach } = view;
        match self {
            Self::Leaf(target) if plan.tried(target) => Stand::Done,
            Self::Leaf(target) if !plan.fits(target) || target.health.cooling_until(now).is_some() => {
                Stand::Out
            }
            Self::Leaf(target) if in_reach && plan.is_beyond(target) => Stand::Out,
            Self::Leaf(_) => Stand::Usable,
            Self::Group(group, _) if plan.refused(group.node) => Stand::Done,
            Self::Group(_, node) => node.stand(view),
            Self::Places(node) => node.stand(view),
        }
    }

    fn step(&self, ticket: impl FnOnce() -> Ticket, view: View<'_>) -> Option<Step> {
        match self {
            Self::Leaf(target) => Some(Step::Try(Arc::clone(target))),
            Self::Group(group, _) if !view.plan.entered(group.node) => Some(Step::Enter(group.clone())),
            Self::Group(_, node) => node.next(ticket(), view),
            Self::Places(node) => node.next(ticket(), view),
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

    /// What is left when nobody can serve: the cooling leaf that recovers first.
    fn last_resort(&self, plan: &Plan, now: Instant) -> Option<Step> {
        let mut first = None::<(Instant, Step)>;
        self.root.visit(&mut Vec::new(), &mut |above, target| {
            let Some(until) = target.health.cooling_until(now).filter(|_| plan.fits(target)) else { return };
            if plan.tried(target) || above.iter().any(|group| plan.refused(group.node)) {
                return;
            }
            if first.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                first = Some((until, towards(target, above, plan)));
            }
        });
        first.map(|(_, step)| step)
    }
}

/// The next step on the way to a leaf behind these groups.
fn towards(target: &Arc<Target>, above: &[&Group], plan: &Plan) -> Step {
    match above.iter().find(|group| !plan.entered(group.node)) {
        Some(group) => Step::Enter((*group).clone()),
        None => Step::Try(Arc::clone(target)),
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
                request_id = request.as_str(),
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
        let mut view = View { plan, now, in_reach: plan.is_long() };
        // Each turn of the loop that finds a channel on trial finds one fewer that can serve.
        for _ in 0..=self.tree.targets + usize::from(view.in_reach) {
            match self.tree.root.next(Ticket(plan.ticket), view) {
                Some(Step::Try(target)) if !target.health.admit(now) => {}
                Some(step) => return step,
                // An estimate refuses nobody.
                None if view.in_reach => view.in_reach = false,
                None => break,
            }
        }
        self.tree.last_resort(plan, now).unwrap_or(Step::Exhausted)
    }

    fn to_home(&self, plan: &Plan, home: &Home, now: Instant) -> Option<Step> {
        self.tree.to_home(plan, home, now)
    }

    fn least_context(&self) -> Option<u64> {
        self.tree.least_context
    }
}

#[cfg(test)]
mod tests;
