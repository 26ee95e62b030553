//! Tells two configurations apart by the names of what is in them, for the log line of a reload.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::Hash;

use super::Snapshot;
use crate::config::ChannelSettings;

/// Most names that are listed; the others are counted.
const MOST_NAMES: usize = 20;

/// The difference between two configurations, in words; nothing where there is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What only the later one has.
    pub(super) added: Option<String>,
    /// What only the earlier one has.
    pub(super) removed: Option<String>,
    /// Channels of both that are asked elsewhere or with other keys.
    pub(super) changed: Option<String>,
}

impl Difference {
    /// The way from one configuration to another.
    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let (old, new) = (Things::of(before), Things::of(after));
        let changed = after.settings().channels.iter().filter(|channel| {
            let same_name = before.settings().channels.iter().find(|other| other.name == channel.name);
            same_name.is_some_and(|other| !are_asked_alike(channel, other))
        });
        Self {
            added: list(new.beyond(&old)),
            removed: list(old.beyond(&new)),
            changed: list(changed.map(|channel| format!("channel {}", channel.name.as_str())).collect()),
        }
    }
}

fn are_asked_alike(one: &ChannelSettings, other: &ChannelSettings) -> bool {
    let account = |channel: &ChannelSettings| {
        (channel.accounts.clone(), [&channel.aws_access_key, &channel.aws_secret_key].map(Clone::clone))
    };
    std::ptr::eq(one.engine, other.engine)
        && one.base_url == other.base_url
        && one.proxy == other.proxy
        && one.keys == other.keys
        && account(one) == account(other)
}

/// Names in a configuration, each with what stands for it in a comparison.
struct Things {
    channels: Vec<(String, String)>,
    client_keys: Vec<(String, String)>,
    models: Vec<(String, String)>,
}

impl Things {
    fn of(snapshot: &Snapshot) -> Self {
        let named = |name: &str| (name.to_owned(), name.to_owned());
        Self {
            channels: snapshot
                .settings()
                .channels
                .iter()
                .map(|channel| named(channel.name.as_str()))
                .collect(),
            client_keys: snapshot
                .callers()
                .map(|caller| (caller.fingerprint.as_str().to_owned(), caller.alias.to_string()))
                .collect(),
            models: snapshot.aliases().map(|alias| named(alias)).collect(),
        }
    }

    fn beyond(&self, other: &Self) -> Vec<String> {
        let mut names = Vec::new();
        for (word, mine, others) in [
            ("channel", &self.channels, &other.channels),
            ("client key", &self.client_keys, &other.client_keys),
            ("model", &self.models, &other.models),
        ] {
            names.extend(beyond(mine, others).map(|name| format!("{word} {name}")));
        }
        names
    }
}

/// The names of those in `mine` that are not among `others`.
fn beyond<'a, K: Hash + Eq, N>(
    mine: &'a [(K, N)],
    others: &'a [(K, N)],
) -> impl Iterator<Item = &'a N> + use<'a, K, N> {
    let others: HashSet<&K> = others.iter().map(|(key, _)| key).collect();
    mine.iter().filter(move |(key, _)| !others.contains(key)).map(|(_, name)| name)
}

fn list(names: Vec<String>) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let mut text = names[..names.len().min(MOST_NAMES)].join(", ");
    if let Some(more) = names.len().checked_sub(MOST_NAMES).filter(|more| *more > 0) {
        // Writing to a String cannot fail.
        let _ = write!(text, " and {more} more");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Discovered, compile};
    use super::*;
    use crate::config::testing::settings;
    use crate::state::Runtime;
    use crate::telemetry::metrics::Metrics;

    fn snapshot(text: &str) -> Snapshot {
        compile(Arc::new(settings(text)), &Discovered::new(), &Runtime::new(None), &Metrics::new())
    }

    #[test]
    fn what_came_and_what_went_is_told_by_name_and_keys_by_alias() {
        let before = snapshot(
            "providers:
  - {provider: a, base_url: 'https://a.test/v1', api: sk-one, model: [m, n]}
  - {provider: b, base_url: 'https://b.test/v1', api: sk-two, model: [m]}
api_keys: [{api: sk-alice, role: alice}, {api: sk-bob, role: bob}]
",
        );
        let after = snapshot(
            "providers:
  - {provider: a, base_url: 'https://a.test/v1', api: sk-three, model: [m, o]}
  - {provider: c, base_url: 'https://b.test/v1', api: sk-two, model: [m]}
api_keys: [{api: sk-alice, role: alice}, {api: sk-new, role: bob}, {api: sk-carol, role: carol}]
",
        );

        let difference = Difference::between(&before, &after);

        let told = |text: &str| Some(text.to_owned());
        assert_eq!(difference.added, told("channel c, client key bob, client key carol, model o"));
        assert_eq!(difference.removed, told("channel b, client key bob, model n"));
        assert_eq!(difference.changed, told("channel a"));
        assert_eq!(Difference::between(&after, &after), Difference::default());
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let names = (0..23).map(|n| n.to_string()).collect();

        assert!(list(names).unwrap().ends_with("18, 19 and 3 more"));
    }
}
