//! The adapters between an upstream's body and a reply's, each over a body of a test.

use dialect::{
    Aim, Ask, Body, Dialect, Envelope, FetchedMedia, Framing, Kept, Kind, ModelPlace, Neutral, Quirks,
    between,
};

use super::policy::{channel, secret};
use crate::body::Origin;
use crate::body::idle::Idle;
use crate::body::raw::Raw;
use crate::body::tap::Tap;
use crate::body::transcode::Transcoded;
use crate::policy::ChannelName;

/// Channel `a` of this dialect, asked with the key `sk-provider-key`.
fn origin(dialect: Dialect) -> Origin {
    Origin::new(channel("a").dialect(dialect).build(), Some(&secret("sk-provider-key").into()), None)
}

/// What a tap is asked to do beside forwarding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watching {
    /// The usage chunk is ours.
    pub hide_usage: bool,
    /// The sightings of the opening carry its text.
    pub want_text: bool,
}

/// What is kept of an OpenAI client's request for the model `m` that goes to this dialect.
pub fn kept(upstream: Dialect, want_text: bool) -> Box<Kept> {
    let body =
        Body::Json(r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#.into());
    let (neutral, media, quirks) = (Neutral::default(), FetchedMedia::default(), Quirks::default());
    let ask = Ask {
        kind: Kind::Chat,
        client: Dialect::OpenAiChat,
        body: &body,
        query: "",
        model_place: &ModelPlace::Json(9..12),
        stream: true,
        want_text,
        id: "1",
        created: 1,
        neutral: &neutral,
        media: &media,
        conversation: None,
        seals: None,
        answers: None,
        previous: None,
    };
    let aim = Aim {
        alias: "m",
        model: "m",
        model_json: &"\"m\"".into(),
        stream: true,
        tools: true,
        image: true,
        ask_usage: false,
        as_json: false,
        betas: &[],
        envelope: &Envelope::PLAIN,
        quirks: &quirks,
    };
    let way = between(Kind::Chat, Dialect::OpenAiChat, upstream).expect("there is a way");
    way.up(&ask, &aim).expect("a plain request").remove(0).kept
}

/// A tap on an OpenAI stream.
pub fn tap(upstream: Idle, watching: Watching) -> Tap {
    let way = between(Kind::Chat, Dialect::OpenAiChat, Dialect::OpenAiChat).expect("there is a way");
    let probe = way.probe(&kept(Dialect::OpenAiChat, watching.want_text)).expect("clients speak it");
    let origin = origin(Dialect::OpenAiChat);
    Tap::new(upstream, Framing::Sse, probe, origin, watching.hide_usage, watching.want_text)
}

/// An Anthropic stream on its way to an OpenAI client that calls the model `m`.
pub fn converting(upstream: Idle, want_text: bool) -> Transcoded {
    let way = between(Kind::Chat, Dialect::OpenAiChat, Dialect::Anthropic).expect("there is a way");
    let transcode = way.events(&kept(Dialect::Anthropic, want_text)).expect("streams are transcribed");
    Transcoded::new(upstream, Framing::Sse, transcode, origin(Dialect::Anthropic), want_text)
}

/// An answer too long to be held: its first bytes, and the rest.
pub fn raw(first: &'static str, rest: Idle) -> Raw {
    Raw::new(first.into(), rest, ChannelName::from("a"))
}

/// One event of Anthropic's.
pub fn anthropic_event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The events of an Anthropic stream that says these texts, each an event of its own: the opening,
/// the texts, the ending.
pub fn anthropic_stream(texts: &[&str]) -> (String, Vec<String>, String) {
    use serde_json::json;
    let usage = json!({ "input_tokens": 3, "output_tokens": 1 });
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage,
    });
    let block = json!({ "type": "text", "text": "" });
    let opening = [
        anthropic_event("message_start", &json!({ "type": "message_start", "message": message })),
        anthropic_event(
            "content_block_start",
            &json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        ),
    ]
    .concat();
    let said = |text: &&str| {
        let delta = json!({ "type": "text_delta", "text": text });
        anthropic_event(
            "content_block_delta",
            &json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        )
    };
    let stop = json!({ "stop_reason": "end_turn", "stop_sequence": null });
    let ending = [
        anthropic_event("content_block_stop", &json!({ "type": "content_block_stop", "index": 0 })),
        anthropic_event(
            "message_delta",
            &json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": 5 } }),
        ),
        anthropic_event("message_stop", &json!({ "type": "message_stop" })),
    ]
    .concat();
    (opening, texts.iter().map(said).collect(), ending)
}
