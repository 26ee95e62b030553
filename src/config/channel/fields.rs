//! Reads the fields of a provider that need more than a look-up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::lookup::{Patterns, layered};
use crate::config::problem::{Report, nearest, shown};
use crate::config::schema::{Item, Section};
use crate::config::settings::{ChannelSettings, KEEPALIVE_OFF, SecretText, names_a_model};
use crate::config::tree::Value;
use crate::providers;
use crate::values::KeyAlgorithm;

/// Request headers that never go to an upstream: they carry the client's own credentials, or
/// belong to one connection.
const NEVER_PASSED: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "cookie",
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
];

/// Words that others write before the name of a model; here they would be names themselves.
pub(in crate::config) const NAMES_OF_NAMES: [&str; 4] = ["name", "model", "id", "model_name"];

/// The distinct keys. A project that stands parallel to a repeated key goes with it.
pub(super) fn keys(
    section: &Section<'_>,
    projects: &mut Vec<String>,
    report: &mut Report,
) -> Vec<SecretText> {
    let Some(item) = section.get("api") else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    let items = item.items();
    let parallel = projects.len() == items.len();
    let mut repeated = Vec::new();
    for (ordinal, item) in items.iter().enumerate() {
        let Some(key) = item.secret(report) else {
            continue;
        };
        if !key.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            let found = "a key with spaces, line ends or letters beyond ASCII";
            report.error(item.node.id, item.path, found, "a key that an HTTP header can carry");
            continue;
        }
        if key.contains("***") || key.bytes().all(|b| b == b'*') {
            item.warn("a masked key", "the key as it is; the provider refuses this one", report);
        }
        if seen.insert(key.clone()) {
            keys.push(SecretText::from(key.as_str()));
        } else {
            repeated.push(ordinal);
            item.warn("a key that stands above already", "each key once; this one is ignored", report);
        }
    }
    if parallel {
        for ordinal in repeated.into_iter().rev() {
            projects.remove(ordinal);
        }
    }
    keys
}

/// How many tokens models can look at: a number for all of them, or numbers by name.
pub(super) fn context_lengths(preferences: &Section<'_>, report: &mut Report) -> Patterns<u64> {
    let Some(item) = preferences.get("context_length") else { return Patterns::default() };
    let tokens = |item: Item<'_>, report: &mut Report| {
        let number = item.number().filter(|tokens| *tokens >= 1.0 && *tokens <= 1e12);
        if number.is_none() {
            item.refuse("a number of tokens such as 128000", report);
        }
        number.map(|tokens| tokens as u64)
    };
    let Some(pairs) = item.pairs() else {
        return tokens(item, report).map(Patterns::only_default).unwrap_or_default();
    };
    let read = pairs.filter_map(|(pair, item)| Some((pair.key.clone(), tokens(item, report)?)));
    Patterns::new(read.collect::<Vec<_>>())
}

