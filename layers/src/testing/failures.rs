//! Failures of upstreams by their usual names, all of channel `a`.

use bytes::Bytes;
use dialect::{Asked, Body, Dialect};
use http::{HeaderMap, StatusCode};

use crate::failure::{Failure, TransportKind};
use crate::hidden::Hidden;
use crate::judge::{Refusal, judge};
use crate::policy::ChannelName;

fn a() -> ChannelName {
    ChannelName::from("a")
}

/// A request of which an upstream can repeat nothing.
pub fn nothing(headers: &HeaderMap) -> Asked<'_> {
    Asked { body: &Body::Empty, headers, model: "" }
}

/// A refusal with this status and a body that says nothing else, judged as upstreams' are.
pub fn refused(status: u16) -> Failure {
    refused_with(status, &[], r#"{"error":{"message":"no","type":"error"}}"#)
}

/// A refusal with this status, these headers and this body, judged as upstreams' are.
pub fn refused_with(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Failure {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a header value"));
    }
    judge(Refusal {
        channel: &a(),
        status,
        headers: &map,
        error: dialect::normalise_error(status, body.as_bytes()),
        body: Bytes::from_static(body.as_bytes()),
        dialect: Dialect::OpenAiChat,
        asked: nothing(&HeaderMap::new()),
        hidden: &Hidden::of(&super::channel("a").build(), None, None),
    })
}

/// A refusal of the key in `slot` as it leaves `lease`, which has seen whether there is another.
pub fn refused_key(status: u16, slot: u32, spare: bool) -> Failure {
    match refused(status) {
        Failure::Upstream(rejection) => {
            Failure::KeyRefused { rejection, spare_of: Some(slot).filter(|_| spare) }
        }
        other => other,
    }
}

/// What `lease` tells of a refused key: which one it was, where there is another to try.
pub fn key_told(failure: &Failure) -> Option<Option<u32>> {
    match failure {
        Failure::KeyRefused { spare_of, .. } => Some(*spare_of),
        _ => None,
    }
}

/// Silence for too long.
pub fn timed_out() -> Failure {
    Failure::Timeout { channel: a(), limit: super::patience().idle }
}

/// A connection that broke before the answer.
pub fn broken() -> Failure {
    Failure::Transport { channel: a(), kind: TransportKind::Broken, cause: None }
}

/// An answer with nothing in it.
pub fn empty() -> Failure {
    Failure::Empty { channel: a() }
}

/// An answer that stopped before its end.
pub fn truncated() -> Failure {
    Failure::Truncated { channel: a() }
}

/// No key of the channel can be used.
pub fn no_key() -> Failure {
    Failure::KeysExhausted { channel: a(), retry_after: None }
}

/// A request that the channel's dialect cannot express.
pub fn unsupported() -> Failure {
    Failure::Unsupported { channel: a(), what: "it".to_owned(), param: None }
}
