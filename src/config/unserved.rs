//! The part of a configuration that is written well and that this version cannot serve: channels
//! whose format is yet to come. They are left out of routes when the configuration is compiled, and
//! whoever speaks of a configuration (`check`, the log) names them from here.

use std::fmt;

use layers::policy::ChannelName;

use super::settings::{ChannelSettings, Settings};

/// A channel, or some models of it, that this version cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// Its engine, as `engine:` names it; that of the models where it is theirs alone.
    pub engine: &'static str,
    /// How many of its written models are left out.
    pub models: usize,
    /// Whether nothing of the channel is left.
    pub is_whole: bool,
}

impl fmt::Display for Unserved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, engine, models, is_whole } = self;
        if !is_whole {
            write!(f, "{models} models of ")?;
        }
        write!(f, "channel {channel} cannot be served by this version (engine {engine}); left out of routes")
    }
}

impl Settings {
    /// Everything of this configuration that cannot be served, in its order.
    pub fn unserved(&self) -> Vec<Unserved<'_>> {
        self.channels.iter().filter_map(ChannelSettings::unserved).collect()
    }
}

impl ChannelSettings {
    /// What of this channel cannot be served, if anything.
    pub fn unserved(&self) -> Option<Unserved<'_>> {
        let mut left_out = self.models.iter().filter(|model| !model.engine.is_served());
        let (engine, models) = match left_out.next() {
            Some(first) => (first.engine, 1 + left_out.count()),
            None if self.models.is_empty() && !self.engine.is_served() => (self.engine, 0),
            None => return None,
        };
        // Models that are found later are of the channel's own engine, or of one that refines it.
        let may_find_more = self.discover && self.engine.is_served();
        let is_whole = models == self.models.len() && !may_find_more;
        Some(Unserved { channel: &self.name, engine: engine.name(), models, is_whole })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::settings;
    use crate::engine::Engine;

    /// A row that says how channels are written and not how they are asked.
    static LATER: Engine = Engine { names: &["later"], ..Engine::PLAIN };

    #[test]
    fn channels_and_models_of_formats_to_come_are_named_and_no_others() {
        let mut settings = settings(
            "
providers:
  - {provider: good, base_url: 'https://a.test/v1', api: k, model: [m]}
  - {provider: whole, base_url: 'https://b.test/v1', api: k, model: [g, h]}
  - {provider: part, base_url: 'https://c.test/v1', api: k, model: [g, h]}
api_keys: [{api: sk-1}]
",
        );
        settings.channels[1].engine = &LATER;
        settings.channels[1].models.iter_mut().for_each(|model| model.engine = &LATER);
        settings.channels[2].models[0].engine = &LATER;

        let told: Vec<String> = settings.unserved().iter().map(ToString::to_string).collect();

        let why = "cannot be served by this version (engine later); left out of routes";
        assert_eq!(told, [format!("channel whole {why}"), format!("1 models of channel part {why}")]);
    }
}
