//! Closes records: the `Records` port of the pipeline.
//!
//! Called once per request when its answer has ended. Everything here is arithmetic, counters and
//! two bounded queues; no lock is held and nothing is awaited. A request that never was one of the
//! pipeline is counted and told, and stored nowhere: strangers could fill the database.

use std::sync::Arc;

use layers::ledger::Entry;
use layers::ports::Records;
use layers::visit::Visit;

use super::store::BLAMELESS;
use super::writer::Writer;
use crate::state::balances::Accounts;
use crate::state::keys::KeyHistory;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::traces::Traces;
use crate::values::{Closed, Prices};

/// The keeper of balances: told what each request really cost.
pub trait Settle: Send + Sync {
    /// Books the cost of a closed record and gives its reservation (`entry.reserved`) back.
    fn settle(&self, closed: &Closed);
}

impl Settle for Accounts {
    fn settle(&self, closed: &Closed) {
        let entry = &closed.entry;
        Accounts::settle(self, &entry.caller.fingerprint, entry.reserved, closed.cost);
    }
}

/// A closer of records.
pub struct Recorder {
    prices: Arc<dyn Prices>,
    metrics: Metrics,
    log: Option<RequestLog>,
    writer: Option<Writer>,
    traces: Option<Traces>,
    balances: Option<Arc<dyn Settle>>,
    history: Option<Arc<KeyHistory>>,
}

impl Recorder {
    /// Prices with `prices` and counts in `metrics`; nothing is logged or stored yet.
    pub fn new(prices: Arc<dyn Prices>, metrics: Metrics) -> Self {
        Self { prices, metrics, log: None, writer: None, traces: None, balances: None, history: None }
    }

    /// Writes a line for each request.
    #[must_use]
    pub fn with_log(self, log: RequestLog) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Stores each request, if there is where.
    #[must_use]
    pub fn with_writer(self, writer: Option<Writer>) -> Self {
        Self { writer, ..self }
    }

    /// Sends the spans of those requests whose trace was chosen when they came.
    #[must_use]
    pub fn with_traces(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// Settles the balance of each request's caller.
    #[must_use]
    pub fn with_balances(self, balances: Arc<dyn Settle>) -> Self {
        Self { balances: Some(balances), ..self }
    }

    /// Notes how provider keys did.
    #[must_use]
    pub fn with_history(self, history: Arc<KeyHistory>) -> Self {
        Self { history: Some(history), ..self }
    }
}

impl Records for Recorder {
    fn close(&self, entry: Entry) {
        let price = self.prices.price(&entry.model);
        let told = entry.side_calls.iter().filter(|(_, usage)| !usage.is_absurd());
        let side_calls: i128 = told.map(|(model, usage)| self.prices.price(model).cost(usage)).sum();
        let mut closed = Closed::new(entry, price);
        closed.cost = closed.cost.saturating_add(side_calls);
        if let Some(balances) = &self.balances {
            balances.settle(&closed);
        }
        if let Some(history) = &self.history {
            for attempt in &closed.entry.attempts {
                if let Some(key) = &attempt.key
                    && !BLAMELESS.contains(&attempt.outcome)
                {
                    history.note(&attempt.channel, key, attempt.outcome == "ok");
                }
            }
        }
        self.metrics.close(&closed);
        if let Some(log) = &self.log {
            log.record(&closed);
        }
        let is_sampled = closed.entry.trace.is_some_and(|trace| trace.sampled);
        let traces = self.traces.as_ref().filter(|_| is_sampled);
        if self.writer.is_none() && traces.is_none() {
            return;
        }
        let closed = Arc::new(closed);
        if let Some(traces) = traces {
            traces.record(closed.clone());
        }
        if let Some(writer) = &self.writer {
            writer.record(closed);
        }
    }

    fn visit(&self, visit: Visit) {
        self.metrics.visit(&visit);
        if let Some(log) = &self.log {
            log.visit(&visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use layers::policy::ChannelName;

    use super::*;
    use crate::values::Price;
    use crate::values::testing::{attempt, entry};

    #[derive(Default)]
    struct Book(Mutex<Vec<(i128, i128)>>);

    impl Settle for Book {
        fn settle(&self, closed: &Closed) {
            self.0.lock().unwrap().push((closed.entry.reserved, closed.cost));
        }
    }

    #[test]
    fn attempts_that_say_something_about_their_key_are_noted() {
        let history = Arc::new(KeyHistory::new(false));
        let (told, records) = std::sync::mpsc::channel();
        let ask = || {
            let told = told.clone();
            let reply = move |records| told.send(records).unwrap();
            crate::state::keys::History::fetch(&*history, &ChannelName::from("served"), Box::new(reply));
            records.try_recv().unwrap()
        };
        assert!(ask().is_empty());
        let recorder =
            Recorder::new(Arc::new(|_: &str| Price::default()), Metrics::new()).with_history(history.clone());
        let mut entry = entry("gpt-4o");
        let outcomes = ["ok", "upstream_rate_limited", "client_gone", "upstream_client_error"];
        entry.attempts = outcomes.map(|outcome| attempt("served", outcome)).into();

        recorder.close(entry);

        let known: Vec<_> = ask();
        let [(_, record)] = &known[..] else { panic!("{known:?}") };
        assert_eq!((record.successes, record.attempts), (1, 2));
    }

    #[test]
    fn a_request_without_a_record_is_counted_without_a_word_of_its_own() {
        let metrics = Metrics::new();
        let recorder = Recorder::new(Arc::new(|_: &str| Price::default()), metrics.clone());
        for path in ["/v1/chat/completions", "/sk-secret", "/v1/models"] {
            let lookup = layers::endpoint::find(&http::Method::POST, path);
            let request = http::Request::post(path).extension(lookup).body(()).unwrap();
            let visit = Visit::of(request.method(), request.uri(), request.extensions());
            recorder.visit(visit.refused(&layers::Failure::Unauthenticated));
        }

        let text = metrics.render();

        for operation in ["chat", "other", "models"] {
            let line = format!(
                "uni_api_requests_total{{operation=\"{operation}\",model=\"other\",outcome=\"unauthenticated\",status=\"4xx\"}} 1"
            );
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        assert!(!text.contains("sk-secret"));
    }

    #[test]
    fn a_closed_record_is_priced_by_its_model_counted_and_settled() {
        let book = Arc::new(Book::default());
        let metrics = Metrics::new();
        let prices = |model: &str| if model == "gpt-4o" { Price::flat(3, 7) } else { Price::default() };
        let recorder = Recorder::new(Arc::new(prices), metrics.clone()).with_balances(book.clone());
        let mut entry = entry("gpt-4o");
        entry.reserved = 99;

        recorder.close(entry);

        assert_eq!(*book.0.lock().unwrap(), [(99, 10 * 3 + 5 * 7)]);
        let text = metrics.render();
        let line =
            "uni_api_requests_total{operation=\"chat\",model=\"gpt-4o\",outcome=\"ok\",status=\"2xx\"} 1";
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
