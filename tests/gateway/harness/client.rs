//! An HTTP/1.1 client that hides nothing: every piece as it came off the wire, with its time, and
//! whether the answer was ended properly. It can also stop in the middle of anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::words::CLIENT;

/// Longest time that a test waits for the next piece of an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// One server, as a client sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A connection to the server.
pub(crate) struct Wire {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// An answer whose body is still on its way.
pub(crate) struct Flow {
    wire: Wire,
    framing: Framing,
    began: Instant,
    /// The status line's number.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<(Duration, Vec<u8>)>,
    ended: bool,
}

/// An answer that has ended, well or badly.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status line's number.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body as it would be without transfer coding.
    pub(crate) body: Vec<u8>,
    /// The body in the pieces that it came in, each with the time since the request was sent.
    pub(crate) pieces: Vec<(Duration, Vec<u8>)>,
    /// Whether the end was marked, or the connection just closed.
    pub(crate) complete: bool,
    /// From the request to the end.
    pub(crate) took: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

// === impl Ask ===

impl Ask {
    /// A GET with the usual key.
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path, Vec::new())
    }

    /// A POST of this JSON with the usual key.
    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path, body.to_string().into_bytes()).header("content-type", "application/json")
    }

    /// A chat request with the usual key.
    pub(crate) fn chat(body: &Value) -> Self {
        Self::post("/v1/chat/completions", body)
    }

    /// A chat request whose body is exactly this.
    pub(crate) fn raw(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/v1/chat/completions", body.into()).header("content-type", "application/json")
    }

    /// Any request with the usual key.
    pub(crate) fn new(method: &str, path: &str, body: Vec<u8>) -> Self {
        let headers = vec![("authorization".to_owned(), format!("Bearer {CLIENT}"))];
        Self { method: method.into(), path: path.into(), headers, body }
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Another key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.without_key().header("authorization", &format!("Bearer {key}"))
    }

    /// No key.
    pub(crate) fn without_key(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "authorization");
        self
    }

    /// The request line and headers.
    fn head(&self) -> String {
        use std::fmt::Write as _;
        let mut head = format!("{} {} HTTP/1.1\r\nhost: gateway.test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let framed =
            self.headers.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding");
        if !framed && (!self.body.is_empty() || self.method == "POST") {
            write!(head, "content-length: {}\r\n", self.body.len()).unwrap();
        }
        head + "\r\n"
    }
}

// === impl Client ===

impl Client {
    /// A new connection.
    pub(crate) async fn connect(self) -> Wire {
        let stream = TcpStream::connect(self.address).await.expect("the gateway should accept connections");
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        Wire { read: BufReader::new(read), write }
    }

    /// Sends the request on a new connection and reads the head of the answer.
    pub(crate) async fn open(self, ask: &Ask) -> Flow {
        self.connect().await.open(ask).await
    }

    /// Sends the request on a new connection and reads the whole answer.
    pub(crate) async fn ask(self, ask: &Ask) -> Answer {
        self.open(ask).await.rest().await
    }

    /// A chat request, answered whole.
    pub(crate) async fn chat(self, body: &Value) -> Answer {
        self.ask(&Ask::chat(body)).await
    }
}

// === impl Wire ===

impl Wire {
    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write.write_all(bytes).await
    }

    /// Sends only the head of the request.
    pub(crate) async fn send_head(&mut self, ask: &Ask) {
        self.write(ask.head().as_bytes()).await.unwrap();
    }

    /// Sends the request and reads the head of the answer.
    pub(crate) async fn open(mut self, ask: &Ask) -> Flow {
        let mut bytes = ask.head().into_bytes();
        bytes.extend_from_slice(&ask.body);
        // An early answer may close the connection under a large upload: the answer still counts.
        let _ = self.write(&bytes).await;
        self.flow().await
    }

    /// Reads the head of the answer to what was written before.
    pub(crate) async fn flow(mut self) -> Flow {
        let began = Instant::now();
        let (status, headers) = loop {
            let (status, headers) = self.head().await;
            if status != 100 {
                break (status, headers);
            }
        };
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let framing = match (header("transfer-encoding"), header("content-length")) {
            (Some(_), _) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length.parse().unwrap()),
            (None, None) if matches!(status, 204 | 304) => Framing::Length(0),
            (None, None) => Framing::UntilClose,
        };
        Flow { wire: self, framing, began, status, headers, pieces: Vec::new(), ended: false }
    }

    async fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let line = self.line().await;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return (status, headers);
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = tokio::time::timeout(SILENCE, self.read.read_until(b'\n', &mut line)).await;
        read.expect("the gateway should answer in time").expect("the connection should hold");
        String::from_utf8(line).unwrap().trim_end_matches(['\r', '\n']).to_owned()
    }
}

