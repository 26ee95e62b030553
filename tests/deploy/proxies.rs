//! Real Caddy and real nginx with the files of `deploy/caddy` and `deploy/nginx`, between a client and the gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::harness::*;
use crate::shell::{command, run};
use crate::{port, read};

/// A proxy that serves; killed when dropped.
struct Front {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Front {
    /// nginx with this file, whose names and ports are those of the test.
    async fn nginx(gateway: SocketAddr, change: impl FnOnce(String) -> String) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), port());
        let file = change(read("deploy/nginx/uni-api.conf"));
        assert!(file.contains("listen 80;") && file.contains("server 127.0.0.1:8000;"));
        let file = file.replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
        std::fs::write(
            folder.path().join("uni-api.conf"),
            file.replace("server 127.0.0.1:8000;", &format!("server {gateway};")),
        )
        .unwrap();
        let here = folder.path().display().to_string();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {here}/{kind};"))
            .join(" ");
        // Workers of root would be another user, who may not write to this folder.
        let is_root = std::os::unix::fs::MetadataExt::uid(&folder.path().metadata().unwrap()) == 0;
        let user = if is_root { "user root;" } else { "" };
        let main = format!(
            "daemon off; worker_processes 1; {user} pid {here}/pid; error_log stderr; events {{}}\n\
             http {{ access_log off; {temporary} include {here}/uni-api.conf; }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), main).unwrap();
        let configuration = folder.path().join("nginx.conf");
        let nginx = ["/usr/sbin/nginx", "-e", "stderr", "-c", configuration.to_str().unwrap()];
        Self::start(command(&nginx), folder, port).await
    }

    /// Caddy with this file.
    async fn caddy(file: &str, gateway: SocketAddr, front_end: Option<SocketAddr>) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), port());
        let configuration = folder.path().join("Caddyfile");
        std::fs::write(&configuration, file).unwrap();
        let caddy = ["caddy", "run", "--adapter", "caddyfile", "--config", configuration.to_str().unwrap()];
        let mut caddy = command(&caddy);
        caddy
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .env("CADDY_ADMIN", format!("unix/{}/admin", folder.path().display()))
            .env("UNI_API_DOMAIN", format!("http://:{port}"))
            .env("UNI_API", gateway.to_string());
        if let Some(front_end) = front_end {
            caddy.env("FRONTEND", front_end.to_string());
        }
        Self::start(caddy, folder, port).await
    }

    async fn start(mut command: Command, folder: tempfile::TempDir, port: u16) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut front = Self { child, folder, address };
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let ended = front.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "the proxy does not serve");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        front
    }

    fn client(&self) -> Client {
        Client { address: self.address }
    }

    /// Sends a small chat from this address of the machine, with these lines among its headers.
    async fn chat_from(&self, address: [u8; 4], headers: &str) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let body = hello().to_string();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway.test\r\nauthorization: Bearer {CLIENT}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // nginx's workers end with it only when it is asked.
        let _ = run(&mut command(&["kill", "-TERM", &self.child.id().to_string()]));
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the proxy:\n{log}\n---");
        }
    }
}

/// An upstream that sends each event when it is told to.
async fn gated(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |seen| {
        if seen.streams() {
            Script::events(stream_of(&["one", "two", "three"])).gated(&gate)
        } else {
            Script::json(&said("ok"))
        }
    })
    .await
}

/// Stops the test unless each event is here before the next one is sent.
async fn streams_one_by_one(client: Client, gate: &Gate) {
    let ask = Ask::chat(&hello_stream()).header("accept-encoding", "gzip, br");
    gate.open();
    gate.open();
    let mut flow = client.open(&ask).await;
    assert_eq!(flow.status, 200);

    let so_far = flow.until("one").await;
    assert!(!so_far.contains("two"), "{so_far}");
    gate.open();
    let so_far = flow.until("two").await;
    assert!(!so_far.contains("three"), "{so_far}");
    gate.open();
    flow.until("three").await;
    gate.open();
    gate.open();

    let answer = flow.rest().await;
    assert!(answer.is_done() && answer.streamed() == "onetwothree", "{}", answer.text());
}

/// Stops the test unless 25 MB go up whole.
async fn takes_uploads(client: Client, upstream: &Upstream) {
    let picture = format!("data:image/png;base64,{}", "A".repeat(25_000_000));
    let parts = json!([{ "type": "image_url", "image_url": { "url": picture } }]);

    client.ask(&Ask::chat(&hello().with("/messages/0/content", parts))).await.expect(200);

    assert!(upstream.last().body.len() > 25_000_000);
}

/// The address of the client of the latest request in the log.
async fn seen_by(gateway: &Gateway, requests: usize) -> Value {
    let line = eventually("the line of the request", PATIENCE, || {
        let lines = gateway.lines().into_iter().filter(|line| line.contains("\"operation\":\"chat\""));
        lines.collect::<Vec<_>>().get(requests - 1).cloned()
    })
    .await;
    gateway::field(&serde_json::from_str(&line).unwrap(), "client_ip").unwrap()
}

/// Promises: `deploy-nginx`.
#[tokio::test]
async fn behind_nginx_events_arrive_one_by_one_and_uploads_pass() {
    let gate = Gate::new();
    let upstream = gated(&gate).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let front = Front::nginx(gateway.address(), |file| file).await;

    streams_one_by_one(front.client(), &gate).await;
    takes_uploads(front.client(), &upstream).await;
}

