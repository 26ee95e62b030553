use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use layers::ports::{Credential, Outgoing};

use super::*;

/// An issuer that gives its answers in order, each after a second.
struct Script {
    answers: Mutex<VecDeque<Result<Token, NoToken>>>,
    issued: Mutex<Vec<Instant>>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Result<Token, NoToken>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), issued: Mutex::default() })
    }

    /// Seconds after `began` at which it was asked.
    fn asked(&self, began: Instant) -> Vec<u64> {
        self.issued.lock().unwrap().iter().map(|at| (*at - began).as_secs()).collect()
    }
}

#[async_trait]
impl Issuer for Script {
    fn account(&self) -> Fingerprint {
        Fingerprint::new("account")
    }

    async fn issue(&self, _: &dyn SideClient) -> Result<Token, NoToken> {
        self.issued.lock().unwrap().push(Instant::now());
        let answer = self.answers.lock().unwrap().pop_front().expect("it is asked for no more");
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer
    }
}

fn token(text: &str) -> Result<Token, NoToken> {
    Ok(Token { text: text.to_owned(), expires_in: Duration::from_secs(3600) })
}

fn fault(why: &str) -> Result<Token, NoToken> {
    Err(NoToken { why: why.to_owned(), is_of_account: true })
}

/// A client that nobody asks.
struct NoClient;

#[async_trait]
impl SideClient for NoClient {
    async fn ask(&self, _: Outgoing) -> Result<(StatusCode, Bytes), String> {
        Err("nobody answers".to_owned())
    }
}

/// A store whose task runs, and the account of this issuer in it.
fn running(issuer: &Arc<Script>) -> (Arc<TokenStore>, Arc<dyn Tokens>) {
    let store = Arc::new(TokenStore::default());
    tokio::spawn(store.clone().renew(Arc::new(NoClient)));
    let account = store.account(issuer.clone());
    (store, account)
}