// === impl Flow ===

impl Flow {
    /// The next piece of the body, or nothing at its end.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let piece =
            tokio::time::timeout(SILENCE, self.read()).await.expect("the next piece should come in time")?;
        self.pieces.push((self.began.elapsed(), piece.clone()));
        Some(piece)
    }

    async fn read(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        match self.framing {
            Framing::Length(0) => {
                self.ended = true;
                None
            }
            Framing::Length(left) => {
                let mut piece = vec![0; left.min(64 * 1024)];
                let read = self.wire.read.read(&mut piece).await.ok().filter(|&n| n > 0)?;
                piece.truncate(read);
                self.framing = Framing::Length(left - read);
                Some(piece)
            }
            Framing::Chunked => {
                let mut line = String::new();
                self.wire.read.read_line(&mut line).await.ok().filter(|&n| n > 0)?;
                let size =
                    usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
                let mut piece = vec![0; size + 2];
                self.wire.read.read_exact(&mut piece).await.ok()?;
                piece.truncate(size);
                if size == 0 {
                    self.ended = true;
                    return None;
                }
                Some(piece)
            }
            Framing::UntilClose => {
                let mut piece = vec![0; 64 * 1024];
                let read = self.wire.read.read(&mut piece).await.ok()?;
                piece.truncate(read);
                if read == 0 {
                    self.ended = true;
                    return None;
                }
                Some(piece)
            }
        }
    }

    /// Reads until the body so far holds this text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let so_far = String::from_utf8_lossy(&self.so_far()).into_owned();
            if so_far.contains(text) {
                return so_far;
            }
            assert!(self.next().await.is_some(), "the answer ended before {text:?}: {so_far}");
        }
    }

    /// What has been read of the body.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect()
    }

    /// Reads to the end.
    pub(crate) async fn rest(self) -> Answer {
        self.rest_and_wire().await.0
    }

    /// Reads to the end and gives the connection back.
    pub(crate) async fn rest_and_wire(mut self) -> (Answer, Wire) {
        while self.next().await.is_some() {}
        let answer = Answer {
            status: self.status,
            body: self.so_far(),
            headers: self.headers,
            pieces: self.pieces,
            complete: self.ended,
            took: self.began.elapsed(),
        };
        (answer, self.wire)
    }
}

// === impl Answer ===

impl Answer {
    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The whole head and body, for searching.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}\n{}", self.headers, self.text())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The channel that served, as administrators are told.
    pub(crate) fn channel(&self) -> &str {
        self.header("x-uni-api-channel")
            .unwrap_or_else(|| panic!("no channel told: {} {}", self.status, self.text()))
    }

    /// Stops the test unless the status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// The content of a whole chat answer.
    #[track_caller]
    pub(crate) fn content(&self) -> String {
        let json = self.json();
        json["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_else(|| panic!("no content: {json}"))
            .to_owned()
    }

    /// The data of all events of a stream.
    pub(crate) fn events(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.trim().to_owned())
            .collect()
    }

    /// The events of a stream that are JSON.
    pub(crate) fn event_values(&self) -> Vec<Value> {
        self.events().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The content deltas of a chat stream, put together.
    pub(crate) fn streamed(&self) -> String {
        self.event_values()
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect()
    }

    /// Whether the stream has its terminal marker.
    pub(crate) fn is_done(&self) -> bool {
        self.events().iter().any(|data| data == "[DONE]")
    }

    /// The error object, in OpenAI's shape; stops the test when there is none.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let json = self.json();
        assert_openai_error(&json);
        json["error"].clone()
    }

    /// The error event of a stream that broke, in OpenAI's shape.
    #[track_caller]
    pub(crate) fn error_event(&self) -> Value {
        let last = self
            .event_values()
            .into_iter()
            .next_back()
            .unwrap_or_else(|| panic!("no event: {}", self.text()));
        assert_openai_error(&last);
        last["error"].clone()
    }
}

/// Stops the test unless this is an error as OpenAI's SDKs read it.
#[track_caller]
pub(crate) fn assert_openai_error(json: &Value) {
    let error = json["error"].as_object().unwrap_or_else(|| panic!("no error object: {json}"));
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
    assert!(error["type"].is_string(), "{json}");
    for field in ["param", "code"] {
        assert!(
            error.get(field).is_some_and(|value| value.is_null() || value.is_string()),
            "{field}: {json}"
        );
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}
