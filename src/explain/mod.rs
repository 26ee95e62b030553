//! Says where a request would go and why, without sending it.
//!
//! Asks the same route, keys, windows and balances that a request asks, only in their ways that
//! change nothing: no cursor moves, no window counts, nothing is held, nobody is called. Provider
//! keys appear as their fingerprints. [`table`] shows the result to a person, [`command`] is
//! `uni-api explain`, and `POST /v1/route/explain` of the admin stack gives it as it is.

pub mod command;
mod decision;
mod explanation;
mod names;
mod overview;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialect::{Body, Dialect, Kind};
use layers::conversation::{self, Home};
use layers::endpoint::Endpoint;
use layers::estimate::size_of;
use layers::plan::{Group, MOST_PLACES, Plan};
use layers::policy::{Caller, Demand, Target};
use layers::ports::{Catalog as _, InputTokens, KeyStanding, Limits, Timed};
use serde::Deserialize;
use tokio::time::Instant;

pub use self::explanation::{
    Balance, Candidate, Decision, Explanation, GroupSummary, KeyName, KeySummary, Limit, OneKey, Prices,
    RequestSummary,
};
pub use self::overview::{Overview, overview};
pub use self::table::columns;
use crate::routing::{CallerRoute, RouteLine, Standing};
use crate::snapshot::Snapshot;
use crate::state::affinity::Affinity;
use crate::state::balances::Accounts;
use crate::state::windows::{WindowUse, Windows};
use crate::values::Price;

/// Keys of one channel that are listed; all are counted.
const MOST_KEYS: usize = 50;

/// A request as far as it decides its way.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Whose request it would be.
    pub caller: &'a Arc<Caller>,
    /// For which model.
    pub model: &'a str,
    /// On which path.
    pub endpoint: &'static Endpoint,
    /// Its body, if that matters.
    pub body: Option<&'a [u8]>,
    /// Largest accepted body, in bytes.
    pub most_body: u64,
}

impl Question<'_> {
    fn demand(&self) -> Demand {
        Demand { endpoint: self.endpoint, body: self.body.map_or(0, |body| body.len() as u64) }
    }
}

/// The live counts that limits and credits are judged by.
#[derive(Clone, Copy)]
pub struct Counts<'a> {
    /// Request windows.
    pub windows: &'a Windows,
    /// Balances.
    pub accounts: &'a Accounts,
    /// Who served which conversation.
    pub affinity: &'a Affinity,
}

/// Explains what would become of a request at this moment.
pub fn explain(snapshot: &Snapshot, counts: Counts<'_>, question: Question<'_>, now: Instant) -> Explanation {
    let Question { caller, model, endpoint, body, most_body } = question;
    let mut explanation = Explanation {
        key: KeyName {
            alias: caller.alias.as_ref().to_owned(),
            fingerprint: caller.fingerprint.as_str().to_owned(),
        },
        model: model.to_owned(),
        verdict: Decision { channel: None, status: None, reason: String::new() },
        fresh: false,
        algorithm: algorithm(snapshot, caller),
        affinity: affinity(caller).to_owned(),
        limits: limits(counts, snapshot, caller, model, None),
        balances: balance(counts, caller, "key").into_iter().collect(),
        moderated: caller.moderation.is_some() && endpoint.kind != Kind::Moderate,
        request: body.map(|body| request_summary(endpoint, body, most_body)),
        price_per_million: snapshot.price(model).into(),
        candidates: Vec::new(),
    };
    let refused = decision::before_routing(snapshot, caller, &explanation);
    let found = match snapshot.caller_route(caller, model) {
        Err(_) => decision::without_route(snapshot, caller, model),
        Ok(route) => through(&route, snapshot, counts, question, &mut explanation, now),
    };
    explanation.verdict = refused.unwrap_or(found);
    explanation
}

/// Adds what there is to say about a route, and tells what the route makes of the request.
fn through(
    route: &Arc<CallerRoute>,
    snapshot: &Snapshot,
    counts: Counts<'_>,
    question: Question<'_>,
    explanation: &mut Explanation,
    now: Instant,
) -> Decision {
    let mut refusals = Vec::new();
    let home = home(snapshot, counts, question);
    let length = explanation.request.as_ref().map_or(0, |request| request.input_tokens);
    let (lines, misfit) = match route.preview_at(question.demand(), home) {
        Err(misfit) => (route.unfit(), Some(misfit)),
        Ok(plan) => {
            let mut plan = plan.of_length(InputTokens(length));
            let mut lines = route.explain(&plan, now);
            for group in groups(&lines) {
                let limits = limits(counts, snapshot, &group, question.model, Some(&group.alias));
                let balance = balance(counts, &group, &group.alias);
                if let Some(reason) = decision::of_gate(&group, &limits, balance.as_ref()) {
                    refuse(&mut plan, &group);
                    refusals.push((group.ordinal, reason));
                }
                explanation.limits.extend(limits);
                explanation.balances.extend(balance);
            }
            if !refusals.is_empty() {
                lines = route.explain(&plan, now);
            }
            (lines, None)
        }
    };
    let input = explanation.request.as_ref().map(|request| InputTokens(request.input_tokens));
    let stream = explanation.request.as_ref().is_some_and(|request| request.stream);
    let context = CandidateContext { snapshot, question, input, stream, refusals: &refusals };
    explanation.candidates = lines.iter().map(|line| candidate(line, context)).collect();
    choose(&mut explanation.candidates);
    match misfit {
        Some(misfit) => decision::of_misfit(misfit, question.demand()),
        None => decision::of_candidates(&explanation.candidates),
    }
}

