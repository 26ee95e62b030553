//! Traffic of all kinds, and the faults that dashboards and alerts are for: on two gateways, one that serves and one in
//! trouble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::subjects::google::{gemini_said, new_private_key, token_endpoint, vertex_channel};
use crate::harness::*;

/// The two gateways with their upstreams.
pub(crate) struct Scenario {
    serving: Arc<Gateway>,
    troubled: Gateway,
    configuration: Value,
    _upstreams: Vec<Upstream>,
}

/// An answer with every kind of token.
fn usage() -> Value {
    json!({
        "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
        "prompt_tokens_details": { "cached_tokens": 4 }, "completion_tokens_details": { "reasoning_tokens": 2 },
    })
}

/// What the upstream that serves answers, by the model.
fn answer(seen: &Seen) -> Script {
    let pause = Duration::from_millis(30);
    match (seen.model().as_str(), seen.streams()) {
        ("torn", _) => Script::events([role_event(), text_event("half a sen")]).then_close(),
        ("silent", _) => {
            let mut answer = said("ok");
            answer.as_object_mut().unwrap().remove("usage");
            Script::json(&answer)
        }
        (_, true) => {
            let told = json!({ "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage() });
            let pieces =
                [role_event(), text_event("one "), text_event("two "), text_event("three"), stop_event()];
            Script::events(pieces.into_iter().chain([event(&told), DONE.to_owned()])).paced(pause)
        }
        (_, false) => Script::json(&said("ok").with("/usage", usage())).after(pause),
    }
}

impl Scenario {
    /// Starts both; the second gets into its troubles.
    pub(crate) async fn start() -> Self {
        let good = Upstream::start(answer).await;
        let broken = Upstream::always(Script::error(500, "out of order")).await;
        let limited = Upstream::always(Script::error(429, "slow down").header("retry-after", "600")).await;
        let gemini = Upstream::always(Script::json(&gemini_said("Hi"))).await;
        let tokens = token_endpoint().await;
        let receiver = Upstream::always(Script::body(200, "application/x-protobuf", "")).await;
        let away = refused_port().await;
        let never_cooling = |channel: Value| channel.with("/preferences/cooldown_period", json!(0));
        let configuration = json!({
            "providers": [
                never_cooling(channel("broken", &broken)),
                channel("good", &good).with("/model", json!(["m", "n", "torn", "silent"])),
                channel("limited", &limited).with("/model", json!(["limited"])).with("/api", json!(["key-1", "key-2"])),
                never_cooling(channel_at("away", &away)).with("/model", json!(["away"])),
                vertex_channel("accounts", &gemini, &tokens).with("/model", json!([{ "gemini-2.5-flash": "account" }])),
                never_cooling(vertex_channel("no-tokens", &gemini, &broken))
                    .with("/client_email", json!("you@p.test"))
                    .with("/private_key", json!(new_private_key()))
                    .with("/model", json!([{ "gemini-2.5-flash": "no-token" }])),
                { "provider": "listless", "base_url": broken.url(), "api": "key" },
            ],
            "api_keys": [
                { "api": CLIENT, "role": "admin" },
                { "api": "sk-team", "role": "team", "preferences": { "credits": 1000, "rate_limit": "100000/hour" } },
                { "api": "sk-low", "role": "low", "preferences": { "credits": 0.03 } },
                { "api": "sk-spent", "role": "spent", "preferences": { "credits": 0.02 } },
                { "api": "sk-narrow", "role": "narrow", "preferences": { "rate_limit": "2/min" } },
            ],
            // An answer costs 0.025 dollars.
            "preferences": { "model_price": { "default": "1000,2000" }, "rate_limit": "1000000/hour" },
        });
        let serving = Setup::new(&configuration)
            .with_database()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.origin())
            .env("OTEL_BSP_SCHEDULE_DELAY", "500")
            .start()
            .await;
        for key in ["sk-low", "sk-spent"] {
            serving.ask(&Ask::chat(&hello_to("n")).key(key)).await.expect(200);
        }

        let few = config([channel("good", &good)]).with("/preferences/rate_limit", json!("3/hour"));
        let (host, port) =
            away.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.split_once(':')).unwrap();
        let troubled = Setup::new(few)
            .without_env("DISABLE_DATABASE")
            .env("DB_TYPE", "postgres")
            .env("DB_HOST", host)
            .env("DB_PORT", port)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{host}:{port}"))
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
            .env("OTEL_BSP_SCHEDULE_DELAY", "500")
            .start()
            .await;
        let upstreams = vec![good, broken, limited, gemini, tokens, receiver];
        Self { serving: Arc::new(serving), troubled, configuration, _upstreams: upstreams }
    }

    /// Where the metrics of both are.
    pub(crate) fn targets(&self) -> Vec<String> {
        [&*self.serving, &self.troubled].map(|one| one.metrics_client().address.to_string()).to_vec()
    }

    /// Sends requests of all kinds for so long, while the second loses its configuration.
    pub(crate) async fn run(&self, time: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let traffic = tokio::spawn(traffic(self.serving.clone(), self.troubled.client(), stop.clone()));
        for _ in 0..5 {
            self.troubled.chat(&hello()).await;
        }
        std::fs::write(self.troubled.api_yaml(), "providers: {").unwrap();
        self.troubled.wait_for_line("the mistake", |line| line.contains("cannot be used")).await;
        std::fs::remove_file(self.troubled.api_yaml()).unwrap();
        tokio::time::sleep(time / 2).await;
        self.serving
            .reload(self.configuration.clone().with("/preferences/rate_limit", json!("2000000/hour")))
            .await;
        self.troubled.wait_for_line("the loss", |line| line.contains("is not there")).await;
        tokio::time::sleep(time / 2).await;
        stop.store(true, Ordering::Relaxed);
        traffic.await.unwrap();
    }
}

/// All kinds of requests, again and again.
async fn traffic(gateway: Arc<Gateway>, troubled: Client, stop: Arc<AtomicBool>) {
    let stream = |model: &str| Ask::chat(&hello_to(model).with("/stream", json!(true)));
    let whole = |model: &str| Ask::chat(&hello_to(model));
    let asks = [
        whole("m"),
        stream("m"),
        stream("n").key("sk-team"),
        whole("silent"),
        whole("account"),
        stream("torn"),
        whole("limited"),
        whole("away"),
        whole("no-token"),
        whole("absent"),
        whole("n").key("sk-spent"),
        whole("n").key("sk-narrow"),
        whole("n").key("sk-unknown"),
        Ask::get("/v1/models"),
        Ask::get("/v1/nothing-here"),
    ];
    while !stop.load(Ordering::Relaxed) {
        let mut all = tokio::task::JoinSet::new();
        for ask in asks.clone() {
            let client = gateway.client();
            all.spawn(async move {
                client.ask(&ask).await;
            });
        }
        let (client, ask) = (gateway.client(), stream("m"));
        all.spawn(async move {
            let mut flow = client.open(&ask).await;
            flow.next().await;
        });
        all.spawn(async move {
            troubled.chat(&hello()).await;
        });
        while all.join_next().await.is_some() {}
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
