//! What an upstream is asked, and the script of its answer: pieces, pauses, breaks.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body without transfer coding.
    pub(crate) body: Vec<u8>,
    /// Which request of this upstream it is, from 0.
    pub(crate) ordinal: usize,
    /// When its last byte had come.
    pub(crate) at: Instant,
}

/// What to answer to one request.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// What happens before the head.
    pub(crate) lead: Vec<Step>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) framing: Framing,
    /// The body.
    pub(crate) steps: Vec<Step>,
}

/// One piece of an answer, or what happens instead.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Bytes(Vec<u8>),
    Pause(Duration),
    Wait(Gate),
    /// Never go on.
    Hang,
    /// Close without marking the end.
    Close,
    /// Close with a reset.
    Reset,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
}

/// Holds an upstream until the test opens it; each opening lets one wait pass.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

// === impl Gate ===

impl Gate {
    /// A closed one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one wait pass, now or later.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    /// Waits for an opening.
    pub(crate) async fn pass(&self) {
        self.0.acquire().await.expect("gates are never closed for good").forget();
    }
}

// === impl Seen ===

impl Seen {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The key of the `Authorization` or `x-api-key` header.
    pub(crate) fn key(&self) -> String {
        let bearer = self.header("authorization").map(|value| value.trim_start_matches("Bearer "));
        bearer.or(self.header("x-api-key")).unwrap_or_default().to_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The model of the body.
    pub(crate) fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the body asks for events.
    pub(crate) fn streams(&self) -> bool {
        self.json()["stream"] == Value::Bool(true)
    }
}

// === impl Script ===

impl Script {
    fn new(status: u16, content_type: &str, framing: Framing, steps: Vec<Step>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { lead: Vec::new(), status, headers, framing, steps }
    }

    /// 200 with this JSON.
    pub(crate) fn json(body: &Value) -> Self {
        Self::status(200, body)
    }

    /// This status with this JSON.
    pub(crate) fn status(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    /// This status with any body.
    pub(crate) fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, content_type, Framing::Length, vec![Step::Bytes(body.into())])
    }

    /// An error in OpenAI's shape.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let error =
            serde_json::json!({ "message": message, "type": "some_error", "param": null, "code": null });
        Self::status(status, &serde_json::json!({ "error": error }))
    }

    /// 200 with an event stream in these pieces, each sent on its own.
    pub(crate) fn events<P: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = P>) -> Self {
        let steps = pieces.into_iter().map(|piece| Step::Bytes(piece.into())).collect();
        Self::new(200, "text/event-stream", Framing::Chunked, steps)
    }

    /// Accepts the request and says nothing, ever.
    pub(crate) fn hang() -> Self {
        let mut script = Self::events::<Vec<u8>>([]);
        script.lead.push(Step::Hang);
        script
    }

    /// Resets the connection instead of an answer.
    pub(crate) fn reset() -> Self {
        let mut script = Self::events::<Vec<u8>>([]);
        script.lead.push(Step::Reset);
        script
    }

    /// Closes the connection instead of an answer.
    pub(crate) fn close() -> Self {
        let mut script = Self::events::<Vec<u8>>([]);
        script.lead.push(Step::Close);
        script
    }

    /// Waits before the head of the answer.
    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.lead.push(Step::Pause(pause));
        self
    }

    /// Waits between the pieces sent so far.
    pub(crate) fn paced(mut self, pause: Duration) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps = steps.into_iter().flat_map(|step| [step, Step::Pause(pause)]).collect();
        self.steps.pop();
        self
    }

    /// Waits for the gate before each piece.
    pub(crate) fn gated(mut self, gate: &Gate) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps = steps.into_iter().flat_map(|step| [Step::Wait(gate.clone()), step]).collect();
        self
    }

    /// Then waits.
    pub(crate) fn then_pause(mut self, pause: Duration) -> Self {
        self.steps.push(Step::Pause(pause));
        self
    }

    /// Then sends one more piece.
    pub(crate) fn then(mut self, piece: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Bytes(piece.into()));
        self
    }

    /// Then hangs.
    pub(crate) fn then_hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    /// Then closes without marking the end.
    pub(crate) fn then_close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The pieces so far, put together.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                Step::Bytes(bytes) => bytes.clone(),
                other => panic!("{other:?} has no bytes"),
            })
            .collect()
    }
}
