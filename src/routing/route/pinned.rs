//! The route to a stored object: one target, behind the gates that the caller's own route has.

use std::sync::Arc;
use std::time::Duration;

use layers::plan::{Group, Plan, Step};
use layers::policy::{Caller, Demand, Target};
use layers::ports::{Misfit, Pin, Route};
use tokio::time::Instant;

use super::Routes;

/// A route of one leaf. Whether that cools does not matter: the object is nowhere else.
pub struct PinnedRoute {
    target: Arc<Target>,
    /// The groups above it, outermost first.
    groups: Box<[Group]>,
}

// === impl Routes ===

impl Routes {
    /// The route of this caller to what was stored there; none when the channel, the model or the
    /// place is gone, or is not the caller's to use any more.
    pub fn pinned(&self, caller: &Caller, pin: &Pin, model: &str) -> Option<PinnedRoute> {
        let tree = self.tree(caller.ordinal, model)?;
        let mut found = None;
        tree.root.visit(&mut Vec::new(), &mut |above, target| {
            if found.is_none() && target.channel.name == pin.channel && target.place == pin.place {
                let groups = above.iter().copied().cloned().collect();
                found = Some(PinnedRoute { target: Arc::clone(target), groups });
            }
        });
        found
    }
}

// === impl PinnedRoute ===

impl Route for PinnedRoute {
    fn leaves(&self) -> usize {
        1
    }

    fn leaves_for(&self, demand: Demand) -> Result<usize, Misfit> {
        let takes = &self.target.channel.takes;
        match takes.fits(demand) {
            true => Ok(1),
            false if takes.serves(demand.endpoint) => Err(Misfit::Length),
            false => Err(Misfit::Endpoint),
        }
    }

    fn keepalive(&self) -> Option<Duration> {
        self.target.keepalive
    }

    fn ticket(&self) -> u64 {
        0
    }

    fn pick(&self, plan: &Plan, _: Instant) -> Step {
        if plan.tried(&self.target) || self.groups.iter().any(|group| plan.refused(group.node)) {
            return Step::Exhausted;
        }
        match self.groups.iter().find(|group| !plan.entered(group.node)) {
            Some(group) => Step::Enter(group.clone()),
            None => Step::Try(Arc::clone(&self.target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use layers::policy::Retries;

    use super::super::tests::{Regions, named, only, rules};
    use super::*;
    use crate::routing::testing::caller;
    use crate::values::{Algorithm, RuleMatch};

    fn pin(channel: &str, place: Option<&str>) -> Pin {
        Pin { channel: channel.into(), place: place.map(Arc::from), model: "m".into(), key: None }
    }

    /// Caller 0 reaches channel `A` in two places through the group of caller 1, and `B` itself.
    fn world() -> Regions {
        let outer = rules(&[(RuleMatch::NestedAll(1), 0), (only(1), 0)]);
        let inner = rules(&[(only(0), 0)]);
        Regions::new(
            &[&["1", "2"], &[], &[]],
            vec![(Algorithm::FixedPriority, outer), (Algorithm::FixedPriority, inner)],
        )
    }

    fn pinned(world: &Regions, pin: &Pin, model: &str) -> Option<Arc<dyn Route>> {
        world.routes.pinned(&caller(0), pin, model).map(|route| Arc::new(route) as _)
    }

    #[tokio::test(start_paused = true)]
    async fn it_leads_to_the_one_place_behind_its_gate_also_while_that_rests() {
        let world = world();
        world.cool("A", "2");
        let route = pinned(&world, &pin("A", Some("2")), "m").expect("it is there");
        let mut plan = Plan::new(route.clone(), Retries::Budget);

        let Step::Enter(group) = route.pick(&plan, Instant::now()) else { panic!("no gate") };
        plan.gate(group, true);
        let Step::Try(target) = route.pick(&plan, Instant::now()) else { panic!("no target") };

        assert_eq!((named(&target).as_str(), plan.single()), ("A2", true));
        plan.exclude(target);
        assert!(matches!(route.pick(&plan, Instant::now()), Step::Exhausted));
    }

    #[test]
    fn a_gate_that_refuses_leaves_nobody_to_ask() {
        let world = world();
        let route = pinned(&world, &pin("A", Some("1")), "m").expect("it is there");
        let mut plan = Plan::new(route.clone(), Retries::Budget);
        let Step::Enter(group) = route.pick(&plan, Instant::now()) else { panic!("no gate") };

        plan.gate(group, false);

        assert!(matches!(route.pick(&plan, Instant::now()), Step::Exhausted));
    }

    #[test]
    fn what_is_gone_or_not_the_caller_s_to_use_is_no_route() {
        let world = world();
        let there = |channel: &str, place, model: &str| pinned(&world, &pin(channel, place), model).is_some();

        assert!(there("B", None, "m"));
        assert!(!there("C", None, "m"), "the rules do not admit it");
        assert!(!there("D", None, "m") && !there("A", Some("3"), "m") && !there("B", None, "other"));
    }
}
