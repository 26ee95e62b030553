//! The short question that costs something: it goes through the whole pipeline, as a client's does.
//!
//! For it the configuration gets client keys of its own, one for each channel, which may use that channel and have one
//! try. What the pipeline remembers of it is this process's alone.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use layers::capacity::Capacity;
use layers::policy::{Affinity, Retries, Role};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use crate::accounting::Recorder;
use crate::config::settings::{CallerLimit, CallerSettings, Globals};
use crate::config::{ChannelSettings, Environment, Settings};
use crate::edge::EdgeBody;
use crate::lifecycle::Phase;
use crate::pipeline::{Parts, Room, edge};
use crate::snapshot::{CurrentSnapshot, Discovered, Listed, compile};
use crate::state::Runtime;
use crate::telemetry::metrics::Metrics;
use crate::upstream::{GuardedMedia, Upstream};
use crate::values::{Algorithm, Rule, RuleMatch};

/// Room for the bodies of a few short questions.
const BUFFERS: usize = 64 << 20;
/// Tokens that are asked for. Some providers take no fewer.
const TOKENS: u32 = 16;
/// Longest message that is told, in characters.
const LONGEST_TOLD: usize = 300;

/// Words in the names of models that do not chat.
const NO_CHAT: [&str; 17] = [
    "embed",
    "whisper",
    "tts",
    "dall-e",
    "image",
    "moderation",
    "rerank",
    "transcribe",
    "audio",
    "realtime",
    "sora",
    "veo",
    "imagen",
    "davinci",
    "babbage",
    "ocr",
    "speech",
];

type Pipeline = BoxCloneService<Request<Full<Bytes>>, http::Response<EdgeBody>, std::convert::Infallible>;

/// The pipeline of a configuration, with a client key for each channel.
pub(super) struct Paid {
    pipeline: Mutex<Pipeline>,
    _phase: watch::Sender<Phase>,
}

/// The model that a channel is asked for; none when there is none, or not the wanted one.
pub(super) fn model(channel: &ChannelSettings, listed: &[Listed], wanted: Option<&str>) -> Option<String> {
    let written = channel.models.iter().map(|model| &*model.alias);
    let found = listed.iter().map(|listed| &*listed.name).filter(|_| channel.discover);
    let mut all = written.chain(found);
    let model = match wanted {
        Some(wanted) => all.find(|name| *name == wanted),
        None => all.find(|name| chats(name)),
    };
    model.map(str::to_owned)
}

/// Whether a model is for conversations, as far as its name tells.
pub(super) fn chats(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !NO_CHAT.iter().any(|word| name.contains(word))
}

/// The client key of a channel.
fn key(channel: usize) -> String {
    format!("sk-doctor-{channel}")
}

fn caller(channel: usize) -> CallerSettings {
    CallerSettings {
        key: key(channel).as_str().into(),
        alias: "doctor".into(),
        role: Role::Admin,
        rules: vec![Rule { matcher: RuleMatch::ChannelAll([channel].into()), weight: None }],
        algorithm: Algorithm::FixedPriority,
        retries: Retries::Never,
        rate_limit: CallerLimit::None,
        moderation: None,
        affinity: Affinity::Off,
        credits: None,
        expose_route: true,
        store_responses: false,
    }
}

impl Paid {
    /// The pipeline of these channels.
    pub(super) fn new(
        settings: &Settings,
        discovered: &Discovered,
        env: &Environment,
        runtime: &Arc<Runtime>,
        upstream: Upstream,
    ) -> Self {
        let settings = Settings {
            channels: settings.channels.clone(),
            callers: (0..settings.channels.len()).map(caller).collect(),
            globals: Arc::new(Globals { rate_limit: None, ..Globals::clone(&settings.globals) }),
        };
        let metrics = Metrics::new();
        let snapshot = compile(Arc::new(settings), discovered, runtime, &metrics);
        let current = Arc::new(CurrentSnapshot::new(Arc::new(snapshot)));
        let capacity = Capacity::new(super::AT_ONCE, BUFFERS);
        let records = Arc::new(Recorder::new(current.clone(), metrics.clone()));
        let media = Arc::new(GuardedMedia::new(capacity.clone(), env.fetch_allow_private));
        let parts =
            Parts::new(runtime, &current, metrics, records, media, Room { capacity, most_body: BUFFERS });
        let (steer, phase) = watch::channel(Phase::Serving);
        Self { pipeline: Mutex::new(BoxCloneService::new(edge(&parts, upstream, phase))), _phase: steer }
    }

    /// Has a model of a channel answer.
    pub(super) async fn ask(&self, channel: usize, model: &str) -> Result<(), String> {
        let question = json!({
            "model": model,
            "messages": [{ "role": "user", "content": "Say ok." }],
            "max_tokens": TOKENS,
        });
        let request = Request::post("/v1/chat/completions")
            .header(HOST, "doctor.invalid")
            .header(AUTHORIZATION, format!("Bearer {}", key(channel)))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(question.to_string())))
            .map_err(|error| error.to_string())?;
        let pipeline = self.pipeline.lock().await.clone();
        let (head, body) = match pipeline.oneshot(request).await {
            Ok(answer) => answer.into_parts(),
            Err(never) => match never {},
        };
        // A whole answer is read before it is accepted.
        if head.status == StatusCode::OK {
            return Ok(());
        }
        let body = body.collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
        let error: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let message = error["error"]["message"].as_str().unwrap_or("it gives no reason");
        // The channel is named already.
        let message = match message.split_once(": ") {
            Some((whom, rest)) if whom.starts_with("channel ") => rest,
            _ => message,
        };
        Err(message.chars().take(LONGEST_TOLD).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::settings;

    #[test]
    fn the_first_model_that_chats_is_asked_or_the_wanted_one() {
        let settings = settings(
            "providers: [{provider: a, base_url: 'https://a.test/v1', api: k, model: [text-embedding-3-large, up: gpt-x, gpt-y]}]\napi_keys: [{api: sk-1}]\n",
        );
        let channel = &settings.channels[0];

        assert_eq!(model(channel, &[], None).as_deref(), Some("gpt-x"));
        assert_eq!(model(channel, &[], Some("gpt-y")).as_deref(), Some("gpt-y"));
        assert_eq!(model(channel, &[], Some("gpt-z")), None);
    }
}
