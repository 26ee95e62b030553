//! Where requests go and how they are signed: one file and one row of [`ENGINES`] for each kind of
//! upstream.
//!
//! A *dialect* is how bytes are shaped, a *provider* is where they go; a row ([`crate::engine`])
//! says both, and everything else that differs between upstreams. Addresses are computed when the
//! configuration is compiled; on the request path a provider writes a header or two.
//!
//! One that speaks OpenAI's format and signs as OpenAI does is a row in `hosts.rs`, or nothing at all.
//!
//! To add another: a file with its row and its [`Provider`], and its name in the table. Paths that hold
//! a model's name go through [`segment`].

mod anthropic;
mod azure;
mod bedrock;
mod cloudflare;
mod cohere;
mod databricks;
mod doubao;
mod gateway;
mod gemini;
mod hosts;
mod mock;
mod openai;
mod openrouter;
mod path;
mod refusing;
mod responses;
mod sigv4;
mod vertex;

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Quirks, Repair};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use layers::ports::{Presented, Provider, Secret, Unsupported};

use self::anthropic::ANTHROPIC;
use self::azure::AZURE;
use self::bedrock::{BEDROCK, BEDROCK_CLAUDE, BEDROCK_CONVERSE};
use self::cloudflare::CLOUDFLARE;
use self::cohere::{COHERE, COHERE_V1};
use self::databricks::DATABRICKS;
use self::doubao::DOUBAO;
use self::gemini::GEMINI;
use self::hosts::Host;
use self::mock::MOCK;
pub use self::openai::OPENAI;
use self::openrouter::OPENROUTER;
pub use self::path::segment;
use self::responses::RESPONSES;
pub use self::vertex::key_problem;
use self::vertex::{VERTEX, VERTEX_CLAUDE, VERTEX_EXPRESS, VERTEX_GEMINI};

use crate::engine::{BaseUrl, Engine, Inside, Listing, ProviderSpec};

/// All engines. A base URL is of the first that knows it for one of its own, so the order counts
/// where two of them could: Anthropic before Azure, which serves Claude in Anthropic's format too,
/// Doubao before Responses. Those at the end are only ever named.
pub static ENGINES: &[&Engine] = &[
    &DOUBAO,
    &GEMINI,
    &VERTEX,
    &ANTHROPIC,
    &OPENAI,
    &AZURE,
    &DATABRICKS,
    &CLOUDFLARE,
    &BEDROCK,
    &COHERE,
    &OPENROUTER,
    &RESPONSES,
    &BEDROCK_CLAUDE,
    &BEDROCK_CONVERSE,
    &COHERE_V1,
    &VERTEX_GEMINI,
    &VERTEX_CLAUDE,
    &VERTEX_EXPRESS,
    &MOCK,
];

/// Operations (images, speech, …) that older configurations wrote as an engine.
const OPERATIONS: [&str; 7] =
    ["dalle", "whisper", "tts", "moderation", "embedding", "search", "content-generation"];

/// The meaning of an `engine:` text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// An engine.
    Engine(&'static Engine),
    /// A name of an older configuration for an engine.
    Old(&'static Engine),
    /// An operation: the base URL decides, since operations come with the request.
    Operation,
    /// Nothing known.
    Unknown,
}

/// Reads an `engine:` text, in any case.
pub fn named(text: &str) -> Named {
    let name = text.trim().to_ascii_lowercase();
    for &engine in ENGINES {
        if engine.names.contains(&&*name) {
            return Named::Engine(engine);
        }
        if engine.old_names.contains(&&*name) {
            return Named::Old(engine);
        }
    }
    if OPERATIONS.contains(&&*name) { Named::Operation } else { Named::Unknown }
}

/// The names of all engines, in the order of the alphabet: what is listed when an unknown one is met.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = ENGINES.iter().flat_map(|engine| engine.names).copied().collect();
    names.sort_unstable();
    names
}

/// The engine of a base URL; `None` when nothing in it tells, which means OpenAI's format.
pub fn detect(url: &Uri) -> Option<&'static Engine> {
    let base = BaseUrl::of(url);
    let engine = gateway::engine(&base);
    let engine = engine.or_else(|| ENGINES.iter().copied().find(|engine| (engine.detect)(&base)))?;
    Some(engine.at(url))
}

/// The engine that some setting of a channel speaks for, where its address tells nothing: an
/// upstream that is reached by a private way.
pub fn hinted(is_written: impl Fn(&str) -> bool) -> Option<&'static Engine> {
    ENGINES.iter().copied().find(|engine| engine.hints.iter().any(|setting| is_written(setting)))
}

/// The provider of a channel; one that refuses everything where there can be none.
pub fn build(spec: &ProviderSpec<'_>) -> Arc<dyn Provider> {
    (spec.engine.build)(spec).unwrap_or_else(|unsupported| refusing::refusing(&unsupported))
}