/// (alias, upstream) in written order; of two equal aliases the later decides, in the place of the
/// earlier.
pub(super) fn models(item: Option<Item<'_>>, report: &mut Report) -> Vec<(Arc<str>, Arc<str>)> {
    let Some(item) = item else {
        return Vec::new();
    };
    if !matches!(item.node.value, Value::List(_)) {
        item.warn(item.node.describe(), "a list; taken as a list of one", report);
    }
    let mut list: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    let mut add = |alias: &str, upstream: &str, item: Item<'_>, report: &mut Report| {
        let alias: Arc<str> = alias.into();
        let upstream: Arc<str> = if *alias == *upstream { alias.clone() } else { upstream.into() };
        if upstream.contains('*') {
            let found = format!("{:?}, a name with a star", shown(&upstream));
            let accepted = "models by their names; without `model` the upstream is asked for all it has";
            item.warn(found, accepted, report);
        }
        match places.get(&alias) {
            Some(&at) if list[at].1 == upstream => {}
            Some(&at) => {
                let found = format!("{:?}, a name that an earlier model has", shown(&alias));
                item.warn(found, "each name once per channel; the later one is used", report);
                list[at].1 = upstream;
            }
            None => {
                places.insert(alias.clone(), list.len());
                list.push((alias, upstream));
            }
        }
    };
    for item in item.items() {
        match item.pairs() {
            Some(pairs) => {
                for (pair, item) in pairs {
                    let upstream = pair.key.trim();
                    if upstream.is_empty() {
                        continue;
                    }
                    if NAMES_OF_NAMES.contains(&upstream)
                        && let Some(name) = item.plain()
                    {
                        let found = format!("a model that the upstream calls {upstream:?}");
                        let accepted = "a name, or the upstream's name: the name for clients";
                        report.warn(pair.key_id, item.path, found, accepted);
                        report.hint(format!("write `- {}`", shown(&name)));
                    }
                    if item.node.is_null() {
                        add(upstream, upstream, item, report);
                    }
                    for item in item.items() {
                        if let Some(alias) = item.text(report) {
                            add(&alias, upstream, item, report);
                        }
                    }
                }
            }
            None => {
                if let Some(name) = item.text(report) {
                    add(&name, &name, item, report);
                }
            }
        }
    }
    list
}

pub(super) fn key_algorithm(preferences: &Section<'_>, report: &mut Report) -> KeyAlgorithm {
    let Some((item, text)) =
        preferences.get("api_key_schedule_algorithm").and_then(|item| Some((item, item.text(report)?)))
    else {
        return KeyAlgorithm::default();
    };
    match text.to_ascii_lowercase().as_str() {
        "round_robin" => KeyAlgorithm::RoundRobin,
        "random" => KeyAlgorithm::Random,
        "fixed_priority" => KeyAlgorithm::FixedPriority,
        "smart_round_robin" => KeyAlgorithm::SmartRoundRobin,
        other => {
            let names = ["round_robin", "random", "fixed_priority", "smart_round_robin"];
            let accepted = format!("one of {}; taken as round_robin", names.join(", "));
            item.warn(item.node.describe(), &accepted, report);
            if let Some(known) = nearest(other, names) {
                report.hint(format!("did you mean {known}?"));
            }
            KeyAlgorithm::RoundRobin
        }
    }
}

pub(super) fn headers(preferences: &Section<'_>, report: &mut Report) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(item) = preferences.get("headers") else {
        return headers;
    };
    let Some(pairs) = item.pairs() else {
        item.refuse("a map of header names to values", report);
        return headers;
    };
    for (pair, item) in pairs {
        let Some(text) = item.plain() else {
            if !item.node.is_null() {
                item.refuse("a text", report);
            }
            continue;
        };
        let name = HeaderName::from_bytes(pair.key.trim().as_bytes());
        let value = HeaderValue::from_str(&text);
        match (name, value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (Err(_), _) => {
                report.error(pair.key_id, item.path, "a name that no header can have", "a header name")
            }
            (_, Err(_)) => report.error(
                item.node.id,
                item.path,
                "a value that no header can carry",
                "ASCII text in one line",
            ),
        }
    }
    headers
}

