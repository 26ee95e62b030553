//! How upstreams of each dialect answer: a row for each, with a field for everything that the classes of faults are
//! about. A row that lacks one does not compile, and neither does a dialect without a row.

use bytes::BytesMut;
use dialect::framing::wrap_invoke;
use dialect::{Dialect, Envelope, Frame, Framing};
use serde_json::json;

use crate::testing::adapters::anthropic_stream;

/// An upstream's way of answering.
pub(super) struct Row {
    pub(super) dialect: Dialect,
    /// What tells it from other rows of its dialect.
    pub(super) name: &'static str,
    /// How its streams are cut into frames.
    pub(super) framing: Framing,
    pub(super) envelope: Envelope,
    /// A whole answer whose text is this JSON string, quotes and all.
    pub(super) whole: fn(text: &str) -> String,
    /// A whole answer that took so many tokens and says nothing.
    pub(super) silent: fn(tokens: u64) -> String,
    /// What stands before the first word of a stream.
    pub(super) opening: fn() -> Vec<Event>,
    /// An event whose text is this JSON string.
    pub(super) said: fn(text: &str) -> Event,
    /// The same where it holds the end, too; none where that is an event of its own.
    pub(super) said_last: Option<fn(text: &str) -> Event>,
    /// Why a stream ends, and how many tokens it took.
    pub(super) finish: fn(tokens: u64) -> Vec<Event>,
    /// What a stream ends with.
    pub(super) end: End,
    /// An error within a stream, with this message.
    pub(super) error: fn(message: &str) -> Event,
    /// An error in the place of a whole answer, with status 200.
    pub(super) error_body: fn(message: &str) -> String,
    /// What a request is refused with; the message is a JSON string.
    pub(super) refusal: fn(message: &str) -> String,
    /// An event that means nothing; none where comments do that.
    pub(super) hum: Option<fn() -> Event>,
    /// Whether it may say nothing more when a tool has told its result.
    pub(super) may_be_silent: bool,
}

/// What a stream ends with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// This, behind the reason, which does where the connection ends without it.
    Marker(&'static str),
    /// This, and nothing else: no reason is told.
    MarkerAlone(&'static str),
    /// The reason.
    Reason,
}

/// An event of a stream.
pub(super) struct Event {
    name: &'static str,
    data: String,
    /// The framing itself calls it an error.
    exception: bool,
}

impl Event {
    fn named(name: &'static str, data: impl ToString) -> Self {
        Self { name, data: data.to_string(), exception: false }
    }

    fn plain(data: impl ToString) -> Self {
        Self::named("", data)
    }
}

impl Row {
    /// Events as they come over the wire.
    pub(super) fn bytes(&self, events: &[Event]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for Event { name, data, exception } in events {
            if self.wraps() && !exception {
                wrap_invoke(data.as_bytes(), &mut out);
                continue;
            }
            let frame = Frame {
                event: name.as_bytes(),
                data: Some(data.as_bytes().into()),
                exception: *exception,
                ..Frame::default()
            };
            assert!(self.framing.write(&frame, false, &mut out), "{data}");
        }
        out.to_vec()
    }

    pub(super) fn opening(&self) -> Vec<u8> {
        self.bytes(&(self.opening)())
    }

    pub(super) fn said(&self, text: &str) -> Vec<u8> {
        self.bytes(&[(self.said)(text)])
    }

    pub(super) fn finish(&self) -> Vec<u8> {
        self.bytes(&(self.finish)(5))
    }

    pub(super) fn error(&self, message: &str) -> Vec<u8> {
        self.bytes(&[(self.error)(message)])
    }

    /// The terminal marker, if it has one.
    pub(super) fn marker(&self) -> Vec<u8> {
        match self.end {
            End::Marker(marker) | End::MarkerAlone(marker) if self.wraps() => {
                self.bytes(&[Event::plain(marker)])
            }
            End::Marker(marker) | End::MarkerAlone(marker) => marker.as_bytes().to_vec(),
            End::Reason => Vec::new(),
        }
    }

    /// A whole stream with this text.
    pub(super) fn stream(&self, text: &str) -> Vec<u8> {
        [self.opening(), self.said(text), self.finish(), self.marker()].concat()
    }

    /// A whole stream without one.
    pub(super) fn silent_stream(&self, tokens: u64) -> Vec<u8> {
        [self.opening(), self.bytes(&(self.finish)(tokens)), self.marker()].concat()
    }

    /// Whether its events come wrapped in messages of another framing.
    pub(super) fn wraps(&self) -> bool {
        self.envelope.framing.is_some()
    }
}

/// The rows of a dialect.
pub(super) fn rows(dialect: Dialect) -> &'static [Row] {
    match dialect {
        Dialect::OpenAiChat => &[OPENAI],
        Dialect::Anthropic => &[ANTHROPIC, INVOKED],
        Dialect::Responses => &[Row { dialect: Dialect::Responses, ..RESPONSES }],
        Dialect::DoubaoTranslation => &[Row { dialect: Dialect::DoubaoTranslation, ..RESPONSES }],
        Dialect::Gemini => &[GEMINI],
        Dialect::Converse => &[CONVERSE],
        Dialect::CohereV2 => &[COHERE_V2],
        Dialect::CohereV1 => {
            &[COHERE_V1, Row { name: "as server-sent events", framing: Framing::Sse, ..COHERE_V1 }]
        }
        Dialect::Cloudflare => {
            &[CLOUDFLARE, Row { dialect: Dialect::Cloudflare, name: "newer models", ..OPENAI }]
        }
    }
}

