//! The checked configuration: plain values in which nothing is left to interpret.
//!
//! [`load`](super::load::load) makes them from text; a snapshot adds what lives longer than a
//! configuration (key pools, cooldowns, connections). Names that patterns match, limits, prices
//! and overrides are resolved per channel model here, and never per pair of client key and model:
//! a thousand keys over five hundred aliases must stay cheap to load.

mod time;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dialect::TextScope;
use http::{HeaderMap, HeaderName};
use layers::policy::{
    Affinity, ChannelName, Credits, Fingerprint, OverrideStep, Overrides, Quota, Retries, Role, Timeouts,
    Triggers,
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::lookup::{Patterns, Prefixes, layered};
use crate::engine::{Engine, Listing};
use crate::values::{Algorithm, KeyAlgorithm, Price, Rule};

pub use self::time::{
    CONNECT, FixedMatch, RequestFacts, RequestMatch, RequestTimeouts, TimeLimits, TimeoutPolicy, TimeoutRule,
};
pub(super) use self::time::{COOLDOWN, KEEPALIVE_OFF};

/// The settings that an `api.yaml` decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The enabled `providers`, in written order.
    pub channels: Vec<ChannelSettings>,
    /// The enabled `api_keys`, in written order.
    pub callers: Vec<CallerSettings>,
    /// The top-level `preferences`.
    pub globals: Arc<Globals>,
}

/// The top-level `preferences`, with the environment's defaults filled in.
#[derive(Debug, Clone)]
pub struct Globals {
    /// `rate_limit` over all requests of the process; none means no limit.
    pub rate_limit: Option<Arc<Quota>>,
    /// `error_triggers`.
    pub triggers: Triggers,
    /// `model_price` by prefix of the request model.
    pub prices: Prefixes<Price>,
    /// `proxy` for channels that name none.
    pub proxy: Option<SecretText>,
    /// `cooldown_period` for channels that name none; zero means never.
    pub cooldown: Duration,
    /// `model_timeout`.
    pub timeouts: Patterns<Duration>,
    /// `keepalive_interval`; zero means off.
    pub keepalive: Patterns<Duration>,
    /// `timeout_policy`.
    pub policy: TimeoutPolicy,
    /// The environment's `TIMEOUT`, when no table has an answer.
    pub timeout: Duration,
}

/// A text that must not be shown: a key, a private key, a proxy URL with its password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SecretText(Arc<str>);

