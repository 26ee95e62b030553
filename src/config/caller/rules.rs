//! Reads the `model` list of a client key against the names that there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::KeyEntry;
use crate::config::channel::Channels;
use crate::config::channel::fields::NAMES_OF_NAMES;
use crate::config::problem::{Path, Report, mask, nearest, shown};
use crate::config::schema::{Item, Section};
use crate::config::tree::Value;
use crate::values::{Rule, RuleMatch};

/// The names that rules are read against.
pub(super) struct Names<'a> {
    pub(super) channels: &'a Channels,
    /// By written name, and by unique name where no written one is the same.
    by_name: HashMap<&'a str, Arc<[usize]>>,
    /// Every alias that some channel has written down.
    aliases: HashSet<&'a str>,
    /// Aliases by channel ordinal.
    aliases_of: Vec<HashSet<&'a str>>,
    /// Whether some channel finds its models later.
    discovers: bool,
    /// Client keys to their position.
    pub(super) callers: HashMap<&'a str, usize>,
    disabled_callers: &'a HashSet<String>,
    texts: HashMap<String, Arc<str>>,
}

// === impl Names ===

impl<'a> Names<'a> {
    pub(super) fn new(
        channels: &'a Channels,
        entries: &'a [KeyEntry<'_>],
        disabled_callers: &'a HashSet<String>,
    ) -> Self {
        let mut ordinals: HashMap<&str, Vec<usize>> = HashMap::new();
        for (ordinal, channel) in channels.read.iter().enumerate() {
            ordinals.entry(&channel.written_name).or_default().push(ordinal);
        }
        for (ordinal, channel) in channels.read.iter().enumerate() {
            ordinals.entry(channel.name.as_str()).or_insert_with(|| vec![ordinal]);
        }
        let by_name = ordinals.into_iter().map(|(name, ordinals)| (name, ordinals.into())).collect();
        let aliases_of: Vec<HashSet<&str>> = channels
            .read
            .iter()
            .map(|channel| channel.models.iter().map(|model| &*model.alias).collect())
            .collect();
        Self {
            channels,
            by_name,
            aliases: aliases_of.iter().flatten().copied().collect(),
            aliases_of,
            discovers: channels.read.iter().any(|channel| channel.discover),
            callers: entries.iter().enumerate().map(|(at, entry)| (entry.key.as_str(), at)).collect(),
            disabled_callers,
            texts: HashMap::new(),
        }
    }

    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(text.to_owned(), shared.clone());
        shared
    }

    /// Reads one rule; none when it can match nothing and names a key that must not be kept.
    pub(super) fn rule(
        &mut self,
        text: &str,
        id: u32,
        path: Path<'_>,
        report: &mut Report,
    ) -> Option<RuleMatch> {
        if text == "all" || text == "*" {
            return Some(RuleMatch::All);
        }
        if let Some(name) = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
            self.expect_alias(name, id, path, report);
            return Some(RuleMatch::Model(self.text(name)));
        }
        let Some((prefix, rest)) = text.split_once('/') else {
            if self.callers.contains_key(text) || text.starts_with("sk-") {
                report.warn(
                    id,
                    path,
                    "a client key by itself, which matches nothing",
                    "the key followed by /* or /model",
                );
                return None;
            }
            if text.contains('*') && !self.aliases.contains(text) {
                let found = format!("{:?}, which matches only a model of that very name", shown(text));
                report.warn(id, path, found, "all, channel/* for all models of one, or whole model names");
            } else {
                self.expect_alias(text, id, path, report);
            }
            return Some(RuleMatch::Model(self.text(text)));
        };
        if rest.is_empty() {
            report.warn(
                id,
                path,
                format!("{:?}, which matches nothing", shown(text)),
                "channel/* or channel/model",
            );
        } else if rest != "*" && rest.ends_with('*') {
            let found = format!("{:?}, which matches only a model of that very name", shown(text));
            report.warn(id, path, found, "channel/* for all models, or whole model names");
        }
        if !self.by_name.contains_key(prefix)
            && let Some(&caller) = self.callers.get(prefix)
        {
            return Some(match rest {
                "*" => RuleMatch::NestedAll(caller),
                model => RuleMatch::NestedModel(caller, self.text(model)),
            });
        }
        if self.disabled_callers.contains(prefix) {
            return None;
        }
        let channels = match self.by_name.get(prefix) {
            Some(channels) => channels.clone(),
            None => {
                if prefix.starts_with("sk-") {
                    let found = format!("{:?}, which no entry has", mask(prefix));
                    report.warn(id, path, found, "the api of an entry under api_keys; the rule is ignored");
                    return None;
                }
                self.absent(prefix, rest, id, path, report);
                Arc::default()
            }
        };
        if rest == "*" {
            return Some(RuleMatch::ChannelAll(channels));
        }
        let known = channels.is_empty()
            || channels
                .iter()
                .any(|&at| self.channels.read[at].discover || self.aliases_of[at].contains(rest));
        if !known && !rest.is_empty() && !rest.ends_with('*') {
            let found = format!("model {:?}, which channel {} does not have", shown(rest), shown(prefix));
            report.warn(
                id,
                path,
                found,
                "a model of the channel under the name that clients use; matches nothing",
            );
            let aliases = channels.iter().flat_map(|&at| self.aliases_of[at].iter().copied());
            if let Some(near) = nearest(rest, aliases) {
                report.hint(format!("did you mean {}/{}?", shown(prefix), shown(near)));
            }
        }
        Some(RuleMatch::ChannelModel(channels, self.text(rest)))
    }

    fn absent(&self, prefix: &str, rest: &str, id: u32, path: Path<'_>, report: &mut Report) {
        if self.channels.disabled.contains(prefix) {
            return;
        }
        let found = format!("channel {:?}, which does not exist", shown(prefix));
        report.warn(id, path, found, "the name of a provider; this rule matches nothing");
        let whole = format!("{prefix}/{rest}");
        if self.aliases.contains(&*whole) {
            report.hint(format!("write <{}> for the model of that name", shown(&whole)));
        } else if let Some(near) = nearest(prefix, self.by_name.keys().copied()) {
            report.hint(format!("did you mean {}?", shown(near)));
        }
    }

    fn expect_alias(&self, name: &str, id: u32, path: Path<'_>, report: &mut Report) {
        if self.discovers || self.aliases.contains(name) {
            return;
        }
        let found = format!("model {:?}, which no channel has", shown(name));
        report.warn(
            id,
            path,
            found,
            "all, a model, channel/*, channel/model or <model/with/slash>; matches nothing",
        );
        if let Some(near) = nearest(name, self.aliases.iter().copied()) {
            report.hint(format!("did you mean {}?", shown(near)));
        } else if self.by_name.contains_key(name) {
            report.hint(format!("write {}/* for all models of that channel", shown(name)));
        }
    }
}

