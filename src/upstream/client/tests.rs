//! Against servers on loopback that send what no HTTP library sends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// A server whose every connection is served by the same function, which is told its number.
struct Peer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Peer {
    async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { address, connections, serving }
    }

    /// Reads one request on each connection, says this, and closes.
    async fn saying(answer: &'static [u8]) -> Self {
        Self::start(move |_, mut stream| async move {
            request(&mut stream).await;
            let _gone = stream.write_all(answer).await;
        })
        .await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads a request without a body, or whatever comes first in another protocol.
async fn request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return false,
            Ok(n) => head.extend_from_slice(&part[..n]),
        }
        if !head.starts_with(b"GET") {
            break;
        }
    }
    true
}

fn client() -> Upstream {
    Upstream::new(|_| None)
}

fn get(url: &str, link: Link) -> Outgoing {
    let request = Box::new(Request::get(url).body(Vec::new()).unwrap());
    Outgoing { request, link, fresh_since: None }
}

/// Asks and reads the whole answer.
async fn ask(client: &Upstream, outgoing: Outgoing) -> Result<Bytes, TransportFault> {
    let answer = client.clone().call(outgoing).await?;
    Ok(answer.into_body().collect().await.unwrap().to_bytes())
}

async fn failing(url: &str, link: Link) -> TransportFault {
    match client().call(get(url, link)).await {
        Ok(answer) => panic!("{url} answered {}", answer.status()),
        Err(fault) => fault,
    }
}

