//! The way back to who served a conversation last.

use std::sync::Arc;

use layers::conversation::Home;
use layers::plan::{Plan, Step};
use layers::policy::Target;
use tokio::time::Instant;

use super::{Tree, towards};

impl Tree {
    /// The step towards that leaf; none unless it can serve now.
    pub(super) fn to_home(&self, plan: &Plan, home: &Home, now: Instant) -> Option<Step> {
        match self.home(plan, home, now)? {
            (target, Step::Try(_)) if !target.health.admit(now) => None,
            (_, step) => Some(step),
        }
    }

    /// The leaf at which a conversation was served last, with the way to it; none unless it can
    /// serve now, and with the same key.
    pub(super) fn home(&self, plan: &Plan, home: &Home, now: Instant) -> Option<(Arc<Target>, Step)> {
        let mut found = None;
        self.root.visit(&mut Vec::new(), &mut |above, target| {
            let serves = found.is_none()
                && home.is(target)
                && !plan.tried(target)
                && plan.fits(target)
                && !plan.is_beyond(target)
                && !above.iter().any(|group| plan.refused(group.node))
                && target.health.cooling_until(now).is_none()
                && home.key.as_ref().is_none_or(|key| target.channel.keys.can_use(target, key));
            if serves {
                found = Some((Arc::clone(target), towards(target, above, plan)));
            }
        });
        found
    }
}