/// Which conversations return to who served them last.
fn affinity(caller: &Caller) -> &'static str {
    match caller.affinity {
        layers::policy::Affinity::Off => "off",
        layers::policy::Affinity::Named => "named",
        layers::policy::Affinity::Prefix => "prefix",
    }
}

/// Who served the conversation of the request last, as far as its body tells of one.
fn home(snapshot: &Snapshot, counts: Counts<'_>, question: Question<'_>) -> Option<Home> {
    let body = Body::Json(Bytes::copy_from_slice(question.body?));
    let conversation = conversation::in_body(question.endpoint, question.caller, &body)?;
    let model = snapshot.known_model(question.model)?;
    counts.affinity.peek(&question.caller.fingerprint, &model, conversation)
}

/// The request and its surroundings that every candidate is judged in.
#[derive(Clone, Copy)]
struct CandidateContext<'a> {
    snapshot: &'a Snapshot,
    question: Question<'a>,
    input: Option<InputTokens>,
    stream: bool,
    /// What the gates of nested keys say, by the ordinal of the key.
    refusals: &'a [(usize, String)],
}

/// The distinct nested keys of a route.
fn groups(lines: &[RouteLine]) -> Vec<Arc<Caller>> {
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

/// The windows of a caller: of a nested key under its name, else with those of the gateway.
fn limits(
    counts: Counts<'_>,
    snapshot: &Snapshot,
    caller: &Caller,
    model: &str,
    nested: Option<&str>,
) -> Vec<Limit> {
    let mut limits = snapshot.limits(caller, model);
    if nested.is_some() {
        limits = Limits { global: None, ..limits };
    }
    let usage = counts.windows.usage_at(&caller.fingerprint, &limits, Instant::now());
    let own = usage.caller.iter().map(|window| (nested.unwrap_or("key"), window));
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

/// The balance of a caller, if it has one.
fn balance(counts: Counts<'_>, caller: &Caller, whose: &str) -> Option<Balance> {
    let balance = counts.accounts.balance(&caller.fingerprint, &caller.credits?);
    Some(Balance {
        whose: whose.to_owned(),
        credits: dollars(balance.credits),
        spent: dollars(balance.spent),
        reserved: dollars(balance.reserved),
        left: dollars(balance.credits.saturating_sub(balance.spent.saturating_add(balance.reserved)).max(0)),
        admits: balance.is_open(),
    })
}

fn request_summary(endpoint: &Endpoint, body: &[u8], most_body: u64) -> RequestSummary {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(default)]
        stream: Option<bool>,
    }
    let peek = serde_json::from_slice::<Peek>(body).ok();
    RequestSummary {
        body_bytes: body.len() as u64,
        most_body_bytes: most_body,
        input_tokens: size_of(endpoint, &Body::Json(Bytes::copy_from_slice(body))).input.0,
        stream: peek.and_then(|peek| peek.stream).unwrap_or(false),
    }
}

fn candidate(line: &RouteLine, context: CandidateContext<'_>) -> Candidate {
    let Question { caller, endpoint, body, .. } = context.question;
    let target = &line.target;
    let keys = keys(target);
    let (standing, reason) = standing(line, &keys, context);
    let timeouts = match body {
        Some(_) => target.timeouts_for(Timed { endpoint, stream: context.stream, caller }),
        None => target.timeouts,
    };
    Candidate {
        channel: line.channel.to_string(),
        place: target.place.as_deref().map(str::to_owned),
        engine: engine(line, context.snapshot).to_owned(),
        url: target
            .addresses
            .get(endpoint, target.forced_stream.unwrap_or(context.stream))
            .filter(|_| target.channel.link.inside.is_none())
            .map(|address| bare(&address.uri)),
        upstream_model: line.upstream_model.as_ref().to_owned(),
        groups: line
            .groups
            .iter()
            .map(|group| GroupSummary {
                key: group.alias.as_ref().to_owned(),
                algorithm: algorithm(context.snapshot, group),
            })
            .collect(),
        standing: standing.to_owned(),
        reason,
        weight: line.weight,
        share: line.share,
        cooling_seconds: line.standing.wait().map(seconds),
        keys,
        most_input_tokens: most_input(target),
        timeout_seconds: seconds(timeouts.idle),
        total_timeout_seconds: seconds(timeouts.total),
        keepalive_seconds: target.keepalive.map(seconds),
        changes: changes(endpoint.client, target, body),
    }
}

