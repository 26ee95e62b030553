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
use crate::capacity::{Held, UNCOUNTED};
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
        Self {
            inner,
            timeouts,
            end,
            since: Instant::now(),
            waiting: false,
            timer: None,
            armed: end,
            ahead: Bytes::new(),
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

    /// Collects up to `most` bytes of it, as far as `held` finds room for them; what is left over is
    /// still to come.
    pub async fn collect(&mut self, most: usize, held: &mut Held) -> Result<Collected, Broken> {
        let announced = usize::try_from(self.inner.size_hint().lower()).unwrap_or(usize::MAX);
        let mut parts = Parts { announced: announced.min(most), ..Parts::default() };
        while let Some(data) = std::future::poll_fn(|cx| self.poll_data(cx)).await {
            let room = parts.push(data?, held);
            if parts.len > most {
                return Ok(Collected { bytes: parts.join(), left: Left::TooLong });
            }
            if !room {
                return Ok(Collected { bytes: parts.join(), left: Left::NoRoom });
            }
        }
        Ok(Collected { bytes: parts.join(), left: Left::Nothing })
    }
}

/// The result of [`Idle::collect`].
#[derive(Debug, PartialEq, Eq)]
pub struct Collected {
    /// The bytes.
    pub bytes: Bytes,
    /// What is still to come.
    pub left: Left,
}

/// The part of a body that was not collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it is whole.
    Nothing,
    /// More than may be collected.
    TooLong,
    /// More than there is room for at this moment.
    NoRoom,
}

/// A body whose length was announced gets its room at once when this much has come.
const ON_TRUST: usize = 1 << 20;

/// The parts of a body, joined without a copy when there is only one.
#[derive(Default)]
struct Parts {
    first: Bytes,
    more: Vec<u8>,
    len: usize,
    /// The length by the upstream's word; 0 without one.
    announced: usize,
}

impl Parts {
    /// Adds a part; false where `held` has no room for more than this one.
    fn push(&mut self, data: Bytes, held: &mut Held) -> bool {
        self.len += data.len();
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return self.len <= UNCOUNTED || held.try_grow(self.len);
        }
        let mut room = true;
        if self.more.capacity() < self.len {
            let doubled =
                (self.len + self.more.capacity()).max(self.announced * usize::from(self.len > ON_TRUST));
            let wanted = [doubled, self.len]
                .into_iter()
                .find(|&length| length <= UNCOUNTED || held.try_grow(length.saturating_sub(held.bytes())));
            room = wanted.is_some();
            self.more.reserve_exact(wanted.unwrap_or(self.len) - self.more.len());
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.first);
        }
        self.more.extend_from_slice(&data);
        room
    }

    fn join(mut self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        if self.more.capacity() > self.len + self.len / 4 {
            self.more.shrink_to_fit();
        }
        self.more.into()
    }
}

#[cfg(test)]
mod tests;
