//! Whatever an upstream repeats of a secret, no client reads it: a table of where it stands, how it is written, in
//! which dialect, whole or in a stream, before content or behind it.

use serde_json::{Value, json};

use super::bench::*;

/// A key with every letter that some writer changes.
const KEY: &str = "sk-provider-0123+abc/DEF456==";
/// Other secrets of a channel.
const HEADER: &str = "header-0a1b2c3d4e5f";
const QUERY: &str = "query-6a7b8c9d0e1f";
const FIELD: &str = "field-1f2e3d4c5b6a";
const PASSWORD: &str = "password-9f8e7d6c";

/// The ways to write a key, the last of which no writer has reason for.
const FORMS: [fn(&str) -> String; 11] = [
    |key| key.to_owned(),
    |key| key.replace('/', r"\/"),
    |key| key.replace('/', r"\\\/").replace('+', r"\\u002B"),
    |key| key.replace('+', r"\u002B").replace('=', r"\u003d"),
    |key| key.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D"),
    |key| key.replace('+', "%252B").replace('/', "%252F").replace('=', "%253D"),
    |key| key.replace('/', "&#x2F;").replace('=', "&#61;").replace('+', "&#x2b;"),
    |key| key.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect(),
    |key| key.chars().map(|letter| format!("%{:02X}", u32::from(letter))).collect(),
    |key| key.chars().map(|letter| format!("&#{};", u32::from(letter))).collect(),
    |key| format!("key={key}&x=1"),
];

/// Where a secret stands in a refusal.
#[derive(Debug, Clone, Copy)]
enum InRefusal {
    Message,
    Type,
    Code,
    Param,
    Nested,
    Details,
    Text,
    Flat,
    Plain,
    Page,
    CutPage,
    LongMessage,
    BeyondTheBound,
    BadText,
    NoText,
    Halves,
    CutByTheUpstream,
    Header,
}

impl InRefusal {
    const ALL: [Self; 18] = [
        Self::Message,
        Self::Type,
        Self::Code,
        Self::Param,
        Self::Nested,
        Self::Details,
        Self::Text,
        Self::Flat,
        Self::Plain,
        Self::Page,
        Self::CutPage,
        Self::LongMessage,
        Self::BeyondTheBound,
        Self::BadText,
        Self::NoText,
        Self::Halves,
        Self::CutByTheUpstream,
        Self::Header,
    ];

