//! Reads the entries of `api_keys`.
//!
//! Keys are read in two passes, since a rule may name a key that stands further down.

mod nesting;
mod rules;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dialect::TextScope;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use layers::policy::{Affinity, Credits, Quota, Retries, Role};

use super::amount::dollars;
use super::channel::{Channels, limit, limit_table};
use super::environment::flag;
use super::moderation;
use super::problem::{Report, nearest, shown};
use super::schema::{CALLER, CALLER_PREFERENCES, Item, Section};
use super::settings::{CallerLimit, CallerSettings, SecretText};
use super::tree::{Node, Value};
use crate::values::Algorithm;

use self::rules::{Names, rules};

const ALGORITHMS: [&str; 6] =
    ["fixed_priority", "round_robin", "weighted_round_robin", "lottery", "random", "smart_round_robin"];

struct KeyEntry<'a> {
    section: Section<'a>,
    key: String,
    id: u32,
}

/// Reads all client keys, in order.
pub(super) fn read(list: Item<'_>, channels: &Channels, report: &mut Report) -> Vec<CallerSettings> {
    let items = list.items();
    let mut entries: Vec<KeyEntry<'_>> = Vec::with_capacity(items.len());
    let mut seen: HashSet<String> = HashSet::new();
    let mut disabled = HashSet::new();
    let mut disabled_admin = false;
    let mut first = None;
    for item in &items {
        let Some(section) = Section::open(*item, &CALLER, report) else {
            continue;
        };
        let Some((id, key)) = client_key(&section, report) else {
            continue;
        };
        if !seen.insert(key.clone()) {
            report.warn(
                id,
                section.path,
                "a key that an earlier entry has",
                "each key once; this entry is ignored",
            );
            continue;
        }
        first.get_or_insert_with(|| key.clone());
        if !section.flag("enabled", true, report) {
            let role = section.get("role").and_then(|item| item.plain());
            disabled_admin |= role.is_some_and(|role| role.eq_ignore_ascii_case("admin"));
            disabled.insert(key);
            continue;
        }
        entries.push(KeyEntry { section, key, id });
    }

    let mut names = Names::new(channels, &entries, &disabled);
    let mut quotas = HashMap::new();
    let alone = seen.len() == 1;
    let mut callers = Vec::with_capacity(entries.len());
    let mut limits = HashMap::new();
    for entry in &entries {
        callers.push(caller(entry, alone, &mut names, &mut quotas, &mut limits, report));
    }
    let none_is_admin = !disabled_admin && callers.iter().all(|caller| caller.role != Role::Admin);
    if let Some(entry) = entries.first()
        && none_is_admin
    {
        // Turning the first key off must not hand its rights to the second.
        if first.as_ref() == Some(&entry.key) {
            callers[0].role = Role::Steward;
        }
        let accepted = "role: admin at one of them; without it the first key may use /v1/stats, /v1/token_usage and \
                        /v1/generate-api-key, and no key may read the configuration or ask explain for others";
        report.warn(entry.section.id, entry.section.path, "several keys, none with role: admin", accepted);
    }
    nesting::check(&callers, &entries, report);
    warn_unmoderated(&callers, channels, &entries, report);
    callers
}

