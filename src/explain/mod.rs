//! Says where a request would go and why, without sending it.
//!
//! Asks the same route, keys and windows that a request asks, only in their ways that change
//! nothing: no cursor moves, no window counts, nobody is called. Provider keys appear as their
//! fingerprints. [`table`] shows the result to a person, [`command`] is `uni-api explain`, and
//! `POST /v1/route/explain` of the admin stack gives it as it is.

pub mod command;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use layers::estimate::input_tokens;
use layers::plan::{Group, Plan};
use layers::policy::{Caller, Target};
use layers::ports::{Catalog as _, InputTokens, KeyStanding, Limits, WindowUse, Windows};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::accounting::Price;
use crate::config::Snapshot;
use crate::routing::{Candidate as Line, Standing};

/// Keys of one channel that are listed; all are counted.
const MOST_KEYS: usize = 50;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Whose request it would be.
    pub caller: &'a Arc<Caller>,
    /// For which model.
    pub model: &'a str,
    /// Its body, if that matters.
    pub body: Option<&'a [u8]>,
    /// Largest accepted body, in bytes.
    pub most_body: u64,
}

/// Where a request would go, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    /// Whose request it would be.
    pub key: KeyName,
    /// The model that was asked for.
    pub model: String,
    /// What would come of it.
    pub verdict: Verdict,
    /// Whether nothing had happened yet: the plan of a process that has just started.
    pub fresh: bool,
    /// In which order the key's members are tried: `SCHEDULING_ALGORITHM`.
    pub algorithm: String,
    /// The key's windows and the gateway's.
    pub limits: Vec<Limit>,
    /// What was read of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestFacts>,
    /// US dollars per million tokens.
    pub price_per_million: Prices,
    /// Every channel of the route, in the order of this plan.
    pub candidates: Vec<Candidate>,
}

/// A client key without the key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyName {
    /// What logs call it.
    pub alias: String,
    /// What stands for it in statistics.
    pub fingerprint: String,
}

/// What would come of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// The channel that is asked first; none when the request is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The status of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// One sentence.
    pub reason: String,
}

/// US dollars per million tokens by kind, as decimals; a kind without a price costs what its side
/// (input or output) costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prices {
    /// Input.
    pub input: String,
    /// Output.
    pub output: String,
    /// Input that a cache supplied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<String>,
    /// Input written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<String>,
    /// Output spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Images in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Sound, in or out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
}

/// One window of requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limit {
    /// Whose window it is: `key`, `gateway`, or the log name of a nested key.
    pub whose: String,
    /// Requests per period.
    pub limit: u64,
    /// The period.
    pub period_seconds: f64,
    /// Requests that count now.
    pub used: u64,
    /// Requests that are still admitted now.
    pub remaining: u64,
    /// Until the next one is admitted, while none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_for_seconds: Option<f64>,
}

/// What was read of a body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestFacts {
    /// Its length.
    pub body_bytes: u64,
    /// The longest that is accepted.
    pub most_body_bytes: u64,
    /// Its input in tokens, estimated as limits and credits do.
    pub input_tokens: u64,
    /// Whether a stream is asked for.
    pub stream: bool,
}

/// One channel of the route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub channel: String,
    /// What it calls the model.
    pub upstream_model: String,
    /// The nested keys above it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupFacts>,
    /// How it stands: a fixed set of words.
    pub standing: String,
    /// Why, in words.
    pub reason: String,
    /// Its weight among its neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// The share of requests that try it first while everybody stands as now, from 0 to 1.
    pub share: f64,
    /// How long it still rests after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooling_seconds: Option<f64>,
    /// Its keys.
    pub keys: KeyFacts,
    /// The longest input that its keys take, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_input_tokens: Option<u64>,
    /// Seconds of silence that end an attempt.
    pub timeout_seconds: f64,
    /// Seconds that the whole request may take.
    pub total_timeout_seconds: f64,
    /// Seconds between keepalive comments of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_seconds: Option<f64>,
    /// What is done to the request on its way there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// A nested key on the way to a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupFacts {
    /// Its log name.
    pub key: String,
    /// How it orders its members.
    pub algorithm: String,
}

/// The keys of a channel.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyFacts {
    /// How many there are; 0 where the upstream asks for none.
    pub total: usize,
    /// How many could be used now.
    pub usable: usize,
    /// How many rest.
    pub cooling: usize,
    /// How many are over their limit.
    pub over_limit: usize,
    /// The first of them, the one whose turn it is first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<OneKey>,
}

