//! Ten thousand sequences of faults, drawn from seeds: whatever upstreams do, in any order, the
//! promises hold that no single test can try in all combinations.
//!
//! Each sequence is a configuration of one to four channels of both dialects, and a few requests,
//! alone or side by side, some of which hang up. Every answer of every upstream is drawn: well, or
//! one of the ways to be ill. Of each request it must be true that it has one end and one only;
//! that it is no failure while a channel was left unasked; that it is recorded once and costs
//! something exactly if an answer was accepted; and of the gateway that it holds nothing afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::bench::*;

/// Sequences of one test; the tests run side by side.
const SEQUENCES: u64 = 2_500;
/// Faults that an upstream has before it says anything.
const FAULTS: [Fault; 24] = [
    Fault::Status(401),
    Fault::Status(402),
    Fault::Status(403),
    Fault::Status(404),
    Fault::Status(408),
    Fault::Status(413),
    Fault::Status(418),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(529),
    Fault::Status(302),
    Fault::Reset,
    Fault::Close,
    Fault::Hang,
    Fault::Page,
    Fault::Nothing,
    Fault::Garbage,
    Fault::ErrorFirst,
    Fault::OpeningThenReset,
    Fault::OpeningThenEnd,
    Fault::OpeningThenHang,
    Fault::OpeningThenError,
    Fault::SaysNothing,
];
/// Ways in which an answer ends badly once it has begun to say something.
const BREAKS: [Break; 4] = [Break::Reset, Break::End, Break::Hang, Break::Error];

/// What an upstream does with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// A good answer; every piece of it waits, and some come with comments.
    Well { slow: bool, comments: bool },
    /// Nothing that the client could have been given.
    Ill(Fault),
    /// Some words, and then no good end. A whole answer breaks off.
    Broken(Break),
    /// The client's own mistake.
    Refusal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Status(u16),
    Reset,
    Close,
    Hang,
    Page,
    Nothing,
    Garbage,
    ErrorFirst,
    OpeningThenReset,
    OpeningThenEnd,
    OpeningThenHang,
    OpeningThenError,
    SaysNothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    Reset,
    End,
    Hang,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    OpenAi,
    Claude,
}

/// An upstream of one channel, and the deeds that it did.
struct Member {
    upstream: Upstream,
    played: Arc<Mutex<Vec<Deed>>>,
}

impl Deed {
    fn draw(luck: &mut fastrand::Rng) -> Self {
        match luck.u32(0..20) {
            0..8 => Self::Well { slow: luck.bool(), comments: luck.u8(0..4) == 0 },
            8..16 => Self::Ill(FAULTS[luck.usize(0..FAULTS.len())]),
            16..19 => Self::Broken(BREAKS[luck.usize(0..BREAKS.len())]),
            _ => Self::Refusal,
        }
    }

    /// The answer that this is. Every word of it names the channel.
    fn script(self, format: Format, stream: bool, channel: &str) -> Script {
        let whole = match format {
            Format::OpenAi => said(&format!("{channel} {channel} ")),
            Format::Claude => said_by_claude(&format!("{channel} {channel} ")),
        };
        let parts = Parts::of(format, channel);
        let pause = Duration::from_millis(700);
        match self {
            Self::Well { slow, comments } => {
                let script = if stream { Script::events(parts.all(comments)) } else { Script::json(&whole) };
                if slow { script.paced(pause).after(pause) } else { script }
            }
            Self::Refusal => Script::error(400, "temperature must be a number"),
            Self::Broken(how) if stream => {
                let script = Script::events([parts.opening.clone(), parts.word.clone()]);
                match how {
                    Break::Reset => script.then_close(),
                    Break::End => script,
                    Break::Hang => script.then_hang(),
                    Break::Error => script.then(parts.error),
                }
            }
            Self::Broken(how) => {
                let mut script = Script::json(&whole);
                script.framing = Framing::Chunked;
                let mut bytes = script.bytes();
                bytes.truncate(bytes.len() / 2);
                script.steps = vec![Step::Bytes(bytes)];
                match how {
                    Break::Reset | Break::Error => script.then_close(),
                    Break::End => script,
                    Break::Hang => script.then_hang(),
                }
            }
            Self::Ill(fault) => fault.script(stream, &parts),
        }
    }

