//! Answers of scripted pieces, and readers that take an answer to its end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::ir::{self, FinishReason, Usage};
use dialect::{Detail, Dialect, Sighting};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep};

use crate::failure::Failure;
use crate::reply::{CutOff, Piece, Pieces, Reply, ReplyBody};

/// One event of an OpenAI stream with this text.
pub fn delta(text: &str) -> String {
    let chunk = serde_json::json!({
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "up-m",
        "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }],
    });
    format!("data: {chunk}\n\n")
}

/// The event of an OpenAI stream with the role and no text: machinery.
pub fn role() -> String {
    let chunk = serde_json::json!({
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "up-m",
        "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }],
    });
    format!("data: {chunk}\n\n")
}

/// The event of an OpenAI stream that tells why it stops.
pub fn stop() -> String {
    let chunk = serde_json::json!({
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "up-m",
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
    });
    format!("data: {chunk}\n\n")
}

/// The event of an OpenAI stream with usage and no choices.
pub fn usage_chunk() -> String {
    let chunk = serde_json::json!({
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "up-m", "choices": [],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
    });
    format!("data: {chunk}\n\n")
}

/// The terminal marker of an OpenAI stream.
pub fn done() -> &'static str {
    "data: [DONE]\n\n"
}

/// An error event of an OpenAI stream.
pub fn error_event(message: &str) -> String {
    let error = serde_json::json!({ "error": { "message": message, "type": "server_error", "code": 500 } });
    format!("data: {error}\n\n")
}

/// A whole OpenAI answer with this text.
pub fn completion(text: &str) -> String {
    let answer = serde_json::json!({
        "id": "1", "object": "chat.completion", "created": 1, "model": "up-m",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
    });
    answer.to_string()
}

/// A whole answer that says `text`.
pub fn whole(text: &str) -> Reply {
    let mut sighting = said(text);
    (sighting.finished, sighting.done) = (true, true);
    Reply::new(ReplyBody::whole(Bytes::copy_from_slice(text.as_bytes()), sighting))
}

/// A whole answer with these bytes and this sighting.
pub fn whole_seen(text: &str, sighting: Sighting) -> Reply {
    Reply::new(ReplyBody::whole(Bytes::copy_from_slice(text.as_bytes()), sighting))
}

/// A sighting of content with this text.
pub fn said(text: &str) -> Sighting {
    let detail = Detail { text: Some(text.to_owned()), ..Detail::default() };
    let delivered = u32::try_from(text.len()).expect("a short text");
    Sighting { content: true, delivered, detail: Some(Box::new(detail)), ..Sighting::default() }
}

/// A sighting of a finish reason and nothing else.
pub fn finished(reason: FinishReason) -> Sighting {
    let detail = Detail { finish: Some(reason), ..Detail::default() };
    Sighting { finished: true, detail: Some(Box::new(detail)), ..Sighting::default() }
}

/// A sighting of the terminal marker.
pub fn terminal() -> Sighting {
    Sighting { done: true, ..Sighting::machinery() }
}

/// A sighting of usage: tokens in and out.
pub fn counted(input: u64, output: u64) -> Sighting {
    let usage = Usage { input_total: input, output_total: output, ..Usage::default() };
    let detail = Detail { usage: Some(usage), ..Detail::default() };
    Sighting { detail: Some(Box::new(detail)), ..Sighting::default() }
}

/// A sighting of an error in the band, with this status.
pub fn erred(status: u16, message: &str) -> Sighting {
    let status = StatusCode::from_u16(status).expect("a status");
    let detail = Detail { error: Some(ir::Error::new(status, message)), ..Detail::default() };
    Sighting { detail: Some(Box::new(detail)), ..Sighting::default() }
}

/// A piece with these bytes and this sighting.
pub fn piece(text: &str, sighting: Sighting) -> Piece {
    Piece { bytes: Bytes::copy_from_slice(text.as_bytes()), sighting, torn: false }
}

/// A stream without pieces: add some, or it ends at once.
pub fn pieces() -> Script {
    Script::default()
}

/// A scripted stream of pieces.
#[derive(Default)]
pub struct Script {
    left: VecDeque<(Duration, Said)>,
    sleep: Option<Pin<Box<Sleep>>>,
    accepted: std::sync::Arc<super::Notes<()>>,
    dialect: Option<Dialect>,
}

enum Said {
    Piece(Box<Piece>),
    Failure(Failure),
    End,
    Never,
}

