//! An HTTP/1.1 client that hides nothing: every piece as it came off the wire, with its time, and
//! whether the answer was ended properly. It can also stop in the middle of anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Answer, Ask};

/// Longest time that a test waits for the next piece of an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// One server, as a client sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// Where it listens.
    pub(crate) address: SocketAddr,
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

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

// === impl Ask ===

impl Ask {
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
    /// The whole head and body, for searching.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}\n{}", self.headers, self.text())
    }
}
