//! The official OpenAI SDKs, pointed at the gateway: what they make of its answers is what counts.
//!
//! A plan of calls is written here, with what must come of each, and run by the scripts in
//! `tests/sdk`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::converted::Told;
use crate::harness::recorded::replay;
use crate::harness::*;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sdk {
    Python,
    Node,
}

impl Sdk {
    fn command(self, script: &str) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
        let installed = |path: PathBuf| {
            assert!(
                path.exists(),
                "{} is missing; install the SDKs with: tests/sdk/install.sh",
                path.display()
            );
            path
        };
        match self {
            Self::Python => {
                installed(folder.join("python/.venv/installed"));
                let mut command = Command::new(installed(folder.join("python/.venv/bin/python")));
                command.arg(folder.join(format!("python/{script}.py")));
                command
            }
            Self::Node => {
                installed(folder.join("node/node_modules/openai"));
                let mut command = Command::new("node");
                command.arg(folder.join(format!("node/{script}.js")));
                command
            }
        }
    }

    /// Runs the steps; stops the test with what the script printed when one of them fails.
    async fn run(self, gateway: &Gateway, steps: Vec<Value>) {
        self.run_script("scenarios", gateway, steps).await;
    }

    /// The same with another script than that of chat.
    pub(crate) async fn run_script(self, script: &str, gateway: &Gateway, steps: Vec<Value>) {
        let plan = gateway.folder().join(format!("plan-{self:?}.json"));
        let count = steps.len();
        let text = json!({ "base_url": gateway.base_url(), "key": CLIENT, "steps": steps }).to_string();
        std::fs::write(&plan, text).unwrap();
        let mut command = self.command(script);
        command.arg(&plan).env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL");
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        let output = output.unwrap_or_else(|error| panic!("{self:?} cannot be started: {error}"));
        let printed =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{self:?}: {printed}");
        assert!(printed.contains(&format!("{count} steps")), "{self:?}: {printed}");
    }
}

/// Recorded answers in the dialects of these providers, whole and streamed, with and without tools.
fn recorded() -> Vec<Recorded> {
    let providers = ["openai/", "groq/", "xai/", "openrouter/", "deepseek/", "mistral/", "cerebras/"];
    let wanted = |case: &Recorded| {
        case.status == 200
            && providers.iter().any(|provider| case.name.starts_with(provider))
            && !case.has("midstream_error")
            && !case.says_nothing()
    };
    Recorded::all("chat").into_iter().filter(wanted).collect()
}

/// What an SDK should find in an answer of OpenAI's format, read from the recording.
fn expectation(case: &Recorded) -> Value {
    let mut content = String::new();
    let mut calls: Vec<(String, String)> = Vec::new();
    let (mut finish, mut total, mut choices, mut usage_chunks) = (Value::Null, Value::Null, 0, 0);
    let answers: Vec<Value> = if case.stream {
        let text = String::from_utf8_lossy(&case.body).into_owned();
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok()).collect()
    } else {
        vec![serde_json::from_slice(&case.body).unwrap()]
    };
    for answer in &answers {
        if answer["usage"]["total_tokens"].is_u64() {
            total = answer["usage"]["total_tokens"].clone();
            usage_chunks += usize::from(answer["choices"] == json!([]));
        }
        for choice in answer["choices"].as_array().into_iter().flatten() {
            choices = choices.max(choice["index"].as_u64().unwrap_or(0) + 1);
            if choice["index"].as_u64().unwrap_or(0) != 0 {
                continue;
            }
            let message = if case.stream { &choice["delta"] } else { &choice["message"] };
            content.push_str(message["content"].as_str().unwrap_or_default());
            for (position, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
                let index = call["index"].as_u64().map_or(position, |index| index as usize);
                if index >= calls.len() {
                    calls.resize(index + 1, Default::default());
                }
                calls[index].0.push_str(call["function"]["name"].as_str().unwrap_or_default());
                calls[index].1.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
            if choice["finish_reason"].is_string() {
                finish = choice["finish_reason"].clone();
            }
        }
    }
    let parsed =
        |text: &str| serde_json::from_str::<Value>(if text.is_empty() { "{}" } else { text }).unwrap();
    let tools: Vec<Value> = calls.iter().map(|(name, arguments)| json!([name, parsed(arguments)])).collect();
    let mut expect = json!({ "content": content, "tools": tools, "finish": finish, "choices": choices, "total_tokens": total });
    if case.stream {
        expect["usage_chunks"] = usage_chunks.into();
    }
    expect
}

/// Whether an SDK's types can hold it: some providers send content in parts, or broken arguments.
fn readable(case: &Recorded) -> bool {
    let text = String::from_utf8_lossy(&case.body);
    !text.contains("\"content\":[")
        && !text.contains("\"content\": [")
        && case.name != "deepseek/stream-tools"
}

fn kind(case: &Recorded) -> &'static str {
    if case.stream { "stream" } else { "whole" }
}

async fn reads_every_recorded_answer(sdk: Sdk) {
    let cases: Vec<Recorded> = recorded().into_iter().filter(readable).collect();
    let upstream = Upstream::start(replay(cases.clone())).await;
    let models: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let gateway = Gateway::start(config([channel("a", &upstream).with("/model", json!(models))])).await;
    let steps = cases.iter().map(|case| {
        json!({ "kind": kind(case), "request": case.request_for(&case.name), "expect": expectation(case) })
    });

    assert!(cases.len() > 30, "{}", cases.len());
    sdk.run(&gateway, steps.collect()).await;
}

