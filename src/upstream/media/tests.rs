//! Against servers on loopback: with the rule about addresses lifted, but where it is the subject.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const PNG: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: Image/PNG; q=1\r\ncontent-length: 5\r\nset-cookie: a=b\r\n\r\npixel";

/// A server that answers each request by its path, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        Self::start_at("127.0.0.1", answer).await
    }

    async fn start_at(host: &str, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let head = head(&mut peer).await;
                let answer = answer(head.split(' ').nth(1).unwrap_or_default());
                heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                // The client may have had enough.
                let _sent = peer.write_all(&answer).await;
            }
        });
        Self { address, asked, serving }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn head(peer: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = peer.read_u8().await else { break };
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn redirect(target: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

fn room() -> Arc<Capacity> {
    Capacity::new(1, 64 << 20)
}

/// A client that may connect anywhere.
fn lifted() -> GuardedMedia {
    GuardedMedia::new(room(), true)
}

/// A client under the rule.
fn guarded() -> GuardedMedia {
    GuardedMedia::new(room(), false)
}

/// Why this address could not be had.
async fn refusal(media: &GuardedMedia, address: &str) -> String {
    let said = media.fetch(address).await.unwrap_err();
    said.split_once(" could not be fetched: ").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_medium_comes_with_its_type_in_lower_case() {
    let server = Server::start(|_| PNG.into()).await;

    let fetched = lifted().fetch(&server.url("/a.png")).await.unwrap();

    assert_eq!((fetched.mime.as_str(), &fetched.bytes[..]), ("image/png", &b"pixel"[..]));
}

#[tokio::test]
async fn a_medium_of_unknown_length_comes_whole() {
    let whole: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let body = whole.clone();
    let server = Server::start(move |_| ok("", &body)).await;

    let fetched = lifted().fetch(&server.url("/")).await.unwrap();

    assert_eq!(fetched.mime, "");
    assert!(fetched.bytes == whole, "{} bytes", fetched.bytes.len());
}

#[tokio::test]
async fn nothing_of_the_gateway_goes_along() {
    let server = Server::start(|path| if path == "/a?b=c" { redirect("/x") } else { PNG.into() }).await;

    lifted().fetch(&server.url("/a?b=c#d")).await.unwrap();

    let rest = format!(
        "accept: */*\r\naccept-encoding: identity\r\nuser-agent: uni-api\r\nhost: {}\r\n\r\n",
        server.address
    );
    let wanted = ["/a?b=c", "/x"].map(|path| format!("GET {path} HTTP/1.1\r\n{rest}"));
    assert_eq!(server.asked(), wanted);
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_sixth() {
    let server = Server::start(|path| match path {
        "/0" => PNG.into(),
        _ => redirect(&format!("{}", path[1..].parse::<u32>().unwrap() - 1)),
    })
    .await;

    let fifth = lifted().fetch(&server.url("/5")).await;
    let sixth = refusal(&lifted(), &server.url("/6")).await;

    assert_eq!(fifth.unwrap().bytes, "pixel");
    assert_eq!(sixth, "it redirects more than 5 times");
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let server = Server::start(|_| redirect("/again")).await;

    let said = refusal(&lifted(), &server.url("/")).await;

    assert_eq!((said.as_str(), server.asked().len()), ("it redirects more than 5 times", 6));
}

#[tokio::test]
async fn a_redirect_to_what_would_not_be_fetched_is_refused() {
    for target in [
        "file:///etc/passwd",
        "ftp://a.example/",
        "gopher://127.0.0.1:6379/_x",
        "data:text/plain,x",
        "http://me:pass@127.0.0.1/",
        "http://",
    ] {
        let server = Server::start(move |_| redirect(target)).await;

        let said = refusal(&lifted(), &server.url("/")).await;

        let wanted = "it redirects to what is no http or https URL, or holds credentials";
        assert_eq!(said, wanted, "{target}");
    }
}

#[tokio::test]
async fn other_schemes_and_credentials_are_refused() {
    let (url, credentials) = ("it is no http or https URL", "it holds credentials");
    for (address, wanted) in [
        ("", url),
        ("a.example/x.png", url),
        ("/etc/passwd", url),
        ("file:///etc/passwd", url),
        ("ftp://a.example/x", url),
        ("gs://bucket/x", url),
        ("http://", url),
        ("http://a b/", url),
        ("http://me@a.example/", credentials),
        ("https://me:pass@a.example/", credentials),
    ] {
        assert_eq!(refusal(&lifted(), address).await, wanted, "{address}");
    }
}

#[tokio::test]
async fn an_announced_medium_that_is_too_large_is_not_read() {
    let server = Server::start(|_| ok(&format!("content-length: {}\r\n", LARGEST + 1), b"")).await;

    assert_eq!(refusal(&lifted(), &server.url("/")).await, "it is larger than 20 MiB");
}

#[tokio::test]
async fn a_medium_may_be_as_large_as_the_limit_and_no_larger() {
    let exact = Server::start(|_| ok("", &vec![7; LARGEST])).await;
    let over = Server::start(|_| ok("", &vec![7; LARGEST + 1])).await;
    let media = lifted();

    let largest = media.fetch(&exact.url("/")).await.unwrap();
    let said = refusal(&media, &over.url("/")).await;

    assert_eq!(largest.bytes.len(), LARGEST);
    assert_eq!(said, "it is larger than 20 MiB");
}

#[tokio::test]
async fn answers_that_bring_no_medium_are_refused() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"pixel").unwrap();
    let encoded = ok("content-encoding: gzip\r\n", &gzip.finish().unwrap());
    let bare = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    for (answer, wanted) in [
        (bare("404 Not Found"), "its server answered 404"),
        (bare("500 Oops"), "its server answered 500"),
        // A redirect to nowhere, and an answer to what was not asked.
        (bare("302 Found"), "its server answered 302"),
        (bare("304 Not Modified"), "its server answered 304"),
        (bare("204 No Content"), "nothing is there"),
        (bare("200 OK"), "nothing is there"),
        (encoded, "its server sends it compressed, although it was asked not to"),
        (ok("content-length: 9\r\n", b"short"), "the connection broke off"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "the connection broke off"),
    ] {
        let server = Server::start(move |_| answer.clone()).await;

        assert_eq!(refusal(&lifted(), &server.url("/")).await, wanted);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_cannot_be_reached() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();

    let said = refusal(&lifted(), &format!("http://127.0.0.1:{port}/")).await;

    assert_eq!(said, "it cannot be reached");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_after_thirty_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (begun, beginning) = oneshot::channel();
    let _silent = tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        head(&mut peer).await;
        peer.write_all(&ok("content-length: 9\r\n", b"pix")).await.unwrap();
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let media = lifted();
    let fetching = tokio::spawn(async move { refusal(&media, &url).await });
    beginning.await.unwrap();
    let start = Instant::now();
    // Not before: time that runs ahead would end the wait for the connection.
    tokio::time::pause();

    let said = fetching.await.unwrap();

    assert_eq!(said, "it did not come within 30 s");
    assert!(start.elapsed() > PATIENCE - Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE + Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_rule_refuses_this_machine_by_number_and_by_name() {
    let server = Server::start(|_| PNG.into()).await;
    let port = server.address.port();

    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "[::]",
    ] {
        for scheme in ["http", "https", "HTTP"] {
            let said = refusal(&guarded(), &format!("{scheme}://{host}:{port}/a.png")).await;
            assert_eq!(said, "it leads to a private network", "{scheme}://{host}");
        }
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn spellings_that_only_resolvers_read_as_numbers_lead_nowhere() {
    let server = Server::start(|_| PNG.into()).await;
    let port = server.address.port();

    for host in ["2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1."] {
        let fetched = guarded().fetch(&format!("http://{host}:{port}/a.png")).await;
        // What it is called depends on what the system's resolver makes of it.
        assert!(fetched.is_err(), "{host}");
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn a_name_is_reached_where_the_rule_is_lifted() {
    let server = Server::start(|_| PNG.into()).await;

    let fetched = lifted().fetch(&format!("http://localhost:{}/", server.address.port())).await;

    assert_eq!(fetched.unwrap().bytes, "pixel");
}

#[tokio::test]
async fn the_rule_holds_for_each_redirect() {
    let inner = Server::start_at("127.0.0.2", |_| PNG.into()).await;
    let target = inner.url("/a.png");
    let outer = Server::start(move |_| redirect(&target)).await;
    let media = GuardedMedia::with(room(), |address| address != SocketAddr::from(([127, 0, 0, 2], 0)).ip());

    let said = media.fetch(&outer.url("/")).await.unwrap_err();

    let wanted =
        format!("the address http://{}/… could not be fetched: it leads to a private network", outer.address);
    assert_eq!(said, wanted);
    assert_eq!((outer.asked().len(), inner.asked().len()), (1, 0));
}

#[tokio::test]
async fn what_is_said_holds_neither_path_nor_query_nor_credentials() {
    let said = [
        guarded().fetch("http://127.0.0.1:9/bot-hunter2/x?signature=hunter2").await.unwrap_err(),
        guarded().fetch("http://hunter2:hunter2@a.example/hunter2").await.unwrap_err(),
        guarded().fetch("http://hunter2 hunter2/").await.unwrap_err(),
    ];

    assert_eq!(
        said,
        [
            "the address http://127.0.0.1:9/… could not be fetched: it leads to a private network",
            "the address http://a.example/… could not be fetched: it holds credentials",
            "an address could not be fetched: it is no http or https URL",
        ]
    );
}

#[tokio::test]
async fn a_medium_counts_against_the_byte_budget_until_it_is_handed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let capacity = room();
    let media = GuardedMedia::new(capacity.clone(), true);
    let fetching = tokio::spawn(async move { media.fetch(&url).await });
    let (mut peer, _) = listener.accept().await.unwrap();
    head(&mut peer).await;
    peer.write_all(&ok("content-length: 5000\r\n", &[7; 3000])).await.unwrap();
    while capacity.bytes() == 0 {
        tokio::task::yield_now().await;
    }

    let meanwhile = capacity.bytes();
    peer.write_all(&[7; 2000]).await.unwrap();
    let fetched = fetching.await.unwrap().unwrap();

    assert_eq!((meanwhile, fetched.bytes.len(), capacity.bytes()), (5000, 5000, 0));
}

#[tokio::test]
async fn a_medium_that_the_byte_budget_has_no_room_for_is_refused() {
    let announced = Server::start(|_| ok("content-length: 200000\r\n", &[7; 200_000])).await;
    let growing = Server::start(|_| ok("", &[7; 200_000])).await;
    let capacity = Capacity::new(1, 150_000);
    let media = GuardedMedia::new(capacity.clone(), true);

    let said = [refusal(&media, &announced.url("/")).await, refusal(&media, &growing.url("/")).await];

    assert_eq!(said, ["the gateway has too much to do at the moment"; 2]);
    assert_eq!(capacity.bytes(), 0);
}

#[tokio::test]
async fn whoever_gets_no_turn_is_told_so() {
    let server = Server::start(|_| PNG.into()).await;
    let media = lifted();
    let others = media.turns.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
    tokio::time::pause();

    let said = refusal(&media, &server.url("/")).await;
    tokio::time::resume();
    drop(others);
    let next = media.fetch(&server.url("/")).await;

    assert_eq!(said, "the gateway has too much to do at the moment");
    assert_eq!(server.asked().len(), 1);
    assert_eq!((next.unwrap().bytes.len(), media.turns.available_permits()), (5, AT_ONCE));
}

#[test]
fn a_type_is_known_by_its_essence() {
    for (stated, essence_of_it) in [
        ("image/png", "image/png"),
        ("Image/SVG+XML ; charset=utf-8", "image/svg+xml"),
        ("application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("", ""),
        ("png", ""),
        ("image/", ""),
        ("image/png,text/html", ""),
        ("text/html\"><script>", ""),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(stated).unwrap())]);
        assert_eq!(essence(&headers), essence_of_it, "{stated}");
    }
}