/// An enabled `providers` entry.
#[derive(Clone)]
pub struct ChannelSettings {
    /// Its position in `providers`, those that are turned off included.
    pub entry: usize,
    /// Its unique name: as written, or `name~2` for the second of that name.
    pub name: ChannelName,
    /// The name as written, which rules use and which several channels may share.
    pub written_name: Arc<str>,
    /// `base_url` as written; none when the engine derives it (Vertex, Cloudflare, Bedrock, mock).
    pub base_url: Option<String>,
    /// The kind of upstream, before the model's name refines it; see [`ModelSettings::engine`].
    pub engine: &'static Engine,
    /// Whether `engine` was written; then model names refine `vertex` only.
    pub engine_is_explicit: bool,
    /// `api`: the provider keys, in order, without repeats. Empty for service accounts, Bedrock
    /// credentials, and upstreams that ask for none.
    pub keys: Vec<SecretText>,
    /// The models that are written down.
    pub models: Vec<ModelSettings>,
    /// Whether the upstream is asked for its models: nothing is written down, or `discover: true`.
    pub discover: bool,
    /// `api_key_rate_limit` by pattern over the upstream model; see [`ModelSettings::key_quota`].
    pub key_quotas: Patterns<Arc<Quota>>,
    /// `context_length` in tokens, by pattern over the upstream model.
    pub context_lengths: Patterns<u64>,
    /// `api_key_cooldown_period`; none when not configured, zero when turned off.
    pub key_cooldown: Option<Duration>,
    /// `api_key_schedule_algorithm`.
    pub key_algorithm: KeyAlgorithm,
    /// `cooldown_period`, the global one when absent; zero means never.
    pub cooldown: Duration,
    /// `proxy`, the global one when absent. Kept as written even when it is no usable URL: then
    /// connecting fails, where ignoring it would go around the proxy.
    pub proxy: Option<SecretText>,
    /// `headers`, marked sensitive so that they are never printed.
    pub headers: HeaderMap,
    /// `passthrough_request_headers`, without those that carry the client's own credentials.
    pub passthrough_headers: Vec<HeaderName>,
    /// `tools`: false removes them from requests.
    pub tools: bool,
    /// `image`: false removes image parts from requests.
    pub image: bool,
    /// `quirks`: names added (true) to or removed (false) from those of the host table.
    pub quirks: Vec<(Box<str>, bool)>,
    /// `http2`.
    pub http2: bool,
    /// How long connecting may take: `timeout_policy.default.connect`.
    pub connect_timeout: Duration,
    /// `exclude_endpoints`: exact request paths with a leading and without a trailing slash.
    pub exclude_endpoints: Vec<Box<str>>,
    /// `max_request_body_bytes`.
    pub max_request_body_bytes: Option<u64>,
    /// `project_id`; a list runs parallel to `keys`.
    pub project_ids: Vec<String>,
    /// Google service accounts: `private_key` with what belongs to it.
    pub accounts: Vec<AccountSettings>,
    /// `region`, possibly several; empty when not configured.
    pub regions: Vec<String>,
    /// `cf_account_id`.
    pub cf_account_id: Option<String>,
    /// `aws_access_key`.
    pub aws_access_key: Option<SecretText>,
    /// `aws_secret_key`.
    pub aws_secret_key: Option<SecretText>,
    /// `aws_session_token`.
    pub aws_session_token: Option<SecretText>,
    /// `api_version` for Azure, when `base_url` names none.
    pub api_version: Option<String>,
    /// What resolves models that are found later.
    pub(super) tables: Arc<ChannelTables>,
}

/// A Google service account, as far as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// `private_key`, PEM.
    pub private_key: SecretText,
    /// The name that Google has for the key, where its file tells it.
    pub key_id: Option<String>,
    /// `client_email`.
    pub email: Option<String>,
    /// `project_id`.
    pub project: Option<String>,
    /// `token_uri`: where it gets tokens, if not from Google's endpoint.
    pub token_uri: Option<String>,
}

/// The parts of a channel that models are resolved against.
#[derive(Debug, Clone)]
pub(super) struct ChannelTables {
    pub(super) globals: Arc<Globals>,
    pub(super) timeouts: Patterns<Duration>,
    pub(super) keepalive: Patterns<Duration>,
    pub(super) policy: TimeoutPolicy,
    /// The aliases that are written down.
    pub(super) aliases: HashSet<Arc<str>>,
    /// `post_body_parameter_overrides`, entry by entry in written order.
    pub(super) overrides: Vec<(Box<str>, OverrideEntry)>,
    /// `__remove__` beside the entries.
    pub(super) remove: Vec<layers::policy::Removal>,
}

/// One entry of `post_body_parameter_overrides`: a field of the body, or a model's own overrides.
#[derive(Debug, Clone)]
pub(super) struct OverrideEntry {
    pub(super) value: Value,
    /// The entry read as a model's overrides, when it is a map.
    pub(super) step: Option<(OverrideStep, Option<bool>)>,
}

/// One model of a channel under one alias.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// The name that clients use.
    pub alias: Arc<str>,
    /// The name that the upstream uses.
    pub upstream: Arc<str>,
    /// The kind of upstream of this model.
    pub engine: &'static Engine,
    /// What is merged into request bodies.
    pub overrides: Option<Arc<Overrides>>,
    /// `stream` inside the overrides.
    pub forced_stream: Option<bool>,
    /// Time limits of an attempt, as far as they do not depend on the request.
    pub timeouts: Timeouts,
    /// Rules of `timeout_policy` that depend on the request; [`ModelSettings::timeouts_for`] asks
    /// them. None for almost every configuration.
    pub request_timeouts: Option<Arc<RequestTimeouts>>,
    /// Keepalive interval; none when off or not below the timeout.
    pub keepalive: Option<Duration>,
    /// `api_key_rate_limit` of this upstream model; none means no limit.
    pub key_quota: Option<Arc<Quota>>,
    /// How many tokens this upstream model can look at; none when that is not known.
    pub context: Option<u64>,
    /// How long a failure cools (channel, model); zero means never.
    pub cooldown: Duration,
    /// What its tokens cost.
    pub price: Price,
}

