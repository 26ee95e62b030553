//! Turns the rule list of a client key into the members that may serve one model.
//!
//! Rules are kept as the configuration wrote them, with names already resolved to positions;
//! members are looked up per (rule list, model) when a route is first asked for. So a
//! configuration of a thousand keys and five hundred models costs its text and not their product.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use layers::policy::{Caller, Target};

use crate::values::{Algorithm, Rule, RuleMatch};

/// The access of one client key: what it may use, and in which order.
#[derive(Debug, Clone)]
pub struct Access {
    /// The key's entry; its `ordinal` is its position among all of them.
    pub caller: Arc<Caller>,
    /// Its rules, in order.
    pub rules: Arc<[Rule]>,
    /// How members are ordered.
    pub algorithm: Algorithm,
}

/// The position of a channel and what it has.
type Offer = (usize, Arc<Target>);

/// The models that the channels of one configuration offer.
#[derive(Debug, Default)]
pub struct Offers {
    /// By alias, in the order of the channels.
    by_alias: HashMap<Arc<str>, Vec<Offer>, RandomState>,
    /// By channel, in the order of its models.
    by_channel: HashMap<usize, Vec<Arc<str>>, RandomState>,
}

impl Offers {
    /// Takes every (position of the channel, target), channels in order. Of two targets of one
    /// channel with the same alias and place the later one counts; those in other places stand
    /// behind each other.
    pub fn new(targets: impl IntoIterator<Item = Offer>) -> Self {
        let mut by_alias = HashMap::<_, Vec<Offer>, _>::default();
        let mut by_channel = HashMap::<usize, Vec<Arc<str>>, _>::default();
        for (channel, target) in targets {
            let aliases = by_channel.entry(channel).or_default();
            // The places of a model come in a row.
            if aliases.last() != Some(&target.alias) {
                aliases.push(Arc::clone(&target.alias));
            }
            let offers = by_alias.entry(Arc::clone(&target.alias)).or_default();
            let places = span_of(offers, channel);
            match offers[places.clone()].iter().position(|(_, known)| known.place == target.place) {
                Some(at) => offers[places.start + at].1 = target,
                None => offers.insert(places.end, (channel, target)),
            }
        }
        Self { by_alias, by_channel }
    }

    /// The name of this model as the configuration holds it; none when no channel has it.
    pub fn known(&self, alias: &str) -> Option<&Arc<str>> {
        self.by_alias.get_key_value(alias).map(|(alias, _)| alias)
    }

    /// Every alias that any channel has, in no order.
    pub fn aliases(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_alias.keys()
    }

    /// The aliases of one channel, in its order.
    pub fn of_channel(&self, channel: usize) -> impl Iterator<Item = &Arc<str>> {
        self.by_channel.get(&channel).into_iter().flatten()
    }

    /// This alias on the channel at this position, in the first of its places.
    pub fn target(&self, channel: usize, alias: &str) -> Option<&Arc<Target>> {
        self.places(channel, alias).next()
    }

    /// The same in each of its places, in their order: one without a name where it has none.
    pub fn places(&self, channel: usize, alias: &str) -> impl Iterator<Item = &Arc<Target>> {
        let offers = self.of(alias);
        offers[span_of(offers, channel)].iter().map(|(_, target)| target)
    }

    /// Everything that is offered, in no order.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.by_alias.values().flatten().map(|(_, target)| target)
    }

    fn of(&self, alias: &str) -> &[Offer] {
        self.by_alias.get(alias).map_or(&[], Vec::as_slice)
    }
}

/// Where the offers of one channel stand among those of a model.
fn span_of(offers: &[Offer], channel: usize) -> Range<usize> {
    let before = |at: usize| offers.partition_point(|(known, _)| *known < at);
    before(channel)..before(channel + 1)
}

/// One result of a rule list for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// A channel, with all of its places.
    Channel(usize),
    /// Another client key.
    Nested(usize),
}

