//! Reads `model_timeout`, `keepalive_interval` and `timeout_policy`.

use std::time::Duration;

use super::environment::flag;
use super::lookup::Patterns;
use super::problem::Report;
use super::schema::{
    BY_PART, Item, Section, TIMEOUT_LIMITS, TIMEOUT_MATCH, TIMEOUT_POLICY, TIMEOUT_RULE, warn_of_star,
};
use super::settings::{FixedMatch, RequestMatch, TimeLimits, TimeoutPolicy, TimeoutRule};

const SECONDS: &str = "a number of seconds, or a map of models to such numbers";

/// `model_timeout`: a map of patterns, or one number for all. Zero would fail every attempt, so it
/// counts as not written.
pub(super) fn timeouts(item: Option<Item<'_>>, report: &mut Report) -> Patterns<Duration> {
    table(item, report, |item, report| {
        let time = item.seconds_or(SECONDS, report)?;
        if time.is_zero() {
            item.warn(item.node.describe(), "seconds, more than 0; this one is ignored", report);
            return None;
        }
        Some(time)
    })
}

/// `keepalive_interval`: the same, where zero means off.
pub(super) fn keepalive(item: Option<Item<'_>>, report: &mut Report) -> Patterns<Duration> {
    table(item, report, |item, report| item.seconds_or(SECONDS, report))
}

fn table(
    item: Option<Item<'_>>,
    report: &mut Report,
    read: impl Fn(Item<'_>, &mut Report) -> Option<Duration>,
) -> Patterns<Duration> {
    let Some(item) = item else {
        return Patterns::default();
    };
    let Some(pairs) = item.pairs() else {
        return read(item, report).map(Patterns::only_default).unwrap_or_default();
    };
    let mut list = Vec::new();
    for (pair, item) in pairs {
        warn_of_star(pair, item.path, BY_PART, report);
        if !item.node.is_null()
            && let Some(time) = read(item, report)
        {
            list.push((pair.key.clone(), time));
        }
    }
    Patterns::new(list)
}

/// `timeout_policy`.
pub(super) fn policy(item: Option<Item<'_>>, report: &mut Report) -> TimeoutPolicy {
    let Some(section) = item.and_then(|item| Section::open(item, &TIMEOUT_POLICY, report)) else {
        return TimeoutPolicy::default();
    };
    let default = section.get("default").map(|item| limits(item, report)).unwrap_or_default();
    let mut rules = Vec::new();
    if let Some(list) = section.get("rules") {
        for item in list.items() {
            rules.extend(rule(item, report));
        }
    }
    TimeoutPolicy { default, rules }
}

fn rule(item: Item<'_>, report: &mut Report) -> Option<TimeoutRule> {
    let section = Section::open(item, &TIMEOUT_RULE, report)?;
    let Some(timeout) = section.get("timeout") else {
        report.warn(
            section.id,
            section.path,
            "a rule without `timeout`",
            "match and timeout; the rule is ignored",
        );
        return None;
    };
    let mut rule = TimeoutRule { limits: limits(timeout, report), ..TimeoutRule::default() };
    if rule.limits.connect.is_some() {
        timeout.warn(
            "`connect` in a rule",
            "connect in `default`, since connections are shared; ignored here",
            report,
        );
    }
    let Some(conditions) = section.get("match") else {
        return Some(rule);
    };
    let conditions = Section::open(conditions, &TIMEOUT_MATCH, report)?;
    // A condition that nobody understands must not make the rule apply to everything.
    if conditions.has_unknown {
        return None;
    }
    let fixed = [
        ("engine", FixedMatch::Engine),
        ("provider", FixedMatch::Provider),
        ("model", FixedMatch::Model),
        ("request_model", FixedMatch::RequestModel),
        ("upstream_model", FixedMatch::UpstreamModel),
    ];
    for (key, kind) in fixed {
        rule.fixed.extend(patterns(&conditions, key, report).map(|patterns| (kind, patterns)));
    }
    let request = [
        ("endpoint", RequestMatch::Endpoint),
        ("stream", RequestMatch::Stream),
        ("request_type", RequestMatch::RequestType),
        ("method", RequestMatch::Method),
        ("role", RequestMatch::Role),
    ];
    for (key, kind) in request {
        rule.request.extend(patterns(&conditions, key, report).map(|patterns| (kind, patterns)));
    }
    Some(rule)
}

fn patterns(section: &Section<'_>, key: &str, report: &mut Report) -> Option<Vec<Box<str>>> {
    let item = section.get(key)?;
    let texts = item.texts(report);
    if texts.iter().any(|text| text.trim_end_matches('*').contains('*') || text.ends_with("**")) {
        item.warn(
            "a star that is not at the end",
            "a text, or the beginning of one with * at its end",
            report,
        );
    }
    let normal = |text: String| match (key, flag(&text)) {
        ("stream", Some(on)) => on.to_string(),
        _ => text.to_lowercase(),
    };
    Some(texts.into_iter().map(|text| normal(text).into()).collect())
}

/// Time limits; a bare number is `first_byte`.
fn limits(item: Item<'_>, report: &mut Report) -> TimeLimits {
    if item.pairs().is_none() {
        return TimeLimits { first_byte: positive(item, report), ..TimeLimits::default() };
    }
    let Some(section) = Section::open(item, &TIMEOUT_LIMITS, report) else {
        return TimeLimits::default();
    };
    let mut limit = |key: &str| section.get(key).and_then(|item| positive(item, report));
    TimeLimits {
        connect: limit("connect"),
        first_byte: limit("first_byte"),
        idle: limit("idle"),
        total: limit("total"),
    }
}

fn positive(item: Item<'_>, report: &mut Report) -> Option<Duration> {
    let time = item.seconds(report)?;
    if time.is_zero() {
        item.warn(item.node.describe(), "seconds, more than 0; this one is ignored", report);
        return None;
    }
    Some(time)
}
