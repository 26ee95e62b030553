//! Knows every key of an `api.yaml` and reads what was typed under it.
//!
//! Permissive where people are: a number stands for a text, a text for a number or a flag, one
//! value for a list of one, and null for an absent key. A value that cannot be read is an error
//! with its place; a key that nobody knows is a warning with the one that was probably meant.

use std::time::Duration;

use super::environment::{flag, seconds, size};
use super::problem::{Path, Report, nearest, shown};
use super::tree::{Node, Pair, Value};
use super::words;

/// A part of the document with a fixed set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// What messages call it.
    pub name: &'static str,
    /// Keys that have an effect.
    pub known: &'static [&'static str],
    /// Keys of other versions that are read past; the text says why.
    pub inert: &'static [(&'static str, &'static str)],
    /// Keys that other programs leave in the file; read past silently.
    pub silent: &'static [&'static str],
}

const NO_EFFECT: &str = "no effect in this program";

/// The top of the document.
pub const TOP: Keys = Keys {
    name: "the configuration",
    known: &["providers", "api_keys", "preferences"],
    inert: &[("video_providers", NO_EFFECT), ("video", NO_EFFECT)],
    silent: &[],
};

/// An entry of `providers`.
pub const PROVIDER: Keys = Keys {
    name: "a provider",
    known: &[
        "provider",
        "base_url",
        "api",
        "model",
        "engine",
        "enabled",
        "discover",
        "tools",
        "image",
        "notes",
        "project_id",
        "private_key",
        "client_email",
        "token_uri",
        "region",
        "cf_account_id",
        "aws_access_key",
        "aws_secret_key",
        "aws_session_token",
        "api_version",
        "exclude_endpoints",
        "max_request_body_bytes",
        "preferences",
    ],
    inert: &[
        ("only_request_types", NO_EFFECT),
        ("exclude_request_types", NO_EFFECT),
        ("exclude_request_rules", NO_EFFECT),
    ],
    silent: &["_model_dict_cache"],
};

/// `preferences` of a provider.
pub const PROVIDER_PREFERENCES: Keys = Keys {
    name: "a provider's preferences",
    known: &[
        "api_key_rate_limit",
        "api_key_cooldown_period",
        "api_key_schedule_algorithm",
        "cooldown_period",
        "model_timeout",
        "keepalive_interval",
        "timeout_policy",
        "proxy",
        "headers",
        "passthrough_request_headers",
        "post_body_parameter_overrides",
        "quirks",
        "context_length",
        "http2",
        "api_version",
        "exclude_endpoints",
        "max_request_body_bytes",
    ],
    inert: &[
        ("api_key_quota_cooldown_period", "no effect; how long a key cools follows the upstream's own hint"),
        (
            "api_key_rate_limit_cooldown_period",
            "no effect; how long a key cools follows the upstream's own hint",
        ),
        ("only_request_types", NO_EFFECT),
        ("exclude_request_types", NO_EFFECT),
        ("exclude_request_rules", NO_EFFECT),
        ("responses_stream_commit_policy", NO_EFFECT),
        ("normalize_responses_custom_tool_call_ids", NO_EFFECT),
        ("search_defaults", NO_EFFECT),
        ("oaix_routing_attempt_id", NO_EFFECT),
    ],
    silent: &[],
};

/// An entry of `api_keys`.
pub const CALLER: Keys = Keys {
    name: "a client key",
    known: &["api", "model", "role", "enabled", "weights", "preferences"],
    inert: &[],
    silent: &[],
};

/// `preferences` of a client key.
pub const CALLER_PREFERENCES: Keys = Keys {
    name: "a client key's preferences",
    known: &[
        "SCHEDULING_ALGORITHM",
        "AUTO_RETRY",
        "rate_limit",
        "ENABLE_MODERATION",
        "moderation_scope",
        "credits",
        "created_at",
        "expose_route",
        "affinity",
        "store_responses",
    ],
    inert: &[],
    silent: &[],
};

