//! Sums requests by hour, key, channel and model.
//!
//! Statistics and balances come from these sums, so they outlive the detail rows. Rows of one
//! batch are folded here first and reach the database as one upsert per distinct group; rows that
//! the queue had no room for are folded too, which is why spending is never lost with them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use layers::policy::{ChannelName, Fingerprint};

use crate::values::Closed;

/// Most groups that are kept apart while the database is away; beyond them only hour and key are.
const MOST_GROUPS: usize = 65_536;

/// The model of groups whose requests named one that no channel has.
pub const OTHER: &str = "other";

/// A group of requests that is summed apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// Start of the hour, in Unix seconds.
    pub hour: i64,
    /// The client key.
    pub key: Fingerprint,
    /// The channel; empty for requests that none served.
    pub channel: ChannelName,
    /// The model as asked for, or [`OTHER`].
    pub model: Arc<str>,
}

/// The sums of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Requests that the channel served, or that none did.
    pub requests: i64,
    /// Those of them that went well.
    pub successes: i64,
    /// Attempts on the channel.
    pub attempts: i64,
    /// Those of them that were accepted.
    pub attempt_successes: i64,
    /// Input tokens.
    pub prompt_tokens: i64,
    /// Output tokens.
    pub completion_tokens: i64,
    /// Both, as the upstream totals them.
    pub total_tokens: i64,
    /// Input tokens that caches supplied.
    pub cached_tokens: i64,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: i64,
    /// Requests whose cost is estimated.
    pub estimated: i64,
    /// Cost in picodollars.
    pub cost: i128,
}

impl Sums {
    /// Adds other sums to these.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.successes, other.successes),
            (&mut self.attempts, other.attempts),
            (&mut self.attempt_successes, other.attempt_successes),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
            (&mut self.total_tokens, other.total_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.estimated, other.estimated),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
        self.cost = self.cost.saturating_add(other.cost);
    }
}

/// Sums by group, in memory.
#[derive(Debug)]
pub struct Hours {
    groups: HashMap<Group, Sums, RandomState>,
    nobody: ChannelName,
    other: Arc<str>,
}

impl Default for Hours {
    fn default() -> Self {
        Self { groups: HashMap::default(), nobody: ChannelName::from(""), other: OTHER.into() }
    }
}

impl Hours {
    /// Whether there is nothing to be stored.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many groups are kept apart.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Forgets everything, keeping the room.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// The groups and their sums, in the order in which every writer takes them: two writers of
    /// one database then never wait for each other in a circle.
    pub fn sorted(&self) -> Vec<(&Group, &Sums)> {
        let mut all: Vec<_> = self.groups.iter().collect();
        all.sort_unstable_by_key(|(group, _)| *group);
        all
    }

    /// Adds one request and its attempts.
    pub fn fold(&mut self, closed: &Closed) {
        let entry = &closed.entry;
        let ended = closed.ended();
        let hour = ended - ended.rem_euclid(3600);
        let channel = entry.target.as_ref().map_or(&self.nobody, |target| &target.channel.name);
        let group = self.group(hour, closed, channel.clone());
        let mut sums = Sums {
            requests: 1,
            successes: i64::from(closed.succeeded()),
            estimated: i64::from(closed.estimated),
            cost: closed.cost,
            ..Sums::default()
        };
        if let Some(usage) = &entry.usage {
            sums.prompt_tokens = count(usage.input_total);
            sums.completion_tokens = count(usage.output_total);
            sums.total_tokens = count(usage.total());
            sums.cached_tokens = count(usage.cached_read);
            sums.reasoning_tokens = count(usage.reasoning);
        }
        for attempt in &entry.attempts {
            let tried = Sums {
                attempts: 1,
                attempt_successes: i64::from(attempt.outcome == "ok"),
                ..Sums::default()
            };
            if attempt.channel == group.channel && attempt.side_call.is_none() {
                sums.add(&tried);
            } else {
                let mut group = self.group(hour, closed, attempt.channel.clone());
                if let Some(model) = &attempt.side_call {
                    group.model = model.clone();
                }
                self.add(group, &tried);
            }
        }
        self.add(group, &sums);
    }

    /// Adds sums to a group.
    pub fn add(&mut self, group: Group, sums: &Sums) {
        if let Some(known) = self.groups.get_mut(&group) {
            return known.add(sums);
        }
        let group = if self.groups.len() < MOST_GROUPS {
            group
        } else {
            Group { channel: self.nobody.clone(), model: self.other.clone(), ..group }
        };
        self.groups.entry(group).or_default().add(sums);
    }

    /// Takes over everything from another.
    pub fn merge(&mut self, other: &mut Self) {
        for (group, sums) in other.groups.drain() {
            self.add(group, &sums);
        }
    }

    fn group(&self, hour: i64, closed: &Closed, channel: ChannelName) -> Group {
        let entry = &closed.entry;
        // A name that no channel has is any text at all, and there is no end of them.
        let model = if entry.model_known { &entry.model } else { &self.other };
        Group { hour, key: entry.caller.fingerprint.clone(), channel, model: model.clone() }
    }
}

/// A count as the database holds it.
pub(crate) fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Price;
    use crate::values::testing::{attempt, entry};

    fn sums<'a>(hours: &'a Hours, channel: &str, model: &str) -> Option<&'a Sums> {
        hours
            .groups
            .iter()
            .find(|(group, _)| group.channel.as_str() == channel && &*group.model == model)
            .map(|(_, sums)| sums)
    }

    #[test]
    fn attempts_count_on_their_channel_and_requests_on_the_one_that_served() {
        let mut entry = entry("gpt-4o");
        entry.attempts = vec![attempt("first", "timeout"), attempt("served", "ok")];
        let mut hours = Hours::default();

        hours.fold(&Closed::new(entry, Price::flat(1, 1)));

        let first = sums(&hours, "first", "gpt-4o").unwrap();
        assert_eq!((first.requests, first.attempts, first.attempt_successes, first.cost), (0, 1, 0, 0));
        let served = sums(&hours, "served", "gpt-4o").unwrap();
        assert_eq!((served.requests, served.attempts, served.attempt_successes, served.cost), (1, 1, 1, 15));
    }

    #[test]
    fn models_that_no_channel_has_share_one_group() {
        let mut hours = Hours::default();

        for model in ["made-up-1", "made-up-2"] {
            let mut entry = entry(model);
            entry.model_known = false;
            hours.fold(&Closed::new(entry, Price::default()));
        }

        assert_eq!(sums(&hours, "served", OTHER).unwrap().requests, 2);
    }

    #[test]
    fn beyond_the_limit_of_groups_nothing_is_lost_but_the_detail() {
        let mut hours = Hours::default();
        let group = |n: usize| Group {
            hour: 0,
            key: Fingerprint::new("k"),
            channel: ChannelName::from("c"),
            model: n.to_string().into(),
        };
        let one = Sums { cost: 1, ..Sums::default() };

        for n in 0..MOST_GROUPS + 10 {
            hours.add(group(n), &one);
        }

        assert_eq!(hours.len(), MOST_GROUPS + 1);
        assert_eq!(sums(&hours, "", OTHER).unwrap().cost, 10);
    }
}
