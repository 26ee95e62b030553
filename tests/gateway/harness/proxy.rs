//! Proxies: small, real, and strict about credentials.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How clients speak to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1 `CONNECT` (RFC 9110 §9.3.6).
    Connect,
    /// SOCKS5 (RFC 1928) with user names and passwords (RFC 1929).
    Socks5,
}

/// A proxy on a port of its own.
pub(crate) struct Proxy {
    address: SocketAddr,
    speaks: Speaks,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// Places that clients were let through to.
    targets: Vec<String>,
    /// Clients that were turned away.
    refused: usize,
}

/// What a proxy knows.
struct Rules {
    speaks: Speaks,
    credentials: Option<(String, String)>,
    /// Names that exist for the proxy alone.
    names: HashMap<String, SocketAddr>,
}

impl Proxy {
    /// Starts one that lets in who knows `user:password`, or everybody, and that knows the
    /// addresses of these `name:port`s.
    pub(crate) async fn start(
        speaks: Speaks,
        credentials: Option<(&str, &str)>,
        names: &[(&str, SocketAddr)],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let rules = Arc::new(Rules {
            speaks,
            credentials: credentials.map(|(user, password)| (user.into(), password.into())),
            names: names.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect(),
        });
        let writing = log.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (rules, log) = (rules.clone(), writing.clone());
                tokio::spawn(async move {
                    if rules.serve(stream, &log).await.is_err() {
                        log.lock().unwrap().refused += 1;
                    }
                });
            }
        });
        Self { address, speaks, log }
    }

    /// Its URL; `login` is `user:password@` or nothing.
    pub(crate) fn url(&self, login: &str) -> String {
        let scheme = match self.speaks {
            Speaks::Connect => "http",
            Speaks::Socks5 => "socks5",
        };
        format!("{scheme}://{login}{}", self.address)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The places that clients were let through to, in order.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.log.lock().unwrap().targets.clone()
    }

    /// How many clients were turned away.
    pub(crate) fn refused(&self) -> usize {
        self.log.lock().unwrap().refused
    }
}

impl Rules {
    async fn serve(&self, mut client: TcpStream, log: &Mutex<Log>) -> io::Result<()> {
        let target = match self.speaks {
            Speaks::Connect => self.connect(&mut client).await?,
            Speaks::Socks5 => self.socks5(&mut client).await?,
        };
        log.lock().unwrap().targets.push(target.clone());
        let mut upstream = match self.names.get(&target) {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect(&target).await?,
        };
        match self.speaks {
            Speaks::Connect => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
            Speaks::Socks5 => client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?,
        }
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        Ok(())
    }

    async fn connect(&self, client: &mut TcpStream) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let line = lines.next().unwrap_or_default();
        let given = lines.find_map(|line| line.strip_prefix("Proxy-Authorization: "));
        let wanted = self.credentials.as_ref().map(|(user, password)| {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {pair}")
        });
        if wanted.is_some() && given != wanted.as_deref() {
            client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\ncontent-length: 0\r\n\r\n").await?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["CONNECT", target, "HTTP/1.1"] => Ok((*target).to_owned()),
            _ => {
                client.write_all(b"HTTP/1.1 405 CONNECT only\r\ncontent-length: 0\r\n\r\n").await?;
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    async fn socks5(&self, client: &mut TcpStream) -> io::Result<String> {
        const NO_LOGIN: u8 = 0;
        const LOGIN: u8 = 2;
        let denied = io::ErrorKind::PermissionDenied;
        assert_eq!(client.read_u8().await?, 5, "the version");
        let methods = counted(client).await?;
        let wanted = if self.credentials.is_some() { LOGIN } else { NO_LOGIN };
        if !methods.contains(&wanted) {
            client.write_all(&[5, 0xff]).await?;
            return Err(denied.into());
        }
        client.write_all(&[5, wanted]).await?;
        if let Some((user, password)) = &self.credentials {
            assert_eq!(client.read_u8().await?, 1, "the version of the login");
            let login = (counted(client).await?, counted(client).await?);
            let known = login == (user.as_bytes().to_vec(), password.as_bytes().to_vec());
            client.write_all(&[1, u8::from(!known)]).await?;
            if !known {
                return Err(denied.into());
            }
        }
        let mut head = [0; 4];
        client.read_exact(&mut head).await?;
        assert_eq!(head[..2], [5, 1], "a CONNECT command");
        let host = match head[3] {
            1 => {
                let mut ip = [0; 4];
                client.read_exact(&mut ip).await?;
                IpAddr::from(ip).to_string()
            }
            3 => String::from_utf8(counted(client).await?).unwrap(),
            other => panic!("address type {other}"),
        };
        Ok(format!("{host}:{}", client.read_u16().await?))
    }
}

/// Bytes behind their number.
async fn counted(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}