impl Script {
    /// It tells errors in this dialect; otherwise it can only be cut off.
    #[must_use]
    pub fn in_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// A piece of content that is there with the one before.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        self.gives(piece(text, said(text)))
    }

    /// A piece of content after `pause`.
    #[must_use]
    pub fn says_after(self, pause: Duration, text: &str) -> Self {
        self.and(pause, Said::Piece(Box::new(piece(text, said(text)))))
    }

    /// A piece of machinery, which is no content.
    #[must_use]
    pub fn hums(self, text: &str) -> Self {
        self.gives(piece(text, Sighting::machinery()))
    }

    /// The same after `pause`.
    #[must_use]
    pub fn hums_after(self, pause: Duration, text: &str) -> Self {
        self.and(pause, Said::Piece(Box::new(piece(text, Sighting::machinery()))))
    }

    /// A piece that ends within an event.
    #[must_use]
    pub fn tears(self, text: &str) -> Self {
        self.gives(Piece { torn: true, ..piece(text, said(text)) })
    }

    /// This piece.
    #[must_use]
    pub fn gives(self, piece: Piece) -> Self {
        self.and(Duration::ZERO, Said::Piece(Box::new(piece)))
    }

    /// Fails.
    #[must_use]
    pub fn fails(self, failure: Failure) -> Self {
        self.and(Duration::ZERO, Said::Failure(failure))
    }

    /// Fails after `pause`.
    #[must_use]
    pub fn fails_after(self, pause: Duration, failure: Failure) -> Self {
        self.and(pause, Said::Failure(failure))
    }

    /// Ends after `pause`.
    #[must_use]
    pub fn ends_after(self, pause: Duration) -> Self {
        self.and(pause, Said::End)
    }

    /// Says nothing more and does not end.
    #[must_use]
    pub fn hangs(self) -> Self {
        self.and(Duration::ZERO, Said::Never)
    }

    /// How often its opening was accepted.
    pub fn accepted(&self) -> std::sync::Arc<super::Notes<()>> {
        self.accepted.clone()
    }

    /// As a body.
    pub fn body(self) -> ReplyBody {
        ReplyBody::stream(self)
    }

    /// As an answer.
    pub fn reply(self) -> Reply {
        Reply::new(self.body())
    }

    fn and(mut self, pause: Duration, said: Said) -> Self {
        self.left.push_back((pause, said));
        self
    }
}

impl Pieces for Script {
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let Some((pause, said)) = self.left.front() else { return Poll::Ready(None) };
        let (pause, never) = (*pause, matches!(said, Said::Never));
        if never {
            return Poll::Pending;
        }
        if !pause.is_zero() {
            ready!(self.sleep.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(cx));
            self.sleep = None;
        }
        Poll::Ready(match self.left.pop_front() {
            Some((_, Said::Piece(piece))) => Some(Ok(*piece)),
            Some((_, Said::Failure(failure))) => Some(Err(failure)),
            _ => None,
        })
    }

    fn accepted(self: Pin<&mut Self>) {
        self.accepted.add(());
    }

    fn tell(self: Pin<&mut Self>, error: &ir::Error, out: &mut BytesMut) -> bool {
        out.extend_from_slice(&self.dialect.map(|dialect| dialect.stream_error(error)).unwrap_or_default());
        self.dialect.is_some()
    }

    fn keepalive(self: Pin<&mut Self>, out: &mut BytesMut) {
        out.extend_from_slice(self.dialect.map(Dialect::keepalive).unwrap_or_default());
    }
}

/// What a body held, read piece by piece, as the layers see it.
#[derive(Debug, Default)]
pub struct Read {
    /// All bytes, as text.
    pub text: String,
    /// The text of each piece.
    pub pieces: Vec<String>,
    /// Whether each piece ended within an event.
    pub torn: Vec<bool>,
    /// What was seen of all pieces together.
    pub sighting: Sighting,
    /// What it ended with; none when it ended well.
    pub failure: Option<Failure>,
}

impl Read {
    /// The label of the failure that it ended with, or `ok`.
    pub fn outcome(&self) -> &'static str {
        self.failure.as_ref().map_or("ok", Failure::label)
    }
}

/// Reads a body to its end, piece by piece.
pub async fn read(mut body: ReplyBody) -> Read {
    let mut whole = Read::default();
    let mut seen: Option<Sighting> = None;
    while let Some(next) = body.next_piece().await {
        match next {
            Ok(piece) => {
                let text = String::from_utf8_lossy(&piece.bytes).into_owned();
                whole.text.push_str(&text);
                whole.pieces.push(text);
                whole.torn.push(piece.torn);
                match &mut seen {
                    None => seen = Some(piece.sighting),
                    Some(seen) => seen.merge(piece.sighting),
                }
            }
            Err(failure) => whole.failure = Some(failure),
        }
    }
    whole.sighting = seen.unwrap_or_default();
    whole
}

/// Reads an adapter to its end, as a body that is not accepted yet.
pub async fn read_pieces(pieces: impl Pieces + 'static) -> Read {
    read(ReplyBody::stream(pieces)).await
}

/// The same with an opening that was accepted before the first byte.
pub async fn read_accepted(pieces: impl Pieces + 'static) -> Read {
    read(ReplyBody::stream(pieces).with_opening(VecDeque::new())).await
}

/// Reads a body as the listener does.
///
/// # Errors
/// It was cut off.
pub async fn wire(body: ReplyBody) -> Result<String, CutOff> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
