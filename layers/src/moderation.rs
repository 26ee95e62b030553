//! Has texts judged by a moderation model before any chat provider sees them: `ENABLE_MODERATION`.
//!
//! After `rate_limit`, so that refused requests cost nothing upstream, and before `resolve`, so
//! that the question itself is an exchange of the same caller for the same inner stack: routed,
//! failed over, timed and cooled like any other, under the caller's permissions, and never
//! moderated itself. Its attempts and what it cost are kept in the record of the request that it
//! is for; it counts in no window.
//!
//! Looked at is every text since the last answer (`dialect` finds them), in pieces of up to 32,000
//! characters, a few of them asked about at once. It fails closed: without a verdict about every
//! piece nothing goes on. Returns [`Failure::Flagged`], [`Failure::ModerationUnavailable`] when
//! the caller has no channel for the model, [`Failure::ModerationFailed`] when none of them gave a
//! verdict. Where it is off the layer is one comparison.

use std::future::poll_fn;
use std::task::{Context, Poll};

use dialect::{Body, Kind, ModelPlace};
use tower::{Layer, Service, ServiceExt};

use crate::capacity::Held;
use crate::endpoint::MODERATIONS;
use crate::failure::Failure;
use crate::heavy::heavy;
use crate::ledger::Ledger;
use crate::ports::BoxFuture;
use crate::reply::Reply;
use crate::shortcut::Shortcut;
use crate::stage::{Exchange, Peek};

/// The model that is asked: the name under which a channel must offer it.
pub const MODEL: &str = "omni-moderation-latest";
/// Most characters in one question.
const LONGEST: usize = 32_000;
/// Where a text must be cut, it is cut behind white space if there is any among so many
/// characters.
const SLACK: usize = 1_000;
/// Most questions at once.
const AT_ONCE: usize = 4;

/// Mounts [`Moderation`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ModerationLayer;

/// The service of [`ModerationLayer`].
#[derive(Debug, Clone)]
pub struct Moderation<S> {
    inner: S,
}

// === impl ModerationLayer ===

impl<S> Layer<S> for ModerationLayer {
    type Service = Moderation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Moderation { inner }
    }
}

// === impl Moderation ===

impl<S> Service<Exchange> for Moderation<S>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = Shortcut<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        if !exchange.caller.moderation || exchange.endpoint.kind == Kind::Moderate {
            return Shortcut::inner(self.inner.call(exchange));
        }
        let spare = self.inner.clone();
        let judges = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Shortcut::waiting(async move {
            let (text, _held) = text(&exchange).await?;
            if is_flagged(judges, &exchange, &text).await? {
                exchange.ledger.entry().flagged = true;
                return Err(Failure::Flagged);
            }
            drop(text);
            inner.call(exchange).await
        })
    }
}

/// The texts to be judged, one below the other, and the room that they take.
async fn text(exchange: &Exchange) -> Result<(String, Held), Failure> {
    let dialect = exchange.dialect();
    let body = exchange.body.clone();
    let text = heavy(body.len(), move || match &body {
        Body::Json(body) => dialect.fresh_texts(body).map(|texts| texts.join("\n")),
        Body::Form(form) => Ok(form.texts().join("\n")),
        Body::Empty => Ok(String::new()),
    })
    .await?
    .map_err(|malformed| Failure::invalid(malformed.message, None))?;
    let mut held = exchange.held.another();
    held.grow(text.len())?;
    Ok((text, held))
}

/// Whether any piece of the text is flagged. The first flag or failure ends all other questions.
async fn is_flagged<S>(judges: S, exchange: &Exchange, text: &str) -> Result<bool, Failure>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut pieces = pieces(text);
    let mut asked: Vec<BoxFuture<Result<bool, Failure>>> = Vec::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some(piece) = pieces.next()
        {
            let record = exchange.ledger.clone();
            asked.push(Box::pin(ask(judges.clone(), question(exchange, piece)?, record)));
        }
        if asked.is_empty() {
            return Ok(false);
        }
        let verdict = poll_fn(|cx| {
            for at in 0..asked.len() {
                if let Poll::Ready(verdict) = asked[at].as_mut().poll(cx) {
                    drop(asked.swap_remove(at));
                    return Poll::Ready(verdict);
                }
            }
            Poll::Pending
        });
        if verdict.await? {
            return Ok(true);
        }
    }
}

