//! The adapters between an upstream's body and a reply's, each over a body of a test.

use dialect::{Correspondence, Dialect, StreamStyle};

use super::policy::{channel, secret};
use crate::body::Asked;
use crate::body::convert::Convert;
use crate::body::idle::Idle;
use crate::body::raw::Raw;
use crate::body::tap::Tap;
use crate::policy::ChannelName;

/// Channel `a` of this dialect, asked with the key `sk-provider-key`.
fn asked(dialect: Dialect) -> Asked {
    Asked {
        channel: channel("a").dialect(dialect).build(),
        credential: Some(secret("sk-provider-key").into()),
    }
}

/// What a tap is asked to do beside forwarding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watching {
    /// The usage chunk is ours.
    pub hide_usage: bool,
    /// The sightings of the opening carry its text.
    pub want_text: bool,
}

/// A tap on an OpenAI stream.
pub fn tap(upstream: Idle, watching: Watching) -> Tap {
    let probe = Dialect::OpenAiChat.probe();
    Tap::new(upstream, probe, asked(Dialect::OpenAiChat), watching.hide_usage, watching.want_text)
}

/// An Anthropic stream on its way to an OpenAI client that calls the model `m`.
pub fn converting(upstream: Idle, want_text: bool) -> Convert {
    let decoder = Dialect::Anthropic.outbound().events(&Correspondence::default());
    let style =
        StreamStyle { model: "m".to_owned(), include_usage: false, id: "chatcmpl-1".to_owned(), created: 1 };
    let inbound = Dialect::OpenAiChat.inbound().expect("OpenAI clients are understood");
    Convert::new(upstream, decoder, inbound.events(&style), asked(Dialect::Anthropic), want_text)
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
