//! Values of a configuration, each with plain defaults.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialect::Dialect;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::handles::{FixedProvider, HealthNotes, MeterNotes, ScriptedKeys};
use crate::address::Addresses;
use crate::policy::{
    Affinity, Caller, Channel, ChannelName, Fingerprint, Link, OverrideStep, Quota, Retries, Role, Takes,
    Target, Timeouts,
};
use crate::ports::{Health, Keys, Meters, Provider, Secret};

/// The usual limits: 100 s of silence, 600 s for an opening, an hour for all.
pub fn patience() -> Timeouts {
    limits(100, 600, 3600)
}

/// Limits in seconds: of silence, of the opening, of the whole request.
pub fn limits(idle: u64, opening: u64, total: u64) -> Timeouts {
    let seconds = Duration::from_secs;
    Timeouts { idle: seconds(idle), opening: seconds(opening), total: seconds(total) }
}

/// A provider key and what stands for it.
pub fn secret(text: &str) -> Secret {
    Secret::new(text, Fingerprint::new(&format!("print of {text}")))
}

/// A client key that may do what plain keys may.
pub fn caller() -> CallerBuilder {
    CallerBuilder(Caller {
        alias: "caller".into(),
        fingerprint: Fingerprint::new("0123456789abcdef"),
        role: Role::User,
        retries: Retries::Budget,
        moderation: None,
        affinity: Affinity::default(),
        credits: None,
        expose_route: false,
        store_responses: true,
        ordinal: 0,
        key: None,
    })
}

/// Builds a [`Caller`].
pub struct CallerBuilder(Caller);

impl CallerBuilder {
    /// Which of its conversations return to who served them.
    #[must_use]
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.0.affinity = affinity;
        self
    }

    /// What stands for its key.
    #[must_use]
    pub fn fingerprint(mut self, digits: &str) -> Self {
        self.0.fingerprint = Fingerprint::new(digits);
        self
    }

    /// What logs call it.
    #[must_use]
    pub fn alias(mut self, alias: &str) -> Self {
        self.0.alias = alias.into();
        self
    }

    /// The key itself.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.key = Some(secret(key));
        self
    }

    /// Which of the configuration's keys it is.
    #[must_use]
    pub fn ordinal(mut self, ordinal: usize) -> Self {
        self.0.ordinal = ordinal;
        self
    }

    /// How often its requests are tried again.
    #[must_use]
    pub fn retries(mut self, retries: Retries) -> Self {
        self.0.retries = retries;
        self
    }

    /// Its requests are moderated.
    #[must_use]
    pub fn moderated(mut self) -> Self {
        self.0.moderation = Some(dialect::TextScope::Fresh);
        self
    }

    /// It may see which channel served.
    #[must_use]
    pub fn sees_route(mut self) -> Self {
        self.0.expose_route = true;
        self
    }

    /// The caller.
    pub fn build(self) -> Arc<Caller> {
        Arc::new(self.0)
    }
}

/// A channel that speaks OpenAI's chat dialect, takes everything and has one key.
pub fn channel(name: &str) -> ChannelBuilder {
    ChannelBuilder(Channel {
        name: ChannelName::from(name),
        dialect: Dialect::OpenAiChat,
        provider: Arc::new(FixedProvider::at(&format!("https://{name}.test/v1/chat/completions"))),
        keys: ScriptedKeys::of(&["sk-provider-key"]),
        link: Link::default(),
        headers: HeaderMap::new(),
        passthrough_headers: Vec::new(),
        tools: true,
        image: true,
        takes: Takes::default(),
        envelope: dialect::Envelope::PLAIN,
        quirks: dialect::Quirks::default(),
        secrets: dialect::Secrets::default(),
        usage_wish: Arc::default(),
    })
}

/// Builds a [`Channel`].
pub struct ChannelBuilder(Channel);

impl ChannelBuilder {
    /// What its configuration holds that nobody may learn.
    #[must_use]
    pub fn secrets(mut self, secrets: dialect::Secrets) -> Self {
        self.0.secrets = secrets;
        self
    }

