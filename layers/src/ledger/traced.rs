//! What the spans of an attempt need and its record does not hold otherwise.
//!
//! Kept only where the request's spans are sent ([`crate::stage::Exchange::is_traced`]), so that all
//! other requests pay a branch for it.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};

use super::Entry;
use crate::policy::Target;
use crate::trace_context::draw_span;

/// The part of an attempt that only spans tell.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The span of the attempt.
    pub span: u64,
    /// The span of the request to the upstream.
    pub upstream_span: u64,
    /// Whom it was aimed at.
    pub target: Arc<Target>,
    /// What became of its request to the upstream; none when none was sent.
    pub sent: Option<Sent>,
}

/// A request that left for an upstream.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When, from the moment the client's request was received.
    pub began: Duration,
    /// Where to; without path, query and credentials.
    pub host: Box<str>,
    /// At which port, where the address names one or its scheme does.
    pub port: Option<u16>,
    /// How often it was sent anew: behind a dead connection, or a token that was refused.
    pub resends: u32,
    /// When the answer's head came, from the same moment; none when none did.
    pub answered: Option<Duration>,
    /// The answer's status.
    pub status: Option<StatusCode>,
}

impl Traced {
    /// Of an attempt that begins, with spans of its own.
    pub fn begin(target: &Arc<Target>) -> Box<Self> {
        Box::new(Self { span: draw_span(), upstream_span: draw_span(), target: target.clone(), sent: None })
    }
}

impl Sent {
    fn to(uri: &Uri, began: Duration) -> Self {
        let of_scheme = match uri.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        };
        Self {
            began,
            host: uri.host().unwrap_or_default().into(),
            port: uri.port_u16().or(of_scheme),
            resends: 0,
            answered: None,
            status: None,
        }
    }
}

impl Entry {
    /// A request leaves for an upstream, for the attempt that is under way.
    pub(crate) fn note_sent(&mut self, uri: &Uri) {
        let began = self.received.elapsed();
        let Some(traced) = self.attempts.last_mut().and_then(|attempt| attempt.traced.as_deref_mut()) else {
            return;
        };
        match &mut traced.sent {
            Some(sent) => sent.resends += 1,
            unsent => *unsent = Some(Sent::to(uri, began)),
        }
    }

    /// The head of its answer is there.
    pub(crate) fn note_answered(&mut self, status: StatusCode) {
        let now = self.received.elapsed();
        let traced = self.attempts.last_mut().and_then(|attempt| attempt.traced.as_deref_mut());
        if let Some(sent) = traced.and_then(|traced| traced.sent.as_mut()) {
            (sent.answered, sent.status) = (Some(now), Some(status));
        }
    }
}