pub(super) fn rules(section: &Section<'_>, names: &mut Names<'_>, report: &mut Report) -> Vec<Rule> {
    let all = || vec![Rule { matcher: RuleMatch::All, weight: None }];
    let Some(item) = section.get("model") else {
        return all();
    };
    if !matches!(item.node.value, Value::List(_)) {
        item.warn(item.node.describe(), "a list; taken as a list of one", report);
    }
    let items = item.items();
    if items.is_empty() {
        let accepted = "at least one rule, or `enabled: false`; this key may use every model";
        report.note(item.node.id, item.path, "an empty list", accepted);
        return all();
    }
    let given = given_weights(section, report);
    let mut rules = Vec::with_capacity(items.len());
    for item in &items {
        let Some(pairs) = item.pairs() else {
            if let Some(text) = item.text(report)
                && let Some(matcher) = names.rule(&text, item.node.id, item.path, report)
            {
                rules.push(Rule { matcher, weight: given.get(&text).copied() });
            }
            continue;
        };
        for (pair, value) in pairs {
            let text = pair.key.trim();
            let weight = match weight(value, report) {
                Ok(weight) => weight,
                Err(()) => {
                    if NAMES_OF_NAMES.contains(&text)
                        && let Value::Text(name) = &value.node.value
                    {
                        report.hint(format!("write `- {}`", shown(name)));
                    }
                    continue;
                }
            };
            if let Some(matcher) = names.rule(text, pair.key_id, value.path, report) {
                rules.push(Rule { matcher, weight });
            }
        }
    }
    rules
}

/// `weights` beside `model`: the derived table of other versions, which says the same.
fn given_weights(section: &Section<'_>, report: &mut Report) -> HashMap<String, u32> {
    let mut given = HashMap::new();
    let Some(item) = section.get("weights") else {
        return given;
    };
    let Some(pairs) = item.pairs() else {
        item.refuse("a map of rules to weights", report);
        return given;
    };
    for (pair, item) in pairs {
        if let Ok(Some(weight)) = weight(item, report) {
            given.insert(pair.key.clone(), weight);
        }
    }
    given
}

/// None without a weight; an error when the entry is dropped.
fn weight(item: Item<'_>, report: &mut Report) -> Result<Option<u32>, ()> {
    if item.node.is_null() {
        return Ok(None);
    }
    let Some(number) = item.number().filter(|number| number.fract() == 0.0 && *number <= f64::from(u32::MAX))
    else {
        item.refuse("a weight: a positive whole number", report);
        return Err(());
    };
    if number <= 0.0 {
        item.warn(item.node.describe(), "a weight: a positive whole number; this rule is dropped", report);
        return Err(());
    }
    Ok(Some(number as u32))
}
