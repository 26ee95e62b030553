//! An upstream that does what a test tells it: answers, waits, breaks, hangs. It speaks HTTP/1.1
//! over raw sockets, because most of what it must do wrong no HTTP library would do.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{Framing, Gate, Log, Script, Seen, Step};

/// A server on a port of its own; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    log: Arc<Log>,
    connections: Arc<AtomicUsize>,
}

// === impl Upstream ===

impl std::ops::Deref for Upstream {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Upstream {
    /// Answers each request as `script` says.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Script + Send + Sync + 'static) -> Self {
        Self::start_by_connection(move |seen, _connection| script(seen)).await
    }

    /// Answers each request as `script` says, which is told on which connection it came, from 0.
    pub(crate) async fn start_by_connection(
        script: impl Fn(&Seen, usize) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let connections = Arc::new(AtomicUsize::default());
        let upstream = Self { address, log: log.clone(), connections: connections.clone() };
        let script = Arc::new(script);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (log, script) = (log.clone(), script.clone());
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = converse(stream, &log, |seen| script(seen, connection)).await;
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

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address on which nobody listens.
pub(crate) async fn refused_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1/chat/completions", listener.local_addr().unwrap())
}

// === impl Script ===

impl Script {
    /// Then waits for the gate.
    pub(crate) fn then_wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Then resets the connection.
    pub(crate) fn then_reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
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
async fn converse(mut stream: TcpStream, log: &Log, script: impl Fn(&Seen) -> Script) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(mut seen) = read_request(&mut stream, &mut buffer).await? {
        log.note(&mut seen);
        match answer(&mut stream, &script(&seen)).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                log.note_cancelled();
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

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Seen>> {
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
    let mut seen = Seen { method, path, headers, body: Vec::new(), ordinal: 0, at: Instant::now() };
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