/// Cuts a text into pieces that fit one question each, between words where it can.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().nth(LONGEST).map_or(rest.len(), |(end, _)| {
            let mut tail = rest[..end].char_indices().rev().take(SLACK);
            tail.find(|(_, c)| c.is_whitespace()).map_or(end, |(at, c)| at + c.len_utf8())
        });
        let (piece, more) = rest.split_at(end);
        rest = more;
        Some(piece)
    })
}

/// The exchange that asks about one piece of an exchange's text.
fn question(of: &Exchange, piece: &str) -> Result<Exchange, Failure> {
    let known = of.catalog.known_model(MODEL);
    let model_known = known.is_some();
    let model = known.unwrap_or_else(|| MODEL.into());
    let (body, span) = dialect::moderation::request(&model, piece);
    let mut held = of.held.another();
    held.grow(body.len())?;
    let peek = Peek { model, model_place: ModelPlace::Json(span), stream: false, stream_options: false };
    Ok(of.side_call(&MODERATIONS, body, peek, model_known, held))
}

/// Asks, and reads the verdict. What comes of it is added to `record`.
async fn ask<S>(mut judge: S, question: Exchange, record: Ledger) -> Result<bool, Failure>
where
    S: Service<Exchange, Response = Reply, Error = Failure>,
{
    let ledger = question.ledger.clone();
    // Outlives the call, also when both are dropped because the client left.
    let _absorbing = Absorbing { record, call: ledger.clone() };
    let reply = judge.ready().await?.call(question).await.map_err(unmoderated)?;
    // `convert` accepts nothing without a verdict; an answer too long to be held has none either.
    let piece = reply.body().as_whole();
    if let Some(usage) = piece.and_then(|piece| piece.sighting.detail.as_ref()?.usage) {
        ledger.entry().usage = Some(usage);
    }
    piece.and_then(|piece| dialect::moderation::is_flagged(&piece.bytes)).ok_or_else(|| no_verdict(&ledger))
}

/// Adds the record of a call to that of the request that it was made for, when dropped.
struct Absorbing {
    record: Ledger,
    call: Ledger,
}

impl Drop for Absorbing {
    fn drop(&mut self) {
        let call = self.call.entry().take();
        self.record.entry().absorb(call);
    }
}

/// What a failure of the question means for the request.
fn unmoderated(failure: Failure) -> Failure {
    match failure {
        Failure::ModelNotFound { .. } => Failure::ModerationUnavailable { model: MODEL },
        // Both are about the gateway's own state and say when to come back.
        failure @ (Failure::ModelsPending { .. } | Failure::Overloaded) => failure,
        failure => Failure::ModerationFailed(Box::new(failure)),
    }
}

