//! What an explanation says: the JSON of `POST /v1/route/explain` and of `uni-api explain --json`.

use serde::{Deserialize, Serialize};

/// Answer to where a request would go, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    /// Whose request it would be.
    pub key: KeyName,
    /// The model that was asked for.
    pub model: String,
    /// What would come of it.
    pub verdict: Decision,
    /// Whether nothing had happened yet: the plan of a process that has just started.
    pub fresh: bool,
    /// In which order the key's members are tried: `SCHEDULING_ALGORITHM`.
    pub algorithm: String,
    /// Which conversations return to who served them last: `named`, `prefix` (all others too, by how
    /// they begin) or `off`.
    #[serde(default)]
    pub affinity: String,
    /// The windows of the key, of the gateway and of nested keys.
    pub limits: Vec<Limit>,
    /// The balances of the key and of nested keys, where they have credits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balances: Vec<Balance>,
    /// Whether its texts are judged before a channel is asked.
    pub moderated: bool,
    /// What was read of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestSummary>,
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

/// The decision on the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
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

/// The amounts that a key may spend, in US dollars as decimals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Balance {
    /// Whose balance it is: `key`, or the log name of a nested key.
    pub whose: String,
    /// What it may spend in all.
    pub credits: String,
    /// What it has spent since `created_at`, or in the last thirty days.
    pub spent: String,
    /// What is held for requests under way.
    pub reserved: String,
    /// What is left of the credits, never below zero.
    pub left: String,
    /// Whether another request is admitted.
    pub admits: bool,
}

/// The fields that were read of a body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestSummary {
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
    /// The place of it that would serve, where it has several or one that is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its engine for this model.
    #[serde(default)]
    pub engine: String,
    /// Where the request would be sent, without query and credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it calls the model.
    pub upstream_model: String,
    /// The nested keys above it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSummary>,
    /// How it stands: `chosen`, `last_resort`, `standby`, `tried`, `surplus`, `cooling`,
    /// `gate_refused`, `no_key`, `unfit`, `too_small` or `too_long`.
    pub standing: String,
    /// Why, in words.
    pub reason: String,
    /// Its weight among its neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// The share of requests that try it first while everybody stands as now, from 0 to 1.
    pub share: f64,
    /// How long it still cools after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooling_seconds: Option<f64>,
    /// Its keys.
    pub keys: KeySummary,
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

impl Candidate {
    /// What a person reads of whom it is: the channel, and in which place.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Some(place) => format!("{} in {place}", self.channel),
            None => self.channel.clone(),
        }
    }
}

/// A nested key on the way to a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Its log name.
    pub key: String,
    /// How it orders its members.
    pub algorithm: String,
}

/// The keys of a channel.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeySummary {
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
