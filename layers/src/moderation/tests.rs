use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dialect::Sighting;

use super::*;
use crate::capacity::Capacity;
use crate::reply::ReplyBody;
use crate::testing::failures::broken;
use crate::testing::reply::{counted, whole_seen};
use crate::testing::stage::{ExchangeBuilder, asked, judged_text};
use crate::testing::{caller, catalog, exchange, mount};

/// A request that says `text`, of a caller that is moderated or not.
fn asking(text: &str, moderation: bool) -> ExchangeBuilder {
    let caller = if moderation { caller().moderated() } else { caller() };
    exchange().stream().saying(text).caller(caller.build()).catalog(catalog().knows(MODEL).build())
}

/// The same, built.
fn saying(text: &str, moderation: bool) -> Exchange {
    asking(text, moderation).build()
}

fn verdict(flagged: bool) -> Reply {
    let body = serde_json::json!({ "results": [{ "flagged": flagged }] }).to_string();
    whole_seen(&body, Sighting::default())
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
                let Some(input) = judged_text(&exchange) else {
                    below.chats.fetch_add(1, SeqCst);
                    return Ok(Reply::new(ReplyBody::default()));
                };
                assert_eq!(asked(&exchange), (MODEL, false, &*format!("{MODEL:?}")));
                assert!(exchange.purpose == crate::stage::Purpose::SideCall);
                below.most.fetch_max(below.now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                below.now.fetch_sub(1, SeqCst);
                below.questions.lock().unwrap().push(input.clone());
                judge(&input)
            }
        });
        mount(ModerationLayer, &inner).ask(exchange).await
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
    let exchange = exchange()
        .model(MODEL)
        .judging("hello")
        .side_call()
        .caller(caller().moderated().build())
        .catalog(catalog().knows(MODEL).build())
        .build();

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
    let unread = |body: &'static str| Reply::new(ReplyBody::from(Bytes::from_static(body.as_bytes())));
    let missing = || Failure::ModelNotFound { model: MODEL.to_owned() };
    type Judge = Box<dyn Fn() -> Result<Reply, Failure> + Send + Sync>;
    let cases: [(Judge, &str, u16); 6] = [
        (Box::new(|| Err(broken())), "moderation_failed", 502),
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
    let exchange = asking("hello", true).body(r#"{"model":"m","messages":[7]}"#).build();

    let failure = below.run(exchange, |_| Ok(verdict(false))).await.unwrap_err();

    assert_eq!((failure.status().as_u16(), below.chats()), (400, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_question_recorded_is_in_the_record_of_the_request() {
    let below = Below::default();
    let exchange = saying("hello", true);
    let ledger = exchange.ledger.clone();
    let usage = counted(3, 0).usage().unwrap();
    let judge = |_: &str| Ok(whole_seen(r#"{"results":[{"flagged":false}]}"#, counted(3, 0)));

    below.run(exchange, judge).await.unwrap();

    let entry = ledger.entry();
    assert_eq!(entry.side_calls, [(Arc::<str>::from(MODEL), usage)]);
    assert!(entry.usage.is_none() && !entry.flagged);
}

#[tokio::test(start_paused = true)]
async fn the_room_for_the_texts_is_asked_for_and_given_back() {
    let capacity = Capacity::new(1, 100);
    let sized = |length: usize| asking(&"x".repeat(length), true).within(&capacity).build();
    let below = Below::default();

    below.run(sized(20), |_| Ok(verdict(false))).await.unwrap();
    // Text and question do not fit together, and the text alone does not.
    for length in [45, 101] {
        let failure = below.run(sized(length), |_| Ok(verdict(false))).await.unwrap_err();

        assert!(matches!(failure, Failure::Overloaded), "{failure:?}");
    }

    assert_eq!(capacity.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_question_recorded_is_kept_when_the_client_leaves() {
    let exchange = asking("hello", true).build();
    let ledger = exchange.ledger.clone();
    let inner = tower::service_fn(|question: Exchange| async move {
        question.ledger.entry().waited = Duration::from_millis(5);
        std::future::pending::<Result<Reply, Failure>>().await
    });
    let answering = mount(ModerationLayer, &inner).start(exchange).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), answering).await.is_err());

    assert_eq!(ledger.entry().waited, Duration::from_millis(5));
}
