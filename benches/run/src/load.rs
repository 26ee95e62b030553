//! Sends chat requests and tells, as one JSON line, what came of them.
//!
//! `to=HOST:PORT body=FILE` and then: `conns=N` requests at a time for `secs=S`, or `count=N` in all
//! however long that takes; or `rate=R` new requests a second, however long they take; or `hold=N`
//! streams that stay open until standard input ends, after a line that says so.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::Error;

/// How an event begins that holds text. A gateway may hold a role-only opening back.
const CONTENT: &[u8] = b"\"content\":\"tok";

#[derive(Default)]
struct Tally {
    failed: u64,
    chunks: u64,
    holding: u64,
    totals: Vec<u32>,
    firsts: Vec<u32>,
    gaps: Vec<u32>,
}

struct Load {
    to: String,
    body: Bytes,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    tally: Mutex<Tally>,
}

pub async fn run(options: &[&str]) -> Result<(), Error> {
    let text = |name: &str| {
        options.iter().filter_map(|option| option.split_once('=')).find(|(key, _)| *key == name).map(|o| o.1)
    };
    let number = |name: &str| text(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    let load = Arc::new(Load {
        to: text("to").ok_or("to= is missing")?.to_owned(),
        body: std::fs::read(text("body").ok_or("body= is missing")?)?.into(),
        idle: Mutex::default(),
        tally: Mutex::default(),
    });
    let (hold, rate) = (number("hold") as u64, number("rate"));
    if hold > 0 {
        return load.hold(hold).await;
    }
    let (began, count) = (Instant::now(), number("count") as u64);
    let (time, left) = match count {
        0 => (Duration::from_secs_f64(number("secs")), u64::MAX),
        _ => (Duration::MAX, count),
    };
    let left = Arc::new(AtomicU64::new(left));
    let more = move || {
        began.elapsed() < time && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    };
    let mut tasks = tokio::task::JoinSet::new();
    if rate > 0.0 {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        while more() {
            ticks.tick().await;
            tasks.spawn(load.clone().count());
        }
    } else {
        for _ in 0..number("conns") as u64 {
            let (load, more) = (load.clone(), more.clone());
            tasks.spawn(async move {
                while more() {
                    load.clone().count().await;
                }
            });
            // Apart from each other, so that paced streams do not beat in step.
            sleep(Duration::from_millis(2)).await;
        }
    }
    tasks.join_all().await;
    load.report(began.elapsed());
    Ok(())
}

impl Load {
    async fn hold(self: Arc<Self>, count: u64) -> Result<(), Error> {
        for _ in 0..count {
            tokio::spawn(self.clone().count());
            sleep(Duration::from_millis(1)).await;
        }
        let until = Instant::now() + Duration::from_secs(20);
        let held = || self.tally.lock().expect("nobody panics with it").holding;
        while held() < count && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        println!("{{\"held\":{}}}", held());
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        std::process::exit(0)
    }

    async fn count(self: Arc<Self>) {
        if let Err(_broken) = self.once().await {
            self.tally.lock().expect("nobody panics with it").failed += 1;
        }
    }

    async fn once(&self) -> Result<(), Error> {
        let began = Instant::now();
        let micros = |since: Instant| since.elapsed().as_micros() as u32;
        let idle = self.idle.lock().expect("nobody panics with it").pop();
        let mut sender = match idle.filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/chat/completions")
            .header(HOST, &self.to)
            .header(AUTHORIZATION, "Bearer sk-bench")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))?;
        let mut response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status()).into());
        }
        let (mut tail, mut chunks, mut last) = (Vec::new(), 0, None);
        while let Some(frame) = response.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            tail.extend_from_slice(&data);
            let found = tail.windows(CONTENT.len()).filter(|window| *window == CONTENT).count() as u64;
            tail.drain(..tail.len().saturating_sub(CONTENT.len() - 1));
            if found > 0 {
                let mut tally = self.tally.lock().expect("nobody panics with it");
                match last.replace(Instant::now()) {
                    None => {
                        tally.firsts.push(micros(began));
                        tally.holding += 1;
                    }
                    Some(before) => tally.gaps.push(micros(before)),
                }
                chunks += found;
            }
        }
        let mut tally = self.tally.lock().expect("nobody panics with it");
        tally.totals.push(micros(began));
        tally.chunks += chunks;
        self.idle.lock().expect("nobody panics with it").push(sender);
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = TcpStream::connect(&self.to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn report(&self, took: Duration) {
        let mut tally = self.tally.lock().expect("nobody panics with it");
        let Tally { failed, chunks, totals, firsts, gaps, .. } = &mut *tally;
        let mut at = |which: usize, part: f64| {
            let list = [&mut *totals, &mut *firsts, &mut *gaps][which].as_mut_slice();
            list.sort_unstable();
            list.get((list.len() as f64 * part) as usize).copied().unwrap_or(0)
        };
        let (p50, p99, first50, first99, gap99) =
            (at(0, 0.5), at(0, 0.99), at(1, 0.5), at(1, 0.99), at(2, 0.99));
        println!(
            "{{\"requests\":{},\"failed\":{failed},\"chunks\":{chunks},\"secs\":{},\"p50\":{p50},\"p99\":{p99},\
             \"first50\":{first50},\"first99\":{first99},\"gap99\":{gap99}}}",
            totals.len(),
            took.as_secs_f64()
        );
    }
}
