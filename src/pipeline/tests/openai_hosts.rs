//! Upstreams of OpenAI's format that have addresses, keys or quirks of their own.

use serde_json::{Value, json};

use super::bench::*;

/// A channel of this engine at the upstream's bare address.
fn channel_of(engine: &str, name: &str, upstream: &Upstream) -> Value {
    channel_at(name, &upstream.origin()).with("/engine", json!(engine))
}

/// A request with a tool, and pictures of both kinds.
fn agent_s_request() -> Value {
    hello()
        .with(
            "/tools",
            json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]),
        )
        .with("/tool_choice", json!("auto"))
        .with(
            "/messages/0/content",
            json!([
                { "type": "text", "text": "What is it?" },
                { "type": "image_url", "image_url": { "url": "https://pictures.example/a.png" } },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
            ]),
        )
}

/// Promises: `dialect-azure`, `dialect-azure-resource`, `dialect-azure-version-default`.
#[tokio::test(start_paused = true)]
async fn an_azure_channel_asks_the_deployment_of_the_model_with_the_key_in_azure_s_header() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel_of("azure", "a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    let seen = upstream.only();
    assert_eq!(seen.path, "/openai/deployments/m/chat/completions?api-version=2024-10-21");
    assert_eq!((seen.header("api-key"), seen.header("authorization")), (Some("key-of-a"), None));
    assert_eq!(seen.json(), hello());
}

/// Promises: `dialect-azure-foundry`.
#[tokio::test(start_paused = true)]
async fn azure_s_address_for_all_models_is_asked_in_its_version() {
    let upstream = healthy("ok").await;
    let versioned = "/models/chat/completions?api-version=2024-05-01-preview";
    for (written, asked) in [
        (versioned, versioned),
        ("/models/chat/completions", "/models/chat/completions?api-version=2024-10-21"),
    ] {
        let url = format!("{}{written}", upstream.origin());
        let channel = channel_at("a", &url).with("/engine", json!("azure"));
        let gateway = Gateway::start(config([channel])).await;

        gateway.chat(&hello()).await.expect(200);

        assert_eq!(upstream.last().path, asked);
    }
}

/// Promises: `cfg-tools-default`, `dialect-vision-openai`, `dialect-vision-azure`, `dialect-vision-xai`.
#[tokio::test(start_paused = true)]
async fn tools_and_pictures_travel_to_upstreams_of_openai_s_format_as_they_came() {
    let upstream = healthy("ok").await;
    for channel in [channel("a", &upstream), channel_of("azure", "a", &upstream)] {
        let gateway = Gateway::start(config([channel])).await;

        gateway.chat(&agent_s_request()).await.expect(200);

        assert_eq!(upstream.last().json(), agent_s_request());
    }
}

