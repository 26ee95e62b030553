//! How a gateway answers where its clients reach it: behind proxies, certificates and whatever else stands between.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use layers::address::Address;
use layers::body::UpstreamBody;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::report::{Finding, Report};
use super::{Turns, paid};
use crate::config::{Settings, Severity};
use crate::upstream::{AGENT, Fetcher};

/// Longest answer that is read.
const LONGEST: usize = 16 << 20;
/// A stream of several events that all came within this time was collected on its way.
const SHORTEST_STREAM: Duration = Duration::from_millis(20);
/// What a client like Python's says that it takes: a proxy that compresses streams shows itself.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");
/// What every answer of this program has.
const REQUEST_ID: &str = "x-request-id";

/// The wish for a stream.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    /// The model that is wanted.
    pub(super) model: Option<&'a str>,
    /// Whether it may cost money.
    pub(super) paid: bool,
}

/// The model that is to stream: one that costs nothing, unless it may.
fn streaming_model(wanted: Wish<'_>, settings: &Settings, models: &[String]) -> Result<String, String> {
    let is_free = |name: &str| {
        let mut channels = settings
            .channels
            .iter()
            .filter(|channel| channel.discover || channel.models.iter().any(|model| *model.alias == *name))
            .peekable();
        channels.peek().is_some() && channels.all(|channel| channel.engine.inside.is_some())
    };
    let found = match wanted.model {
        Some(model) => Some(model.to_owned()),
        None => {
            let free = models.iter().find(|name| is_free(name));
            free.or_else(|| models.iter().find(|name| wanted.paid && paid::chats(name))).cloned()
        }
    };
    match found {
        Some(model) if wanted.paid || is_free(&model) => Ok(model),
        Some(model) => Err(format!("streams were not tried: an answer of {model} costs money; add --paid")),
        None if wanted.paid => Err("streams were not tried: it has no model that could answer".to_owned()),
        None => {
            Err("streams were not tried: an answer costs money; add --paid, or a channel with engine: mock"
                .to_owned())
        }
    }
}

/// A gateway as its clients reach it.
pub(super) struct Gateway {
    fetcher: Fetcher,
    base: String,
    bearer: HeaderValue,
}

