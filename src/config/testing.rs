//! Shared builders for tests.

use super::environment::Environment;
use super::load::{Origin, load};
use super::settings::{ChannelSettings, Settings};

/// Loads a text that is expected to be right.
pub(crate) fn settings(text: &str) -> Settings {
    match load(text, Origin::Inline, &Environment::default()) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// A channel with one key and one model at this URL.
pub(crate) fn channel(base_url: &str) -> ChannelSettings {
    let text = format!(
        "providers: [{{provider: a, base_url: '{base_url}', api: sk-upstream, model: [m]}}]\napi_keys: [{{api: sk-client}}]"
    );
    settings(&text).channels.remove(0)
}