#[tokio::test]
async fn each_way_in_which_a_connection_fails_says_why() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello";
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reset = Peer::start(|_, mut stream| async move {
        request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let closes = Peer::saying(b"").await;
    let (garbage, contradicts) = (Peer::saying(b"SSH-2.0-OpenSSH_9.9\r\n").await, Peer::saying(HEAD).await);
    let speaks_tls = Peer::saying(b"\x15\x03\x01\x00\x02\x02\x46").await;
    let speaks_http1 = Peer::saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let http2 = || Link { http2: true, ..Link::default() };
    let proxied = |url: String| Link { proxy: Some(url.into()), ..Link::default() };
    let no_proxy = proxied(format!("socks5://me:secret@{nobody}"));
    let malformed = proxied("socks5://me:secret@host:abc:1".to_owned());
    let plain = |address: &SocketAddr| format!("http://{address}/");

    for (url, link, kind, brief, chain) in [
        (
            plain(&nobody),
            Link::default(),
            TransportKind::Connect,
            "connection refused",
            "tcp: connection refused",
        ),
        (
            plain(&reset.address),
            Link::default(),
            TransportKind::Broken,
            "connection reset",
            "tcp: connection reset",
        ),
        (
            plain(&closes.address),
            Link::default(),
            TransportKind::Broken,
            "connection closed",
            "http: closed before",
        ),
        (
            plain(&garbage.address),
            Link::default(),
            TransportKind::Broken,
            "malformed answer",
            "http: invalid HTTP",
        ),
        (
            plain(&contradicts.address),
            Link::default(),
            TransportKind::Broken,
            "malformed answer",
            "http: invalid content-length",
        ),
        (
            plain(&speaks_tls.address),
            Link::default(),
            TransportKind::Broken,
            "TLS on that port",
            "http: the port speaks TLS",
        ),
        (
            plain(&speaks_http1.address),
            http2(),
            TransportKind::Broken,
            "no HTTP/2 there",
            "http2: the server speaks",
        ),
        (
            format!("https://{}/", speaks_http1.address),
            Link::default(),
            TransportKind::Connect,
            "no TLS on that port",
            "tls: the server does not speak TLS",
        ),
        (
            format!("https://{}/", closes.address),
            Link::default(),
            TransportKind::Connect,
            "connection closed",
            "tls: closed within the handshake",
        ),
        (
            plain(&closes.address),
            no_proxy,
            TransportKind::ProxyUnreachable,
            "connection refused",
            &format!("proxy socks5://{nobody}: tcp: connection refused"),
        ),
        (
            plain(&closes.address),
            malformed,
            TransportKind::ProxyUnreachable,
            "not a proxy URL",
            "proxy: the configured",
        ),
    ] {
        let fault = failing(&url, link).await;
        let cause = fault.cause.unwrap();

        assert_eq!((fault.kind, cause.brief()), (kind, brief), "{url}: {cause}");
        assert!(cause.chain().starts_with(chain), "{url}: {cause}");
        assert!(!cause.chain().contains("secret"), "{url}: {cause}");
    }
    assert_eq!(reset.connections.load(Ordering::SeqCst), 1, "a fresh connection is not tried twice");
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

/// A server with this many connections that are reset when they are used a second time, as idle
/// ones are that a middlebox has forgotten. It answers none of them before all are there.
async fn forgotten(many: usize) -> Peer {
    let all = Arc::new(tokio::sync::Barrier::new(many));
    Peer::start(move |number, mut stream| {
        let all = all.clone();
        async move {
            let mut served = 0;
            while request(&mut stream).await {
                if number < many {
                    if served > 0 {
                        return stream.set_zero_linger().unwrap();
                    }
                    all.wait().await;
                }
                stream.write_all(FINE).await.unwrap();
                served += 1;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_pool_that_has_gone_stale_as_a_whole_costs_one_repeat_on_a_fresh_connection() {
    let client = client();
    let peer = forgotten(20).await;
    let url = format!("http://{}/", peer.address);
    let filling = (0..20).map(|_| {
        let (client, url) = (client.clone(), url.clone());
        async move { ask(&client, get(&url, Link::default())).await.unwrap() }
    });
    filling.collect::<tokio::task::JoinSet<_>>().join_all().await;
    let before = Instant::now();

    let stale = ask(&client, get(&url, Link::default())).await.unwrap_err();
    let repeat = Outgoing { fresh_since: Some(before), ..get(&url, Link::default()) };
    let repeated = ask(&client, repeat).await;
    let mut later = Vec::new();
    for _ in 0..20 {
        later.push(ask(&client, get(&url, Link::default())).await);
    }

    assert_eq!((stale.kind, stale.cause.unwrap().brief()), (TransportKind::Stale, "connection reset"));
    assert_eq!(repeated.unwrap(), "fine");
    assert!(later.iter().all(Result::is_ok), "an older connection was handed out again: {later:?}");
    assert_eq!(peer.connections.load(Ordering::SeqCst), 21, "one for the repeat and all others");
}

#[tokio::test]
async fn requests_that_meet_dead_connections_at_once_are_all_repeated_well() {
    let client = client();
    let peer = forgotten(20).await;
    let url = format!("http://{}/", peer.address);
    for at_once in [true, false] {
        let asking = (0..20).map(|_| {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let began = Instant::now();
                match ask(&client, get(&url, Link::default())).await {
                    Err(fault) if fault.kind == TransportKind::Stale => {
                        let repeat = Outgoing { fresh_since: Some(began), ..get(&url, Link::default()) };
                        ask(&client, repeat).await
                    }
                    other => other,
                }
            }
        });
        let answers = asking.collect::<tokio::task::JoinSet<_>>().join_all().await;
        assert!(answers.iter().all(Result::is_ok), "first {at_once}: {answers:?}");
    }
}

#[tokio::test]
async fn another_host_keeps_its_connections() {
    let client = client();
    let (dead, well) = (forgotten(1).await, forgotten(0).await);
    let (dead, url) = (format!("http://{}/", dead.address), format!("http://{}/", well.address));
    for url in [&dead, &url] {
        ask(&client, get(url, Link::default())).await.unwrap();
    }

    let repeat = Outgoing { fresh_since: Some(Instant::now()), ..get(&dead, Link::default()) };
    ask(&client, repeat).await.unwrap();
    ask(&client, get(&url, Link::default())).await.unwrap();

    assert_eq!(well.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_with_chunks_and_a_length_is_read_by_its_chunks_and_ends_its_connection() {
    const BOTH: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n";
    let client = client();
    let peer = Peer::start(|_, mut stream| async move {
        while request(&mut stream).await {
            stream.write_all(BOTH).await.unwrap();
        }
    })
    .await;
    let url = format!("http://{}/", peer.address);

    for _ in 0..5 {
        assert_eq!(ask(&client, get(&url, Link::default())).await.unwrap(), "fine");
    }

    assert_eq!(peer.connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_are_no_answer_to_the_next_request() {
    const TWO: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfineHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let client = client();
    let peer = Peer::start(|_, mut stream| async move {
        while request(&mut stream).await {
            let _closed = stream.write_all(TWO).await;
        }
    })
    .await;
    let url = format!("http://{}/", peer.address);

    for _ in 0..5 {
        assert_eq!(ask(&client, get(&url, Link::default())).await.unwrap(), "fine");
    }
}