async fn reads_converted_answers(sdk: Sdk) {
    let cases: Vec<Recorded> = Recorded::all("messages")
        .into_iter()
        .filter(|case| case.status == 200 && !case.has("midstream_error") && !case.says_nothing())
        .collect();
    let upstream = Upstream::start(replay(cases.clone())).await;
    let models: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let channel = anthropic_channel("a", &upstream).with("/model", json!(models));
    let gateway = Gateway::start(config([channel])).await;
    let steps = cases.iter().map(|case| {
        let told = match case.stream {
            true => Told::by_events(&case.body),
            false => Told::by_whole(&serde_json::from_slice(&case.body).unwrap()),
        };
        let mut request = hello_to(&case.name);
        let mut expect = json!({
            "content": told.text, "tools": told.tools, "finish": told.finish, "choices": 1,
            "total_tokens": told.prompt_tokens + told.completion_tokens,
        });
        if case.stream {
            request = request.with("/stream", json!(true)).with("/stream_options/include_usage", json!(true));
            expect["usage_chunks"] = 1.into();
        }
        json!({ "kind": kind(case), "request": request, "expect": expect })
    });

    sdk.run(&gateway, steps.collect()).await;
}

async fn lists_models(sdk: Sdk) {
    let upstream = healthy("ok").await;
    let channel =
        channel("a", &upstream).with("/model", json!(["gpt-x", { "upstream": "alias" }, "org/model"]));
    let gateway = Gateway::start(config([channel])).await;

    sdk.run(&gateway, vec![json!({ "kind": "models", "expect": ["gpt-x", "alias", "org/model"] })]).await;
}

async fn raises_the_error_class_of_each_status(sdk: Sdk) {
    let upstream = Upstream::start(|seen| match seen.model().as_str() {
        "bad" => Recorded::case("openai/error-400").script(),
        "busy" => Script::error(429, "slow down").header("retry-after", "7"),
        "broken" => Script::error(500, "boom"),
        "rejected" => Recorded::case("openai/error-401").script(),
        "torn" => Script::events([role_event(), text_event("half a sen")]).then_close(),
        _ => Script::json(&said("ok")),
    })
    .await;
    let models = ["bad", "busy", "broken", "rejected", "torn", "ok"];
    let config = config([channel("a", &upstream).with("/model", json!(models))]);
    let gateway = Setup::new(config).env("MAX_BODY_BYTES", "1MiB").start().await;
    let step = |model: &str, python: &str, node: &str, status: u16| {
        let expect = json!({ "python": python, "node": node, "status": status });
        json!({ "kind": "error", "request": hello_to(model), "expect": expect })
    };
    let large = if sdk == Sdk::Python { "APIStatusError" } else { "APIError" };

    let steps = vec![
        step("ok", "AuthenticationError", "AuthenticationError", 401).with("/key", json!("sk-wrong")),
        step("absent", "NotFoundError", "NotFoundError", 404).with("/expect/contains", json!("absent")),
        step("bad", "BadRequestError", "BadRequestError", 400),
        step("busy", "RateLimitError", "RateLimitError", 429),
        step("broken", "InternalServerError", "InternalServerError", 500)
            .with("/expect/contains", json!("boom")),
        step("rejected", "InternalServerError", "InternalServerError", 502),
        step("ok", large, large, 413).with("/padding", json!(50 << 20)),
        json!({
            "kind": "error", "request": hello_to("torn").with("/stream", json!(true)),
            "expect": { "python": "APIError", "node": "APIError" },
        }),
        json!({ "kind": "whole", "request": hello_to("ok"), "expect": { "content": "ok" } }),
    ];
    sdk.run(&gateway, steps).await;
}

/// Promises: `api-chat`.
#[tokio::test]
async fn the_python_sdk_reads_every_recorded_answer() {
    reads_every_recorded_answer(Sdk::Python).await;
}

/// Promises: `api-chat`.
#[tokio::test]
async fn the_node_sdk_reads_every_recorded_answer() {
    reads_every_recorded_answer(Sdk::Node).await;
}

#[tokio::test]
async fn the_python_sdk_reads_answers_converted_from_anthropic() {
    reads_converted_answers(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_sdk_reads_answers_converted_from_anthropic() {
    reads_converted_answers(Sdk::Node).await;
}

/// Runs a script of `tests/golden` with the Python that has OpenAI's SDK.
fn golden(script: &str, arguments: &[&Path]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("tests/sdk/python/.venv/bin/python");
    assert!(python.exists(), "{} is missing; install it with: tests/sdk/install.sh", python.display());
    let output = Command::new(python).arg(root.join("tests/golden").join(script)).args(arguments).output();
    let output = output.expect("python starts");
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}");
    printed
}

#[test]
fn the_python_sdk_finds_in_every_converted_answer_what_the_providers_sdk_found() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("layers/dialect/tests/golden");

    let printed = golden("check.py", &[&cases]);

    let count = printed.lines().last().and_then(|line| line.strip_suffix(" cases")?.parse::<usize>().ok());
    assert!(count.is_some_and(|count| count > 50), "{printed}");
}

/// Promises: `api-models`.
#[tokio::test]
async fn the_python_sdk_lists_the_models() {
    lists_models(Sdk::Python).await;
}

/// Promises: `api-models`.
#[tokio::test]
async fn the_node_sdk_lists_the_models() {
    lists_models(Sdk::Node).await;
}

/// Promises: `api-chat`.
#[tokio::test]
async fn the_python_sdk_raises_the_error_class_of_each_status() {
    raises_the_error_class_of_each_status(Sdk::Python).await;
}

/// Promises: `api-chat`.
#[tokio::test]
async fn the_node_sdk_raises_the_error_class_of_each_status() {
    raises_the_error_class_of_each_status(Sdk::Node).await;
}
