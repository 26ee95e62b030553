use std::collections::BTreeMap;

use layers::endpoint::{CHAT_COMPLETIONS, Endpoint, MODERATIONS};
use layers::policy::{Channel, Retries, Takes};
use layers::ports::Health;
use proptest::prelude::*;

use super::*;
use crate::routing::testing::{caller, channel_named, target, target_with};
use crate::state::Runtime;
use crate::values::RuleMatch;

const COOLDOWN: Duration = Duration::from_secs(300);

/// A configuration with its memory: channels `A`, `B`, … that all have `m`.
struct World {
    runtime: Runtime,
    channels: Vec<Arc<Channel>>,
    routes: Routes,
}

pub(super) fn rules(rules: &[(RuleMatch, u32)]) -> Arc<[Rule]> {
    rules
        .iter()
        .map(|(matcher, weight)| Rule { matcher: matcher.clone(), weight: (*weight > 0).then_some(*weight) })
        .collect()
}

pub(super) fn only(channel: usize) -> RuleMatch {
    RuleMatch::ChannelAll([channel].into())
}

impl World {
    /// Caller i has the i-th rules and algorithm.
    fn new(channels: usize, access: &[(Algorithm, Arc<[Rule]>)]) -> Self {
        let runtime = Runtime::new(None);
        // A to Z, AA, BB and so on.
        let name = |at: usize| char::from(b'A' + (at % 26) as u8).to_string().repeat(1 + at / 26);
        let channels: Vec<_> = (0..channels).map(|at| channel_named(&name(at))).collect();
        let offers = Offers::new(
            channels
                .iter()
                .enumerate()
                .map(|(at, channel)| (at, target_with(channel, "m", runtime.health(&channel.name, "m")))),
        );
        let access = access
            .iter()
            .enumerate()
            .map(|(at, (algorithm, rules))| Access {
                caller: caller(at),
                rules: Arc::clone(rules),
                algorithm: *algorithm,
            })
            .collect();
        let routes = Routes::new(offers, access);
        Self { runtime, channels, routes }
    }

    fn flat(channels: usize, algorithm: Algorithm, weights: &[u32]) -> Self {
        let list: Vec<_> =
            (0..channels).map(|at| (only(at), weights.get(at).copied().unwrap_or(0))).collect();
        Self::new(channels, &[(algorithm, rules(&list))])
    }

    fn plan(&self, caller_at: usize) -> Plan {
        let route =
            self.routes.route(&caller(caller_at), "m", self.runtime.cursors()).expect("the model is known");
        Plan::new(route, Retries::Budget)
    }

    fn health(&self, channel: char) -> Arc<dyn Health> {
        self.runtime.health(&ChannelName::from(&*channel.to_string()), "m")
    }

    fn cool(&self, channel: char, seconds: u64) {
        self.health(channel).settle(true, Duration::from_secs(seconds), Instant::now());
    }

    /// The channel of the first pick of a new request; every gate opens.
    fn first(&self) -> char {
        let mut plan = self.plan(0);
        next(&mut plan).expect("somebody serves")
    }

    /// All channels that a request meets when each of them fails without being cooling.
    fn walk(&self) -> String {
        let mut plan = self.plan(0);
        std::iter::from_fn(|| next(&mut plan)).collect()
    }

    fn shares(&self, requests: usize) -> BTreeMap<char, usize> {
        let mut shares = BTreeMap::new();
        (0..requests).for_each(|_| *shares.entry(self.first()).or_default() += 1);
        shares
    }
}

fn letter(target: &Target) -> char {
    target.channel.name.as_str().chars().next().expect("a name")
}

/// Picks as failover does, with gates that open, and excludes what was picked.
fn next(plan: &mut Plan) -> Option<char> {
    loop {
        match plan.route.clone().pick(plan, Instant::now()) {
            Step::Try(target) => {
                let name = letter(&target);
                plan.exclude(target);
                return Some(name);
            }
            Step::Enter(group) => plan.gate(group, true),
            Step::Exhausted => return None,
        }
    }
}

#[test]
fn fixed_priority_walks_the_rules_from_their_head() {
    let world = World::flat(3, Algorithm::FixedPriority, &[]);

    assert_eq!(world.walk(), "ABC");
    assert_eq!(world.walk(), "ABC");
}

#[test]
fn ten_requests_follow_the_weights() {
    let world = World::flat(3, Algorithm::WeightedRoundRobin, &[5, 3, 2]);

    let served: String = (0..10).map(|_| world.first()).collect();

    assert_eq!(served, "ABCABACABA");
}

#[test]
fn failover_asks_unweighted_channels_last() {
    let world = World::flat(4, Algorithm::WeightedRoundRobin, &[0, 2, 1, 0]);

    assert_eq!(world.walk(), "BCAD");
    assert_eq!(world.walk(), "CBAD");
}

