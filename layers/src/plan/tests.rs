use super::*;
use crate::testing::policy::{channel, target_of};
use crate::testing::ports::ScriptedRoute;
use crate::testing::stage::demand;
use crate::testing::{caller, route, target};

fn plan(retries: Retries, names: &[&str]) -> Plan {
    Plan::new(over(names).build(), retries)
}

fn over(names: &[&str]) -> ScriptedRoute {
    route(names.iter().map(|name| target(name).build()))
}

fn attempts(plan: &mut Plan) -> usize {
    (0..100).filter(|_| plan.spend()).count()
}

#[test]
fn the_budget_is_one_attempt_for_each_channel_and_ten() {
    for (retries, most) in [(Retries::Budget, 13), (Retries::Never, 1), (Retries::AtMost(2), 3)] {
        let mut plan = plan(retries, &["a", "b", "c"]);

        assert_eq!(attempts(&mut plan), most, "{retries:?}");
        assert!(!plan.has_budget());
    }
}

#[test]
fn an_attempt_that_came_to_nothing_is_given_back() {
    let mut plan = plan(Retries::Never, &["a"]);

    assert!(plan.spend() && !plan.has_budget());
    plan.refund();

    assert!(plan.spend() && !plan.spend());
}

#[test]
fn a_next_key_is_allowed_while_more_attempts_are_left_than_untried_channels() {
    let mut plan = plan(Retries::AtMost(3), &["a", "b", "c"]);
    // Four attempts, and two channels behind the first.
    let mut allowed = 0;
    while plan.spend() && plan.allows_more_of(&target("a").build()) {
        allowed += 1;
    }
    assert_eq!(allowed, 1);

    plan.exclude(target("a").build());

    assert!(plan.allows_more_of(&target("b").build()), "one channel less is left to be kept for");
}

#[test]
fn a_channel_is_tried_by_its_name_also_in_another_group() {
    let mut plan = plan(Retries::Budget, &["a", "b"]);

    plan.exclude(target("a").build());

    let elsewhere = target_of(channel("a").build()).upstream_model("other").build();
    assert!(plan.tried(&elsewhere) && !plan.tried(&target("b").build()));
}

#[test]
fn a_gate_is_remembered_as_it_answered() {
    let mut plan = plan(Retries::Budget, &["a"]);
    let group = |node| Group { caller: caller().build(), node };

    plan.gate(group(1), true);
    plan.gate(group(2), false);

    assert_eq!(
        [1, 2, 3].map(|node| (plan.entered(node), plan.refused(node))),
        [(true, false), (false, true), (false, false)]
    );
}

#[test]
fn each_plan_draws_its_own_ticket() {
    let route = over(&["a"]).build();

    let tickets = [0; 3].map(|_| Plan::new(route.clone(), Retries::Budget).ticket);

    assert_eq!(tickets, [0, 1, 2]);
}

#[test]
fn a_demand_that_no_channel_takes_makes_no_plan() {
    let demand = demand(5);
    let picky = || over(&["a"]).misfit(Misfit::Length).build();

    assert_eq!(Plan::demanding(picky(), Retries::Budget, demand).err(), Some(Misfit::Length));
    assert!(Plan::demanding(over(&["a"]).build(), Retries::Budget, demand).is_ok_and(|plan| plan.single()));
}

/// One place of channel `name`.
fn place(name: &str, place: &str) -> Arc<Target> {
    target(name).place(place).build()
}

/// Channel `a` in four places, and `b`.
fn placed(retries: Retries) -> Plan {
    let places = ["1", "2", "3", "4"].map(|at| place("a", at));
    Plan::new(route(places.into_iter().chain([target("b").build()])).places().build(), retries)
}

#[test]
fn a_place_that_was_tried_leaves_the_other_places_of_its_channel() {
    let mut plan = placed(Retries::Budget);

    plan.exclude(place("a", "1"));

    assert!(plan.tried(&place("a", "1")) && !plan.tried(&place("a", "2")));
    assert!(!plan.tried(&place("b", "1")), "places are those of one channel");
}

#[test]
fn three_places_of_a_channel_are_enough() {
    let mut plan = placed(Retries::Budget);

    ["1", "2"].iter().for_each(|at| plan.exclude(place("a", at)));
    assert!(!plan.tried(&place("a", "3")));
    plan.exclude(place("a", "3"));

    assert!(plan.tried(&place("a", "4")) && !plan.tried(&target("b").build()));
}

#[test]
fn a_channel_that_is_excluded_is_so_in_all_places() {
    let mut plan = placed(Retries::Budget);

    plan.exclude_channel(place("a", "1"));

    assert!(plan.tried(&place("a", "2")) && !plan.tried(&target("b").build()));
}

#[test]
fn all_places_of_a_channel_are_one_leaf_of_the_budget() {
    assert_eq!(attempts(&mut placed(Retries::Budget)), 12);
    let mut plan = placed(Retries::AtMost(2));

    // Three attempts, of which one is kept for `b`.
    assert!(plan.spend() && plan.allows_more_of(&place("a", "1")));
    plan.exclude(place("a", "1"));
    assert!(!plan.tried(&place("a", "2")));
    assert!(plan.spend() && !plan.allows_more_of(&place("a", "2")));
    plan.exclude(place("a", "2"));

    assert!(plan.tried(&place("a", "3")) && !plan.tried(&target("b").build()));
}

#[test]
fn one_channel_in_several_places_is_not_single() {
    let lone = |route: ScriptedRoute| Plan::new(route.build(), Retries::Budget).single();

    assert!(lone(route([place("a", "1")])));
    assert!(!lone(route([place("a", "1"), place("a", "2")]).places()));
}