/// One provider key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneKey {
    /// What stands for it.
    pub fingerprint: String,
    /// `usable`, `cooling` or `over_limit`.
    pub standing: String,
    /// For how long it is not usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// Explains what would become of a request at this moment.
pub fn explain(
    snapshot: &Snapshot,
    windows: &dyn Windows,
    question: Question<'_>,
    now: Instant,
) -> Explanation {
    let Question { caller, model, body, most_body } = question;
    let limits = limits(windows, snapshot, caller, model, false);
    let request = body.map(|body| request_facts(body, most_body));
    let mut explanation = Explanation {
        key: KeyName {
            alias: caller.alias.as_ref().to_owned(),
            fingerprint: caller.fingerprint.as_str().to_owned(),
        },
        model: model.to_owned(),
        verdict: Verdict { channel: None, status: None, reason: String::new() },
        fresh: false,
        algorithm: algorithm(snapshot, caller),
        limits,
        request,
        price_per_million: snapshot.price(model).into(),
        candidates: Vec::new(),
    };
    match snapshot.caller_route(caller, model) {
        Err(_) => explanation.verdict = without_route(snapshot, caller, model),
        Ok(route) => {
            let mut plan = route.preview();
            let mut lines = route.explain(&plan, now);
            let groups = groups(&lines);
            for group in &groups {
                let inner = self::limits(windows, snapshot, group, model, true);
                if inner.iter().any(|limit| limit.full_for_seconds.is_some()) {
                    refuse(&mut plan, group);
                }
                explanation.limits.extend(inner);
            }
            if groups.iter().any(|group| plan.refused(group.ordinal)) {
                lines = route.explain(&plan, now);
            }
            let input = explanation.request.as_ref().map(|request| InputTokens(request.input_tokens));
            explanation.candidates =
                lines.iter().map(|line| candidate(snapshot, line, input, question.body)).collect();
            choose(&mut explanation.candidates);
            explanation.verdict = verdict(&explanation);
        }
    }
    explanation
}

/// The distinct nested keys of a route.
fn groups(lines: &[Line]) -> Vec<Arc<Caller>> {
    let mut groups: Vec<Arc<Caller>> = Vec::new();
    for group in lines.iter().flat_map(|line| &line.groups) {
        if !groups.iter().any(|known| known.ordinal == group.ordinal) {
            groups.push(group.clone());
        }
    }
    groups
}

fn refuse(plan: &mut Plan, group: &Arc<Caller>) {
    // Nodes are numbered by their keys.
    plan.gate(Group { caller: group.clone(), node: group.ordinal }, false);
}

fn algorithm(snapshot: &Snapshot, caller: &Caller) -> String {
    let settings = snapshot.settings().callers.get(caller.ordinal);
    settings.map_or("", |settings| settings.algorithm.name()).to_owned()
}

/// The windows of a caller, and the gateway's unless it is asked about a nested key.
fn limits(
    windows: &dyn Windows,
    snapshot: &Snapshot,
    caller: &Caller,
    model: &str,
    nested: bool,
) -> Vec<Limit> {
    let mut limits = snapshot.limits(caller, model);
    if nested {
        limits = Limits { global: None, ..limits };
    }
    let usage = windows.usage(&caller.fingerprint, &limits);
    let own = if nested { &*caller.alias } else { "key" };
    let own = usage.caller.iter().map(|window| (own, window));
    own.chain(usage.global.iter().map(|window| ("gateway", window)))
        .map(|(whose, window)| limit(whose, window))
        .collect()
}

fn limit(whose: &str, usage: &WindowUse) -> Limit {
    let WindowUse { window, used, full_for } = usage;
    Limit {
        whose: whose.to_owned(),
        limit: window.count,
        period_seconds: window.period.as_secs_f64(),
        used: *used,
        remaining: window.count.saturating_sub(*used),
        full_for_seconds: full_for.map(seconds),
    }
}

fn request_facts(body: &[u8], most_body: u64) -> RequestFacts {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(default)]
        stream: Option<bool>,
    }
    let peek = serde_json::from_slice::<Peek>(body).ok();
    RequestFacts {
        body_bytes: body.len() as u64,
        most_body_bytes: most_body,
        input_tokens: input_tokens(body).0,
        stream: peek.and_then(|peek| peek.stream).unwrap_or(false),
    }
}