    /// Whether a client that reads to the end gets a good answer.
    fn is_well(self) -> bool {
        matches!(self, Self::Well { .. })
    }
}

impl Fault {
    fn script(self, stream: bool, parts: &Parts) -> Script {
        let opening = || Script::events([parts.opening.clone()]);
        match self {
            Self::Status(429) => Script::error(429, "slow down").header("retry-after", "7"),
            Self::Status(302) => Script::body(302, "text/plain", "").header("location", "http://else.test/"),
            Self::Status(status) => Script::error(status, "not today"),
            Self::Reset => Script::reset(),
            Self::Close => Script::close(),
            Self::Hang => Script::hang(),
            Self::Page => Script::body(200, "text/html", "<html><body>maintenance</body></html>"),
            Self::Nothing => Script::body(200, "application/json", ""),
            Self::Garbage => Script::body(200, "application/json", "{\"choices\": [}"),
            Self::ErrorFirst if stream => Script::events([parts.error.clone()]),
            Self::ErrorFirst => Script::error(200, "overloaded within"),
            // What is no stream has no opening: it says nothing in another way.
            _ if !stream => Script::body(200, "application/json", "{}"),
            Self::OpeningThenReset => opening().then_close(),
            Self::OpeningThenEnd => opening(),
            Self::OpeningThenHang => opening().then_hang(),
            Self::OpeningThenError => opening().then(parts.error.clone()),
            Self::SaysNothing => Script::events([parts.opening.clone(), parts.end.clone()]),
        }
    }
}

/// A stream in its parts, in the words of a dialect.
struct Parts {
    opening: String,
    word: String,
    end: String,
    error: String,
}

impl Parts {
    fn of(format: Format, channel: &str) -> Self {
        let typed = |value: &Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
        match format {
            Format::OpenAi => Self {
                opening: role_event(),
                word: text_event(&format!("{channel} ")),
                end: stop_event() + &usage_event() + DONE,
                error: event(&json!({ "error": { "message": "broke", "type": "server_error" } })),
            },
            Format::Claude => Self {
                opening: typed(&json!({
                    "type": "message_start",
                    "message": {
                        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
                        "content": [], "stop_reason": null, "usage": { "input_tokens": 11, "output_tokens": 1 },
                    },
                })) + &typed(&json!({
                    "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" },
                })),
                word: typed(&json!({
                    "type": "content_block_delta", "index": 0,
                    "delta": { "type": "text_delta", "text": format!("{channel} ") },
                })),
                end: typed(&json!({ "type": "content_block_stop", "index": 0 }))
                    + &typed(&json!({
                        "type": "message_delta", "delta": { "stop_reason": "end_turn" },
                        "usage": { "output_tokens": 7 },
                    }))
                    + &typed(&json!({ "type": "message_stop" })),
                error: typed(&json!({
                    "type": "error", "error": { "type": "api_error", "message": "broke" },
                })),
            },
        }
    }

    fn all(&self, comments: bool) -> Vec<String> {
        let comment = if comments { ": still here\n\n" } else { "" };
        [comment, &self.opening, comment, &self.word, comment, &self.word, &self.end]
            .iter()
            .map(|part| (*part).to_owned())
            .collect()
    }
}

impl Member {
    /// An upstream that does whatever is drawn.
    async fn start(name: &'static str, format: Format, luck: Arc<Mutex<fastrand::Rng>>) -> Self {
        let played = Arc::new(Mutex::new(Vec::new()));
        let deeds = played.clone();
        let upstream = Upstream::start(move |seen| {
            let deed = Deed::draw(&mut luck.lock().unwrap());
            deeds.lock().unwrap().push(deed);
            deed.script(format, seen.streams(), name)
        })
        .await;
        Self { upstream, played }
    }
}

