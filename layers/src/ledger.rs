//! The record of one request, shared by everything that learns something about it.
//!
//! `ingress` opens it, `failover` and `observe` append attempts, `account` adds what the body's
//! sightings say and closes it exactly once, at the end, the error or the drop of the answer. The
//! lock is never contended: one request is worked on by one task.

mod traced;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use dialect::ir::Usage;
use http::StatusCode;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::estimate::{Kept, Size};
use crate::failure::{Cools, Failure};
use crate::observe::telling;
use crate::policy::{Caller, ChannelName, Fingerprint, Target};
use crate::ports::Records;
use crate::reply::Piece;
use crate::request_id::RequestId;
use crate::trace_context::Trace;

pub use self::traced::{Sent, Traced};

/// A shared handle on the [`Entry`] of a request.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Entry>>);

impl Ledger {
    /// Opens a record.
    pub fn open(entry: Entry) -> Self {
        Self(Arc::new(Mutex::new(entry)))
    }

    /// The record, for a moment.
    pub fn entry(&self) -> MutexGuard<'_, Entry> {
        // A poisoned record is still the best there is: the panic is logged elsewhere.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The facts that are known of a request.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub id: RequestId,
    /// What it asked for.
    pub endpoint: &'static Endpoint,
    /// Who asked.
    pub caller: Arc<Caller>,
    /// The trace that it belongs to, where its sender told one or spans are made.
    pub trace: Option<Trace>,
    /// From where; the proxy's word where the proxy is trusted.
    pub client: Option<IpAddr>,
    /// The model as asked for.
    pub model: Arc<str>,
    /// Whether some channel has that model, so that it may be a metric label.
    pub model_known: bool,
    /// Whether events were asked for.
    pub stream: bool,
    /// When it came, by the wall clock.
    pub arrived: SystemTime,
    /// When it came, for measuring.
    pub received: Instant,
    /// Length of its body in bytes.
    pub body_bytes: usize,
    /// All tries, in order.
    pub attempts: Vec<AttemptRecord>,
    /// Time until the answer was accepted that was spent waiting for others: for upstreams, between
    /// attempts, and for the client to send its body. The rest is our own.
    pub waited: Duration,
    /// When the answer was accepted, from `received`.
    pub accepted: Option<Duration>,
    /// Who served it.
    pub target: Option<Arc<Target>>,
    /// The status that the request came to: that of its failure when nothing was accepted, also
    /// where a comment had by then sent the client a 200; else 200, whatever became of the rest of
    /// the answer, and also for a client that left before either. Log, metrics and database tell
    /// this one, so that what nobody served counts as such whether or not the client was kept
    /// warm.
    pub status: StatusCode,
    /// [`crate::failure::Failure::label`] of what went wrong; none when nothing did.
    pub failure: Option<&'static str>,
    /// The same in words; never a part of a key.
    pub reason: Option<Box<str>>,
    /// Whether the client left before the end of the answer.
    pub abandoned: bool,
    /// Whether moderation refused it.
    pub flagged: bool,
    /// Usage as the upstream told it; none when it never came.
    pub usage: Option<Usage>,
    /// Bytes of answer text delivered, for an estimate when usage never came.
    pub delivered: u64,
    /// Bytes of answer sent.
    pub answer_bytes: u64,
    /// How long it took until the body ended; set when the record is closed.
    pub elapsed: Duration,
    /// What was reserved on the caller's balance, in picodollars.
    pub reserved: i128,
    /// Nested keys that it entered and whose windows counted it.
    pub groups: Vec<Fingerprint>,
    /// The size of the request as it was estimated, where it was.
    pub estimate: Option<Size>,
    /// Usage of the side calls that the gateway made for this request, with the model of each.
    pub side_calls: Vec<(Arc<str>, Usage)>,
}

/// One try.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The channel.
    pub channel: ChannelName,
    /// The place of it; none where it has none.
    pub place: Option<Arc<str>>,
    /// The model, where it is not the request's: that of a side call.
    pub side_call: Option<Arc<str>>,
    /// The key it used; none when none could be leased or the channel has none.
    pub key: Option<Fingerprint>,
    /// When it began, from the moment the request was received.
    pub began: Duration,
    /// What of that time was spent waiting for others: [`Entry::waited`] as it was then.
    pub waited: Duration,
    /// How it ended: `ok` or a failure label.
    pub outcome: &'static str,
    /// How long it took until it was accepted or failed.
    pub elapsed: Duration,
    /// What is known of its failure beside that word.
    pub fault: Option<Box<Fault>>,
    /// What its spans need beside the above; only where they are sent.
    pub traced: Option<Box<Traced>>,
}

/// The facts about a failed try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// The status that the upstream answered, or said within a 200.
    pub status: Option<StatusCode>,
    /// What was wrong with the connection.
    pub cause: Option<String>,
}

impl Entry {
    /// A record of a request that has just been read.
    pub fn new(
        id: RequestId,
        endpoint: &'static Endpoint,
        caller: Arc<Caller>,
        model: Arc<str>,
        received: Instant,
    ) -> Self {
        Self {
            id,
            endpoint,
            caller,
            trace: None,
            client: None,
            model,
            model_known: false,
            stream: false,
            arrived: SystemTime::now(),
            received,
            body_bytes: 0,
            attempts: Vec::new(),
            waited: Duration::ZERO,
            accepted: None,
            target: None,
            status: StatusCode::OK,
            failure: None,
            reason: None,
            abandoned: false,
            flagged: false,
            usage: None,
            delivered: 0,
            answer_bytes: 0,
            elapsed: Duration::ZERO,
            reserved: 0,
            groups: Vec::new(),
            estimate: None,
            side_calls: Vec::new(),
        }
    }

