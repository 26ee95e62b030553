//! Connections that are kept, closed and found dead, against a server on loopback.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

/// A server that tells in its answers over which of its connections it was asked, by number.
struct Server {
    url: String,
    /// Connections that are open.
    open: watch::Receiver<usize>,
    /// Whoever asks now gets a reset.
    forgets: Arc<AtomicBool>,
    /// What is sent on all connections that are idle, unasked.
    unasked: Arc<watch::Sender<&'static str>>,
}

impl Server {
    async fn start(answer: fn(usize) -> String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/path?query", listener.local_addr().unwrap());
        let forgets = Arc::new(AtomicBool::new(false));
        let unasked = Arc::new(watch::Sender::new(""));
        let (opened, open) = watch::channel(0);
        let (forgetful, rude) = (forgets.clone(), unasked.clone());
        tokio::spawn(async move {
            let opened = Arc::new(opened);
            let number = AtomicUsize::new(0);
            while let Ok((peer, _)) = listener.accept().await {
                let number = number.fetch_add(1, Ordering::Relaxed);
                let (forgets, unasked, opened) = (forgetful.clone(), rude.subscribe(), opened.clone());
                opened.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    serve(peer, &answer(number), &forgets, unasked).await;
                    opened.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, open, forgets, unasked }
    }

    /// Waits until so many connections are open.
    async fn until_open(&mut self, count: usize) {
        self.open.wait_for(|open| *open == count).await.unwrap();
    }

    fn request(&self) -> Box<Request<Vec<Bytes>>> {
        let mut request = Box::new(Request::new(vec![Bytes::from_static(b"hi")]));
        *request.uri_mut() = self.url.parse().unwrap();
        request.headers_mut().insert("host", "h".parse().unwrap());
        *request.method_mut() = http::Method::POST;
        request
    }
}

async fn serve(
    mut peer: TcpStream,
    answer: &str,
    forgets: &AtomicBool,
    mut unasked: watch::Receiver<&'static str>,
) {
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            read = peer.read_buf(&mut seen) => match read {
                Ok(1..) if forgets.load(Ordering::Relaxed) => {
                    peer.set_zero_linger().unwrap();
                    return;
                }
                Ok(1..) if seen.ends_with(b"hi") => {
                    assert!(seen.starts_with(b"POST /path?query HTTP/1.1\r\n"), "the target is a path");
                    seen.clear();
                    if peer.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            },
            Ok(()) = unasked.changed() => {
                let text = *unasked.borrow_and_update();
                if text.is_empty() {
                    return;
                }
                // Whoever closes meanwhile is right to.
                let _sent = peer.write_all(text.as_bytes()).await;
            }
        }
    }
}

fn named(number: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{number:02}")
}

fn pool() -> Pool {
    Pool::new(Connector::new(None, false, None))
}

/// The number of the connection that answers.
async fn ask(pool: &Pool, server: &Server, fresh: Option<Instant>) -> Result<usize, Unanswered> {
    let answer = pool.send(server.request(), fresh).await?;
    let text = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    Ok(std::str::from_utf8(&text).unwrap().parse().unwrap())
}

/// Connections 0 to `count`, all of them idle.
async fn idle(count: usize) -> (Pool, Server) {
    let (pool, server) = (pool(), Server::start(named).await);
    ask_at_once(count, &pool, &server).await;
    (pool, server)
}

/// Has so many answers under way at the same time, then reads them.
async fn ask_at_once(count: usize, pool: &Pool, server: &Server) {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(pool.send(server.request(), None).await.unwrap());
    }
    for answer in answers {
        answer.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_used_again_when_its_answer_has_ended() {
    let (pool, server) = (pool(), Server::start(named).await);

    for _ in 0..3 {
        assert_eq!(ask(&pool, &server, None).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_request_that_must_have_a_fresh_connection_opens_one_and_leaves_it_to_others() {
    let (pool, server) = idle(2).await;

    assert_eq!(ask(&pool, &server, Some(Instant::now())).await.unwrap(), 2);
    assert_eq!(ask(&pool, &server, None).await.unwrap(), 2, "the newest is taken first");
}

#[tokio::test]
async fn after_one_that_waited_was_dead_those_that_waited_as_long_are_not_tried() {
    let (pool, server) = idle(3).await;
    server.forgets.store(true, Ordering::Relaxed);
    let sent = Instant::now();

    let dead = ask(&pool, &server, None).await.unwrap_err();

    assert!(matches!(dead, Unanswered::Stale(_)), "{dead:?}");
    server.forgets.store(false, Ordering::Relaxed);
    assert_eq!(ask(&pool, &server, Some(sent)).await.unwrap(), 3);
    assert_eq!(ask(&pool, &server, None).await.unwrap(), 3);
    let held = pool.send(server.request(), None).await.unwrap();
    assert_eq!(ask(&pool, &server, None).await.unwrap(), 4, "the old ones are gone");
    drop(held);
}

#[tokio::test]
async fn a_fresh_connection_that_is_reset_is_not_a_stale_one() {
    let (pool, server) = (pool(), Server::start(named).await);
    server.forgets.store(true, Ordering::Relaxed);

    let broken = ask(&pool, &server, None).await.unwrap_err();

    assert!(matches!(broken, Unanswered::Failed(..)), "{broken:?}");
}

#[tokio::test]
async fn what_is_no_answer_at_all_is_not_the_fault_of_an_old_connection() {
    let answer = |number| if number == 0 { named(0) + "no such protocol\r\n\r\n" } else { named(number) };
    let (pool, server) = (pool(), Server::start(answer).await);

    // The text behind the first answer is unasked and closes the connection, or it is read as the
    // second answer and told as what it is.
    ask(&pool, &server, None).await.unwrap();
    match ask(&pool, &server, None).await {
        Ok(number) => assert_eq!(number, 1),
        Err(unanswered) => assert!(matches!(unanswered, Unanswered::Failed(..)), "{unanswered:?}"),
    }
}

#[tokio::test]
async fn a_connection_on_which_something_comes_unasked_is_closed() {
    let (pool, mut server) = idle(2).await;
    server.until_open(2).await;

    server.unasked.send_replace("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n99");

    server.until_open(0).await;
    assert_eq!(ask(&pool, &server, None).await.unwrap(), 2);
}

#[tokio::test]
async fn connections_that_the_other_side_closes_cost_no_request() {
    let (pool, mut server) = idle(3).await;
    server.until_open(3).await;

    server.unasked.send_replace("");

    server.until_open(0).await;
    assert_eq!(ask(&pool, &server, None).await.unwrap(), 3);
}

#[tokio::test]
async fn an_answer_that_is_left_in_its_middle_takes_its_connection_along() {
    let answer = |_| "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly the beginning".to_owned();
    let (pool, mut server) = (pool(), Server::start(answer).await);
    let mut answer = pool.send(server.request(), None).await.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    server.until_open(1).await;

    drop(answer);

    server.until_open(0).await;
}

#[tokio::test]
async fn a_connection_that_nobody_needs_is_closed_after_twenty_seconds() {
    let (_pool, mut server) = idle(2).await;
    server.until_open(2).await;
    tokio::time::pause();

    let closed = Instant::now();
    server.until_open(0).await;

    assert!((IDLE / 2..=IDLE * 2).contains(&closed.elapsed()), "{:?}", closed.elapsed());
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let pool = Pool::keeping(2, Connector::new(None, false, None));
    let mut server = Server::start(named).await;

    ask_at_once(5, &pool, &server).await;

    server.until_open(2).await;
    assert_eq!(ask(&pool, &server, None).await.unwrap(), 4);
}