/// The engine of a channel for the model of a line.
fn engine(line: &RouteLine, snapshot: &Snapshot) -> &'static str {
    let settings = snapshot.settings().channels.iter().find(|channel| channel.name == line.channel);
    settings.map_or("", |settings| {
        settings.engine.refined(&line.upstream_model, settings.engine_is_explicit).name()
    })
}

/// A URL without its query and what stands before its host: either may hold a key.
fn bare(url: &http::Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{place}{}", url.scheme_str().unwrap_or("http"), url.path())
}

fn most_input(target: &Target) -> Option<u64> {
    target.key_quota.as_ref().and_then(|quota| quota.tokens_per_request)
}

fn keys(target: &Target) -> KeySummary {
    let standings = target.channel.keys.standings(target);
    let mut facts = KeySummary { total: standings.len(), ..KeySummary::default() };
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
fn standing(line: &RouteLine, keys: &KeySummary, context: CandidateContext<'_>) -> (&'static str, String) {
    let is_next = matches!(line.standing, Standing::Chosen | Standing::Standby | Standing::LastResort(_));
    if is_next
        && let (Some(InputTokens(input)), Some(most)) = (context.input, most_input(&line.target))
        && input > most
    {
        return ("too_long", format!("about {input} tokens are more than the {most} that its keys take"));
    }
    let reason = match line.standing {
        Standing::Chosen if line.is_home => "is next: it served this conversation last".to_owned(),
        Standing::Chosen => "is next".to_owned(),
        Standing::LastResort(left) => {
            format!("is next although it cools for {}: nobody else is left", span(seconds(left)))
        }
        Standing::Standby => "follows when those before it fail".to_owned(),
        Standing::Tried => "stands before in another group".to_owned(),
        Standing::Surplus => {
            format!("is not asked: a request asks at most {MOST_PLACES} places of one channel")
        }
        Standing::Cooling(left) => {
            format!("cools for {} after a failure, or is being tried out", span(seconds(left)))
        }
        Standing::GateRefused => {
            let gate = |group: &Arc<Caller>| {
                context
                    .refusals
                    .iter()
                    .find(|(ordinal, _)| *ordinal == group.ordinal)
                    .map(|(_, reason)| reason)
            };
            line.groups.iter().find_map(gate).cloned().unwrap_or_default()
        }
        Standing::NoKey => {
            let first = keys.list.iter().filter_map(|key| key.seconds).min_by(f64::total_cmp);
            let back =
                first.map_or_else(String::new, |left| format!("; the first is back in {}", span(left)));
            format!(
                "{} of its keys are cooling and {} are over their limit{back}",
                keys.cooling, keys.over_limit
            )
        }
        Standing::Unfit => unfit(line, context.question.demand()),
        Standing::TooSmall => {
            let (input, most) =
                (context.input.unwrap_or_default().0, line.target.context.unwrap_or_default());
            format!("follows behind all others: about {input} tokens are more than the {most} of its model")
        }
    };
    (line.standing.label(), reason)
}

/// Why a channel does not take the request.
fn unfit(line: &RouteLine, demand: Demand) -> String {
    let takes = &line.target.channel.takes;
    match takes.most_body.filter(|_| takes.serves(demand.endpoint)) {
        Some(most) => format!("takes bodies of at most {most} bytes, this one has {}", demand.body),
        None => format!("does not serve {}", demand.endpoint.path),
    }
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
fn changes(client: Dialect, target: &Target, body: Option<&[u8]>) -> Vec<String> {
    let mut changes = Vec::new();
    if target.alias != target.upstream_model {
        changes.push(format!("the model is called {}", target.upstream_model));
    }
    if target.channel.dialect != client {
        changes.push("the format is converted".to_owned());
    }
    if !target.channel.tools && body.is_none_or(|body| client.may_hold_tools(body)) {
        changes.push("tools are removed".to_owned());
    }
    if !target.channel.image && body.is_none_or(|body| client.may_hold_images(body)) {
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

impl From<Price> for Prices {
    fn from(price: Price) -> Self {
        Self {
            input: per_million(price.input),
            output: per_million(price.output),
            cache_read: price.cache_read.map(per_million),
            cache_write: price.cache_write.map(per_million),
            reasoning: price.reasoning.map(per_million),
            image: price.image.map(per_million),
            audio: price.audio.map(per_million),
        }
    }
}

/// Picodollars per token as US dollars per million tokens.
fn per_million(price: u64) -> String {
    dollars(i128::from(price) * 1_000_000)
}

/// Picodollars as US dollars, to the last digit.
fn dollars(picodollars: i128) -> String {
    const ONE: u128 = 1_000_000_000_000;
    let sign = if picodollars < 0 { "-" } else { "" };
    let amount = picodollars.unsigned_abs();
    let text = format!("{sign}{}.{:012}", amount / ONE, amount % ONE);
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