async fn text(tokens: &Arc<dyn Tokens>) -> String {
    match tokens.current().resolve().await {
        Ok(secret) => secret.expose().to_owned(),
        Err(failure) => failure.to_string(),
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_wait_for_one_fetch() {
    let (began, issuer) = (Instant::now(), Script::of([token("one")]));
    let (_store, tokens) = running(&issuer);

    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let tokens = tokens.clone();
        waiting.spawn(async move { text(&tokens).await });
    }

    assert_eq!(waiting.join_all().await, vec!["one"; 100]);
    assert_eq!(issuer.asked(began), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_takes_no_fetch_along() {
    let (began, issuer) = (Instant::now(), Script::of([token("one")]));
    let (_store, tokens) = running(&issuer);
    let first = tokio::time::timeout(Duration::from_millis(500), tokens.current().resolve());

    assert!(first.await.is_err(), "the first request leaves before its token comes");

    assert_eq!(text(&tokens).await, "one");
    assert_eq!((issuer.asked(began), began.elapsed().as_secs()), (vec![0], 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_used_is_renewed_ahead_of_its_end_and_nobody_waits() {
    let (began, issuer) = (Instant::now(), Script::of([token("one"), token("two")]));
    let (_store, tokens) = running(&issuer);
    assert_eq!(text(&tokens).await, "one");

    pass(3301).await;

    assert_eq!(issuer.asked(began), [0, 3301]);
    assert!(matches!(tokens.current(), Verdict::Ready(Ok(secret)) if secret.expose() == "one"));
    pass(1).await;
    assert!(matches!(tokens.current(), Verdict::Ready(Ok(secret)) if secret.expose() == "two"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_uses_lapses_and_is_fetched_when_it_is_asked_for() {
    let (began, issuer) = (Instant::now(), Script::of([token("one"), token("two"), token("three")]));
    let (_store, tokens) = running(&issuer);
    assert_eq!(text(&tokens).await, "one");

    pass(100_000).await;

    assert_eq!(issuer.asked(began).len(), 2, "one renewal for the request, none for nobody");
    assert_eq!(text(&tokens).await, "three");
}

#[tokio::test(start_paused = true)]
async fn a_late_request_renews_a_token_that_is_about_to_lapse() {
    let issuer = Script::of([token("one"), token("two"), token("three")]);
    let (_store, tokens) = running(&issuer);
    assert_eq!(text(&tokens).await, "one");
    // The renewal that the first request earned, and the time of the next one, which nobody earned.
    pass(3302 + 3400).await;

    assert!(matches!(tokens.current(), Verdict::Ready(Ok(secret)) if secret.expose() == "two"));

    pass(2).await;
    assert!(matches!(tokens.current(), Verdict::Ready(Ok(secret)) if secret.expose() == "three"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once_however_many_say_so() {
    let issuer = Script::of([token("one"), token("two")]);
    let (_store, tokens) = running(&issuer);
    let Ok(used) = tokens.current().resolve().await else { panic!("no token") };

    tokens.refused(&used);
    tokens.refused(&used);
    let second = tokens.current().resolve().await.unwrap();
    tokens.refused(&used);
    tokens.refused(&second);

    assert_eq!(text(&tokens).await, "two", "a token that was fetched just now is not to blame");
    assert_eq!(issuer.issued.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_fails_is_left_alone_for_longer_and_longer_and_recovers() {
    let (began, issuer) = (Instant::now(), Script::of([fault("down"), fault("down"), token("one")]));
    let (_store, tokens) = running(&issuer);

    let failure = tokens.current().resolve().await.unwrap_err();
    assert_eq!((failure.label(), failure.to_string().contains("down")), ("no_token", true));
    assert!(matches!(tokens.current(), Verdict::Ready(Err(_))), "it is told at once while it backs off");
    pass(1).await;
    assert!(text(&tokens).await.contains("down"));
    pass(1).await;
    assert!(matches!(tokens.current(), Verdict::Ready(Err(_))), "the second pause is longer");
    pass(1).await;

    assert_eq!(text(&tokens).await, "one");
    assert_eq!(issuer.asked(began), [0, 2, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_while_the_old_token_serves() {
    let (began, issuer) = (Instant::now(), Script::of([token("one"), fault("down"), token("two")]));
    let (_store, tokens) = running(&issuer);
    assert_eq!(text(&tokens).await, "one");
    pass(3302).await;

    assert_eq!(text(&tokens).await, "one");

    pass(5).await;
    assert_eq!((text(&tokens).await, issuer.asked(began)), ("two".to_owned(), vec![0, 3301, 3303]));
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_a_request_waits_no_longer_than_it_has_patience() {
    let tokens = TokenStore::default().account(Script::of([]));
    let began = Instant::now();

    let failure = text(&tokens).await;

    assert_eq!(began.elapsed(), PATIENCE);
    assert!(failure.contains("20 s"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_reload_finds_the_token_again_and_pruning_forgets_what_no_pool_holds() {
    let issuer = Script::of([token("one")]);
    let (store, tokens) = running(&issuer);
    assert_eq!(text(&tokens).await, "one");

    let again = store.account(Script::of([]));
    assert!(Credential::Token(again.clone()) == Credential::Token(tokens.clone()));
    assert!(matches!(again.current(), Verdict::Ready(Ok(_))));
    drop(tokens);
    store.prune();
    assert_eq!(store.len(), 1);
    drop(again);
    store.prune();
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_secret_as_long_as_a_request_may_carry_it() {
    let issuer = Script::of([token("one"), token("two")]);
    let (_store, tokens) = running(&issuer);
    let used = tokens.current().resolve().await.unwrap();
    tokens.refused(&used);
    text(&tokens).await;

    let known: Vec<String> = tokens.known().iter().map(|secret| secret.expose().to_owned()).collect();

    assert_eq!(known, ["two", "one"]);
    assert!(!format!("{used:?}").contains("one"));
}
