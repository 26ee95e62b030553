//! OpenAI chat completions, and the many who imitate them.

mod encode;
mod probe;
mod raw;
pub(crate) mod read_request;
mod repairs;
mod response;
mod seals;
mod stream;
pub(crate) mod usage;
pub(crate) mod wire;
pub(crate) mod words;
mod write_request;

pub(crate) use self::repairs::Subject;
pub use self::repairs::{Repair, Repairs};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::conversion::ThroughChat;
use crate::fresh_text::Layout;
use crate::ir::{self, Citation, Error, Logprob};
use crate::size::Measure;
use crate::{
    Aim, Client, Codec, Correspondence, DecodeEvents, Dialect, EncodeEvents, Envelope, ErrorShape,
    FetchedMedia, Framing, Identity, Malformed, Manner, Received, Unsupported, Upstream, Watch, Written,
    error_body,
};

/// The row of this dialect.
pub(crate) static CODEC: Codec = Codec {
    label: "openai_chat",
    upstream: Upstream {
        outbound: &Outbound,
        envelope: Envelope::PLAIN,
        framing: Framing::Sse,
        watch: Some(Watch {
            probe: |_| Box::new(probe::Probe::default()),
            whole: probe::whole,
            mender: repairs::mender,
        }),
        stops_silently: false,
        through_chat: ThroughChat(Dialect::OpenAiChat),
    },
    client: Some(Client {
        inbound: Some(&Inbound),
        shape: ErrorShape::OpenAi,
        // `prompt` and `input` are what some upstreams take in place of messages.
        texts: Layout {
            turns: "messages",
            answerer: "assistant",
            before: &[],
            beside: &["prompt", "input"],
            tools: &["tools", "functions"],
        },
        measure: Measure {
            texts: &["messages", "prompt", "input", "instructions"],
            limits: &["max_completion_tokens", "max_output_tokens", "max_tokens"],
        },
        raw: &raw::Raw,
        estimate: None,
    }),
};

/// OpenAI chat as clients speak it.
#[derive(Debug)]
struct Inbound;

impl crate::Inbound for Inbound {
    fn request(&self, received: Received<'_>) -> Result<(ir::Request, Manner), Malformed> {
        let json =
            received.body.json().ok_or_else(|| Malformed::new("the request body must be a JSON object"))?;
        read_request::read(json)
    }

    fn manner(&self, received: Received<'_>) -> Manner {
        received.body.json().map(|json| raw::manner(json)).unwrap_or_default()
    }

    fn response(&self, answer: &ir::Response, _manner: &Manner, identity: &Identity) -> Bytes {
        response::write(answer, identity)
    }

    fn events(&self, manner: &Manner, identity: &Identity) -> Box<dyn EncodeEvents> {
        Box::new(encode::Encoder::new(manner, identity))
    }
}

/// OpenAI chat as upstreams speak it.
#[derive(Debug)]
struct Outbound;

impl crate::Outbound for Outbound {
    fn request(
        &self,
        request: &ir::Request,
        aim: &Aim<'_>,
        media: &FetchedMedia,
    ) -> Result<Written, Unsupported> {
        write_request::write(request, aim, media)
    }

    fn response(&self, body: &[u8], correspondence: &Correspondence) -> Result<ir::Response, Error> {
        response::read(body, correspondence)
    }

    fn events(&self, correspondence: &Correspondence) -> Box<dyn DecodeEvents> {
        Box::new(stream::Decoder::new(correspondence.clone()))
    }

    fn error(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        error_body::normalise(status, body)
    }
}

/// The error behind `finish_reason: "error"` where nothing else names it.
fn failed_choice() -> Error {
    Error::new(StatusCode::BAD_GATEWAY, "upstream failed while it answered").with_code("upstream_error")
}

/// The identity of an answer with the prefix that clients of this dialect know.
fn answer_id(id: &str) -> String {
    if id.starts_with("chatcmpl-") { id.to_owned() } else { format!("chatcmpl-{id}") }
}

/// A picture within text: chat answers have no other place for it.
fn picture(url: &str) -> String {
    format!("![image]({url})")
}

/// A citation as an annotation; only addresses can be expressed. Its block lies between these characters of the text.
fn annotation(citation: &Citation, start: usize, end: usize) -> Option<Value> {
    if let Some(own) = citation.raw.as_ref().and_then(|raw| raw.of(Dialect::OpenAiChat)) {
        return Some(own.clone());
    }
    let url = citation.url.as_deref()?;
    let title = citation.title.as_deref().unwrap_or(url);
    let (start, end) = match &citation.span {
        Some(span) => (start + span.start as usize, start + span.end as usize),
        None => (start, end),
    };
    Some(json!({
        "type": "url_citation",
        "url_citation": { "start_index": start, "end_index": end, "url": url, "title": title },
    }))
}

/// `logprobs` of a choice.
fn logprobs(logprobs: &[Logprob]) -> Value {
    fn one(logprob: &Logprob) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("token".into(), logprob.token.as_str().into());
        map.insert("logprob".into(), logprob.logprob.clone().into());
        map.insert("bytes".into(), logprob.bytes.clone().into());
        map
    }
    let content = logprobs.iter().map(|logprob| {
        let mut map = one(logprob);
        map.insert("top_logprobs".into(), logprob.top.iter().map(one).collect());
        map
    });
    json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
}