/// The upstreams of one test, used again by each of its sequences.
struct Stage {
    luck: Arc<Mutex<fastrand::Rng>>,
    /// How requests ended, by kind.
    ends: Mutex<BTreeMap<&'static str, u64>>,
    members: BTreeMap<&'static str, (Format, Member)>,
}

impl Stage {
    async fn start() -> Self {
        let luck = Arc::new(Mutex::new(fastrand::Rng::with_seed(0)));
        let mut members = BTreeMap::new();
        for (name, format) in
            [("a", Format::OpenAi), ("b", Format::Claude), ("c", Format::OpenAi), ("d", Format::Claude)]
        {
            members.insert(name, (format, Member::start(name, format, luck.clone()).await));
        }
        Self { luck, ends: Mutex::default(), members }
    }

    /// One sequence, all of it decided by the seed.
    async fn play(&self, seed: u64) {
        let mut luck = fastrand::Rng::with_seed(seed);
        *self.luck.lock().unwrap() = luck.fork();
        let mut names: Vec<_> = self.members.keys().copied().collect();
        luck.shuffle(&mut names);
        names.truncate(luck.usize(1..=names.len()));
        for (_, member) in self.members.values() {
            member.played.lock().unwrap().clear();
        }
        let gateway = Gateway::start(self.config(&names, &mut luck)).await;
        let mut asking = Vec::new();
        for _ in 0..luck.usize(1..=4) {
            let hangs_up_after = (luck.u8(0..8) == 0).then(|| luck.usize(0..3));
            let sending = send(gateway.client(), luck.bool(), hangs_up_after);
            // Side by side with those before it, or when they have ended.
            if luck.bool() {
                asking.push(tokio::spawn(sending));
            } else {
                asking.push(tokio::spawn(std::future::ready(sending.await)));
            }
        }
        let mut answers = Vec::new();
        for asked in asking {
            answers.push(asked.await.unwrap_or_else(|panic| panic!("seed {seed}: {panic}")));
        }
        self.judge(seed, &names, &gateway, &answers);
    }

    fn config(&self, names: &[&str], luck: &mut fastrand::Rng) -> Value {
        let mut channels = Vec::new();
        for name in names {
            let (format, member) = &self.members[name];
            let channel = match format {
                Format::OpenAi => channel(name, &member.upstream),
                Format::Claude => anthropic_channel(name, &member.upstream),
            };
            let keys: Vec<_> = (0..luck.usize(1..=2)).map(|n| format!("key-{n}-of-{name}")).collect();
            channels.push(channel.with("/api", json!(keys)));
        }
        let cooldown = if luck.bool() { 300 } else { 0 };
        let algorithm = ["fixed_priority", "round_robin", "random"][luck.usize(0..3)];
        config(channels)
            .with("/api_keys/0/preferences", json!({ "SCHEDULING_ALGORITHM": algorithm }))
            .with("/preferences/model_timeout", json!({ "default": 5 }))
            .with("/preferences/cooldown_period", json!(cooldown))
    }

    fn judge(&self, seed: u64, names: &[&str], gateway: &Gateway, answers: &[Sent]) {
        for sent in answers {
            *self.ends.lock().unwrap().entry(sent.end()).or_default() += 1;
            if let Err(fault) = sent.has_one_end() {
                panic!("seed {seed}: {fault}: {} {}", sent.answer.status, sent.answer.text());
            }
        }
        let records = gateway.records();
        assert_eq!(records.len(), answers.len(), "seed {seed}: one record for each request");
        let mut spent = 0;
        for record in &records {
            let entry = &record.entry;
            let accepted = entry.accepted.is_some();
            assert_eq!(record.cost > 0, accepted, "seed {seed}: {entry:#?}");
            spent += record.cost;
            let asked: BTreeSet<_> = entry.attempts.iter().map(|attempt| attempt.channel.as_str()).collect();
            let refused = entry.status.as_u16() == 400;
            if !accepted && !refused && !entry.abandoned {
                let all: BTreeSet<_> = names.iter().copied().collect();
                assert_eq!(asked, all, "seed {seed}: given up while a channel was left: {entry:#?}");
            }
        }
        let accepted = records.iter().filter(|record| record.entry.accepted.is_some()).count();
        let well = self.deeds(names).filter(|deed| deed.is_well()).count();
        let left = answers.iter().filter(|sent| sent.hung_up).count();
        assert!(accepted + left >= well, "seed {seed}: {well} good answers, {accepted} of them delivered");
        let balance = gateway.spent(&records[0].entry.caller.fingerprint);
        assert_eq!(balance, (spent, 0), "seed {seed}: charged once, and nothing reserved");
        assert_eq!(gateway.holds(), (0, 0, 0), "seed {seed}: requests, streams and bytes");
    }