/// Promises: `dialect-tools-azure`.
#[tokio::test(start_paused = true)]
async fn azure_s_streams_reach_the_client_without_chunks_that_have_no_choice() {
    let filtered =
        r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[]}"#;
    let tools = include_str!("../../../layers/dialect/tests/streams/azure_tools/stream.sse");
    let upstream = Upstream::always(Script::events([format!("{filtered}\n\n"), tools.to_owned()])).await;
    let gateway = Gateway::start(config([channel_of("azure", "a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    let events = answer.event_values();
    let call = &events[0]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(
        (&call["function"]["name"], &call["function"]["arguments"]),
        (&json!("best_language_to_learn"), &json!("{}"))
    );
    assert!(answer.is_done());
    let usage = gateway.records()[0].entry.usage.expect("a usage");
    assert!(usage.input_total > 0 && usage.output_total > 0, "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_azure_does_not_have_is_asked_elsewhere_and_a_filtered_prompt_is_not() {
    let told = |code: &str, status: u16| {
        let error = json!({ "error": {
            "code": code, "message": "The response was filtered", "param": "prompt", "type": null, "status": status,
            "innererror": { "code": "ResponsibleAIPolicyViolation", "content_filter_result": {} },
        } });
        Script::status(status, &error)
    };
    for (code, status, served) in [("DeploymentNotFound", 404, true), ("content_filter", 400, false)] {
        let (azure, other) = (Upstream::always(told(code, status)).await, healthy("ok").await);
        let channels = [channel_of("azure", "a", &azure), channel("b", &other)];
        let gateway = Gateway::start(config(channels)).await;

        let answer = gateway.chat(&hello()).await;

        assert_eq!(answer.status, if served { 200 } else { 400 }, "{code}");
        assert_eq!(other.count(), usize::from(served), "{code}");
        if !served {
            assert_eq!(answer.json()["error"]["code"], "content_filter");
        }
    }
}

/// Promises: `dialect-databricks`.
#[tokio::test(start_paused = true)]
async fn a_databricks_channel_has_the_model_in_the_path_and_thoughts_where_clients_look() {
    let recorded =
        include_str!("../../../layers/dialect/tests/repairs/content_parts_databricks_stream/upstream.sse");
    let upstream = Upstream::start(move |seen| match seen.streams() {
        true => Script::events([recorded]),
        false => saying("ok")(seen),
    })
    .await;
    let channel = channel_of("databricks", "a", &upstream)
        .with("/model", json!([{ "databricks-claude-sonnet-4": "claude-sonnet-4" }]));
    let gateway = Gateway::start(config([channel])).await;

    let ask =
        hello_stream().with("/model", json!("claude-sonnet-4")).with("/max_completion_tokens", json!(99));
    let answer = gateway.chat(&ask).await.expect(200);

    let seen = upstream.only();
    assert_eq!(seen.path, "/serving-endpoints/databricks-claude-sonnet-4/invocations");
    assert_eq!(seen.header("authorization"), Some("Bearer key-of-a"));
    let sent = seen.json();
    assert_eq!(
        (sent.get("model"), sent.get("stream_options"), &sent["max_tokens"]),
        (None, None, &json!(99))
    );
    let thoughts: String = answer
        .event_values()
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["reasoning_content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(thoughts, "Seventeen times three is fifty-one.");
    assert_eq!(answer.streamed(), "17 * 3 = 51.");
    let usage = gateway.records()[0].entry.usage.expect("a usage");
    assert_eq!((usage.input_total, usage.output_total), (41, 62));
}

#[tokio::test(start_paused = true)]
async fn a_channel_has_the_quirks_that_its_configuration_adds() {
    let thought = said("<think>hm</think>\n\nYes");
    let upstream = Upstream::always(Script::json(&thought)).await;
    let channel = channel("a", &upstream).with("/preferences/quirks", json!(["think_tags", "system_role"]));
    let gateway = Gateway::start(config([channel])).await;

    let ask = hello().with("/messages/0/role", json!("developer"));
    let answer = gateway.chat(&ask).await.expect(200).json();

    let message = &answer["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Yes"), &json!("hm")));
    assert_eq!(upstream.only().json()["messages"][0]["role"], "system");
}

/// Promises: `cfg-engine`, `cfg-engine-over-url`.
#[tokio::test(start_paused = true)]
async fn a_written_engine_decides_what_else_the_address_would() {
    let upstream = healthy("ok").await;
    let azure = "https://r.openai.azure.com";
    for (engine, path) in [
        (None, "/v1/chat/completions"),
        (Some("azure"), "/v1/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        (Some("databricks"), "/v1/serving-endpoints/m/invocations"),
    ] {
        let channel = channel_at("a", &format!("{}/v1", upstream.origin()));
        let channel = match engine {
            Some(engine) => channel.with("/engine", json!(engine)),
            None => channel,
        };
        Gateway::start(config([channel])).await.chat(&hello()).await.expect(200);

        assert_eq!(upstream.last().path, path, "{engine:?}");
    }
    let url: http::Uri = azure.parse().unwrap();
    assert_eq!(crate::providers::detect(&url).map(crate::engine::Engine::name), Some("azure"));
}