    /// Adds what is known of a side call that the gateway made for this request.
    pub fn absorb(&mut self, call: Self) {
        let Self { model, attempts, usage, waited, .. } = call;
        self.attempts.extend(
            attempts.into_iter().map(|attempt| AttemptRecord { side_call: Some(model.clone()), ..attempt }),
        );
        self.side_calls.extend(usage.map(|usage| (model, usage)));
        // Several calls may wait at once.
        self.waited = (self.waited + waited).min(self.received.elapsed());
    }

    /// Moves what was recorded out of the shared record, which is done with.
    pub(crate) fn take(&mut self) -> Self {
        let rest = Self {
            id: self.id.clone(),
            caller: self.caller.clone(),
            model: self.model.clone(),
            groups: Vec::new(),
            attempts: Vec::new(),
            side_calls: Vec::new(),
            target: None,
            reason: None,
            ..*self
        };
        std::mem::replace(self, rest)
    }

    /// The word for the outcome: `ok`, or what went wrong.
    pub fn outcome(&self) -> &'static str {
        match self.failure {
            Some(label) => label,
            None if self.abandoned => "client_gone",
            None => "ok",
        }
    }
}

/// The eye on one answer, which closes the record of its request, when dropped at the latest.
pub struct Watch {
    /// Taken when the record is closed.
    open: Option<(Ledger, Arc<dyn Records>)>,
    /// The request, should the answer not tell what it took.
    asked: Kept,
    /// Whether the client may know who was asked.
    exposes_route: bool,
    usage: Option<Usage>,
    delivered: u64,
    bytes: u64,
    /// The finish reason or the terminal marker went by: whoever leaves now has everything.
    finished: bool,
    whole: bool,
}

// === impl Watch ===

impl Watch {
    /// Watches the answer to the request of `ledger`, which holds what is `asked`.
    pub fn new(ledger: Ledger, records: Arc<dyn Records>, asked: Kept) -> Self {
        let exposes_route = ledger.entry().caller.expose_route;
        Self {
            open: Some((ledger, records)),
            asked,
            exposes_route,
            usage: None,
            delivered: 0,
            bytes: 0,
            finished: false,
            whole: false,
        }
    }

    /// Takes note of what goes to the client: a piece, an error, or the end.
    pub fn see(&mut self, next: Option<&Result<Piece, Failure>>) {
        match next {
            Some(Ok(piece)) => {
                self.bytes += piece.bytes.len() as u64;
                self.delivered += u64::from(piece.sighting.delivered);
                self.finished |= piece.sighting.finished || piece.sighting.done;
                if let Some(usage) = piece.sighting.detail.as_ref().and_then(|detail| detail.usage) {
                    self.usage.get_or_insert_default().merge(usage);
                }
                if self.whole {
                    // The listener takes the whole body at once and drops it after the write.
                    self.finished = true;
                }
            }
            Some(Err(failure)) => self.fail(failure),
            None => self.close(None),
        }
    }

    /// There is an answer; `whole` says that all of it is there.
    pub fn answered(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// A failure as the client may be told of it.
    pub fn told(&self, failure: Failure) -> Failure {
        if self.exposes_route { failure } else { failure.without_route() }
    }

    /// The request failed: before its answer, or within.
    pub fn fail(&mut self, failure: &Failure) {
        if let Some((ledger, _)) = &self.open {
            let mut entry = ledger.entry();
            entry.reason = Some(failure.to_string().into());
            if entry.accepted.is_none() {
                entry.status = failure.status();
            } else if failure.cools() != Cools::Nothing
                && let Some(target) = entry.target.clone()
            {
                // It cools nothing any more. What the process does to a stream when it ends is no
                // fault of the channel's and not told as one.
                if let Some(attempt) = entry.attempts.last_mut() {
                    attempt.fault = telling::fault(failure);
                }
                telling::tell(&entry, &target, failure);
            }
        }
        self.close(Some(failure.label()));
    }

    fn close(&mut self, failure: Option<&'static str>) {
        let Some((ledger, records)) = self.open.take() else { return };
        let entry = {
            let mut entry = ledger.entry();
            entry.failure = failure.or(entry.failure);
            entry.usage = self.usage.or(entry.usage);
            if entry.accepted.is_some() && entry.usage.is_none_or(|usage| usage.is_doubtful()) {
                let (asked, endpoint) = (&self.asked, entry.endpoint);
                entry.estimate.get_or_insert_with(|| asked.size(endpoint));
            }
            entry.delivered += self.delivered;
            entry.answer_bytes += self.bytes;
            entry.elapsed = entry.received.elapsed();
            entry.take()
        };
        records.close(entry);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.open.is_some() && std::thread::panicking() {
            if let Some((ledger, _)) = &self.open
                && let Some(attempt) = ledger.entry().attempts.last_mut()
                && attempt.outcome == "client_gone"
            {
                attempt.outcome = Failure::Internal.label();
            }
            return self.fail(&Failure::Internal);
        }
        if let Some((ledger, _)) = &self.open {
            ledger.entry().abandoned = !self.finished;
        }
        self.close(None);
    }
}

#[cfg(test)]
mod tests;