/// The upstream of this name inside the program.
pub fn inside(name: &str) -> Option<Inside> {
    ENGINES.iter().find(|engine| engine.name() == name)?.inside
}

/// Names that `quirks` may add or remove.
pub fn quirk_names() -> impl Iterator<Item = &'static str> {
    [STREAM_OPTIONS].into_iter().chain(Repair::ALL.map(Repair::name))
}

/// The quirk of upstreams that take the question for usage.
const STREAM_OPTIONS: &str = "stream_options";

/// The deviations of an upstream: those of its engine and of its host, changed by the channel's own, names that are
/// added (true) or removed (false).
pub fn quirks(engine: &Engine, base_url: Option<&str>, changes: &[(Box<str>, bool)]) -> Quirks {
    let mut quirks = (engine.quirks)(base_url);
    if let Some(host) = host(engine, base_url) {
        let of_host = host.quirks();
        quirks.stream_options &= of_host.stream_options;
        quirks.repairs = quirks.repairs.and(of_host.repairs);
    }
    for (name, on) in changes {
        if let Some(repair) = Repair::named(name) {
            quirks.repairs = quirks.repairs.with(repair, *on);
            quirks.stream_options &= !(*on && repair == Repair::UsageUnasked);
        } else if &**name == STREAM_OPTIONS {
            quirks.stream_options = *on;
        }
    }
    quirks
}

/// How the models of an upstream are listed.
pub fn listing(engine: &Engine, base_url: Option<&str>) -> Option<Listing> {
    host(engine, base_url).map_or(engine.listing, Host::listing)
}

/// The host of an upstream, where it is a known one of OpenAI's format.
fn host(engine: &Engine, base_url: Option<&str>) -> Option<&'static Host> {
    let base = base_url.filter(|_| [&OPENAI, &OPENROUTER].contains(&engine))?.parse().ok()?;
    Host::of(&base)
}

/// Whether this is OpenAI's format, offered by Google below the paths of its own.
fn is_openai_shim(url: &BaseUrl<'_>) -> bool {
    url.path.contains("/v1beta/openai")
}

/// A base URL that requests can go to.
fn usable(base_url: Option<&str>) -> Result<Uri, Unsupported> {
    let base = base_url.and_then(|url| url.parse::<Uri>().ok()).filter(|base| base.host().is_some());
    base.ok_or_else(|| Unsupported("its base_url is no URL".into()))
}

/// A URL with another path, its query kept: gateways put tokens and versions there.
pub(crate) fn with_path(base: &Uri, path: &str) -> Result<Uri, Unsupported> {
    let mut parts = base.clone().into_parts();
    let target = match base.query() {
        Some(query) if path.contains('?') => format!("{path}&{query}"),
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let url = target.parse().ok().and_then(|target| {
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).ok()
    });
    url.ok_or_else(|| Unsupported("its base_url is no URL".into()))
}

/// The one text that is sent, for upstreams that know no pairs.
fn secret_of<'a>(with: Option<&'a Presented<'_>>) -> Result<Option<&'a Secret>, Unsupported> {
    match with {
        None => Ok(None),
        Some(Presented::Key(key)) => Ok(Some(key)),
        Some(Presented::Token(token)) => Ok(Some(token)),
        Some(Presented::Pair(_)) => Err(Unsupported("a pair of keys does not sign for it".into())),
    }
}

/// Adds a header unless it is there: then the channel's configuration or the client chose it.
fn put(request: &mut Request<Vec<Bytes>>, name: HeaderName, value: HeaderValue) {
    let headers: &mut HeaderMap = request.headers_mut();
    headers.entry(name).or_insert(value);
}

/// `Bearer <key>`, not to be printed.
fn bearer(secret: &Secret) -> Result<HeaderValue, Unsupported> {
    sensitive([b"Bearer ", secret.expose().as_bytes()].concat())
}

/// A header value that is not to be printed.
fn sensitive(value: Vec<u8>) -> Result<HeaderValue, Unsupported> {
    let value = HeaderValue::from_maybe_shared(Bytes::from(value));
    let mut value = value.map_err(|_invalid| Unsupported("its key cannot stand in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
pub(crate) mod testing {
    use layers::policy::Link;

    use super::*;

    /// The usual way to connect.
    static LINK: Link = Link { proxy: None, http2: false, connect: None, inside: None };

    /// A channel of this engine at this URL.
    pub(crate) fn spec<'a>(engine: &'static Engine, base_url: &'a str) -> ProviderSpec<'a> {
        ProviderSpec {
            engine,
            engine_is_explicit: false,
            base_url: Some(base_url),
            keys: &[],
            cf_account: Some("account"),
            accounts: &[],
            projects: &[],
            link: &LINK,
            pair: None,
            regions: &[],
            api_version: None,
        }
    }
}

#[cfg(test)]
mod tests;
