//! An upstream that does what a test tells it: answers, waits, breaks, hangs. It speaks HTTP/1.1
//! over raw sockets, because most of what it must do wrong no HTTP library would do.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{PATIENCE, eventually};

/// A server on a port of its own; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    cancelled: AtomicUsize,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body without transfer coding.
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// Which request of this upstream it is, from 0.
    pub(crate) ordinal: usize,
    /// When its last byte had come.
    pub(crate) at: Instant,
}

/// What to answer to one request.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    lead: Vec<Step>,
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Bytes(Vec<u8>),
    Pause(Duration),
    Wait(Gate),
    /// Never go on.
    Hang,
    /// Close without marking the end.
    Close,
    /// Close with a reset.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
}

/// Holds an upstream until the test opens it; each opening lets one wait pass.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

// === impl Gate ===

impl Gate {
    /// A closed one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one wait pass, now or later.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    async fn pass(&self) {
        self.0.acquire().await.expect("gates are never closed for good").forget();
    }
}

// === impl Upstream ===

impl Upstream {
    /// Answers each request as `script` says.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let upstream = Self { address, log: log.clone() };
        let script: Arc<dyn Fn(&Seen) -> Script + Send + Sync> = Arc::new(script);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (log, script) = (log.clone(), script.clone());
                let connection = log.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = converse(stream, connection, &log, script.as_ref()).await;
                });
            }
        });
        upstream
    }

    /// Answers every request in the same way.
    pub(crate) async fn always(script: Script) -> Self {
        Self::start(move |_| script.clone()).await
    }

    /// Answers the first request with the first script and so on; the last one stays.
    pub(crate) async fn in_turn(scripts: Vec<Script>) -> Self {
        Self::start(move |seen| scripts[seen.ordinal.min(scripts.len() - 1)].clone()).await
    }

    /// The address for a channel of OpenAI's format.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.address)
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.log.requests.lock().unwrap().clone()
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.log.requests.lock().unwrap().len()
    }

    /// The only request.
    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests[0].clone()
    }

    /// The latest request.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.requests().pop().expect("a request should have come")
    }

    /// The keys that the requests carried, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.requests().iter().map(Seen::key).collect()
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// How many answers the gateway did not let end.
    pub(crate) fn cancelled(&self) -> usize {
        self.log.cancelled.load(Ordering::SeqCst)
    }

    /// Waits for this many requests.
    pub(crate) async fn wait_for(&self, count: usize) {
        let what = format!("{count} requests at an upstream that has {}", self.count());
        eventually(&what, PATIENCE, || (self.count() >= count).then_some(())).await;
    }

    /// Waits until this many answers were cut off by the gateway.
    pub(crate) async fn wait_for_cancelled(&self, count: usize) {
        eventually("the gateway to cancel its request", PATIENCE, || {
            (self.cancelled() >= count).then_some(())
        })
        .await;
    }
}

/// An address on which nobody listens.
pub(crate) async fn refused_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1/chat/completions", listener.local_addr().unwrap())
}

// === impl Seen ===

impl Seen {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The key of the `Authorization` or `x-api-key` header.
    pub(crate) fn key(&self) -> String {
        let bearer = self.header("authorization").map(|value| value.trim_start_matches("Bearer "));
        bearer.or(self.header("x-api-key")).unwrap_or_default().to_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The model of the body.
    pub(crate) fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the body asks for events.
    pub(crate) fn streams(&self) -> bool {
        self.json()["stream"] == Value::Bool(true)
    }
}

// === impl Script ===

impl Script {
    fn new(status: u16, content_type: &str, framing: Framing, steps: Vec<Step>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { lead: Vec::new(), status, headers, framing, steps }
    }

    /// 200 with this JSON.
    pub(crate) fn json(body: &Value) -> Self {
        Self::status(200, body)
    }

    /// This status with this JSON.
    pub(crate) fn status(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    /// This status with any body.
    pub(crate) fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, content_type, Framing::Length, vec![Step::Bytes(body.into())])
    }

