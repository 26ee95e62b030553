//! Says how many models and keys cool, and changes nothing by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use layers::policy::ChannelName;
use layers::ports::Health as _;
use tokio::time::Instant;

use super::{Runtime, lock};

/// The standing of everything that may cool, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// By channel.
    pub channels: BTreeMap<ChannelName, ChannelStanding>,
    /// Models that any channel has.
    pub models: usize,
    /// Those of them that cool on every channel that has them.
    pub models_cooling: usize,
}

/// The standing of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelStanding {
    /// Its models, each of its places counted.
    pub models: usize,
    /// Those of them that cool.
    pub models_cooling: usize,
    /// Its keys.
    pub keys: usize,
    /// Those of them that cool.
    pub keys_cooling: usize,
}

impl Runtime {
    /// How everything stands at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        let mut standing = Standing::default();
        // Whether a model can be asked for anywhere.
        let mut models: HashMap<Arc<str>, bool, RandomState> = HashMap::default();
        for ((channel, alias, _place), cooldown) in lock(&self.cooldowns).iter() {
            let cools = cooldown.cooling_until(now).is_some();
            let of_channel = standing.channels.entry(channel.clone()).or_default();
            of_channel.models += 1;
            of_channel.models_cooling += usize::from(cools);
            *models.entry(alias.clone()).or_default() |= !cools;
        }
        standing.models = models.len();
        standing.models_cooling = models.values().filter(|serves| !**serves).count();
        for (channel, slot) in lock(&self.pools).iter() {
            let of_channel = standing.channels.entry(channel.clone()).or_default();
            (of_channel.keys, of_channel.keys_cooling) = slot.latest.cooling_at(now);
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use layers::policy::{ChannelName, Fingerprint};
    use layers::ports::{Credential, KeyOutcome, Secret};
    use layers::testing::policy::target;

    use super::*;
    use crate::state::keys::KeySettings;

    #[tokio::test(start_paused = true)]
    async fn models_and_keys_are_counted_with_those_that_cool() {
        let runtime = Runtime::new(None);
        let [a, b] = ["a", "b"].map(ChannelName::from);
        let (now, while_) = (Instant::now(), Duration::from_secs(300));
        runtime.health(&a, "shared").settle(true, while_, now);
        runtime.health(&b, "shared");
        runtime.health(&a, "lone").settle(true, while_, now);
        runtime.health_in(&b, "placed", Some(&"east".into())).settle(true, while_, now);
        runtime.health_in(&b, "placed", Some(&"west".into()));
        let key = |name: &str| Credential::Key(Secret::new(name, Fingerprint::new(name)));
        let keys = runtime.keys(&a, KeySettings::default(), vec![key("k1"), key("k2"), key("k3")]);
        let lease =
            keys.clone().lease(&target("a").build(), &Default::default(), Default::default()).unwrap();
        lease.settle(KeyOutcome::Faulty { hint: Some(while_), rejected: true, quota: false });

        let standing = runtime.standing(now);

        let of = |models, models_cooling, keys, keys_cooling| ChannelStanding {
            models,
            models_cooling,
            keys,
            keys_cooling,
        };
        assert_eq!(standing.channels, BTreeMap::from([(a, of(2, 2, 3, 1)), (b, of(3, 1, 0, 0))]));
        assert_eq!((standing.models, standing.models_cooling), (3, 1), "only one cools everywhere");
        let later = runtime.standing(now + Duration::from_secs(301));
        assert_eq!(
            (later.models_cooling, later.channels.values().map(|one| one.keys_cooling).sum::<usize>()),
            (0, 0)
        );
    }
}
