//! The way up: from the client's body to what the upstream is sent.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use dialect::{Body, Correspondence, Kind, ModelPlace, ir};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Rejection};
use crate::heavy::heavy;
use crate::stage::{Attempt, Payload};

/// Asks an OpenAI-format upstream for the usage of a stream, as the first member of the body.
const ASK_USAGE: &[u8] = br#"{"stream_options":{"include_usage":true},"#;

/// Bodies up to this are joined: copying them costs less than more buffers on the wire.
const JOINED: usize = 32 << 10;

/// What goes up, and what must be remembered of it for the way down.
pub(super) struct Upward {
    pub(super) payload: Payload,
    /// Present when the dialects differ.
    pub(super) correspondence: Option<Correspondence>,
}

/// Whether the usage of this stream may be asked for although the client did not: between equal
/// dialects, where the upstream is known to understand it.
pub(super) fn may_ask_usage(attempt: &Attempt, stream: bool) -> bool {
    let (exchange, channel) = (&attempt.exchange, &attempt.target.channel);
    stream
        && !exchange.peek.stream_options
        && channel.dialect == exchange.dialect()
        && channel.asks_usage.load(Ordering::Relaxed)
}

/// Whether a refusal is about the option that [`may_ask_usage`] added.
pub(super) fn blames_usage(rejection: &Rejection) -> bool {
    matches!(rejection.status.as_u16(), 400 | 422)
        && (rejection.error.message.contains("stream_options")
            || memchr::memmem::find(&rejection.body, b"stream_options").is_some())
}

/// Builds the body for the upstream.
///
/// # Errors
/// [`Failure::Invalid`] for a body that the client's dialect cannot read,
/// [`Failure::Unsupported`] for one that the upstream's cannot express.
pub(super) async fn build(attempt: &Attempt, stream: bool, ask_usage: bool) -> Result<Upward, Failure> {
    let (exchange, target) = (&attempt.exchange, &attempt.target);
    let channel = &target.channel;
    if channel.dialect != exchange.dialect() {
        return Box::pin(translate(attempt, stream)).await;
    }
    let untouched =
        target.overrides.is_none() && channel.tools && channel.image && stream == exchange.peek.stream;
    let payload = if untouched {
        Payload::Bytes(splice(attempt, ask_usage))
    } else {
        Payload::Json(Box::pin(change(attempt, stream, ask_usage)).await?.into())
    };
    Ok(Upward { payload, correspondence: None })
}

/// The client's bytes with the upstream's name of the model in place of the alias.
fn splice(attempt: &Attempt, ask_usage: bool) -> Vec<Bytes> {
    let (exchange, target) = (&attempt.exchange, &attempt.target);
    let (body, span) = match (&exchange.body, &exchange.peek.model_place) {
        (Body::Json(body), ModelPlace::Json(span)) => (body, span.clone()),
        (Body::Form(form), ModelPlace::Form(part)) => {
            return form.with_value(*part, Bytes::copy_from_slice(target.upstream_model.as_bytes()));
        }
        (body, _) => return body.to_chunks(),
    };
    let renamed = body[span.clone()] != *target.upstream_model_json;
    if !renamed && !ask_usage {
        return vec![body.clone()];
    }
    let (ask, start) = if ask_usage {
        // Ingress has seen that it is an object: its brace is the first thing in it.
        (ASK_USAGE, memchr::memchr(b'{', body).map_or(0, |brace| brace + 1))
    } else {
        (&[][..], 0)
    };
    if body.len() <= JOINED {
        let parts = [ask, &body[start..span.start], &target.upstream_model_json, &body[span.end..]];
        return vec![Bytes::from(parts.concat())];
    }
    vec![
        Bytes::from_static(ask),
        body.slice(start..span.start),
        target.upstream_model_json.clone(),
        body.slice(span.end..),
    ]
}