/// The top-level `preferences`.
pub const PREFERENCES: Keys = Keys {
    name: "the global preferences",
    known: &[
        "model_timeout",
        "keepalive_interval",
        "timeout_policy",
        "cooldown_period",
        "rate_limit",
        "error_triggers",
        "proxy",
        "model_price",
    ],
    inert: &[("hedging", NO_EFFECT)],
    silent: &[],
};

/// A `timeout_policy`.
pub const TIMEOUT_POLICY: Keys =
    Keys { name: "a timeout policy", known: &["default", "rules"], inert: &[], silent: &[] };

/// An entry of `timeout_policy.rules`.
pub const TIMEOUT_RULE: Keys =
    Keys { name: "a timeout rule", known: &["match", "timeout"], inert: &[], silent: &[] };

/// `match` of a timeout rule.
pub const TIMEOUT_MATCH: Keys = Keys {
    name: "a timeout rule's match",
    known: &[
        "endpoint",
        "stream",
        "request_type",
        "method",
        "engine",
        "provider",
        "model",
        "request_model",
        "upstream_model",
        "role",
    ],
    inert: &[],
    silent: &[],
};

/// `default` of a timeout policy and `timeout` of its rules.
pub const TIMEOUT_LIMITS: Keys = Keys {
    name: "time limits",
    known: &["connect", "first_byte", "idle", "total"],
    inert: &[
        ("write", "no effect; a request that is being taken counts as activity"),
        ("pool", "no effect; a request never waits for a pooled connection"),
    ],
    silent: &[],
};

/// A price as a map.
pub const PRICE: Keys = Keys {
    name: "a price",
    known: &["input", "output", "cache_read", "cache_write", "reasoning", "image", "audio"],
    inert: &[],
    silent: &[],
};

/// Every part of the document with fixed keys.
pub const ALL: &[Keys] = &[
    TOP,
    PROVIDER,
    PROVIDER_PREFERENCES,
    CALLER,
    CALLER_PREFERENCES,
    PREFERENCES,
    TIMEOUT_POLICY,
    TIMEOUT_RULE,
    TIMEOUT_MATCH,
    TIMEOUT_LIMITS,
    PRICE,
];

/// A map of the document with known keys.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    /// The node of the map, for problems about it as a whole.
    pub(super) id: u32,
    pub(super) path: Path<'a>,
    pairs: &'a [Pair],
    /// Whether it holds keys that nobody knows.
    pub(super) has_unknown: bool,
}

/// A value with its place.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path<'a>,
}

// === impl Section ===

impl<'a> Section<'a> {
    /// Opens a map and reports its unknown keys; null is an empty map.
    pub(super) fn open(item: Item<'a>, keys: &Keys, report: &mut Report) -> Option<Self> {
        let pairs: &[Pair] = match &item.node.value {
            Value::Null => &[],
            Value::Map(pairs) => pairs,
            _ => {
                let accepted = format!("a map with keys such as {}", some(keys.known));
                report.error(item.node.id, item.path, item.node.describe(), &accepted);
                return None;
            }
        };
        let mut has_unknown = false;
        for pair in pairs {
            let key = &*pair.key;
            if keys.known.contains(&key) || keys.silent.contains(&key) || key.starts_with("x-") {
                continue;
            }
            if let Some((_, why)) = keys.inert.iter().find(|(inert, _)| *inert == key) {
                report.warn(pair.key_id, item.path.key(key), "a key of other versions", why);
                continue;
            }
            has_unknown = true;
            unknown(pair, item.path.key(key), keys, pairs, report);
        }
        Some(Self { id: item.node.id, path: item.path, pairs, has_unknown })
    }

    /// The word that stands in place of this key, for a problem about its absence.
    pub(super) fn hint_at(&self, keys: &Keys, key: &str, report: &mut Report) {
        let stands_for = |pair: &&Pair| words::meaning(keys, &pair.key).is_some_and(|word| word.key == key);
        if let Some(pair) = self.pairs.iter().find(stands_for) {
            report.hint(format!("{} is called {key} here", shown(&pair.key)));
        }
    }

