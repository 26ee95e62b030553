//! Asks upstreams which models they have, for channels that do not list them.
//!
//! One round for all such channels at once when a configuration comes, then again on a timer:
//! soon and ever less often while a channel does not answer, daily once it has. What was learnt is
//! kept by channel, address and key, so that a reload asks only where one of them changed. The
//! configuration file is never written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use layers::policy::ChannelName;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{ChannelSettings, Settings};
use crate::engine::Engine;
use crate::upstream::Fetcher;

/// Pauses between attempts while a channel does not answer; the last one repeats.
const PAUSES: [u64; 6] = [2, 5, 15, 60, 300, 900];
/// When a list that is known is asked for again.
const REFRESH: Duration = Duration::from_secs(24 * 3600);
/// Most models that are taken from one upstream.
const MOST_MODELS: usize = 20_000;

/// A model list that came.
#[derive(Debug)]
pub(super) struct Found {
    /// Whose.
    pub channel: ChannelName,
    /// The models, in the upstream's order, each once.
    pub models: Arc<[Arc<str>]>,
}

/// The inputs of a channel's list: a change of one makes the list void.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ListRequest {
    url: String,
    fingerprint: String,
    proxy: Option<Arc<str>>,
}

/// Tasks that ask, as long as this lives.
pub(super) struct Discovery {
    tasks: JoinSet<()>,
    asking: HashMap<ChannelName, (ListRequest, tokio::task::AbortHandle)>,
    found: mpsc::Sender<Found>,
}

impl Discovery {
    /// Sends what it finds to `found`.
    pub(super) fn new(found: mpsc::Sender<Found>) -> Self {
        Self { tasks: JoinSet::new(), asking: HashMap::new(), found }
    }

    /// Asks for the channels of a configuration. Tells which channels' earlier answers are void.
    pub(super) fn follow(&mut self, settings: &Settings) -> Vec<ChannelName> {
        let mut void = Vec::new();
        let wanted: HashMap<ChannelName, (ListRequest, HeaderMap)> = settings
            .channels
            .iter()
            .filter(|channel| channel.discover)
            .filter_map(|channel| Some((channel.name.clone(), list_request(channel)?)))
            .collect();
        self.asking.retain(|name, (known, task)| {
            let same = wanted.get(name).is_some_and(|(list_request, _)| list_request == known);
            if !same {
                task.abort();
                void.push(name.clone());
            }
            same
        });
        for (name, (list_request, headers)) in wanted {
            if !self.asking.contains_key(&name) {
                let task =
                    self.tasks.spawn(ask(name.clone(), list_request.clone(), headers, self.found.clone()));
                self.asking.insert(name, (list_request, task));
            }
        }
        void
    }

    /// How many channels are asked.
    pub(super) fn count(&self) -> usize {
        self.asking.len()
    }
}

async fn ask(
    channel: ChannelName,
    list_request: ListRequest,
    headers: HeaderMap,
    found: mpsc::Sender<Found>,
) {
    let fetcher = Fetcher::new(list_request.proxy.as_deref());
    let mut failures = 0;
    loop {
        let pause = match list(&fetcher, &list_request.url, &headers).await {
            Ok(models) => {
                failures = 0;
                tracing::info!(%channel, models = models.len(), "Model list of the channel is known.");
                if found.send(Found { channel: channel.clone(), models: models.into() }).await.is_err() {
                    return;
                }
                REFRESH
            }
            Err(reason) => {
                let pause = Duration::from_secs(PAUSES[failures.min(PAUSES.len() - 1)]);
                tracing::warn!(%channel, reason, again_in = ?pause, "Model list of the channel cannot be had.");
                failures += 1;
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn list(fetcher: &Fetcher, url: &str, headers: &HeaderMap) -> Result<Vec<Arc<str>>, String> {
    #[derive(Deserialize)]
    struct Listing {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let body = fetcher.get(url, headers.clone()).await?;
    let listing: Listing =
        serde_json::from_slice(&body).map_err(|_other| "the answer is no model list".to_owned())?;
    let mut models: Vec<Arc<str>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for model in listing.data.into_iter().take(MOST_MODELS) {
        if !model.id.is_empty() && seen.insert(model.id.clone()) {
            models.push(model.id.into());
        }
    }
    if models.is_empty() { Err("the list is empty".to_owned()) } else { Ok(models) }
}

/// Where and how a channel is asked; none for engines that have no list of this form.
fn list_request(channel: &ChannelSettings) -> Option<(ListRequest, HeaderMap)> {
    let base: Uri = channel.base_url.as_deref()?.parse().ok()?;
    let key = channel.keys.first();
    let mut headers = HeaderMap::new();
    let secret = |text: String| {
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let path = match channel.engine {
        Engine::OpenAi | Engine::OpenRouter | Engine::Responses => {
            if let Some(value) = key.and_then(|key| secret(format!("Bearer {}", key.expose()))) {
                headers.insert(AUTHORIZATION, value);
            }
            format!("{}/models", crate::providers::openai_root(&base))
        }
        Engine::Anthropic => {
            if let Some(value) = key.and_then(|key| secret(key.expose().to_owned())) {
                headers.insert(HeaderName::from_static("x-api-key"), value);
            }
            headers
                .insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
            "/v1/models".to_owned()
        }
        _ => return None,
    };
    headers.extend(channel.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    let url = crate::providers::with_path(&base, &path)?.to_string();
    let fingerprint = key.map(|key| key.fingerprint().as_str().to_owned()).unwrap_or_default();
    let proxy = channel.proxy.as_ref().map(crate::config::settings::SecretText::shared);
    Some((ListRequest { url, fingerprint, proxy }, headers))
}