fn no_verdict(ledger: &Ledger) -> Failure {
    let target = ledger.entry().target.clone();
    unmoderated(match target {
        Some(target) => Failure::Garbled {
            channel: target.channel.name.clone(),
            detail: "it holds no verdict".to_owned(),
        },
        None => Failure::NoChannel,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use bytes::Bytes;
    use dialect::Sighting;
    use http::HeaderName;
    use tokio::time::Instant;

    use super::*;
    use crate::capacity::Capacity;
    use crate::endpoint::CHAT_COMPLETIONS;
    use crate::failure::TransportKind;
    use crate::ledger::Entry;
    use crate::policy::{Caller, ChannelName, Fingerprint, Retries, Role, Triggers};
    use crate::ports::{Catalog, Limits, Route};
    use crate::reply::ReplyBody;
    use crate::request_id::RequestId;
    use crate::stage::Purpose;

    struct Bare;

    impl Catalog for Bare {
        fn route(&self, _: &Caller, _: &str) -> Result<Arc<dyn Route>, Failure> {
            unreachable!("routes are below this layer")
        }
        fn limits(&self, _: &Caller, _: &str) -> Limits {
            unreachable!("limits are above this layer")
        }
        fn triggers(&self) -> &Triggers {
            unreachable!("triggers are below this layer")
        }
        fn known_model(&self, model: &str) -> Option<Arc<str>> {
            (model == MODEL).then(|| model.into())
        }
        fn forwards(&self, _: &HeaderName) -> bool {
            false
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    /// A request that says `text`, of a caller that is moderated or not.
    fn saying(text: &str, moderation: bool) -> Exchange {
        let caller = Arc::new(Caller {
            alias: "caller".into(),
            fingerprint: Fingerprint::new("0123456789abcdef"),
            role: Role::User,
            retries: Retries::Budget,
            moderation,
            credits: None,
            expose_route: false,
            ordinal: 0,
        });
        let body = serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
        let (id, received) = (RequestId::draw(), Instant::now());
        Exchange {
            catalog: Arc::new(Bare),
            caller: caller.clone(),
            purpose: Purpose::Client,
            endpoint: &CHAT_COMPLETIONS,
            stored_id: None,
            headers: http::HeaderMap::new(),
            body: Body::Json(body.to_string().into()),
            peek: Peek {
                model: "m".into(),
                model_place: ModelPlace::Json(9..12),
                stream: true,
                stream_options: false,
            },
            ledger: Ledger::open(Entry::new(id.clone(), &CHAT_COMPLETIONS, caller, "m".into(), received)),
            received,
            id,
            held: Held::default(),
            neutral: std::sync::OnceLock::new(),
        }
    }

    fn verdict(flagged: bool) -> Reply {
        let body = serde_json::json!({ "results": [{ "flagged": flagged }] }).to_string();
        Reply::new(ReplyBody::whole(body.into(), Sighting::default()))
    }

    /// What the layer asked the stack below it.
    #[derive(Clone, Default)]
    struct Below {
        questions: Arc<Mutex<Vec<String>>>,
        chats: Arc<AtomicUsize>,
        now: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl Below {
        /// Runs a request over a stack that answers questions with `judge`.
        async fn run(
            &self,
            exchange: Exchange,
            judge: impl Fn(&str) -> Result<Reply, Failure> + Clone + Send + 'static,
        ) -> Result<Reply, Failure> {
            let below = self.clone();
            let inner = tower::service_fn(move |exchange: Exchange| {
                let (below, judge) = (below.clone(), judge.clone());
                async move {
                    if exchange.endpoint == &CHAT_COMPLETIONS {
                        below.chats.fetch_add(1, SeqCst);
                        return Ok(Reply::new(ReplyBody::default()));
                    }
                    assert!(!exchange.peek.stream && exchange.purpose == Purpose::SideCall);
                    let ModelPlace::Json(span) = exchange.peek.model_place.clone() else { panic!() };
                    let body = exchange.body.json().unwrap();
                    assert_eq!(&body[span], format!("{MODEL:?}").as_bytes());
                    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
                    let input = body["input"].as_str().unwrap().to_owned();
                    below.most.fetch_max(below.now.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    below.now.fetch_sub(1, SeqCst);
                    below.questions.lock().unwrap().push(input.clone());
                    judge(&input)
                }
            });
            ModerationLayer.layer(inner).ready().await.unwrap().call(exchange).await
        }

        fn questions(&self) -> Vec<String> {
            self.questions.lock().unwrap().clone()
        }

        fn chats(&self) -> usize {
            self.chats.load(SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_without_moderation_is_not_asked_about() {
        let below = Below::default();

        below.run(saying("bad", false), |_| Ok(verdict(true))).await.unwrap();

        assert_eq!((below.questions().len(), below.chats()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_moderation_request_is_not_moderated() {
        let below = Below::default();
        let (body, span) = dialect::moderation::request(MODEL, "hello");
        let mut exchange = saying("", true);
        exchange.endpoint = &MODERATIONS;
        exchange.purpose = Purpose::SideCall;
        exchange.peek = Peek { model_place: ModelPlace::Json(span), stream: false, ..exchange.peek };
        exchange.body = Body::Json(body);

        below.run(exchange, |_| Ok(verdict(false))).await.unwrap();

        assert_eq!(below.questions(), ["hello"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clean_text_goes_on_after_one_question() {
        let below = Below::default();

        below.run(saying("hello", true), |_| Ok(verdict(false))).await.unwrap();

        assert_eq!((below.questions(), below.chats()), (vec!["hello".to_owned()], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flagged_text_ends_there_and_is_recorded_as_flagged() {
        let below = Below::default();
        let exchange = saying("bad", true);
        let ledger = exchange.ledger.clone();

        let failure = below.run(exchange, |text| Ok(verdict(text == "bad"))).await.unwrap_err();

        assert!(matches!(failure, Failure::Flagged), "{failure:?}");
        assert!(ledger.entry().flagged);
        assert_eq!(below.chats(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_where_there_is_no_text() {
        let below = Below::default();

        below.run(saying(" ", true), |_| Ok(verdict(true))).await.unwrap();

        assert_eq!((below.questions().len(), below.chats()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_text_is_asked_about_in_pieces_of_which_few_are_under_way_at_once() {
        let below = Below::default();
        let text = "é".repeat(LONGEST * 9 + 5);

        below.run(saying(&text, true), |_| Ok(verdict(false))).await.unwrap();

        let lengths: Vec<usize> = below.questions().iter().map(|text| text.chars().count()).collect();
        assert_eq!(lengths.iter().sum::<usize>(), LONGEST * 9 + 5);
        assert!(lengths.len() == 10 && lengths.iter().all(|length| *length <= LONGEST), "{lengths:?}");
        assert_eq!((below.most.load(SeqCst), below.chats()), (AT_ONCE, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_flagged_piece_ends_all_questions() {
        let below = Below::default();
        let text = "a".repeat(LONGEST * 9) + "bad";

        let failure = below.run(saying(&text, true), |_| Ok(verdict(true))).await.unwrap_err();

        assert!(matches!(failure, Failure::Flagged), "{failure:?}");
        assert_eq!((below.questions().len(), below.chats()), (1, 0));
    }

    #[test]
    fn a_text_is_cut_between_words_and_loses_nothing() {
        let text = "word ".repeat(LONGEST / 2);

        let cut: Vec<&str> = pieces(&text).collect();

        assert_eq!(cut.concat(), text);
        assert!(cut.iter().all(|piece| piece.ends_with(' ') && piece.chars().count() <= LONGEST));
        assert_eq!(pieces("").count(), 0);
        assert_eq!(pieces(&"x".repeat(LONGEST)).count(), 1);
        assert_eq!(pieces(&"x".repeat(LONGEST + 1)).map(str::len).collect::<Vec<_>>(), [LONGEST, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_verdict_nothing_goes_on() {
        let transport =
            || Failure::Transport { channel: ChannelName::from("judge"), kind: TransportKind::Broken };
        let unread = |body: &'static str| Reply::new(ReplyBody::from(Bytes::from_static(body.as_bytes())));
        let missing = || Failure::ModelNotFound { model: MODEL.to_owned() };
        type Judge = Box<dyn Fn() -> Result<Reply, Failure> + Send + Sync>;
        let cases: [(Judge, &str, u16); 6] = [
            (Box::new(move || Err(transport())), "moderation_failed", 502),
            (Box::new(|| Err(Failure::NoChannel)), "moderation_failed", 503),
            (Box::new(|| Err(Failure::invalid("bad", None))), "moderation_failed", 502),
            (Box::new(move || Ok(unread("{}"))), "moderation_failed", 503),
            (Box::new(move || Err(missing())), "moderation_unavailable", 404),
            (Box::new(|| Err(Failure::Overloaded)), "overloaded", 503),
        ];
        for (judge, label, status) in cases {
            let (below, judge) = (Below::default(), Arc::new(judge));

            let failure = below.run(saying("hello", true), move |_| judge()).await.unwrap_err();

            assert_eq!((failure.label(), failure.status().as_u16(), below.chats()), (label, status, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_whose_texts_cannot_be_found_goes_nowhere() {
        let below = Below::default();
        let mut exchange = saying("hello", true);
        exchange.body = Body::Json(Bytes::from_static(br#"{"model":"m","messages":[7]}"#));

        let failure = below.run(exchange, |_| Ok(verdict(false))).await.unwrap_err();

        assert_eq!((failure.status().as_u16(), below.chats()), (400, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_question_recorded_is_in_the_record_of_the_request() {
        let below = Below::default();
        let exchange = saying("hello", true);
        let ledger = exchange.ledger.clone();
        let usage = dialect::ir::Usage { input_total: 3, ..Default::default() };
        let judge = move |_: &str| {
            let mut sighting = Sighting::default();
            sighting.detail.get_or_insert_default().usage = Some(usage);
            Ok(Reply::new(ReplyBody::whole(
                Bytes::from_static(br#"{"results":[{"flagged":false}]}"#),
                sighting,
            )))
        };

        below.run(exchange, judge).await.unwrap();

        let entry = ledger.entry();
        assert_eq!(entry.side_calls, [(Arc::<str>::from(MODEL), usage)]);
        assert!(entry.usage.is_none() && !entry.flagged);
    }

    #[tokio::test(start_paused = true)]
    async fn the_room_for_the_texts_is_asked_for_and_given_back() {
        let capacity = Capacity::new(1, 100);
        let sized = |length: usize| {
            let mut exchange = saying(&"x".repeat(length), true);
            exchange.held = capacity.hold();
            exchange
        };
        let below = Below::default();

        below.run(sized(20), |_| Ok(verdict(false))).await.unwrap();
        let failure = below.run(sized(101), |_| Ok(verdict(false))).await.unwrap_err();

        assert!(matches!(failure, Failure::Overloaded), "{failure:?}");
        assert_eq!(capacity.bytes(), 0);
    }
}