/// Warns of keys whose requests would all be refused, because nothing moderates them.
fn warn_unmoderated(
    callers: &[CallerSettings],
    channels: &Channels,
    entries: &[KeyEntry<'_>],
    report: &mut Report,
) {
    for at in moderation::unmoderated(callers, &channels.read) {
        let entry = &entries[at];
        let path = entry.section.path.key("preferences");
        let found = format!("ENABLE_MODERATION without a channel for {}", moderation::MODEL);
        let accepted = "a provider that has that model among those that the key may use; without one its requests are refused";
        report.warn(entry.id, path.key("ENABLE_MODERATION"), found, accepted);
    }
}

fn client_key(section: &Section<'_>, report: &mut Report) -> Option<(u32, String)> {
    let Some(item) = section.get("api") else {
        report.error(
            section.id,
            section.path,
            "a client key without `api`",
            "api: the key that clients send",
        );
        section.hint_at(&CALLER, "api", report);
        return None;
    };
    let items = item.items();
    if items.len() > 1 {
        item.refuse("one key; further keys are further entries", report);
        return None;
    }
    let key = items.first().and_then(|item| item.secret(report));
    if key.is_none() {
        report.error(item.node.id, item.path, "nothing", "the key that clients send");
    }
    Some((item.node.id, key?))
}

fn caller(
    entry: &KeyEntry<'_>,
    alone: bool,
    names: &mut Names<'_>,
    quotas: &mut HashMap<String, Arc<Quota>>,
    limits: &mut HashMap<Vec<(String, String)>, CallerLimit>,
    report: &mut Report,
) -> CallerSettings {
    let section = &entry.section;
    let empty = Node { id: section.id, value: Value::Null, typed: None };
    let nothing = Item { node: &empty, path: section.path };
    let preferences =
        Section::open(section.get("preferences").unwrap_or(nothing), &CALLER_PREFERENCES, report)
            .or_else(|| Section::open(nothing, &CALLER_PREFERENCES, report))
            .expect("null is an empty map");
    let key = SecretText::from(entry.key.as_str());
    let written = section.text("role", report);
    // Exactly this word, in any case: with a blank beside it, it is another.
    let says_admin =
        |item: Item<'_>| matches!(&item.node.value, Value::Text(role) if role.eq_ignore_ascii_case("admin"));
    let is_admin = alone || section.get("role").is_some_and(says_admin);
    if let Some(role) = written.as_deref().filter(|role| !is_admin && role.to_lowercase().contains("admin"))
        && let Some(item) = section.get("role")
    {
        item.warn(
            format!("{:?}", shown(role)),
            "exactly admin for an administrator; this one is a user",
            report,
        );
    }
    let algorithm = algorithm(&preferences, report);
    let rules = rules(section, names, report);
    let weighted = matches!(algorithm, Algorithm::WeightedRoundRobin | Algorithm::Lottery);
    if !weighted
        && rules.iter().any(|rule| rule.weight.is_some())
        && let Some(item) = section.get("model")
    {
        item.warn(
            "weights",
            "weights under weighted_round_robin or lottery; elsewhere they do nothing",
            report,
        );
    }
    let unweighted = rules.iter().any(|rule| rule.weight.is_none());
    if weighted
        && unweighted
        && rules.iter().any(|rule| rule.weight.is_some())
        && let Some(item) = section.get("model")
    {
        let accepted = "a weight for each that is to share; what only a rule without one names is asked when \
                        all with a weight have failed";
        report.note(item.node.id, item.path, "rules without a weight beside rules with one", accepted);
    }
    CallerSettings {
        alias: written.as_deref().map_or_else(|| key.fingerprint().as_str().into(), Into::into),
        key,
        role: if is_admin { Role::Admin } else { Role::User },
        rules,
        algorithm,
        retries: retries(&preferences, report),
        rate_limit: rate_limit(&preferences, quotas, limits, report),
        moderation: moderation_scope(&preferences, report),
        affinity: affinity(&preferences, report),
        credits: credits(&preferences, report),
        expose_route: preferences.flag("expose_route", false, report) || is_admin,
        store_responses: preferences.flag("store_responses", true, report),
    }
}

/// What is judged of the requests; none where nothing is.
fn moderation_scope(preferences: &Section<'_>, report: &mut Report) -> Option<TextScope> {
    let is_on = preferences.flag("ENABLE_MODERATION", false, report);
    let scope = match preferences.get("moderation_scope").map(|item| (item, item.text(report))) {
        None | Some((_, None)) => TextScope::Fresh,
        Some((item, Some(text))) => {
            if preferences.get("ENABLE_MODERATION").is_none() {
                item.warn(
                    "moderation_scope",
                    "beside ENABLE_MODERATION: true; alone it does nothing",
                    report,
                );
            }
            match text.to_ascii_lowercase().as_str() {
                "new" => TextScope::Fresh,
                "all" => TextScope::All,
                _ => {
                    item.refuse("new (what no answer follows yet) or all (the whole conversation)", report);
                    TextScope::All
                }
            }
        }
    };
    is_on.then_some(scope)
}

/// Which conversations return to who served them last.
fn affinity(preferences: &Section<'_>, report: &mut Report) -> Affinity {
    let Some(item) = preferences.get("affinity") else { return Affinity::default() };
    let text = item.plain().unwrap_or_default().to_ascii_lowercase();
    match (flag(&text), &*text) {
        (_, "prefix") => Affinity::Prefix,
        (Some(true), _) | (_, "named") => Affinity::Named,
        (Some(false), _) => Affinity::Off,
        (None, _) => {
            let accepted =
                "true (conversations with a name), prefix (all others too, by how they begin) or false";
            item.refuse(accepted, report);
            Affinity::default()
        }
    }
}

fn algorithm(preferences: &Section<'_>, report: &mut Report) -> Algorithm {
    let Some((item, text)) =
        preferences.get("SCHEDULING_ALGORITHM").and_then(|item| Some((item, item.text(report)?)))
    else {
        return Algorithm::default();
    };
    match text.to_ascii_lowercase().as_str() {
        "fixed_priority" => Algorithm::FixedPriority,
        "round_robin" => Algorithm::RoundRobin,
        "weighted_round_robin" => Algorithm::WeightedRoundRobin,
        "lottery" => Algorithm::Lottery,
        "random" => Algorithm::Random,
        "smart_round_robin" => Algorithm::SmartRoundRobin,
        other => {
            let accepted = format!("one of {}; taken as round_robin", ALGORITHMS.join(", "));
            item.warn(item.node.describe(), &accepted, report);
            if let Some(known) = nearest(other, ALGORITHMS) {
                report.hint(format!("did you mean {known}?"));
            }
            Algorithm::RoundRobin
        }
    }
}

fn retries(preferences: &Section<'_>, report: &mut Report) -> Retries {
    let Some(item) = preferences.get("AUTO_RETRY") else {
        return Retries::Budget;
    };
    let number = match &item.node.value {
        Value::Bool(true) => return Retries::Budget,
        Value::Bool(false) => return Retries::Never,
        _ => item.number(),
    };
    match number {
        Some(0.0) => Retries::Never,
        Some(number) if number > 0.0 => Retries::AtMost(number.min(1000.0).ceil() as u32),
        Some(_) => {
            item.warn(item.node.describe(), "true, false or a number of retries; taken as true", report);
            Retries::Budget
        }
        None => match item.plain().and_then(|text| flag(&text)) {
            Some(false) => Retries::Never,
            Some(true) => Retries::Budget,
            None => {
                item.refuse("true, false or a number of retries", report);
                Retries::Budget
            }
        },
    }
}

fn rate_limit(
    preferences: &Section<'_>,
    quotas: &mut HashMap<String, Arc<Quota>>,
    limits: &mut HashMap<Vec<(String, String)>, CallerLimit>,
    report: &mut Report,
) -> CallerLimit {
    let Some(item) = preferences.get("rate_limit") else {
        return CallerLimit::None;
    };
    if let Some(pairs) = item.pairs() {
        // Keys with the same table share one.
        let written: Vec<(String, String)> =
            pairs.map(|(pair, item)| (pair.key.clone(), item.plain().unwrap_or_default())).collect();
        if let Some(limit) = limits.get(&written) {
            return limit.clone();
        }
        let table = limit_table(item, quotas, report);
        let limit = if table.values().all(|quota| quota.windows.is_empty()) {
            CallerLimit::None
        } else {
            CallerLimit::PerModel(Arc::new(table))
        };
        limits.insert(written, limit.clone());
        return limit;
    }
    let Some(quota) = limit(item, quotas, report) else {
        return CallerLimit::None;
    };
    if quota.tokens_per_request.is_some() {
        item.warn("tpr", "tpr under api_key_rate_limit of a provider; it has no effect here", report);
    }
    if quota.windows.is_empty() { CallerLimit::None } else { CallerLimit::Single(quota) }
}

fn credits(preferences: &Section<'_>, report: &mut Report) -> Option<Credits> {
    let since = preferences.get("created_at").and_then(|item| {
        let since = moment(&item);
        if since.is_none() {
            item.refuse("a date and time such as 2024-01-01T00:00:00+08:00", report);
        }
        since
    });
    let Some(item) = preferences.get("credits") else {
        if let Some(item) = preferences.get("created_at") {
            item.warn("created_at without credits", "credits beside it; it has no effect alone", report);
        }
        return None;
    };
    let amount = dollars(&item);
    if amount.is_none() {
        item.refuse("an amount in USD such as 10 or 0.5; 0 blocks the key, -1 is no limit", report);
    }
    amount.filter(|amount| *amount >= 0).map(|amount| Credits { amount, since })
}

/// Unix seconds from a timestamp, a date and time without a zone (UTC), a date, or a number.
fn moment(item: &Item<'_>) -> Option<i64> {
    if let Value::Int(number) = item.node.value {
        return Timestamp::from_second(i64::try_from(number).ok()?).ok().map(Timestamp::as_second);
    }
    let text = item.plain()?;
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.as_second());
    }
    // A blank before the offset is legal YAML and common.
    if let Some((at, sign)) = text.char_indices().rev().find(|(_, c)| matches!(c, '+' | '-' | 'Z'))
        && at > 10
    {
        let (time, offset) = text.split_at(at);
        let offset = if sign == 'Z' { "Z" } else { offset };
        if let Ok(moment) = format!("{}{offset}", time.trim_end()).parse::<Timestamp>() {
            return Some(moment.as_second());
        }
    }
    let civil: DateTime = text.parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_second())
}