/// An enabled `api_keys` entry.
#[derive(Debug, Clone)]
pub struct CallerSettings {
    /// `api`, compared exactly.
    pub key: SecretText,
    /// What logs call it: `role` as written, or the key's fingerprint.
    pub alias: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// `model`, in order; never empty.
    pub rules: Vec<Rule>,
    /// `SCHEDULING_ALGORITHM`.
    pub algorithm: Algorithm,
    /// `AUTO_RETRY`.
    pub retries: Retries,
    /// `rate_limit`.
    pub rate_limit: CallerLimit,
    /// `ENABLE_MODERATION`, with `moderation_scope`.
    pub moderation: Option<TextScope>,
    /// `affinity`.
    pub affinity: Affinity,
    /// `credits` and `created_at`; none means no balance is kept.
    pub credits: Option<Credits>,
    /// `expose_route`, or the key is admin.
    pub expose_route: bool,
    /// `store_responses`.
    pub store_responses: bool,
}

/// `rate_limit` of a client key.
#[derive(Debug, Clone)]
pub enum CallerLimit {
    /// No limit.
    None,
    /// One window over all models.
    Single(Arc<Quota>),
    /// One window per model; the pattern chooses the limit. An unlimited quota is in the table
    /// where a pattern lifts the `default`.
    PerModel(Arc<Patterns<Arc<Quota>>>),
}

// === impl Globals ===

impl Globals {
    /// What a token of this request model costs.
    pub fn price(&self, alias: &str) -> Price {
        self.prices.get(alias).copied().unwrap_or_default()
    }
}

// === impl SecretText ===

impl SecretText {
    /// The text itself, for the place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text behind a shared pointer.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Whether it is this text, found out in a time that only the lengths decide.
    pub fn is(&self, text: &str) -> bool {
        let differences =
            self.0.bytes().zip(text.bytes()).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        self.0.len() == text.len() && std::hint::black_box(differences) == 0
    }

    /// What stands for it in logs and state: the first 16 hex digits of its salted SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::new().chain_update(b"uni-api key").chain_update(self.0.as_bytes()).finalize();
        let mut digits = String::with_capacity(16);
        for byte in &digest[..8] {
            digits.push(char::from_digit(u32::from(byte >> 4), 16).expect("a nibble is a hex digit"));
            digits.push(char::from_digit(u32::from(byte & 15), 16).expect("a nibble is a hex digit"));
        }
        Fingerprint::new(&digits)
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({})", self.fingerprint().as_str())
    }
}

// === impl ChannelSettings ===

impl fmt::Debug for ChannelSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A base URL may hold a token in its query.
        f.debug_struct("ChannelSettings")
            .field("name", &self.name)
            .field("engine", &self.engine)
            .field("keys", &self.keys)
            .field("models", &self.models)
            .field("discover", &self.discover)
            .finish_non_exhaustive()
    }
}

impl ChannelSettings {
    /// How its models are listed; none where they cannot be asked for.
    pub fn listing(&self) -> Option<Listing> {
        crate::providers::listing(self.engine, self.base_url.as_deref())
    }

    /// Resolves one model as if it were written down: for models found by discovery.
    pub fn model(&self, alias: &str, upstream: &str) -> ModelSettings {
        self.resolve(alias, upstream, |name| {
            name == alias || self.models.iter().any(|model| &*model.alias == name || &*model.upstream == name)
        })
    }

    /// Resolves a whole list of (alias, upstream model), so that overrides named like any of them
    /// are kept from the others.
    pub fn with_models(&self, list: &[(Arc<str>, Arc<str>)]) -> Vec<ModelSettings> {
        let names: HashSet<&str> =
            list.iter().flat_map(|(alias, upstream)| [&**alias, &**upstream]).collect();
        list.iter()
            .map(|(alias, upstream)| self.resolve(alias, upstream, |name| names.contains(name)))
            .collect()
    }

