//! Ends an upstream body that has been silent for too long.
//!
//! The limit counts only while somebody waits: the body is asked first, and only when it has
//! nothing is the clock read. The timer is armed once and pushed on when it fires early, because
//! moving it for every chunk would cost more than forwarding the chunk.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::poll_on_wake::PollOnWake;
use super::{Broken, UpstreamBody};
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
    /// When the timer fires at the latest.
    armed: Instant,
    /// What was read ahead.
    ahead: Bytes,
}

impl Idle {
    /// Watches `inner`: no silence longer than `timeouts.idle`, and nothing after `timeouts.total`
    /// since the request was received.
    pub fn new(inner: UpstreamBody, timeouts: Timeouts, received: Instant) -> Self {
        let end = received + timeouts.total;
        let since = Instant::now();
        Self { inner, timeouts, end, since, waiting: false, timer: None, armed: end, ahead: Bytes::new() }
    }

    /// Has nothing more to say but perhaps a little: a silence of this length ends it from now on.
    pub fn hush(&mut self, silence: Duration) {
        self.timeouts.idle = self.timeouts.idle.min(silence);
    }

    /// Has nothing more to say at all: it ends by itself within this time, or is ended.
    pub fn end_within(&mut self, limit: Duration) {
        self.end = self.end.min(Instant::now() + limit);
    }

    /// Waits for the beginning of it, of which it then lacks nothing: enough to tell what it is, and all of it
    /// where it is shorter. A beginning of nothing but blanks is not awaited for ever.
    ///
    /// # Errors
    /// What broke it before that.
    pub async fn beginning(&mut self) -> Result<Bytes, Broken> {
        /// Most blanks in front.
        const BLANKS: usize = 64 << 10;
        while !dialect::tells_its_form(&self.ahead) && self.ahead.len() <= BLANKS {
            let Some(data) = std::future::poll_fn(|cx| self.poll_more(cx)).await else { break };
            let data = data?;
            self.ahead = match self.ahead.is_empty() {
                true => data,
                false => [&self.ahead[..], &data].concat().into(),
            };
        }
        Ok(self.ahead.clone())
    }

    /// The next data, trailers skipped.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ahead))));
        }
        self.poll_more(cx)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx).map_ok(Frame::into_data) {
                Poll::Ready(Some(Ok(Ok(data)))) => {
                    self.waiting = false;
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Ok(Err(_trailers)))) => {}
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(None) => return Poll::Ready(None),
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
        let timer = self.timer.get_or_insert_with(|| {
            self.armed = deadline;
            PollOnWake::new(sleep_until(deadline))
        });
        if deadline < self.armed {
            timer.wake().reset(deadline);
            self.armed = deadline;
        }
        while timer.poll(cx).is_ready() {
            if Instant::now() >= deadline {
                let limit = if silent <= self.end { self.timeouts.idle } else { self.timeouts.total };
                return Poll::Ready(Broken::Silent(limit));
            }
            timer.wake().reset(deadline);
            self.armed = deadline;
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
#[derive(Debug, Default, PartialEq, Eq)]
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