impl Gateway {
    /// The gateway at this URL, for this client key, otherwise the first one of the configuration.
    ///
    /// # Errors
    /// The URL, or the key, is none.
    pub(super) fn at(url: &str, key: Option<&str>, settings: &Settings) -> Result<Self, String> {
        let base = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        let key = key.or_else(|| settings.callers.first().map(|caller| caller.key.expose()));
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.unwrap_or_default()))
            .map_err(|_invalid| "the key has characters that cannot be sent".to_owned())?;
        bearer.set_sensitive(true);
        let gateway = Self { fetcher: Fetcher::new(None), base, bearer };
        gateway.request(Method::GET, "/livez", None)?;
        Ok(gateway)
    }

    /// Looks at it: whether it answers, takes the key, and streams.
    ///
    /// # Errors
    /// A path beside the URL is no URL.
    pub(super) async fn examine(
        &self,
        wish: Wish<'_>,
        settings: &Settings,
        turns: &Turns,
        report: &mut Report,
    ) -> Result<(), String> {
        report.tell_gateway(self.base.clone());
        if !self.answers(turns, report).await? {
            return Ok(());
        }
        let Some(models) = self.takes_the_key(turns, report).await? else { return Ok(()) };
        match streaming_model(wish, settings, &models) {
            Ok(model) => self.streams(&model, turns, report).await?,
            Err(reason) => report.tell(Finding::new(Severity::Note, &self.base, reason)),
        }
        Ok(())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
    ) -> Result<Request<Vec<Bytes>>, String> {
        let address = format!("{}{path}", self.base).parse().ok().and_then(Address::at);
        let address = address.filter(|address| matches!(address.uri.scheme_str(), Some("http" | "https")));
        let Address { uri, host } = address.ok_or_else(|| format!("{} is no URL of a gateway", self.base))?;
        let mut request = Request::new(json.map(|json| Bytes::from(json.to_string())).into_iter().collect());
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(AUTHORIZATION, self.bearer.clone());
        headers.insert(ACCEPT_ENCODING, CODINGS);
        if json.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    fn tell(&self, report: &mut Report, told: String) {
        report.tell(Finding::new(Severity::Error, &self.base, told));
    }

    /// Whether anybody answers there, and is the one that clients should ask.
    async fn answers(&self, turns: &Turns, report: &mut Report) -> Result<bool, String> {
        let request = self.request(Method::GET, "/livez", None)?;
        let fault = match turns.take(self.fetcher.open(request)).await {
            None => turns.silence(),
            Some((Err(reason), _)) => reason,
            Some((Ok(answer), took)) => match fault_of(&answer) {
                Some(fault) => fault,
                None => {
                    let tls = if self.base.starts_with("https") { ", over TLS that is trusted" } else { "" };
                    report.tell_gateway(format!("  answers in {} ms{tls}", took.as_millis()));
                    return Ok(true);
                }
            },
        };
        self.tell(report, fault);
        Ok(false)
    }

    /// The models that the key may use; none where it may not use any.
    async fn takes_the_key(&self, turns: &Turns, report: &mut Report) -> Result<Option<Vec<String>>, String> {
        let request = self.request(Method::GET, "/v1/models", None)?;
        let asking = async {
            let answer = self.fetcher.open(request).await?;
            let is_ours = answer.headers().contains_key(REQUEST_ID);
            let fault = fault_of(&answer);
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let body = body.map_err(|_broken| "the list of models broke off".to_owned())?.to_bytes();
            Ok::<_, String>((fault, is_ours, body))
        };
        let fault = match turns.take(asking).await {
            None => turns.silence(),
            Some((Err(reason), _)) => reason,
            Some((Ok((Some(fault), ..)), _)) => fault,
            Some((Ok((None, is_ours, body)), took)) => {
                let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
                let Some(list) = answer["data"].as_array() else {
                    self.tell(report, "its /v1/models is no list of models".to_owned());
                    return Ok(None);
                };
                let models: Vec<String> =
                    list.iter().filter_map(|model| Some(model["id"].as_str()?.to_owned())).collect();
                report.tell_gateway(format!(
                    "  takes the key and lists its {} models in {} ms",
                    models.len(),
                    took.as_millis()
                ));
                if !is_ours {
                    let told = format!(
                        "its answers have no {REQUEST_ID}: something else answers, or a proxy takes headers away"
                    );
                    report.tell(Finding::new(Severity::Warning, &self.base, told));
                }
                return Ok(Some(models));
            }
        };
        self.tell(report, fault);
        Ok(None)
    }

    /// Whether a stream arrives piece by piece.
    async fn streams(&self, model: &str, turns: &Turns, report: &mut Report) -> Result<(), String> {
        let question = json!({
            "model": model,
            "stream": true,
            "max_tokens": 100,
            "messages": [{ "role": "user", "content": "Count from 1 to 40 in digits, with spaces." }],
        });
        let request = self.request(Method::POST, "/v1/chat/completions", Some(&question))?;
        let deadline = Instant::now() + turns.limit;
        let arrived = match tokio::time::timeout_at(deadline, self.fetcher.open(request)).await {
            Err(_elapsed) => Err(turns.silence()),
            Ok(Err(reason)) => Err(reason),
            Ok(Ok(answer)) => match fault_of(&answer) {
                Some(fault) => Err(fault),
                None => arrive(answer, deadline).await,
            },
        };
        match arrived.and_then(|arrived| arrived.verdict()) {
            Ok(told) => report.tell_gateway(format!("  streams {model}: {told}")),
            Err(fault) => self.tell(report, format!("a stream of {model}: {fault}")),
        }
        Ok(())
    }
}

/// What is wrong with the head of an answer.
fn fault_of(answer: &Response<UpstreamBody>) -> Option<String> {
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return Some(format!(
            "answered {}: clients have to be given the address that it redirects to, {to}",
            status.as_u16()
        ));
    }
    match status {
        StatusCode::OK => None,
        StatusCode::UNAUTHORIZED => {
            Some("answered 401: it does not know the key; name another with --key".to_owned())
        }
        status => Some(format!("answered {}", status.as_u16())),
    }
}

/// A stream as it arrived.
#[derive(Debug, Default)]
struct Arrived {
    kind: String,
    coding: Option<String>,
    events: usize,
    pieces: usize,
    /// From the first piece to the last.
    spread: Duration,
    /// Until the first one.
    first: Duration,
    is_done: bool,
    /// The time was over before it was.
    is_late: bool,
}