    fn resolve(&self, alias: &str, upstream: &str, is_model: impl Fn(&str) -> bool) -> ModelSettings {
        let tables = &*self.tables;
        let globals = &*tables.globals;
        let engine = self.engine.refined(upstream, self.engine_is_explicit);
        let idle =
            layered(&tables.timeouts, &globals.timeouts, alias, upstream).copied().unwrap_or(globals.timeout);
        let request_timeouts = RequestTimeouts {
            model_timeout: idle,
            base: globals.policy.default.overlaid(tables.policy.default),
            rules: [&globals.policy, &tables.policy]
                .map(|policy| policy.met_by(engine, &self.written_name, alias, upstream)),
        };
        let timeouts = request_timeouts.for_request(None);
        let keepalive = layered(&tables.keepalive, &globals.keepalive, alias, upstream)
            .copied()
            .filter(|every| !every.is_zero() && *every < timeouts.idle);
        let (overrides, forced_stream) = tables.overrides_for(alias, upstream, is_model);
        ModelSettings {
            alias: alias.into(),
            upstream: upstream.into(),
            engine,
            overrides,
            forced_stream,
            timeouts,
            request_timeouts: request_timeouts.asks_the_request().then(|| Arc::new(request_timeouts)),
            keepalive,
            context: self.context_lengths.get(upstream).copied(),
            key_quota: self.key_quotas.get(upstream).filter(|quota| !quota.is_unlimited()).cloned(),
            cooldown: self.cooldown,
            price: globals.price(alias),
        }
    }
}

// === impl ChannelTables ===

impl ChannelTables {
    /// Channel-wide entries first, then those of the upstream model, then those of the alias.
    ///
    /// An entry that names an alias is for that alias alone; one that names an upstream model,
    /// and no alias, is for every alias of it.
    fn overrides_for(
        &self,
        alias: &str,
        upstream: &str,
        is_model: impl Fn(&str) -> bool,
    ) -> (Option<Arc<Overrides>>, Option<bool>) {
        if self.overrides.is_empty() && self.remove.is_empty() {
            return (None, None);
        }
        let mut forced = None;
        let mut wide = Map::new();
        for (name, entry) in &self.overrides {
            if names_a_model(name) || is_model(name) || &**name == upstream {
                continue;
            }
            if &**name == "stream" {
                forced = as_flag(&entry.value).or(forced);
            } else {
                wide.insert(name.to_string(), entry.value.clone());
            }
        }
        let mut steps = Vec::new();
        if !wide.is_empty() || !self.remove.is_empty() {
            steps.push(OverrideStep { merge: wide, remove: self.remove.clone() });
        }
        let entry =
            |name: &str| self.overrides.iter().find(|(key, _)| &**key == name).map(|(_, entry)| entry);
        let upstream_is_alias = alias != upstream && self.is_alias(upstream);
        let of_upstream = (alias != upstream && !upstream_is_alias).then(|| entry(upstream)).flatten();
        for (step, stream) in
            [of_upstream, entry(alias)].into_iter().flatten().filter_map(|entry| entry.step.as_ref())
        {
            forced = stream.or(forced);
            if !step.merge.is_empty() || !step.remove.is_empty() {
                steps.push(step.clone());
            }
        }
        let overrides = (!steps.is_empty()).then(|| Arc::new(Overrides { steps }));
        (overrides, forced)
    }

    fn is_alias(&self, name: &str) -> bool {
        self.aliases.contains(name)
    }
}

/// Whether an override entry of this name is meant for a model even if the channel has none of it.
pub(super) fn names_a_model(name: &str) -> bool {
    name.contains(['-', '.', '/', ':', '@', ' '])
}

/// A JSON value read as a flag.
pub(super) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

// === impl ModelSettings ===

impl ModelSettings {
    /// Time limits of an attempt at this request.
    pub fn timeouts_for(&self, facts: &RequestFacts<'_>) -> Timeouts {
        match &self.request_timeouts {
            Some(rules) => rules.for_request(Some(facts)),
            None => self.timeouts,
        }
    }
}