const OPENAI: Row = Row {
    dialect: Dialect::OpenAiChat,
    name: "",
    framing: Framing::Sse,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":{text}}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}}}"#
        )
    },
    silent: |tokens| {
        (OPENAI.whole)("null").replace("\"completion_tokens\":5", &format!("\"completion_tokens\":{tokens}"))
    },
    opening: || vec![chunk(r#"{"role":"assistant","content":""}"#, "null")],
    said: |text| chunk(&format!("{{\"content\":{text}}}"), "null"),
    said_last: Some(|text| {
        let Event { data, .. } = chunk(&format!("{{\"content\":{text}}}"), "\"stop\"");
        let usage = r#","usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#;
        Event::plain(data[..data.len() - 1].to_owned() + usage)
    }),
    finish: |tokens| {
        let usage = json!({ "prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens });
        vec![
            chunk("{}", "\"stop\""),
            Event::plain(
                json!({ "id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage }),
            ),
        ]
    },
    end: End::Marker("data: [DONE]\n\n"),
    error: |message| {
        Event::plain(json!({ "error": { "message": message, "type": "server_error", "code": 500 } }))
    },
    error_body: |message| json!({ "error": { "message": message, "type": "server_error" } }).to_string(),
    refusal: |message| {
        format!(r#"{{"error":{{"message":{message},"type":"x","code":"bad_thing"}},"own":1}}"#)
    },
    hum: None,
    may_be_silent: false,
};

/// A chunk of OpenAI's with this delta and reason.
fn chunk(delta: &str, reason: &str) -> Event {
    Event::plain(format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#
    ))
}

const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;

const ANTHROPIC: Row = Row {
    dialect: Dialect::Anthropic,
    name: "",
    framing: Framing::Sse,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":{text}}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":3,"output_tokens":5}}}}"#
        )
    },
    silent: |tokens| {
        (ANTHROPIC.whole)("\"\"")
            .replace(r#"{"type":"text","text":""}"#, "")
            .replace("\"output_tokens\":5", &format!("\"output_tokens\":{tokens}"))
    },
    opening: || {
        let (opening, ..) = anthropic_stream(&[]);
        let opening = opening.replace("\"output_tokens\":1", "\"output_tokens\":0");
        let events =
            opening.split_terminator("\n\n").map(|event| event.split_once("\ndata: ").expect("an event"));
        let names = ["message_start", "content_block_start"];
        names.into_iter().zip(events).map(|(name, (_, data))| Event::named(name, data)).collect()
    },
    said: |text| {
        Event::named(
            "content_block_delta",
            format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{text}}}}}"#
            ),
        )
    },
    said_last: None,
    finish: |tokens| {
        let delta = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": tokens } });
        vec![Event::named("message_delta", delta)]
    },
    end: End::Marker("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
    error: |message| {
        let error = json!({ "type": "error", "error": { "type": "api_error", "message": message } });
        Event::named("error", error)
    },
    error_body: |message| {
        json!({ "type": "error", "error": { "type": "api_error", "message": message } }).to_string()
    },
    refusal: |message| {
        format!(r#"{{"type":"error","error":{{"type":"bad_thing","message":{message}}},"own":1}}"#)
    },
    hum: None,
    may_be_silent: true,
};

/// Claude as Bedrock's InvokeModel gives it.
const INVOKED: Row = Row {
    name: "invoked",
    framing: Framing::EventStream,
    envelope: Envelope { framing: Some(Framing::EventStream), ..Envelope::PLAIN },
    end: End::Marker(MESSAGE_STOP),
    error: |message| exception("modelStreamErrorException", message),
    hum: Some(|| Event::plain(r#"{"type":"ping"}"#)),
    ..ANTHROPIC
};

/// A failure that is told by the framing of AWS.
fn exception(name: &'static str, message: &str) -> Event {
    Event { name, data: json!({ "message": message }).to_string(), exception: true }
}

const GEMINI: Row = Row {
    dialect: Dialect::Gemini,
    name: "",
    framing: Framing::Sse,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":{text}}}],"role":"model"}},"finishReason":"STOP","index":0}}],"model":"m","responseId":"r","usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":5,"totalTokenCount":8}}}}"#
        )
    },
    silent: |tokens| {
        (GEMINI.whole)("\"\"")
            .replace("\"candidatesTokenCount\":5", &format!("\"candidatesTokenCount\":{tokens}"))
    },
    opening: || vec![candidate(r#"{"content":{"role":"model"},"index":0}"#, "")],
    said: |text| candidate(&format!(r#"{{"content":{{"parts":[{{"text":{text}}}]}},"index":0}}"#), ""),
    said_last: None,
    finish: |tokens| {
        let usage = format!(
            r#","usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":{tokens},"totalTokenCount":8}}"#
        );
        vec![candidate(r#"{"content":{},"finishReason":"STOP","index":0}"#, &usage)]
    },
    // A stream of it ends with its body.
    end: End::Reason,
    error: |message| {
        Event::plain(json!({ "error": { "code": 500, "message": message, "status": "INTERNAL" } }))
    },
    error_body: |message| {
        json!({ "error": { "code": 500, "message": message, "status": "INTERNAL" } }).to_string()
    },
    refusal: |message| {
        format!(r#"{{"error":{{"code":400,"message":{message},"status":"BAD_THING"}},"own":1}}"#)
    },
    hum: None,
    may_be_silent: false,
};

/// A frame of Gemini's with this candidate, and more beside it.
fn candidate(candidate: &str, more: &str) -> Event {
    Event::plain(format!(r#"{{"candidates":[{candidate}]{more},"modelVersion":"m","responseId":"r"}}"#))
}

const RESPONSES: Row = Row {
    dialect: Dialect::Responses,
    name: "",
    framing: Framing::Sse,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"id":"r","object":"response","created_at":1,"model":"m","status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":{text}}}]}}],"usage":{{"input_tokens":3,"output_tokens":5,"total_tokens":8}}}}"#
        )
    },
    silent: |tokens| {
        (RESPONSES.whole)("\"\"").replace("\"output_tokens\":5", &format!("\"output_tokens\":{tokens}"))
    },
    opening: || {
        vec![responses_event(
            "response.created",
            r#""response":{"id":"r","object":"response","model":"m","status":"in_progress","output":[]}"#,
        )]
    },
    said: |text| {
        responses_event("response.output_text.delta", &format!("\"output_index\":0,\"delta\":{text}"))
    },
    said_last: None,
    finish: |tokens| {
        let usage = format!(r#"{{"input_tokens":3,"output_tokens":{tokens},"total_tokens":8}}"#);
        let fields = format!(
            r#""response":{{"id":"r","object":"response","status":"completed","output":[],"usage":{usage}}}"#
        );
        vec![responses_event("response.completed", &fields)]
    },
    end: End::Reason,
    error: |message| {
        let error = json!({ "code": "server_error", "message": message });
        responses_event("error", &format!("\"error\":{error}"))
    },
    error_body: |message| json!({ "error": { "code": "server_error", "message": message } }).to_string(),
    refusal: |message| {
        format!(r#"{{"error":{{"message":{message},"type":"x","code":"bad_thing"}},"own":1}}"#)
    },
    hum: None,
    may_be_silent: false,
};

/// An event of responses with these fields.
fn responses_event(kind: &'static str, fields: &str) -> Event {
    Event::named(kind, format!("{{\"type\":\"{kind}\",{fields}}}"))
}

const CONVERSE: Row = Row {
    dialect: Dialect::Converse,
    name: "",
    framing: Framing::EventStream,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"model":"m","metrics":{{"latencyMs":1}},"output":{{"message":{{"role":"assistant","content":[{{"text":{text}}}]}}}},"stopReason":"end_turn","usage":{{"inputTokens":3,"outputTokens":5,"totalTokens":8}}}}"#
        )
    },
    silent: |tokens| {
        (CONVERSE.whole)("\"\"").replace("\"outputTokens\":5", &format!("\"outputTokens\":{tokens}"))
    },
    opening: || vec![Event::named("messageStart", r#"{"role":"assistant"}"#)],
    said: |text| {
        Event::named(
            "contentBlockDelta",
            format!(r#"{{"contentBlockIndex":0,"delta":{{"text":{text}}},"p":"abc"}}"#),
        )
    },
    said_last: None,
    finish: |tokens| {
        let usage = json!({ "inputTokens": 3, "outputTokens": tokens, "totalTokens": 3 + tokens });
        vec![
            Event::named("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            Event::named("messageStop", r#"{"stopReason":"end_turn"}"#),
            Event::named("metadata", json!({ "usage": usage, "metrics": { "latencyMs": 1 } })),
        ]
    },
    // What was counted comes behind it.
    end: End::Reason,
    error: |message| exception("internalServerException", message),
    error_body: |message| json!({ "message": message }).to_string(),
    refusal: |message| format!(r#"{{"message":{message},"own":1}}"#),
    hum: Some(|| Event::named("aKindToCome", r#"{"p":"abcdefghijklmnop"}"#)),
    // Claude may.
    may_be_silent: true,
};

const COHERE_V2: Row = Row {
    dialect: Dialect::CohereV2,
    name: "",
    framing: Framing::Sse,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"id":"c","model":"m","message":{{"role":"assistant","content":[{{"type":"text","text":{text}}}]}},"finish_reason":"COMPLETE","usage":{{"billed_units":{{"input_tokens":1}},"tokens":{{"input_tokens":3,"output_tokens":5}}}}}}"#
        )
    },
    silent: |tokens| {
        (COHERE_V2.whole)("\"\"").replace("\"output_tokens\":5", &format!("\"output_tokens\":{tokens}"))
    },
    opening: || {
        let delta = json!({ "message": { "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] } });
        let block = json!({ "message": { "content": { "type": "text", "text": "" } } });
        vec![
            Event::named("message-start", json!({ "type": "message-start", "id": "c", "delta": delta })),
            Event::named("content-start", json!({ "type": "content-start", "index": 0, "delta": block })),
        ]
    },
    said: |text| {
        Event::named(
            "content-delta",
            format!(
                r#"{{"type":"content-delta","index":0,"delta":{{"message":{{"content":{{"text":{text}}}}}}}}}"#
            ),
        )
    },
    said_last: None,
    finish: |tokens| {
        let usage = json!({ "tokens": { "input_tokens": 3, "output_tokens": tokens } });
        let end = json!({ "finish_reason": "COMPLETE", "usage": usage });
        vec![
            Event::named("content-end", json!({ "type": "content-end", "index": 0 })),
            Event::named("message-end", json!({ "type": "message-end", "delta": end })),
        ]
    },
    end: End::Reason,
    error: |message| {
        let delta = json!({ "finish_reason": "ERROR", "error": message });
        Event::named("message-end", json!({ "type": "message-end", "delta": delta }))
    },
    error_body: |message| json!({ "message": message }).to_string(),
    refusal: |message| format!(r#"{{"message":{message},"own":1}}"#),
    hum: None,
    may_be_silent: false,
};

const COHERE_V1: Row = Row {
    dialect: Dialect::CohereV1,
    name: "",
    framing: Framing::JsonLines,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"response_id":"a","generation_id":"c","model":"m","text":{text},"finish_reason":"COMPLETE","meta":{{"api_version":{{"version":"1"}},"tokens":{{"input_tokens":3,"output_tokens":5}}}}}}"#
        )
    },
    silent: |tokens| {
        (COHERE_V1.whole)("\"\"").replace("\"output_tokens\":5", &format!("\"output_tokens\":{tokens}"))
    },
    opening: || {
        vec![Event::plain(
            json!({ "is_finished": false, "event_type": "stream-start", "generation_id": "c" }),
        )]
    },
    said: |text| {
        Event::plain(format!(r#"{{"is_finished":false,"event_type":"text-generation","text":{text}}}"#))
    },
    said_last: None,
    finish: |tokens| {
        let meta = json!({ "tokens": { "input_tokens": 3, "output_tokens": tokens } });
        let answer = json!({ "generation_id": "c", "text": "", "finish_reason": "COMPLETE", "meta": meta });
        vec![Event::plain(json!({
            "is_finished": true, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": answer,
        }))]
    },
    end: End::Reason,
    error: |message| {
        Event::plain(json!({
            "is_finished": true, "event_type": "stream-end", "finish_reason": "ERROR", "error": message,
        }))
    },
    error_body: |message| json!({ "message": message }).to_string(),
    refusal: |message| format!(r#"{{"message":{message},"own":1}}"#),
    hum: Some(|| Event::plain(json!({ "is_finished": false, "event_type": "a-kind-to-come" }))),
    may_be_silent: false,
};

const CLOUDFLARE: Row = Row {
    dialect: Dialect::Cloudflare,
    name: "",
    framing: Framing::Sse,
    envelope: Envelope::PLAIN,
    whole: |text| {
        format!(
            r#"{{"model":"m","result":{{"response":{text},"usage":{{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}}},"success":true,"errors":[],"messages":[]}}"#
        )
    },
    silent: |tokens| {
        (CLOUDFLARE.whole)("\"\"")
            .replace("\"completion_tokens\":5", &format!("\"completion_tokens\":{tokens}"))
    },
    opening: || vec![Event::plain(r#"{"response":"","p":"abcdef"}"#)],
    said: |text| Event::plain(format!(r#"{{"response":{text},"p":"abcdef"}}"#)),
    said_last: None,
    finish: |tokens| {
        let usage = json!({ "prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens });
        vec![Event::plain(json!({ "response": "", "usage": usage }))]
    },
    end: End::MarkerAlone("data: [DONE]\n\n"),
    error: |message| {
        Event::plain(json!({ "errors": [{ "code": 3043, "message": message }], "success": false }))
    },
    error_body: |message| {
        json!({ "result": null, "success": false, "errors": [{ "code": 3043, "message": message }], "messages": [] })
            .to_string()
    },
    refusal: |message| {
        format!(
            r#"{{"result":null,"success":false,"errors":[{{"code":5006,"message":{message}}}],"messages":[]}}"#
        )
    },
    hum: None,
    may_be_silent: false,
};
