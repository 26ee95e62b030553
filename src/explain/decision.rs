//! What would come of a request, in one sentence: the first refusal that it would meet, in the
//! order of the pipeline, else the channel that is asked first.

use layers::endpoint::MODERATIONS;
use layers::moderation::MODEL;
use layers::policy::{Caller, ChannelName, Demand};
use layers::ports::Misfit;

use super::{Balance, Candidate, Decision, Explanation, Limit, span};
use crate::snapshot::Snapshot;

fn refused(status: u16, reason: impl Into<String>) -> Decision {
    Decision { channel: None, status: Some(status), reason: reason.into() }
}

/// What refuses a request before anybody asks for its route: its length, the windows and the
/// balance of its key, and that it is to be judged where nobody can.
pub(super) fn before_routing(
    snapshot: &Snapshot,
    caller: &Caller,
    explanation: &Explanation,
) -> Option<Decision> {
    if let Some(request) = &explanation.request
        && request.body_bytes > request.most_body_bytes
    {
        let (is, most) = (request.body_bytes, request.most_body_bytes);
        return Some(refused(
            413,
            format!("the body of {is} bytes is larger than the {most} that are accepted"),
        ));
    }
    if let Some((limit, left)) = fullest(&explanation.limits) {
        let Limit { whose, limit, period_seconds, .. } = limit;
        let period = span(*period_seconds);
        return Some(refused(
            429,
            format!("the {whose}'s limit of {limit} per {period} is used up for {}", span(left)),
        ));
    }
    if let Some(balance) = explanation.balances.iter().find(|balance| !balance.admits) {
        return Some(refused(429, format!("the key's {}", used_up(balance))));
    }
    if explanation.moderated { unmoderated(snapshot, caller) } else { None }
}

/// The window that stays full for the longest time.
fn fullest(limits: &[Limit]) -> Option<(&Limit, f64)> {
    let full = limits.iter().filter_map(|limit| Some((limit, limit.full_for_seconds?)));
    full.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn used_up(balance: &Balance) -> String {
    let Balance { credits, spent, reserved, .. } = balance;
    format!("credits of ${credits} are used up: ${spent} spent, ${reserved} held for requests under way")
}

/// Whether the texts of this key's requests have nobody to judge them.
fn unmoderated(snapshot: &Snapshot, caller: &Caller) -> Option<Decision> {
    let demand = Demand { endpoint: &MODERATIONS, body: 0 };
    match snapshot.caller_route(caller, MODEL) {
        Ok(route) if route.preview(demand).is_ok() => None,
        Err(_) if !snapshot.awaited().is_empty() && snapshot.channels_with(MODEL).is_empty() => {
            Some(without_route(snapshot, caller, MODEL))
        }
        _ => Some(refused(
            404,
            format!("the key's requests are moderated, and its rules lead to no channel that serves {MODEL}"),
        )),
    }
}

/// Why the gate of a nested key lets the request not in, if it does not.
pub(super) fn of_gate(group: &Caller, limits: &[Limit], balance: Option<&Balance>) -> Option<String> {
    let name = &group.alias;
    if let Some(balance) = balance.filter(|balance| !balance.admits) {
        return Some(format!("is passed over: {name}'s {}", used_up(balance)));
    }
    let (limit, left) = fullest(limits)?;
    let (count, period) = (limit.limit, span(limit.period_seconds));
    Some(format!("is passed over: {name}'s limit of {count} per {period} is used up for {}", span(left)))
}

/// What comes of a request that no channel takes.
pub(super) fn of_misfit(misfit: Misfit, demand: Demand) -> Decision {
    match misfit {
        Misfit::Endpoint => {
            refused(404, format!("no channel of the key serves this model on {}", demand.endpoint.path))
        }
        Misfit::Length => {
            refused(413, format!("a body of {} bytes is too long for every channel", demand.body))
        }
    }
}

/// What comes of a request that some channel takes.
pub(super) fn of_candidates(candidates: &[Candidate]) -> Decision {
    if let Some(next) =
        candidates.iter().find(|candidate| matches!(&*candidate.standing, "chosen" | "last_resort"))
    {
        let reason = format!("{} {}", next.name(), next.reason);
        return Decision { channel: Some(next.channel.clone()), status: None, reason };
    }
    let all = |word: &str| candidates.iter().all(|candidate| candidate.standing == word);
    let some = |word: &str| candidates.iter().any(|candidate| candidate.standing == word);
    match candidates {
        _ if all("too_long") => refused(413, "the request is too long for every channel"),
        [first, ..] if all("gate_refused") => refused(429, format!("{} {}", first.name(), first.reason)),
        _ if some("no_key") || some("gate_refused") => refused(
            429,
            "every channel lacks a key that can be used, or its group is over its limit or its credits",
        ),
        _ => refused(503, "no channel can take the request now"),
    }
}

/// Why there is no route.
pub(super) fn without_route(snapshot: &Snapshot, caller: &Caller, model: &str) -> Decision {
    let list = |names: Vec<ChannelName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (channels, awaited) = (snapshot.channels_with(model), snapshot.awaited());
    if channels.is_empty() && !awaited.is_empty() {
        let reason = format!("the model lists of these channels are not known yet: {}", list(awaited));
        return refused(503, reason);
    }
    let mut reason = if channels.is_empty() {
        "no channel has this model".to_owned()
    } else {
        format!("the key's rules do not admit it, though these channels have it: {}", list(channels))
    };
    if let Some(near) = snapshot.resembling(caller, model) {
        reason = format!("{reason}; did you mean {near}?");
    }
    refused(404, reason)
}