    /// An error in OpenAI's shape.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let error =
            serde_json::json!({ "message": message, "type": "some_error", "param": null, "code": null });
        Self::status(status, &serde_json::json!({ "error": error }))
    }

    /// 200 with an event stream in these pieces, each sent on its own.
    pub(crate) fn events<P: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = P>) -> Self {
        let steps = pieces.into_iter().map(|piece| Step::Bytes(piece.into())).collect();
        Self::new(200, "text/event-stream", Framing::Chunked, steps)
    }

    /// Accepts the request and says nothing, ever.
    pub(crate) fn hang() -> Self {
        let mut script = Self::events::<Vec<u8>>([]);
        script.lead.push(Step::Hang);
        script
    }

    /// Resets the connection instead of an answer.
    pub(crate) fn reset() -> Self {
        let mut script = Self::events::<Vec<u8>>([]);
        script.lead.push(Step::Reset);
        script
    }

    /// Closes the connection instead of an answer.
    pub(crate) fn close() -> Self {
        let mut script = Self::events::<Vec<u8>>([]);
        script.lead.push(Step::Close);
        script
    }

    /// Waits before the head of the answer.
    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.lead.push(Step::Pause(pause));
        self
    }

    /// Waits between the pieces sent so far.
    pub(crate) fn paced(mut self, pause: Duration) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps = steps.into_iter().flat_map(|step| [step, Step::Pause(pause)]).collect();
        self.steps.pop();
        self
    }

    /// Waits for the gate before each piece.
    pub(crate) fn gated(mut self, gate: &Gate) -> Self {
        let steps = std::mem::take(&mut self.steps);
        self.steps = steps.into_iter().flat_map(|step| [Step::Wait(gate.clone()), step]).collect();
        self
    }

    /// Then waits.
    pub(crate) fn then_pause(mut self, pause: Duration) -> Self {
        self.steps.push(Step::Pause(pause));
        self
    }

    /// Then waits for the gate.
    pub(crate) fn then_wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Then sends one more piece.
    pub(crate) fn then(mut self, piece: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Bytes(piece.into()));
        self
    }

    /// Then hangs.
    pub(crate) fn then_hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    /// Then closes without marking the end.
    pub(crate) fn then_close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// Then resets the connection.
    pub(crate) fn then_reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The status.
    pub(crate) fn code(&self) -> u16 {
        self.status
    }

    /// The pieces so far, put together.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                Step::Bytes(bytes) => bytes.clone(),
                other => panic!("{other:?} has no bytes"),
            })
            .collect()
    }

    /// Cuts the pieces so far, put together, into pieces of these sizes, over and over.
    pub(crate) fn split(mut self, sizes: &[usize]) -> Self {
        let whole = self.bytes();
        let mut rest = whole.as_slice();
        let mut sizes = sizes.iter().cycle();
        self.steps.clear();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            self.steps.push(Step::Bytes(piece.to_vec()));
            rest = tail;
        }
        self.framing = Framing::Chunked;
        self
    }
}

/// Serves one connection until it ends.
async fn converse(
    mut stream: TcpStream,
    connection: usize,
    log: &Log,
    script: &(dyn Fn(&Seen) -> Script + Send + Sync),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(mut seen) = read_request(&mut stream, &mut buffer, connection).await? {
        let script = {
            let mut requests = log.requests.lock().unwrap();
            seen.ordinal = requests.len();
            requests.push(seen.clone());
            drop(requests);
            script(&seen)
        };
        match answer(&mut stream, &script).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                log.cancelled.fetch_add(1, Ordering::SeqCst);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Gives the answer; says whether the connection can take another request. An error means that
/// the peer is gone.
async fn answer(stream: &mut TcpStream, script: &Script) -> io::Result<bool> {
    for step in &script.lead {
        if !take(stream, step, Framing::Length).await? {
            return Ok(false);
        }
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", script.status);
    for (name, value) in &script.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match script.framing {
        Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
        Framing::Length if script.headers.iter().any(|(name, _)| name == "content-length") => {}
        Framing::Length => {
            let length: usize = script
                .steps
                .iter()
                .map(|step| if let Step::Bytes(bytes) = step { bytes.len() } else { 0 })
                .sum();
            head.push_str(&format!("content-length: {length}\r\n"));
        }
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    for step in &script.steps {
        if !take(stream, step, script.framing).await? {
            return Ok(false);
        }
    }
    if script.framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(true)
}

/// Takes one step; says whether another may follow.
async fn take(stream: &mut TcpStream, step: &Step, framing: Framing) -> io::Result<bool> {
    match step {
        Step::Bytes(bytes) if bytes.is_empty() => {}
        Step::Bytes(bytes) if framing == Framing::Chunked => {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(bytes);
            chunk.extend_from_slice(b"\r\n");
            stream.write_all(&chunk).await?;
        }
        Step::Bytes(bytes) => stream.write_all(bytes).await?,
        Step::Pause(pause) => unless_gone(stream, tokio::time::sleep(*pause)).await?,
        Step::Wait(gate) => unless_gone(stream, gate.pass()).await?,
        Step::Hang => unless_gone(stream, std::future::pending()).await?,
        Step::Close => return Ok(false),
        Step::Reset => {
            stream.set_zero_linger()?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits, but not for a peer that has closed the connection.
async fn unless_gone(stream: &TcpStream, wait: impl Future<Output = ()>) -> io::Result<()> {
    let mut byte = [0];
    tokio::select! {
        () = wait => Ok(()),
        peeked = stream.peek(&mut byte) => match peeked {
            Ok(0) => Err(ErrorKind::ConnectionAborted.into()),
            Ok(_) => panic!("the gateway sent more than its request"),
            Err(error) => Err(error),
        },
    }
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> io::Result<Option<Seen>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut seen =
        Seen { method, path, headers, body: Vec::new(), connection, ordinal: 0, at: Instant::now() };
    if seen.header("transfer-encoding").is_some() {
        seen.body = read_chunks(stream, buffer).await?;
    } else if let Some(length) = seen.header("content-length").and_then(|length| length.parse::<usize>().ok())
    {
        fill(stream, buffer, length).await?;
        seen.body = buffer.drain(..length).collect();
    }
    seen.at = Instant::now();
    Ok(Some(seen))
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let size = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| ErrorKind::InvalidData)?;
        buffer.drain(..end + 2);
        fill(stream, buffer, size + 2).await?;
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