pub(super) fn passthrough(preferences: &Section<'_>, report: &mut Report) -> Vec<HeaderName> {
    let mut names = Vec::new();
    let Some(list) = preferences.get("passthrough_request_headers") else {
        return names;
    };
    for item in list.items() {
        let Some(text) = item.text(report) else {
            continue;
        };
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            item.refuse("a header name", report);
            continue;
        };
        if name.as_str().contains('*') {
            item.warn(
                format!("{:?}, a name with a star", name.as_str()),
                "headers by their names; a star stands for itself only",
                report,
            );
        } else if NEVER_PASSED.contains(&name.as_str()) {
            item.warn(
                format!("{:?}", name.as_str()),
                "headers that neither hold the client's credentials nor belong to its connection; this one is not passed",
                report,
            );
        } else if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// `exclude_endpoints`, beside `preferences` or in them.
pub(super) fn exclude_endpoints(
    section: &Section<'_>,
    preferences: &Section<'_>,
    report: &mut Report,
) -> Vec<Box<str>> {
    let mut paths = Vec::new();
    for section in [section, preferences] {
        let Some(list) = section.get("exclude_endpoints") else {
            continue;
        };
        for item in list.items() {
            let Some(text) = item.text(report) else {
                continue;
            };
            let path = format!("/{}", text.trim_matches('/'));
            if path.contains('*') {
                let found = format!("{:?}, a path with a star", shown(&text));
                item.warn(found, "whole paths such as /v1/embeddings; this one excludes nothing", report);
            }
            paths.push(path.into());
        }
    }
    paths
}

/// Names that are added, or removed with a minus; or a map of names to flags.
pub(super) fn quirks(preferences: &Section<'_>, report: &mut Report) -> Vec<(Box<str>, bool)> {
    let mut list = Vec::new();
    let Some(item) = preferences.get("quirks") else {
        return list;
    };
    let mut add = |name: &str, on: bool, item: Item<'_>, report: &mut Report| {
        if providers::quirk_names().any(|known| known == name) {
            list.push((name.into(), on));
        } else {
            let known: Vec<_> = providers::quirk_names().collect();
            let accepted = format!("one of {}; this one is ignored", known.join(", "));
            item.warn(format!("{:?}", shown(name)), &accepted, report);
        }
    };
    match item.pairs() {
        Some(pairs) => {
            for (pair, item) in pairs {
                if let Some(on) = item.flag(report) {
                    add(&pair.key, on, item, report);
                }
            }
        }
        None => {
            for item in item.items() {
                if let Some(text) = item.text(report) {
                    match text.strip_prefix('-') {
                        Some(name) => add(name.trim(), false, item, report),
                        None => add(&text, true, item, report),
                    }
                }
            }
        }
    }
    list
}

pub(super) fn check_overrides(
    channel: &ChannelSettings,
    models: &[(Arc<str>, Arc<str>)],
    preferences: &Section<'_>,
    report: &mut Report,
) {
    let Some(item) = preferences.get("post_body_parameter_overrides") else {
        return;
    };
    let names: HashSet<&str> = models.iter().flat_map(|(alias, upstream)| [&**alias, &**upstream]).collect();
    let Some(pairs) = item.pairs() else {
        return;
    };
    for (pair, item) in pairs {
        let is_model = names.contains(&*pair.key);
        if is_model && !item.node.is_null() && item.pairs().is_none() {
            item.warn(item.node.describe(), "a map of body fields for this model; ignored", report);
        } else if !is_model && !channel.discover && names_a_model(&pair.key) {
            let found = "the name of a model that this channel does not have";
            report.warn(
                pair.key_id,
                item.path,
                found,
                "an alias or upstream model of the channel; it has no effect",
            );
            if let Some(known) = nearest(&pair.key, names.iter().copied()) {
                report.hint(format!("did you mean {}?", shown(known)));
            }
        }
    }
}

pub(super) fn check_keepalive(channel: &ChannelSettings, preferences: &Section<'_>, report: &mut Report) {
    let Some(item) = preferences.get("keepalive_interval") else {
        return;
    };
    let none = Patterns::default();
    let dropped = channel.models.iter().find(|model| {
        let named = layered(&channel.tables.keepalive, &none, &model.alias, &model.upstream);
        named.is_some_and(|every| !every.is_zero() && *every < KEEPALIVE_OFF) && model.keepalive.is_none()
    });
    if let Some(model) = dropped {
        let accepted = format!(
            "an interval below the model's timeout of {} s; ignored for it",
            model.timeouts.idle.as_secs_f64()
        );
        item.warn(format!("an interval for {:?} that is not", shown(&model.alias)), &accepted, report);
    }
}