/// The client's body as a value, with the model's name and whatever the channel does not take
/// changed; overrides are merged into it further in.
async fn change(attempt: &Attempt, stream: bool, ask_usage: bool) -> Result<Map<String, Value>, Failure> {
    let body = json(attempt)?;
    let mut map =
        heavy(body.len(), move || serde_json::from_slice::<Map<String, Value>>(&body)).await?.map_err(
            |error| Failure::invalid(format!("the request body must be a JSON object: {error}"), None),
        )?;
    map.insert("model".to_owned(), Value::from(&*attempt.target.upstream_model));
    if stream != attempt.exchange.peek.stream {
        map.insert("stream".to_owned(), Value::from(stream));
        if !stream {
            map.shift_remove("stream_options");
        }
    }
    if ask_usage {
        map.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if !attempt.target.channel.tools {
        without_tools(&mut map);
    }
    if !attempt.target.channel.image {
        without_images(&mut map);
    }
    Ok(map)
}

/// `tools: false`: neither tools nor what refers to them.
fn without_tools(body: &mut Map<String, Value>) {
    for name in ["tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"] {
        body.shift_remove(name);
    }
    let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
    messages.retain_mut(|message| {
        let calls = message.as_object_mut().is_some_and(|message| {
            message.shift_remove("function_call").is_some() | message.shift_remove("tool_calls").is_some()
        });
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let says_nothing = message.get("content").is_none_or(|content| content.is_null() || content == "");
        !(matches!(role, "tool" | "function") || calls && says_nothing)
    });
}

/// `image: false`: no picture parts.
fn without_images(body: &mut Map<String, Value>) {
    let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
    for parts in messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()) {
        parts.retain(|part| !matches!(part.get("type").and_then(Value::as_str), Some("image_url" | "image")));
    }
}

/// The body as the JSON object that everything but splicing needs.
fn json(attempt: &Attempt) -> Result<Bytes, Failure> {
    attempt.exchange.body.json().cloned().ok_or_else(|| Failure::Unsupported {
        channel: attempt.target.channel.name.clone(),
        what: "a form cannot be changed for it".to_owned(),
    })
}

/// The request in the upstream's dialect, by way of the neutral form.
async fn translate(attempt: &Attempt, stream: bool) -> Result<Upward, Failure> {
    let (exchange, target) = (attempt.exchange.clone(), attempt.target.clone());
    let channel = target.channel.name.clone();
    let Some(inbound) = exchange.dialect().inbound().filter(|_| exchange.endpoint.kind == Kind::Chat) else {
        let what =
            format!("{} requests go to channels of their own format only", exchange.endpoint.kind.label());
        return Err(Failure::Unsupported { channel, what });
    };
    let body = json(attempt)?;
    let length = body.len();
    let written = heavy(length, move || {
        let neutral = exchange.neutral.get_or_init(|| Box::new(inbound.request(&body)));
        let mut request =
            Result::clone(neutral).map_err(|malformed| Failure::invalid(malformed.message, None))?;
        request.model_alias = target.alias.to_string();
        request.upstream_model = target.upstream_model.to_string();
        request.stream = stream;
        if !target.channel.tools {
            request.tools.clear();
            request.server_tools.clear();
            request.tool_choice = None;
        }
        if !target.channel.image {
            for turn in &mut request.turns {
                turn.blocks.retain(|block| !matches!(block.content, ir::Content::Image { .. }));
            }
        }
        target.channel.dialect.outbound().request(&request).map_err(|unsupported| Failure::Unsupported {
            channel: target.channel.name.clone(),
            what: unsupported.message,
        })
    })
    .await??;
    let payload = if attempt.target.overrides.is_some() {
        let body = written.body;
        let map = heavy(length, move || serde_json::from_slice(&body)).await?;
        Payload::Json(map.map_err(|_never: serde_json::Error| Failure::Internal)?)
    } else {
        super::bytes(written.body)
    };
    Ok(Upward { payload, correspondence: Some(written.correspondence) })
}
