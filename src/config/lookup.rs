//! Finds the setting that a model name selects in a map of patterns.
//!
//! Timeouts, keepalive and limits share one rule: the exact key, then the longest key contained in
//! the name (in any case), then `default`. Prices go by the longest prefix. A table is built once
//! per written map, so that a snapshot asks it per model without parsing anything again.

use std::collections::HashMap;

/// Above this size the exact match goes through a hash map; below, scanning is quicker to build
/// and as quick to ask.
const INDEXED_FROM: usize = 12;

/// A map from name patterns to settings, with an optional `default`.
#[derive(Debug, Clone)]
pub struct Patterns<T> {
    /// Longest first; among equally long ones the first written.
    entries: Vec<PatternEntry<T>>,
    index: HashMap<Box<str>, usize>,
    default: Option<T>,
    /// Written as a map, even if only `default` is in it.
    map: bool,
}

#[derive(Debug, Clone)]
struct PatternEntry<T> {
    written: Box<str>,
    lower: Box<str>,
    value: T,
}

/// A map from name prefixes to settings, with an optional `default`.
#[derive(Debug, Clone)]
pub struct Prefixes<T> {
    /// Lower case, longest first.
    entries: Vec<(Box<str>, T)>,
    default: Option<T>,
}

// === impl Patterns ===

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), default: None, map: false }
    }
}

impl<T> Patterns<T> {
    /// Takes the written pairs; the key `default` becomes the default. An empty key is dropped,
    /// since it would be contained in every name.
    pub fn new(pairs: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut default = None;
        let mut entries: Vec<PatternEntry<T>> = Vec::new();
        for (key, value) in pairs {
            if key == "default" {
                default = Some(value);
            } else if !key.is_empty() {
                entries.push(PatternEntry { lower: key.to_lowercase().into(), written: key.into(), value });
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.lower.len()));
        let index = if entries.len() >= INDEXED_FROM {
            entries.iter().enumerate().rev().map(|(at, entry)| (entry.written.clone(), at)).collect()
        } else {
            HashMap::new()
        };
        Self { entries, index, default, map: true }
    }

    /// A table that gives `value` for every name.
    pub fn only_default(value: T) -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), default: Some(value), map: false }
    }

    /// Whether settings were written by name, rather than one for all.
    pub fn is_by_name(&self) -> bool {
        self.map
    }

    /// Whether no name finds anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.default.is_none()
    }

    /// The setting of the key that is `name` or, failing that, the longest contained in it.
    pub fn named(&self, name: &str) -> Option<&T> {
        if self.entries.is_empty() {
            return None;
        }
        if let Some(at) = self.exact(name) {
            return Some(&self.entries[at].value);
        }
        let lower = name.to_lowercase();
        self.entries.iter().find(|entry| lower.contains(&*entry.lower)).map(|entry| &entry.value)
    }

    /// The setting under `default`.
    pub fn default_value(&self) -> Option<&T> {
        self.default.as_ref()
    }

    /// [`named`](Self::named), then [`default_value`](Self::default_value).
    pub fn get(&self, name: &str) -> Option<&T> {
        self.named(name).or(self.default.as_ref())
    }

    /// Every setting of the table, the default last.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value).chain(self.default.as_ref())
    }

    fn exact(&self, name: &str) -> Option<usize> {
        if self.index.is_empty() {
            self.entries.iter().position(|entry| &*entry.written == name)
        } else {
            self.index.get(name).copied()
        }
    }
}

/// The order in which a channel's and the global table are asked: the channel by request model, by
/// upstream model, its default, then the global table in the same way.
pub fn layered<'a, T>(
    channel: &'a Patterns<T>,
    global: &'a Patterns<T>,
    alias: &str,
    upstream: &str,
) -> Option<&'a T> {
    let ask = |table: &'a Patterns<T>| {
        table.named(alias).or_else(|| table.named(upstream)).or_else(|| table.default_value())
    };
    ask(channel).or_else(|| ask(global))
}

// === impl Prefixes ===

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), default: None }
    }
}

impl<T> Prefixes<T> {
    /// Takes the written pairs; the key `default` becomes the default.
    pub fn new(pairs: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut default = None;
        let mut entries: Vec<(Box<str>, T)> = Vec::new();
        for (key, value) in pairs {
            if key == "default" {
                default = Some(value);
            } else if !key.is_empty() {
                entries.push((key.to_lowercase().into(), value));
            }
        }
        entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        Self { entries, default }
    }

    /// Whether names make a difference.
    pub fn is_by_name(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The setting of the longest key that `name` begins with (in any case), else the default.
    pub fn get(&self, name: &str) -> Option<&T> {
        if self.entries.is_empty() {
            return self.default.as_ref();
        }
        let lower = name.to_lowercase();
        self.entries
            .iter()
            .find(|(prefix, _)| lower.starts_with(&**prefix))
            .map(|(_, value)| value)
            .or(self.default.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, u32)]) -> Patterns<u32> {
        Patterns::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)))
    }

    #[test]
    fn the_exact_key_beats_a_longer_contained_one() {
        let table = table(&[("gpt-5", 1), ("gpt-5-mini", 2), ("GPT-5", 3)]);

        assert_eq!(table.get("gpt-5"), Some(&1));
        assert_eq!(table.get("GPT-5"), Some(&3));
    }

    #[test]
    fn the_longest_contained_key_wins_whatever_the_order_and_case() {
        let table = table(&[("gemini-3-pro", 30), ("gemini-3-pro-image", 100), ("default", 10)]);

        assert_eq!(table.get("Gemini-3-Pro-Image-x"), Some(&100));
        assert_eq!(table.get("google/gemini-3-pro-x"), Some(&30));
        assert_eq!(table.get("gpt"), Some(&10));
        assert_eq!(table.named("gpt"), None);
    }

    #[test]
    fn the_word_default_is_no_pattern() {
        let table = table(&[("default", 1)]);

        assert_eq!(table.named("my-default-model"), None);
    }

    #[test]
    fn an_empty_key_matches_nothing() {
        assert_eq!(table(&[("", 1)]).get("x"), None);
    }

    #[test]
    fn a_large_table_answers_like_a_small_one() {
        let names: Vec<String> = (0..100).map(|n| format!("model-{n}")).collect();
        let large = Patterns::new(names.iter().cloned().zip(0u32..));

        for (name, n) in names.iter().zip(0u32..) {
            assert_eq!(large.get(name), Some(&n));
        }
        assert_eq!(large.get("x/MODEL-12-y"), Some(&12));
        assert_eq!(large.get("model"), None);
    }

    #[test]
    fn both_names_are_asked_before_a_default() {
        let channel = table(&[("up", 1), ("default", 2)]);
        let global = table(&[("alias", 3)]);

        assert_eq!(layered(&channel, &global, "alias", "up"), Some(&1));
        assert_eq!(layered(&channel, &global, "alias", "other"), Some(&2));
        assert_eq!(layered(&Patterns::default(), &global, "alias", "up"), Some(&3));
    }

    #[test]
    fn the_longest_prefix_gives_the_price() {
        let prices =
            Prefixes::new([("gpt".to_owned(), 1), ("gpt-5".to_owned(), 2), ("default".to_owned(), 3)]);

        assert_eq!(prices.get("GPT-5.2"), Some(&2));
        assert_eq!(prices.get("gpt-4"), Some(&1));
        assert_eq!(prices.get("my-gpt-5"), Some(&3));
    }
}