#[test]
fn cursors_of_two_keys_do_not_disturb_each_other() {
    let list = rules(&[(RuleMatch::All, 0)]);
    let world = World::new(2, &[(Algorithm::RoundRobin, list.clone()), (Algorithm::RoundRobin, list)]);

    assert_eq!(next(&mut world.plan(0)), Some('A'));
    assert_eq!(next(&mut world.plan(1)), Some('A'));
    assert_eq!(next(&mut world.plan(0)), Some('B'));
    assert_eq!(next(&mut world.plan(0)), Some('A'));
    assert_eq!(next(&mut world.plan(1)), Some('B'));
}

#[test]
fn a_rotation_goes_on_after_a_reload() {
    let before = World::flat(3, Algorithm::RoundRobin, &[]);
    assert_eq!(before.first(), 'A');
    let after = World::flat(3, Algorithm::RoundRobin, &[]);

    let route = after.routes.route(&caller(0), "m", before.runtime.cursors()).expect("the model is known");

    assert_eq!(next(&mut Plan::new(route, Retries::Budget)), Some('B'));
}

#[tokio::test(start_paused = true)]
async fn shares_of_the_others_are_exact_while_one_is_benched() {
    let world = World::flat(4, Algorithm::WeightedRoundRobin, &[5, 3, 2, 0]);
    world.cool('A', 300);

    let shares = world.shares(10_000);

    assert_eq!(shares, BTreeMap::from([('B', 6_000), ('C', 4_000)]));
}

#[tokio::test(start_paused = true)]
async fn a_draw_shares_by_weight_while_one_is_benched() {
    let world = World::flat(3, Algorithm::Lottery, &[5, 3, 2]);
    world.cool('B', 300);

    let shares = world.shares(10_000);

    let due = [('A', 50_000.0 / 7.0), ('C', 20_000.0 / 7.0)];
    let chi: f64 = due.iter().map(|(name, due)| (shares[name] as f64 - due).powi(2) / due).sum();
    assert_eq!(shares.len(), 2);
    assert!(chi < 19.5, "chi-square {chi} of {shares:?}"); // p = 0.00001 at one degree of freedom
}

