//! A provider that answers at once with the same text, in OpenAI's or Anthropic's format.
//!
//! `GET /plan/CHUNKS/MILLISECONDS` decides how the next streams go: how many pieces of text, and
//! how long between them. No chunks at all means one piece and then silence.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep, sleep};

use crate::Error;

static CHUNKS: AtomicU64 = AtomicU64::new(50);
static PAUSE: AtomicU64 = AtomicU64::new(0);

const WHOLE: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1735689600,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"tokens of a short answer, as whole as it gets.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":31,"completion_tokens":12,"total_tokens":43},"system_fingerprint":"fp_bench"}"#;

/// Opening, one piece, closing.
type Format = [&'static str; 3];

macro_rules! chunk {
    ($delta:literal, $finish:literal) => {
        concat!(
            r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1735689600,"model":"gpt-4o-mini-2024-07-18","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":"#,
            $delta,
            r#","logprobs":null,"finish_reason":"#,
            $finish,
            "}]}\n\n"
        )
    };
}

const OPENAI: Format = [
    chunk!(r#"{"role":"assistant","content":"","refusal":null}"#, "null"),
    chunk!(r#"{"content":"tokens of this piece"}"#, "null"),
    concat!(chunk!("{}", r#""stop""#), "data: [DONE]\n\n"),
];

const ANTHROPIC: Format = [
    concat!(
        "event: message_start\ndata: ",
        r#"{"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":31,"output_tokens":1}}}"#,
        "\n\nevent: content_block_start\ndata: ",
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        "\n\n"
    ),
    concat!(
        "event: content_block_delta\ndata: ",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"tokens of this piece"}}"#,
        "\n\n"
    ),
    concat!(
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: ",
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":12}}"#,
        "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    ),
];

pub async fn serve(listen: &str) -> Result<(), Error> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Pieces>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::GET {
        let mut numbers = path.split('/').skip(2).map(|text| text.parse().unwrap_or(0));
        CHUNKS.store(numbers.next().unwrap_or(50), Relaxed);
        PAUSE.store(numbers.next().unwrap_or(0), Relaxed);
        return Ok(Response::new(Either::Left(Full::default())));
    }
    let asked = request.into_body().collect().await?.to_bytes();
    let streams = std::str::from_utf8(&asked).is_ok_and(|text| text.contains("\"stream\":true"));
    let (kind, body) = if streams {
        let format = if path.ends_with("/messages") { ANTHROPIC } else { OPENAI };
        ("text/event-stream", Either::Right(Pieces::of(format)))
    } else {
        ("application/json", Either::Left(Full::from(WHOLE)))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// A stream of events, each written by itself.
struct Pieces {
    format: Format,
    at: u64,
    chunks: u64,
    pause: Duration,
    alarm: Pin<Box<Sleep>>,
    rested: bool,
}

impl Pieces {
    fn of(format: Format) -> Self {
        let pause = Duration::from_millis(PAUSE.load(Relaxed));
        let alarm = Box::pin(sleep(pause));
        Self { format, at: 0, chunks: CHUNKS.load(Relaxed), pause, alarm, rested: false }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let end = self.chunks.max(1) + 1;
        if self.at > end {
            return Poll::Ready(None);
        }
        if self.chunks == 0 && self.at == end {
            return Poll::Pending;
        }
        if self.at > 0 && self.at < end {
            let waits = self.at > 1 && !self.pause.is_zero();
            if !std::mem::replace(&mut self.rested, true) {
                if !waits {
                    // The server writes what it has when nothing more is ready.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let next = Instant::now() + self.pause;
                self.alarm.as_mut().reset(next);
            }
            if waits {
                ready!(self.alarm.as_mut().poll(cx));
            }
        }
        self.rested = false;
        let text = match self.at {
            0 => self.format[0],
            at if at == end => self.format[2],
            _ => self.format[1],
        };
        self.at += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}