/// Promises: `deploy-nginx`.
#[tokio::test]
async fn behind_nginx_the_client_is_who_nginx_was_asked_by() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let front = Front::nginx(gateway.address(), |file| file).await;

    assert!(front.chat_from([127, 0, 0, 2], "").await.contains("200 OK"));
    assert_eq!(seen_by(&gateway, 1).await, "127.0.0.2");

    // Another proxy on this machine stands before nginx, and is believed as well.
    front.chat_from([127, 0, 0, 2], "x-forwarded-for: 198.51.100.7\r\n").await;
    assert_eq!(seen_by(&gateway, 2).await, "198.51.100.7");
}

#[tokio::test]
async fn behind_a_proxy_nobody_but_the_trusted_ones_is_believed() {
    let upstream = healthy("ok").await;
    let setup = Setup::new(config([channel("a", &upstream)])).env("TRUSTED_PROXIES", "127.0.0.1/32");
    let gateway = setup.start().await;
    let nginx = Front::nginx(gateway.address(), |file| file).await;
    let caddy = Front::caddy(&read("deploy/caddy/Caddyfile"), gateway.address(), None).await;

    for (requests, front) in [(1, &nginx), (2, &caddy)] {
        let forged = "x-forwarded-for: 198.51.100.7\r\nx-real-ip: 198.51.100.7\r\n";
        front.chat_from([127, 0, 0, 9], forged).await;

        assert_eq!(seen_by(&gateway, requests).await, "127.0.0.9");
    }
}

/// A silence that nginx does not allow shows that it is the file which allows a longer one.
#[tokio::test]
async fn the_silence_that_nginx_bears_is_the_one_in_its_file() {
    let upstream = Upstream::start(|_| Script::json(&said("ok")).after(Duration::from_millis(2500))).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let shipped = Front::nginx(gateway.address(), |file| file).await;
    let impatient = |file: String| {
        assert!(file.contains("proxy_read_timeout 3600s;"));
        file.replace("proxy_read_timeout 3600s;", "proxy_read_timeout 1s;")
    };
    let impatient = Front::nginx(gateway.address(), impatient).await;

    let body = hello();
    let (patient, impatient) = tokio::join!(shipped.client().chat(&body), impatient.client().chat(&body));

    assert_eq!((patient.status, impatient.status), (200, 504));
}

/// Promises: `deploy-caddy`.
#[tokio::test]
async fn behind_caddy_events_arrive_one_by_one_and_uploads_and_silences_pass() {
    let gate = Gate::new();
    let upstream = gated(&gate).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let front = Front::caddy(&read("deploy/caddy/Caddyfile"), gateway.address(), None).await;

    streams_one_by_one(front.client(), &gate).await;
    takes_uploads(front.client(), &upstream).await;
    assert_eq!(seen_by(&gateway, 1).await, "127.0.0.1");
    // Caddy waits as long as it takes: there is no limit in its file that could be too short.
    assert!(!read("deploy/caddy/Caddyfile").contains("timeout"));
}

/// The file that people have, in which answers are compressed, and ours: only what is no API goes to the front end.
///
/// Promises: `deploy-caddy`.
#[tokio::test]
async fn one_domain_serves_the_gateway_and_a_front_end_with_streams_one_by_one() {
    let gate = Gate::new();
    let upstream = gated(&gate).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let pages = Upstream::always(Script::body(200, "text/html", "a page of the front end")).await;
    let theirs = read("tests/fixtures/deploy/Caddyfile");
    let theirs = theirs.replace("yourdomain.com", "{$UNI_API_DOMAIN}").replace("  tls a@bc.com\n", "");
    let theirs = theirs.replace("localhost:8001", "{$UNI_API}").replace("localhost:3700", "{$FRONTEND}");

    for (requests, file) in [(1, theirs), (2, read("deploy/caddy/Caddyfile.frontend"))] {
        let front = Front::caddy(&file, gateway.address(), Some(pages.address())).await;

        streams_one_by_one(front.client(), &gate).await;

        assert_eq!(seen_by(&gateway, requests).await, "127.0.0.1");
        let page = front.client().ask(&Ask::get("/settings")).await.expect(200);
        assert_eq!(page.text(), "a page of the front end");
        let models = front.client().ask(&Ask::get("/v1/models")).await.expect(200);
        assert_eq!(models.json()["data"][0]["id"], "m");
    }
    assert_eq!(pages.count(), 2);
}

/// A domain instead of a port makes Caddy fetch a certificate, which needs a network: it is read, not run.
#[test]
fn caddy_finds_nothing_to_say_about_its_files() {
    for file in ["deploy/caddy/Caddyfile", "deploy/caddy/Caddyfile.frontend"] {
        let mut adapt = command(&["caddy", "adapt", "--adapter", "caddyfile", "--config", file]);
        let adapted = run(adapt.env("UNI_API_DOMAIN", "api.example.com")).well();
        assert!(adapted.contains("api.example.com") && adapted.contains("reverse_proxy"), "{adapted}");

        let formatted = run(&mut command(&["caddy", "fmt", file])).well();
        assert_eq!(formatted.trim(), read(file).trim(), "{file}");
    }
}

/// What the proxies are told is so: where the program listens, and how large a request it takes.
#[test]
fn ports_and_sizes_in_the_files_are_the_program_s() {
    let nginx = read("deploy/nginx/uni-api.conf");
    let settings = read("src/config/environment.rs");

    assert!(
        settings.contains(r#"unwrap_or(8000)"#)
            && settings.contains(r#""MAX_BODY_BYTES").unwrap_or(64 << 20)"#)
    );
    assert!(nginx.contains("server 127.0.0.1:8000;") && nginx.contains("client_max_body_size 64m;"));
    assert!(read("deploy/caddy/Caddyfile").contains("{$UNI_API:127.0.0.1:8000}"));
}