/// The members for one model, in rule order, each once, with weights (0: none).
///
/// A member that several rules name stands where the first of them puts it, with the first weight
/// that any of them gives: `all` beside `chan/*: 3` is a way to weigh one channel.
pub(crate) fn members(rules: &[Rule], offers: &Offers, model: &str) -> Vec<(Admitted, u32)> {
    let offered = offers.of(model);
    let mut members = Vec::<(Admitted, u32)>::new();
    let mut admit = |member: Admitted, weight: Option<u32>| {
        let weight = weight.unwrap_or(0);
        match members.iter_mut().find(|(known, _)| *known == member) {
            Some((_, known)) if *known == 0 => *known = weight,
            Some(_) => {}
            None => members.push((member, weight)),
        }
    };
    for rule in rules {
        let channels: &mut dyn Iterator<Item = &Offer> = match &rule.matcher {
            RuleMatch::All => &mut offered.iter(),
            RuleMatch::Model(name) if **name == *model => &mut offered.iter(),
            RuleMatch::ChannelModel(_, name) if **name != *model => continue,
            RuleMatch::ChannelAll(channels) | RuleMatch::ChannelModel(channels, _) => {
                &mut offered.iter().filter(|(channel, _)| channels.contains(channel))
            }
            RuleMatch::NestedModel(_, name) if **name != *model => continue,
            RuleMatch::NestedAll(caller) | RuleMatch::NestedModel(caller, _) => {
                admit(Admitted::Nested(*caller), rule.weight);
                continue;
            }
            RuleMatch::Model(_) => continue,
        };
        channels.for_each(|(channel, _)| admit(Admitted::Channel(*channel), rule.weight));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::testing::{channel_named, target};

    fn offers() -> Offers {
        let [ok, org, far] = ["ok", "org", "far"].map(channel_named);
        Offers::new([
            (0, target(&ok, "gpt-a")),
            (0, target(&ok, "org/gpt-x")),
            (1, target(&org, "gpt-x")),
            (1, target(&org, "gpt-a")),
            (2, target(&far, "gpt-a")),
        ])
    }

    fn names(rules: &[(RuleMatch, Option<u32>)], model: &str) -> Vec<(String, u32)> {
        let rules: Vec<Rule> =
            rules.iter().cloned().map(|(matcher, weight)| Rule { matcher, weight }).collect();
        let offers = offers();
        let name = |channel| offers.target(channel, model).expect("it is offered").channel.name.to_string();
        members(&rules, &offers, model)
            .into_iter()
            .map(|(member, weight)| match member {
                Admitted::Channel(channel) => (name(channel), weight),
                Admitted::Nested(caller) => (format!("key {caller}"), weight),
            })
            .collect()
    }

    fn plain(rules: &[RuleMatch], model: &str) -> Vec<String> {
        let rules: Vec<_> = rules.iter().map(|rule| (rule.clone(), None)).collect();
        names(&rules, model).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn all_admits_every_channel_with_the_model_in_channel_order() {
        assert_eq!(plain(&[RuleMatch::All], "gpt-a"), ["ok", "org", "far"]);
        assert_eq!(plain(&[RuleMatch::All], "org/gpt-x"), ["ok"]);
        assert_eq!(plain(&[RuleMatch::All], "absent"), [""; 0]);
    }

    #[test]
    fn a_name_admits_that_model_only() {
        assert_eq!(plain(&[RuleMatch::Model("gpt-x".into())], "gpt-x"), ["org"]);
        assert_eq!(plain(&[RuleMatch::Model("gpt-x".into())], "gpt-a"), [""; 0]);
        assert_eq!(plain(&[RuleMatch::Model("org/gpt-x".into())], "org/gpt-x"), ["ok"]);
    }

    #[test]
    fn a_channel_rule_admits_nothing_of_other_channels() {
        assert_eq!(plain(&[RuleMatch::ChannelAll([1].into())], "gpt-a"), ["org"]);
        assert_eq!(plain(&[RuleMatch::ChannelAll([1].into())], "org/gpt-x"), [""; 0]);
        assert_eq!(plain(&[RuleMatch::ChannelModel([1].into(), "gpt-x".into())], "gpt-x"), ["org"]);
        assert_eq!(plain(&[RuleMatch::ChannelModel([1].into(), "gpt-x".into())], "gpt-a"), [""; 0]);
        assert_eq!(plain(&[RuleMatch::ChannelAll([0, 2].into())], "gpt-a"), ["ok", "far"]);
    }

    #[test]
    fn overlapping_rules_admit_a_channel_once_and_keep_its_weight() {
        let rules = [
            (RuleMatch::ChannelAll([2].into()), None),
            (RuleMatch::Model("gpt-a".into()), None),
            (RuleMatch::ChannelAll([1].into()), Some(4)),
            (RuleMatch::ChannelAll([1].into()), Some(9)),
        ];

        assert_eq!(names(&rules, "gpt-a"), [("far".into(), 0), ("ok".into(), 0), ("org".into(), 4)]);
    }

    #[test]
    fn nested_keys_are_one_member_each() {
        let rules = [
            (RuleMatch::NestedModel(3, "other".into()), None),
            (RuleMatch::NestedAll(1), Some(2)),
            (RuleMatch::NestedModel(1, "gpt-a".into()), None),
            (RuleMatch::All, None),
        ];

        assert_eq!(names(&rules, "gpt-a")[0], ("key 1".into(), 2));
        assert_eq!(names(&rules, "gpt-a").len(), 4);
    }
}