    /// How it speaks.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.0.dialect = dialect;
        self
    }

    /// Where its requests go.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.0.provider = provider;
        self
    }

    /// Its keys.
    #[must_use]
    pub fn keys(mut self, keys: Arc<dyn Keys>) -> Self {
        self.0.keys = keys;
        self
    }

    /// A header that its configuration adds.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.0.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// A header of the client's that its configuration passes on.
    #[must_use]
    pub fn passes(mut self, name: &'static str) -> Self {
        self.0.passthrough_headers.push(HeaderName::from_static(name));
        self
    }

    /// What its provider wraps its dialect in.
    #[must_use]
    pub fn envelope(mut self, envelope: dialect::Envelope) -> Self {
        self.0.envelope = envelope;
        self
    }

    /// Its provider follows no addresses: media have to be in the request.
    #[must_use]
    pub fn follows_no_addresses(mut self) -> Self {
        self.0.envelope.fetches_media = true;
        self
    }

    /// It wants features in test in the body.
    #[must_use]
    pub fn takes_betas_in_the_body(mut self) -> Self {
        self.0.envelope.betas = dialect::Betas::Body;
        self
    }

    /// It refuses to be named features in test that it does not know.
    #[must_use]
    pub fn knows_flags(mut self, flags: &'static [&'static str]) -> Self {
        self.0.envelope.flags = Some(flags);
        self
    }

    /// It takes no tools.
    #[must_use]
    pub fn without_tools(mut self) -> Self {
        self.0.tools = false;
        self
    }

    /// It takes no pictures.
    #[must_use]
    pub fn without_images(mut self) -> Self {
        self.0.image = false;
        self
    }

    /// It takes no bodies longer than this.
    #[must_use]
    pub fn most_body(mut self, bytes: u64) -> Self {
        self.0.takes.most_body = Some(bytes);
        self
    }

    /// Its streams may be asked for usage.
    #[must_use]
    pub fn asks_usage(mut self) -> Self {
        self.0.quirks.stream_options = true;
        self
    }

    /// The channel.
    pub fn build(self) -> Arc<Channel> {
        Arc::new(self.0)
    }
}

/// Whether streams of this channel may still be asked for usage.
pub fn may_ask_usage(channel: &Channel) -> bool {
    channel.quirks.stream_options && channel.usage_wish.is_allowed()
}

/// A channel of this name that serves `m` under the upstream's name `up-m`.
pub fn target(name: &str) -> TargetBuilder {
    target_of(channel(name).build())
}

/// The same of a channel that a test has built.
pub fn target_of(channel: Arc<Channel>) -> TargetBuilder {
    TargetBuilder(Target {
        place: None,
        alias: "m".into(),
        addresses: Addresses::of(&*channel.provider, "up-m", None),
        upstream_model: "up-m".into(),
        upstream_model_json: Bytes::from_static(b"\"up-m\""),
        timeouts: patience(),
        timing: None,
        keepalive: None,
        cooldown: Duration::from_secs(300),
        overrides: None,
        forced_stream: None,
        key_quota: None,
        context: None,
        health: Arc::new(HealthNotes::default()),
        meters: Arc::new(MeterNotes::default()),
        channel,
    })
}

/// Builds a [`Target`].
pub struct TargetBuilder(Target);

impl TargetBuilder {
    /// The model's name as clients know it.
    #[must_use]
    pub fn alias(mut self, alias: &str) -> Self {
        self.0.alias = alias.into();
        self
    }

    /// The place of the channel that serves.
    #[must_use]
    pub fn place(mut self, place: &str) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// What the upstream calls the model.
    #[must_use]
    pub fn upstream_model(mut self, model: &str) -> Self {
        self.0.upstream_model = model.into();
        self.0.upstream_model_json = Value::from(model).to_string().into();
        self.0.addresses = Addresses::of(&*self.0.channel.provider, model, self.0.place.as_deref());
        self
    }

    /// Its limits in seconds, see [`limits`].
    #[must_use]
    pub fn limits(mut self, idle: u64, opening: u64, total: u64) -> Self {
        self.0.timeouts = limits(idle, opening, total);
        self
    }

    /// How long a failure cools it.
    #[must_use]
    pub fn cooldown(mut self, period: Duration) -> Self {
        self.0.cooldown = period;
        self
    }

    /// Fields that are merged into every body.
    #[must_use]
    pub fn overrides(mut self, fields: Value) -> Self {
        let Value::Object(merge) = fields else { panic!("{fields} is no map") };
        let mut overrides = self.0.overrides.as_deref().cloned().unwrap_or_default();
        overrides.steps.push(OverrideStep { merge, remove: Vec::new() });
        self.0.overrides = Some(Arc::new(overrides));
        self
    }

    /// The mode in which it is always asked.
    #[must_use]
    pub fn forced_stream(mut self, stream: bool) -> Self {
        self.0.forced_stream = Some(stream);
        self
    }

    /// The most input tokens that its keys take in one request.
    #[must_use]
    pub fn tokens_per_request(mut self, tokens: u64) -> Self {
        self.0.key_quota = Some(Arc::new(Quota { tokens_per_request: Some(tokens), ..Quota::default() }));
        self
    }

    /// Its health.
    #[must_use]
    pub fn health(mut self, health: Arc<dyn Health>) -> Self {
        self.0.health = health;
        self
    }

    /// Its meters.
    #[must_use]
    pub fn meters(mut self, meters: Arc<dyn Meters>) -> Self {
        self.0.meters = meters;
        self
    }

    /// The target.
    pub fn build(self) -> Arc<Target> {
        Arc::new(self.0)
    }
}
