//! Lists where the models of a configuration would be asked: engine and URL of each, for a person.

use layers::address::{Address, bare};
use layers::endpoint::CHAT_COMPLETIONS;
use layers::ports::Wanted;

use super::access::ChannelAccess;
use crate::config::{ChannelSettings, Settings};

/// The address of one model of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAddress {
    /// The channel.
    pub channel: String,
    /// The engine of this model.
    pub engine: &'static str,
    /// The name that clients use.
    pub model: String,
    /// Where a chat would be asked, without query and credentials, or why nowhere.
    pub url: Result<String, String>,
    /// How many places more it is asked in.
    pub more_places: usize,
}

/// The addresses of all models that are written down, in the order of the configuration.
pub fn addresses(settings: &Settings) -> impl Iterator<Item = ModelAddress> {
    settings.channels.iter().flat_map(channel_addresses)
}

/// The same for one channel.
pub fn channel_addresses(channel: &ChannelSettings) -> Vec<ModelAddress> {
    let access = ChannelAccess::new(channel, channel.keys.len());
    let of = |model: &crate::config::settings::ModelSettings| {
        let places = access.places(model, &channel.regions);
        let place = places.first().map(|place| &**place);
        let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model: &model.upstream, place, stream: false };
        let address = Address::of(&*access.provider(model.engine), wanted);
        ModelAddress {
            channel: channel.name.to_string(),
            engine: model.engine.name(),
            model: model.alias.to_string(),
            url: address.map(|address| bare(&address.uri)).map_err(|unsupported| unsupported.to_string()),
            more_places: places.len().saturating_sub(1),
        }
    };
    channel.models.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::settings;

    #[test]
    fn every_model_is_listed_with_its_engine_and_where_it_would_be_asked() {
        let settings = settings(
            "
providers:
  - {provider: a, base_url: 'https://me:secret@a.test/v1?key=secret', api: k, model: [m, {up: n}]}
  - {provider: c, base_url: 'https://c.test/v1/messages', api: k, model: [claude-x]}
  - {provider: v, project_id: p, private_key: k, client_email: e, region: [us-east5, global],
     model: [claude-opus-4-6, gemini-2.5-pro]}
  - {provider: x, project_id: [p], api: [k], model: [claude-opus-4-6]}
api_keys: [{api: sk-1}]
",
        );

        let listed: Vec<String> = addresses(&settings)
            .map(|ModelAddress { channel, engine, model, url, more_places }| {
                let url = url.unwrap_or_else(|reason| format!("({reason})"));
                format!("{channel} {engine} {model} {url} {more_places}")
            })
            .collect();

        assert_eq!(
            listed,
            [
                "a gpt m https://a.test/v1/chat/completions 0",
                "a gpt n https://a.test/v1/chat/completions 0",
                "c claude claude-x https://c.test/v1/messages 0",
                "v vertex-claude claude-opus-4-6 https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-opus-4-6:rawPredict 1",
                "v vertex-gemini gemini-2.5-pro https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/google/models/gemini-2.5-pro:generateContent 1",
                "x vertex-express claude-opus-4-6 (Claude on Vertex AI takes a service account: project_id, private_key and client_email) 0",
            ]
        );
    }
}