fn candidate(snapshot: &Snapshot, line: &Line, input: Option<InputTokens>, body: Option<&[u8]>) -> Candidate {
    let target = &line.target;
    let most_input = target.key_quota.as_ref().and_then(|quota| quota.tokens_per_request);
    let keys = keys(target);
    let (standing, reason) = standing(line, &keys, input, most_input);
    Candidate {
        channel: line.channel.to_string(),
        upstream_model: line.upstream_model.as_ref().to_owned(),
        groups: line
            .groups
            .iter()
            .map(|group| GroupFacts {
                key: group.alias.as_ref().to_owned(),
                algorithm: algorithm(snapshot, group),
            })
            .collect(),
        standing: standing.to_owned(),
        reason,
        weight: line.weight,
        share: line.share,
        cooling_seconds: line.standing.wait().map(seconds),
        keys,
        most_input_tokens: most_input,
        timeout_seconds: seconds(target.timeouts.idle),
        total_timeout_seconds: seconds(target.timeouts.total),
        keepalive_seconds: target.keepalive.map(seconds),
        changes: changes(target, body),
    }
}

fn keys(target: &Target) -> KeyFacts {
    let standings = target.channel.keys.standings(target);
    let mut facts = KeyFacts { total: standings.len(), ..KeyFacts::default() };
    for (fingerprint, standing) in standings {
        let (count, word, left) = match standing {
            KeyStanding::Usable => (&mut facts.usable, "usable", None),
            KeyStanding::Cooling(left) => (&mut facts.cooling, "cooling", Some(left)),
            KeyStanding::OverLimit(left) => (&mut facts.over_limit, "over_limit", Some(left)),
        };
        *count += 1;
        if facts.list.len() < MOST_KEYS {
            facts.list.push(OneKey {
                fingerprint: fingerprint.as_str().to_owned(),
                standing: word.to_owned(),
                seconds: left.map(seconds),
            });
        }
    }
    facts
}

/// The word for how a channel stands, and a clause for a person.
fn standing(
    line: &Line,
    keys: &KeyFacts,
    input: Option<InputTokens>,
    most_input: Option<u64>,
) -> (&'static str, String) {
    let is_next = matches!(line.standing, Standing::Chosen | Standing::Standby | Standing::LastResort(_));
    if is_next && let Some(reason) = line.target.channel.provider.unserved() {
        return ("unserved", reason.to_owned());
    }
    if is_next
        && let (Some(InputTokens(input)), Some(most)) = (input, most_input)
        && input > most
    {
        return ("too_long", format!("about {input} tokens are more than the {most} that its keys take"));
    }
    let reason = match line.standing {
        Standing::Chosen => "is next".to_owned(),
        Standing::LastResort(left) => {
            format!("is next although it rests for {}: nobody else is left", span(seconds(left)))
        }
        Standing::Standby => "follows when those before it fail".to_owned(),
        Standing::Tried => "stands before in another group".to_owned(),
        Standing::Benched(left) => {
            format!("rests for {} after a failure, or is being tried out", span(seconds(left)))
        }
        Standing::GateRefused => "its group is over its limit".to_owned(),
        Standing::NoKey => {
            let first = keys.list.iter().filter_map(|key| key.seconds).min_by(f64::total_cmp);
            let back =
                first.map_or_else(String::new, |left| format!("; the first is back in {}", span(left)));
            format!("{} of its keys rest and {} are over their limit{back}", keys.cooling, keys.over_limit)
        }
    };
    (line.standing.label(), reason)
}

/// The route chose without knowing the body: where its choice cannot take it, the next one is.
fn choose(candidates: &mut [Candidate]) {
    if candidates.iter().any(|candidate| matches!(&*candidate.standing, "chosen" | "last_resort")) {
        return;
    }
    if let Some(next) = candidates.iter_mut().find(|candidate| candidate.standing == "standby") {
        next.standing = Standing::Chosen.label().to_owned();
        next.reason = "is next, because those before it cannot take the request".to_owned();
    }
}