    /// The value of a key; null is absent.
    pub(super) fn get<'s>(&'s self, key: &'s str) -> Option<Item<'s>> {
        let pair = self.pairs.iter().find(|pair| pair.key == key)?;
        (!pair.value.is_null()).then(|| Item { node: &pair.value, path: self.path.key(key) })
    }

    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<String> {
        self.get(key)?.text(report)
    }

    pub(super) fn flag(&self, key: &str, default: bool, report: &mut Report) -> bool {
        self.get(key).and_then(|item| item.flag(report)).unwrap_or(default)
    }

    pub(super) fn seconds(&self, key: &str, report: &mut Report) -> Option<Duration> {
        self.get(key)?.seconds(report)
    }

    pub(super) fn texts(&self, key: &str, report: &mut Report) -> Vec<String> {
        self.get(key).map(|item| item.texts(report)).unwrap_or_default()
    }

    pub(super) fn size(&self, key: &str, report: &mut Report) -> Option<u64> {
        let item = self.get(key)?;
        let bytes = size(&item.printed()?);
        if bytes.is_none() {
            item.refuse("bytes, or a size such as 20MB or 64MiB", report);
        }
        bytes
    }
}

/// Tells of a key that nobody knows: what was meant, and what comes of its being ignored.
fn unknown(pair: &Pair, path: Path<'_>, keys: &Keys, beside: &[Pair], report: &mut Report) {
    let key = &*pair.key;
    let word = words::meaning(keys, key);
    let near = nearest(key, keys.known.iter().copied());
    let (meant, hint) = match (word, near, homes(key, keys)) {
        (Some(word), _, _) => (Some(word.key), Some(word.hint.to_owned())),
        (None, Some(near), _) => (Some(near), Some(format!("did you mean {near}?"))),
        (None, None, Some(homes)) => (Some(key), Some(format!("{key} belongs to {homes}"))),
        (None, None, None) => (None, None),
    };
    let written = |key: &str| {
        keys.known.contains(&key) && beside.iter().any(|pair| pair.key == key && !pair.value.is_null())
    };
    let wider = meant.filter(|key| !written(key)).and_then(|key| words::consequence(keys, key));
    let accepted = match wider {
        Some(wider) => format!("keys of {}; this one is ignored: {wider}", keys.name),
        None => format!("keys of {}; this one is ignored", keys.name),
    };
    report.warn(pair.key_id, path, format!("unknown key {:?}", shown(key)), &accepted);
    if let Some(hint) = hint {
        report.hint(hint);
    }
}

/// The sections that this key is one of; those of the same entry come first.
fn homes(key: &str, met_in: &Keys) -> Option<String> {
    let is_kin = |other: &&&Keys| {
        ["provider", "client key"]
            .iter()
            .any(|entry| other.name.contains(entry) && met_in.name.contains(entry))
    };
    let known: Vec<&Keys> = ALL.iter().filter(|other| other.known.contains(&key)).collect();
    let (kin, others): (Vec<&Keys>, Vec<&Keys>) = known.iter().partition(is_kin);
    let names: Vec<&str> = if kin.is_empty() { others } else { kin }.iter().map(|keys| keys.name).collect();
    (!names.is_empty()).then(|| names.join(" or "))
}

/// Tells of a star in the name of a map of names: it stands for itself there, and nothing more.
/// `rule` says which models a name counts for.
pub(super) fn warn_of_star(pair: &Pair, path: Path<'_>, rule: &str, report: &mut Report) {
    if !pair.key.contains('*') {
        return;
    }
    let found = format!("{:?}, a name with a star", shown(&pair.key));
    report.warn(pair.key_id, path, found, &format!("{rule}; a star stands for itself only"));
    let bare = pair.key.replace('*', "");
    report.hint(match bare.trim() {
        "" => "write default".to_owned(),
        bare => format!("write {}", shown(bare)),
    });
}

/// The models that a name of a map counts for, where a part of theirs is enough.
pub(super) const BY_PART: &str =
    "a model's name, or a part of it, which counts for every model whose name holds it";

// === impl Item ===

