use std::convert::Infallible;

use super::*;
use crate::testing::{Scripted, mount};

fn request(id: &str) -> http::Request<()> {
    http::Request::builder().header(X_REQUEST_ID, id).body(()).unwrap()
}

#[test]
fn a_short_printable_id_is_kept() {
    assert_eq!(RequestId::of(&request("trace-7/a")).as_str(), "trace-7/a");
}

#[test]
fn an_id_with_spaces_or_of_great_length_is_replaced() {
    for bad in ["a b", &"x".repeat(LONGEST + 1), ""] {
        let id = RequestId::of(&request(bad));
        assert_eq!(id.as_str().len(), 16, "{bad:?} became {id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_and_every_answer_carry_the_client_s_id() {
    let inner = Scripted::<_, _, Infallible>::new().answers(http::Response::new(()));

    let answer = mount(SetRequestIdLayer, &inner).ask(request("trace-7")).await.unwrap();

    assert_eq!(answer.headers()[X_REQUEST_ID], "trace-7");
    assert_eq!(inner.request().extensions().get::<RequestId>().map(RequestId::as_str), Some("trace-7"));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_id_is_given_one_of_its_own() {
    let answers = || http::Response::new(());
    let inner = Scripted::<_, _, Infallible>::new().answers(answers()).answers(answers());
    let mut named = mount(SetRequestIdLayer, &inner);
    let mut ids = Vec::new();

    for _ in 0..2 {
        let answer = named.ask(http::Request::new(())).await.unwrap();
        ids.push(answer.headers()[X_REQUEST_ID].to_str().unwrap().to_owned());
    }

    assert!(
        ids.iter().all(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{ids:?}"
    );
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_answer_came_with_is_replaced() {
    let answer = http::Response::builder().header(X_REQUEST_ID, "upstream's").body(()).unwrap();
    let inner = Scripted::<_, _, Infallible>::new().answers(answer);

    let answer = mount(SetRequestIdLayer, &inner).ask(request("mine")).await.unwrap();

    assert_eq!(answer.headers().get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), ["mine"]);
}