/// Reads a stream to its end, or until the time is over.
async fn arrive(answer: Response<UpstreamBody>, deadline: Instant) -> Result<Arrived, String> {
    let began = Instant::now();
    let (head, mut body) = answer.into_parts();
    let text = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned)
    };
    let mut arrived = Arrived {
        kind: text(&head.headers, CONTENT_TYPE).unwrap_or_default(),
        coding: text(&head.headers, CONTENT_ENCODING).filter(|coding| coding != "identity"),
        ..Arrived::default()
    };
    let mut tail = Vec::new();
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_elapsed) => {
                arrived.is_late = true;
                return Ok(arrived);
            }
            Ok(None) => return Ok(arrived),
            Ok(Some(Err(_broken))) => return Err(format!("it broke off after {} events", arrived.events)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if arrived.pieces == 0 {
            arrived.first = began.elapsed();
        }
        arrived.pieces += 1;
        arrived.spread = began.elapsed() - arrived.first;
        tail.extend_from_slice(&data);
        arrived.events += tail.windows(6).filter(|window| window == b"\ndata:").count()
            + usize::from(tail.starts_with(b"data:"));
        arrived.is_done |= tail.windows(6).any(|window| window == b"[DONE]");
        // What a mark may be cut in stays, and is too short to be one.
        tail.drain(..tail.len().saturating_sub(5));
    }
}

impl Arrived {
    /// What a person is told of it.
    fn verdict(&self) -> Result<String, String> {
        let Self { kind, coding, events, pieces, spread, first, is_done, is_late } = self;
        if !kind.starts_with("text/event-stream") {
            return Err(format!("the answer is no stream but {kind:?}"));
        }
        if let Some(coding) = coding {
            return Err(format!(
                "something on the way compresses it ({coding}), which collects what should arrive at once"
            ));
        }
        if *events >= 3 && *spread < SHORTEST_STREAM && !is_late {
            return Err(format!(
                "all {events} events arrive at once after {} ms: something on the way collects them (at nginx: proxy_buffering off)",
                first.as_millis()
            ));
        }
        if *is_late && *events == 0 {
            return Err("nothing of it came in time".to_owned());
        }
        if !is_done && !is_late {
            return Err("it ends before its end".to_owned());
        }
        Ok(format!("{events} events in {pieces} pieces over {} ms", spread.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Arrived {
        Arrived {
            kind: "text/event-stream".to_owned(),
            events: 9,
            pieces: 9,
            spread: Duration::from_millis(270),
            is_done: true,
            ..Arrived::default()
        }
    }

    #[test]
    fn a_stream_is_well_when_it_arrives_over_time_to_its_end() {
        assert_eq!(fine().verdict().unwrap(), "9 events in 9 pieces over 270 ms");
        assert!(Arrived { is_done: false, is_late: true, ..fine() }.verdict().is_ok(), "a long one");
        for (broken, told) in [
            (Arrived { spread: Duration::from_millis(1), ..fine() }, "arrive at once"),
            (Arrived { coding: Some("gzip".to_owned()), ..fine() }, "compresses it (gzip)"),
            (Arrived { is_done: false, ..fine() }, "ends before its end"),
            (Arrived { kind: "text/html".to_owned(), ..fine() }, "no stream but \"text/html\""),
            (Arrived { is_late: true, events: 0, ..fine() }, "nothing of it came"),
        ] {
            assert!(broken.verdict().unwrap_err().contains(told), "{broken:?}");
        }
    }

    #[test]
    fn a_stream_that_costs_money_is_tried_only_when_it_may() {
        let settings = crate::config::testing::settings(
            "providers:
  - {provider: a, base_url: 'https://a.test/v1', api: k, model: [dear, both]}
  - {provider: b, engine: mock, model: [free, both]}
api_keys: [{api: sk-1}]
",
        );
        let of = |models: &[&str], model, paid| {
            let models: Vec<String> = models.iter().map(|name| (*name).to_owned()).collect();
            streaming_model(Wish { model, paid }, &settings, &models)
        };

        assert_eq!(of(&["dear", "both", "free"], None, false), Ok("free".to_owned()));
        assert_eq!(of(&["dear", "text-embedding"], None, true), Ok("dear".to_owned()));
        assert_eq!(of(&["dear"], Some("dear"), true), Ok("dear".to_owned()));
        for (models, model) in [(&["dear", "both"][..], None), (&["both"], Some("both")), (&["x"], Some("x"))]
        {
            assert!(of(models, model, false).unwrap_err().contains("--paid"), "{models:?}");
        }
    }
}
