//! Knows the words that people write in place of a key, and what a key that is ignored lets through.
//!
//! A slip of the pen is found by its likeness to a known key. These are other words for the same
//! thing, as other programs and older versions call it.

use super::schema::{CALLER, CALLER_PREFERENCES, Keys, PREFERENCES, PROVIDER, PROVIDER_PREFERENCES, TOP};

/// The meaning of a word that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The key that is meant, in this section or in one that belongs to it.
    pub(super) key: &'static str,
    /// What to write.
    pub(super) hint: &'static str,
}

/// The section, words in it without case and `_`, the key, and what to write.
type Row = (&'static Keys, &'static [&'static str], &'static str, &'static str);

const ROWS: &[Row] = &[
    (&TOP, &["keys", "apikey", "clientkeys", "users"], "api_keys", "write api_keys"),
    (&TOP, &["channels", "modellist", "upstreams"], "providers", "write providers"),
    (&TOP, &["settings", "global", "globals", "config"], "preferences", "write preferences"),
    (&PROVIDER, &["key", "keys", "apikey", "apikeys", "token", "tokens", "secret"], "api", "write api"),
    (&PROVIDER, &["name", "channel", "id", "title"], "provider", "write provider"),
    (
        &PROVIDER,
        &["url", "apibase", "apiurl", "endpoint", "base", "host", "address", "server"],
        "base_url",
        "write base_url",
    ),
    (&PROVIDER, &["type", "kind", "format", "apitype", "protocol", "dialect"], "engine", "write engine"),
    (&PROVIDER, &["disabled", "disable", "active"], "enabled", "write enabled: true or false"),
    (
        &PROVIDER,
        &["ratelimit", "limit", "rpm"],
        "api_key_rate_limit",
        "write api_key_rate_limit under preferences of the provider",
    ),
    (&PROVIDER, &["timeout", "timeouts"], "model_timeout", "write model_timeout under preferences"),
    (&PROVIDER, &["cooldown"], "cooldown_period", "write cooldown_period under preferences"),
    (&PROVIDER_PREFERENCES, &["timeout", "timeouts"], "model_timeout", "write model_timeout"),
    (&PROVIDER_PREFERENCES, &["cooldown"], "cooldown_period", "write cooldown_period"),
    (&PROVIDER_PREFERENCES, &["keycooldown"], "api_key_cooldown_period", "write api_key_cooldown_period"),
    (&PROVIDER_PREFERENCES, &["ratelimit", "limit", "rpm"], "api_key_rate_limit", "write api_key_rate_limit"),
    (&PROVIDER_PREFERENCES, &["proxies", "httpproxy", "socks"], "proxy", "write proxy"),
    (&PREFERENCES, &["timeout", "timeouts"], "model_timeout", "write model_timeout"),
    (&PREFERENCES, &["cooldown"], "cooldown_period", "write cooldown_period"),
    (&PREFERENCES, &["price", "prices", "pricing"], "model_price", "write model_price"),
    (&PREFERENCES, &["limit", "rpm"], "rate_limit", "write rate_limit"),
    (&PREFERENCES, &["proxies", "httpproxy", "socks"], "proxy", "write proxy"),
    (&CALLER, &["key", "keys", "apikey", "apikeys", "token", "secret"], "api", "write api"),
    (&CALLER, &["name", "user", "alias"], "role", "write role"),
    (&CALLER, &["channels", "providers", "allow", "allowed", "allowedmodels"], "model", "write model"),
    (&CALLER, &["disabled", "disable", "active"], "enabled", "write enabled: true or false"),
    (&CALLER, &["limit", "rpm"], "rate_limit", "write rate_limit under preferences of the key"),
    (&CALLER, &["credit", "balance"], "credits", "write credits under preferences of the key"),
    (&CALLER, &["moderation"], "ENABLE_MODERATION", "write ENABLE_MODERATION under preferences of the key"),
    (
        &CALLER_PREFERENCES,
        &["useroundrobin"],
        "SCHEDULING_ALGORITHM",
        "write SCHEDULING_ALGORITHM: round_robin; without it channels are asked in their order",
    ),
    (
        &CALLER_PREFERENCES,
        &["scheduling", "algorithm", "strategy", "schedule"],
        "SCHEDULING_ALGORITHM",
        "write SCHEDULING_ALGORITHM",
    ),
    (
        &CALLER_PREFERENCES,
        &["retry", "retries", "maxretries", "maxretrycount"],
        "AUTO_RETRY",
        "write AUTO_RETRY: a number of retries",
    ),
    (&CALLER_PREFERENCES, &["moderation"], "ENABLE_MODERATION", "write ENABLE_MODERATION"),
    (&CALLER_PREFERENCES, &["balance"], "credits", "write credits"),
    (&CALLER_PREFERENCES, &["limit", "rpm"], "rate_limit", "write rate_limit"),
];

/// What follows when a key is missing because another word stands for it, by the section's entry
/// and the key: where that is more than the writer allowed.
const WIDER: &[(&[&Keys], &str, &str)] = &[
    (&[&CALLER], "model", "this key may use every model"),
    (&[&CALLER], "preferences", "this key has no limits of its own"),
    (&[&CALLER, &PROVIDER], "enabled", "it is in use"),
    (&[&CALLER, &CALLER_PREFERENCES], "rate_limit", "this key has no rate limit"),
    (&[&CALLER, &CALLER_PREFERENCES], "credits", "this key may spend without limit"),
    (&[&CALLER, &CALLER_PREFERENCES], "ENABLE_MODERATION", "its texts are judged by nobody"),
    (&[&PROVIDER, &PROVIDER_PREFERENCES], "api_key_rate_limit", "its keys have no rate limit"),
    (&[&PROVIDER, &PROVIDER_PREFERENCES, &PREFERENCES], "proxy", "no proxy is used for it"),
    (&[&PREFERENCES], "rate_limit", "there is no limit over all requests"),
];

/// What is meant by a word in this section.
pub(super) fn meaning(keys: &Keys, word: &str) -> Option<Meaning> {
    let folded: String = word
        .chars()
        .take(32)
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect();
    let is_it = |row: &&Row| row.0.name == keys.name && row.1.contains(&&*folded);
    ROWS.iter().find(is_it).map(|(_, _, key, hint)| Meaning { key, hint })
}

/// What an ignored word for this key of the section lets through.
pub(super) fn consequence(keys: &Keys, key: &str) -> Option<&'static str> {
    let is_it = |sections: &[&Keys]| sections.iter().any(|section| section.name == keys.name);
    WIDER.iter().find(|(sections, of, _)| *of == key && is_it(sections)).map(|(_, _, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::super::schema::ALL;
    use super::*;

    #[test]
    fn every_word_leads_to_a_key_that_there_is_and_is_none_itself() {
        for (section, words, key, hint) in ROWS {
            assert!(ALL.iter().any(|keys| keys.known.contains(key)), "{key}");
            assert!(hint.contains(key), "{hint}");
            for word in *words {
                assert!(!section.known.contains(word), "{word} is a key of {}", section.name);
                assert_eq!(meaning(section, word).map(|meaning| meaning.key), Some(*key), "{word}");
            }
        }
    }

    #[test]
    fn a_word_is_known_in_any_spelling_and_in_its_section_only() {
        assert_eq!(meaning(&PROVIDER, "API_KEY").unwrap().key, "api");
        assert_eq!(meaning(&CALLER_PREFERENCES, "USE_ROUND_ROBIN").unwrap().key, "SCHEDULING_ALGORITHM");
        assert_eq!(meaning(&TOP, "url"), None);
    }
}
