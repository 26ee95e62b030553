//! Tells the log of a failed attempt: who was asked, where, what came of it and what follows.
//!
//! One line for each that makes something cool or ends its request, be it within an answer that had
//! begun; of many that are alike one a second ([`crate::ports::Meters::may_tell`]), so that a dead
//! upstream does not fill the log. All others are told at the debug level.

use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, StatusCode, Uri};
use tokio::time::Instant;
use tracing::{debug, enabled, warn};

use crate::address::bare;
use crate::endpoint::Endpoint;
use crate::failure::{Cools, Disposition, Failure};
use crate::ledger::{Entry, Fault};
use crate::policy::{Fingerprint, Target};
use crate::ports::KeyStanding;
use crate::stage::Attempt;

/// Most characters of what an upstream said.
const LONGEST: usize = 200;

/// Says what is told, by one of the log's macros, which want to know their level beforehand. `$more` is
/// how many like it were not told since the last one that was.
macro_rules! say {
    ($at:ident, $told:expr, $more:expr) => {{
        let (told, more): (Told<'_>, u64) = ($told, $more);
        $at!(
            request_id = told.id,
            channel = %told.target.channel.name,
            place = told.target.place.as_deref(),
            model = &*told.target.alias,
            upstream_model = &*told.target.upstream_model,
            provider_key_id = told.key.as_ref().map(Fingerprint::as_str),
            outcome = told.outcome,
            url = told.url,
            upstream_status = told.fault.status.map(|status| status.as_u16()),
            cause = told.fault.cause,
            error = told.error,
            then = told.then,
            and_more = Some(more).filter(|more| *more > 0),
            "{}",
            told.what
        );
    }};
}

/// The facts about a failure that its label does not tell.
pub(crate) fn fault(failure: &Failure) -> Option<Box<Fault>> {
    let (status, cause) = match failure {
        Failure::Upstream(rejection) | Failure::KeyRefused { rejection, .. } => {
            (Some(rejection.status), None)
        }
        Failure::Transport { cause, .. } => (None, Some(cause.as_ref()?.chain().to_owned())),
        Failure::Garbled { detail, .. } => (None, Some(detail.clone())),
        Failure::NoToken { why, .. } => (None, Some(why.clone())),
        _ => return None,
    };
    Some(Box::new(Fault { status, cause }))
}

/// Whether an attempt that failed so is told whatever becomes of its request.
pub(crate) fn is_loud(failure: &Failure, target: &Target) -> bool {
    failure.disposition() == Disposition::Return
        || failure.cools() != Cools::Nothing
        || (target.place.is_some() && failure.is_of_place())
}

/// Tells of an attempt that made something cool or ended its request, the last one in this record.
pub(crate) fn tell(entry: &Entry, target: &Target, failure: &Failure) {
    // For what is too long nobody was asked, and the request's own line says so.
    let is_told = !matches!(failure, Failure::TooLong { .. });
    match is_told.then(|| target.meters.may_tell(failure.label(), Instant::now())).flatten() {
        Some(more) => say!(warn, Told::of(entry, target, failure), more),
        None => whisper(entry, target, failure),
    }
}

/// Tells of any other, where somebody listens.
pub(super) fn whisper(entry: &Entry, target: &Target, failure: &Failure) {
    if enabled!(tracing::Level::DEBUG) {
        say!(debug, Told::of(entry, target, failure), 0);
    }
}

/// The URL that an attempt asks, without credentials and query; none where there is none.
pub(crate) fn url(endpoint: &'static Endpoint, stream: bool, target: &Target) -> Option<String> {
    let address = target.addresses.get(endpoint, target.forced_stream.unwrap_or(stream))?;
    Some(address.bare())
}

/// Tells where an upstream would rather be asked: a wrong `base_url` often answers so.
pub(crate) fn redirect(attempt: &Attempt, status: StatusCode, headers: &HeaderMap) {
    if !status.is_redirection() || !enabled!(tracing::Level::DEBUG) {
        return;
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let location = match location.parse::<Uri>() {
        Ok(uri) if uri.authority().is_some() => bare(&uri),
        _ => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    debug!(
        request_id = attempt.exchange.id.as_str(),
        channel = %attempt.target.channel.name,
        upstream_status = status.as_u16(),
        location,
        "The upstream redirects, which is not followed."
    );
}

/// A failed attempt in the words of the log.
struct Told<'a> {
    /// What is told: that it failed, or that its answer did.
    what: &'static str,
    id: &'a str,
    target: &'a Target,
    outcome: &'static str,
    key: Option<Fingerprint>,
    url: Option<String>,
    fault: Fault,
    error: String,
    then: String,
}

impl<'a> Told<'a> {
    fn of(entry: &'a Entry, target: &'a Target, failure: &Failure) -> Self {
        let key = entry.attempts.last().and_then(|attempt| attempt.key.clone());
        let error = match failure {
            Failure::Upstream(rejection) | Failure::KeyRefused { rejection, .. } => {
                rejection.error.message.clone()
            }
            other => other.to_string(),
        };
        Self {
            then: then(target, key.as_ref()),
            outcome: failure.label(),
            url: url(entry.endpoint, entry.stream, target),
            fault: fault(failure).map(|fault| *fault).unwrap_or_default(),
            error: error.chars().take(LONGEST).collect(),
            what: match entry.accepted {
                None => "Attempt failed.",
                Some(_) => "Attempt failed within its answer.",
            },
            id: entry.id.as_str(),
            target,
            key,
        }
    }
}

/// What follows, as it stands once the attempt is settled.
fn then(target: &Target, key: Option<&Fingerprint>) -> String {
    let now = Instant::now();
    let standing = key.and_then(|key| {
        let standings = target.channel.keys.standings(target);
        standings.into_iter().find(|(other, _)| other == key).map(|(_, standing)| standing)
    });
    let mut cooling = Vec::new();
    if let Some(KeyStanding::Cooling(wait)) = standing {
        cooling.push(format!("the key cools for {}", Seconds(wait)));
    }
    if let Some(until) = target.health.cooling_until(now) {
        let place = if target.place.is_some() { "the place" } else { "the channel" };
        cooling.push(format!("{place} cools for {}", Seconds(until.duration_since(now))));
    }
    if cooling.is_empty() { "nothing cools".to_owned() } else { cooling.join(", ") }
}

/// A while in whole seconds.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} s", self.0.as_secs_f64().ceil())
    }
}