#[test]
fn a_failing_channel_is_replaced_by_weight() {
    let world = World::flat(3, Algorithm::WeightedRoundRobin, &[5, 3, 2]);
    let mut served = BTreeMap::<char, usize>::new();

    for _ in 0..1000 {
        let mut plan = world.plan(0);
        let first = next(&mut plan);
        let took = if first == Some('A') { next(&mut plan) } else { first };
        *served.entry(took.expect("somebody serves")).or_default() += 1;
    }

    assert_eq!(served, BTreeMap::from([('B', 600), ('C', 400)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_share_exactly() {
    let world = Arc::new(World::flat(3, Algorithm::WeightedRoundRobin, &[5, 3, 2]));
    world.cool('C', 3000);

    let clients = (0..64).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.shares(250) })
    });
    let mut shares = BTreeMap::<char, usize>::new();
    for client in clients.collect::<Vec<_>>() {
        for (name, count) in client.await.expect("no panic") {
            *shares.entry(name).or_default() += count;
        }
    }

    assert_eq!(shares, BTreeMap::from([('A', 10_000), ('B', 6_000)]));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_was_benched_meanwhile_is_not_picked() {
    let world = World::flat(3, Algorithm::FixedPriority, &[]);
    let mut plan = world.plan(0);
    assert_eq!(next(&mut plan), Some('A'));

    world.cool('B', 300);

    assert_eq!(next(&mut plan), Some('C'));
}

#[tokio::test(start_paused = true)]
async fn when_all_are_benched_the_one_that_recovers_first_serves() {
    let world = World::flat(3, Algorithm::FixedPriority, &[]);
    world.cool('A', 300);
    world.cool('B', 100);
    world.cool('C', 200);

    assert_eq!(world.first(), 'B');
    assert_eq!(world.walk(), "BCA");
}

#[tokio::test(start_paused = true)]
async fn the_last_healthy_channel_may_be_followed_by_a_benched_one() {
    let world = World::flat(2, Algorithm::FixedPriority, &[]);
    world.cool('B', 300);
    let mut plan = world.plan(0);
    assert_eq!(next(&mut plan), Some('A'));

    world.cool('A', 300);

    assert_eq!(next(&mut plan), Some('B'));
    assert_eq!(next(&mut plan), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_bench_one_request_goes_first_and_the_others_follow_its_success() {
    let world = World::flat(2, Algorithm::FixedPriority, &[]);
    world.cool('A', 300);
    tokio::time::advance(COOLDOWN).await;

    assert_eq!(world.first(), 'A');
    assert_eq!(world.first(), 'B');
    assert_eq!(world.first(), 'B');

    world.health('A').settle(false, COOLDOWN, Instant::now());
    assert_eq!(world.first(), 'A');
    assert_eq!(world.first(), 'A');
}

#[tokio::test(start_paused = true)]
async fn a_sole_channel_on_trial_still_serves_everybody() {
    let world = World::flat(1, Algorithm::FixedPriority, &[]);
    world.cool('A', 300);
    assert_eq!(world.first(), 'A');
    tokio::time::advance(COOLDOWN).await;

    assert_eq!(world.first(), 'A');
    assert_eq!(world.first(), 'A');
}

/// Callers: 0 has the group of caller 1 before channel C; caller 1 draws over A and B.
fn grouped(inner: Algorithm) -> World {
    World::new(
        3,
        &[
            (Algorithm::FixedPriority, rules(&[(RuleMatch::NestedAll(1), 0), (only(2), 0)])),
            (inner, rules(&[(only(0), 0), (only(1), 0)])),
        ],
    )
}

#[test]
fn a_group_is_asked_before_its_first_leaf_and_only_once() {
    let world = grouped(Algorithm::FixedPriority);
    let mut plan = world.plan(0);

    let step = plan.route.clone().pick(&plan, Instant::now());

    let Step::Enter(group) = step else { panic!("the gate was not asked") };
    assert_eq!(&*group.caller.alias, "caller 1");
    plan.gate(group, true);
    for expected in ['A', 'B', 'C'] {
        let Step::Try(target) = plan.route.clone().pick(&plan, Instant::now()) else { panic!("no leaf") };
        assert_eq!(letter(&target), expected);
        plan.exclude(target);
    }
}

#[test]
fn a_group_that_refuses_is_stepped_over() {
    let world = grouped(Algorithm::FixedPriority);
    let mut plan = world.plan(0);
    let Step::Enter(group) = plan.route.clone().pick(&plan, Instant::now()) else { panic!("no gate") };

    plan.gate(group, false);

    assert_eq!(next(&mut plan), Some('C'));
    assert_eq!(next(&mut plan), None);
}

#[test]
fn a_rotation_inside_a_group_moves_on_with_each_request() {
    let world = grouped(Algorithm::RoundRobin);

    assert_eq!([world.walk(), world.walk(), world.walk()], ["ABC", "BAC", "ABC"]);
}

#[test]
fn a_rotation_inside_a_weighted_rotation_is_exact() {
    let world = World::new(
        3,
        &[
            (Algorithm::WeightedRoundRobin, rules(&[(RuleMatch::NestedAll(1), 3), (only(2), 1)])),
            (Algorithm::RoundRobin, rules(&[(only(0), 0), (only(1), 0)])),
        ],
    );

    assert_eq!(world.shares(8_000), BTreeMap::from([('A', 3_000), ('B', 3_000), ('C', 2_000)]));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_passed_over_while_all_of_it_is_benched() {
    let world = grouped(Algorithm::Random);
    world.cool('A', 300);
    assert_eq!(world.shares(50), BTreeMap::from([('B', 50)]));

    world.cool('B', 300);
    assert_eq!(world.shares(50), BTreeMap::from([('C', 50)]));

    world.cool('C', 600);
    assert!(matches!(world.plan(0).route.clone().pick(&world.plan(0), Instant::now()), Step::Enter(_)));
    assert_eq!(world.first(), 'A');
}

#[test]
fn a_channel_that_two_groups_hold_is_tried_once() {
    let world = World::new(
        2,
        &[
            (Algorithm::FixedPriority, rules(&[(RuleMatch::NestedAll(1), 0), (RuleMatch::NestedAll(2), 0)])),
            (Algorithm::FixedPriority, rules(&[(only(0), 0)])),
            (Algorithm::FixedPriority, rules(&[(only(0), 0), (only(1), 0)])),
        ],
    );

    assert_eq!(world.walk(), "AB");
    assert_eq!(world.plan(0).route.leaves(), 2);
}

#[test]
fn a_key_that_many_ways_lead_to_is_one_node() {
    // Levels of two keys, each naming both of the next: 4094 ways lead down to one channel.
    let mut access = vec![(Algorithm::FixedPriority, rules(&[(only(0), 0)]))];
    for level in 0..11 {
        let below = if level == 0 { vec![0] } else { vec![level * 2 - 1, level * 2] };
        let list: Vec<_> = below.into_iter().map(|at| (RuleMatch::NestedAll(at), 0)).collect();
        access.extend([(Algorithm::FixedPriority, rules(&list)), (Algorithm::FixedPriority, rules(&list))]);
    }
    let world = World::new(1, &access);

    let tree = world.routes.tree(access.len() - 1, "m").expect("it leads to a channel");

    let mut nodes = std::collections::HashSet::new();
    let mut open = vec![Arc::clone(&tree.root)];
    while let Some(node) = open.pop() {
        if nodes.insert(Arc::as_ptr(&node)) {
            open.extend(node.members.iter().filter_map(|member| match member {
                Member::Group(_, inner) => Some(Arc::clone(inner)),
                _ => None,
            }));
        }
    }
    assert_eq!(nodes.len(), 22, "one for each key that is met");
}

#[test]
fn groups_nest_to_any_depth_and_cycles_end() {
    let mut access: Vec<_> =
        (1..20).map(|inner| (Algorithm::FixedPriority, rules(&[(RuleMatch::NestedAll(inner), 0)]))).collect();
    access.push((Algorithm::FixedPriority, rules(&[(RuleMatch::NestedAll(0), 0), (only(0), 0)])));
    let world = World::new(1, &access);

    assert_eq!(world.walk(), "A");
}

#[test]
fn callers_with_equal_rules_share_their_trees() {
    let list = rules(&[(RuleMatch::All, 0)]);
    let access: Vec<_> = (0..1000).map(|_| (Algorithm::RoundRobin, list.clone())).collect();
    let world = World::new(2, &access);

    for at in 0..1000 {
        assert!(world.routes.route(&caller(at), "m", world.runtime.cursors()).is_some());
    }

    assert_eq!(world.routes.trees.len(), 1);
    assert_eq!(world.routes.built.load(Ordering::Relaxed), 1);
}

#[test]
fn unknown_models_are_no_route_and_cost_no_memory() {
    let world = World::flat(1, Algorithm::FixedPriority, &[]);

    for at in 0..1000 {
        let model = format!("made up {at}");
        assert!(world.routes.route(&caller(0), &model, world.runtime.cursors()).is_none());
    }

    assert_eq!(world.routes.built.load(Ordering::Relaxed), 0);
    assert!(world.routes.route(&caller(77), "m", world.runtime.cursors()).is_none());
}

#[test]
fn trees_beyond_the_capacity_are_built_again() {
    let channel = channel_named("A");
    let aliases: Vec<String> = (0..CAPACITY + 100).map(|at| format!("m{at}")).collect();
    let offers = Offers::new(aliases.iter().map(|alias| (0, target(&channel, alias))));
    let access =
        Access { caller: caller(0), rules: rules(&[(RuleMatch::All, 0)]), algorithm: Algorithm::default() };
    let routes = Routes::new(offers, vec![access]);
    let cursors = Cursors::default();

    for alias in aliases.iter().chain(&aliases[..10]) {
        assert!(routes.route(&caller(0), alias, &cursors).is_some());
    }

    assert!(routes.trees[0].read().expect("no panic").len() <= CAPACITY);
}

#[test]
fn a_hundred_channels_are_one_route() {
    let world = World::flat(100, Algorithm::WeightedRoundRobin, &[1; 70]);
    let mut plan = world.plan(0);
    let mut met = 0;
    while let Step::Try(target) = plan.route.clone().pick(&plan, Instant::now()) {
        plan.exclude(target);
        met += 1;
    }

    assert_eq!(met, 100);
}

#[tokio::test(start_paused = true)]
async fn explain_says_why_each_channel_is_where_it_is() {
    let world = World::new(
        5,
        &[
            (
                Algorithm::FixedPriority,
                rules(&[
                    (only(0), 0),
                    (only(1), 0),
                    (RuleMatch::NestedAll(1), 0),
                    (only(3), 0),
                    (only(4), 0),
                ]),
            ),
            (Algorithm::FixedPriority, rules(&[(only(2), 0), (only(3), 0)])),
        ],
    );
    let route = world.routes.route(&caller(0), "m", world.runtime.cursors()).expect("the model is known");
    let mut plan = Plan::new(route.clone(), Retries::Budget);
    assert_eq!(next(&mut plan), Some('A'));
    world.cool('B', 300);

    let words = |plan: &Plan| -> Vec<String> {
        let lines = route.explain(plan, Instant::now());
        lines.iter().map(|line| format!("{} {}", line.channel, line.standing.label())).collect()
    };

    assert_eq!(words(&plan), ["A tried", "C chosen", "D standby", "D tried", "E standby", "B cooling"]);
    let Step::Enter(group) = plan.route.clone().pick(&plan, Instant::now()) else { panic!("no gate") };
    plan.gate(group, false);
    assert_eq!(
        words(&plan),
        ["A tried", "C gate_refused", "D gate_refused", "D chosen", "E standby", "B cooling"]
    );
    ['C', 'D', 'E'].iter().for_each(|channel| world.cool(*channel, 500));
    assert!(words(&plan).contains(&"B last_resort".to_owned()));
    assert_eq!(route.explain(&plan, Instant::now())[2].groups.len() + world.channels.len(), 5 + 1);
}

#[test]
fn a_preview_does_not_count_as_a_request() {
    let world = World::flat(2, Algorithm::RoundRobin, &[]);
    let route = world.routes.route(&caller(0), "m", world.runtime.cursors()).expect("the model is known");

    for _ in 0..3 {
        let plan = route.preview(CHAT).unwrap();
        assert_eq!(route.explain(&plan, Instant::now())[0].channel.as_str(), "A");
    }

    assert_eq!(world.first(), 'A');
    let plan = route.preview(CHAT).unwrap();
    assert_eq!(route.explain(&plan, Instant::now())[0].channel.as_str(), "B");
}

const CHANNELS: usize = 6;
/// A short request.
const CHAT: Demand = Demand { endpoint: &CHAT_COMPLETIONS, body: 1 };

/// Rule lists of five keys; key i nests only keys behind it.
fn lists() -> impl Strategy<Value = Vec<(Algorithm, Arc<[Rule]>)>> {
    let algorithm = prop::sample::select(vec![
        Algorithm::FixedPriority,
        Algorithm::RoundRobin,
        Algorithm::WeightedRoundRobin,
        Algorithm::Lottery,
        Algorithm::Random,
    ]);
    let lists: Vec<_> = (0..5usize)
        .map(|caller| {
            let nested = if caller < 4 { 3 } else { 0 };
            let rule = prop_oneof![
                4 => (0..CHANNELS).prop_map(only),
                nested => (caller + 1..5.max(caller + 2)).prop_map(RuleMatch::NestedAll),
            ];
            (algorithm.clone(), prop::collection::vec((rule, 0u32..4), 1..5))
                .prop_map(|(algorithm, list)| (algorithm, rules(&list)))
        })
        .collect();
    lists
}

fn reachable(lists: &[(Algorithm, Arc<[Rule]>)], caller: usize, into: &mut std::collections::BTreeSet<char>) {
    for rule in lists[caller].1.iter() {
        match &rule.matcher {
            RuleMatch::NestedAll(inner) => reachable(lists, *inner, into),
            RuleMatch::ChannelAll(channels) => {
                into.extend(channels.iter().map(|at| char::from(b'A' + *at as u8)))
            }
            _ => unreachable!("not generated"),
        }
    }
}

proptest! {
    /// Every healthy channel once, in any order, then the cooling ones by recovery.
    #[test]
    fn a_walk_meets_every_healthy_channel_once_and_before_any_benched_one(
        lists in lists(),
        cooling in prop::collection::vec(prop::option::of(1u64..1000), CHANNELS),
        start in 0usize..5,
    ) {
        let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        paused.expect("a runtime").block_on(async {
            let world = World::new(CHANNELS, &lists);
            let mut healthy = std::collections::BTreeSet::new();
            reachable(&lists, 0, &mut healthy);
            let mut ill = Vec::new();
            for (at, seconds) in cooling.iter().enumerate() {
                let name = char::from(b'A' + at as u8);
                let Some(seconds) = seconds else { continue };
                world.cool(name, *seconds);
                if healthy.remove(&name) {
                    ill.push((*seconds, name));
                }
            }
            ill.sort_unstable();
            let leaves = healthy.len() + ill.len();
            (0..start).for_each(|_| drop(world.plan(0)));

            prop_assert_eq!(world.plan(0).route.leaves(), leaves);
            let walk: Vec<char> = world.walk().chars().collect();

            let (first, last) = walk.split_at(healthy.len().min(walk.len()));
            let mut met: Vec<char> = first.to_vec();
            met.sort_unstable();
            prop_assert_eq!(met, healthy.into_iter().collect::<Vec<_>>());
            let waits: Vec<u64> = last.iter().map(|name| cooling[*name as usize - 'A' as usize].unwrap_or(0)).collect();
            let due: Vec<u64> = ill.iter().map(|(seconds, _)| *seconds).collect();
            prop_assert_eq!(waits, due);
            Ok(())
        })?;
    }
}

/// Channels A, B, C … that take what is said of them, under one key that may use them all.
fn picky_routes(takes: &[Takes], algorithm: Algorithm) -> (Routes, Runtime) {
    let runtime = Runtime::new(None);
    let offers = takes.iter().enumerate().map(|(at, takes)| {
        let name = char::from(b'A' + u8::try_from(at).expect("a few")).to_string();
        let mut channel = Arc::into_inner(channel_named(&name)).expect("it is new");
        channel.takes = takes.clone();
        let health = runtime.health(&channel.name, "m");
        (at, target_with(&Arc::new(channel), "m", health))
    });
    let access = Access {
        caller: caller(0),
        rules: [Rule { matcher: RuleMatch::All, weight: None }].into(),
        algorithm,
    };
    (Routes::new(Offers::new(offers.collect::<Vec<_>>()), vec![access]), runtime)
}

fn most(bytes: u64) -> Takes {
    Takes { most_body: Some(bytes), ..Takes::default() }
}

fn walk_of(world: &(Routes, Runtime), endpoint: &'static Endpoint, body: u64) -> Result<String, Misfit> {
    let route = world.0.route(&caller(0), "m", world.1.cursors()).expect("the model is known");
    let mut plan = Plan::demanding(route, Retries::Budget, Demand { endpoint, body })?;
    Ok(std::iter::from_fn(|| next(&mut plan)).collect())
}

#[test]
fn a_channel_is_asked_only_for_what_it_takes() {
    let no_chat = Takes { excluded: [&CHAT_COMPLETIONS].into(), ..Takes::default() };
    let world = picky_routes(&[no_chat, most(100), Takes::default()], Algorithm::FixedPriority);

    assert_eq!(walk_of(&world, &CHAT_COMPLETIONS, 100).unwrap(), "BC");
    assert_eq!(walk_of(&world, &CHAT_COMPLETIONS, 101).unwrap(), "C");
    assert_eq!(walk_of(&world, &MODERATIONS, 101).unwrap(), "AC");
}

#[test]
fn a_request_that_nobody_takes_is_told_why() {
    let no_chat = Takes { excluded: [&CHAT_COMPLETIONS].into(), ..Takes::default() };
    let world = picky_routes(&[no_chat.clone(), most(100)], Algorithm::FixedPriority);
    let closed = picky_routes(&[no_chat], Algorithm::FixedPriority);

    assert_eq!(walk_of(&world, &CHAT_COMPLETIONS, 101), Err(Misfit::Length));
    assert_eq!(walk_of(&closed, &CHAT_COMPLETIONS, 1), Err(Misfit::Endpoint));
}

#[test]
fn a_channel_that_does_not_take_the_request_is_shown_as_unfit_also_while_it_rests() {
    let world = picky_routes(&[most(100), Takes::default()], Algorithm::FixedPriority);
    let health = world.1.health(&ChannelName::from("A"), "m");
    health.settle(true, Duration::from_secs(9), Instant::now());
    let route = world.0.route(&caller(0), "m", world.1.cursors()).expect("the model is known");
    let words = |body| -> Vec<String> {
        let plan = route.preview(Demand { body, ..CHAT }).unwrap();
        let lines = route.explain(&plan, Instant::now());
        lines.iter().map(|line| format!("{} {}", line.channel, line.standing.label())).collect()
    };

    assert_eq!(words(101), ["B chosen", "A unfit"]);
    assert_eq!(words(100), ["B chosen", "A cooling"]);
}

#[test]
fn the_channels_that_take_a_request_share_it_exactly() {
    let world = picky_routes(&[most(100), Takes::default(), Takes::default()], Algorithm::RoundRobin);

    let first = |_| walk_of(&world, &CHAT_COMPLETIONS, 101).unwrap().remove(0);
    let mut shares = BTreeMap::<char, usize>::new();
    (0..300).map(first).for_each(|name| *shares.entry(name).or_default() += 1);

    assert_eq!(shares, BTreeMap::from([('B', 150), ('C', 150)]));
}

#[test]
fn a_benched_channel_that_does_not_take_the_request_is_no_last_resort() {
    let world = picky_routes(&[most(100), Takes::default()], Algorithm::FixedPriority);
    for name in ["A", "B"] {
        let health = world.1.health(&ChannelName::from(name), "m");
        health.settle(true, Duration::from_secs(if name == "A" { 1 } else { 100 }), Instant::now());
    }

    assert_eq!(walk_of(&world, &CHAT_COMPLETIONS, 101).unwrap(), "B");
    assert_eq!(walk_of(&world, &CHAT_COMPLETIONS, 100).unwrap().chars().next(), Some('A'));
}

#[test]
fn a_lone_channel_that_takes_the_request_is_lone() {
    let world = picky_routes(&[most(100), Takes::default()], Algorithm::FixedPriority);
    let route = || world.0.route(&caller(0), "m", world.1.cursors()).expect("the model is known");
    let plan = |body| {
        Plan::demanding(route(), Retries::Budget, Demand { endpoint: &CHAT_COMPLETIONS, body }).unwrap()
    };

    assert!(plan(101).single() && !plan(100).single());
}

/// Channels that all have `m`, each with the places that are given for it, under one key.
pub(super) struct Regions {
    runtime: Runtime,
    pub(super) routes: Routes,
}

impl Regions {
    pub(super) fn new(channels: &[&[&str]], access: Vec<(Algorithm, Arc<[Rule]>)>) -> Self {
        let runtime = Runtime::new(None);
        let mut targets = Vec::new();
        for (at, places) in channels.iter().enumerate() {
            let channel = channel_named(&char::from(b'A' + u8::try_from(at).expect("a few")).to_string());
            let places: Vec<Option<Arc<str>>> = match places {
                [] => vec![None],
                places => places.iter().map(|place| Some((*place).into())).collect(),
            };
            for place in places {
                let health = runtime.health_in(&channel.name, "m", place.as_ref());
                let target = Arc::into_inner(target_with(&channel, "m", health)).expect("it is new");
                targets.push((at, Arc::new(Target { place, ..target })));
            }
        }
        let access = access
            .into_iter()
            .enumerate()
            .map(|(at, (algorithm, rules))| Access { caller: caller(at), rules, algorithm })
            .collect();
        Self { runtime, routes: Routes::new(Offers::new(targets), access) }
    }

    /// Channels in the order of the configuration.
    fn flat(channels: &[&[&str]]) -> Self {
        Self::new(channels, vec![(Algorithm::FixedPriority, rules(&[(RuleMatch::All, 0)]))])
    }

    fn route(&self) -> Arc<CallerRoute> {
        self.routes.route(&caller(0), "m", self.runtime.cursors()).expect("the model is known")
    }

    fn plan(&self, retries: Retries) -> Plan {
        Plan::new(self.route(), retries)
    }

    pub(super) fn cool(&self, channel: &str, place: &str) {
        let health = self.runtime.health_in(&ChannelName::from(channel), "m", Some(&place.into()));
        health.settle(true, COOLDOWN, Instant::now());
    }

    /// Whom a request meets when every attempt fails and cools nobody.
    fn walk(&self) -> Vec<String> {
        walk_on(self.plan(Retries::Budget))
    }
}

/// What is left of a walk, `A1` for the place `1` of channel `A`.
fn walk_on(mut plan: Plan) -> Vec<String> {
    std::iter::from_fn(|| {
        let target = next_target(&mut plan)?;
        plan.spend().then(|| {
            plan.exclude(target.clone());
            named(&target)
        })
    })
    .collect()
}

pub(super) fn named(target: &Target) -> String {
    format!("{}{}", letter(target), target.place.as_deref().unwrap_or_default())
}

fn next_target(plan: &mut Plan) -> Option<Arc<Target>> {
    loop {
        match plan.route.clone().pick(plan, Instant::now()) {
            Step::Try(target) => return Some(target),
            Step::Enter(group) => plan.gate(group, true),
            Step::Exhausted => return None,
        }
    }
}

#[test]
fn the_places_of_a_channel_come_before_the_next_channel_and_each_request_begins_at_the_next_one() {
    let world = Regions::flat(&[&["1", "2"], &[]]);

    assert_eq!(world.walk(), ["A1", "A2", "B"]);
    assert_eq!(world.walk(), ["A2", "A1", "B"]);
    assert_eq!(world.walk(), ["A1", "A2", "B"]);
}

#[test]
fn no_request_asks_more_than_three_places_of_a_channel() {
    let world = Regions::flat(&[&["1", "2", "3", "4", "5"], &["1"]]);

    assert_eq!(world.walk(), ["A1", "A2", "A3", "B1"]);
    // The cursor counts on, so that others are asked by the next request.
    assert_eq!(world.walk(), ["A2", "A1", "A3", "B1"]);
}

#[test]
fn places_share_the_requests_of_their_channel_exactly() {
    let two_of = |algorithm| {
        Regions::new(&[&["1", "2"], &[]], vec![(algorithm, rules(&[(only(0), 3), (only(1), 1)]))])
    };
    let world = two_of(Algorithm::WeightedRoundRobin);
    let mut shares = BTreeMap::<String, usize>::new();

    for _ in 0..800 {
        let first = next_target(&mut world.plan(Retries::Budget)).expect("somebody serves");
        *shares.entry(named(&first)).or_default() += 1;
    }

    assert_eq!(shares, BTreeMap::from([("A1".into(), 300), ("A2".into(), 300), ("B".into(), 200)]));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_failed_is_left_alone_by_others_and_its_channel_is_not() {
    let world = Regions::flat(&[&["1", "2", "3"], &[]]);

    world.cool("A", "1");

    let mut firsts = (0..4).map(|_| world.walk().remove(0)).collect::<Vec<_>>();
    firsts.sort_unstable();
    assert_eq!(firsts, ["A2", "A2", "A3", "A3"]);
    world.cool("A", "2");
    world.cool("A", "3");
    assert_eq!(world.walk()[0], "B");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_benched_meanwhile_does_not_move_the_channel_back() {
    let world = Regions::flat(&[&["1", "2", "3"], &[]]);
    let mut plan = world.plan(Retries::Budget);
    let first = next_target(&mut plan).expect("somebody serves");
    plan.spend();
    plan.exclude(first);

    world.cool("A", "1");
    world.cool("A", "2");

    assert_eq!(walk_on(plan)[..2], ["A3", "B"]);
}

#[test]
fn a_next_place_takes_no_attempt_that_is_kept_for_another_channel() {
    let world = Regions::flat(&[&["1", "2", "3"], &[], &[]]);
    let walk = |most| walk_on(world.plan(Retries::AtMost(most)));

    assert_eq!(world.route().leaves(), 3);
    assert_eq!(walk(2).iter().map(|name| &name[..1]).collect::<String>(), "ABC");
    assert_eq!(walk(3).iter().map(|name| &name[..1]).collect::<String>(), "AABC");
    assert_eq!(walk(9).iter().map(|name| &name[..1]).collect::<String>(), "AAABC");
}

#[test]
fn a_channel_that_is_done_with_is_done_with_in_all_of_its_places() {
    let world = Regions::flat(&[&["1", "2", "3"], &[]]);
    let mut plan = world.plan(Retries::Budget);
    let first = next_target(&mut plan).expect("somebody serves");

    plan.exclude_channel(first);

    assert_eq!(walk_on(plan), ["B"]);
}

#[test]
fn places_that_two_groups_hold_are_tried_once_and_three_in_all() {
    let group = |channels: &[usize]| {
        let list: Vec<_> = channels.iter().map(|at| (only(*at), 0)).collect();
        (Algorithm::FixedPriority, rules(&list))
    };
    let outer = rules(&[(RuleMatch::NestedAll(1), 0), (RuleMatch::NestedAll(2), 0)]);
    let of = |places: &[&str]| {
        let access = vec![(Algorithm::FixedPriority, outer.clone()), group(&[0]), group(&[0, 1])];
        Regions::new(&[places, &[]], access)
    };

    assert_eq!(of(&["1", "2"]).walk(), ["A1", "A2", "B"]);
    assert_eq!(of(&["1", "2", "3", "4", "5"]).walk(), ["A1", "A2", "A3", "B"]);
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_benched_the_first_that_recovers_serves_and_then_the_next() {
    let world = Regions::flat(&[&["1", "2"]]);
    world.cool("A", "2");
    tokio::time::advance(Duration::from_secs(1)).await;
    world.cool("A", "1");

    assert_eq!(world.walk(), ["A2", "A1"]);
}

#[tokio::test(start_paused = true)]
async fn a_recovered_place_is_tried_out_by_one_request_and_the_other_places_serve_the_rest() {
    let world = Regions::flat(&[&["1", "2"], &[]]);
    world.cool("A", "1");
    tokio::time::advance(COOLDOWN).await;

    let firsts: Vec<_> = (0..4).map(|_| world.walk().remove(0)).collect();

    assert_eq!(firsts.iter().filter(|first| **first == "A1").count(), 1);
    assert_eq!(firsts.iter().filter(|first| **first == "A2").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn explain_shows_each_place_and_those_that_are_too_many() {
    let world = Regions::flat(&[&["1", "2", "3", "4", "5"], &[]]);
    world.cool("A", "2");
    let route = world.route();
    let plan = route.preview(CHAT).unwrap();

    let lines = route.explain(&plan, Instant::now());

    let words: Vec<_> =
        lines.iter().map(|line| format!("{} {}", named(&line.target), line.standing.label())).collect();
    assert_eq!(words, ["A1 chosen", "A3 standby", "A4 standby", "A5 surplus", "A2 cooling", "B standby"]);
    let shares: Vec<_> = lines.iter().map(|line| line.share).collect();
    assert_eq!(shares, [0.25, 0.25, 0.25, 0.25, 0.0, 0.0]);
}

#[test]
fn a_channel_with_one_place_is_a_plain_leaf() {
    let (one, two) = (Regions::flat(&[&["1"]]), Regions::flat(&[&["1", "2"]]));

    assert_eq!(one.walk(), ["A1"]);
    assert!(one.plan(Retries::Budget).single());
    assert!(!two.plan(Retries::Budget).single());
    assert_eq!((one.route().leaves(), two.route().leaves()), (1, 1));
}
