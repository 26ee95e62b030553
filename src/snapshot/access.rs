//! What a configured channel is asked with and by whom: its settings, as its engine's row reads them.
//!
//! Used twice: for requests, whose channels are compiled, and for the question which models there
//! are, which is asked while they are.

use std::sync::Arc;

use dialect::Secrets;
use layers::policy::Link;
use layers::ports::{Credential, Pair, Provider, Secret};
use serde_json::Value;

use crate::config::ChannelSettings;
use crate::config::settings::{AccountSettings, CONNECT, ModelSettings, SecretText};
use crate::engine::{Engine, ProviderSpec, ServiceAccount, Slot};
use crate::providers;
use crate::state::Runtime;

/// The part of a channel's settings that engines read.
pub(super) struct ChannelAccess {
    engine_is_explicit: bool,
    base_url: Option<String>,
    keys: Vec<Secret>,
    cf_account: Option<String>,
    accounts: Vec<ServiceAccount>,
    projects: Vec<String>,
    link: Link,
    pair: Option<Pair>,
    regions: Vec<String>,
    api_version: Option<String>,
}

impl ChannelAccess {
    /// That of a channel, with no more than the first `most_keys` of its keys.
    pub(super) fn new(settings: &ChannelSettings, most_keys: usize) -> Self {
        let pair = settings.aws_access_key.as_ref().zip(settings.aws_secret_key.as_ref());
        Self {
            engine_is_explicit: settings.engine_is_explicit,
            base_url: settings.base_url.clone(),
            keys: settings.keys.iter().take(most_keys).map(secret).collect(),
            cf_account: settings.cf_account_id.clone(),
            accounts: settings.accounts.iter().filter_map(account).collect(),
            projects: settings.project_ids.clone(),
            link: link(settings, settings.engine),
            pair: pair.map(|(id, key)| Pair {
                id: secret(id),
                secret: secret(key),
                session: settings.aws_session_token.as_ref().map(secret),
            }),
            regions: settings.regions.clone(),
            api_version: settings.api_version.clone(),
        }
    }

    /// The same for one engine.
    pub(super) fn spec(&self, engine: &'static Engine) -> ProviderSpec<'_> {
        ProviderSpec {
            engine,
            engine_is_explicit: self.engine_is_explicit,
            base_url: self.base_url.as_deref(),
            keys: &self.keys,
            cf_account: self.cf_account.as_deref(),
            accounts: &self.accounts,
            projects: &self.projects,
            link: &self.link,
            pair: self.pair.as_ref(),
            regions: &self.regions,
            api_version: self.api_version.as_deref(),
        }
    }

    /// The places in which a model is served: those of `region`, else those that its engine knows.
    pub(super) fn places(&self, model: &ModelSettings, regions: &[String]) -> Vec<Arc<str>> {
        let engine = model.engine;
        if engine.is_regional && !regions.is_empty() {
            return regions.iter().map(|region| region.as_str().into()).collect();
        }
        (engine.places)(&self.spec(engine), &model.upstream).iter().map(|place| Arc::from(&**place)).collect()
    }

    /// Who finds the addresses of an engine's models and signs.
    pub(super) fn provider(&self, engine: &'static Engine) -> Arc<dyn Provider> {
        providers::build(&self.spec(engine))
    }

    /// What is signed with, in the order of the configuration.
    pub(super) fn credentials(&self, engine: &'static Engine, runtime: &Runtime) -> Vec<Credential> {
        let slots = (engine.credentials)(&self.spec(engine));
        let credential = |slot| match slot {
            Slot::Key(key) => Credential::Key(key),
            // Its tokens are the process's: they outlive this configuration.
            Slot::Account(issuer) => Credential::Token(runtime.tokens().account(issuer)),
            Slot::Pair(pair) => Credential::Pair(Arc::new(pair)),
        };
        slots.into_iter().map(credential).collect()
    }
}

/// An account of which everything is there.
fn account(settings: &AccountSettings) -> Option<ServiceAccount> {
    Some(ServiceAccount {
        email: settings.email.clone()?,
        project: settings.project.clone()?,
        private_key: secret(&settings.private_key),
        key_id: settings.key_id.clone(),
        token_uri: settings.token_uri.clone(),
    })
}

/// How connections are made for the models of an engine.
pub(super) fn link(settings: &ChannelSettings, engine: &Engine) -> Link {
    Link {
        proxy: settings.proxy.as_ref().map(SecretText::shared),
        http2: settings.http2,
        connect: (settings.connect_timeout != CONNECT).then_some(settings.connect_timeout),
        inside: engine.inside.map(|_| engine.name()),
    }
}

pub(super) fn secret(text: &SecretText) -> Secret {
    Secret::new(text.expose(), text.fingerprint())
}

/// What a channel's configuration holds beside its keys that its upstream may repeat and nobody else may learn.
pub(super) fn secrets(settings: &ChannelSettings, models: &[ModelSettings]) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in &settings.headers {
        secrets = secrets.with_header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    let proxy = settings.proxy.as_ref().map(SecretText::expose);
    for url in settings.base_url.as_deref().into_iter().chain(proxy) {
        secrets = secrets.with_url(url);
    }
    let overrides = models.iter().filter_map(|model| model.overrides.as_deref());
    for (name, value) in overrides.flat_map(|overrides| &overrides.steps).flat_map(|step| &step.merge) {
        secrets = with_fields(secrets, name, value);
    }
    secrets
}

/// With every text of a value, under the name of its field.
fn with_fields(secrets: Secrets, name: &str, value: &Value) -> Secrets {
    match value {
        Value::String(text) => secrets.with_field(name, text),
        Value::Array(list) => list.iter().fold(secrets, |secrets, value| with_fields(secrets, name, value)),
        Value::Object(map) => {
            map.iter().fold(secrets, |secrets, (name, value)| with_fields(secrets, name, value))
        }
        _ => secrets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::settings;

    fn credentials(runtime: &Runtime, lines: &str) -> Vec<Credential> {
        let text = format!(
            "providers: [{{provider: a, model: [m], {lines}}}, {{provider: b, engine: mock}}]\napi_keys: [{{api: sk-1}}]\n"
        );
        let channel = &settings(&text).channels[0];
        ChannelAccess::new(channel, channel.keys.len()).credentials(channel.engine, runtime)
    }

    #[test]
    fn every_kind_of_credential_is_a_slot_that_is_known_by_its_fingerprint() {
        let runtime = Runtime::new(None);
        let print = |text: &str| SecretText::from(text).fingerprint();

        let account = credentials(&runtime, "project_id: p, private_key: secret-pem, client_email: e");
        let pair = credentials(&runtime, "aws_access_key: id, aws_secret_key: aws-secret, region: r");
        let keys = credentials(&runtime, "base_url: 'https://a.test', api: [k, l]");

        assert!(matches!(&*account, [Credential::Token(_)]));
        assert_eq!(account[0].fingerprint(), &print("secret-pem"));
        assert!(matches!(&*pair, [Credential::Pair(_)]));
        assert_eq!(pair[0].fingerprint(), &print("aws-secret"));
        assert_eq!(keys.iter().map(Credential::fingerprint).collect::<Vec<_>>(), [&print("k"), &print("l")]);
    }

    #[test]
    fn an_account_is_the_same_slot_in_the_next_configuration() {
        let runtime = Runtime::new(None);
        let lines = "project_id: p, private_key: secret-pem, client_email: e";

        let (before, after) = (credentials(&runtime, lines), credentials(&runtime, lines));

        assert_eq!(before, after);
        assert_eq!(runtime.tokens().len(), 1);
    }
}