    /// The answer that holds it, written like this.
    fn script(self, status: u16, key: &str) -> Script {
        let json = |body: String| Script::body(status, "application/json", body);
        let field = |name: &str, filler: usize| {
            let filler = "x".repeat(filler);
            format!(r#"{{"error":{{"message":"m","type":"t","{name}":"{filler} {key} ."}}}}"#)
        };
        match self {
            Self::Message => json(field("message", 3)),
            Self::Type => json(field("type", 0)),
            Self::Code => json(field("code", 0)),
            Self::Param => json(field("param", 0)),
            Self::Nested => json(format!(
                r#"{{"error":{{"message":"Provider returned error","metadata":{{"raw":"{{\"m\":\"{key}\"}}"}}}}}}"#
            )),
            Self::Details => json(format!(r#"{{"detail":[{{"loc":["a","{key}"],"msg":"{key}"}}]}}"#)),
            Self::Text => json(format!(r#"{{"error":"wrong {key}"}}"#)),
            Self::Flat => json(format!(r#"{{"object":"error","message":"wrong {key}","code":"{key}"}}"#)),
            Self::Plain => Script::body(status, "text/plain", format!("wrong key {key}")),
            Self::Page => Script::body(status, "text/html", format!("<html><h1>No</h1><p>{key}</p></html>")),
            Self::CutPage => Script::body(status, "text/html", format!("<p>{}{key}</p>", "x ".repeat(140))),
            Self::LongMessage => json(field("message", 2030)),
            Self::BeyondTheBound => json(field("message", (64 << 10) - 60)),
            Self::BadText => {
                let mut body = field("message", 0).into_bytes();
                body.insert(12, 0xff);
                Script::body(status, "application/json", body)
            }
            Self::NoText => {
                let wide: Vec<u8> = format!("wrong key {key}").bytes().flat_map(|byte| [byte, 0]).collect();
                Script::body(status, "text/plain", wide)
            }
            Self::Halves => {
                let body = field("message", 0);
                let middle = body.find(key).unwrap() + key.len() / 2;
                let mut script = json(body[..middle].to_owned());
                script.steps.push(Step::Pause(std::time::Duration::from_secs(1)));
                script.steps.push(Step::Bytes(body[middle..].into()));
                script
            }
            Self::CutByTheUpstream => {
                json(field("message", 0).replace(" .", "").replace(&key[key.len() - 3..], "..."))
            }
            Self::Header => ["x-request-id", "openai-organization", "openai-debug", "content-disposition"]
                .iter()
                .fold(json(field("message", 0)), |script, name| script.header(name, &format!("v {key}"))),
        }
    }
}

/// Where a secret stands in an answer.
#[derive(Debug, Clone, Copy)]
enum InAnswer {
    Error,
    TextError,
    NamedError,
    BareMessage,
    BareText,
    Comment,
    Name,
    Nested,
    InChoice,
    Warning,
    Long,
    BadText,
    Unended,
    Halves,
}

impl InAnswer {
    const ALL: [Self; 14] = [
        Self::Error,
        Self::TextError,
        Self::NamedError,
        Self::BareMessage,
        Self::BareText,
        Self::Comment,
        Self::Name,
        Self::Nested,
        Self::InChoice,
        Self::Warning,
        Self::Long,
        Self::BadText,
        Self::Unended,
        Self::Halves,
    ];

    /// The pieces of a stream that hold it, written like this.
    fn events(self, key: &str) -> Vec<Vec<u8>> {
        let data = |data: String| vec![format!("data: {data}\n\n").into_bytes()];
        let error = format!(r#"{{"error":{{"message":"wrong {key}","type":"t","param":"{key}"}}}}"#);
        let bare = format!(r#"{{"message":"wrong {key}","type":"t"}}"#);
        match self {
            Self::Error => data(error),
            Self::TextError => data(format!(r#"{{"error":"wrong {key}"}}"#)),
            Self::NamedError => vec![format!("event: error\ndata: {bare}\n\n").into()],
            Self::BareMessage => data(bare),
            Self::BareText => data(format!("wrong {key}")),
            Self::Comment => vec![format!(": wrong {key}\n\n").into()],
            Self::Name => vec![format!("id: {key}\nevent: {key}\ndata: {{}}\n\n").into()],
            Self::Nested => data(format!(r#"{{"type":"response.failed","response":{error}}}"#)),
            Self::InChoice => data(format!(r#"{{"choices":[{error}]}}"#)),
            Self::Warning => {
                data(format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{}}}}],"warning":"{key}"}}"#))
            }
            Self::Long => {
                let filler = "x".repeat(70 << 10);
                vec![
                    format!(r#"data: {{"message":"{filler}"#).into(),
                    format!("{filler} {key}\"}}\n\n").into(),
                ]
            }
            Self::BadText => {
                let mut event = format!("data: {error}\n\n").into_bytes();
                event.insert(24, 0xff);
                vec![event]
            }
            Self::Unended => vec![format!("data: {bare}").into()],
            Self::Halves => {
                let event = format!("data: {bare}\n\n");
                let (first, rest) = event.split_at(event.find(key).unwrap() + key.len() / 2);
                vec![first.into(), rest.into()]
            }
        }
    }

    /// The body of a whole answer that holds it.
    fn whole(self, key: &str) -> Vec<u8> {
        let good = r#""id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}"#;
        let claude = r#""type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}"#;
        let event = self.events(key).concat();
        let data = event.strip_prefix(b"data: ").unwrap_or(&event).to_vec();
        match self {
            Self::Warning => format!(r#"{{"warning":"{key}",{good}}}"#).into(),
            Self::Name => format!(r#"{{{claude},"id":"{key}","model":"{key}"}}"#).into(),
            _ => data,
        }
    }
}

/// A text as whoever wants the key reads it.
fn undone(text: &str) -> String {
    (0..3).fold(text.replace('\0', ""), |text, _| once_undone(&text)).to_ascii_lowercase()
}

fn once_undone(text: &str) -> String {
    let code =
        |digits: Option<&str>, radix| u32::from_str_radix(digits?, radix).ok().and_then(char::from_u32);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '%', '&']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').unwrap_or(0);
        let undone = match rest.as_bytes() {
            [b'\\', b'u', ..] => code(rest.get(2..6), 16).map(|letter| (letter, 6)),
            [b'\\', byte @ (b'\\' | b'/' | b'"'), ..] => Some((char::from(*byte), 2)),
            [b'%', ..] => code(rest.get(1..3), 16).map(|letter| (letter, 3)),
            [b'&', b'#', b'x', ..] => code(rest.get(3..end), 16).map(|letter| (letter, end + 1)),
            [b'&', b'#', ..] => code(rest.get(2..end), 10).map(|letter| (letter, end + 1)),
            _ => None,
        };
        let (letter, length) = undone.unwrap_or((rest.chars().next().unwrap(), 1));
        plain.push(letter);
        rest = &rest[length..];
    }
    plain + rest
}

/// Whether something of a secret is left: half of it is no less one.
fn tells(answer: &Answer, secret: &str) -> Option<String> {
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let text = undone(&format!("{headers}{}", String::from_utf8_lossy(&answer.body)));
    let secret = secret.to_ascii_lowercase();
    let half = &secret[..secret.len() / 2 + 2];
    text.find(half).map(|at| text[at.saturating_sub(120)..].chars().take(240).collect())
}

/// A gateway whose upstream answers each request with the script that its words choose: model `m` in OpenAI's
/// format, model `c` in Anthropic's.
async fn gateway_over(script: fn(&[usize]) -> Script) -> Gateway {
    let upstream = Upstream::start(move |seen| {
        let said = &seen.json()["messages"][0]["content"];
        let said = said.as_str().or(said[0]["text"].as_str()).unwrap_or_default().to_owned();
        script(&said.split(' ').map(|word| word.parse().unwrap()).collect::<Vec<_>>())
    })
    .await;
    let channels = [
        channel("a", &upstream).with("/api", json!(KEY)),
        anthropic_channel("b", &upstream).with("/api", json!(KEY)).with("/model", json!(["c"])),
    ];
    Gateway::start(config(channels).with("/preferences", no_rest())).await
}

fn no_rest() -> Value {
    json!({ "cooldown_period": 0, "api_key_cooldown_period": 0 })
}

/// Asks for the script with these numbers.
async fn told(gateway: &Gateway, claude: bool, stream: bool, numbers: &[usize]) -> Answer {
    let said = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    let request = hello_to(if claude { "c" } else { "m" }).with("/messages/0/content", json!(said));
    gateway.chat(&request.with("/stream", json!(stream))).await
}

fn assert_none(leaks: &[String]) {
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn no_refusal_tells_a_key_wherever_it_stands_and_however_it_is_written() {
    const STATUSES: [u16; 8] = [400, 401, 404, 413, 422, 429, 500, 302];
    let gateway = gateway_over(|numbers| match *numbers {
        [place, form, status] => InRefusal::ALL[place].script(STATUSES[status], &FORMS[form](KEY)),
        _ => unreachable!(),
    })
    .await;
    let mut leaks = Vec::new();
    for (at, place) in InRefusal::ALL.iter().enumerate() {
        for form in 0..FORMS.len() {
            for (status, claude) in [(at + form, false), (at + form + 3, true)] {
                let status = status % STATUSES.len();
                let answer = told(&gateway, claude, status.is_multiple_of(2), &[at, form, status]).await;
                assert!(answer.status >= 400, "{place:?} {}", answer.status);
                if let Some(leak) = tells(&answer, KEY) {
                    leaks.push(format!(
                        "{place:?}, form {form}, {}, claude {claude}: {leak}",
                        STATUSES[status]
                    ));
                }
            }
        }
    }
    assert_none(&leaks);
}

/// What comes before: nothing, or content.
fn opening(claude: bool, behind: bool) -> Vec<Vec<u8>> {
    let data = |data: &&str| format!("data: {data}\n\n").into_bytes();
    match (claude, behind) {
        (_, false) => Vec::new(),
        (false, true) => vec![role_event().into_bytes(), text_event("x").into_bytes()],
        (true, true) => [
            r#"{"type":"message_start","message":{"id":"m","model":"c","role":"assistant","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
        ]
        .iter()
        .map(data)
        .collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn no_stream_tells_a_key_before_its_content_or_behind_it() {
    let gateway = gateway_over(|numbers| match *numbers {
        [place, form, claude, behind] => {
            let events = InAnswer::ALL[place].events(&FORMS[form](KEY));
            let pieces = opening(claude == 1, behind == 1).into_iter().chain(events);
            Script::events(pieces).paced(std::time::Duration::from_millis(30))
        }
        _ => unreachable!(),
    })
    .await;
    let mut leaks = Vec::new();
    for (at, place) in InAnswer::ALL.iter().enumerate() {
        for form in 0..FORMS.len() {
            for (claude, behind) in [(false, false), (false, true), (true, false), (true, true)] {
                let numbers = [at, form, usize::from(claude), usize::from(behind)];
                let answer = told(&gateway, claude, true, &numbers).await;
                assert!(!behind || answer.status == 200, "{place:?} {}", answer.status);
                if let Some(leak) = tells(&answer, KEY) {
                    leaks.push(format!("{place:?}, form {form}, claude {claude}, behind {behind}: {leak}"));
                }
            }
        }
    }
    assert_none(&leaks);
}

#[tokio::test(start_paused = true)]
async fn no_whole_answer_tells_a_key() {
    let gateway = gateway_over(|numbers| match *numbers {
        [place, form] => {
            let key = FORMS[form](KEY);
            Script::body(200, "application/json", InAnswer::ALL[place].whole(&key))
                .header("x-request-id", &key)
        }
        _ => unreachable!(),
    })
    .await;
    let mut leaks = Vec::new();
    for (at, place) in InAnswer::ALL.iter().enumerate() {
        for form in 0..FORMS.len() {
            for claude in [false, true] {
                let answer = told(&gateway, claude, false, &[at, form]).await;
                // Letters that no writer changes, percent-encoded within a good answer, are what a model said.
                let is_said = answer.status == 200 && matches!(form, 8 | 9);
                if let Some(leak) = tells(&answer, KEY).filter(|_| !is_said) {
                    leaks.push(format!("{place:?}, form {form}, claude {claude}: {leak}"));
                }
            }
        }
    }
    assert_none(&leaks);
}

#[tokio::test(start_paused = true)]
async fn what_a_channel_configures_is_told_as_little_as_its_key() {
    for secret in [HEADER, QUERY, FIELD, PASSWORD] {
        let refusals = [400, 401, 429, 500].map(|status| InRefusal::Param.script(status, secret));
        let streams = [InAnswer::Error, InAnswer::BareMessage, InAnswer::Long].map(|place| {
            Script::events(
                [role_event().into(), text_event("x").into()].into_iter().chain(place.events(secret)),
            )
        });
        let whole = [Script::body(200, "application/json", InAnswer::Warning.whole(secret))];
        for script in refusals.into_iter().chain(streams).chain(whole) {
            let stream = script.framing == Framing::Chunked;
            let upstream = Upstream::always(script.clone()).await;
            let url = upstream.url().replace("https://", &format!("https://user:{PASSWORD}@"));
            let channel = channel_at("a", &format!("{url}?key={QUERY}"))
                .with("/preferences/headers", json!({ "x-mine": HEADER }))
                .with("/preferences/post_body_parameter_overrides", json!({ "extra": { "mine": FIELD } }));
            let gateway = Gateway::start(config([channel]).with("/preferences", no_rest())).await;

            let answer = gateway.chat(&hello().with("/stream", json!(stream))).await;

            assert_eq!(tells(&answer, secret), None, "{secret}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_holds_no_secret_passes_byte_for_byte() {
    let said = r#"ollama %20 \/ \u0073 &amp; application/json key-of-"#;
    let event = format!(r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{said}"}}}}]}}"#) + "\n\n";
    let comment = format!(": {said}\n\n");
    let pieces = [comment.clone(), event.clone(), stop_event(), DONE.to_owned()];
    let upstream = Upstream::always(Script::events(pieces.clone())).await;
    let channel = channel("a", &upstream)
        .with("/api", json!("ollama"))
        .with("/preferences/headers", json!({ "accept-language": "application/json" }));
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(String::from_utf8_lossy(&answer.body), pieces.concat());
}
