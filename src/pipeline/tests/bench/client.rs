//! A client of the pipeline: what it sends goes into the outermost layer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use super::{Answer, Ask, Outcome};
use crate::edge::EdgeBody;

/// The pipeline, from the outside.
pub(super) type Pipeline = BoxCloneService<Request<Full<Bytes>>, Response<EdgeBody>, Infallible>;

/// Sends requests. Dropping what it waits for is hanging up.
#[derive(Clone)]
pub(crate) struct Client {
    pub(super) pipeline: Pipeline,
}

/// An answer whose body is still on its way.
pub(crate) struct Flow {
    body: EdgeBody,
    began: Instant,
    answer: Answer,
}

// === impl Client ===

impl Client {
    /// Sends the request and waits for the head of the answer.
    pub(crate) async fn open(self, ask: &Ask) -> Flow {
        let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.path);
        if !ask.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", "gateway.test");
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(ask.body.clone()))).expect("a valid head");
        let began = Instant::now();
        let response = match self.pipeline.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: Vec::new(),
            pieces: Vec::new(),
            complete: false,
            took: Duration::ZERO,
        };
        Flow { body, began, answer }
    }

    /// Sends the request and reads the whole answer.
    pub(crate) async fn ask(self, ask: &Ask) -> Answer {
        self.open(ask).await.rest().await
    }

    /// A chat request, answered whole.
    pub(crate) async fn chat(self, body: &Value) -> Answer {
        self.ask(&Ask::chat(body)).await
    }

    /// Sends this request so many times, by so many clients at once, who share one count.
    pub(crate) async fn load(self, clients: usize, total: usize, ask: &Ask) -> Outcome {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let (client, next, ask) = (self.clone(), next.clone(), ask.clone());
            tasks.spawn(async move {
                let mut answers = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < total {
                    answers.push(client.clone().ask(&ask).await);
                }
                answers
            });
        }
        let mut outcome = Outcome::default();
        tasks.join_all().await.iter().flatten().for_each(|answer| outcome.note(answer));
        outcome
    }
}

// === impl Flow ===

impl Flow {
    /// The next piece of the body, or nothing at its end.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let Some(frame) = self.body.frame().await else {
            self.answer.complete = true;
            return None;
        };
        let piece = frame.ok()?.into_data().expect("bodies have no trailers").to_vec();
        self.answer.body.extend_from_slice(&piece);
        self.answer.pieces.push((self.began.elapsed(), piece.clone()));
        Some(piece)
    }

    /// Hangs up.
    pub(crate) fn leave(mut self) -> Answer {
        self.answer.took = self.began.elapsed();
        self.answer
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Answer {
        while self.next().await.is_some() {}
        self.answer.took = self.began.elapsed();
        self.answer
    }
}
