//! The upstream inside the program: `engine: mock`.
//!
//! For the demo and for trying a configuration without a provider. It speaks OpenAI's chat format,
//! and requests reach it through the whole pipeline, up to and including the pooled client's
//! place: [`answer`] stands where a connection would be.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use layers::body::{Broken, UpstreamBody};
use layers::ports::{Presented, Provider, Unsupported, Wanted};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use crate::engine::Engine;
use crate::values::seconds;

/// The pause before each streamed word, so that a person sees it stream.
const PAUSE: Duration = Duration::from_millis(30);
/// Most of the last message that is repeated.
const REPEATED: usize = 200;

/// The upstream inside this program.
pub(super) static MOCK: Engine = Engine {
    names: &["mock"],
    needs: &[],
    build: |_| Ok(Arc::new(Mock)),
    inside: Some(answer),
    ..Engine::PLAIN
};

/// The provider of the mock engine.
struct Mock;

impl Provider for Mock {
    fn address(&self, _: Wanted<'_>) -> Result<Uri, Unsupported> {
        Ok(Uri::from_static("http://mock.invalid/v1/chat/completions"))
    }

    fn sign(&self, _: &mut Request<Vec<Bytes>>, _: Option<&Presented<'_>>) -> Result<(), Unsupported> {
        Ok(())
    }
}

/// Answers a request as an OpenAI-format upstream would.
fn answer(request: Request<Vec<Bytes>>) -> Response<UpstreamBody> {
    let body: Value = serde_json::from_slice(&request.into_body().concat()).unwrap_or_default();
    let model = body["model"].as_str().unwrap_or("mock").to_owned();
    let text = reply(&body);
    let usage = json!({
        "prompt_tokens": words(&last_message(&body)),
        "completion_tokens": words(&text),
        "total_tokens": words(&last_message(&body)) + words(&text),
    });
    if body["stream"] == true {
        let wants_usage = body["stream_options"]["include_usage"] == true;
        return stream(&model, &text, wants_usage.then_some(usage));
    }
    let answer = json!({
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": seconds(SystemTime::now()),
        "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage,
    });
    let whole = Full::new(Bytes::from(answer.to_string()));
    respond("application/json", whole.map_err(|never| match never {}).boxed_unsync())
}

fn respond(kind: &'static str, body: UpstreamBody) -> Response<UpstreamBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn reply(body: &Value) -> String {
    let said: String = last_message(body).chars().take(REPEATED).collect();
    format!("Hello from the mock channel of uni-api. You said: {said}")
}

fn last_message(body: &Value) -> String {
    let content =
        body["messages"].as_array().and_then(|messages| messages.last()).map(|last| &last["content"]);
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

fn stream(model: &str, text: &str, usage: Option<Value>) -> Response<UpstreamBody> {
    let created = seconds(SystemTime::now());
    let chunk = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({
            "id": "chatcmpl-mock",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let choice =
        |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let mut chunks = vec![chunk(choice(json!({ "role": "assistant", "content": "" }), Value::Null), None)];
    for word in text.split_inclusive(' ') {
        chunks.push(chunk(choice(json!({ "content": word }), Value::Null), None));
    }
    chunks.push(chunk(choice(json!({}), "stop".into()), None));
    if let Some(usage) = usage {
        chunks.push(chunk(json!([]), Some(&usage)));
    }
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    let body = Words { chunks: chunks.into_iter(), pause: Box::pin(sleep(PAUSE)) };
    respond("text/event-stream", body.boxed_unsync())
}

/// Chunks with a pause before each.
struct Words {
    chunks: std::vec::IntoIter<Bytes>,
    pause: Pin<Box<Sleep>>,
}

impl Body for Words {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        std::task::ready!(self.pause.as_mut().poll(cx));
        self.pause = Box::pin(sleep(PAUSE));
        Poll::Ready(self.chunks.next().map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_tell_the_time_whole_and_streamed() {
        let since = seconds(SystemTime::now());
        for stream in [false, true] {
            let asked = json!({ "model": "m", "stream": stream, "messages": [] }).to_string();
            let body =
                answer(Request::new(vec![asked.into()])).into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();

            let first = text.lines().next().unwrap().trim_start_matches("data: ");
            let told: Value = serde_json::from_str(first).unwrap();
            assert!(told["created"].as_i64() >= Some(since), "{told}");
        }
    }
}
