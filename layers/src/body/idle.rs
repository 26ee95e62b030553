//! Ends an upstream body that has been silent for too long.
//!
//! The limit counts only while somebody waits: the body is asked first, and only when it has
//! nothing is the clock read. The timer is armed once and pushed on when it fires early, because
//! moving it for every chunk would cost more than forwarding the chunk.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::poll_on_wake::PollOnWake;
use super::{Broken, UpstreamBody};
use crate::hidden::Guard;
use crate::policy::Timeouts;

/// An upstream body with an inactivity limit and an absolute end.
pub struct Idle {
    inner: UpstreamBody,
    timeouts: Timeouts,
    /// No byte is awaited beyond this, whatever the activity.
    end: Instant,
    /// When the body last gave something, or the wait for it began.
    since: Instant,
    waiting: bool,
    timer: Option<PollOnWake<Sleep>>,
    /// Whom all of it passes, while it lasts.
    guard: Option<Guard>,
    ended: bool,
}

impl Idle {
    /// Watches `inner`: no silence longer than `timeouts.idle`, and nothing after `timeouts.total`
    /// since the request was received.
    pub fn new(inner: UpstreamBody, timeouts: Timeouts, received: Instant) -> Self {
        let end = received + timeouts.total;
        Self {
            inner,
            timeouts,
            end,
            since: Instant::now(),
            waiting: false,
            timer: None,
            guard: None,
            ended: false,
        }
    }

    /// Has all of it pass `guard`, which may hold an end back until more has come.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// The next data, trailers skipped.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx).map_ok(Frame::into_data) {
                Poll::Ready(Some(Ok(Ok(data)))) => {
                    self.waiting = false;
                    let data = match &mut self.guard {
                        Some(guard) => guard.pass(data),
                        None => data,
                    };
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Ok(Err(_trailers)))) => {}
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(None) => {
                    self.ended = true;
                    let left = self.guard.take().map(Guard::end).filter(|left| !left.is_empty());
                    return Poll::Ready(left.map(Ok));
                }
                Poll::Pending => return self.poll_silence(cx).map(|broken| Some(Err(broken))),
            }
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if !self.waiting {
            self.waiting = true;
            self.since = Instant::now();
        }
        let silent = self.since + self.timeouts.idle;
        let deadline = silent.min(self.end);
        let timer = self.timer.get_or_insert_with(|| PollOnWake::new(sleep_until(deadline)));
        while timer.poll(cx).is_ready() {
            if Instant::now() >= deadline {
                let limit = if silent <= self.end { self.timeouts.idle } else { self.timeouts.total };
                return Poll::Ready(Broken::Silent(limit));
            }
            timer.wake().reset(deadline);
        }
        Poll::Pending
    }

    /// Collects up to `most` bytes of it; what is left over is still to come.
    pub async fn collect(&mut self, most: usize) -> Result<Collected, Broken> {
        let mut parts = Parts::default();
        while let Some(data) = std::future::poll_fn(|cx| self.poll_data(cx)).await {
            parts.push(data?);
            if parts.len > most {
                return Ok(Collected { bytes: parts.join(), whole: false });
            }
        }
        Ok(Collected { bytes: parts.join(), whole: true })
    }
}

/// The result of [`Idle::collect`].
#[derive(Debug, PartialEq, Eq)]
pub struct Collected {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether that was all.
    pub whole: bool,
}

/// The parts of a body, joined without a copy when there is only one.
#[derive(Default)]
struct Parts {
    first: Bytes,
    more: Vec<u8>,
    len: usize,
}

impl Parts {
    fn push(&mut self, data: Bytes) {
        self.len += data.len();
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.first);
        }
        self.more.extend_from_slice(&data);
    }

    fn join(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.into() }
    }
}

#[cfg(test)]
mod tests;