    fn deeds<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = Deed> + 'a {
        names.iter().flat_map(|name| self.members[name].1.played.lock().unwrap().clone())
    }
}

/// A request that was sent, and what came of it.
struct Sent {
    answer: Answer,
    stream: bool,
    hung_up: bool,
}

async fn send(client: Client, stream: bool, hangs_up_after: Option<usize>) -> Sent {
    let ask = Ask::chat(&if stream { hello_stream() } else { hello() });
    let mut flow = client.open(&ask).await;
    for _ in 0..hangs_up_after.unwrap_or(usize::MAX) {
        if flow.next().await.is_none() {
            return Sent { answer: flow.rest().await, stream, hung_up: false };
        }
    }
    Sent { answer: flow.leave(), stream, hung_up: true }
}

impl Sent {
    /// The kind of its end.
    fn end(&self) -> &'static str {
        match self.answer.status {
            _ if self.hung_up => "left",
            200 if self.stream && !self.answer.is_done() => "broken",
            200 => "well",
            400 => "refused",
            _ => "failed",
        }
    }

    /// What is wrong with how this answer ended.
    fn has_one_end(&self) -> Result<(), String> {
        if self.hung_up {
            return Ok(());
        }
        if self.answer.status != 200 {
            assert_openai_error(&self.answer.json());
            return Ok(());
        }
        if !self.stream {
            let words = self.answer.content();
            return one_voice(&words);
        }
        one_voice(&self.answer.streamed())?;
        let events = self.answer.events();
        let done = events.iter().filter(|data| *data == "[DONE]").count();
        let errors = self.answer.event_values().iter().filter(|event| !event["error"].is_null()).count();
        if done + errors != 1 {
            return Err(format!("{done} terminal markers and {errors} errors"));
        }
        let last = events.last().map(String::as_str).unwrap_or_default();
        if done == 1 && last != "[DONE]" || errors == 1 && !last.contains("\"error\"") {
            return Err("something stands behind the end".to_owned());
        }
        self.answer.complete.then_some(()).ok_or_else(|| "a stream that breaks off".to_owned())
    }
}

/// Nothing is spliced: all that a client reads was said by one channel.
fn one_voice(words: &str) -> Result<(), String> {
    let voices: BTreeSet<_> = words.split_whitespace().collect();
    if voices.len() > 1 { Err(format!("several channels speak: {words}")) } else { Ok(()) }
}

async fn play(first: u64) {
    let stage = Stage::start().await;
    for seed in first..first + SEQUENCES {
        stage.play(seed).await;
    }
    let ends = stage.ends.lock().unwrap();
    assert_eq!(ends.len(), 5, "{ends:?}");
    assert!(ends.values().all(|count| *count > SEQUENCES / 50), "something hardly happens: {ends:?}");
}

#[tokio::test(start_paused = true)]
async fn no_sequence_of_faults_breaks_a_promise_1() {
    play(0).await;
}

#[tokio::test(start_paused = true)]
async fn no_sequence_of_faults_breaks_a_promise_2() {
    play(SEQUENCES).await;
}

#[tokio::test(start_paused = true)]
async fn no_sequence_of_faults_breaks_a_promise_3() {
    play(2 * SEQUENCES).await;
}

#[tokio::test(start_paused = true)]
async fn no_sequence_of_faults_breaks_a_promise_4() {
    play(3 * SEQUENCES).await;
}