impl<'a> Item<'a> {
    pub(super) fn refuse(&self, accepted: &str, report: &mut Report) {
        report.error(self.node.id, self.path, self.node.describe(), accepted);
    }

    pub(super) fn warn(&self, found: impl Into<String>, accepted: &str, report: &mut Report) {
        report.warn(self.node.id, self.path, found, accepted);
    }

    /// A scalar as it was typed, without complaint.
    pub(super) fn plain(&self) -> Option<String> {
        match &self.node.typed {
            Some(typed) => Some(typed.to_string()),
            None => self.printed(),
        }
    }

    /// A scalar as it is printed, so that `0x10` and `1e3` are numbers in digits.
    pub(super) fn printed(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.trim().to_owned()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// A scalar as text; blank is absent.
    pub(super) fn text(&self, report: &mut Report) -> Option<String> {
        match self.plain() {
            Some(text) => Some(text).filter(|text| !text.is_empty()),
            None => {
                if !self.node.is_null() {
                    self.refuse("a text", report);
                }
                None
            }
        }
    }

    /// A secret as text: what is found is never shown.
    pub(super) fn secret(&self, report: &mut Report) -> Option<String> {
        match &self.node.value {
            Value::List(_) | Value::Map(_) => {
                self.refuse("a text", report);
                // `- key: sk-…`, as other programs have it. The key of the map may be the secret.
                if let Value::Map(pairs) = &self.node.value
                    && let Some(pair) = pairs.first()
                {
                    let word = pair.key.as_str();
                    let is_word = words::meaning(&PROVIDER, word).is_some() || PROVIDER.known.contains(&word);
                    let without = if is_word { format!(", without `{word}:`") } else { String::new() };
                    report.hint(format!("write `- sk-…`: the key alone{without}"));
                }
                None
            }
            _ => self.plain().filter(|text| !text.is_empty()),
        }
    }

    pub(super) fn flag(&self, report: &mut Report) -> Option<bool> {
        let value = match &self.node.value {
            Value::Bool(value) => Some(*value),
            _ => self.plain().and_then(|text| flag(&text)),
        };
        if value.is_none() {
            self.refuse("true or false", report);
        }
        value
    }

    pub(super) fn number(&self) -> Option<f64> {
        match &self.node.value {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Seconds; a negative number counts as 0, as it does for the reader of the clock.
    pub(super) fn seconds(&self, report: &mut Report) -> Option<Duration> {
        self.seconds_or("a number of seconds", report)
    }

    /// The same, where more than seconds is accepted.
    pub(super) fn seconds_or(&self, accepted: &str, report: &mut Report) -> Option<Duration> {
        let Some(number) = self.number().filter(|number| !number.is_nan()) else {
            self.refuse(accepted, report);
            return None;
        };
        if number < 0.0 {
            self.warn(number.to_string(), "a number of seconds, 0 or more; taken as 0", report);
            return Some(Duration::ZERO);
        }
        seconds(number)
    }

    /// The items of a list, or the value itself as a list of one. Nulls are left out.
    pub(super) fn items(&'a self) -> Vec<Item<'a>> {
        match &self.node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .filter(|(_, node)| !node.is_null())
                .map(|(index, node)| Item { node, path: self.path.index(index) })
                .collect(),
            Value::Null => Vec::new(),
            _ => vec![*self],
        }
    }

    /// Texts, from a list or from one value.
    pub(super) fn texts(&self, report: &mut Report) -> Vec<String> {
        self.items().iter().filter_map(|item| item.text(report)).collect()
    }

    /// The entries of a map.
    pub(super) fn pairs(&'a self) -> Option<impl Iterator<Item = (&'a Pair, Item<'a>)>> {
        match &self.node.value {
            Value::Map(pairs) => Some(
                pairs.iter().map(|pair| (pair, Item { node: &pair.value, path: self.path.key(&pair.key) })),
            ),
            _ => None,
        }
    }
}

fn some(keys: &[&str]) -> String {
    keys.iter().take(4).copied().collect::<Vec<_>>().join(", ")
}
