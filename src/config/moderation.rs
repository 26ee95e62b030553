//! Finds client keys that are to be moderated and have nothing to be moderated by.

use layers::endpoint::MODERATIONS;
pub(super) use layers::moderation::MODEL;

use super::settings::{CallerSettings, ChannelSettings};
use crate::values::RuleMatch;

/// The positions of callers whose rules lead to no channel that moderates. A channel that is asked
/// for its models may turn out to have the one that is needed.
pub(super) fn unmoderated(callers: &[CallerSettings], channels: &[ChannelSettings]) -> Vec<usize> {
    if !callers.iter().any(|caller| caller.moderation.is_some()) {
        return Vec::new();
    }
    let search = Search { callers, moderates: channels.iter().map(moderates).collect() };
    let wanting =
        |at: &usize| callers[*at].moderation.is_some() && !search.finds(*at, &mut vec![false; callers.len()]);
    (0..callers.len()).filter(wanting).collect()
}

fn moderates(channel: &ChannelSettings) -> bool {
    let listed = || channel.models.iter().any(|model| *model.alias == *MODEL);
    let path = MODERATIONS.path;
    !channel.exclude_endpoints.iter().any(|excluded| **excluded == *path) && (channel.discover || listed())
}

struct Search<'a> {
    callers: &'a [CallerSettings],
    /// By position of the channel.
    moderates: Vec<bool>,
}

impl Search<'_> {
    /// Whether the rules of a caller lead to a channel that moderates. `seen` are the callers that
    /// were asked before.
    fn finds(&self, at: usize, seen: &mut [bool]) -> bool {
        if std::mem::replace(&mut seen[at], true) {
            return false;
        }
        let any_of = |ordinals: &[usize]| ordinals.iter().any(|&ordinal| self.moderates[ordinal]);
        self.callers[at].rules.iter().any(|rule| match &rule.matcher {
            RuleMatch::All => self.moderates.contains(&true),
            RuleMatch::Model(model) => **model == *MODEL && self.moderates.contains(&true),
            RuleMatch::ChannelAll(channels) => any_of(channels),
            RuleMatch::ChannelModel(channels, model) => **model == *MODEL && any_of(channels),
            RuleMatch::NestedAll(inner) => self.finds(*inner, seen),
            RuleMatch::NestedModel(inner, model) => **model == *MODEL && self.finds(*inner, seen),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, Origin, load};

    /// What is warned of in a configuration with these client keys.
    fn warnings(keys: &str) -> Vec<String> {
        let text = format!(
            "providers:\n\
             - {{provider: chat, base_url: https://c/v1/chat/completions, api: k, model: [m]}}\n\
             - {{provider: judge, base_url: https://j/v1/chat/completions, api: k, model: [omni-moderation-latest]}}\n\
             - {{provider: shut, base_url: https://s/v1/chat/completions, api: k, exclude_endpoints: /v1/moderations, \
             model: [omni-moderation-latest]}}\n\
             api_keys: [{{api: sk-inner, role: admin, model: [judge/*]}}, {keys}]\n"
        );
        let loaded = load(&text, Origin::Inline, &Environment::default()).unwrap();
        loaded.warnings.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_moderated_key_without_the_model_is_warned_of() {
        for rules in ["chat/*", "m", "judge/m", "shut/*"] {
            let keys = format!("{{api: sk-1, model: [{rules}], preferences: {{ENABLE_MODERATION: true}}}}");
            let found = warnings(&keys);
            assert!(
                found.contains(&"api_keys[1].preferences.ENABLE_MODERATION".to_owned()),
                "{rules}: {found:?}"
            );
        }
    }

    #[test]
    fn a_key_that_reaches_the_model_or_is_not_moderated_is_not() {
        for rules in
            ["all", "judge/*", "judge/omni-moderation-latest", "omni-moderation-latest", "sk-inner/*"]
        {
            let keys =
                format!("{{api: sk-1, model: [chat/*, {rules}], preferences: {{ENABLE_MODERATION: true}}}}");
            assert_eq!(warnings(&keys), [""; 0], "{rules}");
        }
        assert_eq!(warnings("{api: sk-1, model: [chat/*]}"), [""; 0]);
    }
}