/// What is done to a request on its way to this target.
fn changes(target: &Target, body: Option<&[u8]>) -> Vec<String> {
    let mut changes = Vec::new();
    if target.alias != target.upstream_model {
        changes.push(format!("the model is called {}", target.upstream_model));
    }
    if target.channel.dialect != dialect::Dialect::OpenAiChat {
        changes.push("the format is converted".to_owned());
    }
    let mentions = |word: &str| body.is_none_or(|body| memchr::memmem::find(body, word.as_bytes()).is_some());
    if !target.channel.tools && mentions("\"tools\"") {
        changes.push("tools are removed".to_owned());
    }
    if !target.channel.image && mentions("\"image_url\"") {
        changes.push("images are removed".to_owned());
    }
    if target.overrides.is_some() {
        changes.push("overrides are merged in".to_owned());
    }
    match target.forced_stream {
        Some(true) => changes.push("it is always asked for a stream".to_owned()),
        Some(false) => changes.push("it is never asked for a stream".to_owned()),
        None => {}
    }
    changes
}

fn verdict(explanation: &Explanation) -> Verdict {
    let refused = |status: u16, reason: String| Verdict { channel: None, status: Some(status), reason };
    if let Some(request) = &explanation.request
        && request.body_bytes > request.most_body_bytes
    {
        let (is, most) = (request.body_bytes, request.most_body_bytes);
        return refused(413, format!("the body of {is} bytes is larger than the {most} that are accepted"));
    }
    let own = explanation.limits.iter().filter(|limit| matches!(&*limit.whose, "key" | "gateway"));
    let full = own.filter_map(|limit| Some((limit, limit.full_for_seconds?)));
    if let Some((limit, left)) = full.max_by(|a, b| a.1.total_cmp(&b.1)) {
        let (count, period) = (limit.limit, span(limit.period_seconds));
        let whose = &limit.whose;
        return refused(
            429,
            format!("the {whose}'s limit of {count} per {period} is used up for {}", span(left)),
        );
    }
    let candidates = &explanation.candidates;
    if let Some(next) =
        candidates.iter().find(|candidate| matches!(&*candidate.standing, "chosen" | "last_resort"))
    {
        let reason = format!("{} {}", next.channel, next.reason);
        return Verdict { channel: Some(next.channel.clone()), status: None, reason };
    }
    let all = |word: &str| candidates.iter().all(|candidate| candidate.standing == word);
    let some = |word: &str| candidates.iter().any(|candidate| candidate.standing == word);
    match () {
        () if all("too_long") => refused(413, "the request is too long for every channel".to_owned()),
        () if some("no_key") || some("gate_refused") => refused(
            429,
            "every channel lacks a key that can be used, or its group is over its limit".to_owned(),
        ),
        () => refused(503, "no channel can take the request now".to_owned()),
    }
}

/// Why there is no route.
fn without_route(snapshot: &Snapshot, caller: &Caller, model: &str) -> Verdict {
    let list = |names: Vec<layers::policy::ChannelName>| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (channels, awaited) = (snapshot.channels_with(model), snapshot.awaited());
    if channels.is_empty() && !awaited.is_empty() {
        let reason = format!("the model lists of these channels are not known yet: {}", list(awaited));
        return Verdict { channel: None, status: Some(503), reason };
    }
    let mut reason = if channels.is_empty() {
        "no channel has this model".to_owned()
    } else {
        format!("the key's rules do not admit it, though these channels have it: {}", list(channels))
    };
    if let Some(near) = snapshot.resembling(caller, model) {
        reason = format!("{reason}; did you mean {near}?");
    }
    Verdict { channel: None, status: Some(404), reason }
}

impl From<Price> for Prices {
    fn from(price: Price) -> Self {
        Self {
            input: dollars(price.input),
            output: dollars(price.output),
            cache_read: price.cache_read.map(dollars),
            cache_write: price.cache_write.map(dollars),
            reasoning: price.reasoning.map(dollars),
            image: price.image.map(dollars),
            audio: price.audio.map(dollars),
        }
    }
}

/// A price of one dollar per million tokens is a million picodollars per token.
fn dollars(picodollars: u64) -> String {
    let million = crate::accounting::price::PER_MILLION;
    let text = format!("{}.{:06}", picodollars / million, picodollars % million);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds with milliseconds: more digits say nothing.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Seconds for a person.
pub(crate) fn span(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")];
    match UNITS.iter().find(|(unit, _)| seconds >= 2.0 * unit || (seconds >= *unit && seconds % unit == 0.0))
    {
        Some((unit, name)) => format!("{} {name}", (seconds / unit).round()),
        None if seconds >= 10.0 || seconds.fract() == 0.0 => format!("{} s", seconds.round()),
        None => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests;
